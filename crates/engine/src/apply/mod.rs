//! Apply, undo, recover: a rehearsed change on the host itself.
//!
//! The same [`Drive`] goes through a copy when a rehearsal proves a change and through production when it is applied; what
//! differs is the [`Place`]. A change is open from before the first touch until it is in place or taken back; whatever kills
//! the process in between, [`recover`] finishes it: forward when every part had happened, back otherwise.

mod drive;
mod forget;
mod gate;
mod record;
mod recover;
mod refusal;
mod services;
mod undo;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use greenroom_core::plan::Part;
use greenroom_core::rehearsal::{Rehearsal, Verdict};
use greenroom_core::{Changeset, TreePath};
use greenroom_host::apply::{Conflict, Contents, Faults, HostState, check};
use greenroom_host::scan::Tree;
use greenroom_host::services::{Manager, Pen};
use greenroom_store::blobs::DirBlobs;
use greenroom_store::ledger::{Draft, Ledger as _};
use serde::Serialize;

pub(crate) use drive::{Drive, Ended, chain};
pub use forget::{Forgotten, forget};
use gate::Again;
pub use gate::{Gate, Open};
pub(crate) use record::place as home;
pub use record::{ChangeRecord, Edit, Kind, PartRecord, Records, Standing, Step};
pub use recover::recover;
pub use refusal::{Conflicts, describe};
pub(crate) use refusal::{conflicts as refused, host_error};
pub use undo::undo;
pub(crate) use undo::{inverse_record, recorded};

use crate::site::Site;
use crate::{Asked, EngineError, Outcome, Progress, State};

/// Runs a shell command where the services are, in a control group of its own when one is given: its exit status and the end
/// of its output.
pub(crate) type Shell<'a> = dyn Fn(&str, Option<Duration>, Option<&Pen>) -> Result<(i32, String), EngineError> + 'a;

/// Who runs the services of the tree that is changed.
pub(crate) struct Place<'a> {
    pub(crate) manager: Manager<'a>,
    pub(crate) shell: &'a Shell<'a>,
    /// Where live steps get a control group of their own, what the names of those of this tree begin with. A copy needs
    /// none: it ends as a whole.
    pub(crate) pens: Option<String>,
    /// The declared order of units.
    pub(crate) units: &'a [String],
}

impl<'a> Place<'a> {
    /// The host itself.
    pub(crate) fn live(site: &'a Site, shell: &'a Shell<'a>) -> Self {
        Self { manager: Manager::of(&site.root), shell, pens: Some(pens(site)), units: &site.units }
    }
}

/// What a change needs besides the place.
pub(crate) struct Tools<'a> {
    pub(crate) contents: &'a dyn Contents,
    pub(crate) faults: &'a dyn Faults,
    pub(crate) progress: &'a dyn Progress,
    /// Passed right before the first touch.
    pub(crate) gate: &'a dyn Gate,
    /// Health commands besides those of the change file.
    pub(crate) health: &'a [String],
}

impl Tools<'_> {
    fn hit(&self, point: &str) -> Result<(), EngineError> {
        self.faults.hit(point).map_err(EngineError::system(format!("go on after {point}")))
    }
}

/// Contents out of the blob store.
pub(crate) struct FromBlobs<'a>(pub(crate) &'a DirBlobs);

impl Contents for FromBlobs<'_> {
    fn open(&self, hash: &greenroom_core::ContentHash) -> std::io::Result<std::fs::File> {
        use greenroom_store::blobs::BlobStore as _;
        self.0.open(*hash).map_err(std::io::Error::other)
    }
}

/// What a person asks for.
pub struct Wanted<'a> {
    /// The host's tree.
    pub root: &'a Path,
    /// The rehearsal to apply, or the change to undo.
    pub id: &'a str,
    /// Why, for the ledger.
    pub why: Option<String>,
    /// Apply although the verdict is not *ready*, because of this.
    pub force_verdict: Option<String>,
    /// Commands that must succeed afterwards.
    pub health: Vec<String>,
    /// Passed when everything fits and is staged, right before the first touch.
    pub gate: &'a dyn Gate,
    /// The change of the fleet that this is a part of.
    pub rollout: Option<String>,
    /// Live steps that run once for the whole system run on another host.
    pub once_elsewhere: bool,
    /// Where to be interrupted, in tests.
    pub faults: &'a dyn Faults,
}

/// What came of it: the object that `apply --json` and `undo --json` print.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The change: `c1`, …
    pub change: String,
    /// `applied`, `undone`, `adopted` or `reverted` when it is in place, `taken back` when it failed and the host is as before.
    pub outcome: &'static str,
    /// The rehearsal it comes from, if it comes from one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rehearsal: String,
    /// The change that was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Number of paths.
    pub entries: usize,
    /// Units that were started, stopped, reloaded or restarted, in order.
    pub restarted: Vec<String>,
    /// The same with what and why.
    pub services: Vec<greenroom_core::plan::UnitAction>,
    /// Why it was taken back, and what else is worth knowing.
    pub notes: Vec<String>,
    /// Paths whose old content was nowhere to be had: it cannot be taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_way_back: Vec<TreePath>,
    /// Milliseconds until all files were in place and services were up.
    pub duration_ms: u64,
}

impl Report {
    pub(crate) fn of(record: &ChangeRecord, began: Instant) -> Self {
        let mut restarted: Vec<String> = Vec::new();
        for action in &record.services {
            if !restarted.contains(&action.unit) {
                restarted.push(action.unit.clone());
            }
        }
        Self {
            change: record.change.clone(),
            outcome: match (record.standing, record.kind) {
                (Standing::Done, Kind::Apply) => "applied",
                (Standing::Done, Kind::Undo) => "undone",
                (Standing::Done, Kind::Adopt) => "adopted",
                (Standing::Done, Kind::Revert) => "reverted",
                _ => "taken back",
            },
            rehearsal: record.rehearsal.clone(),
            of: record.of.clone(),
            entries: record.entries,
            restarted,
            services: record.services.clone(),
            notes: record.notes.clone(),
            no_way_back: record.no_way_back.clone(),
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// For the exit status.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.outcome == "taken back" { Outcome::Failed } else { Outcome::Done }
    }
}

/// Puts a rehearsed change onto the host.
///
/// # Errors
/// A refusal, with every path that is not as rehearsed: nothing was touched.
pub fn apply(
    state: &State,
    wanted: &Wanted<'_>,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Report, EngineError> {
    let began = Instant::now();
    let site = Site::look(wanted.root, state.dir())?;
    let rehearsal = state.rehearsal(wanted.id)?;
    may_go_live(&rehearsal, wanted)?;
    let changesets = load(state, &rehearsal.parts)?;
    let host = HostState::open(&site.root).map_err(host_error)?;
    let guard = host.lock(&format!("apply {}", wanted.id)).map_err(host_error)?;
    let records = Records::open(&site.root)?;
    progress.begin("checking that the host is as rehearsed");
    check_all(&site, &rehearsal.parts, &changesets)?;
    let mut record = new_record(state, &records, &rehearsal, wanted, asked)?;
    crate::drift::about_to(&site)?;
    progress.begin("putting it in place");
    let shell = live_shell(&site);
    let place = Place::live(&site, &shell);
    let contents = FromBlobs(&state.blobs);
    let again = || check_all(&site, &rehearsal.parts, &changesets);
    let gate = Again { gate: wanted.gate, check: &again };
    let tools = Tools { contents: &contents, faults: wanted.faults, progress, gate: &gate, health: &wanted.health };
    let drive =
        Drive { place: &place, tools: &tools, guard: &guard, records: &records, changesets: &changesets, of: None };
    drive.run(&mut record)?;
    close(state, &records, &record, asked, &tools)?;
    crate::drift::moved(state, &site, &guard, asked, &tools);
    Ok(Report::of(&record, began))
}

/// Only what was rehearsed well goes live, unless a person says why not.
fn may_go_live(rehearsal: &Rehearsal, wanted: &Wanted<'_>) -> Result<(), EngineError> {
    if rehearsal.verdict == Verdict::Ready || wanted.force_verdict.is_some() {
        return Ok(());
    }
    let why = rehearsal.reasons.join("; ");
    Err(EngineError::refused(
        format!("{} is not ready to go live: {}: {why}", rehearsal.rehearsal, rehearsal.verdict.words()),
        format!(
            "mend it and rehearse again, or say why with --force-verdict \"…\"; `greenroom show {}` has the details",
            rehearsal.rehearsal
        ),
    ))
}

pub(crate) fn load(state: &State, parts: &[Part]) -> Result<Vec<Option<Changeset>>, EngineError> {
    parts
        .iter()
        .map(|part| match part {
            Part::Files { changeset, .. } => state.changeset(changeset).map(Some),
            Part::Live { .. } => Ok(None),
        })
        .collect()
}

/// Checks every path of every part that no earlier part touches; the rest is checked when its turn comes.
fn check_all(site: &Site, parts: &[Part], changesets: &[Option<Changeset>]) -> Result<(), EngineError> {
    let mut seen: BTreeSet<&TreePath> = BTreeSet::new();
    let mut live_before = false;
    for (part, changeset) in parts.iter().zip(changesets) {
        let Some(changeset) = changeset else {
            live_before |= matches!(part, Part::Live { .. });
            continue;
        };
        if live_before {
            // A live step may change anything; what comes after it can only be checked after it.
            continue;
        }
        let found = conflicts(site, &fresh(changeset, &seen))?;
        if !found.is_empty() {
            return Err(refused(&found));
        }
        seen.extend(changeset.entries().iter().map(|entry| &entry.path));
    }
    Ok(())
}

/// What of a changeset no earlier part has touched.
fn fresh<'c>(changeset: &'c Changeset, seen: &BTreeSet<&TreePath>) -> Cow<'c, Changeset> {
    if seen.is_empty() {
        return Cow::Borrowed(changeset);
    }
    Cow::Owned(changeset.clone().filtered(|path| !seen.contains(path)))
}

/// The paths in the way of a changeset; what nobody knows in a directory that is to go is in the way too.
pub(crate) fn conflicts(site: &Site, changeset: &Changeset) -> Result<Vec<Conflict>, EngineError> {
    let tree = Tree::open(&site.root)?;
    let volatile =
        |path: &TreePath, is_dir: bool| site.policy.class(path, is_dir) != greenroom_core::policy::Class::Managed;
    check(&tree, changeset, Some(&volatile)).map_err(host_error)
}

fn new_record(
    state: &State,
    records: &Records,
    rehearsal: &Rehearsal,
    wanted: &Wanted<'_>,
    asked: &Asked,
) -> Result<ChangeRecord, EngineError> {
    let change = fresh_id(state, records)?;
    let forced =
        wanted.force_verdict.as_ref().map(|why| format!("verdict `{}` overridden: {why}", rehearsal.verdict.words()));
    let mut record = proof_record(rehearsal, &change);
    if wanted.once_elsewhere {
        let of_another = |part: &&mut PartRecord| matches!(part.part, Part::Live { once: true, .. });
        record.parts.iter_mut().filter(of_another).for_each(|part| part.step = Step::Elsewhere);
    }
    Ok(ChangeRecord {
        why: wanted.why.clone().or_else(|| rehearsal.why.clone()),
        at: asked.stamp(),
        actor: asked.actor.clone(),
        rollout: wanted.rollout.clone(),
        notes: forced.into_iter().collect(),
        ..record
    })
}

/// The change by which a rehearsal is proven in a copy.
pub(crate) fn proof_record(rehearsal: &Rehearsal, name: &str) -> ChangeRecord {
    ChangeRecord {
        change: name.to_owned(),
        kind: Kind::Apply,
        of: None,
        rehearsal: rehearsal.rehearsal.clone(),
        rollout: None,
        name: rehearsal.name.clone(),
        why: None,
        at: rehearsal.at.clone(),
        actor: greenroom_store::ledger::Actor::default(),
        changeset: rehearsal.changeset,
        entries: rehearsal.entries,
        forward: true,
        parts: part_records(name, &rehearsal.parts),
        jobs: rehearsal.actions.clone(),
        options: rehearsal.wishes.clone(),
        standing: Standing::Open,
        services: Vec::new(),
        notes: Vec::new(),
        no_way_back: Vec::new(),
        edits: Vec::new(),
        aside: Vec::new(),
        forgotten: None,
    }
}

/// A number that neither this state nor this host has used.
pub(crate) fn fresh_id(state: &State, records: &Records) -> Result<String, EngineError> {
    loop {
        let id = state.next_id("c")?;
        if !records.has(&id) {
            return Ok(id);
        }
    }
}

pub(crate) fn part_records(change: &str, parts: &[Part]) -> Vec<PartRecord> {
    let single = parts.len() == 1;
    let name = |at: usize| if single { change.to_owned() } else { format!("{change}.{}", at + 1) };
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| PartRecord {
            host_id: if matches!(part, Part::Files { .. }) { name(at) } else { String::new() },
            part: part.clone(),
            step: Step::Waiting,
            pen: None,
        })
        .collect()
}

/// Runs shell commands on this machine; in a tree that is not this machine's root, inside it.
pub(crate) fn live_shell(
    site: &Site,
) -> impl Fn(&str, Option<Duration>, Option<&Pen>) -> Result<(i32, String), EngineError> + '_ {
    move |text, limit, pen| {
        let answer = greenroom_host::services::shell(&site.root, text, limit, pen)?;
        Ok((answer.code, answer.text))
    }
}

/// What tells the control groups of this tree's live steps from those of another tree: both may have a change `c1`.
fn pens(site: &Site) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let hash = greenroom_core::ContentHash::of(site.root.as_os_str().as_bytes()).to_string();
    hash.chars().take(8).collect()
}

/// Writes the ledger and closes the change: in this order, so that a crash in between is finished by [`recover`].
pub(crate) fn close(
    state: &State,
    records: &Records,
    record: &ChangeRecord,
    asked: &Asked,
    tools: &Tools<'_>,
) -> Result<(), EngineError> {
    records.write(record)?;
    tools.hit("ledger.before")?;
    let root = records.root().display().to_string();
    let mut detail = serde_json::json!({
        "name": record.name,
        "of": record.of,
        "outcome": record.standing,
        "changeset": record.changeset,
        "entries": record.entries,
        "services": record.services,
        "notes": record.notes,
    });
    if let Some(rollout) = &record.rollout {
        detail["rollout"] = serde_json::json!(rollout);
    }
    if !record.edits.is_empty() {
        detail["edits"] = serde_json::json!(record.edits);
    }
    if !record.no_way_back.is_empty() {
        detail["no_way_back"] = serde_json::json!(record.no_way_back.len());
    }
    state.ledger.append_once(
        &format!("{root} {}", record.change),
        &Draft {
            at: asked.stamp(),
            kind: record.kind.word().to_owned(),
            actor: record.actor.clone(),
            change: Some(record.change.clone()),
            rehearsal: Some(record.rehearsal.clone()).filter(|r| !r.is_empty()),
            root,
            why: record.why.clone(),
            detail,
        },
    )?;
    tools.hit("ledger.after")?;
    records.end(record)
}
