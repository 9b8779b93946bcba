//! Trees that change while they are looked at.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenroom_core::{ContentHash, TreePath};
use greenroom_host::baseline::{Baseline, Depth, Keep, Options, Trouble};
use rustix::fs::{CWD, RenameFlags};

use crate::support::{World, sh, tick, words};

/// Runs `disturb` again and again beside `work`.
fn beside<T>(disturb: impl Fn(u64) + Sync, work: impl FnOnce() -> T) -> T {
    /// Also when the work fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                disturb(round);
                round += 1;
            }
        });
        // By now it has begun.
        std::thread::sleep(Duration::from_millis(30));
        work()
    })
}

#[test]
fn a_link_that_takes_a_directorys_place_leads_nowhere() {
    greenroom_testkit::need_root!();
    let secret = tempfile::tempdir_in("/var/tmp").unwrap();
    sh(secret.path(), "mkdir e; for i in $(seq 20); do echo secret > f$i; echo secret > e/f$i; done");
    let world = World::new(|srv| {
        sh(srv, "echo mine > stay; mkdir -p d/e; for i in $(seq 20); do echo mine > d/f$i; echo mine > d/e/f$i; done");
        std::os::unix::fs::symlink(secret.path(), srv.join("l")).unwrap();
        std::os::unix::fs::symlink(secret.path().join("f1"), srv.join("link-to-file")).unwrap();
    });
    world.record();
    let hash = ContentHash::of(b"secret\n");
    let (soonest, latest) = (Instant::now() + Duration::from_secs(2), Instant::now() + Duration::from_secs(40));
    let swap = |_| {
        for (one, other) in [("d", "l"), ("stay", "link-to-file")] {
            let _ = rustix::fs::renameat_with(
                CWD,
                world.srv().join(one),
                CWD,
                world.srv().join(other),
                RenameFlags::EXCHANGE,
            );
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    beside(swap, || {
        // On a busy machine it takes a while until one of the walks meets the link.
        while Instant::now() < soonest || (!seen.contains("/srv/d") && Instant::now() < latest) {
            let options = Options { depth: Depth::Full, ..world.later() };
            let scanned = world.open().scan(&options).unwrap();
            for found in &scanned.differences {
                let after = found.entry.after.as_ref().and_then(|node| node.content());
                assert_ne!(after, Some(hash), "{} was read outside the tree", found.entry.path);
                seen.insert(found.entry.path.to_string());
            }
        }
    });
    assert!(seen.contains("/srv/d"), "the race was never hit: {seen:?}");
    let recorded = beside(swap, || Baseline::record(&world.root(), &world.later()).unwrap());
    assert!(recorded.baseline.records().all(|record| record.unwrap().1.content() != Some(hash)));
}

/// Writes to the file whenever the walk begins to read it: nobody has to win a race.
struct Writer(PathBuf);

impl Keep for Writer {
    fn wants(&self, path: &TreePath, _: u64) -> bool {
        if path.name() == b"busy" {
            tick();
            fs::File::options().append(true).open(&self.0).unwrap().write_all(b"more").unwrap();
        }
        false
    }

    fn keep(&self, _: &TreePath, _: &ContentHash, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_is_being_written_to_is_busy() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "echo a > busy; echo b > calm"));
    world.record();
    let writer = Writer(world.srv().join("busy"));
    let disturbed = || Options { keep: Some(&writer), depth: Depth::Full, ..world.later() };
    let scanned = world.scan(&disturbed());
    let said: Vec<_> = scanned.problems.iter().map(|p| (p.path.to_string(), p.trouble.clone())).collect();
    assert_eq!(said, [("/srv/busy".to_owned(), Trouble::Busy)]);
    assert_eq!(scanned.differences, []);
    // When it is done, it is a difference like any other.
    assert_eq!(words(&world.found(&world.later())), ["Modify /srv/busy"]);
    let recorded = Baseline::record(&world.root(), &disturbed()).unwrap();
    assert_eq!(recorded.problems.len(), 1);
    let scanned = world.scan(&world.later());
    assert_eq!(scanned.problems[0].trouble, Trouble::Unrecorded, "neither drift nor silence");
    assert_eq!(scanned.differences, []);
    // Adopted, it is on record.
    let node = world.view().remove(&TreePath::from("/srv/busy"));
    world.open().advance(&[("/srv/busy".into(), node)], &world.later()).unwrap();
    let scanned = world.scan(&world.later());
    assert_eq!((scanned.problems, scanned.differences), (Vec::new(), Vec::new()));
}

#[test]
fn a_tree_in_which_files_come_and_go_is_compared_all_the_same() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "mkdir stay churn; for i in $(seq 300); do echo $i > stay/$i; done"));
    world.record();
    sh(&world.srv(), "echo changed > stay/7");
    let churn = |round: u64| {
        let dir = world.srv().join("churn").join((round % 7).to_string());
        let _ = fs::create_dir(&dir);
        let _ = fs::write(dir.join("f"), "x");
        let _ = fs::remove_dir_all(world.srv().join("churn").join(((round + 3) % 7).to_string()));
    };
    beside(churn, || {
        for _ in 0..60 {
            let scanned = world.open().scan(&world.later()).unwrap();
            let found: Vec<_> = scanned.differences.iter().map(|found| found.entry.path.to_string()).collect();
            assert!(found.contains(&"/srv/stay/7".to_owned()));
            assert!(found.iter().all(|path| path == "/srv/stay/7" || path.starts_with("/srv/churn/")), "{found:?}");
            assert!(
                scanned.problems.iter().all(|p| p.path.starts_with(&"/srv/churn".into())),
                "{:?}",
                scanned.problems
            );
        }
    });
}
