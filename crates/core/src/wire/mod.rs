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
//!
//! # Versions
//! The agent says first which version of this language it speaks. A control plane takes those from [`OLDEST`] to its own
//! [`PROTOCOL`], so it is never older than its agents, and sends each what it knows ([`Verb::since`]). An agent that is sent
//! more all the same says that it does not know it ([`Heard`]); it never does what it knows only a part of.

mod afar;
mod answer;
mod heard;
mod order;
mod since;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::answer::{Answer, Class, Failed};
pub use self::heard::Heard;
pub use self::order::{
    Boot, Declared, DeclaredTest, Image, ImageOf, MAX_PROGRAM, PIECE, Program, Rebuild, Rehearse, Sent, Stage, Staged,
    Verb, Watched, What,
};
pub use self::since::Since;
pub use afar::{Afar, NotFromAfar, from_afar};

/// The version of this language. 2: rehearsals for other hosts, and what was rehearsed elsewhere.
pub const PROTOCOL: u32 = 2;

/// The oldest version that a control plane speaks with its agents.
pub const OLDEST: u32 = 1;

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
#[serde(deny_unknown_fields)]
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
