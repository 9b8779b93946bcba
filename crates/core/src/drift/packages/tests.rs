//! Which drift belongs to which run of the package manager, by tables of paths and logs.

use super::*;
use crate::{ContentHash, Mtime, Node};

const HISTORY: &str = "
Start-Date: 2024-05-01  06:12:33
Commandline: /usr/bin/unattended-upgrade
Upgrade: nginx:amd64 (1.22.1-9, 1.22.1-10), libssl3:amd64 (3.0.11-1~deb12u2, 3.0.13-1~deb12u1)
End-Date: 2024-05-01  06:12:50

Start-Date: 2024-05-02  10:00:00
Commandline: apt-get install -y htop
Requested-By: anna (1000)
Install: htop:amd64 (3.2.2-2), libnl-3-200:amd64 (3.7.0-0.2+b1, automatic)
Purge: nano:amd64 (7.2-1)
Error: Sub-process /usr/bin/dpkg returned an error code (1)
End-Date: 2024-05-02  10:00:07

Start-Date: 2024-05-03  10:00:00
";

const DPKG: &str = "2024-05-01 06:12:40 startup archives unpack
2024-05-01 06:12:41 upgrade nginx:amd64 1.22.1-9 1.22.1-10
2024-05-04 09:00:00 startup archives install
2024-05-04 09:00:00 install local:all <none> 1.0
2024-05-04 09:00:01 status unpacked local:all 1.0
2024-05-04 09:00:02 configure local:all 1.0 <none>
2024-05-05 09:00:00 startup packages remove
2024-05-05 09:00:00 remove old:amd64 2.0 <none>
2024-05-05 09:00:01 purge old:amd64 2.0 <none>
2024-05-06 09:00:00 startup packages configure
2024-05-06 09:00:01 configure local:all 1.0 <none>
garbage
";

#[test]
fn the_logs_of_apt() {
    let found = apt_history(HISTORY.as_bytes(), &Clock::new(None));
    let lines: Vec<String> = found
        .iter()
        .map(|t| {
            let packages = t.packages.iter().map(|p| {
                let versions = (p.from.as_deref().unwrap_or("-"), p.to.as_deref().unwrap_or("-"));
                format!(
                    "{:?} {}:{} {}→{}{}",
                    p.action,
                    p.name,
                    p.arch,
                    versions.0,
                    versions.1,
                    if p.automatic { " auto" } else { "" }
                )
            });
            format!("{} {} {} | {}", t.begin, t.end, t.by(), packages.collect::<Vec<_>>().join("; "))
        })
        .collect();
    let expected = [
        "2024-05-01T06:12:33Z 2024-05-01T06:12:50Z unattended-upgrades | Upgrade nginx:amd64 1.22.1-9→1.22.1-10; \
         Upgrade libssl3:amd64 3.0.11-1~deb12u2→3.0.13-1~deb12u1",
        "2024-05-02T10:00:00Z 2024-05-02T10:00:07Z anna (apt-get) | Install htop:amd64 -→3.2.2-2; \
         Install libnl-3-200:amd64 -→3.7.0-0.2+b1 auto; Purge nano:amd64 7.2-1→-",
        "2024-05-03T10:00:00Z 2024-05-03T10:00:00Z dpkg | ",
    ];
    assert_eq!(lines, expected);
    assert!(found[1].error.as_deref().is_some_and(|e| e.contains("error code (1)")));
}

#[test]
fn who_did_it() {
    let by = |command: Option<&str>, person: Option<&str>| {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Transaction { command: own(command), requested_by: own(person), ..Transaction::default() }.by()
    };
    assert_eq!(by(Some("/usr/bin/python3 /usr/bin/unattended-upgrade --download-only"), None), "unattended-upgrades");
    assert_eq!(by(Some("apt-get install x"), Some("anna")), "anna (apt-get)");
    assert_eq!(by(Some("packagekit role='update-packages'"), Some("bob")), "bob (packagekit)");
    assert_eq!(by(None, None), "dpkg");
}

#[test]
fn what_dpkg_logs_within_a_transaction_of_apt_is_part_of_it() {
    let clock = Clock::new(None);
    let merged = merge_logs(apt_history(HISTORY.as_bytes(), &clock), dpkg_log(DPKG.as_bytes(), &clock));
    let alone: Vec<String> = merged
        .iter()
        .filter(|t| t.command.is_none() && !t.packages.is_empty())
        .map(|t| format!("{} {:?} {}", t.begin, t.packages[0].action, t.packages[0].name))
        .collect();
    assert_eq!(alone, ["2024-05-04T09:00:00Z Install local", "2024-05-05T09:00:00Z Purge old"]);
    assert_eq!(merged[0].packages.len(), 2);
}

#[test]
fn local_time_is_the_hosts() {
    // tzfile(5), version 1 and 2 of `TZ=UTC-2`: no transitions, one type of +7200 s, the footer says the rule.
    let block = |version: u8| {
        let mut out = b"TZif".to_vec();
        out.push(version);
        out.extend_from_slice(&[0; 15]);
        for count in [0u32, 0, 0, 0, 1, 4] {
            out.extend_from_slice(&count.to_be_bytes());
        }
        out.extend_from_slice(&7200i32.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(b"EET\0");
        out
    };
    let file = [block(b'2'), block(b'2'), b"\nEET-2\n".to_vec()].concat();
    let found = apt_history(HISTORY.as_bytes(), &Clock::new(Some(&file)));
    assert_eq!(found[0].begin, "2024-05-01T04:12:33Z");
    assert_eq!(apt_history(HISTORY.as_bytes(), &Clock::new(Some(b"no zone")))[0].begin, "2024-05-01T06:12:33Z");
}

fn file(mode: u16, text: &str) -> Option<Box<Node>> {
    let content = ContentHash::of(text.as_bytes());
    let kind = crate::Kind::File { size: text.len() as u64, content };
    Some(Box::new(Node {
        kind,
        mode,
        flags: 0,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: Box::new([]),
        link: None,
    }))
}

struct Case {
    path: &'static str,
    sides: (Option<&'static str>, Option<&'static str>),
    modes: (u16, u16),
    at: &'static str,
    owners: (Option<Owner>, Option<Owner>),
    process: Option<&'static str>,
    found_by: FoundBy,
    group: Option<&'static str>,
}

fn of(package: &str, conffile: bool, intact: Option<bool>) -> Option<Owner> {
    Some(Owner { package: package.into(), conffile, intact })
}

fn case(path: &'static str, group: Option<&'static str>) -> Case {
    Case {
        path,
        sides: (Some("a"), Some("b")),
        modes: (0o644, 0o644),
        at: "2024-05-01T06:12:40Z",
        owners: (None, None),
        process: None,
        found_by: FoundBy::Scan,
        group,
    }
}

fn owned(path: &'static str, package: &str, intact: Option<bool>, group: Option<&'static str>) -> Case {
    Case { owners: (of(package, false, Some(true)), of(package, false, intact)), ..case(path, group) }
}

const UPGRADE: Option<&str> = Some("packages:2024-05-01T06:12:33Z");
const INSTALL: Option<&str> = Some("packages:2024-05-02T10:00:00Z");

fn cases() -> Vec<Case> {
    let later = "2024-05-01T08:00:00Z";
    let of_install = "2024-05-02T10:00:03Z";
    vec![
        owned("/usr/sbin/nginx", "nginx", Some(true), UPGRADE),
        owned("/usr/share/nginx/no-checksum", "nginx", None, UPGRADE),
        owned("/usr/lib/libssl.so.3", "libssl3", Some(true), UPGRADE),
        // Edited after the upgrade: it does not hide there.
        owned("/usr/share/nginx/edited", "nginx", Some(false), None),
        Case { at: later, ..owned("/usr/share/nginx/touched", "nginx", None, None) },
        // A hard link made later moves the ctime, and nothing else.
        Case { at: later, ..owned("/usr/share/nginx/linked", "nginx", Some(true), UPGRADE) },
        Case { at: later, modes: (0o755, 0o4755), ..owned("/usr/sbin/nginx-suid", "nginx", Some(true), None) },
        // Gone with the new version; gone by hand.
        Case {
            sides: (Some("a"), None),
            owners: (of("nginx", false, None), None),
            ..case("/usr/share/nginx/gone", UPGRADE)
        },
        Case { sides: (Some("a"), None), ..owned("/usr/share/nginx/deleted", "nginx", None, None) },
        Case {
            sides: (None, Some("b")),
            owners: (None, of("htop", false, Some(true))),
            at: of_install,
            ..case("/usr/bin/htop", INSTALL)
        },
        Case {
            sides: (Some("a"), None),
            owners: (of("nano", false, None), None),
            at: of_install,
            ..case("/bin/nano", INSTALL)
        },
        case("/etc/ld.so.cache", UPGRADE),
        case("/boot/initrd.img-6.1.0-25-amd64", UPGRADE),
        case("/var/lib/dpkg/info/nginx.list", UPGRADE),
        Case { at: of_install, ..case("/var/lib/dpkg/status", INSTALL) },
        // The records of dpkg belong to a change of packages whatever the clock says.
        Case { at: "2030-01-01T00:00:00Z", ..case("/var/lib/dpkg/diversions", Some("package:unlogged")) },
        Case { at: later, ..case("/etc/ld.so.cache", None) },
        // An account is made when something is installed, not when it is upgraded.
        case("/etc/passwd", None),
        Case { at: of_install, ..case("/etc/passwd", INSTALL) },
        Case { at: of_install, process: Some("vim"), ..case("/etc/passwd", None) },
        case("/etc/motd", None),
        Case { process: Some("dpkg"), ..case("/opt/by-a-script", UPGRADE) },
        owned("/usr/bin/vi", "vim", Some(false), None),
        Case { at: later, ..owned("/usr/lib/unlogged", "unlogged", Some(true), Some("package:unlogged")) },
        Case { found_by: FoundBy::Package, ..owned("/usr/bin/vim", "vim", Some(false), Some("modified:vim")) },
        Case { found_by: FoundBy::Package, ..owned("/usr/sbin/nginx2", "nginx", Some(false), Some("modified:nginx")) },
        Case {
            found_by: FoundBy::Package,
            owners: (None, of("nginx", true, Some(false))),
            ..case("/etc/nginx/nginx.conf", Some("conffiles:nginx"))
        },
    ]
}

fn change(name: &str, from: Option<&str>, to: Option<&str>) -> PackageChange {
    let own = |text: Option<&str>| text.map(str::to_owned);
    PackageChange { name: name.into(), arch: "amd64".into(), from: own(from), to: own(to), note: None }
}

#[test]
fn which_path_belongs_to_which_group() {
    let clock = Clock::new(None);
    let runs = apt_history(HISTORY.as_bytes(), &clock);
    let changes = [
        change("nginx", Some("1.22.1-9"), Some("1.22.1-10")),
        change("libssl3", Some("3.0.11-1~deb12u2"), Some("3.0.13-1~deb12u1")),
        change("htop", None, Some("3.2.2-2")),
        change("libnl-3-200", None, Some("3.7.0-0.2+b1")),
        change("nano", Some("7.2-1"), None),
        change("unlogged", Some("1"), Some("2")),
    ];
    let cases = cases();
    let entries: Vec<Entry> = cases
        .iter()
        .map(|c| Entry {
            path: c.path.into(),
            before: c.sides.0.and_then(|text| file(c.modes.0, text)),
            after: c.sides.1.and_then(|text| file(c.modes.1, text)),
        })
        .collect();
    let actors: Vec<Option<Actor>> =
        cases.iter().map(|c| c.process.map(|p| Actor { process: Some(p.into()), ..Actor::default() })).collect();
    let drifts: Vec<Owned<'_>> = cases
        .iter()
        .zip(entries.iter().zip(&actors))
        .map(|(c, (entry, actor))| {
            let (before, after) = c.owners.clone();
            Owned { entry, found_by: c.found_by, actor: actor.as_ref(), at: c.at, before, after }
        })
        .collect();
    let found = group(&drifts, &changes, &runs);
    for (case, of) in cases.iter().zip(&found.of) {
        assert_eq!(of.map(|at| found.groups[at].group.id.as_str()), case.group, "{} at {}", case.path, case.at);
    }
    // Each path is in its group once, and the counts are right.
    for (at, one) in found.groups.iter().enumerate() {
        let mut members: Vec<usize> =
            one.parts.iter().flat_map(|p| p.paths.clone()).chain(one.derived.clone()).collect();
        members.sort_unstable();
        let expected: Vec<usize> = (0..cases.len()).filter(|n| found.of[*n] == Some(at)).collect();
        assert_eq!((members, one.group.paths), (expected.clone(), expected.len()), "{}", one.group.id);
    }
    let titles: Vec<&str> = found.groups.iter().map(|g| g.group.title.as_str()).collect();
    let expected = [
        "2 packages upgraded by unattended-upgrades: libssl3, nginx",
        "3 packages changed by anna (apt-get): htop, libnl-3-200, nano",
        "unlogged 1 → 2",
        "nginx: 1 file modified since the package was installed",
        "nginx: 1 configuration file edited since the package was installed",
        "vim: 1 file modified since the package was installed",
    ];
    assert_eq!(titles, expected);
}

#[test]
fn one_package_in_a_line() {
    let changes = [change("nginx", Some("1.22.1-9"), Some("1.22.1-10"))];
    let runs = apt_history(
        b"Start-Date: 2024-05-01  06:12:33\nCommandline: /usr/bin/unattended-upgrade\nUpgrade: nginx:amd64 (1.22.1-9, 1.22.1-10)\n",
        &Clock::new(None),
    );
    let found = group(&[], &changes, &runs);
    assert_eq!(found.groups[0].group.title, "nginx 1.22.1-9 → 1.22.1-10 by unattended-upgrades");
    assert_eq!(found.groups[0].group.id, "package:nginx");
}
