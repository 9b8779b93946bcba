//! Drive the changes that are under way.
//!
//! ```text
//! every second, and at every hint: sagas that nobody drives ─► lease (fence) ─► a task each:
//!     answers of hosts, words of people, time ─► rollout ─► state, new orders and events in one transaction, under the fence
//!     over ─► ledger (once) ─► saga finished, its hosts given back
//! ```
//! A driver that lost its lease finds its fence refused at the next write and stops; what it had given as orders has the names
//! that the next one gives too. A lease is taken over when it was seen unchanged for as long as leases last, by the time of
//! who looks: clocks of control planes may differ by any amount.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_core::api;
use greenroom_core::rollout::{Order, Outcome, Phase, Rollout};
use greenroom_core::wire::{Answer, Class, Failed, Verb};
use greenroom_store::control::{
    Agent, Done, Fence, Hint, Lease, Millis, NewCommand, Outcome as Ended, Step as Written, Subject, Watch,
};
use greenroom_store::ledger::Draft;

use super::change::{Doc, Spoken, words};
use super::unserved::refusal;
use super::upgrade::UPGRADE;
use super::{Fleet, FleetError, command, sweep};
use crate::lock;

/// How long a lease lasts without being renewed.
const LEASE: Duration = Duration::from_secs(10);

/// The same in milliseconds.
const LEASE_MS: Millis = 10_000;

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);

/// Results in one look.
const PAGE: u32 = 1000;

/// How often everything is looked at where no hint comes.
const LOOK: Duration = Duration::from_secs(1);

/// How long a prepared host waits for the next word, in seconds, besides the time in which others are watched.
const HOLD_S: u64 = 900;

/// Leases as they were first seen, and when.
#[derive(Default)]
struct Seen(BTreeMap<String, (Lease, Instant)>);

impl Seen {
    /// Those that nobody has, or that nobody renewed for as long as leases last.
    fn abandoned(&mut self, leases: Vec<Lease>, now: Instant) -> Vec<Lease> {
        self.0.retain(|id, _| leases.iter().any(|lease| lease.saga == *id));
        let free = |lease: &Lease| {
            let seen = self.0.entry(lease.saga.clone()).or_insert_with(|| (lease.clone(), now));
            if seen.0 != *lease {
                *seen = (lease.clone(), now);
            }
            lease.holder.is_none() || now.saturating_duration_since(seen.1) >= LEASE
        };
        leases.into_iter().filter(free).collect()
    }
}

/// What a driver holds besides the change itself.
struct Hands {
    fence: Fence,
    /// Those given by another driver are given again: the mailbox knows them by name.
    given: BTreeSet<(String, Order)>,
    /// Results were read up to this number; not at all yet.
    read: Option<u64>,
}

impl Fleet {
    /// Drives what is under way, until the future is dropped.
    pub async fn drive(&self) {
        let driving: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let mut seen = Seen::default();
        let mut watch = None;
        loop {
            if watch.is_none() {
                watch = self.control.watch().await.ok();
            }
            // The state may be out of reach for a while: what it says now is asked again.
            let mut leases = self.control.open_leases().await.unwrap_or_default();
            leases.retain(|lease| lease.saga != sweep::SAGA);
            for lease in seen.abandoned(leases, Instant::now()) {
                let id = lease.saga.clone();
                if !lock(&driving).insert(id.clone()) {
                    continue;
                }
                let (fleet, driving) = (self.clone(), driving.clone());
                tokio::spawn(async move {
                    // Refused or failed: whoever finds the lease abandoned goes on.
                    let _ = fleet.drive_one(&lease).await;
                    lock(&driving).remove(&id);
                });
            }
            look(&mut watch, |hint| hint.subject == Subject::Saga).await;
        }
    }

    async fn drive_one(&self, lease: &Lease) -> Result<(), FleetError> {
        let id = lease.saga.as_str();
        let Some(fence) = self.control.acquire(lease, &self.name, self.now(), LEASE_MS).await? else { return Ok(()) };
        let mut doc = self.doc(id).await?;
        if lease.fence > 0 {
            // By this control plane's clock; the one before may have had another.
            doc.rollout.resumed(self.since_1970());
        }
        let mut watch = Some(self.control.watch().await?);
        let mut renewed = Instant::now();
        let mut hands = Hands { fence, given: BTreeSet::new(), read: None };
        let (mine, words) = (format!("{id}-"), words(id));
        let mut noted = 0;
        loop {
            let before = doc.rollout.clone();
            let heard = self.hear(id, &mut doc, &mut hands).await?;
            self.give(id, &mut doc, &before, &mut hands).await?;
            noted = self.note_words(id, &doc, noted).await?;
            if !heard.is_empty() {
                // Only now: a word that was answered is on record.
                self.control.complete(&heard, self.now()).await?;
            }
            if let Some(outcome) = doc.rollout.ended() {
                return self.finish(id, doc, outcome, &hands.fence).await;
            }
            if doc.rollout != before {
                continue;
            }
            if renewed.elapsed() >= RENEW {
                self.control.renew(&hands.fence, self.now(), LEASE_MS).await?;
                renewed = Instant::now();
            }
            let concerns = |hint: &Hint| match hint.subject {
                Subject::Command => hint.name.starts_with(&mine),
                Subject::Mailbox => hint.name == words,
                _ => false,
            };
            look(&mut watch, concerns).await;
        }
    }

    fn since_1970(&self) -> u64 {
        u64::try_from(self.now()).unwrap_or(0)
    }

    /// The results that came since the last look.
    async fn results(&self, id: &str, doc: &Doc, hands: &mut Hands) -> Result<Vec<Done>, FleetError> {
        let Some(since) = hands.read else {
            // What came before this driver: of what is outstanding.
            hands.read = Some(self.control.last_change().await?);
            let outstanding = doc.rollout.outstanding();
            let ids: Vec<String> = outstanding.iter().map(|(host, order)| name(id, *order, host)).collect();
            return Ok(self.control.results_of(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await?);
        };
        let results = self.control.results_since(since, &format!("{id}-"), PAGE).await?;
        hands.read = Some(results.last().map_or(since, |last| last.changed));
        Ok(results)
    }

    /// Hosts' answers, people's words, and time. Gives what the people are to hear.
    async fn hear(&self, id: &str, doc: &mut Doc, hands: &mut Hands) -> Result<Vec<Ended>, FleetError> {
        let now = self.since_1970();
        for result in self.results(id, doc, hands).await? {
            let Some(order) = order(id, &result) else { continue };
            let answer: Answer = serde_json::from_str(&result.result)
                .map_err(FleetError::damaged(format!("the answer to {}", result.id)))?;
            doc.rollout.answered(&result.host, order, &answer, now);
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
                Err(what) => Answer::Failed(Failed::new(Class::Refused, what)),
            };
            let result = serde_json::to_string(&answer).map_err(FleetError::damaged("the answer"))?;
            heard.push(Ended { id: command.id, host: words(id), result });
        }
        self.whom_it_serves(doc).await?;
        self.whom_it_heard(doc, now).await?;
        doc.rollout.tick(now);
        Ok(heard)
    }

    /// A host that is in touch takes its time; who was not heard of for so long is lost. What another control plane with a clock
    /// that is ahead has noted says only that it noted something.
    async fn whom_it_heard(&self, doc: &mut Doc, now: u64) -> Result<(), FleetError> {
        for host in doc.rollout.overdue(now) {
            let agent = self.control.agent(&host).await?;
            agent.iter().for_each(|agent| note_refusal(&mut doc.rollout, agent));
            let seen = agent.and_then(|agent| agent.last_seen);
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

    /// A program that is new there and not served is put back by its host, which then says only that it was not in touch: why is
    /// noted while it is so.
    async fn whom_it_serves(&self, doc: &mut Doc) -> Result<(), FleetError> {
        if doc.kind != UPGRADE {
            return Ok(());
        }
        let outstanding = doc.rollout.outstanding().into_iter();
        let committing: BTreeSet<String> =
            outstanding.filter(|(_, order)| *order == Order::Commit).map(|(host, _)| host).collect();
        if !committing.is_empty() {
            let agents = self.control.agents().await?;
            let told = agents.iter().filter(|agent| committing.contains(&agent.host));
            told.for_each(|agent| note_refusal(&mut doc.rollout, agent));
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

    /// Puts on record where the change is, with the orders that follow and what is told of it.
    async fn give(&self, id: &str, doc: &mut Doc, before: &Rollout, hands: &mut Hands) -> Result<(), FleetError> {
        let orders: Vec<(String, Order)> =
            doc.rollout.outstanding().into_iter().filter(|order| !hands.given.contains(order)).collect();
        if orders.is_empty() && doc.rollout == *before {
            return Ok(());
        }
        let commands = orders.iter().map(|(host, order)| self.command(id, doc, host, *order, &hands.fence));
        let commands = commands.collect::<Result<Vec<_>, _>>()?;
        let state = serde_json::to_string(doc).map_err(FleetError::damaged("the change"))?;
        let events = changes(before, &doc.rollout);
        let events: Result<Vec<String>, _> = events.iter().map(serde_json::to_string).collect();
        let events = events.map_err(FleetError::damaged("an event"))?;
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let step = Written { state: &state, commands: &commands, events: &events };
        self.control.write_saga(&hands.fence, step, self.now()).await?;
        hands.given.extend(orders);
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
        command(name(id, order, host), host, fence.number, &doc.person, verb)
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
        let over = api::Event::Over { outcome: word(outcome).to_owned() };
        let over = serde_json::to_string(&over).map_err(FleetError::damaged("an event"))?;
        let step = Written { state: &state, commands: &[], events: &[&over] };
        Ok(self.control.finish_saga(fence, step, self.now()).await?)
    }
}

/// The name of an order to a host. It begins with the change, so that who follows that hears of it.
fn name(id: &str, order: Order, host: &str) -> String {
    format!("{id}-{}.{host}", order.word())
}

/// The order that a result is of.
fn order(id: &str, result: &Done) -> Option<Order> {
    Order::ALL.into_iter().find(|order| name(id, *order, &result.host) == result.id)
}

/// Notes why a host's agent is not served, where that is so.
fn note_refusal(rollout: &mut Rollout, agent: &Agent) {
    if let Some(refusal) = refusal(agent) {
        rollout.unserved(&agent.host, &refusal.unserved.in_full());
    }
}

/// What is different, for those who follow.
fn changes(before: &Rollout, after: &Rollout) -> Vec<api::Event> {
    let mut out = Vec::new();
    for (host, part) in &after.hosts {
        let old = before.hosts.get(host);
        let unserved = old.is_none_or(|old| old.unserved != part.unserved).then_some(part.unserved.as_ref()).flatten();
        if unserved.is_some() || old.is_none_or(|old| old.step != part.step) {
            let step =
                serde_json::to_value(part.step).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            let trouble = part.trouble.as_ref().or(unserved).cloned();
            out.push(api::Event::Host { host: host.clone(), step, trouble });
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

/// Waits for a hint that concerns, or until it is time to look anyway.
async fn look(watch: &mut Option<Watch>, concerns: impl Fn(&Hint) -> bool) {
    match watch {
        Some(watch) => watch.wait(LOOK, concerns).await,
        None => tokio::time::sleep(LOOK).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_abandoned_when_it_was_not_renewed_for_long_whatever_time_it_says() {
        let lease = |until, holder: Option<&str>| Lease {
            saga: "c1".to_owned(),
            holder: holder.map(str::to_owned),
            until,
            fence: 1,
        };
        let begin = Instant::now();
        let mut seen = Seen::default();
        let mut at =
            |lease: Lease, seconds| !seen.abandoned(vec![lease], begin + Duration::from_secs(seconds)).is_empty();
        // The clock of its holder is an hour ahead, or behind: only that it changes counts.
        assert!(!at(lease(3_600_000, Some("a")), 0));
        assert!(!at(lease(3_600_000, Some("a")), 9));
        assert!(!at(lease(-3_600_000, Some("a")), 10));
        assert!(!at(lease(-3_600_000, Some("a")), 19));
        assert!(at(lease(-3_600_000, Some("a")), 20));
        assert!(at(lease(0, None), 21), "given back is free at once");
    }
}
