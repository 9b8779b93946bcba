//! Contents of files, each stored once, under the BLAKE3 hash of what it holds.
//!
//! Contents go in by [`BlobStore::put_bytes`], [`BlobStore::put_reader`] or, without being copied, by
//! [`BlobStore::adopt_link`] and, many with one rename, by [`DirBlobs::adopt_tree`]; they come out by [`BlobStore::open_verified`] or [`BlobStore::copy_out`], which check that
//! what is there still has its hash. A blob never changes; the only other thing that happens to it is
//! [`BlobStore::remove`].
//!
//! **Durable only after [`BlobStore::sync`].** Putting ten thousand files in and flushing each would take minutes, so
//! one flush at the end makes the whole batch durable. Whoever writes down that a blob exists syncs first. A power cut
//! before that may leave a blob's name with less than its content: that is found like any other damage, and putting
//! the same content again mends it.
//!
//! What may be collected as garbage is not known here.
//!
//! Rooms: `dir` keeps them in a directory (with `scratch`, where they are half-written, and `layers`, trees that entered as a
//! whole), `s3` in a bucket. [`pack`] is how many go over a network.

mod dir;
mod layer;
mod layers;
pub mod pack;
mod s3;
mod scratch;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use greenroom_core::ContentHash;

pub use dir::DirBlobs;
pub use layers::Leftovers;
pub use s3::{S3Address, S3Blobs};

/// Why a blob could not be stored or given.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is none with this hash.
    #[error("the content {0} is not in the store")]
    Absent(ContentHash),
    /// What is stored under this hash is something else. It must not be used.
    #[error("the content {hash} is damaged in the store: what is there has the hash {found}")]
    Damaged {
        /// The name.
        hash: ContentHash,
        /// The hash of what is there.
        found: ContentHash,
    },
    /// A file that was handed in does not have the hash that was promised.
    #[error("{} changed while it was stored: its hash is {found}, not {promised}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What the caller said.
        promised: ContentHash,
        /// What it is.
        found: ContentHash,
    },
    /// Not a regular file.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A file of the store, or one that was handed in, can't be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The reader or writer that was handed in failed.
    #[error("cannot {what} a content")]
    Stream {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// All blobs' hashes, in no particular order.
pub type Hashes<'a> = Box<dyn Iterator<Item = Result<ContentHash, BlobError>> + 'a>;

/// How a content is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes that it takes, of all its copies.
    pub bytes: u64,
    /// When the last of them came: seconds since 1970, by the clock of the file system or of the bucket.
    pub since: i64,
}

/// All blobs, in no particular order. One may come more than once.
pub type Listing<'a> = Box<dyn Iterator<Item = Result<(ContentHash, Stored), BlobError>> + 'a>;

/// A content that was opened, *unchecked*.
pub struct Opened {
    /// Its length in bytes.
    pub length: u64,
    /// What it is.
    pub content: Box<dyn Read>,
}

/// Opened contents, in the order in which they were asked for.
pub type Openings<'a> = Box<dyn Iterator<Item = Result<Opened, BlobError>> + 'a>;

/// Many contents that are put, of which some may be on their way while the next one is read.
pub trait Intake {
    /// As [`BlobStore::put_promised`]. It is there when [`end`](Self::end) has said so, and an error may be that of one before it.
    ///
    /// # Errors
    /// As [`BlobStore::put_reader`].
    fn put(&mut self, reader: &mut dyn Read, promised: ContentHash) -> Result<bool, BlobError>;

    /// Waits until all that was put is there.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    fn end(self: Box<Self>) -> Result<(), BlobError>;
}

/// One after the other.
struct OneByOne<'a, S: ?Sized>(&'a S);

impl<S: BlobStore + ?Sized> Intake for OneByOne<'_, S> {
    fn put(&mut self, reader: &mut dyn Read, promised: ContentHash) -> Result<bool, BlobError> {
        self.0.put_promised(reader, promised)
    }

    fn end(self: Box<Self>) -> Result<(), BlobError> {
        Ok(())
    }
}

/// A content-addressed store. Several threads and processes may use one at the same time.
pub trait BlobStore: Send + Sync {
    /// Stores `bytes`; does nothing when a sound blob with this content is there.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    fn put_bytes(&self, bytes: &[u8]) -> Result<ContentHash, BlobError>;

    /// Stores all that `reader` gives. When it fails, nothing is stored.
    ///
    /// # Errors
    /// [`BlobError::Io`], and [`BlobError::Stream`] for the reader's own failure.
    fn put_reader(&self, reader: &mut dyn Read) -> Result<ContentHash, BlobError>;

    /// Stores all that `reader` gives, if that is what was promised; gives false, and stores nothing, when it is something else.
    ///
    /// # Errors
    /// As [`put_reader`](Self::put_reader).
    fn put_promised(&self, reader: &mut dyn Read, promised: ContentHash) -> Result<bool, BlobError>;

    /// Puts many contents. A store that is far away does not wait for each.
    fn intake(&self) -> Box<dyn Intake + '_> {
        Box::new(OneByOne(self))
    }

    /// Takes over the regular file `source` in `dir`, which the caller hashed, without copying it where that is possible.
    ///
    /// The caller gives the file's inode away: its owner becomes this process, its mode 0400, and whoever writes into it
    /// afterwards damages the blob (which is found when it is read). `source` itself stays where it is; it may be
    /// removed. Nobody puts anything else in its place meanwhile. The hash is not checked, except when the file has to be copied (another file system, too many links, an
    /// immutable file).
    ///
    /// # Errors
    /// [`BlobError::NotAFile`], [`BlobError::Changed`], [`BlobError::Io`].
    fn adopt_link(&self, dir: BorrowedFd<'_>, source: &Path, hash: ContentHash) -> Result<(), BlobError>;

    /// Opens a blob for reading, *unchecked*: only for a look at its length or for a caller who hashes it anyway.
    ///
    /// # Errors
    /// [`BlobError::Absent`], [`BlobError::Io`].
    fn open(&self, hash: ContentHash) -> Result<File, BlobError>;

    /// Opens these blobs in their order, each as [`open`](Self::open) does, and with its errors. A store that is far away fetches the
    /// next ones meanwhile, within bounds of its own.
    fn open_all<'a>(&'a self, hashes: &'a [ContentHash]) -> Openings<'a> {
        Box::new(hashes.iter().map(|hash| opened(self.open(*hash)?, *hash)))
    }

    /// Opens a blob for reading after checking all of its content.
    ///
    /// # Errors
    /// [`BlobError::Absent`], [`BlobError::Damaged`], [`BlobError::Io`].
    fn open_verified(&self, hash: ContentHash) -> Result<File, BlobError>;

    /// Writes a blob's content to `writer` in one pass and gives its length in bytes. After an error the caller must
    /// not use what was written: the damage is known only at the end.
    ///
    /// # Errors
    /// [`BlobError::Absent`], [`BlobError::Damaged`], [`BlobError::Io`], and [`BlobError::Stream`] for the writer's own
    /// failure.
    fn copy_out(&self, hash: ContentHash, writer: &mut dyn Write) -> Result<u64, BlobError>;

    /// Reads at most `length` bytes from the offset `from`, *unchecked*: for a caller who goes on with what was cut off, and
    /// checks the whole. Gives fewer at the end, and none beyond it.
    ///
    /// # Errors
    /// [`BlobError::Absent`], [`BlobError::Io`].
    fn read_range(&self, hash: ContentHash, from: u64, length: u64) -> Result<Vec<u8>, BlobError>;

    /// The length in bytes of the blob of this name; `None`: there is none. Its content is not looked at.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    fn length(&self, hash: ContentHash) -> Result<Option<u64>, BlobError>;

    /// The length of each of these, as [`length`](Self::length) says it.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    fn lengths(&self, hashes: &[ContentHash]) -> Result<Vec<Option<u64>>, BlobError> {
        hashes.iter().map(|hash| self.length(*hash)).collect()
    }

    /// Whether a blob of this name is there. Its content is not looked at.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    fn contains(&self, hash: ContentHash) -> Result<bool, BlobError> {
        Ok(self.length(hash)?.is_some())
    }

    /// Removes a blob; false when there was none.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    fn remove(&self, hash: ContentHash) -> Result<bool, BlobError>;

    /// The names of all blobs. Those that come or go meanwhile may be among them or not.
    fn iter(&self) -> Hashes<'_>;

    /// The same with their sizes and ages: what may be collected as garbage is for the caller to know.
    fn listing(&self) -> Listing<'_>;

    /// Checks a blob's content.
    ///
    /// # Errors
    /// [`BlobError::Absent`], [`BlobError::Damaged`], [`BlobError::Io`].
    fn verify(&self, hash: ContentHash) -> Result<(), BlobError>;

    /// Makes all that was put so far durable.
    ///
    /// # Errors
    /// [`BlobError::Io`]: then nothing since the last sync may be counted on.
    fn sync(&self) -> Result<(), BlobError>;
}

/// The content in this file.
fn opened(file: File, hash: ContentHash) -> Result<Opened, BlobError> {
    let failed = |source| BlobError::Io { what: "look at", path: hash.to_string().into(), source };
    let length = file.metadata().map_err(failed)?.len();
    Ok(Opened { length, content: Box::new(file) })
}
