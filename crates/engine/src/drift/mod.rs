//! Drift: what differs on a host from its record, who did it, and what becomes of it.
//!
//! What it is: [`look`] compares the host with its record ([`greenroom_host::baseline`]), asks the watch's log and the package
//! manager's logs who did it, and puts together what belongs together. [`adopt()`] takes a drift as wanted, [`revert()`] takes it
//! back; both are changes like any other. What it is not: it does not scan (`host::baseline`), watch (`host::watch`) or decide
//! what a difference means in words (`core::drift`).
//!
//! ```text
//! look ─► find: record or open ─► moves: catch up ─► scan ─► attribute ─► group ─► Look
//!                                                               │
//! adopt / revert: select ─► contents: gather ─► the file engine ─► close ─► moves
//! ```
//!
//! **The record moves behind the changes.** The file engine's own records of a host say in order what Greenroom did to it. Beside
//! the record stands which of them are in it; whoever looks first brings in what came later. So a crash between
//! a change and the move of the record leaves nothing that is wrong, and a change never waits for it.

pub mod adopt;
mod attribute;
pub mod contents;
mod facts;
mod first;
mod group;
mod look;
mod merge;
mod moves;
mod packages;
mod place;
pub mod revert;
mod select;
mod texts;
mod units;

use std::collections::HashMap;

use greenroom_core::drift::{Drift, FoundBy};
use greenroom_core::{Changeset, Entry, Op, TreePath};

pub use adopt::{Wanted, adopt};
pub use group::verb;
pub use look::{Look, Problem, Recording, Watching, glance, look, record};
pub use revert::revert;
pub use select::{Pattern, Selection};
pub use texts::Texts;

pub(crate) use adopt::recover as recover_adoption;
pub(crate) use look::scanned;
pub(crate) use moves::{about_to, bring_up, moved};

pub use greenroom_host::baseline::Depth;

use crate::apply::Edit;
use crate::{EngineError, State};
use look::Finding;

/// Where the record of the host at `root` is.
pub(crate) fn record_of(root: &std::path::Path) -> std::path::PathBuf {
    greenroom_host::baseline::dir(root)
}

/// The units that have to read their configuration again after a change of these files.
pub(crate) fn units_of(
    site: &crate::site::Site,
    changeset: &Changeset,
) -> Result<Vec<greenroom_core::plan::UnitAction>, EngineError> {
    let database = greenroom_host::dpkg::Database::read(&mut greenroom_host::scan::Tree::open(&site.root)?)?;
    units::of(site, changeset, database.as_ref())
}

/// The changeset from the record to the host, of what was chosen.
fn changeset(found: &mut Finding, chosen: &[usize]) -> Result<Changeset, EngineError> {
    let mut entries = Vec::with_capacity(chosen.len());
    for at in chosen {
        let drift = &found.look.drift[*at];
        let mut entry = drift.entry.clone();
        if drift.found_by == FoundBy::Package && entry.before.is_none() {
            entry.before = found.of_package(&drift.entry.clone());
        }
        if entry.before != entry.after {
            entries.push(entry);
        }
    }
    Changeset::new(entries, Vec::new())
        .map_err(|source| EngineError::Damaged { path: found.baseline.root().to_owned(), source: Box::new(source) })
}

/// Brings the contents from before into the store; the paths whose content is nowhere.
fn missing(state: &State, found: &mut Finding, forward: &Changeset) -> Result<Vec<TreePath>, EngineError> {
    let unknown: Vec<TreePath> = forward
        .entries()
        .iter()
        .filter(|e| {
            e.before.is_none()
                && found.look.drift.iter().any(|d| d.entry.path == e.path && d.found_by == FoundBy::Package)
        })
        .map(|e| e.path.clone())
        .collect();
    let needs: Vec<contents::Need<'_>> = forward
        .entries()
        .iter()
        .filter(|entry| is_needed(entry))
        .filter_map(|entry| Some(contents::Need { path: &entry.path, hash: entry.before.as_ref()?.content()? }))
        .collect();
    let live = found.look.drift.iter().filter_map(|d| Some((d.entry.after.as_ref()?.content()?, d.path())));
    let elsewhere = contents::Elsewhere {
        live: live.collect::<HashMap<_, _>>(),
        databases: [found.databases.record.as_ref(), found.databases.host.as_ref()],
    };
    let mut out = contents::gather(state, &mut found.tree, &needs, &elsewhere)?;
    out.extend(unknown);
    out.sort();
    Ok(out)
}

/// Whether the way back of an entry makes a file anew. A change of metadata alone is made in place, unless names are linked.
fn is_needed(entry: &Entry) -> bool {
    let linked = |node: &Option<Box<greenroom_core::Node>>| node.as_ref().is_some_and(|n| n.link.is_some());
    entry.op() != Op::Metadata || linked(&entry.before) || linked(&entry.after)
}

/// Who had made what was chosen.
fn edits(drift: &[Drift], chosen: &[usize]) -> Vec<Edit> {
    let mut out: Vec<Edit> = Vec::new();
    for drift in chosen.iter().map(|at| &drift[*at]) {
        let by = drift.actor.as_ref().map(greenroom_core::drift::Actor::words);
        match out.iter_mut().find(|edit| edit.by == by) {
            Some(edit) => {
                edit.paths += 1;
                edit.at = edit.at.clone().max(drift.at.clone());
            }
            None => out.push(Edit { by, paths: 1, at: drift.at.clone() }),
        }
    }
    out
}
