//! The system file as a control plane has it: pushed by a person, on record, and in force from then on.
//!
//! What is kept is the text of its files. It is read anew whenever it is needed: what it means is said by `core::system` alone,
//! and a control plane of a later version reads it with its own eyes. Without a system file, hosts are what has joined, and
//! whoever is an operator may apply.

use greenroom_core::api;
use greenroom_core::hint;
use greenroom_core::system::{Bundle, Declaration, Host, Rights, Selector, System};
use greenroom_store::control::Millis;
use greenroom_store::ledger::{Draft, Ledger as _};
use serde::{Deserialize, Serialize};

use super::{Fleet, FleetError};

/// The kind of document that it is.
const KIND: &str = "system";

/// The name of the one that is in force.
const CURRENT: &str = "current";

/// What is on record of it.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    pushed: api::NewSystem,
    person: String,
    at: Millis,
}

/// The system that is in force.
pub(super) struct Held {
    pub(super) system: System,
    pub(super) in_force: api::InForce,
}

impl Fleet {
    /// Takes a system file in; it is in force from now on.
    ///
    /// # Errors
    /// It is not sound, with all that is wrong with it; or it means something else here than where it comes from.
    pub async fn push_system(&self, pushed: &api::NewSystem, person: &str) -> Result<api::DeclaredSystem, FleetError> {
        let system = read(pushed)?;
        let hash = system.hash().to_string();
        if hash != pushed.hash {
            return Err(FleetError::usage(
                "the system file means something else here than where it was read",
                "the programs may be of different versions: upgrade both",
            ));
        }
        let number = self.with_ledger(|ledger| ledger.next_id("note")).await?;
        let detail = serde_json::json!({
            "name": system.name,
            "system": in_force(pushed),
            "files": pushed.files.keys().collect::<Vec<_>>(),
            "hosts": system.hosts.iter().map(|host| &host.name).collect::<Vec<_>>(),
        });
        let draft = Draft { kind: "system".to_owned(), detail, ..Draft::default() };
        // The record comes first: what is in force is in the ledger.
        self.note(format!("note {number}"), person, draft).await?;
        let kept = Kept { pushed: pushed.clone(), person: person.to_owned(), at: self.now() };
        let text = serde_json::to_string(&kept).map_err(FleetError::damaged("the system file"))?;
        self.control.put_document(KIND, CURRENT, &text, self.now()).await?;
        self.declared_system().await
    }

    /// The system file, as it was pushed.
    ///
    /// # Errors
    /// The state's.
    pub async fn declared_system(&self) -> Result<api::DeclaredSystem, FleetError> {
        let Some(kept) = self.kept().await? else { return Ok(api::DeclaredSystem { held: None }) };
        let system = read(&kept.pushed)?;
        let joined = self.joined().await?;
        let absent = system.hosts.iter().map(|host| &host.name).filter(|host| !joined.contains(host));
        Ok(api::DeclaredSystem {
            held: Some(api::HeldSystem {
                not_joined: absent.cloned().collect(),
                name: system.name,
                in_force: in_force(&kept.pushed),
                person: kept.person,
                at: kept.at,
                file: kept.pushed.file,
                files: kept.pushed.files,
            }),
        })
    }

    async fn kept(&self) -> Result<Option<Kept>, FleetError> {
        self.read(KIND, CURRENT, "the system file").await
    }

    /// The system that is in force.
    pub(super) async fn system(&self) -> Result<Option<Held>, FleetError> {
        let Some(kept) = self.kept().await? else { return Ok(None) };
        Ok(Some(Held { system: read(&kept.pushed)?, in_force: in_force(&kept.pushed) }))
    }

    /// The hosts that have joined and are not shut out.
    pub(super) async fn joined(&self) -> Result<Vec<String>, FleetError> {
        let agents = self.control.agents().await?.into_iter();
        Ok(agents.filter(|agent| agent.revoked.is_none()).map(|agent| agent.host).collect())
    }

    /// The hosts that `on` names, in the order of the letters.
    pub(super) async fn select(&self, on: &[String], held: Option<&Held>) -> Result<Vec<String>, FleetError> {
        let joined = self.joined().await?;
        let mut hosts = match held {
            Some(held) => declared(on, &held.system, &joined)?,
            None => named(on, &joined)?,
        };
        hosts.sort();
        hosts.dedup();
        Ok(hosts)
    }
}

/// Among the hosts of a system; one that has joined and is not declared can be named too.
fn declared(on: &[String], system: &System, joined: &[String]) -> Result<Vec<String>, FleetError> {
    let bad = |error: greenroom_core::system::BadSelector| FleetError::usage(error.to_string(), error.hint);
    let selector = Selector::parse(on.iter().map(String::as_str)).map_err(bad)?;
    let mut system = system.clone();
    let names = on.iter().flat_map(|text| text.split(',')).map(|name| name.trim().trim_start_matches("host:"));
    for name in names.filter(|name| joined.iter().any(|host| host == name)) {
        if system.host(name).is_none() {
            let (name, address) = (name.to_owned(), name.to_owned());
            system.hosts.push(Host { name, address, ssh: None, roles: Vec::new() });
        }
    }
    let hosts = selector.hosts(&system).map_err(bad)?;
    if let Some(host) = hosts.iter().find(|host| !joined.contains(&host.name)) {
        let target = if host.ssh_target() == host.name { String::new() } else { format!(" --as {}", host.name) };
        return Err(FleetError::usage(
            format!("{} is in the system file but has not joined", host.name),
            format!("greenroom join root@{}{target}", host.ssh_target().trim_start_matches("root@")),
        ));
    }
    Ok(hosts.into_iter().map(|host| host.name.clone()).collect())
}

/// Among the hosts that have joined, where there is no system file.
fn named(on: &[String], joined: &[String]) -> Result<Vec<String>, FleetError> {
    let mut out: Vec<String> = Vec::new();
    let mut without: Vec<&str> = Vec::new();
    for name in on.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
        if name == "all" {
            out.extend(joined.iter().cloned());
        } else if joined.iter().any(|host| host == name) {
            out.push(name.to_owned());
        } else if let Some(name) = name.strip_prefix('!').filter(|name| joined.iter().any(|host| host == name)) {
            without.push(name);
        } else if name.contains(':') || name.starts_with('!') {
            return Err(FleetError::usage(
                format!("`{name}` needs a system file, and the control plane has none"),
                "greenroom system push",
            ));
        } else {
            return Err(stranger(name, joined, "greenroom join lets a host in"));
        }
    }
    out.retain(|host| !without.contains(&host.as_str()));
    if out.is_empty() {
        return Err(FleetError::usage("no host is named", "--on web1, --on web1,web2 or --on all"));
    }
    Ok(out)
}

/// No host has this name.
pub(super) fn stranger(name: &str, joined: &[String], otherwise: &str) -> FleetError {
    let nearest = hint::nearest(name, joined.iter().map(String::as_str));
    let hint = nearest.map_or_else(|| otherwise.to_owned(), |nearest| format!("did you mean {nearest}?"));
    FleetError::usage(format!("there is no host {name}"), hint)
}

fn in_force(pushed: &api::NewSystem) -> api::InForce {
    api::InForce {
        hash: pushed.hash.clone(),
        revision: pushed.revision.clone(),
        dirty: pushed.dirty,
        environment: pushed.environment.clone(),
    }
}

/// What the files mean.
fn read(pushed: &api::NewSystem) -> Result<System, FleetError> {
    let declaration = Declaration::read(&pushed.file, &Bundle(pushed.files.clone()))
        .map_err(|unsound| FleetError::usage(format!("the system file is not sound\n{unsound}"), "greenroom check"))?;
    let system = declaration.system(pushed.environment.as_deref());
    system.cloned().map_err(|error| FleetError::usage(error.to_string(), error.hint))
}

/// A person who asks for something.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The name on the person's token, which is that of the system file.
    pub name: &'a str,
    /// What the token allows.
    pub rights: Rights,
}
