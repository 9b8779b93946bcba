//! Units whose processes map files that are to be replaced, or that have been: the idea of needrestart(1).
//!
//! Only executable mappings count, that is programs and libraries: a process that maps an old locale archive works as before.
//! Who is asked: processes in the target's pid namespace with the target's root directory. Containers and chroots have
//! libraries of their own; a service with a private mount namespace (PrivateTmp and the like) has the host's.
//!
//! Four questions. *Before* files are exchanged, [`units_mapping`] says who maps them now. *Afterwards*,
//! [`units_with_stale_maps`] says who still maps what is no longer there: by the kernel's `(deleted)`, by an inode that is not
//! the path's any more, or by a path in Greenroom's own staging area, where an exchange leaves the old file. *At any time*,
//! `replaced` says the same of all files, and of those that were written over in place, and [`mapped_by_services`] says what
//! services run at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use greenroom_core::TreePath;

use super::processes::{Process, Processes};
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
    let mut out: BTreeMap<Option<String>, StaleUnit> = BTreeMap::new();
    each_process(target, &processes, |process, mappings| {
        let pid = process.pid;
        let mut mappings = mappings.into_iter().filter(|m| stale(pid, m)).peekable();
        if mappings.peek().is_none() {
            return;
        }
        let unit = processes.unit(pid);
        let entry = out.entry(unit.clone()).or_insert_with(|| StaleUnit { unit, pids: vec![], examples: vec![] });
        entry.pids.push(pid);
        for mapping in mappings {
            if entry.examples.len() < EXAMPLES && !entry.examples.contains(&mapping.path) {
                entry.examples.push(mapping.path);
            }
        }
    })
    .map_err(fail)?;
    Ok(out.into_values().collect())
}

/// Programs and libraries that a process runs and that are not at their path as it mapped them: by process and file. What
/// was written over in place counts when it was written after the process started.
pub(super) fn replaced<'a>(processes: &'a Processes, mut found: impl FnMut(&'a Process, TreePath)) -> io::Result<()> {
    let clock = Clock::now();
    each_process(Target::Host, processes, |process, mappings| {
        let started = clock.at(process.started);
        for mapping in mappings {
            let staged = STAGING.iter().any(|place| contains(mapping.path.as_bytes(), place));
            if staged || mapping.deleted || is_another(process.pid, &mapping) || written(process.pid, &mapping, started)
            {
                found(process, mapping.path);
            }
        }
    })
}

/// A program or library that processes of services map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitMaps {
    /// The file.
    pub path: TreePath,
    /// The services.
    pub units: BTreeSet<String>,
    /// One of them maps what was at this path before.
    pub replaced: bool,
}

/// All files that services of this host map to be run, by path, and of each service its oldest process.
///
/// # Errors
/// There is nothing to look at.
pub fn mapped_by_services() -> Result<(Vec<UnitMaps>, BTreeMap<String, u32>), FactsError> {
    let processes = Processes::of(Target::Host).map_err(FactsError::Proc)?;
    let clock = Clock::now();
    let mut out: BTreeMap<TreePath, UnitMaps> = BTreeMap::new();
    let mut oldest: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    let look = |process: &Process, mappings: HashSet<Mapping>| {
        let (pid, started) = (process.pid, clock.at(process.started));
        let is_service = |unit: &String| unit.ends_with(".service") || unit == "init.scope";
        let Some(unit) = processes.unit(pid).filter(is_service) else { return };
        let age = (process.started, pid);
        oldest.entry(unit.clone()).and_modify(|first| *first = age.min(*first)).or_insert(age);
        // What an exchange took away is at no path that another system has.
        let staged = |path: &TreePath| STAGING.iter().any(|place| contains(path.as_bytes(), place));
        for mapping in mappings.into_iter().filter(|mapping| !staged(&mapping.path)) {
            let replaced = mapping.deleted || is_another(pid, &mapping) || written(pid, &mapping, started);
            let entry = out.entry(mapping.path).or_insert_with_key(|path| UnitMaps {
                path: path.clone(),
                units: BTreeSet::new(),
                replaced: false,
            });
            entry.units.insert(unit.clone());
            entry.replaced |= replaced;
        }
    };
    each_process(Target::Host, &processes, look).map_err(FactsError::Proc)?;
    Ok((out.into_values().collect(), oldest.into_iter().map(|(unit, (_, pid))| (unit, pid)).collect()))
}

/// Calls `look` for each process with the target's root directory, and the files that it maps to run them; not for ourselves.
fn each_process<'a>(
    target: Target,
    processes: &'a Processes,
    mut look: impl FnMut(&'a Process, HashSet<Mapping>),
) -> io::Result<()> {
    let root = identity(&format!("{}/root", target.proc()))?;
    for process in processes.iter().filter(|p| p.pid != std::process::id()) {
        let pid = process.pid;
        if identity(&format!("/proc/{pid}/root")).ok() == Some(root) {
            look(process, mappings(&fs::read(format!("/proc/{pid}/maps")).unwrap_or_default()));
        }
    }
    Ok(())
}

/// What turns the ticks of a process's start into the time of day, by today's clock.
struct Clock {
    booted_ns: i128,
    ticks: i128,
}

impl Clock {
    fn now() -> Self {
        let nanoseconds = |id| {
            let time = rustix::time::clock_gettime(id);
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        };
        let booted_ns = nanoseconds(rustix::time::ClockId::Realtime) - nanoseconds(rustix::time::ClockId::Boottime);
        Self { booted_ns, ticks: i128::from(rustix::param::clock_ticks_per_second()).max(1) }
    }

    /// In nanoseconds, at the end of the tick.
    fn at(&self, tick: u64) -> i128 {
        self.booted_ns + (i128::from(tick) + 1) * 1_000_000_000 / self.ticks
    }
}

/// Whether the file of a mapping was there when the process started, and was written later. One that was made later was
/// loaded as it is. A file system that keeps no time of birth says nothing here.
fn written(pid: u32, mapping: &Mapping, started: i128) -> bool {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().and_then(|d| i128::try_from(d.as_nanos()).ok());
    let Ok(meta) = fs::symlink_metadata(in_root_of(pid, &mapping.path)) else { return false };
    let born = meta.created().ok().and_then(since);
    let written = meta.modified().ok().and_then(since);
    meta.ino() == mapping.inode && born.is_some_and(|at| at <= started) && written.is_some_and(|at| at > started)
}

fn in_root_of(pid: u32, path: &TreePath) -> std::ffi::OsString {
    let mut out = format!("/proc/{pid}/root").into_bytes();
    out.extend_from_slice(path.as_bytes());
    std::os::unix::ffi::OsStringExt::from_vec(out)
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
    match fs::symlink_metadata(in_root_of(pid, &mapping.path)) {
        Ok(meta) => {
            let dev = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
            dev == mapping.dev && meta.ino() != mapping.inode
        }
        // Of a process that ends at this moment nothing is found either.
        Err(e) => e.kind() == io::ErrorKind::NotFound && identity(&format!("/proc/{pid}/root")).is_ok(),
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
    use std::os::unix::ffi::OsStrExt as _;

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

    /// Starts `program`; spawn(2) may return before the kernel has mapped it.
    fn asleep(program: &std::path::Path) -> std::process::Child {
        let child = std::process::Command::new(program).arg("60").spawn().unwrap();
        let path = TreePath::new(program.as_os_str().as_bytes());
        let mapped = || mappings(&fs::read(format!("/proc/{}/maps", child.id())).unwrap());
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !mapped().iter().any(|mapping| mapping.path == path) {
            assert!(std::time::Instant::now() < until, "{path} is not mapped after 10 s");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child
    }

    #[test]
    fn a_process_that_maps_a_replaced_program_is_found() {
        // Not where programs that are passing are.
        let dir = tempfile::tempdir_in("/var/cache").unwrap();
        let program = dir.path().join("sleeper");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = asleep(&program);
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
        let mut second = asleep(&other);
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
