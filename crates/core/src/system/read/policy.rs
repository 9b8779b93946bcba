//! Policies: of the system, and of roles, which say what is different on their hosts.

use super::super::{MayApply, OnFailure, Policy, Rights};
use super::{MAY_APPLY_KEYS, POLICY_KEYS, Read};
use crate::document::{Node, Table, Value};
use crate::hint;
use crate::path::Shown;

impl Read<'_> {
    pub(super) fn policy(&mut self) -> Policy {
        match self.top("policy") {
            Some(table) => self.policy_in(&table, &Policy::default()),
            None => Policy::default(),
        }
    }

    pub(super) fn role_policy(&mut self, node: &Node, of_system: &Policy) -> Option<Policy> {
        let table = self.reader.table(node, "policy", "the policy of a role")?;
        Some(self.policy_in(&table, of_system))
    }

    fn policy_in(&mut self, table: &Table<'_>, otherwise: &Policy) -> Policy {
        self.reader.unknown(table, POLICY_KEYS);
        let may_apply = match table.get("may_apply") {
            Some(node) => self.may_apply(node).into_iter().collect(),
            None => otherwise.may_apply.clone(),
        };
        let on_failure = self.reader.text(table, "on_failure").and_then(|word| self.on_failure(&word, table));
        Policy {
            may_apply,
            rehearsal_within: self.reader.duration(table, "rehearsal_within").or(otherwise.rehearsal_within),
            second_person: self.reader.boolean(table, "second_person").unwrap_or(otherwise.second_person),
            on_failure: on_failure.unwrap_or(otherwise.on_failure),
            host_lost_after: self.reader.duration(table, "host_lost_after").unwrap_or(otherwise.host_lost_after),
        }
    }

    fn on_failure(&mut self, word: &str, table: &Table<'_>) -> Option<OnFailure> {
        match word {
            "undo" => Some(OnFailure::Undo),
            "pause" => Some(OnFailure::Pause),
            other => {
                let message = format!("`on_failure` cannot be `{}`", Shown(other.as_bytes()));
                self.reader.note(&table.at("on_failure"), message, Some(hint::for_unknown(other, &["undo", "pause"])));
                None
            }
        }
    }

    fn may_apply(&mut self, node: &Node) -> Option<MayApply> {
        let table = self.reader.table(node, "may_apply", "`may_apply`")?;
        self.reader.unknown(&table, MAY_APPLY_KEYS);
        let words: Vec<&str> = Rights::ALL.iter().map(|rights| rights.word()).collect();
        let mut rights = Vec::new();
        for (word, at) in self.reader.strings(&table, "rights") {
            match Rights::ALL.iter().find(|one| one.word() == word) {
                Some(one) => rights.push(*one),
                None => {
                    let message = format!("there are no rights `{}`", Shown(word.as_bytes()));
                    self.reader.note(&at, message, Some(hint::for_unknown(word, &words)));
                }
            }
        }
        let known = self.names;
        let teams = self.names_in(&table, "teams", "team", &known.teams);
        let people = self.names_in(&table, "people", "person", &known.people);
        let says = |node: &Node| !matches!(&node.value, Value::List(list) if list.is_empty());
        let misspelt = self.reader.misspelt(&table, MAY_APPLY_KEYS, MAY_APPLY_KEYS);
        if !misspelt && !MAY_APPLY_KEYS.iter().filter_map(|key| table.get(key)).any(says) {
            let hint = "name rights, teams or people; without `may_apply` every operator may".to_owned();
            self.reader.note(&table.at, "with this nobody may apply", Some(hint));
        }
        Some(MayApply { rights, teams, people })
    }
}
