//! One exchange between a path of the tree and its slot, and how to tell whether it has happened.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use greenroom_core::TreePath;
use rustix::fs::OFlags;

use super::error::{Context as _, Error};
use super::exec::Work;
use super::fault::Faults;
use super::plan::{Side, Swap};
use crate::scan::{Seen, Tree, is_absence};
use crate::sys::fs::{self, Status};

/// The slot's name in its directory.
pub(super) fn name(index: usize) -> String {
    index.to_string()
}

/// Status of a slot; `None` when it is empty.
pub(super) fn status(dir: BorrowedFd<'_>, index: usize) -> Result<Option<Status>, Error> {
    match fs::status(dir, name(index).as_bytes()) {
        Ok(status) => Ok(Some(status)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(source) => Err(Error::Io { what: format!("look at slot {index}"), source }),
    }
}

/// Brings the `toward` side of an entry into the tree and the other side into the slot.
pub(super) fn swap(
    work: &mut Work<'_>,
    index: usize,
    swap: &Swap,
    toward: Side,
    faults: &dyn Faults,
) -> Result<(), Error> {
    let Work { tree, changeset, slots, facts, .. } = work;
    let entry = &changeset.entries()[index];
    let slots = slots.get(facts.slots[index]);
    let fail = || format!("put {} in place", entry.path);
    let slot = name(index);
    let slot = (slots, slot.as_bytes());
    if let Some(anchor) = swap.anchor(toward) {
        link_anchor(tree.fd(), anchor, slot).context(fail)?;
        faults.hit("step.linked").context(fail)?;
    }
    let Some(place) = tree.place(&entry.path)? else {
        return Err(Error::Io { what: fail(), source: rustix::io::Errno::NOENT.into() });
    };
    let (incoming, outgoing) = (toward.of(entry).is_some(), toward.other().of(entry).is_some());
    let moved = match (incoming, outgoing) {
        (true, true) => fs::exchange(slot, place),
        (true, false) => fs::move_to_free(slot, place),
        (false, _) => fs::move_to_free(place, slot),
    };
    moved.context(fail)?;
    faults.hit("step.moved").context(fail)
}

/// Gives the slot a name of the inode at `anchor`, unless it has it already.
fn link_anchor(root: BorrowedFd<'_>, anchor: &TreePath, slot: (BorrowedFd<'_>, &[u8])) -> io::Result<()> {
    let parent = anchor.parent().unwrap_or_else(TreePath::root);
    let dir = fs::open_beneath(root, &parent, OFlags::PATH | OFlags::DIRECTORY)?;
    let wanted = fs::status(dir.as_fd(), anchor.name())?;
    match fs::status(slot.0, slot.1) {
        Ok(found) if found.ino == wanted.ino => return Ok(()),
        Err(error) if !is_absence(&error) => return Err(error),
        _ => {}
    }
    fs::link((dir.as_fd(), anchor.name()), slot)
}

/// Whether the `toward` side of an entry is in the tree already. Inode numbers decide; where they cannot (a file system that
/// gives new ones), what the path holds does.
pub(super) fn is_done(work: &mut Work<'_>, index: usize, swap: &Swap, toward: Side) -> Result<bool, Error> {
    let Work { tree, changeset, slots, facts, .. } = work;
    let entry = &changeset.entries()[index];
    let (before, after) = (facts.before.get(index), facts.after.get(index));
    let (incoming, outgoing) = match toward {
        Side::After => (after, before),
        Side::Before => (before, after),
    };
    let (incoming, outgoing) = (incoming.map(|s| s.ino), outgoing.map(|s| s.ino));
    let at_path = tree.status(&entry.path)?.map(|s| s.ino);
    let in_slot = status(slots.get(facts.slots[index]), index)?.map(|s| s.ino);
    let is = |found: Option<u64>, wanted: Option<u64>| found.is_some() && found == wanted;
    if is(at_path, incoming) {
        return Ok(true);
    }
    if is(at_path, outgoing) {
        return Ok(false);
    }
    if toward.of(entry).is_none() {
        // Nothing to bring: what was to go has gone (into the slot, or by somebody else's hand), or is not ours.
        let gone = in_slot.is_some() || at_path.is_none();
        return Ok(gone || !holds(tree, &entry.path, toward.other().of(entry))?);
    }
    let slot_is_link = swap.anchor(toward).is_some();
    if !slot_is_link && is(in_slot, incoming) {
        return Ok(false);
    }
    if is(in_slot, outgoing) {
        return Ok(true);
    }
    holds(tree, &entry.path, toward.of(entry))
}

fn holds(tree: &mut Tree, path: &TreePath, node: Option<&greenroom_core::Node>) -> Result<bool, Error> {
    match (tree.node(path)?, node) {
        (Seen::Node(found, _), Some(node)) => Ok(found.kind == node.kind),
        (Seen::Absent, None) => Ok(true),
        _ => Ok(false),
    }
}
