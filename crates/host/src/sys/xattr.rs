//! Extended attributes, ACLs and file capabilities among them.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use greenroom_core::manifest::Xattrs;
use rustix::io::Errno;

/// A path by which the calls that know no directory descriptor reach `name` in `dir`, not following it.
fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    CString::new(path).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Attributes that describe a layer of an overlay and never leave it.
fn belongs_to_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.")
}

/// All extended attributes of `name` in `dir`, sorted, without those of overlayfs.
///
/// # Errors
/// The kernel's; a file system without attributes has none.
pub fn xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Xattrs> {
    let path = proc_path(dir, name)?;
    let listed = listed(|room| rustix::fs::llistxattr(&*path, room))?;
    with_values(&listed, |attribute| xattr(&path, attribute))
}

/// All extended attributes of an open file, sorted, without those of overlayfs; and whether overlayfs says more of it than
/// where it was copied from. Cheaper than [`xattrs`]: no path has to be walked.
///
/// # Errors
/// The kernel's; a file system without attributes has none.
pub fn xattrs_of(file: &File) -> io::Result<(Xattrs, bool)> {
    let listed = listed(|room| rustix::fs::flistxattr(file, room))?;
    let special = |name: &[u8]| belongs_to_overlay(name) && name != b"trusted.overlay.origin";
    let more = listed.split(|b| *b == 0).any(special);
    let found = with_values(&listed, |attribute| value(|room| rustix::fs::fgetxattr(file, attribute, room)))?;
    Ok((found, more))
}

/// The names that one of the calls that list them gives, each with a NUL after it.
fn listed(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut list = [0u8; 1024];
    match call(&mut list[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NODATA) => Ok(Vec::new()),
        Ok(length) => Ok(list[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut list = vec![0u8; 65_536];
            let length = call(&mut list[..])?;
            list.truncate(length);
            Ok(list)
        }
        Err(other) => Err(other.into()),
    }
}

fn with_values(listed: &[u8], read: impl Fn(&[u8]) -> io::Result<Option<Box<[u8]>>>) -> io::Result<Xattrs> {
    let mut out = Vec::new();
    for attribute in listed.split(|b| *b == 0).filter(|n| !n.is_empty() && !belongs_to_overlay(n)) {
        if let Some(value) = read(attribute)? {
            out.push((Box::from(attribute), value));
        }
    }
    out.sort_unstable();
    Ok(out.into_boxed_slice())
}

fn xattr(path: &CStr, attribute: &[u8]) -> io::Result<Option<Box<[u8]>>> {
    value(|room| rustix::fs::lgetxattr(path, attribute, room))
}

fn value(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Box<[u8]>>> {
    let mut value = vec![0u8; 1024];
    loop {
        match call(&mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value.into_boxed_slice()));
            }
            Err(Errno::RANGE) if value.len() < 65_536 => value.resize(65_536, 0),
            // Gone meanwhile, or listed by the file system and not readable on this kind of file.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(other) => return Err(other.into()),
        }
    }
}

/// One attribute of overlayfs itself, read from a layer (not from the merged view).
///
/// # Errors
/// The kernel's.
pub fn overlay_xattr(dir: BorrowedFd<'_>, name: &[u8], attribute: &str) -> io::Result<Option<Box<[u8]>>> {
    xattr(&proc_path(dir, name)?, format!("trusted.overlay.{attribute}").as_bytes())
}

/// Sets an extended attribute of `name` in `dir`.
///
/// # Errors
/// The kernel's.
pub fn set_xattr(dir: BorrowedFd<'_>, name: &[u8], attribute: &[u8], value: &[u8]) -> io::Result<()> {
    let path = proc_path(dir, name)?;
    Ok(rustix::fs::lsetxattr(&*path, attribute, value, rustix::fs::XattrFlags::empty())?)
}

/// Removes an extended attribute of `name` in `dir`; that it is not there is fine.
///
/// # Errors
/// The kernel's.
pub fn remove_xattr(dir: BorrowedFd<'_>, name: &[u8], attribute: &[u8]) -> io::Result<()> {
    let path = proc_path(dir, name)?;
    match rustix::fs::lremovexattr(&*path, attribute) {
        Err(Errno::NODATA) | Ok(()) => Ok(()),
        Err(other) => Err(other.into()),
    }
}
