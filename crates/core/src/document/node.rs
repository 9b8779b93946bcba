//! TOML values with their places, owned, so that those of several files can be put together.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Span;

/// A place in one of the files that a [`super::Reader`] has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    /// Which file.
    pub(crate) file: usize,
    /// Where in its text.
    pub(crate) span: Span,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// What a value is. Integers are there when they fit.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    String(String),
    Integer(Option<i64>),
    Float,
    Boolean(bool),
    Datetime,
    List(Vec<Node>),
    Table(BTreeMap<String, Entry>),
}

/// A value of a table, and the place of its key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: At,
    pub(crate) node: Node,
}

impl Value {
    /// What it is called in messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float => "a number",
            Self::Boolean(_) => "true or false",
            Self::Datetime => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// A whole document.
    pub(super) fn root(file: usize, table: &DeTable<'_>) -> Self {
        Self { at: At { file, span: 0..0 }, value: Value::Table(entries(file, table)) }
    }

    fn of(file: usize, value: &Spanned<DeValue<'_>>) -> Self {
        let at = At { file, span: value.span() };
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Float(_) => Value::Float,
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(array) => Value::List(array.iter().map(|value| Self::of(file, value)).collect()),
            DeValue::Table(table) => Value::Table(entries(file, table)),
        };
        Self { at, value }
    }
}

fn entries(file: usize, table: &DeTable<'_>) -> BTreeMap<String, Entry> {
    let entry = |(key, value): (&Spanned<_>, &_)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        (name.to_string(), Entry { key: At { file, span: key.span() }, node: Node::of(file, value) })
    };
    table.iter().map(entry).collect()
}
