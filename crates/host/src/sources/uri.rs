//! As much of a URI as is needed to know where it leads (RFC 3986, section 3).

/// Where a URI leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uri {
    /// In lower case.
    pub(super) scheme: String,
    /// Name in lower case without a trailing dot, or address without brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// It carries a user name or password.
    pub(super) credentials: bool,
}

impl Uri {
    /// Reads `scheme://[user@]host[:port]…`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = |what: &str| format!("{:?} is not an address that can be used: {what}", shown(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no scheme"))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(u, p)| (Some(u), p));
        let (host, port) = if let Some(inside) = place.strip_prefix('[') {
            let (host, after) = inside.split_once(']').ok_or_else(|| bad("no closing bracket"))?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad("not an IPv6 address"))?;
            (host, after.strip_prefix(':'))
        } else {
            place.split_once(':').map_or((place, None), |(h, p)| (h, Some(p)))
        };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if host.is_empty() {
            return Err(bad("no host"));
        }
        if !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':')) {
            return Err(bad("not a host name"));
        }
        let port = match port {
            None | Some("") => None,
            Some(p) => match p.parse() {
                Ok(0) | Err(_) => return Err(bad("not a port")),
                Ok(p) => Some(p),
            },
        };
        Ok(Self { scheme: scheme.to_ascii_lowercase(), host, port, credentials: user.is_some() })
    }

    /// The port, when this is something that a web proxy reaches.
    pub(super) fn web_port(&self) -> Option<u16> {
        let default = match self.scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Some(self.port.unwrap_or(default))
    }
}

/// The text without what may be a secret: a user name and password, or a query.
pub(super) fn shown(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    let Some((scheme, rest)) = text.split_once("://") else {
        // `git@host:path` and the like: all before the last `@` may be a secret.
        return text.rsplit_once('@').map_or(text, |(_, r)| r).to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let place = authority.rsplit_once('@').map_or(authority, |(_, p)| p);
    format!("{scheme}://{place}{path}")
}
