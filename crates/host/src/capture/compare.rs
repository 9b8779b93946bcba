//! Reads each candidate in both views, on all cores, and keeps the contents of what is new.

use std::os::unix::ffi::OsStrExt as _;

use greenroom_core::changeset::DirTime;
use greenroom_core::{Mtime, Node, TreePath};
use rayon::prelude::*;

use super::{CaptureError, Keep, Rules, Source, Views};
use crate::scan::{Seen, Tree};
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
}

/// Neighbours share their directory's descriptor: chunks keep them together.
const CHUNK: usize = 128;

pub(super) fn read(views: &Views, mut wanted: Vec<TreePath>) -> Result<Vec<Pair>, CaptureError> {
    wanted.sort_unstable();
    let chunks: Vec<Result<Vec<Pair>, CaptureError>> = wanted
        .par_chunks(CHUNK)
        .map(|chunk| {
            let (mut lower, mut merged) = views.trees()?;
            chunk.iter().map(|inner| pair(inner, &mut lower, &mut merged)).collect()
        })
        .collect();
    let mut out = Vec::with_capacity(wanted.len());
    for chunk in chunks {
        out.extend(chunk?);
    }
    Ok(out)
}

/// Reads one path in both views.
pub(super) fn pair(inner: &TreePath, lower: &mut Tree, merged: &mut Tree) -> Result<Pair, CaptureError> {
    let (before, after) = (lower.node(inner)?, merged.node(inner)?);
    let socket = matches!(before, Seen::Socket) || matches!(after, Seen::Socket);
    let status = |seen: &Seen| match seen {
        Seen::Node(_, status) => Some(*status),
        Seen::Absent | Seen::Socket => None,
    };
    let (old, new) = (status(&before), status(&after));
    let time = |status: &Option<Status>| status.as_ref().filter(|s| s.file_type() == types::DIR).map(|s| s.mtime);
    let dir_times = time(&new).map(|after| (time(&old).unwrap_or(DirTime::NONE), after));
    Ok(Pair {
        inner: inner.clone(),
        before: before.into_node(),
        after: after.into_node(),
        names_before: names(old),
        names_after: names(new),
        socket,
        dir_times,
    })
}

/// Keeps the contents of all that changed. Only now, when everything was read: a kept file may become the store's own, with
/// the store's owner and mode.
pub(super) fn keep_all(views: &Views, pairs: &[Pair], rules: &Rules<'_>, keep: &dyn Keep) -> Result<(), CaptureError> {
    pairs.par_chunks(CHUNK).try_for_each(|chunk| {
        let (mut lower, mut merged) = views.trees()?;
        let mut upper = Tree::open(&views.upper)?;
        for pair in chunk.iter().filter(|pair| has_new_content(pair)) {
            store(pair, &mut lower, &mut merged, &mut upper, views, rules, keep).map_err(|stop| match stop {
                Stop::Io(source) => CaptureError::Keep { path: views.whole(&pair.inner).into_owned(), source },
                Stop::Scan(error) => CaptureError::Read(error),
            })?;
        }
        Ok(())
    })
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
    Scan(crate::scan::ScanError),
}

fn store(
    pair: &Pair,
    lower: &mut Tree,
    merged: &mut Tree,
    upper: &mut Tree,
    views: &Views,
    rules: &Rules<'_>,
    keep: &dyn Keep,
) -> Result<(), Stop> {
    if let Some(node) = &pair.after
        && let Some(hash) = node.content()
    {
        let is_upper = upper.status(&pair.inner).map_err(Stop::Scan)?.is_some_and(|s| s.file_type() == types::FILE);
        let file = views.upper.join(std::ffi::OsStr::from_bytes(pair.inner.relative()));
        let linkable = rules.at_rest && is_upper && pair.inner.as_bytes().len() < 3000;
        let open = opener(merged, &pair.inner).map_err(Stop::Scan)?;
        let source = Source { file: linkable.then_some(file.as_path()), open: &open, size: node.size() };
        keep.keep(&hash, &source).map_err(Stop::Io)?;
    }
    if let Some(node) = &pair.before
        && let Some(hash) = node.content()
    {
        let open = opener(lower, &pair.inner).map_err(Stop::Scan)?;
        keep.keep_before(&hash, &Source { file: None, open: &open, size: node.size() }).map_err(Stop::Io)?;
    }
    Ok(())
}

/// A function that opens one file of a tree.
fn opener<'a>(
    tree: &'a mut Tree,
    inner: &'a TreePath,
) -> Result<impl Fn() -> std::io::Result<std::fs::File> + 'a, crate::scan::ScanError> {
    let place = tree.place(inner)?;
    Ok(move || match place {
        Some((dir, name)) => fs::open_file(dir, name),
        None => Err(std::io::ErrorKind::NotFound.into()),
    })
}
