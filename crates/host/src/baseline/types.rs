//! What goes into a record or a scan, and what comes out.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use greenroom_core::policy::Policy;
use greenroom_core::{ContentHash, Entry, Mtime, TreePath};
use jiff::Timestamp;

use crate::copy::CopyError;
use crate::dpkg::Md5;
use crate::scan::ScanError;

/// How a tree is walked.
pub struct Options<'a> {
    /// What is left out of the record: volatile, data, Greenroom's own.
    pub policy: &'a Policy,
    /// The moment at which the walk begins. Change times that are not clearly before it are not trusted.
    pub now: Timestamp,
    /// Only these paths and what is below them; empty: the whole tree.
    pub within: Vec<TreePath>,
    /// What is read although its change time says that nothing happened to it.
    pub depth: Depth,
    /// How old a change time has to be at `now` to be trusted by the next scan; see [`Options::YOUNG`].
    pub young: Duration,
    /// Gets the contents of small files as they are read.
    pub keep: Option<&'a dyn Keep>,
    /// How many threads; 0: one for each processor.
    pub threads: usize,
}

impl<'a> Options<'a> {
    /// A file system's clock ticks every few milliseconds; a page that is written to through a mapping stays writable, and its
    /// further writes unseen, until the kernel has written it back (35 s by default); and after a power cut a file may have its
    /// old content with its new change time for as long.
    pub const YOUNG: Duration = Duration::from_secs(60);

    /// The whole tree, as `policy` divides it; only what may have changed is read.
    #[must_use]
    pub fn new(policy: &'a Policy, now: Timestamp) -> Self {
        Self { policy, now, within: Vec::new(), depth: Depth::Changed, young: Self::YOUNG, keep: None, threads: 0 }
    }
}

/// What a scan reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What may have changed.
    Changed,
    /// That, and one part of the rest: the scrub.
    Slice {
        /// Which part, from 0.
        part: u32,
        /// Of how many; not 0.
        of: u32,
    },
    /// Everything.
    Full,
}

/// Gets contents. Called from many threads.
pub trait Keep: Sync {
    /// Whether the content of this file, of this size in bytes, is wanted. It is held in memory as a whole.
    fn wants(&self, path: &TreePath, size: u64) -> bool;

    /// Here it is.
    ///
    /// # Errors
    /// It cannot be kept: the walk ends.
    fn keep(&self, path: &TreePath, hash: &ContentHash, content: &[u8]) -> io::Result<()>;
}

/// What is known of a record as a whole.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Meta {
    /// When it was made or moved last.
    pub at: Timestamp,
    /// When it was made first.
    pub since: Timestamp,
    /// BLAKE3 over the recorded states and their paths: equal records have equal ids, whenever and wherever they were made.
    pub id: ContentHash,
    /// How many paths are on record.
    pub paths: u64,
    /// The places it was restricted to; empty: none.
    pub within: Vec<TreePath>,
    /// The program that wrote it.
    pub version: String,
    /// Of the policy that it was made under.
    pub(super) policy: ContentHash,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Managed paths that were found.
    pub paths: u64,
    /// Of these, how many were read again (content, attributes) and not only looked at.
    pub read: u64,
    /// Bytes of content that were read.
    pub bytes: u64,
    /// Volatile paths, left out.
    pub volatile: u64,
    /// Directories of stores, left out.
    pub data: u64,
    /// Sockets, left out.
    pub sockets: u64,
    /// Mounts whose content is not this host's own, left out.
    pub mounts: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.paths += other.paths;
        self.read += other.read;
        self.bytes += other.bytes;
        self.volatile += other.volatile;
        self.data += other.data;
        self.sockets += other.sockets;
        self.mounts += other.mounts;
    }
}

/// A path of which nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Which. Of a directory: with all below it.
    pub path: TreePath,
    /// Why.
    pub trouble: Trouble,
}

/// Why nothing can be said of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It changed each time it was read.
    Busy,
    /// The kernel refuses; its words.
    Unreadable(String),
    /// It was there when its directory was listed, and not any more when it was looked at.
    Vanished,
    /// It could not be read when the record was made; adopt it to have it on record.
    Unrecorded,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.trouble {
            Trouble::Busy => write!(f, "{path} is being written to: it changed each time it was read"),
            Trouble::Unreadable(why) => write!(f, "{path} cannot be read: {why}"),
            Trouble::Vanished => write!(f, "{path} vanished while it was looked at"),
            Trouble::Unrecorded => write!(f, "{path} could not be read when the record was made and is not on record"),
        }
    }
}

/// A file that is not as its package brought it, or is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Modified {
    /// Which.
    pub path: TreePath,
    /// Whose it is.
    pub package: String,
    /// It is a configuration file: meant to be edited.
    pub conffile: bool,
    /// What the package says.
    pub expected: Md5,
    /// What is there; `None`: no regular file.
    pub found: Option<Md5>,
}

/// A path that is not as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Recorded state and present state.
    pub entry: Entry,
    /// What is there now, as the kernel numbers it; `None`: nothing.
    pub inode: Option<Inode>,
    /// When it was changed, as far as the file system knows: the change time of what is there, or the modification time of the
    /// directory that it has gone from. `None`: not known.
    pub changed: Option<Mtime>,
}

/// An inode as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inode {
    /// Device, as major and minor.
    pub dev: (u32, u32),
    /// Inode number.
    pub ino: u64,
}

/// Why there is no record, or no comparison.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The record is not whole.
    #[error("the record {} is damaged: {what}", path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The record is of another version of this program.
    #[error("the record {} has a format that this version does not know", .0.display())]
    Format(PathBuf),
    /// Somebody moved the record since it was opened.
    #[error("the record was moved meanwhile")]
    Moved,
    /// A file of the record.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The tree.
    #[error(transparent)]
    Tree(#[from] ScanError),
    /// The mounts of the tree.
    #[error(transparent)]
    Mounts(#[from] CopyError),
    /// A content was not kept.
    #[error("cannot keep the content of {path}")]
    Keep {
        /// Whose.
        path: TreePath,
        /// Why.
        source: io::Error,
    },
}

impl BaselineError {
    pub(super) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}
