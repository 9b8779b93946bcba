//! The other end of a server with TLS: requests, and one long-lived stream of messages.
//!
//! Both trust the one authority that they are given, and show a certificate where they have one. [`Http`] is blocking and for
//! requests; [`stream`] is asynchronous.

mod http;
mod stream;

pub use http::{Http, HttpError, Lines};
pub use stream::{Stream, StreamError, connect};

/// Where a server is: `https://web1.example.com:7443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    host: String,
    port: u16,
}

/// The port where none is given.
pub const PORT: u16 = 7443;

impl Url {
    /// Reads one; without a port it is [`PORT`].
    ///
    /// # Errors
    /// It is none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no address of a control plane: it looks like https://HOST:{PORT}");
        let rest = text.strip_prefix("https://").ok_or_else(bad)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // An IPv6 address is in brackets.
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (host, after) = inner.split_once(']').ok_or_else(bad)?;
                (
                    host,
                    after
                        .strip_prefix(':')
                        .map_or(if after.is_empty() { Some(None) } else { None }, |p| Some(Some(p)))
                        .ok_or_else(bad)?,
                )
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| bad())?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-.:_".contains(c);
        if host.is_empty() || !host.chars().all(fits) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn addresses() {
        let shown = |text| Url::parse(text).map(|url| url.to_string());
        assert_eq!(shown("https://cp.example.com"), Ok("https://cp.example.com:7443".to_owned()));
        assert_eq!(shown("https://10.0.0.1:99/"), Ok("https://10.0.0.1:99".to_owned()));
        assert_eq!(shown("https://[fd00::1]:99"), Ok("https://[fd00::1]:99".to_owned()));
        for bad in
            ["", "http://x", "https://", "https://a b", "https://x:y", "https://[::1", "https://[::1]9", "https://x/y"]
        {
            assert!(shown(bad).unwrap_err().contains("https://HOST"), "{bad}");
        }
    }
}
