//! When a scan reads, and when it does not.

use std::time::Duration;

use greenroom_core::TreePath;
use greenroom_host::baseline::{Depth, Options};
use greenroom_host::scan::Tree;
use jiff::{SignedDuration, Timestamp};

use crate::support::{World, sh, tick, words};

#[test]
fn an_edit_that_puts_size_and_time_back_is_found() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "echo aa > f; touch -d @77 f; echo x > other; mkdir d"));
    world.record();
    assert_eq!(world.scan(&world.later()).counts.read, 0, "nothing happened, nothing is read");
    tick();
    sh(&world.srv(), "echo bb > f; touch -d @77 f");
    let scanned = world.scan(&world.later());
    assert_eq!((scanned.counts.read, scanned.differences.len()), (1, 1));
    let found = &scanned.differences[0];
    assert_eq!(found.entry.path.as_bytes(), b"/srv/f");
    let meta = std::fs::metadata(world.srv().join("f")).unwrap();
    assert_eq!(found.inode.unwrap().ino, std::os::unix::fs::MetadataExt::ino(&meta));
    assert_eq!(found.changed.unwrap().sec, std::os::unix::fs::MetadataExt::ctime(&meta));
    // Through a mapping, which changes no byte count and which nobody closes.
    sh(&world.srv(), "echo aa > f; touch -d @77 f");
    assert_eq!(words(&world.found(&world.later())), [""; 0]);
    tick();
    sh(
        &world.srv(),
        "perl -e 'open F, \"+<\", \"f\" or die; sysseek F, 0, 0; syswrite F, \"zz\"; utime 77, 77, \"f\" or die'",
    );
    assert_eq!(words(&world.found(&world.later())), ["Modify /srv/f"]);
}

#[test]
fn a_change_time_that_is_young_or_in_the_future_is_not_trusted() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "echo a > f"));
    let all = world.record().counts.paths;
    let at = |seconds: i64| {
        let now = Timestamp::now() + SignedDuration::from_secs(seconds);
        Options::new(&world.policy, now)
    };
    assert_eq!(world.scan(&at(3600)).counts.read, 0);
    // Trust comes from the moment of reading, not from that of looking.
    assert_eq!(world.scan(&at(0)).counts.read, 0);
    let read_at = |seconds, young| {
        world.scan(&Options { depth: Depth::Full, young, ..at(seconds) });
        world.scan(&at(3600)).counts.read
    };
    let young = Options::YOUNG;
    assert_eq!(read_at(30, young), all, "half a minute is too young");
    assert_eq!(read_at(-7200, young), all, "the clock was set back: all changes are in the future");
    assert_eq!(read_at(120, young), 0);
    assert_eq!(read_at(30, Duration::from_secs(10)), 0);
}

#[test]
fn a_restored_backup_is_read_once_and_is_no_drift() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| {
        sh(srv, "mkdir -p d/e; for i in $(seq 50); do echo $i > d/$i; done; ln d/1 d/e/l; ln -s x d/s; mkfifo d/p");
    });
    world.record();
    // Other inodes, other change times, all else the same.
    sh(&world.srv(), "cp -a d new; rm -r d; mv new d");
    let scanned = world.scan(&world.later());
    assert_eq!(scanned.differences, []);
    assert_eq!(scanned.counts.read, 56, "all that is in srv, and srv");
    assert_eq!(world.scan(&world.later()).counts.read, 0, "and never again");
    // Swapped directories: each inode is known, at the wrong place.
    sh(&world.srv(), "mkdir a b; echo 1 > a/x; echo 2 > b/x; touch -d @5 a/x b/x");
    world.record();
    sh(&world.srv(), "mv a t; mv b a; mv t b");
    assert_eq!(words(&world.found(&world.later())), ["Modify /srv/a/x", "Modify /srv/b/x"]);
}

#[test]
fn what_differs_by_its_mode_is_not_read_each_time() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "echo a > f; mkdir d; ln -s f l"));
    world.record();
    sh(&world.srv(), "chmod 600 f; chmod 700 d; chown -h 5:6 l; touch -d @9 f");
    for read in [3, 0, 0] {
        let scanned = world.scan(&world.later());
        let found: Vec<_> = scanned.differences.into_iter().map(|found| found.entry).collect();
        assert_eq!(words(&found), ["Metadata /srv/d", "Metadata /srv/f", "Metadata /srv/l"]);
        assert_eq!(found[1].after.as_ref().unwrap().mtime.sec, 9);
        assert_eq!(scanned.counts.read, read);
    }
}

#[test]
fn a_slice_reads_its_part() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "for i in $(seq 200); do echo $i > $i; done"));
    let all = world.record().counts.paths;
    let parts: Vec<u64> = (0..7)
        .map(|part| world.scan(&Options { depth: Depth::Slice { part, of: 7 }, ..world.later() }).counts.read)
        .collect();
    assert_eq!(parts.iter().sum::<u64>(), all);
    assert!(parts.iter().all(|read| (10..60).contains(read)), "{parts:?}");
}

#[test]
fn the_record_tells_only_of_files_that_are_as_they_were_read() {
    greenroom_testkit::need_root!();
    let fill = "for i in $(seq 600); do echo $i > $i; done; setfattr -n user.a -v 1 3; ln -s 3 link; mkdir d";
    let world = World::new(|srv| sh(srv, fill));
    world.record();
    tick();
    // The content with size and time put back; the mode alone; the same again in another inode; gone; new.
    sh(&world.srv(), "echo 9 > 8; touch -r 7 8; chmod 600 5; cp -a 6 x; mv x 6; rm 4; echo new > 1000");
    let told = |baseline: greenroom_host::baseline::Baseline| {
        let recall = baseline.recall().unwrap();
        let mut ask = recall.ask();
        let mut tree = Tree::open(&world.root()).unwrap();
        let mut told = |name: &str| {
            let path = TreePath::from(format!("/srv/{name}").as_str());
            let status = tree.status(&path).unwrap()?;
            let node = ask.node(&path, &status)?;
            // What it tells is what reading gives.
            assert_eq!(Some(&node), tree.node(&path).unwrap().into_node().as_ref(), "{name}");
            Some(name.to_owned())
        };
        // Forward over pages, and back.
        let names: Vec<String> = (1..=600)
            .map(|n: u32| n.to_string())
            .chain(["1000", "link", "d", "3", "599", "2"].map(str::to_owned))
            .collect();
        names.iter().filter(|name| told(name).is_none()).cloned().collect::<Vec<_>>()
    };
    assert_eq!(told(world.open()), ["4", "5", "6", "8", "1000", "link", "d"]);
    // A scan reads them, and knows again those that are as recorded.
    world.scan(&world.later());
    assert_eq!(told(world.open()), ["4", "8", "1000", "link", "d"]);
    // What was young when it was read is told by nobody.
    sh(&world.srv(), "touch 1 2 3");
    world.scan(&world.now());
    assert_eq!(told(world.open())[..3], ["1", "2", "3"]);
}
