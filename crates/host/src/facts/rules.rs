//! The firewall's rules in the network namespace of the calling thread: nftables, and iptables of the old kind (the new
//! kind is nftables underneath and shows there).
//!
//! Asking nft(8) costs a process; a namespace without any table is told apart by one netlink message
//! (`NFT_MSG_GETTABLE`, linux/netfilter/nf_tables.h) or, for the old kind, one file. No module is loaded by looking.

use std::fs;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};

use super::Target;
use super::tool::{self, Failed};

/// The rule sets as their own tools print them, without counters; empty when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `nft -s list ruleset`.
    pub nftables: String,
    /// `iptables-save` and `ip6tables-save`, of the old kind.
    pub iptables: String,
    pub(super) gaps: Vec<String>,
}

/// Reads the rules. The host's tools are used; those of the copy when the host has none.
pub(super) fn read(target: Option<Target>) -> Rules {
    let mut out = Rules::default();
    let leader = match target {
        Some(Target::Copy { leader }) => Some(leader.to_string()),
        _ => None,
    };
    if has_nft_tables() {
        match ask(&["nft", "-s", "list", "ruleset"], leader.as_deref()) {
            Ok(text) => out.nftables = text,
            Err(Failed::Missing) => out.gaps.push("nftables rules were not compared: there is no nft(8)".to_owned()),
            Err(Failed::Broken(why)) => out.gaps.push(format!("nftables rules were not compared: {why}")),
        }
    }
    for (file, tools) in [
        ("ip_tables_names", ["iptables-legacy-save", "iptables-save"]),
        ("ip6_tables_names", ["ip6tables-legacy-save", "ip6tables-save"]),
    ] {
        if fs::read_to_string(format!("/proc/thread-self/net/{file}")).is_ok_and(|names| !names.trim().is_empty()) {
            match tools.iter().map(|tool| ask(&[tool], leader.as_deref())).find_map(Result::ok) {
                Some(text) => out.iptables.push_str(&text),
                None => out.gaps.push(format!("iptables rules were not compared: {} does not work here", tools[0])),
            }
        }
    }
    out
}

fn ask(argv: &[&str], leader: Option<&str>) -> Result<String, Failed> {
    match (tool::run(argv), leader) {
        (Err(Failed::Missing), Some(leader)) => tool::run(&[&["nsenter", "-t", leader, "-m", "-n"], argv].concat()),
        (outcome, _) => outcome,
    }
}

/// Whether there is any nftables table. When in doubt, yes.
fn has_nft_tables() -> bool {
    nft_in_kernel() && count_nft_tables().unwrap_or(true)
}

/// Opening the socket would load the module, and a look changes nothing. Without modules, or with it built in, ask.
fn nft_in_kernel() -> bool {
    let Ok(modules) = fs::read_to_string("/proc/modules") else { return true };
    let loaded = modules.lines().any(|line| line.starts_with("nf_tables "));
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    // Unreadable, for instance in a container: cannot tell.
    loaded
        || fs::read_to_string(format!("/lib/modules/{release}/modules.builtin"))
            .map_or(true, |list| list.contains("/nf_tables.ko"))
}

fn count_nft_tables() -> rustix::io::Result<bool> {
    const GETTABLE: u16 = (10 << 8) | 1;
    const REQUEST_DUMP: u16 = 0x301;
    const DONE: u16 = 3;
    const ERROR: u16 = 2;
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER))?;
    // struct nlmsghdr (length, type, flags, sequence, port) and struct nfgenmsg (family: all, version, resource).
    let mut request = Vec::with_capacity(20);
    request.extend_from_slice(&20u32.to_ne_bytes());
    request.extend_from_slice(&GETTABLE.to_ne_bytes());
    request.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 12]);
    send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0u8; 8192];
    // The kernel answers within the call above, so nothing is waited for.
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    Ok(length >= 16 && kind != DONE && kind != ERROR)
}
