//! A place for one rehearsal of another host: where its tree is shown, and a state of its own.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use greenroom_host::copy;
use rustix::fs::{FlockOperation, flock};

use super::Shelf;
use super::shelf::make_dir;
use crate::{EngineError, State};

/// It goes with all that is in it when it is dropped.
pub(crate) struct Work {
    dir: PathBuf,
    _lock: File,
}

impl Work {
    /// The place for this command; `of` is the host.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(shelf: &Shelf, command: &str, of: &str) -> Result<Self, EngineError> {
        let _alone = shelf.alone()?;
        let all = shelf.dir().join("work");
        copy::sweep(&all).map_err(EngineError::system("remove what killed rehearsals left"))?;
        let (dir, noise) = (all.join(command), shelf.dir().join("noise").join(of));
        for needed in [&dir, &dir.join("root"), &dir.join("state"), &noise] {
            make_dir(needed)?;
        }
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(EngineError::file("make", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| EngineError::file("lock", path)(error.into()))?;
        let path = dir.join("state/noise");
        symlink(&noise, &path).map_err(EngineError::file("make the link", path))?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where the tree is shown.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The state of the rehearsal.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn state(&self) -> Result<State, EngineError> {
        State::open(&self.dir.join("state"))
    }

    /// A file for something on its way.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = remove(&self.dir);
    }
}

/// What stays is swept by the next rehearsal.
fn remove(dir: &Path) -> std::io::Result<()> {
    copy::remove_tree(dir)?;
    fs::File::open(dir.parent().unwrap_or(Path::new("/")))?.sync_all()
}
