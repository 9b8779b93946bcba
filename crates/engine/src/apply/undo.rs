//! Undo: the same parts in reverse order, each out of its own slots. Undo of an undo is redo.

use std::collections::BTreeSet;
use std::time::Instant;

use greenroom_core::plan::Part;
use greenroom_core::{Changeset, TreePath};
use greenroom_host::apply::{HostState, check as host_check, check_after};
use greenroom_host::scan::Tree;

use super::record::{ChangeRecord, Kind, Records, Standing, Step};
use super::{
    Again, Drive, FromBlobs, Place, Report, Tools, Wanted, close, fresh, fresh_id, host_error, part_records, refusal,
};
use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// Takes a change back.
///
/// # Errors
/// A refusal, with every path that a later change or an edit touched: nothing was touched.
pub fn undo(state: &State, wanted: &Wanted<'_>, asked: &Asked, progress: &dyn Progress) -> Result<Report, EngineError> {
    let began = Instant::now();
    let site = Site::look(wanted.root, state.dir())?;
    let records = Records::look(&site.root);
    let named = records.read(wanted.id)?;
    let host = HostState::open(&site.root).map_err(host_error)?;
    let guard = host.lock(&format!("undo {}", wanted.id)).map_err(host_error)?;
    let all = records.all()?;
    may_be_undone(&named)?;
    let of = in_place_by(&named, &all)?.clone();
    let changesets = recorded(&host, &of)?;
    must_be_there(&of, &changesets)?;
    progress.begin("checking that the host is as the change left it");
    check(&site, &host, &of, &changesets, &all)?;
    let change = fresh_id(state, &records)?;
    let mut record = ChangeRecord {
        why: wanted.why.clone(),
        at: asked.stamp(),
        actor: asked.actor.clone(),
        rollout: wanted.rollout.clone(),
        ..inverse_record(&of, &change)
    };
    crate::drift::about_to(&site)?;
    progress.begin("taking it back");
    let shell = super::live_shell(&site);
    let place = Place::live(&site, &shell);
    let contents = FromBlobs(&state.blobs);
    let again = || check(&site, &host, &of, &changesets, &all);
    let gate = Again { gate: wanted.gate, check: &again };
    let tools = Tools { contents: &contents, faults: wanted.faults, progress, gate: &gate, health: &wanted.health };
    let drive = Drive {
        place: &place,
        tools: &tools,
        guard: &guard,
        records: &records,
        changesets: &changesets,
        of: Some(&of),
    };
    drive.run(&mut record)?;
    close(state, &records, &record, asked, &tools)?;
    crate::drift::moved(state, &site, &guard, asked, &tools);
    Ok(Report::of(&record, began))
}

/// The change that takes `of` back.
pub(crate) fn inverse_record(of: &ChangeRecord, change: &str) -> ChangeRecord {
    let plan: Vec<Part> = of.parts.iter().map(|p| p.part.clone()).collect();
    let mut parts = part_records(change, &plan);
    // What was run on another host is taken back there.
    let elsewhere = parts.iter_mut().zip(&of.parts).filter(|(_, of)| of.step == Step::Elsewhere);
    elsewhere.for_each(|(part, _)| part.step = Step::Elsewhere);
    ChangeRecord {
        change: change.to_owned(),
        kind: Kind::Undo,
        of: Some(of.change.clone()),
        rollout: None,
        forward: !of.forward,
        parts,
        standing: Standing::Open,
        services: Vec::new(),
        notes: Vec::new(),
        edits: Vec::new(),
        aside: Vec::new(),
        forgotten: None,
        ..of.clone()
    }
}

/// The record by which a change is in place: its own, or that of the last undo of an undo that brought it back.
fn in_place_by<'a>(named: &'a ChangeRecord, all: &'a [ChangeRecord]) -> Result<&'a ChangeRecord, EngineError> {
    let inverse = |of: &ChangeRecord| {
        all.iter().rev().find(|r| r.of.as_ref() == Some(&of.change) && r.standing == Standing::Done)
    };
    let mut at = named;
    while let Some(by) = inverse(at) {
        at = inverse(by).ok_or_else(|| {
            EngineError::refused(
                format!("{} was taken back already, by {}", named.change, by.change),
                format!("`greenroom undo {}` brings it back", by.change),
            )
        })?;
    }
    Ok(at)
}

fn may_be_undone(of: &ChangeRecord) -> Result<(), EngineError> {
    if of.standing != Standing::Done {
        return Err(EngineError::refused(
            format!("{} is not in place: it failed and was taken back at once", of.change),
            "there is nothing to undo",
        ));
    }
    if let Some(at) = &of.forgotten {
        return Err(EngineError::refused(
            format!("{} cannot be undone any more: its before-images were dropped on {at}", of.change),
            "rehearse the opposite; `greenroom show` has what it did",
        ));
    }
    if !of.no_way_back.is_empty() {
        let paths: Vec<String> = of.no_way_back.iter().take(10).map(ToString::to_string).collect();
        let more = of.no_way_back.len().saturating_sub(paths.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(EngineError::refused(
            format!(
                "{} has no way back: what was there before it is not at hand for {}{more}",
                of.change,
                paths.join(", ")
            ),
            "what was there has to be brought back by hand, from a package or a backup",
        ));
    }
    let dead = of.parts.iter().find_map(|p| match &p.part {
        Part::Live { step, undo: None, .. } if of.forward && p.step != Step::Elsewhere => Some(*step),
        _ => None,
    });
    match dead {
        Some(step) => Err(EngineError::refused(
            format!("{} has a live step (number {step}) without an undo command", of.change),
            "what it did has to be taken back by hand",
        )),
        None => Ok(()),
    }
}

/// Without what the file engine keeps of a part, nothing would be undone and nothing would say so.
fn must_be_there(of: &ChangeRecord, changesets: &[Option<Changeset>]) -> Result<(), EngineError> {
    let gone = of.parts.iter().zip(changesets).find(|(part, known)| !part.host_id.is_empty() && known.is_none());
    match gone {
        None => Ok(()),
        Some((part, _)) => Err(EngineError::refused(
            format!("{} cannot be undone: what the host kept of it ({}) is gone", of.change, part.host_id),
            "rehearse the opposite; `greenroom show` has what it did",
        )),
    }
}

/// The changesets by part, in the direction of the rehearsal.
pub(crate) fn recorded(host: &HostState, of: &ChangeRecord) -> Result<Vec<Option<Changeset>>, EngineError> {
    let known = host.changes().map_err(host_error)?;
    of.parts
        .iter()
        .map(|part| match known.iter().find(|r| r.id == part.host_id) {
            Some(record) if matches!(part.part, Part::Files { .. }) => {
                host.changeset(record).map(Some).map_err(host_error)
            }
            _ => Ok(None),
        })
        .collect()
}

/// Checks the parts in the order in which they will go back, each path where it comes first.
fn check(
    site: &Site,
    host: &HostState,
    of: &ChangeRecord,
    changesets: &[Option<Changeset>],
    all: &[ChangeRecord],
) -> Result<(), EngineError> {
    let mut seen: BTreeSet<&TreePath> = BTreeSet::new();
    let order: Vec<&Option<Changeset>> =
        if of.forward { changesets.iter().rev().collect() } else { changesets.iter().collect() };
    for changeset in order {
        let Some(changeset) = changeset else { break };
        let fresh = fresh(changeset, &seen);
        let tree = Tree::open(&site.root)?;
        let found = if of.forward { check_after(&tree, &fresh) } else { host_check(&tree, &fresh, None) };
        let found = found.map_err(host_error)?;
        if !found.is_empty() {
            let described: Vec<_> = found.iter().map(refusal::describe).collect();
            let touched_by = later(host, of, all, &described);
            return Err(EngineError::Conflicts(refusal::Conflicts { paths: described, touched_by }));
        }
        seen.extend(changeset.entries().iter().map(|entry| &entry.path));
    }
    Ok(())
}

/// Changes since `of` that touched one of these paths.
fn later(host: &HostState, of: &ChangeRecord, all: &[ChangeRecord], paths: &[refusal::Described]) -> Vec<String> {
    let number = |id: &str| id.trim_start_matches('c').parse::<u64>().unwrap_or(0);
    let since = all.iter().filter(|r| number(&r.change) > number(&of.change) && r.standing == Standing::Done);
    let touches = |record: &&ChangeRecord| {
        let changesets = recorded(host, record).unwrap_or_default();
        changesets.iter().flatten().any(|c| paths.iter().any(|p| c.get(&p.path).is_some()))
    };
    since.filter(touches).map(|r| format!("{} ({})", r.change, r.name)).collect()
}
