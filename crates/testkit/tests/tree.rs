//! Random trees and mutations: the same every time, made as described, and awkward enough.

#![allow(clippy::unwrap_used, reason = "the lint spares tests, though not the functions they share")]

use greenroom_testkit::tree::{Kind, Tree, mutations_from_seed};
use greenroom_testkit::{need_root, oracle};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use tempfile::TempDir;

fn written(tree: &Tree) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    tree.write(dir.path()).unwrap();
    dir
}

#[test]
fn a_seed_makes_the_same_tree_every_time() {
    need_root!();
    for seed in 0..60 {
        let (one, two) = (written(&Tree::from_seed(seed)), written(&Tree::from_seed(seed)));
        oracle::assert_same(one.path(), two.path(), &[]);
    }
}

#[test]
fn the_same_mutations_do_the_same_to_equal_trees_and_differ_by_seed() {
    need_root!();
    let mut changed = 0;
    for seed in 0..80 {
        let tree = Tree::from_seed(seed);
        let (before, one, two) = (written(&tree), written(&tree), written(&tree));
        for mutation in mutations_from_seed(seed, 12) {
            mutation.apply(one.path()).unwrap_or_else(|e| panic!("seed {seed}: {mutation:?}: {e}"));
            mutation.apply(two.path()).unwrap();
        }
        oracle::assert_same(one.path(), two.path(), &[]);
        changed += usize::from(!oracle::differences(before.path(), one.path(), &[]).is_empty());
    }
    assert!(changed > 50, "only {changed} of 80 lists of mutations changed anything");
}

#[test]
fn a_tree_is_made_as_described() {
    need_root!();
    for seed in 0..60 {
        let tree = Tree::from_seed(seed);
        let dir = written(&tree);
        for (path, node) in &tree.nodes {
            let meta = fs::symlink_metadata(dir.path().join(path)).unwrap();
            let link = matches!(node.what, greenroom_testkit::tree::What::HardLink(_));
            if !link {
                assert_eq!((meta.uid(), meta.gid()), (node.meta.uid, node.meta.gid), "{path:?}");
                assert_eq!((meta.mtime(), meta.mtime_nsec()), (node.meta.mtime.0, node.meta.mtime.1.into()));
            }
            let acl = node.meta.xattrs.contains_key("system.posix_acl_access");
            if !link && !meta.is_symlink() && !acl {
                assert_eq!(meta.mode() & 0o7777, node.meta.mode, "{path:?}");
            }
        }
    }
}

#[test]
fn the_strategies_reach_every_awkward_thing() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        for (path, node) in Tree::from_seed(seed).nodes {
            let name = path.file_name().unwrap().as_bytes().to_vec();
            seen.insert(format!("{:?}", node.what).split(['(', ' ']).next().unwrap().to_owned());
            seen.extend(node.meta.xattrs.keys().map(|key| match key.split_once('.').unwrap() {
                (space @ ("user" | "trusted"), _) => space.to_owned(),
                _ => key.clone(),
            }));
            let features = [
                ("newline", name.contains(&b'\n')),
                ("space", name.contains(&b' ')),
                ("not utf-8", std::str::from_utf8(&name).is_err()),
                ("255 bytes", name.len() == 255),
                ("setuid", node.meta.mode & 0o4000 != 0),
                ("sticky", node.meta.mode & 0o1000 != 0),
                ("owner", node.meta.uid != 0),
                ("deep", path.components().count() > 3),
            ];
            seen.extend(features.iter().filter(|(_, has)| *has).map(|(name, _)| (*name).to_owned()));
        }
        for mutation in mutations_from_seed(seed, 20) {
            let name = format!("{:?}", mutation.action);
            seen.insert(format!("mutation {}", name.split('(').next().unwrap()));
        }
    }
    let wanted = "Regular Directory Symlink HardLink Fifo Character Block user trusted security.capability \
         system.posix_acl_access system.posix_acl_default newline space setuid sticky owner deep";
    let missing: Vec<&str> = wanted.split_whitespace().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "never made: {missing:?}");
    assert!(seen.contains("not utf-8") && seen.contains("255 bytes"));
    assert_eq!(seen.iter().filter(|name| name.starts_with("mutation ")).count(), 16, "{seen:?}");
}

#[test]
fn every_pair_of_kinds_can_be_put_in_place_of_each_other() {
    need_root!();
    let dir = tempfile::tempdir().unwrap();
    let mut pairs = 0;
    for (before, after) in Kind::pairs() {
        let path = dir.path().join(format!("{before:?} {after:?}"));
        before.put(&path, 1).unwrap();
        assert!(is(before, &path), "{before:?} was not made");
        after.put(&path, 2).unwrap();
        assert!(is(after, &path), "{before:?} did not become {after:?}");
        pairs += 1;
    }
    assert_eq!(pairs, Kind::ALL.len() * Kind::ALL.len() - 1);
}

#[test]
fn another_seed_makes_another_file_of_the_same_kind() {
    need_root!();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Absent) {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for (dir, seed) in dirs.iter().zip([1, 2]) {
            kind.put(&dir.path().join("it"), seed).unwrap();
        }
        let found = oracle::differences(dirs[0].path(), dirs[1].path(), &[]);
        assert!(found.iter().any(|line| line.contains("it")), "{kind:?}: {found:?}");
    }
}

/// Whether the file at `path` is of this kind, seen without the testkit's own eyes.
fn is(kind: Kind, path: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else { return kind == Kind::Absent };
    let holes = meta.blocks() * 512 < meta.len();
    let target_there = path.exists();
    let entries = fs::read_dir(path).map(Iterator::count);
    let one_name = meta.is_file() && meta.nlink() == 1;
    match kind {
        Kind::Absent => false,
        Kind::Regular => one_name && meta.len() > 0 && !holes,
        Kind::Empty => one_name && meta.len() == 0,
        Kind::Sparse => one_name && holes,
        Kind::Symlink => meta.is_symlink() && target_there,
        Kind::Dangling => meta.is_symlink() && !target_there,
        Kind::HardLink => meta.is_file() && meta.nlink() == 2 && Kind::other_name(path).exists(),
        Kind::Fifo => meta.file_type().is_fifo(),
        Kind::Character => meta.file_type().is_char_device(),
        Kind::Block => meta.file_type().is_block_device(),
        Kind::EmptyDirectory => meta.is_dir() && entries.unwrap() == 0,
        Kind::Directory => meta.is_dir() && entries.unwrap() == 3,
    }
}
