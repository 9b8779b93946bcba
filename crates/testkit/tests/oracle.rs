//! The oracle notices each kind of difference, in either direction, and nothing where there is none.

#![allow(clippy::unwrap_used, reason = "the lint spares tests, though not the functions they share")]

use greenroom_testkit::{need_root, oracle};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// What the tree to be changed is made of.
const BEFORE: &str = r"
    mkdir -p d/sub empty; echo content >f; echo content >d/g; ln f linked; ln -s f s; mkfifo p
    mknod c c 1 3; mknod b b 7 200; cp f same1; cp f same2; truncate -s 1M sparse; echo 1 >excluded
    touch -d @1600000000.123456789 same1 same2; touch -h -d @1600000000.5 s
    setfattr -n user.a -v 1 f; setfattr -n trusted.a -v 1 s; setcap cap_net_raw=ep d/g
    setfacl -m u:1000:r f; printf 'x' > $'new\nline'; printf 'x' > $'bad\xff'
    touch -d @1600000000.987654321 d d/sub empty .
";

/// (what is done to one of two equal trees, what a report of it contains)
const CHANGES: &[(&str, &str)] = &[
    ("printf CONTENT >d/g; touch -r same1 d/g", "d/g"),
    ("printf C | dd of=same1 conv=notrunc status=none; touch -d @1600000000.123456789 same1", "same1"),
    ("echo more >>same1", "same1"),
    ("chmod 600 d/g", "mode"),
    ("chmod u+s same1", "mode"),
    ("chmod +t d; touch -d @1600000000.987654321 d", "mode"),
    ("chown 7 p", "owner"),
    ("chgrp 7 d", "owner"),
    ("chown -h 7 s", "owner"),
    ("touch -d @1600000000.123456788 same1", "mtime"),
    ("touch -d @1600000000.987654320 empty", "mtime"),
    ("touch -h -d @1600000000.4 s", "mtime"),
    ("touch -d @1600000000.4 .", "mtime"),
    ("ln -sfn d s; touch -h -d @1600000000.5 s; touch -d @1600000000.987654321 .", "target"),
    ("touch new", "new"),
    ("mkdir d/new", "d/new"),
    ("rm d/g", "d/g"),
    ("rmdir empty", "empty"),
    ("rm -r d", "d/sub"),
    ("rm p; touch p", "kind"),
    ("rmdir empty; ln -s d empty", "kind"),
    ("rm -r d; touch d", "kind"),
    ("cp --preserve=all linked x; mv x linked; touch -d @1600000000.987654321 .", "names of this file"),
    ("ln -f same1 same2; touch -d @1600000000.987654321 .", "names of this file"),
    ("rm c; mknod c c 1 5; touch -r ../a/c c; touch -d @1600000000.987654321 .", "device"),
    ("rm b; mknod b c 7 200; touch -r ../a/b b; touch -d @1600000000.987654321 .", "kind"),
    ("setfattr -n user.a -v 2 f", "xattr user.a"),
    ("setfattr -x user.a f", "xattr user.a"),
    ("setfattr -n user.new d", "xattr user.new"),
    ("setfattr -h -n trusted.a -v 2 s", "xattr trusted.a"),
    ("setfattr -n trusted.p -v 2 p", "xattr trusted.p"),
    ("setcap cap_net_raw,cap_chown=ep d/g", "xattr security.capability"),
    ("setcap -r d/g", "xattr security.capability"),
    ("setfacl -m u:1001:r f", "xattr system.posix_acl_access"),
    ("setfacl -d -m u:1001:r d", "xattr system.posix_acl_default"),
    ("chattr +i same1", "attributes"),
    ("chattr +a d", "attributes"),
    ("printf y > $'new\\nline'", "new"),
    ("printf y > $'bad\\xff'", "bad"),
    ("mv $'new\\nline' 'new line'; touch -d @1600000000.987654321 .", "new line"),
];

/// What makes no difference that any program could undo.
const NO_CHANGES: &[&str] = &[
    "true",
    "cat f >/dev/null; ls -R >/dev/null; touch -a same1",
    // The same bytes without the hole.
    "touch -r sparse ../t; dd if=/dev/zero of=sparse bs=64K count=16 conv=notrunc status=none; touch -r ../t sparse",
    // Another inode.
    "cp --preserve=all same1 x; mv x same1; touch -d @1600000000.987654321 .",
    "echo 2 >excluded",
];

struct Pair {
    dir: TempDir,
}

impl Pair {
    fn new() -> Self {
        let pair = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(pair.path("a")).unwrap();
        pair.run("a", BEFORE);
        pair.run("", "cp -a a b");
        pair
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, name: &str, script: &str) {
        let status = Command::new("bash").args(["-euc", script]).current_dir(self.path(name)).status().unwrap();
        assert!(status.success(), "{script}");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Or the directory cannot be removed.
        let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(self.dir.path()).status();
    }
}

#[test]
fn every_kind_of_difference_is_noticed_in_both_directions() {
    need_root!();
    for (script, word) in CHANGES {
        let pair = Pair::new();
        pair.run("b", script);
        let (a, b) = (pair.path("a"), pair.path("b"));
        for found in [oracle::differences(&a, &b, &[]), oracle::differences(&b, &a, &[])] {
            assert!(found.iter().any(|line| line.contains(word)), "{script}: {found:#?}");
            assert!(!found.iter().any(|line| line.contains("failed")), "{script}: {found:#?}");
        }
    }
}

#[test]
fn rsync_alone_notices_content_that_keeps_size_and_time() {
    need_root!();
    let pair = Pair::new();
    pair.run("b", CHANGES[1].0);
    let found = oracle::differences(&pair.path("a"), &pair.path("b"), &[]);
    assert!(found.iter().all(|line| line.contains("rsync --checksum")), "{found:#?}");
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn what_is_no_difference_is_not_reported() {
    need_root!();
    for script in NO_CHANGES {
        let pair = Pair::new();
        pair.run("b", script);
        oracle::assert_same(&pair.path("a"), &pair.path("b"), &["/excluded"]);
    }
}

#[test]
fn excluded_paths_are_left_out_and_their_neighbours_are_not() {
    need_root!();
    let pair = Pair::new();
    pair.run("b", "echo x >d/g; echo x >'d/*'; touch -d @1600000000.987654321 d");
    let (a, b) = (pair.path("a"), pair.path("b"));
    oracle::assert_same(&a, &b, &["d"]);
    oracle::assert_same(&a, &b, &["d/g", "/d/*"]);
    let found = oracle::differences(&a, &b, &["d/*"]);
    assert!(found.iter().any(|line| line.contains("d/g")), "{found:#?}");
    assert!(found.iter().all(|line| !line.contains("d/*")), "{found:#?}");
}

#[test]
fn a_directory_time_can_be_left_out() {
    need_root!();
    let pair = Pair::new();
    pair.run("b", "touch d .");
    let comparison = || oracle::Comparison::new(&pair.path("a"), &pair.path("b"));
    assert_eq!(comparison().any_time(&["", "d"]).differences(), Vec::<String>::new());
    assert_eq!(comparison().any_time(&["d"]).differences().len(), 1);
}

#[test]
fn a_comparison_that_cannot_be_made_is_a_difference() {
    let nowhere = Path::new("/nonexistent/tree");
    let found = oracle::differences(nowhere, nowhere, &[]);
    assert!(found.iter().any(|line| line.contains("the comparison failed")), "{found:#?}");
}
