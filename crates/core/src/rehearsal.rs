//! The record of a rehearsal: what was run on the copy, what it did, whether the tests held and the way back was walked.
//! This is also the object that `rehearse --json` prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::change::ApplyOptions;
use crate::effect::{Effects, RuntimeOnly};
use crate::plan::{Part, UnitAction};
use crate::{ContentHash, TreePath};

/// May the change go live?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may.
    Ready,
    /// The command or a step ended with an error in the copy.
    ChangeFailed,
    /// A test that held on the untouched copy fails on the changed one, or failed from the start.
    TestsFailed,
    /// The way back did not lead to where it began, or there is none.
    CannotBeUndone,
    /// It touches kernel, initramfs or boot loader.
    WillNotTransplant,
}

impl Verdict {
    /// In words, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::ChangeFailed => "the change failed",
            Self::TestsFailed => "tests failed",
            Self::CannotBeUndone => "cannot be undone",
            Self::WillNotTransplant => "will not transplant",
        }
    }
}

/// One command or step as it ran in the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRun {
    /// From 1.
    pub step: usize,
    /// `run`, `copy`, `live` or `shell`.
    pub kind: String,
    /// What was run, for people.
    pub what: String,
    /// Exit status; 124 when it was killed for its time limit.
    pub exit_code: i32,
    /// Milliseconds.
    pub duration_ms: u64,
}

/// One test, on the untouched copy, after apply, and after undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRun {
    /// Its name, or the command when it has none.
    pub name: String,
    /// The shell command.
    pub run: String,
    /// Whether it held on the untouched copy.
    pub before: bool,
    /// Whether it holds with the change applied; `None`: it was not reached.
    pub after: Option<bool>,
    /// The last lines it printed when it failed.
    pub output: String,
    /// Milliseconds of the run after apply.
    pub duration_ms: u64,
}

/// A command that a person typed in the shell of a hotfix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    /// When it began, RFC 3339.
    pub at: String,
    /// The command line, lines joined as the shell's history has them.
    pub text: String,
    /// Its exit status; `None`: the shell ended before it did, or with it.
    pub exit_code: Option<i32>,
}

/// How the copy could reach the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Net {
    /// Only the package sources of the host, through the proxy.
    #[default]
    Packages,
    /// Not at all.
    None,
    /// The host's own network: not isolated.
    Host,
}

/// A destination asked of the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// `host:port`.
    pub to: String,
    /// How often.
    pub connections: u64,
    /// Bytes that came back.
    pub bytes: u64,
}

/// A count with a few examples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub count: usize,
    /// The first few, for people.
    pub examples: Vec<TreePath>,
}

impl Counted {
    /// Counts one more.
    pub fn add(&mut self, path: &TreePath) {
        self.count += 1;
        if self.examples.len() < 20 {
            self.examples.push(path.clone());
        }
    }
}

/// Where the time went, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Making and booting the first copy.
    pub copy_ms: u64,
    /// The change itself.
    pub run_ms: u64,
    /// Comparing the copy with the host.
    pub capture_ms: u64,
    /// The second copy: apply, tests, undo, comparison.
    pub proof_ms: u64,
    /// Everything.
    pub total_ms: u64,
}

/// The record of one rehearsal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// `r1`, `r2`, …
    pub rehearsal: String,
    /// What the person calls it.
    pub name: String,
    /// Why it is done.
    pub why: Option<String>,
    /// When it began, RFC 3339.
    pub at: String,
    /// Who asked for it.
    pub actor: String,
    /// The tree it was rehearsed on.
    pub root: String,
    /// May it go live?
    pub verdict: Verdict,
    /// Sentences that say why the verdict is not *ready*.
    pub reasons: Vec<String>,
    /// Exit status of the change in the copy.
    pub exit_code: i32,
    /// Identity of the whole effect; absent when the change failed before a capture.
    pub changeset: Option<ContentHash>,
    /// Number of paths it changes.
    pub entries: usize,
    /// Whether undoing it in a copy led back to the very same tree.
    pub undo_proven: bool,
    /// Paths outside the changeset that services wrote while the change was applied in the copy: undo leaves them.
    pub left_behind: Vec<TreePath>,
    /// The parts in the order in which they go live.
    pub parts: Vec<Part>,
    /// The commands as they ran.
    pub steps: Vec<StepRun>,
    /// What was typed, when the change was a person at the shell of a hotfix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub typed: Vec<Typed>,
    /// The tests as they ran.
    pub tests: Vec<TestRun>,
    /// What apply will do to services. Units that map replaced files are found anew at apply.
    pub actions: Vec<UnitAction>,
    /// The `[apply]` table of the change file.
    pub wishes: ApplyOptions,
    /// What changed in the terms a person thinks in.
    pub effects: Effects,
    /// Changes that no file preserves: they will not go live by transplant.
    pub runtime_only: Vec<RuntimeOnly>,
    /// Number of volatile paths that changed and are not part of the changeset.
    pub volatile_paths: usize,
    /// The same with examples.
    pub volatile: Counted,
    /// Paths that change on every boot of a copy, left out.
    pub noise: Counted,
    /// Paths below the data directories of stores, left out.
    pub data: Counted,
    /// Sockets: they exist at run time only.
    pub sockets: Counted,
    /// Stores that were found, with their directories.
    pub stores: Vec<String>,
    /// Kernel, initramfs and boot loader paths that changed.
    pub boot: Counted,
    /// Things worth knowing that do not change the verdict.
    pub notes: Vec<String>,
    /// Whether the copy was booted.
    pub booted: bool,
    /// How the copy could reach the network.
    pub net: Net,
    /// Destinations that the proxy let through.
    pub reached: Vec<Destination>,
    /// Destinations that it refused.
    pub refused: Vec<Destination>,
    /// Where the time went.
    pub timings: Timings,
}

impl Rehearsal {
    /// The changesets that it names, the whole one among them.
    #[must_use]
    pub fn changesets(&self) -> Vec<ContentHash> {
        let parts = self.parts.iter().filter_map(|part| match part {
            Part::Files { changeset, .. } => Some(*changeset),
            Part::Live { .. } => None,
        });
        let mut out: Vec<ContentHash> = parts.chain(self.changeset).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// One of which nothing is known yet but when, by whom and of which tree: ready, without effect, tests and proof.
    #[must_use]
    pub fn blank(rehearsal: &str, at: String, actor: &str, root: String) -> Self {
        Self {
            rehearsal: rehearsal.to_owned(),
            name: String::new(),
            why: None,
            at,
            actor: actor.to_owned(),
            root,
            verdict: Verdict::Ready,
            reasons: Vec::new(),
            exit_code: 0,
            changeset: None,
            entries: 0,
            undo_proven: false,
            left_behind: Vec::new(),
            parts: Vec::new(),
            steps: Vec::new(),
            typed: Vec::new(),
            tests: Vec::new(),
            actions: Vec::new(),
            wishes: ApplyOptions::default(),
            effects: Effects::default(),
            runtime_only: Vec::new(),
            volatile_paths: 0,
            volatile: Counted::default(),
            noise: Counted::default(),
            data: Counted::default(),
            sockets: Counted::default(),
            stores: Vec::new(),
            boot: Counted::default(),
            notes: Vec::new(),
            booted: false,
            net: Net::None,
            reached: Vec::new(),
            refused: Vec::new(),
            timings: Timings::default(),
        }
    }
}
