//! Services and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{Batch, Batches, HostTest, Service};
use super::{Read, SERVICE_KEYS, TEST_KEYS};
use crate::document::{At, Node, Table, Value, unit_name};
use crate::path::Shown;

/// How long a test may take unless it says.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

impl Read<'_> {
    pub(super) fn services(&mut self) -> Vec<Service> {
        let mut services = Vec::new();
        let mut places = BTreeMap::new();
        for (name, table) in self.named("service") {
            places.insert(name, table.key_at("after").unwrap_or_else(|| table.at.clone()));
            services.push(self.service(name, &table));
        }
        self.circle(&services, &places);
        // Those that run on hosts of other environments alone.
        services.retain(|service| !service.hosts.is_empty());
        let here: BTreeSet<String> = services.iter().map(|service| service.name.clone()).collect();
        services.iter_mut().for_each(|service| service.after.retain(|name| here.contains(name)));
        services
    }

    fn service(&mut self, name: &str, table: &Table<'_>) -> Service {
        self.reader.unknown(table, SERVICE_KEYS);
        let hosts = self.placed(table).unwrap_or_else(|| {
            let hint = "give it roles = [\"…\"] or hosts = [\"…\"]".to_owned();
            self.reader.note(&table.at, format!("service `{}` runs nowhere", Shown(name.as_bytes())), Some(hint));
            Vec::new()
        });
        let unit = match self.reader.text(table, "unit") {
            Some(text) => self.reader.unit(&text, &table.at("unit"), "unit"),
            None => unit_name(name).ok(),
        };
        let unit = unit.unwrap_or_default();
        let owner = self.reader.text(table, "owner");
        if let Some(owner) = &owner {
            let known = self.names;
            self.is_known(owner, &table.at("owner"), "team", &known.teams);
        }
        let known = self.names;
        let after = self.names_in(table, "after", "service", &known.services);
        let batch = self.batches(table);
        let health = self.checks(table, &unit);
        Service { name: name.to_owned(), hosts, unit, owner, after, batch, health }
    }

    /// Says of one service that it waits for itself: the first by the order of the file that is on a circle.
    fn circle(&mut self, services: &[Service], places: &BTreeMap<&str, At>) {
        let after: BTreeMap<&str, &[String]> =
            services.iter().map(|service| (service.name.as_str(), service.after.as_slice())).collect();
        // Those from which no way leads to a circle.
        let mut done: BTreeSet<&str> = BTreeSet::new();
        for service in services {
            // The way from the service, each with what it waits for and that is still to be followed.
            let mut way = vec![(service.name.as_str(), 0)];
            while let Some((name, next)) = way.last_mut() {
                let Some(other) = after.get(*name).and_then(|all| all.get(*next)) else {
                    done.insert(name);
                    way.pop();
                    continue;
                };
                *next += 1;
                if let Some(from) = way.iter().position(|(name, _)| name == other) {
                    let circle: Vec<&str> = way[from..].iter().map(|(name, _)| *name).collect();
                    let message = format!("service `{}` is restarted after itself", circle[0]);
                    let hint =
                        (circle.len() > 1).then(|| format!("it waits for {}", circle[1..].join(", which waits for ")));
                    self.reader.note(&places[circle[0]], message, hint);
                    return;
                }
                if !done.contains(other.as_str()) {
                    way.push((other, 0));
                }
            }
        }
    }

    fn batches(&mut self, table: &Table<'_>) -> Batches {
        let hint = "write [1, \"rest\"]";
        let nodes = self.reader.array(table, "batch", "a list of sizes", hint);
        let Some(all) = table.get("batch").filter(|node| matches!(node.value, Value::List(_))) else {
            return Batches::default();
        };
        if nodes.is_empty() {
            self.reader.note(&all.at, "`batch` is empty", Some(hint.to_owned()));
        }
        let mut sizes = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            match size(node) {
                Some(Batch::Rest) if at + 1 < nodes.len() => {
                    self.reader.note(
                        &node.at,
                        "nothing can come after the rest",
                        Some("put \"rest\" at the end".to_owned()),
                    );
                }
                Some(size) => sizes.push(size),
                None => {
                    let message = "a batch is a number of hosts from 1, a share from \"1%\" to \"100%\", or \"rest\"";
                    self.reader.note(&node.at, message, None);
                }
            }
        }
        Batches::new(sizes).unwrap_or_default()
    }

    pub(super) fn tests(&mut self) -> Vec<HostTest> {
        let root = Table { entries: self.root, at: self.place("test"), what: "the system file".into() };
        let nodes = self.reader.array(&root, "test", "a list of tables", "begin each test with [[test]]");
        let mut out: Vec<HostTest> = Vec::new();
        let mut seen = BTreeSet::new();
        for node in nodes {
            let Some(table) = self.reader.table(node, "test", "a test") else { continue };
            let Some(test) = self.test(&table) else { continue };
            if !seen.insert(test.name.clone()) {
                let message = format!("test `{}` is declared twice", Shown(test.name.as_bytes()));
                let hint = table.get("name").is_none().then(|| "give it a name of its own".to_owned());
                self.reader.note(&table.at("name"), message, hint);
            }
            out.push(test);
        }
        out.retain(|test| !test.hosts.is_empty());
        out
    }

    fn test(&mut self, table: &Table<'_>) -> Option<HostTest> {
        self.reader.unknown(table, TEST_KEYS);
        let name = self.reader.text(table, "name");
        let timeout = self.reader.duration(table, "timeout").unwrap_or(TEST_TIMEOUT);
        let hosts = self.placed(table).unwrap_or_else(|| self.hosts.iter().map(|host| host.name.clone()).collect());
        let run = self.reader.required(table, "run")?;
        let name = name.unwrap_or_else(|| crate::change::first_line(&run));
        Some(HostTest { name, run, timeout, hosts })
    }
}

fn size(node: &Node) -> Option<Batch> {
    match &node.value {
        Value::Integer(number) => u32::try_from((*number)?).ok().filter(|n| *n >= 1).map(Batch::Hosts),
        Value::String(text) if text == "rest" => Some(Batch::Rest),
        Value::String(text) => {
            let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse().ok().filter(|share| (1..=100).contains(share)).map(Batch::Percent)
        }
        _ => None,
    }
}
