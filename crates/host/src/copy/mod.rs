//! A copy: an isolated clone of a host's tree, made in milliseconds whatever the host's size.
//!
//! For each local file system below the root there is one overlay whose lower is the host and whose upper takes all that is
//! written ([`layers`]). The copy may be run in, booted or not, by systemd-nspawn in namespaces of its own ([`nspawn`],
//! [`booted`]); its network has a loopback interface and nothing else ([`crate::sys::ns::Network`]); live sockets of the
//! host are taken out of it ([`sockets`]). What is cloned may be a tree that is kept in layers ([`stack`]). Not here: what changed in it (that is [`crate::capture`]).
//!
//! All mounts are made in the mount namespace of this process and go with it. What a killed process leaves is a directory
//! that nobody holds a lock on; [`sweep`] removes it.

mod booted;
mod cgroup;
mod layers;
mod nspawn;
mod seat;
mod sockets;
pub mod stack;
mod stand_in;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

pub use booted::{Booted, Settled};
pub(crate) use cgroup::own_groups;
pub use cgroup::{Group, expect_copy};
pub use layers::Layer;
pub use nspawn::{Command, Ended, Limits, Output, Runner, with_tail};
pub(crate) use nspawn::{execute, process};
pub use seat::{Seat, Tap};
pub use stand_in::is_stood_in;

use rustix::fs::FlockOperation;

/// Why a copy could not be made or run.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The root is not a directory that can be cloned.
    #[error("cannot make a copy of {}: {what}", root.display())]
    Root {
        /// The root.
        root: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Something on this machine failed.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The copy did not come up.
    #[error("the copy did not boot: {what}")]
    Boot {
        /// The last lines of its console.
        what: String,
    },
}

/// The local file systems of the tree at `root`, by their place in it and on this machine: those that a copy shows.
pub(crate) fn places(root: &Path) -> Result<Vec<(greenroom_core::TreePath, PathBuf)>, CopyError> {
    Ok(layers::plan(root, &[])?.places.into_iter().map(|place| (place.at, place.lower)).collect())
}

impl CopyError {
    pub(crate) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}

/// A copy that is mounted. Dropping it takes the mounts away and deletes what was written in it.
#[derive(Debug)]
pub struct Copy {
    dir: PathBuf,
    layers: Vec<Layer>,
    lock: Option<File>,
    /// Notes about what is not visible in this copy.
    pub notes: Vec<String>,
    keep: bool,
    group: Group,
}

impl Copy {
    /// Clones the tree at `root`; what the copy writes goes below `dir`, which must not exist yet.
    ///
    /// # Errors
    /// [`CopyError`]; nothing stays behind.
    pub fn make(root: &Path, dir: &Path, hidden: &[PathBuf]) -> Result<Self, CopyError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir).map_err(CopyError::system(format!("make the directory {}", dir.display())))?;
        let lock = hold(dir).map_err(CopyError::system(format!("lock {}", dir.display())))?;
        let mut copy = Self {
            dir: dir.to_owned(),
            layers: Vec::new(),
            lock,
            notes: Vec::new(),
            keep: false,
            group: Group::new(&group_name()),
        };
        let plan = layers::plan(root, hidden)?;
        copy.notes = plan.notes;
        for (number, place) in plan.places.iter().enumerate() {
            if let Some(layer) = layers::mount(place, &copy.dir, number, &mut copy.notes)? {
                copy.layers.push(layer);
            }
        }
        sockets::take_out(root, &copy.root(), &mut copy.notes);
        Ok(copy)
    }

    /// Where the copy's tree is.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The directory that holds all of it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The control groups of what runs in it.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The overlays, the root's first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Leaves what was written where it is when the copy goes, and returns the directory.
    pub fn keep(&mut self) -> &Path {
        self.keep = true;
        &self.dir
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        for layer in self.layers.iter().rev() {
            // A failure leaves a mount in our own namespace, which goes when the process does.
            let _ = crate::sys::mount::detach(&layer.merged);
        }
        if !self.keep {
            let _ = remove_tree(&self.dir);
        }
        self.lock = None;
    }
}

fn group_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("greenroom-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn hold(dir: &Path) -> io::Result<Option<File>> {
    let file = File::create(dir.join("lock"))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(Some(file))
}

/// Removes the directories of copies below `dir` whose process is gone. Returns how many.
///
/// # Errors
/// `dir` cannot be read.
pub fn sweep(dir: &Path) -> io::Result<usize> {
    let mut count = 0;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.join("kept").exists() {
            continue;
        }
        let free = match File::open(path.join("lock")) {
            Ok(file) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
            Err(_) => true,
        };
        if free && remove_tree(&path).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

/// Deletes a tree of ours, immutable files in it included.
///
/// # Errors
/// The kernel's.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            make_mutable(dir);
            fs::remove_dir_all(dir)
        }
        Ok(()) => Ok(()),
    }
}

/// Clears the flags that forbid deletion; what cannot be opened is left to the error of the deletion.
fn make_mutable(path: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let Ok(meta) = path.symlink_metadata() else { return };
    if (meta.is_dir() || meta.is_file())
        && let Ok(file) = File::open(path)
        && let Ok(flags) = ioctl_getflags(&file)
        && flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)
    {
        let _ = ioctl_setflags(&file, flags - IFlags::IMMUTABLE - IFlags::APPEND);
    }
    if meta.is_dir() {
        let Ok(entries) = fs::read_dir(path) else { return };
        entries.flatten().for_each(|entry| make_mutable(&entry.path()));
    }
}

/// Puts a file into a copy, as cp(1) does as root: a file that is there keeps its owner and mode, a new one belongs to root
/// and has the mode of the source, unless `wanted` says otherwise. Directories on the way must exist.
///
/// # Errors
/// The kernel's; the target's directory is missing, or is a symbolic link, or leads out of the copy.
pub fn put_file(root: &Path, wanted: &greenroom_core::change::CopyFile, mut content: File) -> io::Result<()> {
    use std::os::fd::AsFd as _;

    use rustix::fs::{Mode, OFlags, fchmod, openat};

    let tree = crate::sys::fs::open_root(root)?;
    let parent = wanted.to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let dir = crate::sys::fs::open_beneath(tree.as_fd(), &parent, OFlags::PATH | OFlags::DIRECTORY)?;
    let mode = content.metadata().map(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o7777)?;
    let oflags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let (file, new) = match openat(&dir, wanted.to.name(), oflags, Mode::empty()) {
        Ok(fd) => (File::from(fd), false),
        Err(rustix::io::Errno::NOENT) => (
            openat(&dir, wanted.to.name(), oflags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)?.into(),
            true,
        ),
        Err(error) => return Err(error.into()),
    };
    io::copy(&mut content, &mut &file)?;
    if let Some(mode) = wanted.mode.or(new.then_some(mode)) {
        fchmod(&file, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}
