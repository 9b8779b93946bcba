//! A pen: the control group of one live step, in which all that the step starts can be found again and ended, whatever has
//! become of the process that started it.
//!
//! Where systemd runs the machine it is a transient scope, elsewhere a group below our own. Its [`Pen::name`] goes into the
//! record of the change before anything runs in it, so that whoever comes after a crash finds it. A step that went well leaves
//! its pen: what it started on purpose lives on. Not here: copies, which end as a whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Manager, runs_systemd};
use crate::copy::own_groups;

/// One control group; what is in it outlives this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pen {
    /// A transient scope of the machine's systemd.
    Scope(String),
    /// A directory of a hierarchy of control groups.
    Group(PathBuf),
}

/// How long what is in a pen may take to be gone once it was killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the name of every pen begins with.
const PREFIX: &str = "greenroom-live-";

impl Pen {
    /// The pen that `name` gets on this machine, not made yet; `None`: there are no control groups that we may use.
    #[must_use]
    pub fn plan(name: &str) -> Option<Self> {
        let name = format!("{PREFIX}{name}");
        if runs_systemd() {
            return Some(Self::Scope(format!("{name}.scope")));
        }
        let writable = |dir: &PathBuf| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok();
        own_groups().into_iter().find(writable).map(|dir| Self::Group(dir.join(name)))
    }

    /// What a record calls it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Scope(name) => name.clone(),
            Self::Group(dir) => dir.display().to_string(),
        }
    }

    /// The pen that a record names; `None`: no name that a pen of ours can have.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let path = Path::new(name);
        let last = path.file_name()?.to_str()?;
        if !last.starts_with(PREFIX) {
            return None;
        }
        if path.is_absolute() {
            return path.starts_with("/sys/fs/cgroup").then(|| Self::Group(path.to_owned()));
        }
        (last == name && last.ends_with(".scope")).then(|| Self::Scope(last.to_owned()))
    }

    /// The command line that runs `argv` in it.
    pub(super) fn words(&self, argv: Vec<OsString>) -> Vec<OsString> {
        let Self::Scope(name) = self else { return argv };
        let unit = format!("--unit={name}");
        let mut words = ["systemd-run", "--scope", "--quiet", "--collect", &unit, "--"].map(OsString::from).to_vec();
        words.extend(argv);
        words
    }

    /// Makes it, and lets `command` begin in it.
    pub(super) fn contain(&self, command: &mut Command) -> io::Result<()> {
        let Self::Group(dir) = self else { return Ok(()) };
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let procs: File = OpenOptions::new().write(true).open(dir.join("cgroup.procs"))?;
        let enter = move || rustix::io::write(&procs, b"0").map(|_| ()).map_err(io::Error::from);
        // SAFETY: between fork and exec only write(2) is called, on a descriptor that the parent opened.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }

    /// Kills all that is in it and waits until nothing is left. That there is no such pen any more is fine.
    ///
    /// # Errors
    /// Something in it cannot be killed, or the machine's systemd does not answer.
    pub fn end(&self) -> io::Result<()> {
        match self {
            Self::Scope(name) => end_scope(name),
            Self::Group(dir) => end_group(dir),
        }
    }

    /// The step went well: what it left running is the machine's business, where it would have been without a pen.
    pub fn leave(&self) {
        // A scope goes with its last process.
        let Self::Group(dir) = self else { return };
        let Some(parent) = dir.parent() else { return };
        for _ in 0..20 {
            processes(dir).iter().for_each(|pid| {
                let _ = fs::write(parent.join("cgroup.procs"), pid.to_string());
            });
            // Not empty: something was started meanwhile.
            match fs::remove_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                _ => return,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn end_scope(name: &str) -> io::Result<()> {
    let ask = |args: &[&str]| Manager::Live.systemctl(args, PATIENCE).map_err(io::Error::other);
    ask(&["kill", "--signal=KILL", "--", name])?;
    ask(&["stop", "--", name])?;
    let state = ask(&["show", "--property=ActiveState", "--value", "--", name])?;
    match state.text.trim() {
        "inactive" | "failed" | "" if state.code == 0 => Ok(()),
        other => Err(io::Error::other(format!("{name} could not be stopped: {other}"))),
    }
}

fn end_group(dir: &Path) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        // Nobody in it may start more while it is being ended.
        freeze(dir, true);
        let all = tree(dir);
        if all.is_empty() {
            return Ok(());
        }
        if fs::write(dir.join("cgroup.kill"), "1").is_err() {
            let pids = all.iter().flat_map(|dir| processes(dir));
            pids.filter_map(rustix::process::Pid::from_raw).for_each(|pid| {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            });
        }
        freeze(dir, false);
        // Innermost first.
        all.iter().rev().for_each(|dir| {
            let _ = fs::remove_dir(dir);
        });
        if !dir.exists() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(io::Error::other(format!("what runs in {} cannot be killed", dir.display())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Stops or resumes a group, where its hierarchy can.
fn freeze(dir: &Path, on: bool) {
    let ways = [("cgroup.freeze", ["0", "1"]), ("freezer.state", ["THAWED", "FROZEN"])];
    for (file, words) in ways {
        // Opened without being made: elsewhere there is no such file.
        if let Ok(mut file) = OpenOptions::new().write(true).open(dir.join(file)) {
            let _ = io::Write::write_all(&mut file, words[usize::from(on)].as_bytes());
        }
    }
}

/// A group and all groups in it, outermost first; nothing when it is gone.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let inner = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).flat_map(|path| tree(&path));
    std::iter::once(dir.to_owned()).chain(inner).collect()
}

fn processes(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pen_of_ours_is_ended_by_its_name() {
        let good = [
            ("greenroom-live-c1-2.scope", true),
            ("/sys/fs/cgroup/unified/a/greenroom-live-c1-2", true),
            ("/sys/fs/cgroup/unified", false),
            ("ssh.service", false),
            ("x/greenroom-live-c1.scope", false),
            ("greenroom-live-c1.service", false),
            ("/etc/greenroom-live-c1", false),
            ("", false),
        ];
        for (name, ours) in good {
            assert_eq!(Pen::named(name).map(|pen| pen.name()), ours.then(|| name.to_owned()), "{name}");
        }
    }
}
