//! What a host is told to do. What has a field that is not known here is not known: a part of an order is none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ContentHash;
use crate::parity::Identity;
use crate::rehearsal::{Net, Rehearsal};
use crate::system::Check;

/// What can be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Its name in the system.
    pub service: String,
    /// How to find out; at least one.
    pub health: Vec<Check>,
}

/// What is to be sent of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The manifest of the last image, if there is one.
    pub since: Option<ContentHash>,
    /// So many bytes of contents in a second, at most.
    #[serde(default)]
    pub limit_rate: Option<u64>,
}

/// What a host is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
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

impl What {
    /// What was held on a stage, of a rehearsal that was.
    #[must_use]
    pub fn staged(&self) -> Option<ContentHash> {
        if let Self::Apply { staged, .. } = self { *staged } else { None }
    }
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
