//! A rehearsal on a stage: the images of its hosts are brought up to date, then the change runs on a copy of each image, on one
//! machine.
//!
//! ```text
//! rehearse ─► gN: images of all hosts ─► the last answer ─► groups of hosts that are alike ─► a command to the stage for each
//!          ─► answers: those of the hosts ─► apply: the record among the contents, for each host by its hash
//! ```
//! A stage's command is named `rN.HOST.STAGE`. Nothing is in memory: each step follows from an answer that is on record, and an
//! answer is said again until what follows from it is.

use std::collections::BTreeMap;

use greenroom_core::api::{self, HeldAt, OnImage};
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::wire::{self, Answer, Failed, Verb};
use greenroom_core::{ContentHash, image};
use greenroom_store::blobs::{BlobError, BlobStore};
use greenroom_store::control::NewCommand;
use serde::{Deserialize, Serialize};

use super::alike::{Member, for_twin, groups, shareable};
use super::contents::{LONGEST, read_changeset};
use super::images::document;
use super::rehearse::Order;
use super::system::{Held, stranger};
use super::unserved::away;
use super::{Fleet, FleetError, command, subject};

/// The kind of document that says which rehearsal waits for images.
pub(super) const WAITING: &str = "staging";

/// Where a rehearsal is held that is not held on the hosts themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Staging {
    /// The stage.
    pub(super) host: String,
    /// The images that come first.
    pub(super) images: String,
    /// Hosts that one copy of the first stands for; `None`: the images are not there yet.
    groups: Option<Vec<Vec<String>>>,
    /// Hosts without an image.
    failed: BTreeMap<String, Failed>,
    /// The manifests of the others' images.
    pub(super) manifests: BTreeMap<String, ContentHash>,
}

/// For which hosts of a group the copy of the first stands, now that it is known what the change does.
#[derive(Serialize, Deserialize)]
struct Shared {
    with: Vec<String>,
}

/// The kind of document that says so, by the name of the group's command.
const SHARED: &str = "staged-for";

#[derive(Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) rehearsal: String,
}

impl Fleet {
    /// The stage that a rehearsal is to be held on; `None`: the hosts themselves.
    pub(super) async fn stage_for(&self, at: &HeldAt, held: Option<&Held>) -> Result<Option<String>, FleetError> {
        let declared: Vec<&str> = held.map_or_else(Vec::new, |held| {
            held.system.hosts.iter().filter(|host| host.is_stage()).map(|host| host.name.as_str()).collect()
        });
        let name = match (at, declared.first()) {
            (HeldAt::Hosts, _) | (HeldAt::AsDeclared, None) => return Ok(None),
            (HeldAt::AsDeclared | HeldAt::Stage(None), Some(first)) => *first,
            (HeldAt::Stage(None), None) => {
                let hint = "--stage=HOST, or `roles = [\"stage\"]` of a host in the system file";
                return Err(FleetError::usage("no host has the role `stage`", hint));
            }
            (HeldAt::Stage(Some(name)), Some(_)) if !declared.contains(&name.as_str()) => {
                let what = format!("{name} has not the role `stage` in the system file");
                return Err(FleetError::refused(what, format!("--stage={}", declared.join(", or --stage="))));
            }
            (HeldAt::Stage(Some(name)), _) => name.as_str(),
        };
        let joined = self.joined().await?;
        if !joined.iter().any(|host| host == name) {
            return Err(stranger(
                name,
                &joined,
                "greenroom join lets it in; --stage=no rehearses on the hosts themselves",
            ));
        }
        Ok(Some(name.to_owned()))
    }

    /// Nothing begins that would wait for a host which is away.
    pub(super) async fn all_in_touch(&self, stage: &str, hosts: &[String]) -> Result<(), FleetError> {
        let agents = self.control.agents().await?;
        let missing = |name: &str| agents.iter().find(|agent| agent.host == name && agent.holder.is_none());
        if let Some(stage) = missing(stage) {
            let otherwise = "greenroom status says since when; --stage=no rehearses on the hosts themselves";
            let (away, hint) = away(stage, otherwise);
            return Err(FleetError::refused(format!("the stage {away}"), hint));
        }
        match hosts.iter().find_map(|host| missing(host)) {
            None => Ok(()),
            Some(host) => {
                let (away, hint) = away(host, "greenroom status says since when; leave it out of --on");
                Err(FleetError::refused(format!("an image cannot be brought up to date: {away}"), hint))
            }
        }
    }

    /// Begins with the images.
    pub(super) async fn stage(&self, id: &str, stage: &str) -> Result<Staging, FleetError> {
        let images = self.next_id("g").await?;
        let waiting = Waiting { rehearsal: id.to_owned() };
        self.write(WAITING, &images, "what waits for images", &waiting).await?;
        Ok(Staging {
            host: stage.to_owned(),
            images,
            groups: None,
            failed: BTreeMap::new(),
            manifests: BTreeMap::new(),
        })
    }

    /// The rehearsal that waits for these images.
    pub(super) async fn waits_for(&self, images: &str) -> Result<Option<String>, FleetError> {
        let waiting = self.read::<Waiting>(WAITING, images, "what waits for images").await?;
        Ok(waiting.map(|waiting| waiting.rehearsal))
    }

    /// A host's image is there, or will not be: when that is so of all, the copies begin. May come again.
    pub(super) async fn imaged_for_stage(&self, images: &str) -> Result<(), FleetError> {
        let Some(id) = self.waits_for(images).await? else { return Ok(()) };
        let run = self.image_run(images).await?;
        if !run.over {
            return Ok(());
        }
        let mut order = self.order(&id).await?;
        let Some(mut staging) = order.stage.clone() else { return Ok(()) };
        let held = self.system().await?;
        let mut there = BTreeMap::new();
        for (host, on) in run.hosts {
            match on {
                OnImage::Done { image } => {
                    staging.manifests.insert(host.clone(), image.manifest);
                    let declared = held.as_ref().map(|held| held.system.declared_for(&host));
                    let declared = serde_json::to_string(&declared).map_err(FleetError::damaged("what is declared"))?;
                    there.insert(host, Member { image: *image, declared });
                }
                OnImage::Failed { failed } => drop(staging.failed.insert(host, failed)),
                OnImage::Running => return Ok(()),
            }
        }
        let groups = self.with_blobs(move |blobs| groups(blobs, &there)).await?;
        let first: Vec<String> = groups.iter().filter_map(|group| group.first().cloned()).collect();
        staging.groups = Some(groups);
        let commands = self.stage_commands(&id, &order, &staging, &first).await?;
        let failed: Vec<String> = staging.failed.keys().cloned().collect();
        order.stage = Some(staging);
        self.write_order(&id, &order).await?;
        self.control.enqueue(&commands, None, self.now()).await?;
        self.rehearsed(&id, &failed.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        self.control.drop_document(WAITING, images).await?;
        Ok(())
    }

    /// The commands to the stage for these hosts.
    async fn stage_commands(
        &self,
        id: &str,
        order: &Order,
        staging: &Staging,
        hosts: &[String],
    ) -> Result<Vec<NewCommand>, FleetError> {
        let held = self.system().await?;
        let keep: Vec<ContentHash> = self.images(None).await?.images.iter().map(|image| image.manifest).collect();
        let mut out = Vec::new();
        for host in hosts {
            let Some(image) = self.image_at(&document(host, &staging.images)).await? else { continue };
            let declared = held.as_ref().map(|held| held.system.declared_for(host));
            let verb = Verb::Stage(Box::new(wire::Stage {
                of: host.clone(),
                image: image.id,
                manifest: image.manifest,
                system: image.system,
                rehearse: wire::Rehearse { declared, ..order.rehearse.clone() },
                keep: keep.clone(),
            }));
            out.push(command(name(id, host, &staging.host), &staging.host, 0, &order.person, verb)?);
        }
        Ok(out)
    }

    /// The copy of a host has its answer. Where it is to stand for others too, that is settled now: for those for which it can't, a
    /// copy of their own begins. May come again. The hosts that have an answer by it.
    pub(super) async fn answered_on_stage(
        &self,
        id: &str,
        order: &Order,
        host: &str,
    ) -> Result<Vec<String>, FleetError> {
        let alone = vec![host.to_owned()];
        let Some(staging) = &order.stage else { return Ok(alone) };
        let Some(others) = staging.others(host) else { return Ok(alone) };
        let command = name(id, host, &staging.host);
        if let Some(Shared { with }) = self.read(SHARED, &command, "what is shared").await? {
            return Ok(alone.into_iter().chain(with).collect());
        }
        let with = match self.answer_on(&command).await? {
            Some(Answer::Rehearsed { record, .. }) => self.shares(*record, host, others, staging).await?,
            // What could not be held on one could not be held on any of them.
            Some(_) => others.to_vec(),
            // Somebody else said so.
            None => return Ok(alone),
        };
        let apart: Vec<String> = others.iter().filter(|other| !with.contains(other)).cloned().collect();
        let commands = self.stage_commands(id, order, staging, &apart).await?;
        self.control.enqueue(&commands, None, self.now()).await?;
        self.write(SHARED, &command, "what is shared", &Shared { with: with.clone() }).await?;
        Ok(alone.into_iter().chain(with).collect())
    }

    /// Which of these hosts, that are like `host`, may share what was rehearsed on its image.
    async fn shares(
        &self,
        record: Rehearsal,
        host: &str,
        others: &[String],
        staging: &Staging,
    ) -> Result<Vec<String>, FleetError> {
        let Some(image) = self.image_at(&document(host, &staging.images)).await? else { return Ok(Vec::new()) };
        let others: Vec<(String, ContentHash)> =
            others.iter().filter_map(|other| Some((other.clone(), *staging.manifests.get(other)?))).collect();
        let shared = self.with_blobs(move |blobs| {
            let mut out = Vec::new();
            if shareable(blobs, &record, &image.system.identity)? {
                for (other, manifest) in others {
                    if for_twin(blobs, &record, manifest)?.is_some() {
                        out.push(other);
                    }
                }
            }
            Ok(out)
        });
        match shared.await {
            // The stage did not bring what it says: each host will see what its own copy brings.
            Err(FleetError::Blobs(BlobError::Absent(_))) => Ok(Vec::new()),
            other => other,
        }
    }

    /// What each host's copy came to so far.
    pub(super) async fn staged_answers(
        &self,
        id: &str,
        order: &Order,
        staging: &Staging,
    ) -> Result<BTreeMap<String, Option<Answer>>, FleetError> {
        let mut out: BTreeMap<String, Option<Answer>> = order.hosts.iter().map(|host| (host.clone(), None)).collect();
        for (host, failed) in &staging.failed {
            out.insert(host.clone(), Some(Answer::Failed(failed.clone())));
        }
        for group in staging.groups.iter().flatten() {
            let Some((first, others)) = group.split_first() else { continue };
            let Some(answer) = self.answer_on(&name(id, first, &staging.host)).await? else { continue };
            let Some(with) = self.shared_with(id, first, others, staging).await? else { continue };
            for other in others {
                let own = if with.contains(other) {
                    Some(answer.clone())
                } else {
                    self.answer_on(&name(id, other, &staging.host)).await?
                };
                out.insert(other.clone(), own);
            }
            out.insert(first.clone(), Some(answer));
        }
        Ok(out)
    }

    async fn answer_on(&self, command: &str) -> Result<Option<Answer>, FleetError> {
        self.control.command(command).await?.as_ref().map(super::answer).transpose().map(Option::flatten)
    }

    /// The hosts that share what was rehearsed on the image of `first`; `None`: that is not settled.
    async fn shared_with(
        &self,
        id: &str,
        first: &str,
        others: &[String],
        staging: &Staging,
    ) -> Result<Option<Vec<String>>, FleetError> {
        if others.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let shared = self.read::<Shared>(SHARED, &name(id, first, &staging.host), "what is shared").await?;
        Ok(shared.map(|shared| shared.with))
    }

    /// As people see where it is held.
    pub(super) async fn on_stage(&self, id: &str, staging: &Staging) -> Result<api::OnStage, FleetError> {
        let mut shared = Vec::new();
        for group in staging.groups.iter().flatten() {
            let Some((first, others)) = group.split_first() else { continue };
            let with = self.shared_with(id, first, others, staging).await?.unwrap_or_default();
            if !with.is_empty() {
                shared.push(std::iter::once(first.clone()).chain(with).collect());
            }
        }
        Ok(api::OnStage { host: staging.host.clone(), images: staging.images.clone(), shared })
    }

    /// A rehearsal that was held on a stage, for a host: its record among the contents.
    pub(super) async fn staged(
        &self,
        id: &str,
        host: &str,
        record: Rehearsal,
        staging: &Staging,
    ) -> Result<ContentHash, FleetError> {
        let twin = if self.answer_on(&name(id, host, &staging.host)).await?.is_some() {
            None
        } else {
            staging.manifests.get(host).copied()
        };
        let declared = self.system().await?.map(|held| held.system.declared_for(host));
        let differs = FleetError::refused(format!("{host} is not as {id} was rehearsed"), "rehearse again");
        self.with_blobs(move |blobs| {
            let record = match twin {
                None => record,
                Some(manifest) => for_twin(blobs, &record, manifest)?.ok_or(differs)?,
            };
            let text =
                serde_json::to_vec(&wire::Staged { record, declared }).map_err(FleetError::damaged("the rehearsal"))?;
            let staged = blobs.put_bytes(&text)?;
            blobs.sync()?;
            Ok(staged)
        })
        .await
    }
}

impl Staging {
    /// The hosts that are like `host`, whose copy stands for them if it can; `None`: there are none.
    fn others(&self, host: &str) -> Option<&[String]> {
        let (_, others) =
            self.groups.iter().flatten().find_map(|group| group.split_first().filter(|(first, _)| *first == host))?;
        (!others.is_empty()).then_some(others)
    }
}

/// The name of a stage's command.
fn name(id: &str, host: &str, stage: &str) -> String {
    format!("{id}.{host}.{stage}")
}

/// Which rehearsal a command is of, and of which host's change: `host` has it in its mailbox.
pub(super) fn rehearsal_of<'a>(id: &'a str, host: &'a str) -> Option<(&'a str, &'a str)> {
    let subject = subject(id, host).filter(|subject| subject.starts_with('r'))?;
    Some(subject.split_once('.').unwrap_or((subject, host)))
}

/// What a host may read that is to put a rehearsal on record: the record, its changesets and what they bring.
pub(super) fn needed(blobs: &dyn BlobStore, staged: ContentHash) -> Result<Vec<ContentHash>, FleetError> {
    let text = blobs.read_range(staged, 0, LONGEST)?;
    let record = serde_json::from_slice::<wire::Staged>(&text).map_err(FleetError::damaged("the rehearsal"))?.record;
    let mut out = vec![staged];
    for id in record.changesets() {
        out.push(id);
        out.extend(image::fresh(&read_changeset(blobs, id)?).into_keys());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_whose_rehearsal_it_is() {
        let table = [
            ("r7.web1", "web1", Some(("r7", "web1"))),
            ("r7.web1.example.com", "web1.example.com", Some(("r7", "web1.example.com"))),
            ("r7.web1.example.com.stage1", "stage1", Some(("r7", "web1.example.com"))),
            ("r7.stage1.stage1", "stage1", Some(("r7", "stage1"))),
            ("r7.web1", "web2", None),
            ("g7.web1", "web1", None),
        ];
        for (id, host, wanted) in table {
            assert_eq!(rehearsal_of(id, host), wanted, "{id} {host}");
        }
    }
}
