//! Random trees, random mutations.

use greenroom_testkit::tree::{Tree, mutations_from_seed};

use crate::support::World;

/// Seeds that are tried each time; the environment of the test run adds nothing, so a failure names its seed.
const SEEDS: std::ops::Range<u64> = 0..30;

#[test]
fn capture_apply_undo_agree_with_an_independent_comparison() {
    greenroom_testkit::need_root!();
    for seed in SEEDS {
        let world = World::new(|host| {
            let sub = host.join("tree");
            std::fs::create_dir(&sub).unwrap();
            Tree::from_seed(seed).write(&sub).unwrap();
        });
        let copy = world.copy();
        for mutation in mutations_from_seed(seed, 25) {
            match mutation.apply(&copy.root().join("tree")) {
                // overlayfs refuses to rename directories whose paths are longer than 256 bytes; mv(1) copies them then.
                Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {}
                done => done.unwrap(),
            }
        }
        let captured = world.capture(&copy);
        world.there_and_back(&copy, &captured.changeset, &format!("seed {seed}"));
    }
}

#[test]
fn a_copy_in_which_nothing_is_changed_has_no_changes() {
    greenroom_testkit::need_root!();
    let world = World::new(|host| Tree::from_seed(7).write(host).unwrap());
    let copy = world.copy();
    // Everything is opened for writing, nothing is written: all of it is in the upper layer now.
    crate::support::sh(&copy.root(), "find . -xdev -type f -exec sh -c 'for f; do : >>\"$f\"; done' sh {} +");
    let captured = world.capture(&copy);
    assert!(captured.changeset.entries().is_empty(), "{:?}", captured.changeset.entries());
}
