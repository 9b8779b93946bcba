//! Connections that have shaken hands.
//!
//! One task accepts and starts a task for each connection, so that who is slow holds nobody up; what is ready goes into a
//! channel. Everything has a bound ([`Limits`]): connections in all and from one address, handshakes under way in all and from
//! one address, the time for one. Whoever opens many connections and says nothing waits for itself, and is cut off in the end;
//! who comes from elsewhere is let in meanwhile. What is accepted is counted until it is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

use super::config::Server;
use super::connection::Connection;
use super::fingerprint;
use super::room::{Room, Seat};

/// What one server bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Of those, from one address (of IPv6, one network of 64 bits).
    pub connections_each: usize,
    /// Handshakes at the same time; who comes then waits, within its own time.
    pub handshakes: usize,
    /// Of those, from one address.
    pub handshakes_each: usize,
    /// The time for a handshake.
    pub handshake: Duration,
    /// How long a connection may take nothing of what is to be sent.
    pub stuck: Duration,
}

impl Default for Limits {
    /// For a thousand agents, all of them behind one address: they come at the same moment when a control plane starts.
    fn default() -> Self {
        Self {
            connections: 8192,
            connections_each: 2048,
            handshakes: 256,
            handshakes_each: 64,
            handshake: Duration::from_secs(10),
            stuck: Duration::from_secs(60),
        }
    }
}

/// A connection, and who is at the other end.
pub struct Accepted {
    /// The connection.
    pub stream: Connection,
    /// Its address.
    pub address: SocketAddr,
    /// The fingerprint of the certificate that it showed, which is of the authority and in date.
    pub certificate: Option<Arc<str>>,
    /// The same of one that is of the authority, and whose time is over: it opens nothing.
    pub over: Option<Arc<str>>,
}

/// Accepts connections until it is dropped.
pub struct Acceptor {
    ready: mpsc::Receiver<Accepted>,
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl Acceptor {
    /// Begins to accept.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn new(listener: TcpListener, server: Server, limits: Limits) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(16);
        let door = Door {
            acceptor: TlsAcceptor::from(server.config.clone()),
            server,
            limits,
            shaking: Arc::new(Semaphore::new(limits.handshakes)),
            sender,
        };
        let accepting = tokio::spawn(accept(listener, door));
        Ok(Self { ready, address, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Accepted> {
        self.ready.recv().await
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What each connection needs to come in.
#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    server: Server,
    limits: Limits,
    shaking: Arc<Semaphore>,
    sender: mpsc::Sender<Accepted>,
}

async fn accept(listener: TcpListener, door: Door) {
    let room = Room::new(&door.limits);
    loop {
        match listener.accept().await {
            // Where there is no room it is closed at once.
            Ok((stream, address)) => {
                if let Some(seat) = room.take(address.ip()) {
                    tokio::spawn(door.clone().shake(stream, address, seat));
                }
            }
            // Out of file descriptors, or the peer is gone again: others may follow.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

impl Door {
    async fn shake(self, stream: TcpStream, address: SocketAddr, seat: Seat) {
        let _ = stream.set_nodelay(true);
        let shaken = async {
            // First the address's own turn: who waits for that takes no one else's place.
            let _own = seat.turn().acquire_owned().await.ok()?;
            let _all = self.shaking.acquire().await.ok()?;
            self.acceptor.accept(stream).await.ok()
        };
        let Ok(Some(stream)) = tokio::time::timeout(self.limits.handshake, shaken).await else { return };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let (certificate, over) = match shown {
            Some(der) if self.server.in_date(der) => (Some(fingerprint(der).into()), None),
            Some(der) => (None, Some(fingerprint(der).into())),
            None => (None, None),
        };
        let stream = Connection::new(stream, self.limits.stuck, seat);
        let _ = self.sender.send(Accepted { stream, address, certificate, over }).await;
    }
}
