//! One file of a described tree, and making it real.

use super::disk::{self, Time};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub what: What,
    /// Its metadata; a hard link has that of the file it is a name of.
    pub meta: Meta,
}

/// The kinds of file, with what belongs to each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    Regular(Content),
    /// A directory.
    Directory,
    /// A symlink and its target.
    Symlink(PathBuf),
    /// One more name of the regular file at this path of the same tree.
    HardLink(PathBuf),
    /// A named pipe.
    Fifo,
    /// A character device node, major and minor number.
    Character(u32, u32),
    /// A block device node, major and minor number.
    Block(u32, u32),
}

/// The content of a regular file, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The data is derived from it.
    pub seed: u64,
    /// How much data, in bytes.
    pub length: usize,
    /// How large a hole in the middle of the data, in bytes.
    pub hole: u64,
}

/// Metadata, all of which [`Meta::set`] puts on a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with set-user-id, set-group-id and sticky; not for symlinks.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970, nanoseconds.
    pub mtime: Time,
    /// Extended attributes; those that the kind of file cannot have are left out when it is made.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    /// Owned by root, without extended attributes.
    #[must_use]
    pub fn plain(mode: u32, mtime: Time) -> Self {
        Self { mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }

    /// Puts all of it on `path`, in the order in which nothing undoes what came before: a new owner drops
    /// set-user-id and capabilities, an ACL rewrites the group bits, and everything may change times.
    ///
    /// # Errors
    /// The first operation that the file system refused.
    pub fn set(&self, path: &Path, what: &What) -> io::Result<()> {
        lchown(path, Some(self.uid), Some(self.gid))?;
        if !matches!(what, What::Symlink(_)) {
            disk::set_mode(path, self.mode)?;
        }
        for (name, value) in &self.xattrs {
            if what.can_have(name) {
                disk::set_xattr(path, name, value)?;
            }
        }
        disk::set_mtime(path, self.mtime)
    }
}

impl What {
    /// Whether the kernel allows this extended attribute on this kind of file.
    #[must_use]
    pub fn can_have(&self, xattr: &str) -> bool {
        let regular = matches!(self, Self::Regular(_) | Self::HardLink(_));
        let directory = matches!(self, Self::Directory);
        match xattr {
            "security.capability" => regular,
            "system.posix_acl_default" => directory,
            "system.posix_acl_access" => !matches!(self, Self::Symlink(_)),
            _ if xattr.starts_with("user.") => regular || directory,
            _ => true,
        }
    }
}

impl Node {
    /// Makes the file at `path` below `root`, its metadata included except for directories: theirs is set when
    /// all that is in them has been made.
    pub(crate) fn create(&self, root: &Path, path: &Path) -> io::Result<()> {
        let full = root.join(path);
        match &self.what {
            What::Regular(Content { seed, length, hole }) => {
                disk::write_sparse(&full, &disk::bytes(*seed, *length), *hole)?;
            }
            What::Directory => return fs::create_dir(&full),
            What::Symlink(target) => symlink(target, &full)?,
            What::HardLink(other) => return fs::hard_link(root.join(other), &full),
            What::Fifo => disk::make_node(&full, FileType::Fifo, (0, 0))?,
            What::Character(major, minor) => {
                disk::make_node(&full, FileType::CharacterDevice, (*major, *minor))?;
            }
            What::Block(major, minor) => {
                disk::make_node(&full, FileType::BlockDevice, (*major, *minor))?;
            }
        }
        self.meta.set(&full, &self.what)
    }
}
