//! kill -9 and I/O errors at every point of apply, undo and recovery: the host is wholly before or wholly after.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use greenroom_core::manifest::flags;
use greenroom_host::apply::{Direction, Error, Faults, HostState, NoFaults, POINTS, Phase, Recovered};

use super::support::{Item, Lab, Shape, Spec, dir, file, linked, spec};

/// A change with everything in it.
fn lab() -> Lab {
    let locked = |item: Item| Item { flags: flags::IMMUTABLE, ..item };
    let before: Spec = spec([
        ("/edit", file("old")),
        ("/gone", file("gone")),
        ("/mode", Item { xattrs: vec![("user.a", b"1".to_vec())], ..file("mode") }),
        ("/immutable", locked(file("old"))),
        ("/d", dir()),
        ("/d/full", dir()),
        ("/d/full/x", file("x")),
        ("/d/to-link", dir()),
        ("/d/to-link/y", file("y")),
        ("/d/to-dir", file("z")),
        ("/link-a", linked("l", 1)),
        ("/link-b", linked("l", 1)),
        ("/pair-a", linked("p", 2)),
        ("/pair-b", linked("p", 2)),
        ("/locked", locked(dir())),
        ("/locked/in", file("in")),
        ("/pipe", Item::new(Shape::Fifo)),
    ]);
    let after: Spec = spec([
        ("/edit", Item { uid: 7, ..file("new") }),
        ("/mode", Item { uid: 1, mode: 0o4755, mtime: 4, xattrs: vec![("user.b", b"2".to_vec())], ..file("mode") }),
        ("/immutable", locked(file("new"))),
        ("/d", dir()),
        ("/d/to-link", Item::new(Shape::Symlink("full"))),
        ("/d/to-dir", dir()),
        ("/d/to-dir/new", file("new")),
        ("/link-a", linked("m", 1)),
        ("/link-b", linked("m", 1)),
        ("/pair-b", linked("p", 2)),
        ("/pair-c", linked("p", 2)),
        ("/locked", locked(dir())),
        ("/locked/in", file("other")),
        ("/pipe", Item::new(Shape::Char(3))),
    ]);
    Lab::new(&before, &after)
}

#[derive(Default)]
struct Count(Mutex<BTreeMap<String, u32>>);

impl Faults for Count {
    fn hit(&self, point: &str) -> io::Result<()> {
        *self.0.lock().unwrap().entry(point.to_owned()).or_default() += 1;
        Ok(())
    }
}

/// Does something at the nth time that a point is passed.
pub(crate) struct At<F> {
    point: String,
    left: Mutex<u32>,
    act: F,
}

impl<F: Fn() -> io::Result<()>> At<F> {
    pub(crate) fn new(point: &str, nth: u32, act: F) -> Self {
        Self { point: point.to_owned(), left: Mutex::new(nth), act }
    }
}

impl<F: Fn() -> io::Result<()> + Sync> Faults for At<F> {
    fn hit(&self, point: &str) -> io::Result<()> {
        if point != self.point {
            return Ok(());
        }
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        if *left == 0 { (self.act)() } else { Ok(()) }
    }
}

fn die() -> io::Result<()> {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    Ok(())
}

/// In the environment of a child, `scratch|verb|point|nth`: what it shall do instead of the test by which it was started.
const CHILD: &str = "GREENROOM_TEST_CHILD";

/// Does the job of a child.
fn be_killed(job: &str) {
    let parts: Vec<&str> = job.split('|').collect();
    let faults = At::new(parts[2], parts[3].parse().unwrap(), die);
    let live = Path::new(parts[0]).join("live");
    let host = HostState::open(&live).unwrap();
    let guard = host.lock("child").unwrap();
    match parts[1] {
        "apply" => {
            let after = super::support::walk(&Path::new(parts[0]).join("after"));
            let before = super::support::walk(&Path::new(parts[0]).join("before"));
            let changeset = super::support::difference(&before, &after);
            let source = super::support::Source::of(&Path::new(parts[0]).join("after"), &after);
            let staged = guard.stage("c1", &changeset, &source, &faults).unwrap();
            staged.commit(serde_json::Value::Null, &faults).unwrap();
        }
        "undo" => {
            guard.undo("c1", "c2", serde_json::Value::Null, &faults).unwrap();
        }
        verb => {
            let direction = if verb == "forward" { Direction::Forward } else { Direction::Back };
            for journal in host.open_journals().unwrap() {
                guard.recover(&journal, direction, &faults).unwrap();
            }
        }
    }
}

/// Runs `kill_at_every_point_then_recover` as a child; whether it was killed.
fn run_child(lab: &Lab, verb: &str, point: &str, nth: u32) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::kill_at_every_point_then_recover", "--nocapture"])
        .env(CHILD, format!("{}|{verb}|{point}|{nth}", lab.scratch.path().display()))
        .output()
        .unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    killed
}

fn recover(lab: &Lab, direction: Direction) {
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    for journal in host.open_journals().unwrap() {
        let decided = !matches!(journal.phase, Phase::Staging);
        match guard.recover(&journal, direction, &NoFaults).unwrap() {
            Recovered::Before => assert!(!decided || direction == Direction::Back || journal.phase == Phase::Backing),
            Recovered::After(applied) => {
                assert!(decided);
                guard.close(&applied.change).unwrap();
            }
        }
    }
    assert!(host.open_journals().unwrap().is_empty());
}

/// A fresh live tree; with the change applied when an undo is to be interrupted.
fn again(lab: &Lab, undo: bool) {
    let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(lab.live()).output();
    std::fs::remove_dir_all(lab.live()).unwrap();
    let copied = Command::new("cp").arg("-a").arg(lab.path("before")).arg(lab.live()).status().unwrap();
    assert!(copied.success());
    // cp knows no inode flags.
    for name in ["immutable", "locked"] {
        assert!(Command::new("chattr").arg("+i").arg(lab.live().join(name)).status().unwrap().success());
    }
    if undo {
        lab.apply_with("c1", &NoFaults).unwrap();
    }
}

/// How often each point is passed by an apply and by its undo.
fn points(lab: &Lab) -> [(&'static str, BTreeMap<String, u32>); 2] {
    let (apply, undo) = (Count::default(), Count::default());
    again(lab, false);
    lab.apply_with("c1", &apply).unwrap();
    lab.undo_with("c1", "c2", &undo).unwrap();
    [("apply", apply.0.into_inner().unwrap()), ("undo", undo.0.into_inner().unwrap())]
}

/// Whether the last record stands: what the tree must be by the host's own word.
fn in_place(lab: &Lab) -> bool {
    let records = HostState::open(&lab.live()).unwrap().changes().unwrap();
    let last = records.iter().rev().find(|r| r.phase == Phase::Closed);
    last.is_some_and(|r| r.direction == Direction::Forward)
}

fn judge(lab: &Lab, context: &str) {
    let state = if in_place(lab) { lab.is_after() } else { lab.is_before() };
    if let Err(error) = state {
        panic!("{context}: {error}");
    }
}

#[test]
fn every_point_is_passed() {
    greenroom_testkit::need_root!();
    let lab = lab();
    let [(_, apply), (_, undo)] = points(&lab);
    let passed: Vec<&str> = POINTS.iter().copied().filter(|p| apply.contains_key(*p)).collect();
    assert_eq!(passed, POINTS);
    assert!(apply.keys().chain(undo.keys()).all(|p| POINTS.contains(&p.as_str())));
}

#[test]
fn kill_at_every_point_then_recover() {
    greenroom_testkit::need_root!();
    if let Ok(job) = std::env::var(CHILD) {
        return be_killed(&job);
    }
    let lab = lab();
    let mut kills = 0;
    for (verb, counts) in points(&lab) {
        for (point, count) in counts {
            for nth in 1..=count {
                let direction = if (kills + nth) % 3 == 0 { Direction::Back } else { Direction::Forward };
                again(&lab, verb == "undo");
                assert!(run_child(&lab, verb, &point, nth));
                recover(&lab, direction);
                judge(&lab, &format!("{verb} killed at {point} {nth}, then {direction:?}"));
                kills += 1;
            }
        }
    }
    println!("{kills} kills");
    assert!(kills > 60);
}

#[test]
fn kill_inside_recovery_too() {
    greenroom_testkit::need_root!();
    let lab = lab();
    let mut kills = 0u32;
    for (verb, counts) in points(&lab) {
        for (point, count) in counts.into_iter().filter(|(p, _)| p.starts_with("step") || p.starts_with("finish")) {
            let nth = 1 + (kills * 7) % count;
            for (way, at) in [
                ("forward", "step.moved"),
                ("back", "step.moved"),
                ("forward", "finish.flags"),
                ("back", "finish.time"),
            ] {
                again(&lab, verb == "undo");
                assert!(run_child(&lab, verb, &point, nth));
                let killed = run_child(&lab, way, at, 1 + kills % 3);
                let direction = if kills.is_multiple_of(2) { Direction::Forward } else { Direction::Back };
                recover(&lab, direction);
                judge(
                    &lab,
                    &format!("{verb} killed at {point} {nth}, {way} killed at {at}: {killed}, then {direction:?}"),
                );
                kills += 1;
            }
        }
    }
    assert!(kills > 30);
}

#[test]
fn an_io_error_at_every_point_rolls_back() {
    greenroom_testkit::need_root!();
    let lab = lab();
    for (verb, counts) in points(&lab) {
        for (point, count) in counts {
            for nth in 1..=count {
                again(&lab, verb == "undo");
                let faults = At::new(&point, nth, || Err(io::Error::from_raw_os_error(5)));
                let result = match verb {
                    "apply" => lab.apply_with("c1", &faults),
                    _ => lab.undo_with("c1", "c2", &faults),
                };
                let early = point.starts_with("stage") || point.starts_with("commit.") && point != "commit.done";
                match result {
                    Err(Error::RolledBack(_)) => assert!(!early, "{point}"),
                    Err(Error::Io { .. }) => assert!(early, "{point}"),
                    other => panic!("{verb}, {point} {nth}: {other:?}"),
                }
                judge(&lab, &format!("{verb}, error at {point} {nth}"));
                assert!(HostState::open(&lab.live()).unwrap().open_journals().unwrap().is_empty());
                // And it can be done again.
                match verb {
                    "apply" => lab.apply_with("again", &NoFaults).map(|_| lab.assert_after()).unwrap(),
                    _ => lab.undo_with("c1", "again", &NoFaults).map(|_| lab.assert_before()).unwrap(),
                }
            }
        }
    }
}

#[test]
fn an_abandoned_stage_leaves_nothing() {
    greenroom_testkit::need_root!();
    let lab = lab();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    drop(guard.stage("c1", &lab.changeset, &lab.source, &NoFaults).unwrap());
    let left: Vec<PathBuf> =
        std::fs::read_dir(lab.live().join("var/lib/greenroom/changes")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    lab.assert_before();
}
