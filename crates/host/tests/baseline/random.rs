//! Random trees, randomly changed: everything is found, exactly, and nothing is invented.

use greenroom_host::baseline::{Baseline, Depth, Options};
use greenroom_testkit::tree::{Kind, Tree, mutations_from_seed};

use crate::support::{World, between, changes, on_record, tick, words};

const SEEDS: std::ops::Range<u64> = 0..60;

#[test]
fn what_changed_is_found_and_nothing_else() {
    greenroom_testkit::need_root!();
    for seed in SEEDS {
        let world = World::new(|srv| Tree::from_seed(seed).write(srv).unwrap());
        // Half of them with change times that are too young to be trusted.
        let options = || if seed % 2 == 0 { world.later() } else { world.now() };
        let recorded = Baseline::record(&world.root(), &options()).unwrap();
        let before = world.view();
        assert_eq!(on_record(&recorded.baseline), before, "seed {seed}");
        assert_eq!(words(&world.found(&options())), [""; 0], "seed {seed}: nothing happened");
        tick();
        for mutation in mutations_from_seed(seed, 25) {
            mutation.apply(&world.srv()).unwrap();
        }
        let after = world.view();
        let wanted = between(&before, &after);
        // A first scan, one that uses what the first has learned, one that reads everything, two halves.
        for depth in [
            Depth::Changed,
            Depth::Changed,
            Depth::Full,
            Depth::Slice { part: 0, of: 2 },
            Depth::Slice { part: 1, of: 2 },
        ] {
            let found = world.found(&Options { depth, ..options() });
            assert_eq!(found, wanted, "seed {seed}, {depth:?}: {:?} / {:?}", words(&found), words(&wanted));
        }
        // Accepted: then the record is what a new one would be.
        let moved = world.open().advance(&changes(&wanted), &options()).unwrap();
        assert_eq!(on_record(&moved), after, "seed {seed}");
        assert_eq!(words(&world.found(&options())), [""; 0], "seed {seed}: accepted");
        let id = moved.meta().id;
        assert_eq!(moved.meta().paths, after.len() as u64);
        let anew = Baseline::record(&world.root(), &options()).unwrap();
        assert_eq!(anew.baseline.meta().id, id, "seed {seed}");
    }
}

#[test]
fn every_pair_of_kinds() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| {
        for (number, (before, _)) in Kind::pairs().enumerate() {
            std::fs::create_dir(srv.join(number.to_string())).unwrap();
            before.put(&srv.join(format!("{number}/x")), 1).unwrap();
        }
    });
    world.record();
    let before = world.view();
    tick();
    for (number, (_, after)) in Kind::pairs().enumerate() {
        after.put(&world.srv().join(format!("{number}/x")), 2).unwrap();
    }
    let after = world.view();
    for depth in [Depth::Changed, Depth::Changed, Depth::Full] {
        assert_eq!(world.found(&Options { depth, ..world.later() }), between(&before, &after));
    }
    let moved = world.open().advance(&changes(&between(&before, &after)), &world.later()).unwrap();
    assert_eq!(on_record(&moved), after);
    // And back: the inverse of what was accepted.
    for (number, (before, _)) in Kind::pairs().enumerate() {
        before.put(&world.srv().join(format!("{number}/x")), 1).unwrap();
    }
    assert_eq!(world.found(&world.later()), between(&after, &world.view()));
}
