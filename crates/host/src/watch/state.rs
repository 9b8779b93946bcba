//! What the running watch says of itself (`state.json`), and the lock by which there is one for a tree.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

/// How processes are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// Every fork and program start is noted in the kernel (eBPF): no process is too short.
    Traced,
    /// A process is looked up when its event is read: who is gone by then is not known.
    Looked,
}

/// What the watch says of itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its process.
    pub pid: u32,
    /// Since when.
    pub started: Timestamp,
    /// How processes are followed.
    pub attribution: Attribution,
    /// The places whose file systems are watched.
    pub places: Vec<String>,
    /// What it cannot do here, in sentences.
    pub limits: Vec<String>,
}

/// Held as long as the watch runs.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// `None`: another watch has it.
    pub(super) fn take(dir: &Path) -> io::Result<Option<Self>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let file = open(dir)?;
        // Whoever looks whether a watch runs holds the lock for a moment.
        for _ in 0..20 {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(25)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join("lock"))
}

/// Whether a watch has this log open.
pub(super) fn runs(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join("lock")) else { return false };
    matches!(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
}

impl State {
    /// What the watch of the tree at `root` says; `None` while none runs.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(root: &Path) -> io::Result<Option<Self>> {
        let dir = super::dir(root);
        if !runs(&dir) {
            return Ok(None);
        }
        match fs::read(dir.join("state.json")) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join("state.json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, dir.join("state.json"))
    }
}
