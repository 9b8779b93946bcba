//! Following a rehearsal or a change: what was told so far, then what is told, until it is over.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use greenroom_core::api;
use greenroom_store::control::{Role, Subject};

use super::ApiError;
use super::table::{Answer, Call, Who};
use crate::{Shared, auth};

/// How often it is looked at where no hint comes.
const LOOK: Duration = Duration::from_secs(1);

/// Events in one look.
const PAGE: u32 = 500;

pub(super) fn calls() -> Vec<Call> {
    let call = |path, about| Call {
        method: "get",
        path,
        about,
        who: Who::Person(Role::Viewer),
        body: None,
        answer: Answer::Events(|g| g.subschema_for::<api::Event>()),
        route: get(follow),
    };
    vec![
        call(
            "/v1/rehearsals/{id}/events",
            "Follow a rehearsal; `after=N` or the header Last-Event-ID leaves out the first N events",
        ),
        call(
            "/v1/changes/{id}/events",
            "Follow a change; `after=N` or the header Last-Event-ID leaves out the first N events",
        ),
    ]
}

async fn follow(
    State(shared): State<Arc<Shared>>,
    Path(path): Path<HashMap<String, String>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    auth::person(&shared, &headers, Role::Viewer).await?;
    let subject = path.get("id").cloned().unwrap_or_default();
    if subject.starts_with('c') {
        shared.fleet.change(&subject).await?;
    } else {
        shared.fleet.rehearsal(&subject).await?;
    }
    // A reader that was cut off says by itself which event it has.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = last.or_else(|| query.get("after").map(String::as_str));
    let after = after.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(Sse::new(events(shared, subject, after)).keep_alive(KeepAlive::default()).into_response())
}

/// What was read and not passed on, and where to go on.
struct Reader {
    shared: Arc<Shared>,
    subject: String,
    after: u64,
    ready: std::collections::VecDeque<greenroom_store::control::Event>,
    over: bool,
}

fn events(shared: Arc<Shared>, subject: String, after: u64) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let reader = Reader { shared, subject, after, ready: std::collections::VecDeque::new(), over: false };
    stream::unfold(reader, |mut reader| async move {
        if reader.over {
            return None;
        }
        let mut watch = reader.shared.fleet.control().watch().await.ok();
        loop {
            if let Some(event) = reader.ready.pop_front() {
                reader.over = event.body.starts_with("{\"event\":\"over\"");
                let item = Event::default().id(event.seq.to_string()).data(&event.body);
                return Some((Ok(item), reader));
            }
            // What can't be read just now is read at the next look.
            let read = reader.shared.fleet.control().events_of(&reader.subject, reader.after, PAGE).await;
            let read = read.unwrap_or_default();
            if let Some(last) = read.last() {
                reader.after = last.seq;
                reader.ready.extend(read);
                continue;
            }
            match &mut watch {
                Some(watch) => {
                    let subject = &reader.subject;
                    watch.wait(LOOK, |hint| hint.subject == Subject::Event && hint.name == *subject).await;
                }
                None => tokio::time::sleep(LOOK).await,
            }
        }
    })
}
