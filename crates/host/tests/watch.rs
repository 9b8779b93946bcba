//! The watch, with real fanotify and real processes, on a tree in a temporary directory.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "watch/bunches.rs"]
mod bunches;

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use greenroom_core::TreePath;
use greenroom_core::drift::Actor;
use greenroom_core::policy::Policy;
use greenroom_host::watch::{Attribution, Bounds, Event, Log, MarkKind, Options, Queue, State, Watch, What};
use tempfile::TempDir;

/// A tree with a watch.
struct Watched {
    tree: TempDir,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    for dir in ["etc", "srv", "var/log", "var/lib/greenroom"] {
        fs::create_dir_all(tree.path().join(dir)).unwrap();
    }
    tree
}

fn options(root: &Path) -> Options {
    Options {
        root: root.to_owned(),
        policy: Box::new(|| Ok(Policy::new("", vec![], vec![]).unwrap())),
        now: jiff::Timestamp::now,
        bounds: Bounds::default(),
        queue: Queue::Unlimited,
        trace: true,
    }
}

impl Watched {
    fn new() -> Self {
        let tree = tree();
        let options = options(tree.path());
        Self::with(tree, options)
    }

    fn with(tree: TempDir, options: Options) -> Self {
        let mut out = Self { tree, stop: None, thread: None };
        out.start(options);
        out
    }

    fn start(&mut self, options: Options) {
        let mut watch = Watch::start(options).unwrap();
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        self.thread = Some(std::thread::spawn(move || watch.run(ours.as_fd()).unwrap()));
        self.stop = Some(theirs);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.tree.path().join(path)
    }

    fn end(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }

    /// Ends the watch and reads what it wrote.
    fn log(&mut self) -> Log {
        self.end();
        Log::read(self.tree.path(), None).unwrap()
    }

    /// Runs a shell script in the tree.
    fn sh(&self, script: &str) {
        let status = Command::new("bash").args(["-c", script]).current_dir(self.tree.path()).status().unwrap();
        assert!(status.success(), "{script}");
    }
}

fn actor(event: &Event) -> &Actor {
    event.actor.as_ref().unwrap_or_else(|| panic!("nobody: {event:?}"))
}

fn commands(log: &Log, path: &str) -> Vec<String> {
    log.of(&path.into()).iter().map(|event| actor(event).command.clone().unwrap()).collect()
}

fn whats(log: &Log, path: &str) -> Vec<What> {
    log.of(&path.into()).iter().flat_map(|event| event.what.clone()).collect()
}

#[test]
fn everything_that_thousands_of_short_processes_do_has_its_author() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    // A program each, none of which lives longer than a millisecond or two.
    for number in 0..3_000 {
        let file = watched.path(&format!("etc/{number}"));
        assert!(Command::new("touch").arg(&file).status().unwrap().success());
    }
    // Forks without a program.
    watched.sh("for n in $(seq 1000); do (echo x > srv/$n); done");
    let log = watched.log();
    for number in 0..3_000 {
        let found = commands(&log, &format!("/etc/{number}"));
        let want = format!("touch {}", watched.path(&format!("etc/{number}")).display());
        assert!(!found.is_empty() && found.iter().all(|command| *command == want), "{number}: {found:?}");
    }
    for number in 1..=1000 {
        let found = commands(&log, &format!("/srv/{number}"));
        assert!(!found.is_empty() && found.iter().all(|c| c.starts_with("bash -c 'for n in")), "{number}: {found:?}");
        assert_eq!(actor(&log.of(&format!("/srv/{number}").as_str().into())[0]).process.as_deref(), Some("bash"));
    }
    assert!(log.marks().iter().all(|mark| matches!(mark.mark, MarkKind::Started | MarkKind::Stopped)));
}

#[test]
fn what_a_shell_did_before_it_became_another_program_is_the_shells() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    watched.sh("for n in $(seq 0 299); do echo a > etc/b$n; done");
    for number in 0..300 {
        watched.sh(&format!("echo x > etc/a{number}; exec sed -i s/a/b/ etc/b{number}"));
    }
    let log = watched.log();
    let right =
        (0..300).filter(|n| commands(&log, &format!("/etc/a{n}")).iter().all(|c| c.starts_with("bash -c"))).count();
    let moved = (0..300)
        .filter(|n| commands(&log, &format!("/etc/b{n}")).last().is_some_and(|c| c.starts_with("sed -i")))
        .count();
    assert_eq!(right, 300);
    assert!(moved > 200, "{moved}");
}

#[test]
fn directories_that_are_renamed_leave_no_wrong_paths() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    watched.sh("mkdir -p srv/a/deep; echo 1 > srv/a/deep/one");
    std::thread::sleep(Duration::from_millis(200));
    watched.sh("mv srv/a srv/b; echo 2 > srv/b/deep/two; mkdir srv/a; echo 3 > srv/a/three; mv srv/b etc/c; echo 4 > etc/c/deep/four");
    let outside = tempfile::tempdir().unwrap();
    watched.sh(&format!(
        "mv etc/c {0}/c; echo 5 > {0}/c/deep/five; mv {0}/c srv/d; echo 6 > srv/d/deep/six",
        outside.path().display()
    ));
    let log = watched.log();
    for path in ["/srv/a/three", "/srv/d/deep/six"] {
        assert!(!log.of(&path.into()).is_empty(), "{path}: {:?}", log.paths().collect::<Vec<_>>());
    }
    let wrong: Vec<_> =
        log.paths().filter(|p| p.name() == b"six" && **p != TreePath::from("/srv/d/deep/six")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    // It was made outside, and came in.
    let five: Vec<_> = log.paths().filter(|p| p.name() == b"five").collect();
    assert!(five.iter().all(|p| **p == TreePath::from("/srv/d/deep/five")), "{five:?}");
    // A file that came along with its directory is explained by the directory's move.
    let event = log.explains(&"/srv/d/deep/one".into(), None).unwrap();
    assert_eq!(event.path, "/srv/d".into());
    assert!(actor(event).command.as_ref().unwrap().starts_with("mv "));
}

#[test]
fn names_that_change_places_keep_to_what_is_where() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    watched.sh(
        "mkdir srv/live srv/next; echo 1 > srv/live/f; echo 2 > srv/next/f; mkdir srv/old srv/up; echo 3 > srv/old/g",
    );
    std::thread::sleep(Duration::from_millis(300));
    // A release that is exchanged with the live one, and two renames in a row: all of it is one turn of the watch.
    watched.sh(
        "python3 -c 'import ctypes\nctypes.CDLL(None).renameat2(-100, b\"srv/live\", -100, b\"srv/next\", 2)'; \
         echo a > srv/live/mine; echo b > srv/next/other; mv srv/old srv/older; mv srv/up srv/old; echo c > srv/old/new; echo d > srv/older/g; \
         rm -r srv/older; :",
    );
    std::thread::sleep(Duration::from_millis(300));
    watched.sh("echo e > srv/live/late; echo f > srv/old/late");
    let log = watched.log();
    for (path, names) in
        [("/srv/live", &["mine", "late"][..]), ("/srv/next", &["other"]), ("/srv/old", &["new", "late"])]
    {
        for name in names {
            let path = TreePath::from(path).join(name.as_bytes());
            assert!(!log.of(&path).is_empty(), "{path}: {:?}", log.paths().collect::<Vec<_>>());
        }
    }
    for (name, places) in [("mine", 1), ("other", 1), ("new", 1)] {
        assert_eq!(log.paths().filter(|path| path.name() == name.as_bytes()).count(), places, "{name}");
    }
    let who = |path: &str| actor(log.explains(&path.into(), None).unwrap()).command.clone().unwrap();
    assert!(who("/srv/live/f").contains("renameat2"), "it came with its directory: {}", who("/srv/live/f"));
    assert!(who("/srv/older/g").starts_with("rm -r"), "{}", who("/srv/older/g"));
}

#[test]
fn a_clock_that_is_set_back_hides_nothing() {
    greenroom_testkit::need_root!();
    use std::sync::atomic::{AtomicI64, Ordering};
    static SHIFT: AtomicI64 = AtomicI64::new(0);
    let tree = tree();
    let now = || jiff::Timestamp::now() + jiff::SignedDuration::from_hours(SHIFT.load(Ordering::Relaxed));
    let mut watched = Watched { tree, stop: None, thread: None };
    watched.start(Options { now, ..options(watched.tree.path()) });
    watched.sh("echo x > etc/before");
    std::thread::sleep(Duration::from_millis(300));
    let baseline = now();
    SHIFT.store(-48, Ordering::Relaxed);
    watched.sh("echo x > etc/after");
    watched.end();
    watched.start(Options { now, ..options(watched.tree.path()) });
    let log = Log::read(watched.tree.path(), Some(baseline)).unwrap();
    assert!(log.of(&"/etc/before".into()).is_empty() && !log.of(&"/etc/after".into()).is_empty());
    assert!(log.complete_since() > Some(baseline), "it was not watched in between");
    let marks: Vec<_> = log.marks().iter().map(|mark| mark.mark).collect();
    assert_eq!(marks, [MarkKind::ClockBack, MarkKind::Stopped, MarkKind::Started]);
    watched.end();
}

#[test]
fn what_is_mounted_later_is_watched_and_can_be_unmounted() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(16 << 20).unwrap();
    watched.sh(&format!("mkfs.ext4 -q {}; mkdir srv/disk", image.path().display()));
    let table = || State::read(watched.tree.path()).unwrap().unwrap().places;
    assert_eq!(table(), ["/"]);
    watched.sh(&format!("mount -o loop {} srv/disk", image.path().display()));
    wait_for(|| table() == ["/", "/srv/disk"]);
    watched.sh("echo x > srv/disk/file; mkdir srv/disk/d; echo y > srv/disk/d/file");
    wait_for(|| !Log::read(watched.tree.path(), None).unwrap().of(&"/srv/disk/d/file".into()).is_empty());
    watched.sh("umount srv/disk");
    wait_for(|| table() == ["/"]);
    let log = watched.log();
    assert!(!log.of(&"/srv/disk/file".into()).is_empty());
    assert_eq!(log.marks().iter().filter(|mark| mark.mark == MarkKind::Ground).count(), 2);
}

#[test]
fn each_way_to_change_a_file_has_its_word() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    watched.sh("echo one > etc/map; echo one > etc/cut; echo one > etc/mode; ln etc/mode srv/other; touch etc/gone etc/old var/log/noise");
    std::thread::sleep(Duration::from_millis(300));
    watched.sh(
        "python3 -c 'import mmap\nf = open(\"etc/map\", \"r+b\")\nm = mmap.mmap(f.fileno(), 0)\nf.close()\nm[0:1] = b\"X\"\n'; \
         python3 -c 'import os; os.truncate(\"etc/cut\", 1)'; chmod 600 srv/other; rm etc/gone; mv etc/old etc/new; mkdir etc/dir; \
         chmod 700 etc/dir; ln -s x etc/link; setfattr -n user.a -v b etc/cut 2>/dev/null || true; mkfifo etc/pipe",
    );
    let log = watched.log();
    for (path, what) in [
        ("/etc/map", What::Modified),
        ("/etc/cut", What::Modified),
        ("/srv/other", What::Metadata),
        ("/etc/gone", What::Deleted),
        ("/etc/old", What::Moved),
        ("/etc/new", What::Moved),
        ("/etc/dir", What::Created),
        ("/etc/dir", What::Metadata),
        ("/etc/link", What::Created),
        ("/etc/pipe", What::Created),
    ] {
        assert!(whats(&log, path).contains(&what), "{path}: {:?}", whats(&log, path));
    }
    assert!(commands(&log, "/etc/map").last().unwrap().contains("mmap"), "{:?}", commands(&log, "/etc/map"));
    assert_eq!(log.of(&"/etc/new".into())[0].from, Some("/etc/old".into()));
    assert_eq!(log.of(&"/etc/old".into()).last().unwrap().to, Some("/etc/new".into()));
    assert!(log.of(&"/var/log/noise".into()).is_empty());
    // A change under one name explains the other.
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(watched.path("etc/mode")).unwrap();
    let inode = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()), meta.ino());
    let event = log.explains(&"/etc/mode".into(), Some(inode)).unwrap();
    assert!(actor(event).command.as_ref().unwrap().starts_with("chmod 600"), "{event:?}");
}

#[test]
fn events_that_the_kernel_dropped_leave_a_mark() {
    greenroom_testkit::need_root!();
    let tree = tree();
    let limit: usize = fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events").unwrap().trim().parse().unwrap();
    let mut watch = Watch::start(Options { queue: Queue::Bounded, ..options(tree.path()) }).unwrap();
    for number in 0..limit + 2_000 {
        fs::write(tree.path().join(format!("srv/{number}")), "").unwrap();
    }
    let (ours, theirs) = rustix::pipe::pipe().unwrap();
    let thread = std::thread::spawn(move || watch.run(ours.as_fd()).unwrap());
    let root = tree.path().to_owned();
    wait_for(|| Log::read(&root, None).unwrap().marks().iter().any(|mark| mark.mark == MarkKind::Overflow));
    assert!(Command::new("touch").arg(root.join("etc/after")).status().unwrap().success());
    wait_for(|| !Log::read(&root, None).unwrap().of(&"/etc/after".into()).is_empty());
    let log = Log::read(&root, None).unwrap();
    let overflow = log.marks().iter().rfind(|mark| mark.mark == MarkKind::Overflow).unwrap();
    assert_eq!(log.complete_since(), Some(overflow.at));
    drop(theirs);
    thread.join().unwrap();
}

fn wait_for(mut what: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < end, "nothing came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_edit_is_on_record_within_a_second() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let began = Instant::now();
        watched.sh(&format!("echo x > etc/{number}"));
        let path = TreePath::from(format!("/etc/{number}").as_str());
        wait_for(|| !Log::read(watched.tree.path(), None).unwrap().of(&path).is_empty());
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    watched.end();
}

#[test]
fn the_log_says_when_nobody_watched() {
    greenroom_testkit::need_root!();
    let mut watched = Watched::new();
    let root = watched.tree.path().to_owned();
    let state = State::read(&root).unwrap().unwrap();
    assert_eq!((state.attribution, state.limits.as_slice()), (Attribution::Traced, &[][..]));
    let refused = Watch::start(options(&root)).err().unwrap();
    assert!(refused.to_string().contains("already"), "{refused}");
    assert!(Log::read(&root, None).unwrap().complete_since().is_some());
    watched.sh("echo x > etc/one");
    watched.end();
    assert_eq!(State::read(&root).unwrap(), None);
    assert_eq!(Log::read(&root, None).unwrap().complete_since(), None);
    watched.sh("echo x > etc/unseen");
    watched.start(options(&root));
    watched.sh("echo x > etc/two");
    let log = watched.log();
    let marks: Vec<_> = log.marks().iter().map(|mark| mark.mark).collect();
    assert_eq!(marks, [MarkKind::Started, MarkKind::Stopped, MarkKind::Started, MarkKind::Stopped]);
    let seq = |path: &str| log.of(&path.into())[0].seq;
    assert!(log.marks()[0].seq < seq("/etc/one") && seq("/etc/one") < log.marks()[1].seq);
    assert!(log.marks()[2].seq < seq("/etc/two") && seq("/etc/two") < log.marks()[3].seq);
    assert!(log.of(&"/etc/unseen".into()).is_empty());
    // What is asked for from later on holds only that.
    let later = Log::read(&root, Some(log.marks()[2].at)).unwrap();
    assert!(later.of(&"/etc/one".into()).is_empty() && !later.of(&"/etc/two".into()).is_empty());
}

#[test]
fn the_log_stays_within_its_bounds() {
    greenroom_testkit::need_root!();
    let tree = tree();
    let bounds = Bounds { size: 20_000, files: 3 };
    let options = Options { bounds, ..options(tree.path()) };
    let mut watched = Watched::with(tree, options);
    watched.sh("for n in $(seq 2000); do echo x > etc/with-a-name-of-which-a-few-hundred-fill-a-file-$n; done");
    let log = watched.log();
    let files: Vec<u64> = fs::read_dir(watched.path("var/lib/greenroom/baseline/watch"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("log."))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert!(files.len() == 3 && files.iter().all(|len| *len < 21_000), "{files:?}");
    // The newest are there, with their authors although the line that names the author was in a file before.
    assert!(commands(&log, "/etc/with-a-name-of-which-a-few-hundred-fill-a-file-2000")[0].starts_with("bash -c"));
    assert!(log.of(&"/etc/with-a-name-of-which-a-few-hundred-fill-a-file-1".into()).is_empty());
}

#[test]
fn without_tracing_who_lives_is_known_and_the_rest_is_said_to_be_not() {
    greenroom_testkit::need_root!();
    let tree = tree();
    let options = Options { trace: false, ..options(tree.path()) };
    let mut watched = Watched::with(tree, options);
    assert_eq!(State::read(watched.tree.path()).unwrap().unwrap().attribution, Attribution::Looked);
    // The shell does not become the last command where that is one of its own.
    watched.sh("echo x > etc/one; sleep 0.5; :");
    let log = watched.log();
    assert!(commands(&log, "/etc/one")[0].starts_with("bash -c"));
}
