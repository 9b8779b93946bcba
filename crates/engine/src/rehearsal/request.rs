//! What somebody wants to have rehearsed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use greenroom_core::change::{ApplyOptions, ChangeFile, Test};
use greenroom_core::rehearsal::Net;
use greenroom_net::egress::AllowEntry;

/// What is done in the copy.
pub enum What {
    /// One command.
    Command {
        /// Program and arguments.
        argv: Vec<OsString>,
        /// Working directory, where the copy has it.
        dir: Option<PathBuf>,
    },
    /// The steps of a change file.
    File {
        /// The file, read.
        file: Box<ChangeFile>,
        /// The directory that its paths are relative to.
        dir: PathBuf,
    },
    /// A person at a shell.
    Shell,
}

/// Whether the copy is booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// When it can be.
    Auto,
    /// It must be.
    Yes,
    /// It is not.
    No,
}

/// A rehearsal that is asked for.
pub struct Request {
    /// The tree to rehearse on.
    pub root: PathBuf,
    /// What is done.
    pub what: What,
    /// Whether the copy is booted.
    pub boot: Boot,
    /// How it can reach the network.
    pub net: Net,
    /// Destinations that are allowed besides the package sources.
    pub allow: Vec<AllowEntry>,
    /// Tests besides those of the change file.
    pub tests: Vec<Test>,
    /// Time limit for the change.
    pub timeout: Option<Duration>,
    /// What to call it.
    pub name: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// Whether the copy is left as it is.
    pub keep: bool,
    /// Share of the machine's cores and memory that the copy may take, in percent.
    pub share: u32,
    /// Environment of the change.
    pub env: Vec<(String, String)>,
}

impl Request {
    /// The `[apply]` table of the change file.
    pub(super) fn options(&self) -> ApplyOptions {
        match &self.what {
            What::File { file, .. } => file.apply.clone(),
            What::Command { .. } | What::Shell => ApplyOptions::default(),
        }
    }

    /// All tests, those of the change file first.
    pub(super) fn all_tests(&self) -> Vec<Test> {
        let mut tests = match &self.what {
            What::File { file, .. } => file.tests.clone(),
            What::Command { .. } | What::Shell => Vec::new(),
        };
        tests.extend(self.tests.iter().cloned());
        tests
    }

    /// A name for people.
    pub(super) fn title(&self) -> String {
        let given = match &self.what {
            What::File { file, .. } => self.name.clone().or_else(|| file.name.clone()),
            What::Command { .. } | What::Shell => self.name.clone(),
        };
        given.unwrap_or_else(|| match &self.what {
            What::Command { argv, .. } => {
                let words: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
                words.join(" ")
            }
            What::File { file, .. } => file.steps.first().map_or_else(String::new, |step| step.label()),
            What::Shell => "shell".to_owned(),
        })
    }
}
