//! The health checks of a service.

use std::time::Duration;

use super::super::names::{host_port, http_url};
use super::super::{Check, Probe};
use super::{CHECK_KEYS, Read};
use crate::document::{Node, Table, Value};
use crate::path::Shown;

/// What a check looks at: the keys of which it has one.
const PROBES: [&str; 4] = ["http", "tcp", "command", "unit"];

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);
const FAILURES: u32 = 3;
const SUCCESSES: u32 = 2;
const SETTLE: Duration = Duration::from_secs(10);
/// More in a row is taken for a slip of the keyboard.
const MOST: u32 = 1000;

impl Read<'_> {
    /// The checks of a service; without any, whether its unit is active.
    pub(super) fn checks(&mut self, table: &Table<'_>, unit: &str) -> Vec<Check> {
        let hint = "begin each check with [[service.NAME.health]]";
        let nodes = self.reader.array(table, "health", "a list of tables", hint);
        let checks: Vec<Check> = nodes.iter().filter_map(|node| self.check(node)).collect();
        if !nodes.is_empty() {
            return checks;
        }
        let probe = Probe::Unit { unit: unit.to_owned() };
        let (interval, timeout, failures, successes) = (INTERVAL, TIMEOUT, FAILURES, SUCCESSES);
        vec![Check { probe, interval, timeout, failures, successes, grace: Duration::ZERO, settle: SETTLE }]
    }

    fn check(&mut self, node: &Node) -> Option<Check> {
        let table = self.reader.table(node, "health", "a health check")?;
        self.reader.unknown(&table, CHECK_KEYS);
        let probe = self.probe(&table);
        let reader = &mut *self.reader;
        let check = Check {
            interval: reader.duration(&table, "interval").unwrap_or(INTERVAL),
            timeout: reader.duration(&table, "timeout").unwrap_or(TIMEOUT),
            failures: reader.count(&table, "failures", MOST).unwrap_or(FAILURES),
            successes: reader.count(&table, "successes", MOST).unwrap_or(SUCCESSES),
            grace: reader.duration_or_zero(&table, "grace").unwrap_or(Duration::ZERO),
            settle: reader.duration_or_zero(&table, "settle").unwrap_or(SETTLE),
            probe: probe?,
        };
        Some(check)
    }

    fn probe(&mut self, table: &Table<'_>) -> Option<Probe> {
        let mut given: Vec<_> = PROBES.iter().filter_map(|key| Some((table.key_at(key)?, *key))).collect();
        given.sort_by_key(|(at, _)| at.span.start);
        if let [(_, first), (at, second), ..] = given.as_slice() {
            let message = format!("a check looks at one thing, this one has `{first}` and `{second}`");
            self.reader.note(at, message, Some("begin another [[service.NAME.health]]".to_owned()));
        }
        if let (Some(at), None) = (table.key_at("status"), table.get("http")) {
            self.reader.note(&at, "`status` without `http`", None);
        } else if given.is_empty() && !self.reader.misspelt(table, CHECK_KEYS, &PROBES) {
            let hint = format!("give it one of {}", PROBES.join(", "));
            self.reader.note(&table.at, "this check looks at nothing", Some(hint));
        }
        let statuses = self.statuses(table);
        match given.first()?.1 {
            "http" => self.http(table, statuses),
            "tcp" => self.tcp(table),
            "command" => self.reader.text(table, "command").map(|command| Probe::Command { command }),
            _ => {
                let text = self.reader.text(table, "unit")?;
                self.reader.unit(&text, &table.at("unit"), "unit").map(|unit| Probe::Unit { unit })
            }
        }
    }

    fn http(&mut self, table: &Table<'_>, status: Vec<u16>) -> Option<Probe> {
        let text = self.reader.text(table, "http")?;
        let url = http_url(&text);
        if url.is_none() {
            let message = format!("`{}` is not an http or https URL", Shown(text.as_bytes()));
            let hint = text.starts_with('/').then(|| format!("write \"http://127.0.0.1{}\"", Shown(text.as_bytes())));
            self.reader.note(&table.at("http"), message, hint);
        }
        Some(Probe::Http { url: url?, status })
    }

    fn statuses(&mut self, table: &Table<'_>) -> Vec<u16> {
        let nodes = self.reader.array(table, "status", "a list of numbers", "write [200]");
        let mut out = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.value {
                Value::Integer(Some(code @ 100..=599)) => out.extend(u16::try_from(code)),
                _ => self.reader.note(&node.at, "a status of HTTP is a number from 100 to 599", None),
            }
        }
        out
    }

    fn tcp(&mut self, table: &Table<'_>) -> Option<Probe> {
        let node = table.get("tcp")?;
        if let Value::Integer(number) = node.value {
            let port = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0);
            if port.is_none() {
                self.reader.note(&node.at, "a port is a number from 1 to 65535", None);
            }
            return Some(Probe::Tcp { host: "127.0.0.1".to_owned(), port: port? });
        }
        let text = self.reader.string(node, "tcp")?;
        let place = host_port(text, None);
        if place.is_none() {
            let hint = "write \"127.0.0.1:5432\", or 5432 for a port of the host itself".to_owned();
            self.reader.note(&node.at, format!("`{}` is not host:port", Shown(text.as_bytes())), Some(hint));
        }
        place.map(|(host, port)| Probe::Tcp { host, port })
    }
}
