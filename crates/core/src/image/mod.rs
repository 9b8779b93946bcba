//! The image of a host: what all its paths are, as one value, and what follows from two of them.
//!
//! A [`Manifest`] is a changeset from nothing to the host: it has an encoding, an identity and contents by hash already. What
//! is different between two manifests is a changeset as well ([`between`]); put onto the first it gives the second
//! ([`advanced`]). So an image that is brought up to date costs what has changed, and what one host has to change to be as another
//! is, is a change like any other.
//!
//! Not here: which paths a manifest has (`policy`), where contents are, what becomes of services.

mod alike;
mod own;

use std::collections::BTreeMap;

use crate::changeset::{DirTime, Invalid};
use crate::{Changeset, ContentHash, Entry, Mtime, Node, TreePath};

pub use alike::{Twin, apart};
pub use own::Own;

/// A changeset from nothing to a host.
pub type Manifest = Changeset;

/// The manifest of these paths, and of these times of directories. The root itself is in none.
///
/// # Errors
/// A path that none can have, or one that is there twice.
pub fn manifest(nodes: Vec<(TreePath, Box<Node>)>, times: Vec<(TreePath, Mtime)>) -> Result<Manifest, Invalid> {
    let entries = nodes.into_iter().filter(|(path, _)| path.depth() > 0);
    let entries = entries.map(|(path, node)| Entry { path, before: None, after: Some(node) }).collect();
    let times = times.into_iter().filter(|(path, _)| path.depth() > 0);
    let times = times.map(|(path, after)| DirTime { path, before: DirTime::NONE, after }).collect();
    Changeset::new(entries, times)
}

/// Whether it is one: everything in it comes from nothing.
#[must_use]
pub fn is_manifest(changeset: &Changeset) -> bool {
    changeset.entries().iter().all(|entry| entry.before.is_none())
        && changeset.dir_times().iter().all(|time| time.before == DirTime::NONE)
}

/// What differs from `a` to `b`. Both are manifests.
#[must_use]
pub fn between(a: &Manifest, b: &Manifest) -> Changeset {
    let mut entries = Vec::new();
    meet(
        a.entries(),
        b.entries(),
        |entry| &entry.path,
        |path, one, other| {
            let (before, after) = (one.and_then(|e| e.after.clone()), other.and_then(|e| e.after.clone()));
            if before != after {
                entries.push(Entry { path: path.clone(), before, after });
            }
        },
    );
    let mut times = Vec::new();
    meet(
        a.dir_times(),
        b.dir_times(),
        |time| &time.path,
        |path, one, other| {
            let (before, after) = (one.map_or(DirTime::NONE, |t| t.after), other.map_or(DirTime::NONE, |t| t.after));
            if before != after {
                times.push(DirTime { path: path.clone(), before, after });
            }
        },
    );
    // Both are sorted, and so is what comes of them.
    Changeset::new(entries, times).unwrap_or_default()
}

/// The manifest that `delta` leads to from `a`; `None` when it does not begin at `a`.
#[must_use]
pub fn advanced(a: &Manifest, delta: &Changeset) -> Option<Manifest> {
    let (mut entries, mut fits) = (Vec::new(), true);
    meet(
        a.entries(),
        delta.entries(),
        |entry| &entry.path,
        |path, one, change| {
            let now = one.and_then(|e| e.after.as_ref());
            let next = change.map_or(now, |change| {
                fits &= change.before.as_ref() == now;
                change.after.as_ref()
            });
            entries.extend(next.map(|node| Entry { path: path.clone(), before: None, after: Some(node.clone()) }));
        },
    );
    let mut times = Vec::new();
    meet(
        a.dir_times(),
        delta.dir_times(),
        |time| &time.path,
        |path, one, change| {
            let now = one.map_or(DirTime::NONE, |t| t.after);
            let next = change.map_or(now, |change| {
                fits &= change.before == now;
                change.after
            });
            if next != DirTime::NONE {
                times.push(DirTime { path: path.clone(), before: DirTime::NONE, after: next });
            }
        },
    );
    fits.then(|| Changeset::new(entries, times).ok()).flatten()
}

/// The contents that the paths of a changeset have after it, each with its length in bytes.
#[must_use]
pub fn contents(changeset: &Changeset) -> BTreeMap<ContentHash, u64> {
    let nodes = changeset.entries().iter().filter_map(|entry| entry.after.as_deref());
    nodes.filter_map(|node| Some((node.content()?, node.size()))).collect()
}

/// Of these, the contents that a path gets: those that it has before as well are where it is.
#[must_use]
pub fn fresh(changeset: &Changeset) -> BTreeMap<ContentHash, u64> {
    let gets = |entry: &&Entry| {
        let content = |node: &Option<Box<Node>>| node.as_ref().and_then(|node| node.content());
        content(&entry.before) != content(&entry.after)
    };
    let nodes = changeset.entries().iter().filter(gets).filter_map(|entry| entry.after.as_deref());
    nodes.filter_map(|node| Some((node.content()?, node.size()))).collect()
}

/// Goes through two sorted lists at once: each path with what either has of it.
fn meet<'t, T>(
    a: &'t [T],
    b: &'t [T],
    path: impl Fn(&'t T) -> &'t TreePath,
    mut take: impl FnMut(&'t TreePath, Option<&'t T>, Option<&'t T>),
) {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        match (a.peek().map(|one| path(one)), b.peek().map(|other| path(other))) {
            (None, None) => return,
            (Some(one), Some(other)) if one == other => take(one, a.next(), b.next()),
            (Some(one), Some(other)) if one < other => take(one, a.next(), None),
            (Some(one), None) => take(one, a.next(), None),
            (_, Some(other)) => take(other, None, b.next()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Kind;

    fn node(content: u8) -> Box<Node> {
        let kind = match content {
            0 => Kind::Dir,
            1 => Kind::Symlink(b"x"[..].into()),
            n => Kind::File { size: 1, content: ContentHash::of(&[n]) },
        };
        let (mode, flags, uid, gid, mtime) = (0o644, 0, 0, 0, Mtime::default());
        Box::new(Node { kind, mode, flags, uid, gid, mtime, xattrs: Box::default(), link: None })
    }

    fn any_manifest() -> impl Strategy<Value = Manifest> {
        prop::collection::btree_map("/[a-d]{1,3}", 0_u8..5, 0..20).prop_map(|paths| {
            let dirs = paths.iter().filter(|(_, content)| **content == 0);
            let times = dirs.map(|(path, _)| (path.as_str().into(), Mtime { sec: path.len() as i64, nsec: 0 }));
            let times = times.collect();
            manifest(paths.iter().map(|(path, content)| (path.as_str().into(), node(*content))).collect(), times)
                .unwrap()
        })
    }

    proptest! {
        #[test]
        fn what_is_between_two_leads_from_one_to_the_other(a in any_manifest(), b in any_manifest()) {
            let delta = between(&a, &b);
            prop_assert!(is_manifest(&a) && (a == Changeset::default() || !is_manifest(&a.inverse())));
            let there = advanced(&a, &delta);
            prop_assert_eq!(there.as_ref(), Some(&b));
            prop_assert_eq!(delta.inverse(), between(&b, &a));
            // From elsewhere it does not lead there.
            if !delta.is_empty() {
                prop_assert!(advanced(&b, &delta).is_none());
            }
            let hashes: Vec<u64> = contents(&b).into_values().collect();
            prop_assert!(hashes.len() <= b.entries().len() && hashes.iter().all(|size| *size == 1));
        }
    }
}
