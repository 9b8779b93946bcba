//! Adopt, undo, redo, revert: each leads to the tree that it names, and what Greenroom does is never drift.

use super::support::{EDITS, World};

#[test]
fn adopt_undo_redo_and_revert_lead_where_they_say() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let before = world.reference("before");
    assert!(world.drift().is_empty());
    world.edit(EDITS);
    let after = world.reference("after");
    let found = world.drift();
    assert!(found.len() > 15, "{found:?}");

    let adopted = world.json(&["adopt", "--all", "-m", "as it is"], 0);
    assert_eq!((adopted["change"].as_str(), adopted["outcome"].as_str()), (Some("c1"), Some("adopted")));
    assert_eq!(adopted["entries"], found.len());
    world.assert_like(&after);
    assert!(world.drift().is_empty());
    assert_eq!(world.json(&["undo", "c1"], 0)["outcome"], "undone");
    world.assert_like(&before);
    assert!(world.drift().is_empty(), "a change by Greenroom is no drift");
    assert_eq!(world.json(&["undo", "c2"], 0)["outcome"], "undone");
    world.assert_like(&after);
    assert!(world.drift().is_empty());
    world.json(&["undo", "c3"], 0);
    world.assert_like(&before);

    world.edit(EDITS);
    let after = world.reference("later");
    let reverted = world.json(&["revert", "--all", "--why", "not wanted"], 0);
    assert_eq!((reverted["change"].as_str(), reverted["outcome"].as_str()), (Some("c5"), Some("reverted")));
    world.assert_like(&before);
    assert!(world.drift().is_empty());
    world.json(&["undo", "c5"], 0);
    world.assert_like(&after);
    assert!(world.drift().is_empty(), "undoing a revert takes its state on record");
    world.json(&["undo", "c6"], 0);
    world.assert_like(&before);

    let log = world.json(&["log"], 0);
    let kinds: Vec<&str> = log["entries"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["adopt", "undo", "undo", "undo", "revert", "undo", "undo"]);
    assert_eq!(log["entries"][0]["why"], "as it is");
    assert_eq!(log["entries"][0]["detail"]["edits"][0]["paths"], found.len());
    let shown = world.json(&["show", "c1"], 0);
    assert_eq!(shown["entries"].as_array().unwrap().len(), found.len());
    let shown = world.text(&["show", "c5", "--diff", "/etc/app/*"], 0);
    assert!(shown.contains("-TWO") && shown.contains("+two"), "{shown}");
}

#[test]
fn a_part_is_adopted_or_reverted_with_what_has_to_come_along() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let before = world.reference("before");
    world.drift();
    world.edit(EDITS);
    world.json(&["adopt", "/opt/new/tree/file", "-m", "just this"], 0);
    let left = world.drift();
    let in_opt: Vec<&String> = left.iter().filter(|path| path.starts_with("/opt")).collect();
    assert_eq!(in_opt, ["/opt/new/null"]);
    // A file in a directory that is gone brings the directory back; one name of a file brings the other.
    world.json(&["revert", "/etc/gone.d/deep/file", "/etc/linked-b", "/srv/data/x", "/etc/link"], 0);
    for path in ["etc/gone.d/deep/file", "etc/linked-a", "srv/data/x"] {
        let read = |root: &std::path::Path| std::fs::read(root.join(path)).unwrap();
        assert_eq!(read(&world.root()), read(&before), "{path}");
    }
    let gone: Vec<String> = world.drift();
    assert!(gone.iter().all(|p| !p.starts_with("/etc/gone.d/deep") && !p.starts_with("/etc/link")), "{gone:?}");
    let group = world.json(&["status"], 0)["drift"][0]["group"].as_str().unwrap().to_owned();
    world.json(&["adopt", "--group", &group, "-m", "one group"], 0);
    world.json(&["revert", "--all"], 0);
    assert!(world.drift().is_empty());
}

#[test]
fn an_apply_moves_the_record_and_undo_names_an_edit_in_between() {
    greenroom_testkit::need_root!();
    let world = World::new();
    world.drift();
    world.edit("sed -i s/two/2/ etc/app/app.conf");
    world.json(&["adopt", "/etc/app", "-m", "c1"], 0);
    world.edit("sed -i s/three/3/ etc/app/app.conf");
    let refused = world.json(&["undo", "c1"], 3);
    assert_eq!(refused["conflicts"][0]["path"], "/etc/app/app.conf");
    world.json(&["adopt", "/etc/app", "-m", "c2"], 0);
    let refused = world.json(&["undo", "c1"], 3);
    assert!(refused["touched_by"][0].as_str().unwrap().starts_with("c2"), "{refused:#}");
    world.json(&["undo", "c2"], 0);
    world.json(&["undo", "c1"], 0);
    assert_eq!(std::fs::read_to_string(world.root().join("etc/app/app.conf")).unwrap(), "one\ntwo\nthree\n");
    assert!(world.drift().is_empty());
}
