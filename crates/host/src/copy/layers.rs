//! Which file systems a copy consists of, and their overlays.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use greenroom_core::TreePath;

use super::CopyError;
use crate::sys::fs::path_bytes;
use crate::sys::mount::{self, Mount};

/// One overlay of a copy.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where it is in the tree.
    pub at: TreePath,
    /// The host's directory that it is cloned from.
    pub lower: PathBuf,
    /// What was written.
    pub upper: PathBuf,
    /// Where the clone is mounted.
    pub merged: PathBuf,
}

/// A directory that gets an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: TreePath,
    pub(super) lower: PathBuf,
}

pub(super) struct Plan {
    pub(super) places: Vec<Place>,
    pub(super) notes: Vec<String>,
}

/// File systems on disks of this machine, that a copy clones.
const LOCAL: &[&str] = &[
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "nilfs2", "ntfs3",
    "overlay", "reiserfs", "squashfs", "udf", "vfat", "xfs", "zfs",
];

/// File systems that show somebody else's data: never in a copy, and worth a note.
const REMOTE: &[&str] =
    &["9p", "afs", "ceph", "cifs", "gfs2", "glusterfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "virtiofs"];

/// Where the machine's own, container engines' and Greenroom's mounts are.
const NOT_BELOW: &[&str] = &[
    "/dev",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/greenroom",
];

pub(super) fn plan(root: &Path, hidden: &[PathBuf]) -> Result<Plan, CopyError> {
    let bad = |what: String| CopyError::Root { root: root.to_owned(), what };
    let root = fs::canonicalize(root).map_err(|error| bad(error.to_string()))?;
    if !root.is_dir() {
        return Err(bad("it is not a directory".to_owned()));
    }
    let mounts = mount::table().map_err(CopyError::system("read the table of mounts"))?;
    let mut places = vec![Place { at: TreePath::root(), lower: root.clone() }];
    let mut notes = Vec::new();
    for found in &mounts {
        let Some(at) = below(&root, &found.at).filter(|at| at.depth() > 0) else { continue };
        let theirs = NOT_BELOW.iter().any(|top| at.starts_with(&TreePath::from(*top)));
        let ours = hidden.iter().any(|h| found.at.starts_with(h));
        if theirs || ours || places.iter().any(|p| p.at == at) {
            continue;
        }
        match what(found) {
            What::Clone if found.at.is_dir() => places.push(Place { at, lower: found.at.clone() }),
            What::Hide => notes.push(format!("{at} ({} of {}) is not visible in the copy", found.fstype, found.source)),
            What::Clone | What::Nothing => {}
        }
    }
    places.sort_by_key(|place| place.at.depth());
    Ok(Plan { places, notes })
}

enum What {
    Clone,
    Hide,
    Nothing,
}

fn what(found: &Mount) -> What {
    let kind = found.fstype.as_str();
    if LOCAL.contains(&kind) {
        What::Clone
    } else if REMOTE.contains(&kind) || kind.starts_with("fuse") {
        What::Hide
    } else {
        What::Nothing
    }
}

fn below(root: &Path, path: &Path) -> Option<TreePath> {
    path.strip_prefix(root).ok().map(|rest| TreePath::new(path_bytes(rest)))
}

/// Mounts the overlay of one place. `None`: overlayfs does not take its file system, which is shown read-only instead.
pub(super) fn mount(
    place: &Place,
    dir: &Path,
    number: usize,
    notes: &mut Vec<String>,
) -> Result<Option<Layer>, CopyError> {
    let own = dir.join("layers").join(number.to_string());
    let (upper, work) = (own.join("upper"), own.join("work"));
    let merged = match place.at.depth() {
        0 => dir.join("root"),
        _ => dir.join("root").join(std::ffi::OsStr::from_bytes(place.at.relative())),
    };
    for needed in [&upper, &work] {
        fs::create_dir_all(needed).map_err(CopyError::system(format!("make the directory {}", needed.display())))?;
    }
    if place.at.depth() == 0 {
        fs::create_dir_all(&merged).map_err(CopyError::system(format!("make the directory {}", merged.display())))?;
    }
    like(&place.lower, &upper).map_err(CopyError::system(format!("prepare {}", upper.display())))?;
    match mount::overlay(&place.lower, &upper, &work, &merged) {
        Ok(()) => Ok(Some(Layer { at: place.at.clone(), lower: place.lower.clone(), upper, merged })),
        Err(source) if place.at.depth() == 0 => {
            Err(CopyError::System { doing: format!("mount an overlay over {}", place.lower.display()), source })
        }
        Err(error) => {
            notes.push(format!("{} is read-only in the copy: its file system cannot be overlaid ({error})", place.at));
            mount::bind_read_only(&place.lower, &merged)
                .map_err(CopyError::system(format!("show {} in the copy", place.at)))?;
            Ok(None)
        }
    }
}

/// The upper directory stands for the lower's root: it needs its owner, mode and times.
fn like(lower: &Path, upper: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let meta = fs::metadata(lower)?;
    std::os::unix::fs::chown(upper, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(upper, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    copy_acls(lower, upper)?;
    fs::File::open(upper)?.set_modified(meta.modified()?)
}

fn copy_acls(lower: &Path, upper: &Path) -> std::io::Result<()> {
    use std::os::fd::AsFd as _;

    use crate::sys::{fs::open_root, xattr};
    let (from, to) = (open_root(lower)?, open_root(upper)?);
    for (name, value) in xattr::xattrs(from.as_fd(), b"")? {
        xattr::set_xattr(to.as_fd(), b"", &name, &value)?;
    }
    Ok(())
}
