//! Start and end: the accept thread, the bounds, and the record that is left.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::allow::AllowList;
use super::dial::{Resolve, SystemResolver};
use super::refusal::Refusal;
use super::report::{EgressReport, Record};
use super::session;
use super::sockets::Sockets;

/// Enough for what a connection's thread does; `getaddrinfo` is the hungriest.
const SESSION_STACK: usize = 512 * 1024;
/// How long `finish` waits for threads that sit in the resolver or in a connect, which cannot be interrupted.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Bounds on what a copy can make the proxy use. Memory is at most about 300 KiB for each connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections from the copy at the same time; the next one is answered 503.
    pub connections: usize,
    /// The longest head of a request or response, in bytes.
    pub head_bytes: usize,
    /// From the first byte of a head to its last.
    pub head_time: Duration,
    /// The longest silence: between requests, within a body, in a tunnel (both ways), or before an answer.
    pub idle: Duration,
    /// The longest wait for a connection to a destination.
    pub connect_time: Duration,
    /// Destinations in each table of the report; what is beyond is only counted.
    pub destinations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            head_bytes: 64 * 1024,
            head_time: Duration::from_secs(15),
            idle: Duration::from_secs(120),
            connect_time: Duration::from_secs(20),
            destinations: 256,
        }
    }
}

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The listener is unusable.
    #[error("the egress proxy cannot use its listening socket")]
    Listener(#[source] io::Error),
    /// No thread to accept with.
    #[error("the egress proxy cannot start a thread")]
    Thread(#[source] io::Error),
}

/// What all threads share.
pub(super) struct Shared {
    pub(super) allow: AllowList,
    pub(super) limits: Limits,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) record: Record,
    pub(super) sockets: Arc<Sockets>,
}

/// A running proxy. Dropping it stops it without waiting.
pub struct Egress {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    accepting: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Egress {
    /// Serves `listener` until [`Egress::finish`]. Connections to destinations are made from the network namespace of the thread that
    /// calls this.
    ///
    /// # Errors
    /// When the listener is not usable or no thread can be started.
    pub fn start(listener: TcpListener, allow: AllowList, limits: Limits) -> Result<Self, EgressError> {
        Self::start_with(listener, allow, limits, Arc::new(SystemResolver))
    }

    /// As [`Egress::start`], with another way from names to addresses.
    ///
    /// # Errors
    /// As [`Egress::start`].
    pub fn start_with(
        listener: TcpListener,
        allow: AllowList,
        limits: Limits,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, EgressError> {
        listener.set_nonblocking(false).map_err(EgressError::Listener)?;
        let address = listener.local_addr().map_err(EgressError::Listener)?;
        let record = Record::new(limits.destinations);
        let shared = Arc::new(Shared { allow, limits, resolver, record, sockets: Arc::default() });
        let listener = Arc::new(listener);
        let accepting = thread::Builder::new()
            .name("egress".into())
            .spawn({
                let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
                move || accept(&shared, &listener)
            })
            .map_err(EgressError::Thread)?;
        Ok(Self { shared, listener, accepting: Some(accepting), address })
    }

    /// Where it listens, in the copy's network namespace.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What went through so far.
    #[must_use]
    pub fn report(&self) -> EgressReport {
        self.shared.record.report()
    }

    /// Stops accepting, closes what is open, and gives the record. Takes at most about a second: a thread that still waits for
    /// a resolver by then is left behind, and can neither connect nor transfer anything any more.
    #[must_use]
    pub fn finish(mut self) -> EgressReport {
        self.stop();
        if let Some(thread) = self.accepting.take() {
            // It has no result; if it died, there is nothing more to accept either.
            let _ = thread.join();
        }
        self.shared.sockets.wait(LAST_WAIT);
        self.shared.record.report()
    }

    fn stop(&self) {
        self.shared.sockets.stop();
        // On Linux this wakes a thread that waits in accept(2), in whatever namespace the socket is.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        let accepted = listener.accept();
        if shared.sockets.is_stopping() {
            return;
        }
        match accepted {
            Ok((stream, _)) => serve(shared, stream),
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
            // Out of descriptors or memory: connections that end will free some.
            Err(_) => shared.sockets.pause(Duration::from_millis(50)),
        }
    }
}

fn serve(shared: &Arc<Shared>, stream: TcpStream) {
    let Some(place) = shared.sockets.place(shared.limits.connections) else {
        busy(stream);
        return;
    };
    let Some(socket) = shared.sockets.open(stream) else { return };
    let shared = Arc::clone(shared);
    // Without a thread the connection is closed, which the client sees and can repeat.
    let _ = thread::Builder::new().name("egress-connection".into()).stack_size(SESSION_STACK).spawn(move || {
        session::run(&shared, socket);
        drop(place);
    });
}

/// Turns a connection away without waiting for it: an answer this short fits into the buffer of a new socket.
fn busy(mut stream: TcpStream) {
    let refusal = Refusal::new(503, "Service Unavailable", "too many connections at once from this copy; try again");
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write(&refusal.encode(true, false));
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}
