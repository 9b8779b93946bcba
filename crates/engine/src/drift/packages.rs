//! The package database that is on record: that of the first record, or a later one since a change of packages became part of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use greenroom_core::{ContentHash, TreePath};
use greenroom_host::baseline::Baseline;
use greenroom_host::dpkg::Database;
use greenroom_host::scan::Tree;

use super::moves::Moved;
use super::place::beside;
use crate::EngineError;
use crate::site::Site;
use crate::state::write_durably;

/// No status file is larger, in bytes.
const LARGEST: u64 = 256 << 20;

fn path(root: &Path) -> PathBuf {
    beside(root, "packages.moved")
}

/// The packages of the record; `None`: the tree had none.
pub(super) fn read(baseline: &Baseline) -> Result<Option<Database>, EngineError> {
    let path = path(baseline.root());
    match fs::read(&path) {
        Ok(bytes) => {
            let damaged = || EngineError::Damaged { path, source: "it is no package database".into() };
            Database::decode(&bytes).map(Some).ok_or_else(damaged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(baseline.packages()?),
        Err(source) => Err(EngineError::File { doing: "read", path, source }),
    }
}

/// Forgets what moved: the record is made anew.
pub(super) fn forget(root: &Path) -> Result<(), EngineError> {
    let path = path(root);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::File { doing: "delete", path, source: error })
        }
        _ => Ok(()),
    }
}

/// Takes the host's packages on record when the status file that goes on record is the one that is there. When somebody changed
/// packages again since, what is known of the record's stays as it was: versions in a report then begin earlier.
pub(super) fn moved(site: &Site, effect: &Moved, tree: &mut Tree) -> Result<(), EngineError> {
    let status = TreePath::from("/var/lib/dpkg/status");
    let Some(on_record) = effect.get(&status).and_then(|node| node.as_deref()?.content()) else { return Ok(()) };
    let is_it = tree.content(&status, LARGEST)?.is_some_and(|text| ContentHash::of(&text) == on_record);
    let Some(database) = Database::read(tree)?.filter(|_| is_it) else { return Ok(()) };
    let path = path(&site.root);
    write_durably(&path, &database.encode()).map_err(EngineError::file("write", path))
}
