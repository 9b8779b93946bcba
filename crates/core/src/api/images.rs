//! Contents, images of hosts, and rebuilds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ContentHash;
use crate::wire::{Failed, ImageOf};

/// `POST /v1/contents/missing`, and `POST /v1/agent/commands/ID/fetch`: contents by hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contents {
    /// Which.
    pub contents: Vec<ContentHash>,
}

/// What of them the control plane does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// Which.
    pub missing: Vec<ContentHash>,
}

/// What came of contents that were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Received {
    /// So many are stored.
    pub stored: u64,
    /// These were not what their hash says.
    pub changed: Vec<ContentHash>,
}

/// `POST /v1/images`: bring the images of hosts up to date.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewImages {
    /// The hosts.
    pub on: Vec<String>,
    /// So many bytes in a second from each, at most.
    #[serde(default)]
    pub limit_rate: Option<u64>,
}

/// `GET /v1/images`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Images {
    /// The newest image of each host, by host; with `host=NAME`, all of that one, the newest first.
    pub images: Vec<Image>,
}

/// An image of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// Its name: `g12`.
    pub id: String,
    /// The host.
    pub host: String,
    /// When it was on record, in milliseconds since 1970.
    pub at: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// Its manifest.
    pub manifest: ContentHash,
    /// The manifest of the image before it.
    #[serde(default)]
    pub since: Option<ContentHash>,
    /// Paths in it.
    pub paths: u64,
    /// Bytes of its contents.
    pub bytes: u64,
    /// Bytes of the contents that had to be sent for it.
    pub sent: u64,
    /// Paths that changed each time they were read, and are not in it.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// What it is of.
    pub system: ImageOf,
}

/// `POST /v1/gc`: drop old images, and contents that nothing needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewSweep {
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
    /// Contents that came within so many milliseconds stay; a day's, if absent.
    #[serde(default)]
    pub older_than_ms: Option<u64>,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Swept {
    /// Images, by host: their names.
    pub images: BTreeMap<String, Vec<String>>,
    /// So many contents.
    pub contents: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// `GET /v1/images/ID`: images being brought up to date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageRun {
    /// Its name.
    pub id: String,
    /// Whether every host has answered.
    pub over: bool,
    /// Each host's.
    pub hosts: BTreeMap<String, OnImage>,
}

/// An image of one host on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OnImage {
    /// It waits for the host, or is being sent.
    Running,
    /// It is on record.
    Done {
        /// It.
        image: Box<Image>,
    },
    /// There is none.
    Failed {
        /// Why.
        failed: Failed,
    },
}

/// `POST /v1/rebuilds`: make a host what another one was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewRebuild {
    /// The host that changes.
    pub host: String,
    /// The host whose image it becomes.
    pub of: String,
    /// Why.
    #[serde(default)]
    pub why: Option<String>,
}

/// `GET /v1/rebuilds/ID`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rebuild {
    /// Its name: `b3`.
    pub id: String,
    /// The host that changes.
    pub host: String,
    /// The host whose image it becomes.
    pub of: String,
    /// When that image was made, in milliseconds since 1970.
    pub image_at: i64,
    /// Changes of that host that are on record and came after the image: they are not in it.
    pub later: Vec<String>,
    /// How far it is.
    pub now: OnRebuild,
    /// Milliseconds from the word to the answer.
    pub took_ms: i64,
}

/// How far a rebuild is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OnRebuild {
    /// It waits for the host, or runs.
    Running,
    /// The host is what the other one was.
    Done {
        /// The change on the host, which `greenroom undo --on HOST` takes back.
        local: String,
        /// Paths that were changed.
        entries: u64,
        /// Bytes that were fetched.
        fetched: u64,
        /// Units that were started, stopped or restarted.
        services: Vec<String>,
        /// Paths that name the host and are its own still.
        own: Vec<String>,
        /// What else is worth knowing.
        notes: Vec<String>,
    },
    /// It was not done, or was taken back.
    Failed {
        /// Why.
        failed: Failed,
    },
}
