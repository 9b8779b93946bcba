//! What is said over the control plane's HTTPS API by people's programs: the bodies of requests and answers.
//!
//! Each body is one JSON object. What the API offers, with the role that each call needs, is the table of `server::api`; the
//! OpenAPI document is made from both.

mod changes;
mod hosts;
mod images;
mod people;
mod system;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::changes::{
    Approval, Change, Event, HeldAt, NewChange, NewRehearsal, NewUpgrade, OnHost, OnStage, Part, Piece, Rehearsal,
    Said, Undo,
};
pub use self::hosts::{Host, Hosts, Log, RUN_WITHIN, Ran, Refusal, Run, Unserved, Verified};
pub use self::images::{
    Contents, Image, ImageRun, Images, Missing, NewImages, NewRebuild, NewSweep, OnImage, OnRebuild, Rebuild, Received,
    Swept,
};
pub use self::people::{Enrol, Enrolled, Invitation, MadeToken, NewEnrolment, NewProgram, NewToken, Renew, Token};
pub use self::system::{DeclaredSystem, HeldSystem, InForce, NewSystem};

/// A secret. Its JSON is the text; what is printed for debugging is not.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Something went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What happened.
    pub error: String,
    /// Why.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(default)]
    pub hints: Vec<String>,
}

/// Something was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Begun {
    /// Its name: `r7`, `c5`.
    pub id: String,
    /// The hosts.
    pub hosts: Vec<String>,
}
