//! The system calls that making and changing trees needs; none follows a symlink.

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Seconds since 1970 and nanoseconds.
pub(crate) type Time = (i64, u32);

/// Sets the modification time; the access time gets the same.
pub(crate) fn set_mtime(path: &Path, (seconds, nanos): Time) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(crate) fn mtime(path: &Path) -> io::Result<Time> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or(0)))
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())?)
}

/// Makes a FIFO or a device node.
pub(crate) fn make_node(path: &Path, kind: FileType, (major, minor): (u32, u32)) -> io::Result<()> {
    let device = rustix::fs::makedev(major, minor);
    Ok(rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device)?)
}

/// Removes a path of any kind, with all below it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The bytes that belong to a seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Writes a file whose middle is a hole of `hole` bytes.
pub(crate) fn write_sparse(path: &Path, data: &[u8], hole: u64) -> io::Result<()> {
    let (head, tail) = data.split_at(data.len() / 2);
    let mut file = File::create(path)?;
    file.write_all(head)?;
    let end = file.seek(SeekFrom::Current(i64::try_from(hole).unwrap_or(0)))?;
    // With nothing after it a hole has to be made by setting the length.
    file.set_len(end)?;
    file.write_all(tail)
}

/// All paths below `root`, relative to it, in order of their bytes.
pub(crate) fn paths(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
