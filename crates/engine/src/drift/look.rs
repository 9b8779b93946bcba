//! One look at a host: what differs from the record, since when, by whom, and what belongs together.

use std::collections::BTreeSet;
use std::path::Path;

use greenroom_core::drift::packages::Transaction;
use greenroom_core::drift::runtime::RuntimeDrift;
use greenroom_core::drift::{Drift, FoundBy, Group};
use greenroom_core::path::Shown;
use greenroom_core::{ContentHash, Entry, Kind, Mtime, Node, TreePath};
use greenroom_host::apply::{Error as HostError, Guard, HostState, NoFaults, Refusal};
use greenroom_host::baseline::{Baseline, Depth, Difference, Options, Problem as Unknown, Scanned, Trouble};
use greenroom_host::dpkg::{self, Database};
use greenroom_host::scan::{ScanError, Tree};
use greenroom_host::watch::{Attribution, Log, State as Watch};
use jiff::Timestamp;
use serde::Serialize;

use super::attribute::{Found, attribute};
use super::first::first;
use super::group::{Databases, group};
use super::place::{Before, Place};
use super::texts::{Texts, package_content};
use super::{facts, moves, packages};
use crate::apply::host_error;
use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// What was found: the object that `status --json` prints.
#[derive(Debug, Serialize)]
pub struct Look {
    /// When the record was made or moved last.
    pub baseline_at: String,
    /// When it was made first.
    pub recorded_at: String,
    /// The differences, by path.
    pub drift: Vec<Drift>,
    /// What belongs together, in the order of a report.
    pub groups: Vec<Group>,
    /// What differs beyond files.
    pub runtime: Vec<RuntimeDrift>,
    /// What nothing can be said of.
    pub problems: Vec<Problem>,
    /// Whether changes are observed as they happen.
    pub watch: Watching,
    /// How many paths were looked at.
    pub paths: u64,
    /// The record was made just now.
    pub recorded: Option<Recording>,
}

/// Something of which nothing can be said, or not all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which path, where it is one.
    pub path: Option<TreePath>,
    /// A sentence.
    pub what: String,
}

/// The watch.
#[derive(Clone, Debug, Serialize)]
pub struct Watching {
    /// One runs.
    pub running: bool,
    /// Since when it has every change.
    pub complete_since: Option<String>,
    /// How it knows who did something.
    pub attribution: Option<Attribution>,
    /// What it cannot do here.
    pub limits: Vec<String>,
}

/// The making of the record.
#[derive(Clone, Debug, Serialize)]
pub struct Recording {
    /// How many paths are on record.
    pub paths: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Bytes of contents that are kept for diffs and reverts.
    pub kept: u64,
}

/// Looks at the host at `root`. The first time its record is made.
///
/// # Errors
/// The tree, its record or the state cannot be read; somebody else is at work when the record is to be made.
pub fn look(
    state: &State,
    root: &Path,
    depth: Depth,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<(Look, Texts), EngineError> {
    let site = Site::look(root, state.dir())?;
    let host = HostState::open(&site.root).map_err(host_error)?;
    let opened = match host.lock("look at what differs") {
        // Only to bring the record up: a look can take minutes, and a change waits for nobody.
        Ok(guard) => opened(state, &site, Some(&guard), asked, progress)?,
        // A change is under way: what can be said without it is said.
        Err(HostError::Refused(Refusal::Busy { .. })) if has_record(&site)? => {
            opened(state, &site, None, asked, progress)?
        }
        Err(error) => return Err(host_error(error)),
    };
    let found = compare(&site, opened, false, depth, asked, progress)?;
    Ok((found.look, Texts { tree: found.tree, databases: found.databases }))
}

/// The same without keeping anybody from changing the host, at any time: the host's lock is taken only to bring the record up,
/// where a change that came to nothing left that over. `None`: there is no record, and none is made.
///
/// # Errors
/// The tree, its record or the state cannot be read.
pub fn glance(state: &State, root: &Path, asked: &Asked, progress: &dyn Progress) -> Result<Option<Look>, EngineError> {
    let site = Site::look(root, state.dir())?;
    if !has_record(&site)? {
        return Ok(None);
    }
    let host = HostState::find(&site.root).map_err(host_error)?;
    let guard = match &host {
        Some(host) if is_behind(&site, host)? => host.lock("bring the record up").ok(),
        _ => None,
    };
    let opened = opened(state, &site, guard.as_ref(), asked, progress)?;
    drop(guard);
    compare(&site, opened, false, Depth::Changed, asked, progress).map(|found| Some(found.look))
}

/// Whether nothing is under way, and yet not all that was is in the record.
fn is_behind(site: &Site, host: &HostState) -> Result<bool, EngineError> {
    let (place, changes) = (moves::whole(site)?, host.changes().map_err(host_error)?);
    let open = changes.iter().any(|record| record.phase.is_open());
    Ok(!open && (changes.len() != place.changes.len() || changes.iter().any(|r| !place.changes.contains(&r.id))))
}

fn has_record(site: &Site) -> Result<bool, EngineError> {
    Ok(Place::read(&site.root)?.is_some_and(|place| place.whole))
}

/// Makes the record of the host at `root` where there is none; `None`: there is one.
///
/// # Errors
/// As [`look`].
pub fn record(
    state: &State,
    root: &Path,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Option<Recording>, EngineError> {
    let site = Site::look(root, state.dir())?;
    let host = HostState::open(&site.root).map_err(host_error)?;
    let guard = host.lock("record this host").map_err(host_error)?;
    let (.., recording) = opened(state, &site, Some(&guard), asked, progress)?;
    Ok(recording)
}

/// The record of a host and what differs from it, without a word on who did it. The first time the record is made.
///
/// # Errors
/// As [`look`].
pub(crate) fn scanned(
    state: &State,
    site: &Site,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<(Baseline, Scanned), EngineError> {
    let host = HostState::open(&site.root).map_err(host_error)?;
    let guard = host.lock("look at all of this host").map_err(host_error)?;
    let (baseline, ..) = opened(state, site, Some(&guard), asked, progress)?;
    // A change waits for nobody's look.
    drop(guard);
    let mut scanned = baseline.scan(&Options::new(&site.policy, (asked.now)()))?;
    // It only spares the next scan some work.
    let _ = baseline.refresh(std::mem::take(&mut scanned.refresh));
    Ok((baseline, scanned))
}

/// A look, with what it was made from.
pub(super) struct Finding {
    pub(super) look: Look,
    pub(super) baseline: Baseline,
    pub(super) databases: Databases,
    pub(super) tree: Tree,
    /// What could not be read when the record was made and is not on record.
    pub(super) unrecorded: Vec<TreePath>,
}

/// Looks, for a change of what is found: the host's lock is held until it is made.
pub(super) fn find(
    state: &State,
    site: &Site,
    guard: &Guard<'_>,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Finding, EngineError> {
    let opened = opened(state, site, Some(guard), asked, progress)?;
    compare(site, opened, true, Depth::Changed, asked, progress)
}

fn compare(
    site: &Site,
    (baseline, place, recording): Opened,
    locked: bool,
    depth: Depth,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Finding, EngineError> {
    progress.begin("comparing this host with its record");
    let now = (asked.now)();
    let options = Options { depth, ..Options::new(&site.policy, now) };
    let scanned = baseline.scan(&options)?;
    // It only spares the next scan some work.
    let _ = baseline.refresh(scanned.refresh);
    let mut tree = Tree::open(&site.root)?;
    let databases = Databases { record: packages::read(&baseline)?, host: Database::read(&mut tree)? };
    let since = baseline.meta().since;
    let log = Log::read(&site.root, Some(since)).map_err(EngineError::system("read the watch's log"))?;
    let mut problems: Vec<Problem> = scanned.problems.iter().map(problem).collect();
    let unrecorded = scanned.problems.iter().filter(|one| one.trouble == Trouble::Unrecorded);
    let unrecorded = unrecorded.map(|one| one.path.clone()).collect();
    let mut differences = scanned.differences;
    let in_between = !locked && under_way(site, &place, &mut differences, &mut problems)?;
    let mut drift: Vec<Drift> = differences.into_iter().map(|one| drifted(one, &log, since, now)).collect();
    add_from_before(&mut drift, &place.modified, &baseline, since)?;
    let transactions = dpkg::history(&mut tree, Some(&since.to_string()));
    let groups = grouped(&mut drift, &databases, &transactions, &mut tree, &mut problems);
    let (runtime, gaps) = if in_between { Default::default() } else { facts::differences(site)? };
    problems.extend(gaps.into_iter().map(|what| Problem { path: None, what }));
    let look = Look {
        baseline_at: stamp(baseline.meta().at),
        recorded_at: stamp(since),
        drift,
        groups,
        runtime,
        problems,
        watch: watching(site, &log)?,
        paths: scanned.counts.paths,
        recorded: recording,
    };
    Ok(Finding { look, baseline, databases, tree, unrecorded })
}

/// A record, which changes are in it, and whether it was made just now.
pub(super) type Opened = (Baseline, Place, Option<Recording>);

/// The record, brought up to the last change; made when there is none and the lock is held.
fn opened(
    state: &State,
    site: &Site,
    guard: Option<&Guard<'_>>,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Opened, EngineError> {
    let place = Place::read(&site.root)?;
    // An interrupted first record is none.
    let is_new = place.as_ref().is_some_and(|place| !place.whole);
    match (Baseline::open(&site.root)?.filter(|_| !is_new), guard) {
        (Some(baseline), Some(guard)) => moves::catch_up(state, site, guard, baseline, asked, &NoFaults)
            .map(|(baseline, place)| (baseline, place, None)),
        (Some(baseline), None) => Ok((baseline, moves::whole(site)?, None)),
        (None, Some(guard)) => first(state, site, guard, asked, progress),
        (None, None) => Err(EngineError::refused("this host has no record yet", "`greenroom status` makes it")),
    }
}

/// Without the lock a change may be under way, or may have come and gone since: its paths are nobody's drift.
fn under_way(
    site: &Site,
    place: &Place,
    differences: &mut Vec<Difference>,
    problems: &mut Vec<Problem>,
) -> Result<bool, EngineError> {
    let Some(host) = HostState::find(&site.root).map_err(host_error)? else { return Ok(false) };
    let later = host.changes().map_err(host_error)?.into_iter().filter(|r| !place.changes.contains(&r.id));
    let (mut paths, mut changes) = (BTreeSet::new(), Vec::new());
    for record in later {
        // One that is being written just now has touched nothing.
        let Ok(changeset) = host.changeset(&record) else { continue };
        paths.extend(changeset.entries().iter().map(|e| e.path.clone()));
        changes.push(record.id);
    }
    if !changes.is_empty() {
        differences.retain(|d| !paths.contains(&d.entry.path));
        let what = format!("{} is under way: {} paths that it touches are left out", changes.join(", "), paths.len());
        problems.push(Problem { path: None, what });
    }
    Ok(!changes.is_empty())
}

fn problem(trouble: &Unknown) -> Problem {
    Problem { path: Some(trouble.path.clone()), what: trouble.to_string() }
}

fn stamp(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn timestamp(time: Mtime) -> Option<Timestamp> {
    Timestamp::new(time.sec, i32::try_from(time.nsec).ok()?).ok()
}

fn drifted(one: Difference, log: &Log, since: Timestamp, now: Timestamp) -> Drift {
    let inode = one.inode.map(|inode| (inode.dev.0, inode.dev.1, inode.ino));
    let found = Found { entry: one.entry, ctime: one.changed.and_then(timestamp), inode };
    let who = attribute(&found, log, since, now);
    Drift { entry: found.entry, found_by: who.found_by, actor: who.actor, at: stamp(who.at), group: String::new() }
}

/// Adds what was not as its package brought it when the record was made, where nothing else is known of it.
fn add_from_before(
    drift: &mut Vec<Drift>,
    modified: &[Before],
    baseline: &Baseline,
    since: Timestamp,
) -> Result<(), EngineError> {
    let known: BTreeSet<TreePath> = drift.iter().map(|d| d.path().clone()).collect();
    for one in modified.iter().filter(|one| !known.contains(&one.path)) {
        let after = baseline.node(&one.path)?.map(Box::new);
        let at = after.as_ref().and_then(|node| timestamp(node.mtime)).unwrap_or(since);
        drift.push(Drift {
            entry: Entry { path: one.path.clone(), before: None, after },
            found_by: FoundBy::Package,
            actor: None,
            at: stamp(at),
            group: String::new(),
        });
    }
    drift.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(())
}

fn grouped(
    drift: &mut [Drift],
    databases: &Databases,
    transactions: &[Transaction],
    tree: &mut Tree,
    problems: &mut Vec<Problem>,
) -> Vec<Group> {
    if let Some(host) = &databases.host {
        problems.extend(host.gaps().iter().map(|gap| Problem { path: None, what: gap.clone() }));
    }
    let tree = std::cell::RefCell::new(tree);
    let md5 = |path: &TreePath| dpkg::md5_of(&mut tree.borrow_mut(), path).ok().flatten();
    let mut groups = group(drift, databases, transactions, &md5);
    for group in &mut groups {
        // Paths are escaped already; names out of logs and command lines may hold anything.
        if group.title.chars().any(char::is_control) {
            group.title = Shown(group.title.as_bytes()).to_string();
        }
    }
    groups
}

fn watching(site: &Site, log: &Log) -> Result<Watching, EngineError> {
    let watch = Watch::read(&site.root).map_err(EngineError::system("ask for the watch"))?;
    Ok(Watching {
        running: watch.is_some(),
        complete_since: log.complete_since().map(stamp),
        attribution: watch.as_ref().map(|w| w.attribution),
        limits: watch.map(|w| w.limits).unwrap_or_default(),
    })
}

impl Finding {
    /// Takes what is not on record among the differences, as it is now: whoever adopts it has it on record.
    pub(super) fn take_unrecorded(&mut self) -> Result<(), EngineError> {
        for path in &self.unrecorded {
            let after = match self.tree.node(path) {
                Ok(seen) => seen.into_node(),
                // It is being written to again: it stays what it was.
                Err(ScanError::Busy { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let entry = Entry { path: path.clone(), before: None, after };
            if entry.after.is_some() {
                let (at, group) = (self.look.baseline_at.clone(), format!("path:{path}"));
                self.look.drift.push(Drift { entry, found_by: FoundBy::Scan, actor: None, at, group });
            }
        }
        self.look.drift.sort_by(|a, b| a.path().cmp(b.path()));
        Ok(())
    }

    /// What a file of a package was when the package brought it, as far as the package cache says: its content; the rest as it is.
    pub(super) fn of_package(&mut self, entry: &Entry) -> Option<Box<Node>> {
        let content = package_content(&mut self.tree, &self.databases, &entry.path)?;
        let now = entry.after.as_deref()?;
        let kind = Kind::File { size: content.len() as u64, content: ContentHash::of(&content) };
        Some(Box::new(Node { kind, ..now.clone() }))
    }

    /// What apt would have to install to bring the packages of these paths back: `nginx=1.22`, or `nginx` in its present version.
    pub(super) fn versions(&self, chosen: &[usize]) -> Vec<String> {
        let (Some(record), Some(host)) = (&self.databases.record, &self.databases.host) else { return Vec::new() };
        let paths = chosen.iter().map(|at| self.look.drift[*at].path());
        let of = paths.filter_map(|path| {
            let was = record.package(record.owner(path)?);
            let is = host.owner(path).map(|id| &host.package(id).version);
            Some(if is == Some(&was.version) { was.name.clone() } else { format!("{}={}", was.name, was.version) })
        });
        of.collect()
    }
}
