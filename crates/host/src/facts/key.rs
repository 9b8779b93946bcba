//! A name for the state of a host, as far as booting it is concerned: with the same name, a copy that does nothing changes
//! the same paths, and what was found once need not be found again.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use greenroom_core::{ContentHash, TreePath};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};

use super::trees::{names, open_in, read_regular};

/// Files whose content counts.
const FILES: &[&str] = &[
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/lib/apk/db/installed",
    "/etc/machine-id",
    "/etc/fstab",
    "/etc/hostname",
    "/etc/passwd",
    "/etc/os-release",
    "/etc/greenroom/volatile",
];

/// Directories whose names, times and sizes count, with those one level below.
const DIRS: &[&str] = &[
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/local/lib/systemd/system",
    "/etc/tmpfiles.d",
    "/etc/sysctl.d",
    "/etc/init.d",
];

/// Names the state of the host whose tree is at `root`: installed packages, unit files and what is enabled, identity, mounts.
///
/// Contents of package databases, names and times of unit files; a few milliseconds.
///
/// # Errors
/// The root can't be opened. What is not there counts as absent.
pub fn host_state_key(root: &Path) -> io::Result<ContentHash> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut hasher = blake3::Hasher::new();
    for file in FILES {
        let content = open_in(&root, &(*file).into(), OFlags::RDONLY).and_then(read_regular);
        field(&mut hasher, file.as_bytes());
        match content {
            Some(content) => field(&mut hasher, &content),
            None => field(&mut hasher, b"\0absent"),
        }
    }
    for dir in DIRS {
        directory(&root, &(*dir).into(), 1, &mut hasher);
    }
    Ok(hasher.finalize().into())
}

/// With its length in front, so that two fields never read as one.
fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn directory(root: &OwnedFd, path: &TreePath, deeper: usize, hasher: &mut blake3::Hasher) {
    field(hasher, path.as_bytes());
    let Some(dir) = open_in(root, path, OFlags::RDONLY | OFlags::DIRECTORY) else { return };
    let Ok(list) = dir.try_clone() else { return };
    for name in names(list) {
        field(hasher, &name);
        let Ok(stat) = statat(&dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        for number in
            [i64::from(stat.st_mode), stat.st_size, stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)]
        {
            hasher.update(&number.to_le_bytes());
        }
        if is_dir && deeper > 0 {
            directory(root, &path.join(&name), deeper - 1, hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_its_parts_changes_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let write = |path: &str, text: &str| {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), text).unwrap();
        };
        write("etc/motd", "a");
        let mut seen = vec![host_state_key(dir.path()).unwrap()];
        let edits = [
            ("var/lib/dpkg/status", "Package: a\n"),
            ("var/lib/dpkg/status", "Package: b\n"),
            ("etc/machine-id", "1"),
            ("etc/systemd/system/a.service", "x"),
            ("etc/systemd/system/multi-user.target.wants/a.service", "x"),
            ("usr/lib/systemd/system/b.service", "x"),
        ];
        for (path, text) in edits {
            write(path, text);
            seen.push(host_state_key(dir.path()).unwrap());
        }
        write("etc/motd", "b");
        assert_eq!(host_state_key(dir.path()).unwrap(), *seen.last().unwrap());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), edits.len() + 1);
    }
}
