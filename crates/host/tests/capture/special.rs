//! What is known to bite: see the module pages of `capture`.

use greenroom_core::Op;

use crate::support::{World, sh};

/// Runs both scripts, captures, goes there and back, and gives the entries as `op path`.
fn story(before: &str, change: &str) -> Vec<String> {
    let world = World::new(|host| sh(host, before));
    let copy = world.copy();
    sh(&copy.root(), change);
    let captured = world.capture(&copy);
    world.there_and_back(&copy, &captured.changeset, change);
    captured.changeset.entries().iter().map(|e| format!("{:?} {}", e.op(), e.path)).collect()
}

#[test]
fn stories() {
    greenroom_testkit::need_root!();
    let table: &[(&str, &str, &[&str])] = &[
        // Opened, written with the same, touched back: no change.
        ("echo a > f", "touch -r f /tmp/t$$; echo a > f; touch -r /tmp/t$$ f; rm /tmp/t$$", &[]),
        ("echo a > f", "chmod 600 f", &["Metadata /f"]),
        ("echo a > f", "chown 12:34 f", &["Metadata /f"]),
        ("echo a > f", "touch -d @77 f", &["Metadata /f"]),
        ("mkdir d; touch d/f", "chmod 700 d", &["Metadata /d"]),
        // The same size and time, other content.
        ("echo a > f; touch -d @5 f", "echo b > f; touch -d @5 f", &["Modify /f"]),
        // Removed and made again: what was in it must not come back.
        (
            "mkdir d; touch d/old d/same",
            "rm -r d; mkdir d; touch -d @9 d/new",
            &["Delete /d/old", "Create /d/new", "Delete /d/same"],
        ),
        (
            "mkdir -p d/e; echo 1 > d/e/f; echo 2 > d/g",
            "mv d new",
            &[
                "Delete /d",
                "Delete /d/e",
                "Delete /d/e/f",
                "Delete /d/g",
                "Create /new",
                "Create /new/e",
                "Create /new/e/f",
                "Create /new/g",
            ],
        ),
        // A renamed directory in which something was changed afterwards, moved into another that was there.
        (
            "mkdir -p d/e x; echo 1 > d/e/f",
            "mv d x/d; echo 2 > x/d/e/f; rmdir x/d/e 2>/dev/null || true",
            &["Delete /d", "Delete /d/e", "Delete /d/e/f", "Create /x/d", "Create /x/d/e", "Create /x/d/e/f"],
        ),
        (
            "mkdir -p d/sub; touch d/sub/f",
            "rm -r d; ln -s /elsewhere d",
            &["Replace /d", "Delete /d/sub", "Delete /d/sub/f"],
        ),
        ("echo x > f; setfattr -n user.a -v 1 f", "setfattr -n user.a -v 2 f; setfacl -m u:5:r f", &["Metadata /f"]),
        ("cp /bin/true f", "setcap cap_net_raw+ep f", &["Metadata /f"]),
        ("cp /bin/true f", "chmod u+s f", &["Metadata /f"]),
        ("echo x > f", "chattr +i f", &["Metadata /f"]),
        (
            "truncate -s 3M f",
            "truncate -s 5M f; printf x | dd of=f bs=1 seek=4000000 conv=notrunc 2>/dev/null",
            &["Modify /f"],
        ),
        ("mknod p p", "mknod q p; rm p; mknod c c 1 3", &["Create /c", "Delete /p", "Create /q"]),
        ("echo a > 'a b'", "mv 'a b' \"$(printf 'n\\nl \\377')\"", &["Delete /a b", "Create /n\\nl \\xff"]),
    ];
    for (before, change, wanted) in table {
        let mut found = story(before, change);
        let mut wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{before} | {change}");
    }
}

#[test]
fn an_edit_through_one_of_two_names_changes_both() {
    greenroom_testkit::need_root!();
    let found = story("mkdir d; echo a > f; ln f d/g", "echo b >> f");
    assert_eq!(found, ["Modify /d/g", "Modify /f"]);
    assert_eq!(story("echo a > f; ln f g", "rm g"), ["Metadata /f", "Delete /g"]);
    assert_eq!(story("echo a > f", "ln f g"), ["Metadata /f", "Create /g"]);
    assert_eq!(story("echo a > f; ln f g", "cp -p f t; mv t f"), ["Metadata /f", "Metadata /g"]);
}

#[test]
fn a_large_directory_is_renamed_and_back() {
    greenroom_testkit::need_root!();
    let found = story("mkdir d; for i in $(seq 300); do echo $i > d/$i; done", "mv d e; echo x > e/7");
    assert_eq!(found.len(), 602);
}

#[test]
fn deep_paths() {
    greenroom_testkit::need_root!();
    let name = "n".repeat(200);
    // A shell gives up above 4,096 bytes; this does not.
    let perl = |dir: &std::path::Path, script: &str| {
        let done = std::process::Command::new("perl").args(["-e", script]).current_dir(dir).status().unwrap();
        assert!(done.success());
    };
    let dig = format!("for (1..24) {{ mkdir '{name}'; chdir '{name}' or die $!; }}");
    let world = World::new(|host| perl(host, &format!("{dig} open(F, '>', 'old') or die; print F 'a'; close F;")));
    let copy = world.copy();
    perl(&copy.root(), &format!("{dig} unlink 'old' or die; open(F, '>', 'new') or die; print F 'b'; close F;"));
    let captured = world.capture(&copy);
    assert_eq!(captured.changeset.entries().len(), 2);
    assert!(captured.changeset.entries().iter().all(|e| e.path.as_bytes().len() > 4096));
    assert_eq!(captured.changeset.entries()[0].op(), Op::Create);
}

#[test]
fn sockets_are_counted_and_live_ones_are_taken_out() {
    greenroom_testkit::need_root!();
    let world = World::new(|host| sh(host, "mkdir -p srv/app"));
    let listener = std::os::unix::net::UnixListener::bind(world.host().join("srv/app/live.sock")).unwrap();
    let copy = world.copy();
    assert!(!copy.root().join("srv/app/live.sock").exists());
    assert!(world.host().join("srv/app/live.sock").exists());
    drop(std::os::unix::net::UnixListener::bind(copy.root().join("srv/app/made.sock")).unwrap());
    let captured = world.capture(&copy);
    assert!(captured.changeset.entries().is_empty());
    assert_eq!(captured.sockets.count, 2);
    drop(listener);
}
