//! What the control plane and the agent of a host say to each other: JSON, one message a frame, over the one stream that the
//! agent opens.
//!
//! # Commands
//! Every [`Command`] has a name that is never given again, and is done at most once: the agent writes down that it begins
//! before it does, and what came of it before it says so. After a broken connection the control plane sends again what was
//! not answered, and the agent answers what it did already out of its journal. A command of a change carries the *fence* of
//! who drives that change; the agent does not follow one that is lower than another that it has seen for the same change.
//!
//! # Reports
//! What happens on the host by itself (its ledger's entries) goes the other way, numbered; the control plane says up to which
//! number it has them, and the agent sends those after it again when they meet again.

mod afar;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use afar::{Afar, NotFromAfar, from_afar};

use crate::ContentHash;
use crate::parity::Identity;
use crate::rehearsal::{Net, Rehearsal};
use crate::system::Check;

/// The version of this language. A control plane refuses agents of another one by naming both.
pub const PROTOCOL: u32 = 1;

/// The largest message, in bytes. What is larger travels as a blob.
pub const MAX_MESSAGE: usize = 32 << 20;

/// From the control plane to an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToAgent {
    /// The agent is known and heard.
    Welcome {
        /// The host that the agent is taken for.
        host: String,
        /// Reports are on record up to this number.
        reported: u64,
    },
    /// The agent can't be served.
    Goodbye {
        /// Why.
        why: String,
    },
    /// Something to do.
    Do(Command),
    /// The answer to this command is on record: the agent may forget it.
    Recorded {
        /// The command.
        id: String,
    },
    /// Reports are on record up to this number.
    Reported {
        /// The number.
        upto: u64,
    },
}

/// From an agent to the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromAgent {
    /// The first message.
    Hello {
        /// See [`PROTOCOL`].
        protocol: u32,
        /// The program's version.
        version: String,
    },
    /// The command has begun.
    Begun {
        /// The command.
        id: String,
    },
    /// Something a person who waits wants to see.
    Progress {
        /// The command.
        id: String,
        /// What.
        #[serde(flatten)]
        note: Note,
    },
    /// The command is over.
    Done {
        /// The command.
        id: String,
        /// What came of it.
        answer: Answer,
    },
    /// Something that happened on the host.
    Report(Report),
    /// How the host is, whenever that changes.
    Status {
        /// In short.
        status: Box<HostStatus>,
    },
}

/// So many differences and failed units are named in a [`HostStatus`]; all are counted.
pub const NAMED: usize = 20;

/// The largest status that a control plane keeps of a host, in bytes.
pub const MAX_STATUS: usize = 64 << 10;

/// How a host is, in short: what it sends by itself. All of it is asked for by `greenroom status --on HOST`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostStatus {
    /// When it was looked at, by the host's clock. RFC 3339, UTC.
    pub looked_at: String,
    /// When its record was made or moved last; absent: there is none.
    pub baseline_at: Option<String>,
    /// How many paths differ from the record.
    pub paths: usize,
    /// How many things beyond files do.
    pub beyond_files: usize,
    /// The latest of these paths, the last one first; at most 20.
    pub latest: Vec<Difference>,
    /// Of how much nothing can be said.
    pub not_known: usize,
    /// Whether changes are observed as they happen.
    pub watch: bool,
    /// The host's own change that is under way.
    pub under_way: Option<String>,
    /// Units that failed, by name; at most 20.
    pub failed: Vec<String>,
    /// How many units failed.
    pub failed_units: usize,
}

/// A path that is not as the record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Where, escaped.
    pub path: String,
    /// What happened to it: `create`, `delete`, `modify`, `replace`, `metadata`.
    pub op: String,
    /// The person, the account or the unit that did it, where that is known.
    pub actor: Option<String>,
    /// The same with the command and where it came from.
    pub how: Option<String>,
    /// When. RFC 3339, UTC.
    pub at: String,
    /// What belongs together, in a line.
    pub group: String,
}

/// What goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// Something begins.
    Begins(String),
    /// Output of the change itself.
    Output(String),
    /// Something worth a line of its own.
    Note(String),
}

/// An entry of the host's ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its number there.
    pub seq: u64,
    /// What kind of entry.
    pub kind: String,
    /// The entry.
    pub entry: serde_json::Value,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its name.
    pub id: String,
    /// See the page of this module; 0 for what belongs to no change.
    #[serde(default)]
    pub fence: u64,
    /// The person who wants it, for the host's own ledger.
    pub person: String,
    /// What.
    pub verb: Verb,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Verb {
    /// Rehearse a change on a copy of the host.
    Rehearse(Box<Rehearse>),
    /// Check everything, stage everything, hold the host's lock, and wait.
    Prepare {
        /// The change of the fleet.
        change: String,
        /// What it is.
        what: What,
        /// Why.
        why: Option<String>,
        /// How long to wait for the next word before everything is released, in seconds.
        hold_s: u64,
    },
    /// Go through with what was prepared.
    Commit {
        /// The change of the fleet.
        change: String,
    },
    /// Leave the host as if the change had never been sent: drop what is prepared, take back what is in place, and never begin
    /// it later.
    Unwind {
        /// The change of the fleet.
        change: String,
        /// Why.
        why: String,
    },
    /// Run a command of this program on the host, as it would be run there.
    Run {
        /// The words after `greenroom`; see [`from_afar`].
        argv: Vec<String>,
    },
    /// See whether all is well on the host, for as long as is declared. It ends early when the host is told to leave the change.
    Watch {
        /// The change of the fleet.
        change: String,
        /// What has to be well, in the order in which it was restarted.
        services: Vec<Watched>,
    },
    /// Send what is new since the last image of this host.
    Image(Box<Image>),
    /// Become what another host is on record, but for what names this one.
    Rebuild(Box<Rebuild>),
    /// Rehearse a change on a copy of another host's image.
    Stage(Box<Stage>),
}

/// A service that has to be well on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Its name in the system.
    pub service: String,
    /// How to find out; at least one.
    pub health: Vec<Check>,
}

/// What is to be sent of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The manifest of the last image, if there is one.
    pub since: Option<ContentHash>,
    /// So many bytes of contents in a second, at most.
    #[serde(default)]
    pub limit_rate: Option<u64>,
}

/// What a host is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// The host whose image it is.
    pub of: String,
    /// The image's manifest.
    pub manifest: ContentHash,
    /// What is known of that host.
    pub system: ImageOf,
    /// Why.
    pub why: Option<String>,
}

/// A rehearsal of a host's change on another machine, the stage. What comes of it goes to the control plane's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The host.
    pub of: String,
    /// Its image.
    pub image: String,
    /// The image's manifest.
    pub manifest: ContentHash,
    /// What is known of that host.
    pub system: ImageOf,
    /// What is to be rehearsed.
    pub rehearse: Rehearse,
    /// The manifests of images that the stage is to keep the trees of; others, that nothing uses, may go.
    pub keep: Vec<ContentHash>,
}

/// What a host puts on record of a rehearsal that was held for it on a stage. A content of the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// The record.
    pub record: Rehearsal,
    /// What the system file says for the host: it comes with a rehearsal.
    pub declared: Option<Declared>,
}

/// What an image is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageOf {
    /// The distribution and its version: `debian 12`.
    pub distribution: String,
    /// The processor: `x86_64`.
    pub architecture: String,
    /// What names the host.
    #[schemars(skip)]
    pub identity: Identity,
    /// Directories of stores with data, which is not in the image.
    #[serde(default)]
    pub stores: Vec<String>,
}

/// What a host's part of a change is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// Put a rehearsal in place.
    Apply {
        /// Its name on the host.
        rehearsal: String,
        /// Although it is not ready, because of this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        force_verdict: Option<String>,
        /// Live steps that run once for the whole system run on another host.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        once_elsewhere: bool,
        /// It was held on a stage: the [`Staged`] among the control plane's contents, to be put on record here first. The name is
        /// that on the stage.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        staged: Option<ContentHash>,
    },
    /// Take a change back.
    Undo {
        /// Its name on the host.
        local: String,
    },
    /// Run another program as the agent.
    Upgrade {
        /// Which.
        program: Program,
    },
}

/// The largest piece of a program that travels at once, in bytes.
pub const PIECE: usize = 1 << 20;

/// The largest program, in bytes.
pub const MAX_PROGRAM: u64 = 512 << 20;

/// A program of this house. Its content is fetched from the control plane, piece by piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    /// BLAKE3 of its content, in hexadecimal digits.
    pub hash: String,
    /// How many bytes it has.
    pub size: u64,
    /// What it says its version is.
    pub version: String,
}

impl Program {
    /// How many pieces it travels in.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.size.div_ceil(PIECE as u64)
    }
}

/// What is to be rehearsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rehearse {
    /// One command: program and arguments. Empty when there is a change file.
    pub argv: Vec<String>,
    /// The text of a change file.
    pub file: Option<String>,
    /// Shell commands that must succeed.
    pub tests: Vec<String>,
    /// Whether the copy is booted.
    pub boot: Boot,
    /// What the copy can reach.
    pub net: Net,
    /// Destinations that are allowed besides.
    pub allow: Vec<String>,
    /// Time limit of a step, in seconds.
    pub timeout_s: Option<u64>,
    /// What to call it.
    pub name: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// Share of the host's cores and memory, in percent; 0: the default.
    pub share: u32,
    /// What the system file says for the host. The control plane fills it in; what somebody else says here is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<Declared>,
    /// What the `copy` steps of the change file take, in their order. The contents are among the control plane's.
    pub files: Vec<Sent>,
}

/// What a system file says for one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Declared {
    /// What must hold on it once a change is in place.
    pub tests: Vec<DeclaredTest>,
    /// Patterns of paths that are nobody's intent.
    pub volatile: Vec<String>,
    /// Directories of a store's data, or patterns of them.
    pub data: Vec<String>,
    /// The units of its services, in the order in which they are started and restarted.
    pub units: Vec<String>,
}

/// A test of the system file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredTest {
    /// What to call it in reports.
    pub name: String,
    /// For `sh -c`; exit status 0 is success.
    pub run: String,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// Whether a copy is booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    /// When it can be.
    #[default]
    Auto,
    /// It must be.
    Yes,
    /// It is not.
    No,
}

/// A person's file that goes to hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// As the change file names it.
    pub name: String,
    /// Its content.
    pub content: ContentHash,
    /// Its permission bits.
    pub mode: u32,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The rehearsal was held; its verdict is in the record, its name there is the host's own.
    Rehearsed {
        /// The record.
        record: Box<Rehearsal>,
        /// The same on hosts where the change does the same, whatever the time was.
        effect: String,
    },
    /// Everything fits and is staged.
    Prepared {
        /// Number of paths.
        entries: usize,
    },
    /// It is in place.
    Committed {
        /// The change's name on the host.
        local: String,
        /// What `apply --json` prints.
        report: serde_json::Value,
    },
    /// It failed and the host is as before.
    TakenBack {
        /// The change's name on the host, if it got one.
        local: Option<String>,
        /// Why.
        why: String,
    },
    /// The host is as if the change had never been sent.
    Unwound {
        /// The host's change that took it back, if it was in place.
        local: Option<String>,
    },
    /// A command was run.
    Ran {
        /// Its exit status.
        code: i32,
        /// Its standard output.
        stdout: String,
        /// Its standard error.
        stderr: String,
    },
    /// The image is with the control plane.
    Imaged {
        /// Its manifest: a changeset from nothing to all that there is.
        manifest: ContentHash,
        /// Paths in it.
        paths: u64,
        /// Bytes of all contents, each once.
        bytes: u64,
        /// Bytes of the contents that were sent.
        sent: u64,
        /// Paths that changed each time they were read, and are not in it.
        left_out: Vec<String>,
        /// What it is of.
        system: ImageOf,
    },
    /// The host is what the other one was.
    Rebuilt {
        /// The change's name on the host.
        local: String,
        /// Paths that were changed.
        entries: u64,
        /// Bytes that were fetched.
        fetched: u64,
        /// Units that were started, stopped or restarted.
        services: Vec<String>,
        /// Paths that name this host, and are its own still.
        own: Vec<String>,
        /// What else is worth knowing.
        notes: Vec<String>,
    },
    /// It was not done.
    Failed(Failed),
    /// All is well, and was for as long as is declared.
    Well {
        /// Number of looks.
        looks: u32,
    },
    /// Something is unwell.
    Unwell {
        /// What, and what the last look saw.
        why: String,
    },
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// Whose turn it is.
    pub class: Class,
    /// What happened.
    pub what: String,
    /// Why.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(default)]
    pub hints: Vec<String>,
}

/// Kinds of failure, as the exit status tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Wrong usage.
    Usage,
    /// A precondition does not hold; nothing was touched.
    Refused,
    /// A fault of the environment or of Greenroom.
    Fault,
}
