//! Rehearsals and changes of many hosts, as far as they are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rollout::{Outcome, Phase};
use crate::wire::{Failed, Note, Program, Rehearse};

use super::InForce;

/// `POST /v1/rehearsals`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewRehearsal {
    /// The hosts: names, `role:web`, `service:shop`, `all`; `!` in front takes out.
    pub on: Vec<String>,
    /// What.
    pub rehearse: Rehearse,
    /// Where.
    #[serde(default)]
    pub held: HeldAt,
}

/// Where the copies are on which a change is rehearsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeldAt {
    /// On the stage, from images, where the system file says that a host is one; otherwise on the hosts themselves.
    #[default]
    AsDeclared,
    /// On the hosts themselves.
    Hosts,
    /// On the stage of the system file, or on this host where it says of none that it is one.
    Stage(Option<String>),
}

/// `POST /v1/changes`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewChange {
    /// The rehearsal.
    pub rehearsal: String,
    /// Why.
    #[serde(default)]
    pub why: Option<String>,
    /// Apply although it is not ready, because of this.
    #[serde(default)]
    pub force_verdict: Option<String>,
    /// Stop and ask after so many batches.
    #[serde(default)]
    pub pause_after: Option<usize>,
}

/// `POST /v1/changes/ID/undo`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// Why.
    #[serde(default)]
    pub why: Option<String>,
}

/// `POST /v1/upgrades`: run another program as the agent of hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewUpgrade {
    /// The hosts: names, or `all`.
    pub on: Vec<String>,
    /// The program; its pieces were sent before.
    pub program: Program,
    /// Why.
    #[serde(default)]
    pub why: Option<String>,
    /// Stop and ask after so many batches.
    #[serde(default)]
    pub pause_after: Option<usize>,
}

/// `POST /v1/programs/HASH/N`, `GET /v1/agent/programs/HASH/N`: a piece of a program, the first one is 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Piece {
    /// At most 1 MiB, in base64.
    pub data: String,
}

/// `GET /v1/rehearsals/ID`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rehearsal {
    /// Its name.
    pub id: String,
    /// What was rehearsed.
    pub rehearse: Rehearse,
    /// Who asked for it.
    pub person: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Whether every host has answered.
    pub over: bool,
    /// Each host's.
    pub hosts: BTreeMap<String, OnHost>,
    /// Hosts on which the change does the same, most first.
    pub alike: Vec<Vec<String>>,
    /// The system file that was in force.
    #[serde(default)]
    pub system: Option<InForce>,
    /// Who has approved that it is applied.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// The stage that it is held on; absent: the hosts themselves.
    #[serde(default)]
    pub stage: Option<OnStage>,
}

/// The stage of a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnStage {
    /// The host that it is.
    pub host: String,
    /// The update of images that comes first: see `/v1/images/ID`.
    pub images: String,
    /// Hosts whose images are alike but for times and for what names a host: one copy of the first stands for all of them.
    pub shared: Vec<Vec<String>>,
}

/// A rehearsal on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OnHost {
    /// It waits for the host, or runs.
    Running,
    /// It was held.
    Held {
        /// What `rehearse --json` prints there.
        record: serde_json::Value,
    },
    /// It could not be held.
    Failed {
        /// Why.
        failed: Failed,
    },
}

/// `GET /v1/changes/ID`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Its name.
    pub id: String,
    /// `apply`, `undo` or `upgrade`.
    pub kind: String,
    /// The rehearsal that it comes from.
    pub rehearsal: Option<String>,
    /// The change that it takes back.
    pub of: Option<String>,
    /// Who wants it.
    pub person: String,
    /// Why.
    pub why: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub at: i64,
    /// When it was over.
    pub ended_at: Option<i64>,
    /// How far it is.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why it is taken back, or paused.
    pub reason: Option<String>,
    /// Each host's part.
    pub hosts: BTreeMap<String, Part>,
    /// Which hosts change together, in order.
    #[serde(default)]
    pub batches: Vec<Vec<String>>,
    /// The system file that was in force.
    #[serde(default)]
    pub system: Option<InForce>,
    /// What people said to it while it was under way.
    #[serde(default)]
    pub said: Vec<Said>,
}

/// A word to a change that was under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Said {
    /// The word's own name.
    pub id: String,
    /// `continue` or `abort`.
    pub word: String,
    /// Who said it.
    pub person: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// A second person's word for a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// Who.
    pub person: String,
    /// What the person may do: `operator`, …
    pub rights: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// One host's part of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// How far it is.
    pub step: crate::rollout::Step,
    /// The change's name on the host.
    pub local: Option<String>,
    /// What the host said last, where it was trouble.
    pub trouble: Option<String>,
}

/// One event of a rehearsal or a change, as a server-sent event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A host says what goes on there.
    Note {
        /// The host.
        host: String,
        /// What.
        note: Note,
    },
    /// A host is further.
    Host {
        /// The host.
        host: String,
        /// How far, in a word.
        step: String,
        /// What it said, where it was trouble.
        trouble: Option<String>,
    },
    /// The whole is further.
    Phase {
        /// How far, in words.
        phase: String,
        /// Why.
        reason: Option<String>,
    },
    /// It is over; nothing comes after this.
    Over {
        /// How, in a word.
        outcome: String,
    },
}
