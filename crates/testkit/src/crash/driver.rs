//! Runs the built `greenroom` on a world, kills it, lets it recover, and judges what is left.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Change, Violation, World};
use crate::lab::run;
use crate::oracle::Comparison;

const LIMIT: Duration = Duration::from_secs(120);

/// In which state a world is, or is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As before the change.
    Before,
    /// As after it.
    After,
}

/// What is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `greenroom apply`
    Apply,
    /// `greenroom undo`
    Undo,
}

impl Verb {
    /// Where it leads.
    #[must_use]
    pub fn target(self) -> State {
        if self == Self::Apply { State::After } else { State::Before }
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        if self == Self::Apply { "apply" } else { "undo" }
    }
}

/// The program and the world that it works on.
#[derive(Clone, Debug)]
pub struct Driver {
    /// The host.
    pub world: World,
    binary: PathBuf,
    rehearsal: String,
}

impl Driver {
    /// Rehearses the world's change; the verdict must be *ready*.
    ///
    /// # Errors
    /// It is not.
    pub fn rehearse(world: World, binary: &Path) -> Result<Self, Violation> {
        let mut driver = Self { world, binary: binary.to_owned(), rehearsal: String::new() };
        let mut args: Vec<String> = ["rehearse", "--boot", "no", "--net", "none"].map(str::to_owned).to_vec();
        args.extend(driver.world.rehearsal()?);
        let report = driver.json(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        driver.rehearsal = text(&report, "rehearsal");
        if text(&report, "verdict") != "ready" {
            return Err(Violation(format!("the change of the world is not ready: {report:#}")));
        }
        Ok(driver)
    }

    /// The arguments of a verb, in the state of now.
    fn args(&self, verb: Verb) -> Result<Vec<String>, Violation> {
        let what = match verb {
            Verb::Apply => self.rehearsal.clone(),
            Verb::Undo => {
                let entries = self.ledger()?;
                let last = entries.iter().rev().find(|entry| text(entry, "kind") == "apply" && is_done(entry));
                last.map(|entry| text(entry, "change")).ok_or_else(|| Violation("nothing was applied".to_owned()))?
            }
        };
        Ok(vec![verb.word().to_owned(), what])
    }

    /// A command line that is ready to start.
    ///
    /// # Errors
    /// As for `log`, which is asked for the change to undo.
    pub fn command(&self, verb: Verb) -> Result<Command, Violation> {
        Ok(self.greenroom(&self.args(verb)?))
    }

    fn greenroom<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&self.world.root).arg("--state").arg(&self.world.state).arg("--json").args(args);
        command
    }

    /// Runs Greenroom and reads the object that it prints.
    ///
    /// # Errors
    /// It ended with another status than 0.
    pub fn json(&self, args: &[&str]) -> Result<serde_json::Value, Violation> {
        let output = run(&mut self.greenroom(args), b"", LIMIT)?;
        if !output.ok() {
            return Err(Violation(format!("greenroom {} failed: {output}", args.join(" "))));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| Violation(format!("greenroom {}: {error}: {output}", args.join(" "))))
    }

    /// Runs a verb to its end, which must be good, and judges. Returns how long it took.
    ///
    /// # Errors
    /// It failed, or the tree is not what it should be.
    pub fn complete(&self, verb: Verb) -> Result<Duration, Violation> {
        let args = self.args(verb)?;
        let began = Instant::now();
        self.json(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        let took = began.elapsed();
        let state = self.judge()?;
        if state == verb.target() {
            Ok(took)
        } else {
            Err(Violation(format!("{} ended well and the tree is {state:?}", verb.word())))
        }
    }

    /// Runs a verb and kills it after `delay`. Whether the kill came before its end.
    ///
    /// # Errors
    /// It cannot be started, or it ended by itself in another way than well.
    pub fn kill(&self, verb: Verb, delay: Duration) -> Result<bool, Violation> {
        let command = self.command(verb)?;
        kill_after(command, delay)
    }

    /// Runs `recover` and kills it after `delay`. Whether the kill came before its end.
    ///
    /// # Errors
    /// As [`Driver::kill`].
    pub fn kill_recover(&self, delay: Duration) -> Result<bool, Violation> {
        kill_after(self.greenroom(&["recover"]), delay)
    }

    /// Runs `recover` to its end. Whether there was something to do.
    ///
    /// # Errors
    /// It failed.
    pub fn recover(&self) -> Result<bool, Violation> {
        let said = self.json(&["recover"])?;
        Ok(!said["recovered"].is_null())
    }

    /// The entries of the ledger about changes.
    ///
    /// # Errors
    /// `log` failed.
    pub fn ledger(&self) -> Result<Vec<serde_json::Value>, Violation> {
        let log = self.json(&["log"])?;
        let entries = log["entries"].as_array().cloned().unwrap_or_default();
        Ok(entries.into_iter().filter(|entry| entry["change"].is_string()).collect())
    }

    /// Judges a world on which nothing is at work: the ledger says in which state it is, its chain holds, the tree is
    /// wholly in that state, and what the live step did is too.
    ///
    /// # Errors
    /// The violation, with what was found.
    pub fn judge(&self) -> Result<State, Violation> {
        let entries = self.ledger()?;
        let last = entries.iter().rev().find(|entry| is_done(entry)).map(|entry| text(entry, "kind"));
        let state = if last.as_deref() == Some("apply") { State::After } else { State::Before };
        let verified = self.json(&["log", "--verify"])?;
        if verified["verified"] != true {
            return Err(Violation(format!("the ledger does not verify: {verified}")));
        }
        let mut names: Vec<String> = entries.iter().map(|entry| text(entry, "change")).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        if names.len() != count {
            return Err(Violation(format!("the ledger names a change twice: {entries:#?}")));
        }
        self.judge_tree(state)?;
        self.judge_live(state)?;
        self.judge_drift()?;
        Ok(state)
    }

    /// Makes the record of the world, so that from here on all that Greenroom does must be without drift.
    ///
    /// # Errors
    /// `status` failed.
    pub fn record(&self) -> Result<(), Violation> {
        self.json(&["status"]).map(drop)
    }

    /// In a world that has a record nothing is drift: nobody but Greenroom touches it.
    fn judge_drift(&self) -> Result<(), Violation> {
        if !self.world.root.join("var/lib/greenroom/baseline").exists() {
            return Ok(());
        }
        let status = self.json(&["status"])?;
        let clean =
            ["drift", "runtime", "problems"].iter().all(|key| status[key].as_array().is_some_and(Vec::is_empty));
        if clean { Ok(()) } else { Err(Violation(format!("Greenroom's own doing counts as drift: {status:#}"))) }
    }

    fn judge_tree(&self, state: State) -> Result<(), Violation> {
        let compare = |reference: &Path| {
            Comparison::new(reference, &self.world.root).exclude(&["var/lib/greenroom", "var/log"]).differences()
        };
        let (wanted, other) = match state {
            State::Before => (&self.world.before, &self.world.after),
            State::After => (&self.world.after, &self.world.before),
        };
        let found = compare(wanted);
        if found.is_empty() {
            return Ok(());
        }
        let against = compare(other);
        let what = if against.is_empty() { "wholly in the other state" } else { "neither before nor after" };
        Err(Violation(format!(
            "the ledger says {state:?}, and the tree is {what}: {} differences with that, {} with the other:\n{}\n…\n{}",
            found.len(),
            against.len(),
            found.iter().take(12).cloned().collect::<Vec<_>>().join("\n"),
            against.iter().take(6).cloned().collect::<Vec<_>>().join("\n"),
        )))
    }

    /// The last thing that a live step finished must be the direction that the state has, and nothing may still run.
    fn judge_live(&self, state: State) -> Result<(), Violation> {
        if self.world.change != Change::WithLiveStep {
            return Ok(());
        }
        let log = self.world.live_log();
        let done = log.iter().rev().find(|line| *line != "begin").map_or("undo", String::as_str);
        let wanted = if state == State::After { "do" } else { "undo" };
        let running = log.last().is_some_and(|line| line == "begin");
        if done == wanted && !running {
            return Ok(());
        }
        Err(Violation(format!(
            "the state is {state:?}, and the live step's log ends so: {:?}",
            &log[log.len().saturating_sub(8)..]
        )))
    }
}

/// Starts, waits, kills with SIGKILL the process alone (not what it started), reaps.
fn kill_after(mut command: Command, delay: Duration) -> Result<bool, Violation> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    std::thread::sleep(delay);
    child.kill()?;
    let status = child.wait()?;
    if status.signal() == Some(9) {
        return Ok(true);
    }
    if status.success() {
        return Ok(false);
    }
    let mut error = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut error)?;
    }
    Err(Violation(format!("it ended by itself with {status}: {error}")))
}

/// Whether an entry of the ledger says that its change is in place.
fn is_done(entry: &serde_json::Value) -> bool {
    entry["detail"]["outcome"] == "done"
}

fn text(value: &serde_json::Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
