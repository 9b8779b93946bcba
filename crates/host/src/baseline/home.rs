//! The directory of a record: made below the root without leaving it, locked by whoever writes, files replaced in one step.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};

use super::types::BaselineError;
use crate::scan::is_absence;
use crate::sys::fs;

/// The recorded states.
pub(super) const MANIFEST: &str = "manifest";
/// What a scan knows the unchanged by.
pub(super) const KEYS: &str = "keys";
/// The package database of the moment of the first record.
pub(super) const PACKAGES: &str = "packages";

const STEPS: [&[u8]; 4] = [b"var", b"var/lib", b"var/lib/greenroom", b"var/lib/greenroom/baseline"];

/// The directory.
pub(super) struct Home {
    fd: OwnedFd,
    path: PathBuf,
}

impl Home {
    /// The directory of the tree at `root`; `None`: there is none.
    pub(super) fn find(root: &Path) -> Result<Option<Self>, BaselineError> {
        let path = super::dir(root);
        let fail = BaselineError::system(format!("open {}", path.display()));
        match fs::open_root(root).and_then(|tree| fs::open_in_root(tree.as_fd(), STEPS[3])) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    /// The same, made where it is missing.
    pub(super) fn make(root: &Path) -> Result<Self, BaselineError> {
        let path = super::dir(root);
        let made = || {
            let tree = fs::open_root(root)?;
            for (at, step) in STEPS.into_iter().enumerate() {
                // The first two are the host's own and usually there; the others are nobody else's business.
                let mode = if at < 2 { 0o755 } else { 0o700 };
                match fs::open_in_root(tree.as_fd(), step) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        let (parent, name) = match step.iter().rposition(|b| *b == b'/') {
                            Some(cut) => (fs::open_in_root(tree.as_fd(), &step[..cut])?, &step[cut + 1..]),
                            None => (tree.try_clone()?, step),
                        };
                        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode))?;
                    }
                    Err(error) => return Err(error),
                }
            }
            fs::open_in_root(tree.as_fd(), STEPS[3])
        };
        let fd = made().map_err(BaselineError::system(format!("make {}", path.display())))?;
        Ok(Self { fd, path })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits until nobody else writes here. Given back when the guard goes.
    pub(super) fn lock(&self) -> Result<OwnedFd, BaselineError> {
        // Of the directory itself: it needs no file, and the descriptor must not be shared with a reader's.
        let locked = fs::open_dir(self.fd.as_fd(), b"").and_then(|own| {
            rustix::fs::flock(&own, FlockOperation::LockExclusive)?;
            Ok(own)
        });
        locked.map_err(BaselineError::system(format!("lock {}", self.path.display())))
    }

    /// Opens a file for reading; `None`: there is none.
    pub(super) fn open(&self, name: &str) -> Result<Option<File>, BaselineError> {
        match fs::open_file(self.fd.as_fd(), name.as_bytes()) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BaselineError::system(format!("open {}", self.path(name).display()))(error)),
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, BaselineError> {
        let Some(mut file) = self.open(name)? else { return Ok(None) };
        let mut out = Vec::new();
        let read = file.read_to_end(&mut out);
        read.map_err(BaselineError::system(format!("read {}", self.path(name).display())))?;
        Ok(Some(out))
    }

    /// A new file that will replace `name`. What somebody who was interrupted left is removed: the caller has the lock.
    pub(super) fn replacement(&self, name: &str) -> Result<File, BaselineError> {
        let new = format!("{name}.new");
        match fs::remove(self.fd.as_fd(), new.as_bytes(), false) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BaselineError::system(format!("remove {}", self.path(&new).display()))(error));
            }
            _ => {}
        }
        let made = fs::create_file(self.fd.as_fd(), new.as_bytes());
        made.map_err(BaselineError::system(format!("make {}", self.path(&new).display())))
    }

    /// A new file that goes when it is closed.
    pub(super) fn nameless(&self, name: &str) -> Result<File, BaselineError> {
        let name = format!("{name}.{}", std::process::id());
        let _ = fs::remove(self.fd.as_fd(), name.as_bytes(), false);
        let made = fs::create_file(self.fd.as_fd(), name.as_bytes());
        let file = made.map_err(BaselineError::system(format!("make {}", self.path(&name).display())))?;
        self.remove(&name)?;
        Ok(file)
    }

    /// Puts it in place; [`Home::sync`] makes that durable.
    pub(super) fn replace(&self, name: &str) -> Result<(), BaselineError> {
        let new = format!("{name}.new");
        let done = fs::rename(self.fd.as_fd(), new.as_bytes(), name.as_bytes());
        done.map_err(BaselineError::system(format!("replace {}", self.path(name).display())))
    }

    /// Removes a file, and is content when there is none.
    pub(super) fn remove(&self, name: &str) -> Result<(), BaselineError> {
        match fs::remove(self.fd.as_fd(), name.as_bytes(), false) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BaselineError::system(format!("remove {}", self.path(name).display()))(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn sync(&self) -> Result<(), BaselineError> {
        let opened = fs::open_dir(self.fd.as_fd(), b"").and_then(|dir| fs::sync(dir.as_fd()));
        opened.map_err(BaselineError::system(format!("make {} durable", self.path.display())))
    }

    /// Writes a whole file durably, in one step.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), BaselineError> {
        let mut file = self.replacement(name)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(BaselineError::system(format!("write {}", self.path(name).display())))?;
        self.replace(name)?;
        self.sync()
    }
}
