//! Reads each candidate in both views, on all cores, and keeps the contents of what is new.
//!
//! What is a plain file of the upper layer is read there instead of in the merged view, which shows the same for twice the
//! cost. A file of the host of which its record knows the content is not read at all. Contents are kept when everything was
//! read, those of plain files all at once; in a copy that runs they are kept as soon as they were read.

use std::collections::HashSet;

use greenroom_core::changeset::DirTime;
use greenroom_core::manifest::flags;
use greenroom_core::{ContentHash, Kind, Mtime, Node, TreePath};
use rayon::prelude::*;

use super::{CaptureError, Keep, Rules, Source, Views};
use crate::baseline::{Asking, Recall};
use crate::scan::{ScanError, Seen, Tree};
use crate::sys::fs::{self, Status, types};

/// One candidate with both its states.
pub(super) struct Pair {
    pub(super) inner: TreePath,
    pub(super) before: Option<Box<Node>>,
    pub(super) after: Option<Box<Node>>,
    /// Inode and number of names on each side, of what is no directory and has several names.
    pub(super) names_before: Option<(u64, u32)>,
    pub(super) names_after: Option<(u64, u32)>,
    /// On one of the sides it is a socket.
    pub(super) socket: bool,
    /// The mtimes where it is a directory afterwards.
    pub(super) dir_times: Option<(Mtime, Mtime)>,
    /// It was read in the upper layer, which has all of it.
    plain: bool,
    /// The new content was kept.
    kept: bool,
}

/// What a thread reads with.
struct Eyes<'a> {
    lower: Tree,
    upper: Tree,
    merged: Tree,
    record: Option<Asking<'a>>,
}

/// Neighbours share their directory's descriptor: chunks keep them together.
const CHUNK: usize = 128;

pub(super) fn read(
    views: &Views,
    mut wanted: Vec<TreePath>,
    rules: &Rules<'_>,
    keep: &dyn Keep,
) -> Result<Vec<Pair>, CaptureError> {
    wanted.sort_unstable();
    // Not worth the start of a thread, nor to open the record.
    let few = wanted.len() <= CHUNK;
    let record = if few { None } else { views.record() };
    let all = |chunk: &[TreePath]| {
        let (lower, upper, merged) = views.trees()?;
        let mut eyes = Eyes { lower, upper, merged, record: record.as_ref().map(Recall::ask) };
        chunk.iter().map(|inner| read_one(inner, views, &mut eyes, rules, keep)).collect()
    };
    if few {
        return all(&wanted);
    }
    let chunks: Vec<Result<Vec<Pair>, CaptureError>> = wanted.par_chunks(CHUNK).map(all).collect();
    let mut out = Vec::with_capacity(wanted.len());
    for chunk in chunks {
        out.extend(chunk?);
    }
    Ok(out)
}

fn read_one(
    inner: &TreePath,
    views: &Views,
    eyes: &mut Eyes<'_>,
    rules: &Rules<'_>,
    keep: &dyn Keep,
) -> Result<Pair, CaptureError> {
    let Some(after) = eyes.upper.plain(inner, rules.at_rest)? else {
        return pair(inner, &mut eyes.lower, &mut eyes.merged);
    };
    let mut pair = assemble(inner, eyes.before(inner, views)?, after);
    pair.plain = true;
    if !rules.at_rest
        && has_new_content(&pair)
        && let Some(node) = &pair.after
        && let Some(hash) = node.content()
        && let Some((dir, name)) = eyes.upper.place(inner)?
    {
        let open = || fs::open_file(dir, name);
        keep.keep(&hash, &Source { file: None, open: &open, size: node.size() })
            .map_err(|source| CaptureError::Keep { path: views.whole(inner).into_owned(), source })?;
        pair.kept = true;
    }
    Ok(pair)
}

impl Eyes<'_> {
    /// The state on the host: from its record, where that is known to be true still.
    fn before(&mut self, inner: &TreePath, views: &Views) -> Result<Seen, ScanError> {
        if let Some(record) = &mut self.record {
            let Some(status) = self.lower.status(inner)? else { return Ok(Seen::Absent) };
            if let Some(node) = record.node(&views.whole(inner), &status) {
                return Ok(Seen::Node(node, status));
            }
        }
        self.lower.node(inner)
    }
}

/// Reads one path in both views.
pub(super) fn pair(inner: &TreePath, lower: &mut Tree, merged: &mut Tree) -> Result<Pair, CaptureError> {
    Ok(assemble(inner, lower.node(inner)?, merged.node(inner)?))
}

fn assemble(inner: &TreePath, before: Seen, after: Seen) -> Pair {
    let socket = matches!(before, Seen::Socket) || matches!(after, Seen::Socket);
    let status = |seen: &Seen| match seen {
        Seen::Node(_, status) => Some(*status),
        Seen::Absent | Seen::Socket => None,
    };
    let (old, new) = (status(&before), status(&after));
    let time = |status: &Option<Status>| status.as_ref().filter(|s| s.file_type() == types::DIR).map(|s| s.mtime);
    let dir_times = time(&new).map(|after| (time(&old).unwrap_or(DirTime::NONE), after));
    Pair {
        inner: inner.clone(),
        before: before.into_node(),
        after: after.into_node(),
        names_before: names(old),
        names_after: names(new),
        socket,
        dir_times,
        plain: false,
        kept: false,
    }
}

/// The directories that are files now and in which nobody has looked yet: what was in them is gone.
pub(super) fn gone_directories(pairs: &[Pair], left_out_in: &HashSet<TreePath>, views: &Views) -> Vec<TreePath> {
    let is_dir = |node: &Option<Box<Node>>| node.as_ref().is_some_and(|node| node.kind == Kind::Dir);
    let is_file = |node: &Option<Box<Node>>| node.as_ref().is_some_and(|node| node.content().is_some());
    let gone = pairs.iter().filter(|p| is_dir(&p.before) && is_file(&p.after)).map(|p| p.inner.clone());
    let mut gone: Vec<TreePath> = gone.filter(|dir| !left_out_in.contains(&*views.whole(dir))).collect();
    if !gone.is_empty() {
        let looked_at: HashSet<TreePath> = pairs.iter().filter_map(|pair| pair.inner.parent()).collect();
        gone.retain(|dir| !looked_at.contains(dir));
    }
    gone
}

/// Keeps the contents that are not kept yet of all that changed. Only now, when everything was read: a kept file may become
/// the store's own, with the store's owner and mode. And what was there before.
pub(super) fn keep_rest(views: &Views, pairs: &[Pair], rules: &Rules<'_>, keep: &dyn Keep) -> Result<(), CaptureError> {
    let changed: Vec<&Pair> = pairs.iter().filter(|pair| has_new_content(pair)).collect();
    let told = |pair: &Pair, stop| match stop {
        Stop::Io(source) => CaptureError::Keep { path: views.whole(&pair.inner).into_owned(), source },
        Stop::Scan(error) => CaptureError::Read(error),
    };
    in_chunks(&changed, |chunk| {
        let mut lower = views.lower.again()?;
        chunk.iter().try_for_each(|pair| store_before(pair, &mut lower, keep).map_err(|stop| told(pair, stop)))
    })?;
    let left = || changed.iter().copied().filter(|pair| !pair.kept);
    let (in_layer, mut singly): (Vec<_>, Vec<_>) = left().partition(|pair| rules.at_rest && stays(pair));
    let files: Vec<(ContentHash, &[u8])> =
        in_layer.iter().filter_map(|pair| Some((pair.after.as_ref()?.content()?, pair.inner.relative()))).collect();
    let failed = |source| CaptureError::Keep { path: views.at.clone(), source };
    if !keep.keep_tree(&views.upper_at, files).map_err(failed)? {
        singly.extend(in_layer);
    }
    in_chunks(&singly, |chunk| {
        let (_, mut upper, mut merged) = views.trees()?;
        chunk.iter().try_for_each(|pair| {
            store_after(pair, &mut upper, &mut merged, rules, keep).map_err(|stop| told(pair, stop))
        })
    })
}

/// Whether the upper layer can be taken over as a whole with this file in it: it has to be deleted one day, by its path.
fn stays(pair: &Pair) -> bool {
    const LONGEST: usize = 3500;
    let mutable = pair.after.as_ref().is_some_and(|node| node.flags & (flags::IMMUTABLE | flags::APPEND) == 0);
    pair.plain && mutable && pair.inner.relative().len() < LONGEST
}

/// On all cores, where that is worth the start of their threads.
fn in_chunks<T: Sync>(
    all: &[T],
    work: impl Fn(&[T]) -> Result<(), CaptureError> + Sync + Send,
) -> Result<(), CaptureError> {
    if all.len() <= CHUNK { work(all) } else { all.par_chunks(CHUNK).try_for_each(work) }
}

fn has_new_content(pair: &Pair) -> bool {
    let content = |node: &Option<Box<Node>>| node.as_ref().and_then(|n| n.content());
    content(&pair.before) != content(&pair.after) || names_changed(pair)
}

/// A group may be split or joined without any content changing; the separate copies need their content.
fn names_changed(pair: &Pair) -> bool {
    pair.names_before.map(|n| n.1) != pair.names_after.map(|n| n.1)
}

fn names(status: Option<Status>) -> Option<(u64, u32)> {
    status.filter(|s| s.nlink > 1 && s.file_type() != types::DIR).map(|s| (s.ino, s.nlink))
}

enum Stop {
    Io(std::io::Error),
    Scan(ScanError),
}

fn store_after(
    pair: &Pair,
    upper: &mut Tree,
    merged: &mut Tree,
    rules: &Rules<'_>,
    keep: &dyn Keep,
) -> Result<(), Stop> {
    let Some(node) = &pair.after else { return Ok(()) };
    let Some(hash) = node.content() else { return Ok(()) };
    let is_upper = upper.status(&pair.inner).map_err(Stop::Scan)?.is_some_and(|s| s.file_type() == types::FILE);
    let file = upper.place(&pair.inner).map_err(Stop::Scan)?.filter(|_| rules.at_rest && is_upper);
    let open = opener(merged, &pair.inner).map_err(Stop::Scan)?;
    keep.keep(&hash, &Source { file, open: &open, size: node.size() }).map_err(Stop::Io)
}

fn store_before(pair: &Pair, lower: &mut Tree, keep: &dyn Keep) -> Result<(), Stop> {
    let Some(node) = &pair.before else { return Ok(()) };
    let Some(hash) = node.content() else { return Ok(()) };
    let open = opener(lower, &pair.inner).map_err(Stop::Scan)?;
    keep.keep_before(&hash, &Source { file: None, open: &open, size: node.size() }).map_err(Stop::Io)
}

/// A function that opens one file of a tree.
fn opener<'a>(
    tree: &'a mut Tree,
    inner: &'a TreePath,
) -> Result<impl Fn() -> std::io::Result<std::fs::File> + 'a, ScanError> {
    let place = tree.place(inner)?;
    Ok(move || match place {
        Some((dir, name)) => fs::open_file(dir, name),
        None => Err(std::io::ErrorKind::NotFound.into()),
    })
}
