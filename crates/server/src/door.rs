//! Connections in. Whoever is slow or says too much is cut off ([`Limits`]): a head has a size and a time, and so has the next
//! request on a connection that is kept; a body may not pause for long, and how large one may be is said where it is read
//! (`api::table`); whoever does not take its answer is not waited for. A stream of an agent or of events has no end by itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::map_request;
use futures_util::stream::{self, Stream, StreamExt as _};
use greenroom_net::tls::{self, Accepted, Acceptor, Certificates, Identity, TlsError};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Shared;
use crate::{agents, api};

/// The largest head of a request, in bytes.
const HEAD: usize = 64 << 10;

/// What one control plane bears of those who connect.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections and handshakes.
    pub connections: tls::Limits,
    /// The time for the head of a request, from when the one before was answered.
    pub head: Duration,
    /// How long nothing may come of a body.
    pub pause: Duration,
    /// A stream of an agent on which nothing arrives for this long is over: an agent pings every 15 s.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: tls::Limits::default(),
            head: Duration::from_secs(10),
            pause: Duration::from_secs(10),
            silence: Duration::from_secs(60),
        }
    }
}

/// How often the server's certificate is made anew.
const RENEW: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long it is good for, in seconds.
const LIFETIME: i64 = 30 * 24 * 3600;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The fingerprint of its certificate, of our authority and in date.
    pub(crate) certificate: Option<Arc<str>>,
    /// That of one whose time is over.
    pub(crate) over: Option<Arc<str>>,
    /// See [`Limits::silence`].
    pub(crate) silence: Duration,
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
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let certificates = Certificates::new(&certificate(&shared, &names)?)?;
    let config = greenroom_net::tls::server(certificates.clone(), shared.authority.certificate())?;
    let mut acceptor = Acceptor::new(listener, config, limits.connections).map_err(ServeError::Socket)?;
    // No handler takes a body with an extractor of axum's own; one that would is bounded too.
    let unhurried = move |request: Request| async move {
        request.map(|body| Body::from_stream(paced(body.into_data_stream(), limits.pause)))
    };
    let app = api::router(&shared).layer(DefaultBodyLimit::max(api::BODY)).layer(map_request(unhurried));
    let deliver = tokio::spawn(agents::deliver(shared.clone()));
    let write = tokio::spawn(agents::write(shared.clone()));
    let drive = tokio::spawn({
        let shared = shared.clone();
        async move { shared.fleet.drive().await }
    });
    let sweep = tokio::spawn({
        let shared = shared.clone();
        async move { shared.fleet.sweep_daily().await }
    });
    let mut renew = tokio::time::interval(RENEW);
    renew.tick().await;
    loop {
        tokio::select! {
            accepted = acceptor.next() => match accepted {
                Some(accepted) => drop(tokio::spawn(connection(app.clone(), accepted, limits))),
                None => break,
            },
            _ = renew.tick() => certificates.replace(&certificate(&shared, &names)?)?,
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    deliver.abort();
    write.abort();
    drive.abort();
    sweep.abort();
    shared.streams.close().await;
    Ok(())
}

fn certificate(shared: &Shared, names: &[String]) -> Result<Identity, TlsError> {
    shared.authority.server(names, shared.fleet.now() / 1000, LIFETIME)
}

/// A body that ends with an error when nothing comes of it for so long.
fn paced(body: BodyDataStream, pause: Duration) -> impl Stream<Item = Result<axum::body::Bytes, axum::Error>> {
    stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout(pause, body.next()).await {
            Ok(Some(item)) => Some((item, Some(body))),
            Ok(None) => None,
            Err(_) => Some((Err(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut))), None)),
        }
    })
}

async fn connection(app: Router, accepted: Accepted, limits: Limits) {
    let peer = Peer { certificate: accepted.certificate, over: accepted.over, silence: limits.silence };
    let service = TowerToHyperService::new(app.layer(Extension(peer)));
    // How a connection ends is the other end's affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(accepted.stream), service)
        .with_upgrades()
        .await;
}
