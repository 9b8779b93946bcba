//! What was changed before the record was made: files against the checksums of their packages.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use greenroom_core::{ContentHash, TreePath};
use greenroom_host::baseline::{Baseline, Keep, Options, Recorded, Trouble};

use crate::support::{World, on_record, sh, tick};

const DATABASE: &str = r#"
cd ..; mkdir -p var/lib/dpkg/info etc/dpkg/dpkg.cfg.d usr/bin usr/lib usr/share/doc/shop; ln -s usr/bin bin
printf 'Package: shop\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0\nConffiles:\n' > var/lib/dpkg/status
for f in same edited gone; do echo $f > etc/$f.conf; echo " /etc/$f.conf $(md5sum < etc/$f.conf | cut -c1-32)" >> var/lib/dpkg/status; done
for f in bin/same bin/patched lib/lost share/doc/shop/README; do echo $f > usr/$f; done
md5sum usr/bin/* usr/lib/lost usr/share/doc/shop/README > var/lib/dpkg/info/shop.md5sums
# As a package from before the merge of /usr has it.
sed -i 's|usr/bin/patched|bin/patched|' var/lib/dpkg/info/shop.md5sums
printf '/.\n/etc\n/etc/same.conf\n/etc/edited.conf\n/etc/gone.conf\n/usr/bin/same\n/bin/patched\n/usr/lib/lost\n/usr/share/doc/shop/README\n' \
    > var/lib/dpkg/info/shop.list
echo 'path-exclude=/usr/share/doc/*' > etc/dpkg/dpkg.cfg.d/small
echo more >> etc/edited.conf; echo more >> usr/bin/patched; rm etc/gone.conf usr/lib/lost usr/share/doc/shop/README
"#;

#[test]
fn drift_from_before_the_record_is_found() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| sh(srv, DATABASE));
    let recorded = world.record();
    let found: Vec<_> = recorded
        .modified
        .iter()
        .map(|m| (m.path.to_string(), m.package.as_str(), m.conffile, m.found.is_some()))
        .collect();
    let row = |path: &str, conffile, there| (path.to_owned(), "shop", conffile, there);
    let wanted = [
        row("/etc/edited.conf", true, true),
        row("/etc/gone.conf", true, false),
        row("/usr/bin/patched", false, true),
        row("/usr/lib/lost", false, false),
    ];
    assert_eq!(found, wanted);
    assert_eq!(recorded.gaps, [""; 0]);
    // Who owned what is known when the package is gone.
    sh(&world.root(), "rm -r var/lib/dpkg");
    let packages = world.open().packages().unwrap().unwrap();
    let owner = packages.owner(&"/usr/bin/patched".into()).unwrap();
    assert_eq!(packages.package(owner).name, "shop");
    Baseline::record(&world.root(), &world.later()).unwrap();
    assert!(world.open().packages().unwrap().is_none());
}

/// A package with all files of `usr`, as they are now.
fn package(srv: &Path) {
    sh(
        srv,
        "cd ..; mkdir -p var/lib/dpkg/info
        printf 'Package: shop\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0\n' > var/lib/dpkg/status
        find usr -type f -exec md5sum {} + > var/lib/dpkg/info/shop.md5sums
        find usr | sed 's|^|/|' > var/lib/dpkg/info/shop.list",
    );
}

#[test]
fn files_of_all_lengths_are_checked_side_by_side() {
    greenroom_testkit::need_root!();
    let lengths = [0, 1, 55, 56, 63, 64, 65, 4096, 32_704, 32_767, 32_768, 32_769, 65_535, 65_536, 98_304, 700_001];
    let name = |at: usize| format!("usr/d{}/{at}", at % 3);
    let world = World::new(|srv| {
        let root = srv.parent().unwrap();
        (0..3).for_each(|dir| fs::create_dir_all(root.join(format!("usr/d{dir}"))).unwrap());
        for at in 0..900 {
            let length = lengths[at * 7 % lengths.len()] + at / 100;
            let content: Vec<u8> = (0..length).map(|byte| (byte * 31 + at * 7 + byte / 251) as u8).collect();
            fs::write(root.join(name(at)), content).unwrap();
        }
        fs::hard_link(root.join(name(5)), root.join("usr/d0/linked")).unwrap();
        package(srv);
        for at in (0..900).step_by(11) {
            let mut content = fs::read(root.join(name(at))).unwrap();
            match content.last_mut() {
                Some(last) => *last ^= 1,
                None => content.push(0),
            }
            fs::write(root.join(name(at)), content).unwrap();
        }
    });
    let mut wanted: Vec<String> = (0..900).step_by(11).map(|at| format!("/{}", name(at))).collect();
    wanted.sort();
    let mut ids = Vec::new();
    for threads in [1, 3] {
        let recorded = Baseline::record(&world.root(), &Options { threads, ..world.later() }).unwrap();
        assert_eq!(modified(&recorded), wanted);
        assert_eq!(recorded.problems, []);
        assert_eq!(on_record(&recorded.baseline), world.view());
        ids.push(recorded.baseline.meta().id);
    }
    assert_eq!(ids[0], ids[1]);
}

fn modified(recorded: &Recorded) -> Vec<String> {
    recorded.modified.iter().map(|modified| modified.path.to_string()).collect()
}

/// Disturbs the large files before it, which are half read, when `z` is begun; keeps one of them.
struct Disturb(PathBuf, std::sync::Mutex<Vec<String>>);

impl Keep for Disturb {
    fn wants(&self, path: &TreePath, _: u64) -> bool {
        if path.name() == b"z" {
            tick();
            fs::File::options().append(true).open(self.0.join("grown")).unwrap().write_all(b"more").unwrap();
            sh(&self.0, "rm gone; rm link; ln -s z link; truncate -s 100 short; rm other; echo new > other");
        }
        path.name() == b"calm"
    }

    fn keep(&self, path: &TreePath, hash: &ContentHash, content: &[u8]) -> io::Result<()> {
        assert_eq!(*hash, ContentHash::of(content));
        self.1.lock().unwrap().push(path.to_string());
        Ok(())
    }
}

#[test]
fn what_changes_while_it_is_half_read_is_read_again() {
    greenroom_testkit::need_root!();
    let world = World::new(|srv| {
        let usr = srv.parent().unwrap().join("usr");
        fs::create_dir(&usr).unwrap();
        sh(&usr, "for f in calm grown gone link short other z; do yes $f | head -c 200000 > $f; done");
        package(srv);
    });
    let disturb = Disturb(world.root().join("usr"), std::sync::Mutex::default());
    let options = Options { threads: 1, keep: Some(&disturb), ..world.later() };
    let recorded = Baseline::record(&world.root(), &options).unwrap();
    assert_eq!(modified(&recorded), ["/usr/gone", "/usr/grown", "/usr/link", "/usr/other", "/usr/short"]);
    let problems: Vec<_> = recorded.problems.iter().map(|p| (p.path.to_string(), p.trouble.clone())).collect();
    assert_eq!(problems, [("/usr/gone".to_owned(), Trouble::Vanished)]);
    // A name that went is as one that never was, but for the time of its directory, which nobody records.
    assert_eq!(on_record(&recorded.baseline), world.view());
    assert_eq!(*disturb.1.lock().unwrap(), ["/usr/calm"]);
}
