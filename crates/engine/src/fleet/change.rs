//! Begin a change of many hosts: an apply of a rehearsal, or the undo of a change.

use std::collections::BTreeMap;

use greenroom_core::api;
use greenroom_core::rehearsal::Verdict;
use greenroom_core::rollout::{Outcome, Policy, Rollout, Word};
use greenroom_core::wire::{Answer, What};
use greenroom_store::control::{ControlError, Millis, NewCommand};
use serde::{Deserialize, Serialize};

use super::rehearse::has_effect;
use super::{Fleet, FleetError};

/// How long a host may be silent where nothing is declared, in milliseconds.
const PATIENCE_MS: u64 = 120_000;

/// A change as it is on record: the state of its saga.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Doc {
    pub(super) rollout: Rollout,
    /// `apply`, `undo` or `upgrade`.
    pub(super) kind: String,
    pub(super) rehearsal: Option<String>,
    pub(super) of: Option<String>,
    pub(super) person: String,
    pub(super) why: Option<String>,
    pub(super) at: Millis,
    pub(super) ended_at: Option<Millis>,
}

impl Fleet {
    /// Begins to apply a rehearsal to the hosts that it was held on.
    ///
    /// # Errors
    /// It is not over, not ready, or does nothing; a host is held by another change.
    pub async fn apply(&self, wanted: &api::NewChange, person: &str) -> Result<api::Begun, FleetError> {
        let parts = self.parts_of(wanted).await?;
        let hosts: Vec<String> = parts.keys().cloned().collect();
        // One host first, then the rest.
        let first = hosts.iter().take(1).cloned().collect();
        let rest = hosts.iter().skip(1).cloned().collect();
        let doc = |rollout| Doc {
            rollout,
            kind: "apply".to_owned(),
            rehearsal: Some(wanted.rehearsal.clone()),
            of: None,
            person: person.to_owned(),
            why: wanted.why.clone(),
            at: self.now(),
            ended_at: None,
        };
        self.begin(parts, vec![first, rest], wanted.pause_after, doc).await
    }

    async fn parts_of(&self, wanted: &api::NewChange) -> Result<BTreeMap<String, What>, FleetError> {
        let id = &wanted.rehearsal;
        let order = self.order(id).await?;
        let mut parts = BTreeMap::new();
        for (host, answer) in self.answers(id, &order).await? {
            let again = "rehearse again, or --force-verdict \"why\"";
            match answer {
                None => {
                    return Err(FleetError::refused(
                        format!("{id} is not over on {host}"),
                        format!("greenroom follow {id}"),
                    ));
                }
                Some(Answer::Rehearsed { record, .. }) => {
                    if record.verdict != Verdict::Ready && wanted.force_verdict.is_none() {
                        let why = record.reasons.join("; ");
                        let what = format!("{id} is not ready to go live on {host}: {}: {why}", record.verdict.words());
                        return Err(FleetError::refused(what, again));
                    }
                    if has_effect(&record) {
                        let (rehearsal, force_verdict) = (record.rehearsal.clone(), wanted.force_verdict.clone());
                        parts.insert(host, What::Apply { rehearsal, force_verdict });
                    }
                }
                Some(Answer::Failed(failed)) => {
                    let what = format!("{id} could not be held on {host}: {}", failed.what);
                    return Err(FleetError::refused(what, "mend that and rehearse again"));
                }
                Some(other) => return Err(FleetError::Host(super::run::unexpected(&other))),
            }
        }
        if parts.is_empty() {
            return Err(FleetError::refused(format!("{id} does nothing on any host"), "there is nothing to apply"));
        }
        Ok(parts)
    }

    /// Begins to take a change back, on all its hosts at once. The undo of an undo brings it back.
    ///
    /// # Errors
    /// It is not in place; a host is held by another change.
    pub async fn undo(&self, id: &str, wanted: &api::Undo, person: &str) -> Result<api::Begun, FleetError> {
        let of = self.doc(id).await?;
        if of.rollout.ended() != Some(Outcome::Done) {
            let hint = if of.rollout.ended().is_none() {
                format!("greenroom abort {id}")
            } else {
                "there is nothing to undo".to_owned()
            };
            return Err(FleetError::refused(format!("{id} is not in place"), hint));
        }
        if of.kind == "upgrade" {
            let what = format!("{id} brought another program to the agents");
            return Err(FleetError::refused(
                what,
                "bring them the one from before: greenroom agent upgrade --binary FILE",
            ));
        }
        let what = |part: &greenroom_core::rollout::Part| Some(What::Undo { local: part.local.clone()? });
        let parts: BTreeMap<String, What> =
            of.rollout.hosts.iter().filter_map(|(host, part)| Some((host.clone(), what(part)?))).collect();
        let doc = |rollout| Doc {
            rollout,
            kind: "undo".to_owned(),
            rehearsal: of.rehearsal.clone(),
            of: Some(id.to_owned()),
            person: person.to_owned(),
            why: wanted.why.clone(),
            at: self.now(),
            ended_at: None,
        };
        self.begin(parts, Vec::new(), None, doc).await
    }

    pub(super) async fn begin(
        &self,
        parts: BTreeMap<String, What>,
        batches: Vec<Vec<String>>,
        pause_after: Option<usize>,
        doc: impl FnOnce(Rollout) -> Doc,
    ) -> Result<api::Begun, FleetError> {
        let id = self.next_id("c").await?;
        let hosts: Vec<String> = parts.keys().cloned().collect();
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let locked = self.control.lock_hosts(&names, &id, self.now()).await;
        locked.map_err(|error| match error {
            ControlError::Locked { host, change } => FleetError::refused(
                format!("{host} is held by {change}"),
                format!("greenroom follow {change}; nothing was touched"),
            ),
            other => other.into(),
        })?;
        let policy = Policy { pause_on_failure: false, pause_after, patience_ms: PATIENCE_MS };
        let now = u64::try_from(self.now()).unwrap_or(0);
        let doc = doc(Rollout::new(&id, parts, batches, policy, now));
        let state = serde_json::to_string(&doc).map_err(FleetError::damaged("the change"))?;
        self.control.add_saga(&id, &state, self.now()).await?;
        Ok(api::Begun { id, hosts })
    }

    pub(super) async fn doc(&self, id: &str) -> Result<Doc, FleetError> {
        let saga = self.control.saga(id).await?;
        let saga = saga.ok_or_else(|| FleetError::Unknown(format!("there is no change {id}")))?;
        serde_json::from_str(&saga.state).map_err(FleetError::damaged(format!("change {id}")))
    }

    /// A change as far as it is.
    ///
    /// # Errors
    /// There is none of this name; the state's.
    pub async fn change(&self, id: &str) -> Result<api::Change, FleetError> {
        let doc = self.doc(id).await?;
        let part = |part: greenroom_core::rollout::Part| api::Part {
            step: part.step,
            local: part.local,
            trouble: part.trouble,
        };
        Ok(api::Change {
            id: id.to_owned(),
            kind: doc.kind,
            rehearsal: doc.rehearsal,
            of: doc.of,
            person: doc.person,
            why: doc.why,
            at: doc.at,
            ended_at: doc.ended_at,
            outcome: doc.rollout.ended(),
            phase: doc.rollout.phase,
            reason: doc.rollout.reason,
            hosts: doc.rollout.hosts.into_iter().map(|(host, p)| (host, part(p))).collect(),
        })
    }

    /// Says a person's word to a change: whoever drives it hears it.
    ///
    /// # Errors
    /// It comes at the wrong time; says why.
    pub async fn word(&self, id: &str, word: Word, person: &str) -> Result<(), FleetError> {
        // So that a word at the wrong time is refused at once, and not only by who drives it.
        let mut trial = self.doc(id).await?;
        trial.rollout.told(word, 0).map_err(|why| FleetError::refused(why, format!("greenroom follow {id}")))?;
        let name = format!("{}.{id}", self.next_id("w").await?);
        let body = serde_json::to_string(&Spoken { word, person: person.to_owned() });
        let body = body.map_err(FleetError::damaged("the word"))?;
        let command = NewCommand { id: name.clone(), host: words(id), fence: 0, body };
        self.control.enqueue(&[command], None, self.now()).await?;
        match self.wait_for(&name).await? {
            Answer::Failed(failed) => Err(FleetError::Host(failed)),
            _ => Ok(()),
        }
    }
}

/// A word in the mailbox of a change.
#[derive(Serialize, Deserialize)]
pub(super) struct Spoken {
    pub(super) word: Word,
    pub(super) person: String,
}

/// The mailbox of those who drive a change: no host has such a name.
pub(super) fn words(id: &str) -> String {
    format!("@{id}")
}
