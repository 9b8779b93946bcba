//! Random file trees and random changes to them, for property tests.
//!
//! A [`Tree`] is a description; [`Tree::write`] makes it real below a directory. A [`Mutation`] changes a real tree.
//! Both come from proptest strategies ([`trees`], [`mutations`]), so a failing case shrinks, or from a seed
//! ([`Tree::from_seed`], [`mutations_from_seed`]). The same description makes the same tree every time, down to the
//! nanosecond of every modification time: a mutation sets the times of all that it touched.
//!
//! [`Kind`] names the kinds of file apart from random trees, for tables over every pair of kinds.
//!
//! Writing needs root: owners, device nodes, `trusted.*` and capabilities. Sockets are not made: they are run-time.

pub(crate) mod disk;
mod kind;
mod mutation;
mod node;
mod strategy;

pub use kind::Kind;
pub use mutation::{Action, Mutation};
pub use node::{Content, Meta, Node, What};
pub use strategy::{mutations, mutations_from_seed, trees};

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A description of a tree: its nodes by path relative to the root, parents before what is in them.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Never contains the root itself.
    pub nodes: BTreeMap<PathBuf, Node>,
}

impl Tree {
    /// The tree that belongs to `seed`.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        strategy::sample(&trees(), seed)
    }

    /// Makes the tree below `root`, which must be an empty directory. The root's own times are set too.
    ///
    /// # Errors
    /// The first operation that the file system refused.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        // A hard link comes after the file it is a name of, wherever that sorts.
        let (links, others): (Vec<_>, Vec<_>) =
            self.nodes.iter().partition(|(_, node)| matches!(node.what, What::HardLink(_)));
        for (path, node) in others.iter().chain(&links) {
            node.create(root, path)?;
        }
        // What is made in a directory changes its time, and a default ACL would be inherited: directories last,
        // deepest first.
        for (path, node) in others.iter().rev() {
            node.meta.set(&root.join(path), &node.what)?;
        }
        disk::set_mtime(root, (1_600_000_000, 0))
    }

    /// The directories, the root (an empty path) first.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let inner = self.nodes.iter().filter(|(_, node)| node.what == What::Directory);
        std::iter::once(PathBuf::new()).chain(inner.map(|(path, _)| path.clone())).collect()
    }
}
