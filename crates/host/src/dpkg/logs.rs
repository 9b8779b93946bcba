//! What the package managers logged: apt's history and dpkg's log with their rotated files.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use greenroom_core::TreePath;
use greenroom_core::drift::packages::{Clock, Transaction, apt_history, dpkg_log, merge_logs};

use super::{LARGEST, open};
use crate::scan::Tree;

/// No log is read further than this, unpacked.
const MOST: u64 = 64 << 20;

/// The transactions since `since` (RFC 3339, UTC; `None`: all that is kept), the earliest first.
///
/// What can't be read says nothing: who did it is then not known.
#[must_use]
pub fn history(tree: &mut Tree, since: Option<&str>) -> Vec<Transaction> {
    let clock = Clock::new(local_time(tree).as_deref());
    let apt = logs(tree, &"/var/log/apt".into(), b"history.log", since, &|text| apt_history(text, &clock));
    let dpkg = logs(tree, &"/var/log".into(), b"dpkg.log", since, &|text| dpkg_log(text, &clock));
    let mut out = merge_logs(apt, dpkg);
    if let Some(since) = since {
        out.retain(|t| t.end.as_str() >= since);
    }
    out
}

/// The newest file first, and no further back than asked for.
fn logs(
    tree: &mut Tree,
    dir: &TreePath,
    name: &[u8],
    since: Option<&str>,
    parse: &dyn Fn(&[u8]) -> Vec<Transaction>,
) -> Vec<Transaction> {
    let number = |file: &[u8]| {
        let rest = file.strip_prefix(name)?;
        let rest = rest.strip_suffix(b".gz").unwrap_or(rest);
        match rest.strip_prefix(b".") {
            Some(digits) => std::str::from_utf8(digits).ok()?.parse::<u32>().ok(),
            None => rest.is_empty().then_some(0),
        }
    };
    let mut files: Vec<(u32, Box<[u8]>)> =
        tree.names(dir).unwrap_or_default().into_iter().filter_map(|file| Some((number(&file)?, file))).collect();
    files.sort();
    let mut out = Vec::new();
    for (_, file) in files {
        let found = unpacked(tree, &dir.join(&file)).map(|text| parse(&text)).unwrap_or_default();
        let enough = found.first().zip(since).is_some_and(|(first, since)| first.begin.as_str() < since);
        out.extend(found);
        if enough {
            break;
        }
    }
    out
}

fn unpacked(tree: &mut Tree, path: &TreePath) -> Option<Vec<u8>> {
    let file = open(tree, path).ok()??;
    let mut out = Vec::new();
    let read = if path.name().ends_with(b".gz") {
        MultiGzDecoder::new(file).take(MOST).read_to_end(&mut out)
    } else {
        file.take(MOST).read_to_end(&mut out)
    };
    // What came before a damaged end is worth having.
    (read.is_ok() || !out.is_empty()).then_some(out)
}

/// The content of `/etc/localtime`, a link into `/usr/share/zoneinfo` most often. No other link is followed.
fn local_time(tree: &mut Tree) -> Option<Vec<u8>> {
    let path = TreePath::from("/etc/localtime");
    if let Some(content) = tree.content(&path, LARGEST).ok()? {
        return Some(content);
    }
    let (dir, name) = tree.place(&path).ok()??;
    let to = crate::sys::fs::read_link(dir, name).ok()?;
    let to = to.strip_prefix(b"..").unwrap_or(&to).to_vec();
    let zone = TreePath::new(&to);
    let inside = zone.is_plain() && zone.starts_with(&"/usr/share/zoneinfo".into());
    // Zones are links among themselves: `Etc/UTC`, `Europe/Berlin`; one step is enough for Debian's.
    let content = if inside { tree.content(&zone, LARGEST).ok()? } else { None };
    content.or_else(|| linked_zone(tree, &zone))
}

fn linked_zone(tree: &mut Tree, zone: &TreePath) -> Option<Vec<u8>> {
    let (dir, name) = tree.place(zone).ok()??;
    let to = crate::sys::fs::read_link(dir, name).ok()?;
    let mut at = if to.starts_with(b"/") { TreePath::root() } else { zone.parent()? };
    for part in to.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        at = if part == b".." { at.parent()? } else { at.join(part) };
    }
    if at.starts_with(&"/usr/share/zoneinfo".into()) { tree.content(&at, LARGEST).ok()? } else { None }
}
