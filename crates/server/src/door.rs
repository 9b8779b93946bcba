//! Connections in. Whoever is slow or says too much is cut off: the head of a request has [`HEAD`], its body [`BODY`] bytes and
//! [`REQUEST`] to come and be answered; a stream of an agent or of events has neither end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use greenroom_net::tls::{Accepted, Acceptor, Certificates, Identity, TlsError};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Shared;
use crate::{agents, api};

/// The time for the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// The largest body, in bytes.
const BODY: usize = 4 << 20;

/// How often the server's certificate is made anew.
const RENEW: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long it is good for, in seconds.
const LIFETIME: i64 = 30 * 24 * 3600;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The fingerprint of its certificate, of our authority and in date.
    pub(crate) certificate: Option<Arc<str>>,
}

/// Why the server can't serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificates.
    #[error("cannot make the server's certificate")]
    Tls(#[from] TlsError),
    /// The socket.
    #[error("cannot accept connections")]
    Socket(#[source] io::Error),
}

/// Serves people and agents on `listener`, and drives what is under way, until `stop` says so.
///
/// # Errors
/// There is no certificate, or no socket.
pub async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    names: Vec<String>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let certificates = Certificates::new(&certificate(&shared, &names)?)?;
    let config = greenroom_net::tls::server(certificates.clone(), shared.authority.certificate())?;
    let mut acceptor = Acceptor::new(listener, config).map_err(ServeError::Socket)?;
    let app = api::router(&shared).layer(DefaultBodyLimit::max(BODY));
    let deliver = tokio::spawn(agents::deliver(shared.clone()));
    let drive = tokio::spawn({
        let shared = shared.clone();
        async move { shared.fleet.drive().await }
    });
    let mut renew = tokio::time::interval(RENEW);
    renew.tick().await;
    loop {
        tokio::select! {
            accepted = acceptor.next() => match accepted {
                Some(accepted) => drop(tokio::spawn(connection(app.clone(), accepted))),
                None => break,
            },
            _ = renew.tick() => certificates.replace(&certificate(&shared, &names)?)?,
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    deliver.abort();
    drive.abort();
    shared.streams.close().await;
    Ok(())
}

fn certificate(shared: &Shared, names: &[String]) -> Result<Identity, TlsError> {
    shared.authority.server(names, shared.fleet.now() / 1000, LIFETIME)
}

async fn connection(app: Router, accepted: Accepted) {
    let peer = Peer { certificate: accepted.certificate };
    let service = TowerToHyperService::new(app.layer(Extension(peer)));
    // How a connection ends is the other end's affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(accepted.stream), service)
        .with_upgrades()
        .await;
}
