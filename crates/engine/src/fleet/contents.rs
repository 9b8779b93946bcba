//! The control plane's contents: what people bring, what hosts bring and get.
//!
//! A host is let at contents by a command that is in its mailbox and not done, and by nothing else ([`Fleet::readable`],
//! [`Fleet::receive`]): it reads what that command needs, and writes what the command asks it for. Another host's command is for
//! it as if there were none.
//!
//! What reads and writes the store here waits for a disk or a bucket: it is called where that holds nobody up.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use greenroom_core::image::{Manifest, advanced, contents, is_manifest};
use greenroom_core::wire::{Command, Verb, What};
use greenroom_core::{Changeset, ContentHash, api, changeset};
use greenroom_store::blobs::pack::{PackError, Packer, Unpacked, unpack};
use greenroom_store::blobs::{BlobError, BlobStore, Opened};
use greenroom_store::control::CommandState;
use serde::{Deserialize, Serialize};

use super::stage::needed;
use super::{Fleet, FleetError};

/// The longest changeset (a manifest is one) and the longest record of a rehearsal, in bytes.
pub(super) const LONGEST: u64 = 512 << 20;

/// The kind of document that says which manifest a command is sending the contents of.
pub(super) const OFFER: &str = "image-offer";

/// What a host offers.
#[derive(Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) manifest: ContentHash,
}

impl Fleet {
    /// What a command that is under way wants of its host.
    pub(super) async fn under_way(&self, host: &str, id: &str) -> Result<Verb, FleetError> {
        let command = self.control.command(id).await?;
        let command = command.filter(|command| command.host == host && command.state != CommandState::Done);
        let command = command.ok_or_else(|| FleetError::Unknown(format!("{host} has no command {id} under way")))?;
        let command: Command = serde_json::from_str(&command.body).map_err(FleetError::damaged("the command"))?;
        Ok(command.verb)
    }

    /// The contents that a host may read for a command.
    ///
    /// # Errors
    /// It has no such command; the state's.
    pub async fn readable(&self, host: &str, id: &str) -> Result<BTreeSet<ContentHash>, FleetError> {
        match self.under_way(host, id).await? {
            Verb::Rehearse(order) => Ok(order.files.iter().map(|sent| sent.content).collect()),
            Verb::Rebuild(wanted) => {
                let manifest = self.manifest(wanted.manifest).await?;
                Ok(contents(&manifest).into_keys().chain([wanted.manifest]).collect())
            }
            Verb::Stage(wanted) => {
                let files = wanted.rehearse.files.iter().map(|sent| sent.content);
                let manifest = self.manifest(wanted.manifest).await?;
                Ok(contents(&manifest).into_keys().chain([wanted.manifest]).chain(files).collect())
            }
            Verb::Prepare { what: What::Apply { staged: Some(staged), .. }, .. } => {
                self.with_blobs(move |blobs| Ok(needed(blobs, staged)?.into_iter().collect())).await
            }
            _ => Ok(BTreeSet::new()),
        }
    }

    /// The manifest of this name.
    pub(super) async fn manifest(&self, id: ContentHash) -> Result<Manifest, FleetError> {
        self.with_blobs(move |blobs| read_manifest(blobs, id)).await
    }

    /// Does something that waits for the contents' disk where that holds nobody up.
    pub(super) async fn with_blobs<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn BlobStore) -> Result<T, FleetError> + Send + 'static,
    ) -> Result<T, FleetError> {
        let blobs = Arc::clone(&self.blobs);
        match tokio::task::spawn_blocking(move || work(&*blobs)).await {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Writes contents into a stream; `names` is what was asked for. Blocks.
    ///
    /// # Errors
    /// One of them is not there, or the stream is broken.
    pub fn pack(&self, names: &[ContentHash], out: impl Write) -> Result<(), FleetError> {
        let mut packer = Packer::new(out).map_err(PackError::Stream)?;
        for (name, opened) in names.iter().zip(self.blobs.open_all(names)) {
            let Opened { length, mut content } = opened?;
            packer.put(*name, length, &mut content).map_err(PackError::Stream)?;
        }
        packer.end().map_err(PackError::Stream)?.flush().map_err(PackError::Stream)?;
        Ok(())
    }

    /// What of these contents is not here, or may go this moment. Whoever needs them and has that on record before this is asked can
    /// count on the others: see [`sweep`](super::sweep).
    ///
    /// # Errors
    /// The contents', the state's.
    pub async fn missing(&self, names: Vec<ContentHash>) -> Result<Vec<ContentHash>, FleetError> {
        self.absent(names.into_iter().map(|name| (name, None)).collect()).await
    }

    /// The same, of contents whose lengths are known too: of one that is shorter a power cut took the rest.
    pub(super) async fn absent(&self, names: Vec<(ContentHash, Option<u64>)>) -> Result<Vec<ContentHash>, FleetError> {
        let condemned = self.condemned().await?;
        self.with_blobs(move |blobs| {
            let lengths = blobs.lengths(&names.iter().map(|(name, _)| *name).collect::<Vec<_>>())?;
            let absent = names.into_iter().zip(lengths).filter(|((name, length), found)| {
                condemned.contains(name) || found.is_none() || length.is_some() && found != length
            });
            Ok(absent.map(|((name, _), _)| name).collect())
        })
        .await
    }

    /// Stores contents that a person brings.
    ///
    /// # Errors
    /// The stream's, the contents'.
    pub async fn bring(&self, stream: impl Read + Send + 'static) -> Result<api::Received, FleetError> {
        self.with_blobs(move |blobs| {
            let unpacked = unpack(stream, blobs, |_, _| true);
            // What came before the stream broke need not come again.
            blobs.sync()?;
            Ok(received(unpacked?))
        })
        .await
    }

    /// Takes the manifest that a host offers for a command, or what leads to it from `since`; what of its contents is to be sent.
    ///
    /// # Errors
    /// Nobody asked it for one, or it is none.
    pub async fn offered(
        &self,
        host: &str,
        id: &str,
        manifest: ContentHash,
        since: Option<ContentHash>,
        stream: impl Read + Send + 'static,
    ) -> Result<Vec<ContentHash>, FleetError> {
        if !matches!(self.under_way(host, id).await?, Verb::Image(_)) {
            return Err(FleetError::Unknown(format!("{id} asks for no image")));
        }
        let known = self.base(host, since).await?;
        let brings = self.with_blobs(move |blobs| offered(blobs, manifest, known, stream)).await.map_err(went)?;
        self.write(OFFER, id, "the offer", &Offer { manifest }).await?;
        // Only now: what the last image has is here as long as that is on record, and from here on the offer needs it.
        self.base(host, since).await?;
        let missing = self.absent(brings.into_iter().chain([(manifest, None)]).collect()).await?;
        if missing.contains(&manifest) {
            return Err(went(BlobError::Absent(manifest).into()));
        }
        Ok(missing)
    }

    /// A host leads on only from its own images.
    async fn base(&self, host: &str, since: Option<ContentHash>) -> Result<Option<ContentHash>, FleetError> {
        let Some(since) = since else { return Ok(None) };
        let known = self.images_of(host).await?.iter().any(|image| image.manifest == since);
        if known {
            return Ok(Some(since));
        }
        Err(FleetError::refused("that is no image of this host", "send the whole manifest"))
    }

    /// Stores the contents that a host sends for the manifest that it offered; of a stage, what its rehearsal did, whatever that is.
    /// Those of an image are being made durable while others come; `imaged` waits for it.
    ///
    /// # Errors
    /// It sends something else; the stream's, the contents'.
    pub async fn receive(
        &self,
        host: &str,
        id: &str,
        stream: impl Read + Send + 'static,
    ) -> Result<api::Received, FleetError> {
        if matches!(self.under_way(host, id).await?, Verb::Stage(_)) {
            return self.bring(stream).await;
        }
        let manifest = self.offered_for(id).await?;
        let unpacked = self.with_blobs(move |blobs| {
            let wanted = contents(&read_manifest(blobs, manifest)?);
            Ok(unpack(stream, blobs, |name, _| wanted.contains_key(&name)))
        });
        let unpacked = unpacked.await?;
        let (blobs, lost) = (Arc::clone(&self.blobs), Arc::clone(&self.lost));
        tokio::task::spawn_blocking(move || lost.fetch_or(blobs.sync().is_err(), Ordering::Relaxed));
        Ok(received(unpacked?))
    }

    /// The manifest that a host offered for a command that is under way.
    pub(super) async fn offer(&self, host: &str, id: &str) -> Result<ContentHash, FleetError> {
        self.under_way(host, id).await?;
        self.offered_for(id).await
    }

    async fn offered_for(&self, id: &str) -> Result<ContentHash, FleetError> {
        let offer = self.read::<Offer>(OFFER, id, "the offer").await?;
        Ok(offer.ok_or_else(|| FleetError::Unknown(format!("{id} has no manifest yet")))?.manifest)
    }

    /// The offer is taken, or was none.
    pub(super) async fn forget_offer(&self, id: &str) -> Result<(), FleetError> {
        self.control.drop_document(OFFER, id).await?;
        Ok(())
    }
}

pub(super) fn read_manifest(blobs: &dyn BlobStore, id: ContentHash) -> Result<Manifest, FleetError> {
    Some(read_changeset(blobs, id)?).filter(is_manifest).ok_or_else(|| BlobError::Absent(id).into())
}

pub(super) fn read_changeset(blobs: &dyn BlobStore, id: ContentHash) -> Result<Changeset, FleetError> {
    let bytes = blobs.read_range(id, 0, LONGEST)?;
    changeset::codec::decode_named(&bytes, id).ok_or_else(|| BlobError::Absent(id).into())
}

/// The contents of a manifest, or of what leads to one, with their lengths.
pub(super) fn with_lengths(changeset: &Changeset) -> impl Iterator<Item = (ContentHash, Option<u64>)> {
    contents(changeset).into_iter().map(|(name, length)| (name, Some(length)))
}

fn received(unpacked: Unpacked) -> api::Received {
    api::Received { stored: unpacked.stored, changed: unpacked.changed }
}

/// What was here as long as nothing needed it may go just when something does.
fn went(error: FleetError) -> FleetError {
    match error {
        FleetError::Blobs(BlobError::Absent(_)) => {
            FleetError::refused("a manifest went just when it was needed", "send all of it again")
        }
        error => error,
    }
}

/// Keeps the manifest that is offered; its contents, of those that the last image does not have.
fn offered(
    blobs: &dyn BlobStore,
    manifest: ContentHash,
    since: Option<ContentHash>,
    stream: impl Read,
) -> Result<Vec<(ContentHash, Option<u64>)>, FleetError> {
    let no = |what: &str| FleetError::usage(what, "control plane and agent may be of different versions");
    let mut came = None;
    unpack(stream, blobs, |name, length| came.replace(name).is_none() && length <= LONGEST)?;
    let came = came.ok_or_else(|| no("there is no manifest in it"))?;
    let Some(base) = since else {
        if came != manifest {
            return Err(no("it is another manifest than was promised"));
        }
        return Ok(with_lengths(&read_manifest(blobs, manifest)?).collect());
    };
    let bytes = blobs.read_range(came, 0, LONGEST)?;
    let delta = changeset::codec::decode(&bytes).map_err(|error| no(&error.to_string()))?;
    let base = read_manifest(blobs, base)?;
    let whole = advanced(&base, &delta).filter(|whole| whole.id() == manifest);
    let whole = whole.ok_or_else(|| FleetError::refused("it does not lead from that image", "send all of it"))?;
    blobs.put_bytes(&changeset::codec::encoded(&whole))?;
    // What the last image has is here.
    let known = contents(&base);
    Ok(with_lengths(&delta).filter(|(name, _)| !known.contains_key(name)).collect())
}
