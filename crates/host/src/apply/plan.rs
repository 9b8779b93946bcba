//! What is done for each entry of a changeset, from the changeset alone.
//!
//! **Hard links.** Names of one file form a group: all entries whose nodes carry the same `link`, and the name that `link`
//! gives even if it is no entry. Where a group after the change can go on with an inode of a group before it, that inode is
//! *kept*: its names in both groups are left alone (or changed in place where metadata differ), names that join are linked to
//! it, names that leave get another. Each inode is kept by one group at most; the first of these that applies:
//!
//! 1. the group's first name is no entry, so nothing about it changes;
//! 2. a member whose node has the same `link` on both sides and the same content;
//! 3. a member of which nothing but the link differs;
//! 4. a member with the same content.
//!
//! A group that keeps none is staged as one new inode with a slot for every name; the slots on the old side then hold all
//! names of the old inode, so undo brings the old group back by itself. A slot never goes on holding a name of a kept inode:
//! its link is made for the exchange and dropped after it, so that the tree's link counts are right.

use std::collections::{HashMap, HashSet};

use greenroom_core::{Changeset, Entry, Kind, Node, Op, TreePath};

/// What is done for one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: its inode is kept as it is, others link to it.
    Keep,
    /// Owner, mode, attributes and times are set in place.
    Metadata,
    /// The object is exchanged with that in the slot.
    Swap(Swap),
}

/// An exchange with a slot. A side with an anchor is a name of a kept inode that lives at the anchor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Swap {
    pub(super) anchor_before: Option<TreePath>,
    pub(super) anchor_after: Option<TreePath>,
    /// The entry whose slot holds the same new inode, where this is not the first of its group.
    pub(super) same_as: Option<usize>,
}

/// One view of a changeset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Before,
    After,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
        }
    }

    /// The node of an entry in this view.
    pub(super) fn of(self, entry: &Entry) -> Option<&Node> {
        match self {
            Self::Before => entry.before.as_deref(),
            Self::After => entry.after.as_deref(),
        }
    }
}

impl Swap {
    pub(super) fn anchor(&self, side: Side) -> Option<&TreePath> {
        match side {
            Side::Before => self.anchor_before.as_ref(),
            Side::After => self.anchor_after.as_ref(),
        }
    }
}

/// Steps for the entries of a changeset, by index.
pub(super) fn plan(changeset: &Changeset) -> Vec<Step> {
    let entries = changeset.entries();
    let linked = |n: &Option<Box<Node>>| n.as_ref().is_some_and(|n| n.link.is_some());
    if !entries.iter().any(|e| linked(&e.before) || linked(&e.after)) {
        return entries.iter().map(simple).collect();
    }
    let kept = kept_groups(changeset);
    let mut first_of: HashMap<&TreePath, usize> = HashMap::new();
    let steps = entries.iter().enumerate().map(|(i, entry)| {
        let (before, after) = (group(entry, Side::Before), group(entry, Side::After));
        let anchor_after = after.and_then(|a| kept.by_after.get(a));
        if let (Some(b), Some(kept)) = (before, anchor_after)
            && kept.before == b
        {
            return if entry.is_link_only() { Step::Keep } else { Step::Metadata };
        }
        let anchor_before = before.and_then(|b| kept.by_before.get(b)).map(|a| (*a).clone());
        let anchor_after = anchor_after.map(|k| k.anchor.clone());
        let shares = anchor_after.is_none() && entry.after.as_ref().is_some_and(|n| n.link.is_some());
        let same_as = after.filter(|_| shares).and_then(|group| match first_of.get(group) {
            Some(first) => Some(*first),
            None => {
                first_of.insert(group, i);
                None
            }
        });
        Step::Swap(Swap { anchor_before, anchor_after, same_as })
    });
    steps.collect()
}

fn simple(entry: &Entry) -> Step {
    if entry.op() == Op::Metadata { Step::Metadata } else { Step::Swap(Swap::default()) }
}

/// The group of an entry's name in a view; a file with one name is a group of its own.
fn group(entry: &Entry, side: Side) -> Option<&TreePath> {
    side.of(entry).map(|node| node.link.as_ref().unwrap_or(&entry.path))
}

struct Kept<'a> {
    /// The group before, whose inode goes on.
    before: &'a TreePath,
    /// A name that it has before and after.
    anchor: &'a TreePath,
}

#[derive(Default)]
struct KeptGroups<'a> {
    by_after: HashMap<&'a TreePath, Kept<'a>>,
    by_before: HashMap<&'a TreePath, &'a TreePath>,
}

fn kept_groups(changeset: &Changeset) -> KeptGroups<'_> {
    let entries = changeset.entries();
    let mut kept = KeptGroups::default();
    let mut claimed: HashSet<&TreePath> = HashSet::new();
    let sides = entries.iter().flat_map(|e| [&e.before, &e.after]);
    for leader in sides.flatten().filter_map(|n| n.link.as_ref()).filter(|l| changeset.get(l).is_none()) {
        claimed.insert(leader);
        kept.by_after.insert(leader, Kept { before: leader, anchor: leader });
        kept.by_before.insert(leader, leader);
    }
    type Fits = fn(&Entry, &Node, &Node) -> bool;
    let preferences: [Fits; 3] = [|_, b, a| b.link == a.link, |e, _, _| e.is_link_only(), |_, _, _| true];
    for fits in preferences {
        for entry in entries.iter().filter(|e| e.op() == Op::Metadata) {
            let (Some(b), Some(a)) = (&entry.before, &entry.after) else { continue };
            let (Some(before), Some(after)) = (group(entry, Side::Before), group(entry, Side::After)) else { continue };
            if fits(entry, b, a) && !kept.by_after.contains_key(after) && claimed.insert(before) {
                kept.by_after.insert(after, Kept { before, anchor: &entry.path });
                kept.by_before.insert(before, &entry.path);
            }
        }
    }
    kept
}

/// The entries in the order in which they are put in place; reversed for the way back.
pub(super) fn order(changeset: &Changeset) -> Vec<usize> {
    let entries = changeset.entries();
    let gone = (0..entries.len()).rev().filter(|i| entries[*i].after.is_none());
    gone.chain((0..entries.len()).filter(|i| entries[*i].after.is_some())).collect()
}

/// Whether a node can carry the inode attributes that forbid changes.
pub(super) fn can_be_locked(node: &Node) -> bool {
    matches!(node.kind, Kind::File { .. } | Kind::Dir)
}
