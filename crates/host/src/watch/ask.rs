//! The word by which a reader of the log makes the watch write down all that has happened until now.
//!
//! A socket in the log's directory: whoever connects and sees the connection end knows that every change from before is in the log.
//! Nothing is said over it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "ask";
/// The watch may be in the middle of a long queue.
const PATIENCE: Duration = Duration::from_secs(5);

/// The watch's end.
pub(super) struct Asked(UnixListener);

impl Asked {
    /// Listens. Whoever holds the lock of the log may.
    pub(super) fn listen(dir: &Path) -> io::Result<Self> {
        match fs::remove_file(dir.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = short(dir, UnixListener::bind)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Those who ask just now. Dropping them is the answer.
    pub(super) fn all(&self) -> Vec<UnixStream> {
        std::iter::from_fn(|| self.0.accept().ok()).map(|(stream, _)| stream).collect()
    }
}

impl AsFd for Asked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until the watch has written down all that happened before this call. Without a watch there is nothing to wait for.
pub(super) fn ask(dir: &Path) {
    let Ok(mut stream) = short(dir, UnixStream::connect) else { return };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.read(&mut [0]);
}

/// A socket's path may be 107 bytes long, and a directory's more.
fn short<T>(dir: &Path, work: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let dir = File::open(dir)?;
    work(PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(NAME))
}
