//! The control plane as a person's program reaches it, and what its refusals mean for the exit status.
//!
//! Where it is and who asks is, in this order: `GREENROOM_SERVER`, `GREENROOM_TOKEN` and `GREENROOM_AUTHORITY`; what `greenroom
//! login` wrote for this user; on the control plane's own machine, what `greenroom serve` wrote for root.

use std::fs;
use std::path::{Path, PathBuf};

use greenroom_core::api::Problem;
use greenroom_net::client::{Http, HttpError, Url};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::error::{Failure, status};

/// What `login` keeps, and `serve` for root.
#[derive(Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) url: String,
    pub(crate) token: String,
    /// In PEM.
    pub(crate) authority: String,
}

impl Access {
    /// The access that this user has; `None` when no control plane is known.
    pub(crate) fn find(global: &Global) -> Result<Option<Self>, Failure> {
        if let Some((url, token, authority)) = crate::env::server() {
            let pem = fs::read_to_string(&authority).map_err(|error| {
                Failure::usage(format!("cannot read the authority {}: {error}", authority.display()))
            })?;
            return Ok(Some(Self { url, token, authority: pem }));
        }
        let own = crate::env::config_dir().map(|dir| dir.join("server.json"));
        for path in own.into_iter().chain([Self::of_server(global)]) {
            match fs::read(&path) {
                Ok(text) => return Self::read(&path, &text).map(Some),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
                Err(error) => {
                    return Err(Failure::new(status::FAULT, format!("cannot read {}: {error}", path.display())));
                }
            }
        }
        Ok(None)
    }

    fn read(path: &Path, text: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(text).map_err(|error| {
            Failure::usage(format!("{} is damaged: {error}", path.display())).hint("write it anew: greenroom login")
        })
    }

    /// Where `serve` keeps root's.
    pub(crate) fn of_server(global: &Global) -> PathBuf {
        global.state.join("control/access.json")
    }

    pub(crate) fn open(&self) -> Result<Http, Failure> {
        let url = Url::parse(&self.url).map_err(Failure::usage)?;
        Http::new(url, &self.authority, None, Some(self.token.clone())).map_err(Failure::from)
    }
}

/// The control plane.
pub(crate) fn open(global: &Global) -> Result<Http, Failure> {
    match Access::find(global)? {
        Some(access) => access.open(),
        None => Err(Failure::usage("no control plane is known")
            .hint("greenroom login https://HOST:7443 --authority FILE")
            .hint("or set one up on this machine: greenroom serve")),
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        if let HttpError::Status { status: code, body, .. } = &error {
            let class = match code {
                400 | 404 | 405 | 413 | 422 => status::USAGE,
                401 | 403 | 409 => status::REFUSED,
                _ => status::FAULT,
            };
            if let Ok(problem) = serde_json::from_str::<Problem>(body) {
                let failure = Self { causes: problem.causes, hints: problem.hints, ..Self::new(class, problem.error) };
                return if *code == 401 { failure.hint("greenroom login") } else { failure };
            }
            return Self::new(class, error.to_string());
        }
        let base = Self::fault(&error);
        match error {
            HttpError::Reach { .. } => base.hint(
                "is it running, and is the address right? on each host `greenroom undo --local` works without it",
            ),
            HttpError::Certificates(_) => base.hint("write them anew: greenroom login"),
            _ => base,
        }
    }
}
