//! Compares a tree with its record.
//!
//! ```text
//! directory ─► names ┐
//!                    ├─► side by side ─► as recorded by its key │ read ─► as recorded: new key │ difference
//! its pages ─► rows  ┘                                                └─► linked: spool ─► link.rs, when all is seen
//! ```
//! A thread takes a directory at a time and merges its names with its rows. Who has a fitting key is compared by what statx(2)
//! says; everything else is read. Nothing is held for a path that is as recorded, but for a new key.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use greenroom_core::policy::Class;
use greenroom_core::{Entry, Mtime, Node, TreePath};

use super::file::{Pages, Slot};
use super::home::Home;
use super::keys::{self, KEY, Key};
use super::links::{Groups, Shared, Spool, Waiting};
use super::names::Names;
use super::page::Reading;
use super::places::{Place, Places};
use super::read::{Read, Reader, words};
use super::record::{child, dir_bytes, open_and_list, unlisted};
use super::row::{BLOCK, CHAR, FILE, LeftOut, Row, State};
use super::types::{BaselineError, Counts, Depth, Difference, Inode, Options, Problem, Trouble};
use super::walk::{Job, Queue};
use crate::scan::is_absence;
use crate::sys::fs::{self, Status};

/// The directory is in the tree.
pub(super) const THERE: u8 = 1;
/// The directory is on record.
pub(super) const ON_RECORD: u8 = 2;

/// What all threads share.
pub(super) struct Common<'a> {
    pub(super) root: OwnedFd,
    pub(super) home: &'a Home,
    pub(super) options: &'a Options<'a>,
    pub(super) limit: Mtime,
    pub(super) places: &'a Places,
    pub(super) pages: &'a Pages,
    /// The policy is not the one of the record: what is on record may not be managed any more.
    pub(super) other_policy: bool,
    pub(super) links: Mutex<Links>,
}

/// What is known of linked files so far.
#[derive(Default)]
pub(super) struct Links {
    pub(super) groups: Groups,
    pub(super) spool: Spool,
}

/// New keys of one page.
pub(super) type NewKeys = (Slot, Box<[u8]>);

/// What one thread has, and what it found.
pub(super) struct Worker<'a> {
    common: &'a Common<'a>,
    reader: Reader<'a>,
    names: Names,
    listing: Vec<MaybeUninit<u8>>,
    page: Vec<u8>,
    keys: Vec<u8>,
    dirty: bool,
    subdirs: Names,
    waiting: Vec<u8>,
    pub(super) counts: Counts,
    pub(super) problems: Vec<Problem>,
    pub(super) differences: Vec<Difference>,
    pub(super) new_keys: Vec<NewKeys>,
    pub(super) rekeyed: u64,
}

/// The directory that is being looked at.
#[derive(Clone, Copy)]
struct Here<'a> {
    dir: Option<&'a TreePath>,
    /// `None`: it is not there any more.
    fd: Option<BorrowedFd<'a>>,
    place: Place,
    only: Option<&'a [Box<[u8]>]>,
}

impl Here<'_> {
    fn path(&self, name: &[u8]) -> TreePath {
        child(self.dir, name)
    }
}

impl<'a> Worker<'a> {
    pub(super) fn new(common: &'a Common<'a>) -> Self {
        Self {
            common,
            reader: Reader::new(common.options.keep),
            names: Names::default(),
            listing: vec![MaybeUninit::uninit(); 32 * 1024],
            page: Vec::new(),
            keys: Vec::new(),
            dirty: false,
            subdirs: Names::default(),
            waiting: Vec::new(),
            counts: Counts::default(),
            problems: Vec::new(),
            differences: Vec::new(),
            new_keys: Vec::new(),
            rekeyed: 0,
        }
    }

    /// The thread's work is done.
    pub(super) fn end(&mut self) {
        self.counts.bytes = self.reader.bytes;
    }

    pub(super) fn directory(&mut self, queue: &Queue, job: &Job) -> Result<(), BaselineError> {
        let mut names = std::mem::take(&mut self.names);
        let done = self.listed(job, &mut names);
        self.names = names;
        done?;
        queue.push(job.dir.as_ref(), std::mem::take(&mut self.subdirs));
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut links = self.common.links.lock().unwrap_or_else(PoisonError::into_inner);
        let written = links.spool.write(self.common.home, &self.waiting);
        self.waiting.clear();
        written
    }

    fn listed(&mut self, job: &Job, names: &mut Names) -> Result<(), BaselineError> {
        names.clear();
        let mut fd = None;
        if job.mark & THERE != 0 {
            match open_and_list(self.common.root.as_fd(), job, names, &mut self.listing) {
                Ok(opened) => fd = Some(opened),
                // A place to begin at that is not there: what is on record below it is gone.
                Err(error) if job.only.is_some() && is_absence(&error) => {}
                Err(error) => {
                    let path = job.dir.clone().unwrap_or_else(TreePath::root);
                    self.problems.push(Problem { path, trouble: unlisted(&error) });
                    return Ok(());
                }
            }
        }
        let dir = job.dir.as_ref();
        let place = self.common.places.of(dir.unwrap_or(&TreePath::root()));
        let here = Here { dir, fd: fd.as_ref().map(OwnedFd::as_fd), place, only: job.only.as_deref() };
        let mut next = 0;
        if job.mark & ON_RECORD != 0 {
            for slot in self.common.pages.of(dir_bytes(dir)) {
                self.page(here, slot, names, &mut next)?;
            }
        }
        while next < names.len() {
            self.unknown(here, names.get(next).0)?;
            next += 1;
        }
        Ok(())
    }

    /// Merges a page with the names from `next` on.
    fn page(&mut self, here: Here<'_>, slot: &Slot, names: &Names, next: &mut usize) -> Result<(), BaselineError> {
        let (mut page, mut keys) = (std::mem::take(&mut self.page), std::mem::take(&mut self.keys));
        self.common.pages.read(slot, &mut page)?;
        self.common.pages.keys(slot, &mut keys);
        (self.keys, self.dirty) = (keys, false);
        let done = self.rows(here, slot, &page, names, next);
        self.page = page;
        if self.dirty {
            self.new_keys.push((*slot, self.keys.as_slice().into()));
        }
        done
    }

    fn rows(
        &mut self,
        here: Here<'_>,
        slot: &Slot,
        page: &[u8],
        names: &Names,
        next: &mut usize,
    ) -> Result<(), BaselineError> {
        let damaged = || self.common.pages.damaged("a page cannot be read");
        let (dir, mut rows) = Reading::new(page).filter(|(_, r)| r.left() == slot.count).ok_or_else(damaged)?;
        if dir != dir_bytes(here.dir) {
            // Another directory with the same number.
            return Ok(());
        }
        let mut name = Vec::new();
        for at in 0..slot.count as usize {
            let row = rows.next(&mut name).ok_or_else(|| self.common.pages.damaged("a page cannot be read"))?;
            if here.only.is_some_and(|only| !only.iter().any(|one| **one == *name)) {
                continue;
            }
            while *next < names.len() && names.get(*next).0 < &name[..] {
                self.unknown(here, names.get(*next).0)?;
                *next += 1;
            }
            if *next < names.len() && names.get(*next).0 == &name[..] {
                *next += 1;
                self.known(here, &name, &row, at, slot)?;
            } else {
                self.gone(here, &name, &row)?;
            }
        }
        Ok(())
    }

    /// Whether something that is not the tree's own is mounted on a name.
    fn is_foreign(&self, here: Here<'_>, name: &[u8]) -> Option<bool> {
        let own = here.dir.and_then(|dir| self.common.places.mounts(dir))?.get(name)?;
        Some(!own)
    }

    fn is_managed(&mut self, path: &TreePath, is_dir: bool) -> bool {
        match self.common.options.policy.class(path, is_dir) {
            Class::Managed | Class::Boot => return true,
            Class::Volatile => self.counts.volatile += 1,
            Class::Data => self.counts.data += 1,
            Class::Own => {}
        }
        false
    }

    /// A name that is on record and was listed.
    fn known(
        &mut self,
        here: Here<'_>,
        name: &[u8],
        row: &Row<'_>,
        at: usize,
        slot: &Slot,
    ) -> Result<(), BaselineError> {
        let mounted = self.is_foreign(here, name);
        if mounted == Some(true) {
            self.counts.mounts += 1;
            return Ok(());
        }
        let Some(fd) = here.fd else { return Ok(()) };
        let state = match row {
            Row::State(state) => state,
            Row::LeftOut(why) => return self.left_out(here, fd, name, *why),
        };
        let status = match fs::status(fd, name) {
            Ok(status) => status,
            Err(error) if is_absence(&error) => {
                self.problems.push(Problem { path: here.path(name), trouble: Trouble::Vanished });
                return self.gone(here, name, row);
            }
            Err(error) => {
                self.problem(here, name, Trouble::Unreadable(words(&error)));
                return Ok(());
            }
        };
        let is_dir = status.file_type() == fs::types::DIR;
        if (self.common.other_policy || is_dir != state.is_dir()) && !self.is_managed(&here.path(name), is_dir) {
            return Ok(());
        }
        self.counts.paths += 1;
        let mark = u8::from(is_dir) * THERE + u8::from(state.is_dir()) * ON_RECORD;
        if mark != 0 {
            self.subdirs.push(name, mark);
        }
        self.link(here, name, Some(&status), Some(state));
        let key = Key::get(&self.keys, at);
        let sure = mounted.is_none() && key.fits(&status, here.place.known) && !self.is_due(here, name);
        if sure && state.content_fits(&status) {
            if !state.looks_like(&status) {
                self.looks_other(here, name, state, &status)?;
            }
            return Ok(());
        }
        self.read_known(here, fd, name, state, &status, at, slot)
    }

    /// What is on record as not read: it is no difference, and it is said.
    fn left_out(&mut self, here: Here<'_>, fd: BorrowedFd<'_>, name: &[u8], why: LeftOut) -> Result<(), BaselineError> {
        match why {
            LeftOut::Unread => self.problem(here, name, Trouble::Unrecorded),
            LeftOut::Mount => match fs::status(fd, name) {
                // What was below the mount: the directory is the mount's own place, its contents nobody has seen.
                Ok(status) if status.file_type() == fs::types::DIR => self.subdirs.push(name, THERE),
                _ => return self.unknown(here, name),
            },
        }
        Ok(())
    }

    /// The content is as recorded, and something else is not.
    fn looks_other(
        &mut self,
        here: Here<'_>,
        name: &[u8],
        state: &State<'_>,
        status: &Status,
    ) -> Result<(), BaselineError> {
        let before = self.node(state)?;
        let mut after = before.clone();
        after.mode = (status.mode & 0o7777) as u16;
        (after.uid, after.gid, after.flags) = (status.uid, status.gid, status.flags);
        if !after.is_dir() {
            after.mtime = status.mtime;
        }
        self.differs(here.path(name), Some(before), Some(after), Some(status));
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn read_known(
        &mut self,
        here: Here<'_>,
        fd: BorrowedFd<'_>,
        name: &[u8],
        state: &State<'_>,
        status: &Status,
        at: usize,
        slot: &Slot,
    ) -> Result<(), BaselineError> {
        let path = here.path(name);
        self.counts.read += 1;
        match self.reader.read(fd, name, &path, status, false)? {
            Read::Node { mut node, status, .. } => {
                let before = self.node(state)?;
                if node.kind == before.kind && node.xattrs == before.xattrs {
                    self.rekey(Key::of(&status, here.place.known, self.common.limit), at, slot);
                }
                // Groups are compared when all names are known.
                node.link.clone_from(&before.link);
                if *node != before {
                    self.differs(path, Some(before), Some(*node), Some(&status));
                }
            }
            Read::Socket => {
                self.counts.sockets += 1;
                let before = self.node(state)?;
                self.differs(path, Some(before), None, Some(status));
            }
            Read::Gone => {
                self.problems.push(Problem { path: path.clone(), trouble: Trouble::Vanished });
                let before = self.node(state)?;
                self.differs(path, Some(before), None, None);
            }
            Read::Trouble(trouble) => self.problems.push(Problem { path, trouble }),
        }
        Ok(())
    }

    /// A name that is not on record.
    fn unknown(&mut self, here: Here<'_>, name: &[u8]) -> Result<(), BaselineError> {
        let Some(fd) = here.fd else { return Ok(()) };
        if self.is_foreign(here, name) == Some(true) {
            self.counts.mounts += 1;
            return Ok(());
        }
        let path = here.path(name);
        let status = match fs::status(fd, name) {
            Ok(status) => status,
            Err(error) => {
                if self.is_managed(&path, false) {
                    self.problems.push(Problem { path, trouble: unlisted(&error) });
                }
                return Ok(());
            }
        };
        let is_dir = status.file_type() == fs::types::DIR;
        if !self.is_managed(&path, is_dir) {
            return Ok(());
        }
        match self.reader.read(fd, name, &path, &status, false)? {
            Read::Node { node, status, .. } => {
                self.counts.paths += 1;
                self.counts.read += 1;
                if node.is_dir() {
                    self.subdirs.push(name, THERE);
                }
                self.link(here, name, Some(&status), None);
                self.differs(path, None, Some(*node), Some(&status));
            }
            Read::Socket => self.counts.sockets += 1,
            Read::Gone => self.problems.push(Problem { path, trouble: Trouble::Vanished }),
            Read::Trouble(trouble) => self.problems.push(Problem { path, trouble }),
        }
        Ok(())
    }

    /// A name that is on record and not there.
    fn gone(&mut self, here: Here<'_>, name: &[u8], row: &Row<'_>) -> Result<(), BaselineError> {
        let Row::State(state) = row else { return Ok(()) };
        let path = here.path(name);
        if self.common.other_policy && !self.is_managed(&path, state.is_dir()) {
            return Ok(());
        }
        if state.is_dir() {
            self.subdirs.push(name, ON_RECORD);
        }
        self.link(here, name, None, Some(state));
        let before = self.node(state)?;
        let changed = here.fd.and_then(|fd| fs::status(fd, b"").ok()).map(|status| status.mtime);
        self.differences.push(Difference {
            entry: Entry { path, before: Some(Box::new(before)), after: None },
            inode: None,
            changed,
        });
        Ok(())
    }

    fn problem(&mut self, here: Here<'_>, name: &[u8], trouble: Trouble) {
        self.problems.push(Problem { path: here.path(name), trouble });
    }

    fn node(&self, state: &State<'_>) -> Result<Node, BaselineError> {
        state.node().ok_or_else(|| self.common.pages.damaged("a page cannot be read"))
    }

    fn differs(&mut self, path: TreePath, before: Option<Node>, after: Option<Node>, status: Option<&Status>) {
        self.differences.push(Difference {
            entry: Entry { path, before: before.map(Box::new), after: after.map(Box::new) },
            inode: status.map(|status| Inode { dev: status.dev, ino: status.ino }),
            changed: status.map(|status| status.ctime),
        });
    }

    fn rekey(&mut self, key: Key, at: usize, slot: &Slot) {
        if Key::get(&self.keys, at) == key {
            return;
        }
        keys::fill(&mut self.keys, slot.count);
        let mut bytes = Vec::with_capacity(KEY);
        key.put(&mut bytes);
        self.keys[at * KEY..(at + 1) * KEY].copy_from_slice(&bytes);
        self.dirty = true;
        self.rekeyed += 1;
    }

    /// Whether it is to be read although nothing seems to have happened.
    fn is_due(&self, here: Here<'_>, name: &[u8]) -> bool {
        match self.common.options.depth {
            Depth::Changed => false,
            Depth::Full => true,
            Depth::Slice { part, of } => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(dir_bytes(here.dir));
                hasher.update(b"/");
                hasher.update(name);
                let mut first = [0; 8];
                first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
                u64::from_le_bytes(first) % u64::from(of.max(1)) == u64::from(part)
            }
        }
    }

    /// Notes a linked file.
    fn link(&mut self, here: Here<'_>, name: &[u8], status: Option<&Status>, state: Option<&State<'_>>) {
        let shared = status.and_then(|status| Shared::of(status, here.place.number));
        let recorded = state.and_then(|state| state.link);
        if shared.is_none() && recorded.is_none() {
            return;
        }
        let path = here.path(name).as_bytes().to_vec();
        if let Some(shared) = shared {
            let mut links = self.common.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.groups.add(shared, &path);
        }
        let waiting = Waiting {
            path,
            shared,
            recorded: recorded.map(<[u8]>::to_vec),
            on_record: state.is_some(),
            is_there: status.is_some(),
        };
        waiting.put(&mut self.waiting);
    }
}

impl State<'_> {
    /// Whether nothing that statx(2) says speaks against an equal content.
    fn content_fits(&self, status: &Status) -> bool {
        self.file_type() == status.file_type()
            && (self.kind != FILE || self.size == status.size)
            && (!matches!(self.kind, CHAR | BLOCK) || self.device == status.rdev)
    }

    /// Whether the rest is as recorded too.
    fn looks_like(&self, status: &Status) -> bool {
        u32::from(self.mode) == status.mode & 0o7777
            && self.uid == status.uid
            && self.gid == status.gid
            && self.flags == status.flags
            && (self.is_dir() || self.mtime == status.mtime)
    }
}
