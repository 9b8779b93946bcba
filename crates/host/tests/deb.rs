//! Files out of a package in apt's cache, as dpkg-deb made it.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::BTreeMap;
use std::process::Command;

use greenroom_core::TreePath;
use greenroom_host::dpkg::{deb_content, deb_contents, packages_of};
use greenroom_host::scan::Tree;

const MAKE: &str = r#"
mkdir -p deb/DEBIAN deb/lib/x deb/usr/bin deb/usr/share var/cache/apt/archives
printf 'library\n' > deb/lib/x/lib.so; printf 'one\n' > deb/usr/bin/one; ln deb/usr/bin/one deb/usr/bin/also
ln -s one deb/usr/bin/link; head -c 300000 /dev/zero > deb/usr/share/large
printf 'Package: ours\nVersion: 1:2-3\nArchitecture: amd64\nMaintainer: us <us@example.org>\nDescription: ours\n' > deb/DEBIAN/control
"#;

#[test]
fn every_compression_links_and_the_merged_usr() {
    let dir = tempfile::tempdir().unwrap();
    let sh = |script: &str| {
        let done = Command::new("sh").args(["-euc", script]).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    sh(MAKE);
    let status = b"Package: ours\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\n\n";
    let packages = packages_of(status);
    let wanted =
        ["/usr/lib/x/lib.so", "/usr/bin/one", "/usr/bin/also", "/usr/share/large", "/usr/bin/link", "/nowhere"];
    let wanted = wanted.map(TreePath::from);
    for compression in ["none", "gzip", "xz", "zstd"] {
        sh(&format!(
            "dpkg-deb -Z{compression} --root-owner-group --build deb 'var/cache/apt/archives/ours_1%3a2-3_amd64.deb'"
        ));
        let mut tree = Tree::open(dir.path()).unwrap();
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut text = String::new();
        deb_contents(&mut tree, &packages[0], &wanted, &mut |path, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            if bytes.len() < 100 {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            found.insert(path.to_string(), bytes.len());
            Ok(())
        })
        .unwrap();
        assert!(text.contains("library") && text.contains("one"), "{compression}: {text}");
        assert_eq!((found.get("/usr/share/large"), found.get("/usr/lib/x/lib.so")), (Some(&300_000), Some(&8)));
        assert!(found.contains_key("/usr/bin/one") || found.contains_key("/usr/bin/also"), "{found:?}");
        assert!(!found.contains_key("/usr/bin/link") && !found.contains_key("/nowhere"), "{found:?}");
        // Each of the two names alone, whichever of them the archive has as the link.
        for name in ["/usr/bin/one", "/usr/bin/also"] {
            let mut content = Vec::new();
            let mut take = |reader: &mut dyn std::io::Read| reader.read_to_end(&mut content).map(drop);
            assert!(deb_content(&mut tree, &packages[0], &name.into(), &mut take).unwrap(), "{compression} {name}");
            assert_eq!(content, b"one\n");
        }
    }
}
