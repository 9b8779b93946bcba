//! A root that spans several file systems: ext4, XFS and btrfs on loop devices below it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{World, sh};

/// Where, how it is made, and how large the image has to be.
const FILE_SYSTEMS: &[(&str, &[&str], &str)] = &[
    ("srv", &["mkfs.xfs", "-q", "-f"], "320M"),
    ("opt", &["mkfs.btrfs", "-q", "-f"], "120M"),
    ("var/spool", &["mkfs.ext4", "-q", "-F"], "32M"),
];

fn mount_all(images: &Path, root: &Path) -> Vec<PathBuf> {
    FILE_SYSTEMS
        .iter()
        .map(|(at, make, size)| {
            let image = images.join(at.replace('/', "-"));
            sh(images, &format!("truncate -s {size} {0}; {1} {0}", image.display(), make.join(" ")));
            let at = root.join(at);
            std::fs::create_dir_all(&at).unwrap();
            let done = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at).status().unwrap();
            assert!(done.success());
            sh(&at, "mkdir d; echo a > d/f; echo b > g; ln g h");
            at
        })
        .collect()
}

#[test]
fn each_file_system_has_its_own_layer() {
    greenroom_testkit::need_root!();
    let images = tempfile::tempdir_in("/var/tmp").unwrap();
    let world = World::new(|_| {});
    let mounted = mount_all(images.path(), &world.host());
    let copy = world.copy();
    assert_eq!(copy.layers().len(), 1 + FILE_SYSTEMS.len());
    for (at, ..) in FILE_SYSTEMS {
        let at = copy.root().join(at);
        sh(&at, "mv d e; echo c >> e/f; echo x >> g; mkfifo p; chmod 711 .");
    }
    let captured = world.capture(&copy);
    // For each: the top's mode, d and d/f gone, e and e/f new, both names of g, the pipe.
    assert_eq!(captured.changeset.entries().len(), 8 * FILE_SYSTEMS.len(), "{:#?}", captured.changeset.entries());

    // The host itself is the target: its before-images stay on the file system that they belong to.
    let tops: Vec<&str> = FILE_SYSTEMS.iter().map(|(at, ..)| *at).collect();
    let before = world.twin("before");
    world.apply_here(&captured.changeset, || {
        for top in &tops {
            assert!(world.host().join(top).join("e/f").exists());
            crate::support::same(&copy_of(&copy, top), &world.host().join(top), top);
        }
    });
    for top in &tops {
        crate::support::same(&before.join(top), &world.host().join(top), top);
    }
    drop(copy);
    for at in mounted.iter().rev() {
        assert!(Command::new("umount").arg(at).status().unwrap().success());
    }
}

fn copy_of(copy: &greenroom_host::copy::Copy, top: &str) -> PathBuf {
    copy.root().join(top)
}
