//! A TOML text that a person wrote, with the places of all that is in it: what the readers of the change file and of the
//! system file share.
//!
//! Data goes one way: text → [`Node`]s with their places ([`Reader::document`]) → a reader of its own for each kind of
//! file, which takes what it knows by key through [`Table`] and [`Reader`] → values, or all [`Problem`]s that were
//! found, each with file, line, column and a hint. A value of the wrong type is a problem and then counts as absent, so
//! one mistake is reported once. When a text is no TOML at all, only that is reported: what follows a broken line is a
//! guess.
//!
//! It knows no key of any file.

mod duration;
mod node;
mod problem;
mod reader;
pub(crate) mod schema;
mod unit;

pub use duration::{
    BadDuration, LONGEST, parse as parse_duration, parse_or_zero as parse_duration_or_zero, show as show_duration,
};
pub use problem::{Problem, Span};
pub use unit::{BadUnit, unit_name};

pub(crate) use duration::{text as duration_text, text_or_zero};
pub(crate) use node::{At, Entry, Node, Value};
pub(crate) use problem::Source;
pub(crate) use reader::{Reader, Table};

#[cfg(test)]
pub(crate) mod testing;
