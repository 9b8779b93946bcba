//! Hosts that are played: each has been enrolled with a one-time token, and holds the real stream of an agent with its own
//! certificate. There is no host behind it: a command is answered at once, with a record such as a host would send.
//!
//! ```text
//! Door ──► Member: invitation, signing request, certificate ──► Agents: a task each, all in one process
//! ```
//! What a real agent says by itself is said too, as often: pings, how the host is, entries of its ledger. Like a real one it
//! keeps the answer to a command until that is on record, and does nothing twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenroom_core::api::{Enrol, Enrolled, Invitation, NewEnrolment};
use greenroom_core::wire::{Command, FromAgent, MAX_MESSAGE, PROTOCOL, ToAgent};
use greenroom_net::client::{Http, Stream, Url, connect};
use greenroom_net::tls::{self, Identity};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::played::Played;

/// However little happens on a host, how it is is said so often, as real agents do.
pub(super) const STATUS: Duration = Duration::from_secs(300);

/// How long after a change a host has looked at itself and says how it is.
const LOOKED: Duration = Duration::from_secs(2);

/// So many connect at the same time: real agents come by and by.
const TOGETHER: usize = 32;

/// So many are let in at the same time.
const ENROLLING: usize = 4;

/// Where a control plane is, and what a person shows there.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) url: Url,
    pub(super) authority: String,
    pub(super) token: String,
}

impl Door {
    /// A person's requests.
    pub(super) fn person(&self) -> Result<Http> {
        Ok(Http::new(self.url.clone(), &self.authority, None, Some(self.token.clone()))?)
    }
}

/// A host that was let in.
pub(super) struct Member {
    host: String,
    identity: Identity,
}

/// Lets so many hosts in, each with an invitation of its own.
pub(super) fn enrol(door: &Door, count: usize) -> Result<Vec<Member>> {
    let one = |part: usize| -> Result<Vec<Member>> {
        let person = door.person()?;
        let anybody = Http::new(door.url.clone(), &door.authority, None, None)?;
        let hosts = (part..count).step_by(ENROLLING).map(|number| format!("sim{number:04}"));
        hosts.map(|host| let_in(&person, &anybody, host)).collect()
    };
    let parts: Result<Vec<Vec<Member>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..ENROLLING).map(|part| scope.spawn(move || one(part))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("it panicked"))?).collect()
    });
    Ok(parts?.into_iter().flatten().collect())
}

fn let_in(person: &Http, anybody: &Http, host: String) -> Result<Member> {
    let wanted = NewEnrolment { host: host.clone(), valid_s: None };
    let invited: Invitation = person.post("/v1/enrolments", &wanted).context("cannot invite a host")?;
    let wanted = tls::request(&host)?;
    let body = Enrol { token: invited.token, request: wanted.request };
    let enrolled: Enrolled = anybody.post("/v1/enrol", &body).context("cannot let a host in")?;
    Ok(Member { host, identity: Identity { certificate: enrolled.certificate, key: wanted.key } })
}

/// What all of them have done so far.
#[derive(Default)]
pub(super) struct Tally {
    /// Streams that were welcomed.
    connected: AtomicUsize,
    /// Changes of single hosts, with those that took one back.
    pub(super) changed: AtomicUsize,
    /// Entries of their ledgers that they were told are on record.
    reported: AtomicUsize,
    /// Entries of their ledgers.
    said: AtomicUsize,
    /// Why streams ended.
    lost: Mutex<Vec<String>>,
}

/// Agents that are connected, until this is dropped.
pub(super) struct Agents {
    pub(super) tally: Arc<Tally>,
    _runtime: Runtime,
}

impl Agents {
    /// Connects all of them; returns when each was welcomed.
    pub(super) fn connect(door: &Door, members: Vec<Member>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (tally, turns) = (Arc::new(Tally::default()), Arc::new(Semaphore::new(TOGETHER)));
        let count = members.len();
        for (number, member) in members.into_iter().enumerate() {
            let (door, tally, turns) = (door.clone(), tally.clone(), turns.clone());
            // They were started at different times: what they say by the clock does not come at once.
            let first = STATUS.mul_f64(number as f64 / count as f64);
            runtime.spawn(async move {
                let host = member.host.clone();
                if let Err(error) = live(&door, member, &tally, &turns, first).await {
                    tally.lost.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{host}: {error:#}"));
                }
            });
        }
        let agents = Self { tally, _runtime: runtime };
        agents.until("all are connected", |tally| tally.connected.load(Ordering::Relaxed) == count)?;
        Ok(agents)
    }

    /// Waits until all that the hosts had to say is on record.
    pub(super) fn settled(&self) -> Result<()> {
        self.until("all is on record", |tally| {
            tally.reported.load(Ordering::Relaxed) == tally.said.load(Ordering::Relaxed)
        })
    }

    /// No stream has ended.
    pub(super) fn unbroken(&self) -> Result<()> {
        let lost = self.tally.lost.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(lost.is_empty(), "{} streams ended, the first one: {}", lost.len(), lost[0]);
        Ok(())
    }

    fn until(&self, what: &str, holds: impl Fn(&Tally) -> bool) -> Result<()> {
        let began = Instant::now();
        while !holds(&self.tally) {
            self.unbroken()?;
            ensure!(began.elapsed() < Duration::from_secs(300), "{what}: not in five minutes");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

async fn live(door: &Door, member: Member, tally: &Tally, turns: &Semaphore, first: Duration) -> Result<()> {
    let turn = turns.acquire().await?;
    let tls = tls::client(&door.authority, Some(&member.identity))?;
    let mut stream = connect(&door.url, "/v1/agent/stream", tls, MAX_MESSAGE).await?;
    say(&mut stream, &FromAgent::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }).await?;
    let mut host = match hear(&mut stream).await? {
        ToAgent::Welcome { host, .. } => Played::new(&host),
        other => bail!("it did not begin with a welcome: {other:?}"),
    };
    say(&mut stream, &FromAgent::Status { status: Box::new(host.status()) }).await?;
    tally.connected.fetch_add(1, Ordering::Relaxed);
    drop(turn);
    let mut journal = HashMap::new();
    let mut due = tokio::time::Instant::now() + first;
    loop {
        tokio::select! {
            heard = hear(&mut stream) => match heard? {
                ToAgent::Do(command) => {
                    let before = host.changes();
                    perform(&mut stream, &mut host, &mut journal, command, tally).await?;
                    if host.changes() != before {
                        due = due.min(tokio::time::Instant::now() + LOOKED);
                    }
                }
                ToAgent::Recorded { id } => drop(journal.remove(&id)),
                ToAgent::Reported { .. } => drop(tally.reported.fetch_add(1, Ordering::Relaxed)),
                ToAgent::Goodbye { why } => bail!("the control plane does not serve it: {why}"),
                ToAgent::Welcome { .. } => bail!("it was welcomed twice"),
            },
            () = tokio::time::sleep_until(due) => {
                due += STATUS;
                say(&mut stream, &FromAgent::Status { status: Box::new(host.status()) }).await?;
            }
        }
    }
}

/// Does a command, or says again what came of it.
async fn perform(
    stream: &mut Stream,
    host: &mut Played,
    journal: &mut HashMap<String, greenroom_core::wire::Answer>,
    command: Command,
    tally: &Tally,
) -> Result<()> {
    let id = command.id.clone();
    if let Some(answer) = journal.get(&id) {
        return say(stream, &FromAgent::Done { id, answer: answer.clone() }).await;
    }
    say(stream, &FromAgent::Begun { id: id.clone() }).await?;
    for note in Played::notes(&command.verb) {
        say(stream, &FromAgent::Progress { id: id.clone(), note }).await?;
    }
    let before = host.changes();
    let (answer, report) = host.does(&command);
    tally.changed.fetch_add(host.changes() - before, Ordering::Relaxed);
    journal.insert(id.clone(), answer.clone());
    say(stream, &FromAgent::Done { id, answer }).await?;
    if let Some(report) = report {
        tally.said.fetch_add(1, Ordering::Relaxed);
        say(stream, &FromAgent::Report(report)).await?;
    }
    Ok(())
}

async fn say(stream: &mut Stream, message: &FromAgent) -> Result<()> {
    Ok(stream.send(serde_json::to_string(message)?).await?)
}

async fn hear(stream: &mut Stream) -> Result<ToAgent> {
    Ok(serde_json::from_str(&stream.next().await?)?)
}
