//! The IP addresses of this machine, or container: /proc/net/fib_trie says which are local (IPv4), /proc/net/if_inet6 the
//! same for IPv6. Formats: fib_trie_show and if6_seq_show of the Linux tree.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The addresses by which others may reach this machine: none of loopback, none that is valid on one link alone. The one
/// from which packets to the world leave comes first, when there is a way there.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let v4 = local_v4(&read("fib_trie")).into_iter().map(IpAddr::V4);
    let mut all: Vec<IpAddr> = v4.chain(global_v6(&read("if_inet6")).into_iter().map(IpAddr::V6)).collect();
    if let Some(first) = outward() {
        all.sort_by_key(|address| *address != first);
    }
    all
}

/// The address that the kernel would put into a packet to a documentation address (RFC 5737). Nothing is sent.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// `|-- 10.0.0.11` with `/32 host LOCAL` below it.
fn local_v4(text: &str) -> Vec<Ipv4Addr> {
    let mut out = Vec::new();
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            let reachable = |a: &Ipv4Addr| !a.is_loopback() && !a.is_link_local();
            out.extend(last.take().filter(|address| reachable(address) && !out.contains(address)));
        }
    }
    out
}

/// Address, interface, prefix, scope, flags and name, all but the last in hexadecimal; scope 0 is the world.
fn global_v6(text: &str) -> Vec<Ipv6Addr> {
    let address = |line: &str| {
        let mut fields = line.split_whitespace();
        let bits = u128::from_str_radix(fields.next()?, 16).ok()?;
        (fields.nth(2)? == "00").then(|| Ipv6Addr::from_bits(bits))
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.0.0.11\n        /32 host LOCAL\n\
                    Local:\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.11\n        /32 host LOCAL\n     \
                    |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 169.254.3.4\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(local_v4(trie), [Ipv4Addr::new(10, 0, 0, 11)]);
        let v6 = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000011 02 40 00 80     eth0\n\
                  fe80000000000000021122fffe334455 02 40 20 80     eth0\n";
        assert_eq!(global_v6(v6), ["fd00::11".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn the_outward_address_is_one_of_this_machine() {
        let all = addresses();
        assert!(all.iter().all(|address| !address.is_loopback()));
        if let Some(first) = outward().filter(|address| !address.is_loopback()) {
            assert_eq!(all.first(), Some(&first));
        }
    }
}
