//! The system file, `greenroom.toml`: the hosts of a system, what runs on them, who answers for it, and what a change to them
//! needs.
//!
//! ```toml
//! include = ["services/*.toml"]
//!
//! [system]
//! name = "shop"
//!
//! [host.web1]
//! address = "10.0.0.11"
//! roles = ["web"]
//!
//! [service.shop]
//! roles = ["web"]
//! unit = "php8.2-fpm"
//! batch = [1, "rest"]
//!
//! [[service.shop.health]]
//! http = "http://127.0.0.1/health"
//!
//! [policy]
//! rehearsal_within = "24h"
//!
//! [environment.staging.host.web1]
//! address = "10.0.9.11"
//! roles = ["web"]
//! ```
//!
//! Data goes one way: texts, which a [`Files`] hands out → one tree of values with their places, in which includes are
//! merged → what an environment says put over it → [`System`], or all [`Problem`]s of all environments, each with
//! file, line, column and a hint. When a file is missing or is no TOML, only that is reported: what refers to
//! something in it would be reported although it is right.
//!
//! [`draft`] writes the first one. A [`Selector`] says which hosts of a system somebody means.
//!
//! How a change goes through the hosts ([`System::batches`]) and what has to be well after each batch ([`System::watched`],
//! [`health`]) is said here too; who acts on it is `core::rollout` and the agents.
//!
//! This room opens no file and asks no host: whether an address answers, or a unit is there, is for others to see.

mod bundle;
pub mod draft;
pub mod health;
mod load;
mod model;
mod names;
mod policy;
mod read;
mod rollout;
mod schema;
mod select;

use crate::document::{At, Problem, Reader, Value, unit_name};
use crate::hint;
use load::Entries;

pub use bundle::Bundle;
pub use load::Files;
pub use model::{Check, Contact, Host, HostTest, HttpUrl, Paths, Person, Probe, Role, STAGE, Service, System, Team};
pub use policy::{Batch, Batches, MayApply, OnFailure, Policy, Rights};
pub use schema::json_schema;
pub use select::{BadSelector, Selector};

/// How the system file is called.
pub const FILE_NAME: &str = "greenroom.toml";

/// A system file that was read with all that it includes, and is sound in every environment.
#[derive(Clone, Debug)]
pub struct Declaration {
    base: Option<System>,
    environments: Vec<(String, System)>,
    default: Option<String>,
    files: Vec<String>,
}

/// Why there is no declaration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// The file itself can't be read.
    #[error("{0}")]
    Unreadable(String),
    /// Everything that is wrong with it, in the order of the files; never empty.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

/// An environment that the file does not declare, or none where one is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct NoEnvironment {
    what: String,
    /// What to do.
    pub hint: String,
}

impl Declaration {
    /// Reads a system file. `file_name` is its path as `files` takes it.
    ///
    /// # Errors
    /// [`Unsound`].
    pub fn read(file_name: &str, files: &dyn Files) -> Result<Self, Unsound> {
        let loaded = load::load(file_name, files).map_err(Unsound::Unreadable)?;
        if loaded.broken {
            return Err(Unsound::Problems(loaded.reader.into_problems()));
        }
        let mut reader = loaded.reader;
        let files = reader.sources.iter().map(|source| source.file().to_owned()).collect();
        let default = default_environment(&mut reader, &loaded.base, loaded.environments.keys());
        let overlaid: Vec<(&String, Entries)> = loaded
            .environments
            .iter()
            .filter_map(|(name, entry)| match &entry.node.value {
                Value::Table(over) => Some((name, load::overlay(&loaded.base, over))),
                _ => None,
            })
            .collect();
        let mut known = read::Known::default();
        known.add(&loaded.base);
        overlaid.iter().for_each(|(_, entries)| known.add(entries));
        // What all environments have in common need not be a system of its own.
        let base = (loaded.base.contains_key("host") || overlaid.is_empty())
            .then(|| read::system(&mut reader, &loaded.base, &known, None));
        let mut environments = Vec::with_capacity(overlaid.len());
        for (name, entries) in overlaid {
            let without_host = !entries.contains_key("host");
            if let Some(entry) = loaded.environments.get(name).filter(|_| without_host) {
                let hint = format!("hosts are not inherited: name those of {name} with [environment.{name}.host.NAME]");
                reader.note(&entry.key, format!("environment `{name}` has no host"), Some(hint));
                continue;
            }
            environments.push((name.clone(), read::system(&mut reader, &entries, &known, Some(name))));
        }
        let problems = reader.into_problems();
        if problems.is_empty() {
            return Ok(Self { base, environments, default, files });
        }
        Err(Unsound::Problems(problems))
    }

    /// The files that it was read from, the first one first.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The environments that it declares.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.environments.iter().map(|(name, _)| name.as_str())
    }

    /// The system in an environment. Without one, in the environment that `[system]` names; else as it is declared outside of
    /// all environments.
    ///
    /// # Errors
    /// [`NoEnvironment`].
    pub fn system(&self, environment: Option<&str>) -> Result<&System, NoEnvironment> {
        let names: Vec<&str> = self.environments().collect();
        let Some(wanted) = environment.or(self.default.as_deref()) else {
            return self.base.as_ref().ok_or_else(|| NoEnvironment {
                what: "every host of this system belongs to an environment".to_owned(),
                hint: format!("say which one is meant, with --environment: {}", names.join(", ")),
            });
        };
        let found = self.environments.iter().find(|(name, _)| name == wanted);
        found.map(|(_, system)| system).ok_or_else(|| NoEnvironment {
            what: format!("there is no environment `{}`", crate::path::Shown(wanted.as_bytes())),
            hint: if names.is_empty() {
                "the system file declares none: leave --environment out".to_owned()
            } else {
                hint::for_unknown(wanted, &names)
            },
        })
    }
}

/// The environment that `[system]` names.
fn default_environment<'a>(
    reader: &mut Reader,
    base: &Entries,
    environments: impl Iterator<Item = &'a String>,
) -> Option<String> {
    let Value::Table(system) = &base.get("system")?.node.value else { return None };
    let node = &system.get("environment")?.node;
    // Any other type is reported with the other keys of the table.
    let Value::String(name) = &node.value else { return None };
    let names: Vec<&str> = environments.map(String::as_str).collect();
    if !name.trim().is_empty() && !names.contains(&name.as_str()) {
        let at: &At = &node.at;
        let hint = if names.is_empty() {
            format!("declare it with [environment.{}]", crate::path::Shown(name.as_bytes()))
        } else {
            hint::for_unknown(name, &names)
        };
        let message = format!("there is no environment `{}`", crate::path::Shown(name.as_bytes()));
        reader.note(at, message, Some(hint));
    }
    Some(name.clone())
}

#[cfg(test)]
mod tests;
