//! TLS with a certificate authority of the system's own: a server that everybody knows by it, and clients that it knows.
//!
//! # Who is who
//! The [`Authority`] is made once per system. It signs the server's certificate and, from a signing request, that of each
//! client; a client's private key never leaves the client. A server lets everybody connect, with a certificate or without
//! (people come with tokens); a certificate that is shown must be of this authority. One whose time is over opens nothing, and is
//! told apart ([`Accepted::over`]), so that its client can be told. *Which* client it is, and whether it was revoked, is decided by
//! the caller, from the certificate's [`fingerprint`].
//!
//! TLS 1.3 only. Times are parameters, in seconds since 1970.

mod accept;
mod authority;
mod config;
mod connection;
mod room;

pub use accept::{Accepted, Acceptor, Limits};
pub use authority::{Authority, Identity, Request, Signed, request};
pub use config::{Certificates, Server, client, server};
pub use connection::Connection;

use sha2::{Digest as _, Sha256};

/// Why something about certificates can't be done.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate can't be made.
    #[error("cannot {what}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// Why not.
        source: rcgen::Error,
    },
    /// A text is not what it should be.
    #[error("{what} is not valid PEM")]
    Pem {
        /// Which text.
        what: &'static str,
    },
    /// The certificates don't fit together.
    #[error("cannot use the certificates for TLS")]
    Config(#[source] rustls::Error),
    /// A time beyond the calendar.
    #[error("{0} is no time that a certificate can have")]
    Time(i64),
}

/// What a certificate is known by: SHA-256 of its DER form, hexadecimal, as `openssl x509 -fingerprint -sha256` has it without
/// the colons.
#[must_use]
pub fn fingerprint(der: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(der).iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
