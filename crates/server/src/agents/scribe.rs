//! Puts on record what agents say: what comes while one thing is being written is written together, next.
//!
//! ```text
//! streams ──entry──► one queue ──► everything in it ──► a transaction for each kind ──► each stream hears of its entry
//! ```
//! A stream waits for its entry before it reads on, so the queue has at most one entry of each. Nothing waits for others to
//! come: one agent alone is written at once, a thousand that speak at the same time in a few transactions.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_core::wire::{Answer, Note, Report, ToAgent};
use greenroom_engine::fleet::{Fleet, FleetError};
use greenroom_store::control::{NewReport, NewStatus, Underway};
use tokio::sync::{mpsc, oneshot};

use crate::Shared;

/// Entries in one turn.
const TURN: usize = 500;

/// Entries that wait.
const QUEUE: usize = 1024;

/// What is to be put on record.
pub(super) enum What {
    /// The command has begun.
    Begun(String),
    /// It goes on.
    Note(String, Note),
    /// It is over.
    Done(String, Box<Answer>),
    /// Something happened on the host.
    Report(Report),
    /// How the host is, JSON, said on the stream of this epoch.
    Status(u64, String),
}

/// One entry.
struct Entry {
    host: String,
    what: What,
    heard: oneshot::Sender<Option<ToAgent>>,
}

/// Where entries go.
pub(crate) struct Scribe {
    queue: mpsc::Sender<Entry>,
    entries: std::sync::Mutex<Option<mpsc::Receiver<Entry>>>,
}

impl Default for Scribe {
    fn default() -> Self {
        let (queue, entries) = mpsc::channel(QUEUE);
        Self { queue, entries: std::sync::Mutex::new(Some(entries)) }
    }
}

/// It is not on record.
pub(super) struct NotOnRecord;

impl Scribe {
    /// Waits until it is on record; gives what the agent is to hear.
    pub(super) async fn put(&self, host: &str, what: What) -> Result<Option<ToAgent>, NotOnRecord> {
        let (heard, hears) = oneshot::channel();
        self.queue.send(Entry { host: host.to_owned(), what, heard }).await.map_err(|_| NotOnRecord)?;
        hears.await.map_err(|_| NotOnRecord)
    }
}

/// Writes, until the future is dropped.
pub(crate) async fn write(shared: Arc<Shared>) {
    let entries = shared.streams.scribe.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let Some(mut entries) = entries else { return };
    let mut turn = Vec::with_capacity(TURN);
    while entries.recv_many(&mut turn, TURN).await > 0 {
        together(&shared.fleet, turn.drain(..)).await;
    }
}

/// A turn. An entry that could not be written is dropped: its stream ends, and the agent says it again on the next.
async fn together(fleet: &Fleet, entries: impl Iterator<Item = Entry>) {
    let (mut begun, mut notes, mut done) = (Vec::new(), Vec::new(), Vec::new());
    let mut reports: BTreeMap<String, Vec<NewReport>> = BTreeMap::new();
    let mut statuses = Vec::new();
    let (mut of_begun, mut of_notes, mut of_done, mut of_reports) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut of_statuses = Vec::new();
    for Entry { host, what, heard } in entries {
        match what {
            What::Begun(id) => {
                begun.push(Underway { id, host, progress: "\"begun\"".to_owned() });
                of_begun.push(heard);
            }
            What::Note(id, note) => {
                notes.push((host, id, note));
                of_notes.push(heard);
            }
            What::Done(id, answer) => {
                of_done.push((heard, id.clone()));
                done.push((host, id, *answer));
            }
            What::Report(report) => {
                of_reports.push((heard, host.clone()));
                let new = NewReport { seq: report.seq, kind: report.kind, body: report.entry.to_string() };
                reports.entry(host).or_default().push(new);
            }
            What::Status(epoch, status) => {
                statuses.push(NewStatus { host, epoch, status });
                of_statuses.push(heard);
            }
        }
    }
    // Progress first: nothing of a command that has its result is noted any more.
    if !begun.is_empty() && fleet.control().commands_running(&begun).await.is_ok() {
        of_begun.into_iter().for_each(|heard| drop(heard.send(None)));
    }
    if !notes.is_empty() && fleet.went_on(&notes).await.is_ok() {
        of_notes.into_iter().for_each(|heard| drop(heard.send(None)));
    }
    if !done.is_empty() && fleet.answered(&done).await.is_ok() {
        of_done.into_iter().for_each(|(heard, id)| drop(heard.send(Some(ToAgent::Recorded { id }))));
    }
    if !reports.is_empty()
        && let Ok(upto) = told(fleet, &reports).await
    {
        for (heard, host) in of_reports {
            let _ = heard.send(upto.get(&host).map(|upto| ToAgent::Reported { upto: *upto }));
        }
    }
    if !statuses.is_empty() && fleet.control().set_agent_statuses(&statuses, fleet.now()).await.is_ok() {
        of_statuses.into_iter().for_each(|heard| drop(heard.send(None)));
    }
}

async fn told(fleet: &Fleet, reports: &BTreeMap<String, Vec<NewReport>>) -> Result<BTreeMap<String, u64>, FleetError> {
    let reports = reports.iter().map(|(host, reports)| (host.as_str(), reports.as_slice())).collect();
    Ok(fleet.control().add_reports_of(&reports, fleet.now()).await?)
}
