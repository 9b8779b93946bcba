//! Whether a tree is what a changeset expects: every path by content and metadata, all differences listed.

use std::collections::HashMap;

use greenroom_core::manifest::Difference;
use greenroom_core::{Changeset, Entry, Node, TreePath};
use rayon::prelude::*;

use super::error::Error;
use super::facts::Stamp;
use super::plan::Side;
use super::stamps::{Shared, Stamps};
use crate::scan::{Seen, Tree};
use crate::sys::fs::{Status, types};

/// Says of a path (and whether it is a directory) that nobody minds what happens to it.
pub type Volatile<'a> = &'a (dyn Fn(&TreePath, bool) -> bool + Sync);

/// Why a path is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is not in the state that the changeset expects.
    Differs,
    /// A directory on the way to it is missing, or is none.
    Parent(TreePath),
    /// A file has other names than the changeset knows.
    Links {
        /// How many names the changeset knows.
        known: u32,
        /// How many there are.
        found: u32,
    },
    /// It is not in the changeset, and the directory that it lies in is to go.
    Unknown,
    /// The image that an undo would bring back was written to since.
    Image,
}

/// A path that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: TreePath,
    /// What the changeset expects there; `None`: nothing.
    pub expected: Option<Box<Node>>,
    /// What is there; `None`: nothing, or a socket.
    pub found: Option<Box<Node>>,
    /// In what they differ, when both are there.
    pub differences: Vec<Difference>,
    /// Why it is in the way.
    pub reason: Reason,
    /// The later change of this host that touched the path, where one did.
    pub touched_by: Option<String>,
}

impl Conflict {
    pub(super) fn new(path: &TreePath, expected: Option<&Node>, found: Option<Box<Node>>, reason: Reason) -> Self {
        let differences = match (expected, &found) {
            (Some(expected), Some(found)) => expected.differences(found),
            _ => Vec::new(),
        };
        let expected = expected.cloned().map(Box::new);
        Self { path: path.clone(), expected, found, differences, reason, touched_by: None }
    }
}

/// Compares `tree` with every *before* of `changeset`, with all cores. Conflicts come sorted by path.
///
/// With `volatile` it is the check of a change that goes live: unknown things in a directory that is to go are conflicts unless
/// it says that nobody minds them. Without it, it is the check of a way back: unknown things are fine (they go along with the
/// directory, and nothing is lost), and so is another modification time alone. A service may write its generated files
/// anew, the same each time, whenever it starts (Postfix its chroot, Exim its configuration), and that is nobody's edit.
///
/// # Errors
/// [`Error::Scan`] when something cannot be read at all.
pub fn check(tree: &Tree, changeset: &Changeset, volatile: Option<Volatile<'_>>) -> Result<Vec<Conflict>, Error> {
    Ok(look(tree, changeset, Side::Before, volatile)?.conflicts)
}

/// Compares `tree` with every *after* of `changeset`, as the check of a way back: see [`check`].
///
/// # Errors
/// As [`check`].
pub fn check_after(tree: &Tree, changeset: &Changeset) -> Result<Vec<Conflict>, Error> {
    Ok(look(tree, changeset, Side::After, None)?.conflicts)
}

/// Neighbours share their directory's descriptor: chunks keep them together.
const CHUNK: usize = 128;

/// A comparison, and the inodes that it looked at, by entry.
pub(super) struct Looked {
    pub(super) conflicts: Vec<Conflict>,
    pub(super) stamps: Stamps,
}

/// As [`check`], for the side `wanted` of the changeset.
pub(super) fn look(
    tree: &Tree,
    changeset: &Changeset,
    wanted: Side,
    volatile: Option<Volatile<'_>>,
) -> Result<Looked, Error> {
    let names = known_names(changeset, wanted);
    let stamps = Shared::new(Stamps::none(changeset.entries().len()));
    let conflicts: Vec<Vec<Conflict>> = changeset
        .entries()
        .par_chunks(CHUNK)
        .enumerate()
        .map(|(at, chunk)| {
            let mut checker =
                Checker { tree: tree.again()?, changeset, wanted, names: &names, volatile, out: Vec::new() };
            for (offset, entry) in chunk.iter().enumerate() {
                let stamp = checker.entry(entry)?;
                stamps.lock().set(at * CHUNK + offset, stamp);
            }
            Ok(checker.out)
        })
        .collect::<Result<_, Error>>()?;
    let mut conflicts = conflicts.concat();
    conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    conflicts.dedup();
    Ok(Looked { conflicts, stamps: stamps.into_inner() })
}

/// How many names each group has, and whether these are all.
fn known_names(changeset: &Changeset, wanted: Side) -> HashMap<&TreePath, (u32, bool)> {
    let mut names = HashMap::new();
    for link in changeset.entries().iter().filter_map(|e| wanted.of(e)?.link.as_ref()) {
        let complete = changeset.get(link).is_some();
        names.entry(link).or_insert((u32::from(!complete), complete)).0 += 1;
    }
    names
}

struct Checker<'a> {
    tree: Tree,
    changeset: &'a Changeset,
    /// The side that the tree is compared with.
    wanted: Side,
    names: &'a HashMap<&'a TreePath, (u32, bool)>,
    volatile: Option<Volatile<'a>>,
    out: Vec<Conflict>,
}

impl Checker<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<Option<Stamp>, Error> {
        let before = self.wanted.of(entry);
        let seen = self.tree.node(&entry.path)?;
        let stamp = if let Seen::Node(_, status) = &seen { Some(Stamp::from(status)) } else { None };
        match (seen, before) {
            (Seen::Absent, None) => self.parent(entry)?,
            (Seen::Absent, Some(_)) => {
                let reason = self.broken_parent(&entry.path)?.map_or(Reason::Differs, Reason::Parent);
                self.push(entry, None, reason);
            }
            (Seen::Node(found, status), Some(before)) if self.fits(&found, before) => {
                if !before.is_dir() {
                    self.links(entry, before, found, &status)?;
                } else if !self.wanted.other().of(entry).is_some_and(Node::is_dir) {
                    self.children(&entry.path)?;
                }
            }
            (seen, _) => self.push(entry, seen.into_node(), Reason::Differs),
        }
        Ok(stamp)
    }

    fn fits(&self, found: &Node, wanted: &Node) -> bool {
        let same = found.same_but_for_link(wanted);
        same || (self.volatile.is_none() && Node { mtime: wanted.mtime, ..found.clone() }.same_but_for_link(wanted))
    }

    fn push(&mut self, entry: &Entry, found: Option<Box<Node>>, reason: Reason) {
        // Found nodes carry no link; it would show as a difference that nobody looked for.
        let mut expected = self.wanted.of(entry).cloned();
        if let (Some(expected), false) = (&mut expected, matches!(reason, Reason::Links { .. })) {
            expected.link = None;
        }
        self.out.push(Conflict::new(&entry.path, expected.as_ref(), found, reason));
    }

    /// What is created needs a directory to be created in: one that is there, or that the changeset brings.
    fn parent(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(parent) = entry.path.parent() else { return Ok(()) };
        if self.tree.place(&entry.path)?.is_some() {
            return Ok(());
        }
        let brought =
            |dir: &TreePath| self.changeset.get(dir).and_then(|e| self.wanted.other().of(e)).is_some_and(Node::is_dir);
        if !brought(&parent) {
            let broken = self.broken_parent(&entry.path)?.unwrap_or(parent);
            self.push(entry, None, Reason::Parent(broken));
        }
        Ok(())
    }

    /// The first directory on the way to `path` that is missing or is none, and that the changeset expects to be there.
    fn broken_parent(&mut self, path: &TreePath) -> Result<Option<TreePath>, Error> {
        let ancestors = std::iter::successors(path.parent(), TreePath::parent);
        let mut ancestors: Vec<TreePath> = ancestors.collect();
        ancestors.reverse();
        for dir in ancestors {
            if self.tree.status(&dir)?.is_none_or(|s| s.file_type() != types::DIR) {
                return Ok(Some(dir));
            }
        }
        Ok(None)
    }

    fn links(&mut self, entry: &Entry, before: &Node, found: Box<Node>, status: &Status) -> Result<(), Error> {
        let (known, complete) = match &before.link {
            None => (1, true),
            Some(link) => self.names.get(link).copied().unwrap_or((2, false)),
        };
        let one_file = match &before.link {
            Some(link) if *link != entry.path => self.tree.status(link)?.is_some_and(|s| s.ino == status.ino),
            _ => true,
        };
        let counted = if complete { status.nlink == known } else { status.nlink >= known };
        if !(one_file && counted) {
            self.push(entry, Some(found), Reason::Links { known, found: status.nlink });
        }
        Ok(())
    }

    /// A directory that goes takes along what is in it.
    fn children(&mut self, dir: &TreePath) -> Result<(), Error> {
        let Some(volatile) = self.volatile else { return Ok(()) };
        for name in self.tree.names(dir)? {
            let path = dir.join(&name);
            if self.changeset.get(&path).is_some() {
                continue;
            }
            let is_dir = self.tree.status(&path)?.is_some_and(|s| s.file_type() == types::DIR);
            if !volatile(&path, is_dir)
                && let Seen::Node(found, _) = self.tree.node(&path)?
            {
                self.out.push(Conflict::new(&path, None, Some(found), Reason::Unknown));
            }
        }
        Ok(())
    }
}
