//! Blobs in a directory: `ab/cdef…`, the hash's first two digits and the other 62.
//!
//! Directories have mode 0700 and blobs 0400: contents of files that not everybody may read are only for root.
//! A blob gets its name by link(2), when it is complete; a name that is there already keeps its blob, unless
//! that is damaged: then the new one is renamed over it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_core::ContentHash;
use rustix::io::Errno;

use super::scratch::Scratch;
use super::{BlobError, BlobStore, Hashes};

/// How much is read at once.
const CHUNK: usize = 128 * 1024;

/// Where half-written blobs are. Not two hexadecimal digits, so it can't be taken for blobs.
const TMP: &str = "tmp";

/// Blobs in a directory of a local file system.
#[derive(Debug)]
pub struct DirBlobs {
    dir: PathBuf,
    /// Made when first needed: who only reads, writes nothing.
    scratch: Mutex<Option<Arc<Scratch>>>,
    /// Whether something got a name since the last flush, or was found that somebody else may not have flushed.
    dirty: AtomicBool,
}

impl DirBlobs {
    /// Opens the store in `dir`, and makes it when there is none.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the directory can't be made.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let made = make_dir(dir).and_then(|()| make_dir(&dir.join(TMP)));
        made.map_err(|source| BlobError::Io { what: "make the directory", path: dir.into(), source })?;
        Ok(Self { dir: dir.into(), scratch: Mutex::default(), dirty: AtomicBool::new(false) })
    }

    /// Where a blob is or would be. What is there is *unchecked*.
    #[must_use]
    pub fn path(&self, hash: ContentHash) -> PathBuf {
        let text = hash.to_string();
        self.dir.join(&text[..2]).join(&text[2..])
    }

    fn scratch(&self) -> Result<Arc<Scratch>, BlobError> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scratch) = &*scratch {
            return Ok(Arc::clone(scratch));
        }
        let path = self.dir.join(TMP);
        let made = Scratch::new(&path).map_err(|source| BlobError::Io { what: "make a directory in", path, source })?;
        Ok(Arc::clone(scratch.insert(Arc::new(made))))
    }

    /// Writes all of `reader` to a file without a name in the store yet.
    fn stage(&self, reader: &mut dyn Read) -> Result<(Staged, ContentHash), BlobError> {
        let staged = Staged(self.scratch()?.fresh());
        let failed = |source| BlobError::Io { what: "write", path: staged.0.clone(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&staged.0).map_err(failed)?;
        let hash = pump(
            reader,
            |chunk| file.write_all(chunk).map_err(failed),
            |source| BlobError::Stream { what: "read", source },
        )?;
        Ok((staged, hash.0))
    }

    /// Gives the complete file `from` its name in the store; `from` stays.
    fn publish(&self, from: &Path, hash: ContentHash) -> Result<(), LinkError> {
        let to = self.path(hash);
        self.dirty.store(true, Ordering::Relaxed);
        let linked = match std::fs::hard_link(from, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The first with these two digits.
                let parent = to.parent().unwrap_or(&self.dir);
                make_dir(parent).and_then(|()| std::fs::hard_link(from, &to))
            }
            linked => linked,
        };
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if self.verify(hash).is_ok() {
                    return Ok(());
                }
                let over = Staged(self.scratch()?.fresh());
                std::fs::hard_link(from, &over.0)
                    .and_then(|()| std::fs::rename(&over.0, &to))
                    .map_err(|source| LinkError::Link(to, source))
            }
            linked => linked.map_err(|source| LinkError::Link(to, source)),
        }
    }

    /// Copies `source` in and checks that it is what was promised.
    fn adopt_copy(&self, source: &Path, file: &mut File, hash: ContentHash) -> Result<(), BlobError> {
        let (staged, found) = self.stage(file).map_err(|error| match error {
            BlobError::Stream { source: error, .. } => {
                BlobError::Io { what: "read", path: source.into(), source: error }
            }
            error => error,
        })?;
        if found != hash {
            return Err(BlobError::Changed { path: source.into(), promised: hash, found });
        }
        Ok(self.publish(&staged.0, hash)?)
    }
}

impl BlobStore for DirBlobs {
    fn put_bytes(&self, bytes: &[u8]) -> Result<ContentHash, BlobError> {
        let hash = ContentHash::of(bytes);
        if self.contains(hash)? && self.verify(hash).is_ok() {
            return Ok(hash);
        }
        self.put_reader(&mut &*bytes)
    }

    fn put_reader(&self, reader: &mut dyn Read) -> Result<ContentHash, BlobError> {
        let (staged, hash) = self.stage(reader)?;
        self.publish(&staged.0, hash)?;
        Ok(hash)
    }

    fn adopt_link(&self, source: &Path, hash: ContentHash) -> Result<(), BlobError> {
        let failed = |what| move |error| BlobError::Io { what, path: source.into(), source: error };
        // Not through a link, and without waiting for a pipe's other end.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(source);
        let mut file = match opened {
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(BlobError::NotAFile(source.into()));
            }
            opened => opened.map_err(failed("open"))?,
        };
        let found = file.metadata().map_err(failed("look at"))?;
        if !found.is_file() {
            return Err(BlobError::NotAFile(source.into()));
        }
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let owned = found.uid() == uid.as_raw() && found.gid() == gid.as_raw();
        // Each change of an inode is one of the journal's: none without need.
        let owner = if owned { Ok(()) } else { rustix::fs::fchown(&file, Some(uid), Some(gid)) };
        let given = owner.map_err(io::Error::from).and_then(|()| {
            let right = found.mode() & 0o7777 == 0o400;
            if right { Ok(()) } else { file.set_permissions(Permissions::from_mode(0o400)) }
        });
        if given.is_err() {
            return self.adopt_copy(source, &mut file, hash);
        }
        match self.publish(source, hash) {
            Err(LinkError::Link(_, error)) if cannot_link(&error) => self.adopt_copy(source, &mut file, hash),
            outcome => Ok(outcome?),
        }
    }

    fn open(&self, hash: ContentHash) -> Result<File, BlobError> {
        let path = self.path(hash);
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(BlobError::Absent(hash)),
            opened => opened.map_err(|source| BlobError::Io { what: "open", path, source }),
        }
    }

    fn open_verified(&self, hash: ContentHash) -> Result<File, BlobError> {
        let mut file = self.open(hash)?;
        self.check(hash, &mut file, |_| Ok(()))?;
        file.rewind().map_err(|source| BlobError::Io { what: "read", path: self.path(hash), source })?;
        Ok(file)
    }

    fn copy_out(&self, hash: ContentHash, writer: &mut dyn Write) -> Result<u64, BlobError> {
        let mut file = self.open(hash)?;
        self.check(hash, &mut file, |chunk| {
            writer.write_all(chunk).map_err(|source| BlobError::Stream { what: "write", source })
        })
    }

    fn contains(&self, hash: ContentHash) -> Result<bool, BlobError> {
        let path = self.path(hash);
        let there = path.try_exists().map_err(|source| BlobError::Io { what: "look for", path, source })?;
        self.dirty.fetch_or(there, Ordering::Relaxed);
        Ok(there)
    }

    fn remove(&self, hash: ContentHash) -> Result<bool, BlobError> {
        let path = self.path(hash);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(BlobError::Io { what: "remove", path, source }),
        }
    }

    fn iter(&self) -> Hashes<'_> {
        Box::new((0..=u8::MAX).flat_map(|first| self.names(first)))
    }

    fn verify(&self, hash: ContentHash) -> Result<(), BlobError> {
        self.check(hash, &mut self.open(hash)?, |_| Ok(())).map(|_| ())
    }

    fn sync(&self) -> Result<(), BlobError> {
        // A flush takes along whatever else was written on this file system: none without need.
        if !self.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?)).map_err(|source| {
            self.dirty.store(true, Ordering::Relaxed);
            BlobError::Io { what: "flush", path: self.dir.clone(), source }
        })
    }
}

impl DirBlobs {
    /// Reads a blob to its end, handing each chunk on, and checks its hash.
    fn check(
        &self,
        hash: ContentHash,
        file: &mut File,
        chunk: impl FnMut(&[u8]) -> Result<(), BlobError>,
    ) -> Result<u64, BlobError> {
        let (found, length) =
            pump(file, chunk, |source| BlobError::Io { what: "read", path: self.path(hash), source })?;
        if found == hash { Ok(length) } else { Err(BlobError::Damaged { hash, found }) }
    }

    /// The blobs whose first two digits are `first`. Other names are none of ours.
    fn names(&self, first: u8) -> Vec<Result<ContentHash, BlobError>> {
        let digits = format!("{first:02x}");
        let path = self.dir.join(&digits);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(source) => return vec![Err(BlobError::Io { what: "list", path, source })],
            Ok(entries) => entries,
        };
        let hash = |entry: io::Result<std::fs::DirEntry>| match entry {
            Ok(entry) => format!("{digits}{}", entry.file_name().to_str()?).parse().ok().map(Ok),
            Err(source) => Some(Err(BlobError::Io { what: "list", path: path.clone(), source })),
        };
        entries.filter_map(hash).collect()
    }
}

/// A file in the scratch directory, removed when dropped.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // It may have been renamed, or never made; a real failure leaves debris, which is cleared away later.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why a file could not get its name: some reasons make adopting fall back to copying.
enum LinkError {
    Link(PathBuf, io::Error),
    Other(BlobError),
}

impl From<BlobError> for LinkError {
    fn from(error: BlobError) -> Self {
        Self::Other(error)
    }
}

impl From<LinkError> for BlobError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Link(path, source) => Self::Io { what: "put in place", path, source },
            LinkError::Other(error) => error,
        }
    }
}

/// Another file system, too many links, an immutable file, or a file system without hard links.
fn cannot_link(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP))
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads `reader` to its end: the hash and the length of what it gave.
fn pump(
    reader: &mut dyn Read,
    mut chunk: impl FnMut(&[u8]) -> Result<(), BlobError>,
    failed: impl FnOnce(io::Error) -> BlobError,
) -> Result<(ContentHash, u64), BlobError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), hasher.count())),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                chunk(&buffer[..length])?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}
