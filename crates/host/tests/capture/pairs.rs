//! Every kind of file turned into every other, in an overlay.

use std::collections::BTreeSet;
use std::path::PathBuf;

use greenroom_core::TreePath;
use greenroom_testkit::tree::Kind;

use crate::support::World;

fn name(pair: (Kind, Kind)) -> String {
    format!("{:?}-{:?}", pair.0, pair.1)
}

#[test]
fn every_kind_becomes_every_other() {
    greenroom_testkit::need_root!();
    let pairs: Vec<(Kind, Kind)> = Kind::pairs().collect();
    let world = World::new(|host| {
        for pair in &pairs {
            pair.0.put(&host.join(name(*pair)), 1).unwrap();
        }
    });
    let copy = world.copy();
    for pair in &pairs {
        let path = copy.root().join(name(*pair));
        remove(&path);
        remove(&Kind::other_name(&path));
        pair.1.put(&path, 2).unwrap();
    }
    let captured = world.capture(&copy);
    // The table proves its own completeness: every pair there can be is in it, and is found.
    let named: BTreeSet<TreePath> = captured.changeset.entries().iter().map(|e| e.path.clone()).collect();
    let missing: Vec<String> =
        pairs.iter().map(|pair| name(*pair)).filter(|name| !named.contains(&TreePath::from(name.as_str()))).collect();
    assert!(missing.is_empty(), "not captured: {missing:?}");
    assert_eq!(pairs.len(), Kind::ALL.len() * Kind::ALL.len() - 1, "all but nothing to nothing");
    world.there_and_back(&copy, &captured.changeset, "pairs");
}

fn remove(path: &PathBuf) {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}
