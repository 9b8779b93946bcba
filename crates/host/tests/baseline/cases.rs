//! Odd trees: what no random one has.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Mutex;

use greenroom_core::policy::Policy;
use greenroom_core::{ContentHash, TreePath};
use greenroom_host::baseline::{Baseline, Keep, Options, Problem, Trouble};

use crate::support::{World, between, changes, on_record, sh, tick, words};

#[test]
fn deep_paths_long_names_and_bytes_that_are_no_text() {
    greenroom_testkit::need_root!();
    let perl = |dir: &std::path::Path, script: &str| {
        let done = std::process::Command::new("perl").args(["-e", script]).current_dir(dir).status().unwrap();
        assert!(done.success());
    };
    let name = "n".repeat(255);
    let dig = format!("for (1..40) {{ mkdir '{name}'; chdir '{name}' or die $!; }}");
    let world = World::new(|srv| {
        perl(srv, &format!("{dig} open(F, '>', 'old') or die; print F 'a'; close F;"));
        perl(srv, "for (1..255) { next if $_ == 47; open(F, '>', chr($_)) or die if $_ != 46; }");
        perl(srv, "mkdir 'many'; for (1..1500) { open(F, '>', \"many/f$_\") or die; }");
    });
    let recorded = world.record();
    assert_eq!(recorded.baseline.records().count() as u64, recorded.counts.paths);
    assert_eq!(words(&world.found(&world.later())), [""; 0]);
    perl(&world.srv(), &format!("{dig} unlink 'old' or die; open(F, '>', 'new') or die; print F 'b'; close F;"));
    perl(&world.srv(), "unlink \"many/f7\"; open(F, '>', \"many/f1500x\"); unlink chr(255);");
    let found = world.found(&world.later());
    assert_eq!(found.len(), 5);
    assert_eq!(found.iter().filter(|entry| entry.path.as_bytes().len() > 10_000).count(), 2);
    let moved = world.open().advance(&changes(&found), &world.later()).unwrap();
    assert_eq!(words(&world.found(&world.later())), [""; 0]);
    for entry in &found {
        assert_eq!(moved.node(&entry.path).unwrap(), entry.after.as_deref().cloned());
    }
}

#[test]
fn linked_files() {
    greenroom_testkit::need_root!();
    let table: &[(&str, &str, &[&str])] = &[
        ("echo a > f; ln f g", "rm g", &["Metadata /srv/f", "Delete /srv/g"]),
        ("echo a > f; ln f g; ln f h", "rm g", &["Delete /srv/g"]),
        ("echo a > f; ln f g; ln f h", "rm f", &["Delete /srv/f", "Metadata /srv/g", "Metadata /srv/h"]),
        ("echo a > f", "ln f g", &["Metadata /srv/f", "Create /srv/g"]),
        ("echo a > f; ln f g", "cp -p f t; mv t f", &["Metadata /srv/f", "Metadata /srv/g"]),
        ("echo a > f; cp -p f g", "ln -f f g", &["Metadata /srv/f", "Metadata /srv/g"]),
        ("echo a > f; ln f g", "echo b >> f", &["Modify /srv/f", "Modify /srv/g"]),
        ("echo a > f; ln f g; cp -al . ../opt", "rm -r ../opt", &["Metadata /srv/f", "Metadata /srv/g"]),
    ];
    for (before, change, wanted) in table {
        let world = World::new(|srv| sh(srv, before));
        world.record();
        let old = world.view();
        tick();
        sh(&world.srv(), change);
        let found = world.found(&world.later());
        assert_eq!(found, between(&old, &world.view()), "{before} | {change}");
        let in_srv: Vec<String> = words(&found).into_iter().filter(|word| word.contains("/srv")).collect();
        assert_eq!(in_srv, *wanted, "{before} | {change}");
    }
    // A part of the tree sees only some names of a group, on both sides.
    let world = World::new(|srv| sh(srv, "mkdir -p ../etc d; echo a > ../etc/f; ln ../etc/f d/f; ln d/f d/g"));
    world.record();
    let part = || Options { within: vec!["/srv".into()], ..world.later() };
    assert_eq!(words(&world.found(&part())), [""; 0]);
    sh(&world.srv(), "rm ../etc/f");
    assert_eq!(words(&world.found(&part())), [""; 0]);
    assert_eq!(words(&world.found(&world.later())), ["Delete /etc/f", "Metadata /srv/d/f", "Metadata /srv/d/g"]);
}

#[test]
fn places_that_a_record_or_a_scan_is_restricted_to() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| {
        sh(srv, "mkdir -p a/b c ../etc; echo 1 > a/f; echo 2 > a/b/f; echo 3 > c/f; echo 4 > ../etc/f")
    });
    let within =
        |paths: &[&str]| Options { within: paths.iter().map(|p| TreePath::from(*p)).collect(), ..world.later() };
    Baseline::record(&world.root(), &within(&["/srv/a", "/srv/c/f", "/etc", "/srv/a/b", "/missing/x"])).unwrap();
    let shown: Vec<String> = world.open().records().map(|r| r.unwrap().0.to_string()).collect();
    assert_eq!(shown, ["/etc", "/etc/f", "/srv/a", "/srv/a/b", "/srv/a/b/f", "/srv/a/f", "/srv/c/f"]);
    sh(&world.srv(), "touch c/g; chmod 700 c; rm -r ../etc a/b; mkdir -p ../missing; touch ../missing/x");
    // Of the record's places, and of one of them.
    assert_eq!(
        words(&world.found(&world.later())),
        ["Delete /etc", "Delete /etc/f", "Create /missing/x", "Delete /srv/a/b", "Delete /srv/a/b/f"]
    );
    assert_eq!(words(&world.found(&within(&["/srv/a"]))), ["Delete /srv/a/b", "Delete /srv/a/b/f"]);
}

#[test]
fn what_the_policy_leaves_out_is_on_no_record_and_no_difference() {
    greenroom_testkit::need_root!();
    let mut world = World::new(|srv| {
        sh(
            srv,
            "cd ..; mkdir -p var/log/app tmp/x boot srv/db srv/cache; echo 1 | tee var/log/app/l tmp/x/f boot/k srv/db/f srv/cache/f",
        );
    });
    world.record();
    let all: Vec<String> = on_record(&world.open()).keys().map(ToString::to_string).collect();
    for (path, there) in
        [("/var/log/app", true), ("/var/log/app/l", false), ("/tmp", true), ("/tmp/x", false), ("/boot/k", true)]
    {
        assert_eq!(all.contains(&path.to_owned()), there, "{path}");
    }
    sh(&world.root(), "echo 2 | tee var/log/app/l tmp/x/f boot/k; rm -r tmp/x; touch var/lib/greenroom/x");
    assert_eq!(words(&world.found(&world.later())), ["Modify /boot/k"]);
    // A store appears, and the host's list grows: what was managed is not any more.
    world.policy = Policy::new("/srv/cache/**\n", vec!["/srv/db".into()], Vec::new()).unwrap();
    sh(&world.root(), "echo 3 | tee srv/db/f srv/db/g srv/cache/f; rm srv/cache/f");
    assert_eq!(words(&world.found(&world.later())), ["Modify /boot/k"]);
    let moved = world.open().advance(&[], &world.later()).unwrap();
    assert!(moved.node(&"/srv/db/f".into()).unwrap().is_none());
    assert!(moved.node(&"/srv/db".into()).unwrap().is_some());
    // Changes of such paths do not get onto the record.
    let node = moved.node(&"/boot/k".into()).unwrap();
    let moved =
        moved.advance(&[("/srv/cache/new".into(), node.clone()), ("/tmp/y".into(), node)], &world.later()).unwrap();
    assert!(moved.node(&"/srv/cache/new".into()).unwrap().is_none());
}

#[test]
fn sockets_have_no_state_and_pipes_block_nobody() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, "mkfifo p; echo a > was-file; mknod disk b 7 99; mknod null c 1 3"));
    let _listener = UnixListener::bind(world.srv().join("s")).unwrap();
    assert_eq!(world.record().counts.sockets, 1);
    sh(&world.srv(), "rm was-file; rm null; mknod null c 1 5");
    let _other = UnixListener::bind(world.srv().join("was-file")).unwrap();
    assert_eq!(words(&world.found(&world.later())), ["Modify /srv/null", "Delete /srv/was-file"]);
}

#[test]
fn what_may_not_be_read_is_said_and_is_no_difference() {
    greenroom_testkit::need_root!();
    let world =
        World::new(|srv| sh(srv, "mkdir open shut; echo a > open/f; echo b > shut/f; echo c > g; chmod 0 shut g"));
    let before = world.record();
    let shut = |path: &str| Problem { path: path.into(), trouble: Trouble::Unreadable("Permission denied".into()) };
    // Without the capability to read everything: root owns these, and their modes say no.
    let scanned = without_override(|| {
        world.open().scan(&Options { depth: greenroom_host::baseline::Depth::Full, ..world.later() }).unwrap()
    });
    assert_eq!(scanned.problems, [shut("/srv/g"), shut("/srv/shut")]);
    assert_eq!(scanned.differences, []);
    // On no record, and not forgotten either.
    let recorded = without_override(|| Baseline::record(&world.root(), &world.later()).unwrap());
    assert_eq!(recorded.problems, [shut("/srv/g"), shut("/srv/shut")]);
    assert_eq!(recorded.counts.paths, before.counts.paths - 2);
    let scanned = world.scan(&world.later());
    assert_eq!(scanned.problems, [Problem { path: "/srv/g".into(), trouble: Trouble::Unrecorded }]);
    let found: Vec<_> = scanned.differences.into_iter().map(|found| found.entry).collect();
    assert_eq!(words(&found), ["Create /srv/shut/f"]);
}

/// In a thread of its own: capabilities are a thread's, and its children have them too.
fn without_override<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
            set_capabilities(None, sets).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

#[derive(Default)]
struct Texts(Mutex<BTreeMap<String, (ContentHash, Vec<u8>)>>);

impl Keep for Texts {
    fn wants(&self, path: &TreePath, size: u64) -> bool {
        path.starts_with(&"/etc".into()) && size < 1000
    }

    fn keep(&self, path: &TreePath, hash: &ContentHash, content: &[u8]) -> io::Result<()> {
        if content == b"poison" {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.lock().unwrap().insert(path.to_string(), (*hash, content.to_vec()));
        Ok(())
    }
}

#[test]
fn contents_are_handed_over_as_they_are_read() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| {
        sh(srv, "mkdir ../etc; echo a > ../etc/a; echo b > b; seq 2000 > ../etc/large; : > ../etc/empty")
    });
    let texts = Texts::default();
    let options = || Options { keep: Some(&texts), ..world.later() };
    Baseline::record(&world.root(), &options()).unwrap();
    tick();
    sh(&world.root(), "echo c > etc/c");
    world.scan(&options());
    let kept = texts.0.lock().unwrap().clone();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["/etc/a", "/etc/c", "/etc/empty"]);
    assert!(kept.values().all(|(hash, content)| *hash == ContentHash::of(content)));
    // A store that is full ends the record, and the one that was there stays.
    let id = world.open().meta().id;
    sh(&world.root(), "printf poison > etc/p");
    assert!(Baseline::record(&world.root(), &options()).is_err());
    assert_eq!(world.open().meta().id, id);
}
