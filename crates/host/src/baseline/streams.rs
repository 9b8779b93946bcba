//! Files that a package has a checksum of: read as [`super::read`] does, but many at once.
//!
//! ```text
//! begin ─► open, first piece ─► BLAKE3 ─► all of it: its state is known at once ┐
//!                                     └─► more to come: its row waits           ├─► lanes ─► checksum
//!                    step ─► all lanes by the shortest piece ─► next piece ─────┘
//! ```
//! MD5 is fast only when [`crate::lanes`] are full, so a content stays in its lane while the walk goes on, piece after piece,
//! until it is through. Each file is read once. Small ones are closed at once; of large ones a thread has no more open than
//! its share of [`OPEN`]. What changed while it was read is given back, to be read alone.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use greenroom_core::manifest::Xattrs;
use greenroom_core::{ContentHash, TreePath};

use super::types::Keep;
use crate::dpkg::{Expected, Md5};
use crate::lanes::{BLOCK, END, LANES, Lanes, pad};
use crate::sys::fs::{self, Status};
use crate::sys::xattr;

/// How much is read at once, in bytes: all lanes together stay in the second cache.
const PIECE: usize = 32 * 1024;

/// How many large files all threads together have open: a process has 1,024 descriptors unless it asks for more.
const OPEN: usize = 512;

/// Which row waits: the page's number and the place in it.
pub(super) type Ticket = (u64, usize);

/// A content that was read, and did not change meanwhile.
pub(super) struct Content {
    pub(super) hash: ContentHash,
    pub(super) xattrs: Xattrs,
    pub(super) status: Status,
    /// Where somebody wants to keep it.
    pub(super) whole: Option<Vec<u8>>,
}

/// What became of a file.
pub(super) enum Begun {
    /// It was read.
    Read(Content),
    /// There will be an [`Event`].
    Waits,
    /// It changed, or cannot be read: it is to be read alone.
    Alone,
}

/// What happened in the lanes.
pub(super) enum Event {
    /// A row need not wait any more.
    Read(Ticket, TreePath, Expected, Content),
    /// It changed, or cannot be read: it is to be read alone.
    Alone(Ticket, TreePath, Expected),
    /// The content is not the package's.
    Differs(TreePath, Expected, Md5),
}

/// A lane with its buffer.
struct Lane {
    buffer: Box<[u8]>,
    /// What is still to be sent through of it.
    rest: std::ops::Range<usize>,
    held: Option<Held>,
}

/// What is in a lane.
struct Held {
    path: TreePath,
    expected: Expected,
    /// A file of which there is more, and the row that waits for it.
    more: Option<(Box<Open>, Ticket)>,
}

/// A file that is being read.
struct Open {
    file: File,
    status: Status,
    hasher: Option<blake3::Hasher>,
    length: u64,
    whole: Option<Vec<u8>>,
}

/// What reading on came to.
enum Piece {
    /// So many bytes, and there is more.
    Full,
    /// So many bytes, padding included, and that was all.
    Last(usize, ContentHash),
    /// It grows.
    Grows,
}

/// The lanes of one thread.
pub(super) struct Streams<'a> {
    keep: Option<&'a dyn Keep>,
    lanes: Lanes,
    slots: Vec<Lane>,
    free: Vec<usize>,
    /// Large files that may still be opened.
    may_open: usize,
    /// Bytes of content that were read.
    pub(super) bytes: u64,
    events: Vec<Event>,
}

impl<'a> Streams<'a> {
    /// For one of so many threads.
    pub(super) fn new(keep: Option<&'a dyn Keep>, threads: usize) -> Self {
        let lane = || Lane { buffer: vec![0; PIECE + END].into(), rest: 0..0, held: None };
        Self {
            keep,
            lanes: Lanes::default(),
            slots: (0..LANES).map(|_| lane()).collect(),
            free: (0..LANES).collect(),
            may_open: (OPEN / threads.max(1)).clamp(1, LANES),
            bytes: 0,
            events: Vec::new(),
        }
    }

    /// Whether a file of this size can begin; if not, [`Streams::step`] comes first.
    pub(super) fn has_room(&self, size: u64) -> bool {
        !self.free.is_empty() && (self.may_open > 0 || size <= PIECE as u64)
    }

    /// Whether nothing is in the lanes.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == LANES
    }

    /// What happened since the last time.
    pub(super) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Begins with a regular file; `status` is what was seen of it a moment ago. There must be room.
    pub(super) fn begin(
        &mut self,
        (dir, name): (BorrowedFd<'_>, &[u8]),
        path: &TreePath,
        status: &Status,
        expected: Expected,
        ticket: Ticket,
    ) -> Begun {
        let Some(lane) = self.free.pop() else { return Begun::Alone };
        let wanted = self.keep.is_some_and(|keep| keep.wants(path, status.size));
        match self.first(lane, (dir, name), status, wanted) {
            Ok(Some((open, None))) => {
                self.may_open = self.may_open.saturating_sub(1);
                self.hold(lane, path, expected, Some((open, ticket)));
                Begun::Waits
            }
            Ok(Some((open, Some(hash)))) => match finish(*open, hash) {
                Ok(Some(content)) => {
                    self.hold(lane, path, expected, None);
                    Begun::Read(content)
                }
                _ => self.not(lane),
            },
            _ => self.not(lane),
        }
    }

    fn hold(&mut self, lane: usize, path: &TreePath, expected: Expected, more: Option<(Box<Open>, Ticket)>) {
        self.lanes.begin(lane);
        self.slots[lane].held = Some(Held { path: path.clone(), expected, more });
    }

    fn not(&mut self, lane: usize) -> Begun {
        self.free.push(lane);
        Begun::Alone
    }

    /// Opens a file and reads its first piece into the lane; with its hash, when that was all. `None`: it grows.
    fn first(
        &mut self,
        lane: usize,
        (dir, name): (BorrowedFd<'_>, &[u8]),
        status: &Status,
        wanted: bool,
    ) -> io::Result<Option<(Box<Open>, Option<ContentHash>)>> {
        let file = fs::open_file(dir, name)?;
        let whole = wanted.then(Vec::new);
        let mut open = Box::new(Open { file, status: *status, hasher: None, length: 0, whole });
        let slot = &mut self.slots[lane];
        let piece = open.read(&mut slot.buffer)?;
        self.bytes += open.length;
        Ok(match piece {
            Piece::Full => {
                slot.rest = 0..PIECE;
                Some((open, None))
            }
            Piece::Last(length, hash) => {
                slot.rest = 0..length;
                Some((open, Some(hash)))
            }
            Piece::Grows => None,
        })
    }

    /// Sends through all lanes what the shortest of their pieces allows, and reads on where a piece is through.
    pub(super) fn step(&mut self) {
        let held = |slot: &&Lane| slot.held.is_some();
        let Some(length) = self.slots.iter().filter(held).map(|slot| slot.rest.len()).min() else { return };
        let mut pieces = [None; LANES];
        for (piece, slot) in pieces.iter_mut().zip(&self.slots).filter(|(_, slot)| slot.held.is_some()) {
            *piece = Some(&slot.buffer[slot.rest.start..slot.rest.start + length]);
        }
        self.lanes.compress(&pieces);
        for lane in 0..LANES {
            let slot = &mut self.slots[lane];
            if slot.held.is_some() {
                slot.rest.start += length;
                if slot.rest.is_empty() {
                    self.next(lane);
                }
            }
        }
    }

    /// The piece in a lane is through.
    fn next(&mut self, lane: usize) {
        let slot = &mut self.slots[lane];
        let Some(mut held) = slot.held.take() else { return };
        let Some((mut open, ticket)) = held.more.take() else {
            let found = self.lanes.sum(lane);
            if found != held.expected.md5 {
                self.events.push(Event::Differs(held.path, held.expected, found));
            }
            self.free.push(lane);
            return;
        };
        let before = open.length;
        let piece = open.read(&mut slot.buffer);
        self.bytes += open.length - before;
        match piece {
            Ok(Piece::Full) => {
                slot.rest = 0..PIECE;
                held.more = Some((open, ticket));
                slot.held = Some(held);
                return;
            }
            Ok(Piece::Last(length, hash)) => {
                if let Ok(Some(content)) = finish(*open, hash) {
                    self.may_open += 1;
                    slot.rest = 0..length;
                    self.events.push(Event::Read(ticket, held.path.clone(), held.expected, content));
                    slot.held = Some(held);
                    return;
                }
            }
            Ok(Piece::Grows) | Err(_) => {}
        }
        self.may_open += 1;
        self.free.push(lane);
        self.events.push(Event::Alone(ticket, held.path, held.expected));
    }
}

impl Open {
    /// Reads on, and ends the content for MD5 when that was all.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Piece> {
        let mut count = 0;
        let ended = loop {
            match self.file.read(&mut buffer[count..PIECE]) {
                Ok(0) => break true,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let length = self.length + count as u64;
            // What is read from here on is not what was looked at. That there is no more is seen when it is looked at again.
            if length > self.status.size {
                return Ok(Piece::Grows);
            }
            if length == self.status.size || count == PIECE {
                break length == self.status.size;
            }
        };
        let piece = &buffer[..count];
        if let Some(whole) = &mut self.whole {
            whole.extend_from_slice(piece);
        }
        let first = self.length == 0;
        self.length += count as u64;
        if ended && first {
            // In one go it is faster.
            let hash = ContentHash::of(piece);
            return Ok(Piece::Last(ended_at(buffer, count, self.length), hash));
        }
        let hasher = self.hasher.get_or_insert_default();
        hasher.update(piece);
        if !ended {
            return Ok(Piece::Full);
        }
        let hash = hasher.finalize().into();
        Ok(Piece::Last(ended_at(buffer, count, self.length), hash))
    }
}

fn ended_at(buffer: &mut [u8], count: usize, length: u64) -> usize {
    let rest = count % BLOCK;
    count - rest + pad(&mut buffer[count - rest..], rest, length)
}

/// Attributes, and whether it is still what it was; `None`: it changed.
fn finish(open: Open, hash: ContentHash) -> io::Result<Option<Content>> {
    let Open { file, status, length, whole, .. } = open;
    let (xattrs, _) = xattr::xattrs_of(&file)?;
    let after = fs::status(file.as_fd(), b"")?;
    let steady = after.ctime == status.ctime && after.ino == status.ino && after.size == length;
    Ok(steady.then_some(Content { hash, xattrs, status, whole }))
}
