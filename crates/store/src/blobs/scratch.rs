//! Where blobs are written before they have their name: one directory per user of the store, below `tmp`.
//!
//! Its owner holds a flock(2) on it as long as it lives. A directory that nobody holds belongs to a process that was
//! killed; the next one to write clears it away. So no clock and no list of processes is needed to tell debris
//! from work.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Makes the names of this process different from each other.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A directory for half-written files, removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Open for the lock on it.
    _held: File,
}

impl Scratch {
    /// Clears debris away and makes a directory below `parent`.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        clear(parent)?;
        loop {
            let path = parent.join(unique());
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                outcome => outcome?,
            }
            // Between making and locking it, another process may take it for debris: then start again.
            let held = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                held => held?,
            };
            match flock(&held, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) => continue,
                locked => locked?,
            }
            if std::fs::metadata(&path).is_ok_and(|there| same(&there, &held)) {
                return Ok(Self { path, _held: held });
            }
        }
    }

    /// A name in it that was never used.
    pub(super) fn fresh(&self) -> PathBuf {
        self.path.join(unique())
    }

    /// The same, with a beginning that says something.
    pub(super) fn named(&self, beginning: &str) -> PathBuf {
        self.path.join(format!("{beginning}-{}", unique()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over, the next one clears away.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn same(there: &std::fs::Metadata, held: &File) -> bool {
    held.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (there.dev(), there.ino()))
}

fn unique() -> String {
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Removes the directories that nobody holds.
fn clear(parent: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        let Ok(held) = File::open(&path) else { continue };
        if flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok() {
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
