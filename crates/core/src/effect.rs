//! What changed, in the terms a person thinks in.

use serde::{Deserialize, Serialize};

/// What changed besides files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effects {}

/// A change that no file preserves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeOnly {
    /// `sysctl`, `firewall`, `mount`, `unit`, `process`, `port`.
    pub kind: String,
    /// What, for instance the sysctl's name.
    pub item: String,
    /// A sentence: what changed and what would make it last.
    pub detail: String,
}
