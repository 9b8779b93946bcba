//! What belongs to a package, among the drifts of a host: an upgrade is one drift and not sixty files.
//!
//! In come paths with the package that owned each before and owns it now ([`Owned`]), the packages that changed, and what the
//! package manager wrote into its logs ([`Transaction`]). Out come groups: one for each run of the package manager, expandable
//! to its packages, and one for each package whose files were modified after it was installed.
//!
//! A path belongs to a package's change when the package owned it before or owns it after *and* it is as the package brought
//! it; a file that somebody edited after the upgrade does not hide in the upgrade. What packages' scripts and triggers write
//! (dpkg's databases, `ld.so.cache`, alternatives, an initramfs) belongs to the transaction in whose time it changed. Nothing
//! here reads a file: the logs' texts and the owners are handed in.

mod derived;
mod group;
mod log;
mod version;

use serde::{Deserialize, Serialize};

use super::{Actor, FoundBy};
use crate::Entry;

pub use crate::effect::{PackageChange, package_changes};
pub use group::{Grouped, Kind, PackageGroup, Part, group};
pub use log::{Clock, apt_history, dpkg_log, merge_logs};
pub use version::compare_versions;

/// What a package database says of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The package's name, without its architecture.
    pub package: String,
    /// The path is one of the package's configuration files, which people may edit.
    pub conffile: bool,
    /// The content is what the package brought; `None`: it keeps no checksum of it, or nobody looked.
    pub intact: Option<bool>,
}

/// One drift, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Owned<'a> {
    /// The path and its two states.
    pub entry: &'a Entry,
    /// How it was noticed.
    pub found_by: FoundBy,
    /// Who did it, where that is known.
    pub actor: Option<&'a Actor>,
    /// When: RFC 3339, UTC.
    pub at: &'a str,
    /// Who owned it according to the package database of the record.
    pub before: Option<Owner>,
    /// Who owns it according to the present one.
    pub after: Option<Owner>,
}

/// What the package manager did to one package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was not there.
    Install,
    /// The same version once more.
    Reinstall,
    /// A later version.
    Upgrade,
    /// An earlier version.
    Downgrade,
    /// Gone but for its configuration.
    Remove,
    /// Gone with its configuration.
    Purge,
}

/// One package in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// What was done.
    pub action: Action,
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// The version before; `None`: none was installed.
    pub from: Option<String>,
    /// The version after; `None`: none is.
    pub to: Option<String>,
    /// It came because another needed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
}

/// One run of the package manager, from its logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// When it began: RFC 3339, UTC.
    pub begin: String,
    /// When it ended; the same as `begin` where the log does not say.
    pub end: String,
    /// The command, where the log has it; dpkg's own log has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The person who asked for it through sudo or polkit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// What it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The packages, in the log's order.
    pub packages: Vec<Logged>,
}

impl Transaction {
    /// Who did it, for people: `unattended-upgrades`, `anna (apt-get)`, `dpkg`.
    #[must_use]
    pub fn by(&self) -> String {
        let words = self.command.as_deref().unwrap_or("dpkg").split_whitespace();
        // `/usr/bin/python3 /usr/bin/unattended-upgrade`: the program is the script.
        let name = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
        let mut names = words.map(name).filter(|n| !n.starts_with("python") && !matches!(n.as_str(), "sudo" | "env"));
        let program = match names.next() {
            Some(one) if one.starts_with("unattended-upgrade") => "unattended-upgrades".to_owned(),
            Some(one) => one,
            None => "dpkg".to_owned(),
        };
        match &self.requested_by {
            Some(person) => format!("{person} ({program})"),
            None => program,
        }
    }
}

/// One package's change in a line: `nginx 1.22.1-9 → 1.22.1-10`, `nginx 1.22.1-9 installed`.
#[must_use]
pub fn change_words(change: &PackageChange) -> String {
    let PackageChange { name, from, to, note, .. } = change;
    match (from, to) {
        (Some(from), Some(to)) if from == to => match note {
            Some(note) => format!("{name} {to} ({note})"),
            None => format!("{name} {to} installed again"),
        },
        (Some(from), Some(to)) => format!("{name} {from} → {to}"),
        (None, Some(to)) => format!("{name} {to} installed"),
        (Some(from), None) => match note {
            Some(note) => format!("{name} {from} removed ({note})"),
            None => format!("{name} {from} removed"),
        },
        (None, None) => format!("{name}: {}", note.as_deref().unwrap_or("configuration removed")),
    }
}

#[cfg(test)]
mod tests;
