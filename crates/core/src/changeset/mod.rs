//! What a change did to a tree: entries `(path, before, after)` in byte order of their paths, and the times of
//! directories that were touched on the way.
//!
//! A changeset is a value: its identity is the BLAKE3 hash of its canonical encoding ([`codec`]), its inverse swaps the sides,
//! two of them that follow each other compose. It holds no content, only the content's hash.

pub mod codec;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::{ContentHash, Mtime, Node, TreePath};

/// The state of one path before and after a change. At least one side is present and the two differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: TreePath,
    /// `None`: there was nothing.
    pub before: Option<Box<Node>>,
    /// `None`: there is nothing.
    pub after: Option<Box<Node>>,
}

/// What an entry does, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Nothing was there.
    Create,
    /// Nothing is there any more.
    Delete,
    /// The same kind with other content, target or device number.
    Modify,
    /// Another kind of file took the place.
    Replace,
    /// Owner, mode, times, attributes or links alone.
    Metadata,
}

impl Entry {
    /// What this entry does.
    #[must_use]
    pub fn op(&self) -> Op {
        match (&self.before, &self.after) {
            (None, _) => Op::Create,
            (_, None) => Op::Delete,
            (Some(b), Some(a)) if b.kind == a.kind => Op::Metadata,
            (Some(b), Some(a)) if b.kind.same_kind(&a.kind) => Op::Modify,
            _ => Op::Replace,
        }
    }

    /// Whether nothing but the membership in a hard-link group changes.
    #[must_use]
    pub fn is_link_only(&self) -> bool {
        matches!((&self.before, &self.after), (Some(b), Some(a)) if b.same_but_for_link(a))
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Entry", 4)?;
        out.serialize_field("path", &self.path)?;
        out.serialize_field("op", &self.op())?;
        out.serialize_field("before", &self.before)?;
        out.serialize_field("after", &self.after)?;
        out.end()
    }
}

/// The mtime that a directory has after the change, where it is another one than before: because of what happened inside
/// it, or because it is new. Put in place where it fits, never a precondition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DirTime {
    /// The directory.
    pub path: TreePath,
    /// Its mtime before; [`DirTime::NONE`] when there was no directory.
    #[serde(with = "mtime_pair")]
    pub before: Mtime,
    /// Its mtime after.
    #[serde(with = "mtime_pair")]
    pub after: Mtime,
}

impl DirTime {
    /// Stands for the mtime of a directory that is not there; no file system has it.
    pub const NONE: Mtime = Mtime { sec: i64::MIN, nsec: 0 };
}

mod mtime_pair {
    use super::{Mtime, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(m: &Mtime, serializer: S) -> Result<S::Ok, S::Error> {
        (m.sec, m.nsec).serialize(serializer)
    }
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changeset {
    entries: Vec<Entry>,
    dir_times: Vec<DirTime>,
}

/// Entries that do not make a changeset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Two entries for one path.
    #[error("{0} is named twice")]
    Twice(TreePath),
    /// The sides are equal or both absent.
    #[error("the entry for {0} changes nothing")]
    Nothing(TreePath),
    /// A path with `.`, `..` or NUL, or the root itself replaced.
    #[error("{0} is not a path that a change can hold")]
    Path(TreePath),
}

impl Changeset {
    /// Puts entries in order and checks them.
    ///
    /// # Errors
    /// [`Invalid`] names the first entry that does not belong.
    pub fn new(mut entries: Vec<Entry>, mut dir_times: Vec<DirTime>) -> Result<Self, Invalid> {
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        dir_times.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        dir_times.dedup_by(|a, b| a.path == b.path);
        let twice = |a: &TreePath, b: &TreePath| {
            if a == b { Err(Invalid::Twice(a.clone())) } else { Ok(()) }
        };
        entries.windows(2).try_for_each(|pair| twice(&pair[0].path, &pair[1].path))?;
        for entry in &entries {
            if entry.before == entry.after {
                return Err(Invalid::Nothing(entry.path.clone()));
            }
            let replaces_root = entry.path.depth() == 0
                && !matches!((&entry.before, &entry.after), (Some(b), Some(a)) if b.is_dir() && a.is_dir());
            if !entry.path.is_plain() || replaces_root {
                return Err(Invalid::Path(entry.path.clone()));
            }
        }
        if let Some(odd) = dir_times.iter().find(|d| !d.path.is_plain()) {
            return Err(Invalid::Path(odd.path.clone()));
        }
        Ok(Self { entries, dir_times })
    }

    /// The entries, sorted by path bytes.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Directories touched in passing, sorted by path bytes.
    #[must_use]
    pub fn dir_times(&self) -> &[DirTime] {
        &self.dir_times
    }

    /// Whether it does nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dir_times.is_empty()
    }

    /// The entry for `path`.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.entries.binary_search_by(|e| e.path.cmp(path)).ok().map(|at| &self.entries[at])
    }

    /// The changeset that takes this one back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        self.clone().into_inverse()
    }

    /// The same without a copy: changesets can be large.
    #[must_use]
    pub fn into_inverse(mut self) -> Self {
        self.entries.iter_mut().for_each(|e| std::mem::swap(&mut e.before, &mut e.after));
        self.dir_times.iter_mut().for_each(|d| std::mem::swap(&mut d.before, &mut d.after));
        self
    }

    /// The hash of the canonical encoding: equal exactly for equal changesets.
    #[must_use]
    pub fn id(&self) -> ContentHash {
        let mut hasher = blake3::Hasher::new();
        codec::encode(self, &mut |bytes| {
            hasher.update(bytes);
        });
        hasher.finalize().into()
    }

    /// The identity that it had if all happened at one time: equal for changes that do the same on different hosts.
    #[must_use]
    pub fn timeless_id(&self) -> ContentHash {
        let timeless = |node: &Option<Box<Node>>| {
            node.as_ref().map(|node| Box::new(Node { mtime: crate::Mtime::default(), ..(**node).clone() }))
        };
        let entries = self.entries.iter().map(|entry| Entry {
            path: entry.path.clone(),
            before: timeless(&entry.before),
            after: timeless(&entry.after),
        });
        // What differs in time alone is no difference.
        let entries = entries.filter(|entry| entry.before != entry.after).collect();
        Self { entries, dir_times: Vec::new() }.id()
    }

    /// The change from the state after `self` to the state after `later`, where both start from the same tree.
    ///
    /// With cumulative captures of one copy this gives what happened between two of them.
    #[must_use]
    pub fn until(&self, later: &Self) -> Self {
        let mut entries = Vec::new();
        let mut push = |path: &TreePath, before: Option<Box<Node>>, after: Option<Box<Node>>| {
            if before != after {
                entries.push(Entry { path: path.clone(), before, after });
            }
        };
        for entry in &later.entries {
            let before = self.get(&entry.path).map_or_else(|| entry.before.clone(), |mine| mine.after.clone());
            push(&entry.path, before, entry.after.clone());
        }
        for entry in self.entries.iter().filter(|e| later.get(&e.path).is_none()) {
            push(&entry.path, entry.after.clone(), entry.before.clone());
        }
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut times = Vec::new();
        for time in &later.dir_times {
            let before = self.dir_times.iter().find(|d| d.path == time.path).map_or(time.before, |d| d.after);
            if before != time.after {
                times.push(DirTime { path: time.path.clone(), before, after: time.after });
            }
        }
        Self { entries, dir_times: times }
    }

    /// Keeps only the entries for which `keep` holds; directory times likewise, by path.
    #[must_use]
    pub fn filtered(self, keep: impl Fn(&TreePath) -> bool) -> Self {
        Self {
            entries: self.entries.into_iter().filter(|e| keep(&e.path)).collect(),
            dir_times: self.dir_times.into_iter().filter(|d| keep(&d.path)).collect(),
        }
    }

    /// `self`, then `next`: the net effect of both.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        let mut entries: Vec<Entry> = Vec::with_capacity(self.entries.len() + next.entries.len());
        for entry in &self.entries {
            let after = next.get(&entry.path).map_or_else(|| entry.after.clone(), |later| later.after.clone());
            entries.push(Entry { path: entry.path.clone(), before: entry.before.clone(), after });
        }
        entries.extend(next.entries.iter().filter(|e| self.get(&e.path).is_none()).cloned());
        entries.retain(|e| e.before != e.after);
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut dir_times = self.dir_times.clone();
        for time in &next.dir_times {
            match dir_times.iter_mut().find(|d| d.path == time.path) {
                Some(known) => known.after = time.after,
                None => dir_times.push(time.clone()),
            }
        }
        dir_times.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self { entries, dir_times }
    }
}

#[cfg(test)]
mod tests;
