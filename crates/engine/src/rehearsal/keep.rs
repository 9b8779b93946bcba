//! Puts captured contents into the blob store: new files by a hard link to the copy's own, many of them by taking over the copy's
//! upper directory, and text that was there before for showing differences.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenroom_core::ContentHash;
use greenroom_host::capture::{Keep, Source};
use greenroom_store::blobs::{BlobStore as _, DirBlobs};

/// Files before the change that are larger than this are not kept for showing.
const SHOWN_LIMIT: u64 = 1 << 20;

/// So many files from before are kept in one capture. Of a change to more files the rest is shown from the host itself, as
/// long as it is as it was.
const SHOWN_FILES: usize = 1000;

/// From so many new files on, a copy's upper directory is taken over as a whole. Each that is has an index to be searched later;
/// fewer files are linked as fast.
const AS_A_WHOLE: usize = 256;

pub(super) struct IntoBlobs<'a> {
    blobs: &'a DirBlobs,
    before: AtomicUsize,
}

impl<'a> IntoBlobs<'a> {
    pub(super) fn new(blobs: &'a DirBlobs) -> Self {
        Self { blobs, before: AtomicUsize::new(0) }
    }
}

impl Keep for IntoBlobs<'_> {
    fn keep(&self, hash: &ContentHash, source: &Source<'_>) -> io::Result<()> {
        if let Some((dir, name)) = source.file {
            let name = Path::new(OsStr::from_bytes(name));
            return self.blobs.adopt_link(dir, name, *hash).map_err(io::Error::other);
        }
        if self.blobs.contains(*hash).map_err(io::Error::other)? {
            return Ok(());
        }
        let mut open = (source.open)()?;
        let kept = self.blobs.put_reader(&mut open).map_err(io::Error::other)?;
        if kept == *hash { Ok(()) } else { Err(io::Error::other("it changed while it was read")) }
    }

    fn keep_tree(&self, tree: &Path, files: Vec<(ContentHash, &[u8])>) -> io::Result<bool> {
        if files.len() < AS_A_WHOLE {
            return Ok(false);
        }
        self.blobs.adopt_tree(tree, files).map_err(io::Error::other)
    }

    fn keep_before(&self, hash: &ContentHash, source: &Source<'_>) -> io::Result<()> {
        let room = || self.before.fetch_add(1, Ordering::Relaxed) < SHOWN_FILES;
        if source.size > SHOWN_LIMIT || !room() || self.blobs.contains(*hash).map_err(io::Error::other)? {
            return Ok(());
        }
        let mut content = Vec::new();
        (source.open)()?.take(SHOWN_LIMIT + 1).read_to_end(&mut content)?;
        if content[..content.len().min(8192)].contains(&0) {
            return Ok(());
        }
        self.blobs.put_bytes(&content).map(|_| ()).map_err(io::Error::other)
    }
}

/// Keeps nothing: for comparisons whose outcome is only looked at.
pub(super) struct Nowhere;

impl Keep for Nowhere {
    fn keep(&self, _hash: &ContentHash, _source: &Source<'_>) -> io::Result<()> {
        Ok(())
    }

    fn keep_tree(&self, _tree: &Path, _files: Vec<(ContentHash, &[u8])>) -> io::Result<bool> {
        Ok(true)
    }

    fn keep_before(&self, _hash: &ContentHash, _source: &Source<'_>) -> io::Result<()> {
        Ok(())
    }
}
