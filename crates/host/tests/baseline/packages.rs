//! What was changed before the record was made: files against the checksums of their packages.

use greenroom_host::baseline::Baseline;

use crate::support::{World, sh};

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
