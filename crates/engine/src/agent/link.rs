//! The agent's stream: opens it, and opens it again.
//!
//! ```text
//! control plane ──► stream ──Do──► a thread each: Agent::handle ──► outbox ──► stream ──► control plane
//!                                      the host's ledger, looked at each second ──► reports, in order
//!                                      the host itself, looked at when it changed ──► its status, the last one only
//! ```
//! One task owns the stream. The outbox lives longer than a stream: what a command says while there is none is sent on the
//! next. What is lost all the same (the stream broke with it on its way) is asked for again by the control plane, and comes out
//! of the journal. An answer of which the agent never heard that it is on record is said again on each new stream: the control
//! plane may have died between hearing it and doing what follows from it. Between two tries the agent waits longer each time, up
//! to [`SLOWEST`], and never exactly as long as the others do: a control plane that comes back is not overrun.

use std::sync::Arc;
use std::time::Duration;

use greenroom_core::wire::{Answer, Class, Failed, FromAgent, Heard, HostStatus, MAX_MESSAGE, PROTOCOL, ToAgent};
use greenroom_net::client::{Stream, StreamError, Url, connect};
use greenroom_net::tls::{self, Identity, TlsError};
use tokio::sync::{mpsc, watch};

use super::Agent;
use crate::EngineError;

/// The first pause between two tries.
const FIRST: Duration = Duration::from_millis(200);

/// The longest.
const SLOWEST: Duration = Duration::from_secs(30);

/// How often the host's ledger is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reports in one turn.
const REPORTS: u64 = 100;

/// Messages that wait for the stream.
const OUTBOX: usize = 1024;

/// Where the control plane is, and by what both know each other.
pub struct Link {
    /// Its addresses: they are tried in turn.
    pub urls: Vec<Url>,
    /// Its authority, in PEM.
    pub authority: String,
    /// Gives the agent's certificate as it is now: it is renewed while the agent runs.
    pub identity: Box<dyn Fn() -> std::io::Result<Identity> + Send + Sync>,
    /// The program's version.
    pub version: String,
    /// Told what goes on: connected, lost, refused.
    pub note: Box<dyn Fn(&str) + Send + Sync>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the certificates cannot be used")]
    Tls(#[from] TlsError),
    #[error("the agent's certificate cannot be read")]
    Identity(#[source] std::io::Error),
    #[error("the control plane does not serve this agent: {0}")]
    Refused(String),
    #[error("the control plane said something else than a message")]
    Garbled(#[source] serde_json::Error),
    #[error("the host's ledger cannot be read")]
    Ledger(#[source] EngineError),
}

/// Serves the control plane until the future is dropped. Never returns by itself.
pub async fn serve(agent: Arc<Agent>, link: Link) {
    let (found, status) = watch::channel(None);
    tokio::select! {
        () = streams(&agent, &link, status) => {}
        () = super::status::keep(agent.clone(), found) => {}
    }
}

async fn streams(agent: &Arc<Agent>, link: &Link, mut status: watch::Receiver<Option<HostStatus>>) {
    let (say, mut outbox) = mpsc::channel::<FromAgent>(OUTBOX);
    let mut pause = FIRST;
    let mut turn = 0_usize;
    loop {
        let url = &link.urls[turn % link.urls.len().max(1)];
        turn = turn.wrapping_add(1);
        let mut welcomed = false;
        // A new stream begins with it.
        status.mark_changed();
        let ended = stream(agent, link, url, &say, (&mut outbox, &mut status), &mut welcomed).await;
        if let Err(error) = ended {
            (link.note)(&crate::apply::chain(&error));
        }
        if welcomed {
            pause = FIRST;
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(SLOWEST);
    }
}

/// Between half and all of it.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let random = RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX) / 2.0)
}

async fn stream(
    agent: &Arc<Agent>,
    link: &Link,
    url: &Url,
    say: &mpsc::Sender<FromAgent>,
    (outbox, status): (&mut mpsc::Receiver<FromAgent>, &mut watch::Receiver<Option<HostStatus>>),
    welcomed: &mut bool,
) -> Result<(), Ended> {
    let identity = (link.identity)().map_err(Ended::Identity)?;
    let tls = tls::client(&link.authority, Some(&identity))?;
    let mut stream = connect(url, "/v1/agent/stream", tls, MAX_MESSAGE).await?;
    send(&mut stream, &FromAgent::Hello { protocol: PROTOCOL, version: link.version.clone() }).await?;
    let (mut sent, host) = match serde_json::from_str(&stream.next().await?).map_err(Ended::Garbled)? {
        ToAgent::Welcome { reported, host } => {
            (link.note)(&format!("connected to {url} as {host}"));
            (reported, host)
        }
        ToAgent::Goodbye { why } => return Err(Ended::Refused(why)),
        _ => return Err(Ended::Refused("it did not begin with a welcome".to_owned())),
    };
    *welcomed = true;
    answers(agent, &mut stream).await?;
    let known = agent.clone();
    let kept = tokio::task::spawn_blocking(move || known.welcomed()).await;
    if let Ok(Err(error)) = kept {
        // The guard puts the program from before back.
        (link.note)(&crate::apply::chain(&error));
    }
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            text = stream.next() => match Heard::read(&text?).map_err(Ended::Garbled)? {
                Heard::All(message) => take(agent, say, *message)?,
                Heard::Command { id, verb } => {
                    let answer = cannot(agent, &id, &verb, (&host, &link.version));
                    send(&mut stream, &FromAgent::Done { id, answer }).await?;
                }
                Heard::Other { say } => (link.note)(&format!("the control plane said `{say}`, which is not known here")),
            },
            Some(message) = outbox.recv() => send(&mut stream, &message).await?,
            Ok(()) = status.changed() => {
                let now = status.borrow_and_update().clone();
                if let Some(status) = now {
                    send(&mut stream, &FromAgent::Status { status: Box::new(status) }).await?;
                }
            }
            _ = look.tick() => sent = report(agent, &mut stream, sent).await?,
        }
    }
}

/// Follows what the control plane says.
fn take(agent: &Arc<Agent>, say: &mpsc::Sender<FromAgent>, message: ToAgent) -> Result<(), Ended> {
    match message {
        ToAgent::Do(command) => {
            let (agent, say) = (agent.clone(), say.clone());
            tokio::task::spawn_blocking(move || {
                // Nobody listens only when the whole agent ends.
                let tell = move |message| {
                    let _ = say.blocking_send(message);
                };
                agent.handle(&command, &tell);
            });
        }
        ToAgent::Recorded { id } => {
            // One that stays is answered again; nothing else depends on it.
            let _ = agent.recorded(&id);
        }
        ToAgent::Goodbye { why } => return Err(Ended::Refused(why)),
        // What is on record is asked for again only on a new stream.
        ToAgent::Reported { .. } | ToAgent::Welcome { .. } => {}
    }
    Ok(())
}

/// Says the answers that are not known to be on record.
async fn answers(agent: &Arc<Agent>, stream: &mut Stream) -> Result<(), Ended> {
    let reader = agent.clone();
    let read = tokio::task::spawn_blocking(move || reader.unrecorded()).await;
    for (id, answer) in read.unwrap_or_default() {
        send(stream, &FromAgent::Done { id, answer }).await?;
    }
    Ok(())
}

/// The answer to a command that this program does not know, or not all of it. One that another version of it did is answered as
/// that was; one that it began and did not end is lost with it.
fn cannot(agent: &Agent, id: &str, verb: &str, (host, version): (&str, &str)) -> Answer {
    if let Some(answer) = agent.answer_to(id) {
        return answer;
    }
    let what = format!("{host}'s agent is of version {version} and does not know `{verb}`, or not all that it says");
    Answer::Failed(Failed::new(Class::Refused, what).hint(format!("greenroom agent upgrade --on {host}")))
}

/// Sends what the host's ledger has after `since`; gives the last number that was sent.
async fn report(agent: &Arc<Agent>, stream: &mut Stream, since: u64) -> Result<u64, Ended> {
    let mut sent = since;
    loop {
        let reader = agent.clone();
        let read = tokio::task::spawn_blocking(move || reader.reports(sent, REPORTS)).await;
        let reports = read.unwrap_or_else(|_| Ok(Vec::new())).map_err(Ended::Ledger)?;
        let Some(last) = reports.last().map(|report| report.seq) else { return Ok(sent) };
        for report in reports {
            send(stream, &FromAgent::Report(report)).await?;
        }
        sent = last;
    }
}

async fn send(stream: &mut Stream, message: &FromAgent) -> Result<(), Ended> {
    let text = serde_json::to_string(message).map_err(Ended::Garbled)?;
    Ok(stream.send(text).await?)
}
