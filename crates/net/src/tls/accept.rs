//! Connections that have shaken hands.
//!
//! One task accepts and starts a task for each handshake, so that who is slow at it holds nobody up; what is ready goes into a
//! channel. At most [`HANDSHAKES`] are under way, each for at most [`LIMIT`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::fingerprint;

/// Handshakes at the same time.
const HANDSHAKES: usize = 256;

/// The time for one.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection, and who is at the other end.
pub struct Accepted {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// Its address.
    pub address: SocketAddr,
    /// The fingerprint of the certificate that it showed, which is of the authority and in date.
    pub certificate: Option<Arc<str>>,
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
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(16);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(config), sender));
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

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, sender: mpsc::Sender<Accepted>) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of file descriptors, or the peer is gone again: others may follow.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let _ = stream.set_nodelay(true);
            let Ok(Ok(stream)) = tokio::time::timeout(LIMIT, acceptor.accept(stream)).await else { return };
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.map(|der| fingerprint(der).into());
            let _ = sender.send(Accepted { stream, address, certificate }).await;
        });
    }
}
