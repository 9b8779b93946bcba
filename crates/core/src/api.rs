//! What is said over the control plane's HTTPS API by people's programs: the bodies of requests and answers.
//!
//! Each body is one JSON object. What the API offers, with the role that each call needs, is the table of `server::api`; the
//! OpenAPI document is made from both.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ContentHash;
use crate::rollout::{Outcome, Phase};
use crate::wire::{Failed, HostStatus, ImageOf, Note, Program, Rehearse};

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

/// `POST /v1/enrolments`: let a host in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewEnrolment {
    /// The name that it will have.
    pub host: String,
    /// How long its token is good for, in seconds; an hour where nothing is said.
    #[serde(default)]
    pub valid_s: Option<u64>,
}

/// All that a host needs to enrol itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The name that it will have.
    pub host: String,
    /// Where the control plane is.
    pub urls: Vec<String>,
    /// Its authority, in PEM.
    pub authority: String,
    /// Good for one enrolment.
    pub token: Secret,
}

/// `POST /v1/enrol`, without a token in the header: the invitation's is in the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enrol {
    /// The invitation's.
    pub token: Secret,
    /// A signing request, in PEM.
    pub request: String,
}

/// `POST /v1/agent/renew`, with the certificate that is still good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Renew {
    /// A signing request, in PEM.
    pub request: String,
}

/// A host is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enrolled {
    /// Its name.
    pub host: String,
    /// Its certificate, in PEM.
    pub certificate: String,
    /// When that ends, in seconds since 1970.
    pub not_after: i64,
}

/// `POST /v1/tokens`: let a person in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// The person.
    pub name: String,
    /// `viewer`, `developer`, `operator` or `admin`.
    pub role: String,
    /// How long it is good for, in seconds; 90 days where nothing is said.
    #[serde(default)]
    pub valid_s: Option<u64>,
}

/// A new token. It is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MadeToken {
    /// Its name, to revoke it by.
    pub id: String,
    /// The secret.
    pub token: Secret,
}

/// A token as it is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Its name.
    pub id: String,
    /// The person.
    pub name: String,
    /// What it allows.
    pub role: String,
    /// Milliseconds since 1970.
    pub created: i64,
    /// When it ends.
    pub expires: Option<i64>,
    /// When it was revoked.
    pub revoked: Option<i64>,
    /// When it was used last.
    pub last_used: Option<i64>,
}

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
}

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

/// Something was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Begun {
    /// Its name: `r7`, `c5`.
    pub id: String,
    /// The hosts.
    pub hosts: Vec<String>,
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
