//! What can go wrong, sorted by what it means for the host.

use std::io;

use greenroom_core::{ContentHash, TreePath};

use super::check::Conflict;
use crate::scan::ScanError;

/// Why a change did not happen, or not as asked. Each variant says in which state the host is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was touched: the engine will not do this here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing was touched: the tree is not what the change expects.
    #[error("{} differ from what the change expects", paths(.0.len()))]
    Conflicts(Vec<Conflict>),
    /// It failed half-way and everything was taken back: the host is as before.
    #[error("the change failed and was rolled back")]
    RolledBack(#[source] Box<Error>),
    /// It failed half-way and could not be taken back either.
    #[error("{change} is neither in place nor taken back; {way_out}")]
    Stuck {
        /// Which change.
        change: String,
        /// What a person does now.
        way_out: String,
        /// What stopped the way back.
        source: Box<Error>,
    },
    /// A call of the kernel failed.
    #[error("cannot {what}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A path could not be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Greenroom's own record is not readable.
    #[error("the record of {change} is damaged: {what}")]
    Damaged {
        /// Which change.
        change: String,
        /// What is wrong with it.
        what: String,
    },
}

fn paths(count: usize) -> String {
    if count == 1 { "one path".to_owned() } else { format!("{count} paths") }
}

/// Reasons not to start at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another change is under way.
    #[error("another change is under way on this host: {holder}")]
    Busy {
        /// What the holder said of itself: process id and what it does.
        holder: String,
    },
    /// Not enough space for the new contents.
    #[error("not enough room on the file system of {file_system}: {needed} bytes needed, {free} free")]
    NoRoom {
        /// The top of the file system, in the tree.
        file_system: TreePath,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// Not enough inodes for the new files.
    #[error("not enough inodes on the file system of {file_system}: {needed} needed, {free} free")]
    NoInodes {
        /// The top of the file system, in the tree.
        file_system: TreePath,
        /// How many.
        needed: u64,
        /// How many.
        free: u64,
    },
    /// A file system on which files cannot be exchanged in one step.
    #[error("the file system of {file_system} cannot exchange two files in one step")]
    NoExchange {
        /// The top of the file system, in the tree.
        file_system: TreePath,
    },
    /// A content is not what its name says.
    #[error("the stored content for {path} is damaged: expected {expected}, found {found}")]
    Corrupt {
        /// Whose content.
        path: TreePath,
        /// What was asked for.
        expected: ContentHash,
        /// What came.
        found: ContentHash,
    },
    /// There is a change of this name, or none.
    #[error("{change}: {why}")]
    Record {
        /// Which.
        change: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An earlier change has not been finished.
    #[error("{change} was interrupted and has to be recovered first")]
    Open {
        /// Which.
        change: String,
    },
    /// It was edited between the check and the change.
    #[error("{path} was changed while the change was being prepared")]
    Raced {
        /// Which.
        path: TreePath,
    },
}

/// Gives an I/O error the words for what was tried.
pub(super) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
