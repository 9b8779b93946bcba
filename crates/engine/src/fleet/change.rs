//! Begin a change of many hosts: an apply of a rehearsal, or the undo of a change.

use std::collections::BTreeMap;

use greenroom_core::api;
use greenroom_core::plan::Part as Planned;
use greenroom_core::rehearsal::Verdict;
use greenroom_core::rollout::{Outcome, Policy, Rollout, Word};
use greenroom_core::system::health::Judge;
use greenroom_core::system::{OnFailure, Rights};
use greenroom_core::wire::{Answer, Watched, What};
use greenroom_store::blobs::BlobError;
use greenroom_store::control::{ControlError, Millis, NewCommand};
use serde::{Deserialize, Serialize};

use super::policy::policy;
use super::rehearse::{Order, has_effect};
use super::system::{Asker, Held};
use super::upgrade::UPGRADE;
use super::{Fleet, FleetError, sweep};

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
    #[serde(default)]
    pub(super) system: Option<api::InForce>,
    /// What people said that was followed, in order.
    #[serde(default)]
    pub(super) said: Vec<api::Said>,
    /// When hosts that owe an answer were noted last, as whoever noted it had the time.
    #[serde(default)]
    pub(super) noted: BTreeMap<String, u64>,
}

impl Doc {
    /// One that was just begun, of no rehearsal and no other change.
    pub(super) fn new(
        kind: &str,
        rollout: Rollout,
        person: &str,
        why: Option<String>,
        at: Millis,
        held: Option<&Held>,
    ) -> Self {
        Self {
            rollout,
            kind: kind.to_owned(),
            rehearsal: None,
            of: None,
            person: person.to_owned(),
            why,
            at,
            ended_at: None,
            system: held.map(|held| held.in_force.clone()),
            said: Vec::new(),
            noted: BTreeMap::new(),
        }
    }

    /// How long its hosts may be watched in all, batch after batch, in seconds.
    pub(super) fn watching_s(&self) -> u64 {
        let of = |host: &String| {
            let services = self.rollout.hosts.get(host).into_iter().flat_map(|part| &part.watch);
            services.map(|one| one.health.iter().map(Judge::limit).max().unwrap_or_default().as_secs() + 1).sum::<u64>()
        };
        self.rollout.batches.iter().map(|batch| batch.iter().map(of).max().unwrap_or(0)).sum()
    }
}

/// How a change goes through its hosts.
pub(super) struct Course {
    pub(super) batches: Vec<Vec<String>>,
    pub(super) watch: BTreeMap<String, Vec<Watched>>,
    pub(super) policy: Policy,
}

impl Fleet {
    /// Begins to apply a rehearsal to the hosts that it was held on.
    ///
    /// # Errors
    /// The person may not; it is not over, not ready, does nothing, or is not what the system file wants it to be; a host is
    /// held by another change, or its agent does not know what it would be told.
    pub async fn apply(&self, wanted: &api::NewChange, who: Asker<'_>) -> Result<api::Begun, FleetError> {
        let id = &wanted.rehearsal;
        let order = self.order(id).await?;
        let held = self.system().await?;
        Self::may_apply(held.as_ref(), &order.hosts, who, "apply")?;
        let (mut parts, once) = self.parts_of(wanted, &order).await?;
        let hosts: Vec<String> = parts.keys().cloned().collect();
        if let Some(held) = &held {
            self.may_go_live(held, id, &order, &hosts, who).await?;
        }
        let mut course = course(held.as_ref(), &hosts);
        course.policy.pause_after = wanted.pause_after;
        if once {
            once_per_system(&mut course, &mut parts);
        }
        let doc = |rollout| Doc {
            rehearsal: Some(id.clone()),
            ..Doc::new("apply", rollout, who.name, wanted.why.clone(), self.now(), held.as_ref())
        };
        // What its hosts will fetch is there, and stays: until the change is on record, because of this.
        let pin = self.pin(id, parts.values()).await?;
        let begun = self.begin(parts, course, doc).await;
        // One that stays is dropped a day later.
        let _ = self.unpin(pin).await;
        begun
    }

    /// What each host is to do, and whether a live step among that is to run once for all.
    async fn parts_of(
        &self,
        wanted: &api::NewChange,
        order: &Order,
    ) -> Result<(BTreeMap<String, What>, bool), FleetError> {
        let id = &wanted.rehearsal;
        let (mut parts, mut once) = (BTreeMap::new(), false);
        for (host, answer) in self.answers(id, order).await? {
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
                        once |= record.parts.iter().any(|part| matches!(part, Planned::Live { once: true, .. }));
                        let (rehearsal, force_verdict) = (record.rehearsal.clone(), wanted.force_verdict.clone());
                        let staged = match &order.stage {
                            Some(staging) => {
                                let staged = self.staged(id, &host, (*record).clone(), staging).await;
                                Some(staged.map_err(|error| gone(id, error))?)
                            }
                            None => None,
                        };
                        parts.insert(host, What::Apply { rehearsal, force_verdict, once_elsewhere: false, staged });
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
        Ok((parts, once))
    }

    /// Begins to take a change back, on all its hosts at once. The undo of an undo brings it back.
    ///
    /// # Errors
    /// The person may not; it is not in place; a host is held by another change.
    pub async fn undo(&self, id: &str, wanted: &api::Undo, who: Asker<'_>) -> Result<api::Begun, FleetError> {
        let of = self.doc(id).await?;
        let held = self.system().await?;
        let hosts: Vec<String> = of.rollout.hosts.keys().cloned().collect();
        Self::may_apply(held.as_ref(), &hosts, who, "undo")?;
        if of.rollout.ended() != Some(Outcome::Done) {
            let hint = if of.rollout.ended().is_none() {
                format!("greenroom abort {id}")
            } else {
                "there is nothing to undo".to_owned()
            };
            return Err(FleetError::refused(format!("{id} is not in place"), hint));
        }
        if of.kind == UPGRADE {
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
            rehearsal: of.rehearsal.clone(),
            of: Some(id.to_owned()),
            ..Doc::new("undo", rollout, who.name, wanted.why.clone(), self.now(), held.as_ref())
        };
        // The way back is for all at once and waits for nobody's health: what is there now is what has to go.
        let policy = Policy { pause_on_failure: false, ..course(held.as_ref(), &hosts).policy };
        self.begin(parts, Course { batches: Vec::new(), watch: BTreeMap::new(), policy }, doc).await
    }

    pub(super) async fn begin(
        &self,
        parts: BTreeMap<String, What>,
        course: Course,
        doc: impl FnOnce(Rollout) -> Doc,
    ) -> Result<api::Begun, FleetError> {
        self.all_know(parts.iter().map(|(host, what)| (host.as_str(), what.since()))).await?;
        let id = self.next_id("c").await?;
        let hosts: Vec<String> = parts.keys().cloned().collect();
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let now = u64::try_from(self.now()).unwrap_or(0);
        let doc = doc(Rollout::new(&id, parts, course.batches, course.policy, now).watched(course.watch));
        let state = serde_json::to_string(&doc).map_err(FleetError::damaged("the change"))?;
        let begun = self.control.begin_saga(&id, &state, &names, self.now()).await;
        begun.map_err(|error| match error {
            ControlError::Locked { host, change } => FleetError::refused(
                format!("{host} is held by {change}"),
                format!("greenroom follow {change}; nothing was touched"),
            ),
            other => other.into(),
        })?;
        Ok(api::Begun { id, hosts })
    }

    pub(super) async fn doc(&self, id: &str) -> Result<Doc, FleetError> {
        let saga = self.control.saga(id).await?.filter(|saga| saga.id != sweep::SAGA);
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
            trouble: part.trouble.or(part.unserved),
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
            batches: doc.rollout.batches,
            system: doc.system,
            said: doc.said,
            hosts: doc.rollout.hosts.into_iter().map(|(host, p)| (host, part(p))).collect(),
        })
    }

    /// Says a person's word to a change: whoever drives it hears it.
    ///
    /// # Errors
    /// The person may not; it comes at the wrong time, says why.
    pub async fn word(&self, id: &str, word: Word, who: Asker<'_>) -> Result<(), FleetError> {
        // So that a word at the wrong time is refused at once, and not only by who drives it.
        let mut trial = self.doc(id).await?;
        let hosts: Vec<String> = trial.rollout.hosts.keys().cloned().collect();
        let held = self.system().await?;
        match word {
            // Whoever may take the wheel may stop it.
            Word::Abort if who.rights >= Rights::Operator => {}
            Word::Abort => Self::may_apply(held.as_ref(), &hosts, who, "abort")?,
            Word::Continue => Self::may_apply(held.as_ref(), &hosts, who, "continue")?,
        }
        trial.rollout.told(word, 0).map_err(|why| FleetError::refused(why, format!("greenroom follow {id}")))?;
        let name = format!("{}.{id}", self.next_id("w").await?);
        let body = serde_json::to_string(&Spoken { word, person: who.name.to_owned() });
        let body = body.map_err(FleetError::damaged("the word"))?;
        let command = NewCommand { id: name.clone(), host: words(id), fence: 0, body };
        self.control.enqueue(&[command], None, self.now()).await?;
        match self.wait_for(&name).await? {
            Answer::Failed(failed) => Err(FleetError::Host(failed)),
            _ => Ok(()),
        }
    }
}

/// What was rehearsed long ago, or what somebody else brought just when it went, may not be here any more.
pub(super) fn gone(id: &str, error: FleetError) -> FleetError {
    match error {
        FleetError::Blobs(BlobError::Absent(_)) => {
            FleetError::refused(format!("the contents of {id} are gone: nothing was touched"), "rehearse again")
        }
        error => error,
    }
}

/// How a change goes through these hosts: as the system file says; without one, one host first, then the rest.
pub(super) fn course(held: Option<&Held>, hosts: &[String]) -> Course {
    let Some(held) = held else {
        let (first, rest) = hosts.split_at(hosts.len().min(1));
        let policy = Policy { pause_on_failure: false, pause_after: None, patience_ms: PATIENCE_MS };
        return Course { batches: vec![first.to_vec(), rest.to_vec()], watch: BTreeMap::new(), policy };
    };
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let policy = policy(&held.system, hosts);
    Course {
        batches: held.system.batches(&names),
        watch: held.system.watched(&names),
        policy: Policy {
            pause_on_failure: policy.on_failure == OnFailure::Pause,
            pause_after: None,
            patience_ms: u64::try_from(policy.host_lost_after.as_millis()).unwrap_or(PATIENCE_MS),
        },
    }
}

/// The first host of the order is a batch of its own and runs what is run once per system, before any other is touched.
fn once_per_system(course: &mut Course, parts: &mut BTreeMap<String, What>) {
    let Some(first) = course.batches.iter().flatten().next().cloned() else { return };
    if let Some(batch) = course.batches.iter_mut().find(|batch| !batch.is_empty()) {
        batch.retain(|host| *host != first);
    }
    course.batches.insert(0, vec![first.clone()]);
    for (_, what) in parts.iter_mut().filter(|(host, _)| **host != first) {
        if let What::Apply { once_elsewhere, .. } = what {
            *once_elsewhere = true;
        }
    }
}

/// A word in the mailbox of a change.
#[derive(Serialize, Deserialize)]
pub(super) struct Spoken {
    pub(super) word: Word,
    pub(super) person: String,
}

impl Spoken {
    /// As it is on record once it was followed.
    pub(super) fn said(&self, id: &str, at: Millis) -> api::Said {
        let word = match self.word {
            Word::Continue => "continue",
            Word::Abort => "abort",
        };
        api::Said { id: id.to_owned(), word: word.to_owned(), person: self.person.clone(), at }
    }
}

/// The mailbox of those who drive a change: no host has such a name.
pub(super) fn words(id: &str) -> String {
    format!("@{id}")
}
