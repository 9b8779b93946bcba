//! The files of a record: damage, interruption, two writers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use greenroom_host::baseline::{Baseline, BaselineError, Scanned, dir};
use greenroom_testkit::tree::Tree;

use crate::support::{World, changes, on_record, sh, tick, words};

/// Opens, scans and lists: the first error, or what was found.
fn use_it(world: &World) -> Result<Option<Scanned>, BaselineError> {
    let Some(baseline) = Baseline::open(&world.root())? else { return Ok(None) };
    let scanned = baseline.scan(&world.later())?;
    baseline.records().collect::<Result<Vec<_>, _>>()?;
    Ok(Some(scanned))
}

#[test]
fn damage_is_an_error_wherever_it_is() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| Tree::from_seed(3).write(srv).unwrap());
    world.record();
    let path = dir(&world.root()).join("manifest");
    let whole = fs::read(&path).unwrap();
    // The file is small here: the damage is done in place, byte by byte, and every one of them counts.
    let step = (whole.len() / 400).max(1);
    for at in (0..whole.len()).step_by(step).chain(whole.len() - 80..whole.len()) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        assert!(use_it(&world).is_err(), "byte {at} of {} was changed", whole.len());
    }
    for length in (0..whole.len()).step_by(step * 3) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(use_it(&world), Err(BaselineError::Damaged { .. })), "cut to {length} bytes");
    }
    let mut newer = whole.clone();
    newer[19] = b'2';
    fs::write(&path, &newer).unwrap();
    assert!(matches!(use_it(&world), Err(BaselineError::Format(_))));
    fs::write(&path, &whole).unwrap();
    assert_eq!(use_it(&world).unwrap().unwrap().differences, []);
    fs::remove_file(&path).unwrap();
    assert!(use_it(&world).unwrap().is_none());
}

#[test]
fn damaged_keys_cost_time_and_nothing_else() {
    greenroom_testkit::need_root!();
    let world =
        World::new(|srv| sh(srv, "for d in a b c; do mkdir $d; echo $d > $d/f; done; echo x > g; touch -d @5 g"));
    let all = world.record().counts.paths;
    tick();
    sh(&world.srv(), "echo y > g; touch -d @5 g");
    let path = dir(&world.root()).join("keys");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        let scanned = use_it(&world).unwrap().unwrap();
        assert_eq!(scanned.differences.len(), 1, "byte {at}");
    }
    for left in [&whole[..whole.len() / 2], b""] {
        fs::write(&path, left).unwrap();
        assert_eq!(world.scan(&world.later()).differences.len(), 1);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(world.scan(&world.later()).counts.read, all);
    assert_eq!(world.scan(&world.later()).counts.read, 1, "the one that differs");
}

#[test]
fn nobody_else_can_read_it_and_nothing_is_left_behind() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "echo a > f"));
    let home = dir(&world.root());
    fs::create_dir_all(&home).unwrap();
    // What a writer that was killed leaves.
    fs::write(home.join("manifest.new"), "half").unwrap();
    world.record();
    sh(&world.srv(), "chmod 600 f");
    world.scan(&world.later());
    let mut names: Vec<_> = fs::read_dir(&home).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["keys", "manifest"]);
    for name in names {
        assert_eq!(fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn who_comes_late_does_not_write_over_a_record_that_was_moved() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "echo a > f; echo b > g"));
    world.record();
    let (early, late) = (world.open(), world.open());
    tick();
    sh(&world.srv(), "echo c > f; touch g");
    let mut scanned = late.scan(&world.later()).unwrap();
    let entries: Vec<_> = scanned.differences.iter().map(|found| found.entry.clone()).collect();
    early.advance(&changes(&entries), &world.later()).unwrap();
    assert!(!late.refresh(std::mem::take(&mut scanned.refresh)).unwrap());
    assert!(matches!(late.advance(&[], &world.later()), Err(BaselineError::Moved)));
    // What it has open is still what it was.
    assert_eq!(late.node(&"/srv/f".into()).unwrap(), entries[0].before.as_deref().cloned());
    assert_eq!(on_record(&world.open()), world.view());
    assert_eq!(words(&world.found(&world.later())), [""; 0]);
}
