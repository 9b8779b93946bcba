//! The image of a host: its manifest as it is now, and what a host has to change to be what another one was.
//!
//! ```text
//! record ─► scan ─► manifest ─► what the control plane does not have ─► sent (engine::agent)
//! own manifest, other's manifest ─► plan: a changeset without what is the host's own, units ─► a rehearsal on record ─► apply
//! ```
//! What it is not: it sends nothing and changes nothing. The manifest is the [record](crate::drift)'s with what differs from it: of
//! a host that has one, only what changed is read.

mod rebuild;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use greenroom_core::image::{Manifest, manifest};
use greenroom_core::wire::ImageOf;
use greenroom_core::{ContentHash, Kind, Node, TreePath};
use greenroom_host::baseline::Trouble;
use greenroom_host::scan::{ScanError, Tree};

pub(crate) use rebuild::{plan, put_on_record};

use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// A host as it is.
pub struct Present {
    /// All its paths, but for volatile ones, data and Greenroom's own.
    pub manifest: Manifest,
    /// Paths that cannot be read, or change each time they are: they are not in it.
    pub left_out: BTreeSet<TreePath>,
}

/// Looks at all of the host at `root`.
///
/// # Errors
/// Its record cannot be made or read.
pub fn present(state: &State, root: &Path, asked: &Asked, progress: &dyn Progress) -> Result<Present, EngineError> {
    let site = Site::look(root, state.dir())?;
    let (baseline, scanned) = crate::drift::scanned(state, &site, asked, progress)?;
    let mut tree = Tree::open(&site.root)?;
    let mut now: BTreeMap<TreePath, Option<Box<Node>>> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    for problem in scanned.problems {
        let node = match problem.trouble {
            Trouble::Unrecorded => reread(&mut tree, &problem.path)?,
            Trouble::Vanished => continue,
            Trouble::Busy | Trouble::Unreadable(_) => None,
        };
        if node.is_none() {
            left_out.insert(problem.path.clone());
        }
        now.insert(problem.path, node);
    }
    now.extend(scanned.differences.into_iter().map(|one| (one.entry.path, one.entry.after)));
    let mut nodes = Vec::with_capacity(usize::try_from(baseline.meta().paths).unwrap_or(0));
    for recorded in baseline.records() {
        let (path, node) = recorded?;
        match now.remove(&path) {
            None => nodes.push((path, Box::new(node))),
            Some(other) => nodes.extend(other.map(|node| (path, node))),
        }
    }
    nodes.extend(now.into_iter().filter_map(|(path, node)| Some((path, node?))));
    let times = dir_times(&mut tree, &nodes)?;
    Ok(Present { manifest: valid(manifest(nodes, times), &site.root)?, left_out })
}

/// The same with these paths looked at again; those that still are not what they were when they were looked at are left out.
///
/// # Errors
/// The tree cannot be read.
pub fn again(present: &Present, root: &Path, changed: &BTreeSet<TreePath>) -> Result<Present, EngineError> {
    let mut tree = Tree::open(root)?;
    let mut left_out = present.left_out.clone();
    let mut nodes = Vec::with_capacity(present.manifest.entries().len());
    for entry in present.manifest.entries() {
        let node = if changed.contains(&entry.path) { reread(&mut tree, &entry.path)? } else { entry.after.clone() };
        match node {
            Some(node) => nodes.push((entry.path.clone(), node)),
            None => drop(left_out.insert(entry.path.clone())),
        }
    }
    let times = present.manifest.dir_times().iter().map(|time| (time.path.clone(), time.after)).collect();
    Ok(Present { manifest: valid(manifest(nodes, times), root)?, left_out })
}

fn reread(tree: &mut Tree, path: &TreePath) -> Result<Option<Box<Node>>, EngineError> {
    match tree.node(path) {
        Ok(seen) => Ok(seen.into_node()),
        Err(ScanError::Busy { .. } | ScanError::Path { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn dir_times(
    tree: &mut Tree,
    nodes: &[(TreePath, Box<Node>)],
) -> Result<Vec<(TreePath, greenroom_core::Mtime)>, EngineError> {
    let mut out = Vec::new();
    for (path, _) in nodes.iter().filter(|(_, node)| node.kind == Kind::Dir) {
        out.extend(tree.status(path)?.map(|status| (path.clone(), status.mtime)));
    }
    Ok(out)
}

fn valid(made: Result<Manifest, greenroom_core::changeset::Invalid>, root: &Path) -> Result<Manifest, EngineError> {
    made.map_err(|source| EngineError::Damaged { path: crate::drift::record_of(root), source: Box::new(source) })
}

/// One path for each content of a manifest.
#[must_use]
pub fn places(manifest: &Manifest) -> BTreeMap<ContentHash, (TreePath, u64)> {
    let mut out = BTreeMap::new();
    for entry in manifest.entries() {
        if let Some(node) = entry.after.as_deref()
            && let Some(content) = node.content()
        {
            out.entry(content).or_insert_with(|| (entry.path.clone(), node.size()));
        }
    }
    out
}

/// What the host at `root` is.
///
/// # Errors
/// The tree cannot be read.
pub fn system(root: &Path) -> Result<ImageOf, EngineError> {
    let mut tree = Tree::open(root)?;
    let mut text = None;
    for path in ["/usr/lib/os-release", "/etc/os-release"] {
        if text.is_none() {
            text = tree.content(&path.into(), 1 << 16)?;
        }
    }
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let stores = crate::site::stores(&mut tree)?.into_iter().map(|store| store.path.to_owned()).collect();
    let identity = greenroom_host::parity::identity(root, greenroom_host::facts::is_live(root));
    Ok(ImageOf {
        distribution: format!("{} {}", value("ID"), value("VERSION_ID")).trim().to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        identity: identity.map_err(EngineError::system("read what names this host"))?,
        stores,
    })
}
