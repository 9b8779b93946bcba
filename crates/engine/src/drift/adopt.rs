//! Adopt: what was found on the host becomes part of its record, as a change like any other.
//!
//! Nothing of the tree is touched. The old contents are brought together from where they are (`contents`) and go into the slots
//! of the change, so that it can be taken back by the same exchanges as any other. Where one of them is nowhere, the whole change
//! is on record without a way back, and says for which paths.

use std::path::Path;
use std::time::Instant;

use greenroom_core::plan::Part;
use greenroom_core::policy::Class;
use greenroom_core::{Changeset, TreePath};
use greenroom_host::apply::{Direction, Faults, Guard, HostState, Phase};

use super::look::{Finding, find};
use super::select::{Selection, Toward, select, whole_packages};
use super::{edits, facts, moves};
use crate::apply::{
    ChangeRecord, FromBlobs, Kind, Open, Records, Report, Standing, Tools, close, fresh_id, host_error, part_records,
};
use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// What a person asks for.
pub struct Wanted<'a> {
    /// The host's tree.
    pub root: &'a Path,
    /// Which of its drift.
    pub selection: Selection,
    /// Why, for the ledger.
    pub why: Option<String>,
    /// Where to be interrupted, in tests.
    pub faults: &'a dyn Faults,
}

/// Makes drift part of the record.
///
/// # Errors
/// Nothing of that kind differs; somebody else is at work; something cannot be read or written.
pub fn adopt(
    state: &State,
    wanted: &Wanted<'_>,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Report, EngineError> {
    let began = Instant::now();
    let site = Site::look(wanted.root, state.dir())?;
    let host = HostState::open(&site.root).map_err(host_error)?;
    let guard = host.lock("adopt").map_err(host_error)?;
    let records = Records::open(&site.root)?;
    let mut found = find(state, &site, &guard, asked, progress)?;
    found.take_unrecorded()?;
    let chosen = select(&found.look.drift, &wanted.selection, Toward::Host)?;
    whole_packages(&found.look.drift, &found.look.groups, &chosen)?;
    let has_more = wanted.selection.all && !found.look.runtime.is_empty();
    if chosen.is_empty() && !has_more {
        return Err(EngineError::refused("no file differs from the record", "`greenroom status` says what does"));
    }
    let forward = super::changeset(&mut found, &chosen)?;
    let no_way_back = lost(state, &site, &mut found, &forward)?;
    let has_way_back = no_way_back.is_empty() && absent(&found, &chosen).is_empty();
    let (changeset, goes_forward) = if has_way_back { (forward.into_inverse(), false) } else { (forward, true) };
    let change = fresh_id(state, &records)?;
    let mut record =
        ChangeRecord { forward: goes_forward, no_way_back, ..by_hand(state, Kind::Adopt, &change, &changeset, asked)? };
    // What is missing of a package, and nobody knows how it was, is no entry of a changeset.
    let absent = absent(&found, &chosen);
    record.entries += absent.len();
    record.no_way_back.extend(absent.iter().cloned());
    record.name = name(&found, &chosen);
    record.why.clone_from(&wanted.why);
    record.edits = edits(&found.look.drift, &chosen);
    if wanted.selection.all {
        record.notes.extend(found.look.runtime.iter().map(|one| format!("taken on record: {}", one.detail)));
    }
    let contents = FromBlobs(&state.blobs);
    let tools = Tools { contents: &contents, faults: wanted.faults, progress, gate: &Open, health: &[] };
    progress.begin("putting it on record");
    records.begin(&record)?;
    if let Err(error) = put(&guard, &record, &changeset, &tools) {
        record.standing = Standing::TakenBack;
        record.notes.push(error.to_string());
        records.end(&record)?;
        return Err(error);
    }
    record.standing = Standing::Done;
    facts::adopted(&site, wanted.selection.all, &changeset.entries().iter().map(|e| e.path.clone()).collect())?;
    close(state, &records, &record, asked, &tools)?;
    moves::decided(&site, &absent)?;
    moves::moved(state, &site, &guard, asked, &tools);
    Ok(Report::of(&record, began))
}

/// What is gone of packages since before there was a record.
fn absent(found: &Finding, chosen: &[usize]) -> Vec<TreePath> {
    let drift = chosen.iter().map(|at| &found.look.drift[*at]);
    let absent = drift.filter(|d| d.entry.before.is_none() && d.entry.after.is_none());
    absent.map(|d| d.path().clone()).collect()
}

fn put(guard: &Guard<'_>, record: &ChangeRecord, changeset: &Changeset, tools: &Tools<'_>) -> Result<(), EngineError> {
    let meta = serde_json::json!({ "change": record.change });
    let done = if record.forward {
        guard.adopt(&record.change, changeset, meta)
    } else {
        guard.adopt_with_way_back(&record.change, changeset, tools.contents, meta, tools.faults)
    };
    done.map_err(host_error)
}

/// The paths whose way back is closed: their old content is nowhere, or they belong to the boot, which is never transplanted.
fn lost(state: &State, site: &Site, found: &mut Finding, forward: &Changeset) -> Result<Vec<TreePath>, EngineError> {
    let mut out = super::missing(state, found, forward)?;
    let is_boot = |path: &&TreePath| site.policy.class(path, false) == Class::Boot;
    let is_new = |path: &&TreePath| found.unrecorded.contains(path);
    out.extend(forward.entries().iter().map(|e| &e.path).filter(|path| is_boot(path) || is_new(path)).cloned());
    out.sort();
    out.dedup();
    Ok(out)
}

/// A change that comes from no rehearsal, with one part of files.
pub(super) fn by_hand(
    state: &State,
    kind: Kind,
    change: &str,
    changeset: &Changeset,
    asked: &Asked,
) -> Result<ChangeRecord, EngineError> {
    let id = state.save_changeset(changeset)?;
    let entries = changeset.entries().len();
    Ok(ChangeRecord {
        change: change.to_owned(),
        kind,
        of: None,
        rehearsal: String::new(),
        rollout: None,
        name: String::new(),
        why: None,
        at: asked.stamp(),
        actor: asked.actor.clone(),
        changeset: Some(id),
        entries,
        forward: true,
        parts: part_records(change, &[Part::Files { changeset: id, entries }]),
        jobs: Vec::new(),
        options: greenroom_core::change::ApplyOptions::default(),
        standing: Standing::Open,
        services: Vec::new(),
        notes: Vec::new(),
        no_way_back: Vec::new(),
        edits: Vec::new(),
        aside: Vec::new(),
        forgotten: None,
    })
}

/// What the change is called: the line of its group where there is one.
pub(super) fn name(found: &Finding, chosen: &[usize]) -> String {
    let mut ids: Vec<&str> = chosen.iter().map(|at| found.look.drift[*at].group.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.as_slice() {
        [one] => found.look.groups.iter().find(|g| g.id == *one).map_or_else(String::new, |g| g.title.clone()),
        many => format!("{} paths in {} groups", chosen.len(), many.len()),
    }
}

/// Finishes an adoption that was interrupted: it is on record by the file engine's own word, or it never was.
///
/// # Errors
/// The file engine's.
pub(crate) fn recover(
    site: &Site,
    guard: &Guard<'_>,
    record: &mut ChangeRecord,
    faults: &dyn Faults,
) -> Result<(), EngineError> {
    let known = guard.host().changes().map_err(host_error)?;
    let journal = known.iter().find(|r| r.id == record.change);
    record.standing = match journal {
        Some(journal) if journal.phase == Phase::Closed => {
            let changeset = guard.host().changeset(journal).map_err(host_error)?;
            facts::adopted(site, false, &changeset.entries().iter().map(|e| e.path.clone()).collect())?;
            Standing::Done
        }
        Some(journal) => {
            guard.recover(journal, Direction::Back, faults).map_err(host_error)?;
            Standing::TakenBack
        }
        None => Standing::TakenBack,
    };
    Ok(())
}
