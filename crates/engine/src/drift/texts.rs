//! The texts of a difference, for who shows it: out of the store, from the host, out of the package cache.

use std::io::Read;

use greenroom_core::drift::{Drift, FoundBy};
use greenroom_core::{ContentHash, Node, TreePath};
use greenroom_host::dpkg;
use greenroom_host::scan::Tree;
use greenroom_store::blobs::BlobStore as _;

use super::group::Databases;
use crate::State;

/// Where texts of before are found, for who shows differences.
pub struct Texts {
    pub(super) tree: Tree,
    pub(super) databases: Databases,
}

/// No content of a package is read into memory beyond this.
const LARGEST: u64 = 64 << 20;

/// A file's content out of the package cache, of the version that is on record, when its checksum is the package's own.
pub(super) fn package_content(tree: &mut Tree, databases: &Databases, path: &TreePath) -> Option<Vec<u8>> {
    let database = databases.record.as_ref().or(databases.host.as_ref())?;
    let expected = database.expected(path)?;
    let mut content = Vec::new();
    let mut take = |reader: &mut dyn Read| reader.take(LARGEST).read_to_end(&mut content).map(drop);
    let found = dpkg::deb_content(tree, database.package(expected.package), path, &mut take).ok()?;
    (found && dpkg::md5(&content) == expected.md5).then_some(content)
}

impl Texts {
    /// The content of a drift's side before and after, for a diff; `None`: it is not at hand, or too large. An absent side is
    /// empty.
    pub fn sides(&mut self, state: &State, drift: &Drift, limit: u64) -> [Option<Vec<u8>>; 2] {
        let path = drift.path().clone();
        let before = match (&drift.entry.before, drift.found_by) {
            (None, FoundBy::Package) => package_content(&mut self.tree, &self.databases, &path),
            (before, _) => self.text(state, &path, before.as_deref(), limit),
        };
        [before, self.text(state, &path, drift.entry.after.as_deref(), limit)]
    }

    fn text(&mut self, state: &State, path: &TreePath, node: Option<&Node>, limit: u64) -> Option<Vec<u8>> {
        let Some(hash) = node.and_then(Node::content) else { return Some(Vec::new()) };
        if node.is_some_and(|node| node.size() > limit) {
            return None;
        }
        let is_it = |content: &Vec<u8>| ContentHash::of(content) == hash;
        if let Some(live) = self.tree.content(path, limit + 1).ok().flatten().filter(is_it) {
            return Some(live);
        }
        let mut out = Vec::new();
        if state.blobs.copy_out(hash, &mut out).is_ok() {
            return Some(out);
        }
        package_content(&mut self.tree, &self.databases, path).filter(is_it)
    }
}
