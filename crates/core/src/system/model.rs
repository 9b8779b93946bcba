//! What a system is: hosts, what runs on them, whose it is, and what a change needs.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Batches, MayApply, Policy};
use crate::ContentHash;
use crate::document::text_or_zero;

/// A system as declared for one environment: what `greenroom.toml` says, resolved, with every default filled in.
///
/// Everything is in the order of the files; where names refer to something, it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Its name.
    pub name: String,
    /// The environment that it was resolved for.
    pub environment: Option<String>,
    /// Its hosts; at least one.
    pub hosts: Vec<Host>,
    /// The roles that hosts have, each with what is declared for it.
    pub roles: Vec<Role>,
    /// What runs on the hosts.
    pub services: Vec<Service>,
    /// What must hold on a host once a change is in place.
    pub tests: Vec<HostTest>,
    /// Who answers for services.
    pub teams: Vec<Team>,
    /// The people.
    pub people: Vec<Person>,
    /// What a change needs, on hosts whose roles say nothing else.
    pub policy: Policy,
    /// Volatile and data paths of every host.
    pub paths: Paths,
}

/// A Linux machine of the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name in the system.
    pub name: String,
    /// Its IP address or DNS name.
    pub address: String,
    /// A destination for ssh(1), when it is not the address: `user@host`, an alias of the user's ssh_config, or a
    /// `ssh://` URI.
    pub ssh: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
}

/// Something that several hosts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Volatile and data paths of its hosts, besides those of the system.
    pub paths: Paths,
    /// What a change to its hosts needs; that of the system when absent.
    pub policy: Option<Policy>,
}

/// The role whose hosts keep the images of the others and run their copies.
pub const STAGE: &str = "stage";

/// Volatile and data paths: patterns over whole paths, as in [`crate::policy`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// Nobody's intent: never part of a changeset. `!` in front takes out again.
    pub volatile: Vec<String>,
    /// Directories that belong to a store, with all below them.
    pub data: Vec<String>,
}

/// A unit on some hosts that people know by a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Names of the hosts where it runs; at least one, in the order of the system's hosts.
    pub hosts: Vec<String>,
    /// Its systemd unit, with its suffix.
    pub unit: String,
    /// The team that answers for it.
    pub owner: Option<String>,
    /// Services that are restarted before it.
    pub after: Vec<String>,
    /// How many hosts at a time.
    pub batch: Batches,
    /// Whether it is well; at least one check, on each of its hosts.
    pub health: Vec<Check>,
}

/// How to find out, on a host, whether a service is well there, and for how long to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is looked at.
    pub probe: Probe,
    /// From one look to the next.
    #[serde(with = "text_or_zero")]
    pub interval: Duration,
    /// A look that takes longer has failed.
    #[serde(with = "text_or_zero")]
    pub timeout: Duration,
    /// It is unwell after so many failed looks in a row; at least 1.
    pub failures: u32,
    /// It is well after so many good looks in a row; at least 1.
    pub successes: u32,
    /// After a restart, for so long, failed looks do not count.
    #[serde(with = "text_or_zero")]
    pub grace: Duration,
    /// Once well after a change, it must stay so for this long before the change goes on to the next batch.
    #[serde(with = "text_or_zero")]
    pub settle: Duration,
}

/// What a check looks at. Addresses are as seen from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Asks with GET.
    Http {
        /// What for.
        url: HttpUrl,
        /// The statuses that are good; from 200 to 399 when empty.
        status: Vec<u16>,
    },
    /// Connects, and closes again.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// Runs a command for `sh -c`; exit status 0 is good.
    Command {
        /// The command.
        command: String,
    },
    /// The unit is active.
    Unit {
        /// Its full name.
        unit: String,
    },
}

/// The parts of an `http://` or `https://` URL. `Display` puts them together again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpUrl {
    /// Whether it is `https`.
    pub tls: bool,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port; 80 or 443 unless given.
    pub port: u16,
    /// The path with the query, from `/` on.
    pub path: String,
}

/// A command that must succeed on a host once a change is in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostTest {
    /// What to call it in reports.
    pub name: String,
    /// For `sh -c`; exit status 0 is success.
    pub run: String,
    /// How long it may take.
    #[serde(with = "text_or_zero")]
    pub timeout: Duration,
    /// Names of the hosts that it is for; at least one, in the order of the system's hosts.
    pub hosts: Vec<String>,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The name by which the system knows them.
    pub name: String,
    /// What they are called.
    pub full_name: Option<String>,
    /// How to reach them.
    pub contact: Contact,
}

/// People who answer for services together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Its name.
    pub name: String,
    /// Names of its people.
    pub people: Vec<String>,
    /// How to reach it; through its people when all are absent.
    pub contact: Contact,
}

/// How to reach somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// A mail address.
    pub email: Option<String>,
    /// A telephone number.
    pub phone: Option<String>,
    /// An `http://` or `https://` URL that takes messages: of a chat room, or a pager.
    pub webhook: Option<String>,
}

impl Host {
    /// Whether it keeps images and runs copies: it has the role [`STAGE`].
    #[must_use]
    pub fn is_stage(&self) -> bool {
        self.has(STAGE)
    }

    /// Whether it has the role.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }

    /// What ssh(1) is told to connect to.
    #[must_use]
    pub fn ssh_target(&self) -> &str {
        self.ssh.as_deref().unwrap_or(&self.address)
    }
}

impl Contact {
    /// Whether there is no way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.email.is_none() && self.phone.is_none() && self.webhook.is_none()
    }
}

impl System {
    /// The host of this name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The services of a host, in the order in which they are restarted: each after those that it names in `after`, and
    /// otherwise in the order of the file.
    #[must_use]
    pub fn services_on(&self, host: &str) -> Vec<&Service> {
        self.restart_order().into_iter().filter(|service| service.hosts.iter().any(|name| name == host)).collect()
    }

    /// All services in the order in which they are restarted.
    #[must_use]
    pub fn restart_order(&self) -> Vec<&Service> {
        let mut left: Vec<&Service> = self.services.iter().collect();
        let mut waiting: BTreeSet<&str> = left.iter().map(|service| service.name.as_str()).collect();
        let mut out: Vec<&Service> = Vec::with_capacity(left.len());
        // `after` has no circle (the reader sees to that), so each round takes one. A value that was made by other means may
        // have one, and then the rest keeps its order.
        while !left.is_empty() {
            let is_free = |service: &&Service| !service.after.iter().any(|name| waiting.contains(name.as_str()));
            let service = left.remove(left.iter().position(is_free).unwrap_or(0));
            waiting.remove(service.name.as_str());
            out.push(service);
        }
        out
    }

    /// The tests of a host.
    #[must_use]
    pub fn tests_on(&self, host: &str) -> Vec<&HostTest> {
        self.tests.iter().filter(|test| test.hosts.iter().any(|name| name == host)).collect()
    }

    /// The volatile and data paths of a host: the system's, then those of its roles.
    #[must_use]
    pub fn paths_on(&self, host: &Host) -> Paths {
        let mut paths = self.paths.clone();
        for role in self.roles.iter().filter(|role| host.has(&role.name)) {
            paths.volatile.extend_from_slice(&role.paths.volatile);
            paths.data.extend_from_slice(&role.paths.data);
        }
        paths
    }

    /// What a change to these hosts needs: the strictest of what holds for each.
    #[must_use]
    pub fn policy_for<'a>(&self, hosts: impl IntoIterator<Item = &'a Host>) -> Policy {
        let mut all: Vec<&Policy> = Vec::new();
        for host in hosts {
            let before = all.len();
            let of_roles = self.roles.iter().filter(|role| host.has(&role.name));
            all.extend(of_roles.filter_map(|role| role.policy.as_ref()));
            if all.len() == before {
                all.push(&self.policy);
            }
        }
        Policy::strictest(all).unwrap_or_else(|| self.policy.clone())
    }

    /// Whether a person may apply under `policy`, who acts with the rights of `rights`: all that it lists must agree.
    #[must_use]
    pub fn may_apply(&self, policy: &Policy, person: &str, rights: super::Rights) -> bool {
        let teams: Vec<&str> =
            self.teams.iter().filter(|t| t.people.iter().any(|p| p == person)).map(|t| &*t.name).collect();
        policy.may_apply.iter().all(|rule: &MayApply| rule.allows(person, &teams, rights))
    }

    /// BLAKE3 of the system's JSON: equal exactly when the declarations mean the same.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        // No map with keys that are no strings, so this can't fail; and if it could, an empty text is no other system's.
        ContentHash::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", HostPort(&self.host, Some(self.port).filter(|p| *p != self.usual_port())))?;
        f.write_str(&self.path)
    }
}

impl HttpUrl {
    fn usual_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }
}

/// A host and a port, with brackets where an IPv6 address needs them.
struct HostPort<'a>(&'a str, Option<u16>);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }?;
        self.1.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url, .. } => write!(f, "{url}"),
            Self::Tcp { host, port } => write!(f, "tcp {}", HostPort(host, Some(*port))),
            Self::Command { command } => write!(f, "{}", crate::path::Shown(command.as_bytes())),
            Self::Unit { unit } => write!(f, "{unit} is active"),
        }
    }
}
