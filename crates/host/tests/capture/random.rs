//! Random trees, random mutations.

use greenroom_testkit::tree::{Tree, mutations_from_seed};

use crate::support::{World, sh};

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
        let label = format!("seed {seed}");
        world.there_and_back(&copy, &captured.changeset, &label);
        // By taking over what the copy wrote: the same, out of the tree that was taken.
        world.forget_contents();
        assert_eq!(world.capture_at_rest(&copy).changeset, captured.changeset, "{label}");
        world.there_and_back(&copy, &captured.changeset, &format!("{label}, at rest"));
    }
}

#[test]
fn with_the_record_of_the_host_the_changeset_is_the_same() {
    greenroom_testkit::need_root!();
    let fill = "mkdir d; for i in $(seq 400); do echo $i > d/$i; done; setfattr -n user.a -v 1 d/7; chmod 600 d/8; \
        ln d/10 d/other; chown 5:6 d/11; ln -s 12 d/link; mkdir d/e; for i in $(seq 300); do echo $i > d/e/$i; done";
    let world = World::new(|host| sh(host, fill));
    world.record();
    // Since then: content with time and size put back, only the mode, replaced by another, gone, come.
    let drift = "cd d; echo 22 > 21; touch -d @9 21; chmod 640 23; echo x > y; mv y 24; rm 25; echo new > 401; mv e f; mkdir e; mv f/1* e";
    sh(&world.host(), drift);
    let copy = world.copy();
    sh(
        &copy.root(),
        "find d -type f -exec sh -c 'for f; do echo more >> $f; done' sh {} +; chmod 600 d/30; echo 31 > d/31; rm d/32",
    );
    let with = world.capture(&copy).changeset;
    std::fs::remove_dir_all(greenroom_host::baseline::dir(&world.host())).unwrap();
    let without = world.capture(&copy).changeset;
    assert_eq!(with, without);
    assert!(with.entries().len() > 650, "{}", with.entries().len());
    world.there_and_back(&copy, &with, "with the record");
}

#[test]
fn a_copy_in_which_nothing_is_changed_has_no_changes() {
    greenroom_testkit::need_root!();
    let world = World::new(|host| Tree::from_seed(7).write(host).unwrap());
    let copy = world.copy();
    // Everything is opened for writing, nothing is written: all of it is in the upper layer now.
    sh(&copy.root(), "find . -xdev -type f -exec sh -c 'for f; do : >>\"$f\"; done' sh {} +");
    let captured = world.capture(&copy);
    assert!(captured.changeset.entries().is_empty(), "{:?}", captured.changeset.entries());
}
