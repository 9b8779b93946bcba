//! All that Greenroom does on sockets. It knows no product rule: who may talk to whom is a parameter.
//!
//! Rooms: [`egress`], the only way out of a rehearsal copy; [`tls`], a certificate authority and mutual TLS; [`client`], the
//! other end of a server with TLS; [`probe`], one look at a service.
#![forbid(unsafe_code)]

pub mod client;
pub mod egress;
pub mod probe;
pub mod tls;
