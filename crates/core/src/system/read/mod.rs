//! From the tree of values to a [`System`], collecting every problem on the way.
//!
//! Each `fn` reads one kind of table: it takes the values it knows by key, and complains about the keys it does not know.
//! Names are known before what refers to them is read, whatever the order of the files.

mod check;
mod hosts;
mod people;
mod policy;
mod services;

use std::collections::BTreeSet;

use super::load::Entries;
use super::names::{NAME, is_name};
use super::{Host, Paths, Policy, Role, System};
use crate::document::{At, Entry, Node, Reader, Table, Value};
use crate::hint;
use crate::path::Shown;

pub(super) const ROOT_KEYS: &[&str] =
    &["include", "system", "host", "role", "service", "test", "team", "person", "policy", "paths", "environment"];
pub(super) const ENVIRONMENT_KEYS: &[&str] =
    &["include", "system", "host", "role", "service", "test", "team", "person", "policy", "paths"];
pub(super) const SYSTEM_KEYS: &[&str] = &["name", "environment"];
pub(super) const HOST_KEYS: &[&str] = &["address", "ssh", "roles"];
pub(super) const ROLE_KEYS: &[&str] = &["volatile", "data", "policy"];
pub(super) const PATHS_KEYS: &[&str] = &["volatile", "data"];
pub(super) const SERVICE_KEYS: &[&str] = &["hosts", "roles", "unit", "owner", "after", "batch", "health"];
pub(super) const CHECK_KEYS: &[&str] =
    &["http", "status", "tcp", "command", "unit", "interval", "timeout", "failures", "successes", "grace", "settle"];
pub(super) const TEST_KEYS: &[&str] = &["name", "run", "timeout", "hosts", "roles"];
pub(super) const TEAM_KEYS: &[&str] = &["people", "email", "phone", "webhook"];
pub(super) const PERSON_KEYS: &[&str] = &["name", "email", "phone", "webhook"];
pub(super) const POLICY_KEYS: &[&str] =
    &["may_apply", "rehearsal_within", "second_person", "on_failure", "host_lost_after"];
pub(super) const MAY_APPLY_KEYS: &[&str] = &["rights", "teams", "people"];

/// Hosts and roles of all environments. What refers to one that another environment has is right, and means nothing here.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    hosts: BTreeSet<String>,
    roles: BTreeSet<String>,
}

impl Known {
    /// Takes in the hosts of one environment.
    pub(super) fn add(&mut self, root: &Entries) {
        let Some(Value::Table(hosts)) = root.get("host").map(|entry| &entry.node.value) else { return };
        for (name, entry) in hosts {
            self.hosts.insert(name.clone());
            let Value::Table(host) = &entry.node.value else { continue };
            let Some(Value::List(roles)) = host.get("roles").map(|entry| &entry.node.value) else { continue };
            self.roles.extend(roles.iter().filter_map(|role| match &role.value {
                Value::String(role) => Some(role.clone()),
                _ => None,
            }));
        }
    }
}

/// Reads the tables of one environment. The result is what they mean only when `reader` found nothing wrong.
pub(super) fn system(reader: &mut Reader, root: &Entries, known: &Known, environment: Option<&str>) -> System {
    let named = |kind: &str| match root.get(kind).map(|entry| &entry.node.value) {
        Some(Value::Table(entries)) => entries.keys().cloned().collect(),
        _ => BTreeSet::new(),
    };
    let names = Names { services: named("service"), teams: named("team"), people: named("person") };
    let mut read = Read { reader, root, known, names: &names, hosts: Vec::new() };
    let name = read.name();
    read.hosts = read.hosts();
    let policy = read.policy();
    let roles = read.roles(&policy);
    System {
        name,
        environment: environment.map(str::to_owned),
        roles,
        services: read.services(),
        tests: read.tests(),
        teams: read.teams(),
        people: read.people(),
        paths: read.system_paths(),
        policy,
        hosts: read.hosts,
    }
}

/// What is declared, by kind.
struct Names {
    services: BTreeSet<String>,
    teams: BTreeSet<String>,
    people: BTreeSet<String>,
}

struct Read<'a> {
    reader: &'a mut Reader,
    root: &'a Entries,
    known: &'a Known,
    names: &'a Names,
    hosts: Vec<Host>,
}

impl<'a> Read<'a> {
    /// The place of a table at the top, or of the whole.
    fn place(&self, key: &str) -> At {
        self.root.get(key).map_or(At { file: 0, span: 0..0 }, |entry| entry.key.clone())
    }

    fn top(&mut self, key: &str) -> Option<Table<'a>> {
        let root = self.root;
        self.reader.table(&root.get(key)?.node, key, format!("[{key}]"))
    }

    fn name(&mut self) -> String {
        let Some(table) = self.top("system") else {
            if !self.root.contains_key("system") {
                let hint = "begin with [system] and its name = \"…\"".to_owned();
                self.reader.note(&At { file: 0, span: 0..0 }, "there is no [system]", Some(hint));
            }
            return String::new();
        };
        self.reader.unknown(&table, SYSTEM_KEYS);
        // Which environment is meant is looked up before an environment is read.
        self.reader.text(&table, "environment");
        let name = self.reader.required(&table, "name").unwrap_or_default();
        if !name.is_empty() && !is_name(&name) {
            let message = format!("`{}` cannot be the name of a system: {NAME}", Shown(name.as_bytes()));
            self.reader.note(&table.at("name"), message, None);
        }
        name
    }

    /// The named tables of a kind, in the order of the files.
    fn named(&mut self, kind: &'static str) -> Vec<(&'a str, Table<'a>)> {
        let root = self.root;
        let Some(entry) = root.get(kind) else { return Vec::new() };
        let Value::Table(entries) = &entry.node.value else {
            let found = entry.node.value.type_name();
            let hint = format!("begin each with [{kind}.NAME]");
            self.reader.note(&entry.key, format!("`{kind}` must be tables with names, this is {found}"), Some(hint));
            return Vec::new();
        };
        let mut sorted: Vec<(&String, &Entry)> = entries.iter().collect();
        sorted.sort_by_key(|(_, entry)| (entry.key.file, entry.key.span.start));
        let mut out = Vec::with_capacity(sorted.len());
        for (name, entry) in sorted {
            let shown = Shown(name.as_bytes()).to_string();
            if !is_name(name) {
                self.reader.note(&entry.key, format!("`{shown}` cannot be the name of a {kind}: {NAME}"), None);
            } else if kind == "host" && name == "all" {
                let hint = Some("`--on all` means every host".to_owned());
                self.reader.note(&entry.key, "a host cannot be called `all`", hint);
            }
            match &entry.node.value {
                Value::Table(entries) => {
                    let what = format!("{kind} `{shown}`").into();
                    // The name in the header: of a table that is made by those below it, it is the only place there is.
                    out.push((name.as_str(), Table { entries, at: entry.key.clone(), what }));
                }
                other => {
                    let found = other.type_name();
                    let hint = format!("write [{kind}.{shown}]");
                    self.reader.note(&entry.key, format!("`{shown}` must be a table, this is {found}"), Some(hint));
                }
            }
        }
        out
    }

    /// Names in a list, each of which must be known.
    fn names_in(&mut self, table: &Table<'_>, key: &str, kind: &str, known: &BTreeSet<String>) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        for (name, at) in self.reader.strings(table, key) {
            if !seen.insert(name) {
                self.reader.note(&at, format!("{kind} `{}` is named twice", Shown(name.as_bytes())), None);
            } else if self.is_known(name, &at, kind, known) {
                out.push(name.to_owned());
            }
        }
        out
    }

    fn is_known(&mut self, name: &str, at: &At, kind: &str, known: &BTreeSet<String>) -> bool {
        if known.contains(name) {
            return true;
        }
        let all: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match all.as_slice() {
            [] if kind == "role" => "no host has a role: give it one with roles = [\"…\"]".to_owned(),
            [] => format!("declare it with [{kind}.NAME]"),
            all => hint::for_unknown(name, all),
        };
        let message = match kind {
            "role" => format!("no host has the role `{}`", Shown(name.as_bytes())),
            kind => format!("there is no {kind} `{}`", Shown(name.as_bytes())),
        };
        self.reader.note(at, message, Some(hint));
        false
    }

    /// The hosts that `hosts` and `roles` of a table name, in the order of the system's; `None` without either key.
    fn placed(&mut self, table: &Table<'_>) -> Option<Vec<String>> {
        if table.get("hosts").is_none() && table.get("roles").is_none() {
            return None;
        }
        let known = self.known;
        let named: BTreeSet<String> = self.names_in(table, "hosts", "host", &known.hosts).into_iter().collect();
        let roles = self.names_in(table, "roles", "role", &known.roles);
        for key in ["hosts", "roles"] {
            if let Some(Node { value: Value::List(list), at }) = table.get(key)
                && list.is_empty()
            {
                self.reader.note(at, format!("`{key}` is empty"), None);
            }
        }
        let is_meant = |host: &&Host| named.contains(&host.name) || roles.iter().any(|role| host.has(role));
        Some(self.hosts.iter().filter(is_meant).map(|host| host.name.clone()).collect())
    }

    fn system_paths(&mut self) -> Paths {
        let Some(table) = self.top("paths") else { return Paths::default() };
        self.reader.unknown(&table, PATHS_KEYS);
        self.paths(&table)
    }

    fn roles(&mut self, of_system: &Policy) -> Vec<Role> {
        let mut tables = self.named("role");
        let mut out: Vec<Role> = Vec::new();
        for (name, table) in &mut tables {
            self.reader.unknown(table, ROLE_KEYS);
            let known = self.known;
            self.is_known(name, &table.at, "role", &known.roles);
            let paths = self.paths(table);
            let policy = table.get("policy").and_then(|node| self.role_policy(node, of_system));
            out.push(Role { name: (*name).to_owned(), paths, policy });
        }
        out.retain(|role| self.hosts.iter().any(|host| host.has(&role.name)));
        let mut seen: BTreeSet<String> = out.iter().map(|role| role.name.clone()).collect();
        for name in self.hosts.iter().flat_map(|host| &host.roles) {
            if seen.insert(name.clone()) {
                out.push(Role { name: name.clone(), paths: Paths::default(), policy: None });
            }
        }
        out
    }
}
