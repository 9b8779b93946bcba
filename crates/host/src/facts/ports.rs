//! Ports that somebody listens on: /proc/PID/net/{tcp,tcp6,udp,udp6} says which, the descriptors of the target's
//! processes say who. Format: proc_net_tcp.rst of the Linux tree.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Target;
use super::processes::{Process, Processes};

/// A port that somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// `tcp` or `udp`.
    pub proto: &'static str,
    /// The local address; `0.0.0.0` and `::` stand for all.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Name of one process that holds it.
    pub process: Option<String>,
    /// The unit of that process.
    pub unit: Option<String>,
}

/// UDP sockets above this are most often a client's that waits for an answer (`ip_local_port_range`).
const EPHEMERAL: u16 = 32_768;

/// The ports that the kernel gives to those who ask for any, both ends included.
pub(super) fn ephemeral() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().map(|end| end.parse().ok());
    match (ends.next().flatten(), ends.next().flatten()) {
        (Some(first), Some(last)) => (first, last),
        _ => (EPHEMERAL, 60_999),
    }
}

struct Listening {
    proto: &'static str,
    address: String,
    port: u16,
    inode: u64,
}

pub(super) fn read(target: Target, processes: &Processes) -> BTreeSet<Port> {
    let mut found = Vec::new();
    for (file, proto) in [("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp")] {
        // No tcp6 where IPv6 is switched off.
        let text = fs::read_to_string(format!("{}/net/{file}", target.proc())).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(|line| listening(proto, line)));
    }
    let holders = holders(&found, processes);
    let port = |l: Listening| {
        let holder = holders.get(&l.inode);
        let unit = holder.and_then(|p| processes.unit(p.pid)).filter(|u| u != "init.scope" || is_manager(holder));
        Port { proto: l.proto, address: l.address, port: l.port, process: holder.map(|p| p.name.clone()), unit }
    };
    found.into_iter().map(port).collect()
}

/// systemd itself holds the sockets of units that are activated by them.
fn is_manager(holder: Option<&&Process>) -> bool {
    holder.is_some_and(|p| p.name == "systemd")
}

fn holders<'a>(found: &[Listening], processes: &'a Processes) -> HashMap<u64, &'a Process> {
    let mut wanted: BTreeSet<u64> = found.iter().map(|l| l.inode).collect();
    let mut out = HashMap::new();
    for process in processes.iter() {
        if wanted.is_empty() {
            break;
        }
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(link) = fs::read_link(descriptor.path()) else { continue };
            let inode = link.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| wanted.contains(inode)) {
                // A service is preferred to systemd, which keeps a socket it has handed over.
                if process.name != "systemd" {
                    wanted.remove(&inode);
                    out.insert(inode, process);
                } else {
                    out.entry(inode).or_insert(process);
                }
            }
        }
    }
    out
}

fn listening(proto: &'static str, line: &str) -> Option<Listening> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let remote = fields.next()?;
    let state = fields.next()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    let unconnected = remote.bytes().all(|b| matches!(b, b'0' | b':'));
    let listens = match proto {
        "tcp" => state == "0A",
        _ => state == "07" && unconnected && port < EPHEMERAL,
    };
    listens.then(|| Some(Listening { proto, address: shown(address)?, port, inode })).flatten()
}

/// Words of 32 bits in the machine's own byte order.
fn shown(hex: &str) -> Option<String> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok();
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?.to_ne_bytes()).to_string());
    }
    let mut bytes = [0; 16];
    for at in 0..4 {
        bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?.to_ne_bytes());
    }
    Some(Ipv6Addr::from(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let table = [
            (
                "tcp",
                "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 33704 1 0 100 0 0 10 0",
                Some("127.0.0.1 22 33704"),
            ),
            (
                "tcp",
                "   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 \
                 00000000     0        0 99 1 0 100 0 0 10 0",
                Some("::1 8080 99"),
            ),
            (
                "tcp",
                "   2: 0100007F:0016 0100007F:D431 01 00000000:00000000 02:000A 00000000     0        0 5 1 0 20 4 30 10 -1",
                None,
            ),
            (
                "udp",
                " 100: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 77 2 0 0",
                Some("0.0.0.0 53 77"),
            ),
            ("udp", " 101: 00000000:C350 00000000:0000 07 00000000:00000000 00:00000000 00000000 101 0 78 2 0 0", None),
            ("udp", " 101: 00000000:0044 0100007F:0043 07 00000000:00000000 00:00000000 00000000 101 0 78 2 0 0", None),
            ("tcp", "garbage", None),
        ];
        for (proto, line, expected) in table {
            let found = listening(proto, line).map(|l| format!("{} {} {}", l.address, l.port, l.inode));
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_listener_of_our_own_is_found_with_its_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = read(Target::Host, &Processes::of(Target::Host).unwrap());
        let mine = found.iter().find(|p| p.port == port && p.proto == "tcp").unwrap();
        assert_eq!(mine.address, "127.0.0.1");
        assert!(mine.process.is_some());
    }
}
