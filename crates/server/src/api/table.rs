//! One row of the table, and how it is made from a plain function.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on, post};
use futures_util::StreamExt as _;
use greenroom_store::control::{Role, Token};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::{Shared, auth};

/// The shape of a body, put among the components of the document.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// One call.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What it is about, in a line.
    pub(super) about: &'static str,
    pub(super) who: Who,
    pub(super) body: Option<Shape>,
    pub(super) answer: Answer,
    pub(super) route: MethodRouter<Arc<Shared>>,
}

/// Who may call.
#[derive(Clone, Copy)]
pub(super) enum Who {
    /// A person with at least this role.
    Person(Role),
    /// An agent, with its certificate.
    Agent,
    /// Whoever has what the body asks for.
    Anybody,
}

/// What comes back.
pub(super) enum Answer {
    Json(Shape),
    /// Server-sent events of this shape.
    Events(Shape),
    /// Bytes, as they come.
    Bytes,
    /// The connection becomes a stream.
    Stream,
}

/// Who called, and with what in the path and after the question mark.
pub(super) struct Caller {
    pub(super) token: Token,
    path: HashMap<String, String>,
    query: HashMap<String, String>,
}

impl Caller {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A word after the question mark.
    pub(super) fn asked(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// A number after the question mark.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let bad = |text: &String| ApiError::bad_request(format!("{name}={text} is no number"));
        self.query.get(name).map(|text| text.parse().map_err(|_| bad(text))).transpose()
    }
}

/// `GET` by a person.
pub(super) fn getting<A, F, Fut>(path: &'static str, role: Role, about: &'static str, call: F) -> Call
where
    A: Serialize + JsonSchema,
    F: Fn(Arc<Shared>, Caller) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, ApiError>> + Send,
{
    without_body(("get", MethodFilter::GET), path, role, about, call)
}

/// `DELETE` by a person.
pub(super) fn deleting<A, F, Fut>(path: &'static str, role: Role, about: &'static str, call: F) -> Call
where
    A: Serialize + JsonSchema,
    F: Fn(Arc<Shared>, Caller) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, ApiError>> + Send,
{
    without_body(("delete", MethodFilter::DELETE), path, role, about, call)
}

fn without_body<A, F, Fut>(
    (method, filter): (&'static str, MethodFilter),
    path: &'static str,
    role: Role,
    about: &'static str,
    call: F,
) -> Call
where
    A: Serialize + JsonSchema,
    F: Fn(Arc<Shared>, Caller) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, ApiError>> + Send,
{
    let handler = move |State(shared): State<Arc<Shared>>,
                        Path(path): Path<HashMap<String, String>>,
                        Query(query): Query<HashMap<String, String>>,
                        headers: HeaderMap| async move {
        let token = auth::person(&shared, &headers, role).await?;
        Ok::<_, ApiError>(Json(call(shared, Caller { token, path, query }).await?))
    };
    row(method, path, Who::Person(role), about, None, on(filter, handler), |g| g.subschema_for::<A>())
}

/// `POST` by a person.
pub(super) fn posting<B, A, F, Fut>(path: &'static str, role: Role, about: &'static str, call: F) -> Call
where
    B: DeserializeOwned + JsonSchema,
    A: Serialize + JsonSchema,
    F: Fn(Arc<Shared>, Caller, B) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, ApiError>> + Send,
{
    let handler = move |State(shared): State<Arc<Shared>>,
                        Path(path): Path<HashMap<String, String>>,
                        headers: HeaderMap,
                        body: Body| async move {
        // Of who may not call nothing is read, and nothing is said of what the call makes of a body.
        let token = auth::person(&shared, &headers, role).await?;
        let body = read(body, BODY).await?;
        let query = HashMap::new();
        Ok::<_, ApiError>(Json(call(shared, Caller { token, path, query }, body).await?))
    };
    let body: Shape = |g| g.subschema_for::<B>();
    row("post", path, Who::Person(role), about, Some(body), post(handler), |g| g.subschema_for::<A>())
}

fn row(
    method: &'static str,
    path: &'static str,
    who: Who,
    about: &'static str,
    body: Option<Shape>,
    route: MethodRouter<Arc<Shared>>,
    answer: Shape,
) -> Call {
    Call { method, path, about, who, body, answer: Answer::Json(answer), route }
}

/// The largest body of JSON, in bytes.
pub(crate) const BODY: usize = 4 << 20;

/// The time for a body of JSON to come whole.
const WHOLE: Duration = Duration::from_secs(60);

/// A body of JSON of at most `most` bytes; an empty one is an empty object.
pub(super) async fn read<B: DeserializeOwned>(body: Body, most: usize) -> Result<B, ApiError> {
    let mut pieces = body.into_data_stream();
    let whole = async {
        let mut out = Vec::new();
        // Only what has come takes room, whatever its length was said to be.
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| ApiError::slow())?;
            if out.len() + piece.len() > most {
                return Err(ApiError::too_large(most));
            }
            out.extend_from_slice(&piece);
        }
        Ok(out)
    };
    let body = tokio::time::timeout(WHOLE, whole).await.map_err(|_| ApiError::slow())??;
    let body = if body.is_empty() { b"{}" } else { body.as_slice() };
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not what it should be: {error}")))
}

/// A path that is none.
pub(super) async fn nothing_here(uri: Uri) -> Response {
    ApiError::not_found(format!("there is nothing at {}", uri.path())).into_response()
}
