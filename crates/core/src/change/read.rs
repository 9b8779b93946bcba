//! From TOML values with their places to a [`ChangeFile`], collecting every problem on the way.
//!
//! Each `fn` reads one table: it takes the values it knows by key, and complains about the keys it does not know.
//! A value of the wrong type is a problem and then counts as absent, so one mistake is reported once.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Source, Span};
use super::{Action, ApplyOptions, ChangeFile, CopyFile, NeededFile, Owner, Step, Test, duration};
use crate::path::Shown;
use crate::{TreePath, hint};

pub(super) const ROOT_KEYS: &[&str] = &["name", "why", "step", "test", "apply"];
pub(super) const STEP_KEYS: &[&str] = &["name", "timeout", "run", "copy", "live", "undo"];
pub(super) const COPY_KEYS: &[&str] = &["from", "to", "mode", "owner"];
const TEST_LIST_KEYS: &[&str] = &["test"];
pub(super) const TEST_KEYS: &[&str] = &["name", "run", "timeout"];
pub(super) const APPLY_KEYS: &[&str] = &["restart", "reload", "never_restart", "health"];

/// Reads the whole file; `source` holds the same `text`.
pub(super) fn change_file(source: Source, text: &str) -> Result<ChangeFile, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { source, problems: Vec::new(), needed: Vec::new() };
    if !errors.is_empty() {
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            reader.note(&span, Shown(error.message().as_bytes()).to_string(), None);
        }
        return Err(reader.sorted());
    }
    let root = Table { table: document.get_ref(), span: 0..0, what: "the change file" };
    reader.unknown(&root, ROOT_KEYS);
    let name = reader.text(&root, "name");
    let why = reader.text(&root, "why");
    let steps = reader.steps(&root);
    let tests = reader.tests(&root);
    let apply = reader.apply(&root);
    if reader.problems.is_empty() {
        let Reader { source, needed, .. } = reader;
        return Ok(ChangeFile { name, why, steps, tests, apply, needed, source });
    }
    Err(reader.sorted())
}

/// Reads a file of tests; `source` holds the same `text`.
pub(super) fn test_list(source: Source, text: &str) -> Result<Vec<Test>, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { source, problems: Vec::new(), needed: Vec::new() };
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        reader.note(&span, Shown(error.message().as_bytes()).to_string(), None);
    }
    if !errors.is_empty() {
        return Err(reader.sorted());
    }
    let root = Table { table: document.get_ref(), span: 0..0, what: "a list of tests" };
    reader.unknown(&root, TEST_LIST_KEYS);
    let tests = reader.tests(&root);
    if reader.problems.is_empty() { Ok(tests) } else { Err(reader.sorted()) }
}

/// A table, where it stands, and what to call it.
struct Table<'a> {
    table: &'a DeTable<'a>,
    span: Span,
    what: &'static str,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl<'a> Table<'a> {
    fn get(&self, key: &str) -> Option<&'a Value<'a>> {
        self.table.get(key)
    }

    fn key_span(&self, key: &str) -> Option<Span> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }
}

struct Reader {
    source: Source,
    problems: Vec<Problem>,
    needed: Vec<NeededFile>,
}

impl Reader {
    fn note(&mut self, span: &Span, message: String, hint: Option<String>) {
        let problem = self.source.problem(span, message, hint);
        self.problems.push(problem);
    }

    fn sorted(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        self.problems
    }

    fn unknown(&mut self, table: &Table<'_>, known: &[&str]) {
        for key in table.table.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let message = format!("unknown key `{}` in {}", Shown(name.as_bytes()), table.what);
                self.note(&key.span(), message, Some(hint::for_unknown(name, known)));
            }
        }
    }

    fn wrong_type(&mut self, value: &Value<'_>, key: &str, expected: &str, hint: Option<&str>) {
        let found = type_name(value.get_ref());
        let message = format!("`{key}` must be {expected}, this is {found}");
        self.note(&value.span(), message, hint.map(str::to_owned));
    }

    /// A string that says something.
    fn string<'a>(&mut self, value: &'a Value<'a>, key: &str) -> Option<&'a str> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(value, key, "a string", Some("put it in quotes"));
            return None;
        };
        if text.trim().is_empty() {
            self.note(&value.span(), format!("`{key}` is empty"), None);
            return None;
        }
        if text.contains('\0') {
            self.note(&value.span(), format!("`{key}` contains a NUL character"), None);
            return None;
        }
        Some(text)
    }

    fn text(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        self.string(table.get(key)?, key).map(str::to_owned)
    }

    fn timeout(&mut self, table: &Table<'_>) -> Option<Duration> {
        let value = table.get("timeout")?;
        if let DeValue::Integer(number) = value.get_ref() {
            let hint = format!("write \"{number}s\" for seconds");
            self.wrong_type(value, "timeout", "a duration in quotes", Some(&hint));
            return None;
        }
        match duration::parse(self.string(value, "timeout")?) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.note(&value.span(), format!("`timeout`: {error}"), None);
                None
            }
        }
    }

    fn array<'a>(&mut self, table: &Table<'a>, key: &str, of: &str, hint: &str) -> &'a [Value<'a>] {
        match table.get(key) {
            None => &[],
            Some(value) => match value.get_ref() {
                DeValue::Array(array) => array,
                _ => {
                    // The key, not the value: a table's value is its whole body.
                    let found = type_name(value.get_ref());
                    let span = table.key_span(key).unwrap_or_else(|| value.span());
                    self.note(&span, format!("`{key}` must be {of}, this is {found}"), Some(hint.to_owned()));
                    &[]
                }
            },
        }
    }

    fn table<'a>(&mut self, value: &'a Value<'a>, key: &str, what: &'static str) -> Option<Table<'a>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Table { table, span: value.span(), what }),
            _ => {
                self.wrong_type(value, key, "a table", None);
                None
            }
        }
    }

    fn steps(&mut self, root: &Table<'_>) -> Vec<Step> {
        let values = self.array(root, "step", "a list of tables", "begin each step with [[step]]");
        let misnamed = root.table.keys().any(|key| hint::nearest(key.get_ref(), ["step"]).is_some());
        if values.is_empty() && !misnamed {
            self.note(&root.span, "there is no step".to_owned(), Some("add a [[step]] with run, copy or live".into()));
        } else if values.is_empty() && matches!(root.get("step").map(Spanned::get_ref), Some(DeValue::Array(_))) {
            let span = root.key_span("step").unwrap_or(0..0);
            self.note(&span, "there is no step".to_owned(), Some("add a [[step]] with run, copy or live".into()));
        }
        let tables: Vec<_> = values.iter().filter_map(|value| self.table(value, "step", "a step")).collect();
        tables.iter().filter_map(|table| self.step(table)).collect()
    }

    fn step(&mut self, table: &Table<'_>) -> Option<Step> {
        self.unknown(table, STEP_KEYS);
        let name = self.text(table, "name");
        let timeout = self.timeout(table);
        let run = self.text(table, "run").map(|command| Action::Run { command });
        let copy = table.get("copy").and_then(|value| self.copy(value)).map(Action::Copy);
        let undo = self.text(table, "undo");
        let live = self.text(table, "live").map(|command| Action::Live { command, undo });
        let mut actions: Vec<_> =
            ["run", "copy", "live"].iter().filter_map(|key| Some((table.key_span(key)?, *key))).collect();
        actions.sort_by_key(|(span, _)| span.start);
        if let [(_, first), (span, second), ..] = actions.as_slice() {
            let message = format!("a step does one thing, this one has `{first}` and `{second}`");
            self.note(span, message, Some("begin another [[step]]".to_owned()));
        }
        if let (Some(span), None) = (table.key_span("undo"), table.get("live")) {
            let hint = "what `run` and `copy` did is undone by itself; `undo` takes back a `live` command";
            self.note(&span, "`undo` without `live`".to_owned(), Some(hint.to_owned()));
        } else if actions.is_empty() && !self.near_action(table) {
            let hint = "give it one of run, copy, live".to_owned();
            self.note(&table.span, "this step does nothing".to_owned(), Some(hint));
        }
        Some(Step { name, timeout, action: run.or(copy).or(live)? })
    }

    /// Whether an unknown key, already reported, was probably meant as the action.
    fn near_action(&self, table: &Table<'_>) -> bool {
        table
            .table
            .keys()
            .filter(|key| !STEP_KEYS.contains(&key.get_ref().as_ref()))
            .any(|key| hint::nearest(key.get_ref(), ["run", "copy", "live"]).is_some())
    }

    fn copy(&mut self, value: &Value<'_>) -> Option<CopyFile> {
        let table = self.table(value, "copy", "`copy`")?;
        self.unknown(&table, COPY_KEYS);
        let from = self.required(&table, "from");
        if let (Some(path), Some(value)) = (&from, table.get("from")) {
            self.needed.push(NeededFile { path: path.clone(), span: value.span() });
        }
        let to = self.required(&table, "to");
        let to = to.and_then(|text| self.target(&text, &table));
        let mode = self.parsed(&table, "mode", "octal digits in quotes, such as \"0644\"", mode);
        let owner = self.parsed(&table, "owner", "user or user:group, by name or number", owner);
        Some(CopyFile { from: from?, to: to?, mode, owner })
    }

    fn required(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        if table.get(key).is_none() {
            self.note(&table.span, format!("`{key}` is missing in {}", table.what), None);
        }
        self.text(table, key)
    }

    fn parsed<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = table.get(key)?;
        let parsed = parse(self.string(value, key)?);
        if parsed.is_none() {
            self.note(&value.span(), format!("`{key}` must be {expected}"), None);
        }
        parsed
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
        let span = table.get("to").map_or_else(|| table.span.clone(), Spanned::span);
        self.note(&span, message.to_owned(), hint);
        None
    }

    fn tests(&mut self, root: &Table<'_>) -> Vec<Test> {
        let values = self.array(root, "test", "a list of tables", "begin each test with [[test]]");
        let tables: Vec<_> = values.iter().filter_map(|value| self.table(value, "test", "a test")).collect();
        tables.iter().filter_map(|table| self.test(table)).collect()
    }

    fn test(&mut self, table: &Table<'_>) -> Option<Test> {
        self.unknown(table, TEST_KEYS);
        let name = self.text(table, "name");
        let timeout = self.timeout(table);
        Some(Test { name, run: self.required(table, "run")?, timeout })
    }

    fn apply(&mut self, root: &Table<'_>) -> ApplyOptions {
        let Some(table) = root.get("apply").and_then(|value| self.table(value, "apply", "[apply]")) else {
            return ApplyOptions::default();
        };
        self.unknown(&table, APPLY_KEYS);
        ApplyOptions {
            restart: self.units(&table, "restart"),
            reload: self.units(&table, "reload"),
            never_restart: self.units(&table, "never_restart"),
            health: self.strings(&table, "health").into_iter().map(|(text, _)| text.to_owned()).collect(),
        }
    }

    fn strings<'a>(&mut self, table: &Table<'a>, key: &str) -> Vec<(&'a str, Span)> {
        let values = self.array(table, key, "a list of strings", "write [\"…\"]");
        values.iter().filter_map(|value| Some((self.string(value, key)?, value.span()))).collect()
    }

    fn units(&mut self, table: &Table<'_>, key: &str) -> Vec<String> {
        let texts = self.strings(table, key);
        let mut units = Vec::with_capacity(texts.len());
        for (text, span) in texts {
            match unit_name(text) {
                Ok(unit) => units.push(unit),
                Err(error) => self.note(&span, format!("`{key}`: {error}"), None),
            }
        }
        units
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
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

/// A text that names no systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a systemd unit: 1 to 255 letters, digits and : _ . \\ @ - are expected")]
pub struct BadUnit;

/// The full name of a systemd unit: without a known suffix it is a service, as for systemctl(1).
///
/// # Errors
/// [`BadUnit`] when it has other characters than systemd.unit(5) allows, or is too long; patterns are refused too.
pub fn unit_name(text: &str) -> Result<String, BadUnit> {
    const SUFFIXES: [&str; 11] = [
        ".service",
        ".socket",
        ".device",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".path",
        ".timer",
        ".slice",
        ".scope",
    ];
    let full = match SUFFIXES.iter().any(|suffix| text.ends_with(suffix) && text.len() > suffix.len()) {
        true => text.to_owned(),
        false => format!("{text}.service"),
    };
    let sound = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.\\@-".contains(&b));
    if sound && full.len() <= 255 { Ok(full) } else { Err(BadUnit) }
}
