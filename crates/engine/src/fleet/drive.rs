//! Drive the changes that are under way.
//!
//! ```text
//! every second, and at every hint: sagas that nobody drives ─► lease (fence) ─► a task each:
//!     answers of hosts, words of people, time ─► rollout ─► state and new orders in one transaction, under the fence
//!     over ─► ledger (once) ─► locks released ─► saga finished
//! ```
//! A driver that lost its lease finds its fence refused at the next write and stops; what it had given as orders has the names
//! that the next one gives too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_core::api;
use greenroom_core::rollout::{Order, Outcome, Phase, Rollout};
use greenroom_core::wire::{Answer, Class, Command, Failed, Verb};
use greenroom_store::control::{Fence, Millis, NewCommand, Outcome as Ended, Watch};
use greenroom_store::ledger::Draft;

use super::change::{Doc, Spoken, words};
use super::{Fleet, FleetError, answer};
use crate::lock;

/// How long a lease lasts without being renewed, in milliseconds.
const LEASE: Millis = 10_000;

/// How often it is renewed, in milliseconds.
const RENEW: Millis = 3_000;

/// How often everything is looked at where no hint comes.
const LOOK: Duration = Duration::from_secs(1);

/// How long a prepared host waits for the next word, in seconds, besides the time in which others are watched.
const HOLD_S: u64 = 900;

impl Fleet {
    /// Drives what is under way, until the future is dropped.
    pub async fn drive(&self) {
        let driving: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let mut watch = None;
        loop {
            if watch.is_none() {
                watch = self.control.watch().await.ok();
            }
            // The state may be out of reach for a while: what it says now is asked again.
            for saga in self.control.abandoned_sagas(self.now()).await.unwrap_or_default() {
                let id = saga.id;
                if !lock(&driving).insert(id.clone()) {
                    continue;
                }
                let (fleet, driving) = (self.clone(), driving.clone());
                tokio::spawn(async move {
                    // Refused or failed: whoever finds the lease expired goes on.
                    let _ = fleet.drive_one(&id).await;
                    lock(&driving).remove(&id);
                });
            }
            hint(&mut watch).await;
        }
    }

    async fn drive_one(&self, id: &str) -> Result<(), FleetError> {
        let Some(fence) = self.control.acquire(id, &self.name, self.now(), LEASE).await? else { return Ok(()) };
        let mut doc = self.doc(id).await?;
        let mut watch = Some(self.control.watch().await?);
        let mut renewed = self.now();
        // Those given by another driver are given again: the mailbox knows them by name.
        let mut given: BTreeSet<(String, Order)> = BTreeSet::new();
        let mut noted = 0;
        loop {
            let before = doc.rollout.clone();
            let heard = self.hear(id, &mut doc).await?;
            self.give(id, &mut doc, &before, &fence, &mut given).await?;
            noted = self.note_words(id, &doc, noted).await?;
            if !heard.is_empty() {
                // Only now: a word that was answered is on record.
                self.control.complete(&heard, self.now()).await?;
            }
            if let Some(outcome) = doc.rollout.ended() {
                return self.finish(id, doc, outcome, &fence).await;
            }
            if doc.rollout != before {
                continue;
            }
            if self.now() - renewed >= RENEW {
                self.control.renew(&fence, self.now(), LEASE).await?;
                renewed = self.now();
            }
            hint(&mut watch).await;
        }
    }

    /// Hosts' answers, people's words, and time. Gives what the people are to hear.
    async fn hear(&self, id: &str, doc: &mut Doc) -> Result<Vec<Ended>, FleetError> {
        let now = u64::try_from(self.now()).unwrap_or(0);
        let outstanding = doc.rollout.outstanding();
        for (host, order) in &outstanding {
            if let Some(command) = self.control.command(&name(id, *order, host)).await?
                && let Some(answer) = answer(&command)?
            {
                doc.rollout.answered(host, *order, &answer, now);
            }
        }
        let mut heard = Vec::new();
        for command in self.control.commands_due(&words(id)).await? {
            let spoken: Spoken = serde_json::from_str(&command.body).map_err(FleetError::damaged("a word"))?;
            // One that another driver followed and did not answer is on record already.
            let known = doc.said.iter().any(|said| said.id == command.id);
            let told = if known { Ok(()) } else { doc.rollout.told(spoken.word, now) };
            let answer = match told {
                Ok(()) => {
                    if !known {
                        doc.said.push(spoken.said(&command.id, self.now()));
                    }
                    Answer::Unwound { local: None }
                }
                Err(what) => Answer::Failed(Failed { class: Class::Refused, what, causes: vec![], hints: vec![] }),
            };
            let result = serde_json::to_string(&answer).map_err(FleetError::damaged("the answer"))?;
            heard.push(Ended { id: command.id, host: words(id), result });
        }
        self.whom_it_heard(doc, now).await?;
        doc.rollout.tick(now);
        Ok(heard)
    }

    /// A host that is in touch takes its time; who was not heard of for so long is lost. What another control plane with a clock
    /// that is ahead has noted says only that it noted something.
    async fn whom_it_heard(&self, doc: &mut Doc, now: u64) -> Result<(), FleetError> {
        for host in doc.rollout.overdue(now) {
            let seen = self.control.agent(&host).await?.and_then(|agent| agent.last_seen);
            let seen = seen.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
            let noted = doc.noted.insert(host.clone(), seen);
            if seen <= now {
                doc.rollout.heard(&host, seen);
            } else if noted != Some(seen) {
                doc.rollout.heard(&host, now);
            }
        }
        Ok(())
    }

    /// Puts into the ledger what people said; those up to `noted` are there. Gives how many are now.
    async fn note_words(&self, id: &str, doc: &Doc, noted: usize) -> Result<usize, FleetError> {
        for said in doc.said.iter().skip(noted) {
            let (kind, change) = (said.word.clone(), Some(id.to_owned()));
            let draft = Draft { kind, change, rehearsal: doc.rehearsal.clone(), ..Draft::default() };
            self.note(format!("word {}", said.id), &said.person, draft).await?;
        }
        Ok(doc.said.len())
    }

    /// Puts on record where the change is, with the orders that follow, and tells who follows it.
    async fn give(
        &self,
        id: &str,
        doc: &mut Doc,
        before: &Rollout,
        fence: &Fence,
        given: &mut BTreeSet<(String, Order)>,
    ) -> Result<(), FleetError> {
        let orders: Vec<(String, Order)> =
            doc.rollout.outstanding().into_iter().filter(|order| !given.contains(order)).collect();
        if orders.is_empty() && doc.rollout == *before {
            return Ok(());
        }
        let commands = orders.iter().map(|(host, order)| self.command(id, doc, host, *order, fence));
        let commands = commands.collect::<Result<Vec<_>, _>>()?;
        let state = serde_json::to_string(doc).map_err(FleetError::damaged("the change"))?;
        self.control.write_saga(fence, &state, &commands, self.now()).await?;
        given.extend(orders);
        let events = changes(before, &doc.rollout);
        let bodies: Result<Vec<String>, _> = events.iter().map(serde_json::to_string).collect();
        let bodies = bodies.map_err(FleetError::damaged("an event"))?;
        if !bodies.is_empty() {
            let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
            self.control.append_events(id, &bodies, self.now()).await?;
        }
        Ok(())
    }

    fn command(&self, id: &str, doc: &Doc, host: &str, order: Order, fence: &Fence) -> Result<NewCommand, FleetError> {
        let change = id.to_owned();
        let verb = match order {
            Order::Prepare => {
                let part = doc.rollout.hosts.get(host);
                let what = part.map(|part| part.what.clone()).ok_or_else(|| FleetError::Unknown(host.to_owned()))?;
                Verb::Prepare { change, what, why: doc.why.clone(), hold_s: HOLD_S + doc.watching_s() }
            }
            Order::Commit => Verb::Commit { change },
            Order::Watch => {
                let services = doc.rollout.hosts.get(host).map(|part| part.watch.clone()).unwrap_or_default();
                Verb::Watch { change, services }
            }
            Order::Unwind => Verb::Unwind { change, why: doc.rollout.reason.clone().unwrap_or_default() },
        };
        let command = Command { id: name(id, order, host), fence: fence.number, person: doc.person.clone(), verb };
        let body = serde_json::to_string(&command).map_err(FleetError::damaged("the command"))?;
        Ok(NewCommand { id: command.id, host: host.to_owned(), fence: fence.number, body })
    }

    async fn finish(&self, id: &str, mut doc: Doc, outcome: Outcome, fence: &Fence) -> Result<(), FleetError> {
        doc.ended_at = Some(self.now());
        let hosts = doc.rollout.hosts.iter().map(|(host, part)| {
            serde_json::json!({ "host": host, "step": part.step, "local": part.local, "trouble": part.trouble })
        });
        let detail = serde_json::json!({
            "outcome": outcome,
            "of": doc.of,
            "reason": doc.rollout.reason,
            "system": doc.system,
            "said": doc.said,
            "hosts": hosts.collect::<Vec<_>>(),
            "duration_ms": self.now() - doc.at,
        });
        let draft = Draft {
            kind: doc.kind.clone(),
            change: Some(id.to_owned()),
            rehearsal: doc.rehearsal.clone(),
            why: doc.why.clone(),
            detail,
            ..Draft::default()
        };
        self.note(format!("change {id}"), &doc.person, draft).await?;
        let state = serde_json::to_string(&doc).map_err(FleetError::damaged("the change"))?;
        self.control.finish_saga(fence, &state, self.now()).await?;
        self.control.unlock_hosts(id).await?;
        self.tell(id, &api::Event::Over { outcome: word(outcome).to_owned() }).await
    }
}

/// The name of an order to a host. It begins with the change, so that who follows that hears of it.
fn name(id: &str, order: Order, host: &str) -> String {
    format!("{id}-{}.{host}", order.word())
}

/// What is different, for those who follow.
fn changes(before: &Rollout, after: &Rollout) -> Vec<api::Event> {
    let mut out = Vec::new();
    for (host, part) in &after.hosts {
        if before.hosts.get(host).is_none_or(|old| old.step != part.step) {
            let step =
                serde_json::to_value(part.step).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            out.push(api::Event::Host { host: host.clone(), step, trouble: part.trouble.clone() });
        }
    }
    if before.phase != after.phase && after.ended().is_none() {
        let total = after.batches.len();
        let phase = match &after.phase {
            Phase::Preparing => "preparing".to_owned(),
            Phase::Committing { batch } => format!("batch {} of {total}", batch + 1),
            Phase::Paused { next } => format!("paused before batch {} of {total}", next + 1),
            Phase::Unwinding => "taking it back".to_owned(),
            Phase::Ended { .. } => String::new(),
        };
        out.push(api::Event::Phase { phase, reason: after.reason.clone() });
    }
    out
}

/// How it ended, in a word.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Refused => "refused",
        Outcome::TakenBack => "taken back",
        Outcome::Stuck => "stuck",
    }
}

/// Waits for a hint, or until it is time to look anyway.
async fn hint(watch: &mut Option<Watch>) {
    match watch {
        // Hints that come together are one look.
        Some(watch) => drop(tokio::time::timeout(LOOK, watch.next()).await),
        None => tokio::time::sleep(LOOK).await,
    }
}
