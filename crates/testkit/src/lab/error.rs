//! What can go wrong with a lab host, with the thing it happened to.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// An error of the lab. `Display` says what happened to what; the cause is in `source`.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A file operation failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The verb, as in "cannot VERB PATH".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A program could not be started, most often because it is not installed.
    #[error("cannot start {program} (is it installed? `make setup` installs all that tests need)")]
    Start {
        /// The program's name.
        program: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A program ended with another status than 0.
    #[error("{command} ended with {status}:\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of its output.
        output: String,
    },
    /// A program did not end in time and was killed.
    #[error("{command} did not end within {limit:?}")]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// A host did not come up.
    #[error("lab host {name} did not settle within {limit:?} (last state: {state}); its console:\n{console}")]
    NotSettled {
        /// The host's name.
        name: String,
        /// The limit.
        limit: Duration,
        /// What `systemctl is-system-running` said last.
        state: String,
        /// The end of its console output.
        console: String,
    },
    /// An operation needs a booted host, and this one is not.
    #[error("lab host {0} is not booted")]
    NotBooted(String),
    /// No host or station of the fleet has this name.
    #[error("no {0} in this fleet")]
    Unknown(String),
    /// An operation needs a host on a disk of its own.
    #[error("lab host {0} shares its disk with all others: make it with `host_on_disk`")]
    SharedDisk(String),
    /// The lab directory is on a file system that cannot hold a host.
    #[error("{} is on {kind}: set GREENROOM_LAB_DIR to a directory on a disk file system", path.display())]
    NotOnDisk {
        /// The directory.
        path: PathBuf,
        /// The kind of file system found there.
        kind: &'static str,
    },
}

impl LabError {
    /// For `map_err`: names the verb and the file of a failed file operation.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
