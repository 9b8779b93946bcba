//! What is refused, by name, with nothing touched.

use std::fs::File;
use std::io;

use greenroom_core::{Changeset, ContentHash, TreePath};
use greenroom_host::apply::{
    Conflict, Contents, Direction, Error, Faults, HostState, Keep, NoFaults, Phase, Reason, RecordKind, Refusal, check,
};
use greenroom_host::scan::Tree;

use super::support::{Item, Lab, Shape, Spec, dir, file, linked, spec};

fn lab() -> Lab {
    let before = spec([
        ("/d", dir()),
        ("/d/edit", file("old")),
        ("/d/gone", dir()),
        ("/d/gone/x", file("x")),
        ("/a", linked("l", 1)),
        ("/b", linked("l", 1)),
        ("/into", dir()),
    ]);
    let after: Spec = spec([
        ("/d", dir()),
        ("/d/edit", file("new")),
        ("/a", linked("m", 1)),
        ("/b", linked("m", 1)),
        ("/into", dir()),
        ("/into/new", file("n")),
    ]);
    Lab::new(&before, &after)
}

fn conflicts(lab: &Lab) -> Vec<Conflict> {
    match lab.apply_with("c1", &NoFaults) {
        Err(Error::Conflicts(conflicts)) => conflicts,
        other => panic!("{other:?}"),
    }
}

type Edit = fn(&std::path::Path);

/// An edit made by hand between rehearsal and apply, and the conflict that names it.
fn edits() -> Vec<(&'static str, Edit, &'static str, Reason)> {
    vec![
        (
            "content, size and time kept",
            |live| {
                let path = live.join("d/edit");
                let time = std::fs::metadata(&path).unwrap().modified().unwrap();
                std::fs::write(&path, "odd").unwrap();
                File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            },
            "/d/edit",
            Reason::Differs,
        ),
        ("missing", |live| std::fs::remove_file(live.join("d/edit")).unwrap(), "/d/edit", Reason::Differs),
        (
            "something is there",
            |live| std::fs::write(live.join("into/new"), "other").unwrap(),
            "/into/new",
            Reason::Differs,
        ),
        (
            "a socket is there",
            |live| drop(std::os::unix::net::UnixListener::bind(live.join("into/new")).unwrap()),
            "/into/new",
            Reason::Differs,
        ),
        (
            "the parent became a link",
            |live| {
                std::fs::rename(live.join("into"), live.join("elsewhere")).unwrap();
                std::os::unix::fs::symlink("elsewhere", live.join("into")).unwrap();
            },
            "/into/new",
            Reason::Parent("/into".into()),
        ),
        (
            "the parent became a file",
            |live| {
                std::fs::remove_dir(live.join("into")).unwrap();
                std::fs::write(live.join("into"), "").unwrap();
            },
            "/into/new",
            Reason::Parent("/into".into()),
        ),
        (
            "a third name",
            |live| std::fs::hard_link(live.join("a"), live.join("third")).unwrap(),
            "/a",
            Reason::Links { known: 2, found: 3 },
        ),
        (
            "an unknown child",
            |live| std::fs::write(live.join("d/gone/mine"), "").unwrap(),
            "/d/gone/mine",
            Reason::Unknown,
        ),
    ]
}

#[test]
fn every_kind_of_conflict_is_named() {
    greenroom_testkit::need_root!();
    for (what, edit, path, reason) in edits() {
        let lab = lab();
        edit(&lab.live());
        let now = super::support::walk(&lab.live());
        let found = conflicts(&lab);
        let named = found.iter().find(|c| c.path == TreePath::from(path));
        assert_eq!(named.map(|c| &c.reason), Some(&reason), "{what}: {found:?}");
        assert!(
            found.iter().all(|c| c.path == TreePath::from(path) || c.path == TreePath::from("/b")),
            "{what}: {found:?}"
        );
        assert_eq!(super::support::walk(&lab.live()), now, "{what}");
    }
}

#[test]
fn all_conflicts_are_listed_and_volatile_children_go_along() {
    greenroom_testkit::need_root!();
    let lab = lab();
    std::fs::write(lab.live().join("d/edit"), "1").unwrap();
    std::fs::write(lab.live().join("d/gone/x"), "1").unwrap();
    std::fs::write(lab.live().join("d/gone/log"), "1").unwrap();
    let paths = |conflicts: Vec<Conflict>| conflicts.into_iter().map(|c| c.path.to_string()).collect::<Vec<_>>();
    assert_eq!(paths(conflicts(&lab)), ["/d/edit", "/d/gone/log", "/d/gone/x"]);
    let tree = Tree::open(&lab.live()).unwrap();
    let volatile = |path: &TreePath, is_dir: bool| !is_dir && path.name() == b"log";
    assert_eq!(paths(check(&tree, &lab.changeset, Some(&volatile)).unwrap()), ["/d/edit", "/d/gone/x"]);
}

#[test]
fn what_was_unknown_in_a_directory_goes_along_and_comes_back() {
    greenroom_testkit::need_root!();
    let lab = lab();
    std::fs::create_dir(lab.live().join("d/gone/cache")).unwrap();
    std::fs::write(lab.live().join("d/gone/cache/file"), "kept").unwrap();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    let staged = guard.stage("c1", &lab.changeset, &lab.source, &NoFaults).unwrap();
    let applied = staged.commit(serde_json::Value::Null, &NoFaults).unwrap();
    assert_eq!(applied.moved_aside, ["/d/gone/cache".into()]);
    lab.assert_after();
    // Not closed: an undo right after the change closes it itself.
    guard.undo("c1", "c2", serde_json::Value::Null, &NoFaults).unwrap();
    assert_eq!(std::fs::read(lab.live().join("d/gone/cache/file")).unwrap(), b"kept");
}

/// Contents that are not what was asked for.
struct Wrong;

impl Contents for Wrong {
    fn open(&self, _: &ContentHash) -> io::Result<File> {
        File::open("/etc/hostname").or_else(|_| File::open("/proc/self/stat"))
    }
}

/// No contents at all.
struct Missing;

impl Contents for Missing {
    fn open(&self, _: &ContentHash) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn damaged_and_missing_contents_are_refused() {
    greenroom_testkit::need_root!();
    let lab = lab();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    let corrupt = guard.stage("c1", &lab.changeset, &Wrong, &NoFaults).err().unwrap();
    assert!(matches!(corrupt, Error::Refused(Refusal::Corrupt { .. })), "{corrupt}");
    let missing = guard.stage("c1", &lab.changeset, &Missing, &NoFaults).err().unwrap();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
    assert!(host.changes().unwrap().is_empty());
    lab.assert_before();
}

#[test]
fn no_room_is_known_before_anything_is_written() {
    greenroom_testkit::need_root!();
    let lab = lab();
    let huge = ContentHash::of(b"huge");
    let mut entries = lab.changeset.entries().to_vec();
    for entry in &mut entries {
        if let Some(after) = &mut entry.after
            && let greenroom_core::Kind::File { size, content } = &mut after.kind
        {
            (*size, *content) = (1 << 60, huge);
        }
    }
    let changeset = Changeset::new(entries, Vec::new()).unwrap();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    let refused = guard.stage("c1", &changeset, &Missing, &NoFaults).err().unwrap();
    assert!(matches!(refused, Error::Refused(Refusal::NoRoom { needed, .. }) if needed > 1 << 60), "{refused}");
    lab.assert_before();
}

/// A disk that fills up while the change is staged.
struct Full;

impl Faults for Full {
    fn hit(&self, point: &str) -> io::Result<()> {
        if point == "stage.object" { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }
}

#[test]
fn a_disk_that_fills_up_leaves_nothing() {
    greenroom_testkit::need_root!();
    let lab = lab();
    assert!(lab.apply_with("c1", &Full).is_err());
    assert!(HostState::open(&lab.live()).unwrap().changes().unwrap().is_empty());
    lab.assert_before();
    lab.apply_with("c1", &NoFaults).unwrap();
    lab.assert_after();
}

#[test]
fn one_at_a_time_and_the_holder_is_named() {
    greenroom_testkit::need_root!();
    let lab = lab();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("apply r7").unwrap();
    let error = HostState::open(&lab.live()).unwrap().lock("other").err().unwrap().to_string();
    assert!(error.contains("apply r7") && error.contains(&std::process::id().to_string()), "{error}");
    drop(guard);
    host.lock("other").unwrap();
}

#[test]
fn an_undo_names_the_later_change() {
    greenroom_testkit::need_root!();
    let before = spec([("/f", file("1"))]);
    let lab = Lab::new(&before, &spec([("/f", file("2"))]));
    lab.apply_with("c1", &NoFaults).unwrap();
    let now = super::support::walk(&lab.live());
    let mut third = now.clone();
    let node = third.nodes.get_mut(&TreePath::from("/f")).unwrap();
    node.mode = 0o600;
    let later = super::support::difference(&now, &third);
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    let staged = guard.stage("c2", &later, &lab.source, &NoFaults).unwrap();
    staged.commit(serde_json::Value::Null, &NoFaults).unwrap();
    guard.close("c2").unwrap();
    match guard.undo("c1", "c3", serde_json::Value::Null, &NoFaults) {
        Err(Error::Conflicts(conflicts)) => {
            assert_eq!(conflicts.len(), 1);
            assert_eq!(conflicts[0].touched_by.as_deref(), Some("c2"));
            assert_eq!(conflicts[0].differences[0].what, "mode");
        }
        other => panic!("{other:?}"),
    }
    guard.undo("c2", "c3", serde_json::Value::Null, &NoFaults).unwrap();
    guard.close("c3").unwrap();
    guard.undo("c1", "c4", serde_json::Value::Null, &NoFaults).unwrap();
    lab.assert_before();
}

#[test]
fn an_undo_does_not_mind_a_file_that_was_written_anew_the_same() {
    greenroom_testkit::need_root!();
    let lab = lab();
    lab.apply_with("c1", &NoFaults).unwrap();
    let again = File::options().write(true).open(lab.live().join("into/new")).unwrap();
    again.set_modified(std::time::SystemTime::now()).unwrap();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    guard.undo("c1", "c2", serde_json::Value::Null, &NoFaults).unwrap();
    drop(guard);
    lab.assert_before();
}

#[test]
fn records_say_what_was_done_and_are_kept_as_long_as_needed() {
    greenroom_testkit::need_root!();
    let lab = lab();
    lab.apply_with("c1", &NoFaults).unwrap();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::Refused(Refusal::Record { .. })));
    assert!(refused(guard.forget("c1", Keep::Undo)));
    assert!(refused(guard.forget("nothing", Keep::Undo)));
    assert!(guard.stage("c1", &lab.changeset, &lab.source, &NoFaults).is_err(), "a name is used once");
    assert!(guard.stage("../x", &lab.changeset, &lab.source, &NoFaults).is_err());
    guard.undo("c1", "c2", serde_json::json!({"at": 7}), &NoFaults).unwrap();
    assert_eq!(host.open_journals().unwrap().len(), 1);
    assert!(guard.adopt("c3", &lab.changeset, serde_json::Value::Null).is_err(), "one is open");
    guard.close("c2").unwrap();
    guard.adopt("c3", &lab.changeset, serde_json::Value::Null).unwrap();
    assert!(refused(guard.undo("c1", "c4", serde_json::Value::Null, &NoFaults).map(|_| ())), "taken back already");
    assert!(refused(guard.undo("c3", "c4", serde_json::Value::Null, &NoFaults).map(|_| ())), "nothing was done");
    let records = host.changes().unwrap();
    let short: Vec<_> = records.iter().map(|r| (r.id.as_str(), r.kind, r.direction, r.phase)).collect();
    assert_eq!(
        short,
        [
            ("c1", RecordKind::Apply, Direction::Forward, Phase::Closed),
            ("c2", RecordKind::Undo, Direction::Back, Phase::Closed),
            ("c3", RecordKind::Adopt, Direction::Forward, Phase::Closed),
        ]
    );
    assert_eq!((records[1].of.as_deref(), &records[1].meta["at"]), (Some("c1"), &serde_json::json!(7)));
    guard.forget("c2", Keep::Undo).unwrap();
    guard.forget("c3", Keep::Undo).unwrap();
    assert!(host.changes().unwrap().is_empty());
}

#[test]
fn a_change_of_what_is_being_written_to_is_not_half_done() {
    greenroom_testkit::need_root!();
    /// Writes to the file in the moment before it is exchanged.
    struct Writer(std::path::PathBuf);
    impl Faults for Writer {
        fn hit(&self, point: &str) -> io::Result<()> {
            if point == "commit.decided" { std::fs::write(&self.0, "meanwhile") } else { Ok(()) }
        }
    }
    let lab = lab();
    let path = lab.live().join("d/edit");
    match lab.apply_with("c1", &Writer(path.clone())) {
        Err(Error::RolledBack(cause)) => assert!(cause.to_string().contains("/d/edit"), "{cause}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(path).unwrap(), b"meanwhile");
    assert!(lab.live().join("d/gone/x").exists() && !lab.live().join("into/new").exists());
}

#[test]
fn a_root_without_history_has_none_and_gets_none_by_asking() {
    greenroom_testkit::need_root!();
    let lab = Lab::new(&Spec::new(), &spec([("/p", Item::new(Shape::Fifo))]));
    assert!(HostState::find(&lab.live()).unwrap().is_none());
    assert!(!lab.live().join("var/lib/greenroom").exists());
    lab.apply_with("c1", &NoFaults).unwrap();
    assert_eq!(HostState::find(&lab.live()).unwrap().unwrap().changes().unwrap().len(), 1);
}
