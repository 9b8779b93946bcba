//! A tree that is kept as a stack of overlay layers, the lower of copies of a host that is elsewhere.
//!
//! [`write`] makes one layer out of what differs from the tree below it: new and changed files whole, a whiteout for what is gone,
//! an opaque directory for one that was not there, the directories on the way with their metadata. A layer is never written to
//! again, so that a stack which is mounted is disturbed by no later one. [`Stack`] shows a stack as one tree, read-only.
//!
//! Hard links hold within a layer only: when a name of a file changes, the layer has all its names.
//!
//! Not here: where layers are kept, which of them are needed, when they are durable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use greenroom_core::changeset::DirTime;
use greenroom_core::{Changeset, Kind, Mtime, Node, TreePath};
use rayon::prelude::*;

use super::CopyError;
use crate::apply::{self, BUFFER, Contents, NoFaults};
use crate::scan::Tree;
use crate::sys::fs::{self, types};
use crate::sys::{mount, xattr};

/// A stack of layers, mounted. Dropping it takes the mount away.
#[derive(Debug)]
pub struct Stack {
    at: PathBuf,
}

impl Stack {
    /// Shows `layers`, the newest first, at the directory `at`; `empty` is an empty directory beside them.
    ///
    /// # Errors
    /// [`CopyError::System`]: the kernel has no overlayfs, or does not take these file systems.
    pub fn mount(layers: &[PathBuf], empty: &Path, at: &Path) -> Result<Self, CopyError> {
        // One layer alone is no overlay.
        let all: Vec<&Path> = layers.iter().map(PathBuf::as_path).chain([empty]).collect();
        mount::stack(&all, at).map_err(CopyError::system(format!("mount {} layers as one tree", layers.len())))?;
        Ok(Self { at: at.to_owned() })
    }

    /// The tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.at
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // A failure leaves a mount in our own namespace, which goes when the process does.
        let _ = mount::detach(&self.at);
    }
}

/// Makes a layer in the empty directory `dir`: `delta` is what differs from the tree below to `manifest`, all of it when there is
/// none below. It is not durable yet.
///
/// # Errors
/// [`CopyError::System`]; what was written stays.
pub fn write(dir: &Path, manifest: &Changeset, delta: &Changeset, contents: &dyn Contents) -> Result<(), CopyError> {
    let plan = Plan::new(manifest, delta);
    let mut tree = Tree::open(dir).map_err(|error| doing("open", &TreePath::root())(io::Error::other(error)))?;
    for (path, wanted) in &plan.dirs {
        at(&mut tree, path, "make the directory", |dir, name| {
            fs::make_dir(dir, name, 0o700)?;
            if wanted.opaque { xattr::set_xattr(dir, name, OPAQUE, b"y") } else { Ok(()) }
        })?;
    }
    for path in &plan.gone {
        at(&mut tree, path, "make the whiteout of", |dir, name| fs::make_node(dir, name, types::CHAR, (0, 0)))?;
    }
    plan.objects.par_chunks(64).try_for_each(|chunk| {
        let again = tree.again().map_err(|error| doing("open", &TreePath::root())(io::Error::other(error)));
        let (mut tree, mut buffer) = (again?, vec![0; BUFFER]);
        chunk.iter().try_for_each(|(path, node)| {
            at(&mut tree, path, "make", |dir, name| {
                make(dir, name, node, contents, &mut buffer)?;
                apply::set_metadata(dir, name, node, &NoFaults, "")
            })
        })
    })?;
    for (path, first) in &plan.links {
        link(&mut tree, path, first)?;
    }
    // What is made in a directory changes its time, and a default ACL would be inherited: directories last, deepest first.
    tree.forget();
    for (path, wanted) in plan.dirs.iter().rev() {
        at(&mut tree, path, "set the metadata of", |dir, name| {
            match wanted.node {
                Some(node) => apply::set_metadata(dir, name, node, &NoFaults, "")?,
                None => fs::set_mode(dir, name, 0o755)?,
            }
            wanted.time.map_or(Ok(()), |time| fs::set_mtime(dir, name, time))
        })?;
    }
    at(&mut tree, &TreePath::root(), "set the mode of", |dir, name| fs::set_mode(dir, name, 0o755))?;
    let dirs = plan.dirs.iter().rev().filter_map(|(path, wanted)| Some((path, wanted.node?)));
    for (path, node) in plan.objects.iter().copied().chain(dirs).filter(|(_, node)| node.flags & apply::LOCKS != 0) {
        at(&mut tree, path, "lock", |dir, name| fs::set_flags(dir, name, apply::LOCKS, node.flags))?;
    }
    Ok(())
}

/// The attribute by which a directory hides what is below it.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// A directory of a layer.
struct Dir<'m> {
    /// `None`: nobody knows, it could not be read.
    node: Option<&'m Node>,
    time: Option<Mtime>,
    opaque: bool,
}

/// What a layer has.
struct Plan<'m> {
    dirs: BTreeMap<TreePath, Dir<'m>>,
    gone: Vec<&'m TreePath>,
    objects: Vec<(&'m TreePath, &'m Node)>,
    /// Further names, each with the first that the layer has of the same file.
    links: Vec<(&'m TreePath, &'m TreePath)>,
}

impl<'m> Plan<'m> {
    fn new(manifest: &'m Changeset, delta: &'m Changeset) -> Self {
        let mut plan = Self { dirs: BTreeMap::new(), gone: Vec::new(), objects: Vec::new(), links: Vec::new() };
        let mut groups: HashSet<&TreePath> = HashSet::new();
        let mut objects: BTreeMap<&TreePath, &Node> = BTreeMap::new();
        for entry in delta.entries() {
            groups.extend([&entry.before, &entry.after].into_iter().flatten().filter_map(|node| node.link.as_ref()));
            match entry.after.as_deref() {
                None if plan.is_hidden(delta, &entry.path) => {}
                None => {
                    plan.gone.push(&entry.path);
                    plan.lead_to(manifest, &entry.path);
                }
                Some(node) if node.is_dir() => {
                    let opaque = !entry.before.as_ref().is_some_and(|before| before.is_dir());
                    plan.dirs.insert(entry.path.clone(), dir(manifest, &entry.path, opaque));
                    plan.lead_to(manifest, &entry.path);
                }
                Some(node) => drop(objects.insert(&entry.path, node)),
            }
        }
        for entry in manifest.entries() {
            let node = entry.after.as_deref().filter(|node| node.link.as_ref().is_some_and(|of| groups.contains(of)));
            objects.extend(node.map(|node| (&entry.path, node)));
        }
        for time in delta.dir_times().iter().filter(|time| time.after != DirTime::NONE) {
            if manifest.get(&time.path).and_then(|e| e.after.as_ref()).is_some_and(|node| node.is_dir()) {
                plan.dirs.entry(time.path.clone()).or_insert_with(|| dir(manifest, &time.path, false));
                plan.lead_to(manifest, &time.path);
            }
        }
        let mut firsts: HashMap<&TreePath, &TreePath> = HashMap::new();
        for (path, node) in objects {
            plan.lead_to(manifest, path);
            match node.link.as_ref().map(|group| *firsts.entry(group).or_insert(path)) {
                Some(first) if first != path => plan.links.push((path, first)),
                _ => plan.objects.push((path, node)),
            }
        }
        plan
    }

    /// Whether nothing below shows at `path` anyway: a directory on the way is gone, or is a new one.
    fn is_hidden(&self, delta: &Changeset, path: &TreePath) -> bool {
        std::iter::successors(path.parent(), TreePath::parent).any(|above| {
            let is_dir = |node: &Option<Box<Node>>| node.as_ref().is_some_and(|node| node.is_dir());
            delta.get(&above).is_some_and(|entry| !is_dir(&entry.after))
                || self.dirs.get(&above).is_some_and(|dir| dir.opaque)
        })
    }

    /// The directories on the way to `path`.
    fn lead_to(&mut self, manifest: &'m Changeset, path: &TreePath) {
        let mut next = path.parent();
        while let Some(above) = next.filter(|above| above.depth() > 0 && !self.dirs.contains_key(above)) {
            next = above.parent();
            let made = dir(manifest, &above, false);
            self.dirs.insert(above, made);
        }
    }
}

fn dir<'m>(manifest: &'m Changeset, path: &TreePath, opaque: bool) -> Dir<'m> {
    let times = manifest.dir_times();
    let time = times.binary_search_by(|time| time.path.cmp(path)).ok().map(|at| times[at].after);
    let node = manifest.get(path).and_then(|entry| entry.after.as_deref());
    Dir { node: node.filter(|node| node.is_dir()), time: time.filter(|time| *time != DirTime::NONE), opaque }
}

fn make(
    dir: std::os::fd::BorrowedFd<'_>,
    name: &[u8],
    node: &Node,
    contents: &dyn Contents,
    buffer: &mut [u8],
) -> io::Result<()> {
    match &node.kind {
        Kind::File { content, .. } => {
            let mut to: File = fs::create_file(dir, name)?;
            let found = apply::copy(&mut contents.open(content)?, &mut to, buffer)?;
            if found != *content {
                return Err(io::Error::other(format!("its content is {found} and not {content}")));
            }
            Ok(())
        }
        Kind::Dir => fs::make_dir(dir, name, 0o700),
        Kind::Symlink(target) => fs::make_symlink(dir, name, target),
        Kind::Fifo => fs::make_node(dir, name, types::FIFO, (0, 0)),
        Kind::CharDevice { major, minor } => fs::make_node(dir, name, types::CHAR, (*major, *minor)),
        Kind::BlockDevice { major, minor } => fs::make_node(dir, name, types::BLOCK, (*major, *minor)),
    }
}

fn link(tree: &mut Tree, path: &TreePath, first: &TreePath) -> Result<(), CopyError> {
    let mut other = tree.again().map_err(|error| doing("open", path)(io::Error::other(error)))?;
    at(&mut other, first, "open the directory of", |from, old| {
        let linked = at(tree, path, "link", |to, new| fs::link((from, old), (to, new)));
        linked.map_err(io::Error::other)
    })
}

/// Does something to `path` in its directory.
fn at(
    tree: &mut Tree,
    path: &TreePath,
    what: &str,
    work: impl FnOnce(std::os::fd::BorrowedFd<'_>, &[u8]) -> io::Result<()>,
) -> Result<(), CopyError> {
    let place = tree.place(path).map_err(|error| doing(what, path)(io::Error::other(error)))?;
    let (dir, name) = place.ok_or_else(|| doing(what, path)(io::ErrorKind::NotFound.into()))?;
    work(dir.as_fd(), name).map_err(doing(what, path))
}

fn doing(what: &str, path: &TreePath) -> impl FnOnce(io::Error) -> CopyError + use<> {
    CopyError::system(format!("{what} {path} in a layer"))
}
