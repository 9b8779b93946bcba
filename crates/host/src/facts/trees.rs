//! The contents before and after a change, from two trees: the lower of a copy and its merged view.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use greenroom_core::TreePath;
use greenroom_core::effect::{Side, Sources};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

/// Nothing that is read for a report is larger.
const LARGEST: u64 = 64 << 20;

/// Two trees, read as a process would whose root each is: absolute symlinks and `..` stay inside.
#[derive(Debug)]
pub struct Trees {
    before: OwnedFd,
    after: OwnedFd,
}

impl Trees {
    /// Opens the roots of both.
    ///
    /// # Errors
    /// One of them is not a directory that can be opened.
    pub fn open(before: &Path, after: &Path) -> io::Result<Self> {
        let open = |path: &Path| -> io::Result<OwnedFd> {
            Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
        };
        Ok(Self { before: open(before)?, after: open(after)? })
    }

    fn at(&self, path: &TreePath, side: Side, flags: OFlags) -> Option<OwnedFd> {
        let root = match side {
            Side::Before => &self.before,
            Side::After => &self.after,
        };
        open_in(root, path, flags)
    }
}

impl Sources for Trees {
    fn content(&self, path: &TreePath, side: Side) -> Option<Vec<u8>> {
        read_regular(self.at(path, side, OFlags::RDONLY)?)
    }

    fn names(&self, dir: &TreePath, side: Side) -> Vec<Vec<u8>> {
        self.at(dir, side, OFlags::RDONLY | OFlags::DIRECTORY).map(names).unwrap_or_default()
    }
}

/// Opens `path` inside `root`. Not blocking: a FIFO would.
pub(super) fn open_in(root: &OwnedFd, path: &TreePath, flags: OFlags) -> Option<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat2(root, path.relative(), flags, Mode::empty(), resolve).ok()
}

pub(super) fn read_regular(file: OwnedFd) -> Option<Vec<u8>> {
    let stat = fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut out = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(1 << 24));
    File::from(file).take(LARGEST).read_to_end(&mut out).ok()?;
    Some(out)
}

pub(super) fn names(dir: OwnedFd) -> Vec<Vec<u8>> {
    let Ok(entries) = Dir::new(dir) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_bytes().to_vec());
    let mut names: Vec<Vec<u8>> = names.filter(|name| name != b"." && name != b"..").collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside_and_only_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("b"), dir.path().join("a"));
        std::fs::create_dir_all(before.join("etc")).unwrap();
        std::fs::create_dir_all(after.join("usr/lib/x")).unwrap();
        std::fs::write(before.join("etc/f"), "old").unwrap();
        std::fs::write(after.join("usr/lib/x/f"), "new").unwrap();
        std::os::unix::fs::symlink("/usr/lib/x", after.join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", after.join("usr/lib/x/out")).unwrap();
        let trees = Trees::open(&before, &after).unwrap();
        let read = |path: &str, side| trees.content(&path.into(), side);
        assert_eq!(read("/etc/f", Side::Before).as_deref(), Some(&b"old"[..]));
        assert_eq!(read("/etc/f", Side::After).as_deref(), Some(&b"new"[..]));
        assert_eq!(read("/etc/out", Side::After), None);
        assert_eq!(read("/etc", Side::Before), None);
        assert_eq!(trees.names(&"/etc".into(), Side::After), [b"f".to_vec(), b"out".to_vec()]);
        assert_eq!(trees.names(&"/nowhere".into(), Side::After), Vec::<Vec<u8>>::new());
    }
}
