//! One look at a host, as it is kept beside the baseline.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The version of the encoding. Fields may be added without a new one: what is missing reads as empty.
pub const VERSION: u32 = 1;

/// One look at a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// [`VERSION`] of the program that took it.
    pub version: u32,
    /// Installed packages, by `name:architecture`.
    pub packages: BTreeMap<String, Package>,
    /// Accounts, by name.
    pub users: BTreeMap<String, User>,
    /// Groups of accounts, by name.
    pub groups: BTreeMap<String, UserGroup>,
    /// Unit files, and what is enabled, by unit.
    pub units: BTreeMap<String, UnitFile>,
    /// Timers that are enabled, by unit.
    pub timers: BTreeMap<String, Timer>,
    /// Cron tables, by path.
    pub crontabs: BTreeMap<String, Crontab>,
    /// What the files say of the next boot.
    pub boot: BootFiles,
    /// What exists only while the host runs; `None`: it did not, or nobody looked.
    pub running: Option<Running>,
}

/// An installed package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its version.
    pub version: String,
    /// dpkg's word when it is not properly installed: `half-configured`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// It is held at its version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// An account as passwd and shadow have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Id of the first group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// A password is set and not locked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password: bool,
    /// Tells whether the password is another than before, and nothing else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub password_mark: String,
}

/// A group of accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserGroup {
    /// Its id.
    pub gid: u32,
    /// Who is in it besides those whose first group it is.
    pub members: BTreeSet<String>,
}

/// What the files say of a unit (systemd.unit(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFile {
    /// Whether something pulls it in at boot.
    pub state: UnitFileState,
    /// A target that every boot reaches pulls it in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_boot: bool,
    /// A service that runs once and ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// It counts as active when its process has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remains: bool,
    /// It is started when it is called, by the bus, a socket, a path or a timer, and by nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_demand: bool,
}

/// Whether something pulls a unit in at boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitFileState {
    /// An administrator or a package enabled it.
    Enabled,
    /// It could be enabled and is not.
    Disabled,
    /// It can't be enabled; others pull it in, or nothing does.
    #[default]
    Static,
    /// It can't be started.
    Masked,
}

impl UnitFileState {
    /// systemctl's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Static => "static",
            Self::Masked => "masked",
        }
    }
}

/// When a timer elapses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Its settings, in the order of its files: `OnCalendar=daily`.
    pub schedule: Vec<String>,
}

/// A cron table, or a directory of scripts that cron runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crontab {
    /// When and what, without its arguments, which may be secret: `*/5 * * * * root /usr/local/bin/sync`; to each a mark that
    /// tells whether the whole line is another.
    pub lines: BTreeSet<(String, String)>,
}

/// What the files say of the next boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootFiles {
    /// Kernel parameters that the boot loader's configuration adds.
    pub parameters: Vec<String>,
    /// The file that says so.
    pub parameters_file: Option<String>,
    /// Releases of the kernels in `/boot`, the latest first.
    pub kernels: Vec<String>,
}

/// What exists only while a host runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Running {
    /// The kernel's id of this boot.
    pub boot: String,
    /// It shares the kernel of another host: kernel and boot are not its own.
    pub container: bool,
    /// The kernel.
    pub kernel: Kernel,
    /// Units that are loaded, by name; empty without systemd.
    pub units: BTreeMap<String, UnitState>,
    /// Ports that somebody listens on.
    pub ports: BTreeSet<Port>,
    /// Kernel parameters, by name with dots.
    pub sysctl: BTreeMap<String, String>,
    /// What files set for parameters that can be written here.
    pub sysctl_files: BTreeMap<String, Setting>,
    /// The firewall.
    pub rules: Rules,
    /// Mounted file systems and swap spaces, by where; swap spaces by what.
    pub mounts: BTreeMap<String, Mount>,
    /// What the files mount at boot and is not mounted: where, and the file that says so.
    pub unmounted: BTreeMap<String, String>,
    /// Processes that run replaced code, by unit and file.
    pub stale: BTreeSet<StaleCode>,
    /// What could not be read, in sentences: it is not compared.
    pub gaps: Vec<String>,
}

/// The running kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kernel {
    /// `6.1.0-25-amd64`
    pub release: String,
    /// What `uname -v` says: the build.
    pub build: String,
    /// Its command line.
    pub parameters: Vec<String>,
}

/// A unit as systemd has it loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// ActiveState: `active`, `inactive`, `failed`, …
    pub active: String,
    /// SubState: `running`, `exited`, `dead`, `auto-restart`, …
    pub sub: String,
    /// It was not started because a condition of its file did not hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmet: bool,
}

/// A port that somebody listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// `tcp` or `udp`.
    pub proto: String,
    /// The local address; `0.0.0.0` and `::` stand for all.
    pub address: String,
    /// The port.
    pub port: u16,
    /// It lies where the kernel takes ports for those who ask for any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ephemeral: bool,
    /// The name of one process that holds it.
    pub process: Option<String>,
    /// The unit of that process.
    pub unit: Option<String>,
}

/// What a file sets a kernel parameter to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The value, with single spaces.
    pub value: String,
    /// The file.
    pub file: String,
}

/// The firewall as it is, and as its file would make it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// `nft -s list ruleset`.
    pub nftables: String,
    /// `iptables-save` and `ip6tables-save` of the old kind.
    pub iptables: String,
    /// What they would be, had the host just booted; `None`: no unit loads rules from a file, or it could not be found out.
    pub expected: Option<ExpectedRules>,
    /// What makes rules at boot so that nobody can say which beforehand: `ufw.service`, a script.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub made_by: BTreeSet<String>,
}

/// The rules that the host's files make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedRules {
    /// As `nft -s list ruleset` says it.
    pub nftables: String,
    /// As `iptables-save` of the old kind says it.
    pub iptables: String,
    /// The files, in the order in which they are loaded.
    pub files: Vec<String>,
}

/// A mounted file system, or a swap space (type `swap`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted: a stable name of a device (`UUID=…`) where it has one.
    pub source: String,
    /// The file system's type.
    pub fstype: String,
    /// Those of `ro`, `noexec`, `nosuid` and `nodev` that are in force.
    pub options: BTreeSet<String>,
    /// The file that mounts it at boot.
    pub declared: Option<String>,
}

/// A file that processes of one unit still run, although it was replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StaleCode {
    /// The unit; `None`: the processes belong to none.
    pub unit: Option<String>,
    /// The processes' name.
    pub process: String,
    /// The program or library.
    pub file: String,
    /// The package that owns it.
    pub package: Option<String>,
}
