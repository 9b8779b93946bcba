//! One place on the network: a name or an address, and a port. Pure text; nothing is resolved here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

/// The longest name that DNS carries, in bytes (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// A host and a port, in the one spelling that this crate compares: names in lower case without a trailing dot,
/// addresses as the standard library prints them, IPv4-mapped IPv6 addresses as IPv4.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Destination {
    host: String,
    port: u16,
}

/// Why a text is not a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Nothing before the port, or nothing at all.
    #[error("no host in {0:?}")]
    NoHost(String),
    /// A URL where HOST[:PORT] was asked for.
    #[error("{0:?} is a URL or a path; write HOST or HOST:PORT")]
    NotAHost(String),
    /// `*` in the name.
    #[error("{0:?} has a wildcard; every destination is named in full")]
    Wildcard(String),
    /// Not a name that DNS or /etc/hosts could carry.
    #[error(
        "{0:?} is not a host name (letters, digits, '-', '_' and '.', at most 253 bytes; write other scripts as xn--…)"
    )]
    BadName(String),
    /// `127.1`, `0x7f000001`: resolvers read these as addresses, people do not.
    #[error("{0:?} looks like an IP address but is not in the usual form (four decimal numbers, or IPv6 in brackets)")]
    OddAddress(String),
    /// An IPv6 address with no brackets, where a port could not be told from the last group.
    #[error("{0:?}: write an IPv6 address in brackets, as in [2001:db8::1]:443")]
    BareIpv6(String),
    /// Not a number from 1 to 65535.
    #[error("{0:?} is not a port (1 to 65535)")]
    BadPort(String),
    /// A port is needed here.
    #[error("no port in {0:?}")]
    NoPort(String),
}

impl Destination {
    /// Checks and normalises `host`: a name, an IPv4 address, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// When it is neither, or the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, DestinationError> {
        if port == 0 {
            return Err(DestinationError::BadPort("0".into()));
        }
        Ok(Self { host: normal_host(host)?, port })
    }

    /// Reads `HOST`, `HOST:PORT`, `ADDRESS:PORT` or `[V6]:PORT`; `None` for a port that is not there.
    pub(super) fn split(text: &str) -> Result<(String, Option<u16>), DestinationError> {
        if text.contains("://") || text.contains('/') {
            return Err(DestinationError::NotAHost(text.into()));
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or_else(|| DestinationError::BadName(text.into()))?;
            let address: Ipv6Addr = inside.parse().map_err(|_| DestinationError::BadName(text.into()))?;
            match after.strip_prefix(':') {
                None if after.is_empty() => (address.to_string(), None),
                None => return Err(DestinationError::BadName(text.into())),
                Some(port) => (address.to_string(), Some(port)),
            }
        } else if text.matches(':').count() > 1 {
            return Err(DestinationError::BareIpv6(text.into()));
        } else {
            match text.split_once(':') {
                None => (text.to_owned(), None),
                Some((host, port)) => (host.to_owned(), Some(port)),
            }
        };
        if host.is_empty() {
            return Err(DestinationError::NoHost(text.into()));
        }
        Ok((normal_host(&host)?, port.map(parse_port).transpose()?))
    }

    /// Reads `HOST:PORT` or `[V6]:PORT`, the port being required (the authority of a CONNECT).
    pub(super) fn with_port(text: &str) -> Result<Self, DestinationError> {
        let (host, port) = Self::split(text)?;
        let port = port.ok_or_else(|| DestinationError::NoPort(text.into()))?;
        Ok(Self { host, port })
    }

    /// The name, or the address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, when the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// As in a `Host` header of plain HTTP: no `:80`.
    pub(super) fn authority(&self) -> String {
        if self.port == 80 { bracketed(&self.host) } else { self.to_string() }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn parse_port(text: &str) -> Result<u16, DestinationError> {
    let bad = || DestinationError::BadPort(text.into());
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(bad()),
        Ok(port) => Ok(port),
    }
}

fn normal_host(text: &str) -> Result<String, DestinationError> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Ok(v6) = inner.unwrap_or(text).parse::<Ipv6Addr>() {
        return Ok(v6.to_ipv4_mapped().map_or_else(|| v6.to_string(), |v4| v4.to_string()));
    }
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Ok(v4.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() {
        return Err(DestinationError::NoHost(text.into()));
    }
    if name.contains('*') {
        return Err(DestinationError::Wildcard(text.into()));
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > NAME_MAX || !name.split('.').all(label_ok) {
        return Err(DestinationError::BadName(text.into()));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DestinationError::OddAddress(text.into()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_and_what_they_mean() {
        for (text, host, port) in [
            ("deb.debian.org", "deb.debian.org", None),
            ("Deb.Debian.ORG.", "deb.debian.org", None),
            ("deb.debian.org:8080", "deb.debian.org", Some(8080)),
            ("192.0.2.7:1", "192.0.2.7", Some(1)),
            ("[2001:DB8:0::1]:443", "2001:db8::1", Some(443)),
            ("[::1]", "::1", None),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1", Some(80)),
            ("my_mirror", "my_mirror", None),
            ("3com.example", "3com.example", None),
        ] {
            assert_eq!(Destination::split(text), Ok((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn texts_that_are_refused() {
        use DestinationError as E;
        for (text, is) in [
            ("", E::NoHost(String::new())),
            (":80", E::NoHost(":80".into())),
            (".", E::NoHost(".".into())),
            ("http://x.example", E::NotAHost("http://x.example".into())),
            ("x.example/debian", E::NotAHost("x.example/debian".into())),
            ("*.example.org", E::Wildcard("*.example.org".into())),
            ("a..b", E::BadName("a..b".into())),
            ("user@x.example", E::BadName("user@x.example".into())),
            ("x.example\r\n", E::BadName("x.example\r\n".into())),
            ("münchen.example", E::BadName("münchen.example".into())),
            ("127.1", E::OddAddress("127.1".into())),
            ("2130706433", E::OddAddress("2130706433".into())),
            ("0x7f000001", E::OddAddress("0x7f000001".into())),
            ("1.2.3.4.", E::OddAddress("1.2.3.4.".into())),
            ("::1", E::BareIpv6("::1".into())),
            ("[::1", E::BadName("[::1".into())),
            ("[fe80::1%eth0]:80", E::BadName("[fe80::1%eth0]:80".into())),
            ("[::1]80", E::BadName("[::1]80".into())),
            ("x:", E::BadPort(String::new())),
            ("x:0", E::BadPort("0".into())),
            ("x:+80", E::BadPort("+80".into())),
            ("x:65536", E::BadPort("65536".into())),
            ("x:http", E::BadPort("http".into())),
        ] {
            assert_eq!(Destination::split(text), Err(is), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_reads_back_and_is_safe_to_print(text in "[\\PC\r\n\0]{0,40}") {
            if let Ok((host, _)) = Destination::split(&text) {
                let made = Destination::new(&host, 443).unwrap();
                prop_assert_eq!(&Destination::with_port(&made.to_string()).unwrap(), &made);
                prop_assert!(made.to_string().bytes().all(|b| b.is_ascii_graphic()));
                prop_assert!(!made.host().bytes().any(|b| b.is_ascii_uppercase()));
            }
        }

        #[test]
        fn names_are_one_whatever_their_case(name in "[a-z][a-z0-9]{0,10}(\\.[a-z][a-z0-9]{0,10}){0,3}", port in 1u16..) {
            let plain = Destination::new(&name, port).unwrap();
            let loud = Destination::with_port(&format!("{}.:{port}", name.to_uppercase())).unwrap();
            prop_assert_eq!(plain, loud);
        }
    }
}
