//! Moves a record: other states for some paths, everything else copied as it is.
//!
//! One pass over the pages. A page whose directory is not concerned is copied with its keys; a directory with changes is put together
//! anew. A path that was moved has no key: the next scan reads it and compares it with what is on record now.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::policy::{Class, Policy};
use greenroom_core::{Node, TreePath};

use super::file::{Pages, Writer, number};
use super::keys::{self, Key};
use super::lookup::state_node;
use super::page::{Filling, Reading};
use super::record::{child, dir_bytes};
use super::row::{LeftOut, Row, put_left_out, put_node};
use super::types::BaselineError;

/// The new states in one directory, by name.
type Changed<'c> = BTreeMap<&'c [u8], Option<&'c Node>>;

/// What is to be on record, by directory; `None`: above the root.
struct Plan<'c> {
    dirs: BTreeMap<Option<TreePath>, Changed<'c>>,
    /// Paths below which nothing that was on record stays.
    ended: BTreeSet<&'c TreePath>,
}

impl<'c> Plan<'c> {
    fn new(changes: &'c [(TreePath, Option<Node>)], within: &[TreePath], policy: &Policy) -> Self {
        let mut out = Self { dirs: BTreeMap::new(), ended: BTreeSet::new() };
        for (path, node) in changes {
            let inside = within.is_empty() || within.iter().any(|place| path.starts_with(place));
            let is_dir = node.as_ref().is_none_or(Node::is_dir);
            if !inside || !is_managed(policy, path, is_dir) {
                continue;
            }
            out.dirs.entry(path.parent()).or_default().insert(path.name(), node.as_ref());
            if node.as_ref().is_none_or(|node| !node.is_dir()) {
                out.ended.insert(path);
            }
        }
        out
    }

    /// Whether a directory of the record goes, because it or one that it lies in does.
    fn ends(&self, dir: &TreePath) -> bool {
        if self.ended.is_empty() {
            return false;
        }
        let mut at = Some(dir.clone());
        while let Some(path) = at {
            if self.ended.contains(&path) {
                return true;
            }
            at = path.parent();
        }
        false
    }
}

fn is_managed(policy: &Policy, path: &TreePath, is_dir: bool) -> bool {
    matches!(policy.class(path, is_dir), Class::Managed | Class::Boot)
}

/// Copies `pages` with `changes` into `writer`. With `sift`, what `policy` does not manage is left out of all of it.
pub(super) fn rewrite(
    pages: &Pages,
    writer: &mut Writer,
    changes: &[(TreePath, Option<Node>)],
    within: &[TreePath],
    policy: &Policy,
    sift: bool,
) -> Result<(), BaselineError> {
    let mut plan = Plan::new(changes, within, policy);
    let (mut page, mut keys) = (Vec::new(), Vec::new());
    let mut renewed: BTreeSet<Option<TreePath>> = BTreeSet::new();
    for slot in pages.all() {
        pages.read(slot, &mut page)?;
        let (dir, _) = Reading::new(&page).ok_or_else(|| pages.damaged("a page cannot be read"))?;
        let dir = (!dir.is_empty()).then(|| TreePath::new(dir));
        if dir.as_ref().is_some_and(|dir| plan.ends(dir)) {
            continue;
        }
        // A directory is put together anew in the place of its first page.
        if slot.part > 0 && (sift || renewed.contains(&dir)) {
            continue;
        }
        let changed = plan.dirs.remove(&dir);
        if sift || changed.is_some() {
            directory(pages, writer, dir.as_ref(), &changed.unwrap_or_default(), sift.then_some(policy))?;
            if !sift {
                renewed.insert(dir);
            }
            continue;
        }
        pages.keys(slot, &mut keys);
        keys::fill(&mut keys, slot.count);
        writer.page(slot.dir, slot.part, slot.count, &page, &keys)?;
    }
    for (dir, changed) in std::mem::take(&mut plan.dirs) {
        if dir.as_ref().is_none_or(|dir| !plan.ends(dir)) {
            directory(pages, writer, dir.as_ref(), &changed, None)?;
        }
    }
    Ok(())
}

enum Put {
    Node(Box<Node>, Key),
    LeftOut(LeftOut),
}

/// Writes one directory with its changes.
fn directory(
    pages: &Pages,
    writer: &mut Writer,
    dir: Option<&TreePath>,
    changed: &Changed<'_>,
    sift: Option<&Policy>,
) -> Result<(), BaselineError> {
    let old = recorded(pages, dir, sift)?;
    let mut out = Pen { writer, dir, filling: Filling::default(), keys: Vec::new(), page: Vec::new(), part: 0 };
    let mut changed = changed.iter().peekable();
    let moved = |node: &Node| Put::Node(Box::new(node.clone()), Key::NONE);
    for (name, put) in old {
        while let Some((new, node)) = changed.next_if(|(new, _)| **new < &name[..]) {
            out.add(new, node.map(moved))?;
        }
        match changed.next_if(|(new, _)| **new == &name[..]) {
            Some((_, node)) => out.add(&name, node.map(moved))?,
            None => out.add(&name, Some(put))?,
        }
    }
    for (new, node) in changed {
        out.add(new, node.map(moved))?;
    }
    out.flush()
}

/// What is on record in a directory, with its keys.
fn recorded(
    pages: &Pages,
    dir: Option<&TreePath>,
    sift: Option<&Policy>,
) -> Result<Vec<(Vec<u8>, Put)>, BaselineError> {
    let (mut out, mut page, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for slot in pages.of(dir_bytes(dir)) {
        pages.read(slot, &mut page)?;
        pages.keys(slot, &mut keys);
        let damaged = || pages.damaged("a page cannot be read");
        let (own, mut rows) = Reading::new(&page).ok_or_else(damaged)?;
        if own != dir_bytes(dir) {
            continue;
        }
        let mut name = Vec::new();
        for at in 0..slot.count as usize {
            let put = match rows.next(&mut name).ok_or_else(damaged)? {
                Row::LeftOut(why) => Put::LeftOut(why),
                Row::State(state) => Put::Node(Box::new(state_node(pages, &state)?), Key::get(&keys, at)),
            };
            let is_dir = matches!(&put, Put::Node(node, _) if node.is_dir());
            if sift.is_none_or(|policy| is_managed(policy, &child(dir, &name), is_dir)) {
                out.push((name.clone(), put));
            }
        }
    }
    Ok(out)
}

/// Fills pages of one directory.
struct Pen<'w, 'd> {
    writer: &'w mut Writer,
    dir: Option<&'d TreePath>,
    filling: Filling,
    keys: Vec<u8>,
    page: Vec<u8>,
    part: u32,
}

impl Pen<'_, '_> {
    fn add(&mut self, name: &[u8], put: Option<Put>) -> Result<(), BaselineError> {
        let Some(put) = put else { return Ok(()) };
        let key = match put {
            Put::Node(node, key) => {
                self.filling.add(name, |out| put_node(out, &node));
                key
            }
            Put::LeftOut(why) => {
                self.filling.add(name, |out| put_left_out(out, why));
                Key::NONE
            }
        };
        key.put(&mut self.keys);
        if self.filling.is_full() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BaselineError> {
        let count = self.filling.count();
        if count == 0 {
            return Ok(());
        }
        let dir = dir_bytes(self.dir);
        self.filling.finish(dir, &mut self.page);
        self.writer.page(number(dir), self.part, count, &self.page, &self.keys)?;
        self.keys.clear();
        self.part += 1;
        Ok(())
    }
}
