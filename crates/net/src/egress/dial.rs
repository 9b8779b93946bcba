//! From an allowed destination to an open connection: resolve once, check every address, connect to one of those very addresses.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address;
use super::allow::AllowEntry;
use super::destination::Destination;

/// The longest wait for one of several addresses, so that a dead one does not use up all the time.
const ONE_ADDRESS: Duration = Duration::from_secs(5);

/// Turns names into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, in the order in which to try them.
    ///
    /// # Errors
    /// When there are none, or nobody who knows could be asked.
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The host's own resolver (`getaddrinfo`), with its `/etc/hosts` and `nsswitch.conf`. It has its own time-outs.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|a| a.ip()).collect())
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// All that the name leads to is off limits.
    #[error("it resolves to {0}, which is {1}")]
    Forbidden(IpAddr, &'static str),
    #[error("its name could not be resolved: {0}")]
    Resolve(io::Error),
    #[error("no connection to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("no connection in time")]
    TimedOut,
}

/// Connects to where `entry` leads: its destination, or the proxy in front of it.
pub(super) fn dial(entry: &AllowEntry, resolver: &Arc<dyn Resolve>, wait: Duration) -> Result<TcpStream, DialError> {
    let deadline = Instant::now() + wait;
    let next = entry.via().unwrap_or(entry.destination());
    // A parent proxy comes from the host's own configuration, and it is where the copy's requests end, not an address that they choose.
    let trusted = entry.via().is_some() || entry.permits_local();
    let addresses = addresses(next, resolver)?;
    let mut last = DialError::TimedOut;
    let mut tried = false;
    for ip in addresses.iter().copied() {
        if !trusted && let Some(why) = address::forbidden(ip) {
            if !tried {
                last = DialError::Forbidden(ip, why);
            }
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(DialError::TimedOut);
        }
        let share = if addresses.len() > 1 { left.min(ONE_ADDRESS) } else { left };
        let at = SocketAddr::new(ip, next.port());
        tried = true;
        match TcpStream::connect_timeout(&at, share) {
            Ok(stream) => return Ok(stream),
            Err(e) if e.kind() == ErrorKind::TimedOut => last = DialError::TimedOut,
            Err(e) => last = DialError::Connect(at, e),
        }
    }
    Err(last)
}

fn addresses(to: &Destination, resolver: &Arc<dyn Resolve>) -> Result<Vec<IpAddr>, DialError> {
    if let Some(ip) = to.ip() {
        return Ok(vec![ip]);
    }
    let found = resolver.resolve(to.host()).map_err(DialError::Resolve)?;
    if found.is_empty() {
        return Err(DialError::Resolve(io::Error::new(ErrorKind::NotFound, "it has no address")));
    }
    Ok(found)
}
