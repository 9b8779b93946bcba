//! The hosts, what is run on one of them, and the log of all.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::path::Shown;
use crate::wire::HostStatus;

/// `GET /v1/hosts`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hosts {
    /// Every host that was enrolled, by name.
    pub hosts: Vec<Host>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its name.
    pub host: String,
    /// Whether its stream is open.
    pub in_touch: bool,
    /// When it was heard last, in milliseconds since 1970.
    pub last_seen: Option<i64>,
    /// The version of its agent.
    pub version: Option<String>,
    /// The change that has it.
    pub held_by: Option<String>,
    /// Whether it was shut out.
    pub revoked: bool,
    /// What it said of itself last.
    pub status: Option<HostStatus>,
    /// Why its agent was not served when it came last; absent when it was.
    pub refusal: Option<Refusal>,
}

/// An agent that was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Why.
    #[serde(flatten)]
    pub unserved: Unserved,
}

/// Why an agent is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unserved {
    /// The version that it says its program is of.
    pub version: Option<String>,
    /// The version of the agents' language that it says it speaks.
    pub protocol: Option<u32>,
    /// Why.
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// The longest text of an [`Unserved`] before it is escaped, in characters.
const LONGEST: usize = 300;

impl Unserved {
    /// Why, and what to do, of an agent that said this of its program and language. Words of the agent may be in all of it: they are
    /// cut where they are too long, and escaped.
    #[must_use]
    pub fn new(said: Option<(&str, u32)>, why: &str, hint: &str) -> Self {
        let bounded = |text: &str| {
            let text: String = text.chars().take(LONGEST).collect();
            Shown(text.as_bytes()).to_string()
        };
        Self {
            version: said.map(|(version, _)| bounded(version)),
            protocol: said.map(|(_, protocol)| protocol),
            why: bounded(why),
            hint: bounded(hint),
        }
    }

    /// Why, and what to do.
    #[must_use]
    pub fn in_full(&self) -> String {
        format!("{}: {}", self.why, self.hint)
    }
}

/// How long it may take until the answer to [`Run`] comes.
pub const RUN_WITHIN: Duration = Duration::from_secs(600);

/// `POST /v1/hosts/HOST/run`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The words after `greenroom`.
    pub argv: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ran {
    /// The exit status.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// `GET /v1/log`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// Entries of the control plane's ledger, oldest first.
    pub entries: Vec<serde_json::Value>,
}

/// `GET /v1/log/verify`: whether the chain of the control plane's ledger holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// It does: every entry is as it was written.
    pub verified: bool,
    /// How many there are; where it is broken, how many hold.
    pub entries: u64,
    /// The first broken entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
