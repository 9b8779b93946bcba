//! What differs between two looks at a running host or copy. Taking the looks is `greenroom-host`'s work; what they
//! mean, and what makes an item last, is found here.

use serde::{Deserialize, Serialize};

/// What differs at run time. `kept_by` of every item is empty until [`super::Effects::add_runtime`] fills it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeDiff {
    /// Units in another state, sorted by name.
    pub units: Vec<UnitActivity>,
    /// Ports opened or closed.
    pub ports: Vec<PortChange>,
    /// Kernel parameters with another value, sorted by key.
    pub sysctl: Vec<SysctlChange>,
    /// Firewall rules.
    pub firewall: Vec<RuleChange>,
    /// File systems.
    pub mounts: Vec<MountChange>,
    /// Processes outside every unit that were not there before.
    pub strays: Vec<Stray>,
    /// What could not be read, and so was not compared.
    pub gaps: Vec<String>,
}

impl RuntimeDiff {
    /// Whether nothing differs, as far as could be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Self { gaps: Vec::new(), ..self.clone() } == Self::default()
    }
}

/// Whether something is there now or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
}

impl Direction {
    /// `+` or `-`.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
        }
    }
}

/// A unit in another state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitActivity {
    /// The unit.
    pub unit: String,
    /// Its ActiveState before; `inactive` when it was not loaded.
    pub from: String,
    /// Its ActiveState after.
    pub to: String,
    /// It was active before and is now, and was started anew in between.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarted: bool,
    /// Its UnitFileState after: `enabled`, `disabled`, `static`, `transient`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file_state: String,
    /// Units that pull it in or trigger it, after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pulled_by: Vec<String>,
    /// It runs once and is then inactive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passing: bool,
    /// What makes the new state last over a boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
}

/// A port that somebody listens on, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortChange {
    /// `tcp` or `udp`.
    pub proto: String,
    /// The local address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// The process's name, where it could be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The unit that the process belongs to; `None`: to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Opened or closed.
    pub op: Direction,
}

/// A kernel parameter with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlChange {
    /// Its name, as sysctl(8) writes it: `net.ipv4.ip_forward`.
    pub key: String,
    /// The value before.
    pub from: String,
    /// The value after.
    pub to: String,
    /// The file that sets this value at boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
}

/// A firewall rule, or another line of a rule set, that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// `nftables` or `iptables`.
    pub backend: String,
    /// Where it stands: `table inet filter, chain input`.
    pub place: String,
    /// Came or went.
    pub op: Direction,
    /// The line.
    pub line: String,
    /// The file that makes it last, and the unit that loads that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
}

/// A file system that was mounted or unmounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountChange {
    /// Where.
    pub target: String,
    /// What.
    pub source: String,
    /// The file system's type.
    pub fstype: String,
    /// Mounted or unmounted.
    pub op: Direction,
    /// The file that makes it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
}

/// A process that the change left running outside every unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// Its id, as seen from where the look was taken.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Where it runs: its control group.
    pub cgroup: String,
}
