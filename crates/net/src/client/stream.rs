//! One long-lived stream of text messages: a WebSocket (RFC 6455) over TLS.
//!
//! A ping goes out after [`QUIET`] without a message, and a stream on which nothing arrives for [`DEAD`] is given up: a host
//! behind a firewall that forgot the connection would otherwise never hear of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::Url;

/// When a ping goes out.
const QUIET: Duration = Duration::from_secs(15);

/// When a stream is given up.
const DEAD: Duration = Duration::from_secs(45);

/// The time to connect, to shake hands and to send.
const LIMIT: Duration = Duration::from_secs(15);

/// Why there is no stream, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The other end can't be reached.
    #[error("cannot reach {0}")]
    Reach(Url, #[source] std::io::Error),
    /// It took too long.
    #[error("{0} does not answer")]
    Silent(Url),
    /// The other end says no, or says something else.
    #[error("the stream to {0} failed")]
    Stream(Url, #[source] Box<tungstenite::Error>),
    /// The name can't be in a certificate.
    #[error("{0} has no name that a certificate can have")]
    Name(Url),
    /// The other end closed it.
    #[error("{0} closed the stream")]
    Closed(Url),
}

/// An open stream.
pub struct Stream {
    inner: WebSocketStream<TlsStream<TcpStream>>,
    url: Url,
    heard: Instant,
}

/// Opens a stream at `path` of a server. Messages of more than `max` bytes end it.
///
/// # Errors
/// See [`StreamError`].
pub async fn connect(url: &Url, path: &str, tls: Arc<ClientConfig>, max: usize) -> Result<Stream, StreamError> {
    let reach = |error| StreamError::Reach(url.clone(), error);
    let silent = |_| StreamError::Silent(url.clone());
    let opened = async {
        let tcp = TcpStream::connect((url.host(), url.port())).await.map_err(reach)?;
        tcp.set_nodelay(true).map_err(reach)?;
        let name = ServerName::try_from(url.host().to_owned()).map_err(|_| StreamError::Name(url.clone()))?;
        let tls = TlsConnector::from(tls).connect(name, tcp).await.map_err(reach)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .write_buffer_size(8 << 10)
            .max_message_size(Some(max))
            .max_frame_size(Some(max));
        let address = format!("wss{}{path}", url.to_string().trim_start_matches("https"));
        let (inner, _) = client_async_with_config(address, tls, Some(config))
            .await
            .map_err(|error| StreamError::Stream(url.clone(), Box::new(error)))?;
        Ok(Stream { inner, url: url.clone(), heard: Instant::now() })
    };
    timeout(LIMIT, opened).await.map_err(silent)?
}

impl Stream {
    /// Sends a message.
    ///
    /// # Errors
    /// The stream is broken.
    pub async fn send(&mut self, text: String) -> Result<(), StreamError> {
        self.put(Message::text(text)).await
    }

    async fn put(&mut self, message: Message) -> Result<(), StreamError> {
        let sent = timeout(LIMIT, self.inner.send(message)).await;
        sent.map_err(|_| StreamError::Silent(self.url.clone()))?
            .map_err(|error| StreamError::Stream(self.url.clone(), Box::new(error)))
    }

    /// The next message. Can be dropped and called again without losing one.
    ///
    /// # Errors
    /// The stream is broken, or nothing was heard for too long.
    pub async fn next(&mut self) -> Result<String, StreamError> {
        loop {
            let quiet = self.heard + QUIET;
            let dead = self.heard + DEAD;
            let until = if Instant::now() < quiet { quiet } else { (Instant::now() + QUIET).min(dead) };
            match tokio::time::timeout_at(until, self.inner.next()).await {
                Err(_) if Instant::now() >= dead => return Err(StreamError::Silent(self.url.clone())),
                Err(_) => self.put(Message::Ping(Vec::new().into())).await?,
                Ok(None | Some(Ok(Message::Close(_)))) => return Err(StreamError::Closed(self.url.clone())),
                Ok(Some(Err(error))) => return Err(StreamError::Stream(self.url.clone(), Box::new(error))),
                Ok(Some(Ok(message))) => {
                    self.heard = Instant::now();
                    if let Message::Text(text) = message {
                        return Ok(text.as_str().to_owned());
                    }
                }
            }
        }
    }
}
