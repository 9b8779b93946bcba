//! Trees from a description, a naive comparison of two trees, and an independent one.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use greenroom_core::changeset::DirTime;
use greenroom_core::{Changeset, ContentHash, Entry, Mtime, Node, TreePath};
use greenroom_host::apply::{Applied, Contents, Error, Faults, HostState, NoFaults, check};
use greenroom_host::scan::{Seen, Tree};
use greenroom_host::sys::fs::{self, types};

/// One node of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: Shape,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: Vec<(&'static str, Vec<u8>)>,
    pub(crate) flags: u8,
    /// Files of one group are names of one inode, described by the first of them.
    pub(crate) group: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    File(Vec<u8>),
    Dir,
    Symlink(&'static str),
    Fifo,
    Char(u32),
    Block(u32),
}

impl Item {
    pub(crate) fn new(kind: Shape) -> Self {
        let mode = if kind == Shape::Dir { 0o755 } else { 0o644 };
        Self { kind, mode, uid: 0, mtime: 1_000_000_000, xattrs: Vec::new(), flags: 0, group: None }
    }
}

pub(crate) fn file(content: &str) -> Item {
    Item::new(Shape::File(content.as_bytes().to_vec()))
}

pub(crate) fn dir() -> Item {
    Item::new(Shape::Dir)
}

pub(crate) fn linked(content: &str, group: u8) -> Item {
    Item { group: Some(group), ..file(content) }
}

/// A whole tree. Paths whose parent is no directory of the description are left out.
pub(crate) type Spec = BTreeMap<Vec<u8>, Item>;

pub(crate) fn spec<const N: usize>(items: [(&str, Item); N]) -> Spec {
    items.into_iter().map(|(path, item)| (path.as_bytes().to_vec(), item)).collect()
}

fn is_rooted(spec: &Spec, path: &[u8]) -> bool {
    match TreePath::new(path).parent() {
        Some(parent) if parent.depth() > 0 => {
            spec.get(parent.as_bytes()).is_some_and(|i| i.kind == Shape::Dir) && is_rooted(spec, parent.as_bytes())
        }
        _ => true,
    }
}

/// Makes the tree below the directory `root`.
pub(crate) fn build(root: &Path, spec: &Spec) {
    std::fs::create_dir_all(root).unwrap();
    let mut tree = Tree::open(root).unwrap();
    let mut groups: HashMap<u8, TreePath> = HashMap::new();
    let items: Vec<(TreePath, &Item)> =
        spec.iter().filter(|(p, _)| is_rooted(spec, p)).map(|(p, i)| (TreePath::new(p), i)).collect();
    let mut own: Vec<(TreePath, &Item)> = Vec::new();
    for (path, item) in items {
        if let Some(first) = item.group.and_then(|g| groups.get(&g)).cloned() {
            link(root, &first, &path);
            continue;
        }
        item.group.map(|g| groups.insert(g, path.clone()));
        let (at, name) = tree.place(&path).unwrap().unwrap();
        match &item.kind {
            Shape::File(content) => fs::create_file(at, name).unwrap().write_all(content).unwrap(),
            Shape::Dir => fs::make_dir(at, name, 0o700).unwrap(),
            Shape::Symlink(target) => fs::make_symlink(at, name, target.as_bytes()).unwrap(),
            Shape::Fifo => fs::make_node(at, name, types::FIFO, (0, 0)).unwrap(),
            Shape::Char(minor) => fs::make_node(at, name, types::CHAR, (1, *minor)).unwrap(),
            Shape::Block(minor) => fs::make_node(at, name, types::BLOCK, (7, *minor)).unwrap(),
        }
        own.push((path, item));
    }
    for (path, item) in own.into_iter().rev() {
        let (at, name) = tree.place(&path).unwrap().unwrap();
        fs::set_owner(at, name, item.uid, item.uid).unwrap();
        if !matches!(item.kind, Shape::Symlink(_)) {
            fs::set_mode(at, name, item.mode).unwrap();
        }
        for (attribute, value) in &item.xattrs {
            greenroom_host::sys::xattr::set_xattr(at, name, attribute.as_bytes(), value).unwrap();
        }
        fs::set_mtime(at, name, Mtime { sec: item.mtime, nsec: 5 }).unwrap();
        fs::set_flags(at, name, 7, item.flags).unwrap();
    }
}

fn link(root: &Path, from: &TreePath, to: &TreePath) {
    let (mut a, mut b) = (Tree::open(root).unwrap(), Tree::open(root).unwrap());
    fs::link(a.place(from).unwrap().unwrap(), b.place(to).unwrap().unwrap()).unwrap();
}

/// Everything that is in a tree, Greenroom's own state left out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) nodes: BTreeMap<TreePath, Box<Node>>,
    pub(crate) inodes: BTreeMap<TreePath, u64>,
    pub(crate) dir_times: BTreeMap<TreePath, Mtime>,
}

pub(crate) fn walk(root: &Path) -> Walk {
    let mut tree = Tree::open(root).unwrap();
    let mut walk = Walk::default();
    let mut todo = vec![TreePath::root()];
    let mut names: BTreeMap<u64, Vec<TreePath>> = BTreeMap::new();
    while let Some(path) = todo.pop() {
        let Seen::Node(node, status) = tree.node(&path).unwrap() else { continue };
        walk.inodes.insert(path.clone(), status.ino);
        if node.is_dir() {
            walk.dir_times.insert(path.clone(), status.mtime);
            let children = tree.names(&path).unwrap().into_iter().filter(|n| **n != *b".greenroom");
            todo.extend(children.map(|name| path.join(&name)).filter(|p| *p != TreePath::from("/var/lib/greenroom")));
        } else {
            names.entry(status.ino).or_default().push(path.clone());
        }
        walk.nodes.insert(path, node);
    }
    for mut group in names.into_values().filter(|g| g.len() > 1) {
        group.sort();
        for path in &group {
            walk.nodes.get_mut(path).unwrap().link = Some(group[0].clone());
        }
    }
    walk
}

/// The changeset between two trees, by walking both.
pub(crate) fn difference(before: &Walk, after: &Walk) -> Changeset {
    let paths: std::collections::BTreeSet<&TreePath> = before.nodes.keys().chain(after.nodes.keys()).collect();
    let entry = |path: &&TreePath| Entry {
        path: (*path).clone(),
        before: before.nodes.get(*path).cloned(),
        after: after.nodes.get(*path).cloned(),
    };
    let entries = paths.iter().map(entry).filter(|e| e.before != e.after).collect();
    let time = |(path, time): (&TreePath, &Mtime)| {
        let after = *after.dir_times.get(path)?;
        (after != *time).then(|| DirTime { path: path.clone(), before: *time, after })
    };
    Changeset::new(entries, before.dir_times.iter().filter_map(time).collect()).unwrap()
}

/// Contents straight out of a tree.
pub(crate) struct Source {
    root: PathBuf,
    paths: HashMap<ContentHash, TreePath>,
}

impl Source {
    pub(crate) fn of(root: &Path, walk: &Walk) -> Self {
        let paths = walk.nodes.iter().filter_map(|(path, node)| Some((node.content()?, path.clone()))).collect();
        Self { root: root.to_owned(), paths }
    }
}

impl Contents for Source {
    fn open(&self, hash: &ContentHash) -> io::Result<File> {
        let mut tree = Tree::open(&self.root).unwrap();
        let (dir, name) = tree.place(self.paths.get(hash).ok_or(io::ErrorKind::NotFound)?).unwrap().unwrap();
        fs::open_file(dir, name)
    }
}

/// Three trees in one scratch directory: before, after, and one that is like before and is worked on.
pub(crate) struct Lab {
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) before: Walk,
    pub(crate) after: Walk,
    pub(crate) changeset: Changeset,
    pub(crate) source: Source,
}

/// Directories that every tree has, so that Greenroom's own state adds nothing to be seen.
fn with_state(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    spec.insert(b"/var".to_vec(), dir());
    spec.insert(b"/var/lib".to_vec(), dir());
    spec
}

impl Lab {
    pub(crate) fn new(before: &Spec, after: &Spec) -> Self {
        let scratch = tempfile::Builder::new().prefix("greenroom-apply.").tempdir_in("/var/tmp").unwrap();
        // In a directory in which something happened, time has gone by.
        let mut after = after.clone();
        after.values_mut().filter(|i| i.kind == Shape::Dir).for_each(|i| i.mtime += 100);
        for (name, spec, sec) in [("before", before, 5), ("live", before, 5), ("after", &after, 6)] {
            let root = scratch.path().join(name);
            build(&root, &with_state(spec));
            fs::set_mtime(fs::open_root(&root).unwrap().as_fd(), b"", Mtime { sec, nsec: 0 }).unwrap();
        }
        Self::of(scratch)
    }

    /// From a scratch directory in which the trees are already.
    pub(crate) fn of(scratch: tempfile::TempDir) -> Self {
        let (before, after) = (walk(&scratch.path().join("before")), walk(&scratch.path().join("after")));
        let changeset = difference(&before, &after);
        let source = Source::of(&scratch.path().join("after"), &after);
        Self { scratch, before, after, changeset, source }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn live(&self) -> PathBuf {
        self.path("live")
    }

    pub(crate) fn apply_with(&self, id: &str, faults: &dyn Faults) -> Result<Applied, Error> {
        let host = HostState::open(&self.live())?;
        let guard = host.lock("test")?;
        let conflicts = check(&Tree::open(&self.live())?, &self.changeset, Some(&|_, _| false))?;
        if !conflicts.is_empty() {
            return Err(Error::Conflicts(conflicts));
        }
        let staged = guard.stage(id, &self.changeset, &self.source, faults)?;
        let applied = staged.commit(serde_json::json!({"why": "test"}), faults)?;
        guard.close(id)?;
        Ok(applied)
    }

    pub(crate) fn undo_with(&self, of: &str, id: &str, faults: &dyn Faults) -> Result<Applied, Error> {
        let host = HostState::open(&self.live())?;
        let guard = host.lock("test")?;
        let applied = guard.undo(of, id, serde_json::Value::Null, faults)?;
        guard.close(id)?;
        Ok(applied)
    }

    /// Apply, undo, redo, undo; after each the tree is what it must be.
    pub(crate) fn round_trip(&self) {
        let live_inodes = walk(&self.live()).inodes;
        self.apply_with("c1", &NoFaults).unwrap();
        self.assert_after();
        self.undo_with("c1", "c2", &NoFaults).unwrap();
        self.assert_before();
        assert_eq!(walk(&self.live()).inodes, live_inodes, "an undo brings the same inodes back");
        self.undo_with("c2", "c3", &NoFaults).unwrap();
        self.assert_after();
        self.undo_with("c3", "c4", &NoFaults).unwrap();
        self.assert_before();
    }

    pub(crate) fn is_before(&self) -> Result<(), String> {
        let now = walk(&self.live());
        compare(&now.nodes, &self.before.nodes)?;
        if now.dir_times != self.before.dir_times {
            return Err(format!("times of directories: {:?} instead of {:?}", now.dir_times, self.before.dir_times));
        }
        rsync(&self.path("before"), &self.live(), true)
    }

    pub(crate) fn is_after(&self) -> Result<(), String> {
        let now = walk(&self.live());
        compare(&now.nodes, &self.after.nodes)?;
        for (path, time) in &self.after.dir_times {
            if self.before.dir_times.contains_key(path) && now.dir_times[path] != *time {
                return Err(format!("time of {path}: {} instead of {time}", now.dir_times[path]));
            }
        }
        rsync(&self.path("after"), &self.live(), false)
    }

    #[track_caller]
    pub(crate) fn assert_before(&self) {
        self.is_before().unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_after(&self) {
        self.is_after().unwrap();
    }
}

fn compare(now: &BTreeMap<TreePath, Box<Node>>, wanted: &BTreeMap<TreePath, Box<Node>>) -> Result<(), String> {
    let paths: std::collections::BTreeSet<&TreePath> = now.keys().chain(wanted.keys()).collect();
    for path in paths {
        match (now.get(path), wanted.get(path)) {
            (a, b) if a == b => {}
            (Some(a), Some(b)) => return Err(format!("{path}: {:?}", b.differences(a))),
            (a, b) => return Err(format!("{path} is there: {}, wanted: {}", a.is_some(), b.is_some())),
        }
    }
    Ok(())
}

/// The independent judge. Directory times are left out where the trees were not made to have them.
fn rsync(wanted: &Path, found: &Path, dir_times: bool) -> Result<(), String> {
    let mut command = Command::new("rsync");
    command.args(["-aHAXn", "--checksum", "--delete", "--itemize-changes", "--exclude=/var/lib/greenroom"]);
    command.args(["--exclude=.greenroom", "--super"]);
    if !dir_times {
        command.arg("--omit-dir-times");
    }
    let output = command.arg(format!("{}/", wanted.display())).arg(format!("{}/", found.display())).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && out.is_empty() { Ok(()) } else { Err(format!("rsync: {out}{err}")) }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing else removes immutable files.
        let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(self.scratch.path()).output();
    }
}
