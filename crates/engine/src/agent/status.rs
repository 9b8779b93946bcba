//! How this host is, said without being asked.
//!
//! ```text
//! the watch's log, the record, the host's changes ─► trace, taken each second ─► another one, and quiet for a while
//!      units that failed, asked for now and then ─► others ──────────────┐      │
//!                                       every five minutes ─► due ◄──────┴──────┘
//!      due, and no change holds the host ─► this program again, at idle priority ─► HostStatus ─► the stream
//! ```
//! The trace costs a look at some names and says only that there may be something; what there is, [`of`] finds by a scan. A scan
//! that takes long is made seldom: at most a tenth of the time goes into it. What was found is kept for the next stream
//! where there is none just now.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use greenroom_core::drift::{Actor, Drift};
use greenroom_core::path::Shown;
use greenroom_core::wire::{Difference, HostStatus, NAMED};
use greenroom_host::services::Manager;
use tokio::sync::watch;

use super::Agent;
use crate::apply::Records;
use crate::drift::{Look, glance};
use crate::{Asked, EngineError, Silent, State, lock};

/// How often the trace is taken.
const TICK: Duration = Duration::from_secs(1);

/// What goes on all the time is looked at after so long, quiet or not.
const RESTLESS: Duration = Duration::from_secs(15);

/// However quiet it is.
const EVERY: Duration = Duration::from_secs(300);

/// How often it is asked which units failed.
const UNITS: Duration = Duration::from_secs(30);

/// A look is followed by so many times its own duration without one.
const REST: u32 = 9;

/// The longest text in a status, in bytes.
const LONGEST: usize = 256;

/// Looks at the host at `root`, and says in short what was found.
///
/// # Errors
/// The host, its record or the state cannot be read.
pub fn of(state: &State, root: &Path, asked: &Asked) -> Result<HostStatus, EngineError> {
    let failed = failed(root)?;
    let look = glance(state, root, asked, &Silent)?;
    Ok(HostStatus {
        looked_at: asked.stamp(),
        under_way: Records::look(root).under_way()?.map(|record| record.change),
        failed_units: failed.len(),
        failed: failed.iter().take(NAMED).map(|unit| short(unit)).collect(),
        ..look.map(|look| in_short(&look)).unwrap_or_default()
    })
}

fn failed(root: &Path) -> Result<Vec<String>, EngineError> {
    let units = Manager::of(root).units()?;
    Ok(units.into_iter().filter(|(_, unit)| unit.active == "failed").map(|(name, _)| name).collect())
}

fn in_short(look: &Look) -> HostStatus {
    let mut latest: Vec<&Drift> = look.drift.iter().collect();
    latest.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.path().cmp(b.path())));
    let title = |id: &str| look.groups.iter().find(|group| group.id == id).map_or("", |group| &group.title);
    HostStatus {
        baseline_at: Some(look.baseline_at.clone()),
        paths: look.drift.len(),
        beyond_files: look.runtime.len(),
        latest: latest.into_iter().take(NAMED).map(|drift| difference(drift, title(&drift.group))).collect(),
        not_known: look.problems.len(),
        watch: look.watch.running,
        ..HostStatus::default()
    }
}

fn difference(drift: &Drift, title: &str) -> Difference {
    let op = serde_json::to_value(drift.op()).ok().and_then(|op| op.as_str().map(str::to_owned));
    Difference {
        path: short(&drift.path().to_string()),
        op: op.unwrap_or_default(),
        actor: drift.actor.as_ref().map(|actor| short(&name(actor))),
        how: drift.actor.as_ref().map(|actor| short(&actor.words())),
        at: drift.at.clone(),
        group: short(title),
    }
}

/// The person before the account, and that before the program.
fn name(actor: &Actor) -> String {
    let known = [&actor.login, &actor.user, &actor.unit, &actor.process].into_iter().find_map(Option::clone);
    known.unwrap_or_else(|| "unknown".to_owned())
}

/// A text without control characters, cut where it is too long.
fn short(text: &str) -> String {
    let mut text =
        if text.chars().any(char::is_control) { Shown(text.as_bytes()).to_string() } else { text.to_owned() };
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// What becomes another one when a status may be out of date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trace {
    /// The newest file of the watch's log, and its length.
    log: Option<(String, u64)>,
    /// When the record was moved.
    record: Option<SystemTime>,
    /// When a change began, went on or ended.
    changes: Option<SystemTime>,
}

impl Trace {
    fn of(root: &Path) -> Self {
        let home = crate::apply::home(root);
        let modified = |name: &str| home.join(name).metadata().and_then(|meta| meta.modified()).ok();
        let names = std::fs::read_dir(greenroom_host::watch::dir(root)).into_iter().flatten().flatten();
        let logs = names.filter_map(|entry| {
            let number: u64 = entry.file_name().to_str()?.strip_prefix("log.")?.parse().ok()?;
            Some((number, entry))
        });
        let newest = logs.max_by_key(|(number, _)| *number).map(|(_, entry)| entry);
        let log = newest.map(|entry| {
            let length = entry.metadata().map_or(0, |meta| meta.len());
            (entry.file_name().to_string_lossy().into_owned(), length)
        });
        Self { log, record: modified("baseline/moved.json"), changes: modified("records") }
    }
}

/// Looks whenever something may have changed, and puts what was found where the stream takes it. Never returns by itself.
pub(super) async fn keep(agent: Arc<Agent>, found: watch::Sender<Option<HostStatus>>) {
    loop {
        let (began, trace) = (Instant::now(), Trace::of(agent.root()));
        let looking = agent.clone();
        let status = tokio::task::spawn_blocking(move || looking.look()).await;
        // One that fails now is tried again: what is known stays, and with it when it was found.
        if let Ok(Some(status)) = status {
            found.send_replace(Some(status));
        }
        tokio::time::sleep((began.elapsed() * REST).min(EVERY)).await;
        let failed = found.borrow().as_ref().map(|status| status.failed_units);
        due(&agent, &trace, failed).await;
    }
}

/// Waits until there may be something new, and no change holds the host.
async fn due(agent: &Arc<Agent>, known: &Trace, failed_units: Option<usize>) {
    let (began, mut asked) = (Instant::now(), Instant::now());
    let (mut before, mut since) = (known.clone(), None);
    loop {
        tokio::time::sleep(TICK).await;
        let now = Trace::of(agent.root());
        if now != *known {
            let first = *since.get_or_insert_with(Instant::now);
            if (now == before || first.elapsed() > RESTLESS) && !agent.is_held() {
                return;
            }
        }
        before = now;
        if began.elapsed() > EVERY && !agent.is_held() {
            return;
        }
        if asked.elapsed() > UNITS {
            asked = Instant::now();
            let root = agent.root().to_owned();
            let now = tokio::task::spawn_blocking(move || failed(&root).map(|all| all.len())).await;
            if let Ok(Ok(now)) = now
                && failed_units != Some(now)
                && !agent.is_held()
            {
                return;
            }
        }
    }
}

impl Agent {
    /// Whether a change waits or goes on here.
    fn is_held(&self) -> bool {
        !lock(&self.held).is_empty() || !matches!(Records::look(self.root()).under_way(), Ok(None))
    }

    fn look(&self) -> Option<HostStatus> {
        let words =
            ["--root", &self.root().display().to_string(), "--state", &self.options.state.display().to_string()];
        let words: Vec<String> = words.into_iter().chain(["--json", "agent", "look"]).map(str::to_owned).collect();
        let ran = (self.options.idle)(&words).ok().filter(|ran| ran.code == 0)?;
        serde_json::from_str(&ran.stdout).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::drift::FoundBy;
    use greenroom_core::wire::MAX_STATUS;
    use greenroom_core::{Entry, Kind, Mtime, Node, TreePath};

    #[test]
    fn however_much_differs_a_status_is_small_and_has_the_latest_first() {
        let node = |mode| {
            let (mtime, xattrs) = (Mtime::default(), Box::default());
            Some(Box::new(Node { kind: Kind::Fifo, mode, flags: 0, uid: 0, gid: 0, mtime, xattrs, link: None }))
        };
        let long = "\u{1b}\"ä".repeat(1000);
        let actor = Actor { login: Some(long.clone()), command: Some(long.clone()), ..Actor::default() };
        let drift = |n: usize| Drift {
            entry: Entry {
                path: TreePath::from(format!("/{long}{n}").as_str()),
                before: node(0o600),
                after: node(0o644),
            },
            found_by: FoundBy::Watch,
            actor: Some(actor.clone()),
            at: format!("2026-11-27T10:00:{:02}.000Z", n % 60),
            group: "one".to_owned(),
        };
        let look = Look {
            baseline_at: "2026-11-27T09:00:00.000Z".to_owned(),
            recorded_at: String::new(),
            drift: (0..1000).map(drift).collect(),
            groups: vec![greenroom_core::drift::Group { id: "one".to_owned(), title: long.clone(), paths: 1000 }],
            runtime: Vec::new(),
            problems: Vec::new(),
            watch: crate::drift::Watching { running: true, complete_since: None, attribution: None, limits: vec![] },
            paths: 1000,
            recorded: None,
        };
        let status = in_short(&look);
        assert_eq!((status.paths, status.latest.len(), status.latest[0].op.as_str()), (1000, NAMED, "metadata"));
        // Sixteen are of the last second, the other four of the one before.
        let seconds: Vec<&str> = status.latest.iter().map(|one| &one.at[17..19]).collect();
        assert_eq!(seconds, [["59"; 16].as_slice(), &["58"; 4]].concat());
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.len() < MAX_STATUS, "{}", text.len());
        assert!(!text.contains("\\u001b"), "nothing that a terminal would follow");
    }
}
