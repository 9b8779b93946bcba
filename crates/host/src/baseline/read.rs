//! Reads one path for good: content, attributes, target, each file once whatever is computed of it.
//!
//! As in [`crate::scan`], no link is followed and neither FIFO nor device is opened; what is new is that the content goes through
//! BLAKE3 and, when a package says what it ought to be, MD5 in one pass, and to a [`super::Keep`] that wants it. Many files of
//! packages at once are faster: [`super::streams`].

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use greenroom_core::{ContentHash, Kind, Node, TreePath};
use md5::{Digest as _, Md5 as Md5Hasher};

use super::types::{BaselineError, Keep, Trouble};
use crate::dpkg::Md5;
use crate::scan::{is_absence, node_of};
use crate::sys::fs::{self, Status, types};
use crate::sys::xattr;

/// How often a file that changes while it is read is read again.
const TRIES: u32 = 4;

/// What a path is when it was read.
pub(super) enum Read {
    Node { node: Box<Node>, status: Status, md5: Option<Md5> },
    Socket,
    Gone,
    Trouble(Trouble),
}

/// What reads; one for each thread.
pub(super) struct Reader<'a> {
    keep: Option<&'a dyn Keep>,
    buffer: Vec<u8>,
    /// Bytes of content that were read.
    pub(super) bytes: u64,
}

/// A content, read.
struct Content {
    hash: ContentHash,
    md5: Option<Md5>,
    xattrs: greenroom_core::manifest::Xattrs,
    whole: Option<Vec<u8>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(keep: Option<&'a dyn Keep>) -> Self {
        Self { keep, buffer: vec![0; 128 * 1024], bytes: 0 }
    }

    /// Reads `name` in `dir`, which is `path`; `status` is what was seen of it a moment ago.
    pub(super) fn read(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        status: &Status,
        with_md5: bool,
    ) -> Result<Read, BaselineError> {
        let mut now = *status;
        for _ in 0..TRIES {
            let read = self.once(dir, name, path, &now, with_md5).and_then(|found| match found {
                Some((read, whole)) => Ok(Some((read, whole))),
                None => {
                    now = fs::status(dir, name)?;
                    Ok(None)
                }
            });
            match read {
                Ok(Some((read, whole))) => {
                    if let Read::Node { node, .. } = &read
                        && let Some(hash) = node.content()
                    {
                        self.kept(path, &hash, whole)?;
                    }
                    return Ok(read);
                }
                Ok(None) => {}
                Err(error) if is_absence(&error) => match fs::status(dir, name) {
                    // A link took the place of a file between two calls.
                    Ok(again) => now = again,
                    Err(error) if is_absence(&error) => return Ok(Read::Gone),
                    Err(error) => return Ok(trouble(&error)),
                },
                Err(error) => return Ok(trouble(&error)),
            }
        }
        Ok(Read::Trouble(Trouble::Busy))
    }

    /// Gives a content to whoever wanted it.
    pub(super) fn kept(
        &self,
        path: &TreePath,
        hash: &ContentHash,
        whole: Option<Vec<u8>>,
    ) -> Result<(), BaselineError> {
        let (Some(keep), Some(whole)) = (self.keep, whole) else { return Ok(()) };
        keep.keep(path, hash, &whole).map_err(|source| BaselineError::Keep { path: path.clone(), source })
    }

    /// `None`: it changed meanwhile.
    fn once(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        status: &Status,
        with_md5: bool,
    ) -> io::Result<Option<(Read, Option<Vec<u8>>)>> {
        let (major, minor) = status.rdev;
        let (mut md5, mut whole, mut attributes) = (None, None, None);
        let kind = match status.file_type() {
            types::FILE => {
                let Some(content) = self.content(dir, name, path, status, with_md5)? else { return Ok(None) };
                (md5, whole, attributes) = (content.md5, content.whole, Some(content.xattrs));
                Kind::File { size: status.size, content: content.hash }
            }
            types::DIR => Kind::Dir,
            types::SYMLINK => Kind::Symlink(fs::read_link(dir, name)?),
            types::FIFO => Kind::Fifo,
            types::CHAR => Kind::CharDevice { major, minor },
            types::BLOCK => Kind::BlockDevice { major, minor },
            _ => return Ok(Some((Read::Socket, None))),
        };
        let xattrs = match attributes {
            Some(xattrs) => xattrs,
            None => xattr::xattrs(dir, name)?,
        };
        let node = node_of(kind, xattrs, status);
        Ok(Some((Read::Node { node, status: *status, md5 }, whole)))
    }

    fn content(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        status: &Status,
        with_md5: bool,
    ) -> io::Result<Option<Content>> {
        let mut file = fs::open_file(dir, name)?;
        let mut hasher = blake3::Hasher::new();
        let mut md5 = with_md5.then(Md5Hasher::new);
        let wanted = self.keep.is_some_and(|keep| keep.wants(path, status.size));
        let mut whole = wanted.then(Vec::new);
        let mut length = 0u64;
        loop {
            let count = match file.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let piece = &self.buffer[..count];
            hasher.update(piece);
            if let Some(md5) = &mut md5 {
                md5.update(piece);
            }
            length += count as u64;
            if let Some(whole) = &mut whole {
                whole.extend_from_slice(piece);
            }
            // It grows: what is read from here on is not what was looked at.
            if length > status.size {
                return Ok(None);
            }
            if count < self.buffer.len() && length == status.size {
                break;
            }
        }
        self.bytes += length;
        let (xattrs, _) = xattr::xattrs_of(&file)?;
        let after = fs::status(file.as_fd(), b"")?;
        let steady = after.ctime == status.ctime && after.ino == status.ino && after.size == length;
        let hash = hasher.finalize().into();
        Ok(steady.then(|| Content { hash, md5: md5.map(|md5| md5.finalize().into()), xattrs, whole }))
    }
}

pub(super) fn trouble(error: &io::Error) -> Read {
    Read::Trouble(Trouble::Unreadable(words(error)))
}

/// The kernel's words without the number.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
