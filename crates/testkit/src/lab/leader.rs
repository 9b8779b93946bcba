//! PID 1 of a lab host as this machine sees it, and making sure that it ends.

use super::cgroup::Group;
use super::process::start;
use super::{LabError, disk};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process, named so that another one that gets its number later is not mistaken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// Its number on this machine.
    pub(crate) pid: u32,
    /// When it started, in clock ticks after boot, as the kernel writes it.
    started: String,
}

impl Leader {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain anything; after it come the fields from the third on.
        let (_, fields) = stat.rsplit_once(')')?;
        let started = fields.split_whitespace().nth(19)?.to_owned();
        Some(Self { pid, started })
    }

    /// Kills it, and with it all processes of its host.
    pub(crate) fn kill(&self) {
        let alive = Self::of(self.pid).as_ref() == Some(self);
        if let (true, Some(pid)) = (alive, i32::try_from(self.pid).ok().and_then(Pid::from_raw)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    pub(crate) fn write_down(&self, file: &Path) -> Result<(), LabError> {
        disk::write(file, &format!("{} {}\n", self.pid, self.started))
    }

    /// Starts the process that kills the leader when this process has ended, however it ended: it waits for the
    /// end of a pipe. It is in a process group of its own, so that a signal to ours does not reach it.
    pub(crate) fn guard(&self) -> Result<Child, LabError> {
        let script = r#"cat >/dev/null
            now=$(sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20)
            [ "$now" = "$2" ] && kill -KILL "$1""#;
        start(
            Command::new("sh")
                .args(["-c", script, "sh", &self.pid.to_string(), &self.started])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0),
        )
    }
}

/// Where the leader of the host in `dir` is written down.
pub(crate) fn file_in(dir: &Path) -> PathBuf {
    dir.join("leader")
}

/// The child of `parent` that has become systemd, as PID 1 of a namespace of its own.
pub(crate) fn child_that_is_init(parent: u32) -> Option<Leader> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let mut pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.find(|pid| is_init(*pid)).and_then(Leader::of)
}

fn is_init(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let inner = field("NSpid:").and_then(|pids| pids.split_whitespace().nth(1));
    field("Name:").map(str::trim) == Some("systemd") && inner == Some("1")
}

/// The name, unique on this machine, under which the host in `dir` runs: from the names of its lab and its own.
pub(crate) fn machine_id_of(dir: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let lab = dir.parent().map(name).unwrap_or_default();
    let host = name(dir);
    let number = host.rsplit('-').next().unwrap_or_default();
    format!("greenroom-{lab}-{number}")
}

/// Ends the hosts of the lab directory `lab` by what is written down of their leaders.
pub(crate) fn kill_leftovers(lab: &Path) {
    let Ok(hosts) = fs::read_dir(lab) else { return };
    for dir in hosts.flatten().map(|host| host.path()) {
        let text = fs::read_to_string(file_in(&dir)).unwrap_or_default();
        if let Some((pid, started)) = text.trim().split_once(' ')
            && let Ok(pid) = pid.parse()
        {
            Leader { pid, started: started.to_owned() }.kill();
            drop(Group::new(&machine_id_of(&dir)));
        }
    }
}
