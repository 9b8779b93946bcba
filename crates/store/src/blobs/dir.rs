//! Blobs in a directory: `ab/cdef…`, the hash's first two digits and the other 62; and trees of blobs that came in as a whole
//! ([`super::layers`]).
//!
//! Directories have mode 0700 and blobs 0400: contents of files that not everybody may read are only for root.
//! A blob gets its name by link(2), when it is complete; a name that is there already keeps its blob, unless
//! that is damaged: then the new one is renamed over it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_core::ContentHash;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::layers::{self, Layers, Leftovers};
use super::scratch::Scratch;
use super::{BlobError, BlobStore, Hashes, Listing, Stored};

/// How much is read at once.
const CHUNK: usize = 128 * 1024;

/// Where half-written blobs are. Not two hexadecimal digits, so it can't be taken for blobs.
const TMP: &str = "tmp";

/// Where the layers are.
const LAYERS: &str = "layers";

/// Blobs in a directory of a local file system.
#[derive(Debug)]
pub struct DirBlobs {
    dir: PathBuf,
    /// Made when first needed: who only reads, writes nothing.
    scratch: Mutex<Option<Arc<Scratch>>>,
    layers: Layers,
    /// Whether something got a name since the last flush, or was found that somebody else may not have flushed.
    dirty: AtomicBool,
    /// Held by whoever flushes.
    flushing: Mutex<()>,
}

impl DirBlobs {
    /// Opens the store in `dir`, and makes it when there is none.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the directory can't be made.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let made = make_dir(dir).and_then(|()| make_dir(&dir.join(TMP)));
        made.map_err(|source| BlobError::Io { what: "make the directory", path: dir.into(), source })?;
        let layers = Layers::new(dir.join(LAYERS));
        Ok(Self {
            dir: dir.into(),
            scratch: Mutex::default(),
            layers,
            dirty: AtomicBool::new(false),
            flushing: Mutex::default(),
        })
    }

    /// Where a blob of its own is or would be. What is there is *unchecked*.
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
    fn publish(&self, dir: BorrowedFd<'_>, from: &Path, hash: ContentHash) -> Result<(), LinkError> {
        let to = self.path(hash);
        let link = |to: &Path| rustix::fs::linkat(dir, from, CWD, to, AtFlags::empty()).map_err(io::Error::from);
        self.dirty.store(true, Ordering::Relaxed);
        let linked = match link(&to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The first with these two digits.
                let parent = to.parent().unwrap_or(&self.dir);
                make_dir(parent).and_then(|()| link(&to))
            }
            linked => linked,
        };
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if self.verify_plain(hash).is_ok() {
                    return Ok(());
                }
                let over = Staged(self.scratch()?.fresh());
                link(&over.0).and_then(|()| std::fs::rename(&over.0, &to)).map_err(|source| LinkError::Link(to, source))
            }
            linked => linked.map_err(|source| LinkError::Link(to, source)),
        }
    }

    /// Copies `source` in and checks that it is what was promised.
    fn adopt_copy(&self, dir: BorrowedFd<'_>, source: &Path, hash: ContentHash) -> Result<(), BlobError> {
        let failed = |error| BlobError::Io { what: "read", path: source.into(), source: error };
        let oflags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(dir, source, oflags, Mode::empty());
        let mut file = File::from(opened.map_err(|error| failed(error.into()))?);
        let (staged, found) = self.stage(&mut file).map_err(|error| match error {
            BlobError::Stream { source: error, .. } => failed(error),
            error => error,
        })?;
        if found != hash {
            return Err(BlobError::Changed { path: source.into(), promised: hash, found });
        }
        Ok(self.publish(CWD, &staged.0, hash)?)
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
        self.publish(CWD, &staged.0, hash)?;
        Ok(hash)
    }

    fn put_promised(&self, reader: &mut dyn Read, promised: ContentHash) -> Result<bool, BlobError> {
        let (staged, hash) = self.stage(reader)?;
        if hash != promised {
            return Ok(false);
        }
        self.publish(CWD, &staged.0, hash)?;
        Ok(true)
    }

    fn adopt_link(&self, dir: BorrowedFd<'_>, source: &Path, hash: ContentHash) -> Result<(), BlobError> {
        use rustix::fs::{FileType, chmodat, chownat, statat};
        let failed = |error: Errno| BlobError::Io { what: "look at", path: source.into(), source: error.into() };
        let found = statat(dir, source, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(BlobError::NotAFile(source.into()));
        }
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        // Each change of an inode is one of the journal's: none without need.
        let owned = found.st_uid == uid.as_raw() && found.st_gid == gid.as_raw();
        let right = found.st_mode & 0o7777 == 0o400;
        let owner = if owned { Ok(()) } else { chownat(dir, source, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) };
        let given =
            owner.and_then(|()| if right { Ok(()) } else { chmodat(dir, source, Mode::RUSR, AtFlags::empty()) });
        if given.is_err() {
            return self.adopt_copy(dir, source, hash);
        }
        match self.publish(dir, source, hash) {
            Err(LinkError::Link(_, error)) if cannot_link(&error) => self.adopt_copy(dir, source, hash),
            outcome => Ok(outcome?),
        }
    }

    fn open(&self, hash: ContentHash) -> Result<File, BlobError> {
        // What this process brought itself comes first: nothing has damaged it yet.
        if let Some(file) = layers::content(&self.layers.pending(), hash)? {
            return Ok(file);
        }
        match self.open_plain(hash) {
            Err(BlobError::Absent(_)) => {}
            opened => return opened,
        }
        for fresh in [false, true] {
            if let Some(file) = layers::content(&self.layers.named(fresh)?, hash)? {
                return Ok(file);
            }
        }
        Err(self.layers.unusable().unwrap_or(BlobError::Absent(hash)))
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

    fn read_range(&self, hash: ContentHash, from: u64, length: u64) -> Result<Vec<u8>, BlobError> {
        let mut file = self.open(hash)?;
        let mut bytes = Vec::new();
        // No file is that long, and the kernel takes no such offset.
        if i64::try_from(from).is_err() {
            return Ok(bytes);
        }
        let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(length).read_to_end(&mut bytes));
        read.map_err(|source| BlobError::Io { what: "read", path: self.path(hash), source })?;
        Ok(bytes)
    }

    fn length(&self, hash: ContentHash) -> Result<Option<u64>, BlobError> {
        let path = self.path(hash);
        let length = match std::fs::symlink_metadata(&path) {
            Ok(meta) => Some(meta.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut all = self.layers.pending();
                all.extend(self.layers.named(true)?);
                // One that cannot be used has nothing for anybody.
                all.iter().find_map(|layer| layer.length(hash).ok().flatten())
            }
            Err(source) => return Err(BlobError::Io { what: "look for", path, source }),
        };
        self.dirty.fetch_or(length.is_some(), Ordering::Relaxed);
        Ok(length)
    }

    fn remove(&self, hash: ContentHash) -> Result<bool, BlobError> {
        let mut removed = self.remove_plain(hash)?;
        for layer in self.layers.named(true)? {
            let gone = layer.remove(hash);
            removed |= gone.map_err(|source| BlobError::Io { what: "remove from", path: layer.at.clone(), source })?;
        }
        Ok(removed)
    }

    fn iter(&self) -> Hashes<'_> {
        let layers = std::iter::once_with(|| self.in_layers().unwrap_or_else(|error| vec![Err(error)]));
        Box::new((0..=u8::MAX).flat_map(|first| self.names(first)).chain(layers.flatten()))
    }

    fn listing(&self) -> Listing<'_> {
        let stored = |hash| Ok(self.stored(hash)?.map(|stored| (hash, stored)));
        Box::new(self.iter().filter_map(move |hash| hash.and_then(stored).transpose()))
    }

    fn verify(&self, hash: ContentHash) -> Result<(), BlobError> {
        self.check(hash, &mut self.open(hash)?, |_| Ok(())).map(|_| ())
    }

    fn sync(&self) -> Result<(), BlobError> {
        // Whoever has nothing new may count on what another thread is flushing.
        let _alone = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        // A flush takes along whatever else was written on this file system: none without need.
        if !self.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let flushed = self.flush().and_then(|()| if self.layers.publish()? { self.flush() } else { Ok(()) });
        flushed.inspect_err(|_| self.dirty.store(true, Ordering::Relaxed))
    }
}

impl DirBlobs {
    /// Takes over all of the directory `tree` by one rename: of the files in it, relative to it, those that are contents, by their
    /// hash. False: it is on another file system, nothing happened.
    ///
    /// As with [`BlobStore::adopt_link`] the caller gives these files away, all that is in the tree in fact; they keep their owners
    /// and modes, and nobody but root gets to them. Each has to be a regular file with one name; the hashes are not checked. What else is in the tree, the
    /// same content twice too, is deleted by [`Leftovers::clear`], when nothing uses the tree any more.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn adopt_tree(&self, tree: &Path, mut files: Vec<(ContentHash, &[u8])>) -> Result<bool, BlobError> {
        files.sort_unstable();
        files.dedup_by_key(|file| file.0);
        self.dirty.store(true, Ordering::Relaxed);
        self.layers.adopt(&*self.scratch()?, tree, &files)
    }

    /// What came with the trees that were taken over since the last time this was called.
    #[must_use]
    pub fn leftovers(&self) -> Vec<Leftovers> {
        self.layers.leftovers()
    }

    /// Of the trees that were taken over until `since` (seconds since 1970): deletes what is no content, and those in which no content is left.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn sweep(&self, since: i64) -> Result<(), BlobError> {
        self.layers.sweep(since)
    }

    /// How a content is stored; `None`: it is not.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn stored(&self, hash: ContentHash) -> Result<Option<Stored>, BlobError> {
        let path = self.path(hash);
        let mut all = match std::fs::metadata(&path) {
            Ok(meta) => Some(Stored { bytes: meta.len(), since: meta.ctime() }),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(BlobError::Io { what: "look at", path, source }),
        };
        for fresh in [false, true] {
            for layer in self.layers.named(fresh)? {
                let failed = |source| BlobError::Io { what: "use", path: layer.at.join("index"), source };
                let Some(bytes) = layer.length(hash).map_err(failed)? else { continue };
                let since = layer.since().map_err(failed)?;
                let other = all.unwrap_or(Stored { bytes: 0, since });
                all = Some(Stored { bytes: other.bytes + bytes, since: other.since.max(since) });
            }
            if all.is_some() {
                break;
            }
        }
        Ok(all)
    }

    /// Makes all that was written to the file system durable.
    pub(super) fn flush(&self) -> Result<(), BlobError> {
        let flushed = File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
        flushed.map_err(|source| BlobError::Io { what: "flush", path: self.dir.clone(), source })
    }

    fn open_plain(&self, hash: ContentHash) -> Result<File, BlobError> {
        let path = self.path(hash);
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(BlobError::Absent(hash)),
            opened => opened.map_err(|source| BlobError::Io { what: "open", path, source }),
        }
    }

    /// As [`BlobStore::verify`], of the blob that lies by itself.
    pub(super) fn verify_plain(&self, hash: ContentHash) -> Result<(), BlobError> {
        self.check(hash, &mut self.open_plain(hash)?, |_| Ok(())).map(|_| ())
    }

    pub(super) fn remove_plain(&self, hash: ContentHash) -> Result<bool, BlobError> {
        let path = self.path(hash);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(BlobError::Io { what: "remove", path, source }),
        }
    }

    /// The contents in layers. A damaged index is an error: what it stands for is not known.
    fn in_layers(&self) -> Result<Vec<Result<ContentHash, BlobError>>, BlobError> {
        let mut all = self.layers.named(true)?;
        if let Some(error) = self.layers.unusable() {
            return Err(error);
        }
        all.extend(self.layers.pending());
        let mut out = Vec::new();
        for layer in all {
            let failed = |source| BlobError::Io { what: "use", path: layer.at.join("index"), source };
            out.extend(layer.contents().map_err(failed)?.into_iter().map(Ok));
        }
        Ok(out)
    }

    /// Reads a blob to its end, handing each chunk on, and checks its hash.
    pub(super) fn check(
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

pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads `reader` to its end: the hash and the length of what it gave.
pub(super) fn pump(
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
