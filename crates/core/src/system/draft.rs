//! The first system file, written from what was found: `greenroom init`.
//!
//! What was found is written out; what only a person knows (roles, owners, people, policies) stands there as comments, in
//! the form in which it would be written. The text is always one that [`super::Declaration::read`] takes.

use std::fmt::Write as _;

use super::names::{is_address, is_name, is_ssh_target};
use crate::drift::runtime::{Facts, Port, UnitFileState};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What the system could be called: the first of these that can be a name is taken.
    pub names: Vec<String>,
    /// The name of the host.
    pub host: String,
    /// Its addresses, the one that others most likely use first.
    pub addresses: Vec<String>,
    /// Its services.
    pub services: Vec<FoundService>,
    /// Other hosts that the person reaches by SSH.
    pub ssh: Vec<SshHost>,
}

/// A service of the host that people know by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundService {
    /// Its unit.
    pub unit: String,
    /// Where it listens for TCP: address and port.
    pub tcp: Vec<(String, u16)>,
}

/// A `Host` of ssh_config(5) without patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshHost {
    /// Its alias.
    pub alias: String,
    /// Its `HostName`.
    pub address: Option<String>,
}

/// Services that listen on no port of their own, or not always, and that people still know by name; `*` stands for a
/// version or an instance.
const KNOWN: &[&str] = &[
    "apache2",
    "caddy",
    "docker",
    "elasticsearch",
    "gunicorn",
    "haproxy",
    "httpd",
    "mariadb",
    "memcached",
    "mongod",
    "mysql",
    "nginx",
    "php*-fpm",
    "postgresql@*",
    "rabbitmq-server",
    "redis-server",
    "tomcat*",
    "uwsgi",
    "varnish",
];

/// What listens on nearly every host, and is the host's business rather than a service of the system.
const COMMON: &[&str] = &[
    "avahi-daemon",
    "chrony",
    "cups",
    "cups-browsed",
    "dhclient*",
    "exim4",
    "ifup@*",
    "init",
    "networking",
    "ntp",
    "ntpsec",
    "rpcbind",
    "rsyslog",
    "snmpd",
    "ssh",
    "ssh@*",
    "sshd",
    "systemd-*",
    "user@*",
    "session-*",
];

/// The services among what a host's facts say: what listens, what is known, and what somebody wrote a unit for.
/// `written` are the units whose file is the administrator's own.
#[must_use]
pub fn services(facts: &Facts, written: &[String]) -> Vec<FoundService> {
    let running = facts.running.as_ref();
    let ports = running.map(|running| &running.ports);
    let mut out: Vec<FoundService> = Vec::new();
    let listening = ports.into_iter().flatten().filter(|port| !port.ephemeral).filter_map(|port| port.unit.as_ref());
    let enabled = facts.units.iter().filter(|(_, unit)| unit.state == UnitFileState::Enabled && !unit.once);
    let named = enabled.filter(|(name, _)| matches(name, KNOWN) || written.contains(name)).map(|(name, _)| name);
    // Of what is loaded, instances are not among the files.
    let loaded = running.into_iter().flat_map(|running| &running.units);
    let active = loaded.filter(|(name, unit)| unit.active == "active" && unit.sub == "running" && matches(name, KNOWN));
    for unit in listening.chain(named).chain(active.map(|(name, _)| name)) {
        let wanted = unit.ends_with(".service") && !matches(unit, COMMON) && !unit.starts_with("greenroom-");
        if wanted && super::unit_name(unit).is_ok() && !out.iter().any(|service| &service.unit == unit) {
            let own = ports.into_iter().flatten().filter(|port| port.unit.as_ref() == Some(unit) && !port.ephemeral);
            out.push(FoundService { unit: unit.clone(), tcp: places(own) });
        }
    }
    out.sort_by(|a, b| a.unit.cmp(&b.unit));
    out
}

fn matches(unit: &str, patterns: &[&str]) -> bool {
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    patterns.iter().any(|pattern| match pattern.split_once('*') {
        Some((front, back)) => {
            name.len() >= front.len() + back.len() && name.starts_with(front) && name.ends_with(back)
        }
        None => name == *pattern,
    })
}

/// Each port once; where the service listens on all addresses, or on loopback, without an address.
fn places<'a>(ports: impl Iterator<Item = &'a Port>) -> Vec<(String, u16)> {
    let mut out: Vec<(String, u16)> = Vec::new();
    for port in ports.filter(|port| port.proto == "tcp") {
        let all = ["0.0.0.0", "::", "127.0.0.1", "::ffff:127.0.0.1"].contains(&port.address.as_str());
        let address = if all { "127.0.0.1".to_owned() } else { port.address.clone() };
        match out.iter_mut().find(|(_, number)| *number == port.port) {
            Some((known, _)) if all => *known = address,
            Some(_) => {}
            None => out.push((address, port.port)),
        }
    }
    out.sort_by_key(|(_, port)| *port);
    out
}

/// The hosts of an ssh_config(5) text: those without patterns, and without those where one only logs in as `git`.
#[must_use]
pub fn ssh_hosts(text: &str) -> Vec<SshHost> {
    let mut out: Vec<SshHost> = Vec::new();
    let mut block: Vec<SshHost> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once(|c: char| c.is_whitespace() || c == '=').unwrap_or((line, ""));
        let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim().trim_matches('"');
        match key.to_ascii_lowercase().as_str() {
            "host" => {
                out.append(&mut block);
                let names = value.split_whitespace().map(|name| name.trim_matches('"'));
                let plain = names.filter(|name| is_ssh_target(name));
                block = plain.map(|name| SshHost { alias: name.to_owned(), address: None }).collect();
            }
            "match" => out.append(&mut block),
            "hostname" if is_address(value) => {
                block.iter_mut().for_each(|host| host.address = Some(value.to_owned()));
            }
            "user" if value == "git" => block.clear(),
            _ => {}
        }
    }
    out.append(&mut block);
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|host| seen.insert(host.alias.clone()));
    out
}

impl Found {
    /// The file.
    #[must_use]
    pub fn text(&self) -> String {
        let name = self.names.iter().map(|name| as_name(name)).find(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| "system".to_owned());
        let host = Some(as_short_name(&self.host))
            .filter(|name| !name.is_empty() && name != "all")
            .unwrap_or_else(|| "host1".to_owned());
        let mut out = format!("{HEAD}\n[system]\nname = \"{name}\"\n");
        self.hosts(&mut out, &host);
        self.services_of(&mut out, &host);
        out.push_str(TAIL);
        out
    }

    fn hosts(&self, out: &mut String, host: &str) {
        out.push_str("\n# ---- Hosts: every machine that changes are made to.\n\n");
        let mut addresses = self.addresses.iter().filter(|address| is_address(address));
        let _ = writeln!(out, "[host.{host}]");
        match addresses.next() {
            Some(address) => {
                let _ = writeln!(out, "address = \"{address}\"");
            }
            None if !is_address(host) => out.push_str("address = \"127.0.0.1\"\n"),
            None => out.push_str("# address = \"10.0.0.11\"       # its name, unless given\n"),
        }
        addresses.for_each(|address| {
            let _ = writeln!(out, "# address = \"{address}\"");
        });
        out.push_str("# ssh = \"root@jump-alias\"     # what ssh connects to, when it is not the address\n");
        out.push_str("# roles = [\"web\"]             # what it is; several hosts can be the same\n");
        let others = self.ssh.iter().filter(|other| other.alias != host && !self.addresses.contains(&other.alias));
        let others: Vec<&SshHost> = others.take(MOST_SSH).collect();
        if !others.is_empty() {
            out.push_str("\n# Your ssh configuration knows these. Uncomment those that belong to this system.\n");
        }
        for other in others {
            let name = as_name(&other.alias);
            let _ = writeln!(out, "#\n# [host.{}]", quoted(&name));
            match other.address.as_deref().filter(|address| *address != other.alias) {
                Some(address) => {
                    let _ = writeln!(out, "# address = \"{address}\"\n# ssh = \"{}\"", other.alias);
                }
                None => {
                    let _ = writeln!(out, "# address = \"{}\"", other.alias);
                }
            }
        }
    }

    fn services_of(&self, out: &mut String, host: &str) {
        out.push_str(SERVICES);
        let mut taken: Vec<String> = Vec::new();
        for service in &self.services {
            let name = service_name(&service.unit, &taken);
            let short = service.unit.strip_suffix(".service").unwrap_or(&service.unit).replace('\\', "\\\\");
            let _ = write!(out, "\n[service.{}]\nhosts = [\"{host}\"]\nunit = \"{short}\"\n", quoted(&name));
            for (address, port) in service.tcp.iter().take(MOST_PORTS) {
                let place = match address.as_str() {
                    "127.0.0.1" => port.to_string(),
                    ip if ip.contains(':') => format!("\"[{ip}]:{port}\""),
                    ip => format!("\"{ip}:{port}\""),
                };
                let _ = write!(out, "\n[[service.{}.health]]\ntcp = {place}\n", quoted(&name));
            }
            taken.push(name);
        }
        if self.services.is_empty() {
            out.push_str("\n# [service.web]\n# roles = [\"web\"]\n# unit = \"nginx\"\n");
        }
    }
}

const MOST_SSH: usize = 30;
const MOST_PORTS: usize = 5;

/// A name as a key of TOML: one with dots would be several.
fn quoted(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

/// `postgresql` for `postgresql@15-main.service`; the whole when that is taken.
fn service_name(unit: &str, taken: &[String]) -> String {
    let whole = unit.strip_suffix(".service").unwrap_or(unit);
    let first = as_name(whole.split('@').next().unwrap_or(whole));
    let mut candidates = vec![first.clone(), as_name(whole)];
    candidates
        .extend((2..).take(taken.len() + 1).map(|n| format!("{}-{n}", first.chars().take(50).collect::<String>())));
    let free = candidates.into_iter().find(|name| is_name(name) && !taken.contains(name));
    free.unwrap_or_else(|| format!("service-{}", taken.len() + 1))
}

/// What is left of a text as a name: other characters become `-`.
fn as_name(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_ascii_alphanumeric() || "_.".contains(c) { c } else { '-' });
    let name: String = plain.collect::<String>().trim_matches(['-', '_', '.']).chars().take(63).collect();
    if is_name(&name) { name } else { String::new() }
}

/// The first label of a DNS name, as a name.
fn as_short_name(text: &str) -> String {
    as_name(text.split('.').next().unwrap_or_default())
}

const HEAD: &str = "\
# The system: its hosts, what runs on them, who answers for it, and what a change to it needs.
# `greenroom check` says whether all is well with this file and what it means. Keep it under version control: with every
# change it is on record what was declared here. docs/system-file.md has every key.

# include = [\"services/*.toml\"]   # more files that are part of this one
";

const SERVICES: &str = "
# ---- Services: what people know by a name. `greenroom rehearse --on service:NAME` means its hosts. It is watched while a
# change is rolled out, one host first and then the rest.
#
#   owner = \"operations\"            the team that answers for it
#   after = [\"database\"]            is restarted after that one
#   batch = [1, \"25%\", \"rest\"]      how many hosts at a time
#   [[service.NAME.health]]         one of http, tcp, command, unit; without any: its unit is active
#   http = \"http://127.0.0.1/health\"
#   interval = \"5s\"                 also: timeout, failures, successes, grace (after a restart), settle
";

const TAIL: &str = "
# ---- Tests: what must hold on a host once a change is in place.

# [[test]]
# name = \"the front page answers\"
# run = \"curl -fsS http://127.0.0.1/\"
# timeout = \"10s\"
# roles = [\"web\"]

# ---- Who answers for what.

# [team.operations]
# people = [\"anna\"]
# email = \"operations@example.org\"
#
# [person.anna]
# name = \"Anna Berg\"
# email = \"anna@example.org\"

# ---- What a change needs. A role can have a policy of its own: [role.database.policy]

[policy]
# may_apply = { rights = [\"admin\"], teams = [\"operations\"] }   # every operator, unless given
# rehearsal_within = \"24h\"      # the rehearsal must be younger
# second_person = true          # somebody else must have approved
on_failure = \"undo\"             # or \"pause\": stop and ask
host_lost_after = \"2m\"          # a host that is out of touch for longer has failed

# ---- Paths beyond those that every host has (greenroom's own lists are in docs/reference.md).

# [paths]
# volatile = [\"/srv/shop/cache/**\"]   # nobody's intent: logs, caches
# data = [\"/srv/shop/uploads\"]        # never touched by a change

# ---- Environments: what is different there, put over what is above. Hosts are never inherited.

# [environment.staging.host.web1]
# address = \"10.0.9.11\"
# roles = [\"web\"]
";
