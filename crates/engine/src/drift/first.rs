//! The first look at a host makes its record.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::time::Instant;

use greenroom_core::{ContentHash, TreePath};
use greenroom_host::apply::Guard;
use greenroom_host::baseline::{Baseline, Keep, Options, Recorded};
use greenroom_store::blobs::{BlobStore as _, DirBlobs};

use super::look::{Opened, Recording};
use super::place::{Before, Place};
use super::{contents, facts, moves, packages};
use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// Makes the record.
pub(super) fn first(
    state: &State,
    site: &Site,
    guard: &Guard<'_>,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Opened, EngineError> {
    let began = Instant::now();
    state.keeps()?;
    progress.begin("recording this host for the first time");
    let (_, changes) = moves::fresh(guard.host(), &Place::default())?;
    let mut place = Place { whole: false, changes, modified: Vec::new() };
    place.write(&site.root)?;
    let sink = Sink { blobs: &state.blobs, kept: Mutex::default() };
    let options = Options { keep: Some(&sink), ..Options::new(&site.policy, (asked.now)()) };
    let Recorded { baseline, modified, gaps, problems, .. } = Baseline::record(&site.root, &options)?;
    let kept = sink.kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    contents::remember(state, &site.root, &kept.hashes, true)?;
    facts::record(site)?;
    packages::forget(&site.root)?;
    place.modified = modified.iter().map(Before::from).collect();
    place.whole = true;
    place.write(&site.root)?;
    let recording = Recording {
        paths: baseline.meta().paths,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        kept: kept.bytes,
    };
    progress.note(&format!(
        "this host's record was made just now: {} paths in {:.1} s; from here on every difference is drift",
        recording.paths,
        began.elapsed().as_secs_f64()
    ));
    gaps.iter().for_each(|gap| progress.note(gap));
    if !problems.is_empty() {
        progress.note(&format!("{} paths could not be read and are not on record", problems.len()));
    }
    Ok((baseline, place, Some(recording)))
}

/// Keeps small contents, up to a total.
struct Sink<'a> {
    blobs: &'a DirBlobs,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    hashes: BTreeSet<ContentHash>,
    bytes: u64,
}

impl Keep for Sink<'_> {
    fn wants(&self, path: &TreePath, size: u64) -> bool {
        if !contents::is_kept(path, size) {
            return false;
        }
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fits = kept.bytes + size <= contents::TOTAL;
        kept.bytes += if fits { size } else { 0 };
        fits
    }

    fn keep(&self, _path: &TreePath, hash: &ContentHash, content: &[u8]) -> io::Result<()> {
        self.blobs.put_bytes(content).map_err(io::Error::other)?;
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).hashes.insert(*hash);
        Ok(())
    }
}
