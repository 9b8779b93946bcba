//! From a directory's handle to its path in the tree, and whether anybody wants to hear of what is in it.
//!
//! Asking the kernel for a directory's path takes a few calls; so each is asked for once. The answer is where the directory is by
//! then, which may be after renames whose events are still to come. So an event of a rename changes no path here: it forgets all
//! that lay at either end, which is asked for again. What cannot be followed (a rename with only one end in the tree) empties the
//! memory.
//!
//! No file system is held open meanwhile: somebody may want to unmount it.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use greenroom_core::TreePath;
use greenroom_core::policy::{Class, Policy};

use super::event::Place;
use super::fan;

/// More are not remembered: then all are forgotten. About 40 MB at the most.
const MANY: usize = 200_000;
/// Names whose class is remembered, in one directory.
const NAMES: usize = 64;

struct Dir {
    path: TreePath,
    /// Nothing below it is wanted.
    ignored: bool,
    names: HashMap<Box<[u8]>, bool>,
}

/// The directories of a tree.
pub(super) struct Dirs {
    root: PathBuf,
    policy: Policy,
    systems: Vec<([u8; 8], PathBuf)>,
    /// `None`: gone, or outside of the tree.
    known: HashMap<Box<[u8]>, Option<Dir>>,
}

impl Dirs {
    /// Of the tree at `root`, which is a canonical path.
    pub(super) fn new(root: &Path, policy: Policy) -> Self {
        Self { root: root.to_owned(), policy, systems: Vec::new(), known: HashMap::new() }
    }

    /// Resolves handles of the file system that holds `at`. False when it did already.
    pub(super) fn add(&mut self, at: &Path) -> io::Result<bool> {
        let dir = std::fs::File::open(at)?;
        let id = fan::file_system_id(dir.as_fd())?;
        fan::may_open_by_handle(dir.as_fd())?;
        if self.systems.iter().any(|(known, place)| *known == id && place == at) {
            return Ok(false);
        }
        self.systems.retain(|(_, place)| place != at);
        self.systems.push((id, at.to_owned()));
        self.known.clear();
        Ok(true)
    }

    /// What is mounted has changed: other file systems than those are not there any more.
    pub(super) fn keep(&mut self, places: &[PathBuf]) {
        self.systems.retain(|(_, at)| places.contains(at));
        self.known.clear();
    }

    /// From here on another policy holds.
    pub(super) fn rule(&mut self, policy: Policy) {
        self.policy = policy;
        self.known.clear();
    }

    /// The path of a place, where it is known and of interest. `new`: the name is, and what is remembered of it is no use.
    pub(super) fn managed(&mut self, place: Place<'_>, is_dir: bool, new: bool) -> Option<TreePath> {
        self.look(place.dir);
        let dir = self.known.get_mut(place.dir)?.as_mut()?;
        let forget = is_dir || new;
        if dir.ignored {
            return None;
        }
        if place.name == b"." {
            return wanted(&self.policy, &dir.path, true).then(|| dir.path.clone());
        }
        let path = || dir.path.join(place.name);
        if let Some(known) = dir.names.get(place.name).filter(|_| !forget) {
            return known.then(path);
        }
        let path = path();
        let wanted = wanted(&self.policy, &path, is_dir);
        if !forget && dir.names.len() < NAMES {
            dir.names.insert(place.name.into(), wanted);
        }
        wanted.then_some(path)
    }

    /// The path of a place, whatever its class.
    pub(super) fn path(&mut self, place: Place<'_>) -> Option<TreePath> {
        self.look(place.dir);
        let dir = self.known.get(place.dir)?.as_ref()?;
        Some(if place.name == b"." { dir.path.clone() } else { dir.path.join(place.name) })
    }

    /// A directory that was just made: saves asking for it.
    pub(super) fn made(&mut self, handle: &[u8], place: Place<'_>) {
        if let Some(path) = self.path(place) {
            let dir = self.dir(path);
            self.known.insert(handle.into(), Some(dir));
        }
    }

    /// A directory has another name now.
    pub(super) fn moved(&mut self, from: Place<'_>, to: Place<'_>) {
        match (self.path(from), self.path(to)) {
            (None, None) => {}
            (Some(old), Some(new)) => self.known.retain(|_, dir| {
                // Of those that had no path some may have been on their way just then.
                dir.as_ref().is_some_and(|dir| !dir.path.starts_with(&old) && !dir.path.starts_with(&new))
            }),
            _ => self.known.clear(),
        }
    }

    /// Directories may have moved in a way that was not seen.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// A directory was deleted.
    pub(super) fn removed(&mut self, handle: Option<&[u8]>) {
        if let Some(handle) = handle {
            self.known.remove(handle);
        }
    }

    fn look(&mut self, handle: &[u8]) {
        if self.known.contains_key(handle) {
            return;
        }
        if self.known.len() >= MANY {
            self.known.clear();
        }
        let dir = self.resolve(handle).map(|path| self.dir(path));
        self.known.insert(handle.into(), dir);
    }

    fn resolve(&self, handle: &[u8]) -> Option<TreePath> {
        let (id, handle) = handle.split_at_checked(8)?;
        let of_this = self.systems.iter().filter(|(system, _)| system == id);
        let opened = of_this.filter_map(|(_, at)| std::fs::File::open(at).ok());
        // Something else may have been mounted there meanwhile.
        let still = opened.filter(|dir| fan::file_system_id(dir.as_fd()).is_ok_and(|found| found == id));
        // One file system may be mounted at several places: the first that shows the directory has its name.
        let found = still.filter_map(|mount| fan::directory_of(mount.as_fd(), handle).ok().flatten());
        let inside =
            found.filter_map(|path| path.strip_prefix(&self.root).map(|rest| rest.as_os_str().to_owned()).ok());
        inside.map(|rest| TreePath::new(rest.as_bytes())).next()
    }

    fn dir(&self, path: TreePath) -> Dir {
        Dir { ignored: ignored(&self.policy, &path), path, names: HashMap::new() }
    }
}

/// Boot paths are watched: a new kernel is drift too.
fn wanted(policy: &Policy, path: &TreePath, is_dir: bool) -> bool {
    matches!(policy.class(path, is_dir), Class::Managed | Class::Boot)
}

/// Whether nothing directly in this directory can be wanted, whatever its name. Host patterns that take something out again are
/// about single names, so only classes that no pattern can change count.
fn ignored(policy: &Policy, path: &TreePath) -> bool {
    matches!(policy.class(&path.join(b"x"), true), Class::Own | Class::Data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs() -> Dirs {
        Dirs::new(Path::new("/"), Policy::new("", vec!["/var/lib/mysql".into()], vec![]).unwrap())
    }

    fn know(dirs: &mut Dirs, handle: &[u8], path: &str) {
        let dir = dirs.dir(path.into());
        dirs.known.insert(handle.into(), Some(dir));
    }

    fn place<'a>(dir: &'a [u8], name: &'a [u8]) -> Place<'a> {
        Place { dir, name }
    }

    #[test]
    fn only_what_is_wanted_has_a_path() {
        let mut dirs = dirs();
        for (handle, path) in
            [(b"1", "/etc"), (b"2", "/var/log"), (b"3", "/var/lib/mysql"), (b"4", "/var/lib/greenroom")]
        {
            know(&mut dirs, handle, path);
        }
        for new in [true, false, false] {
            let mut ask =
                |dir: &[u8], name: &[u8], is_dir| dirs.managed(place(dir, name), is_dir, new).map(|p| p.to_string());
            assert_eq!(ask(b"1", b"hosts", false).as_deref(), Some("/etc/hosts"));
            assert_eq!(ask(b"1", b".", true).as_deref(), Some("/etc"));
            assert_eq!(ask(b"2", b"syslog", false), None);
            assert_eq!(ask(b"2", b"nginx", true).as_deref(), Some("/var/log/nginx"));
            assert_eq!(ask(b"3", b"ibdata1", false), None);
            assert_eq!(ask(b"4", b"baseline", true), None);
            assert_eq!(ask(b"9", b"unknown", false), None);
        }
    }

    #[test]
    fn what_lay_at_either_end_of_a_rename_is_asked_for_again() {
        let mut dirs = dirs();
        for (handle, path) in [(b"0", "/"), (b"1", "/etc"), (b"2", "/etc/a"), (b"3", "/etc/a/deep"), (b"4", "/etc/ab")]
        {
            know(&mut dirs, handle, path);
        }
        know(&mut dirs, b"5", "/srv/a");
        dirs.known.insert(b"6".as_slice().into(), None);
        let known = |dirs: &Dirs| {
            let mut list: Vec<String> = dirs.known.values().flatten().map(|dir| dir.path.to_string()).collect();
            list.sort();
            (list.join(" "), dirs.known.len())
        };
        dirs.moved(place(b"gone", b"x"), place(b"gone", b"y"));
        assert_eq!(dirs.known.len(), 8, "outside of the tree");
        // Only a common beginning of the name is not below it.
        dirs.moved(place(b"1", b"a"), place(b"0", b"srv"));
        assert_eq!(known(&dirs), ("/ /etc /etc/ab".to_owned(), 3));
        // One end outside of what is known: nothing is trusted any more.
        dirs.moved(place(b"1", b"x"), place(b"gone", b"x"));
        assert!(dirs.known.is_empty());
    }
}
