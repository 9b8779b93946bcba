//! What a change needs that is just beginning: until it is on record itself, a pin is.

use std::collections::BTreeSet;

use greenroom_core::ContentHash;
use greenroom_core::wire::What;
use greenroom_store::blobs::{BlobError, BlobStore};
use greenroom_store::control::Millis;
use serde::{Deserialize, Serialize};

use super::super::change::gone;
use super::super::stage::needed;
use super::super::{Fleet, FleetError};

/// A pin that is older was left behind, in milliseconds.
const PIN_MS: Millis = 24 * 3600 * 1000;

/// The kind of document that keeps what a change needs that is just beginning.
pub(super) const PIN: &str = "pin";

#[derive(Serialize, Deserialize)]
pub(super) struct Pin {
    pub(super) staged: Vec<ContentHash>,
    at: Millis,
}

impl Fleet {
    /// Keeps what is staged from being dropped, and sees that all of it is here; `None`: nothing is staged.
    ///
    /// # Errors
    /// Not all of it is here: nothing is kept then.
    pub(in crate::fleet) async fn pin(
        &self,
        rehearsal: &str,
        parts: impl Iterator<Item = &What>,
    ) -> Result<Option<String>, FleetError> {
        let staged: Vec<ContentHash> = parts.filter_map(What::staged).collect();
        if staged.is_empty() {
            return Ok(None);
        }
        let id = self.next_id("pin").await?;
        self.write(PIN, &id, "what a change needs", &Pin { staged: staged.clone(), at: self.now() }).await?;
        match self.all_here(staged).await {
            Ok(()) => Ok(Some(id)),
            Err(error) => {
                self.unpin(Some(id)).await?;
                Err(gone(rehearsal, error))
            }
        }
    }

    async fn all_here(&self, staged: Vec<ContentHash>) -> Result<(), FleetError> {
        let needs = |blobs: &dyn BlobStore| {
            let mut out = BTreeSet::new();
            for staged in staged {
                out.extend(needed(blobs, staged)?);
            }
            Ok(out.into_iter().collect())
        };
        let names = self.with_blobs(needs).await?;
        match self.missing(names).await?.first() {
            None => Ok(()),
            Some(name) => Err(BlobError::Absent(*name).into()),
        }
    }

    /// The change is on record, or will not be.
    pub(in crate::fleet) async fn unpin(&self, pin: Option<String>) -> Result<(), FleetError> {
        if let Some(pin) = pin {
            self.control.drop_document(PIN, &pin).await?;
        }
        Ok(())
    }

    pub(super) async fn drop_old_pins(&self) -> Result<(), FleetError> {
        for (id, pin) in self.all::<Pin>(PIN).await? {
            if self.now().saturating_sub(pin.at) > PIN_MS {
                self.control.drop_document(PIN, &id).await?;
            }
        }
        Ok(())
    }
}
