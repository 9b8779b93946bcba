//! The control plane's HTTPS side: translates requests into calls of the engine and of the control plane's state. It decides
//! nothing and keeps nothing: two of it may serve one database.
//!
//! * [`api`]: what people's programs may ask, as one table: path, role, body, answer. The OpenAPI document is made from it.
//! * `agents`: the streams of the hosts' agents: who is connected here, what they are sent, what they say.
//! * `auth`: who is asking, and what that person may do.
//! * `door`: TLS connections in, bounded in time and size.
#![forbid(unsafe_code)]

mod agents;
pub mod api;
mod auth;
mod door;

use std::sync::Arc;

use greenroom_engine::fleet::Fleet;
use greenroom_net::tls::Authority;

pub use auth::{hash as hash_of_secret, new_token};
pub use door::{Limits, serve};

/// What every request needs.
pub struct Shared {
    /// The fleet.
    pub fleet: Fleet,
    /// The system's authority.
    pub authority: Authority,
    /// Where agents reach this control plane.
    pub urls: Vec<String>,
    streams: agents::Streams,
}

impl Shared {
    /// Puts it together.
    #[must_use]
    pub fn new(fleet: Fleet, authority: Authority, urls: Vec<String>) -> Arc<Self> {
        Arc::new(Self { fleet, authority, urls, streams: agents::Streams::default() })
    }
}
