//! The table.

use std::sync::Arc;

use greenroom_core::api;
use greenroom_core::rollout::Word;
use greenroom_core::system::Rights;
use greenroom_core::wire::{Afar, PIECE, from_afar};
use greenroom_engine::fleet::Asker;
use greenroom_store::control::Role;
use greenroom_store::ledger::{Filter, Ledger as _, Verdict};

use super::table::{Call, Caller, deleting, getting, posting};
use super::{ApiError, agents, contents, events};
use crate::{Shared, auth};

/// How long a person's token is good for where nothing is said, in seconds.
const TOKEN_S: u64 = 90 * 24 * 3600;

/// How long an invitation is.
const INVITATION_S: u64 = 3600;

/// Entries of the log in one answer.
const PAGE: u64 = 1000;

/// Every call.
pub(super) fn calls() -> Vec<Call> {
    let mut out = vec![
        getting(
            "/v1/hosts",
            Role::Viewer,
            "Every host: in touch or not, its drift, the change that has it; `on=role:web` gives only those that are meant",
            hosts,
        ),
        deleting("/v1/hosts/{host}", Role::Admin, "Shut a host out: its certificates are good no more", shut_out),
        posting(
            "/v1/hosts/{host}/run",
            Role::Viewer,
            "Run a command of the program on a host, as a person would there",
            run,
        ),
        posting("/v1/rehearsals", Role::Developer, "Rehearse a change on hosts", rehearse),
        getting("/v1/rehearsals/{id}", Role::Viewer, "A rehearsal, as far as it is", rehearsal),
        posting("/v1/changes", Role::Developer, "Put a rehearsal live on its hosts", apply),
        getting("/v1/changes/{id}", Role::Viewer, "A change, as far as it is", change),
        posting("/v1/changes/{id}/undo", Role::Developer, "Take a change back on all its hosts", undo),
        posting("/v1/changes/{id}/continue", Role::Developer, "Go on with a change that is paused", go_on),
        posting("/v1/changes/{id}/abort", Role::Developer, "Take back a change that is under way", abort),
        getting("/v1/log", Role::Viewer, "The ledger, oldest first; `since=N` gives what comes after entry N", log),
        getting("/v1/log/verify", Role::Viewer, "Whether the ledger's chain of hashes holds", verify),
        posting("/v1/enrolments", Role::Admin, "Let a host in: a token for one enrolment", invite),
        posting("/v1/tokens", Role::Admin, "Let a person in", make_token),
        getting("/v1/tokens", Role::Admin, "Every token, without its secret", tokens),
        deleting("/v1/tokens/{id}", Role::Admin, "Revoke a token", revoke_token),
        posting("/v1/programs/{hash}/{number}", Role::Operator, "Send a piece of a program for agents", keep_piece),
        posting("/v1/upgrades", Role::Operator, "Run another program as the agent of hosts", upgrade),
    ];
    out.extend(events::calls());
    out.extend(agents::calls());
    out.extend(contents::calls());
    out.extend([
        getting("/v1/system", Role::Viewer, "The system file that is in force, with its revision", system),
        posting("/v1/system", Role::Admin, "Put a system file in force", push_system),
        posting(
            "/v1/rehearsals/{id}/approve",
            Role::Developer,
            "Say as a second person that a rehearsal may be applied; needs who may apply it",
            approve,
        ),
    ]);
    out
}

type Answer<T> = Result<T, ApiError>;

/// Who may apply is the system file's to say; without one, it takes an operator. `engine::fleet` decides.
pub(super) fn asker(caller: &Caller) -> Asker<'_> {
    let rights = match caller.token.role {
        Role::Viewer => Rights::Viewer,
        Role::Developer => Rights::Developer,
        Role::Operator => Rights::Operator,
        Role::Admin => Rights::Admin,
    };
    Asker { name: &caller.token.name, rights }
}

async fn hosts(shared: Arc<Shared>, caller: Caller) -> Answer<api::Hosts> {
    Ok(match caller.asked("on") {
        Some(on) => shared.fleet.hosts_on(on).await?,
        None => shared.fleet.hosts().await?,
    })
}

async fn shut_out(shared: Arc<Shared>, caller: Caller) -> Answer<api::Hosts> {
    let host = caller.part("host");
    if !shared.fleet.control().revoke_agent(host, shared.fleet.now()).await? {
        return Err(ApiError::not_found(format!("there is no host {host} that could be shut out")));
    }
    shared.streams.shut(host);
    shared.fleet.noted("shut-out", host, &caller.token.name).await?;
    Ok(shared.fleet.hosts().await?)
}

async fn run(shared: Arc<Shared>, caller: Caller, body: api::Run) -> Answer<api::Ran> {
    let does = from_afar(&body.argv).map_err(|error| ApiError::bad_request(error.to_string()))?;
    if does == Afar::Changes && caller.token.role < Role::Operator {
        let what = format!("{} is {}; what changes a host needs operator", caller.token.name, caller.token.role);
        return Err(ApiError::forbidden(what));
    }
    Ok(shared.fleet.run(caller.part("host"), &body.argv, &caller.token.name).await?)
}

async fn rehearse(shared: Arc<Shared>, caller: Caller, body: api::NewRehearsal) -> Answer<api::Begun> {
    Ok(shared.fleet.rehearse(&body, &caller.token.name).await?)
}

async fn rehearsal(shared: Arc<Shared>, caller: Caller) -> Answer<api::Rehearsal> {
    Ok(shared.fleet.rehearsal(caller.part("id")).await?)
}

async fn apply(shared: Arc<Shared>, caller: Caller, body: api::NewChange) -> Answer<api::Begun> {
    Ok(shared.fleet.apply(&body, asker(&caller)).await?)
}

async fn change(shared: Arc<Shared>, caller: Caller) -> Answer<api::Change> {
    Ok(shared.fleet.change(caller.part("id")).await?)
}

async fn undo(shared: Arc<Shared>, caller: Caller, body: api::Undo) -> Answer<api::Begun> {
    Ok(shared.fleet.undo(caller.part("id"), &body, asker(&caller)).await?)
}

async fn go_on(shared: Arc<Shared>, caller: Caller, _: api::Undo) -> Answer<api::Change> {
    shared.fleet.word(caller.part("id"), Word::Continue, asker(&caller)).await?;
    Ok(shared.fleet.change(caller.part("id")).await?)
}

async fn abort(shared: Arc<Shared>, caller: Caller, _: api::Undo) -> Answer<api::Change> {
    shared.fleet.word(caller.part("id"), Word::Abort, asker(&caller)).await?;
    Ok(shared.fleet.change(caller.part("id")).await?)
}

async fn approve(shared: Arc<Shared>, caller: Caller, body: api::Undo) -> Answer<api::Rehearsal> {
    Ok(shared.fleet.approve(caller.part("id"), asker(&caller), body.why.as_ref()).await?)
}

async fn system(shared: Arc<Shared>, _: Caller) -> Answer<api::DeclaredSystem> {
    Ok(shared.fleet.declared_system().await?)
}

async fn push_system(shared: Arc<Shared>, caller: Caller, body: api::NewSystem) -> Answer<api::DeclaredSystem> {
    Ok(shared.fleet.push_system(&body, &caller.token.name).await?)
}

async fn log(shared: Arc<Shared>, caller: Caller) -> Answer<api::Log> {
    let since = caller.number("since")?.unwrap_or(0);
    let ledger = shared.fleet.ledger().clone();
    let filter = Filter { since, limit: Some(PAGE), ..Filter::default() };
    let read = tokio::task::spawn_blocking(move || ledger.entries(&filter)).await;
    let listing = read.map_err(std::io::Error::other)?.map_err(greenroom_engine::fleet::FleetError::from)?;
    let entries = listing.entries.iter().map(|entry| serde_json::to_value(entry).unwrap_or_default());
    Ok(api::Log { entries: entries.collect() })
}

async fn verify(shared: Arc<Shared>, _: Caller) -> Answer<api::Verified> {
    let ledger = shared.fleet.ledger().clone();
    let verified = tokio::task::spawn_blocking(move || ledger.verify()).await;
    let verdict = verified.map_err(std::io::Error::other)?.map_err(greenroom_engine::fleet::FleetError::from)?;
    Ok(match verdict {
        Verdict::Verified { entries } => api::Verified { verified: true, entries, broken: None, reason: None },
        Verdict::Broken { seq, id, reason } => {
            api::Verified { verified: false, entries: seq - 1, broken: Some(id), reason: Some(reason) }
        }
    })
}

async fn invite(shared: Arc<Shared>, caller: Caller, body: api::NewEnrolment) -> Answer<api::Invitation> {
    let host = body.host.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    if host.is_empty()
        || host.len() > 64
        || !host.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !host.chars().all(fits)
    {
        return Err(ApiError::bad_request(format!("`{host}` is no name of a host: letters, digits, `-` and `.`")));
    }
    let (token, now) = (auth::secret()?, shared.fleet.now());
    let until = now + seconds(body.valid_s.unwrap_or(INVITATION_S));
    shared.fleet.control().add_enrolment(&auth::hash(&token), host, now, until).await?;
    shared.fleet.noted("invite", host, &caller.token.name).await?;
    let authority = shared.authority.certificate().to_owned();
    Ok(api::Invitation { host: host.to_owned(), urls: shared.urls.clone(), authority, token: api::Secret(token) })
}

async fn make_token(shared: Arc<Shared>, caller: Caller, body: api::NewToken) -> Answer<api::MadeToken> {
    let Some(role) = Role::parse(&body.role) else {
        let roles: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        return Err(ApiError::bad_request(format!("`{}` is no role: {}", body.role, roles.join(", "))));
    };
    if body.name.trim().is_empty() || body.name.len() > 64 {
        return Err(ApiError::bad_request("a token has a person's name".to_owned()));
    }
    let now = shared.fleet.now();
    let (new, secret) = auth::new_token(&body.name, role, now + seconds(body.valid_s.unwrap_or(TOKEN_S)))?;
    shared.fleet.control().add_token(&new, now).await?;
    shared.fleet.noted("token", &format!("{} as {}", body.name, role.as_str()), &caller.token.name).await?;
    Ok(api::MadeToken { id: new.id, token: api::Secret(secret) })
}

/// Milliseconds of at most ten years.
fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds.min(10 * 366 * 24 * 3600)).unwrap_or(0) * 1000
}

async fn keep_piece(shared: Arc<Shared>, caller: Caller, body: api::Piece) -> Answer<api::Piece> {
    if body.data.len() > PIECE.div_ceil(3) * 4 {
        return Err(ApiError::bad_request(format!("a piece has at most {PIECE} bytes")));
    }
    let number = caller.part("number");
    let number = number.parse().map_err(|_| ApiError::bad_request(format!("{number} is no number of a piece")))?;
    shared.fleet.keep_piece(caller.part("hash"), number, &body.data).await?;
    Ok(api::Piece { data: String::new() })
}

async fn upgrade(shared: Arc<Shared>, caller: Caller, body: api::NewUpgrade) -> Answer<api::Begun> {
    Ok(shared.fleet.upgrade(&body, &caller.token.name).await?)
}

async fn tokens(shared: Arc<Shared>, _: Caller) -> Answer<Vec<api::Token>> {
    let all = shared.fleet.control().tokens().await?;
    let shown = all.into_iter().map(|token| api::Token {
        id: token.id,
        name: token.name,
        role: token.role.as_str().to_owned(),
        created: token.created,
        expires: token.expires,
        revoked: token.revoked,
        last_used: token.last_used,
    });
    Ok(shown.collect())
}

async fn revoke_token(shared: Arc<Shared>, caller: Caller) -> Answer<Vec<api::Token>> {
    let id = caller.part("id").to_owned();
    if !shared.fleet.control().revoke_token(&id, shared.fleet.now()).await? {
        return Err(ApiError::not_found(format!("there is no token {id} that could be revoked")));
    }
    shared.fleet.noted("token-revoked", &id, &caller.token.name).await?;
    tokens(shared, caller).await
}
