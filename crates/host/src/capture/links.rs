//! Hard-link groups: which names are one file, before and after.
//!
//! With `index=on` an edit through one of two names shows through both, but the upper layer names only one. So when a file
//! with several names changed, its other names are looked for in the lower tree, by inode.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::TreePath;

use super::compare::{Pair, pair};
use super::{CaptureError, Views};
use crate::scan::{ScanError, Tree};
use crate::sys::fs::types;

pub(super) fn assign(views: &Views, pairs: &mut Vec<Pair>) -> Result<(), CaptureError> {
    if pairs.iter().all(|p| p.names_before.is_none() && p.names_after.is_none()) {
        return Ok(());
    }
    let missing = incomplete(pairs);
    if !missing.is_empty() {
        let known: BTreeSet<TreePath> = pairs.iter().map(|p| p.inner.clone()).collect();
        let (mut lower, _, mut merged) = views.trees()?;
        for inner in search(&mut lower, &missing)?.into_iter().filter(|p| !known.contains(p)) {
            pairs.push(pair(&inner, &mut lower, &mut merged)?);
        }
    }
    name_groups(views, pairs, |p| p.names_before, |p| &mut p.before);
    name_groups(views, pairs, |p| p.names_after, |p| &mut p.after);
    Ok(())
}

/// Inodes of the lower tree with more names than are known, each with the number of its names.
fn incomplete(pairs: &[Pair]) -> BTreeMap<u64, u32> {
    let mut seen: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
    for (ino, names) in pairs.iter().filter_map(|p| p.names_before) {
        seen.entry(ino).or_insert((names, 0)).1 += 1;
    }
    seen.into_iter().filter(|(_, (names, found))| found < names).map(|(ino, (names, _))| (ino, names)).collect()
}

/// All names of these inodes in the lower tree. Stops as soon as every name is found.
fn search(lower: &mut Tree, wanted: &BTreeMap<u64, u32>) -> Result<Vec<TreePath>, ScanError> {
    let device = lower.status(&TreePath::root())?.map(|s| s.dev);
    let mut left: u64 = wanted.values().map(|n| u64::from(*n)).sum();
    let mut out = Vec::new();
    let mut todo = vec![TreePath::root()];
    while let Some(dir) = todo.pop() {
        for name in lower.names(&dir)? {
            let path = dir.join(&name);
            let Some(status) = lower.status(&path)?.filter(|s| Some(s.dev) == device) else { continue };
            if status.file_type() == types::DIR {
                todo.push(path);
            } else if wanted.contains_key(&status.ino) {
                out.push(path);
                left -= 1;
                if left == 0 {
                    return Ok(out);
                }
            }
        }
    }
    Ok(out)
}

type Side = fn(&mut Pair) -> &mut Option<Box<greenroom_core::Node>>;

/// Writes into each node of a group the group's first name.
fn name_groups(views: &Views, pairs: &mut [Pair], names: fn(&Pair) -> Option<(u64, u32)>, side: Side) {
    let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, pair) in pairs.iter().enumerate() {
        if let Some((ino, _)) = names(pair) {
            groups.entry(ino).or_default().push(at);
        }
    }
    for members in groups.values().filter(|members| members.len() > 1) {
        let Some(first) = members.iter().map(|at| &pairs[*at].inner).min() else { continue };
        let first = views.whole(first).into_owned();
        for at in members {
            if let Some(node) = side(&mut pairs[*at]) {
                node.link = Some(first.clone());
            }
        }
    }
}
