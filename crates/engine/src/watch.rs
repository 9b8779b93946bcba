//! The watch of a tree, with the policy that its commands have.

use std::path::{Path, PathBuf};

use greenroom_host::watch::{Bounds, Options, Queue, Watch, WatchError};

use crate::EngineError;
use crate::site::Site;

/// How to watch.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The tree.
    pub root: &'a Path,
    /// The state directory: no part of the tree's state.
    pub state: &'a Path,
    /// Follow processes in the kernel where that is possible.
    pub trace: bool,
    /// Keep the kernel's queue to what the machine says.
    pub bounded: bool,
    /// The clock.
    pub now: fn() -> jiff::Timestamp,
}

/// Sets up a watch.
///
/// # Errors
/// There is one already (refused), the policy cannot be read (usage), the kernel does not allow it, the log cannot be written.
pub fn start(wanted: &Wanted<'_>) -> Result<Watch, EngineError> {
    // What is wrong with the list of volatile paths is told as every other command tells it.
    let site = Site::look(wanted.root, wanted.state)?;
    let (root, state): (PathBuf, PathBuf) = (site.root, wanted.state.to_owned());
    let again = root.clone();
    let policy = move || Site::look(&again, &state).map(|site| site.policy).map_err(|error| error.to_string());
    let options = Options {
        root,
        policy: Box::new(policy),
        now: wanted.now,
        bounds: Bounds::default(),
        queue: if wanted.bounded { Queue::Bounded } else { Queue::Unlimited },
        trace: wanted.trace,
    };
    Watch::start(options).map_err(failed)
}

/// A failure of the watch, sorted by what a script needs to know.
pub fn failed(error: WatchError) -> EngineError {
    match error {
        WatchError::Running(_) => EngineError::Refused {
            what: error.to_string(),
            hint: Some("one is enough; `systemctl status greenroom-watch` says whether it is the service".to_owned()),
        },
        WatchError::Policy(what) => EngineError::Usage { what, hint: None },
        WatchError::System { doing, source } => EngineError::System { doing, source },
        error => EngineError::Watch(error),
    }
}
