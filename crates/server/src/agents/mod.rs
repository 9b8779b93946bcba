//! The streams of the hosts' agents that are connected here.
//!
//! ```text
//! one task a stream ([`stream`]): shakes hands, then carries both ways
//! one task ([`scribe`]): what the streams hear ─► on record
//! one task ([`deliver`]): a hint, or every two seconds ─► what is due for whom is connected here ─► its stream
//! ```
//! Which hosts are connected here is the one thing that is in memory, because it is true only of this process. A host whose
//! agent connects again, here or elsewhere, has a new *epoch*; the stream of an older one is closed at the next heartbeat.

mod scribe;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_core::wire::ToAgent;
use greenroom_store::control::{Command, Subject};
use tokio::sync::mpsc;

pub(crate) use scribe::write;
pub(crate) use stream::{accept, host};

use crate::Shared;

/// How often everybody's mailbox is looked at where no hint comes.
const LOOK: Duration = Duration::from_secs(2);

/// How often it is put on record who is connected.
const BEAT: Duration = Duration::from_secs(20);

/// Commands in one look.
const PAGE: u32 = 1000;

/// Who is connected here.
#[derive(Default)]
pub(crate) struct Streams {
    hosts: Mutex<BTreeMap<String, Seat>>,
    scribe: scribe::Scribe,
}

/// One stream's end.
#[derive(Clone)]
struct Seat {
    epoch: u64,
    /// The version of the language that the agent speaks.
    protocol: u32,
    to: mpsc::UnboundedSender<ToAgent>,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seat>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sit(&self, host: &str, seat: Seat) {
        self.lock().insert(host.to_owned(), seat);
    }

    /// Leaves, unless a newer stream has the place.
    fn leave(&self, host: &str, epoch: u64) {
        let mut hosts = self.lock();
        if hosts.get(host).is_some_and(|seat| seat.epoch == epoch) {
            hosts.remove(host);
        }
    }

    /// Ends the stream of a host that was shut out; another control plane that has it finds out at its next heartbeat.
    pub(crate) fn shut(&self, host: &str) {
        self.lock().remove(host);
    }

    /// Where a host sits, if it is connected here.
    fn seat(&self, host: &str) -> Option<Seat> {
        self.lock().get(host).cloned()
    }

    fn all(&self) -> Vec<(String, u64)> {
        self.lock().iter().map(|(host, seat)| (host.clone(), seat.epoch)).collect()
    }

    /// Ends all streams: the agents go to another control plane.
    pub(crate) async fn close(&self) {
        self.lock().clear();
        tokio::task::yield_now().await;
    }
}

/// Delivers what is due to who is connected here, until the future is dropped.
pub(crate) async fn deliver(shared: Arc<Shared>) {
    let control = shared.fleet.control();
    let mut watch = None;
    let mut since = 0;
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if watch.is_none() {
            watch = control.watch().await.ok();
        }
        // The state may be out of reach for a while: what is due then is due later too.
        while let Ok(commands) = control.commands_queued_since(since, PAGE).await {
            let Some(last) = commands.last() else { break };
            since = last.changed;
            send(&shared, &commands).await;
        }
        let due = async {
            match &mut watch {
                Some(watch) => watch.wait(LOOK, |hint| hint.subject == Subject::Mailbox).await,
                None => tokio::time::sleep(LOOK).await,
            }
        };
        tokio::select! {
            () = due => {}
            _ = beat.tick() => heartbeat(&shared).await,
        }
    }
}

/// Sends what was not sent yet.
async fn send(shared: &Arc<Shared>, commands: &[Command]) {
    let mut sent = Vec::new();
    for command in commands {
        let Some(seat) = shared.streams.seat(&command.host) else { continue };
        // What could not be answered in the agent's place is due when it connects again.
        let Ok(Some(body)) = shared.fleet.for_agent(command, seat.protocol).await else { continue };
        if seat.to.send(ToAgent::Do(body)).is_ok() {
            sent.push((command.id.as_str(), seat.epoch));
        }
    }
    if !sent.is_empty() {
        // One that is not noted is sent again, and done once all the same.
        let _ = shared.fleet.control().commands_sent(&sent, shared.fleet.now()).await;
    }
}

async fn heartbeat(shared: &Arc<Shared>) {
    let here = shared.streams.all();
    let hosts: Vec<(&str, u64)> = here.iter().map(|(host, epoch)| (host.as_str(), *epoch)).collect();
    let Ok(current) = shared.fleet.control().agents_seen(&hosts, shared.fleet.now()).await else { return };
    for (host, epoch) in here {
        if !current.contains(&host) {
            shared.streams.leave(&host, epoch);
        }
    }
}
