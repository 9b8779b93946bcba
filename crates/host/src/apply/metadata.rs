//! Gives an inode the owner, mode, attributes and times of a node, in the one order that keeps them all.
//!
//! chown drops setuid bits and capabilities, so it comes first; an ACL rewrites the group bits of the mode, so the mode is
//! looked at again after it; the flags that forbid changes come last of all and are not set here but at the end of the change
//! (`finish`), because slots and children still have to move.

use std::io;
use std::os::fd::BorrowedFd;

use greenroom_core::manifest::flags;
use greenroom_core::{Kind, Node};

use super::fault::Faults;
use crate::sys::fs;
use crate::sys::xattr;

/// The flags that forbid changes.
pub(crate) const LOCKS: u8 = flags::IMMUTABLE | flags::APPEND;

/// Sets all metadata of `name` in `dir` as in `node`, except [`LOCKS`]. Doing it twice is the same as doing it once.
pub(crate) fn set(dir: BorrowedFd<'_>, name: &[u8], node: &Node, faults: &dyn Faults, point: &str) -> io::Result<()> {
    let found = fs::status(dir, name)?;
    let lockable = super::plan::can_be_locked(node);
    if lockable {
        fs::set_flags(dir, name, LOCKS, 0)?;
    }
    let is_link = matches!(node.kind, Kind::Symlink(_));
    let owned = (found.uid, found.gid) == (node.uid, node.gid);
    if !owned {
        fs::set_owner(dir, name, node.uid, node.gid)?;
        faults.hit(point)?;
    }
    if !is_link && (!owned || (found.mode & 0o7777) as u16 != node.mode) {
        fs::set_mode(dir, name, node.mode)?;
        faults.hit(point)?;
    }
    if set_xattrs(dir, name, node)? {
        faults.hit(point)?;
        if !is_link && (fs::status(dir, name)?.mode & 0o7777) as u16 != node.mode {
            fs::set_mode(dir, name, node.mode)?;
        }
    }
    if lockable && (found.flags ^ node.flags) & flags::NODUMP != 0 {
        fs::set_flags(dir, name, flags::NODUMP, node.flags)?;
    }
    if !node.is_dir() && found.mtime != node.mtime {
        fs::set_mtime(dir, name, node.mtime)?;
        faults.hit(point)?;
    }
    Ok(())
}

/// Whether any had to be changed.
fn set_xattrs(dir: BorrowedFd<'_>, name: &[u8], node: &Node) -> io::Result<bool> {
    let found = xattr::xattrs(dir, name)?;
    if found == node.xattrs {
        return Ok(false);
    }
    for (attribute, _) in found.iter().filter(|(a, _)| node.xattrs.iter().all(|(b, _)| a != b)) {
        xattr::remove_xattr(dir, name, attribute)?;
    }
    for wanted in node.xattrs.iter().filter(|wanted| !found.contains(wanted)) {
        xattr::set_xattr(dir, name, &wanted.0, &wanted.1)?;
    }
    Ok(true)
}
