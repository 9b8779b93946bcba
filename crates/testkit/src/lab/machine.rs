//! A booted lab host: systemd-nspawn, its leader (PID 1 of the host), and the ways to end it.
//!
//! Killing systemd-nspawn alone leaves the leader and all of the host running, so everything here ends a host
//! by its leader. In case this process is killed, a small guard process holds the other end of a pipe: when the
//! pipe closes, it kills the leader. The leader's pid with its start time also stands in a file, for the sweep.

use super::cgroup::Group;
use super::leader::{self, Leader};
use super::network::Network;
use super::process::{self, run, start};
use super::{LabError, PATH, SHORT};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How to boot a host.
#[derive(Clone, Debug)]
pub struct Boot {
    wire: Option<WireKind>,
    masked: Vec<String>,
    limit: Duration,
}

impl Boot {
    /// Only a loopback interface.
    #[must_use]
    pub fn isolated() -> Self {
        Self { wire: None, masked: Vec::new(), limit: Duration::from_secs(60) }
    }

    /// On the lab's network, where hosts and stations of the same lab are reachable and nothing else.
    #[must_use]
    pub fn networked() -> Self {
        Self { wire: Some(WireKind::Plain), ..Self::isolated() }
    }

    /// On the lab's network, where the Debian mirror is reachable too and nothing else outside the lab.
    #[must_use]
    pub fn with_packages() -> Self {
        Self { wire: Some(WireKind::Packages), ..Self::isolated() }
    }

    /// Does not start this unit, as though it were masked, with no file in the host for it.
    #[must_use]
    pub fn mask(mut self, unit: &str) -> Self {
        self.masked.push(unit.to_owned());
        self
    }

    /// Gives up when the host has not settled after `limit` (60 s unless told otherwise).
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn wire(&self) -> Option<WireKind> {
        self.wire
    }
}

/// What is on the lab's network for a host that is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireKind {
    /// The other hosts.
    Plain,
    /// The other hosts and the package relay.
    Packages,
}

/// What a machine is started from.
pub(crate) struct Start<'a> {
    pub(crate) name: &'a str,
    /// The host's directory, for its console and the like.
    pub(crate) dir: &'a Path,
    pub(crate) root: &'a Path,
    /// Unique on this machine.
    pub(crate) id: &'a str,
    pub(crate) boot: &'a Boot,
}

/// The lab's network and the host's address in it; `None` for a host with only a loopback interface.
pub(crate) type Wire<'a> = Option<(&'a Network, Ipv4Addr)>;

/// A running host.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    leader: Leader,
    processes: Processes,
    console: PathBuf,
    /// What `is-system-running` said when the host had settled.
    pub(crate) state: String,
}

impl Machine {
    pub(crate) fn start(options: &Start<'_>, wire: Wire<'_>) -> Result<Self, LabError> {
        let console = options.dir.join("console.log");
        let mut processes = Processes::start(options, &console)?;
        let end = Instant::now() + options.boot.limit;
        let mut state = "not started".to_owned();
        let mut addressed = wire.is_none();
        while Instant::now() < end {
            if let Some(leader) = processes.leader()? {
                if let (false, Some((network, address))) = (addressed, wire) {
                    network.attach(leader.pid, address)?;
                    addressed = true;
                }
                state = settled_state(&leader, end)?;
                if addressed && (state == "running" || state == "degraded") {
                    let name = options.name.to_owned();
                    return Ok(Self { name, leader, processes, console, state });
                }
            }
            if let Ok(Some(status)) = processes.nspawn.try_wait() {
                state = format!("systemd-nspawn ended with {status}");
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(LabError::NotSettled {
            name: options.name.to_owned(),
            limit: options.boot.limit,
            state,
            console: process::tail(&read_console(&console), 4000).to_owned(),
        })
    }

    /// A command that runs in all namespaces of the host, though in none of its control groups.
    pub(crate) fn enter(&self) -> Command {
        enter(&self.leader)
    }

    /// The number of the host's PID 1 on this machine.
    pub(crate) fn leader(&self) -> u32 {
        self.leader.pid
    }

    pub(crate) fn group(&self) -> &Group {
        &self.processes.group
    }

    pub(crate) fn console(&self) -> String {
        read_console(&self.console)
    }

    /// Asks systemd in the host to shut down; kills it when that takes longer than `limit`.
    pub(crate) fn poweroff(mut self, limit: Duration) -> Result<(), LabError> {
        // The answer may be lost when the manager is quicker than systemctl: what counts is the end of nspawn.
        let _ = run(self.enter().args(["systemctl", "poweroff"]), b"", SHORT);
        match process::wait(&mut self.processes.nspawn, limit) {
            Some(_) => Ok(()),
            None => Err(LabError::TimedOut { command: format!("powering off {}", self.name), limit }),
        }
    }
}

/// The processes of a host; all are ended on drop, the leader first.
#[derive(Debug)]
struct Processes {
    nspawn: Child,
    leader: Option<Leader>,
    guard: Option<Child>,
    /// Where the leader is written down for the sweep.
    file: PathBuf,
    group: Group,
}

impl Processes {
    fn start(options: &Start<'_>, console: &Path) -> Result<Self, LabError> {
        let group = Group::new(options.id);
        let log = File::create(console).map_err(LabError::io("write", console))?;
        let errors = log.try_clone().map_err(LabError::io("write", console))?;
        let mut command = nspawn(options, &group);
        let nspawn = start(command.stdin(Stdio::null()).stdout(log).stderr(errors))?;
        let file = leader::file_in(options.dir);
        Ok(Self { nspawn, leader: None, guard: None, file, group })
    }

    /// The host's PID 1, once there is one; from then on it is guarded.
    fn leader(&mut self) -> Result<Option<Leader>, LabError> {
        if self.leader.is_none()
            && let Some(leader) = leader::child_that_is_init(self.nspawn.id())
        {
            leader.write_down(&self.file)?;
            self.guard = Some(leader.guard()?);
            self.leader = Some(leader);
        }
        Ok(self.leader.clone())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if let Some(guard) = &mut self.guard {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        if let Some(leader) = self.leader.take().or_else(|| leader::child_that_is_init(self.nspawn.id())) {
            leader.kill();
        }
        // Without a leader nspawn ends by itself, and cleans up what it made.
        if process::wait(&mut self.nspawn, Duration::from_secs(5)).is_none() {
            let _ = self.nspawn.kill();
            let _ = self.nspawn.wait();
        }
    }
}

/// The command that boots the host: all capabilities and the calls that Greenroom itself needs in there (fanotify,
/// file handles, mounts for its own copies), nothing of the machine written into the host.
fn nspawn(options: &Start<'_>, group: &Group) -> Command {
    let mut command = group.command("systemd-nspawn");
    command
        .arg("--private-network")
        .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no", "--console=pipe"])
        .args(["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--capability=all"])
        .arg("--system-call-filter=fanotify_init fanotify_mark open_by_handle_at name_to_handle_at @mount bpf")
        .arg(format!("--machine={}", options.id))
        .arg(format!("--hostname={}", options.name))
        .arg("--directory")
        .arg(options.root);
    command.args(options.boot.masked.iter().map(|unit| format!("systemd.mask={unit}")));
    command
}

fn enter(leader: &Leader) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--all", "--target", &leader.pid.to_string(), "--"]);
    command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
    command
}

/// Waits until the host has settled, or only until its manager answers something else, when it is too young to be asked
/// to wait. Asking again and again would take more of the processor than booting does.
fn settled_state(leader: &Leader, end: Instant) -> Result<String, LabError> {
    let left = end.saturating_duration_since(Instant::now());
    match run(enter(leader).args(["systemctl", "is-system-running", "--wait"]), b"", left) {
        Ok(output) => Ok(if output.out().is_empty() { output.err() } else { output.out() }),
        Err(LabError::TimedOut { .. }) => {
            let output = run(enter(leader).args(["systemctl", "is-system-running"]), b"", SHORT)?;
            Ok(output.out())
        }
        Err(error) => Err(error),
    }
}

fn read_console(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}
