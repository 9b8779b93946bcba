//! Units whose processes map files that are to be replaced, or that have been: the idea of needrestart(1).
//!
//! Only executable mappings count, that is programs and libraries: a process that maps an old locale archive works as before.
//! Who is asked: processes in the target's pid namespace with the target's root directory. Containers and chroots have
//! libraries of their own; a service with a private mount namespace (PrivateTmp and the like) has the host's.
//!
//! Two questions, two moments. *Before* files are exchanged, [`units_mapping`] says who maps them now. *Afterwards*,
//! [`units_with_stale_maps`] says who still maps what is no longer there: by the kernel's `(deleted)`, by an inode that is not
//! the path's any more, or by a path in Greenroom's own staging area, where an exchange leaves the old file.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use greenroom_core::TreePath;

use super::processes::Processes;
use super::{FactsError, Target};

/// A unit that runs code which is no longer that of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleUnit {
    /// The unit; `None`: the processes belong to none. A session's scope is a unit too, but none that can be restarted.
    pub unit: Option<String>,
    /// Its processes that map such files.
    pub pids: Vec<u32>,
    /// The first few such files.
    pub examples: Vec<TreePath>,
}

/// Mapped files that are deleted in the normal course of things.
const PASSING: &[&[u8]] = &[
    b"/memfd:",
    b"/tmp/",
    b"/var/tmp/",
    b"/dev/",
    b"/run/",
    b"/var/run/",
    b"/SYSV",
    b"/[aio]",
    b"/i915",
    b"/drm",
    b"/anon_hugepage",
    b"/proc/",
    b"/sys/",
    b"[",
];

/// Where an exchange leaves the old file.
const STAGING: &[&[u8]] = &[b"/var/lib/greenroom/", b"/.greenroom/"];

/// As many files are named for each unit.
const EXAMPLES: usize = 5;

/// An executable mapping of a file.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mapping {
    path: TreePath,
    deleted: bool,
    dev: (u32, u32),
    inode: u64,
}

/// Units with processes that map any of `paths` at this moment. Ask before the files are exchanged.
///
/// # Errors
/// There is nothing to look at.
pub fn units_mapping(target: &Target, paths: &[TreePath]) -> Result<Vec<StaleUnit>, FactsError> {
    let wanted: HashSet<&TreePath> = paths.iter().collect();
    collect(*target, |_, mapping| wanted.contains(&mapping.path))
}

/// Units with processes that still map what was at one of `changed` before, or a file that an exchange took away. Files that
/// went for another reason, an upgrade of last week, do not count: a change restarts what it touched and no more.
///
/// # Errors
/// There is nothing to look at.
pub fn units_with_stale_maps(target: &Target, changed: &[TreePath]) -> Result<Vec<StaleUnit>, FactsError> {
    let wanted: HashSet<&TreePath> = changed.iter().collect();
    collect(*target, |pid, mapping| {
        let staged = STAGING.iter().any(|place| contains(mapping.path.as_bytes(), place));
        staged || (wanted.contains(&mapping.path) && (mapping.deleted || is_another(pid, mapping)))
    })
}

fn collect(target: Target, stale: impl Fn(u32, &Mapping) -> bool) -> Result<Vec<StaleUnit>, FactsError> {
    let fail = |source: io::Error| match target {
        Target::Copy { leader } => FactsError::Gone { leader, source },
        Target::Host => FactsError::Proc(source),
    };
    let processes = Processes::of(target).map_err(fail)?;
    let root = identity(&format!("{}/root", target.proc())).map_err(fail)?;
    let mut out: BTreeMap<Option<String>, StaleUnit> = BTreeMap::new();
    for process in processes.iter().filter(|p| p.pid != std::process::id()) {
        let pid = process.pid;
        if identity(&format!("/proc/{pid}/root")).ok() != Some(root) {
            continue;
        }
        let text = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        let mappings: Vec<Mapping> = mappings(&text).into_iter().filter(|m| stale(pid, m)).collect();
        if mappings.is_empty() {
            continue;
        }
        let unit = processes.unit(pid);
        let entry = out.entry(unit.clone()).or_insert_with(|| StaleUnit { unit, pids: vec![], examples: vec![] });
        entry.pids.push(pid);
        for mapping in mappings {
            if entry.examples.len() < EXAMPLES && !entry.examples.contains(&mapping.path) {
                entry.examples.push(mapping.path);
            }
        }
    }
    Ok(out.into_values().collect())
}

/// A program or library that processes of units map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitMaps {
    /// The file.
    pub path: TreePath,
    /// The services.
    pub units: BTreeSet<String>,
    /// One of them maps a file that was at this path before.
    pub replaced: bool,
}

/// All files that services map to be run, by path, and of each service its oldest process.
///
/// # Errors
/// There is nothing to look at.
pub fn mapped_by_units(target: Target) -> Result<(Vec<UnitMaps>, BTreeMap<String, u32>), FactsError> {
    let fail = |source: io::Error| match target {
        Target::Copy { leader } => FactsError::Gone { leader, source },
        Target::Host => FactsError::Proc(source),
    };
    let processes = Processes::of(target).map_err(fail)?;
    let root = identity(&format!("{}/root", target.proc())).map_err(fail)?;
    let mut out: BTreeMap<TreePath, UnitMaps> = BTreeMap::new();
    let mut oldest: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    for process in processes.iter().filter(|p| p.pid != std::process::id()) {
        let pid = process.pid;
        let Some(unit) = processes.unit(pid).filter(|unit| unit.ends_with(".service") || unit == "init.scope") else {
            continue;
        };
        if identity(&format!("/proc/{pid}/root")).ok() != Some(root) {
            continue;
        }
        let age = (process.started, pid);
        oldest.entry(unit.clone()).and_modify(|first| *first = age.min(*first)).or_insert(age);
        for mapping in mappings(&fs::read(format!("/proc/{pid}/maps")).unwrap_or_default()) {
            // What an exchange took away is at no path that another system has.
            if STAGING.iter().any(|place| contains(mapping.path.as_bytes(), place)) {
                continue;
            }
            let replaced = mapping.deleted || is_another(pid, &mapping);
            let path = mapping.path;
            let entry = out.entry(path).or_insert_with_key(|path| UnitMaps {
                path: path.clone(),
                units: BTreeSet::new(),
                replaced: false,
            });
            entry.units.insert(unit.clone());
            entry.replaced |= replaced;
        }
    }
    Ok((out.into_values().collect(), oldest.into_iter().map(|(unit, (_, pid))| (unit, pid)).collect()))
}

fn identity(path: &str) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

fn contains(path: &[u8], part: &[u8]) -> bool {
    path.windows(part.len()).any(|window| window == part)
}

/// Whether another file is at the mapping's path by now. On overlayfs and btrfs the kernel shows another device in maps than
/// in stat(2); inodes can't be compared then, and only `(deleted)` tells.
fn is_another(pid: u32, mapping: &Mapping) -> bool {
    let mut path = format!("/proc/{pid}/root").into_bytes();
    path.extend_from_slice(mapping.path.as_bytes());
    match fs::symlink_metadata(std::ffi::OsStr::from_bytes(&path)) {
        Ok(meta) => {
            let dev = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
            dev == mapping.dev && meta.ino() != mapping.inode
        }
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}

/// The executable mappings of files in /proc/PID/maps (proc(5)), each once.
fn mappings(text: &[u8]) -> HashSet<Mapping> {
    text.split(|b| *b == b'\n').filter_map(mapping).collect()
}

fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut next = || {
        let end = rest.iter().position(|b| *b == b' ')?;
        let (field, tail) = rest.split_at(end);
        rest = tail.trim_ascii_start();
        Some(field)
    };
    let (_, permissions, _, dev, inode) = (next()?, next()?, next()?, next()?, next()?);
    let inode: u64 = std::str::from_utf8(inode).ok()?.parse().ok()?;
    if inode == 0 || permissions.get(2) != Some(&b'x') || PASSING.iter().any(|start| rest.starts_with(start)) {
        return None;
    }
    let (major, minor) = std::str::from_utf8(dev).ok()?.split_once(':')?;
    let hex = |digits| u32::from_str_radix(digits, 16).ok();
    let (path, deleted) = rest.strip_suffix(b" (deleted)").map_or((rest, false), |path| (path, true));
    path.starts_with(b"/")
        .then(|| Some(Mapping { path: TreePath::new(path), deleted, dev: (hex(major)?, hex(minor)?), inode }))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let text = b"55d0c000-55d0d000 r--p 00000000 fe:00 1234   /usr/sbin/cron\n\
            55d0d000-55d0e000 r-xp 00001000 fe:00 1234                       /usr/sbin/cron\n\
            7f00-7f01 r-xp 00000000 fe:00 99    /usr/lib/x86_64-linux-gnu/libc.so.6 (deleted)\n\
            7f02-7f03 r--p 00000000 fe:00 98    /usr/lib/locale/locale-archive (deleted)\n\
            7f04-7f05 r-xp 00000000 00:05 97    /memfd:jit (deleted)\n\
            7f06-7f07 r-xp 00000000 fe:00 96    /tmp/x.so (deleted)\n\
            7f08-7f09 rwxp 00000000 00:00 0 \n\
            7f08-7f09 r-xp 00000000 00:00 0                          [vdso]\n\
            7f0a-7f0b r-xp 00000000 08:11 95    /opt/my app/lib a.so\n";
        let mut found: Vec<String> =
            mappings(text).iter().map(|m| format!("{} {} {:?} {}", m.path, m.deleted, m.dev, m.inode)).collect();
        found.sort();
        let expected = [
            "/opt/my app/lib a.so false (8, 17) 95",
            "/usr/lib/x86_64-linux-gnu/libc.so.6 true (254, 0) 99",
            "/usr/sbin/cron false (254, 0) 1234",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_process_that_maps_a_replaced_program_is_found() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let program = dir.path().join("sleeper");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
        let path = TreePath::new(program.as_os_str().as_bytes());
        let holds = |units: Vec<StaleUnit>| units.iter().any(|u| u.pids.contains(&child.id()));
        let before = units_mapping(&Target::Host, std::slice::from_ref(&path)).unwrap();
        let fresh = units_with_stale_maps(&Target::Host, std::slice::from_ref(&path)).unwrap();
        fs::copy("/bin/true", dir.path().join("new")).unwrap();
        fs::rename(dir.path().join("new"), &program).unwrap();
        let stale = units_with_stale_maps(&Target::Host, std::slice::from_ref(&path)).unwrap();
        let unrelated = units_with_stale_maps(&Target::Host, &["/usr/bin/other".into()]).unwrap();
        // As apply leaves it: the old file lies in a slot.
        let slots = dir.path().join(".greenroom/c1");
        fs::create_dir_all(&slots).unwrap();
        let other = dir.path().join("other");
        fs::copy("/bin/sleep", &other).unwrap();
        let mut second = std::process::Command::new(&other).arg("60").spawn().unwrap();
        fs::rename(&other, slots.join("0")).unwrap();
        let exchanged = units_with_stale_maps(&Target::Host, &[TreePath::new(other.as_os_str().as_bytes())]).unwrap();
        let exchanged = exchanged.iter().any(|u| u.pids.contains(&second.id()));
        let found = [holds(before), holds(fresh), holds(stale), holds(unrelated), exchanged];
        for child in [&mut child, &mut second] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, [true, false, true, false, true]);
    }
}
