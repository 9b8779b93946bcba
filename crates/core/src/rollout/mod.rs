//! A change of many hosts as one: what is to be told to which host next, from what they have answered.
//!
//! # How it goes
//! ```text
//! preparing ──all prepared──► committing batch 1 ──all in place──► watched ──all well──► … last batch ──► done
//!     │ one refuses               │ one fails, or is lost for too long      │ one is unwell
//!     ▼                           ▼                     (policy `pause`: ─► paused ─► continue | abort)
//! unwinding: every host that was told anything leaves the change or takes it back ──all have──► refused | taken back
//! ```
//! *Unwind* is the one order for "leave it as if it had never been sent": a host that only prepared drops that, one that has
//! the change in place takes it back, one that never heard of it will not begin it. So it can be said to a host whose answer
//! is outstanding, and that host's own journal settles what is true when it is back.
//!
//! A host is *watched* when its whole batch is in place and something was declared that has to be well there. One that is unwell
//! is a failure of the change, as one that fails to commit is. A person who is asked and goes on takes it as it is.
//!
//! # What this is not
//! It sends nothing, waits for nothing and reads no clock. Who drives it keeps it in the ledger's database after every
//! step; each order has one name, so that a driver that takes over may give it again. The checker of this room is a
//! model of hosts with random answers, losses and drivers that die, in `tests`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{Answer, Watched, What};

mod part;

#[cfg(test)]
mod tests;

pub use part::{Part, Step};

/// A change across hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// `c1`, `c2`, …
    pub change: String,
    /// The hosts and how far each is.
    pub hosts: BTreeMap<String, Part>,
    /// Which hosts change together, in order.
    pub batches: Vec<Vec<String>>,
    /// What to do when something goes wrong.
    pub policy: Policy,
    /// How far it is.
    pub phase: Phase,
    /// Why it is taken back, or paused.
    pub reason: Option<String>,
}

/// What to do when something goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Whether a failure stops the change where it is and asks a person, instead of taking all back.
    pub pause_on_failure: bool,
    /// Stop and ask after so many batches.
    pub pause_after: Option<usize>,
    /// How long a host may owe an answer without having been heard of before that counts as a failure, in milliseconds.
    pub patience_ms: u64,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Hosts check and stage.
    Preparing,
    /// Hosts of this batch go through with it.
    Committing {
        /// From 0.
        batch: usize,
    },
    /// A person is asked.
    Paused {
        /// The batch that would be next, from 0.
        next: usize,
    },
    /// Everything goes back.
    Unwinding,
    /// It is over.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In place on every host.
    Done,
    /// Nothing was touched anywhere.
    Refused,
    /// It was in place on some host, and is on none any more.
    TakenBack,
    /// Some host could not be brought back: a person has to.
    Stuck,
}

/// What a host is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Check and stage.
    Prepare,
    /// Go through with it.
    Commit,
    /// Leave it.
    Unwind,
    /// See whether all is well.
    Watch,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Prepare, Self::Commit, Self::Unwind, Self::Watch];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Commit => "commit",
            Self::Unwind => "unwind",
            Self::Watch => "watch",
        }
    }
}

/// What a person says to a change that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Go on with the next batch.
    Continue,
    /// Take it back.
    Abort,
}

impl Rollout {
    /// A change of these hosts. Every host is to be told to prepare. A host that is in no batch is in the last one.
    #[must_use]
    pub fn new(
        change: &str,
        parts: BTreeMap<String, What>,
        mut batches: Vec<Vec<String>>,
        policy: Policy,
        now: u64,
    ) -> Self {
        batches.iter_mut().for_each(|batch| batch.retain(|host| parts.contains_key(host)));
        let rest: Vec<String> =
            parts.keys().filter(|host| batches.iter().all(|b| !b.contains(host))).cloned().collect();
        batches.push(rest);
        batches.retain(|batch| !batch.is_empty());
        let hosts = parts.into_iter().map(|(host, what)| (host, Part::new(what, now))).collect();
        Self { change: change.to_owned(), hosts, batches, policy, phase: Phase::Preparing, reason: None }
    }

    /// Declares what has to be well on hosts once their batch is in place.
    #[must_use]
    pub fn watched(mut self, mut watch: BTreeMap<String, Vec<Watched>>) -> Self {
        for (host, part) in &mut self.hosts {
            part.watch = watch.remove(host).unwrap_or_default();
        }
        self
    }

    /// The orders that are given and not answered.
    #[must_use]
    pub fn outstanding(&self) -> Vec<(String, Order)> {
        let order = |step| match step {
            Step::Preparing => Some(Order::Prepare),
            Step::Committing => Some(Order::Commit),
            Step::Unwinding => Some(Order::Unwind),
            Step::Watching => Some(Order::Watch),
            _ => None,
        };
        self.hosts.iter().filter_map(|(host, part)| Some((host.clone(), order(part.step)?))).collect()
    }

    /// Whether it is over.
    #[must_use]
    pub fn ended(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Ended { outcome } => Some(outcome),
            _ => None,
        }
    }

    /// A host's answer to an order. An answer that is not awaited any more changes nothing.
    pub fn answered(&mut self, host: &str, order: Order, answer: &Answer, now: u64) {
        let Some(part) = self.hosts.get_mut(host) else { return };
        let awaited = matches!(
            (part.step, order),
            (Step::Preparing, Order::Prepare)
                | (Step::Committing, Order::Commit)
                | (Step::Unwinding, Order::Unwind)
                | (Step::Watching, Order::Watch)
        );
        if !awaited {
            // It was given up and may have done it after all: it counts for how the change is said to have ended.
            part.was_in_place |= matches!(answer, Answer::Committed { .. });
            return;
        }
        part.since = now;
        let unserved = part.because();
        part.unserved = None;
        match (order, answer) {
            (Order::Prepare, Answer::Prepared { .. }) => part.step = Step::Prepared,
            (Order::Commit, Answer::Committed { local, .. }) => {
                part.step = Step::InPlace;
                part.local = Some(local.clone());
                part.was_in_place = true;
            }
            (Order::Commit, Answer::TakenBack { why, .. }) => {
                // The host took it back by itself. It is told to unwind all the same: what it says is then on record.
                part.was_in_place = true;
                let why = format!("{why}{unserved}");
                part.trouble = Some(why.clone());
                self.failed(format!("{host}: {why}"), now);
            }
            (Order::Watch, Answer::Well { .. }) => part.step = Step::Well,
            (Order::Watch, other) => {
                let why = said(other);
                part.step = Step::Unwell;
                part.trouble = Some(why.clone());
                self.failed(format!("{host}: {why}"), now);
            }
            (Order::Unwind, Answer::Unwound { local }) => {
                part.step = Step::AsBefore;
                part.was_in_place |= local.is_some();
            }
            (Order::Unwind, other) => {
                part.step = Step::Stuck;
                part.trouble = Some(said(other));
            }
            (_, other) => {
                let why = said(other);
                part.trouble = Some(why.clone());
                self.failed(format!("{host}: {why}"), now);
            }
        }
        self.go_on(now);
    }

    /// Another driver goes on with it: what is outstanding is awaited from now on, by the clock of that one.
    pub fn resumed(&mut self, now: u64) {
        for part in self.hosts.values_mut() {
            (part.since, part.heard) = (now, now);
        }
    }

    /// Hosts whose answer is overdue, as far as is known here. They have failed at the next [`tick`](Self::tick), unless they
    /// were [heard](Self::heard) of.
    #[must_use]
    pub fn overdue(&self, now: u64) -> Vec<String> {
        let limit = self.policy.patience_ms;
        let late = |part: &Part| {
            matches!(part.step, Step::Preparing | Step::Committing | Step::Watching)
                && now.saturating_sub(part.since.max(part.heard)) >= limit
        };
        self.hosts.iter().filter(|(_, part)| late(part)).map(|(host, _)| host.clone()).collect()
    }

    /// A host was last heard of then: it may take its time.
    pub fn heard(&mut self, host: &str, at: u64) {
        if let Some(part) = self.hosts.get_mut(host) {
            part.heard = part.heard.max(at);
        }
    }

    /// A host that owes an answer came, and its agent was not served. What that means for its answer the host says, or time does.
    pub fn unserved(&mut self, host: &str, why: &str) {
        let owes = |part: &&mut Part| matches!(part.step, Step::Preparing | Step::Committing | Step::Watching);
        if let Some(part) = self.hosts.get_mut(host).filter(owes) {
            part.unserved = Some(why.to_owned());
        }
    }

    /// Time went by.
    pub fn tick(&mut self, now: u64) {
        let silent = self.overdue(now);
        if silent.is_empty() || !matches!(self.phase, Phase::Preparing | Phase::Committing { .. }) {
            return;
        }
        let limit = self.policy.patience_ms / 1000;
        let mut known = String::new();
        for host in &silent {
            if let Some(part) = self.hosts.get_mut(host) {
                let why = part.because();
                part.trouble = Some(format!("it has not answered for {limit} s{why}"));
                if !why.is_empty() {
                    known.push_str(&format!("; {host}{why}"));
                }
            }
        }
        self.failed(format!("no answer from {} for {limit} s{known}", silent.join(", ")), now);
        self.go_on(now);
    }

    /// A person's word.
    ///
    /// # Errors
    /// It comes at the wrong time; says why.
    pub fn told(&mut self, word: Word, now: u64) -> Result<(), String> {
        match (word, &self.phase) {
            (Word::Continue, Phase::Paused { next }) => {
                let next = *next;
                self.reason = None;
                self.as_it_is(now);
                self.commit(next, now);
                self.go_on(now);
                Ok(())
            }
            (Word::Continue, _) => Err(format!("{} is not paused", self.change)),
            (Word::Abort, Phase::Preparing | Phase::Committing { .. } | Phase::Paused { .. }) => {
                self.unwind("a person called it off".to_owned(), now);
                self.go_on(now);
                Ok(())
            }
            (Word::Abort, Phase::Unwinding) => Err(format!("{} is being taken back already", self.change)),
            (Word::Abort, Phase::Ended { .. }) => {
                Err(format!("{} is over: `greenroom undo {}` takes it back", self.change, self.change))
            }
        }
    }

    fn go_on(&mut self, now: u64) {
        match &self.phase {
            Phase::Preparing if self.hosts.values().all(|part| part.step == Step::Prepared) => {
                self.commit(0, now);
                self.go_on(now);
            }
            Phase::Committing { batch } => {
                let batch = *batch;
                let parts = || self.batches.get(batch).into_iter().flatten().filter_map(|host| self.hosts.get(host));
                if parts().all(|part| part.step == Step::Well) {
                    self.after(batch + 1, now);
                } else if parts().all(|part| matches!(part.step, Step::InPlace | Step::Well)) {
                    // Only now: this comes to pass with each answer of a host.
                    let hosts = self.batches.get(batch).cloned().unwrap_or_default();
                    self.watch(&hosts, now);
                    self.go_on(now);
                }
            }
            Phase::Unwinding => {
                let settled = |part: &Part| matches!(part.step, Step::AsBefore | Step::Stuck);
                if self.hosts.values().all(settled) {
                    self.phase = Phase::Ended { outcome: self.how_it_was_unwound() };
                }
            }
            _ => {}
        }
    }

    fn after(&mut self, next: usize, now: u64) {
        if next >= self.batches.len() {
            self.phase = Phase::Ended { outcome: Outcome::Done };
        } else if self.policy.pause_after == Some(next) {
            self.reason = Some(format!("as asked, after batch {next} of {}", self.batches.len()));
            self.phase = Phase::Paused { next };
        } else {
            self.commit(next, now);
            self.go_on(now);
        }
    }

    /// The whole batch is in place: whether it is well there is seen now.
    fn watch(&mut self, hosts: &[String], now: u64) {
        for host in hosts {
            if let Some(part) = self.hosts.get_mut(host).filter(|part| part.step == Step::InPlace) {
                part.step = if part.watch.is_empty() { Step::Well } else { Step::Watching };
                part.since = now;
            }
        }
    }

    /// A person goes on although something is unwell, or somebody was silent: that one has its time again.
    fn as_it_is(&mut self, now: u64) {
        for part in self.hosts.values_mut() {
            match part.step {
                Step::Unwell => part.step = Step::Well,
                Step::Committing | Step::Watching => part.since = now,
                _ => {}
            }
        }
    }

    fn commit(&mut self, batch: usize, now: u64) {
        self.phase = Phase::Committing { batch };
        for host in self.batches.get(batch).cloned().unwrap_or_default() {
            // One that was in trouble when the change was paused is told again only if it can have an effect.
            if let Some(part) = self.hosts.get_mut(&host).filter(|part| part.step == Step::Prepared) {
                part.step = Step::Committing;
                part.since = now;
            }
        }
    }

    fn failed(&mut self, why: String, now: u64) {
        match self.phase {
            Phase::Committing { batch } if self.policy.pause_on_failure => {
                self.reason = Some(why);
                self.phase = Phase::Paused { next: batch };
            }
            Phase::Preparing | Phase::Committing { .. } => self.unwind(why, now),
            _ => {}
        }
    }

    fn unwind(&mut self, why: String, now: u64) {
        self.phase = Phase::Unwinding;
        self.reason = Some(why);
        for part in self.hosts.values_mut().filter(|part| !matches!(part.step, Step::AsBefore | Step::Stuck)) {
            part.step = Step::Unwinding;
            part.since = now;
        }
    }

    fn how_it_was_unwound(&self) -> Outcome {
        let parts = || self.hosts.values();
        if parts().any(|part| part.step == Step::Stuck) {
            Outcome::Stuck
        } else if parts().any(|part| part.was_in_place) {
            Outcome::TakenBack
        } else {
            Outcome::Refused
        }
    }
}

/// An answer that is trouble, in words.
fn said(answer: &Answer) -> String {
    match answer {
        Answer::Failed(failed) => {
            let mut words = vec![failed.what.clone()];
            words.extend(failed.causes.iter().cloned());
            words.join(": ")
        }
        Answer::TakenBack { why, .. } | Answer::Unwell { why } => why.clone(),
        other => format!("it answered something else: {other:?}").chars().take(200).collect(),
    }
}
