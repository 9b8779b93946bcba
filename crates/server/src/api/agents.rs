//! Calls of agents.

use std::fs::File;
use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, Path, State};
use axum::http::header::CONTENT_LENGTH;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use greenroom_core::api;

use super::ApiError;
use super::contents::outgoing;
use super::table::{Answer, Call, Who, read};
use crate::agents::{accept, host};
use crate::door::Peer;
use crate::{Shared, auth};

/// How long an agent's certificate is good for, in seconds. It renews it when a third of that has gone by.
const LIFETIME: i64 = 7 * 24 * 3600;

pub(super) fn calls() -> Vec<Call> {
    vec![
        Call {
            method: "post",
            path: "/v1/enrol",
            about: "A host lets itself in, with the token of its invitation",
            who: Who::Anybody,
            body: Some(|g| g.subschema_for::<api::Enrol>()),
            answer: Answer::Json(|g| g.subschema_for::<api::Enrolled>()),
            route: post(enrol),
        },
        Call {
            method: "post",
            path: "/v1/enrol/program",
            about: "A host that has been invited gets the program, which is the control plane's own; its invitation stays good",
            who: Who::Anybody,
            body: Some(|g| g.subschema_for::<api::NewProgram>()),
            answer: Answer::Bytes,
            route: post(program),
        },
        Call {
            method: "post",
            path: "/v1/agent/renew",
            about: "An agent gets a new certificate for the one that is still good",
            who: Who::Agent,
            body: Some(|g| g.subschema_for::<api::Renew>()),
            answer: Answer::Json(|g| g.subschema_for::<api::Enrolled>()),
            route: post(renew),
        },
        Call {
            method: "get",
            path: "/v1/agent/stream",
            about: "The stream of an agent (WebSocket)",
            who: Who::Agent,
            body: None,
            answer: Answer::Stream,
            route: get(stream),
        },
        Call {
            method: "get",
            path: "/v1/agent/programs/{hash}/{number}",
            about: "A piece of a program that an agent is to run",
            who: Who::Agent,
            body: None,
            answer: Answer::Json(|g| g.subschema_for::<api::Piece>()),
            route: get(piece),
        },
    ]
}

/// The largest body of a call that needs no token, or only asks for a certificate, in bytes.
const SMALL: usize = 64 << 10;

async fn enrol(State(shared): State<Arc<Shared>>, body: Body) -> Result<Json<api::Enrolled>, ApiError> {
    let body: api::Enrol = read(body, SMALL).await?;
    // A request that can't be signed must not use up the token.
    shared.authority.sign(&body.request, "trial", shared.fleet.now() / 1000, LIFETIME)?;
    let host = shared.fleet.control().use_enrolment(&auth::hash(&body.token.0), shared.fleet.now()).await?;
    let (enrolled, fingerprint) = certify(&shared, &host, &body.request).await?;
    // Whoever had this name before was not invited.
    shared.fleet.control().revoke_other_certificates(&host, &fingerprint, shared.fleet.now()).await?;
    shared.streams.shut(&host);
    shared.fleet.noted("enrol", &host, &host).await?;
    Ok(Json(enrolled))
}

async fn program(State(shared): State<Arc<Shared>>, body: Body) -> Result<Response, ApiError> {
    let body: api::NewProgram = read(body, SMALL).await?;
    shared.fleet.control().enrolment(&auth::hash(&body.token.0), shared.fleet.now()).await?;
    let ours = std::env::consts::ARCH;
    if body.machine != ours {
        let what = format!("this control plane's program is for {ours}, not for {}", body.machine);
        return Err(ApiError::bad_request(what));
    }
    // What runs, even when another version has taken its place meanwhile.
    let file = File::open("/proc/self/exe")?;
    let length = file.metadata()?.len();
    Ok(([(CONTENT_LENGTH, length)], outgoing(move |out| io::copy(&mut &file, out).map(drop))).into_response())
}

async fn renew(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Json<api::Enrolled>, ApiError> {
    let host = host(&shared, &peer).await?;
    let body: api::Renew = read(body, SMALL).await?;
    Ok(Json(certify(&shared, &host, &body.request).await?.0))
}

/// A certificate for a host, and its fingerprint.
async fn certify(shared: &Arc<Shared>, host: &str, request: &str) -> Result<(api::Enrolled, String), ApiError> {
    let signed = shared.authority.sign(request, host, shared.fleet.now() / 1000, LIFETIME)?;
    shared.fleet.control().add_certificate(host, &signed.fingerprint, signed.not_after * 1000).await?;
    let enrolled =
        api::Enrolled { host: host.to_owned(), certificate: signed.certificate, not_after: signed.not_after };
    Ok((enrolled, signed.fingerprint))
}

async fn piece(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path((hash, number)): Path<(String, String)>,
) -> Result<Json<api::Piece>, ApiError> {
    host(&shared, &peer).await?;
    let number = number.parse().map_err(|_| ApiError::bad_request(format!("{number} is no number of a piece")))?;
    Ok(Json(api::Piece { data: shared.fleet.piece(&hash, number).await? }))
}

async fn stream(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    accept(shared, &peer, upgrade).await
}
