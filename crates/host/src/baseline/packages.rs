//! Files of packages that are missing when the record is made.
//!
//! Those that are there were checked while they were read. What dpkg was told not to unpack (`path-exclude` in dpkg.cfg(5): images
//! without documentation) is not missing.

use std::path::Path;

use greenroom_core::TreePath;

use super::types::{BaselineError, Modified};
use crate::dpkg::{Database, Excluded};
use crate::scan::Tree;
use crate::sys::fs::types;

/// What the packages have below `within` and the tree has not, or not as a regular file.
pub(super) fn missing(
    root: &Path,
    packages: &Database,
    within: &[TreePath],
) -> Result<(Vec<Modified>, Vec<String>), BaselineError> {
    let mut tree = Tree::open(root)?;
    let mut lists = Tree::open(root)?;
    let (mut out, mut failed) = (Vec::new(), None);
    let excluded = Excluded::read(&mut lists);
    let gaps = packages.each(&mut lists, &mut |path, expected| {
        let inside = within.is_empty() || within.iter().any(|place| path.starts_with(place));
        if !inside || failed.is_some() || excluded.covers(path) {
            return;
        }
        match tree.status(path) {
            Ok(Some(status)) if status.file_type() == types::FILE => {}
            Ok(_) => out.push(Modified {
                path: path.clone(),
                package: packages.package(expected.package).name.clone(),
                conffile: expected.conffile,
                expected: expected.md5,
                found: None,
            }),
            Err(error) => failed = Some(error),
        }
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok((out, gaps)),
    }
}
