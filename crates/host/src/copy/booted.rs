//! A copy whose own systemd runs its own services.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::nspawn::{Command, Ended, Output, Runner, children, execute, kill_tree, process};
use super::{Copy, CopyError, stand_in};

/// A copy that runs. Dropping it kills everything in it.
#[derive(Debug)]
pub struct Booted {
    nspawn: Child,
    leader: u32,
    console: PathBuf,
    env: Vec<(String, String)>,
    began: Instant,
}

/// In which state a copy is after its boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// systemd's word: `running`, `degraded`, `starting` when it took too long.
    pub state: String,
    /// From the start of nspawn.
    pub took: Duration,
}

/// So long a copy that was told to turn off may take for it.
const WAY_DOWN: Duration = Duration::from_secs(30);

impl Booted {
    /// Boots a copy. `stand_ins`: units whose programs must not run in it, besides those that make no sense there.
    ///
    /// # Errors
    /// [`CopyError::Boot`] with the last lines of the console.
    pub fn start(copy: &Copy, runner: &Runner<'_>, stand_ins: &[String]) -> Result<Self, CopyError> {
        let console = copy.dir().join("console");
        let mut args = runner.nspawn();
        let units = stand_in::write(copy.dir().join("units"), stand_ins)
            .map_err(CopyError::system("write what stands in for services"))?;
        args.push(stand_in::bind(&units));
        args.extend(["--console=pipe".into(), "--boot".into(), OsString::from("fstab=no")]);
        let log = File::create(&console).map_err(CopyError::system("write the copy's console"))?;
        let errors = log.try_clone().map_err(CopyError::system("write the copy's console"))?;
        let began = Instant::now();
        let mut command = runner.contained(&args)?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // Ctrl-C at the terminal is for whom it is typed to, not for a copy in the background.
        command.process_group(0);
        let nspawn = command.spawn().map_err(CopyError::system("start systemd-nspawn"))?;
        let mut booted = Self { nspawn, leader: 0, console, env: runner.env.clone(), began };
        booted.find_leader()?;
        Ok(booted)
    }

    /// The container's first process appears as a child of nspawn, and is ready when it has its own root.
    fn find_leader(&mut self) -> Result<(), CopyError> {
        let limit = Duration::from_secs(20);
        while self.began.elapsed() < limit {
            if let Ok(Some(_)) = self.nspawn.try_wait() {
                return Err(self.failed("systemd-nspawn ended at once"));
            }
            // nspawn's first child sets the container up and goes; the last one stays and is PID 1 inside.
            if let Some(leader) = children(self.nspawn.id())
                .last()
                .copied()
                .filter(|pid| is_first_inside(*pid))
                .and_then(|pid| u32::try_from(pid).ok())
            {
                self.leader = leader;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        Err(self.failed("its first process did not appear"))
    }

    fn failed(&self, what: &str) -> CopyError {
        let console = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&console[console.len().saturating_sub(2000)..]).trim().to_owned();
        CopyError::Boot { what: if text.is_empty() { what.to_owned() } else { format!("{what}: {text}") } }
    }

    /// Whether it still runs: somebody in it may have turned it off, or had it boot again, which comes to the same here. One
    /// that is on its way down is waited for.
    pub fn runs(&mut self) -> bool {
        let until = Instant::now() + WAY_DOWN;
        while self.has_leader() && self.is_stopping() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(30));
        }
        self.has_leader()
    }

    /// After a reboot nspawn has another first process, of which nobody here knows anything.
    fn has_leader(&mut self) -> bool {
        let is_leader = |pid: i32| u32::try_from(pid) == Ok(self.leader) && is_first_inside(pid);
        matches!(self.nspawn.try_wait(), Ok(None)) && children(self.nspawn.id()).into_iter().any(is_leader)
    }

    fn is_stopping(&self) -> bool {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.leader)).unwrap_or_default();
        let asked = ["systemctl", "is-system-running"].map(OsString::from);
        // On its last way it answers nobody, and then has another name.
        let answers =
            |state: &str| matches!(state, "initializing" | "starting" | "running" | "degraded" | "maintenance");
        name.starts_with("systemd-shut") || !self.ask(&asked, Duration::from_secs(2)).is_ok_and(|state| answers(&state))
    }

    /// Waits until the start-up is over, at most `limit`.
    ///
    /// # Errors
    /// The copy died.
    pub fn settle(&mut self, limit: Duration) -> Result<Settled, CopyError> {
        let mut state = String::from("starting");
        while self.began.elapsed() < limit {
            if let Ok(Some(_)) = self.nspawn.try_wait() {
                return Err(self.failed("it ended while it started"));
            }
            if self.bus().exists() {
                let wait = ["systemctl", "is-system-running", "--wait"].map(OsString::from);
                state = self.ask(&wait, limit.saturating_sub(self.began.elapsed()))?;
                if !matches!(state.as_str(), "" | "offline" | "unknown" | "initializing" | "starting") {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Settled { state, took: self.began.elapsed() })
    }

    /// The path, from outside, of the copy's system bus; systemd's own socket where the copy has no bus.
    #[must_use]
    pub fn bus(&self) -> PathBuf {
        let run = self.inside("/run");
        let bus = run.join("dbus/system_bus_socket");
        let has_bus = self.inside("/usr/bin/dbus-daemon").exists() || self.inside("/usr/bin/dbus-broker").exists();
        if has_bus { bus } else { run.join("systemd/private") }
    }

    /// The path, from outside, of `path` inside.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.leader)).join(path.trim_start_matches('/'))
    }

    /// The process that is PID 1 inside.
    #[must_use]
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// Runs a command in the copy as a service of its own, and waits for it.
    ///
    /// # Errors
    /// nsenter cannot be started.
    pub fn run(&self, command: &Command, output: Output<'_>) -> Result<Ended, CopyError> {
        let mut args = self.enter();
        let how = if output.interactive() { "--pty" } else { "--pipe" };
        // What the command leaves running is production's business too: only the command itself ends with it.
        args.extend(
            ["systemd-run", "--quiet", "--wait", "--collect", how, "-p", "KillMode=process"].map(OsString::from),
        );
        if let Some(limit) = command.timeout {
            args.extend(["-p".into(), OsString::from(format!("RuntimeMaxSec={}ms", limit.as_millis()))]);
        }
        for (name, value) in &self.env {
            args.push(format!("--setenv={name}={value}").into());
        }
        if let Some(dir) = &command.dir {
            args.push({
                let mut option = OsString::from("--working-directory=");
                option.push(dir);
                option
            });
        }
        args.push("--".into());
        args.extend(command.argv.iter().map(|word| as_is(word)));
        let outer = command.timeout.map(|limit| limit + Duration::from_secs(5));
        let mut ended = execute(process(&args), output, outer, "enter the copy")?;
        if command.timeout.is_some_and(|limit| ended.took >= limit) && ended.code != 0 {
            ended.code = super::nspawn::TIMED_OUT;
        }
        Ok(ended)
    }

    /// Runs a short command that is not part of the change and returns its output's first line.
    ///
    /// # Errors
    /// nsenter cannot be started.
    pub fn ask(&self, argv: &[OsString], limit: Duration) -> Result<String, CopyError> {
        let mut text = Vec::new();
        let mut args = self.enter();
        args.extend(argv.iter().cloned());
        let mut sink = |bytes: &[u8]| text.extend_from_slice(bytes);
        execute(process(&args), Output::To(&mut sink), Some(limit), "enter the copy")?;
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned())
    }

    /// nsenter into all namespaces of the copy.
    pub(crate) fn enter(&self) -> Vec<OsString> {
        let leader = self.leader.to_string();
        ["nsenter", "--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--"]
            .map(OsString::from)
            .to_vec()
    }

    /// Asks the copy to shut down in good order, at most `limit`: for files that services write when they end.
    pub fn shut_down(&mut self, limit: Duration) {
        // SIGRTMIN+4: systemd's power-off.
        let _ = self.ask(&["systemctl", "poweroff", "--no-block"].map(OsString::from), Duration::from_secs(5));
        let until = Instant::now() + limit;
        while Instant::now() < until && matches!(self.nspawn.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.leader).ok().and_then(Pid::from_raw).filter(|_| self.has_leader()) {
            // The kernel kills all others of the process namespace with its first.
            let _ = kill_process(pid, Signal::KILL);
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && matches!(self.nspawn.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        kill_tree(&mut self.nspawn);
        let _ = self.nspawn.wait();
    }
}

/// A word of a command that systemd shall hand on as it is: it would replace `${NAME}` itself, before any shell sees it.
fn as_is(word: &OsStr) -> OsString {
    let mut out = Vec::with_capacity(word.len());
    for byte in word.as_bytes() {
        out.extend(std::iter::repeat_n(*byte, if *byte == b'$' { 2 } else { 1 }));
    }
    OsString::from_vec(out)
}

/// Whether a process is PID 1 of a namespace below ours: `NSpid` has a second number and it is 1.
fn is_first_inside(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let inner = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .map(|rest| rest.split_whitespace().collect::<Vec<_>>());
    inner.is_some_and(|numbers| numbers.len() >= 2 && numbers.last() == Some(&"1"))
}
