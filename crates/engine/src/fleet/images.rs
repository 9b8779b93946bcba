//! Images of hosts: brought up to date, listed; and a host that becomes what another one is on record.
//!
//! An image is a document: its manifest's name and what is known of it. Its contents are among the control plane's, each once
//! for all hosts and images. It is on record when every one of them is there.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use greenroom_core::wire::{self, Answer, Class, Command, Failed, Verb};
use greenroom_core::{ContentHash, api};
use greenroom_store::blobs::BlobError;
use greenroom_store::control::Millis;
use greenroom_store::ledger::{Draft, Filter, Ledger as _};
use serde::{Deserialize, Serialize};

use super::contents::{read_manifest, with_lengths};
use super::{Asker, Fleet, FleetError, answer, command, subject};

/// The kinds of documents.
pub(super) const IMAGE: &str = "image";
const RUN: &str = "image-run";
const REBUILD: &str = "rebuild";

/// Images that are being brought up to date.
#[derive(Serialize, Deserialize)]
struct Run {
    person: String,
    at: Millis,
    hosts: Vec<String>,
}

/// A rebuild that was begun.
#[derive(Serialize, Deserialize)]
struct Order {
    person: String,
    at: Millis,
    host: String,
    of: String,
    image: String,
    image_at: Millis,
    later: Vec<String>,
    why: Option<String>,
}

/// An image's name among the documents: those of a host, one after the other.
pub(super) fn document(host: &str, id: &str) -> String {
    format!("{host}/{:0>12}", id.trim_start_matches('g'))
}

/// The host of such a name.
pub(super) fn host_of(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(host, _)| host)
}

impl Fleet {
    /// Brings the images of hosts up to date.
    ///
    /// # Errors
    /// There is no such host; the state's.
    pub async fn image(&self, wanted: &api::NewImages, person: &str) -> Result<api::Begun, FleetError> {
        let held = self.system().await?;
        let hosts = self.select(&wanted.on, held.as_ref()).await?;
        let id = self.next_id("g").await?;
        self.begin_images(&id, &hosts, wanted.limit_rate, person).await?;
        Ok(api::Begun { id, hosts })
    }

    pub(super) async fn begin_images(
        &self,
        id: &str,
        hosts: &[String],
        limit_rate: Option<u64>,
        person: &str,
    ) -> Result<(), FleetError> {
        let run = Run { person: person.to_owned(), at: self.now(), hosts: hosts.to_vec() };
        self.write(RUN, id, "the images", &run).await?;
        let mut commands = Vec::new();
        for host in hosts {
            let since = self.newest(host).await?.map(|image| image.manifest);
            let verb = Verb::Image(Box::new(wire::Image { since, limit_rate }));
            commands.push(command(format!("{id}.{host}"), host, 0, person, verb)?);
        }
        self.control.enqueue(&commands, None, self.now()).await?;
        Ok(())
    }

    /// The images of a host, the newest first.
    pub(super) async fn images_of(&self, host: &str) -> Result<Vec<api::Image>, FleetError> {
        let names = self.control.documents(IMAGE).await?;
        let mut out = Vec::new();
        for name in names.iter().filter(|name| host_of(name) == Some(host)).rev() {
            out.extend(self.image_at(name).await?);
        }
        Ok(out)
    }

    /// The newest image of a host.
    async fn newest(&self, host: &str) -> Result<Option<api::Image>, FleetError> {
        let names = self.control.documents(IMAGE).await?;
        match names.iter().rfind(|name| host_of(name) == Some(host)) {
            Some(name) => self.image_at(name).await,
            None => Ok(None),
        }
    }

    pub(super) async fn image_at(&self, name: &str) -> Result<Option<api::Image>, FleetError> {
        self.read(IMAGE, name, &format!("image {name}")).await
    }

    /// The newest image of each host, or all of one.
    ///
    /// # Errors
    /// The state's.
    pub async fn images(&self, host: Option<&str>) -> Result<api::Images, FleetError> {
        if let Some(host) = host {
            return Ok(api::Images { images: self.images_of(host).await? });
        }
        let mut newest = BTreeMap::new();
        for name in self.control.documents(IMAGE).await? {
            if let Some(host) = host_of(&name) {
                newest.insert(host.to_owned(), name.clone());
            }
        }
        let mut images = Vec::new();
        for name in newest.values() {
            images.extend(self.image_at(name).await?);
        }
        Ok(api::Images { images })
    }

    /// Images being brought up to date, as far as they are.
    ///
    /// # Errors
    /// There are none of this name; the state's.
    pub async fn image_run(&self, id: &str) -> Result<api::ImageRun, FleetError> {
        let run = self.read::<Run>(RUN, id, "the images").await?;
        let run = run.ok_or_else(|| FleetError::Unknown(format!("there is no update of images {id}")))?;
        let mut hosts = BTreeMap::new();
        for host in run.hosts {
            let command = self.control.command(&format!("{id}.{host}")).await?;
            let on = match command.as_ref().map(answer).transpose()?.flatten() {
                None => api::OnImage::Running,
                Some(Answer::Failed(failed)) => api::OnImage::Failed { failed },
                Some(Answer::Imaged { .. }) => match self.image_at(&document(&host, id)).await? {
                    Some(image) => api::OnImage::Done { image: Box::new(image) },
                    None if self
                        .newest(&host)
                        .await?
                        .is_some_and(|newest| document(&host, id) < document(&host, &newest.id)) =>
                    {
                        api::OnImage::Failed { failed: dropped() }
                    }
                    None => api::OnImage::Failed { failed: not_whole() },
                },
                Some(other) => api::OnImage::Failed { failed: super::run::unexpected(&other) },
            };
            hosts.insert(host, on);
        }
        let over = hosts.values().all(|on| !matches!(on, api::OnImage::Running));
        Ok(api::ImageRun { id: id.to_owned(), over, hosts })
    }

    /// A host says that its image is here: it is on record when that is so. Comes before the answer itself is on record, and may
    /// come again.
    pub(super) async fn imaged(&self, host: &str, id: &str, answer: &Answer) -> Result<(), FleetError> {
        let Some(run) = subject(id, host) else { return Ok(()) };
        let Answer::Imaged { manifest, paths, bytes, sent, left_out, system } = answer else { return Ok(()) };
        // One that was never offered, or whose command is done, is nothing.
        let Ok(offered) = self.offer(host, id).await else { return Ok(()) };
        let manifest = *manifest;
        // The offer was on record before this is asked, and stays until the image is.
        if offered != manifest || !self.is_whole(manifest).await? {
            return Ok(());
        }
        let Some(command) = self.control.command(id).await? else { return Ok(()) };
        let now = self.now();
        let since = self.newest(host).await?.filter(|image| image.id != run).map(|image| image.manifest);
        let image = api::Image {
            id: run.to_owned(),
            host: host.to_owned(),
            at: now,
            took_ms: now - command.queued_at,
            manifest,
            since,
            paths: *paths,
            bytes: *bytes,
            sent: *sent,
            left_out: left_out.clone(),
            system: system.clone(),
        };
        self.write(IMAGE, &document(host, run), "the image", &image).await?;
        let body: Command = serde_json::from_str(&command.body).map_err(FleetError::damaged("the command"))?;
        let detail = serde_json::json!({
            "image": run, "hosts": [host], "manifest": manifest, "paths": paths, "sent": sent, "duration_ms": image.took_ms,
        });
        let draft = Draft { kind: "image".to_owned(), detail, ..Draft::default() };
        self.note(format!("image {id}"), &body.person, draft).await
    }

    /// Whether all that an image needs is here, and stays.
    async fn is_whole(&self, manifest: ContentHash) -> Result<bool, FleetError> {
        let read = self.with_blobs(move |blobs| {
            blobs.sync()?;
            read_manifest(blobs, manifest)
        });
        let names = match read.await {
            Ok(read) => with_lengths(&read).chain([(manifest, None)]).collect(),
            Err(FleetError::Blobs(BlobError::Absent(_))) => return Ok(false),
            Err(error) => return Err(error),
        };
        // By now what was being made durable beside this is.
        Ok(!self.lost.load(Ordering::Relaxed) && self.absent(names).await?.is_empty())
    }

    /// Makes a host what another one is on record. It takes whoever may apply on both: the one becomes what the other is, with its
    /// keys.
    ///
    /// # Errors
    /// The person may not; there is no such host or no image of it; the state's.
    pub async fn rebuild(&self, wanted: &api::NewRebuild, who: Asker<'_>) -> Result<api::Begun, FleetError> {
        let hosts = self.select(std::slice::from_ref(&wanted.host), None).await?;
        if wanted.host == wanted.of {
            return Err(FleetError::usage(format!("{} is {}", wanted.host, wanted.of), "greenroom revert --on HOST"));
        }
        let both = [wanted.host.clone(), wanted.of.clone()];
        Self::may_apply(self.system().await?.as_ref(), &both, who, "rebuild")?;
        if let Some(lock) = self.control.host_locks().await?.into_iter().find(|lock| lock.host == wanted.host) {
            let what = format!("{} is held by {}", wanted.host, lock.change);
            return Err(FleetError::refused(what, format!("greenroom follow {}", lock.change)));
        }
        let image = self.newest(&wanted.of).await?.ok_or_else(|| {
            let hint = format!("greenroom image update --on {}, while it lives", wanted.of);
            FleetError::usage(format!("there is no image of {}", wanted.of), hint)
        })?;
        let later = self.later(&wanted.of, image.at).await?;
        let id = self.next_id("b").await?;
        let order = Order {
            person: who.name.to_owned(),
            at: self.now(),
            host: wanted.host.clone(),
            of: wanted.of.clone(),
            image: image.id.clone(),
            image_at: image.at,
            later,
            why: wanted.why.clone(),
        };
        self.write(REBUILD, &id, "the rebuild", &order).await?;
        let verb = Verb::Rebuild(Box::new(wire::Rebuild {
            of: wanted.of.clone(),
            manifest: image.manifest,
            system: image.system,
            why: wanted.why.clone(),
        }));
        let command = command(format!("{id}.{}", wanted.host), &wanted.host, 0, who.name, verb)?;
        self.control.enqueue(std::slice::from_ref(&command), None, self.now()).await?;
        // As long as it is on record now, the command keeps its contents.
        if self.image_at(&document(&wanted.of, &image.id)).await?.is_none() {
            self.withdraw(&command.id, &wanted.host).await?;
            let what = format!("newer images of {} have taken the place of {}", wanted.of, image.id);
            return Err(FleetError::refused(what, "again: the newest is taken"));
        }
        Ok(api::Begun { id, hosts })
    }

    /// The changes of a host that are on record and came after `at`.
    async fn later(&self, host: &str, at: Millis) -> Result<Vec<String>, FleetError> {
        let since = jiff::Timestamp::from_millisecond(at).map(|at| format!("{at:.3}")).unwrap_or_default();
        let entries = self.with_ledger(|ledger| ledger.entries(&Filter::default())).await?.entries;
        let is_of = |entry: &greenroom_store::ledger::Entry| {
            let hosts = entry.detail["hosts"].as_array();
            let has = |name: &serde_json::Value| name.as_str() == Some(host) || name["host"].as_str() == Some(host);
            entry.at > since
                && matches!(entry.kind.as_str(), "apply" | "undo")
                && hosts.is_some_and(|hosts| hosts.iter().any(has))
        };
        Ok(entries.iter().filter(|entry| is_of(entry)).filter_map(|entry| entry.change.clone()).collect())
    }

    async fn rebuild_order(&self, id: &str) -> Result<Order, FleetError> {
        let order = self.read(REBUILD, id, &format!("rebuild {id}")).await?;
        order.ok_or_else(|| FleetError::Unknown(format!("there is no rebuild {id}")))
    }

    /// A rebuild as far as it is.
    ///
    /// # Errors
    /// There is none of this name; the state's.
    pub async fn rebuilding(&self, id: &str) -> Result<api::Rebuild, FleetError> {
        let order = self.rebuild_order(id).await?;
        let command = self.control.command(&format!("{id}.{}", order.host)).await?;
        let now = match command.as_ref().map(answer).transpose()?.flatten() {
            None => api::OnRebuild::Running,
            Some(Answer::Rebuilt { local, entries, fetched, services, own, notes }) => {
                api::OnRebuild::Done { local, entries, fetched, services, own, notes }
            }
            Some(Answer::Failed(failed)) => api::OnRebuild::Failed { failed },
            Some(Answer::TakenBack { why, local }) => api::OnRebuild::Failed { failed: taken_back(&why, local) },
            Some(other) => api::OnRebuild::Failed { failed: super::run::unexpected(&other) },
        };
        let ended = command.and_then(|command| command.done_at).unwrap_or_else(|| self.now());
        Ok(api::Rebuild {
            id: id.to_owned(),
            host: order.host,
            of: order.of,
            image_at: order.image_at,
            later: order.later,
            now,
            took_ms: ended - order.at,
        })
    }

    /// A command has its answer on record: what follows from that.
    pub(super) async fn over(&self, host: &str, id: &str) -> Result<(), FleetError> {
        let subject = subject(id, host).unwrap_or_default();
        match subject.chars().next() {
            Some('b') => self.rebuilt(subject).await,
            Some('g') => {
                self.forget_offer(id).await?;
                self.imaged_for_stage(subject).await
            }
            _ => Ok(()),
        }
    }

    /// A rebuild is over: that is on record with the time that it took.
    pub(super) async fn rebuilt(&self, id: &str) -> Result<(), FleetError> {
        let (order, now) = (self.rebuild_order(id).await?, self.rebuilding(id).await?);
        let (outcome, detail) = match &now.now {
            api::OnRebuild::Running => return Ok(()),
            api::OnRebuild::Done { local, entries, fetched, .. } => {
                ("done", serde_json::json!({ "change": local, "entries": entries, "fetched": fetched }))
            }
            api::OnRebuild::Failed { failed } => ("failed", serde_json::json!({ "why": failed.what })),
        };
        let detail = serde_json::json!({
            "hosts": [order.host], "of": order.of, "image": order.image, "outcome": outcome, "on_host": detail,
            "later": order.later, "duration_ms": now.took_ms,
        });
        let draft = Draft { kind: "rebuild".to_owned(), why: order.why, detail, ..Draft::default() };
        self.note(format!("rebuild {id}"), &order.person, draft).await
    }
}

fn not_whole() -> Failed {
    Failed::new(Class::Fault, "not all of its contents are here")
        .hint("greenroom image update again: what is here is not sent again")
}

fn dropped() -> Failed {
    Failed::new(Class::Refused, "it was dropped: there are newer ones").hint("greenroom image list")
}

fn taken_back(why: &str, local: Option<String>) -> Failed {
    let causes = local.into_iter().map(|local| format!("{local} on the host was taken back")).collect();
    Failed { causes, ..Failed::new(Class::Refused, why) }
}
