//! A control plane, and clients that write their own requests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenroom_core::api::Enrolled;
use greenroom_core::wire::PROTOCOL;
use greenroom_engine::fleet::Fleet;
use greenroom_net::client::{Stream, StreamError, Url, connect};
use greenroom_net::tls::{self, Authority, Identity};
use greenroom_server::{Limits, Shared, hash_of_secret, new_token, serve};
use greenroom_store::control::{Control, Role};
use greenroom_store::ledger::SqlLedger;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything here takes: whoever waits so long waits for ever.
const FOREVER: Duration = Duration::from_secs(90);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A day, in milliseconds.
pub(crate) const DAY: i64 = 24 * 3600 * 1000;

/// One control plane that serves.
pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    pub(crate) dir: tempfile::TempDir,
    _stop: tokio::sync::watch::Sender<bool>,
}

/// Limits that a test can wait for.
pub(crate) fn short() -> Limits {
    let connections = tls::Limits { handshake: SECOND, stuck: SECOND, ..tls::Limits::default() };
    Limits { connections, head: SECOND, pause: SECOND, silence: SECOND }
}

/// Runs a test against a control plane with these limits.
pub(crate) fn with<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(World) -> F) {
    let dir = tempfile::tempdir().unwrap();
    // It waits where it is called: not in a task.
    let ledger = Arc::new(SqlLedger::open(&dir.path().join("ledger")).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new(dir, ledger, limits).await;
        tokio::time::timeout(FOREVER, test(world)).await.expect("the test hangs");
    });
}

/// The same with the limits that it has in earnest.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    with(Limits::default(), test);
}

impl World {
    async fn new(dir: tempfile::TempDir, ledger: Arc<SqlLedger>, limits: Limits) -> Self {
        let control = Control::open(dir.path()).await.unwrap();
        let blobs = Arc::new(greenroom_store::blobs::DirBlobs::open(&dir.path().join("blobs")).unwrap());
        let fleet = Fleet::new(control, ledger, blobs, "cp", jiff::Timestamp::now);
        let made = Authority::create("test", fleet.now() / 1000).unwrap();
        let authority = Authority::load(made.certificate().to_owned(), made.key().to_owned()).unwrap();
        let shared = Shared::new(fleet, made, vec!["https://localhost:7443".to_owned()]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let serving = serve(shared.clone(), listener, vec!["localhost".to_owned()], limits, stopped);
        tokio::spawn(async move { serving.await.unwrap() });
        Self { shared, authority, address, dir, _stop: stop }
    }

    pub(crate) fn control(&self) -> &Control {
        self.shared.fleet.control()
    }

    pub(crate) fn now(&self) -> i64 {
        self.shared.fleet.now()
    }

    /// The secret of a new token; `good` is how long it lasts from now on, in milliseconds.
    pub(crate) async fn token(&self, role: Role, good: i64) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let name = format!("{role}{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (token, secret) = new_token(&name, role, self.now() + good).unwrap();
        self.control().add_token(&token, self.now()).await.unwrap();
        secret
    }

    /// An invitation's secret for a host.
    pub(crate) async fn invitation(&self, host: &str, good: i64) -> String {
        let secret = new_token("unused", Role::Viewer, 0).unwrap().1;
        let until = self.now() + good;
        self.control().add_enrolment(&hash_of_secret(&secret), host, self.now(), until).await.unwrap();
        secret
    }

    /// Lets a host in, as it does itself.
    pub(crate) async fn enrol(&self, host: &str) -> Identity {
        let invitation = self.invitation(host, DAY).await;
        let wanted = tls::request(host).unwrap();
        let body = serde_json::json!({ "token": invitation, "request": wanted.request }).to_string();
        let answer = self.client(None).ask("POST", "/v1/enrol", &[], &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let enrolled: Enrolled = serde_json::from_str(&answer.body).unwrap();
        Identity { certificate: enrolled.certificate, key: wanted.key }
    }

    /// A certificate for a host that the control plane never gave out, or that is over.
    pub(crate) fn forged(&self, by: &Authority, host: &str, lifetime_s: i64) -> (Identity, String) {
        let wanted = tls::request(host).unwrap();
        // Valid from two hours before: one that lasts minus one hour is over.
        let signed = by.sign(&wanted.request, host, self.now() / 1000, lifetime_s).unwrap();
        (Identity { certificate: signed.certificate, key: wanted.key }, signed.fingerprint)
    }

    pub(crate) fn client(&self, identity: Option<&Identity>) -> Client {
        let config = tls::client(self.authority.certificate(), identity).unwrap();
        Client { address: self.address, config, from: None }
    }

    /// A stranger at this address.
    pub(crate) fn client_from(&self, address: &'static str) -> Client {
        Client { from: Some(address), ..self.client(None) }
    }

    /// The stream of an agent, by the client that agents have.
    pub(crate) async fn stream(&self, identity: &Identity) -> Result<Stream, StreamError> {
        let url = Url::parse(&format!("https://localhost:{}", self.address.port())).unwrap();
        let config = tls::client(self.authority.certificate(), Some(identity)).unwrap();
        connect(&url, "/v1/agent/stream", config, 1 << 20).await
    }

    /// An agent that said hello and was welcomed.
    pub(crate) async fn agent(&self, identity: &Identity) -> Stream {
        self.agent_of(identity, PROTOCOL).await
    }

    /// The same with one that speaks that version of the language.
    pub(crate) async fn agent_of(&self, identity: &Identity, protocol: u32) -> Stream {
        let (stream, welcome) = self.hello(identity, protocol).await;
        assert_eq!(welcome["say"], "welcome");
        stream
    }

    /// What is said to one that says hello.
    pub(crate) async fn hello(&self, identity: &Identity, protocol: u32) -> (Stream, serde_json::Value) {
        let mut stream = self.stream(identity).await.unwrap();
        say(&mut stream, serde_json::json!({ "say": "hello", "protocol": protocol, "version": "0.9" })).await;
        let heard = hear(&mut stream).await.unwrap();
        (stream, heard)
    }
}

pub(crate) async fn say(stream: &mut Stream, message: serde_json::Value) {
    stream.send(message.to_string()).await.unwrap();
}

pub(crate) async fn hear(stream: &mut Stream) -> Result<serde_json::Value, StreamError> {
    Ok(serde_json::from_str(&stream.next().await?).unwrap())
}

/// Somebody who connects.
pub(crate) struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    /// The address that it comes from.
    from: Option<&'static str>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0: the connection was closed without an answer.
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn tcp(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
        }
        socket.connect(self.address).await
    }

    pub(crate) async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = self.tcp().await?;
        TlsConnector::from(self.config.clone()).connect(ServerName::try_from("localhost").unwrap(), tcp).await
    }

    /// Sends these bytes on a connection of their own, and gives what comes back until it is closed.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        let Ok(mut stream) = self.tls().await else { return Answer { status: 0, body: String::new() } };
        // The other end may have closed before all was sent: what it said before is there all the same.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        rest(&mut stream).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}");
        self.raw(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await
    }

    /// With a token.
    pub(crate) async fn with(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        self.ask(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
    }
}

/// All that comes until the other end closes.
pub(crate) async fn rest(stream: &mut TlsStream<TcpStream>) -> Answer {
    let mut all = Vec::new();
    // Whether it ends with a farewell or without is no matter here.
    let _ = stream.read_to_end(&mut all).await;
    let text = String::from_utf8_lossy(&all).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Answer { status: status.unwrap_or(0), body }
}
