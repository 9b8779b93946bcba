//! The record of every destination that a copy used or tried, bounded whatever the copy does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::destination::Destination;

/// What went to and came from one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DestinationUse {
    /// Name, or address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// HTTP requests plus CONNECT tunnels, also those that failed.
    pub connections: u64,
    /// Bytes that came from the destination, heads included.
    pub bytes_down: u64,
    /// Bytes that went to the destination, heads included.
    pub bytes_up: u64,
    /// How many of `connections` could not reach it (no such name, no connection, no valid answer).
    pub failures: u64,
    /// For a refusal its reason, for failures the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Everything that went through, sorted by host and port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EgressReport {
    /// Destinations on the list that were used.
    pub allowed: Vec<DestinationUse>,
    /// Destinations that were refused.
    pub refused: Vec<DestinationUse>,
    /// Attempts to reach further destinations that are not listed because too many were tried.
    pub more: u64,
    /// Requests that named no destination at all: not proxy requests, or malformed.
    pub malformed: u64,
}

/// The byte counters of one destination, shared by all its connections.
#[derive(Debug, Default)]
pub(super) struct Meter {
    down: AtomicU64,
    up: AtomicU64,
}

impl Meter {
    pub(super) fn add_down(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_up(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Row {
    connections: u64,
    failures: u64,
    reason: Option<String>,
    meter: Arc<Meter>,
}

#[derive(Debug, Default)]
struct Tables {
    allowed: BTreeMap<Destination, Row>,
    refused: BTreeMap<Destination, Row>,
    more: u64,
    malformed: u64,
}

/// Where the connections write down what they do.
#[derive(Debug)]
pub(super) struct Record {
    tables: Mutex<Tables>,
    bound: usize,
}

impl Record {
    /// At most `bound` destinations in each of the two tables.
    pub(super) fn new(bound: usize) -> Self {
        Self { tables: Mutex::default(), bound }
    }

    /// One more use of an allowed destination; its bytes go to the meter.
    pub(super) fn used(&self, destination: &Destination) -> Arc<Meter> {
        self.with(|t| {
            let row = row(&mut t.allowed, destination, self.bound)?;
            row.connections += 1;
            Some(Arc::clone(&row.meter))
        })
        .unwrap_or_default()
    }

    /// A use that was counted before did not work.
    pub(super) fn failed(&self, destination: &Destination, reason: &str) {
        self.with(|t| {
            // Without making a row: the use itself may have been beyond the bound.
            if let Some(row) = t.allowed.get_mut(destination) {
                row.failures += 1;
                row.reason = Some(reason.to_owned());
            }
            Some(())
        });
    }

    pub(super) fn refused(&self, destination: &Destination, reason: &str) {
        self.with(|t| {
            let row = row(&mut t.refused, destination, self.bound)?;
            row.connections += 1;
            row.reason = Some(reason.to_owned());
            Some(())
        });
    }

    pub(super) fn malformed(&self) {
        self.with(|t| {
            t.malformed += 1;
            Some(())
        });
    }

    /// A snapshot.
    pub(super) fn report(&self) -> EgressReport {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        EgressReport {
            allowed: uses(&tables.allowed),
            refused: uses(&tables.refused),
            more: tables.more,
            malformed: tables.malformed,
        }
    }

    /// Runs `f`; `None` from it means that the table was full.
    fn with<T>(&self, f: impl FnOnce(&mut Tables) -> Option<T>) -> Option<T> {
        // Counters stay meaningful even when a thread died while adding to them.
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let done = f(&mut tables);
        if done.is_none() {
            tables.more += 1;
        }
        done
    }
}

fn row<'a>(table: &'a mut BTreeMap<Destination, Row>, to: &Destination, bound: usize) -> Option<&'a mut Row> {
    if table.len() >= bound && !table.contains_key(to) {
        return None;
    }
    Some(table.entry(to.clone()).or_default())
}

fn uses(table: &BTreeMap<Destination, Row>) -> Vec<DestinationUse> {
    let one = |(to, row): (&Destination, &Row)| DestinationUse {
        host: to.host().to_owned(),
        port: to.port(),
        connections: row.connections,
        bytes_down: row.meter.down.load(Ordering::Relaxed),
        bytes_up: row.meter.up.load(Ordering::Relaxed),
        failures: row.failures,
        reason: row.reason.clone(),
    };
    table.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_bounded() {
        let record = Record::new(3);
        for host in ["d", "b", "c", "a", "b", "e"] {
            record.refused(&Destination::new(host, 80).unwrap(), "not allowed");
        }
        let report = record.report();
        let rows: Vec<_> = report.refused.iter().map(|u| (u.host.as_str(), u.connections)).collect();
        assert_eq!(rows, [("b", 2), ("c", 1), ("d", 1)]);
        assert_eq!(report.more, 2);
    }

    #[test]
    fn bytes_are_seen_while_they_flow() {
        let record = Record::new(3);
        let to = Destination::new("a", 80).unwrap();
        let meter = record.used(&to);
        meter.add_down(7);
        meter.add_up(5);
        record.failed(&to, "broken");
        let json = serde_json::to_value(record.report()).unwrap();
        let row = &json["allowed"][0];
        assert_eq!(row["bytes_down"], 7);
        assert_eq!(row["bytes_up"], 5);
        assert_eq!(row["failures"], 1);
        assert_eq!(row["reason"], "broken");
    }
}
