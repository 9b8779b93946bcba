//! What is to be known of a system so that it can be compared with another: reads a running host, a tree that does not run,
//! or a manifest file, and hands records to [`greenroom_core::parity`].
//!
//! ```text
//! a tree ──► facts ──► Facts              (accounts, units, environment, run time, libraries: held)
//!        └─► walk ───► paths, one by one ─┐
//! a manifest file ──► file ──────────────►┤ meet: pairs in one order, in batches, on all cores ──► Report
//! a tree or manifest of the other side ──►┘
//! ```
//! * [`facts`]: all but paths. Of a tree from its files; of the running host also what it does now ([`running`], [`live`]).
//! * [`libraries`]: what services load: from /proc/PID/maps, and by the tables of their programs ([`elf`], [`linker`]).
//! * [`walk`]: the paths of a tree, metadata first; contents are read when [`greenroom_core::parity::Need`] says so.
//! * [`file`]: the manifest file. [`meet`]: two sides against each other.
//!
//! Trees are read through [`crate::scan::Tree`] and with `RESOLVE_IN_ROOT`: no link leads out of them, devices and FIFOs are
//! never opened. Memory is that of the facts, of the directories that are open, and of one batch of paths.

mod accounts;
mod elf;
mod facts;
mod file;
mod identity;
mod inside;
mod libraries;
mod linker;
mod live;
mod meet;
mod running;
mod runtimes;
mod units;
mod walk;

use std::io;

use crate::scan::ScanError;

pub use facts::{Look, Looked, look};
pub use file::{ManifestError, Reader, Writer};
pub use meet::{Side, compare, write};
pub use walk::Walk;

/// What names the system whose tree is at `root`; `running`: it is this machine, and its kernel is asked too.
///
/// # Errors
/// The tree can't be opened.
pub fn identity(root: &std::path::Path, running: bool) -> std::io::Result<greenroom_core::parity::Identity> {
    Ok(identity::read(&inside::Inside::open(root)?, running))
}

/// Why a system could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// Its tree can't be read.
    #[error("the tree cannot be read")]
    Scan(#[from] ScanError),
    /// A manifest can't be used.
    #[error("{name} cannot be used")]
    Manifest {
        /// Which.
        name: String,
        /// Why.
        source: ManifestError,
    },
    /// Something on this machine failed.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Sentences about what could not be read: the first hundred, and how many more.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    said: Vec<String>,
    more: usize,
}

impl Gaps {
    /// Adds one.
    pub fn add(&mut self, gap: impl Into<String>) {
        if self.said.len() < 100 { self.said.push(gap.into()) } else { self.more += 1 }
    }

    /// Adds several.
    pub fn extend(&mut self, gaps: impl IntoIterator<Item = String>) {
        gaps.into_iter().for_each(|gap| self.add(gap));
    }

    /// All of them, the count of the rest as the last.
    #[must_use]
    pub fn into_sentences(mut self) -> Vec<String> {
        if self.more > 0 {
            self.said.push(format!("and {} more could not be read", self.more));
        }
        self.said
    }
}
