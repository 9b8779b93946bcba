//! The record of a tree's state, and what the tree differs in from it.
//!
//! See [`Baseline`].

mod types;

use std::path::{Path, PathBuf};

use greenroom_core::{Node, TreePath};
use jiff::Timestamp;

use crate::dpkg::Database;

pub use types::{BaselineError, Counts, Depth, Difference, Inode, Keep, Meta, Modified, Options, Problem, Trouble};

/// Where the record of a tree is.
#[must_use]
pub fn dir(root: &Path) -> PathBuf {
    root.join("var/lib/greenroom/baseline")
}

/// A record on disk, open.
pub struct Baseline {
    root: PathBuf,
    meta: Meta,
}

/// A record that was just made.
pub struct Recorded {
    /// It.
    pub baseline: Baseline,
    /// What could not be read, sorted by path. These paths are not on record.
    pub problems: Vec<Problem>,
    /// Files that are not as their packages brought them, sorted by path.
    pub modified: Vec<Modified>,
    /// Parts of the package database that could not be read, in sentences.
    pub gaps: Vec<String>,
    /// How much was looked at.
    pub counts: Counts,
}

/// What a tree differs in from its record.
pub struct Scanned {
    /// The differences, sorted by path.
    pub differences: Vec<Difference>,
    /// Of what nothing can be said, sorted by path.
    pub problems: Vec<Problem>,
    /// How much was looked at.
    pub counts: Counts,
    /// What the next scan need not read again.
    pub refresh: Option<Refresh>,
}

/// What a scan learned about paths that are as recorded although their change times are new. Dropped, it is forgotten.
pub struct Refresh {
    keys: u64,
}

impl Refresh {
    /// How many paths were found to be as recorded by reading them.
    #[must_use]
    pub fn paths(&self) -> u64 {
        self.keys
    }

    /// Keeps it for the next scan.
    ///
    /// # Errors
    /// [`BaselineError::System`].
    pub fn save(self) -> Result<(), BaselineError> {
        Ok(())
    }
}

impl Baseline {
    /// Opens the record of the tree at `root`; `None`: there is none.
    ///
    /// # Errors
    /// [`BaselineError`]: it is there and cannot be used.
    pub fn open(root: &Path) -> Result<Option<Self>, BaselineError> {
        let _ = root;
        Ok(None)
    }

    /// Records the state of the tree at `root`, instead of what is on record.
    ///
    /// # Errors
    /// [`BaselineError`]; what was on record is then as it was.
    pub fn record(root: &Path, options: &Options<'_>) -> Result<Recorded, BaselineError> {
        let _ = options;
        Err(BaselineError::Format(root.to_owned()))
    }

    /// Compares the tree with the record.
    ///
    /// # Errors
    /// [`BaselineError`]. What cannot be read of the tree is no error but a [`Problem`].
    pub fn scan(&self, options: &Options<'_>) -> Result<Scanned, BaselineError> {
        let _ = options;
        Err(BaselineError::Format(self.root.clone()))
    }

    /// Puts other states of some paths on record: a node for each, or that there is nothing. What is below a path that is no
    /// directory any more leaves the record too. Paths that the policy does not manage are left out.
    ///
    /// # Errors
    /// [`BaselineError`]; the record is then as it was.
    pub fn advance(&self, changes: &[(TreePath, Option<Node>)], options: &Options<'_>) -> Result<Self, BaselineError> {
        let _ = (changes, options);
        Err(BaselineError::Format(self.root.clone()))
    }

    /// The recorded state of a path; `None`: nothing is on record there.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn node(&self, path: &TreePath) -> Result<Option<Node>, BaselineError> {
        let _ = path;
        Ok(None)
    }

    /// All recorded states, each directory before what is in it, names in byte order.
    pub fn records(&self) -> impl Iterator<Item = Result<(TreePath, Node), BaselineError>> + '_ {
        std::iter::empty()
    }

    /// Who owned which path when the record was made; `None`: the tree has no packages, or that is not kept.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn packages(&self) -> Result<Option<Database>, BaselineError> {
        Ok(None)
    }

    /// What is known of the record as a whole.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[allow(dead_code)]
    fn stamp(&self) -> Timestamp {
        self.meta.at
    }
}
