//! What changed, in the terms a person thinks in: packages, users, services, ports, rules.
//!
//! A [`crate::Changeset`] says which paths changed; nobody thinks in paths. [`Effects::of`] reads the few well-known files
//! among them (dpkg's status, passwd, unit directories), whose contents before and after the caller hands in through
//! [`Sources`]. [`Effects::add_runtime`] adds what differs between two looks at the running copy ([`RuntimeDiff`]), finds for
//! each item what makes it last, and returns as [`RuntimeOnly`] what nothing does.
//!
//! It reports, it decides nothing: what goes live is the changeset, whether or not it is understood here. Nothing
//! secret comes out: no password hash, no line of a configuration file.

mod accounts;
mod firewall;
mod groups;
mod lasting;
mod packages;
mod places;
mod runtime;
mod summary;
mod units;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Changeset, Op, TreePath};

pub use accounts::{Account, GroupChange, UserChange};
pub use firewall::ruleset_changes;
pub use groups::{Group, Ownership};
pub use lasting::{SysctlFiles, declared_mount, sysctl_follows};
pub use packages::{PackageChange, package_changes};
pub use places::{Setting, SettingKind};
pub use runtime::{Direction, MountChange, PortChange, RuleChange, RuntimeDiff, Stray, SysctlChange, UnitActivity};
pub use summary::summary_lines;
pub use units::{UnitFileChange, UnitFileOp, is_unit_name};

/// The state before or after the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// As it was.
    Before,
    /// As it is.
    After,
}

/// Reads the tree before and after the change, whether or not the path is part of it.
pub trait Sources {
    /// The content of a regular file, symlinks followed inside the tree; `None` when there is none or it can't be read.
    fn content(&self, path: &TreePath, side: Side) -> Option<Vec<u8>>;

    /// The names in a directory, symlinks followed inside the tree; empty when there is none.
    fn names(&self, dir: &TreePath, side: Side) -> Vec<Vec<u8>>;
}

/// What changed besides files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Effects {
    /// Packages that came, went or have another version.
    pub packages: Vec<PackageChange>,
    /// Users, by name.
    pub users: Vec<UserChange>,
    /// Groups of users, by name.
    pub groups: Vec<GroupChange>,
    /// Unit files, drop-ins, and what is enabled or masked.
    pub units: Vec<UnitFileChange>,
    /// Cron tables and scripts.
    pub cron: Vec<Touched>,
    /// Files that set something of the whole system: sysctl, firewall, fstab, package sources and the like.
    pub settings: Vec<Setting>,
    /// How many paths changed, by what they belong to.
    pub paths: BTreeMap<Group, usize>,
    /// Units that run and did not, or the other way round.
    pub units_active: Vec<UnitActivity>,
    /// Ports that somebody listens on now, or no longer.
    pub ports: Vec<PortChange>,
    /// Kernel parameters with another value.
    pub sysctl: Vec<SysctlChange>,
    /// Firewall rules that came or went.
    pub firewall: Vec<RuleChange>,
    /// File systems that were mounted or unmounted.
    pub mounts: Vec<MountChange>,
    /// Processes that the change left running outside every unit.
    pub strays: Vec<Stray>,
}

/// A path and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Where.
    pub path: TreePath,
    /// What happened to it.
    pub op: Change,
}

/// Whether something came, went or differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is another.
    Changed,
    /// It is not there any more.
    Removed,
}

impl Change {
    /// The word for it, after the name of what it happened to.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "new",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

impl From<Op> for Change {
    fn from(op: Op) -> Self {
        match op {
            Op::Create => Self::Added,
            Op::Delete => Self::Removed,
            Op::Modify | Op::Replace | Op::Metadata => Self::Changed,
        }
    }
}

/// A change that no file preserves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeOnly {
    /// `sysctl`, `hostname`, `firewall`, `mount`, `unit`, `process`, `port`.
    pub kind: String,
    /// What, for instance the sysctl's name.
    pub item: String,
    /// A sentence: what changed and what would make it last.
    pub detail: String,
}

impl Effects {
    /// What `changeset` does, read from the well-known files among its entries.
    #[must_use]
    pub fn of(changeset: &Changeset, sources: &dyn Sources) -> Self {
        let packages = packages::changes(changeset, sources);
        let ownership = Ownership::of(changeset, sources, &packages);
        let mut paths = BTreeMap::new();
        for entry in changeset.entries() {
            *paths.entry(ownership.group(entry)).or_insert(0) += 1;
        }
        let (users, groups) = accounts::changes(changeset, sources);
        let (cron, settings) = places::changes(changeset);
        Self { packages, users, groups, units: units::changes(changeset), cron, settings, paths, ..Self::default() }
    }

    /// Adds what differs at run time, says for each item what makes it last, and returns what nothing does.
    pub fn add_runtime(
        &mut self,
        mut diff: RuntimeDiff,
        changeset: &Changeset,
        sources: &dyn Sources,
    ) -> Vec<RuntimeOnly> {
        let found = lasting::judge(&mut diff, changeset, sources);
        self.units_active = diff.units;
        self.ports = diff.ports;
        self.sysctl = diff.sysctl;
        self.firewall = diff.firewall;
        self.mounts = diff.mounts;
        self.strays = diff.strays;
        found
    }

    /// Whether nothing that is known here changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What bytes of a host's file say, safe to show.
fn shown(bytes: &[u8]) -> String {
    crate::path::Shown(bytes).to_string()
}

#[cfg(test)]
pub(crate) mod testing;
