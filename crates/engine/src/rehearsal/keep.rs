//! Puts captured contents into the blob store: new files by a hard link to the copy's own, text that was there before for
//! showing differences.

use std::io::{self, Read as _};

use greenroom_core::ContentHash;
use greenroom_host::capture::{Keep, Source};
use greenroom_store::blobs::{BlobStore as _, DirBlobs};

/// Files before the change that are larger than this are not kept for showing.
const SHOWN_LIMIT: u64 = 1 << 20;

pub(super) struct IntoBlobs<'a>(pub(super) &'a DirBlobs);

impl Keep for IntoBlobs<'_> {
    fn keep(&self, hash: &ContentHash, source: &Source<'_>) -> io::Result<()> {
        if let Some(file) = source.file {
            return self.0.adopt_link(file, *hash).map_err(io::Error::other);
        }
        if self.0.contains(*hash).map_err(io::Error::other)? {
            return Ok(());
        }
        let mut open = (source.open)()?;
        let kept = self.0.put_reader(&mut open).map_err(io::Error::other)?;
        if kept == *hash { Ok(()) } else { Err(io::Error::other("it changed while it was read")) }
    }

    fn keep_before(&self, hash: &ContentHash, source: &Source<'_>) -> io::Result<()> {
        if source.size > SHOWN_LIMIT || self.0.contains(*hash).map_err(io::Error::other)? {
            return Ok(());
        }
        let mut content = Vec::new();
        (source.open)()?.take(SHOWN_LIMIT + 1).read_to_end(&mut content)?;
        if content[..content.len().min(8192)].contains(&0) {
            return Ok(());
        }
        self.0.put_bytes(&content).map(|_| ()).map_err(io::Error::other)
    }
}

/// Keeps nothing: for comparisons whose outcome is only looked at.
pub(super) struct Nowhere;

impl Keep for Nowhere {
    fn keep(&self, _hash: &ContentHash, _source: &Source<'_>) -> io::Result<()> {
        Ok(())
    }

    fn keep_before(&self, _hash: &ContentHash, _source: &Source<'_>) -> io::Result<()> {
        Ok(())
    }
}
