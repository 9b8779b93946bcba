//! Names, addresses and URLs as people write them into the system file.

use std::net::IpAddr;

use super::HttpUrl;

/// What makes a text no name.
pub(super) const NAME: &str = "1 to 63 letters, digits and - _ . are expected, the first a letter or a digit";

/// Whether a text can be the name of a host, a role, a service, a team, a person or an environment: it needs no quotes
/// in a shell and in TOML, and is none of the signs of [`super::Selector`].
pub(super) fn is_name(text: &str) -> bool {
    let all = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=63).contains(&text.len()) && text.bytes().all(all) && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// Whether a text is an IP address or a DNS name. Names may have `_`, as many have; the last label of a name is not a
/// number (RFC 3696), so a mistyped IPv4 address is no name.
pub(super) fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || is_dns_name(text)
}

fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let all = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        (1..=63).contains(&label.len()) && label.bytes().all(all) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// What is wrong with an address, when that can be told: a hint.
pub(super) fn about_address(text: &str) -> Option<String> {
    if text.contains("://") || text.contains('/') {
        return Some("write the name or the IP address alone, without a scheme, a path or a netmask".to_owned());
    }
    if text.contains('@') {
        return Some(format!("the user goes to `ssh`: ssh = \"{}\"", crate::path::Shown(text.as_bytes())));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse::<u16>().ok().filter(|_| is_address(host))?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Some(format!("the port of SSH goes to `ssh`: ssh = \"ssh://{host}:{port}\""))
}

/// Whether a text is a destination for ssh(1): `[user@]host` or `ssh://[user@]host[:port]`. It never begins with `-`, which
/// would be an option.
pub(super) fn is_ssh_target(text: &str) -> bool {
    let (rest, uri) = text.strip_prefix("ssh://").map_or((text, false), |rest| (rest, true));
    let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
    let sound = |user: &str| {
        let all = |b: u8| b.is_ascii_alphanumeric() || b"-_.$+".contains(&b);
        !user.is_empty() && user.bytes().all(all) && !user.starts_with('-')
    };
    let host_sound = match uri {
        true => host_port(host, Some(22)).is_some(),
        false => is_address(host),
    };
    user.is_none_or(sound) && host_sound
}

/// `host:port`, with an IPv6 address in brackets; without a port, `default` when there is one.
pub(super) fn host_port(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = match port {
        Some(port) => port.parse().ok().filter(|n| *n != 0 && digits(port))?,
        None => default?,
    };
    is_address(host).then(|| (host.to_owned(), port))
}

/// An `http://` or `https://` URL without user, password and fragment, in ASCII.
pub(super) fn http_url(text: &str) -> Option<HttpUrl> {
    let (rest, tls) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (rest, false),
        (_, rest) => (rest?, true),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = host_port(authority, Some(if tls { 443 } else { 80 }))?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let sound = path.bytes().all(|b| b.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&b));
    sound.then_some(HttpUrl { tls, host, port, path })
}

/// Whether a text is a mail address, as far as that can be told without sending one: `something@name`.
pub(super) fn is_email(text: &str) -> bool {
    let sound = |local: &str| {
        !local.is_empty() && !local.contains(|c: char| c.is_whitespace() || c.is_control() || "@<>\",;:".contains(c))
    };
    text.split_once('@').is_some_and(|(local, domain)| sound(local) && is_dns_name(domain))
}

/// Whether a text is a telephone number: digits, with + in front and separators between.
pub(super) fn is_phone(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let rest = text.strip_prefix('+').unwrap_or(text);
    (3..=20).contains(&digits) && rest.bytes().all(|b| b.is_ascii_digit() || b" -()/.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["10.0.0.1", "::1", "fe80::1", "web1", "web1.example.org", "web1.example.org.", "web_1", "3com.net"]
        {
            assert!(is_address(good), "{good}");
        }
        for bad in
            ["", "10.0.0.300", "10.0.0", "10.0.0.1:22", "a b", "-a", "a-", "a..b", "a/24", "root@a", "[::1]", "ü"]
        {
            assert!(!is_address(bad), "{bad}");
        }
        for (text, hint) in [
            ("10.0.0.1:22", "the port of SSH goes to `ssh`: ssh = \"ssh://10.0.0.1:22\""),
            ("[::1]:22", "the port of SSH goes to `ssh`: ssh = \"ssh://[::1]:22\""),
            ("root@web1", "the user goes to `ssh`: ssh = \"root@web1\""),
            ("10.0.0.0/24", "write the name or the IP address alone, without a scheme, a path or a netmask"),
        ] {
            assert_eq!(about_address(text).as_deref(), Some(hint), "{text}");
        }
        assert_eq!(about_address("10.0.0.300"), None);
    }

    #[test]
    fn destinations_of_ssh() {
        for good in ["web1", "root@web1", "ssh://root@web1:2222", "ssh://web1", "ssh://[::1]:22", "root@::1", "a.b@c"] {
            assert!(is_ssh_target(good), "{good}");
        }
        for bad in
            ["", "-oProxyCommand=x", "root@-x", "-x@web1", "web1:2222", "web 1", "ssh://", "ssh://a:0", "@a", "a;b"]
        {
            assert!(!is_ssh_target(bad), "{bad}");
        }
    }

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        for (text, tls, host, port, path) in [
            ("http://127.0.0.1/health", false, "127.0.0.1", 80, "/health"),
            ("https://[::1]:8443/a?b=c", true, "::1", 8443, "/a?b=c"),
            ("https://shop.example/", true, "shop.example", 443, "/"),
        ] {
            let url = http_url(text).unwrap();
            assert_eq!((url.tls, url.host.as_str(), url.port, url.path.as_str()), (tls, host, port, path), "{text}");
            assert_eq!(url.to_string(), text);
        }
        assert_eq!(http_url("http://a?x").unwrap().to_string(), "http://a/?x");
        for bad in [
            "",
            "a/b",
            "ftp://a",
            "http://",
            "http://a:0/",
            "http://u:p@a/",
            "http://a/b c",
            "http://a/#f",
            "http://a:+80/",
        ] {
            assert_eq!(http_url(bad), None, "{bad}");
        }
    }

    #[test]
    fn ways_to_reach_somebody() {
        for (text, email, phone) in [
            ("a@example.org", true, false),
            ("a+b@c", true, false),
            ("a@b@c", false, false),
            ("@c", false, false),
            ("A B <a@c>", false, false),
            ("+49 (30) 123-456", false, true),
            ("112", false, true),
            ("12", false, false),
            ("0800 SHOP", false, false),
        ] {
            assert_eq!((is_email(text), is_phone(text)), (email, phone), "{text}");
        }
    }
}
