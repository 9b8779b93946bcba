//! One host of a change: how far it is, and what it said.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{Watched, What};

/// One host's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What it is to do.
    pub what: What,
    /// How far it is.
    pub step: Step,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// The change's name on the host, once it is in place there.
    pub local: Option<String>,
    /// Whether it was in place at any time.
    pub was_in_place: bool,
    /// What the host said last, where it was trouble.
    pub trouble: Option<String>,
    /// What has to be well on the host once its batch is in place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Watched>,
    /// When the host was last heard of, where that was asked; in milliseconds since 1970.
    #[serde(default)]
    pub heard: u64,
    /// Why the host's agent was not served while its last answer was awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unserved: Option<String>,
}

/// How far a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It was told to prepare.
    Preparing,
    /// It waits.
    Prepared,
    /// It was told to go through with it.
    Committing,
    /// It is in place.
    InPlace,
    /// It was told to unwind.
    Unwinding,
    /// The host is as before.
    AsBefore,
    /// The host could not be brought back.
    Stuck,
    /// It is in place, and the host was told to see whether all is well with it.
    Watching,
    /// It is in place and all was well for as long as was declared.
    Well,
    /// It is in place and something is unwell.
    Unwell,
}

impl Part {
    /// A host that was just told to prepare.
    pub(super) fn new(what: What, now: u64) -> Self {
        Self {
            what,
            step: Step::Preparing,
            since: now,
            local: None,
            was_in_place: false,
            trouble: None,
            watch: Vec::new(),
            heard: 0,
            unserved: None,
        }
    }

    /// Why it was not served, to be said after what came of that; nothing where it was.
    pub(super) fn because(&self) -> String {
        self.unserved.as_ref().map_or_else(String::new, |why| format!(": {why}"))
    }
}
