//! What only names a machine: host name, machine id, addresses; of a running host as they are, of a tree as its files say.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use greenroom_core::TreePath;
use greenroom_core::parity::Identity;

use super::inside::Inside;

pub(super) fn read(inside: &Inside, running: bool) -> Identity {
    let first = |path: &str| {
        let (text, _) = inside.text(&path.into())?;
        let line = text.lines().next()?.trim().to_owned();
        (!line.is_empty()).then_some(line)
    };
    let hostname = if running {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        first("/etc/hostname").unwrap_or_else(|| "localhost".to_owned())
    };
    let mut addresses = configured(inside);
    if running {
        addresses.extend(v4(&fs::read_to_string("/proc/net/fib_trie").unwrap_or_default()));
        addresses.extend(v6(&fs::read_to_string("/proc/net/if_inet6").unwrap_or_default()));
    }
    addresses.sort();
    addresses.dedup();
    Identity { hostname, machine_id: first("/etc/machine-id").unwrap_or_default(), addresses }
}

/// Addresses that interfaces(5) and systemd.network(5) give to the machine.
fn configured(inside: &Inside) -> Vec<String> {
    let mut files = vec![TreePath::from("/etc/network/interfaces")];
    for dir in ["/etc/network/interfaces.d", "/etc/systemd/network"] {
        let dir = TreePath::from(dir);
        files.extend(inside.names(&dir).iter().map(|name| dir.join(name)));
    }
    let texts = files.iter().filter_map(|path| inside.text(path));
    texts.flat_map(|(text, _)| text.lines().filter_map(address).collect::<Vec<_>>()).collect()
}

fn address(line: &str) -> Option<String> {
    let line = line.trim();
    let value = line.strip_prefix("address ").or_else(|| line.strip_prefix("Address="))?.trim();
    let bare = value.split('/').next()?;
    bare.parse::<std::net::IpAddr>().ok().map(|address| address.to_string())
}

/// Local addresses in fib_trie: an address, and below it a leaf `/32 host LOCAL`.
fn v4(text: &str) -> Vec<String> {
    let mut last = None;
    let mut out = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            out.extend(last.map(|address| address.to_string()));
        }
    }
    out
}

fn v6(text: &str) -> Vec<String> {
    let hex = |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok();
    text.lines().filter_map(hex).map(|bits| Ipv6Addr::from(bits).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_files_and_kernel() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.7\n        /32 host LOCAL\n\
            Local:\n     |-- 10.0.0.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(v4(trie), ["10.0.0.7", "127.0.0.1"]);
        let inet6 = "20010db8000000000000000000000001 02 40 00 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(v6(inet6), ["2001:db8::1", "::1"]);
        let table = [
            ("  address 10.0.0.5/24", Some("10.0.0.5")),
            ("Address=2001:db8::5/64", Some("2001:db8::5")),
            ("address dhcp", None),
            ("Gateway=10.0.0.1", None),
        ];
        for (line, expected) in table {
            assert_eq!(address(line).as_deref(), expected, "{line}");
        }
    }
}
