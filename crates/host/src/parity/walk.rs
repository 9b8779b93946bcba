//! The paths of a tree in the order of [`greenroom_core::parity::tree_order`], by their metadata; contents, attributes and the
//! text of configuration are read afterwards, where they can matter, on all cores ([`Item::fill`], [`Item::fill_config`]).

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use greenroom_core::manifest::attribute_words;
use greenroom_core::parity::config::kept;
use greenroom_core::parity::{PathKind, PathState};
use greenroom_core::policy::{Class, Policy};
use greenroom_core::{Kind, TreePath};

use super::Gaps;
use super::accounts::Names;
use super::libraries::owner;
use crate::dpkg::Database;
use crate::scan::{ScanError, Seen, Tree};
use crate::sys::fs::{self, Status, types};
use crate::sys::xattr;

/// Longer configuration is compared as a content.
const LONGEST_CONFIG: u64 = 128 << 10;

/// What a walk has to know of its tree.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) policy: Policy,
    pub(super) names: Names,
    pub(super) packages: Option<Database>,
    /// Where local file systems are mounted.
    pub(super) mounts: BTreeSet<TreePath>,
}

impl Place {
    /// Whether a path is nobody's intent, or somebody's data.
    pub(super) fn hides(&self, path: &TreePath, is_dir: bool) -> bool {
        matches!(self.policy.class(path, is_dir), Class::Volatile | Class::Data | Class::Own)
    }
}

/// A directory whose names are gone through.
struct Frame {
    path: TreePath,
    names: std::vec::IntoIter<Box<[u8]>>,
    mount: u64,
    /// Everybody can get here.
    open: bool,
}

/// A walk through a tree.
pub struct Walk {
    tree: Tree,
    place: Arc<Place>,
    stack: Vec<Frame>,
    begun: bool,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("root", &self.tree.path()).field("depth", &self.stack.len()).finish()
    }
}

/// A path, with what is needed to read more of it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) state: PathState,
    /// Everybody on that system can get to the file, though not always read it.
    open: bool,
    flags: u8,
    /// Device and inode.
    pub(super) inode: ((u32, u32), u64),
}

impl Walk {
    pub(super) fn new(tree: Tree, place: Arc<Place>) -> Self {
        Self { tree, place, stack: Vec::new(), begun: false }
    }

    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Another handle on the tree.
    pub(super) fn tree(&self) -> Result<Tree, ScanError> {
        self.tree.again()
    }

    /// The next path; what can't be read is a gap.
    pub(super) fn next(&mut self, gaps: &mut Gaps) -> Option<Item> {
        if !std::mem::replace(&mut self.begun, true) {
            return self.item(&TreePath::root(), None, gaps);
        }
        loop {
            let frame = self.stack.last_mut()?;
            let Some(name) = frame.names.next() else {
                self.stack.pop();
                continue;
            };
            let (path, above) = (frame.path.join(&name), Some((frame.mount, frame.open)));
            if let Some(item) = self.item(&path, above, gaps) {
                return Some(item);
            }
        }
    }

    fn item(&mut self, path: &TreePath, above: Option<(u64, bool)>, gaps: &mut Gaps) -> Option<Item> {
        let status = match self.tree.status(path) {
            Ok(Some(status)) => status,
            Ok(None) => {
                gaps.add(format!("{path} vanished while it was looked at"));
                return None;
            }
            Err(error) => {
                gaps.add(sentence(&error));
                return None;
            }
        };
        let is_dir = status.file_type() == types::DIR;
        if status.file_type() == types::SOCKET || self.place.hides(path, is_dir) {
            return None;
        }
        let state = match self.state(path, &status) {
            Ok(state) => state,
            Err(error) => {
                gaps.add(sentence(&error));
                return None;
            }
        };
        let open = above.is_none_or(|(_, open)| open);
        if is_dir {
            self.enter(path, &status, above, open, gaps);
        }
        Some(Item { state, open, flags: status.flags, inode: (status.dev, status.ino) })
    }

    /// Goes into a directory, unless a file system begins there that is none of the tree's own.
    fn enter(&mut self, path: &TreePath, status: &Status, above: Option<(u64, bool)>, open: bool, gaps: &mut Gaps) {
        let fail = |source| ScanError::Path { path: path.clone(), source };
        let mount = self.tree.place(path).and_then(|place| match place {
            Some((dir, name)) => fs::file_system(dir, name).map_err(fail).map(|(mount, _)| Some(mount)),
            None => Ok(None),
        });
        let names = match mount {
            Ok(Some(mount)) if above.is_none_or(|(id, _)| id == mount) || self.place.mounts.contains(path) => {
                self.tree.names(path).map(|names| (mount, names))
            }
            Ok(_) => return,
            Err(error) => Err(error),
        };
        match names {
            Ok((mount, names)) => self.stack.push(Frame {
                path: path.clone(),
                names: names.into_iter(),
                mount,
                open: open && status.mode & 0o001 != 0,
            }),
            Err(error) => gaps.add(sentence(&error)),
        }
    }

    fn state(&mut self, path: &TreePath, status: &Status) -> Result<PathState, ScanError> {
        let device = |(major, minor): (u32, u32)| format!("{major}:{minor}").into_bytes();
        let (kind, target) = match status.file_type() {
            types::DIR => (PathKind::Dir, Vec::new()),
            types::SYMLINK => (PathKind::Symlink, self.at(path, |dir, name| Ok(fs::read_link(dir, name)?.into_vec()))?),
            types::FIFO => (PathKind::Fifo, Vec::new()),
            types::CHAR => (PathKind::CharDevice, device(status.rdev)),
            types::BLOCK => (PathKind::BlockDevice, device(status.rdev)),
            _ => (PathKind::File, Vec::new()),
        };
        let place = &self.place;
        // Of a directory that several packages have, none is the owner.
        let owned = |db: &Database| (kind != PathKind::Dir || !db.is_shared(path)).then(|| owner(db, path)).flatten();
        Ok(PathState {
            path: path.clone(),
            kind,
            mode: (status.mode & 0o7777) as u16,
            owner: place.names.user(status.uid),
            group: place.names.group(status.gid),
            size: if kind == PathKind::File { status.size } else { 0 },
            content: None,
            target,
            attributes: Vec::new(),
            package: place.packages.as_ref().and_then(owned).map(Into::into),
            config: None,
        })
    }

    fn at<T: Default>(
        &mut self,
        path: &TreePath,
        read: impl FnOnce(BorrowedFd<'_>, &[u8]) -> std::io::Result<T>,
    ) -> Result<T, ScanError> {
        at(&mut self.tree, path, read)
    }
}

fn at<T: Default>(
    tree: &mut Tree,
    path: &TreePath,
    read: impl FnOnce(BorrowedFd<'_>, &[u8]) -> std::io::Result<T>,
) -> Result<T, ScanError> {
    match tree.place(path)? {
        Some((dir, name)) => read(dir, name).map_err(|source| ScanError::Path { path: path.clone(), source }),
        None => Ok(T::default()),
    }
}

impl Item {
    /// Reads attributes, and content when asked to. A sentence: it can't be read.
    pub(super) fn fill(&mut self, tree: &mut Tree, content: bool) -> Result<(), String> {
        if content && self.state.kind == PathKind::File {
            match tree.node(&self.state.path).map_err(|error| sentence(&error))? {
                Seen::Node(node, status) => {
                    let Kind::File { size, content } = node.kind else { return Err(self.changed()) };
                    (self.state.size, self.state.content, self.flags) = (size, Some(content), status.flags);
                    self.state.attributes = attribute_words(&node.xattrs, node.flags);
                }
                Seen::Absent | Seen::Socket => return Err(self.changed()),
            }
        } else {
            let xattrs = at(tree, &self.state.path, xattr::xattrs).map_err(|error| sentence(&error))?;
            self.state.attributes = attribute_words(&xattrs, self.flags);
        }
        Ok(())
    }

    /// Reads what a file of configuration says.
    pub(super) fn fill_config(&mut self, tree: &mut Tree) -> Result<(), String> {
        if self.state.kind != PathKind::File || self.state.size > LONGEST_CONFIG {
            return Ok(());
        }
        let bytes = tree.content(&self.state.path, LONGEST_CONFIG).map_err(|error| sentence(&error))?;
        if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.contains('\0')) {
            let public = self.open && self.state.mode & 0o004 != 0;
            self.state.config = Some(kept(&self.state.path, &text, public));
        }
        Ok(())
    }

    fn changed(&self) -> String {
        format!("{} changed while it was looked at", self.state.path)
    }
}

/// An error with its cause.
fn sentence(error: &ScanError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
