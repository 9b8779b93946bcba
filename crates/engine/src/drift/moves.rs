//! Brings into the record what Greenroom did to the host since it was there last.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::{Node, TreePath};
use greenroom_host::apply::{Direction, Faults, Guard, HostState, Phase, Record};
use greenroom_host::baseline::{Baseline, Options};
use greenroom_host::scan::Tree;

use super::place::{Place, beside};
use super::{contents, facts, packages};
use crate::apply::{Tools, host_error};
use crate::site::Site;
use crate::{Asked, EngineError, State};

/// What Greenroom's changes made of paths, in their order.
pub(super) type Moved = BTreeMap<TreePath, Option<Box<Node>>>;

/// The host's changes that are not in the record yet, the earliest first, and all that are in it then.
pub(super) fn fresh(host: &HostState, place: &Place) -> Result<(Vec<Record>, BTreeSet<String>), EngineError> {
    let known = host.changes().map_err(host_error)?;
    // Nothing comes after one that is open; whoever finishes it decides about it.
    let decided: Vec<Record> = known.into_iter().take_while(|record| !record.phase.is_open()).collect();
    let all = decided.iter().map(|record| record.id.clone()).collect();
    let is_fresh = |record: &Record| record.phase == Phase::Closed && !place.changes.contains(&record.id);
    Ok((decided.into_iter().filter(is_fresh).collect(), all))
}

/// What the paths of these changes are after them.
pub(super) fn effect(host: &HostState, records: &[Record]) -> Result<Moved, EngineError> {
    let mut out = Moved::new();
    for record in records {
        let changeset = host.changeset(record).map_err(host_error)?;
        for entry in changeset.entries() {
            let now = if record.direction == Direction::Forward { &entry.after } else { &entry.before };
            out.insert(entry.path.clone(), now.clone());
        }
    }
    Ok(out)
}

/// Brings the record up to the last change. Done twice, it is as if it had been done once.
pub(super) fn catch_up(
    state: &State,
    site: &Site,
    guard: &Guard<'_>,
    baseline: Baseline,
    asked: &Asked,
    faults: &dyn Faults,
) -> Result<(Baseline, Place), EngineError> {
    let mut place = whole(site)?;
    faults.hit("record.begun").map_err(EngineError::system("go on after record.begun"))?;
    let (records, all) = fresh(guard.host(), &place)?;
    if all == place.changes {
        if guard.host().open_journals().map_err(host_error)?.is_empty() {
            // A change that was refused, or killed before it began, did nothing beyond files either.
            facts::forget_before(site)?;
        }
        return Ok((baseline, place));
    }
    facts::settle(site)?;
    if records.is_empty() {
        place.changes = all;
        place.write(&site.root)?;
        return Ok((baseline, place));
    }
    let effect = effect(guard.host(), &records)?;
    let mut tree = Tree::open(&site.root)?;
    let nodes = effect.iter().filter_map(|(path, node)| Some((path, node.as_deref()?)));
    contents::remember(state, &site.root, &contents::keep(state, &mut tree, nodes)?, false)?;
    let changes: Vec<(TreePath, Option<Node>)> =
        effect.iter().map(|(path, node)| (path.clone(), node.as_deref().cloned())).collect();
    let baseline = baseline.advance(&changes, &Options::new(&site.policy, (asked.now)()))?;
    faults.hit("record.advanced").map_err(EngineError::system("go on after record.advanced"))?;
    packages::moved(site, &effect, &mut tree)?;
    place.modified.retain(|one| !effect.contains_key(&one.path));
    place.changes = all;
    place.write(&site.root)?;
    Ok((baseline, place))
}

/// Somebody decided about files of packages that were missing when the record was made.
pub(super) fn decided(site: &Site, paths: &[TreePath]) -> Result<(), EngineError> {
    if paths.is_empty() {
        return Ok(());
    }
    let mut place = whole(site)?;
    place.modified.retain(|one| !paths.contains(&one.path));
    place.write(&site.root)
}

/// How far a record has come that is there.
pub(super) fn whole(site: &Site) -> Result<Place, EngineError> {
    let damaged = || EngineError::Damaged {
        path: beside(&site.root, ""),
        source: "its moved.json is missing; without it nobody knows which changes are in the record".into(),
    };
    Place::read(&site.root)?.filter(|place| place.whole).ok_or_else(damaged)
}

/// Before a change of a host: how it is beyond files, if it has a record.
pub(crate) fn about_to(site: &Site) -> Result<(), EngineError> {
    facts::about_to(site)
}

/// Brings the record up, if there is one.
///
/// # Errors
/// It cannot be read or written; it is as it was then.
pub(crate) fn bring_up(
    state: &State,
    site: &Site,
    guard: &Guard<'_>,
    asked: &Asked,
    faults: &dyn Faults,
) -> Result<(), EngineError> {
    if !Place::read(&site.root)?.is_some_and(|place| place.whole) {
        return Ok(());
    }
    match Baseline::open(&site.root)? {
        Some(baseline) => catch_up(state, site, guard, baseline, asked, faults).map(drop),
        None => Ok(()),
    }
}

/// The same after a change. Should it fail, the next look does it.
pub(crate) fn moved(state: &State, site: &Site, guard: &Guard<'_>, asked: &Asked, tools: &Tools<'_>) {
    // A change of live steps alone has no files, and may have done something beyond them.
    let done = facts::settle(site).and_then(|()| bring_up(state, site, guard, asked, tools.faults));
    if let Err(error) = done {
        tools.progress.note(&format!("the record of this host will be moved by the next status: {error}"));
    }
}
