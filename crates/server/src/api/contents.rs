//! Contents in and out, and images.
//!
//! A stream of contents ([`pack`](greenroom_store::blobs::pack)) is no JSON: it goes chunk by chunk between the connection and a
//! thread that waits for the disk, [`DEPTH`] chunks at most on their way. Nobody may be silent for longer than [`QUIET`].

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::{StreamExt as _, stream};
use greenroom_core::{ContentHash, api};
use greenroom_store::control::Role;
use tokio::sync::mpsc;

use super::ApiError;
use super::table::{Answer, Call, Caller, Shape, Who, getting, posting, read};
use crate::agents::host;
use crate::door::Peer;
use crate::{Shared, auth};

/// Chunks between a connection and a thread.
const DEPTH: usize = 16;

/// The time for the next chunk.
const QUIET: Duration = Duration::from_secs(60);

/// Bytes that are taken although nobody wants them.
const DRAIN: usize = 8 << 20;

/// The longest list of contents, in bytes.
const NAMES: usize = 4 << 20;

/// How much is put out at once.
const CHUNK: usize = 64 << 10;

pub(super) fn calls() -> Vec<Call> {
    let stream = |path, about, who, answer, route| Call { method: "post", path, about, who, body: None, answer, route };
    let received: Shape = |g| g.subschema_for::<api::Received>();
    let missing: Shape = |g| g.subschema_for::<api::Missing>();
    vec![
        posting("/v1/contents/missing", Role::Developer, "Which of these contents are not here", absent),
        stream(
            "/v1/contents",
            "Bring contents, as a stream: what `copy` steps take",
            Who::Person(Role::Developer),
            Answer::Json(received),
            post(bring),
        ),
        getting("/v1/images", Role::Viewer, "The newest image of each host; `host=NAME` gives all of one", images),
        posting("/v1/images", Role::Operator, "Bring the images of hosts up to date", image),
        getting("/v1/images/{id}", Role::Viewer, "Images being brought up to date, as far as they are", image_run),
        posting("/v1/gc", Role::Operator, "Drop old images, and contents that nothing needs", sweep),
        posting("/v1/rebuilds", Role::Developer, "Make a host what another one is on record", rebuild),
        getting("/v1/rebuilds/{id}", Role::Viewer, "A rebuild, as far as it is", rebuilding),
        stream(
            "/v1/agent/commands/{id}/manifest",
            "An agent says what its image is to be: `manifest=HASH`, `since=HASH`, and a stream; what is to be sent",
            Who::Agent,
            Answer::Json(missing),
            post(offered),
        ),
        stream(
            "/v1/agent/commands/{id}/contents",
            "An agent sends contents that its command asks for, as a stream",
            Who::Agent,
            Answer::Json(received),
            post(receive),
        ),
        Call {
            body: Some(|g| g.subschema_for::<api::Contents>()),
            ..stream(
                "/v1/agent/commands/{id}/fetch",
                "An agent gets contents that its command needs, as a stream",
                Who::Agent,
                Answer::Bytes,
                post(fetch),
            )
        },
    ]
}

type Parts = HashMap<String, String>;

fn part<'p>(path: &'p Parts, name: &str) -> &'p str {
    path.get(name).map_or("", String::as_str)
}

async fn absent(shared: Arc<Shared>, _: Caller, body: api::Contents) -> Result<api::Missing, ApiError> {
    Ok(api::Missing { missing: shared.fleet.missing(body.contents).await? })
}

async fn bring(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<api::Received>, ApiError> {
    let stream = incoming(body);
    auth::person(&shared, &headers, Role::Developer).await?;
    Ok(Json(shared.fleet.bring(stream).await?))
}

async fn images(shared: Arc<Shared>, caller: Caller) -> Result<api::Images, ApiError> {
    Ok(shared.fleet.images(caller.asked("host")).await?)
}

async fn image(shared: Arc<Shared>, caller: Caller, body: api::NewImages) -> Result<api::Begun, ApiError> {
    Ok(shared.fleet.image(&body, &caller.token.name).await?)
}

async fn image_run(shared: Arc<Shared>, caller: Caller) -> Result<api::ImageRun, ApiError> {
    Ok(shared.fleet.image_run(caller.part("id")).await?)
}

/// Whoever asked may go away meanwhile: what has begun is finished.
async fn sweep(shared: Arc<Shared>, caller: Caller, body: api::NewSweep) -> Result<api::Swept, ApiError> {
    let sweeping = tokio::spawn(async move { shared.fleet.sweep(&body, &caller.token.name).await });
    Ok(sweeping.await.map_err(io::Error::other)??)
}

async fn rebuild(shared: Arc<Shared>, caller: Caller, body: api::NewRebuild) -> Result<api::Begun, ApiError> {
    Ok(shared.fleet.rebuild(&body, super::calls::asker(&caller)).await?)
}

async fn rebuilding(shared: Arc<Shared>, caller: Caller) -> Result<api::Rebuild, ApiError> {
    Ok(shared.fleet.rebuilding(caller.part("id")).await?)
}

async fn offered(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(path): Path<Parts>,
    Query(query): Query<Parts>,
    body: Body,
) -> Result<Json<api::Missing>, ApiError> {
    let stream = incoming(body);
    let host = host(&shared, &peer).await?;
    let hash = |name: &str| -> Result<Option<ContentHash>, ApiError> {
        let bad = |_| ApiError::bad_request(format!("{name} is no hash"));
        query.get(name).map(|text| text.parse().map_err(bad)).transpose()
    };
    let manifest = hash("manifest")?.ok_or_else(|| ApiError::bad_request("which manifest?".to_owned()))?;
    let (id, since) = (part(&path, "id"), hash("since")?);
    Ok(Json(api::Missing { missing: shared.fleet.offered(&host, id, manifest, since, stream).await? }))
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(path): Path<Parts>,
    body: Body,
) -> Result<Json<api::Received>, ApiError> {
    let stream = incoming(body);
    let host = host(&shared, &peer).await?;
    Ok(Json(shared.fleet.receive(&host, part(&path, "id"), stream).await?))
}

async fn fetch(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(path): Path<Parts>,
    body: Body,
) -> Result<Response, ApiError> {
    let host = host(&shared, &peer).await?;
    let wanted: api::Contents = read(body, NAMES).await?;
    let readable = shared.fleet.readable(&host, part(&path, "id")).await?;
    if let Some(other) = wanted.contents.iter().find(|name| !readable.contains(name)) {
        return Err(ApiError::forbidden(format!("{} lets {host} read no content {other}", part(&path, "id"))));
    }
    Ok(outgoing(move |out| shared.fleet.pack(&wanted.contents, out)).into_response())
}

/// What a thread writes that may wait.
pub(super) fn outgoing<E: Into<Box<dyn Error + Send + Sync>>>(
    write: impl FnOnce(&mut dyn Write) -> Result<(), E> + Send + 'static,
) -> Body {
    let (out, chunks) = mpsc::channel(DEPTH);
    tokio::task::spawn_blocking(move || {
        let mut buffered = io::BufWriter::with_capacity(CHUNK, Outgoing(out.clone()));
        let written = write(&mut buffered).map_err(io::Error::other).and_then(|()| buffered.flush());
        if let Err(error) = written {
            // The other end must not take what it got for all there is.
            let _ = out.blocking_send(Err(error));
        }
    });
    Body::from_stream(stream::unfold(chunks, |mut chunks| async move { Some((chunks.recv().await?, chunks)) }))
}

/// What arrives, for a thread that may wait. Where it is not wanted after all, [`DRAIN`] bytes more are taken and thrown away:
/// who is still sending would not hear why otherwise.
fn incoming(body: Body) -> impl Read + Send + 'static {
    let (to, chunks) = mpsc::channel::<io::Result<Bytes>>(DEPTH);
    tokio::spawn(async move {
        let (mut stream, mut unwanted) = (body.into_data_stream(), 0);
        while unwanted < DRAIN {
            let next = match tokio::time::timeout(QUIET, stream.next()).await {
                Ok(None) => return,
                Ok(Some(next)) => next.map_err(io::Error::other),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            let (last, length) = next.as_ref().map_or((true, 0), |chunk| (false, chunk.len()));
            if last && to.is_closed() {
                return;
            }
            if to.send(next).await.is_err() {
                unwanted += length;
            }
            if last {
                return;
            }
        }
    });
    Incoming { chunks, now: Bytes::new() }
}

struct Incoming {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.now = chunk?,
            }
        }
        let some = self.now.len().min(buffer.len());
        buffer[..some].copy_from_slice(&self.now.split_to(some));
        Ok(some)
    }
}

struct Outgoing(mpsc::Sender<io::Result<Bytes>>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
