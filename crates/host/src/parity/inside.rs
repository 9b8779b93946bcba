//! Reads inside a tree as a process would whose root it is: links are followed and stay inside.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use greenroom_core::TreePath;
use greenroom_core::effect::{Side, Sources};
use greenroom_core::path::Shown;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};

use crate::facts::Trees;
use crate::sys::fs::{self, types};

/// No file of a system's configuration that is read as a whole is larger.
const LARGEST: u64 = 4 << 20;

/// A tree, from inside.
pub(super) struct Inside {
    root: OwnedFd,
    /// Its path on this machine, as the kernel says it: what stands before the path of every file in it.
    prefix: Vec<u8>,
    sources: Trees,
}

impl Inside {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let fd = fs::open_root(root)?;
        let mut prefix = shown_by_kernel(&fd)?;
        if prefix == b"/" {
            prefix.clear();
        }
        Ok(Self { root: fd, prefix, sources: Trees::open(root, root)? })
    }

    pub(super) fn sources(&self) -> &dyn Sources {
        &self.sources
    }

    /// Where `path` leads to in the end; `None`: nowhere.
    pub(super) fn resolve(&self, path: &TreePath) -> Option<TreePath> {
        let fd = self.at(path, OFlags::PATH)?;
        let shown = shown_by_kernel(&fd).ok()?;
        let inside = shown.strip_prefix(&self.prefix[..])?;
        Some(TreePath::new(inside))
    }

    /// Opens the regular file that `path` leads to.
    pub(super) fn file(&self, path: &TreePath) -> Option<File> {
        let held = self.at(path, OFlags::PATH)?;
        if fs::status(held.as_fd(), b"").ok()?.file_type() != types::FILE {
            return None;
        }
        let real = format!("/proc/self/fd/{}", held.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        openat(rustix::fs::CWD, real, flags, Mode::empty()).ok().map(File::from)
    }

    /// The text of a file, and whether everybody may read it.
    pub(super) fn text(&self, path: &TreePath) -> Option<(String, bool)> {
        let file = self.file(path)?;
        let public = fs::status(file.as_fd(), b"").ok()?.mode & 0o004 != 0;
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        Some((String::from_utf8_lossy(&bytes).into_owned(), public))
    }

    pub(super) fn names(&self, dir: &TreePath) -> Vec<Vec<u8>> {
        self.sources.names(dir, Side::After)
    }

    /// Where the symbolic link `path` points.
    pub(super) fn link(&self, path: &TreePath) -> Option<String> {
        let parent = self.at(&path.parent()?, OFlags::PATH | OFlags::DIRECTORY)?;
        let target = fs::read_link(parent.as_fd(), path.name()).ok()?;
        Some(Shown(&target).to_string())
    }

    fn at(&self, path: &TreePath, flags: OFlags) -> Option<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, path.relative(), flags | OFlags::CLOEXEC, Mode::empty(), resolve).ok()
    }
}

fn shown_by_kernel(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(path.as_os_str().as_bytes().to_vec())
}
