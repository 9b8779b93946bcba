//! What came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ContentHash;
use crate::rehearsal::Rehearsal;

use super::ImageOf;

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

impl Failed {
    /// What happened, and nothing more yet.
    #[must_use]
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// And what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
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
