//! Requests with JSON, and answers that come line by line.

use std::io::{BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

use super::Url;
use crate::tls::Identity;

/// The time to connect and to get an answer to an ordinary request.
const LIMIT: Duration = Duration::from_secs(30);

/// The time for a stream of contents, one way.
const STREAM: Duration = Duration::from_secs(3600);

/// The largest answer.
const MAX_ANSWER: u64 = 256 << 20;

/// A server that is asked.
#[derive(Clone)]
pub struct Http {
    agent: ureq::Agent,
    url: Url,
    token: Option<String>,
}

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The certificates can't be used.
    #[error("cannot use the certificates")]
    Certificates(#[source] ureq::Error),
    /// The server can't be reached, or the connection broke.
    #[error("cannot reach {url}")]
    Reach {
        /// The server.
        url: Url,
        /// Why not.
        source: ureq::Error,
    },
    /// The server says no.
    #[error("{url} answered {status}")]
    Status {
        /// The server.
        url: Url,
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// The answer is not what it should be.
    #[error("the answer of {url} cannot be read")]
    Answer {
        /// The server.
        url: Url,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl HttpError {
    /// Whether nothing was asked because nobody was there, or the server says that it can't now: it may be asked again.
    #[must_use]
    pub fn is_away(&self) -> bool {
        use std::io::ErrorKind as Kind;
        match self {
            Self::Status { status, .. } => *status == 503,
            Self::Reach { source: ureq::Error::Io(error), .. } => matches!(
                error.kind(),
                Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::TimedOut
            ),
            Self::Reach { source, .. } => matches!(
                source,
                ureq::Error::HostNotFound
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
            ),
            _ => false,
        }
    }
}

impl Http {
    /// A server whose authority is given in PEM.
    ///
    /// # Errors
    /// The authority or the identity is no PEM.
    pub fn new(
        url: Url,
        authority: &str,
        identity: Option<&Identity>,
        token: Option<String>,
    ) -> Result<Self, HttpError> {
        let root = Certificate::from_pem(authority.as_bytes()).map_err(HttpError::Certificates)?;
        let shown = match identity {
            None => None,
            Some(identity) => {
                let chain = Certificate::from_pem(identity.certificate.as_bytes()).map_err(HttpError::Certificates)?;
                let key = PrivateKey::from_pem(identity.key.as_bytes()).map_err(HttpError::Certificates)?;
                Some(ClientCert::new_with_certs(&[chain], key))
            }
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&[root]))
            .client_cert(shown)
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(LIMIT))
            .timeout_recv_response(Some(LIMIT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), url, token })
    }

    /// The server.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// `GET`, with JSON as the answer.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        let request = self.agent.get(format!("{}{path}", self.url));
        self.answer(self.with_token(request).call())
    }

    /// The same with a word after the question mark, whatever it is made of.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn get_with<T: DeserializeOwned>(&self, path: &str, name: &str, value: &str) -> Result<T, HttpError> {
        let request = self.agent.get(format!("{}{path}", self.url)).query(name, value);
        self.answer(self.with_token(request).call())
    }

    /// `POST` of JSON, with JSON as the answer.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, HttpError> {
        self.post_within(path, body, LIMIT)
    }

    /// The same for what takes its time: the answer may come as late as that.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn post_within<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        within: Duration,
    ) -> Result<T, HttpError> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request.config().timeout_recv_response(Some(within)).build();
        self.answer(self.with_token(request).send_json(body))
    }

    /// `POST` of all that `body` gives, as it comes, with JSON as the answer.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn send<T: DeserializeOwned>(&self, path: &str, mut body: impl Read) -> Result<T, HttpError> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("content-type", "application/octet-stream");
        let request = request.config().timeout_send_body(Some(STREAM)).timeout_recv_response(Some(STREAM)).build();
        self.answer(self.with_token(request).send(ureq::SendBody::from_reader(&mut body)))
    }

    /// `POST` of JSON, with a stream of bytes as the answer.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn fetch(&self, path: &str, body: &impl Serialize) -> Result<Box<dyn Read + Send>, HttpError> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request.config().timeout_recv_body(Some(STREAM)).build();
        let answer = self.with_token(request).send_json(body);
        let answer = answer.map_err(|source| HttpError::Reach { url: self.url.clone(), source })?;
        if !answer.status().is_success() {
            return self.answer::<()>(Ok(answer)).map(|()| -> Box<dyn Read + Send> { Box::new(std::io::empty()) });
        }
        Ok(Box::new(answer.into_body().into_reader()))
    }

    /// `DELETE`, with JSON as the answer.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        let request = self.agent.delete(format!("{}{path}", self.url));
        self.answer(self.with_token(request).call())
    }

    /// `GET` of server-sent events: the `data` of one after the other, as they come. With the [name](Lines::last_id) of one, those
    /// after it.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn events(&self, path: &str, after: Option<&str>) -> Result<Lines, HttpError> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("accept", "text/event-stream");
        let request = match after {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let answer = self.with_token(request).call();
        let answer = answer.map_err(|source| HttpError::Reach { url: self.url.clone(), source })?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            let body = body.into_with_config().limit(1 << 20).read_to_string().unwrap_or_default();
            return Err(HttpError::Status { url: self.url.clone(), status: head.status.as_u16(), body });
        }
        let last = after.map(str::to_owned);
        Ok(Lines { from: Box::new(BufReader::new(body.into_reader())), url: self.url.clone(), last })
    }

    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn answer<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, HttpError> {
        let mut answer = answer.map_err(|source| HttpError::Reach { url: self.url.clone(), source })?;
        let bad = |source| HttpError::Answer { url: self.url.clone(), source };
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        let body = body.map_err(|source| match source {
            ureq::Error::Io(_) => HttpError::Reach { url: self.url.clone(), source },
            source => bad(Box::new(source)),
        })?;
        if !status.is_success() {
            return Err(HttpError::Status { url: self.url.clone(), status: status.as_u16(), body });
        }
        serde_json::from_str(&body).map_err(|error| bad(Box::new(error)))
    }
}

/// Events as they come.
pub struct Lines {
    from: Box<dyn std::io::BufRead + Send>,
    url: Url,
    last: Option<String>,
}

impl Lines {
    /// The name of the last event that came.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

impl Iterator for Lines {
    type Item = Result<String, HttpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        loop {
            line.clear();
            match self.from.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {
                    if let Some(id) = line.strip_prefix("id:") {
                        self.last = Some(id.trim().to_owned());
                    }
                    if let Some(data) = line.strip_prefix("data:") {
                        return Some(Ok(data.trim().to_owned()));
                    }
                }
                Err(error) => return Some(Err(HttpError::Answer { url: self.url.clone(), source: Box::new(error) })),
            }
        }
    }
}
