//! The change file: what a person writes down to have rehearsed, applied and undone, in TOML.
//!
//! ```toml
//! name = "Shop 2.4"
//! why = "Ticket 4711"
//!
//! [[step]]
//! run = "apt-get install -y nginx"
//!
//! [[step]]
//! copy = { from = "files/shop.conf", to = "/etc/nginx/conf.d/shop.conf", mode = "0644", owner = "root:www-data" }
//!
//! [[step]]
//! name = "migrate"
//! live = "/srv/shop/migrate up"
//! undo = "/srv/shop/migrate down"
//! timeout = "5m"
//!
//! [[test]]
//! name = "the front page answers"
//! run = "curl -fsS http://127.0.0.1/"
//! timeout = "10s"
//!
//! [apply]
//! reload = ["nginx"]
//! never_restart = ["postgresql"]
//! health = ["curl -fsS http://127.0.0.1/health"]
//! ```
//!
//! Data goes one way: text → TOML values with their places (the `toml` crate) → [`ChangeFile`], or all [`Problem`]s
//! that were found, each with line, column and a hint. When the text is no TOML at all, only that is reported: what
//! follows a broken line is a guess.
//!
//! This room opens no file. Which files the change needs is in [`ChangeFile::files_needed`]; who has the disk looks,
//! and makes a [`Problem`] at the right place with [`ChangeFile::problem_at`]. It runs nothing either: commands are
//! texts for `sh -c`.

mod read;
mod schema;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::TreePath;
use crate::document::{Source, duration_text};

pub use crate::document::{
    BadDuration, BadUnit, LONGEST as LONGEST_TIMEOUT, Problem, Span, parse_duration, show_duration, unit_name,
};
pub use schema::json_schema;

/// A change file that was read and is sound, except that the files it names have not been looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFile {
    /// A short title.
    pub name: Option<String>,
    /// Why it is done: goes to the ledger.
    pub why: Option<String>,
    /// What is done, in this order; at least one.
    pub steps: Vec<Step>,
    /// What must hold afterwards.
    pub tests: Vec<Test>,
    /// What apply does besides putting the changeset in place.
    pub apply: ApplyOptions,
    needed: Vec<NeededFile>,
    source: Source,
}

/// One step of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to call it in reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it may take; no limit of its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_text")]
    pub timeout: Option<Duration>,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Runs a command in the copy; its effect is captured.
    Run {
        /// For `sh -c`.
        command: String,
    },
    /// Puts a file in place, in the copy; its effect is captured.
    Copy(CopyFile),
    /// Runs a command in the copy *and* on production, at its place in the order: not transplanted.
    Live {
        /// For `sh -c`.
        command: String,
        /// The command that takes it back; without one the step cannot be undone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undo: Option<String>,
        /// Once per system: where many hosts change as one it runs on the first of them only.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        once: bool,
    },
}

/// A file to put in place. What is not given is as with cp(1) as root: a file that is there keeps its owner and mode,
/// a new one gets the mode of `from` and belongs to root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFile {
    /// The file to copy; relative to the directory of the change file.
    pub from: String,
    /// Where it goes on the host.
    pub to: TreePath,
    /// Permission bits, at most 0o7777.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// To whom it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// `user` or `user:group`, by name or number, to be looked up on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Name or number of the user.
    pub user: String,
    /// Name or number of the group; the group stays as it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A command that must succeed once the change is in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// What to call it in reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For `sh -c`; exit status 0 is success.
    pub run: String,
    /// How long it may take; no limit of its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_text")]
    pub timeout: Option<Duration>,
}

/// What the person says about services and health. Unit names are full (`nginx.service`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyOptions {
    /// Units to restart besides those that were measured.
    #[serde(default)]
    pub restart: Vec<String>,
    /// Units to reload instead of restarting them.
    #[serde(default)]
    pub reload: Vec<String>,
    /// Units that are left alone whatever was measured.
    #[serde(default)]
    pub never_restart: Vec<String>,
    /// Commands for `sh -c` that must succeed after the restarts; otherwise the change is taken back.
    #[serde(default)]
    pub health: Vec<String>,
}

/// A file that a change needs, and where the change file says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededFile {
    /// As written: relative to the directory of the change file, unless absolute.
    pub path: String,
    /// Where it stands in the text.
    pub span: Span,
}

impl ChangeFile {
    /// Reads a change file. `file_name` is for the messages only.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text; never an empty list.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Vec<Problem>> {
        read::change_file(text, file_name)
    }

    /// The files that `copy` steps take, in order. Whether they are there is for the caller to see.
    #[must_use]
    pub fn files_needed(&self) -> &[NeededFile] {
        &self.needed
    }

    /// A problem at a place of this file.
    #[must_use]
    pub fn problem_at(&self, span: &Span, message: &str, hint: Option<&str>) -> Problem {
        self.source.problem(span, message.to_owned(), hint.map(str::to_owned))
    }
}

/// Reads a file that holds tests and nothing else: `[[test]]` tables as in a change file.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text; never an empty list.
pub fn parse_tests(text: &str, file_name: &str) -> Result<Vec<Test>, Vec<Problem>> {
    read::test_list(text, file_name)
}

impl Step {
    /// Its name, or what it does, on one line.
    #[must_use]
    pub fn label(&self) -> String {
        match (&self.name, &self.action) {
            (Some(name), _) => name.clone(),
            (None, Action::Run { command } | Action::Live { command, .. }) => first_line(command),
            (None, Action::Copy(copy)) => format!("copy {} to {}", copy.from, copy.to),
        }
    }
}

impl Test {
    /// Its name, or its command, on one line.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| first_line(&self.run))
    }
}

/// A command's first line, for where there is one line.
pub(crate) fn first_line(command: &str) -> String {
    let command = command.trim();
    match command.split_once('\n') {
        Some((first, _)) => format!("{} …", first.trim_end()),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests;
