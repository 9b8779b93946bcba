//! What a change needs before it may be applied, as the system file says: who may, how old the rehearsal may be, a second person.
//!
//! Everything is asked of the system that is in force now, not of the one that was when the rehearsal was held.

use greenroom_core::api;
use greenroom_core::document::show_duration;
use greenroom_core::system::{Host, Policy, Rights, System};
use greenroom_store::ledger::Draft;

use super::rehearse::Order;
use super::system::{Asker, Held};
use super::{Fleet, FleetError};

impl Fleet {
    /// Whether a person may apply to these hosts, or take back there.
    ///
    /// # Errors
    /// Refused, and who may.
    pub(super) fn may_apply(
        held: Option<&Held>,
        hosts: &[String],
        who: Asker<'_>,
        what: &str,
    ) -> Result<(), FleetError> {
        let Some(held) = held else { return operator(who, what) };
        let policy = policy(&held.system, hosts);
        if policy.may_apply.is_empty() {
            return operator(who, what);
        }
        if allowed(&held.system, &policy, who) {
            return Ok(());
        }
        let rules = policy.words().into_iter().filter(|line| line.starts_with("may apply")).collect::<Vec<_>>();
        Err(FleetError::Forbidden {
            what: format!("{} may not {what} on {}", who.name, hosts.join(", ")),
            hint: format!("the system file says who: {}", rules.join("; and ")),
        })
    }

    /// Whether a rehearsal may be applied now.
    ///
    /// # Errors
    /// Refused, and what is missing.
    pub(super) async fn may_go_live(
        &self,
        held: &Held,
        id: &str,
        order: &Order,
        hosts: &[String],
        who: Asker<'_>,
    ) -> Result<(), FleetError> {
        let policy = policy(&held.system, hosts);
        let age = u64::try_from(self.now() - order.at).unwrap_or(0);
        if let Some(within) = policy.rehearsal_within
            && u128::from(age) > within.as_millis()
        {
            let age = show_duration(std::time::Duration::from_secs(age / 1000));
            return Err(FleetError::refused(
                format!(
                    "{id} is {age} old; on {} a rehearsal must be younger than {}",
                    hosts.join(", "),
                    show_duration(within)
                ),
                "rehearse again",
            ));
        }
        if policy.second_person {
            self.second_person(held, &policy, id, who).await?;
        }
        Ok(())
    }

    async fn second_person(&self, held: &Held, policy: &Policy, id: &str, who: Asker<'_>) -> Result<(), FleetError> {
        let approvals = self.approvals(id).await?;
        let others: Vec<&api::Approval> = approvals.iter().filter(|one| one.person != who.name).collect();
        // Whoever has lost the right since has no say.
        let counts = |one: &&&api::Approval| {
            let rights = Rights::ALL.into_iter().find(|rights| rights.word() == one.rights).unwrap_or(Rights::Viewer);
            allowed(&held.system, policy, Asker { name: &one.person, rights })
        };
        if others.iter().any(|one| counts(&one)) {
            return Ok(());
        }
        let what = match (approvals.is_empty(), others.is_empty()) {
            (true, _) => format!("{id} needs a second person, and nobody has approved it"),
            (_, true) => format!("{id} needs a second person, and only {} has approved it", who.name),
            _ => format!("{id} needs a second person, and nobody who has approved it may apply it any more"),
        };
        Err(FleetError::refused(what, format!("somebody else who may apply it says: greenroom approve {id}")))
    }

    /// A person who may apply a rehearsal says that it may be applied.
    ///
    /// # Errors
    /// It is not over, or the person may not apply it.
    pub async fn approve(&self, id: &str, who: Asker<'_>, why: Option<&String>) -> Result<api::Rehearsal, FleetError> {
        let order = self.order(id).await?;
        let rehearsal = self.rehearsal(id).await?;
        if !rehearsal.over {
            return Err(FleetError::refused(format!("{id} is not over"), format!("greenroom follow {id}")));
        }
        let held = self.system().await?;
        Self::may_apply(held.as_ref(), &order.hosts, who, "approve")?;
        let approval =
            api::Approval { person: who.name.to_owned(), rights: who.rights.word().to_owned(), at: self.now() };
        let draft = Draft {
            kind: "approval".to_owned(),
            rehearsal: Some(id.to_owned()),
            why: why.cloned(),
            detail: serde_json::json!({ "hosts": order.hosts, "system": held.as_ref().map(|held| &held.in_force) }),
            ..Draft::default()
        };
        // The record comes first: an approval that counts is in the ledger.
        self.note(format!("approval {id} {}", who.name), who.name, draft).await?;
        self.write(&kind(id), who.name, "the approval", &approval).await?;
        self.rehearsal(id).await
    }

    /// Who has approved a rehearsal.
    pub(super) async fn approvals(&self, id: &str) -> Result<Vec<api::Approval>, FleetError> {
        let mut out = Vec::new();
        for person in self.control.documents(&kind(id)).await? {
            out.extend(self.read(&kind(id), &person, "an approval").await?);
        }
        Ok(out)
    }
}

/// Each person's approval is a document of its own: two at once take nothing from each other.
fn kind(id: &str) -> String {
    format!("approval {id}")
}

/// Where nothing else is declared, every operator may.
fn operator(who: Asker<'_>, what: &str) -> Result<(), FleetError> {
    if who.rights >= Rights::Operator {
        return Ok(());
    }
    Err(FleetError::Forbidden {
        what: format!("{} is {}; to {what} needs operator", who.name, who.rights.word()),
        hint: "ask an operator, or an admin for another token".to_owned(),
    })
}

/// Whether a person may apply under a policy.
fn allowed(system: &System, policy: &Policy, who: Asker<'_>) -> bool {
    match policy.may_apply.is_empty() {
        true => who.rights >= Rights::Operator,
        false => system.may_apply(policy, who.name, who.rights),
    }
}

/// The strictest of the policies of these hosts; for one that is not declared, the system's own.
pub(super) fn policy(system: &System, hosts: &[String]) -> Policy {
    let stranger = |name: &String| Host { name: name.clone(), address: name.clone(), ssh: None, roles: Vec::new() };
    let meant: Vec<Host> =
        hosts.iter().map(|name| system.host(name).cloned().unwrap_or_else(|| stranger(name))).collect();
    system.policy_for(&meant)
}
