//! The lab's own network: a bridge in a network namespace that is connected to nothing else.
//!
//! The namespace lives as long as a process in it, which reads a pipe that we hold: when the test process ends
//! in any way, the pipe closes, that process ends and the network is gone. Whoever is on the network (a lab host, a
//! station) has a virtual Ethernet pair, one end of it a port of the bridge; the relay listens on the bridge's address.
//! No route leads out of it, and the machine's own interfaces, routes and firewall are never touched.
//!
//! Ports do not see each other. The bridge answers for every address (proxy ARP) and the namespace routes what it
//! gets back to the bridge, so that all traffic between two of them is forwarded by one kernel table, where
//! [`cuts`](super::cuts) filters it. Filtering on the bridge itself cannot reject: many kernels have no module for it.

use super::process::{self, must_succeed, run, run_ok, start};
use super::{LabError, SHORT, cuts};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The bridge's name in its namespace.
const BRIDGE: &str = "lab0";

/// The name of the interface in a host or station.
const INTERFACE: &str = "host0";

/// Set by hand, because a bridge otherwise takes the lowest address of its ports: it would change whenever a host comes or
/// goes, and the others would send to nobody until they ask again, a minute later.
const MAC: &str = "02:00:c0:00:02:01";

/// The bridge's address, from a range that is never routed (RFC 5737).
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The address of the host or station with this number in its lab.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    let [a, b, c, _] = GATEWAY.octets();
    // More than 253 in one lab would share addresses; no machine boots that many.
    Ipv4Addr::new(a, b, c, u8::try_from(number % 253).unwrap_or(0) + 2)
}

/// A running lab network.
#[derive(Debug)]
pub(crate) struct Network {
    holder: Child,
    /// Whether the table for cuts is there.
    cuts: Mutex<bool>,
}

impl Network {
    /// Makes the namespace and the bridge.
    pub(crate) fn start() -> Result<Self, LabError> {
        let holder =
            start(Command::new("unshare").args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()))?;
        let network = Self { holder, cuts: Mutex::new(false) };
        network.wait_for_namespace()?;
        run_ok(network.enter("sh").args(["-euc", &bridge_script()]), SHORT)?;
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
        within(&self.path(), move || TcpListener::bind(address)).map_err(LabError::io("listen in", &self.path()))
    }

    /// Puts the network namespace of process `pid` on the network as `address`. A port that an earlier namespace had
    /// for this address is removed.
    pub(crate) fn attach(&self, pid: u32, address: Ipv4Addr) -> Result<(), LabError> {
        let [.., last] = address.octets();
        let script = format!(
            "ip link del port{last} 2>/dev/null || true
             ip link add port{last} master {BRIDGE} type veth \
                 peer name {INTERFACE} address 02:00:c0:00:02:{last:02x} netns {pid}
             ip link set port{last} up type bridge_slave isolated on
             exec nsenter --net=/proc/{pid}/ns/net -- \
                 sh -euc 'ip addr add {address}/24 dev {INTERFACE}; ip link set {INTERFACE} up'"
        );
        run_ok(self.enter("sh").args(["-euc", &script]), SHORT).map(|_| ())
    }

    /// Pulls the cable of the host or station that has `address`; nothing when it has none.
    pub(crate) fn detach(&self, address: Ipv4Addr) -> Result<(), LabError> {
        let [.., last] = address.octets();
        run(self.enter("ip").args(["link", "del", &format!("port{last}")]), b"", SHORT).map(|_| ())
    }

    /// Changes the table of [`cuts`] with commands of nft(8), making it first when it is not there.
    pub(crate) fn filter(&self, commands: &str) -> Result<(), LabError> {
        let mut there = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let table = if *there { "" } else { cuts::TABLE };
        let input = format!("{table}{commands}");
        let output = run(self.enter("nft").args(["-f", "-"]), input.as_bytes(), SHORT)?;
        must_succeed(format!("nft -f - <<'{input}'"), output)?;
        *there = true;
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = process::wait(&mut self.holder, SHORT);
    }
}

/// The commands that make the bridge, and the router behind it, in a new namespace.
fn bridge_script() -> String {
    format!(
        "ip link set lo up
         ip link add {BRIDGE} address {MAC} type bridge
         ip addr add {GATEWAY}/24 dev {BRIDGE}
         echo 1 >/proc/sys/net/ipv4/conf/{BRIDGE}/proxy_arp_pvlan
         echo 0 >/proc/sys/net/ipv4/neigh/{BRIDGE}/proxy_delay
         echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
         echo 0 >/proc/sys/net/ipv4/conf/{BRIDGE}/send_redirects
         echo 1 >/proc/sys/net/ipv4/ip_forward
         ip link set {BRIDGE} up"
    )
}

/// Runs `action` in a network namespace. A thread of its own goes there, because a thread that has changed its
/// namespace is of no more use to the rest of the process.
pub(crate) fn within<T: Send + 'static>(
    namespace: &Path,
    action: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let file = File::open(namespace)?;
    let done = thread::spawn(move || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind)?;
        action()
    })
    .join();
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
