//! One agent's stream.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use greenroom_core::wire::{FromAgent, MAX_MESSAGE, MAX_STATUS, OLDEST, PROTOCOL, Report, ToAgent};
use greenroom_store::control::Standing;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Seat;
use super::scribe::What;
use crate::Shared;
use crate::api::ApiError;
use crate::door::Peer;

/// The time for the first message.
const HELLO: Duration = Duration::from_secs(10);

/// How long a message to an agent may take.
const STUCK: Duration = Duration::from_secs(60);

/// The longest name of a command or of a kind of report, in bytes.
const NAME: usize = 300;

/// Why a stream ended; the agent hears it where it still listens.
enum Ended {
    Gone,
    Refused(String),
    /// The control plane's state is out of reach: the agent comes again.
    State,
}

/// Opens a stream for the host whose certificate was shown.
///
/// # Errors
/// There was none, or it is revoked, expired or unknown.
pub(crate) async fn accept(shared: Arc<Shared>, peer: &Peer, upgrade: WebSocketUpgrade) -> Result<Response, ApiError> {
    let host = host(&shared, peer).await?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    let upgrade = upgrade.read_buffer_size(8 << 10).write_buffer_size(8 << 10);
    let silence = peer.silence;
    Ok(upgrade.on_upgrade(move |socket| serve(shared, host, socket, silence)))
}

/// The host that a connection's certificate is for.
pub(crate) async fn host(shared: &Arc<Shared>, peer: &Peer) -> Result<String, ApiError> {
    let Some(certificate) = &peer.certificate else {
        return Err(ApiError::unauthorized("an agent shows its certificate"));
    };
    match shared.fleet.control().standing(certificate, shared.fleet.now()).await? {
        Standing::Good(host) => Ok(host),
        Standing::Revoked => Err(ApiError::unauthorized("the certificate was revoked")),
        Standing::Expired => Err(ApiError::unauthorized("the certificate has expired")),
        Standing::Unknown => Err(ApiError::unauthorized("the certificate is not on record")),
    }
}

async fn serve(shared: Arc<Shared>, host: String, mut socket: WebSocket, silence: Duration) {
    let mut epoch = None;
    let ended = stream(&shared, &host, &mut socket, silence, &mut epoch).await;
    if let Err(Ended::Refused(why)) = ended {
        let _ = say(&mut socket, &ToAgent::Goodbye { why }).await;
    }
    let _ = timeout(HELLO, socket.send(Message::Close(None))).await;
    if let Some(epoch) = epoch {
        shared.streams.leave(&host, epoch);
        let _ = shared.fleet.control().let_go_of_agent(&host, epoch).await;
    }
}

async fn stream(
    shared: &Arc<Shared>,
    host: &str,
    socket: &mut WebSocket,
    silence: Duration,
    held: &mut Option<u64>,
) -> Result<(), Ended> {
    let (version, protocol) = match timeout(HELLO, hear(socket, silence)).await.map_err(|_| Ended::Gone)?? {
        FromAgent::Hello { protocol, version } if (OLDEST..=PROTOCOL).contains(&protocol) => (version, protocol),
        FromAgent::Hello { protocol, version } => return Err(Ended::Refused(stranger(protocol, &version))),
        _ => return Err(Ended::Refused("the first message has to be hello".to_owned())),
    };
    let (control, now) = (shared.fleet.control(), || shared.fleet.now());
    let epoch = control.hold_agent(host, shared.fleet.name(), (&version, protocol), now()).await;
    let epoch = epoch.map_err(|_| Ended::State)?;
    let Some(epoch) = epoch else { return Err(Ended::Refused(format!("{host} was shut out"))) };
    *held = Some(epoch);
    let (to, mut from) = mpsc::unbounded_channel();
    let reported = control.reported(host).await.map_err(|_| Ended::State)?;
    say(socket, &ToAgent::Welcome { host: host.to_owned(), reported }).await?;
    shared.streams.sit(host, Seat { epoch, protocol, to });
    // What was sent on an earlier stream and not answered is sent again. What is queued from here on comes by `deliver`.
    for command in control.commands_due(host).await.map_err(|_| Ended::State)? {
        let body = shared.fleet.for_agent(&command, protocol).await.map_err(|_| Ended::State)?;
        let Some(body) = body else { continue };
        say(socket, &ToAgent::Do(body)).await?;
        control.commands_sent(&[(&command.id, epoch)], now()).await.map_err(|_| Ended::State)?;
    }
    loop {
        tokio::select! {
            heard = hear(socket, silence) => {
                if let Some(reply) = take(shared, host, epoch, heard?).await? {
                    say(socket, &reply).await?;
                }
            }
            message = from.recv() => match message {
                Some(message) => say(socket, &message).await?,
                // A newer stream has the place.
                None => return Err(Ended::Gone),
            },
        }
    }
}

/// Why an agent of another version of the language is not served.
fn stranger(protocol: u32, version: &str) -> String {
    let who = format!("it is of version {version} and speaks version {protocol} of the agents' language");
    if protocol > PROTOCOL {
        format!("{who}, this control plane {PROTOCOL}: upgrade the control plane first")
    } else {
        format!("{who}, this control plane {OLDEST} and later: `greenroom join` brings another agent")
    }
}

/// Puts on record what an agent says.
async fn take(shared: &Arc<Shared>, host: &str, epoch: u64, message: FromAgent) -> Result<Option<ToAgent>, Ended> {
    let what = match message {
        FromAgent::Hello { .. } => return Err(Ended::Refused("it said hello twice".to_owned())),
        FromAgent::Begun { id } => What::Begun(name(id)?),
        FromAgent::Progress { id, note } => What::Note(name(id)?, note),
        FromAgent::Done { id, answer } => What::Done(name(id)?, Box::new(answer)),
        FromAgent::Report(report) => What::Report(Report { kind: name(report.kind)?, ..report }),
        FromAgent::Status { status } => {
            let text = serde_json::to_string(&status).map_err(|_| Ended::Gone)?;
            if text.len() > MAX_STATUS {
                return Err(Ended::Refused(format!("its status has more than {MAX_STATUS} bytes")));
            }
            What::Status(epoch, text)
        }
    };
    shared.streams.scribe.put(host, what).await.map_err(|_| Ended::State)
}

/// What an agent says is written together with what others say: nothing in it may keep theirs from being written.
fn name(text: String) -> Result<String, Ended> {
    if text.len() > NAME || text.contains(char::is_control) {
        return Err(Ended::Refused("it named something by what is no name".to_owned()));
    }
    Ok(text)
}

async fn say(socket: &mut WebSocket, message: &ToAgent) -> Result<(), Ended> {
    let text = serde_json::to_string(message).map_err(|_| Ended::Gone)?;
    match timeout(STUCK, socket.send(Message::Text(text.into()))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Ended::Gone),
    }
}

/// The next message. What is none ends the stream, and so does silence; a ping is none.
async fn hear(socket: &mut WebSocket, silence: Duration) -> Result<FromAgent, Ended> {
    loop {
        match timeout(silence, socket.recv()).await.map_err(|_| Ended::Gone)? {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(text.as_str())
                    .map_err(|error| Ended::Refused(format!("it said something that is no message: {error}")));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return Err(Ended::Gone),
        }
    }
}
