//! Refusals in words: which path was expected how, and what is there.

use greenroom_core::path::Shown;
use greenroom_core::{Kind, Node, TreePath};
use greenroom_host::apply::{Conflict, Error as HostError, Reason, Refusal};
use serde::Serialize;

use crate::EngineError;

/// One path that is not as a change expects it.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    /// Where.
    pub path: TreePath,
    /// How it should be.
    pub expected: String,
    /// How it is.
    pub found: String,
}

/// All of them: nothing was touched.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} of this host {} not as rehearsed; nothing was touched", count(.paths.len()), if .paths.len() == 1 { "is" } else { "are" })]
pub struct Conflicts {
    /// By path.
    pub paths: Vec<Described>,
    /// Changes that touched some of these paths since.
    pub touched_by: Vec<String>,
}

fn count(paths: usize) -> String {
    if paths == 1 { "1 path".to_owned() } else { format!("{paths} paths") }
}

/// A conflict in words.
#[must_use]
pub fn describe(conflict: &Conflict) -> Described {
    let differences: Vec<(String, String)> = conflict
        .differences
        .iter()
        .map(|d| (format!("{} {}", d.what, d.from), format!("{} {}", d.what, d.to)))
        .collect();
    let (expected, found) = match (&conflict.reason, &conflict.expected, &conflict.found) {
        (Reason::Parent(dir), ..) => (format!("a directory at {dir}"), "none, or something else".to_owned()),
        (Reason::Links { known, found }, ..) => (format!("{known} names of this file"), format!("{found} names")),
        (Reason::Unknown, ..) => ("nothing else in the directory that goes".to_owned(), "this".to_owned()),
        (Reason::Image, ..) => ("the kept image as it was".to_owned(), "it was written to since".to_owned()),
        (Reason::Differs, Some(_), Some(_)) if !differences.is_empty() => {
            let join = |side: fn(&(String, String)) -> &String| {
                differences.iter().map(side).cloned().collect::<Vec<_>>().join(", ")
            };
            (join(|d| &d.0), join(|d| &d.1))
        }
        (Reason::Differs, expected, found) => (words(expected.as_deref()), words(found.as_deref())),
    };
    Described { path: conflict.path.clone(), expected, found }
}

fn words(node: Option<&Node>) -> String {
    node.map_or_else(
        || "nothing".to_owned(),
        |node| match &node.kind {
            Kind::File { size, content } => format!("a file of {size} bytes ({})", &content.to_string()[..12]),
            Kind::Symlink(target) => format!("a symlink to {}", Shown(target)),
            other => format!("a {}", other.word()),
        },
    )
}

pub(crate) fn conflicts(found: &[Conflict]) -> EngineError {
    EngineError::Conflicts(Conflicts { paths: found.iter().map(describe).collect(), touched_by: Vec::new() })
}

/// What the file engine says, sorted by whether the host was touched.
pub(crate) fn host_error(error: HostError) -> EngineError {
    match error {
        HostError::Conflicts(found) => conflicts(&found),
        HostError::Refused(refusal) => {
            EngineError::Refused { what: refusal.to_string(), hint: Some(hint(&refusal).to_owned()) }
        }
        other => EngineError::Apply { what: other.to_string(), source: Box::new(other) },
    }
}

fn hint(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Busy { .. } => "wait until it is over and try again",
        Refusal::NoRoom { .. } | Refusal::NoInodes { .. } => {
            "make room there and try again: old logs, greenroom gc, greenroom gc --undo-older-than 90d --dry-run"
        }
        Refusal::NoExchange { .. } => "such a file system cannot be changed in one step; make it a `live` step",
        Refusal::Corrupt { .. } => "rehearse it again: the content is captured anew",
        Refusal::Record { .. } => "`greenroom log` lists what was done",
        Refusal::Open { .. } => "greenroom recover",
        Refusal::Raced { .. } => "somebody edits this host just now: look at what changed, then rehearse again",
    }
}
