//! Power cuts at random moments of apply and undo: the disk as it is at that instant is mounted again, and after recover
//! the host is wholly before or wholly after.
//!
//! The short form of `cargo xtask soak power-cut`. What a copy of the image holds, and what not, is checked first: the
//! whole test rests on it.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs;
use std::path::Path;

use greenroom_testkit::crash::{Disk, FileSystem, Random, Verb, cuts};
use greenroom_testkit::lab::Lab;
use greenroom_testkit::need_root;

const BINARY: &str = env!("CARGO_BIN_EXE_greenroom");

fn campaign(kind: FileSystem, verb: Verb, count: u32) {
    let lab = Lab::new().unwrap();
    match cuts(Path::new(BINARY), lab.dir(), kind, verb, count, Random::from_clock()) {
        Ok(tally) => println!("{tally}"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn what_was_not_synced_is_not_in_the_image() {
    need_root!();
    let lab = Lab::new().unwrap();
    for kind in FileSystem::ALL {
        let mut disk = Disk::make(kind, &lab.dir().join(format!("{}.img", kind.name()))).unwrap();
        disk.mount().unwrap();
        fs::write(disk.at.join("synced"), "synced").unwrap();
        fs::File::open(disk.at.join("synced")).unwrap().sync_all().unwrap();
        fs::File::open(&disk.at).unwrap().sync_all().unwrap();
        fs::write(disk.at.join("lost"), "not synced").unwrap();
        let mut copy = disk.snapshot(&lab.dir().join("copy.img")).unwrap();
        disk.discard().unwrap();
        copy.mount().unwrap();
        assert_eq!(fs::read_to_string(copy.at.join("synced")).unwrap(), "synced", "{}", kind.name());
        let lost = fs::read_to_string(copy.at.join("lost")).unwrap_or_default();
        assert_eq!(lost, "", "{}: the copy holds what was never synced: this is no power cut", kind.name());
        copy.discard().unwrap();
    }
}

#[test]
fn cuts_of_apply_on_ext4() {
    need_root!();
    campaign(FileSystem::Ext4, Verb::Apply, 8);
}

#[test]
fn cuts_of_undo_on_ext4() {
    need_root!();
    campaign(FileSystem::Ext4, Verb::Undo, 8);
}

#[test]
fn cuts_of_apply_on_xfs() {
    need_root!();
    campaign(FileSystem::Xfs, Verb::Apply, 3);
}

#[test]
fn cuts_of_undo_on_btrfs() {
    need_root!();
    campaign(FileSystem::Btrfs, Verb::Undo, 3);
}
