//! Mounts: the table, overlays, bind mounts. All of it happens in the mount namespace of the calling process, which for
//! copies is one of its own ([`super::ns::own_mounts`]): what is mounted there goes when the process goes.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// One line of a mountinfo file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub at: PathBuf,
    /// The path inside the file system that is mounted.
    pub inner: PathBuf,
    /// File system type.
    pub fstype: String,
    /// Device or other source.
    pub source: String,
    /// Per-mount options.
    pub options: String,
}

/// The mounts that this thread sees, in the order in which they were made.
///
/// # Errors
/// `/proc` is not there.
pub fn table() -> io::Result<Vec<Mount>> {
    Ok(parse_table(&fs::read("/proc/thread-self/mountinfo")?))
}

/// Reads the text of a mountinfo file; lines that are none are left out.
#[must_use]
pub fn parse_table(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-")?;
    let path = |field: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(unescape(field)));
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    Some(Mount {
        at: path(fields.get(4)?),
        inner: path(fields.get(3)?),
        fstype: text(fields.get(dash + 1)?),
        source: text(fields.get(dash + 2)?),
        options: text(fields.get(5)?),
    })
}

/// Undoes the octal escapes (`\040`) of the kernel's tables.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let octal =
            field.get(at + 1..at + 4).filter(|d| field[at] == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        match octal {
            Some(d) => {
                out.push(d.iter().fold(0u8, |n, c| n.wrapping_mul(8).wrapping_add(c - b'0')));
                at += 4;
            }
            None => {
                out.push(field[at]);
                at += 1;
            }
        }
    }
    out
}

/// Stops what is mounted here from reaching other namespaces; what others mount still arrives.
///
/// # Errors
/// The kernel's.
pub fn receive_only() -> io::Result<()> {
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// Mounts an overlay that will be thrown away. See docs/decisions (0001 and 0014) for why these options.
///
/// # Errors
/// The kernel's; the lower file system may be of a kind that overlayfs does not take.
pub fn overlay(lower: &Path, upper: &Path, work: &Path, at: &Path) -> io::Result<()> {
    let mut data = Vec::new();
    for (key, path) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
        data.extend_from_slice(key.as_bytes());
        data.push(b'=');
        escaped(path, &mut data);
        data.push(b',');
    }
    let tries: [&[u8]; 3] = [
        b"redirect_dir=on,index=on,xino=on,metacopy=off,volatile",
        b"redirect_dir=on,index=on,xino=on,metacopy=off",
        b"redirect_dir=on,index=off,xino=off,metacopy=off",
    ];
    mounted(&data, &tries, at)
}

/// Shows `layers`, the topmost first, at least two, as one tree at `at`, read-only. Where the kernel can, an overlay over it can tell
/// its files apart for good (`nfs_export`), which hard links in a copy need.
///
/// # Errors
/// The kernel's.
pub fn stack(layers: &[&Path], at: &Path) -> io::Result<()> {
    let mut data = b"lowerdir=".to_vec();
    for (number, layer) in layers.iter().enumerate() {
        if number > 0 {
            data.push(b':');
        }
        escaped(layer, &mut data);
    }
    let tries: [&[u8]; 2] = [b",redirect_dir=nofollow,index=on,nfs_export=on,xino=on", b",xino=off"];
    mounted(&data, &tries, at)
}

/// A path as an option of overlayfs takes it.
fn escaped(path: &Path, data: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            data.push(b'\\');
        }
        data.push(*byte);
    }
}

/// Mounts an overlay with the first of these options that the kernel takes.
fn mounted(data: &[u8], tries: &[&[u8]], at: &Path) -> io::Result<()> {
    let mut last = None;
    for options in tries {
        let whole = CString::new([data, options].concat()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        match rustix::mount::mount("greenroom", at, "overlay", MountFlags::empty(), whole.as_c_str()) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| io::Error::other("no overlay options"), io::Error::from))
}

/// Shows `source` at `target`, read-only.
///
/// # Errors
/// The kernel's.
pub fn bind_read_only(source: &Path, target: &Path) -> io::Result<()> {
    rustix::mount::mount_bind(source, target)?;
    Ok(rustix::mount::mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "")?)
}

/// Takes a mount away, at once for new users and for the others when they are done.
///
/// # Errors
/// The kernel's.
pub fn detach(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_with_its_escapes() {
        let text = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\nnonsense\n\
            37 35 0:1 / /a\\134b rw - tmpfs none rw\n";
        let mounts = parse_table(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].at, Path::new("/mnt 2"));
        assert_eq!((mounts[0].fstype.as_str(), mounts[0].source.as_str()), ("ext3", "/dev/root"));
        assert_eq!(mounts[1].at, Path::new("/a\\b"));
    }
}
