//! Processes that are killed in the middle of writing, and processes that write at the same time.
//!
//! Each test runs itself again as a child (`CHILD` holds the directory to work in): real processes, real SIGKILL.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use greenroom_store::blobs::{BlobStore as _, DirBlobs};
use greenroom_store::ledger::{Draft, Filter, Ledger as _, SqlLedger, Verdict};

const CHILD: &str = "GREENROOM_STORE_TEST_CHILD";

/// The directory that this process shall work in, when it is a child.
fn child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Starts this test again as a child.
fn start(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn draft(number: usize) -> Draft {
    Draft {
        at: "2026-01-31T20:15:00.000Z".into(),
        kind: "applied".into(),
        root: "/".into(),
        detail: serde_json::json!({ "number": number, "filler": "x".repeat(number % 7 * 900) }),
        ..Draft::default()
    }
}

/// Appends for ever; says on stdout what is durable.
fn append_for_ever(dir: &Path) {
    let ledger = SqlLedger::open(dir).unwrap();
    for number in 0.. {
        let entry = ledger.append(&draft(number)).unwrap();
        println!("acknowledged {}", entry.hash);
        println!("counted {}", ledger.next_id("c").unwrap());
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    if let Some(dir) = child() {
        return append_for_ever(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut counted = 0;
    for round in 0..60u64 {
        let mut child = start("nothing_acknowledged_is_lost_by_kill_9", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut note = |line: String| {
            if let Some(hash) = line.strip_prefix("acknowledged ") {
                acknowledged.push(hash.to_owned());
            } else if let Some(count) = line.strip_prefix("counted ") {
                let count: u64 = count.parse().unwrap();
                assert!(count > counted, "the number {count} was given twice");
                counted = count;
            }
        };
        // It is at work once it has said something; then it is killed at some moment.
        for line in lines.by_ref() {
            let at_work = line.starts_with("counted");
            note(line);
            if at_work {
                break;
            }
        }
        std::thread::sleep(Duration::from_micros(round * 1_337 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(&mut note);

        let ledger = SqlLedger::open(dir.path()).unwrap();
        let listing = ledger.entries(&Filter::default()).unwrap();
        let stored: Vec<_> = listing.entries.iter().map(|entry| entry.hash.clone()).collect();
        // Between two acknowledgements there may be one that nobody heard of, from the moment of a kill.
        let mut rest = stored.iter();
        assert!(acknowledged.iter().all(|hash| rest.any(|stored| stored == hash)), "round {round}");
        assert!(stored.len() <= acknowledged.len() + 1 + round as usize);
        assert_eq!(ledger.verify().unwrap(), Verdict::Verified { entries: stored.len() as u64 });
    }
    assert!(acknowledged.len() >= 60);
}

#[test]
fn processes_append_at_the_same_time() {
    const EACH: usize = 15;
    if let Some(dir) = child() {
        let ledger = SqlLedger::open(&dir).unwrap();
        for number in 0..EACH {
            ledger.append(&draft(number)).unwrap();
            ledger.append_once(&format!("once {number}"), &draft(number)).unwrap();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..4).map(|_| start("processes_append_at_the_same_time", dir.path())).collect();
    for mut child in children {
        child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    let verdict = SqlLedger::open(dir.path()).unwrap().verify().unwrap();
    assert_eq!(verdict, Verdict::Verified { entries: (4 * EACH + EACH) as u64 });
}

/// Never ends.
struct Endless;

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        println!("reading");
        std::thread::sleep(Duration::from_millis(1));
        Ok(buffer.len())
    }
}

#[test]
fn half_a_blob_is_no_blob_and_is_cleared_away() {
    if let Some(dir) = child() {
        DirBlobs::open(&dir).unwrap().put_reader(&mut Endless).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = start("half_a_blob_is_no_blob_and_is_cleared_away", dir.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.filter(|line| line.contains("reading")).take(3).count(), 3);
    let debris = || std::fs::read_dir(dir.path().join("tmp")).unwrap().count();
    // While it lives, another one leaves its work alone.
    let store = DirBlobs::open(dir.path()).unwrap();
    store.put_bytes(b"one").unwrap();
    assert_eq!(debris(), 2);
    drop(store);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(debris(), 1);
    let store = DirBlobs::open(dir.path()).unwrap();
    assert_eq!(store.iter().count(), 1);
    store.put_bytes(b"two").unwrap();
    assert_eq!((store.iter().count(), debris()), (2, 1));
    drop(store);
    assert_eq!(debris(), 0);
}

#[test]
fn a_tree_is_taken_over_wholly_or_not_at_all() {
    let tree = |dir: &Path| {
        std::fs::create_dir(dir.join("tree")).unwrap();
        std::fs::write(dir.join("tree/file"), b"content").unwrap();
    };
    let hash = greenroom_core::ContentHash::of(b"content");
    if let Some(dir) = child() {
        let store = DirBlobs::open(&dir.join("blobs")).unwrap();
        assert!(store.adopt_tree(&dir.join("tree"), vec![(hash, &b"file"[..])]).unwrap());
        println!("taken");
        if dir.join("sync").exists() {
            store.sync().unwrap();
            println!("durable");
        }
        std::thread::sleep(Duration::from_secs(60));
    }
    for sync in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        tree(dir.path());
        if sync {
            std::fs::write(dir.path().join("sync"), b"").unwrap();
        }
        let mut child = start("a_tree_is_taken_over_wholly_or_not_at_all", dir.path());
        let awaited = if sync { "durable" } else { "taken" };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains(awaited)));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = DirBlobs::open(&dir.path().join("blobs")).unwrap();
        assert_eq!((store.contains(hash).unwrap(), store.iter().count()), (sync, usize::from(sync)));
        // The next one to write clears away what is nobody's.
        store.put_bytes(b"other").unwrap();
        drop(store);
        assert_eq!(std::fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count(), 0);
        assert_eq!(DirBlobs::open(&dir.path().join("blobs")).unwrap().contains(hash).unwrap(), sync);
    }
}
