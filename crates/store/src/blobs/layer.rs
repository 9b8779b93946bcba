//! One layer: a tree of files that came into the store as a whole, with an index of the contents in it.
//!
//! ```text
//! index    which content is at which path, sorted by hash
//! files/   the tree, as it was
//!
//! index = MAGIC rows(u64) (hash[32] end(u64))* paths       a path ends at `end` and begins where the one before it ends
//! ```
//! The index is searched where it lies: a lookup reads a few kilobytes of it, and nothing is held in memory. A content that was
//! removed has its row still, but no file. What the tree holds besides is nobody's ([`Layer::sweep`]).

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use greenroom_core::ContentHash;
use rustix::fs::{AtFlags, Mode, OFlags};

const MAGIC: &[u8; 16] = b"greenroom layer1";

/// Where the rows begin.
const HEAD: u64 = MAGIC.len() as u64 + 8;

/// Bytes of a row.
const ROW: usize = 32 + 8;

/// So many rows are read at once in a search.
const BLOCK: u64 = 128;

/// The name of the index, and of the tree.
const INDEX: &str = "index";
pub(super) const FILES: &str = "files";

/// A layer, open. It stays what it is when it is moved.
#[derive(Debug)]
pub(super) struct Layer {
    /// Where it was when it was opened.
    pub(super) at: PathBuf,
    index: File,
    rows: u64,
    files: OwnedFd,
}

/// Writes the index of `files` (sorted by hash, no hash twice) into the directory `at`. Gives the index's hash.
pub(super) fn write(at: &Path, files: &[(ContentHash, &[u8])]) -> io::Result<ContentHash> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(at.join(INDEX))?;
    let mut out = Hashing { to: BufWriter::with_capacity(1 << 16, file), hasher: blake3::Hasher::new() };
    out.put(MAGIC)?;
    out.put(&(files.len() as u64).to_le_bytes())?;
    let mut end = 0u64;
    for (hash, path) in files {
        end += path.len() as u64;
        out.put(&hash.0)?;
        out.put(&end.to_le_bytes())?;
    }
    files.iter().try_for_each(|(_, path)| out.put(path))?;
    out.to.flush()?;
    Ok(out.hasher.finalize().into())
}

struct Hashing {
    to: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Hashing {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.to.write_all(bytes)
    }
}

impl Layer {
    /// Opens the layer in the directory `at`.
    pub(super) fn open(at: &Path) -> io::Result<Self> {
        let index = File::open(at.join(INDEX))?;
        let mut head = [0; HEAD as usize];
        let whole = index.read_exact_at(&mut head, 0);
        whole.map_err(|error| if error.kind() == ErrorKind::UnexpectedEof { damaged() } else { error })?;
        let rows = number(&head[MAGIC.len()..]);
        if &head[..MAGIC.len()] != MAGIC || rows > index.metadata()?.len() / ROW as u64 {
            return Err(damaged());
        }
        let oflags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let files = rustix::fs::open(at.join(FILES), oflags, Mode::empty())?;
        Ok(Self { at: at.to_owned(), index, rows, files })
    }

    /// When it came into the store: seconds since 1970.
    pub(super) fn since(&self) -> io::Result<i64> {
        Ok(self.index.metadata()?.ctime())
    }

    /// Opens a content; `None`: it is not here.
    pub(super) fn content(&self, hash: ContentHash) -> io::Result<Option<File>> {
        let Some(path) = self.find(hash)? else { return Ok(None) };
        let oflags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        present(rustix::fs::openat(&self.files, path.as_slice(), oflags, Mode::empty()).map(File::from))
    }

    /// The length of a content in bytes; `None`: it is not here.
    pub(super) fn length(&self, hash: ContentHash) -> io::Result<Option<u64>> {
        let Some(path) = self.find(hash)? else { return Ok(None) };
        let found = rustix::fs::statat(&self.files, path.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
        Ok(present(found)?.map(|found| u64::try_from(found.st_size).unwrap_or(0)))
    }

    /// Removes the file of a content; false when there is none.
    pub(super) fn remove(&self, hash: ContentHash) -> io::Result<bool> {
        let Some(path) = self.find(hash)? else { return Ok(false) };
        let removed = rustix::fs::unlinkat(&self.files, path.as_slice(), AtFlags::empty());
        Ok(present(removed)?.is_some())
    }

    /// Where a content is, by the index.
    fn find(&self, hash: ContentHash) -> io::Result<Option<Vec<u8>>> {
        let mut first = [0; 8];
        first.copy_from_slice(&hash.0[..8]);
        // Hashes are spread evenly, so the first guess is nearly always right.
        let mut guess = ((u128::from(u64::from_be_bytes(first)) * u128::from(self.rows)) >> 64) as u64;
        let (mut low, mut high) = (0, self.rows);
        let mut bytes = [0; ROW * BLOCK as usize];
        while low < high {
            let from = guess.saturating_sub(BLOCK / 2).min(high.saturating_sub(BLOCK)).max(low);
            let count = BLOCK.min(high - from);
            let rows = &mut bytes[..ROW * count as usize];
            self.index.read_exact_at(rows, HEAD + from * ROW as u64)?;
            let (rows, _) = rows.as_chunks::<ROW>();
            let at = rows.partition_point(|row| row[..32] < hash.0[..]) as u64;
            if at < count && rows[at as usize][..32] == hash.0 {
                return self.path(from + at).map(Some);
            }
            match at {
                0 => high = from,
                at if at == count => low = from + count,
                _ => return Ok(None),
            }
            guess = low.midpoint(high);
        }
        Ok(None)
    }

    /// The path of row number `at`.
    fn path(&self, at: u64) -> io::Result<Vec<u8>> {
        let end = |at: u64| {
            let mut bytes = [0; 8];
            self.index.read_exact_at(&mut bytes, HEAD + at * ROW as u64 + 32)?;
            Ok::<_, io::Error>(u64::from_le_bytes(bytes))
        };
        let (begin, end) = (if at == 0 { 0 } else { end(at - 1)? }, end(at)?);
        let length = end.checked_sub(begin).filter(|length| *length <= 1 << 16).ok_or_else(damaged)?;
        let mut path = vec![0; length as usize];
        self.index.read_exact_at(&mut path, HEAD + self.rows * ROW as u64 + begin)?;
        Ok(path)
    }

    /// Calls `each` with all rows, those whose file is gone too, sorted by hash. The whole index is checked before.
    pub(super) fn each(&self, mut each: impl FnMut(ContentHash, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.index.metadata()?.len()).map_err(|_| damaged())?];
        self.index.read_exact_at(&mut bytes, 0)?;
        let name = self.at.file_name().map_or(&b""[..], |name| name.as_bytes());
        if !name.starts_with(ContentHash::of(&bytes).to_string().as_bytes()) {
            return Err(damaged());
        }
        let (rows, paths) = bytes[HEAD as usize..].split_at(ROW * self.rows as usize);
        let mut begin = 0;
        for row in rows.as_chunks::<ROW>().0 {
            let end = usize::try_from(number(&row[32..])).unwrap_or(usize::MAX);
            let path = paths.get(begin..end).ok_or_else(damaged)?;
            begin = end;
            let mut hash = ContentHash([0; 32]);
            hash.0.copy_from_slice(&row[..32]);
            each(hash, path)?;
        }
        Ok(())
    }

    /// The hashes of all rows, sorted.
    pub(super) fn hashes(&self) -> io::Result<Vec<ContentHash>> {
        let mut out = Vec::with_capacity(self.rows as usize);
        self.each(|hash, _| {
            out.push(hash);
            Ok(())
        })?;
        Ok(out)
    }

    /// The contents that are here.
    pub(super) fn contents(&self) -> io::Result<Vec<ContentHash>> {
        let mut out = Vec::new();
        self.each(|hash, path| {
            let there = present(rustix::fs::statat(&self.files, path, AtFlags::SYMLINK_NOFOLLOW))?;
            out.extend(there.map(|_| hash));
            Ok(())
        })?;
        Ok(out)
    }

    /// Deletes all that is in the tree and not one of the contents. True when no content is left either. What cannot be
    /// deleted stays.
    pub(super) fn sweep(&self) -> io::Result<bool> {
        // Not the paths themselves, which take much room: two that are one here keep a file that is none, no more.
        let by = RandomState::new();
        let mut kept = HashSet::with_capacity(self.rows as usize);
        self.each(|_, path| {
            kept.insert(by.hash_one(path));
            Ok(())
        })?;
        // Not by its name, which may be another one meanwhile.
        let top = PathBuf::from(format!("/proc/self/fd/{}", self.files.as_raw_fd()));
        let mut dirs = vec![PathBuf::new()];
        let (mut at, mut empty) = (0, true);
        while let Some(dir) = dirs.get(at).cloned() {
            at += 1;
            let entries = match std::fs::read_dir(top.join(&dir)) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let path = dir.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    dirs.push(path);
                } else if kept.contains(&by.hash_one(path.as_os_str().as_bytes())) {
                    empty = false;
                } else {
                    let _ = std::fs::remove_file(top.join(path));
                }
            }
        }
        // Those that are not empty stay.
        for dir in dirs.iter().skip(1).rev() {
            let _ = std::fs::remove_dir(top.join(dir));
        }
        Ok(empty)
    }

    /// Whether both are one.
    pub(super) fn is(&self, other: &Self) -> bool {
        let id = |layer: &Self| layer.index.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        id(self).is_some_and(|this| id(other) == Some(this))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it is not what was written")
}

/// `None` where nothing is.
fn present<T>(found: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        found => Ok(Some(found?)),
    }
}
