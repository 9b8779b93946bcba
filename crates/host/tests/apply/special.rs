//! Sparse files, odd names, paths that no system call takes whole, several file systems, running binaries.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use greenroom_core::manifest::flags;
use greenroom_core::{Mtime, TreePath};
use greenroom_host::apply::{Direction, HostState, NoFaults, Recovered};
use greenroom_host::scan::Tree;
use greenroom_host::sys::fs;

use super::support::{Item, Lab, Spec, build, dir, file, spec, walk};

#[test]
fn sparse_and_large_files_stay_what_they_are() {
    greenroom_testkit::need_root!();
    let lab = Lab::new(&Spec::new(), &Spec::new());
    let path = lab.path("after").join("sparse");
    let mut sparse = std::fs::File::create(&path).unwrap();
    sparse.write_all(b"head").unwrap();
    sparse.seek(SeekFrom::Start(300 << 20)).unwrap();
    sparse.write_all(b"tail").unwrap();
    sparse.set_len(400 << 20).unwrap();
    std::fs::write(lab.path("after").join("large"), vec![7u8; 5 << 20]).unwrap();
    let lab = again(lab);
    lab.apply_with("c1", &NoFaults).unwrap();
    lab.assert_after();
    let live = std::fs::metadata(lab.live().join("sparse")).unwrap();
    assert!(live.blocks() * 512 < 1 << 20, "{} blocks", live.blocks());
    lab.undo_with("c1", "c2", &NoFaults).unwrap();
    lab.assert_before();
}

/// Reads the trees again, after a test wrote to them by hand.
fn again(mut lab: Lab) -> Lab {
    let empty = tempfile::tempdir_in("/var/tmp").unwrap();
    Lab::of(std::mem::replace(&mut lab.scratch, empty))
}

#[test]
fn every_name_and_every_depth() {
    greenroom_testkit::need_root!();
    let odd: Vec<Vec<u8>> = vec![
        b"/new\nline".to_vec(),
        b"/ space ".to_vec(),
        b"/\xff\xfe\x01".to_vec(),
        [b"/".to_vec(), vec![b'n'; 255]].concat(),
        b"/-rf".to_vec(),
        "/ünï".as_bytes().to_vec(),
    ];
    let mut after = Spec::new();
    let mut before = Spec::new();
    for (i, name) in odd.iter().enumerate() {
        after.insert(name.clone(), file("new"));
        if i % 2 == 0 {
            before.insert(name.clone(), file("old"));
        }
    }
    // 30 times 200 bytes: what lies at the bottom has a path of 6,000 bytes.
    let mut deep = Vec::new();
    for _ in 0..30 {
        deep.extend_from_slice(b"/");
        deep.extend(std::iter::repeat_n(b'd', 199));
        before.insert(deep.clone(), dir());
        after.insert(deep.clone(), dir());
    }
    let at = |name: &str| [&deep[..], name.as_bytes()].concat();
    before.insert(at("/edited"), file("old"));
    after.insert(at("/edited"), file("new"));
    before.insert(at("/gone"), dir());
    before.insert(at("/gone/in"), file("x"));
    after.insert(at("/created"), dir());
    after.insert(at("/created/in"), file("x"));
    after.insert(at("/locked"), Item { flags: flags::IMMUTABLE, ..file("x") });
    // rsync takes no such path, so this one is judged by the walk.
    let lab = Lab::new(&before, &after);
    let nodes = |lab: &Lab| walk(&lab.live()).nodes;
    lab.apply_with("c1", &NoFaults).unwrap();
    assert_eq!(nodes(&lab), lab.after.nodes);
    lab.undo_with("c1", "c2", &NoFaults).unwrap();
    assert_eq!(nodes(&lab), lab.before.nodes);
    lab.undo_with("c2", "c3", &NoFaults).unwrap();
    assert_eq!(nodes(&lab), lab.after.nodes);
    clear(&lab);
}

/// Takes the locks off at a depth that chattr does not reach.
fn clear(lab: &Lab) {
    for root in ["live", "after"] {
        let mut tree = Tree::open(&lab.path(root)).unwrap();
        for path in walk(&lab.path(root)).nodes.keys() {
            let (at, name) = tree.place(path).unwrap().unwrap();
            fs::set_flags(at, name, 7, 0).unwrap();
        }
    }
}

#[test]
fn a_running_binary_is_replaced_and_comes_back_as_the_same_inode() {
    greenroom_testkit::need_root!();
    let lab = Lab::new(&Spec::new(), &Spec::new());
    for root in ["before", "live"] {
        std::fs::copy("/bin/sleep", lab.path(root).join("sleep")).unwrap();
        let f = std::fs::File::options().append(true).open(lab.path(root).join("sleep")).unwrap();
        f.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    std::fs::write(lab.path("after").join("sleep"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(lab.path("after").join("sleep"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for root in ["before", "live"] {
        fs::set_mtime(
            std::os::fd::AsFd::as_fd(&fs::open_root(&lab.path(root)).unwrap()),
            b"",
            Mtime { sec: 5, nsec: 0 },
        )
        .unwrap();
    }
    let lab = again(lab);
    let mut running = Command::new(lab.live().join("sleep")).arg("60").spawn().unwrap();
    let exe = format!("/proc/{}/exe", running.id());
    let old = std::fs::metadata(lab.live().join("sleep")).unwrap().ino();
    lab.apply_with("c1", &NoFaults).unwrap();
    lab.assert_after();
    lab.undo_with("c1", "c2", &NoFaults).unwrap();
    lab.assert_before();
    let now = std::fs::metadata(lab.live().join("sleep")).unwrap().ino();
    assert_eq!((old, std::fs::metadata(exe).unwrap().ino()), (now, now));
    running.kill().unwrap();
    running.wait().unwrap();
}

/// A file system of its own, from a file, mounted for as long as this lives.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(image: &Path, at: &Path, mkfs: &[&str]) -> Self {
        std::fs::File::create(image).unwrap().set_len(320 << 20).unwrap();
        must(Command::new(mkfs[0]).args(&mkfs[1..]).arg(image));
        must(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at));
        Self(at.to_owned())
    }

    /// ext4 through FUSE, which knows owners, modes and attributes, and no exchange.
    fn without_exchange(image: &Path, at: &Path) -> Self {
        std::fs::File::create(image).unwrap().set_len(16 << 20).unwrap();
        must(Command::new("mkfs.ext4").arg("-q").arg(image));
        // FUSE does not cover what is there, and says so only to whom it runs in the foreground.
        let _ = std::fs::remove_file(at.join("conf"));
        must(Command::new("fuse2fs").arg(image).arg(at));
        must(Command::new("mountpoint").arg(at));
        Self(at.to_owned())
    }
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn trees() -> (Spec, Spec) {
    let before = spec([
        ("/etc", dir()),
        ("/etc/conf", file("old")),
        ("/srv", dir()),
        ("/srv/deep", dir()),
        ("/srv/deep/file", file("old")),
        ("/srv/gone", dir()),
        ("/srv/gone/x", file("x")),
    ]);
    let after = spec([
        ("/etc", dir()),
        ("/etc/conf", file("new")),
        ("/srv", dir()),
        ("/srv/deep", dir()),
        ("/srv/deep/file", file("new")),
        ("/srv/new", dir()),
        ("/srv/new/dir", dir()),
        ("/srv/new/dir/file", file("y")),
    ]);
    (before, after)
}

#[test]
fn a_root_of_several_file_systems() {
    greenroom_testkit::need_root!();
    for mkfs in [&["mkfs.ext4", "-q"][..], &["mkfs.xfs", "-q"], &["mkfs.btrfs", "-q"]] {
        let (before, after) = trees();
        let mut lab = Lab::new(&before, &after);
        let srv = lab.live().join("srv");
        let mounted = Mounted::new(&lab.path("image"), &srv, mkfs);
        let below: Spec =
            before.iter().filter_map(|(p, i)| Some((p.strip_prefix(b"/srv")?.to_vec(), i.clone()))).collect();
        build(&srv, &below.into_iter().filter(|(p, _)| !p.is_empty()).collect());
        let _ = std::fs::remove_dir(srv.join("lost+found"));
        let time = |path: &str, mtime| {
            let mut tree = Tree::open(&lab.live()).unwrap();
            let path = TreePath::from(path);
            let (at, name) = tree.place(&path).unwrap().unwrap();
            fs::set_mtime(at, name, mtime).unwrap();
        };
        time("/srv", Mtime { sec: 1_000_000_000, nsec: 5 });
        std::fs::set_permissions(&srv, std::fs::Permissions::from_mode(0o755)).unwrap();
        lab.before = walk(&lab.live());
        lab.apply_with("c1", &NoFaults).unwrap();
        lab.assert_after();
        assert!(srv.join(".greenroom/c1").is_dir(), "slots lie on the file system of what they hold");
        lab.undo_with("c1", "c2", &NoFaults).unwrap();
        assert_eq!(walk(&lab.live()), lab.before);
        lab.undo_with("c2", "c3", &NoFaults).unwrap();
        lab.assert_after();
        let host = HostState::open(&lab.live()).unwrap();
        let guard = host.lock("test").unwrap();
        drop(guard.undo("c3", "c4", serde_json::Value::Null, &NoFaults).unwrap());
        let journal = &host.open_journals().unwrap()[0];
        assert_eq!(guard.recover(journal, Direction::Back, &NoFaults).unwrap(), Recovered::Before);
        lab.assert_after();
        guard.forget("c1", greenroom_host::apply::Keep::Nothing).unwrap();
        assert!(!srv.join(".greenroom").exists());
        assert!(host.changes().unwrap().is_empty());
        drop(guard);
        drop(mounted);
    }
}

#[test]
fn a_file_system_without_exchange_is_refused_before_anything_is_touched() {
    greenroom_testkit::need_root!();
    use greenroom_host::apply::{Error, Refusal};
    let (before, after) = trees();
    let lab = Lab::new(&before, &after);
    let etc = lab.live().join("etc");
    let _mounted = Mounted::without_exchange(&lab.path("image"), &etc);
    std::fs::write(etc.join("conf"), "old").unwrap();
    let now = walk(&lab.live());
    let changeset = super::support::difference(&now, &lab.after);
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    match guard.stage("c1", &changeset, &lab.source, &NoFaults) {
        Err(Error::Refused(Refusal::NoExchange { file_system })) => assert_eq!(file_system, "/etc".into()),
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(walk(&lab.live()).nodes, now.nodes);
    assert!(host.changes().unwrap().is_empty());
}

#[test]
fn what_a_running_process_writes_into_a_replaced_file_is_not_hidden() {
    greenroom_testkit::need_root!();
    let (before, after) = trees();
    let lab = Lab::new(&before, &after);
    let open = std::fs::File::options().write(true).open(lab.live().join("etc/conf")).unwrap();
    lab.apply_with("c1", &NoFaults).unwrap();
    open.write_all_at(b"OLD", 0).unwrap();
    match lab.undo_with("c1", "c2", &NoFaults) {
        Err(greenroom_host::apply::Error::Conflicts(conflicts)) => {
            assert_eq!(conflicts.len(), 1);
            assert_eq!(conflicts[0].reason, greenroom_host::apply::Reason::Image);
            assert_eq!(conflicts[0].path, "/etc/conf".into());
        }
        other => panic!("{other:?}"),
    }
    lab.assert_after();
}
