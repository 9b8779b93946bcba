//! What is on record, and the contents that it needs.
//!
//! A thing that takes the place of another is read after it: an image after its offer, a command after what waits for it, a change after
//! its pin. So none is missed between the two.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::image::{contents, fresh};
use greenroom_core::wire::{Answer, Command, Verb, What};
use greenroom_core::{ContentHash, api};
use greenroom_store::blobs::{BlobError, BlobStore};
use greenroom_store::control::Millis;
use serde::de::DeserializeOwned;

use super::super::change::Doc as Change;
use super::super::contents::{OFFER, Offer, read_changeset, read_manifest};
use super::super::images::{IMAGE, host_of};
use super::super::rehearse::{KIND as REHEARSAL, Order};
use super::super::stage::{WAITING, Waiting, needed, rehearsal_of};
use super::super::{Fleet, FleetError};
use super::pin::{PIN, Pin};
use super::{KEEP, SAGA};

/// A rehearsal that is older may lose its contents, in milliseconds.
const REHEARSAL_MS: Millis = 30 * 24 * 3600 * 1000;

/// What is on record and needs contents.
#[derive(Default)]
pub(super) struct OnRecord {
    /// Needed as such.
    names: BTreeSet<ContentHash>,
    /// Needed with all that their paths have, and what they are of.
    manifests: BTreeMap<ContentHash, String>,
    /// The same of what is no image yet.
    offered: BTreeSet<ContentHash>,
    /// Needed with what they bring.
    changesets: BTreeSet<ContentHash>,
    /// Rehearsals on their way to a host.
    staged: BTreeSet<ContentHash>,
    images: BTreeMap<String, api::Image>,
    /// Manifests that hosts are told of.
    told: BTreeSet<ContentHash>,
    /// Updates of images that a rehearsal on a stage is held on.
    held_on: BTreeSet<String>,
}

/// The contents that are needed, as far as the record was looked at.
#[derive(Default)]
pub(super) struct Mark {
    needed: BTreeSet<ContentHash>,
    /// Manifests and changesets that were read: what one needs never changes.
    read: BTreeSet<ContentHash>,
}

impl OnRecord {
    /// Images that newer ones stand for and nothing names, with their hosts and ids.
    pub(super) fn old_images(&self) -> BTreeMap<String, (String, String)> {
        let mut by_host: BTreeMap<&str, Vec<(&String, &api::Image)>> = BTreeMap::new();
        for (name, image) in &self.images {
            by_host.entry(host_of(name).unwrap_or(name)).or_default().push((name, image));
        }
        let older = by_host.into_values().flat_map(|images| images.into_iter().rev().skip(KEEP));
        let old = older.filter(|(_, image)| !self.told.contains(&image.manifest) && !self.held_on.contains(&image.id));
        old.map(|(name, image)| (name.clone(), (image.host.clone(), image.id.clone()))).collect()
    }

    fn command(&mut self, command: Command) {
        match command.verb {
            Verb::Rehearse(order) => self.names.extend(order.files.iter().map(|sent| sent.content)),
            Verb::Rebuild(wanted) => self.told_of(wanted.manifest, &command.id),
            Verb::Stage(wanted) => {
                self.told_of(wanted.manifest, &command.id);
                self.names.extend(wanted.rehearse.files.iter().map(|sent| sent.content));
            }
            Verb::Image(wanted) => self.told.extend(wanted.since),
            Verb::Prepare { what, .. } => self.part(&what),
            Verb::Commit { .. } | Verb::Unwind { .. } | Verb::Run { .. } | Verb::Watch { .. } => {}
        }
    }

    fn told_of(&mut self, manifest: ContentHash, command: &str) {
        self.told.insert(manifest);
        self.manifests.insert(manifest, command.to_owned());
    }

    fn part(&mut self, what: &What) {
        self.staged.extend(what.staged());
    }

    /// Reads what is named, and notes what that needs.
    fn follow(self, blobs: &dyn BlobStore, mut mark: Mark) -> Result<Mark, FleetError> {
        mark.needed.extend(self.names);
        for (id, of) in self.manifests {
            mark.follow(id, || match read_manifest(blobs, id) {
                // With that there is no image.
                Err(FleetError::Blobs(BlobError::Absent(_))) if !blobs.contains(id)? => Ok(None),
                Err(FleetError::Blobs(BlobError::Absent(_))) => Err(damaged(&of, id)),
                read => read.map(|manifest| Some(contents(&manifest))),
            })?;
        }
        for id in self.offered {
            mark.follow(id, || Ok(there(read_manifest(blobs, id))?.map(|manifest| contents(&manifest))))?;
        }
        for id in self.changesets {
            mark.follow(id, || Ok(there(read_changeset(blobs, id))?.map(|changeset| fresh(&changeset))))?;
        }
        for id in self.staged {
            mark.needed.insert(id);
            mark.needed.extend(there(needed(blobs, id))?.into_iter().flatten());
        }
        Ok(mark)
    }
}

impl Mark {
    /// Notes what this needs, and what is in it; it is read once, unless it is not there to be read.
    fn follow(
        &mut self,
        id: ContentHash,
        read: impl FnOnce() -> Result<Option<BTreeMap<ContentHash, u64>>, FleetError>,
    ) -> Result<(), FleetError> {
        self.needed.insert(id);
        if !self.read.contains(&id)
            && let Some(contents) = read()?
        {
            self.needed.extend(contents.into_keys());
            self.read.insert(id);
        }
        Ok(())
    }

    pub(super) fn needs(&self, name: &ContentHash) -> bool {
        self.needed.contains(name)
    }
}

/// Of an offer or a rehearsal that is not whole nothing is needed: it is no image, or is refused at apply.
fn there<T>(read: Result<T, FleetError>) -> Result<Option<T>, FleetError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(FleetError::Blobs(BlobError::Absent(_)) | FleetError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn damaged(of: &str, id: ContentHash) -> FleetError {
    let what = format!("the manifest of {of} is damaged, and what it needs is not known: no content was dropped");
    let hint = format!(
        "three newer images of its host take its place; if there will be none, delete the content {id} by hand"
    );
    FleetError::refused(what, hint)
}

impl Fleet {
    /// Looks at the record again and adds what is needed. Images of the names `without` are as good as dropped.
    pub(super) async fn marked(&self, mark: Mark, without: &BTreeSet<String>) -> Result<Mark, FleetError> {
        let mut record = self.on_record().await?;
        for (name, image) in std::mem::take(&mut record.images) {
            if !without.contains(&name) {
                record.manifests.insert(image.manifest, format!("image {name}"));
            }
        }
        self.with_blobs(move |blobs| record.follow(blobs, mark)).await
    }

    /// All that is on record and needs contents, or names an image.
    pub(super) async fn on_record(&self) -> Result<OnRecord, FleetError> {
        let mut out = OnRecord::default();
        let offers: Vec<(String, Offer)> = self.all(OFFER).await?;
        let waiting: Vec<(String, Waiting)> = self.all(WAITING).await?;
        let mut open: BTreeSet<String> = waiting.into_iter().map(|(_, waiting)| waiting.rehearsal).collect();
        out.staged.extend(self.all::<Pin>(PIN).await?.into_iter().flat_map(|(_, pin)| pin.staged));
        let orders: Vec<(String, Order)> = self.all(REHEARSAL).await?;
        let mut under_way = BTreeSet::new();
        for command in self.control.open_commands().await? {
            // Words to who drives a change are no commands.
            if !command.host.starts_with('@') {
                open.extend(rehearsal_of(&command.id, &command.host).map(|(rehearsal, _)| rehearsal.to_owned()));
                out.command(serde_json::from_str(&command.body).map_err(FleetError::damaged("a command"))?);
            }
            under_way.insert(command.id);
        }
        // The offer of a command that is done is an image, or came to nothing.
        for (_, offer) in offers.into_iter().filter(|(id, _)| under_way.contains(id)) {
            out.offered.insert(offer.manifest);
        }
        for (id, order) in orders {
            if open.contains(&id) || self.now().saturating_sub(order.at) <= REHEARSAL_MS {
                self.rehearsal_needs(&id, &order, open.contains(&id), &mut out).await?;
            }
        }
        for saga in self.control.open_sagas().await?.into_iter().filter(|saga| saga.id != SAGA) {
            let change: Change = serde_json::from_str(&saga.state).map_err(FleetError::damaged("a change"))?;
            change.rollout.hosts.values().for_each(|part| out.part(&part.what));
        }
        out.images = self.all(IMAGE).await?.into_iter().collect();
        Ok(out)
    }

    async fn rehearsal_needs(&self, id: &str, order: &Order, open: bool, out: &mut OnRecord) -> Result<(), FleetError> {
        out.names.extend(order.rehearse.files.iter().map(|sent| sent.content));
        let Some(staging) = &order.stage else { return Ok(()) };
        out.names.extend(staging.manifests.values());
        let answers = self.answers(id, order).await?;
        if open || answers.values().any(Option::is_none) {
            out.held_on.insert(staging.images.clone());
        }
        for answer in answers.into_values().flatten() {
            if let Answer::Rehearsed { record, .. } = answer {
                out.changesets.extend(record.changesets());
            }
        }
        Ok(())
    }

    /// All documents of a kind with their names.
    pub(super) async fn all<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<(String, T)>, FleetError> {
        let documents = self.control.documents_of(kind).await?;
        let read = |(name, body): (String, String)| {
            let read = serde_json::from_str(&body).map_err(FleetError::damaged(format!("{kind} {name}")))?;
            Ok((name, read))
        };
        documents.into_iter().map(read).collect()
    }
}
