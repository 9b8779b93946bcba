//! Reads the state of single paths of a tree.
//!
//! Not here: walking whole trees, deciding what matters, changing anything. A path goes in, a [`Seen`] comes out: nothing, a
//! socket, or a [`Node`] with the inode it was read from. No symbolic link is followed, nothing outside the root can be
//! reached, devices and FIFOs are never opened, and a file that changes while it is hashed is read again.

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use greenroom_core::manifest::Xattrs;
use greenroom_core::{ContentHash, Kind, Mtime, Node, TreePath};
use rustix::fs::OFlags;

use crate::sys::fs::{self, Listed, Status, types};
use crate::sys::xattr;

/// Why a path could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The root cannot be opened.
    #[error("cannot open the tree at {}", root.display())]
    Root {
        /// The root's path on this machine.
        root: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// One path cannot be read.
    #[error("cannot read {path}")]
    Path {
        /// Which.
        path: TreePath,
        /// What the kernel said.
        source: io::Error,
    },
    /// It changed each time it was read.
    #[error("{path} is being written to: it changed each time it was read")]
    Busy {
        /// Which.
        path: TreePath,
    },
}

/// What was found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A socket: it exists at run time only and has no state to carry.
    Socket,
    /// A node, and the inode it is.
    Node(Box<Node>, Status),
}

impl Seen {
    /// The node, where there is one.
    #[must_use]
    pub fn into_node(self) -> Option<Box<Node>> {
        match self {
            Self::Node(node, _) => Some(node),
            Self::Absent | Self::Socket => None,
        }
    }
}

/// A tree whose paths can be read. Cheap to make; one for each thread.
pub struct Tree {
    root: OwnedFd,
    path: PathBuf,
    /// The directory that was used last: neighbours in a sorted list share it.
    last: Option<(TreePath, OwnedFd)>,
}

/// How much is read at once.
const CHUNK: usize = 128 * 1024;

thread_local! {
    /// What files are read into. Trees come and go with each piece of work; a thread stays.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// How often a file that changes while it is read is read again.
const TRIES: u32 = 4;

impl Tree {
    /// Opens the tree at `root`.
    ///
    /// # Errors
    /// [`ScanError::Root`].
    pub fn open(root: &Path) -> Result<Self, ScanError> {
        let fd = fs::open_root(root).map_err(|source| ScanError::Root { root: root.to_owned(), source })?;
        Ok(Self { root: fd, path: root.to_owned(), last: None })
    }

    /// Another handle on the same tree, for another thread: also for one whose mount namespace has no such path.
    ///
    /// # Errors
    /// [`ScanError::Root`].
    pub fn again(&self) -> Result<Self, ScanError> {
        let root = self.root.try_clone().map_err(|source| ScanError::Root { root: self.path.clone(), source })?;
        Ok(Self { root, path: self.path.clone(), last: None })
    }

    /// Where the tree is on this machine.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root directory.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory that `path` lies in, and its name there. The root itself is `(root, "")`.
    /// `None`: a directory on the way is missing or is no directory (any more).
    ///
    /// # Errors
    /// [`ScanError::Path`].
    pub fn place<'a>(&mut self, path: &'a TreePath) -> Result<Option<(BorrowedFd<'_>, &'a [u8])>, ScanError> {
        if self.last.as_ref().is_none_or(|(held, _)| !held.is_parent_of(path)) {
            let Some(parent) = path.parent() else {
                return Ok(Some((self.root.as_fd(), b"")));
            };
            match fs::open_beneath(self.root.as_fd(), &parent, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(fd) => self.last = Some((parent, fd)),
                Err(error) if is_absence(&error) => return Ok(None),
                Err(source) => return Err(ScanError::Path { path: path.clone(), source }),
            }
        }
        Ok(self.last.as_ref().map(|(_, fd)| (fd.as_fd(), path.name())))
    }

    /// Forgets the directory that is held open; needed after directories were renamed.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The status of `path`; `None` when there is nothing.
    ///
    /// # Errors
    /// [`ScanError::Path`].
    pub fn status(&mut self, path: &TreePath) -> Result<Option<Status>, ScanError> {
        let Some((dir, name)) = self.place(path)? else { return Ok(None) };
        match fs::status(dir, name) {
            Ok(status) => Ok(Some(status)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(source) => Err(ScanError::Path { path: path.clone(), source }),
        }
    }

    /// The names in the directory `path`; none when it is no directory.
    ///
    /// # Errors
    /// [`ScanError::Path`].
    pub fn names(&mut self, path: &TreePath) -> Result<Vec<Box<[u8]>>, ScanError> {
        let Some((dir, name)) = self.place(path)? else { return Ok(Vec::new()) };
        match fs::names(dir, name) {
            Ok(names) => Ok(names),
            Err(error) if is_absence(&error) => Ok(Vec::new()),
            Err(source) => Err(ScanError::Path { path: path.clone(), source }),
        }
    }

    /// As [`Tree::names`], with what the directory itself tells of each.
    ///
    /// # Errors
    /// [`ScanError::Path`].
    pub fn entries(&mut self, path: &TreePath) -> Result<Vec<Listed>, ScanError> {
        let Some((dir, name)) = self.place(path)? else { return Ok(Vec::new()) };
        match fs::entries(dir, name) {
            Ok(entries) => Ok(entries),
            Err(error) if is_absence(&error) => Ok(Vec::new()),
            Err(source) => Err(ScanError::Path { path: path.clone(), source }),
        }
    }

    /// The content of the regular file `path`, at most `limit` bytes of it; `None` when it is none.
    ///
    /// # Errors
    /// [`ScanError::Path`].
    pub fn content(&mut self, path: &TreePath, limit: u64) -> Result<Option<Vec<u8>>, ScanError> {
        let Some(status) = self.status(path)? else { return Ok(None) };
        if status.file_type() != types::FILE {
            return Ok(None);
        }
        let Some((dir, name)) = self.place(path)? else { return Ok(None) };
        let mut out = Vec::new();
        let read = fs::open_file(dir, name).and_then(|file| file.take(limit).read_to_end(&mut out));
        read.map_err(|source| ScanError::Path { path: path.clone(), source })?;
        Ok(Some(out))
    }

    /// Opens the regular file `path` for reading; `None` when it is none.
    ///
    /// # Errors
    /// [`ScanError::Path`].
    pub fn open_file(&mut self, path: &TreePath) -> Result<Option<std::fs::File>, ScanError> {
        let is_file = self.status(path)?.is_some_and(|status| status.file_type() == types::FILE);
        let Some((dir, name)) = self.place(path)?.filter(|_| is_file) else { return Ok(None) };
        fs::open_file(dir, name).map(Some).map_err(|source| ScanError::Path { path: path.clone(), source })
    }

    /// The whole state of `path`, content included. `link` is left empty: groups are known only by those who see all names.
    ///
    /// # Errors
    /// [`ScanError::Path`], [`ScanError::Busy`].
    pub fn node(&mut self, path: &TreePath) -> Result<Seen, ScanError> {
        match self.place(path)? {
            Some((dir, name)) => steadily(path, || read_node(dir, name)),
            None => Ok(Seen::Absent),
        }
    }

    /// The state of `path` in the upper layer of an overlay, where the layer tells all of it: it is a regular file with one
    /// name, and overlayfs notes nothing about it but where it was copied from. That is what the merged view shows, for less
    /// than half of the cost. `None` of anything else: read that in the merged view. `at_rest`: nobody writes to it meanwhile.
    ///
    /// # Errors
    /// [`ScanError::Path`], [`ScanError::Busy`].
    pub fn plain(&mut self, path: &TreePath, at_rest: bool) -> Result<Option<Seen>, ScanError> {
        let Some((dir, name)) = self.place(path)? else { return Ok(None) };
        let seen = steadily(path, || {
            let status = fs::status(dir, name)?;
            if status.file_type() != types::FILE || status.nlink != 1 {
                return Ok(Some(Seen::Absent));
            }
            Ok(match read_file(dir, name, status, at_rest)? {
                Some((_, true)) => Some(Seen::Absent),
                Some((seen, false)) => Some(seen),
                None => None,
            })
        })?;
        Ok(Some(seen).filter(|seen| *seen != Seen::Absent))
    }
}

/// Reads until nothing changed meanwhile, which `read` says by `None`.
fn steadily(path: &TreePath, read: impl Fn() -> io::Result<Option<Seen>>) -> Result<Seen, ScanError> {
    for _ in 0..TRIES {
        match read() {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) => {}
            Err(error) if is_absence(&error) => return Ok(Seen::Absent),
            Err(source) => return Err(ScanError::Path { path: path.clone(), source }),
        }
    }
    Err(ScanError::Busy { path: path.clone() })
}

/// Reads one node; `None` when it changed meanwhile.
fn read_node(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Seen>> {
    let status = fs::status(dir, name)?;
    let (major, minor) = status.rdev;
    let kind = match status.file_type() {
        types::FILE => return Ok(read_file(dir, name, status, false)?.map(|(seen, _)| seen)),
        types::DIR => Kind::Dir,
        types::SYMLINK => Kind::Symlink(fs::read_link(dir, name)?),
        types::FIFO => Kind::Fifo,
        types::CHAR => Kind::CharDevice { major, minor },
        types::BLOCK => Kind::BlockDevice { major, minor },
        _ => return Ok(Some(Seen::Socket)),
    };
    let xattrs = xattr::xattrs(dir, name)?;
    Ok(Some(seen(kind, xattrs, status)))
}

fn seen(kind: Kind, xattrs: Xattrs, status: Status) -> Seen {
    Seen::Node(node_of(kind, xattrs, &status), status)
}

/// A node out of what was read of it; without its hard-link group.
pub(crate) fn node_of(kind: Kind, xattrs: Xattrs, status: &Status) -> Box<Node> {
    Box::new(Node {
        mode: (status.mode & 0o7777) as u16,
        flags: status.flags,
        uid: status.uid,
        gid: status.gid,
        mtime: if kind == Kind::Dir { Mtime::default() } else { status.mtime },
        xattrs,
        link: None,
        kind,
    })
}

/// Reads a regular file, and whether overlayfs notes something about it; `None` when it changed meanwhile, which one `at_rest`
/// does not.
fn read_file(dir: BorrowedFd<'_>, name: &[u8], status: Status, at_rest: bool) -> io::Result<Option<(Seen, bool)>> {
    let mut file = fs::open_file(dir, name)?;
    let (content, length) = BUFFER.with_borrow_mut(|buffer| hash(&mut file, status.size, buffer))?;
    let (xattrs, special) = xattr::xattrs_of(&file)?;
    let steady = length == status.size
        && (at_rest || {
            let after = fs::status(file.as_fd(), b"")?;
            after.ctime == status.ctime && after.ino == status.ino && after.size == length
        });
    Ok(steady.then(|| (seen(Kind::File { size: length, content }, xattrs, status), special)))
}

/// The hash and the length of a file's content. Of a file that fits into the buffer it is computed in one go, which is faster.
fn hash(file: &mut std::fs::File, size: u64, buffer: &mut [u8]) -> io::Result<(ContentHash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut length = 0u64;
    loop {
        match file.read(buffer) {
            Ok(count) if length == 0 && count < buffer.len() && count as u64 == size => {
                return Ok((ContentHash::of(&buffer[..count]), size));
            }
            Ok(0) => return Ok((hasher.finalize().into(), length)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                length += count as u64;
                if count < buffer.len() && length == size {
                    return Ok((hasher.finalize().into(), length));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether an error means that nothing is there: missing, or a parent that is no directory or is a symbolic link.
#[must_use]
pub fn is_absence(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}
