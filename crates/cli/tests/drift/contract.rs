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

/// A package database with one package, whose `.deb` with all three files is in the cache if `cached`.
fn packaged(world: &World, cached: bool) {
    world.edit(
        r#"
mkdir -p var/lib/dpkg/info var/cache/apt/archives deb/DEBIAN deb/usr/bin deb/etc usr/bin
printf 'as it was brought\n' | tee deb/usr/bin/ours usr/bin/ours >/dev/null
printf 'gone\n' > deb/usr/bin/missing; printf 'a = 1\n' | tee deb/etc/ours.conf etc/ours.conf >/dev/null
ln deb/usr/bin/ours deb/usr/bin/also; printf 'as it was brought\n' > usr/bin/also
printf 'Package: ours\nVersion: 1:2-3\nArchitecture: all\nMaintainer: us <us@example.org>\nDescription: ours\n' > deb/DEBIAN/control
(cd deb && find usr etc -type f ! -path etc/ours.conf -exec md5sum {} +) > var/lib/dpkg/info/ours.md5sums
printf '/.\n/usr\n/usr/bin\n/usr/bin/ours\n/usr/bin/also\n/usr/bin/missing\n/etc\n/etc/ours.conf\n' > var/lib/dpkg/info/ours.list
sum=$(md5sum < deb/etc/ours.conf | cut -d' ' -f1)
printf 'Package: ours\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2-3\nConffiles:\n /etc/ours.conf %s\n\n' "$sum" > var/lib/dpkg/status
"#,
    );
    if cached {
        world.edit("dpkg-deb --root-owner-group --build deb 'var/cache/apt/archives/ours_1%3a2-3_all.deb' > deb.log; rm deb.log");
    }
    world.edit("rm -r deb; printf 'patched\\n' > usr/bin/also; printf 'a = 2\\n' > etc/ours.conf");
}

#[test]
fn what_differs_from_its_package_before_the_record_is_found_at_once() {
    greenroom_testkit::need_root!();
    let world = World::new();
    packaged(&world, true);
    let status = world.json(&["status"], 0);
    let found: Vec<[&str; 4]> = status["drift"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["path", "op", "found_by", "group"].map(|key| one[key].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ["/etc/ours.conf", "modify", "package", "conffiles:ours"],
            ["/usr/bin/also", "modify", "package", "modified:ours"],
            ["/usr/bin/missing", "delete", "package", "modified:ours"],
        ]
    );
    let diff = world.text(&["drift", "--diff", "/usr/bin/also"], 1);
    assert!(diff.contains("-as it was brought") && diff.contains("+patched"), "{diff}");
    world.json(&["adopt", "/etc/ours.conf", "-m", "ours"], 0);
    assert_eq!(world.drift(), ["/usr/bin/also", "/usr/bin/missing"]);
    world.json(&["undo", "c1"], 0);
    let read = |path: &str| std::fs::read_to_string(world.root().join(path)).unwrap();
    assert_eq!(read("etc/ours.conf"), "a = 1\n", "the content of before came from the package cache");
    world.json(&["revert", "/usr/bin/also"], 0);
    assert_eq!(read("usr/bin/also"), "as it was brought\n");
    assert_eq!(world.drift(), ["/usr/bin/missing"]);
    let adopted = world.json(&["adopt", "--all", "-m", "it may be missing"], 0);
    assert_eq!(adopted["no_way_back"][0], "/usr/bin/missing");
    assert!(world.drift().is_empty());
    assert_eq!(world.json(&["undo", "c4"], 3)["outcome"], "refused");
}

#[test]
fn without_the_package_there_is_no_text_of_before_and_no_way_back() {
    greenroom_testkit::need_root!();
    let world = World::new();
    packaged(&world, false);
    world.drift();
    assert!(world.text(&["drift", "--diff"], 1).contains("not at hand"));
    let refused = world.json(&["revert", "--group", "modified:ours"], 3);
    assert!(refused["hints"][0].as_str().unwrap().contains("--reinstall ours"), "{refused:#}");
    let adopted = world.json(&["adopt", "/usr/bin/also", "-m", "patched by us"], 0);
    assert_eq!(adopted["no_way_back"], serde_json::json!(["/usr/bin/also"]));
}

#[test]
fn a_link_in_the_tree_leads_nowhere_else() {
    greenroom_testkit::need_root!();
    let world = World::new();
    // An absolute link, as in the tree of another host: on this one it is another directory.
    let outside = world.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let inside = world.root().join(outside.strip_prefix("/").unwrap());
    std::fs::create_dir_all(&inside).unwrap();
    std::os::unix::fs::symlink(&outside, world.root().join("var/lib/greenroom")).unwrap();
    world.drift();
    world.edit("echo x >> etc/hosts");
    world.json(&["adopt", "--all", "-m", "x"], 0);
    world.edit("echo y >> etc/hosts");
    world.json(&["revert", "--all"], 0);
    assert!(world.drift().is_empty());
    assert!(inside.join("baseline/moved.json").exists());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_first_record_that_was_interrupted_is_made_anew_and_a_damaged_one_is_said() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let baseline = world.root().join("var/lib/greenroom/baseline");
    world.drift();
    let moved = std::fs::read_to_string(baseline.join("moved.json")).unwrap();
    std::fs::write(baseline.join("moved.json"), moved.replace("\"whole\":true", "\"whole\":false")).unwrap();
    world.edit("echo x >> etc/hosts");
    assert!(!world.json(&["status"], 0)["recorded"].is_null());
    assert!(world.drift().is_empty());
    std::fs::write(baseline.join("moved.json"), "{").unwrap();
    assert_eq!(world.json(&["status"], 4)["outcome"], "error");
    std::fs::remove_file(baseline.join("moved.json")).unwrap();
    assert_eq!(world.json(&["status"], 4)["outcome"], "error", "drift is never forgotten by the way");
    std::fs::write(baseline.join("moved.json"), moved).unwrap();
    assert!(world.drift().is_empty());
    let mut manifest = std::fs::read(baseline.join("manifest")).unwrap();
    let middle = manifest.len() / 2;
    manifest[middle] ^= 1;
    std::fs::write(baseline.join("manifest"), manifest).unwrap();
    assert_eq!(world.json(&["status"], 4)["outcome"], "error");
}

#[test]
fn a_look_does_not_wait_for_a_change_and_a_change_for_nobody() {
    greenroom_testkit::need_root!();
    let world = World::new();
    world.drift();
    world.edit("echo x >> etc/hosts");
    let lock = world.root().join("var/lib/greenroom/lock");
    let mut holder = std::process::Command::new("flock");
    let mut holder = holder.args(["--no-fork"]).arg(&lock).args(["sh", "-c", "echo held; exec sleep 60"]);
    holder = holder.stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
    std::fs::write(&lock, format!("process {}, apply r1\n", holder.id())).unwrap();
    let status = world.json(&["status"], 0);
    assert_eq!(status["drift"][0]["path"], "/etc/hosts");
    assert_eq!(world.json(&["adopt", "--all", "-m", "x"], 3)["outcome"], "refused");
    assert_eq!(world.json(&["revert", "--all"], 3)["outcome"], "refused");
    holder.kill().unwrap();
    holder.wait().unwrap();
}
