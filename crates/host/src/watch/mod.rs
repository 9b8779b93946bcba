//! Changes of a tree as they happen, each with who made it.
//!
//! What it is: a loop ([`Watch::run`]) over two sources. fanotify ([`fan`], [`event`]) tells of every change on the tree's local file
//! systems by directory handle and name; [`dirs`] makes paths of them and drops what the policy does not manage, and [`ground`] follows what is mounted. [`writers`] knows whose closing of a file it is, [`links`] which may have several names. [`bpf`] tells of every
//! fork and program start; [`processes`] keeps who each process was, also when it is gone. [`pending`] puts together what belongs to
//! one line ([`bunch`]: name after name of one directory), and [`journal`] writes it to `var/lib/greenroom/baseline/watch/` of the tree. [`Log`] reads that, with or without a watch
//! that runs; with one it first waits until all that happened is written ([`ask`]).
//!
//! What it is not: it compares nothing and decides nothing. Whether an event left a difference is the scan's to say, and a change
//! without an event is found by the scan. The log therefore says where it is not complete ([`MarkKind`]).
//!
//! In which order: fanotify's events have no time. In each turn the queue is read first and the processes' records after it, so that
//! who made an event is known when it is looked at. A process that runs one program after another (`exec` in a shell) wakes the
//! watch at the second, and what it did until then is of the first.

mod ask;
mod bpf;
mod bunch;
mod dirs;
mod event;
mod fan;
mod ground;
mod journal;
mod line;
mod links;
mod log;
mod pending;
mod people;
mod proc;
mod processes;
mod rate;
mod run;
mod state;
mod writers;

use std::io;
use std::path::{Path, PathBuf};

pub use fan::Queue;
pub use ground::ReadPolicy;
pub use journal::Bounds;
pub use line::{Event, Mark, MarkKind, What};
pub use log::Log;
pub use run::{Options, Watch};
pub use state::{Attribution, State};

/// Where the log of a tree is.
#[must_use]
pub fn dir(root: &Path) -> PathBuf {
    root.join("var/lib/greenroom/baseline/watch")
}

/// Why a tree cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is one already.
    #[error("a watch of {0} runs already")]
    Running(PathBuf),
    /// The kernel refuses.
    #[error("fanotify is not to be had: it needs root and Linux 5.9 or later")]
    Fanotify(#[source] io::Error),
    /// Nothing to watch.
    #[error("no file system of {0} can be watched: {1}")]
    Nothing(PathBuf, String),
    /// Which paths count cannot be read.
    #[error("{0}")]
    Policy(String),
    /// A file of the log, or the kernel while it runs.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl WatchError {
    fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}
