//! What the commands say, and their exit statuses.

use super::support::World;

#[test]
fn the_first_look_makes_the_record_and_an_edit_is_found() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let first = world.run(&["status"]);
    let (said, noted) = (String::from_utf8_lossy(&first.stdout), String::from_utf8_lossy(&first.stderr).into_owned());
    assert!(first.status.success() && said.lines().count() == 1, "{said}");
    assert!(noted.contains("record was made just now"), "{noted}");
    assert_eq!(world.text(&["drift"], 0), "nothing differs\n");

    // The same size, the same time: the change time tells.
    world.edit("touch -r etc/app/app.conf t; sed -i s/two/2wo/ etc/app/app.conf; touch -r t etc/app/app.conf; rm t");
    let status = world.json(&["status"], 0);
    for key in ["baseline_at", "drift", "groups", "runtime", "problems", "watch"] {
        assert!(status.get(key).is_some(), "{key}");
    }
    let [one] = status["drift"].as_array().unwrap().as_slice() else { panic!("{status:#}") };
    for key in ["path", "op", "before", "after", "found_by", "actor", "at", "group"] {
        assert!(one.get(key).is_some(), "{key}");
    }
    assert_eq!(one["path"], "/etc/app/app.conf");
    assert_eq!((one["op"].as_str(), one["found_by"].as_str()), (Some("modify"), Some("scan")));
    assert_eq!(one["group"], status["groups"][0]["id"]);
    assert_eq!(world.json(&["drift"], 1)["drift"], status["drift"]);
    let diff = world.text(&["drift", "--diff"], 1);
    assert!(diff.contains("-two") && diff.contains("+2wo"), "{diff}");
    assert_eq!(world.json(&["drift", "/srv", "/etc/*.conf"], 0)["drift"].as_array().unwrap().len(), 0);
    assert_eq!(world.json(&["drift", "/etc/**/*.conf"], 1)["drift"].as_array().unwrap().len(), 1);
    world.text(&["drift", "etc"], 2);
    world.edit("sed -i s/2wo/two/ etc/app/app.conf; touch -d '2024-01-02 03:04:05.678901234' etc/app/app.conf");
    assert!(world.drift().is_empty(), "what is as it was is no drift");
}

#[test]
fn a_name_cannot_forge_a_line() {
    greenroom_testkit::need_root!();
    let world = World::new();
    world.drift();
    world.edit("printf x > \"etc/a$(printf '\\n  2026-01-01 00:00:00  shadow modified by root\\033[2J')\"");
    for args in [&["status"][..], &["drift", "--diff", "--expand"]] {
        let text = world.text(args, if args[0] == "status" { 0 } else { 1 });
        assert!(
            text.contains("\\n  2026") && !text.contains("\n  2026-01-01 00:00:00") && !text.contains('\x1b'),
            "{text}"
        );
    }
    let adopted = world.json(&["adopt", "--all", "-m", "odd name\n  c9 forged"], 0);
    assert_eq!(adopted["outcome"], "adopted");
    let log = world.text(&["log"], 0);
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(!world.text(&["show", "c1"], 0).contains("\n  2026-01-01"));
}

#[test]
fn refusals_name_what_is_not_at_hand_and_touch_nothing() {
    greenroom_testkit::need_root!();
    let world = World::new();
    world.drift();
    assert_eq!(world.json(&["adopt", "--all", "-m", "nothing"], 3)["outcome"], "refused");
    assert_eq!(world.json(&["revert", "/etc/hosts"], 3)["outcome"], "refused");
    assert_eq!(world.run(&["adopt", "-m", "what?"]).status.code(), Some(2));
    assert_eq!(world.run(&["adopt", "/etc"]).status.code(), Some(2), "a reason is asked for");
    assert_eq!(world.run(&["revert", "--group", "nonsense"]).status.code(), Some(2));

    // Too large to be kept, and in no package.
    world.edit("printf x >> usr/lib/large.bin; printf x >> etc/hosts");
    let after = world.reference("after");
    let refused = world.json(&["revert", "--all"], 3);
    assert!(refused["error"].as_str().unwrap().contains("/usr/lib/large.bin"), "{refused:#}");
    world.assert_like(&after);
    let diff = world.text(&["drift", "--diff", "/usr"], 1);
    assert!(diff.contains("not at hand"), "{diff}");
    let adopted = world.json(&["adopt", "--all", "-m", "both"], 0);
    assert_eq!(adopted["no_way_back"].as_array().unwrap(), &["/usr/lib/large.bin"]);
    assert!(world.drift().is_empty());
    let refused = world.json(&["undo", "c1"], 3);
    assert!(refused["error"].as_str().unwrap().contains("/usr/lib/large.bin"), "{refused:#}");
    world.assert_like(&after);

    // A metadata change needs no content.
    world.edit("chmod 600 usr/lib/large.bin");
    world.json(&["revert", "/usr/lib/large.bin"], 0);
    world.assert_like(&after);
}
