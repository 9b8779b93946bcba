//! The first record of a tree.
//!
//! ```text
//! directory ─► names ─► class ─► read ─► pages ─► manifest, keys        (each thread, a directory at a time)
//!                                  └► pages with linked files ─► spool ─► when all names are known ─► manifest, keys
//! ```

use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use greenroom_core::policy::Class;
use greenroom_core::{Mtime, Node, TreePath};
use rustix::fs::OFlags;

use super::file::{Writer, number};
use super::home::Home;
use super::keys::{KEY, Key};
use super::links::{self, Groups, Shared, Spool};
use super::names::Names;
use super::page::{ABOVE, Filling, Reading};
use super::places::{Place, Places};
use super::read::{Read, Reader, words};
use super::row::{LeftOut, Row, put_bytes, put_left_out, put_node, put_number};
use super::types::{BaselineError, Counts, Modified, Options, Problem, Trouble};
use super::walk::{Job, Queue};
use crate::dpkg::Database;
use crate::scan::is_absence;
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
    home: &'a Home,
    options: &'a Options<'a>,
    limit: Mtime,
    places: &'a Places,
    packages: Option<&'a Database>,
    out: Mutex<Out>,
}

struct Out {
    writer: Writer,
    groups: Groups,
    spool: Spool,
}

/// What one thread has.
struct Worker<'a> {
    common: &'a Common<'a>,
    reader: Reader<'a>,
    names: Names,
    listing: Vec<MaybeUninit<u8>>,
    filling: Filling,
    keys: Vec<u8>,
    page: Vec<u8>,
    part: u32,
    /// The linked files in the page that is being filled.
    shared: Vec<(u32, Shared)>,
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
    packages: Option<&Database>,
    options: &Options<'_>,
) -> Result<(Writer, Walked), BaselineError> {
    let places = Places::look(root)?;
    let tree = fs::open_root(root).map_err(BaselineError::system(format!("open {}", root.display())))?;
    let out = Mutex::new(Out { writer, groups: Groups::default(), spool: Spool::default() });
    let common = Common { root: tree, home, options, limit: limit(options), places: &places, packages, out };
    let queue = Queue::new(first_jobs(&options.within, 0));
    let workers = queue.run(options.threads, || Ok(Worker::new(&common)), Worker::directory)?;
    let mut walked = Walked { problems: Vec::new(), modified: Vec::new(), counts: Counts::default() };
    for mut worker in workers {
        worker.counts.bytes = worker.reader.bytes;
        walked.counts.add(&worker.counts);
        walked.problems.append(&mut worker.problems);
        walked.modified.append(&mut worker.modified);
    }
    walked.problems.sort();
    let out = common.out.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((link(out)?, walked))
}

/// Writes the pages that waited for their files' groups.
fn link(out: Out) -> Result<Writer, BaselineError> {
    let Out { mut writer, groups, mut spool } = out;
    let fail = |error| BaselineError::system("read linked files")(error);
    let mut from = spool.read()?;
    let (mut filling, mut page, mut name) = (Filling::default(), Vec::new(), Vec::new());
    while let Some(more) = links::byte(&mut from).map_err(fail)? {
        debug_assert_eq!(more, 1);
        let (part, old, keys, shared) = waiting_page(&mut from).map_err(fail)?;
        let (Some((dir, mut rows)), mut at) = (Reading::new(&old), 0) else { continue };
        name.clear();
        while rows.left() > 0 {
            let Some(row) = rows.next(&mut name) else { break };
            let first = shared.iter().find(|(number, _)| *number == at).and_then(|(_, shared)| groups.first(shared));
            filling.add(&name, |out| match row {
                Row::LeftOut(why) => put_left_out(out, why),
                Row::State(state) => {
                    if let Some(mut node) = state.node() {
                        node.link = first.map(TreePath::new);
                        put_node(out, &node);
                    }
                }
            });
            at += 1;
        }
        filling.finish(dir, &mut page);
        writer.page(number(dir), part, at, &page, &keys)?;
    }
    Ok(writer)
}

type WaitingPage = (u32, Vec<u8>, Vec<u8>, Vec<(u32, Shared)>);

fn waiting_page(from: &mut impl std::io::Read) -> std::io::Result<WaitingPage> {
    let small = |value: u64| u32::try_from(value).map_err(std::io::Error::other);
    let part = small(links::number(from)?)?;
    let (page, keys) = (links::bytes(from)?, links::bytes(from)?);
    let mut shared = Vec::new();
    for _ in 0..links::number(from)? {
        shared.push((small(links::number(from)?)?, Shared::read(from)?));
    }
    Ok((part, page, keys, shared))
}

impl<'a> Worker<'a> {
    fn new(common: &'a Common<'a>) -> Self {
        Self {
            common,
            reader: Reader::new(common.options.keep),
            names: Names::default(),
            listing: vec![MaybeUninit::uninit(); 32 * 1024],
            filling: Filling::default(),
            keys: Vec::new(),
            page: Vec::new(),
            part: 0,
            shared: Vec::new(),
            subdirs: Names::default(),
            counts: Counts::default(),
            problems: Vec::new(),
            modified: Vec::new(),
        }
    }

    fn out(&self) -> MutexGuard<'a, Out> {
        self.common.out.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.part = 0;
        for at in 0..names.len() {
            let (name, _) = names.get(at);
            if mounts.and_then(|mounts| mounts.get(name)) == Some(&false) {
                self.mount(dir, name);
            } else {
                self.name(dir, fd, name, place)?;
            }
            if self.filling.is_full() {
                self.flush(dir)?;
            }
        }
        self.flush(dir)
    }

    /// Something that is not the tree's own is mounted here: it is not even looked at.
    fn mount(&mut self, dir: Option<&TreePath>, name: &[u8]) {
        if matches!(self.common.options.policy.class(&child(dir, name), true), Class::Managed | Class::Boot) {
            self.counts.mounts += 1;
            self.left_out(name, LeftOut::Mount);
        }
    }

    fn left_out(&mut self, name: &[u8], why: LeftOut) {
        self.filling.add(name, |out| put_left_out(out, why));
        Key::NONE.put(&mut self.keys);
    }

    fn name(
        &mut self,
        dir: Option<&TreePath>,
        fd: BorrowedFd<'_>,
        name: &[u8],
        place: Place,
    ) -> Result<(), BaselineError> {
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
                self.unread(path, name, Trouble::Unreadable(words(&error)));
                return Ok(());
            }
        };
        let is_dir = status.file_type() == fs::types::DIR;
        match self.common.options.policy.class(&path, is_dir) {
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
        match self.reader.read(fd, name, &path, &status, expected.is_some())? {
            Read::Node { node, status, md5 } => {
                if let (Some(expected), Some(packages)) = (expected, self.common.packages)
                    && md5.is_some_and(|md5| md5 != expected.md5)
                {
                    self.modified.push(Modified {
                        path: path.clone(),
                        package: packages.package(expected.package).name.clone(),
                        conffile: expected.conffile,
                        expected: expected.md5,
                        found: md5,
                    });
                }
                self.node(&path, name, &node, &status, place);
            }
            Read::Socket => self.counts.sockets += 1,
            Read::Gone => self.problems.push(Problem { path, trouble: Trouble::Vanished }),
            Read::Trouble(trouble) => self.unread(path, name, trouble),
        }
        Ok(())
    }

    fn unread(&mut self, path: TreePath, name: &[u8], trouble: Trouble) {
        self.left_out(name, LeftOut::Unread);
        self.problems.push(Problem { path, trouble });
    }

    fn node(&mut self, path: &TreePath, name: &[u8], node: &Node, status: &Status, place: Place) {
        self.counts.paths += 1;
        self.counts.read += 1;
        if let Some(shared) = Shared::of(status, place.number) {
            self.shared.push((self.filling.count(), shared));
            self.out().groups.add(shared, path.as_bytes());
        }
        self.filling.add(name, |out| put_node(out, node));
        Key::of(status, place.known, self.common.limit).put(&mut self.keys);
        if node.is_dir() {
            self.subdirs.push(name, 0);
        }
    }

    /// Hands over the page that is being filled.
    fn flush(&mut self, dir: Option<&TreePath>) -> Result<(), BaselineError> {
        let count = self.filling.count();
        if count == 0 {
            return Ok(());
        }
        let dir = dir_bytes(dir);
        self.filling.finish(dir, &mut self.page);
        debug_assert_eq!(self.keys.len(), count as usize * KEY);
        let mut out = self.out();
        if self.shared.is_empty() {
            out.writer.page(number(dir), self.part, count, &self.page, &self.keys)?;
        } else {
            let mut waiting = vec![1];
            put_number(&mut waiting, self.part.into());
            put_bytes(&mut waiting, &self.page);
            put_bytes(&mut waiting, &self.keys);
            put_number(&mut waiting, self.shared.len() as u64);
            for (at, shared) in self.shared.drain(..) {
                put_number(&mut waiting, at.into());
                shared.put(&mut waiting);
            }
            out.spool.write(self.common.home, &waiting)?;
        }
        drop(out);
        self.keys.clear();
        self.part += 1;
        Ok(())
    }
}

/// Why a directory that was there could not be listed.
pub(super) fn unlisted(error: &std::io::Error) -> Trouble {
    if is_absence(error) { Trouble::Vanished } else { Trouble::Unreadable(words(error)) }
}
