//! Kernel parameters, from /proc/sys as the calling thread's namespaces show it.
//!
//! A copy shares the host's kernel. What it has for itself are the network's parameters, the names of its UTS namespace
//! and the limits of its IPC namespace; everything else in its /proc/sys is the host's, can't be written there, and may
//! change for reasons of the host's own. So of a copy only the former are read.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use crate::sys::fs;

/// Which parameters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All.
    All,
    /// Those that a copy has for itself.
    Namespaced,
    /// The network's.
    Net,
}

/// Those that change by themselves, or differ from one read to the next: found by reading twice, and counters, states and
/// random values by what the kernel's documentation (admin-guide/sysctl) says they are. `*` at the end stands for any rest.
const VOLATILE: &[&str] = &[
    "fs/aio-nr",
    "fs/dentry-state",
    "fs/dquot/*",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota/*",
    "fs/binfmt_misc/*",
    "kernel/cad_pid",
    "kernel/latencytop",
    "kernel/ns_last_pid",
    "kernel/pty/nr",
    "kernel/random/*",
    "kernel/sched_domain/*",
    "kernel/tainted",
    "kernel/keys/*",
    "net/ipv4/route/flush",
    "net/ipv4/tcp_fastopen_key",
    "net/ipv6/route/flush",
    "net/netfilter/nf_conntrack_count",
    "net/nf_conntrack_count",
    "vm/compact_memory",
    "vm/drop_caches",
    "vm/stat_refresh",
];

/// Names in the per-interface directories that the kernel warns about when they are read, or that hold a secret.
const UNREAD: &[&str] = &["stable_secret", "base_reachable_time", "retrans_time"];

/// The parameters that a UTS or IPC namespace has for itself.
const NAMESPACED: &[&str] = &[
    "kernel/domainname",
    "kernel/hostname",
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shm_rmid_forced",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
];

/// Every parameter in `scope` by its name with dots, values with single spaces.
pub(super) fn read(scope: Scope) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    // Paths are long here, and each name on the way is asked for anew: everything is opened from its directory.
    let Ok(root) = fs::open_root(Path::new("/proc/sys")) else { return out };
    let mut buffer = Vec::with_capacity(4096);
    let tops: &[&str] = match scope {
        Scope::All => &["abi", "crypto", "debug", "dev", "fs", "kernel", "net", "user", "vm"],
        Scope::Namespaced => &["fs/mqueue", "net"],
        Scope::Net => &["net"],
    };
    for top in tops {
        walk(root.as_fd(), top.as_bytes(), top, &mut buffer, &mut out);
    }
    if scope == Scope::Namespaced {
        for key in NAMESPACED {
            take(root.as_fd(), key.as_bytes(), key, &mut buffer, &mut out);
        }
    }
    out
}

fn walk(above: BorrowedFd<'_>, at: &[u8], name: &str, buffer: &mut Vec<u8>, out: &mut BTreeMap<String, String>) {
    let Ok(dir) = fs::open_dir(above, at) else { return };
    for entry in fs::entries(dir.as_fd(), b"").unwrap_or_default() {
        let Ok(file_name) = std::str::from_utf8(&entry.name) else { continue };
        if UNREAD.contains(&file_name) {
            continue;
        }
        let key = format!("{name}/{file_name}");
        if entry.is_file {
            take(dir.as_fd(), &entry.name, &key, buffer, out);
        } else {
            walk(dir.as_fd(), &entry.name, &key, buffer, out);
        }
    }
}

fn take(dir: BorrowedFd<'_>, name: &[u8], key: &str, buffer: &mut Vec<u8>, out: &mut BTreeMap<String, String>) {
    if is_volatile(key) {
        return;
    }
    buffer.clear();
    // Some may only be written, some give an error as long as nothing is set: neither has a value to compare.
    if fs::open_file(dir, name).and_then(|file| file.take(64 * 1024).read_to_end(buffer)).is_ok() {
        let value = String::from_utf8_lossy(buffer).split_whitespace().collect::<Vec<_>>().join(" ");
        out.insert(dotted(key), value);
    }
}

fn is_volatile(key: &str) -> bool {
    VOLATILE.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => key == *pattern,
    })
}

/// As sysctl(8) writes it: `net/ipv4/conf/eth0.100/x` is `net.ipv4.conf.eth0/100.x`.
fn dotted(key: &str) -> String {
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    key.chars().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_twice_gives_the_same() {
        let first = read(Scope::All);
        assert!(first.len() > 100 && first.contains_key("net.ipv4.ip_forward"), "{} keys", first.len());
        // Start a process: what counts processes must not show.
        std::process::Command::new("true").status().unwrap();
        let second = read(Scope::All);
        // An interface that another test makes or removes brings and takes keys.
        let same = |key: &String, value: &String| second.get(key).is_none_or(|now| now == value);
        let differs: Vec<_> = first.iter().filter(|(key, value)| !same(key, value)).collect();
        assert!(differs.is_empty(), "{differs:?}");
    }

    #[test]
    fn names_with_dots() {
        assert_eq!(dotted("net/ipv4/conf/eth0.100/rp_filter"), "net.ipv4.conf.eth0/100.rp_filter");
    }
}
