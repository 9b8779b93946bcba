//! Reads each candidate in both views, on all cores, and keeps the contents of what is new.
//!
//! What is a plain file of the upper layer is read there instead of in the merged view, which shows the same for twice the
//! cost, and its content is kept as soon as it was read. All else that has to be kept waits until everything was read.

use std::collections::HashSet;

use greenroom_core::changeset::DirTime;
use greenroom_core::{Kind, Mtime, Node, TreePath};
use rayon::prelude::*;

use super::{CaptureError, Keep, Rules, Source, Views};
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
    /// The new content was kept.
    kept: bool,
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
    let all = |chunk: &[TreePath]| {
        let (mut lower, mut upper, mut merged) = views.trees()?;
        let one = |inner| read_one(inner, views, (&mut lower, &mut upper, &mut merged), rules, keep);
        chunk.iter().map(one).collect()
    };
    if wanted.len() <= CHUNK {
        // Not worth the start of a thread.
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
    (lower, upper, merged): (&mut Tree, &mut Tree, &mut Tree),
    rules: &Rules<'_>,
    keep: &dyn Keep,
) -> Result<Pair, CaptureError> {
    let Some(after) = upper.plain(inner)? else { return pair(inner, lower, merged) };
    let mut pair = assemble(inner, lower.node(inner)?, after);
    // It has no other name that could be read later: that it gets the store's owner and mode disturbs nothing.
    if has_new_content(&pair)
        && let Some(node) = &pair.after
        && let Some(hash) = node.content()
        && let Some((dir, name)) = upper.place(inner)?
    {
        let open = || fs::open_file(dir, name);
        let source = Source { file: rules.at_rest.then_some((dir, name)), open: &open, size: node.size() };
        keep.keep(&hash, &source)
            .map_err(|source| CaptureError::Keep { path: views.whole(inner).into_owned(), source })?;
        pair.kept = true;
    }
    Ok(pair)
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
    let left: Vec<&Pair> = changed.iter().copied().filter(|pair| !pair.kept).collect();
    let told = |pair: &Pair, stop| match stop {
        Stop::Io(source) => CaptureError::Keep { path: views.whole(&pair.inner).into_owned(), source },
        Stop::Scan(error) => CaptureError::Read(error),
    };
    in_chunks(&left, |chunk| {
        let (_, mut upper, mut merged) = views.trees()?;
        chunk.iter().try_for_each(|pair| {
            store_after(pair, &mut upper, &mut merged, rules, keep).map_err(|stop| told(pair, stop))
        })
    })?;
    in_chunks(&changed, |chunk| {
        let mut lower = views.lower.again()?;
        chunk.iter().try_for_each(|pair| store_before(pair, &mut lower, keep).map_err(|stop| told(pair, stop)))
    })
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
