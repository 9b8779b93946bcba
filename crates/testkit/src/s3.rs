//! A server that speaks S3, for one test: the crate `s3s-fs` on a loopback port or at a station of a lab, with its buckets in a
//! temporary directory.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::runtime::Runtime;

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
            builder.build()
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("start threads for S3");
        let address = listener.local_addr().expect("a listener has an address");
        listener.set_nonblocking(true).expect("listen for S3");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("listen for S3");
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { dir, address, runtime: Some(runtime) }
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
