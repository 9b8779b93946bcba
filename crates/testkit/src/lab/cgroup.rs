//! A control group for each lab host.
//!
//! Without one, two hosts that start from the same group on a machine without systemd both take `payload` below it
//! as their root: their units would share groups, and stopping a service in one would kill it in the other.
//! Where systemd runs the machine, a transient scope with `Delegate=yes` does the same job.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The groups of one host, one for each hierarchy that systemd uses; removed on drop.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    dirs: Vec<PathBuf>,
}

impl Group {
    /// Names the group; it is made when the host starts.
    pub(crate) fn new(name: &str) -> Self {
        let mut dirs = Vec::new();
        if !Path::new("/run/systemd/system").exists() {
            let table = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            dirs.extend(table.lines().filter_map(mount_of).map(|dir| dir.join(name)));
        }
        Self { name: name.to_owned(), dirs }
    }

    /// `program` as a command that first goes into the group.
    pub(crate) fn command(&self, program: &str) -> Command {
        if self.dirs.is_empty() {
            let mut command = Command::new("systemd-run");
            let unit = format!("--unit={}", self.name);
            command.args(["--scope", "--quiet", "--collect", "-p", "Delegate=yes", &unit, "--"]);
            command.arg(program);
            return command;
        }
        let dirs: Vec<String> = self.dirs.iter().map(|dir| format!("'{}'", dir.display())).collect();
        let script = format!(
            "for dir in {}; do mkdir -p \"$dir\"; echo $$ > \"$dir/cgroup.procs\"; done; exec \"$@\"",
            dirs.join(" ")
        );
        let mut command = Command::new("sh");
        command.args(["-euc", &script, "sh", program]);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last processes leave their group a moment after they were reaped.
        for _ in 0..50 {
            self.dirs.iter().for_each(|dir| remove(dir));
            if self.dirs.iter().all(|dir| !dir.exists()) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The directory of our own group for one line of `/proc/self/cgroup`, when it is a hierarchy that systemd uses.
fn mount_of(line: &str) -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut fields = line.splitn(3, ':').skip(1);
    let mount = match fields.next()? {
        "" if root.join("cgroup.controllers").exists() => root.to_owned(),
        "" => root.join("unified"),
        "name=systemd" => root.join("systemd"),
        _ => return None,
    };
    let dir = mount.join(fields.next()?.trim_start_matches('/'));
    dir.join("cgroup.procs").exists().then_some(dir)
}

/// Removes a group and the groups in it.
fn remove(dir: &Path) {
    if let Ok(entries) = fs::read_dir(dir) {
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).for_each(|path| remove(&path));
    }
    let _ = fs::remove_dir(dir);
}
