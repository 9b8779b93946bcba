//! Drops what nothing needs any more: rehearsals that were never applied and are not among the last, changesets that no record
//! names, contents that no changeset names, what came into the store with them and is no content, copies that a killed process left.
//!
//! Never dropped: anything that an applied change or its undo refers to, what the record of a host keeps for its diffs and
//! reverts, and the before-images on the host itself (see [`crate::apply::forget`] for those). It works alone: who adds contents
//! meanwhile may count on one that is there. Rehearsals that are being held hold the lock of their copy, and nothing that is younger than
//! an hour goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use greenroom_core::plan::Part;
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::{Changeset, ContentHash};
use greenroom_store::blobs::BlobStore as _;
use greenroom_store::ledger::{Filter, Ledger as _};
use serde::Serialize;

use crate::apply::Records;
use crate::{EngineError, State};

/// What to drop.
pub struct Wanted<'a> {
    /// The host's tree.
    pub root: &'a Path,
    /// This many rehearsals are kept in any case, the last ones.
    pub keep: usize,
    /// Only say what would go.
    pub dry_run: bool,
    /// What is younger may belong to a rehearsal that is being held: [`YOUNG`].
    pub young: Duration,
}

/// What went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Gone {
    /// Rehearsals, by name.
    pub rehearsals: Vec<String>,
    /// Changesets.
    pub changesets: usize,
    /// Contents.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Directories of copies whose process is gone.
    pub copies: usize,
}

/// A rehearsal is not held longer than this without having its record.
pub const YOUNG: Duration = Duration::from_secs(3600);

/// Drops what nothing needs.
///
/// # Errors
/// The state cannot be read; nothing is dropped then.
pub fn collect(state: &State, wanted: &Wanted<'_>) -> Result<Gone, EngineError> {
    let mut gone = Gone::default();
    let _alone = state.alone()?.ok_or_else(|| {
        EngineError::refused("something is being put on record in this state", "greenroom gc once that is over")
    })?;
    let mut applied = applied(state)?;
    // The host's own records know too, should the ledger have been begun anew.
    applied.extend(Records::look(wanted.root).all()?.into_iter().map(|record| record.rehearsal));
    let names = state.rehearsals()?;
    let last = names.len().saturating_sub(wanted.keep);
    let (old, recent) = names.split_at(last);
    gone.rehearsals = old.iter().filter(|name| !applied.contains(*name)).cloned().collect();
    let mut kept: Vec<Rehearsal> = Vec::new();
    for name in recent.iter().chain(old.iter().filter(|name| applied.contains(*name))) {
        kept.push(state.rehearsal(name)?);
    }
    let mut needed: BTreeSet<ContentHash> = kept.iter().flat_map(changesets_of).collect();
    needed.extend(by_hand(state)?);
    let mut contents = crate::drift::contents::needed(state)?;
    for id in &needed {
        contents.extend(contents_of(&state.changeset(id)?));
    }
    if !wanted.dry_run {
        for name in &gone.rehearsals {
            state.drop_rehearsal(name)?;
        }
        gone.copies = greenroom_host::copy::sweep(&state.dir().join("copies"))
            .map_err(EngineError::system("remove old copies"))?;
    }
    drop_changesets(state, &needed, wanted, &mut gone)?;
    drop_blobs(state, &contents, wanted, &mut gone)?;
    Ok(gone)
}

/// The rehearsals that some change on any host came from.
fn applied(state: &State) -> Result<BTreeSet<String>, EngineError> {
    let entries = state.ledger.entries(&Filter::default())?.entries;
    Ok(entries.into_iter().filter(|e| e.change.is_some()).filter_map(|e| e.rehearsal).collect())
}

/// The changesets of what was adopted and reverted: no rehearsal has them. One whose attempt came to nothing may be gone.
fn by_hand(state: &State) -> Result<Vec<ContentHash>, EngineError> {
    let entries = state.ledger.entries(&Filter::default())?.entries;
    let of = entries.iter().filter(|e| e.change.is_some() && e.rehearsal.is_none());
    let ids = of.filter_map(|e| e.detail.get("changeset")?.as_str()?.parse().ok());
    Ok(ids.filter(|id| state.changeset_path(id).exists()).collect())
}

fn changesets_of(rehearsal: &Rehearsal) -> Vec<ContentHash> {
    let parts = rehearsal.parts.iter().filter_map(|part| match part {
        Part::Files { changeset, .. } => Some(*changeset),
        Part::Live { .. } => None,
    });
    parts.chain(rehearsal.changeset).collect()
}

fn contents_of(changeset: &Changeset) -> impl Iterator<Item = ContentHash> + '_ {
    changeset.entries().iter().flat_map(|e| [&e.before, &e.after]).flatten().filter_map(|node| node.content())
}

fn is_young(path: &Path, young: Duration) -> bool {
    let age = fs::metadata(path).and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_none_or(|age| age < young)
}

fn drop_changesets(
    state: &State,
    needed: &BTreeSet<ContentHash>,
    wanted: &Wanted<'_>,
    gone: &mut Gone,
) -> Result<(), EngineError> {
    let dir = state.dir().join("changesets");
    for entry in fs::read_dir(&dir).map_err(EngineError::file("read", &dir))?.flatten() {
        let id: Option<ContentHash> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if id.is_some_and(|id| needed.contains(&id)) || is_young(&entry.path(), wanted.young) {
            continue;
        }
        gone.changesets += 1;
        if !wanted.dry_run {
            fs::remove_file(entry.path()).map_err(EngineError::file("delete", entry.path()))?;
        }
    }
    Ok(())
}

fn drop_blobs(
    state: &State,
    needed: &BTreeSet<ContentHash>,
    wanted: &Wanted<'_>,
    gone: &mut Gone,
) -> Result<(), EngineError> {
    let damaged = |error: greenroom_store::blobs::BlobError| EngineError::Damaged {
        path: state.dir().join("blobs"),
        source: Box::new(error),
    };
    let all: BTreeSet<ContentHash> = state.blobs.iter().collect::<Result<_, _>>().map_err(damaged)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let seconds = |n: u64| i64::try_from(n).unwrap_or(0);
    let limit = seconds(now) - seconds(wanted.young.as_secs());
    for hash in all.into_iter().filter(|hash| !needed.contains(hash)) {
        let Some(stored) = state.blobs.stored(hash).map_err(damaged)?.filter(|stored| stored.since <= limit) else {
            continue;
        };
        gone.blobs += 1;
        gone.bytes += stored.bytes;
        if !wanted.dry_run {
            state.blobs.remove(hash).map_err(damaged)?;
        }
    }
    if wanted.dry_run { Ok(()) } else { state.blobs.sweep(limit).map_err(damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_while_somebody_counts_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (State::open(dir.path()).unwrap(), State::open(dir.path()).unwrap());
        here.blobs.put_bytes(b"found by whoever needs it").unwrap();
        let wanted = Wanted { root: dir.path(), keep: 0, dry_run: false, young: Duration::ZERO };
        there.keeps().unwrap();
        assert!(matches!(collect(&here, &wanted), Err(EngineError::Refused { .. })));
        drop(there);
        assert_eq!(collect(&here, &wanted).unwrap().blobs, 1);
    }
}
