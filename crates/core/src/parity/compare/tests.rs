//! What differs between two systems, what is set aside, and in which order it is told.

use super::super::model::{Fact, FactKind, Header, Library, PathKind, VERSION};
use super::super::noise::Identity;
use super::*;
use crate::ContentHash;

fn facts(name: &str, running: bool) -> Facts {
    let identity = Identity { hostname: name.into(), ..Identity::default() };
    let header = Header {
        greenroom_manifest: VERSION,
        program: "0".into(),
        at: "2026-01-01T00:00:00Z".into(),
        name: name.into(),
        source: "test".into(),
        running,
        identity,
    };
    let mut out = Facts::new(header);
    out.packages.insert("dpkg:amd64".into(), "1".into());
    out
}

fn library(name: &str, content: &str, package: Option<&str>, running: &[&str], linked: &[&str]) -> Library {
    let set = |list: &[&str]| list.iter().map(|unit| (*unit).to_owned()).collect();
    Library {
        name: name.into(),
        path: TreePath::from("/usr/lib").join(name.as_bytes()),
        content: Some(ContentHash::of(content.as_bytes())),
        size: 1,
        package: package.map(str::to_owned),
        intact: None,
        program: name.starts_with('/'),
        running: set(running),
        linked: set(linked),
        replaced: false,
    }
}

fn file(path: &str, content: &str, package: Option<&str>) -> PathState {
    PathState {
        path: path.into(),
        kind: PathKind::File,
        mode: 0o644,
        owner: "root".into(),
        group: "root".into(),
        size: content.len() as u64,
        content: Some(ContentHash::of(content.as_bytes())),
        target: Vec::new(),
        attributes: Vec::new(),
        package: package.map(Into::into),
        config: None,
    }
}

fn lines(report: &Report) -> Vec<String> {
    report.differences.iter().map(|d| format!("{} {} {}", d.weight, d.kind, d.item)).collect()
}

/// Compares paths pair by pair, as the caller does.
fn compare(a: &Facts, b: &Facts, pairs: &[(Option<PathState>, Option<PathState>)]) -> Report {
    let mut comparison = Comparison::new(a, b);
    for (a, b) in pairs {
        let found = comparison.judge(a.as_ref(), b.as_ref());
        comparison.add(a.as_ref(), b.as_ref(), found);
    }
    comparison.finish(Vec::new())
}

#[test]
fn the_patched_library_comes_first_with_those_who_load_it() {
    let (mut prod, mut qa) = (facts("prod", true), facts("qa", true));
    for (side, content) in [(&mut prod, "patched"), (&mut qa, "plain")] {
        side.packages.insert("libssl3:amd64".into(), "3.0-1".into());
        side.libraries.push(library(
            "libssl.so.3",
            content,
            Some("libssl3:amd64"),
            &["nginx.service"],
            &["nginx.service"],
        ));
        side.libraries.push(library("libc.so.6", "same", None, &["nginx.service"], &[]));
    }
    qa.packages.insert("zlib1g:amd64".into(), "1".into());
    let path = |content| Some(file("/usr/lib/libssl.so.3", content, Some("libssl3:amd64")));
    let report = compare(&prod, &qa, &[(path("patched"), path("plain"))]);
    assert_eq!(lines(&report), ["100 library libssl.so.3", "48 package zlib1g"]);
    assert_eq!(report.differences[0].services, ["nginx.service"]);
    assert!(report.differences[0].note.as_ref().unwrap().contains("same version, other content"));

    (prod.libraries[0].intact, qa.libraries[0].intact) = (Some(false), Some(true));
    let report = compare(&prod, &qa, &[(path("patched"), path("plain"))]);
    assert!(report.differences[0].note.as_ref().unwrap().ends_with("a's is not what the package brought"));

    qa.packages.insert("libssl3:amd64".into(), "3.0-2".into());
    let report = compare(&prod, &qa, &[(path("patched"), path("plain"))]);
    assert_eq!(lines(&report)[0], "95 library libssl.so.3");
    assert!(report.differences[0].note.as_ref().unwrap().contains("3.0-1 / 3.0-2"));

    qa.libraries[0].package = None;
    qa.libraries[0].path = "/usr/local/lib/libssl.so.3".into();
    assert_eq!(lines(&compare(&prod, &qa, &[]))[0], "99 library libssl.so.3");
}

#[test]
fn a_host_that_runs_against_a_tree_that_does_not() {
    let (mut prod, mut tree) = (facts("prod", true), facts("tree", false));
    prod.libraries.push(library("libssl.so.3", "patched", Some("x:amd64"), &["a.service"], &[]));
    for side in [&mut prod, &mut tree] {
        side.packages.insert("x:amd64".into(), "1".into());
    }
    // Loaded while it runs, by no table: its file still says so.
    let path = |content| Some(file("/usr/lib/libssl.so.3", content, Some("x:amd64")));
    let report = compare(&prod, &tree, &[(path("patched"), path("plain"))]);
    assert_eq!(lines(&report), ["100 library /usr/lib/libssl.so.3"]);
    assert_eq!(report.differences[0].services, ["a.service"]);
}

#[test]
fn what_each_fact_is() {
    use FactKind as K;
    type Row = (K, &'static str, Option<&'static str>, Option<&'static str>, &'static str);
    // What differs, and what comes of it; an empty string: nothing is said.
    let table: &[Row] = &[
        (K::Runtime, "python3", Some("3.11"), Some("3.12"), "84 runtime python3"),
        (K::TimeZone, "time zone", Some("Europe/Berlin"), Some("UTC"), "69 time_zone time zone"),
        (K::Locale, "LANG", Some("C.UTF-8"), None, "68 locale LANG"),
        (K::Limit, "a.service Max open files", Some("1024"), Some("4096"), "64 limit a.service Max open files"),
        (K::Limit, "a.service Max open files", Some("1024"), None, ""),
        (K::Sysctl, "vm.swappiness", Some("10"), Some("60"), "62 sysctl vm.swappiness"),
        (K::Sysctl, "net.ipv4.conf.eth0.rp_filter", Some("1"), Some("0"), "aside"),
        (K::Sysctl, "kernel.hostname", Some("prod"), Some("qa"), "aside"),
        (K::Sysctl, "vm.only_here", Some("1"), None, "aside"),
        (K::BootParameter, "root", Some("UUID=1"), Some("/dev/vda1"), "aside"),
        (K::BootParameter, "mitigations", Some("off"), None, "58 boot_parameter mitigations"),
        (K::Unit, "cron.service", Some("enabled"), Some("masked"), "66 unit cron.service"),
        (K::UnitState, "cron.service", Some("active"), Some("failed"), "82 unit cron.service"),
        (K::UnitState, "cron.service", None, Some("inactive"), ""),
        (K::UnitState, "cron.service", Some("active"), None, "76 unit cron.service"),
        (K::User, "app", Some("uid 1"), Some("uid 2"), "40 user user app"),
        (K::Port, "tcp 0.0.0.0:80", Some("nginx.service"), None, "70 port tcp 0.0.0.0:80"),
        (K::Port, "tcp 10.0.0.1:80", Some("prod.service"), Some("qa.service"), "aside"),
        (K::Mount, "/srv", Some("nfs a:/x"), Some("ext4"), "46 mount /srv"),
        (K::Cpu, "features", Some("avx sse"), Some("sse avx"), ""),
        (K::Cpu, "features", Some("avx sse"), Some("sse"), "34 cpu features"),
        (K::RunningEnvironment, "a.service INVOCATION_ID", Some("1"), Some("2"), "aside"),
    ];
    for (kind, item, a, b, expected) in table {
        let (mut x, mut y) = (facts("prod", true), facts("qa", true));
        for (side, value) in [(&mut x, a), (&mut y, b)] {
            if let Some(value) = value {
                side.add(*kind, *item, *value);
            }
        }
        let report = compare(&x, &y, &[]);
        let found = match (lines(&report).first(), report.set_aside) {
            (Some(line), 0) => line.clone(),
            (None, 1) => "aside".to_owned(),
            (None, 0) => String::new(),
            other => panic!("{kind:?} {item}: {other:?}"),
        };
        assert_eq!(found, *expected, "{kind:?} {item}");
        if kind.is_running() {
            y.header.running = false;
            assert!(compare(&x, &y, &[]).differences.is_empty(), "{kind:?} of a tree that does not run");
        }
        let fact = Fact { kind: *kind, item: (*item).to_owned(), value: String::new() };
        assert_eq!(serde_json::from_str::<Fact>(&serde_json::to_string(&fact).unwrap()).unwrap(), fact);
    }
}

#[test]
fn a_host_that_is_called_like_its_service() {
    let (mut x, mut y) = (facts("nginx", true), facts("qa", true));
    for side in [&mut x, &mut y] {
        side.add(FactKind::UnitState, "nginx.service", "active");
        side.add(FactKind::Port, "tcp 0.0.0.0:80", "nginx.service");
        side.add(FactKind::Limit, "nginx.service Max open files", "1024");
    }
    assert_eq!(compare(&x, &y, &[]).differences, []);
    y.add(FactKind::UnitState, "nginx.service", "failed");
    assert_eq!(lines(&compare(&x, &y, &[])), ["82 unit nginx.service"]);
}

#[test]
fn a_value_that_one_side_hides_is_still_compared() {
    let (mut x, mut y) = (facts("prod", false), facts("qa", false));
    for side in [&mut x, &mut y] {
        side.libraries.push(library("libc.so.6", "same", None, &[], &["a.service"]));
    }
    x.add(FactKind::ServiceEnvironment, "a.service MODE", "fast");
    y.add(FactKind::ServiceEnvironment, "a.service MODE", super::super::secret::hashed("fast"));
    assert!(compare(&x, &y, &[]).differences.is_empty());
    y.add(FactKind::ServiceEnvironment, "a.service MODE", super::super::secret::hashed("slow"));
    assert_eq!(compare(&x, &y, &[]).differences.len(), 1);
}

#[test]
fn environment_of_services_without_secrets() {
    let (mut x, mut y) = (facts("prod", true), facts("qa", true));
    for side in [&mut x, &mut y] {
        side.libraries.push(library("libc.so.6", "same", None, &[], &["a.service"]));
        side.add(FactKind::RunningEnvironment, "a.service LANG", "C");
    }
    x.add(FactKind::ServiceEnvironment, "a.service DB_PASSWORD", "hunter2");
    x.add(FactKind::RunningEnvironment, "a.service DB_PASSWORD", "hunter2");
    x.add(FactKind::RunningEnvironment, "a.service TZ", "UTC");
    x.add(FactKind::ServiceEnvironment, "b.service X", "1");
    let report = compare(&x, &y, &[]);
    let expected = ["78 service_environment a.service DB_PASSWORD", "78 service_environment a.service TZ"];
    assert_eq!(lines(&report), expected);
    assert!(!format!("{report:?}").contains("hunter2"));
}

#[test]
fn what_each_path_is() {
    let owned = |path: &str, content: &str| file(path, content, Some("p:amd64"));
    let edited = |state: PathState, edit: fn(&mut PathState)| {
        let mut state = state;
        edit(&mut state);
        Some(state)
    };
    let dir = |path: &str| edited(file(path, "", None), |s| (s.kind, s.content) = (PathKind::Dir, None));
    let link = |path: &str, target: &str| {
        let mut state = file(path, "", None);
        (state.kind, state.content, state.target) = (PathKind::Symlink, None, target.as_bytes().to_vec());
        Some(state)
    };
    type Row = (Option<PathState>, Option<PathState>, &'static str);
    let table: Vec<Row> = vec![
        (Some(owned("/usr/share/x", "a")), Some(owned("/usr/share/x", "b")), "74 package_file /usr/share/x"),
        (Some(owned("/usr/lib/x.py", "a")), Some(owned("/usr/lib/x.py", "b")), "86 package_file /usr/lib/x.py"),
        (Some(owned("/usr/lib/x.py", "a")), None, "80 package_file /usr/lib/x.py"),
        (Some(file("/opt/x", "a", None)), None, "30 file /opt/x"),
        (edited(file("/opt/x", "a", None), |s| s.mode = 0o755), None, "54 file /opt/x"),
        (
            edited(file("/opt/x", "a", None), |s| s.mode = 0o4755),
            edited(file("/opt/x", "a", None), |s| s.mode = 0o755),
            "65 permissions /opt/x",
        ),
        (
            Some(file("/opt/x", "a", None)),
            edited(file("/opt/x", "a", None), |s| s.owner = "app".into()),
            "36 permissions /opt/x",
        ),
        (Some(file("/etc/x", "a", None)), Some(file("/etc/x", "b", None)), "60 configuration /etc/x"),
        (Some(file("/etc/a/x", "a", None)), Some(file("/etc/a/x", "b", None)), "72 configuration /etc/a/x"),
        (link("/opt/x", "/a"), link("/opt/x", "/b"), "30 file /opt/x"),
        (dir("/opt/x"), link("/opt/x", "/b"), "30 file /opt/x"),
        (link("/etc/alternatives/x", "/a"), link("/etc/alternatives/x", "/b"), "60 configuration /etc/alternatives/x"),
        (link("/etc/alternatives/x", "/a"), None, "aside"),
        (Some(file("/etc/machine-id", "a", None)), Some(file("/etc/machine-id", "b", None)), "aside"),
        (Some(file("/etc/ssh/ssh_host_rsa_key", "a", None)), None, "aside"),
        (Some(file("/etc/ld.so.cache", "a", None)), Some(file("/etc/ld.so.cache", "b", None)), "aside"),
        (Some(file("/etc/passwd", "a", None)), Some(file("/etc/passwd", "b", None)), ""),
        (link("/etc/systemd/system/multi-user.target.wants/x.service", "/x"), None, ""),
        (Some(file("/opt/x", "a", None)), Some(file("/opt/x", "a", None)), ""),
    ];
    let (mut x, mut y) = (facts("prod", false), facts("qa", false));
    for side in [&mut x, &mut y] {
        side.packages.insert("p:amd64".into(), "1".into());
        side.libraries.push(library("libc.so.6", "same", None, &[], &["a.service"]));
    }
    for (a, b, expected) in &table {
        let report = compare(&x, &y, &[(a.clone(), b.clone())]);
        let found = lines(&report).first().cloned();
        let found = found.unwrap_or_else(|| if report.set_aside > 0 { "aside".to_owned() } else { String::new() });
        assert_eq!(&found, expected, "{a:?} {b:?}");
    }
    // Another version explains what its files are.
    y.packages.insert("p:amd64".into(), "2".into());
    for (a, b, _) in &table[..3] {
        assert_eq!(lines(&compare(&x, &y, &[(a.clone(), b.clone())])), ["50 package p"]);
    }
}

#[test]
fn a_tree_that_one_side_has_alone_is_one_line() {
    let dir = |path: &str| {
        let mut state = file(path, "", None);
        (state.kind, state.content) = (PathKind::Dir, None);
        Some(state)
    };
    let pairs = [
        (dir("/opt"), dir("/opt")),
        (dir("/opt/a"), None),
        (Some(file("/opt/a/x", "1", None)), None),
        (None, dir("/opt/a-b")),
        (None, Some(file("/opt/a-b/y", "1", None))),
        (None, Some(file("/opt/z", "1", None))),
    ];
    let report = compare(&facts("a", false), &facts("b", false), &pairs);
    assert_eq!(lines(&report), ["30 file /opt/a", "30 file /opt/a-b", "30 file /opt/z"]);
    assert_eq!(report.differences[0].a.as_deref(), Some("directory, with 1 paths in it"));
}

#[test]
fn two_versions_of_what_pip_installed_are_one_line() {
    let dir = |path: &str| {
        let mut state = file(path, "", None);
        (state.kind, state.content) = (PathKind::Dir, None);
        Some(state)
    };
    let place = "/usr/local/lib/python3.11/dist-packages";
    let pairs = [
        (dir(&format!("{place}/requests-2.31.0.dist-info")), None),
        (None, dir(&format!("{place}/requests-2.32.0.dist-info"))),
    ];
    let report = compare(&facts("a", false), &facts("b", false), &pairs);
    assert_eq!(lines(&report), [format!("50 package {place} requests")]);
    assert_eq!(
        (report.differences[0].a.as_deref(), report.differences[0].b.as_deref()),
        (Some("2.31.0"), Some("2.32.0"))
    );
}
