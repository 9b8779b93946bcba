//! kill -9 at every point of adopt, revert and undo on a host that has a record: after recovery the host is wholly before or
//! wholly after, the ledger agrees, and nothing that Greenroom did is drift. And gc keeps what the record needs.
//!
//! Each kill happens in a child process: the test runs itself again, with its job in the environment.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use greenroom_engine::apply::{self, recover, undo};
use greenroom_engine::drift::{Depth, Selection, Wanted, adopt, look, revert};
use greenroom_engine::gc::{self, collect};
use greenroom_engine::{Asked, EngineError, Silent, State};
use greenroom_host::apply::{Faults, NoFaults, POINTS};
use greenroom_store::blobs::BlobStore as _;
use greenroom_store::ledger::{Actor, Filter, Ledger as _};

const CHILD: &str = "GREENROOM_DRIFT_TEST_CHILD";

fn asked() -> Asked {
    Asked { actor: Actor::default(), now: jiff::Timestamp::now }
}

/// Kills the process at the nth time that a point is passed.
struct At {
    point: String,
    left: Mutex<u32>,
}

impl Faults for At {
    fn hit(&self, point: &str) -> io::Result<()> {
        let mut left = self.left.lock().unwrap();
        if point == self.point && *left > 0 {
            *left -= 1;
            if *left == 0 {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
            }
        }
        Ok(())
    }
}

fn make(dir: &Path) {
    let root = dir.join("root");
    for name in ["etc/d", "usr", "var/lib", "tmp"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in ["etc/edit", "etc/gone", "etc/mode", "etc/d/in"] {
        fs::write(root.join(name), format!("{name}\n")).unwrap();
    }
}

fn edit(dir: &Path) {
    let root = dir.join("root");
    fs::write(root.join("etc/edit"), "edited\n").unwrap();
    fs::remove_file(root.join("etc/gone")).unwrap();
    fs::remove_dir_all(root.join("etc/d")).unwrap();
    fs::write(root.join("etc/d"), "a file now\n").unwrap();
    fs::create_dir(root.join("etc/new")).unwrap();
    fs::write(root.join("etc/new/file"), "new\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(root.join("etc/mode"), mode).unwrap();
}

/// What there is to see of the tree. The size and the time of a directory are nobody's.
fn picture(dir: &Path) -> String {
    let find = r#"find etc -type d -printf '%p d %m\n' -o -printf '%p %y %m %s %T@\n' | sort; find etc -type f -exec sha256sum {} + | sort"#;
    let output = Command::new("sh").args(["-c", find]).current_dir(dir.join("root")).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn drift(dir: &Path) -> Vec<String> {
    let state = State::open(&dir.join("state")).unwrap();
    let (look, _) = look(&state, &dir.join("root"), Depth::Changed, &asked(), &Silent).unwrap();
    assert!(look.problems.is_empty(), "{:?}", look.problems);
    look.drift.iter().map(|one| one.path().to_string()).collect()
}

fn act(dir: &Path, verb: &str, faults: &dyn Faults) -> Result<(), EngineError> {
    let (state, root) = (State::open(&dir.join("state"))?, dir.join("root"));
    let selection = Selection { all: true, ..Selection::default() };
    let wanted = Wanted { root: &root, selection, why: None, faults };
    match verb {
        "adopt" => adopt(&state, &wanted, &asked(), &Silent).map(drop),
        "revert" => revert(&state, &wanted, &asked(), &Silent).map(drop),
        _ => {
            let (id, force_verdict, health) = ("c1", None, Vec::new());
            let (gate, rollout) = (&apply::Open, None);
            let wanted = apply::Wanted {
                root: &root,
                id,
                why: None,
                force_verdict,
                health,
                gate,
                rollout,
                once_elsewhere: false,
                faults,
            };
            undo(&state, &wanted, &asked(), &Silent).map(drop)
        }
    }
}

/// A host with a record and a drift, ready for `verb`, in a directory of its own.
fn ready(verb: &str) -> tempfile::TempDir {
    let dir = scratch();
    make(dir.path());
    assert!(drift(dir.path()).is_empty());
    edit(dir.path());
    match verb {
        "undo adopt" => act(dir.path(), "adopt", &NoFaults).unwrap(),
        "undo revert" => act(dir.path(), "revert", &NoFaults).unwrap(),
        _ => {}
    }
    dir
}

/// In memory: there are many worlds, and what a kill leaves is the same without waiting for a disk.
fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    tempfile::tempdir_in(if shm.is_dir() { shm } else { Path::new("/var/tmp") }).unwrap()
}

#[test]
fn kills_leave_the_host_before_or_after_and_no_false_drift() {
    greenroom_testkit::need_root!();
    if let Some(job) = std::env::var_os(CHILD) {
        let job = job.into_string().unwrap();
        let parts: Vec<&str> = job.split('|').collect();
        let faults = At { point: parts[2].to_owned(), left: Mutex::new(parts[3].parse().unwrap()) };
        return act(Path::new(parts[0]), parts[1], &faults).unwrap();
    }
    let more = ["ledger.before", "ledger.after", "record.begun", "record.advanced"];
    let mut kills = 0;
    for verb in ["adopt", "revert", "undo adopt", "undo revert"] {
        for point in POINTS.iter().chain(&more) {
            kills += u32::from(kill(verb, point, 1));
            if ["step.moved", "stage.object"].contains(point) {
                kills += u32::from(kill(verb, point, 3));
            }
        }
    }
    println!("{kills} kills");
    assert!(kills > 45, "only {kills} kills came before the end");
}

/// Whether the process was killed there.
fn kill(verb: &str, point: &str, nth: u32) -> bool {
    let world = ready(verb);
    let dir = world.path();
    let (found, before) = (drift(dir), picture(dir));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills_leave_the_host_before_or_after_and_no_false_drift", "--nocapture"])
        .env(CHILD, format!("{}|{verb}|{point}|{nth}", dir.display()))
        .output()
        .unwrap();
    let killed = child.status.signal() == Some(9);
    let place = format!("{verb} at {point} {nth}: {}", String::from_utf8_lossy(&child.stderr));
    assert!(killed || child.status.success(), "{place}");
    let state = State::open(&dir.join("state")).unwrap();
    recover(&state, &dir.join("root"), &NoFaults, &asked(), &Silent).unwrap();
    let entries = state.ledger.entries(&Filter::default()).unwrap().entries;
    let change = if verb.starts_with("undo") { "c2" } else { "c1" };
    let done = entries.iter().any(|e| e.change.as_deref() == Some(change) && e.detail["outcome"] == "done");
    let (left, now) = (drift(dir), picture(dir));
    // An adoption touches nothing; whatever else is done leads elsewhere.
    assert_eq!(now == before, verb == "adopt" || !done, "{place}");
    let expected = if done || verb.starts_with("undo") { Vec::new() } else { found };
    assert_eq!(left, expected, "{place}");
    killed
}

#[test]
fn gc_keeps_what_the_record_needs() {
    greenroom_testkit::need_root!();
    let world = tempfile::tempdir_in("/var/tmp").unwrap();
    let dir = world.path();
    make(dir);
    drift(dir);
    let before = picture(dir);
    let state = State::open(&dir.join("state")).unwrap();
    state.blobs.put_bytes(b"nobody's").unwrap();
    let root = dir.join("root");
    let wanted = || gc::Wanted { root: &root, keep: 0, dry_run: false, young: Duration::ZERO };
    assert_eq!(collect(&state, &wanted()).unwrap().blobs, 1);
    for _ in 0..2 {
        edit(dir);
        act(dir, "revert", &NoFaults).unwrap();
        assert_eq!(picture(dir), before);
        collect(&state, &wanted()).unwrap();
    }
}

#[test]
fn a_record_goes_on_when_old_ways_back_are_given_up() {
    greenroom_testkit::need_root!();
    let world = ready("adopt");
    let dir = world.path();
    let (state, root) = (State::open(&dir.join("state")).unwrap(), dir.join("root"));
    let touch = |text: &str| fs::write(root.join("etc/edit"), text).unwrap();
    for text in ["one", "two", "three"] {
        touch(text);
        act(dir, "adopt", &NoFaults).unwrap();
        let gone = apply::forget(&state, &root, Duration::ZERO, false, &asked()).unwrap();
        assert_eq!(gone.changes.len(), 1, "{gone:?}");
        assert!(drift(dir).is_empty());
        touch("again");
        assert_eq!(drift(dir), ["/etc/edit"]);
        act(dir, "revert", &NoFaults).unwrap();
        assert_eq!(fs::read_to_string(root.join("etc/edit")).unwrap(), text);
        apply::forget(&state, &root, Duration::ZERO, false, &asked()).unwrap();
        assert!(drift(dir).is_empty());
    }
}
