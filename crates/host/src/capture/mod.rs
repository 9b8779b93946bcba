//! What changed in a copy: compares the merged view with the host, for the paths that the upper layer names.
//!
//! ```text
//! upper layer ─► candidates ─► read both views, in parallel ─► hard-link groups ─► entries ─► Changeset
//!  (candidates.rs)               (compare.rs)                     (links.rs)
//! ```
//! The upper layer only says where to look; presence in it is no change (a file opened for writing is there), and no
//! encoding of overlayfs (whiteouts, opaque or redirected directories) is believed further than that. Contents of new
//! files are handed to [`Keep`]: of a copy that runs as they are found, of one at rest the upper layer as a whole. Not here: what a path means; a classifier is handed in.

mod candidates;
mod compare;
mod links;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use greenroom_core::changeset::{DirTime, Invalid};
use greenroom_core::policy::Class;
use greenroom_core::rehearsal::Counted;
use greenroom_core::{Changeset, ContentHash, Entry, TreePath};

use crate::baseline::{Baseline, Recall};
use crate::copy::{Copy, Layer};
use crate::scan::{ScanError, Tree};
use crate::sys::fs::types;

/// Why a copy could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A path could not be read in one of the views.
    #[error("cannot compare the copy with the host")]
    Read(#[from] ScanError),
    /// The content of a changed file could not be kept.
    #[error("cannot keep the content of {path}")]
    Keep {
        /// Which.
        path: TreePath,
        /// Why.
        source: std::io::Error,
    },
    /// The entries do not fit together: a defect.
    #[error("the capture is not a changeset")]
    Invalid(#[from] Invalid),
}

/// Where the content of a changed file can be had.
pub struct Source<'a> {
    /// A file that nobody else will write to any more, on the file system of the copy, by its directory and its name there:
    /// it may be linked.
    pub file: Option<(BorrowedFd<'a>, &'a [u8])>,
    /// It, open for reading.
    pub open: &'a dyn Fn() -> std::io::Result<File>,
    /// Length in bytes.
    pub size: u64,
}

/// Keeps contents. Called from many threads.
pub trait Keep: Sync {
    /// Keeps the content with this hash.
    ///
    /// # Errors
    /// There is no room, or the store is not writable.
    fn keep(&self, hash: &ContentHash, source: &Source<'_>) -> std::io::Result<()>;

    /// Keeps the contents of these files, by their paths below the directory `tree`, by taking over all of it: what is in it nobody
    /// will write to any more, and nobody looks for it there. False: it was not taken, and each is to be kept by itself.
    ///
    /// # Errors
    /// As for [`Keep::keep`].
    fn keep_tree(&self, tree: &Path, files: Vec<(ContentHash, &[u8])>) -> std::io::Result<bool>;

    /// Keeps the content that a file had before, for showing differences. May decide not to.
    ///
    /// # Errors
    /// As for [`Keep::keep`].
    fn keep_before(&self, hash: &ContentHash, source: &Source<'_>) -> std::io::Result<()>;
}

/// What is left out, and what may be linked.
pub struct Rules<'a> {
    /// The class of a path; the flag says that it is a directory wherever it exists.
    pub class: &'a (dyn Fn(&TreePath, bool) -> Class + Sync),
    /// Paths that change on every boot.
    pub noise: &'a (dyn Fn(&TreePath) -> bool + Sync),
    /// Nothing runs in the copy any more and it will be thrown away: its files may become the kept contents.
    pub at_rest: bool,
}

/// What a copy differs in from its host.
#[derive(Debug, Default)]
pub struct Captured {
    /// The differences that are somebody's intent.
    pub changeset: Changeset,
    /// Volatile paths that were written to.
    pub volatile: Counted,
    /// Paths that every boot changes.
    pub noise: Counted,
    /// Paths below data directories.
    pub data: Counted,
    /// Paths of kernel, initramfs, boot loader that changed.
    pub boot: Counted,
    /// Sockets, made or gone.
    pub sockets: Counted,
    /// New volatile files with an owner or a mode of their own, below `/var/log`: whoever writes there may depend on it.
    pub logs: Vec<Log>,
}

/// A log file that a change made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where.
    pub path: TreePath,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Compares `copy` with the host that it is a clone of.
///
/// # Errors
/// [`CaptureError`].
pub fn capture(copy: &Copy, rules: &Rules<'_>, keep: &dyn Keep) -> Result<Captured, CaptureError> {
    let mut out = Captured::default();
    let (mut entries, mut times) = (Vec::new(), Vec::new());
    let mut left_out_in = HashSet::new();
    let host = copy.layers().first().map_or(Path::new("/"), |root| &root.lower);
    for layer in copy.layers() {
        let views = Views::open(layer, host)?;
        let mut logs = Vec::new();
        let mut skip = |path: &TreePath, skip: Skip, left_out_in: &mut HashSet<TreePath>| {
            count(&mut out, skip, path);
            left_out_in.extend(path.parent());
            if matches!(skip, Skip::Class(Class::Volatile)) && is_log(path) {
                logs.push(path.clone());
            }
        };
        let found = candidates::find(&views)?;
        let wanted = sift(found, &views, rules, &mut |path, why| skip(path, why, &mut left_out_in));
        let mut pairs = compare::read(&views, wanted, rules, keep)?;
        let gone = compare::gone_directories(&pairs, &left_out_in, &views);
        if !gone.is_empty() {
            let found = candidates::below(&views, &gone)?;
            let wanted = sift(found, &views, rules, &mut |path, why| skip(path, why, &mut left_out_in));
            pairs.extend(compare::read(&views, wanted, rules, keep)?);
            pairs.sort_unstable_by(|a, b| a.inner.cmp(&b.inner));
        }
        out.logs.extend(special(&views, logs, rules)?);
        links::assign(&views, &mut pairs)?;
        compare::keep_rest(&views, &pairs, rules, keep)?;
        for pair in pairs {
            settle(pair, &views, rules, &mut out, &mut entries, &mut times);
        }
    }
    drop_times(&mut times, &entries, &left_out_in);
    out.changeset = Changeset::new(entries, times)?;
    Ok(out)
}

/// Drops the times of directories in which nothing happened but what is left out: they are no more intent than that is.
fn drop_times(times: &mut Vec<DirTime>, entries: &[Entry], left_out_in: &HashSet<TreePath>) {
    let mut doubtful: HashSet<TreePath> =
        times.iter().map(|time| &time.path).filter(|path| left_out_in.contains(*path)).cloned().collect();
    for entry in entries {
        doubtful.remove(&entry.path);
        if let Some(parent) = entry.path.parent() {
            doubtful.remove(&parent);
        }
    }
    times.retain(|time| !doubtful.contains(&time.path));
}

/// The three views of one layer. All are opened once, by the thread whose mount namespace has the copy; the threads of a
/// pool may be in another.
pub(super) struct Views {
    at: TreePath,
    lower: Tree,
    upper: Tree,
    upper_at: PathBuf,
    merged: Tree,
    /// The tree of the host.
    host: PathBuf,
}

impl Views {
    fn open(layer: &Layer, host: &Path) -> Result<Self, ScanError> {
        let (lower, upper) = (Tree::open(&layer.lower)?, Tree::open(&layer.upper)?);
        let (merged, upper_at) = (Tree::open(&layer.merged)?, layer.upper.clone());
        Ok(Self { at: layer.at.clone(), lower, upper, upper_at, merged, host: host.to_owned() })
    }

    /// The host's record, to save reading what it knows. One that cannot be used is as none; a scan tells of it.
    fn record(&self) -> Option<Recall> {
        Baseline::open(&self.host).ok()??.recall().ok()
    }

    /// A path within the layer as a path of the whole tree: the same one in the layer of the root.
    fn whole<'p>(&self, inner: &'p TreePath) -> Cow<'p, TreePath> {
        match (self.at.depth(), inner.depth()) {
            (0, _) => Cow::Borrowed(inner),
            (_, 0) => Cow::Owned(self.at.clone()),
            _ => Cow::Owned(self.at.join(inner.relative())),
        }
    }

    /// The lower, the upper, the merged tree.
    fn trees(&self) -> Result<(Tree, Tree, Tree), ScanError> {
        Ok((self.lower.again()?, self.upper.again()?, self.merged.again()?))
    }
}

/// A path to look at, relative to its layer, and whether it is a directory wherever it exists.
pub(super) struct Candidate {
    inner: TreePath,
    is_dir: bool,
}

#[derive(Clone, Copy)]
enum Skip {
    Class(Class),
    Noise,
}

/// What has to be read; the rest is told to `skip`.
fn sift(
    found: Vec<Candidate>,
    views: &Views,
    rules: &Rules<'_>,
    skip: &mut impl FnMut(&TreePath, Skip),
) -> Vec<TreePath> {
    let mut wanted = Vec::new();
    for Candidate { inner, is_dir } in found {
        let whole = views.whole(&inner);
        match (rules.class)(&whole, is_dir) {
            // What is Greenroom's own is nobody's change.
            Class::Own => {}
            Class::Managed | Class::Boot if !(rules.noise)(&whole) => wanted.push(inner),
            Class::Managed | Class::Boot => skip(&whole, Skip::Noise),
            class => skip(&whole, Skip::Class(class)),
        }
    }
    wanted
}

fn count(out: &mut Captured, skip: Skip, path: &TreePath) {
    match skip {
        Skip::Noise => out.noise.add(path),
        Skip::Class(Class::Data) => out.data.add(path),
        Skip::Class(_) => out.volatile.add(path),
    }
}

/// The journal makes files of its own, with another name each time.
fn is_log(path: &TreePath) -> bool {
    path.starts_with(&"/var/log".into()) && !path.starts_with(&"/var/log/journal".into())
}

/// Those of the paths that are new files whose owner or mode is not what any service that runs as root would give them.
fn special(views: &Views, paths: Vec<TreePath>, rules: &Rules<'_>) -> Result<Vec<Log>, ScanError> {
    let (mut lower, _, mut merged) = views.trees()?;
    let mut out = Vec::new();
    for path in paths {
        let inner =
            TreePath::new(&path.as_bytes()[if views.at.depth() == 0 { 0 } else { views.at.as_bytes().len() }..]);
        let Some(found) = merged.status(&inner)? else { continue };
        let usual = found.uid == 0 && found.gid == 0 && found.mode & 0o7777 == 0o644;
        if found.file_type() == types::FILE && !usual && !(rules.noise)(&path) && lower.status(&inner)?.is_none() {
            out.push(Log { path, mode: found.mode & 0o7777, uid: found.uid, gid: found.gid });
        }
    }
    Ok(out)
}

fn settle(
    pair: compare::Pair,
    views: &Views,
    rules: &Rules<'_>,
    out: &mut Captured,
    entries: &mut Vec<Entry>,
    times: &mut Vec<DirTime>,
) {
    let path = match views.whole(&pair.inner) {
        Cow::Owned(whole) => whole,
        Cow::Borrowed(_) => pair.inner,
    };
    if pair.socket {
        out.sockets.add(&path);
    }
    if let Some((before, after)) = pair.dir_times.filter(|(before, after)| before != after) {
        times.push(DirTime { path: path.clone(), before, after });
    }
    if pair.before != pair.after {
        if (rules.class)(&path, false) == Class::Boot {
            out.boot.add(&path);
        }
        entries.push(Entry { path, before: pair.before, after: pair.after });
    }
}

#[cfg(test)]
mod tests {
    use greenroom_core::{Kind, Mtime, Node};

    use super::*;

    #[test]
    fn the_time_of_a_directory_goes_with_what_happened_in_it() {
        let node = Node {
            kind: Kind::Fifo,
            mode: 0o644,
            flags: 0,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Box::default(),
            link: None,
        };
        let entry = |path: &str| Entry { path: path.into(), before: None, after: Some(Box::new(node.clone())) };
        let entries = [entry("/etc/shop"), entry("/var/log/shop")];
        let left_out: HashSet<TreePath> = ["/var/tmp", "/var/log", "/etc"].map(TreePath::from).into();
        let time =
            |path: &&str| DirTime { path: (*path).into(), before: Mtime::default(), after: Mtime { sec: 1, nsec: 0 } };
        let mut times: Vec<DirTime> =
            ["/etc", "/srv", "/var/log", "/var/log/shop", "/var/tmp"].iter().map(time).collect();
        drop_times(&mut times, &entries, &left_out);
        let kept: Vec<String> = times.iter().map(|time| time.path.to_string()).collect();
        assert_eq!(kept, ["/etc", "/srv", "/var/log", "/var/log/shop"], "/srv was touched on purpose");
    }
}
