//! One case on three equal hosts: two run the change directly, on the third it is rehearsed, applied and undone.
//!
//! All three are booted lab hosts, copied from one prepared host. On the third Greenroom runs inside, as on a production
//! host, and reaches the packages through its own proxy. Every tree is read from outside while its host is running:
//!
//! ```text
//! prepared ─┬─► direct 1: change ──────────────────────────────────► tree, units
//!           ├─► direct 2: change ──────────────────────────────────► tree, units
//!           └─► tree ─► rehearse ─► tree ─► apply ─► tree, units ─► undo ─► tree, units
//!                └───── untouched ────┘                └── as before ────────┘
//! ```

use super::cases::Case;
use super::judge::{self, Verdict};
use super::tree::{self, Tree};
use greenroom_core::policy::{Policy, STORES};
use greenroom_testkit::lab::{Boot, Lab, LabHost, Output};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The longest that one change may take.
const LIMIT: Duration = Duration::from_secs(600);

/// What Greenroom gives a change as its environment, given to direct runs too.
const ENVIRONMENT: [&str; 6] = ["env", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "TERM=dumb", "LC_ALL="];

/// What one case showed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Paths in the changeset.
    pub(crate) entries: u64,
    /// The applied tree against the direct ones.
    pub(crate) applied: Verdict,
    /// The host after the rehearsal against itself before it.
    pub(crate) untouched: Verdict,
    /// The host after undo against itself before the change.
    pub(crate) undone: Verdict,
    /// Units whose state is not that of the direct runs (after apply), or not what it was (after undo).
    pub(crate) units: Vec<String>,
    /// How long the direct run, the rehearsal, apply and undo took.
    pub(crate) took: [Duration; 4],
}

/// Makes the hosts of all cases.
pub(crate) struct Bench {
    lab: Lab,
    seed: LabHost,
    prepared: BTreeMap<&'static str, LabHost>,
}

impl Bench {
    /// Makes the first host: `greenroom` installed, and rehearsed with once, so that its directories are there.
    ///
    /// # Errors
    /// A sentence: what of the lab failed.
    pub(crate) fn new(greenroom: &Path) -> Result<Self, String> {
        let lab = Lab::new().map_err(text)?;
        let mut seed = lab.host("fidelity").map_err(text)?;
        seed.install_greenroom(greenroom).map_err(text)?;
        seed.boot(&Boot::with_packages()).map_err(text)?;
        seed.exec_ok(&["greenroom", "rehearse", "--quiet", "--", "true"]).map_err(text)?;
        seed.poweroff().map_err(text)?;
        Ok(Self { lab, seed, prepared: BTreeMap::new() })
    }

    /// Three equal hosts for a case.
    fn hosts(&mut self, case: &Case) -> Result<[LabHost; 3], String> {
        let from = if case.prepare.is_empty() {
            &self.seed
        } else {
            if !self.prepared.contains_key(case.prepare) {
                let mut host = self.lab.copy_of(&self.seed).map_err(text)?;
                host.boot(&Boot::with_packages()).map_err(text)?;
                must_end_well("prepare", &shell(&host, case.prepare)?)?;
                host.poweroff().map_err(text)?;
                self.prepared.insert(case.prepare, host);
            }
            &self.prepared[case.prepare]
        };
        let copy = || self.lab.copy_of(from).map_err(text);
        Ok([copy()?, copy()?, copy()?])
    }

    /// Runs a case.
    ///
    /// # Errors
    /// A sentence: why it could not be measured, or that the change was not *ready*, or not applied, or not undone.
    pub(crate) fn run(&mut self, case: &Case) -> Result<Outcome, String> {
        let [one, two, three] = self.hosts(case)?;
        let change = case.change;
        let since = UNIX_EPOCH.elapsed().map_err(text)?.as_secs_f64();
        thread::scope(|scope| {
            let one = scope.spawn(move || direct(one, change));
            let two = scope.spawn(move || direct(two, change));
            let three = scope.spawn(move || rehearsed(three, change));
            let join =
                |ended: thread::Result<_>| ended.unwrap_or_else(|_| Err("a thread of the case failed".to_owned()));
            let (one, two) = (join(one.join()), join(two.join()));
            let three = three.join().unwrap_or_else(|_| Err("a thread of the case failed".to_owned()));
            Ok(compare(&one?, &two?, &three?, since))
        })
    }
}

/// The state of a host at one moment.
struct Look {
    tree: Tree,
    /// Units that are active or failed.
    units: BTreeMap<String, String>,
}

struct Direct {
    look: Look,
    took: Duration,
}

struct Rehearsed {
    entries: u64,
    policy: Policy,
    before: Look,
    rehearsed: Tree,
    applied: Look,
    undone: Look,
    took: [Duration; 3],
}

fn direct(mut host: LabHost, change: &str) -> Result<Direct, String> {
    host.boot(&Boot::with_packages()).map_err(text)?;
    let began = Instant::now();
    must_end_well("the direct run", &shell(&host, change)?)?;
    let took = began.elapsed();
    Ok(Direct { look: look(&host)?, took })
}

fn rehearsed(mut host: LabHost, change: &str) -> Result<Rehearsed, String> {
    host.boot(&Boot::with_packages()).map_err(text)?;
    let policy = policy(host.root())?;
    let before = look(&host)?;
    let began = Instant::now();
    let record = greenroom(&host, &["rehearse", "--json", "--", "sh", "-ec", change])?;
    let rehearse = began.elapsed();
    if record["verdict"] != "ready" {
        return Err(format!("the verdict is {}: {}", record["verdict"], record["reasons"]));
    }
    let rehearsed = tree::read(host.root()).map_err(text)?;
    let began = Instant::now();
    let applied = greenroom(&host, &["apply", "--json", word(&record, "rehearsal")?])?;
    let apply = began.elapsed();
    let after = look(&host)?;
    let began = Instant::now();
    greenroom(&host, &["undo", "--json", word(&applied, "change")?])?;
    let undo = began.elapsed();
    let undone = look(&host)?;
    let entries = record["entries"].as_u64().unwrap_or(0);
    Ok(Rehearsed { entries, policy, before, rehearsed, applied: after, undone, took: [rehearse, apply, undo] })
}

fn compare(one: &Direct, two: &Direct, three: &Rehearsed, since: f64) -> Outcome {
    let policy = &three.policy;
    let mut units = units_that_differ("after apply", [&one.look.units, &two.look.units], &three.applied.units);
    units.extend(units_that_differ("after undo", [&three.before.units; 2], &three.undone.units));
    let [rehearse, apply, undo] = three.took;
    Outcome {
        entries: three.entries,
        applied: judge::judge(&one.look.tree, &two.look.tree, &three.applied.tree, since, policy),
        untouched: judge::equal(&three.before.tree, &three.rehearsed, policy),
        undone: judge::equal(&three.before.tree, &three.undone.tree, policy),
        units,
        took: [one.took.min(two.took), rehearse, apply, undo],
    }
}

/// The published list, with the stores whose data the host has before the change.
fn policy(root: &Path) -> Result<Policy, String> {
    let has = |path: &str| {
        std::fs::read_dir(root.join(path.trim_start_matches('/'))).is_ok_and(|mut entries| entries.next().is_some())
    };
    let data = STORES.iter().filter(|store| has(store.path)).map(|store| store.path.into()).collect();
    Policy::new("", data, vec![]).map_err(text)
}

/// Reads a host's tree and units once nothing is being started or stopped any more.
fn look(host: &LabHost) -> Result<Look, String> {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end && !host.exec(&["systemctl", "list-jobs"]).map_err(text)?.out().starts_with("No jobs") {
        thread::sleep(Duration::from_millis(100));
    }
    let list = host.exec_ok(&["systemctl", "list-units", "--plain", "--no-legend", "--all"]).map_err(text)?;
    let units = list.out().lines().filter_map(unit).collect();
    Ok(Look { tree: tree::read(host.root()).map_err(text)?, units })
}

/// Name and state of a line of `list-units`; `None` for what is not running and for what only lasts as long as a command.
fn unit(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, _, active, ..] = words[..] else { return None };
    let suffix = name.rsplit('.').next()?;
    // Targets are only names: systemd keeps one that was wanted active although nobody wants it any more.
    let wanted = matches!(suffix, "service" | "socket" | "timer" | "path") && matches!(active, "active" | "failed");
    let passing = name.starts_with("lab-command-") || name.starts_with("run-");
    (wanted && !passing).then(|| (name.to_owned(), active.to_owned()))
}

fn units_that_differ(
    when: &str,
    agreed: [&BTreeMap<String, String>; 2],
    found: &BTreeMap<String, String>,
) -> Vec<String> {
    let names: BTreeSet<&String> = agreed[0].keys().chain(agreed[1].keys()).chain(found.keys()).collect();
    let mut told = Vec::new();
    for name in names {
        let [a, b, c] = [agreed[0], agreed[1], found].map(|units| units.get(name).map_or("inactive", String::as_str));
        if a == b && a != c {
            told.push(format!("{when} {name} is {c}, not {a}"));
        }
    }
    told
}

fn shell(host: &LabHost, script: &str) -> Result<Output, String> {
    let command: Vec<&str> = ENVIRONMENT.into_iter().chain(["sh", "-ec", script]).collect();
    host.exec_with(&command, b"", LIMIT).map_err(text)
}

/// Runs Greenroom in the host; what it printed on standard output, understood.
fn greenroom(host: &LabHost, args: &[&str]) -> Result<serde_json::Value, String> {
    let command: Vec<&str> = ["greenroom"].iter().chain(args).copied().collect();
    let output = host.exec_with(&command, b"", LIMIT).map_err(text)?;
    serde_json::from_slice::<serde_json::Value>(&output.stdout)
        .ok()
        .filter(|value| value.is_object() && (args[0] == "rehearse" || output.ok()))
        .ok_or_else(|| format!("greenroom {} ended with {}: {}", args[0], output.code(), tail(&output)))
}

fn must_end_well(what: &str, output: &Output) -> Result<(), String> {
    if output.ok() { Ok(()) } else { Err(format!("{what} ended with {}: {}", output.code(), tail(output))) }
}

/// The last lines of what a command said.
fn tail(output: &Output) -> String {
    let all = format!("{}\n{}", output.out(), output.err());
    let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}

fn word<'a>(value: &'a serde_json::Value, name: &str) -> Result<&'a str, String> {
    value[name].as_str().ok_or_else(|| format!("the answer has no `{name}`"))
}

fn text(error: impl std::error::Error) -> String {
    let mut all = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        all.push_str(&format!(": {next}"));
        source = next.source();
    }
    all
}
