//! Where the tree's own file systems are, where something else is mounted, and whose change times can be trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use greenroom_core::TreePath;

use super::types::BaselineError;
use crate::sys::fs::path_bytes;
use crate::sys::mount::{self, Mount};

/// File systems that set a change time at every change and let nobody set another. The others take it from somewhere (an image,
/// the modification time), so their files are read each time.
const KEEP_CTIME: &[&str] = &[
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "ramfs", "reiserfs", "tmpfs",
    "xfs", "zfs",
];

/// What the kernel's table of mounts says of one tree.
pub(super) struct Places {
    /// The tree's own file systems and whether their change times count; the root first.
    own: Vec<(TreePath, bool)>,
    /// By directory: the names on which something is mounted, and whether that is the tree's own.
    mounts: BTreeMap<TreePath, BTreeMap<Box<[u8]>, bool>>,
}

/// Which of the tree's file systems a directory is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A number for it.
    pub(super) number: u32,
    /// Whether its change times count.
    pub(super) trusted: bool,
}

impl Places {
    pub(super) fn look(root: &Path) -> Result<Self, BaselineError> {
        let own = crate::copy::places(root)?;
        let table = mount::table().map_err(BaselineError::system("read the table of mounts"))?;
        let whole = std::fs::canonicalize(root).map_err(BaselineError::system(format!("find {}", root.display())))?;
        let mut out = Self { own: Vec::new(), mounts: BTreeMap::new() };
        for (at, here) in &own {
            out.own.push((at.clone(), kind_of(&table, here).is_some_and(|kind| KEEP_CTIME.contains(&kind))));
        }
        let ours: BTreeSet<&TreePath> = own.iter().map(|(at, _)| at).collect();
        for found in &table {
            let Ok(rest) = found.at.strip_prefix(&whole) else { continue };
            let at = TreePath::new(path_bytes(rest));
            let Some(parent) = at.parent() else { continue };
            out.mounts.entry(parent).or_default().insert(at.name().into(), ours.contains(&at));
        }
        Ok(out)
    }

    /// Where a directory is.
    pub(super) fn of(&self, dir: &TreePath) -> Place {
        let holds = self.own.iter().enumerate().filter(|(_, (at, _))| dir.starts_with(at));
        let deepest = holds.max_by_key(|(_, (at, _))| at.depth());
        deepest.map_or(Place { number: 0, trusted: false }, |(number, (_, trusted))| Place {
            number: number as u32,
            trusted: *trusted,
        })
    }

    /// What is mounted in a directory, by name; `true`: the tree's own.
    pub(super) fn mounts(&self, dir: &TreePath) -> Option<&BTreeMap<Box<[u8]>, bool>> {
        self.mounts.get(dir)
    }
}

/// The type of the file system that a path is on: of the last mount that covers it.
fn kind_of<'t>(table: &'t [Mount], path: &Path) -> Option<&'t str> {
    let covers = table.iter().filter(|found| path.starts_with(&found.at));
    covers.max_by_key(|found| found.at.components().count()).map(|found| found.fstype.as_str())
}
