//! Contents on their way from the store into staging: shared where the file system can, sparse where they are, and always
//! compared with their name.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use greenroom_core::ContentHash;
use rustix::fs::SeekFrom;

/// Where contents come from.
pub trait Contents: Sync {
    /// Opens the content called `hash` for reading from its start. What it holds is verified by the reader.
    ///
    /// # Errors
    /// `NotFound` when it is not there; the kernel's.
    fn open(&self, hash: &ContentHash) -> io::Result<File>;
}

/// The size of the buffer that [`copy`] wants.
pub(crate) const BUFFER: usize = 128 * 1024;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Copies all of `from` into the empty file `to` and returns the hash of what arrived.
pub(crate) fn copy(from: &mut File, to: &mut File, buffer: &mut [u8]) -> io::Result<ContentHash> {
    let meta = from.metadata()?;
    let mut hasher = blake3::Hasher::new();
    if meta.len() > buffer.len() as u64 && rustix::fs::ioctl_ficlone(&*to, &*from).is_ok() {
        hash_only(to, &mut hasher, buffer)?;
    } else if meta.blocks() * 512 < meta.len()
        && rustix::fs::seek(&*from, SeekFrom::Data(0)) != Err(rustix::io::Errno::INVAL)
    {
        copy_sparse(from, to, meta.len(), &mut hasher, buffer)?;
    } else {
        copy_range(from, to, u64::MAX, &mut hasher, buffer)?;
    }
    Ok(hasher.finalize().into())
}

fn hash_only(file: &mut File, hasher: &mut blake3::Hasher, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match file.read(buffer)? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        };
    }
}

/// Copies at most `length` bytes from where both files stand.
fn copy_range(
    from: &mut File,
    to: &mut File,
    length: u64,
    hasher: &mut blake3::Hasher,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut rest = length;
    while rest > 0 {
        let most = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let count = from.read(&mut buffer[..most])?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        rest -= count as u64;
    }
    Ok(())
}

fn copy_sparse(
    from: &mut File,
    to: &mut File,
    length: u64,
    hasher: &mut blake3::Hasher,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(&*from, SeekFrom::Data(at)) {
            Ok(data) => data.min(length),
            Err(rustix::io::Errno::NXIO) => length,
            Err(other) => return Err(other.into()),
        };
        hash_zeros(hasher, data - at);
        at = data;
        if at < length {
            let hole = rustix::fs::seek(&*from, SeekFrom::Hole(at))?.min(length);
            rustix::fs::seek(&*from, SeekFrom::Start(at))?;
            rustix::fs::seek(&*to, SeekFrom::Start(at))?;
            copy_range(from, to, hole - at, hasher, buffer)?;
            at = hole;
        }
    }
    to.set_len(length)
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    while count > 0 {
        let piece = count.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..piece as usize]);
        count -= piece;
    }
}
