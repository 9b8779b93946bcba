//! Recover: finishes what a crash interrupted, forward when every part had happened, back otherwise.

use std::path::Path;

use greenroom_core::plan::Part;
use greenroom_host::apply::{Direction, Faults, HostState, Phase, Recovered};

use super::record::{ChangeRecord, Kind, Records, Standing, Step};
use super::{Drive, FromBlobs, Open, Place, Report, Tools, close, host_error, undo};
use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// Whether a change is open on the host at `root`.
fn was_interrupted(root: &Path) -> Result<bool, EngineError> {
    let Some(host) = HostState::find(root).map_err(host_error)? else { return Ok(false) };
    Ok(Records::look(root).under_way()?.is_some() || !host.open_journals().map_err(host_error)?.is_empty())
}

/// Finishes the change that was interrupted on the host at `root`; `None` when there is none.
///
/// # Errors
/// Somebody else is at work, or something needs a person.
pub fn recover(
    state: &State,
    root: &Path,
    faults: &dyn Faults,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Option<Report>, EngineError> {
    let began = std::time::Instant::now();
    // Every command asks this first: the whole look is for when there is something. That there is no such tree, it says.
    if let Ok(root) = std::fs::canonicalize(root)
        && !was_interrupted(&root)?
    {
        return Ok(None);
    }
    let site = Site::look(root, state.dir())?;
    let Some(host) = HostState::find(&site.root).map_err(host_error)? else { return Ok(None) };
    let records = Records::look(&site.root);
    let guard = host.lock("recover").map_err(host_error)?;
    let Some(mut record) = records.under_way()? else {
        // The change is closed; a power cut took back only the file engine's own last word on it.
        for journal in host.open_journals().map_err(host_error)? {
            if let Recovered::After(_) = guard.recover(&journal, Direction::Forward, faults).map_err(host_error)? {
                guard.close(&journal.id).map_err(host_error)?;
            }
        }
        return Ok(None);
    };
    progress.note(&format!("{} {} was interrupted: finishing it", record.kind.word(), record.change));
    let contents = FromBlobs(&state.blobs);
    let tools = Tools { contents: &contents, faults, progress, gate: &Open, health: &[] };
    if record.kind == Kind::Adopt {
        // Nothing of the tree was touched: the file engine has it on record, or it never was.
        if matches!(record.standing, Standing::Open) {
            crate::drift::recover_adoption(&site, &guard, &mut record, faults)?;
        }
        close(state, &records, &record, asked, &tools)?;
        crate::drift::moved(state, &site, &guard, asked, &tools);
        return Ok(Some(Report::of(&record, began)));
    }
    let of = record.of.as_ref().map(|of| records.read(of)).transpose()?;
    let changesets = match &of {
        Some(of) => undo::recorded(&host, of)?,
        None => super::load(state, &record.parts.iter().map(|p| p.part.clone()).collect::<Vec<_>>())?,
    };
    let shell = super::live_shell(&site);
    let place = Place::live(&site, &shell);
    let drive = Drive {
        place: &place,
        tools: &tools,
        guard: &guard,
        records: &records,
        changesets: &changesets,
        of: of.as_ref(),
    };
    match record.standing {
        Standing::Open if all_happened(&drive, &record)? => drive.finish(&mut record)?,
        Standing::Open => {
            record.notes.push("it was interrupted before it was decided".to_owned());
            drive.take_back(&mut record)?;
        }
        Standing::TakingBack => drive.take_back(&mut record)?,
        // Only the ledger and the last word on it are missing.
        Standing::Done | Standing::TakenBack => {}
    }
    close(state, &records, &record, asked, &tools)?;
    crate::drift::moved(state, &site, &guard, asked, &tools);
    Ok(Some(Report::of(&record, began)))
}

/// Whether every part is in place, or decided to be.
fn all_happened(drive: &Drive<'_>, record: &ChangeRecord) -> Result<bool, EngineError> {
    let known = drive.guard.host().changes().map_err(host_error)?;
    Ok(record.parts.iter().all(|part| match part.part {
        Part::Live { .. } => matches!(part.step, Step::Done | Step::Elsewhere),
        Part::Files { .. } => known
            .iter()
            .any(|r| r.id == part.host_id && matches!(r.phase, Phase::Committed | Phase::Done | Phase::Closed)),
    }))
}
