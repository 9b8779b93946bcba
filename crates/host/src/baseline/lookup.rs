//! Single records, and all of them in order.

use std::collections::VecDeque;

use greenroom_core::{Node, TreePath};

use super::file::{Pages, Slot};
use super::page::{ABOVE, Reading};
use super::record::dir_bytes;
use super::row::{Row, State};
use super::types::BaselineError;

/// Takes a name and its row; `false`: no more of them.
type Each<'e> = &'e mut dyn FnMut(&[u8], &Row<'_>) -> Result<bool, BaselineError>;

/// Calls `each` with the names and rows in a directory, in order, until it says `false`.
pub(super) fn rows(pages: &Pages, dir: &[u8], each: Each<'_>) -> Result<(), BaselineError> {
    let mut page = Vec::new();
    for slot in pages.of(dir) {
        pages.read(slot, &mut page)?;
        let damaged = || pages.damaged("a page cannot be read");
        let (own, mut rows) = Reading::new(&page).ok_or_else(damaged)?;
        if own != dir {
            continue;
        }
        let mut name = Vec::new();
        while rows.left() > 0 {
            let row = rows.next(&mut name).ok_or_else(damaged)?;
            if !each(&name, &row)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The whole state, of a record that may be damaged.
pub(super) fn state_node(pages: &Pages, state: &State<'_>) -> Result<Node, BaselineError> {
    state.node().ok_or_else(|| pages.damaged("a page cannot be read"))
}

/// The record of a path.
pub(super) fn node(pages: &Pages, path: &TreePath) -> Result<Option<Node>, BaselineError> {
    let (parent, wanted) = (path.parent(), path.name());
    let mut out = None;
    rows(pages, dir_bytes(parent.as_ref()), &mut |name, row| {
        if name == wanted
            && let Row::State(state) = row
        {
            out = Some(state_node(pages, state)?);
        }
        Ok(name < wanted)
    })?;
    Ok(out)
}

/// All records: a directory before what is in it, names in byte order.
pub(super) struct Records<'a> {
    pages: &'a Pages,
    stack: Vec<Level<'a>>,
    failed: bool,
}

/// A directory on the way.
struct Level<'a> {
    dir: Option<TreePath>,
    slots: &'a [Slot],
    ready: VecDeque<(TreePath, Node)>,
}

impl<'a> Records<'a> {
    /// Of the places that the record is restricted to, or of the whole tree.
    pub(super) fn new(pages: &'a Pages, within: &[TreePath]) -> Self {
        let whole = [None];
        let mut tops: Vec<Option<TreePath>> = within.iter().map(TreePath::parent).collect();
        // What lies in another place is reached from there.
        tops.sort();
        tops.dedup();
        let nested =
            |top: &Option<TreePath>| top.as_ref().is_some_and(|top| within.iter().any(|place| top.starts_with(place)));
        tops.retain(|top| !nested(top));
        let tops = if within.is_empty() { whole.to_vec() } else { tops };
        let stack = tops.into_iter().rev().map(|dir| Level::new(pages, dir)).collect();
        Self { pages, stack, failed: false }
    }

    fn step(&mut self) -> Result<Option<(TreePath, Node)>, BaselineError> {
        while let Some(level) = self.stack.last_mut() {
            if let Some((path, node)) = level.ready.pop_front() {
                if node.is_dir() {
                    let below = Level::new(self.pages, Some(path.clone()));
                    self.stack.push(below);
                }
                return Ok(Some((path, node)));
            }
            match level.slots.split_first() {
                None => drop(self.stack.pop()),
                Some((first, rest)) => {
                    level.slots = rest;
                    let dir = level.dir.clone();
                    level.ready = decode(self.pages, first, dir.as_ref())?;
                }
            }
        }
        Ok(None)
    }
}

impl<'a> Level<'a> {
    fn new(pages: &'a Pages, dir: Option<TreePath>) -> Self {
        let slots = pages.of(dir.as_ref().map_or(ABOVE, TreePath::as_bytes));
        Self { dir, slots, ready: VecDeque::new() }
    }
}

fn decode(pages: &Pages, slot: &Slot, dir: Option<&TreePath>) -> Result<VecDeque<(TreePath, Node)>, BaselineError> {
    let mut page = Vec::new();
    pages.read(slot, &mut page)?;
    let damaged = || pages.damaged("a page cannot be read");
    let (own, mut rows) = Reading::new(&page).ok_or_else(damaged)?;
    let (mut out, mut name) = (VecDeque::new(), Vec::new());
    if own != dir_bytes(dir) {
        return Ok(out);
    }
    while rows.left() > 0 {
        if let Row::State(state) = rows.next(&mut name).ok_or_else(damaged)? {
            out.push_back((super::record::child(dir, &name), state_node(pages, &state)?));
        }
    }
    Ok(out)
}

impl Iterator for Records<'_> {
    type Item = Result<(TreePath, Node), BaselineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}
