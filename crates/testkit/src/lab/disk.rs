//! Files of the lab: copying, locking, and removing a tree whatever a test left in it.

use super::LabError;
use super::process::{run, run_ok};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SLOW: Duration = Duration::from_secs(300);

/// Opens (and makes) a lock file.
pub(crate) fn lock_file(path: &Path) -> Result<File, LabError> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(LabError::io("open", path))
}

/// Waits for the lock. It ends with the file.
pub(crate) fn lock(file: &File, path: &Path, how: FlockOperation) -> Result<(), LabError> {
    loop {
        match flock(file, how) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(|e| LabError::io("lock", path)(e.into())),
        }
    }
}

/// A full copy, every attribute kept, sharing blocks where the file system can.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), LabError> {
    run_ok(Command::new("cp").args(["-a", "--reflink=auto", "--"]).arg(from).arg(to), SLOW).map(|_| ())
}

/// Mounts a new, empty ext4 of `mib` MiB at `disk` in the directory `dir`, from an image beside it.
pub(crate) fn mount_new(dir: &Path, mib: u32) -> Result<PathBuf, LabError> {
    let (image, point) = (dir.join("disk.img"), dir.join("disk"));
    let file = File::create_new(&image).map_err(LabError::io("make", &image))?;
    file.set_len(u64::from(mib) << 20).map_err(LabError::io("size", &image))?;
    // No blocks for root alone: on a full disk nobody can write.
    run_ok(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-O", "has_journal"]).arg(&image), SLOW)?;
    fs::create_dir(&point).map_err(LabError::io("make", &point))?;
    run_ok(Command::new("mount").args(["-o", "loop,discard", "--"]).arg(&image).arg(&point), SLOW)?;
    Ok(point)
}

/// Takes every free block of the file system that `file` is on, and keeps them in `file`.
pub(crate) fn fill(file: &Path) -> Result<(), LabError> {
    let open = File::create(file).map_err(LabError::io("make", file))?;
    let (mut size, mut step) = (0, 1 << 30);
    while step >= 1024 {
        match rustix::fs::fallocate(&open, rustix::fs::FallocateFlags::empty(), size, step) {
            Ok(()) => size += step,
            Err(rustix::io::Errno::NOSPC) => step /= 2,
            Err(error) => return Err(LabError::io("fill the disk with", file)(error.into())),
        }
    }
    Ok(())
}

/// Removes a tree: first unmounts everything below it, last mount first, then clears immutable attributes when
/// they are in the way.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), LabError> {
    unmount_below(dir);
    if fs::remove_dir_all(dir).is_ok() || !dir.exists() {
        return Ok(());
    }
    // Symlinks and devices refuse the flag, which is no news; what matters is whether the removal works now.
    let _ = run(Command::new("chattr").args(["-R", "-f", "-i", "-a", "--"]).arg(dir), b"", SLOW);
    unmount_below(dir);
    fs::remove_dir_all(dir).map_err(LabError::io("remove", dir))
}

/// Lazily unmounts all that is mounted at or below `dir`.
pub(crate) fn unmount_below(dir: &Path) {
    let Ok(dir) = dir.canonicalize() else { return };
    let Ok(table) = fs::read("/proc/self/mountinfo") else { return };
    let points: Vec<PathBuf> = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4).map(unescape))
        .filter(|point| point.starts_with(&dir))
        .collect();
    for point in points.iter().rev() {
        let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
    }
}

/// The kernel writes space, tab, newline and backslash in mount points as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match (first, tail.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => bytes.push(*first),
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Refuses a directory on a file system that a host's root cannot live on: overlayfs is no upper layer for
/// another overlay, and a tmpfs keeps neither data over a power cut nor a fair speed.
pub(crate) fn must_be_on_disk(dir: &Path) -> Result<(), LabError> {
    const TMPFS: i64 = 0x0102_1994;
    const OVERLAY: i64 = 0x794c_7630;
    let stat = rustix::fs::statfs(dir).map_err(|e| LabError::io("examine", dir)(e.into()))?;
    let kind = match stat.f_type {
        TMPFS => "tmpfs",
        OVERLAY => "overlayfs",
        _ => return Ok(()),
    };
    Err(LabError::NotOnDisk { path: dir.to_owned(), kind })
}

/// Writes a small file, its directories made.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), LabError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(LabError::io("make", parent))?;
    }
    // The root belongs to a test host: a link in it could point anywhere on this machine.
    if path.is_symlink() {
        fs::remove_file(path).map_err(LabError::io("remove", path))?;
    }
    fs::write(path, text).map_err(LabError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(br"/a\040b\134c\012"), PathBuf::from("/a b\\c\n"));
        assert_eq!(unescape(br"/plain\0"), PathBuf::from(r"/plain\0"));
    }

    #[test]
    fn a_tmpfs_is_refused_by_name() {
        let error = must_be_on_disk(Path::new("/dev/shm")).unwrap_err();
        assert!(error.to_string().contains("tmpfs"), "{error}");
    }
}
