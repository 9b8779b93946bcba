//! What a host without a tree answers: well-formed, of the size that real ones have, and true to itself (what was not prepared
//! is not committed, what was left is never begun).

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::ContentHash;
use greenroom_core::effect::Group;
use greenroom_core::plan::{Part, Reason, UnitAction, UnitVerb};
use greenroom_core::rehearsal::{Rehearsal, StepRun, TestRun};
use greenroom_core::wire::{Answer, Class, Command, Difference, Failed, HostStatus, Note, Report, Verb, What};
use serde_json::json;

/// Paths that each rehearsal changes.
pub(super) const ENTRIES: usize = 100;

/// A host.
pub(super) struct Played {
    host: String,
    rehearsals: usize,
    changes: usize,
    /// Entries of its ledger.
    entries: u64,
    /// Changes that wait for the next word.
    held: BTreeSet<String>,
    /// Changes that are in place, with their names here.
    in_place: BTreeMap<String, String>,
    left: BTreeSet<String>,
}

impl Played {
    pub(super) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            rehearsals: 0,
            changes: 0,
            entries: 0,
            held: BTreeSet::new(),
            in_place: BTreeMap::new(),
            left: BTreeSet::new(),
        }
    }

    /// How many changes were put in place here.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// What goes on meanwhile.
    pub(super) fn notes(verb: &Verb) -> Vec<Note> {
        let words: &[&str] = match verb {
            Verb::Rehearse(_) => &["making a copy", "running it", "comparing", "going there and back in another copy"],
            _ => &[],
        };
        words.iter().map(|text| Note::Begins((*text).to_owned())).collect()
    }

    /// What comes of a command, and what the host's ledger has of it.
    pub(super) fn does(&mut self, command: &Command) -> (Answer, Option<Report>) {
        match &command.verb {
            Verb::Rehearse(_) => self.rehearse(command),
            Verb::Prepare { change, .. } if self.left.contains(change) => (refused("it was called off"), None),
            Verb::Prepare { change, what: What::Apply { .. } | What::Undo { .. }, .. } => {
                self.held.insert(change.clone());
                (Answer::Prepared { entries: ENTRIES }, None)
            }
            Verb::Commit { change } if !self.held.remove(change) => (refused("it is not prepared"), None),
            Verb::Commit { change } => self.commit(command, change),
            Verb::Unwind { change, .. } => {
                self.held.remove(change);
                self.left.insert(change.clone());
                let local = self.in_place.remove(change).map(|_| self.next_change());
                (Answer::Unwound { local }, None)
            }
            Verb::Watch { .. } => (Answer::Well { looks: 3 }, None),
            _ => (refused("a host that is played does not do this"), None),
        }
    }

    fn next_change(&mut self) -> String {
        self.changes += 1;
        format!("c{}", self.changes)
    }

    fn rehearse(&mut self, command: &Command) -> (Answer, Option<Report>) {
        self.rehearsals += 1;
        let name = format!("r{}", self.rehearsals);
        let changeset = ContentHash::of(format!("{} {name}", self.host).as_bytes());
        let mut record = Rehearsal::blank(&name, now(), &command.person, "/".to_owned());
        record.name = "install -m 644 conf.d/* /etc/app/conf.d/".to_owned();
        record.entries = ENTRIES;
        record.changeset = Some(changeset);
        record.undo_proven = true;
        record.booted = true;
        record.parts = vec![Part::Files { changeset, entries: ENTRIES }];
        record.steps =
            vec![StepRun { step: 1, kind: "run".to_owned(), what: record.name.clone(), exit_code: 0, duration_ms: 12 }];
        let test = |name: &str| TestRun {
            name: name.to_owned(),
            run: format!("systemctl is-active {name}"),
            before: true,
            after: Some(true),
            output: String::new(),
            duration_ms: 8,
        };
        record.tests = ["app", "nginx", "postgresql"].map(test).to_vec();
        let action = |unit: &str| UnitAction { unit: unit.to_owned(), verb: UnitVerb::Restart, reason: Reason::Job };
        record.actions = ["app.service", "nginx.service"].map(action).to_vec();
        record.effects.paths = BTreeMap::from([(Group::Configuration, ENTRIES)]);
        for number in 0..20 {
            record.volatile.add(&format!("/var/log/app/{number}.log").as_str().into());
        }
        record.notes = vec!["three volatile paths changed that no change has".to_owned()];
        let detail = json!({
            "name": record.name, "verdict": record.verdict, "exit_code": 0, "changeset": record.changeset,
            "entries": ENTRIES, "undo_proven": true, "duration_ms": 900,
        });
        let report = self.report("rehearsal", command, json!({ "rehearsal": name }), &detail);
        // The same everywhere: the change does the same on all of them.
        let effect = ContentHash::of(b"what it does").to_string();
        (Answer::Rehearsed { record: Box::new(record), effect }, Some(report))
    }

    fn commit(&mut self, command: &Command, change: &str) -> (Answer, Option<Report>) {
        let local = self.next_change();
        self.in_place.insert(change.to_owned(), local.clone());
        let services = json!([
            { "unit": "app.service", "verb": "restart", "reason": "job" },
            { "unit": "nginx.service", "verb": "restart", "reason": "job" },
        ]);
        let report = json!({
            "change": local, "outcome": "applied", "rehearsal": format!("r{}", self.rehearsals), "entries": ENTRIES,
            "restarted": ["app.service", "nginx.service"], "services": services, "notes": [], "duration_ms": 140,
        });
        let detail = json!({
            "name": "install -m 644 conf.d/* /etc/app/conf.d/", "of": null, "outcome": "done", "entries": ENTRIES,
            "changeset": ContentHash::of(self.host.as_bytes()), "services": services, "notes": [], "rollout": change,
        });
        let told = self.report("apply", command, json!({ "change": local }), &detail);
        (Answer::Committed { local, report }, Some(told))
    }

    fn report(&mut self, kind: &str, command: &Command, of: serde_json::Value, detail: &serde_json::Value) -> Report {
        self.entries += 1;
        let hash = ContentHash::of(format!("{} {}", self.host, self.entries).as_bytes());
        let mut entry = json!({
            "seq": self.entries, "id": format!("e{}", self.entries), "at": now(), "kind": kind, "root": "/",
            "actor": { "user": command.person, "uid": 0, "from": "control plane", "command": command.id },
            "detail": detail, "prev": hash, "hash": hash,
        });
        if let (Some(entry), serde_json::Value::Object(of)) = (entry.as_object_mut(), of) {
            entry.extend(of);
        }
        Report { seq: self.entries, kind: kind.to_owned(), entry }
    }

    /// How it is: a few differences, as hosts in use have them.
    pub(super) fn status(&self) -> HostStatus {
        let difference = |number: usize| Difference {
            path: format!("/etc/app/conf.d/{number}.conf"),
            op: "modify".to_owned(),
            actor: Some("anna".to_owned()),
            how: Some("anna, by vim /etc/app/conf.d, from 192.0.2.7 on pts/0".to_owned()),
            at: now(),
            group: "anna at the shell".to_owned(),
        };
        HostStatus {
            looked_at: now(),
            baseline_at: Some(now()),
            paths: 3,
            latest: (0..3).map(difference).collect(),
            watch: true,
            ..HostStatus::default()
        }
    }
}

fn refused(what: &str) -> Answer {
    Answer::Failed(Failed { class: Class::Refused, what: what.to_owned(), causes: Vec::new(), hints: Vec::new() })
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
