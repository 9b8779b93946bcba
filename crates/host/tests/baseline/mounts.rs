//! Other file systems in the tree, and their device numbers.

use std::path::Path;

use crate::support::{World, sh, tick, words};

#[test]
fn what_is_mounted_from_elsewhere_is_not_looked_at() {
    greenroom_testkit::need_root!();
    greenroom_host::sys::ns::own_mounts().unwrap();
    let world = World::new(|srv| {
        sh(srv, "mkdir net bind own; echo below > net/f; echo o > own/f; mount -t tmpfs none net; touch net/theirs")
    });
    let recorded = world.record();
    assert_eq!(recorded.counts.mounts, 1);
    assert!(recorded.baseline.node(&"/srv/net".into()).unwrap().is_none());
    assert!(recorded.baseline.node(&"/srv/net/theirs".into()).unwrap().is_none());
    sh(&world.srv(), "touch net/more");
    assert_eq!(words(&world.found(&world.later())), [""; 0]);
    // Its own place is no drift when it is gone; what nobody has seen below it is.
    sh(&world.srv(), "umount net");
    assert_eq!(words(&world.found(&world.later())), ["Create /srv/net/f"]);
    // And one that comes later hides what is on record, without a word of it being gone.
    sh(&world.srv(), "rm net/f; mount -t tmpfs none own");
    let scanned = world.scan(&world.later());
    assert_eq!((scanned.differences.len(), scanned.counts.mounts), (0, 1));
    sh(&world.srv(), "umount own");
    // A directory of the tree itself, mounted once more, is part of it as in a copy.
    world.record();
    sh(&world.srv(), "mount --bind own bind");
    assert_eq!(words(&world.found(&world.later())), ["Create /srv/bind/f"]);
    sh(&world.srv(), "umount bind");
}

#[test]
fn another_device_number_is_no_reason_to_read_anything() {
    greenroom_testkit::need_root!();
    greenroom_host::sys::ns::own_mounts().unwrap();
    let images = tempfile::tempdir_in("/var/tmp").unwrap();
    for fs in ["ext4", "xfs"] {
        sh(images.path(), &format!("truncate -s 320M {fs} spare; mkfs.{fs} -q {fs}"));
        let world = World::new(|_| {});
        let mount = |image: &str| {
            let at = world.srv();
            sh(images.path(), &format!("mount -o loop {image} {}", at.display()));
        };
        mount(fs);
        sh(&world.srv(), "mkdir d; for i in $(seq 30); do echo $i > d/$i; touch -d @$i d/$i; done; ln d/1 d/l");
        let device = || std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(world.srv().join("d")).unwrap());
        let before = device();
        world.record();
        sh(&world.srv(), "cd /; umount \"$OLDPWD\"");
        // Loop devices are taken until it gets another one: others on this machine take and give back theirs meanwhile.
        let mut held = Vec::new();
        mount(fs);
        while device() == before {
            sh(&world.srv(), "cd /; umount \"$OLDPWD\"");
            held.push(hold_a_loop_device(images.path()));
            assert!(held.len() < 20, "the device keeps its number");
            mount(fs);
        }
        let scanned = world.scan(&world.later());
        assert_eq!(scanned.differences, []);
        assert!(scanned.counts.read <= 2, "{fs}: {} paths were read", scanned.counts.read);
        tick();
        sh(&world.srv(), "echo x > d/7; touch -d @7 d/7");
        assert_eq!(words(&world.found(&world.later())), ["Modify /srv/d/7"]);
        sh(&world.srv(), "cd /; umount \"$OLDPWD\"");
        held.iter().for_each(|device| sh(images.path(), &format!("losetup -d {device}")));
    }
}

#[test]
fn an_image_is_read_once_and_another_in_its_place_is_noticed() {
    greenroom_testkit::need_root!();
    greenroom_host::sys::ns::own_mounts().unwrap();
    let images = tempfile::tempdir_in("/var/tmp").unwrap();
    // As reproducible builds are: the same names, sizes, times, inode numbers; only the content differs.
    let build = "mkdir $1; for i in $(seq 20); do echo $1 $i > $1/$i; done; \
        mksquashfs $1 $1.img -quiet -no-progress -all-time 77 -mkfs-time 77 > /dev/null";
    for version in ["one", "two"] {
        sh(images.path(), &build.replace("$1", version));
    }
    let world = World::new(|_| {});
    let at = world.srv();
    let mount = |version: &str| sh(images.path(), &format!("mount -o loop,ro {version}.img {}", at.display()));
    mount("one");
    world.record();
    assert!(world.scan(&world.later()).counts.read <= 2, "it is the same image");
    sh(images.path(), &format!("umount {}", at.display()));
    mount("two");
    assert_eq!(world.found(&world.later()).len(), 20);
    sh(images.path(), &format!("umount {}", at.display()));
    mount("one");
    assert_eq!(words(&world.found(&world.later())), [""; 0]);
    sh(images.path(), &format!("umount {}", at.display()));
}

fn hold_a_loop_device(dir: &Path) -> String {
    let out =
        std::process::Command::new("losetup").args(["--find", "--show", "spare"]).current_dir(dir).output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}
