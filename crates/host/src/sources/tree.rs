//! Reading files below a root that is not trusted: no symlink leads out of it, only regular files, only so many bytes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The largest configuration file that is read, in bytes.
const FILE_MAX: u64 = 1024 * 1024;
/// The most entries of a directory that are looked at.
const ENTRIES_MAX: usize = 4096;

/// An open root.
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::openat(CWD, root, flags, Mode::empty())? })
    }

    /// Opens `path` as a process would whose root this is: absolute symlinks and `..` stay inside.
    fn at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.at(path, OFlags::PATH).is_ok()
    }

    /// The text of a file, `None` when there is none. Bytes that are not UTF-8 are replaced: they cannot be part of an address.
    pub(super) fn read(&self, path: &str) -> Result<Option<String>, String> {
        // Not blocking, because a FIFO would.
        let file = match self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(format!("{path} cannot be opened: {}", io::Error::from(e))),
        };
        let status = rustix::fs::fstat(&file).map_err(|e| format!("{path} cannot be read: {}", io::Error::from(e)))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(format!("{path} is not a regular file"));
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(FILE_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| format!("{path} cannot be read: {e}"))?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(format!("{path} is larger than {FILE_MAX} bytes and was not read"));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The names in a directory that are UTF-8, sorted; none when it is not there.
    pub(super) fn list(&self, path: &str) -> Result<Vec<String>, String> {
        let directory = match self.at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(e) => return Err(format!("{path} cannot be opened: {}", io::Error::from(e))),
        };
        let failed = |e: Errno| format!("{path} cannot be listed: {}", io::Error::from(e));
        let mut names = Vec::new();
        for entry in Dir::new(directory).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().to_str() {
                names.push(name.to_owned());
            }
            if names.len() > ENTRIES_MAX {
                return Err(format!("{path} has more than {ENTRIES_MAX} entries and was not read"));
            }
        }
        names.sort();
        Ok(names)
    }
}
