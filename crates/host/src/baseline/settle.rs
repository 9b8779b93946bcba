//! The end of a scan: what the threads found, put together; hard-link groups, compared when all names are known.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use greenroom_core::{Entry, TreePath};

use super::file::Pages;
use super::home::Home;
use super::links::{Spool, Waiting};
use super::lookup;
use super::places::Places;
use super::record::{first_jobs, limit};
use super::scan::{Common, Links, NewKeys, ON_RECORD, THERE, Worker};
use super::types::{BaselineError, Counts, Difference, Inode, Meta, Options, Problem};
use super::walk::{Queue, threads};
use crate::scan::Tree;
use crate::sys::fs;

/// What a scan gives.
pub(super) struct Found {
    pub(super) differences: Vec<Difference>,
    pub(super) problems: Vec<Problem>,
    pub(super) counts: Counts,
    pub(super) new_keys: Vec<NewKeys>,
    pub(super) rekeyed: u64,
}

pub(super) fn scan(
    root: &Path,
    home: &Home,
    pages: &Pages,
    meta: &Meta,
    options: &Options<'_>,
) -> Result<Found, BaselineError> {
    let places = Places::look(root)?;
    let tree = fs::open_root(root).map_err(BaselineError::system(format!("open {}", root.display())))?;
    let other_policy = options.policy.fingerprint() != meta.policy;
    let within = if options.within.is_empty() { &meta.within } else { &options.within };
    let links = Mutex::new(Links::default());
    let common =
        Common { root: tree, home, options, limit: limit(options), places: &places, pages, other_policy, links };
    let queue = Queue::new(first_jobs(within, THERE | ON_RECORD));
    let workers = queue.run(threads(options.threads), || Ok(Worker::new(&common)), Worker::directory, |_| Ok(()))?;
    let mut out = Found {
        differences: Vec::new(),
        problems: Vec::new(),
        counts: Counts::default(),
        new_keys: Vec::new(),
        rekeyed: 0,
    };
    for mut worker in workers {
        worker.end();
        out.counts.add(&worker.counts);
        out.differences.append(&mut worker.differences);
        out.problems.append(&mut worker.problems);
        out.new_keys.append(&mut worker.new_keys);
        out.rekeyed += worker.rekeyed;
    }
    out.problems.sort();
    out.differences.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let mut links = common.links.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seen = match *within == meta.within {
        true => None,
        false => Some(recorded_here(&mut links.spool)?),
    };
    compare_groups(&mut links, seen.as_ref(), &mut Tree::open(root)?, pages, &mut out)?;
    Ok(out)
}

/// In a part of the tree fewer names are seen than are on record: by a group's first name, its first name in that part and how
/// many names it has there.
type Recorded = HashMap<Vec<u8>, (Vec<u8>, u32)>;

fn recorded_here(spool: &mut Spool) -> Result<Recorded, BaselineError> {
    let mut out = Recorded::new();
    let mut from = spool.read()?;
    while let Some(waiting) = Waiting::read(&mut from).map_err(unreadable)? {
        let Some(first) = waiting.recorded else { continue };
        let (here, count) = out.entry(first).or_insert_with(|| (waiting.path.clone(), 0));
        *count += 1;
        if waiting.path < *here {
            *here = waiting.path;
        }
    }
    Ok(out)
}

fn unreadable(error: std::io::Error) -> BaselineError {
    BaselineError::system("read linked files")(error)
}

/// Gives linked files their groups, and finds those of which nothing but the group has changed.
fn compare_groups(
    links: &mut Links,
    recorded: Option<&Recorded>,
    tree: &mut Tree,
    pages: &Pages,
    out: &mut Found,
) -> Result<(), BaselineError> {
    let mut more = Vec::new();
    let mut from = links.spool.read()?;
    while let Some(waiting) = Waiting::read(&mut from).map_err(unreadable)? {
        let now = waiting.shared.as_ref().and_then(|shared| links.groups.first(shared));
        let then = waiting.recorded.as_deref();
        let then_here = match (recorded, then) {
            (Some(recorded), Some(first)) => {
                recorded.get(first).filter(|(_, count)| *count > 1).map(|(here, _)| &here[..])
            }
            _ => then,
        };
        let path = TreePath::new(&waiting.path);
        let as_recorded = waiting.on_record && (now == then_here || is_doubtful(&path, then, &out.problems));
        let link = if as_recorded { then } else { now }.map(TreePath::new);
        match out.differences.binary_search_by(|found| found.entry.path.cmp(&path)) {
            Ok(at) => {
                if let Some(after) = &mut out.differences[at].entry.after {
                    after.link = link;
                }
            }
            Err(_) if waiting.is_there && waiting.on_record && !as_recorded => {
                more.extend(only_the_link(path, link, tree, pages)?);
            }
            Err(_) => {}
        }
    }
    out.differences.append(&mut more);
    out.differences.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
    Ok(())
}

/// Whether a name of the group may not have been seen.
fn is_doubtful(path: &TreePath, first: Option<&[u8]>, problems: &[Problem]) -> bool {
    let first = first.map(TreePath::new);
    problems.iter().any(|problem| {
        path.starts_with(&problem.path) || first.as_ref().is_some_and(|first| first.starts_with(&problem.path))
    })
}

fn only_the_link(
    path: TreePath,
    link: Option<TreePath>,
    tree: &mut Tree,
    pages: &Pages,
) -> Result<Option<Difference>, BaselineError> {
    let Some(before) = lookup::node(pages, &path)? else { return Ok(None) };
    let status = tree.status(&path)?;
    let mut after = before.clone();
    after.link = link;
    if after == before {
        return Ok(None);
    }
    Ok(Some(Difference {
        entry: Entry { path, before: Some(Box::new(before)), after: Some(Box::new(after)) },
        inode: status.map(|status| Inode { dev: status.dev, ino: status.ino }),
        changed: status.map(|status| status.ctime),
    }))
}
