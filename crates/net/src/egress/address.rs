//! Which addresses a *name* may lead to. Guards against DNS rebinding: an allowed name whose owner points it at loopback, at this
//! host, or at a cloud's metadata service would otherwise turn the proxy into a door to what it is meant to protect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Metadata services of clouds that are not link-local: Alibaba, Azure, Oracle, AWS over IPv6.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Why a name may not lead to `ip`, in words that finish "which is …"; `None` when it may.
pub(super) fn forbidden(ip: IpAddr) -> Option<&'static str> {
    let embedded = match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded_v4(v6).map(IpAddr::V4),
    };
    special(ip).or_else(|| embedded.and_then(special)).or_else(|| {
        let own = is_own(ip) || embedded.is_some_and(is_own);
        own.then_some("an address of this host")
    })
}

fn special(ip: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&ip) {
        return Some("a cloud metadata service");
    }
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    // All of 0.0.0.0/8 means "this host on this network" (RFC 1122, section 3.2.1.3).
    let unspecified = ip.is_unspecified() || matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 0);
    if ip.is_loopback() || unspecified {
        Some("a loopback address")
    } else if link_local {
        Some("a link-local address")
    } else if ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast()) {
        Some("not the address of one host")
    } else {
        None
    }
}

/// The IPv4 address that a transition mechanism would send this to: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let o = v6.octets();
    let s = v6.segments();
    if s[0] == 0x2002 {
        return Some(Ipv4Addr::new(o[2], o[3], o[4], o[5]));
    }
    let tail = Ipv4Addr::new(o[12], o[13], o[14], o[15]);
    let nat64 = s[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let mapped = s[..6] == [0, 0, 0, 0, 0, 0xffff];
    let compatible = s[..6] == [0; 6] && u32::from(tail) > 1;
    (nat64 || mapped || compatible).then_some(tail)
}

/// Whether this host answers to `ip`. No packet is sent: a UDP socket is only bound or given a peer.
///
/// The kernel lets a socket bind only to the host's own addresses. With `ip_nonlocal_bind` (usual beside keepalived) it lets it bind
/// to any; then the source address that it would choose decides, which for the host's own address is that address itself.
fn is_own(ip: IpAddr) -> bool {
    let foreign: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let binds = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    if binds(ip) && !binds(foreign) {
        return true;
    }
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_a_name_may_not_mean() {
        for (text, refused) in [
            ("127.0.0.1", true),
            ("127.8.9.1", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.169.254", true),
            ("100.100.100.200", true),
            ("168.63.129.16", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("::", true),
            ("::1", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("fd00:ec2::254", true),
            ("::ffff:127.0.0.1", true),
            ("::127.0.0.1", true),
            ("64:ff9b::7f00:1", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("2002:7f00:1::", true),
            ("198.51.100.7", false),
            ("10.255.254.253", false),
            ("2001:db8::7", false),
            ("64:ff9b::c633:6407", false),
        ] {
            assert_eq!(forbidden(text.parse().unwrap()).is_some(), refused, "{text}");
        }
    }

    #[test]
    fn this_hosts_own_address_is_known() {
        // The source address towards the outside, when there is a route at all.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("198.51.100.7:9").is_ok() {
            let own = socket.local_addr().unwrap().ip();
            assert_eq!(forbidden(own), Some("an address of this host"), "{own}");
        }
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("198.51.100.7".parse().unwrap()));
    }
}
