//! Live Unix sockets of the host, taken out of a copy.
//!
//! A Unix socket with a name in the file system belongs to an inode, and connecting to it asks no network namespace. Whether
//! the inode of an overlay leads to the one behind it is nowhere promised: Linux 6.18 refuses the connection, but nothing in
//! its documentation says so. A process in a copy that connects to `/var/lib/mysql/mysql.sock` must not talk to the live server
//! in any case. So every socket that is bound below the root is deleted in the copy before anything runs there. `/run` and
//! `/tmp` are the copy's own anyway. A file system that cannot be overlaid is shown read-only, and its sockets stay.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::sys::fs;

/// Deletes in the copy at `merged` every socket below `root` that some process of this machine has bound.
pub(super) fn take_out(root: &Path, merged: &Path, notes: &mut Vec<String>) {
    let mut count = 0;
    for live in bound() {
        let Ok(inside) = live.strip_prefix(root) else { continue };
        let (Some(parent), Some(name)) = (inside.parent(), inside.file_name()) else { continue };
        // `/var/run` is an absolute link in Debian: followed from outside, it would lead to the live socket itself.
        let Ok(parent) = fs::resolve_in_root(merged, parent) else { continue };
        let theirs = parent.join(name);
        if theirs.symlink_metadata().is_ok_and(|m| m.file_type().is_socket()) && std::fs::remove_file(&theirs).is_ok() {
            count += 1;
        }
    }
    if count > 0 {
        notes.push(format!("{count} live sockets of the host were taken out of the copy"));
    }
}

/// The paths of all bound Unix sockets, of every network namespace, as far as they can be resolved.
fn bound() -> BTreeSet<PathBuf> {
    let mut out = BTreeSet::new();
    let mut namespaces = BTreeSet::new();
    let mut places: BTreeSet<PathBuf> = BTreeSet::new();
    let mut relative: BTreeSet<PathBuf> = BTreeSet::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return out };
    for process in processes.flatten().map(|e| e.path()).filter(|p| is_process(p)) {
        for link in ["cwd", "root"] {
            places.extend(std::fs::read_link(process.join(link)).ok());
        }
        let Ok(namespace) = std::fs::read_link(process.join("ns/net")) else { continue };
        if !namespaces.insert(namespace) {
            continue;
        }
        let table = std::fs::read(process.join("net/unix")).unwrap_or_default();
        for name in table.split(|b| *b == b'\n').skip(1).filter_map(name_of) {
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(name));
            if path.is_absolute() {
                out.insert(path)
            } else {
                relative.insert(path)
            };
        }
    }
    // A name can be relative to its process's directory (Postfix), or absolute within its root (chroot).
    let absolute: Vec<PathBuf> = out.iter().cloned().collect();
    for place in places.iter().filter(|p| *p != Path::new("/")) {
        out.extend(
            absolute
                .iter()
                .filter_map(|path| path.strip_prefix("/").ok())
                .map(|path| place.join(path))
                .filter(|p| is_socket(p)),
        );
        out.extend(relative.iter().map(|path| place.join(path)).filter(|p| is_socket(p)));
    }
    out
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.file_type().is_socket())
}

fn is_process(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit))
}

/// The eighth column of `/proc/net/unix`; abstract names begin with `@`.
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    for _ in 0..7 {
        let word_end = rest.iter().position(|b| *b == b' ')?;
        let next = rest[word_end..].iter().position(|b| *b != b' ')?;
        rest = &rest[word_end + next..];
    }
    (!rest.is_empty() && rest[0] != b'@').then_some(rest)
}
