//! Which file system a path lies on, and the directory there that holds its slot.
//!
//! Two paths can be exchanged only within one mount and one device (a btrfs subvolume has a device of its own, a bind mount
//! has not). A path that does not exist yet lies where the nearest directory above it is that exists.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use greenroom_core::TreePath;
use rustix::fs::OFlags;

use super::error::{Context as _, Error, Refusal};
use super::host::make_private;
use crate::scan::is_absence;
use crate::sys::fs;

type Key = (u64, (u32, u32));

/// The file systems that a change touches, found without writing anything. The first is that of the state directory.
pub(super) struct Survey<'t> {
    root: BorrowedFd<'t>,
    found: Vec<(Key, TreePath)>,
    last: Option<(TreePath, u16)>,
}

impl<'t> Survey<'t> {
    pub(super) fn new(root: BorrowedFd<'t>, state: BorrowedFd<'_>) -> Result<Self, Error> {
        let key = fs::file_system(state, b"").context(|| "find the file system of the state directory".to_owned())?;
        Ok(Self { root, found: vec![(key, TreePath::from("/var/lib/greenroom"))], last: None })
    }

    /// The index of the file system on which `path` lies, or will lie.
    pub(super) fn locate(&mut self, path: &TreePath) -> Result<u16, Error> {
        let parent = path.parent().unwrap_or_else(TreePath::root);
        if let Some((last, index)) = &self.last
            && *last == parent
        {
            return Ok(*index);
        }
        let (key, dir) = self.nearest(&parent)?;
        let index = match self.found.iter().position(|(known, _)| *known == key) {
            Some(index) => index,
            None => {
                let top = self.top(key, dir)?;
                self.found.push((key, top));
                self.found.len() - 1
            }
        };
        let index = u16::try_from(index)
            .map_err(|_| Error::Io { what: format!("place {path}"), source: rustix::io::Errno::TOOMANYREFS.into() })?;
        self.last = Some((parent, index));
        Ok(index)
    }

    fn nearest(&self, dir: &TreePath) -> Result<(Key, TreePath), Error> {
        let mut dir = dir.clone();
        loop {
            match fs::open_beneath(self.root, &dir, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(fd) => {
                    let key = fs::file_system(fd.as_fd(), b"").context(|| format!("find the file system of {dir}"))?;
                    return Ok((key, dir));
                }
                Err(error) if is_absence(&error) => match dir.parent() {
                    Some(parent) => dir = parent,
                    None => return Err(Error::Io { what: "open the root".to_owned(), source: error }),
                },
                Err(source) => return Err(Error::Io { what: format!("open {dir}"), source }),
            }
        }
    }

    /// The highest directory that lies on the same file system as `dir`.
    fn top(&self, key: Key, dir: TreePath) -> Result<TreePath, Error> {
        let mut top = dir;
        while let Some(parent) = top.parent() {
            let fd = fs::open_beneath(self.root, &parent, OFlags::PATH | OFlags::DIRECTORY);
            let above = fd.and_then(|fd| fs::file_system(fd.as_fd(), b""));
            if above.context(|| format!("find the file system of {parent}"))? != key {
                break;
            }
            top = parent;
        }
        Ok(top)
    }

    /// A name for the file system `index`, for people.
    pub(super) fn name(&self, index: u16) -> TreePath {
        self.found[usize::from(index)].1.clone()
    }

    /// The tops of all but the state's file system.
    pub(super) fn tops(&self) -> Vec<TreePath> {
        self.found[1..].iter().map(|(_, top)| top.clone()).collect()
    }
}

/// The slot directories of one owner, by the index of their file system.
pub(super) struct SlotDirs(Vec<OwnedFd>);

const OURS: &[u8] = b".greenroom";

impl SlotDirs {
    /// Makes them: `slots` in the record's directory, `.greenroom/<id>` on the others.
    pub(super) fn create(
        root: BorrowedFd<'_>,
        record: BorrowedFd<'_>,
        id: &str,
        tops: &[TreePath],
    ) -> Result<Self, Error> {
        make_private(record, b"slots").context(|| format!("make the slots of {id}"))?;
        for top in tops {
            let fail = || format!("make the slots of {id} in {top}");
            let dir = fs::open_beneath(root, top, OFlags::RDONLY | OFlags::DIRECTORY).context(fail)?;
            make_private(dir.as_fd(), OURS).context(fail)?;
            let ours = fs::open_dir(dir.as_fd(), OURS).context(fail)?;
            fs::make_dir(ours.as_fd(), id.as_bytes(), 0o700).context(fail)?;
        }
        Self::open(root, record, id, tops)
    }

    /// Opens those that were made.
    pub(super) fn open(
        root: BorrowedFd<'_>,
        record: BorrowedFd<'_>,
        id: &str,
        tops: &[TreePath],
    ) -> Result<Self, Error> {
        let mut dirs = vec![fs::open_dir(record, b"slots").context(|| format!("open the slots of {id}"))?];
        for top in tops {
            let fail = || format!("open the slots of {id} in {top}");
            let ours = fs::open_beneath(root, &top.join(OURS), OFlags::RDONLY | OFlags::DIRECTORY).context(fail)?;
            dirs.push(fs::open_dir(ours.as_fd(), id.as_bytes()).context(fail)?);
        }
        Ok(Self(dirs))
    }

    pub(super) fn get(&self, index: u16) -> BorrowedFd<'_> {
        self.0[usize::from(index)].as_fd()
    }

    pub(super) fn count(&self) -> u16 {
        // `Survey::locate` gives no index beyond.
        u16::try_from(self.0.len()).unwrap_or(u16::MAX)
    }

    /// Makes all that was written to these file systems durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.0
            .iter()
            .try_for_each(|dir| fs::sync_file_system(dir.as_fd()))
            .context(|| "sync the file systems".to_owned())
    }

    /// Finds out whether two names can be exchanged here, and one moved without replacing.
    pub(super) fn probe(&self, index: u16, name: TreePath) -> Result<(), Error> {
        let dir = self.get(index);
        let (a, b, c): (&[u8], &[u8], &[u8]) = (b"probe.a", b"probe.b", b"probe.c");
        let fail = || format!("try an exchange on the file system of {name}");
        for probe in [a, b] {
            fs::create_file(dir, probe).context(fail)?;
        }
        let tried = fs::exchange((dir, a), (dir, b)).and_then(|()| fs::move_to_free((dir, a), (dir, c)));
        for probe in [a, b, c] {
            match fs::remove(dir, probe, false) {
                Err(error) if !is_absence(&error) => return Err(error).context(fail),
                _ => {}
            }
        }
        match tried {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(22 | 38 | 95)) => {
                Err(Refusal::NoExchange { file_system: name }.into())
            }
            Err(error) => Err(error).context(fail),
        }
    }
}

/// Removes what is left of an owner's slots on one other file system, and the directory above it when it was the last.
pub(super) fn remove_foreign(root: BorrowedFd<'_>, id: &str, top: &TreePath) -> Result<(), Error> {
    let fail = || format!("remove the slots of {id} in {top}");
    let dir = match fs::open_beneath(root, top, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if is_absence(&error) => return Ok(()),
        other => other.context(fail)?,
    };
    let ours = match fs::open_dir(dir.as_fd(), OURS) {
        Err(error) if is_absence(&error) => return Ok(()),
        other => other.context(fail)?,
    };
    super::forget::remove_tree(ours.as_fd(), id.as_bytes()).context(fail)?;
    let mtime = fs::status(dir.as_fd(), b"").context(fail)?.mtime;
    match fs::remove(dir.as_fd(), OURS, true) {
        Ok(()) => fs::set_mtime(dir.as_fd(), b"", mtime).context(fail),
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other.context(fail),
    }
}
