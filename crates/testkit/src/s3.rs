//! A server that speaks S3, for one test: the crate `s3s-fs` on a loopback port or at a station of a lab, with its buckets in a
//! temporary directory.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::service::Service;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, HttpResponse};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::lab::Station;

/// The access key that it accepts.
pub const KEY: &str = "greenroom";
/// The secret of [`KEY`].
pub const SECRET: &str = "not a secret";

/// The port of a server at a station, which has all ports to itself.
const STATION_PORT: u16 = 9000;

/// A server. Dropping it stops it.
pub struct S3 {
    dir: TempDir,
    address: SocketAddr,
    runtime: Option<Runtime>,
    seen: Arc<Seen>,
}

/// What it was asked.
#[derive(Default)]
struct Seen {
    /// Whether requests wait.
    held: watch::Sender<bool>,
    now: AtomicUsize,
    most: AtomicUsize,
    sent: AtomicU64,
}

impl S3 {
    /// Starts it, without a bucket.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn start() -> Self {
        Self::begin(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen for S3"))
    }

    /// As [`S3::start`], at a station of a lab, where everybody on its network reaches it.
    ///
    /// # Panics
    /// As [`S3::start`].
    #[must_use]
    pub fn start_at(station: &Station) -> Self {
        Self::begin(station.listen((station.address(), STATION_PORT)).expect("listen for S3"))
    }

    fn begin(listener: TcpListener) -> Self {
        let dir = tempfile::tempdir().expect("make a directory for S3");
        let service = {
            let mut builder = S3ServiceBuilder::new(FileSystem::new(dir.path()).expect("use the directory for S3"));
            builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
            Counted { service: builder.build(), seen: Arc::default() }
        };
        let seen = Arc::clone(&service.seen);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("start threads for S3");
        let address = listener.local_addr().expect("a listener has an address");
        listener.set_nonblocking(true).expect("listen for S3");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("listen for S3");
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                // Head and body of an answer are two writes: the second one would wait for the client's delayed acknowledgement.
                let _ = socket.set_nodelay(true);
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { dir, address, runtime: Some(runtime), seen }
    }

    /// From now on requests wait, or no longer.
    pub fn hold(&self, held: bool) {
        self.seen.held.send_replace(held);
    }

    /// Requests that are not answered yet.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.seen.now.load(Ordering::SeqCst)
    }

    /// The most of them that there were at once.
    #[must_use]
    pub fn most(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }

    /// Bytes of all answers.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::SeqCst)
    }

    /// Makes a bucket; gives the directory that it is.
    ///
    /// # Panics
    /// It can't be made.
    #[must_use]
    pub fn bucket(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).expect("make a bucket");
        path
    }

    /// The address of the server.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The service, and what is noted of its requests.
#[derive(Clone)]
struct Counted {
    service: S3Service,
    seen: Arc<Seen>,
}

impl Service<Request<Incoming>> for Counted {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (seen, body) = (Arc::clone(&self.seen), request.method() != Method::HEAD);
        let answer = Service::call(&self.service, request);
        Box::pin(async move {
            let here = Here::new(&seen);
            // Who holds it is there as long as the server is.
            let _ = seen.held.subscribe().wait_for(|held| !held).await;
            let answer = answer.await?;
            let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            seen.sent.fetch_add(length.filter(|_| body).unwrap_or(0), Ordering::SeqCst);
            drop(here);
            Ok(answer)
        })
    }
}

/// A request, as long as nobody has answered it or hung up.
struct Here(Arc<Seen>);

impl Here {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.most.fetch_max(seen.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
