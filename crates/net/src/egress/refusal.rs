//! Answers that the proxy gives itself, each in plain text for the person who reads the output of `apt-get` or `curl`.

use super::destination::Destination;

/// An answer of the proxy's own. The short form goes into the status line too, because that is all that many clients show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    short: String,
    long: String,
}

impl Refusal {
    pub(super) fn new(status: u16, short: impl Into<String>, long: impl Into<String>) -> Self {
        let clean = |text: String| -> String {
            // Nothing of this may end a line of the head.
            text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
        };
        Self { status, short: clean(short.into()), long: long.into() }
    }

    pub(super) fn bad_request(what: impl Into<String>) -> Self {
        Self::new(400, "Bad Request", what)
    }

    pub(super) fn not_allowed(to: &Destination) -> Self {
        Self::new(
            403,
            format!("Greenroom does not allow {to} (to allow: --allow {to})"),
            format!(
                "{to} is not among the destinations that this rehearsal may reach.\n\
                 They are the package sources that the host is configured to use and what was allowed by name.\n\
                 To allow it: greenroom rehearse --allow {to} ..."
            ),
        )
    }

    pub(super) fn rebound(to: &Destination, reason: &str) -> Self {
        Self::new(
            403,
            format!("Greenroom refuses {to}: {reason}"),
            format!(
                "{to} is allowed, but {reason}.\n\
                 A name must not lead back to this host. If that is what you want, allow the address itself: --allow ADDRESS:{}",
                to.port()
            ),
        )
    }

    pub(super) fn unreachable(status: u16, to: &Destination, reason: &str) -> Self {
        let short = if status == 504 { "Gateway Timeout" } else { "Bad Gateway" };
        Self::new(status, short, format!("{to} is allowed, but could not be used from this host: {reason}."))
    }

    /// The whole response, as bytes.
    pub(super) fn encode(&self, body: bool, keep: bool) -> Vec<u8> {
        let text = format!("greenroom: {}\n", self.long);
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}\r\n",
            self.status,
            self.short,
            text.len(),
            if keep { "" } else { "Connection: close\r\n" },
        );
        if body {
            out.push_str(&text);
        }
        out.into_bytes()
    }
}
