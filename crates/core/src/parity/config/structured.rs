//! JSON, TOML and YAML, flattened to `a.b.c` and `list[]`. Scalars of a list are values of one key, in their order; an object in
//! a list has its number: `servers[0].name`.
//!
//! YAML is read as events, so that an alias stands for itself: a file cannot blow up by naming itself many times.

use saphyr_parser::{Event, Parser};
use serde_json::Value;

use super::{LONGEST_KEY, Settings};

/// Nothing that a person writes is deeper.
const DEEPEST: usize = 100;

pub(super) fn json(text: &str) -> Option<Settings> {
    let value: Value = serde_json::from_str(text).ok()?;
    let mut out = Settings::new();
    flatten(String::new(), &value, &mut out)?;
    Some(out)
}

pub(super) fn toml(text: &str) -> Option<Settings> {
    let value: toml::Table = toml::from_str(text).ok()?;
    let mut out = Settings::new();
    flatten_toml(String::new(), &toml::Value::Table(value), &mut out)?;
    Some(out)
}

fn child(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

/// `None`: a key that nobody wrote by hand.
fn put(out: &mut Settings, key: String, value: impl Into<String>) -> Option<()> {
    if key.len() > LONGEST_KEY {
        return None;
    }
    out.entry(key).or_default().push(value.into());
    Some(())
}

fn element(at: &str, number: usize, nested: bool) -> String {
    if nested { format!("{at}[{number}]") } else { format!("{at}[]") }
}

// serde_json bounds the depth of what it reads, and so does toml.
fn flatten(at: String, value: &Value, out: &mut Settings) -> Option<()> {
    match value {
        Value::Object(map) if map.is_empty() => put(out, at, "{}"),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| flatten(child(&at, key), value, out)),
        Value::Array(list) if list.is_empty() => put(out, at, "[]"),
        Value::Array(list) => list.iter().enumerate().try_for_each(|(number, value)| {
            let nested = matches!(value, Value::Object(_) | Value::Array(_));
            flatten(element(&at, number, nested), value, out)
        }),
        Value::String(text) => put(out, at, text),
        other => put(out, at, other.to_string()),
    }
}

fn flatten_toml(at: String, value: &toml::Value, out: &mut Settings) -> Option<()> {
    match value {
        toml::Value::Table(map) if map.is_empty() => put(out, at, "{}"),
        toml::Value::Table(map) => map.iter().try_for_each(|(key, value)| flatten_toml(child(&at, key), value, out)),
        toml::Value::Array(list) if list.is_empty() => put(out, at, "[]"),
        toml::Value::Array(list) => list.iter().enumerate().try_for_each(|(number, value)| {
            let nested = matches!(value, toml::Value::Table(_) | toml::Value::Array(_));
            flatten_toml(element(&at, number, nested), value, out)
        }),
        toml::Value::String(text) => put(out, at, text),
        other => put(out, at, other.to_string()),
    }
}

/// An open mapping or sequence.
enum Frame {
    Map { at: String, key: Option<String>, empty: bool },
    List { at: String, next: usize },
}

pub(super) fn yaml(text: &str) -> Option<Settings> {
    let mut out = Settings::new();
    let mut stack: Vec<Frame> = Vec::new();
    let mut document = 0usize;
    for event in Parser::new_from_str(text) {
        match event.ok()?.0 {
            Event::DocumentStart(_) => document += 1,
            Event::Scalar(value, ..) => scalar(&mut stack, &mut out, value.into_owned(), document)?,
            Event::Alias(id) => scalar(&mut stack, &mut out, format!("*{id}"), document)?,
            Event::MappingStart(..) => {
                let at = place(&mut stack, true, document)?;
                stack.push(Frame::Map { at, key: None, empty: true });
            }
            Event::SequenceStart(..) => {
                let at = place(&mut stack, true, document)?;
                stack.push(Frame::List { at, next: 0 });
            }
            Event::MappingEnd | Event::SequenceEnd => match stack.pop()? {
                Frame::Map { at, empty: true, .. } => put(&mut out, at, "{}")?,
                Frame::List { at, next: 0 } => put(&mut out, at, "[]")?,
                _ => {}
            },
            _ => {}
        }
        if stack.len() > DEEPEST {
            return None;
        }
    }
    Some(out)
}

/// A scalar is a key where a mapping waits for one, else a value.
fn scalar(stack: &mut [Frame], out: &mut Settings, value: String, document: usize) -> Option<()> {
    if let Some(Frame::Map { key: key @ None, empty, .. }) = stack.last_mut() {
        (*key, *empty) = (Some(value), false);
        return Some(());
    }
    let at = place(stack, false, document)?;
    put(out, at, value)
}

/// The key of the value that comes next. `None`: a mapping as a key, which no configuration has.
fn place(stack: &mut [Frame], nested: bool, document: usize) -> Option<String> {
    match stack.last_mut() {
        None => Some(if document > 1 { format!("#{document}") } else { String::new() }),
        Some(Frame::Map { at, key, .. }) => key.take().filter(|_| at.len() <= LONGEST_KEY).map(|key| child(at, &key)),
        Some(Frame::List { at, next }) => {
            let number = *next;
            *next += 1;
            (at.len() <= LONGEST_KEY).then(|| element(at, number, nested))
        }
    }
}
