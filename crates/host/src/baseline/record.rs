//! The first record of a tree.
//!
//! ```text
//! directory ─► names ─► class ─► read ─► page ─► manifest, keys        (each thread, a directory at a time)
//!                        │                └► with linked files ─► spool ─► when all names are known ─► manifest, keys
//!                        └► files of packages ─► streams ─► when it is through, its row ─► page
//! ```
//! A page with a row that waits for its content is held ([`super::held`]) until the last one is there; then it goes to
//! [`super::output`].

use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use greenroom_core::policy::Class;
use greenroom_core::{Kind, Mtime, Node, TreePath};
use rustix::fs::OFlags;

use super::file::Writer;
use super::held::{Entry, Held};
use super::home::Home;
use super::names::Names;
use super::output::{Encoder, Output};
use super::packages::Seen;
use super::page::{ABOVE, NAMES};
use super::places::{Place, Places};
use super::read::{Read, Reader, trouble, words};
use super::row::LeftOut;
use super::streams::{Begun, Content, Event, Streams, Ticket};
use super::types::{BaselineError, Counts, Modified, Options, Problem, Trouble};
use super::walk::{Job, Queue};
use crate::dpkg::{Database, Expected, Md5};
use crate::scan::{is_absence, node_of};
use crate::sys::fs::{self, Status};

/// Where a walk begins: the parents of the places that it is restricted to, with the names in them.
pub(super) fn first_jobs(within: &[TreePath], mark: u8) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let whole = [TreePath::root()];
    let within = if within.is_empty() { &whole[..] } else { within };
    for place in within {
        // What lies in another place is walked with that.
        if within.iter().any(|other| other != place && place.starts_with(other)) {
            continue;
        }
        let (dir, name): (_, Box<[u8]>) = (place.parent(), place.name().into());
        match jobs.iter_mut().find(|job| job.dir == dir) {
            Some(Job { only: Some(only), .. }) if only.contains(&name) => {}
            Some(Job { only: Some(only), .. }) => only.push(name),
            _ => jobs.push(Job { dir, mark, only: Some(vec![name]) }),
        }
    }
    for job in &mut jobs {
        job.only.iter_mut().for_each(|only| only.sort());
    }
    jobs
}

/// The path of a directory as pages have it.
pub(super) fn dir_bytes(dir: Option<&TreePath>) -> &[u8] {
    dir.map_or(ABOVE, TreePath::as_bytes)
}

/// The path of a name in a directory; the root is the empty name above it.
pub(super) fn child(dir: Option<&TreePath>, name: &[u8]) -> TreePath {
    dir.map_or_else(TreePath::root, |dir| dir.join(name))
}

/// Opens a directory and lists it, or takes those of the names that are asked for that are there.
pub(super) fn open_and_list(
    root: BorrowedFd<'_>,
    job: &Job,
    names: &mut Names,
    buffer: &mut [MaybeUninit<u8>],
) -> std::io::Result<OwnedFd> {
    let top = TreePath::root();
    let dir = job.dir.as_ref().unwrap_or(&top);
    let opened = fs::open_beneath(root, dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOATIME);
    let fd = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            fs::open_beneath(root, dir, OFlags::RDONLY | OFlags::DIRECTORY)?
        }
        other => other?,
    };
    match &job.only {
        Some(only) => {
            names.clear();
            let gone = |name: &[u8]| matches!(fs::status(fd.as_fd(), name), Err(error) if is_absence(&error));
            only.iter().filter(|name| !gone(name)).for_each(|name| names.push(name, 0));
        }
        None => names.list(fd.as_fd(), buffer)?,
    }
    Ok(fd)
}

/// What all threads share.
struct Common<'a> {
    root: OwnedFd,
    options: &'a Options<'a>,
    limit: Mtime,
    places: &'a Places,
    packages: Option<&'a Database>,
    seen: &'a Seen,
    out: Output<'a>,
}

/// What one thread has.
struct Worker<'a> {
    common: &'a Common<'a>,
    reader: Reader<'a>,
    streams: Streams<'a>,
    names: Names,
    listing: Vec<MaybeUninit<u8>>,
    /// The page that is being filled.
    page: Held,
    /// Full pages that wait for a content.
    waiting: Vec<Held>,
    pages: u64,
    encoder: Encoder,
    subdirs: Names,
    counts: Counts,
    problems: Vec<Problem>,
    modified: Vec<Modified>,
}

/// What a walk gives besides the record.
pub(super) struct Walked {
    pub(super) problems: Vec<Problem>,
    pub(super) modified: Vec<Modified>,
    pub(super) counts: Counts,
}

/// From when on a change time is too young to be trusted.
pub(super) fn limit(options: &Options<'_>) -> Mtime {
    let young = i64::try_from(options.young.as_secs()).unwrap_or(i64::MAX);
    let nsec = u32::try_from(options.now.subsec_nanosecond()).unwrap_or(0);
    Mtime { sec: options.now.as_second().saturating_sub(young), nsec }
}

/// Walks the tree at `root` and writes what is there with `writer`, all but the end.
pub(super) fn walk(
    root: &Path,
    home: &Home,
    writer: Writer,
    (packages, seen): (Option<&Database>, &Seen),
    options: &Options<'_>,
) -> Result<(Writer, Walked), BaselineError> {
    let places = Places::look(root)?;
    let tree = fs::open_root(root).map_err(BaselineError::system(format!("open {}", root.display())))?;
    let out = Output::new(home, writer);
    let common = Common { root: tree, options, limit: limit(options), places: &places, packages, seen, out };
    let queue = Queue::new(first_jobs(&options.within, 0));
    let threads = super::walk::threads(options.threads);
    let workers = queue.run(threads, || Ok(Worker::new(&common, threads)), Worker::directory, Worker::rest)?;
    let mut walked = Walked { problems: Vec::new(), modified: Vec::new(), counts: Counts::default() };
    for mut worker in workers {
        worker.counts.bytes = worker.reader.bytes + worker.streams.bytes;
        walked.counts.add(&worker.counts);
        walked.problems.append(&mut worker.problems);
        walked.modified.append(&mut worker.modified);
    }
    walked.problems.sort();
    Ok((common.out.finish()?, walked))
}

impl<'a> Worker<'a> {
    fn new(common: &'a Common<'a>, threads: usize) -> Self {
        Self {
            common,
            reader: Reader::new(common.options.keep),
            streams: Streams::new(common.options.keep, threads),
            names: Names::default(),
            listing: vec![MaybeUninit::uninit(); 32 * 1024],
            page: Held::new(0, None, 0, Place::NOWHERE),
            waiting: Vec::new(),
            pages: 0,
            encoder: Encoder::default(),
            subdirs: Names::default(),
            counts: Counts::default(),
            problems: Vec::new(),
            modified: Vec::new(),
        }
    }

    fn directory(&mut self, queue: &Queue, job: &Job) -> Result<(), BaselineError> {
        let mut names = std::mem::take(&mut self.names);
        let listed = open_and_list(self.common.root.as_fd(), job, &mut names, &mut self.listing);
        let done = match listed {
            Ok(fd) => self.entries(job.dir.as_ref(), fd.as_fd(), &names),
            Err(error) => {
                let is_first = job.only.is_some();
                let path = job.dir.clone().unwrap_or_else(TreePath::root);
                if !(is_first && is_absence(&error)) {
                    self.problems.push(Problem { path, trouble: unlisted(&error) });
                }
                Ok(())
            }
        };
        self.names = names;
        done?;
        queue.push(job.dir.as_ref(), std::mem::take(&mut self.subdirs));
        Ok(())
    }

    fn entries(&mut self, dir: Option<&TreePath>, fd: BorrowedFd<'_>, names: &Names) -> Result<(), BaselineError> {
        let place = self.common.places.of(dir.unwrap_or(&TreePath::root()));
        let mounts = dir.and_then(|dir| self.common.places.mounts(dir));
        self.pages += 1;
        self.page = Held::new(self.pages, dir, 0, place);
        for at in 0..names.len() {
            let (name, _) = names.get(at);
            if mounts.and_then(|mounts| mounts.get(name)) == Some(&false) {
                self.mount(dir, name);
            } else {
                self.name(dir, fd, name)?;
            }
            if self.page.len() >= NAMES as usize {
                self.flush(dir, place)?;
            }
        }
        self.flush(dir, place)
    }

    /// Something that is not the tree's own is mounted here: it is not even looked at.
    fn mount(&mut self, dir: Option<&TreePath>, name: &[u8]) {
        if matches!(self.common.options.policy.class(&child(dir, name), true), Class::Managed | Class::Boot) {
            self.counts.mounts += 1;
            self.page.add(name, Entry::LeftOut(LeftOut::Mount));
        }
    }

    fn name(&mut self, dir: Option<&TreePath>, fd: BorrowedFd<'_>, name: &[u8]) -> Result<(), BaselineError> {
        let path = child(dir, name);
        let status = match fs::status(fd, name) {
            Ok(status) => status,
            Err(error) if is_absence(&error) => {
                if self.common.options.policy.class(&path, false) == Class::Managed {
                    self.problems.push(Problem { path, trouble: Trouble::Vanished });
                }
                return Ok(());
            }
            Err(error) => {
                self.problems.push(Problem { path, trouble: Trouble::Unreadable(words(&error)) });
                self.page.add(name, Entry::LeftOut(LeftOut::Unread));
                return Ok(());
            }
        };
        match self.common.options.policy.class(&path, status.file_type() == fs::types::DIR) {
            Class::Managed | Class::Boot => {}
            Class::Volatile => {
                self.counts.volatile += 1;
                return Ok(());
            }
            Class::Data => {
                self.counts.data += 1;
                return Ok(());
            }
            Class::Own => return Ok(()),
        }
        let expected = self.common.packages.filter(|_| status.file_type() == fs::types::FILE);
        let expected = expected.and_then(|packages| packages.expected(&path));
        let entry = match expected {
            Some(expected) => self.checked(fd, name, &path, &status, expected)?,
            None => {
                let read = self.reader.read(fd, name, &path, &status, false)?;
                self.entry(path, read)
            }
        };
        match entry {
            Entry::Gone => return Ok(()),
            Entry::State { ref node, .. } if node.is_dir() => self.subdirs.push(name, 0),
            _ => {}
        }
        self.page.add(name, entry);
        Ok(())
    }

    /// A file that a package has a checksum of.
    fn checked(
        &mut self,
        fd: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        status: &Status,
        expected: Expected,
    ) -> Result<Entry, BaselineError> {
        while !self.streams.has_room(status.size) {
            self.step()?;
        }
        let ticket = (self.page.number, self.page.len());
        match self.streams.begin((fd, name), path, status, expected, ticket) {
            Begun::Waits => Ok(Entry::Waits),
            Begun::Read(content) => self.content(path, expected, content),
            Begun::Alone => self.alone(fd, name, path, status, expected),
        }
    }

    /// The same, read alone.
    fn alone(
        &mut self,
        fd: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        status: &Status,
        expected: Expected,
    ) -> Result<Entry, BaselineError> {
        let read = self.reader.read(fd, name, path, status, true)?;
        if let Read::Node { md5: Some(found), .. } = read {
            self.common.seen.note(&expected);
            if found != expected.md5 {
                self.differs(path.clone(), expected, found);
            }
        }
        Ok(self.entry(path.clone(), read))
    }

    fn differs(&mut self, path: TreePath, expected: Expected, found: Md5) {
        let Some(packages) = self.common.packages else { return };
        self.modified.push(Modified {
            path,
            package: packages.package(expected.package).name.clone(),
            conffile: expected.conffile,
            expected: expected.md5,
            found: Some(found),
        });
    }

    fn content(&mut self, path: &TreePath, expected: Expected, content: Content) -> Result<Entry, BaselineError> {
        self.common.seen.note(&expected);
        let Content { hash, xattrs, status, whole } = content;
        self.reader.kept(path, &hash, whole)?;
        let node = node_of(Kind::File { size: status.size, content: hash }, xattrs, &status);
        Ok(self.state(node, &status))
    }

    fn state(&mut self, node: Box<Node>, status: &Status) -> Entry {
        self.counts.paths += 1;
        self.counts.read += 1;
        self.page.state(node, status, self.common.limit)
    }

    fn entry(&mut self, path: TreePath, read: Read) -> Entry {
        let trouble = match read {
            Read::Node { node, status, .. } => return self.state(node, &status),
            Read::Socket => {
                self.counts.sockets += 1;
                return Entry::Gone;
            }
            Read::Gone => {
                self.problems.push(Problem { path, trouble: Trouble::Vanished });
                return Entry::Gone;
            }
            Read::Trouble(trouble) => trouble,
        };
        self.problems.push(Problem { path, trouble });
        Entry::LeftOut(LeftOut::Unread)
    }

    /// Works on what is in the lanes.
    fn step(&mut self) -> Result<(), BaselineError> {
        self.streams.step();
        for event in self.streams.events() {
            match event {
                Event::Differs(path, expected, found) => self.differs(path, expected, found),
                Event::Read(ticket, path, expected, content) => {
                    let entry = self.content(&path, expected, content)?;
                    self.settle(ticket, entry)?;
                }
                Event::Alone(ticket, path, expected) => {
                    let entry = self.again(&path, expected)?;
                    self.settle(ticket, entry)?;
                }
            }
        }
        Ok(())
    }

    /// Reads a file alone that changed while it was in a lane; its directory is closed by now.
    fn again(&mut self, path: &TreePath, expected: Expected) -> Result<Entry, BaselineError> {
        let dir = path.parent().unwrap_or_else(TreePath::root);
        let opened = fs::open_beneath(self.common.root.as_fd(), &dir, OFlags::PATH | OFlags::DIRECTORY);
        match opened.and_then(|fd| fs::status(fd.as_fd(), path.name()).map(|status| (fd, status))) {
            Ok((fd, status)) => self.alone(fd.as_fd(), path.name(), path, &status, expected),
            Err(error) if is_absence(&error) => Ok(self.entry(path.clone(), Read::Gone)),
            Err(error) => Ok(self.entry(path.clone(), trouble(&error))),
        }
    }

    /// A row need not wait any more; its page is written when that was the last one.
    fn settle(&mut self, (number, at): Ticket, entry: Entry) -> Result<(), BaselineError> {
        if self.page.number == number {
            self.page.settle(at, entry);
            return Ok(());
        }
        let Some(place) = self.waiting.iter().position(|page| page.number == number) else { return Ok(()) };
        self.waiting[place].settle(at, entry);
        if self.waiting[place].waits() {
            return Ok(());
        }
        let page = self.waiting.swap_remove(place);
        self.encoder.write(&self.common.out, &page)
    }

    /// Nothing can be taken at the moment: what is in the lanes is finished.
    fn rest(&mut self) -> Result<(), BaselineError> {
        while !self.streams.is_empty() {
            self.step()?;
        }
        Ok(())
    }

    /// Hands over the page that is being filled, and begins the next.
    fn flush(&mut self, dir: Option<&TreePath>, place: Place) -> Result<(), BaselineError> {
        self.pages += 1;
        let part = self.page.part + 1;
        if self.page.waits() {
            let full = std::mem::replace(&mut self.page, Held::new(self.pages, dir, part, place));
            self.waiting.push(full);
            return Ok(());
        }
        self.encoder.write(&self.common.out, &self.page)?;
        self.page.renew(self.pages, part);
        Ok(())
    }
}

/// Why a directory that was there could not be listed.
pub(super) fn unlisted(error: &std::io::Error) -> Trouble {
    if is_absence(error) { Trouble::Vanished } else { Trouble::Unreadable(words(error)) }
}
