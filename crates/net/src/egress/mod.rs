//! The only way out of a rehearsal copy: an HTTP proxy that reaches exactly the destinations on a list.
//!
//! What it is: a blocking HTTP/1.1 forward proxy, with absolute-form requests for plain HTTP and CONNECT tunnels for all else.
//! What it is not: a cache, a TLS interceptor (what is inside a tunnel is not looked at), or a reverse proxy.
//!
//! How data goes through it:
//!
//! ```text
//! copy ─► listener (bound in the copy's network namespace by the caller)
//!           │ accept thread ─► one thread per connection (`session`)
//!           │     read a bounded head (`wire`), parse it (`head`, `target`), look it up (`allow`)
//!           │       not listed ─► 403 that says how to allow it (`refusal`), counted (`report`)
//!           │       listed ─► resolve, check the addresses (`address`), connect to those very addresses (`dial`)
//!           │                   ├─ plain HTTP: a new head is written, the body is relayed by its framing (`body`)
//!           │                   └─ CONNECT: two pumps (`tunnel`)
//!           └ `Egress::finish` closes everything and gives the record
//! ```
//!
//! Nothing of a request's head is passed on as bytes: it is parsed and written anew with `Host` and framing of our own, so that
//! this proxy and the destination cannot disagree about where a message ends or whom it is for.
//!
//! Threads belong to the network namespace of the thread that made them, sockets to the one they were made in. Call
//! [`Egress::start`] from a thread in the host's namespace with a listener from the copy's: it then accepts there and connects from here.

mod address;
mod allow;
mod body;
mod destination;
mod dial;
mod head;
mod refusal;
mod report;
mod server;
mod session;
mod sockets;
mod target;
mod tunnel;
mod wire;

pub use allow::{AllowEntry, AllowList, Origin};
pub use destination::{Destination, DestinationError};
pub use dial::{Resolve, SystemResolver};
pub use report::{DestinationUse, EgressReport};
pub use server::{Egress, EgressError, Limits};

/// What the head of a request becomes when it leaves, whether or not it would be let out: what a copy's bytes can make of it
/// can be tried without a socket.
///
/// # Errors
/// The HTTP status with which the head is refused.
pub fn rewritten(head: &[u8]) -> Result<Vec<u8>, u16> {
    let request = head::Request::parse(head).map_err(|refusal| refusal.status)?;
    let (to, path) = match &request.target {
        target::Target::Tunnel(to) => (to, ""),
        target::Target::Http { to, path } => (to, path.as_str()),
    };
    Ok(request.encode(to, path, false))
}
