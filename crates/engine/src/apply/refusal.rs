//! Refusals in words: which path was expected how, and what is there.

use greenroom_core::TreePath;
use greenroom_host::apply::{Conflict, Error as HostError};
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
    let (expected, found) = conflict.words();
    Described { path: conflict.path.clone(), expected, found }
}

pub(super) fn conflicts(found: Vec<Conflict>) -> EngineError {
    EngineError::Conflicts(Conflicts { paths: found.iter().map(describe).collect(), touched_by: Vec::new() })
}

/// What the file engine says, sorted by whether the host was touched.
pub(crate) fn host_error(error: HostError) -> EngineError {
    match error {
        HostError::Conflicts(found) => conflicts(found),
        HostError::Refused(refusal) => {
            EngineError::Refused { what: refusal.to_string(), hint: refusal.hint().map(str::to_owned) }
        }
        other => EngineError::Apply { what: other.to_string(), source: Box::new(other) },
    }
}
