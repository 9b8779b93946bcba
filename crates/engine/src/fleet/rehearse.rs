//! A rehearsal on many hosts: each holds its own, on a copy of itself, or a [stage](super::stage) holds it on copies of their images.

use std::collections::BTreeMap;

use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::wire::{Answer, Rehearse, Since, Verb};
use greenroom_core::{ContentHash, api};
use greenroom_store::control::Millis;
use greenroom_store::ledger::Draft;
use serde::{Deserialize, Serialize};

use super::stage::{Staging, WAITING};
use super::{Fleet, FleetError, command};

/// What is on record of it; the answers are in the mailboxes.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) rehearse: Rehearse,
    pub(super) person: String,
    pub(super) at: Millis,
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    system: Option<api::InForce>,
    #[serde(default)]
    pub(super) stage: Option<Staging>,
}

/// The kind of document that a rehearsal is.
pub(super) const KIND: &str = "rehearsal";

impl Fleet {
    /// Begins a rehearsal on hosts.
    ///
    /// # Errors
    /// There is no such host; one that a stage needs is not in touch, or too old; the state's.
    pub async fn rehearse(&self, wanted: &api::NewRehearsal, person: &str) -> Result<api::Begun, FleetError> {
        let held = self.system().await?;
        let hosts = self.select(&wanted.on, held.as_ref()).await?;
        let stage = self.stage_for(&wanted.held, held.as_ref()).await?;
        if let Some(stage) = &stage {
            self.all_in_touch(stage, &hosts).await?;
            let hosts = hosts.iter().map(|host| (host.as_str(), Since::STAGED));
            self.all_know(hosts.chain([(stage.as_str(), Since::STAGE)])).await?;
        }
        let id = self.next_id("r").await?;
        let stage = match &stage {
            Some(stage) => Some(self.stage(&id, stage).await?),
            None => None,
        };
        let images = stage.as_ref().map(|stage| stage.images.clone());
        let rehearse = Rehearse { declared: None, ..wanted.rehearse.clone() };
        let order = Order {
            rehearse: rehearse.clone(),
            person: person.to_owned(),
            at: self.now(),
            hosts: hosts.clone(),
            system: held.as_ref().map(|held| held.in_force.clone()),
            stage,
        };
        self.write_order(&id, &order).await?;
        let files: Vec<ContentHash> = rehearse.files.iter().map(|sent| sent.content).collect();
        if !files.is_empty() && !self.missing(files).await?.is_empty() {
            self.control.drop_document(KIND, &id).await?;
            if let Some(images) = &images {
                self.control.drop_document(WAITING, images).await?;
            }
            return Err(FleetError::refused(
                "not all files of the change are here",
                "rehearse again: what is here is not sent again",
            ));
        }
        if let Some(images) = images {
            self.begin_images(&images, &hosts, None, person).await?;
            return Ok(api::Begun { id, hosts });
        }
        let for_host = |host: &String| {
            let declared = held.as_ref().map(|held| held.system.declared_for(host));
            let verb = Verb::Rehearse(Box::new(Rehearse { declared, ..rehearse.clone() }));
            command(name(&id, host), host, 0, person, verb)
        };
        let commands = hosts.iter().map(for_host).collect::<Result<Vec<_>, FleetError>>()?;
        self.control.enqueue(&commands, None, self.now()).await?;
        Ok(api::Begun { id, hosts })
    }

    pub(super) async fn write_order(&self, id: &str, order: &Order) -> Result<(), FleetError> {
        self.write(KIND, id, "the rehearsal", order).await
    }

    pub(super) async fn order(&self, id: &str) -> Result<Order, FleetError> {
        let order = self.read(KIND, id, &format!("rehearsal {id}")).await?;
        order.ok_or_else(|| FleetError::Unknown(format!("there is no rehearsal {id}")))
    }

    /// What each host answered so far.
    pub(super) async fn answers(
        &self,
        id: &str,
        order: &Order,
    ) -> Result<BTreeMap<String, Option<Answer>>, FleetError> {
        if let Some(staging) = &order.stage {
            return self.staged_answers(id, order, staging).await;
        }
        let names: Vec<String> = order.hosts.iter().map(|host| name(id, host)).collect();
        let results = self.control.results_of(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let mut out: BTreeMap<String, Option<Answer>> = order.hosts.iter().map(|host| (host.clone(), None)).collect();
        for result in results {
            let answer = serde_json::from_str(&result.result);
            let answer = answer.map_err(FleetError::damaged(format!("the answer to {}", result.id)))?;
            out.insert(result.host, Some(answer));
        }
        Ok(out)
    }

    /// A rehearsal as far as it is.
    ///
    /// # Errors
    /// There is none of this name; the state's.
    pub async fn rehearsal(&self, id: &str) -> Result<api::Rehearsal, FleetError> {
        let order = self.order(id).await?;
        let answers = self.answers(id, &order).await?;
        let stage = match &order.stage {
            Some(staging) => Some(self.on_stage(id, staging).await?),
            None => None,
        };
        let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (host, answer) in &answers {
            if let Some(Answer::Rehearsed { effect, .. }) = answer {
                alike.entry(effect.clone()).or_default().push(host.clone());
            }
        }
        let mut alike: Vec<Vec<String>> = alike.into_values().collect();
        alike.sort_by_key(|hosts| std::cmp::Reverse(hosts.len()));
        Ok(api::Rehearsal {
            id: id.to_owned(),
            rehearse: order.rehearse,
            person: order.person,
            at: order.at,
            over: answers.values().all(Option::is_some),
            hosts: answers.into_iter().map(|(host, answer)| (host, on_host(answer))).collect(),
            alike,
            system: order.system,
            approvals: self.approvals(id).await?,
            stage,
        })
    }

    /// Hosts have answered: those who follow the rehearsal hear of it.
    pub(super) async fn rehearsed(&self, id: &str, hosts: &[&str]) -> Result<(), FleetError> {
        let now = self.rehearsal(id).await?;
        let mut events = Vec::new();
        for host in hosts {
            let (step, trouble) = match now.hosts.get(*host) {
                Some(api::OnHost::Held { record }) => (record["verdict"].as_str().unwrap_or_default().to_owned(), None),
                Some(api::OnHost::Failed { failed }) => ("failed".to_owned(), Some(failed.what.clone())),
                _ => continue,
            };
            events.push(api::Event::Host { host: (*host).to_owned(), step, trouble });
        }
        let bodies: Result<Vec<String>, _> = events.iter().map(serde_json::to_string).collect();
        let bodies = bodies.map_err(FleetError::damaged("an event"))?;
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        if !bodies.is_empty() {
            self.control.append_events(id, &bodies, self.now()).await?;
        }
        if now.over {
            let outcome = verdict(&now);
            let detail = serde_json::json!({ "hosts": now.hosts.keys().collect::<Vec<_>>(), "outcome": outcome, "alike": now.alike, "system": now.system });
            let draft = Draft {
                kind: "rehearsal".to_owned(),
                rehearsal: Some(id.to_owned()),
                why: now.rehearse.why.clone(),
                detail,
                ..Draft::default()
            };
            self.note(format!("rehearsal {id}"), &now.person, draft).await?;
            self.tell(id, &api::Event::Over { outcome }).await?;
        }
        Ok(())
    }
}

/// The name of a host's command.
fn name(id: &str, host: &str) -> String {
    format!("{id}.{host}")
}

fn on_host(answer: Option<Answer>) -> api::OnHost {
    match answer {
        None => api::OnHost::Running,
        Some(Answer::Rehearsed { record, .. }) => {
            api::OnHost::Held { record: serde_json::to_value(record).unwrap_or_default() }
        }
        Some(Answer::Failed(failed)) => api::OnHost::Failed { failed },
        Some(other) => api::OnHost::Failed { failed: super::run::unexpected(&other) },
    }
}

/// One word for all hosts.
fn verdict(rehearsal: &api::Rehearsal) -> String {
    let ready = |on: &api::OnHost| matches!(on, api::OnHost::Held { record } if record["verdict"] == "ready");
    if rehearsal.hosts.values().all(ready) { "ready".to_owned() } else { "not ready".to_owned() }
}

/// What of a rehearsal is to be applied to a host: nothing when it did nothing there.
pub(super) fn has_effect(record: &Rehearsal) -> bool {
    record.entries > 0 || !record.parts.is_empty() || !record.actions.is_empty()
}
