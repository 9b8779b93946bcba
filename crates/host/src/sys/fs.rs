//! Files by (directory, name): resolution below a root, status, attributes, contents.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use greenroom_core::manifest::flags;
use greenroom_core::{Mtime, TreePath};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

/// What the kernel says of one inode. Times are real time; `ctime` cannot be set by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// `st_mode`, with the file type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Number of names.
    pub nlink: u32,
    /// Inode number.
    pub ino: u64,
    /// Device, as major and minor.
    pub dev: (u32, u32),
    /// Device number of a device node.
    pub rdev: (u32, u32),
    /// Modification time.
    pub mtime: Mtime,
    /// Change time.
    pub ctime: Mtime,
    /// [`flags`].
    pub flags: u8,
    /// 512-byte blocks that are allocated.
    pub blocks: u64,
}

impl Status {
    /// The file type bits of the mode.
    #[must_use]
    pub fn file_type(&self) -> u32 {
        self.mode & 0o170_000
    }
}

/// File type bits.
pub mod types {
    /// Socket.
    pub const SOCKET: u32 = 0o140_000;
    /// Symbolic link.
    pub const SYMLINK: u32 = 0o120_000;
    /// Regular file.
    pub const FILE: u32 = 0o100_000;
    /// Block device.
    pub const BLOCK: u32 = 0o060_000;
    /// Directory.
    pub const DIR: u32 = 0o040_000;
    /// Character device.
    pub const CHAR: u32 = 0o020_000;
    /// Named pipe.
    pub const FIFO: u32 = 0o010_000;
}

/// Opens the root of a tree. The path is the caller's own: symbolic links in it are followed.
///
/// # Errors
/// It is no directory, or may not be opened.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Opens `path` below `root` without following any symbolic link.
///
/// # Errors
/// `ELOOP` when a component is a symbolic link, `EXDEV` when the path leads out, and the usual ones.
pub fn open_beneath(root: BorrowedFd<'_>, path: &TreePath, oflags: OFlags) -> io::Result<OwnedFd> {
    let mut rest = path.relative();
    let mut held: Option<OwnedFd> = None;
    // The kernel takes 4,095 bytes at once; deeper trees are walked in stages.
    while rest.len() > 4000 {
        let cut = rest[..4000].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
        let stage = at(held.as_ref(), root, &rest[..cut], OFlags::PATH | OFlags::DIRECTORY)?;
        held = Some(stage);
        rest = &rest[cut + 1..];
    }
    at(held.as_ref(), root, rest, oflags)
}

fn at(held: Option<&OwnedFd>, root: BorrowedFd<'_>, path: &[u8], oflags: OFlags) -> io::Result<OwnedFd> {
    let dir = held.map_or(root, AsFd::as_fd);
    loop {
        match rustix::fs::openat2(dir, path, oflags | OFlags::CLOEXEC, Mode::empty(), BENEATH) {
            // The kernel's word for "a rename happened meanwhile, ask again".
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Status of `name` in `dir`, the link itself where it is one. An empty name means `dir`.
///
/// # Errors
/// The kernel's; `NotFound` when there is nothing.
pub fn status(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Status> {
    let at_flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let raw: Statx = rustix::fs::statx(dir, name, at_flags, StatxFlags::BASIC_STATS)?;
    let has = |bit: StatxAttributes| raw.stx_attributes.contains(bit);
    let time = |t: rustix::fs::StatxTimestamp| Mtime { sec: t.tv_sec, nsec: t.tv_nsec };
    Ok(Status {
        mode: u32::from(raw.stx_mode),
        uid: raw.stx_uid,
        gid: raw.stx_gid,
        size: raw.stx_size,
        nlink: raw.stx_nlink,
        ino: raw.stx_ino,
        dev: (raw.stx_dev_major, raw.stx_dev_minor),
        rdev: (raw.stx_rdev_major, raw.stx_rdev_minor),
        mtime: time(raw.stx_mtime),
        ctime: time(raw.stx_ctime),
        flags: u8::from(has(StatxAttributes::IMMUTABLE)) * flags::IMMUTABLE
            + u8::from(has(StatxAttributes::APPEND)) * flags::APPEND
            + u8::from(has(StatxAttributes::NODUMP)) * flags::NODUMP,
        blocks: raw.stx_blocks,
    })
}

/// Opens a regular file for reading: no link is followed, no FIFO or device can block or act.
///
/// # Errors
/// The kernel's.
pub fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let oflags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = match rustix::fs::openat(dir, name, oflags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, oflags, Mode::empty())?,
        other => other?,
    };
    Ok(File::from(opened))
}

/// The target of the symbolic link `name` in `dir`.
///
/// # Errors
/// The kernel's.
pub fn read_link(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Box<[u8]>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes().into_boxed_slice())
}

/// The names in the directory `name` of `dir`, in byte order, without `.` and `..`.
///
/// # Errors
/// The kernel's.
pub fn names(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<Box<[u8]>>> {
    Ok(entries(dir, name)?.into_iter().map(|listed| listed.name).collect())
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The name.
    pub name: Box<[u8]>,
    /// It is a regular file: some file systems do not tell.
    pub is_file: bool,
}

/// As [`names`], with what the directory itself tells of each.
///
/// # Errors
/// The kernel's.
pub fn entries(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<Listed>> {
    let name = if name.is_empty() { b"." } else { name };
    let oflags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(dir, name, oflags, Mode::empty())?;
    let mut out = Vec::new();
    for entry in rustix::fs::Dir::read_from(&handle)? {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if bytes != b"." && bytes != b".." {
            let is_file = entry.file_type() == rustix::fs::FileType::RegularFile;
            out.push(Listed { name: Box::from(bytes), is_file });
        }
    }
    out.sort_unstable();
    Ok(out)
}

/// The bytes of a path of this machine.
#[must_use]
pub fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The name as the *at* calls take it: an empty one means the directory itself.
fn or_dot(name: &[u8]) -> &[u8] {
    if name.is_empty() { b"." } else { name }
}

/// Which mounted file system `name` in `dir` lies on: the mount and the device. Both must be equal for a rename.
///
/// # Errors
/// The kernel's.
pub fn file_system(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<(u64, (u32, u32))> {
    let at_flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let raw = rustix::fs::statx(dir, name, at_flags, StatxFlags::TYPE | StatxFlags::MNT_ID)?;
    Ok((raw.stx_mnt_id, (raw.stx_dev_major, raw.stx_dev_minor)))
}

/// Moves a name to where nothing is.
///
/// # Errors
/// The kernel's; `AlreadyExists` when something is there.
pub fn move_to_free(from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE)?)
}

/// Swaps two names in one step.
///
/// # Errors
/// The kernel's.
pub fn exchange(one: (BorrowedFd<'_>, &[u8]), other: (BorrowedFd<'_>, &[u8])) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(one.0, one.1, other.0, other.1, RenameFlags::EXCHANGE)?)
}

/// Replaces the file `to` by `from`, both in `dir`.
///
/// # Errors
/// The kernel's.
pub fn rename(dir: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat(dir, from, dir, to)?)
}

/// Gives the inode of `from` a second name; a symbolic link is linked itself.
///
/// # Errors
/// The kernel's.
pub fn link(from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> io::Result<()> {
    Ok(rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?)
}

/// Makes a directory with exactly this mode.
///
/// # Errors
/// The kernel's.
pub fn make_dir(dir: BorrowedFd<'_>, name: &[u8], mode: u16) -> io::Result<()> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(u32::from(mode)))?;
    set_mode(dir, name, mode)
}

/// Makes a new empty regular file, open for writing and reading.
///
/// # Errors
/// The kernel's; `AlreadyExists` when something is there.
pub fn create_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let oflags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, oflags, Mode::RUSR | Mode::WUSR)?))
}

/// Makes a symbolic link.
///
/// # Errors
/// The kernel's.
pub fn make_symlink(dir: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// Makes a FIFO or a device node; `file_type` is one of [`types`].
///
/// # Errors
/// The kernel's.
pub fn make_node(dir: BorrowedFd<'_>, name: &[u8], file_type: u32, device: (u32, u32)) -> io::Result<()> {
    let file_type = rustix::fs::FileType::from_raw_mode(file_type);
    let device = rustix::fs::makedev(device.0, device.1);
    Ok(rustix::fs::mknodat(dir, name, file_type, Mode::RUSR | Mode::WUSR, device)?)
}

/// Sets owner and group, of a symbolic link itself. Drops setuid bits and file capabilities: set them afterwards.
///
/// # Errors
/// The kernel's.
pub fn set_owner(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    Ok(rustix::fs::chownat(dir, or_dot(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the permission bits. A symbolic link has none and is refused with `ELOOP`.
///
/// # Errors
/// The kernel's.
pub fn set_mode(dir: BorrowedFd<'_>, name: &[u8], mode: u16) -> io::Result<()> {
    let held = hold(dir, name)?;
    if status(held.as_fd(), b"")?.file_type() == types::SYMLINK {
        return Err(Errno::LOOP.into());
    }
    // fchmod does not take such a descriptor, and fchmodat2 is younger than the kernels we run on.
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(u32::from(mode)))?)
}

/// Holds on to the inode behind a name without opening what it is.
fn hold(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, or_dot(name), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Sets the modification time, of a symbolic link itself.
///
/// # Errors
/// The kernel's.
pub fn set_mtime(dir: BorrowedFd<'_>, name: &[u8], mtime: Mtime) -> io::Result<()> {
    let keep = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let set = rustix::fs::Timespec { tv_sec: mtime.sec, tv_nsec: mtime.nsec.into() };
    let times = rustix::fs::Timestamps { last_access: keep, last_modification: set };
    Ok(rustix::fs::utimensat(dir, or_dot(name), &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets those of the inode attributes in `mask` as in `wanted` ([`flags`]); of regular files and directories only.
///
/// # Errors
/// The kernel's.
pub fn set_flags(dir: BorrowedFd<'_>, name: &[u8], mask: u8, wanted: u8) -> io::Result<()> {
    use rustix::fs::IFlags;
    let held = hold(dir, name)?;
    let found = status(held.as_fd(), b"")?;
    if found.flags & mask == wanted & mask || !matches!(found.file_type(), types::FILE | types::DIR) {
        return Ok(());
    }
    let file = open_held(&held)?;
    let mut bits = rustix::fs::ioctl_getflags(&file)?;
    let known =
        [(flags::IMMUTABLE, IFlags::IMMUTABLE), (flags::APPEND, IFlags::APPEND), (flags::NODUMP, IFlags::NODUMP)];
    for (flag, bit) in known {
        if mask & flag != 0 {
            bits.set(bit, wanted & flag != 0);
        }
    }
    Ok(rustix::fs::ioctl_setflags(&file, bits)?)
}

fn open_held(held: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the directory `name` of `dir` for reading: such a descriptor can be synced.
///
/// # Errors
/// The kernel's.
pub fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let oflags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, or_dot(name), oflags, Mode::empty())?)
}

/// Opens the directory `path` below `root`, following symbolic links as a process confined to `root` would.
///
/// # Errors
/// The kernel's.
pub fn open_in_root(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let oflags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(root, path, oflags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
}

/// Where the directory `path` of a tree is, with links that stay in it: joining would follow one out, of a copy onto the host.
///
/// # Errors
/// The kernel's: it is not there, or no directory.
pub fn resolve_in_root(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let tree = open_root(root)?;
    let dir = open_in_root(tree.as_fd(), Path::new("/").join(path).as_os_str().as_bytes())?;
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

/// The status of what `path` leads to below `root`, following symbolic links as a process confined to `root` would.
///
/// # Errors
/// The kernel's.
pub fn status_in_root(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Status> {
    let oflags = OFlags::PATH | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat2(root, path, oflags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
    status(fd.as_fd(), b"")
}

/// Makes all that was written to the file system of `dir` durable.
///
/// # Errors
/// The kernel's.
pub fn sync_file_system(dir: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::syncfs(dir)?)
}

/// Makes the directory's or file's own content durable.
///
/// # Errors
/// The kernel's.
pub fn sync(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fsync(fd)?)
}

/// Makes the content of the regular file `name` in `dir` durable.
///
/// # Errors
/// The kernel's.
pub fn sync_name(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    sync(open_file(dir, name)?.as_fd())
}

/// Removes a name; `is_dir` says whether it is an empty directory.
///
/// # Errors
/// The kernel's.
pub fn remove(dir: BorrowedFd<'_>, name: &[u8], is_dir: bool) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() })?)
}

/// Free bytes for the administrator's use short of the reserve, and free inodes (`None` where they are not counted).
///
/// # Errors
/// The kernel's.
pub fn free_room(dir: BorrowedFd<'_>) -> io::Result<(u64, Option<u64>)> {
    let stat = rustix::fs::fstatvfs(dir)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), (stat.f_files > 0).then_some(stat.f_favail)))
}
