//! A control group for each lab host.
//!
//! Without one, two hosts that start from the same group on a machine without systemd both take `payload` below it
//! as their root: their units would share groups, and stopping a service in one would kill it in the other.
//! Where systemd runs the machine, a transient scope with `Delegate=yes` does the same job.
//!
//! The groups are also where a running host is made slow: frozen as a whole, or with less of the processor.

use super::process::run_ok;
use super::{LabError, SHORT};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The groups of one host, one for each hierarchy that systemd uses; removed on drop.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    dirs: Vec<PathBuf>,
    /// The group of the processor, where that is a hierarchy apart; made by the first limit.
    cpu: Option<PathBuf>,
}

impl Group {
    /// Names the group; it is made when the host starts.
    pub(crate) fn new(name: &str) -> Self {
        let (mut dirs, mut cpu) = (Vec::new(), None);
        if !Path::new("/run/systemd/system").exists() {
            let table = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            dirs.extend(table.lines().filter_map(mount_of).map(|dir| dir.join(name)));
            cpu = table.lines().find_map(cpu_mount_of).map(|dir| dir.join(name));
        }
        Self { name: name.to_owned(), dirs, cpu }
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

impl Group {
    /// Gives the host of which `leader` is PID 1 at most `percent` of one processor; `None` takes the limit back.
    pub(crate) fn limit_cpu(&self, leader: u32, percent: Option<u32>) -> Result<(), LabError> {
        const PERIOD: u32 = 100_000;
        let quota = percent.map(|percent| (PERIOD / 100 * percent.max(1)).to_string());
        if let Some(dir) = &self.cpu {
            fs::create_dir_all(dir).map_err(LabError::io("make", dir))?;
            let quota = quota.as_deref().unwrap_or("-1");
            write(&dir.join("cpu.cfs_quota_us"), quota)?;
            return gather(&payload(leader)?, &dir.join("cgroup.procs"));
        }
        let Some(dir) = self.dirs.first() else {
            let property = format!("CPUQuota={}", percent.map(|p| format!("{p}%")).unwrap_or_default());
            let unit = format!("{}.scope", self.name);
            let mut command = Command::new("systemctl");
            return run_ok(command.args(["set-property", "--runtime", &unit, &property]), SHORT).map(|_| ());
        };
        let parent = dir.parent().unwrap_or(dir);
        write(&parent.join("cgroup.subtree_control"), "+cpu")?;
        write(&dir.join("cpu.max"), &format!("{} {PERIOD}", quota.as_deref().unwrap_or("max")))
    }
}

/// Stops every process of the host of which `leader` is PID 1 where it is, or lets all of them go on; returns when that
/// is so. A frozen host can be killed.
pub(crate) fn freeze(leader: u32, frozen: bool) -> Result<(), LabError> {
    let dir = payload(leader)?;
    let state = u8::from(frozen);
    write(&dir.join("cgroup.freeze"), &state.to_string())?;
    let events = dir.join("cgroup.events");
    let end = Instant::now() + SHORT;
    while !fs::read_to_string(&events).unwrap_or_default().contains(&format!("frozen {state}")) {
        if Instant::now() > end {
            return Err(LabError::TimedOut { command: format!("freezing {}", dir.display()), limit: SHORT });
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The group, in the unified hierarchy, of all processes of the host of which `leader` is PID 1, and of nothing else.
fn payload(leader: u32) -> Result<PathBuf, LabError> {
    let file = PathBuf::from(format!("/proc/{leader}/cgroup"));
    let table = fs::read_to_string(&file).map_err(LabError::io("read", &file))?;
    let own = table.lines().find(|line| line.starts_with("0::")).and_then(mount_of);
    let missing = || LabError::io("find a control group in", &file)(std::io::ErrorKind::NotFound.into());
    let own = own.ok_or_else(missing)?;
    // systemd puts itself into a group of its own as soon as it runs.
    let inner = own.file_name().is_some_and(|name| name == "init.scope");
    Ok(if inner { own.parent().unwrap_or(&own).to_owned() } else { own })
}

/// Puts the processes of `from`, and of all groups in it, into the group that `to` is the list of, until there is no
/// new one.
fn gather(from: &Path, to: &Path) -> Result<(), LabError> {
    let mut known = Vec::new();
    loop {
        let mut all = Vec::new();
        collect(from, &mut all);
        let before = known.len();
        for pid in all {
            if !known.contains(&pid) {
                // It may have ended since.
                let _ = write(to, &pid);
                known.push(pid);
            }
        }
        if known.len() == before {
            return Ok(());
        }
    }
}

fn collect(dir: &Path, into: &mut Vec<String>) {
    let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    into.extend(list.lines().map(str::to_owned));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), into);
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), LabError> {
    fs::write(file, text).map_err(LabError::io("write", file))
}

impl Drop for Group {
    fn drop(&mut self) {
        let dirs: Vec<&PathBuf> = self.dirs.iter().chain(&self.cpu).collect();
        // The last processes leave their group a moment after they were reaped.
        for _ in 0..50 {
            dirs.iter().for_each(|dir| remove(dir));
            if dirs.iter().all(|dir| !dir.exists()) {
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

/// The same for the hierarchy of the processor, where there is one.
fn cpu_mount_of(line: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let controllers = fields.next()?;
    let dir = Path::new("/sys/fs/cgroup").join(controllers).join(fields.next()?.trim_start_matches('/'));
    let is = controllers.split(',').any(|name| name == "cpu") && dir.join("cpu.cfs_quota_us").exists();
    is.then_some(dir)
}

/// Removes a group and the groups in it.
fn remove(dir: &Path) {
    if let Ok(entries) = fs::read_dir(dir) {
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).for_each(|path| remove(&path));
    }
    let _ = fs::remove_dir(dir);
}
