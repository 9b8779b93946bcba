//! A small tree before and after, for the tests of this room.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::{Side, Sources};
use crate::{Changeset, ContentHash, Entry, Kind, Mtime, Node, TreePath};

/// What a path is on one side.
#[derive(Clone, PartialEq)]
enum Thing {
    File(String),
    Link(String),
}

/// Files and links before and after.
#[derive(Default)]
pub(crate) struct World {
    paths: BTreeMap<TreePath, [Option<Thing>; 2]>,
    reads: Cell<usize>,
}

impl World {
    pub(crate) fn file(mut self, path: &str, before: Option<&str>, after: Option<&str>) -> Self {
        let thing = |text: Option<&str>| text.map(|t| Thing::File(t.to_owned()));
        self.paths.insert(path.into(), [thing(before), thing(after)]);
        self
    }

    pub(crate) fn link(mut self, path: &str, before: Option<&str>, after: Option<&str>) -> Self {
        let thing = |text: Option<&str>| text.map(|t| Thing::Link(t.to_owned()));
        self.paths.insert(path.into(), [thing(before), thing(after)]);
        self
    }

    pub(crate) fn unchanged(self, path: &str, text: &str) -> Self {
        self.file(path, Some(text), Some(text))
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.get()
    }

    pub(crate) fn changeset(&self) -> Changeset {
        let entries = self.paths.iter().filter(|(_, sides)| sides[0] != sides[1]).map(|(path, [before, after])| {
            Entry { path: path.clone(), before: before.as_ref().map(node), after: after.as_ref().map(node) }
        });
        Changeset::new(entries.collect(), vec![]).unwrap()
    }
}

fn node(thing: &Thing) -> Box<Node> {
    let (kind, mode) = match thing {
        Thing::File(text) => (Kind::File { size: text.len() as u64, content: ContentHash::of(text.as_bytes()) }, 0o644),
        Thing::Link(to) => (Kind::Symlink(to.as_bytes().into()), 0o777),
    };
    Box::new(Node { kind, mode, flags: 0, uid: 0, gid: 0, mtime: Mtime::default(), xattrs: Box::default(), link: None })
}

impl Sources for World {
    fn content(&self, path: &TreePath, side: Side) -> Option<Vec<u8>> {
        self.reads.set(self.reads.get() + 1);
        match self.paths.get(path)?[side as usize].as_ref()? {
            Thing::File(text) => Some(text.clone().into_bytes()),
            Thing::Link(_) => None,
        }
    }

    fn names(&self, dir: &TreePath, side: Side) -> Vec<Vec<u8>> {
        let here = self.paths.iter().filter(|(path, sides)| {
            path.parent().is_some_and(|parent| parent == *dir) && sides[side as usize].is_some()
        });
        here.map(|(path, _)| path.name().to_vec()).collect()
    }
}
