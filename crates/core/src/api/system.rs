//! The system file that is in force.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which system file was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InForce {
    /// The hash of what it means.
    pub hash: String,
    /// Its commit, as the one who pushed it had it.
    pub revision: Option<String>,
    /// Something was not as in that commit.
    pub dirty: bool,
    /// The environment that it was resolved for.
    #[serde(default)]
    pub environment: Option<String>,
}

/// `POST /v1/system`: the system file from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewSystem {
    /// The first file's path among `files`.
    pub file: String,
    /// All files, by their paths relative to the directory of the first one.
    pub files: BTreeMap<String, String>,
    /// The environment that the control plane is for.
    #[serde(default)]
    pub environment: Option<String>,
    /// The commit of the repository that the files are in.
    #[serde(default)]
    pub revision: Option<String>,
    /// Something is not as in that commit.
    #[serde(default)]
    pub dirty: bool,
    /// The hash of what the files mean, so that both sides read them alike.
    pub hash: String,
}

/// `GET /v1/system`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredSystem {
    /// The system file that the control plane has; none was pushed when absent.
    pub held: Option<HeldSystem>,
}

/// The system file that a control plane has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldSystem {
    /// The system's name.
    pub name: String,
    /// Which one it is.
    #[serde(flatten)]
    pub in_force: InForce,
    /// Who pushed it.
    pub person: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The first file's path among `files`.
    pub file: String,
    /// All files.
    pub files: BTreeMap<String, String>,
    /// Declared hosts that have not joined.
    pub not_joined: Vec<String>,
}
