//! A page of a first record while some of its rows still wait for their content.

use greenroom_core::{Mtime, Node, TreePath};

use super::keys::Key;
use super::links::Shared;
use super::names::Names;
use super::places::Place;
use super::row::LeftOut;
use crate::sys::fs::Status;

/// What is known of a name.
pub(super) enum Entry {
    /// Its content is in a lane: see [`super::streams`].
    Waits,
    /// Nothing is there any more.
    Gone,
    LeftOut(LeftOut),
    State {
        node: Box<Node>,
        key: Key,
        shared: Option<Shared>,
    },
}

/// A page.
pub(super) struct Held {
    /// Unique in the thread.
    pub(super) number: u64,
    pub(super) dir: Option<TreePath>,
    pub(super) part: u32,
    place: Place,
    names: Names,
    entries: Vec<Entry>,
    waits: usize,
}

impl Held {
    pub(super) fn new(number: u64, dir: Option<&TreePath>, part: u32, place: Place) -> Self {
        Self { number, dir: dir.cloned(), part, place, names: Names::default(), entries: Vec::new(), waits: 0 }
    }

    /// Empty again, for the next page.
    pub(super) fn renew(&mut self, number: u64, part: u32) {
        (self.number, self.part) = (number, part);
        self.names.clear();
        self.entries.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn waits(&self) -> bool {
        self.waits > 0
    }

    pub(super) fn add(&mut self, name: &[u8], entry: Entry) {
        self.waits += usize::from(matches!(entry, Entry::Waits));
        self.names.push(name, 0);
        self.entries.push(entry);
    }

    /// Entry number `at` need not wait any more.
    pub(super) fn settle(&mut self, at: usize, entry: Entry) {
        self.waits -= 1;
        self.entries[at] = entry;
    }

    /// A node that was read.
    pub(super) fn state(&self, node: Box<Node>, status: &Status, limit: Mtime) -> Entry {
        let key = Key::of(status, self.place.known, limit);
        Entry::State { node, key, shared: Shared::of(status, self.place.number) }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().enumerate().map(|(at, entry)| (self.names.get(at).0, entry))
    }
}
