//! `greenroom enrol`: this host lets itself in, with an invitation on standard input.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use greenroom_core::api::{Enrol, Enrolled, Invitation};
use greenroom_net::client::{Http, HttpError, Url};
use greenroom_net::tls::{Identity, request};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::error::{Failure, status};
use crate::ui::Ui;

/// What an agent knows of its control plane.
#[derive(Serialize, Deserialize)]
pub(super) struct Membership {
    pub(super) host: String,
    pub(super) urls: Vec<String>,
    /// In PEM.
    pub(super) authority: String,
    /// In PEM.
    pub(super) certificate: String,
    /// In PEM.
    pub(super) key: String,
    /// When the certificate was made, in seconds since 1970.
    pub(super) since: i64,
    /// When it ends.
    pub(super) not_after: i64,
}

impl Membership {
    pub(super) fn path(state: &Path) -> PathBuf {
        state.join("agent/membership.json")
    }

    pub(super) fn read(state: &Path) -> Result<Self, Failure> {
        let path = Self::path(state);
        let text = fs::read(&path).map_err(|error| {
            Failure::usage(format!("this host belongs to no control plane: cannot read {}: {error}", path.display()))
                .hint("from a machine that can reach it: greenroom join root@THIS-HOST")
        })?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Writes it, whole or not at all, for root only.
    pub(super) fn write(&self, state: &Path) -> Result<(), Failure> {
        let path = Self::path(state);
        let dir = path.parent().unwrap_or(state);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        super::keep(&path, self)
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

pub(in crate::commands) fn run(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    super::super::need_root()?;
    let mut text = String::new();
    std::io::stdin().take(1 << 20).read_to_string(&mut text)?;
    let invitation: Invitation = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("standard input is no invitation: {error}"))
            .hint("greenroom join --invite HOST prints one")
    })?;
    let wanted = request(&invitation.host).map_err(Failure::fault)?;
    let enrolled =
        first_that_answers(&invitation, &Enrol { token: invitation.token.clone(), request: wanted.request })?;
    let membership = Membership {
        host: enrolled.host,
        urls: invitation.urls,
        authority: invitation.authority,
        certificate: enrolled.certificate,
        key: wanted.key,
        since: jiff::Timestamp::now().as_second(),
        not_after: enrolled.not_after,
    };
    membership.write(&global.state)?;
    if ui.json {
        ui.object(
            &serde_json::json!({ "host": membership.host, "urls": membership.urls, "not_after": membership.not_after }),
        )?;
    } else {
        ui.print(&format!("this host is {} of {}\n", membership.host, membership.urls.join(", ")))?;
    }
    Ok(status::DONE)
}

/// Asks one address after the other; only one that can't be reached is passed over.
fn first_that_answers(invitation: &Invitation, body: &Enrol) -> Result<Enrolled, Failure> {
    let mut last = Failure::usage("the invitation names no control plane");
    for url in &invitation.urls {
        let url = Url::parse(url).map_err(Failure::usage)?;
        match Http::new(url, &invitation.authority, None, None)?.post("/v1/enrol", body) {
            Ok(enrolled) => return Ok(enrolled),
            Err(error @ HttpError::Reach { .. }) => last = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last)
}
