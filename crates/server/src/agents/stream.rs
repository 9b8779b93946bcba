//! One agent's stream.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use greenroom_core::api::Unserved;
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
    /// Why, and what to do.
    Refused(String, String),
    /// The control plane's state is out of reach: the agent comes again.
    State,
}

/// What to do about a host that is out.
const ANEW: &str = "`greenroom join` lets the host in anew";

/// What to do about an agent that says what makes no sense here.
const VERSIONS: &str = "control plane and agent may be of different versions";

impl Ended {
    fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into(), VERSIONS.to_owned())
    }
}

/// What is known of an agent on its stream.
#[derive(Default)]
struct Met {
    /// The versions of its program and of its language, once it said them.
    said: Option<(String, u32)>,
    /// Of its stream, once it has the host's.
    epoch: Option<u64>,
}

/// Opens a stream for the host whose certificate was shown.
///
/// # Errors
/// There was none, or it is revoked, expired or unknown.
pub(crate) async fn accept(shared: Arc<Shared>, peer: &Peer, upgrade: WebSocketUpgrade) -> Result<Response, ApiError> {
    let (host, certificate) = match standing(&shared, peer).await? {
        (Standing::Good(host), certificate) => (host, certificate),
        (closed, certificate) => {
            let why = unwelcome(&closed);
            shared.fleet.unserved(&certificate, None, &Unserved::new(None, why, ANEW)).await?;
            return Err(ApiError::unauthorized(why));
        }
    };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    let upgrade = upgrade.read_buffer_size(8 << 10).write_buffer_size(8 << 10);
    let silence = peer.silence;
    Ok(upgrade.on_upgrade(move |socket| serve(shared, host, certificate, socket, silence)))
}

/// The host that a connection's certificate is for.
pub(crate) async fn host(shared: &Arc<Shared>, peer: &Peer) -> Result<String, ApiError> {
    match standing(shared, peer).await?.0 {
        Standing::Good(host) => Ok(host),
        closed => Err(ApiError::unauthorized(unwelcome(&closed))),
    }
}

/// How a connection's certificate stands, and which one it is.
async fn standing(shared: &Arc<Shared>, peer: &Peer) -> Result<(Standing, Arc<str>), ApiError> {
    if let Some(over) = &peer.over {
        return Ok((Standing::Expired, over.clone()));
    }
    let Some(certificate) = &peer.certificate else {
        return Err(ApiError::unauthorized("an agent shows its certificate"));
    };
    Ok((shared.fleet.control().standing(certificate, shared.fleet.now()).await?, certificate.clone()))
}

/// Why a certificate does not open the door.
fn unwelcome(standing: &Standing) -> &'static str {
    match standing {
        Standing::Revoked => "the certificate was revoked",
        Standing::Expired => "the certificate has expired",
        Standing::Good(_) | Standing::Unknown => "the certificate is not on record",
    }
}

async fn serve(shared: Arc<Shared>, host: String, certificate: Arc<str>, mut socket: WebSocket, silence: Duration) {
    let mut met = Met::default();
    let ended = stream(&shared, &host, &mut socket, silence, &mut met).await;
    if let Err(Ended::Refused(why, hint)) = ended {
        let said = met.said.as_ref().map(|(version, protocol)| (version.as_str(), *protocol));
        let unserved = Unserved::new(said, &why, &hint);
        // Before the agent hears it and goes to another control plane: what that one has to say of it comes after this.
        let _ = shared.fleet.unserved(&certificate, met.epoch, &unserved).await;
        let _ = say(&mut socket, &ToAgent::Goodbye { why: unserved.in_full() }).await;
    }
    let _ = timeout(HELLO, socket.send(Message::Close(None))).await;
    if let Some(epoch) = met.epoch {
        shared.streams.leave(&host, epoch);
        let _ = shared.fleet.control().let_go_of_agent(&host, epoch).await;
    }
}

async fn stream(
    shared: &Arc<Shared>,
    host: &str,
    socket: &mut WebSocket,
    silence: Duration,
    met: &mut Met,
) -> Result<(), Ended> {
    let (version, protocol) = match timeout(HELLO, hear(socket, silence)).await.map_err(|_| Ended::Gone)?? {
        FromAgent::Hello { protocol, version } => (name(version)?, protocol),
        _ => return Err(Ended::refused("the first message has to be hello")),
    };
    met.said = Some((version.clone(), protocol));
    if !(OLDEST..=PROTOCOL).contains(&protocol) {
        return Err(stranger(protocol, &version));
    }
    let (control, now) = (shared.fleet.control(), || shared.fleet.now());
    let epoch = control.hold_agent(host, shared.fleet.name(), (&version, protocol), now()).await;
    let epoch = epoch.map_err(|_| Ended::State)?;
    let Some(epoch) = epoch else { return Err(Ended::Refused(format!("{host} was shut out"), ANEW.to_owned())) };
    met.epoch = Some(epoch);
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
fn stranger(protocol: u32, version: &str) -> Ended {
    let who = format!("it is of version {version} and speaks version {protocol} of the agents' language");
    if protocol > PROTOCOL {
        let why = format!("{who}, this control plane {PROTOCOL}");
        Ended::Refused(why, "upgrade the control plane first".to_owned())
    } else {
        let why = format!("{who}, this control plane {OLDEST} and later");
        Ended::Refused(why, "`greenroom join` brings another agent".to_owned())
    }
}

/// Puts on record what an agent says.
async fn take(shared: &Arc<Shared>, host: &str, epoch: u64, message: FromAgent) -> Result<Option<ToAgent>, Ended> {
    let what = match message {
        FromAgent::Hello { .. } => return Err(Ended::refused("it said hello twice")),
        FromAgent::Begun { id } => What::Begun(name(id)?),
        FromAgent::Progress { id, note } => What::Note(name(id)?, note),
        FromAgent::Done { id, answer } => What::Done(name(id)?, Box::new(answer)),
        FromAgent::Report(report) => What::Report(Report { kind: name(report.kind)?, ..report }),
        FromAgent::Status { status } => {
            let text = serde_json::to_string(&status).map_err(|_| Ended::Gone)?;
            if text.len() > MAX_STATUS {
                return Err(Ended::refused(format!("its status has more than {MAX_STATUS} bytes")));
            }
            What::Status(epoch, text)
        }
    };
    shared.streams.scribe.put(host, what).await.map_err(|_| Ended::State)
}

/// What an agent says is written together with what others say: nothing in it may keep theirs from being written.
fn name(text: String) -> Result<String, Ended> {
    if text.len() > NAME || text.contains(char::is_control) {
        return Err(Ended::refused("it named something by what is no name"));
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
                    .map_err(|error| Ended::refused(format!("it said something that is no message: {error}")));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return Err(Ended::Gone),
        }
    }
}
