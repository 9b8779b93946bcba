//! Where the tree's own file systems are, where something else is mounted, and whose change times can be trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use greenroom_core::TreePath;

use super::types::BaselineError;
use crate::sys::fs::path_bytes;
use crate::sys::mount::{self, Mount};

/// File systems that set a change time at every change and let nobody set another. The others take it from somewhere (the modification
/// time, the builder of an image).
const KEEP_CTIME: &[&str] = &[
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "ramfs", "reiserfs", "tmpfs",
    "xfs", "zfs",
];

/// Images that nobody can write to while they are mounted. Their times are the builder's, often all the same, and another image can
/// be mounted in the place of one; but while it is the same image, its files are the same too.
const IMAGES: &[&str] = &["erofs", "iso9660", "squashfs"];

/// What the kernel's table of mounts says of one tree.
pub(super) struct Places {
    /// The tree's own file systems, and by what their files are known: the root first.
    own: Vec<(TreePath, Known)>,
    /// By directory: the names on which something is mounted, and whether that is the tree's own.
    mounts: BTreeMap<TreePath, BTreeMap<Box<[u8]>, bool>>,
}

/// Which of the tree's file systems a directory is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A number for it.
    pub(super) number: u32,
    /// By what its files are known.
    pub(super) known: Known,
}

impl Place {
    /// Not in the tree.
    pub(super) const NOWHERE: Self = Self { number: 0, known: Known::Reading };
}

/// By what the files of a file system are known to be unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Inode number and change time.
    Time,
    /// These, within the image with this number.
    Image(u64),
    /// Nothing but reading them.
    Reading,
}

impl Places {
    pub(super) fn look(root: &Path) -> Result<Self, BaselineError> {
        let own = crate::copy::places(root)?;
        let table = mount::table().map_err(BaselineError::system("read the table of mounts"))?;
        let whole = std::fs::canonicalize(root).map_err(BaselineError::system(format!("find {}", root.display())))?;
        let mut out = Self { own: Vec::new(), mounts: BTreeMap::new() };
        for (at, here) in &own {
            out.own.push((at.clone(), mount_of(&table, here).map_or(Known::Reading, |found| known(found, here))));
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
        deepest.map_or(Place::NOWHERE, |(number, (_, known))| Place { number: number as u32, known: *known })
    }

    /// What is mounted in a directory, by name; `true`: the tree's own.
    pub(super) fn mounts(&self, dir: &TreePath) -> Option<&BTreeMap<Box<[u8]>, bool>> {
        self.mounts.get(dir)
    }
}

/// The last mount that covers a path.
fn mount_of<'t>(table: &'t [Mount], path: &Path) -> Option<&'t Mount> {
    table.iter().filter(|found| path.starts_with(&found.at)).max_by_key(|found| found.at.components().count())
}

fn known(found: &Mount, here: &Path) -> Known {
    let kind = found.fstype.as_str();
    if KEEP_CTIME.contains(&kind) {
        return Known::Time;
    }
    let image = IMAGES.contains(&kind).then(|| image(Path::new(&found.source), here).ok()).flatten();
    image.map_or(Known::Reading, Known::Image)
}

/// How much of an image is looked at, at either end: there are its superblock and its tables, with the sizes of all that is packed.
const ENDS: u64 = 64 * 1024;

/// A number for the image that is mounted on `here` from the block device `source`.
fn image(source: &Path, here: &Path) -> std::io::Result<u64> {
    let mut device = File::open(source)?;
    let meta = device.metadata()?;
    if !meta.file_type().is_block_device() || meta.rdev() != std::fs::metadata(here)?.dev() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let length = device.seek(SeekFrom::End(0))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    for at in [0, length.saturating_sub(ENDS)] {
        device.seek(SeekFrom::Start(at))?;
        let mut end = Vec::new();
        (&device).take(ENDS).read_to_end(&mut end)?;
        hasher.update(&end);
    }
    let mut out = [0; 8];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    Ok(u64::from_le_bytes(out))
}
