//! Takes values out of tables by key, and notes everything that is wrong on the way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml::de::DeTable;

use super::problem::{Problem, Source};
use super::{At, Entry, Node, Value, duration, unit_name};
use crate::hint;
use crate::path::Shown;

/// A table, where it stands, and what to call it.
pub(crate) struct Table<'a> {
    pub(crate) entries: &'a BTreeMap<String, Entry>,
    pub(crate) at: At,
    pub(crate) what: Cow<'static, str>,
}

impl<'a> Table<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.get(key).map(|entry| &entry.node)
    }

    pub(crate) fn key_at(&self, key: &str) -> Option<At> {
        self.entries.get(key).map(|entry| entry.key.clone())
    }

    /// The place of the value of `key`; without one, of the table.
    pub(crate) fn at(&self, key: &str) -> At {
        self.get(key).map_or_else(|| self.at.clone(), |node| node.at.clone())
    }
}

/// The files that are read, and what was found wrong in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    pub(crate) sources: Vec<Source>,
    problems: Vec<(usize, Problem)>,
    /// What was noted where: the same table may be read for several environments.
    noted: BTreeSet<(usize, usize, String)>,
}

impl Reader {
    /// Takes a file in and parses it; `None`: it is no TOML, and problems say where.
    pub(crate) fn document(&mut self, name: &str, text: &str) -> Option<Node> {
        let file = self.sources.len();
        self.sources.push(Source::new(name, text));
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = At { file, span: error.span().unwrap_or(0..0) };
            self.note(&at, Shown(error.message().as_bytes()).to_string(), None);
        }
        errors.is_empty().then(|| Node::root(file, document.get_ref()))
    }

    pub(crate) fn note(&mut self, at: &At, message: impl Into<String>, hint: Option<String>) {
        let message = message.into();
        if !self.noted.insert((at.file, at.span.start, message.clone())) {
            return;
        }
        let problem = self.sources[at.file].problem(&at.span, message, hint);
        self.problems.push((at.file, problem));
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// All that was noted, in the order of the files and their texts.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut all = self.problems;
        all.sort_by_key(|(file, problem)| (*file, problem.line, problem.column));
        all.into_iter().map(|(_, problem)| problem).collect()
    }

    /// `hosts.toml:3:1`
    pub(crate) fn place(&self, at: &At) -> String {
        let problem = self.sources[at.file].problem(&at.span, String::new(), None);
        format!("{}:{}:{}", Shown(problem.file.as_bytes()), problem.line, problem.column)
    }

    pub(crate) fn unknown(&mut self, table: &Table<'_>, known: &[&str]) {
        for (name, entry) in table.entries {
            if !known.contains(&name.as_str()) {
                let message = format!("unknown key `{}` in {}", Shown(name.as_bytes()), table.what);
                self.note(&entry.key, message, Some(hint::for_unknown(name, known)));
            }
        }
    }

    /// Whether an unknown key, reported already, was probably meant as one of `meant`.
    pub(crate) fn misspelt(&self, table: &Table<'_>, known: &[&str], meant: &[&str]) -> bool {
        let mut unknown = table.entries.keys().filter(|key| !known.contains(&key.as_str()));
        unknown.any(|key| hint::nearest(key, meant.iter().copied()).is_some())
    }

    pub(crate) fn wrong_type(&mut self, node: &Node, key: &str, expected: &str, hint: Option<&str>) {
        let found = node.value.type_name();
        self.note(&node.at, format!("`{key}` must be {expected}, this is {found}"), hint.map(str::to_owned));
    }

    /// A string that says something.
    pub(crate) fn string<'a>(&mut self, node: &'a Node, key: &str) -> Option<&'a str> {
        let Value::String(text) = &node.value else {
            self.wrong_type(node, key, "a string", Some("put it in quotes"));
            return None;
        };
        if text.trim().is_empty() {
            self.note(&node.at, format!("`{key}` is empty"), None);
            return None;
        }
        if text.contains('\0') {
            self.note(&node.at, format!("`{key}` contains a NUL character"), None);
            return None;
        }
        Some(text)
    }

    pub(crate) fn text(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        self.string(table.get(key)?, key).map(str::to_owned)
    }

    pub(crate) fn required(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        if table.get(key).is_none() {
            self.note(&table.at, format!("`{key}` is missing in {}", table.what), None);
        }
        self.text(table, key)
    }

    pub(crate) fn duration(&mut self, table: &Table<'_>, key: &str) -> Option<Duration> {
        self.duration_of(table, key, false)
    }

    pub(crate) fn duration_or_zero(&mut self, table: &Table<'_>, key: &str) -> Option<Duration> {
        self.duration_of(table, key, true)
    }

    fn duration_of(&mut self, table: &Table<'_>, key: &str, zero: bool) -> Option<Duration> {
        let node = table.get(key)?;
        if let Value::Integer(number) = node.value {
            let hint = number.map(|number| format!("write \"{number}s\" for seconds"));
            self.wrong_type(node, key, "a duration in quotes", hint.as_deref());
            return None;
        }
        let text = self.string(node, key)?;
        match if zero { duration::parse_or_zero(text) } else { duration::parse(text) } {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.note(&node.at, format!("`{key}`: {error}"), None);
                None
            }
        }
    }

    pub(crate) fn boolean(&mut self, table: &Table<'_>, key: &str) -> Option<bool> {
        let node = table.get(key)?;
        if let Value::Boolean(value) = node.value {
            return Some(value);
        }
        self.wrong_type(node, key, "true or false", None);
        None
    }

    /// A whole number from 1 to `most`.
    pub(crate) fn count(&mut self, table: &Table<'_>, key: &str, most: u32) -> Option<u32> {
        let node = table.get(key)?;
        let Value::Integer(number) = node.value else {
            self.wrong_type(node, key, "a whole number", None);
            return None;
        };
        let fitting = number.and_then(|number| u32::try_from(number).ok()).filter(|n| (1..=most).contains(n));
        if fitting.is_none() {
            self.note(&node.at, format!("`{key}` must be from 1 to {most}"), None);
        }
        fitting
    }

    pub(crate) fn array<'a>(&mut self, table: &Table<'a>, key: &str, of: &str, hint: &str) -> &'a [Node] {
        match table.get(key) {
            None => &[],
            Some(Node { value: Value::List(list), .. }) => list,
            Some(node) => {
                // The key, not the value: a table's value is its whole body.
                let found = node.value.type_name();
                let at = table.key_at(key).unwrap_or_else(|| node.at.clone());
                self.note(&at, format!("`{key}` must be {of}, this is {found}"), Some(hint.to_owned()));
                &[]
            }
        }
    }

    pub(crate) fn table<'a>(
        &mut self,
        node: &'a Node,
        key: &str,
        what: impl Into<Cow<'static, str>>,
    ) -> Option<Table<'a>> {
        match &node.value {
            Value::Table(entries) => Some(Table { entries, at: node.at.clone(), what: what.into() }),
            _ => {
                self.wrong_type(node, key, "a table", None);
                None
            }
        }
    }

    pub(crate) fn parsed<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let node = table.get(key)?;
        let parsed = parse(self.string(node, key)?);
        if parsed.is_none() {
            self.note(&node.at, format!("`{key}` must be {expected}"), None);
        }
        parsed
    }

    pub(crate) fn strings<'a>(&mut self, table: &Table<'a>, key: &str) -> Vec<(&'a str, At)> {
        let nodes = self.array(table, key, "a list of strings", "write [\"…\"]");
        nodes.iter().filter_map(|node| Some((self.string(node, key)?, node.at.clone()))).collect()
    }

    pub(crate) fn unit(&mut self, text: &str, at: &At, key: &str) -> Option<String> {
        match unit_name(text) {
            Ok(unit) => Some(unit),
            Err(error) => {
                self.note(at, format!("`{key}`: {error}"), None);
                None
            }
        }
    }
}
