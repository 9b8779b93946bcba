//! Who is asking.
//!
//! A person's program shows a token, `Authorization: Bearer gr_…`: 32 random bytes, of which the control plane keeps the
//! BLAKE3 hash. An agent shows its certificate, whose fingerprint is on record; see `agents`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use greenroom_store::control::{Millis, NewToken, Role, Token};

use crate::Shared;
use crate::api::ApiError;

/// What a token begins with: so that scanners of repositories know one.
const PREFIX: &str = "gr_";

/// A token's use is noted once in so many milliseconds.
const NOTE_EVERY: i64 = 60_000;

/// A new token, and its secret, which is told this once.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn new_token(name: &str, role: Role, expires: Millis) -> std::io::Result<(NewToken, String)> {
    let secret = secret()?;
    let hash = hash(&secret);
    let id = format!("t-{}", hash.chars().take(10).collect::<String>());
    Ok((NewToken { id, name: name.to_owned(), role, hash, expires: Some(expires) }, secret))
}

/// A new secret.
///
/// # Errors
/// The kernel gives no random bytes.
pub(crate) fn secret() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    let hex = bytes.iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    });
    Ok(format!("{PREFIX}{hex}"))
}

/// What is kept of a secret. It has 256 bits of its own: there is nothing to guess, and no salt is needed.
#[must_use]
pub fn hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// The person behind a request, if that person may do what `least` may.
pub(crate) async fn person(shared: &Arc<Shared>, headers: &HeaderMap, least: Role) -> Result<Token, ApiError> {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = shown.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    let Some(secret) = secret else { return Err(ApiError::unauthorized("there is no token")) };
    let control = shared.fleet.control();
    let now = shared.fleet.now();
    let Some(token) = control.token_by_hash(&hash(secret)).await? else {
        return Err(ApiError::unauthorized("the token is not known here"));
    };
    if token.revoked.is_some() {
        return Err(ApiError::unauthorized("the token was revoked"));
    }
    if !token.good_at(now) {
        return Err(ApiError::unauthorized("the token has expired"));
    }
    if token.role < least {
        let what = format!("{} is {}; this needs {}", token.name, token.role.as_str(), least.as_str());
        return Err(ApiError::forbidden(what));
    }
    if token.last_used.is_none_or(|at| now - at > NOTE_EVERY) {
        control.token_used(&token.id, now).await?;
    }
    Ok(token)
}
