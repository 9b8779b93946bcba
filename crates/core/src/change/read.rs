//! From TOML values with their places to a [`ChangeFile`], collecting every problem on the way.
//!
//! Each `fn` reads one table: it takes the values it knows by key, and complains about the keys it does not know.

use super::{Action, ApplyOptions, ChangeFile, CopyFile, NeededFile, Owner, Problem, Step, Test};
use crate::document::{Node, Reader, Table, Value};
use crate::path::Shown;
use crate::{TreePath, hint};

pub(super) const ROOT_KEYS: &[&str] = &["name", "why", "step", "test", "apply"];
pub(super) const STEP_KEYS: &[&str] = &["name", "timeout", "run", "copy", "live", "undo", "once"];
pub(super) const COPY_KEYS: &[&str] = &["from", "to", "mode", "owner"];
const TEST_LIST_KEYS: &[&str] = &["test"];
pub(super) const TEST_KEYS: &[&str] = &["name", "run", "timeout"];
pub(super) const APPLY_KEYS: &[&str] = &["restart", "reload", "never_restart", "health"];

/// Reads the whole file.
pub(super) fn change_file(text: &str, file_name: &str) -> Result<ChangeFile, Vec<Problem>> {
    let mut it = Change::default();
    let Some(document) = it.reader.document(file_name, text) else { return Err(it.reader.into_problems()) };
    let Some(root) = it.reader.table(&document, "", "the change file") else { return Err(it.reader.into_problems()) };
    it.reader.unknown(&root, ROOT_KEYS);
    let name = it.reader.text(&root, "name");
    let why = it.reader.text(&root, "why");
    let steps = it.steps(&root);
    let tests = it.tests(&root);
    let apply = it.apply(&root);
    match it.reader.sources.pop() {
        Some(source) if it.reader.is_clean() => {
            Ok(ChangeFile { name, why, steps, tests, apply, needed: it.needed, source })
        }
        _ => Err(it.reader.into_problems()),
    }
}

/// Reads a file of tests.
pub(super) fn test_list(text: &str, file_name: &str) -> Result<Vec<Test>, Vec<Problem>> {
    let mut it = Change::default();
    let mut tests = Vec::new();
    if let Some(document) = it.reader.document(file_name, text)
        && let Some(root) = it.reader.table(&document, "", "a list of tests")
    {
        it.reader.unknown(&root, TEST_LIST_KEYS);
        tests = it.tests(&root);
    }
    if it.reader.is_clean() { Ok(tests) } else { Err(it.reader.into_problems()) }
}

/// What is read, and the files that were named on the way.
#[derive(Default)]
struct Change {
    reader: Reader,
    needed: Vec<NeededFile>,
}

impl Change {
    fn steps(&mut self, root: &Table<'_>) -> Vec<Step> {
        let values = self.reader.array(root, "step", "a list of tables", "begin each step with [[step]]");
        let misnamed = root.entries.keys().any(|key| hint::nearest(key, ["step"]).is_some());
        if values.is_empty() && !misnamed {
            self.reader.note(
                &root.at,
                "there is no step".to_owned(),
                Some("add a [[step]] with run, copy or live".into()),
            );
        } else if values.is_empty() && matches!(root.get("step"), Some(Node { value: Value::List(_), .. })) {
            let at = root.key_at("step").unwrap_or_else(|| root.at.clone());
            self.reader.note(&at, "there is no step".to_owned(), Some("add a [[step]] with run, copy or live".into()));
        }
        let tables: Vec<_> = values.iter().filter_map(|value| self.reader.table(value, "step", "a step")).collect();
        tables.iter().filter_map(|table| self.step(table)).collect()
    }

    fn step(&mut self, table: &Table<'_>) -> Option<Step> {
        self.reader.unknown(table, STEP_KEYS);
        let name = self.reader.text(table, "name");
        let timeout = self.reader.duration(table, "timeout");
        let run = self.reader.text(table, "run").map(|command| Action::Run { command });
        let copy = table.get("copy").and_then(|value| self.copy(value)).map(Action::Copy);
        let undo = self.reader.text(table, "undo");
        let once = self.reader.boolean(table, "once");
        let live = self.reader.text(table, "live");
        let live = live.map(|command| Action::Live { command, undo, once: once.unwrap_or(false) });
        let mut actions: Vec<_> =
            ["run", "copy", "live"].iter().filter_map(|key| Some((table.key_at(key)?, *key))).collect();
        actions.sort_by_key(|(at, _)| at.span.start);
        if let [(_, first), (at, second), ..] = actions.as_slice() {
            let message = format!("a step does one thing, this one has `{first}` and `{second}`");
            self.reader.note(at, message, Some("begin another [[step]]".to_owned()));
        }
        if let (Some(at), None) = (table.key_at("once"), table.get("live")) {
            let hint = "what `run` and `copy` did goes to every host; `once` is for a `live` command";
            self.reader.note(&at, "`once` without `live`".to_owned(), Some(hint.to_owned()));
        }
        if let (Some(at), None) = (table.key_at("undo"), table.get("live")) {
            let hint = "what `run` and `copy` did is undone by itself; `undo` takes back a `live` command";
            self.reader.note(&at, "`undo` without `live`".to_owned(), Some(hint.to_owned()));
        } else if actions.is_empty() && !self.reader.misspelt(table, STEP_KEYS, &["run", "copy", "live"]) {
            let hint = "give it one of run, copy, live".to_owned();
            self.reader.note(&table.at, "this step does nothing".to_owned(), Some(hint));
        }
        Some(Step { name, timeout, action: run.or(copy).or(live)? })
    }

    fn copy(&mut self, value: &Node) -> Option<CopyFile> {
        let table = self.reader.table(value, "copy", "`copy`")?;
        self.reader.unknown(&table, COPY_KEYS);
        let from = self.reader.required(&table, "from");
        if let (Some(path), Some(value)) = (&from, table.get("from")) {
            self.needed.push(NeededFile { path: path.clone(), span: value.at.span.clone() });
        }
        let to = self.reader.required(&table, "to");
        let to = to.and_then(|text| self.target(&text, &table));
        let mode = self.reader.parsed(&table, "mode", "octal digits in quotes, such as \"0644\"", mode);
        let owner = self.reader.parsed(&table, "owner", "user or user:group, by name or number", owner);
        Some(CopyFile { from: from?, to: to?, mode, owner })
    }

    fn target(&mut self, text: &str, table: &Table<'_>) -> Option<TreePath> {
        let path = TreePath::from(text);
        let (message, hint) = if !text.starts_with('/') {
            ("`to` must be an absolute path", Some(format!("write \"/{}\"", Shown(text.as_bytes()))))
        } else if !path.is_plain() {
            ("`to` must not contain `.` or `..`", None)
        } else if text.ends_with('/') {
            ("`to` must end with the file's name", None)
        } else {
            return Some(path);
        };
        self.reader.note(&table.at("to"), message, hint);
        None
    }

    fn tests(&mut self, root: &Table<'_>) -> Vec<Test> {
        let values = self.reader.array(root, "test", "a list of tables", "begin each test with [[test]]");
        let tables: Vec<_> = values.iter().filter_map(|value| self.reader.table(value, "test", "a test")).collect();
        tables.iter().filter_map(|table| self.test(table)).collect()
    }

    fn test(&mut self, table: &Table<'_>) -> Option<Test> {
        self.reader.unknown(table, TEST_KEYS);
        let name = self.reader.text(table, "name");
        let timeout = self.reader.duration(table, "timeout");
        Some(Test { name, run: self.reader.required(table, "run")?, timeout })
    }

    fn apply(&mut self, root: &Table<'_>) -> ApplyOptions {
        let Some(table) = root.get("apply").and_then(|value| self.reader.table(value, "apply", "[apply]")) else {
            return ApplyOptions::default();
        };
        self.reader.unknown(&table, APPLY_KEYS);
        ApplyOptions {
            restart: self.units(&table, "restart"),
            reload: self.units(&table, "reload"),
            never_restart: self.units(&table, "never_restart"),
            health: self.reader.strings(&table, "health").into_iter().map(|(text, _)| text.to_owned()).collect(),
        }
    }

    fn units(&mut self, table: &Table<'_>, key: &str) -> Vec<String> {
        let texts = self.reader.strings(table, key);
        texts.into_iter().filter_map(|(text, at)| self.reader.unit(text, &at, key)).collect()
    }
}

fn mode(text: &str) -> Option<u32> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    if octal { u32::from_str_radix(text, 8).ok() } else { None }
}

fn owner(text: &str) -> Option<Owner> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let sound = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.$@+-".contains(c))
    };
    if !sound(user) || !group.is_none_or(sound) {
        return None;
    }
    Some(Owner { user: user.to_owned(), group: group.map(str::to_owned) })
}
