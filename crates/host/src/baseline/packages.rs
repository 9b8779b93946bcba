//! Files of packages that are missing when the record is made.
//!
//! Those that are there were checked while they were read. What dpkg was told not to unpack (`path-exclude` in dpkg.cfg(5): images
//! without documentation) is not missing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use greenroom_core::TreePath;

use super::types::{BaselineError, Modified};
use crate::dpkg::{Database, Excluded, Expected};
use crate::scan::Tree;
use crate::sys::fs::types;

/// Which of the paths that have an owner the walk found as regular files.
pub(super) struct Seen(Vec<AtomicBool>);

impl Seen {
    pub(super) fn new(packages: Option<&Database>) -> Self {
        Self((0..packages.map_or(0, Database::len)).map(|_| AtomicBool::new(false)).collect())
    }

    pub(super) fn note(&self, expected: &Expected) {
        self.0[expected.row].store(true, Ordering::Relaxed);
    }

    fn has(&self, expected: &Expected) -> bool {
        self.0[expected.row].load(Ordering::Relaxed)
    }
}

/// What the packages have below `within` and the tree has not, or not as a regular file. What the walk has seen is there.
pub(super) fn missing(
    root: &Path,
    packages: &Database,
    seen: &Seen,
    within: &[TreePath],
) -> Result<(Vec<Modified>, Vec<String>), BaselineError> {
    let mut tree = Tree::open(root)?;
    let excluded = Excluded::read(&mut tree);
    let wanted = |path: &TreePath, expected: &Expected| {
        let inside = within.is_empty() || within.iter().any(|place| path.starts_with(place));
        !seen.has(expected) && inside && !excluded.covers(path)
    };
    let (mut out, mut gaps) = (Vec::new(), Vec::new());
    let candidates = packages.paths(&tree, &mut gaps, wanted)?;
    for (path, expected) in candidates {
        if tree.status(&path)?.is_some_and(|status| status.file_type() == types::FILE) {
            continue;
        }
        out.push(Modified {
            package: packages.package(expected.package).name.clone(),
            conffile: expected.conffile,
            expected: expected.md5,
            found: None,
            path,
        });
    }
    Ok((out, gaps))
}
