//! Control groups for copies on a machine that systemd does not run.
//!
//! Two systemds that start in the same group would share their units' groups: stopping a service in one copy would kill it
//! in the other. So each copy has a group of its own in every hierarchy that systemd uses; and, where the machine has the
//! old device controller, one in which a copy may make device nodes but open only the harmless ones. Where systemd runs the
//! machine, a transient scope does all this.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::services::runs_systemd;

/// The groups of one copy; removed on drop.
#[derive(Debug, Default)]
pub struct Group {
    dirs: Vec<PathBuf>,
}

/// null, zero, full, random, urandom, tty, ptmx, and pseudo terminals; nodes of any device may be made, not opened.
const DEVICES: &[&str] = &[
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

impl Group {
    /// Makes the groups called `name`; none where systemd runs the machine or there are no control groups.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut dirs = Vec::new();
        if !runs_systemd() {
            let table = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            let used = table.lines().filter(|line| line.split(':').nth(1) != Some("freezer"));
            dirs.extend(used.filter_map(hierarchy).map(|dir| dir.join(name)));
            dirs.retain(|dir| fs::create_dir(dir).is_ok());
            let allowed = dirs.iter().filter(|dir| dir.join("devices.deny").exists()).try_for_each(|dir| {
                fs::write(dir.join("devices.deny"), "a")?;
                DEVICES.iter().try_for_each(|rule| fs::write(dir.join("devices.allow"), rule))
            });
            // Without the rules a copy could not open /dev/null: better without the group than with half of it.
            if allowed.is_err() {
                dirs.retain(|dir| !dir.join("devices.deny").exists() || fs::remove_dir(dir).is_err());
            }
        }
        Self { dirs }
    }

    /// Lets `command` begin in these groups, and end when the thread that started it does.
    ///
    /// # Errors
    /// A group cannot be entered.
    pub(super) fn contain(&self, command: &mut Command) -> io::Result<()> {
        let open = |dir: &PathBuf| OpenOptions::new().write(true).open(dir.join("cgroup.procs"));
        let files: Vec<File> = self.dirs.iter().map(open).collect::<io::Result<_>>()?;
        let enter = move || {
            for file in &files {
                rustix::io::write(file, b"0")?;
            }
            // SIGTERM: nspawn takes its copy down with it, which a kill would leave running.
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
            Ok(())
        };
        // SAFETY: between fork and exec only write(2) and prctl(2) are called, on descriptors that the parent opened.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

/// The directories of this process's own groups in which a group can hold processes of which all can be found: of the new
/// hierarchy first, which ends a group at once, of the old freezer, of systemd's own.
pub(crate) fn own_groups() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of = |name: &str| {
        let line = table.lines().find(|line| line.split(':').nth(1) == Some(name))?;
        hierarchy(line)
    };
    ["", "freezer", "name=systemd"].into_iter().filter_map(of).collect()
}

/// Lets the kernel get ready for a copy that is to be made soon, without waiting for it.
///
/// The first to change its control group waits until all cores have passed a quiescent state, ten milliseconds and more;
/// who follows soon after does not. So this process is moved to where it is already: a thread alone would not wait, and so
/// would spare nobody else the wait.
pub fn expect_copy() {
    if runs_systemd() {
        return;
    }
    std::thread::spawn(|| {
        let table = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        // Where none can be written, the copy waits for itself.
        if let Some(dir) = table.lines().find_map(hierarchy) {
            let _ = fs::write(dir.join("cgroup.procs"), "0");
        }
    });
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last processes leave their group a moment after they were reaped.
        for _ in 0..50 {
            self.dirs.iter().for_each(|dir| remove(dir));
            self.dirs.retain(|dir| dir.exists());
            if self.dirs.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The directory of our own group for one line of `/proc/self/cgroup`.
fn hierarchy(line: &str) -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut fields = line.splitn(3, ':').skip(1);
    let mount = match fields.next()? {
        "" if root.join("cgroup.controllers").exists() => root.to_owned(),
        "" => root.join("unified"),
        "name=systemd" => root.join("systemd"),
        "devices" => root.join("devices"),
        "freezer" => root.join("freezer"),
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
