//! A server that speaks S3, for one test: the crate `s3s-fs` on a loopback port, with its buckets in a temporary directory.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The access key that it accepts.
pub const KEY: &str = "greenroom";
/// The secret of [`KEY`].
pub const SECRET: &str = "not a secret";

/// A server. Dropping it stops it.
pub struct S3 {
    dir: TempDir,
    port: u16,
    runtime: Option<Runtime>,
}

impl S3 {
    /// Starts it, without a bucket.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("make a directory for S3");
        let service = {
            let mut builder = S3ServiceBuilder::new(FileSystem::new(dir.path()).expect("use the directory for S3"));
            builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
            builder.build()
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("start threads for S3");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("listen for S3");
        let port = listener.local_addr().expect("a listener has an address").port();
        runtime.spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { dir, port, runtime: Some(runtime) }
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
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
