//! Runs commands in a copy that is not booted, and holds what booted and unbooted runs share: the arguments of
//! systemd-nspawn, what a command is, and how it ended.
//!
//! nspawn writes into a tree unless told not to; every such habit is switched off here. On a machine that runs systemd the
//! copy is a scope of its own (`Delegate=yes`, resource limits, no device but the harmless ones); elsewhere it runs directly.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{CopyError, Group};

/// Which share of the machine a copy may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Percent of one core; 100 for each core.
    pub cpu_percent: u32,
    /// Bytes.
    pub memory: u64,
}

/// How to run things in one copy.
#[derive(Clone, Debug)]
pub struct Runner<'a> {
    /// The merged tree.
    pub root: &'a Path,
    /// Its control groups.
    pub group: &'a Group,
    /// Host name inside.
    pub hostname: String,
    /// The network namespace; `None`: the host's own.
    pub network: Option<BorrowedFd<'a>>,
    /// Directories of the copy that are covered with an empty one.
    pub hidden: Vec<PathBuf>,
    /// Where systemd runs this machine.
    pub limits: Option<Limits>,
    /// Environment of everything that is run.
    pub env: Vec<(String, String)>,
}

/// Where a command's output goes.
pub enum Output<'a> {
    /// To a function, piece by piece, standard output and error together.
    To(&'a mut (dyn FnMut(&[u8]) + Send)),
    /// The command has the caller's terminal.
    Terminal,
    /// The command has a terminal of its own at which a person sits: this runs it there, see [`super::Seat`].
    Seat(&'a mut dyn FnMut(std::process::Command) -> io::Result<ExitStatus>),
}

impl Output<'_> {
    /// Whether the command needs a terminal inside the copy.
    pub(super) fn interactive(&self) -> bool {
        matches!(self, Self::Terminal | Self::Seat(_))
    }
}

/// A command to run in a copy, as root.
#[derive(Clone, Debug)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Working directory inside.
    pub dir: Option<PathBuf>,
    /// It is killed after this.
    pub timeout: Option<Duration>,
}

impl Command {
    /// A shell command.
    #[must_use]
    pub fn shell(text: &str, timeout: Option<Duration>) -> Self {
        Self { argv: ["/bin/sh", "-c", text].map(OsString::from).to_vec(), dir: None, timeout }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit status; 128 + signal when a signal ended it, 124 when it was killed for its time limit.
    pub code: i32,
    /// How long it ran.
    pub took: Duration,
}

/// The exit status that stands for a time limit, as timeout(1) has it.
pub(super) const TIMED_OUT: i32 = 124;

impl Runner<'_> {
    /// Runs a command in the copy, which is not booted.
    ///
    /// # Errors
    /// systemd-nspawn cannot be started. That the command fails is no error: see [`Ended`].
    pub fn run(&self, command: &Command, output: Output<'_>) -> Result<Ended, CopyError> {
        let mut args = self.nspawn();
        args.push("--as-pid2".into());
        args.push(if output.interactive() { "--console=interactive" } else { "--console=pipe" }.into());
        if let Some(dir) = &command.dir {
            args.push(joined("--chdir=", dir.as_os_str()));
        }
        args.push("--".into());
        args.extend(command.argv.iter().cloned());
        execute(self.contained(&args)?, output, command.timeout, "start systemd-nspawn")
    }

    /// A process that starts in the copy's control groups.
    pub(super) fn contained(&self, args: &[OsString]) -> Result<std::process::Command, CopyError> {
        let mut command = process(args);
        self.group.contain(&mut command).map_err(CopyError::system("enter the copy's control groups"))?;
        Ok(command)
    }

    /// The command line up to what is run.
    pub(super) fn nspawn(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        if let Some(limits) = self.limits {
            args.extend(
                ["systemd-run", "--scope", "--quiet", "--collect", "-p", "Delegate=yes", "-p", "DevicePolicy=closed"]
                    .map(OsString::from),
            );
            let devices = ["DeviceAllow=char-pts rw", "DeviceAllow=char-* m", "DeviceAllow=block-* m"];
            let shares = [format!("CPUQuota={}%", limits.cpu_percent), format!("MemoryMax={}", limits.memory)];
            for property in devices.iter().map(|d| (*d).to_owned()).chain(shares) {
                args.extend(["-p".into(), OsString::from(property)]);
            }
            args.push("--".into());
        }
        args.push("systemd-nspawn".into());
        args.extend(
            [
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--resolv-conf=off",
                "--timezone=off",
                "--link-journal=no",
                "--settings=no",
                "--capability=CAP_NET_ADMIN",
            ]
            .map(OsString::from),
        );
        args.push(joined("--directory=", self.root.as_os_str()));
        args.push(format!("--machine={}", machine_name()).into());
        args.push(format!("--hostname={}", self.hostname).into());
        if let Some(network) = self.network {
            let path = format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
            args.push(format!("--network-namespace-path={path}").into());
        }
        for hidden in self.hidden.iter().filter(|h| self.root.join(h.strip_prefix("/").unwrap_or(h)).is_dir()) {
            let mut option = joined("--tmpfs=", hidden.as_os_str());
            option.push(":mode=0700");
            args.push(option);
        }
        for (name, value) in &self.env {
            args.push(format!("--setenv={name}={value}").into());
        }
        args
    }
}

/// nspawn keeps things of its own by this name, on the machine: no two copies may share it.
fn machine_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("greenroom-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut out = OsString::from(option);
    out.push(value);
    out
}

pub(crate) fn process(args: &[OsString]) -> std::process::Command {
    let mut command = std::process::Command::new(&args[0]);
    command.args(&args[1..]);
    // Lets a command in the copy set net.* sysctls, which are its own; all others stay read-only.
    command.env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network");
    command.env("SYSTEMD_LOG_LEVEL", "warning");
    command
}

/// Starts a process, passes its output on, and waits for it within the time limit.
pub(crate) fn execute(
    mut process: std::process::Command,
    output: Output<'_>,
    timeout: Option<Duration>,
    doing: &str,
) -> Result<Ended, CopyError> {
    let began = Instant::now();
    let at_terminal = |status: ExitStatus| Ended { code: code(status), took: began.elapsed() };
    let sink = match output {
        Output::To(sink) => sink,
        Output::Terminal => return process.status().map(at_terminal).map_err(CopyError::system(doing)),
        Output::Seat(run) => return run(process).map(at_terminal).map_err(CopyError::system(doing)),
    };
    let (mut reader, writer) = io::pipe().map_err(CopyError::system("make a pipe"))?;
    let errors = writer.try_clone().map_err(CopyError::system("make a pipe"))?;
    process.stdin(Stdio::null()).stdout(writer).stderr(errors);
    let mut child = process.spawn().map_err(CopyError::system(doing))?;
    drop(process);
    let ended = watch(&mut child, &mut reader, sink, timeout);
    let (status, timed_out) = ended.map_err(CopyError::system("wait for the copy"))?;
    Ok(Ended { code: if timed_out { TIMED_OUT } else { code(status) }, took: began.elapsed() })
}

/// Passes on what a child prints until it ends; kills it and what it started when the limit is over.
///
/// What it leaves running may hold its output open: that is not waited for.
fn watch(
    child: &mut Child,
    reader: &mut io::PipeReader,
    sink: &mut (dyn FnMut(&[u8]) + Send),
    timeout: Option<Duration>,
) -> io::Result<(ExitStatus, bool)> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    rustix::io::ioctl_fionbio(&*reader, true)?;
    let pidfd =
        rustix::process::pidfd_open(rustix::process::Pid::from_child(child), rustix::process::PidfdFlags::empty())?;
    let until = timeout.map(|limit| Instant::now() + limit);
    let mut open = true;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let wait = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut events = vec![PollFd::new(&pidfd, PollFlags::IN)];
        if open {
            events.push(PollFd::new(&*reader, PollFlags::IN));
        }
        match poll(&mut events, wait.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) => {
                kill_tree(child);
                pass_on(reader, sink)?;
                return Ok((child.wait()?, true));
            }
            Ok(_) => {}
        }
        let ended = !events[0].revents().is_empty();
        drop(events);
        if open {
            open = pass_on(reader, sink)?;
        }
        if ended {
            return Ok((child.wait()?, false));
        }
    }
}

/// Passes on what is there now. Returns whether more may come.
fn pass_on(reader: &mut io::PipeReader, sink: &mut (dyn FnMut(&[u8]) + Send)) -> io::Result<bool> {
    let mut buffer = [0u8; 16 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => sink(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Kills the container that a child runs, then the child.
pub(super) fn kill_tree(child: &mut Child) {
    for leader in children(child.id()) {
        if let Some(pid) = rustix::process::Pid::from_raw(leader) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    let _ = child.kill();
}

/// The children of a process's main thread.
pub(super) fn children(pid: u32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

pub(super) fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// So much of the end of an output is kept, in bytes.
const TAIL: usize = 4000;

/// Runs something and keeps the end of what it prints, as text, for messages.
///
/// # Errors
/// Those of `run`.
pub fn with_tail<E>(run: impl FnOnce(Output<'_>) -> Result<Ended, E>) -> Result<(Ended, String), E> {
    let mut kept: Vec<u8> = Vec::new();
    let mut sink = |bytes: &[u8]| {
        kept.extend_from_slice(bytes);
        if kept.len() > 2 * TAIL {
            kept.drain(..kept.len() - TAIL);
        }
    };
    let ended = run(Output::To(&mut sink))?;
    Ok((ended, String::from_utf8_lossy(&kept).trim_end().to_owned()))
}
