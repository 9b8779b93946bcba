//! What is written down about the inodes on both sides of each entry, so that after a crash every step is recognised as
//! done or not done, and so that an undo knows an untouched image without reading it again.
//!
//! Two files of a record, both little-endian, both read whole:
//!
//! ```text
//! facts  = "greenroom facts 1\n" u32(entries) (u16(slot directory) stamp(before) stamp(after))*
//!          u32(times) (bytes(path) time(found) time(wanted))*   u32(locked) (bytes(path) u8(flags))*
//! images = "greenroom images 1\n" u32(entries) stamp* u32(times) (bytes(path) time(left))*
//! stamp  = 0 | 1 u64(inode) u64(size) i64 u32(mtime) i64 u32(ctime)
//! time   = 0 | 1 i64 u32
//! bytes  = u32(length) …
//! ```

use std::io::{self, Write};

use greenroom_core::{Mtime, TreePath};

use super::stamps::Stamps;
use crate::sys::fs::Status;

const FACTS: &[u8] = b"greenroom facts 1\n";
const IMAGES: &[u8] = b"greenroom images 1\n";

/// What tells one state of one inode from all others; nobody can set a ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) mtime: Mtime,
    pub(super) ctime: Mtime,
}

impl From<&Status> for Stamp {
    fn from(status: &Status) -> Self {
        Self { ino: status.ino, size: status.size, mtime: status.mtime, ctime: status.ctime }
    }
}

impl Stamp {
    /// Whether the content is the same as far as size and mtime can tell. (A rename changes the ctime, and in a layered
    /// file system perhaps the inode.)
    pub(super) fn same_content(&self, other: &Self) -> bool {
        self.size == other.size && self.mtime == other.mtime
    }
}

/// A directory that is touched in passing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) path: TreePath,
    /// Its mtime when the change began; `None`: it was not there.
    pub(super) found: Option<Mtime>,
    /// What it is set to; `None`: it is left as it comes.
    pub(super) wanted: Option<Mtime>,
}

/// Everything known when a record is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Index of the slot directory, by entry.
    pub(super) slots: Vec<u16>,
    /// The inodes just before the record was committed, by entry: those of the tree or the slot, on each side.
    pub(super) before: Stamps,
    pub(super) after: Stamps,
    pub(super) times: Vec<Time>,
    /// Inodes that are no entries and have to be unlocked meanwhile, with their flags.
    pub(super) locked: Vec<(TreePath, u8)>,
}

/// Everything known when a record is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Images {
    /// The objects in the slots.
    pub(super) slots: Stamps,
    /// The mtimes of touched directories as they were left; `None`: it is not there.
    pub(super) times: Vec<(TreePath, Option<Mtime>)>,
}

impl Facts {
    pub(super) fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Writer(out);
        out.raw(FACTS)?;
        out.count(self.slots.len())?;
        for (slots, (before, after)) in self.slots.iter().zip(self.before.iter().zip(self.after.iter())) {
            out.raw(&slots.to_le_bytes())?;
            out.stamp(before)?;
            out.stamp(after)?;
        }
        out.count(self.times.len())?;
        for time in &self.times {
            out.bytes(time.path.as_bytes())?;
            out.time(time.found)?;
            out.time(time.wanted)?;
        }
        out.count(self.locked.len())?;
        self.locked.iter().try_for_each(|(path, flags)| {
            out.bytes(path.as_bytes())?;
            out.raw(&[*flags])
        })
    }

    /// `None` when the bytes are not whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(FACTS)?);
        let mut facts = Self::default();
        for _ in 0..reader.u32()? {
            facts.slots.push(u16::from_le_bytes(reader.array()?));
            facts.before.push(reader.stamp()?);
            facts.after.push(reader.stamp()?);
        }
        for _ in 0..reader.u32()? {
            facts.times.push(Time { path: reader.path()?, found: reader.time()?, wanted: reader.time()? });
        }
        for _ in 0..reader.u32()? {
            facts.locked.push((reader.path()?, reader.array::<1>()?[0]));
        }
        reader.0.is_empty().then_some(facts)
    }
}

impl Images {
    pub(super) fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Writer(out);
        out.raw(IMAGES)?;
        out.count(self.slots.len())?;
        self.slots.iter().try_for_each(|stamp| out.stamp(stamp))?;
        out.count(self.times.len())?;
        self.times.iter().try_for_each(|(path, left)| {
            out.bytes(path.as_bytes())?;
            out.time(*left)
        })
    }

    /// `None` when the bytes are not whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(IMAGES)?);
        let mut images = Self::default();
        for _ in 0..reader.u32()? {
            images.slots.push(reader.stamp()?);
        }
        for _ in 0..reader.u32()? {
            images.times.push((reader.path()?, reader.time()?));
        }
        reader.0.is_empty().then_some(images)
    }
}

struct Writer<'a>(&'a mut dyn Write);

impl Writer<'_> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn count(&mut self, count: usize) -> io::Result<()> {
        // A changeset of 2^32 entries does not fit into any memory that this runs in.
        self.raw(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.count(bytes.len())?;
        self.raw(bytes)
    }

    fn mtime(&mut self, time: Mtime) -> io::Result<()> {
        self.raw(&time.sec.to_le_bytes())?;
        self.raw(&time.nsec.to_le_bytes())
    }

    fn time(&mut self, time: Option<Mtime>) -> io::Result<()> {
        self.raw(&[u8::from(time.is_some())])?;
        time.map_or(Ok(()), |time| self.mtime(time))
    }

    fn stamp(&mut self, stamp: Option<&Stamp>) -> io::Result<()> {
        self.raw(&[u8::from(stamp.is_some())])?;
        let Some(stamp) = stamp else { return Ok(()) };
        self.raw(&stamp.ino.to_le_bytes())?;
        self.raw(&stamp.size.to_le_bytes())?;
        self.mtime(stamp.mtime)?;
        self.mtime(stamp.ctime)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn path(&mut self) -> Option<TreePath> {
        let length = self.u32()? as usize;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(TreePath::new(head))
    }

    fn mtime(&mut self) -> Option<Mtime> {
        Some(Mtime { sec: self.array().map(i64::from_le_bytes)?, nsec: self.u32()? })
    }

    /// The outer `None` is damage, the inner one an absent value.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.array::<1>()?[0] {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn time(&mut self) -> Option<Option<Mtime>> {
        self.optional(Self::mtime)
    }

    fn stamp(&mut self) -> Option<Option<Stamp>> {
        self.optional(|r| {
            let ino = r.array().map(u64::from_le_bytes)?;
            let size = r.array().map(u64::from_le_bytes)?;
            Some(Stamp { ino, size, mtime: r.mtime()?, ctime: r.mtime()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mtime() -> impl Strategy<Value = Mtime> {
        (any::<i64>(), 0u32..1_000_000_000).prop_map(|(sec, nsec)| Mtime { sec, nsec })
    }

    fn stamp() -> impl Strategy<Value = Option<Stamp>> {
        let whole = (any::<u64>(), any::<u64>(), mtime(), mtime());
        proptest::option::of(whole.prop_map(|(ino, size, mtime, ctime)| Stamp { ino, size, mtime, ctime }))
    }

    fn stamps(of: impl Iterator<Item = Option<Stamp>>) -> Stamps {
        let mut stamps = Stamps::default();
        of.for_each(|stamp| stamps.push(stamp));
        stamps
    }

    fn path() -> impl Strategy<Value = TreePath> {
        proptest::collection::vec(1u8..=255, 1..40).prop_map(|bytes| TreePath::new(&bytes))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_damage_is_noticed(
            entries in proptest::collection::vec((any::<u16>(), stamp(), stamp()), 0..6),
            times in proptest::collection::vec((path(), proptest::option::of(mtime()), proptest::option::of(mtime())), 0..6),
            locked in proptest::collection::vec((path(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let facts = Facts {
                slots: entries.iter().map(|(slots, _, _)| *slots).collect(),
                before: stamps(entries.iter().map(|(_, before, _)| *before)),
                after: stamps(entries.iter().map(|(_, _, after)| *after)),
                times: times.iter().map(|(path, found, wanted)| Time { path: path.clone(), found: *found, wanted: *wanted }).collect(),
                locked,
            };
            let mut bytes = Vec::new();
            facts.encode(&mut bytes).unwrap();
            prop_assert_eq!(Facts::decode(&bytes), Some(facts));
            prop_assert_eq!(Facts::decode(&bytes[..cut.index(bytes.len())]), None);
            let images = Images {
                slots: stamps(entries.iter().map(|(_, stamp, _)| *stamp)),
                times: times.into_iter().map(|(path, left, _)| (path, left)).collect(),
            };
            let mut bytes = Vec::new();
            images.encode(&mut bytes).unwrap();
            prop_assert_eq!(Images::decode(&bytes), Some(images));
            prop_assert_eq!(Images::decode(&bytes[..cut.index(bytes.len())]), None);
        }
    }
}
