//! Another program for the agents of hosts, rolled out as a change is; and where its content is until then.
//!
//! The content lies beside the state, in pieces: both control planes of one database have it, and nothing else is needed. It is
//! kept until another one comes.

use std::collections::BTreeMap;

use greenroom_core::api;
use greenroom_core::rollout::Policy;
use greenroom_core::wire::{MAX_PROGRAM, What};

use super::change::{Course, Doc, course};
use super::{Fleet, FleetError};

/// The kind of change that it is.
pub(super) const UPGRADE: &str = "upgrade";

/// The kind of document that a piece is.
const KIND: &str = "program";

impl Fleet {
    /// Keeps a piece of a program. The first one of another program takes the place of what was kept.
    ///
    /// # Errors
    /// The hash is none; the state's.
    pub async fn keep_piece(&self, hash: &str, number: u64, data: &str) -> Result<(), FleetError> {
        let id = id(hash, number)?;
        if number == 0 {
            for old in self.control.documents(KIND).await?.iter().filter(|old| !old.starts_with(hash)) {
                self.control.drop_document(KIND, old).await?;
            }
        }
        Ok(self.control.put_document(KIND, &id, data, self.now()).await?)
    }

    /// A piece of a program.
    ///
    /// # Errors
    /// There is none of that name; the state's.
    pub async fn piece(&self, hash: &str, number: u64) -> Result<String, FleetError> {
        let found = self.control.document(KIND, &id(hash, number)?).await?;
        found.ok_or_else(|| FleetError::Unknown(format!("there is no piece {number} of a program {hash} any more")))
    }

    /// Begins to bring a program to hosts: one first, then the rest.
    ///
    /// # Errors
    /// Not all of it was sent; a host is not known, or held by another change.
    pub async fn upgrade(&self, wanted: &api::NewUpgrade, person: &str) -> Result<api::Begun, FleetError> {
        let program = &wanted.program;
        if program.size == 0 || program.size > MAX_PROGRAM {
            let what = format!("a program of {} bytes cannot be brought to hosts", program.size);
            return Err(FleetError::usage(what, format!("it has at most {} MiB", MAX_PROGRAM >> 20)));
        }
        let kept = self.control.documents(KIND).await?;
        for number in 0..program.pieces() {
            if !kept.contains(&id(&program.hash, number)?) {
                let what = format!("piece {number} of the program was not sent");
                return Err(FleetError::refused(what, "greenroom agent upgrade sends all of it"));
            }
        }
        let held = self.system().await?;
        let hosts = self.select(&wanted.on, held.as_ref()).await?;
        let part = |host: &String| (host.clone(), What::Upgrade { program: program.clone() });
        let parts: BTreeMap<String, What> = hosts.iter().map(part).collect();
        let doc = |rollout| Doc::new(UPGRADE, rollout, person, wanted.why.clone(), self.now(), held.as_ref());
        // No service is touched: how far it goes at a time is not theirs to say, and who is not in touch has failed.
        let policy = Policy { pause_after: wanted.pause_after, ..course(held.as_ref(), &hosts).policy };
        self.begin(parts, Course { policy, ..course(None, &hosts) }, doc).await
    }
}

/// The name of a piece. Numbers have one length: the order of names is theirs.
fn id(hash: &str, number: u64) -> Result<String, FleetError> {
    if hash.parse::<greenroom_core::ContentHash>().is_err() || number >= MAX_PROGRAM {
        return Err(FleetError::usage(format!("{hash} is no hash of a program"), "64 hexadecimal digits"));
    }
    Ok(format!("{hash}.{number:06}"))
}
