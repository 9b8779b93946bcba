//! The lab's own network: a bridge in a network namespace that is connected to nothing else.
//!
//! The namespace lives as long as a process in it, which reads a pipe that we hold: when the test process ends
//! in any way, the pipe closes, that process ends and the network is gone. Lab hosts hang on the bridge with a
//! virtual Ethernet pair; the relay listens on the bridge's address. No route leads out of it, and the machine's
//! own interfaces, routes and firewall are never touched.

use super::process::{self, run_ok, start};
use super::{LabError, SHORT};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The bridge's name in its namespace.
pub(crate) const BRIDGE: &str = "lab0";

/// Set by hand, because a bridge otherwise takes the lowest address of its ports: it would change whenever a host comes or
/// goes, and the others would send to nobody until they ask again, a minute later.
const MAC: &str = "02:00:c0:00:02:01";

/// The bridge's address, from a range that is never routed (RFC 5737).
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A running lab network.
#[derive(Debug)]
pub(crate) struct Network {
    holder: Child,
}

impl Network {
    /// Makes the namespace and the bridge.
    pub(crate) fn start() -> Result<Self, LabError> {
        let holder =
            start(Command::new("unshare").args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()))?;
        let network = Self { holder };
        network.wait_for_namespace()?;
        let script = format!(
            "ip link set lo up; ip link add {BRIDGE} address {MAC} type bridge; ip addr add {GATEWAY}/24 dev {BRIDGE}; \
             ip link set {BRIDGE} up"
        );
        run_ok(network.enter("sh").args(["-euc", &script]), SHORT)?;
        Ok(network)
    }

    /// The child is in our namespace until its `unshare` has run.
    fn wait_for_namespace(&self) -> Result<(), LabError> {
        let theirs = self.path();
        let ours = fs::read_link("/proc/self/ns/net").map_err(LabError::io("read", &theirs))?;
        let end = Instant::now() + SHORT;
        while fs::read_link(&theirs).map_err(LabError::io("read", &theirs))? == ours {
            if Instant::now() > end {
                return Err(LabError::TimedOut { command: "unshare --net".into(), limit: SHORT });
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The namespace, as a file.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.id()))
    }

    /// A command that runs in the network namespace and in nothing else of the lab.
    pub(crate) fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Listens on an address in the namespace; the connections are then accepted from outside it.
    pub(crate) fn listen(&self, address: SocketAddrV4) -> Result<TcpListener, LabError> {
        listen_in(self.path(), address)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = process::wait(&mut self.holder, SHORT);
    }
}

/// Binds in the network namespace `namespace`. A thread of its own goes there, because a thread that has
/// changed its namespace is of no more use to the rest of the process.
fn listen_in(namespace: PathBuf, address: SocketAddrV4) -> Result<TcpListener, LabError> {
    let bound = thread::spawn(move || {
        let file = File::open(&namespace).map_err(LabError::io("open", &namespace))?;
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)
            .map_err(|e| LabError::io("enter", &namespace)(e.into()))?;
        TcpListener::bind(address).map_err(LabError::io("listen in", &namespace))
    })
    .join();
    bound.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
