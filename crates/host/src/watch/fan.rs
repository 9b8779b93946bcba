//! The fanotify(7) calls, with what an older kernel lacks left out and named.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::event::mask;

/// `FAN_REPORT_TARGET_FID` and what it needs; libc does not have it for every target.
const TARGETS: u32 = libc::FAN_REPORT_FID | 0x1000;

/// A group of marks with its queue.
pub(super) struct Fan {
    fd: OwnedFd,
    /// Renames arrive as one event with both places, and new directories with their handle.
    pub(super) pairs: bool,
}

/// What is wanted of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// As long as it gets: bounded by the memory of the service's control group.
    Unlimited,
    /// As long as the machine says (`fs.fanotify.max_queued_events`).
    Bounded,
}

impl Fan {
    /// A new group.
    ///
    /// # Errors
    /// Not root, or Linux before 5.9, which does not report names.
    pub(super) fn new(queue: Queue) -> io::Result<Self> {
        let base = libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_UNLIMITED_MARKS;
        let base = base | libc::FAN_REPORT_DIR_FID | libc::FAN_REPORT_NAME;
        let base = if queue == Queue::Unlimited { base | libc::FAN_UNLIMITED_QUEUE } else { base };
        match init(base | TARGETS) {
            Ok(fd) => Ok(Self { fd, pairs: true }),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Self { fd: init(base)?, pairs: false }),
            Err(error) => Err(error),
        }
    }

    /// Watches the whole file system that holds `at`.
    ///
    /// # Errors
    /// The file system has no handles that can be reported (`EOPNOTSUPP`, `ENODEV`, `EXDEV`).
    pub(super) fn watch(&self, at: &Path) -> io::Result<()> {
        let path = CString::new(at.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let moves = if self.pairs { mask::RENAME } else { mask::MOVED_FROM | mask::MOVED_TO };
        let wanted =
            mask::MODIFY | mask::ATTRIB | mask::CLOSE_WRITE | mask::CREATE | mask::DELETE | mask::ONDIR | moves;
        self.mark(libc::FAN_MARK_ADD, wanted, &path)
    }

    /// Whether each write to a file that stays open is told, or only that it was closed.
    ///
    /// # Errors
    /// The kernel's: the place is not watched.
    pub(super) fn writes(&self, at: &Path, told: bool) -> io::Result<()> {
        let path = CString::new(at.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.mark(if told { libc::FAN_MARK_ADD } else { libc::FAN_MARK_REMOVE }, mask::MODIFY, &path)
    }

    fn mark(&self, how: u32, mask: u64, path: &CString) -> io::Result<()> {
        let flags = how | libc::FAN_MARK_FILESYSTEM;
        // SAFETY: the path ends with NUL and lives until the call is over.
        let done = unsafe { libc::fanotify_mark(self.fd.as_raw_fd(), flags, mask, libc::AT_FDCWD, path.as_ptr()) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads events into `buffer`; 0 when there are none.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(len) => return Ok(len),
                Err(rustix::io::Errno::AGAIN) => return Ok(0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Fan {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn init(flags: u32) -> io::Result<OwnedFd> {
    let mode = u32::try_from(libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE).unwrap_or(0);
    // SAFETY: takes two numbers and gives a descriptor.
    let fd = unsafe { libc::fanotify_init(flags, mode) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The id by which events name the file system of `dir`.
pub(super) fn file_system_id(dir: BorrowedFd<'_>) -> io::Result<[u8; 8]> {
    // SAFETY: all zeros is a value of this structure, and the call fills it.
    let stat = unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        if libc::fstatfs(dir.as_raw_fd(), &raw mut stat) < 0 {
            return Err(io::Error::last_os_error());
        }
        stat
    };
    // SAFETY: `fsid_t` is two 32-bit numbers without padding; its field is not public.
    Ok(unsafe { std::mem::transmute::<libc::fsid_t, [u8; 8]>(stat.f_fsid) })
}

/// Whether this process may open by handle at all: without it events have no paths.
pub(super) fn may_open_by_handle(mount: BorrowedFd<'_>) -> io::Result<()> {
    let mut empty = [0u64; 2];
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: a `struct file_handle` that says that it has no bytes, which is refused before anything of it is used.
    let fd = unsafe { libc::open_by_handle_at(mount.as_raw_fd(), empty.as_mut_ptr().cast(), flags) };
    let error = io::Error::last_os_error();
    if fd >= 0 || error.raw_os_error() == Some(libc::EINVAL) {
        return Ok(());
    }
    Err(io::Error::new(error.kind(), format!("open_by_handle_at: {error}")))
}

/// Where the directory with this handle is now, as this process sees it. `None` when it is gone, or not below any mount that is seen.
pub(super) fn directory_of(mount: BorrowedFd<'_>, handle: &[u8]) -> io::Result<Option<PathBuf>> {
    #[repr(C, align(8))]
    struct Handle([u8; 8 + 128]);
    let mut raw = Handle([0; 136]);
    let Some(space) = raw.0.get_mut(..handle.len()) else { return Ok(None) };
    space.copy_from_slice(handle);
    let flags = libc::O_PATH | libc::O_CLOEXEC | libc::O_DIRECTORY;
    // SAFETY: a `struct file_handle` as the kernel gave it: its length, its type, that many bytes.
    let fd = unsafe { libc::open_by_handle_at(mount.as_raw_fd(), raw.0.as_mut_ptr().cast(), flags) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESTALE) { Ok(None) } else { Err(error) };
    }
    // SAFETY: a new descriptor that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    let path = Path::new(OsStr::from_bytes(link.as_bytes()));
    // The name is true only when it leads back: not for a deleted directory, nor for one that a mount hides.
    let Ok(again) = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
        return Ok(None);
    };
    let (one, other) = (rustix::fs::fstat(&fd)?, rustix::fs::fstat(&again)?);
    Ok((one.st_dev == other.st_dev && one.st_ino == other.st_ino).then(|| path.to_owned()))
}
