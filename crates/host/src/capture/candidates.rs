//! Which paths may have changed: those that the upper layer names, and what lies below directories of which it tells less
//! than all (renamed, replaced, deleted ones).

use greenroom_core::TreePath;

use super::{Candidate, Views};
use crate::scan::{ScanError, Tree};
use crate::sys::fs::{Status, types};
use crate::sys::xattr::overlay_xattr;

struct Walk {
    lower: Tree,
    upper: Tree,
    merged: Tree,
    found: Vec<Candidate>,
}

pub(super) fn find(views: &Views) -> Result<Vec<Candidate>, ScanError> {
    walk(views, vec![(TreePath::root(), false)])
}

/// What lay below directories of the lower that are none in the copy.
pub(super) fn below(views: &Views, gone: &[TreePath]) -> Result<Vec<Candidate>, ScanError> {
    let mut lower = views.lower.again()?;
    let mut todo = Vec::new();
    for dir in gone {
        todo.extend(lower.names(dir)?.into_iter().map(|name| (dir.join(&name), true)));
    }
    walk(views, todo)
}

fn walk(views: &Views, todo: Vec<(TreePath, bool)>) -> Result<Vec<Candidate>, ScanError> {
    let (lower, upper, merged) = views.trees()?;
    let mut walk = Walk { lower, upper, merged, found: Vec::new() };
    walk.visit(todo)?;
    Ok(walk.found)
}

impl Walk {
    /// Depth first, with a list instead of recursion: trees may be deeper than a stack.
    fn visit(&mut self, mut todo: Vec<(TreePath, bool)>) -> Result<(), ScanError> {
        while let Some((path, full)) = todo.pop() {
            let (lower, merged) = (self.lower.status(&path)?, self.merged.status(&path)?);
            let is_dir = |s: &Option<Status>| s.as_ref().map(|s| s.file_type() == types::DIR);
            let (below, above) = (is_dir(&lower), is_dir(&merged));
            let names = match (below, above) {
                (Some(true), Some(true)) if full || self.hides_something(&path)? => {
                    let mut names = self.lower.names(&path)?;
                    names.extend(self.merged.names(&path)?);
                    names.sort_unstable();
                    names.dedup();
                    names.into_iter().map(|n| (n, true)).collect()
                }
                (Some(true), Some(true)) => self.in_upper(&path)?.into_iter().map(|n| (n, false)).collect(),
                (Some(true), _) => self.lower.names(&path)?.into_iter().map(|n| (n, true)).collect(),
                (_, Some(true)) => self.merged.names(&path)?.into_iter().map(|n| (n, true)).collect::<Vec<_>>(),
                _ => Vec::new(),
            };
            todo.extend(names.into_iter().map(|(name, full)| (path.join(&name), full)));
            if lower.is_some() || merged.is_some() {
                let is_dir = below != Some(false) && above != Some(false);
                self.found.push(Candidate { inner: path, is_dir });
            }
        }
        Ok(())
    }

    /// The names in the upper directory, but for regular files: these are found at once. What they are in the lower is seen
    /// when they are read ([`below`]).
    fn in_upper(&mut self, dir: &TreePath) -> Result<Vec<Box<[u8]>>, ScanError> {
        let (files, others): (Vec<_>, Vec<_>) = self.upper.entries(dir)?.into_iter().partition(|l| l.is_file);
        self.found.extend(files.iter().map(|file| Candidate { inner: dir.join(&file.name), is_dir: false }));
        Ok(others.into_iter().map(|other| other.name).collect())
    }

    /// Whether the upper directory stands for more than the names in it: it hides the lower one, or was moved here.
    fn hides_something(&mut self, path: &TreePath) -> Result<bool, ScanError> {
        let Some((dir, name)) = self.upper.place(path)? else { return Ok(true) };
        for attribute in ["opaque", "redirect"] {
            match overlay_xattr(dir, name, attribute) {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(true),
                Err(source) => return Err(ScanError::Path { path: path.clone(), source }),
            }
        }
        Ok(false)
    }
}
