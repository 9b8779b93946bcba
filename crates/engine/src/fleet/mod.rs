//! Many hosts as one: rehearse on them, change them together, take it back on all.
//!
//! # How it goes
//! A [`Fleet`] is a control plane's hold on its [`Control`]: everything that is decided is there, nothing is in memory, and
//! several control planes may have one each. Hosts are told through their mailboxes (commands with names that are never given
//! twice) and answer there; who holds a host's stream carries both, and is not this room's affair.
//!
//! * `rehearse`: one command to each host, whose answer is the host's own rehearsal.
//! * `stage`: a rehearsal on a machine that has copies of the hosts' images; `alike`: hosts that share one.
//! * `change`: begins an apply or an undo: checks, takes the hosts' locks all or none, and puts the
//!   [rollout](greenroom_core::rollout) on record as a saga.
//! * `system`: the system file that was pushed. `policy`: what it wants before a change is applied.
//! * `drive`: takes each saga that nobody drives (a lease with a fence), feeds the rollout with what hosts answered, gives the
//!   orders that follow, and writes the ledger at the end. Killed anywhere, another goes on from what is on record.
//! * `run`: a command of the program on one host.
//! * `upgrade`: another program for the agents themselves, rolled out as a change is.
//! * `known`: which agents know what; nobody is sent more. `unserved`: which agents are not served, and why.
//! * `contents`: what people and hosts may bring and get; `images`: hosts as they are, and one that becomes another; `sweep`: what
//!   of both nothing needs any more.
//!
//! This room meets `engine::agent` only through `core::wire`.

mod alike;
mod change;
mod contents;
mod drive;
mod images;
mod known;
mod policy;
mod rehearse;
mod run;
mod stage;
mod sweep;
mod system;
mod unserved;
mod upgrade;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use greenroom_core::api;
use greenroom_core::wire::{Answer, Command, Failed, Verb};
use greenroom_store::blobs::pack::PackError;
use greenroom_store::blobs::{BlobError, BlobStore};
use greenroom_store::control::{Control, ControlError, Millis, NewCommand};
use greenroom_store::ledger::{Actor, Draft, Ledger as _, LedgerError, SqlLedger};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::system::Asker;

/// A control plane's hold on its hosts. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    control: Control,
    ledger: Arc<SqlLedger>,
    blobs: Arc<dyn BlobStore>,
    /// Contents could not be made durable. The kernel says so once: what came since this began cannot be counted on.
    lost: Arc<AtomicBool>,
    name: Arc<str>,
    now: fn() -> jiff::Timestamp,
}

/// Why something was not begun.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// What is asked for makes no sense.
    #[error("{what}")]
    Usage {
        /// What.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// It can't be done now; nothing was touched.
    #[error("{what}")]
    Refused {
        /// Why.
        what: String,
        /// What to do next.
        hint: String,
    },
    /// The person may not; nothing was touched.
    #[error("{what}")]
    Forbidden {
        /// Who, and what.
        what: String,
        /// Who may.
        hint: String,
    },
    /// The host said no.
    #[error("{}", .0.what)]
    Host(Failed),
    /// The control plane's state.
    #[error("the control plane's state failed")]
    Control(#[from] ControlError),
    /// The ledger.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// The contents.
    #[error("the contents failed")]
    Blobs(#[from] BlobError),
    /// A stream of contents.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Something in the state can't be read.
    #[error("{what} on record cannot be read")]
    Damaged {
        /// What.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl FleetError {
    fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), hint: hint.into() }
    }

    fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: hint.into() }
    }

    fn damaged(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |source| Self::Damaged { what, source }
    }
}

impl Fleet {
    /// A control plane called `name`; no two that run at the same time have the same.
    #[must_use]
    pub fn new(
        control: Control,
        ledger: Arc<SqlLedger>,
        blobs: Arc<dyn BlobStore>,
        name: &str,
        now: fn() -> jiff::Timestamp,
    ) -> Self {
        Self { control, ledger, blobs, lost: Arc::default(), name: name.into(), now }
    }

    /// What is on record.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Arc<SqlLedger> {
        &self.ledger
    }

    /// This control plane's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now(&self) -> Millis {
        (self.now)().as_millisecond()
    }

    /// Every host.
    ///
    /// # Errors
    /// The state's.
    pub async fn hosts(&self) -> Result<api::Hosts, FleetError> {
        let locks = self.control.host_locks().await?;
        let hosts = self.control.agents().await?.into_iter().map(|agent| api::Host {
            held_by: locks.iter().find(|lock| lock.host == agent.host).map(|lock| lock.change.clone()),
            in_touch: agent.holder.is_some(),
            refusal: unserved::refusal(&agent),
            last_seen: agent.last_seen,
            version: agent.version,
            revoked: agent.revoked.is_some(),
            status: serde_json::from_str(&agent.status).ok(),
            host: agent.host,
        });
        Ok(api::Hosts { hosts: hosts.collect() })
    }

    /// Those that these words mean, as in `--on`.
    ///
    /// # Errors
    /// A word means nothing; the state's.
    pub async fn hosts_on(&self, on: &str) -> Result<api::Hosts, FleetError> {
        let meant = self.select(&[on.to_owned()], self.system().await?.as_ref()).await?;
        let mut all = self.hosts().await?;
        all.hosts.retain(|host| meant.contains(&host.host));
        Ok(all)
    }

    /// Does something that waits for the ledger's disk where that holds nobody up.
    async fn with_ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SqlLedger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, FleetError> {
        let ledger = self.ledger.clone();
        match tokio::task::spawn_blocking(move || work(&ledger)).await {
            Ok(outcome) => Ok(outcome?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn next_id(&self, letter: &'static str) -> Result<String, FleetError> {
        let number = self.with_ledger(move |ledger| ledger.next_id(letter)).await?;
        Ok(format!("{letter}{number}"))
    }

    /// Puts something into the ledger, once.
    async fn note(&self, key: String, person: &str, draft: Draft) -> Result<(), FleetError> {
        let at = format!("{:.3}", (self.now)());
        let actor = Actor { user: person.to_owned(), ..Actor::default() };
        let draft = Draft { at, actor, root: "fleet".to_owned(), ..draft };
        self.with_ledger(move |ledger| ledger.append_once(&key, &draft)).await.map(drop)
    }

    /// Puts on record what a person did to the control plane itself.
    ///
    /// # Errors
    /// The ledger's.
    pub async fn noted(&self, kind: &str, what: &str, person: &str) -> Result<(), FleetError> {
        let number = self.with_ledger(|ledger| ledger.next_id("note")).await?;
        let detail = serde_json::json!({ "what": what });
        let draft = Draft { kind: kind.to_owned(), detail, ..Draft::default() };
        self.note(format!("note {number}"), person, draft).await
    }

    /// What is on record under this name; `what` is the word for it.
    async fn read<T: DeserializeOwned>(&self, kind: &str, id: &str, what: &str) -> Result<Option<T>, FleetError> {
        let text = self.control.document(kind, id).await?;
        text.map(|text| serde_json::from_str(&text).map_err(FleetError::damaged(what))).transpose()
    }

    /// Puts it on record under this name, in the place of what was there.
    async fn write<T: Serialize>(&self, kind: &str, id: &str, what: &str, value: &T) -> Result<(), FleetError> {
        let text = serde_json::to_string(value).map_err(FleetError::damaged(what))?;
        Ok(self.control.put_document(kind, id, &text, self.now()).await?)
    }

    /// Tells who follows `subject`.
    async fn tell(&self, subject: &str, event: &api::Event) -> Result<(), FleetError> {
        let body = serde_json::to_string(event).map_err(FleetError::damaged("an event"))?;
        self.control.append_events(subject, &[&body], self.now()).await?;
        Ok(())
    }
}

/// A command for the mailbox of a host.
fn command(id: String, host: &str, fence: u64, person: &str, verb: Verb) -> Result<NewCommand, FleetError> {
    let command = Command { id, fence, person: person.to_owned(), verb };
    let body = serde_json::to_string(&command).map_err(FleetError::damaged("the command"))?;
    Ok(NewCommand { id: command.id, host: host.to_owned(), fence, body })
}

/// What a command named `SUBJECT.HOST` is part of; `None`: it is no such name, or that of another host.
fn subject<'a>(id: &'a str, host: &str) -> Option<&'a str> {
    id.strip_suffix(host)?.strip_suffix('.')
}

/// The answer of a command, when it has one.
fn answer(command: &greenroom_store::control::Command) -> Result<Option<Answer>, FleetError> {
    let parse = |text: &String| {
        serde_json::from_str(text).map_err(FleetError::damaged(format!("the answer to {}", command.id)))
    };
    command.result.as_ref().map(parse).transpose()
}
