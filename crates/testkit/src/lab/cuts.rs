//! Cuts of the lab's network between any two that are on it: tables of the namespace that routes between them.
//!
//! Everything is by address pairs, each direction its own, in sets of nftables: a cut takes effect with the next packet,
//! on connections that are open as well.

use super::LabError;
use super::network::Network;
use std::net::Ipv4Addr;

/// How a cut shows itself to the two that it separates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Packets vanish, as behind a cable that was pulled: a program sees nothing until its own timeout.
    Drop,
    /// TCP is answered with a reset and the rest with "host unreachable", as a firewall that refuses does.
    Reject,
}

/// The sets are in the order in which they are asked. `inward` is about a host that nobody in the first place of a
/// pair can call, though it can call them.
pub(crate) const TABLE: &str = "\
table inet cuts {
    set dropped { type ipv4_addr . ipv4_addr; }
    set rejected { type ipv4_addr . ipv4_addr; }
    set inward { type ipv4_addr . ipv4_addr; }
    chain between {
        type filter hook forward priority 0; policy accept;
        ip saddr . ip daddr @dropped drop
        ip saddr . ip daddr @rejected meta l4proto tcp reject with tcp reset
        ip saddr . ip daddr @rejected reject with icmpx type host-unreachable
        ip saddr . ip daddr @inward tcp flags & (syn | ack) == syn drop
    }
}
";

/// Separates two, whatever separated them before.
pub(crate) fn cut(network: &Network, pair: (Ipv4Addr, Ipv4Addr), how: Cut) -> Result<(), LabError> {
    let set = match how {
        Cut::Drop => "dropped",
        Cut::Reject => "rejected",
    };
    network.filter(&format!("{}{}", healed(pair), command("add", set, pair)))
}

/// Takes the cut between two back; nothing when there is none.
pub(crate) fn heal(network: &Network, pair: (Ipv4Addr, Ipv4Addr)) -> Result<(), LabError> {
    network.filter(&healed(pair))
}

/// Takes all cuts back, not what [`close_inward`] closed.
pub(crate) fn heal_all(network: &Network) -> Result<(), LabError> {
    network.filter("flush set inet cuts dropped\nflush set inet cuts rejected\n")
}

/// From now on `caller` cannot open a TCP connection to `host`; the other way it can.
pub(crate) fn close_inward(network: &Network, caller: Ipv4Addr, host: Ipv4Addr) -> Result<(), LabError> {
    network.filter(&format!("add element inet cuts inward {{ {caller} . {host} }}\n"))
}

/// nft(8) refuses to delete what is not there, so it is added first.
fn healed(pair: (Ipv4Addr, Ipv4Addr)) -> String {
    let of = |set| command("add", set, pair) + &command("delete", set, pair);
    of("dropped") + &of("rejected")
}

fn command(verb: &str, set: &str, (a, b): (Ipv4Addr, Ipv4Addr)) -> String {
    format!("{verb} element inet cuts {set} {{ {a} . {b}, {b} . {a} }}\n")
}
