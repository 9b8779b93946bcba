//! People, teams, and how to reach them.

use super::super::names::{http_url, is_email, is_phone};
use super::super::{Contact, Person, Team};
use super::{PERSON_KEYS, Read, TEAM_KEYS};
use crate::document::Table;
use crate::path::Shown;

impl Read<'_> {
    pub(super) fn people(&mut self) -> Vec<Person> {
        let mut out = Vec::new();
        for (name, table) in self.named("person") {
            self.reader.unknown(&table, PERSON_KEYS);
            let full_name = self.reader.text(&table, "name");
            let contact = self.contact(&table);
            if contact.is_empty() && !self.has_way(&table) {
                let hint = "give it one of email, phone, webhook".to_owned();
                self.reader.note(&table.at, format!("nobody can reach {}", table.what), Some(hint));
            }
            out.push(Person { name: name.to_owned(), full_name, contact });
        }
        out
    }

    pub(super) fn teams(&mut self) -> Vec<Team> {
        let mut out = Vec::new();
        for (name, table) in self.named("team") {
            self.reader.unknown(&table, TEAM_KEYS);
            let known = self.names;
            let people = self.names_in(&table, "people", "person", &known.people);
            let contact = self.contact(&table);
            if contact.is_empty() && people.is_empty() && table.get("people").is_none() && !self.has_way(&table) {
                let hint = "give it people, or one of email, phone, webhook".to_owned();
                self.reader.note(&table.at, format!("nobody can reach {}", table.what), Some(hint));
            }
            out.push(Team { name: name.to_owned(), people, contact });
        }
        out
    }

    /// Whether there is a way, or was meant to be one: what is wrong with it is reported already.
    fn has_way(&self, table: &Table<'_>) -> bool {
        let ways = ["email", "phone", "webhook"];
        ways.iter().any(|key| table.get(key).is_some()) || self.reader.misspelt(table, TEAM_KEYS, &ways)
    }

    fn contact(&mut self, table: &Table<'_>) -> Contact {
        let email = self.way(table, "email", "a mail address", is_email);
        let phone = self.way(table, "phone", "a telephone number", is_phone);
        let webhook = self.way(table, "webhook", "an http or https URL", |text| http_url(text).is_some());
        Contact { email, phone, webhook }
    }

    fn way(&mut self, table: &Table<'_>, key: &str, expected: &str, is_one: impl Fn(&str) -> bool) -> Option<String> {
        let text = self.reader.text(table, key)?;
        if is_one(&text) {
            return Some(text);
        }
        self.reader.note(&table.at(key), format!("`{}` is not {expected}", Shown(text.as_bytes())), None);
        None
    }
}
