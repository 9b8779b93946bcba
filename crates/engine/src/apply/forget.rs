//! Gives up the way back of old changes: removes their before-images from the host, because a person said so.
//!
//! A change goes with all that took it back or brought it back, since they share the images, and only when the last of them is
//! old enough. First each record says that the way back is gone, then the ledger, then the images go; so an interruption
//! leaves nothing that pretends to be undoable, and the next call takes up what is left. Kept whatever their age: changes
//! under way, and those whose undo moved data aside that nobody has but the images.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use greenroom_core::TreePath;
use greenroom_core::policy::Class;
use greenroom_host::apply::{Guard, HostState, Keep, NoFaults};
use greenroom_store::ledger::{Draft, Ledger as _};
use serde::Serialize;

use super::host_error;
use super::record::{ChangeRecord, Kind, Records, Standing};
use crate::site::Site;
use crate::{Asked, EngineError, State};

/// What was given up.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Forgotten {
    /// The changes that cannot be undone, or redone, any more.
    pub changes: Vec<String>,
    /// Bytes on the host that their images took.
    pub bytes: u64,
    /// Changes that are old enough and are kept, because their undo moved data aside.
    pub kept: Vec<String>,
}

/// Drops the before-images of changes whose last word is older than `age`.
///
/// # Errors
/// Somebody else is at work, or a record cannot be read or written.
pub fn forget(
    state: &State,
    root: &Path,
    age: Duration,
    dry_run: bool,
    asked: &Asked,
) -> Result<Forgotten, EngineError> {
    let site = Site::look(root, state.dir())?;
    let mut out = Forgotten::default();
    let Some(host) = HostState::find(&site.root).map_err(host_error)? else { return Ok(out) };
    let guard = host.lock("gc").map_err(host_error)?;
    let records = Records::look(&site.root);
    let all = records.all()?;
    // What a change did is known from its images' own record.
    crate::drift::bring_up(state, &site, &guard, asked, &NoFaults)?;
    let known: BTreeSet<String> = host.changes().map_err(host_error)?.into_iter().map(|r| r.id).collect();
    for first in all.iter().filter(|record| record.kind != Kind::Undo) {
        let chain = chain(&all, first);
        let has_images = first.parts.iter().any(|part| known.contains(&part.host_id));
        if !has_images || !chain.iter().all(|record| is_over(record) && is_old(record, age, asked)) {
            continue;
        }
        // Data of the host's own lies among the images of an undo that moved it aside, until a redo brings it back.
        let last = chain.iter().rev().find(|record| record.standing == Standing::Done);
        let is_data = |path: &TreePath| site.policy.class(path, false) != Class::Volatile;
        if last.is_some_and(|record| record.aside.iter().any(is_data)) {
            out.kept.push(first.change.clone());
            continue;
        }
        let images = first.parts.iter().map(|part| &part.host_id).filter(|id| known.contains(*id));
        let images: Vec<&String> = images.collect();
        for id in &images {
            out.bytes += guard.images_size(id).map_err(host_error)?;
        }
        out.changes.extend(chain.iter().map(|record| record.change.clone()));
        if !dry_run {
            Chain { state, records: &records, guard: &guard, asked }.drop(first, &chain, &images)?;
        }
    }
    Ok(out)
}

struct Chain<'a> {
    state: &'a State,
    records: &'a Records,
    guard: &'a Guard<'a>,
    asked: &'a Asked,
}

impl Chain<'_> {
    fn drop(&self, first: &ChangeRecord, chain: &[&ChangeRecord], images: &[&String]) -> Result<(), EngineError> {
        let at = self.asked.stamp();
        for record in chain.iter().filter(|record| record.forgotten.is_none()) {
            self.records.write(&ChangeRecord { forgotten: Some(at.clone()), ..(*record).clone() })?;
        }
        let root = self.records.root().display().to_string();
        let names: Vec<&String> = chain.iter().map(|record| &record.change).collect();
        self.state.ledger.append_once(
            &format!("{root} {} forgotten", first.change),
            &Draft {
                at,
                kind: "forget".to_owned(),
                actor: self.asked.actor.clone(),
                change: Some(first.change.clone()),
                rehearsal: Some(first.rehearsal.clone()).filter(|id| !id.is_empty()),
                root,
                why: None,
                detail: serde_json::json!({
                    "name": first.name, "outcome": "way_back_dropped", "entries": first.entries, "changes": names,
                }),
            },
        )?;
        images.iter().try_for_each(|id| self.guard.forget(id, Keep::Nothing).map_err(host_error))
    }
}

/// A change, its undo, the undo of that, and so on; failed attempts too.
fn chain<'a>(all: &'a [ChangeRecord], first: &'a ChangeRecord) -> Vec<&'a ChangeRecord> {
    let mut out = vec![first];
    for record in all {
        if record.of.as_ref().is_some_and(|of| out.iter().any(|known| known.change == *of)) {
            out.push(record);
        }
    }
    out
}

fn is_over(record: &ChangeRecord) -> bool {
    matches!(record.standing, Standing::Done | Standing::TakenBack)
}

/// A time that cannot be read is nobody's reason to drop something.
fn is_old(record: &ChangeRecord, age: Duration, asked: &Asked) -> bool {
    let Ok(at) = record.at.parse::<jiff::Timestamp>() else { return false };
    let since = (asked.now)().duration_since(at);
    Duration::try_from(since).is_ok_and(|since| since >= age)
}
