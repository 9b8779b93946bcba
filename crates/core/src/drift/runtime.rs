//! What a host is beyond its files: packages, accounts, units, ports, kernel parameters, firewall, mounts, kernel, timers and
//! cron tables, processes that run replaced code.
//!
//! [`Facts`] is one look, kept beside the baseline. Half of it follows from files ([`Facts::of_files`], any tree) and half
//! exists only while the host runs ([`Running`], read by `greenroom-host`). [`compare`] says what differs between two looks;
//! [`deviations`] says where one look is not what its own files say: a parameter that no file sets so, a rule that no file
//! loads, a unit that failed, a mount that nothing brings back. A comparison includes the deviations that are new.
//!
//! What changes by itself is no drift and is left out where it is compared, not where it is read: counters, ephemeral ports,
//! scopes and sessions, services that come when they are called, parameters that the kernel sets. Two looks at an idle host
//! are the same, also with a boot between them.

mod compare;
mod deviate;
mod facts;
mod files;
mod firewall;
mod kernel;
mod live;

use serde::{Deserialize, Serialize};

pub use compare::compare;
pub use deviate::deviations;
pub use facts::{
    BootFiles, Crontab, ExpectedRules, Facts, Kernel, Mount, Package, Port, Rules, Running, Setting, StaleCode, Timer,
    UnitFile, UnitFileState, UnitState, User, UserGroup, VERSION,
};

/// What a [`RuntimeDrift`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// A package and its version.
    Package,
    /// An account.
    User,
    /// A group of accounts.
    Group,
    /// A unit: its file (enabled, masked) or its state (running, failed).
    Unit,
    /// A port that somebody listens on.
    Port,
    /// A kernel parameter.
    Sysctl,
    /// A firewall rule.
    Firewall,
    /// A file system or swap space in use.
    Mount,
    /// The kernel and its parameters.
    Kernel,
    /// A timer.
    Timer,
    /// A line of a cron table, or a script that cron runs.
    Cron,
    /// A process that runs code which is no longer that of its files.
    Process,
}

impl FactKind {
    /// The word for it in a heading.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Package => "packages",
            Self::User => "users",
            Self::Group => "groups",
            Self::Unit => "units",
            Self::Port => "ports",
            Self::Sysctl => "kernel parameters",
            Self::Firewall => "firewall",
            Self::Mount => "mounts",
            Self::Kernel => "kernel",
            Self::Timer => "timers",
            Self::Cron => "cron",
            Self::Process => "processes",
        }
    }
}

/// What a state is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// It is not as it was on record.
    Record,
    /// It is not as the host's own files say.
    Files,
}

/// One thing beyond files that is not as it was, or not as the files say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeDrift {
    /// What it is about.
    pub kind: FactKind,
    /// Which: `net.ipv4.ip_forward`, `nginx.service`, `tcp 0.0.0.0:80`.
    pub item: String,
    /// As it was on record, or as the files say; `None`: not there.
    pub before: Option<String>,
    /// As it is; `None`: not there.
    pub after: Option<String>,
    /// A sentence: what it means and what would make it last or take it back.
    pub detail: String,
    /// The present state outlives the next boot.
    pub lasting: bool,
    /// What it differs from.
    pub against: Against,
    /// The file that says what ought to be, or that makes it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}
