//! What no file preserves is found, and what one does is not.

use super::*;
use crate::effect::testing::World;
use crate::effect::{PortChange, Stray};

fn judged(world: &World, mut diff: RuntimeDiff) -> (RuntimeDiff, Vec<String>) {
    let found = judge(&mut diff, &world.changeset(), world);
    (diff, found.into_iter().map(|f| format!("{} {}: {}", f.kind, f.item, f.detail)).collect())
}

fn key(key: &str, from: &str, to: &str) -> SysctlChange {
    SysctlChange { key: key.into(), from: from.into(), to: to.into(), kept_by: None }
}

#[test]
fn kernel_parameters() {
    let world = World::default()
        .file("/etc/sysctl.d/50-a.conf", None, Some("# x\nnet.ipv4.ip_forward=1\nnet/core/somaxconn = 128\n"))
        .unchanged("/etc/sysctl.d/90-late.conf", "net.core.somaxconn=4096\n")
        .unchanged("/usr/lib/sysctl.d/50-a.conf", "net.ipv4.tcp_syncookies = 0\n")
        .unchanged("/usr/lib/sysctl.d/50-default.conf", "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n")
        .unchanged("/etc/sysctl.conf", "-net.ipv4.tcp_rmem = 4096\t131072  6291456\n")
        .unchanged("/etc/sysctl.d/README.sysctl", "net.ipv4.tcp_sack = 0\n");
    let table = [
        ("net.ipv4.ip_forward", "1", Some("/etc/sysctl.d/50-a.conf")),
        ("net.core.somaxconn", "4096", Some("/etc/sysctl.d/90-late.conf")),
        ("net.core.somaxconn", "128", None),
        ("net.ipv4.tcp_syncookies", "0", None),
        ("net.ipv4.conf.eth0/100.rp_filter", "2", Some("/usr/lib/sysctl.d/50-default.conf")),
        ("net.ipv4.conf.all.rp_filter", "2", None),
        ("net.ipv4.tcp_rmem", "4096 131072 6291456", Some("/etc/sysctl.conf")),
        ("net.ipv4.tcp_sack", "0", None),
    ];
    for (name, to, kept) in table {
        let (diff, found) = judged(&world, RuntimeDiff { sysctl: vec![key(name, "old", to)], ..Default::default() });
        assert_eq!(diff.sysctl[0].kept_by.as_deref(), kept, "{name} = {to}");
        assert_eq!(found.len(), usize::from(kept.is_none()), "{name} = {to}: {found:?}");
    }
    let (_, found) =
        judged(&world, RuntimeDiff { sysctl: vec![key("net.core.somaxconn", "4096", "128")], ..Default::default() });
    assert!(found[0].contains("/etc/sysctl.d/90-late.conf sets it to 4096"), "{found:?}");
}

#[test]
fn the_hosts_name() {
    let world = World::default().file("/etc/hostname", Some("a\n"), Some("b\n"));
    let name = |to| RuntimeDiff { sysctl: vec![key("kernel.hostname", "a", to)], ..Default::default() };
    assert_eq!(judged(&world, name("b")).1, Vec::<String>::new());
    assert!(judged(&world, name("c")).1[0].starts_with("hostname c: "));
}

fn rule(backend: &str) -> RuleChange {
    let (place, line) = ("table inet filter".into(), "tcp dport 80 drop".into());
    RuleChange { backend: backend.into(), place, op: Direction::Added, line, kept_by: None }
}

#[test]
fn firewall_rules() {
    let link = "/etc/systemd/system/sysinit.target.wants/nftables.service";
    let file = |world: World| world.file("/etc/nftables.conf", Some("a"), Some("b"));
    let on = |world: World| world.unchanged(link, "[Unit]");
    let masked = |world: World| world.link("/etc/systemd/system/nftables.service", None, Some("/dev/null"));
    let diff = || RuntimeDiff { firewall: vec![rule("nftables")], ..Default::default() };
    let table: [(World, Option<&str>); 4] = [
        (on(World::default()), Some("no rule file did")),
        (file(World::default()), Some("nftables.service is not enabled")),
        (masked(file(on(World::default()))), Some("nftables.service is not enabled")),
        (file(on(World::default())), None),
    ];
    for (world, complaint) in table {
        let (diff, found) = judged(&world, diff());
        assert_eq!(
            found.iter().map(|f| complaint.is_some_and(|c| f.contains(c))).collect::<Vec<_>>(),
            vec![true; found.len()]
        );
        assert_eq!(found.is_empty(), complaint.is_none());
        assert_eq!(diff.firewall[0].kept_by.is_some(), complaint.is_none());
    }
    let (_, found) = judged(&World::default(), RuntimeDiff { firewall: vec![rule("iptables")], ..Default::default() });
    assert!(found[0].contains("/etc/iptables/rules.v4"), "{found:?}");
}

#[test]
fn mounts() {
    let world = World::default()
        .unchanged("/etc/fstab", "# /x /commented\n/dev/sdb1 /srv/my\\040data ext4 defaults 0 2\n")
        .file("/etc/systemd/system/srv-a\\x2db.mount", None, Some("[Mount]\n"));
    let table = [
        ("/srv/my data", Direction::Added, Some("/etc/fstab"), false),
        ("/srv/a-b", Direction::Added, Some("/etc/systemd/system/srv-a\\\\x2db.mount"), false),
        ("/mnt", Direction::Added, None, true),
        ("/commented", Direction::Added, None, true),
        ("/mnt", Direction::Removed, None, false),
        ("/srv/my data", Direction::Removed, None, true),
    ];
    for (target, op, kept, told) in table {
        let change =
            MountChange { target: target.into(), source: "/dev/x".into(), fstype: "ext4".into(), op, kept_by: None };
        let (diff, found) = judged(&world, RuntimeDiff { mounts: vec![change], ..Default::default() });
        assert_eq!((diff.mounts[0].kept_by.as_deref(), !found.is_empty()), (kept, told), "{target} {op:?}");
    }
}

#[test]
fn units() {
    let table = [
        ("inactive", "active", "enabled", "", false, None),
        ("inactive", "active", "disabled", "", false, Some("not enabled")),
        ("inactive", "active", "disabled", "x.socket", false, None),
        ("inactive", "active", "static", "", false, None),
        ("inactive", "active", "transient", "", false, Some("transient unit")),
        ("inactive", "active", "disabled", "", true, None),
        ("active", "inactive", "enabled", "multi-user.target", false, Some("still enabled")),
        ("active", "inactive", "disabled", "", false, None),
        ("active", "inactive", "masked", "", false, None),
        ("active", "inactive", "static", "", false, None),
        ("active", "failed", "enabled", "", false, None),
        ("active", "reloading", "disabled", "", false, None),
    ];
    for (from, to, file_state, by, passing, complaint) in table {
        let change = UnitActivity {
            unit: "app.service".into(),
            from: from.into(),
            to: to.into(),
            file_state: file_state.into(),
            pulled_by: [by.to_owned()].into_iter().filter(|b| !b.is_empty()).collect(),
            passing,
            ..Default::default()
        };
        let (_, found) = judged(&World::default(), RuntimeDiff { units: vec![change], ..Default::default() });
        match complaint {
            None => assert_eq!(found, Vec::<String>::new(), "{from} {to} {file_state}"),
            Some(text) => assert!(found.len() == 1 && found[0].contains(text), "{from} {to} {file_state}: {found:?}"),
        }
    }
}

#[test]
fn processes_and_their_ports() {
    let port = |unit: Option<&str>, op| PortChange {
        proto: "tcp".into(),
        address: "::".into(),
        port: 8080,
        process: Some("python3".into()),
        unit: unit.map(str::to_owned),
        op,
    };
    let diff = RuntimeDiff {
        ports: vec![
            port(None, Direction::Added),
            port(Some("a.service"), Direction::Added),
            port(None, Direction::Removed),
        ],
        strays: vec![Stray { pid: 77, name: "python3".into(), cgroup: "/".into() }],
        ..Default::default()
    };
    let (_, found) = judged(&World::default(), diff);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("process python3: ") && found[1].starts_with("port tcp [::]:8080: "), "{found:?}");
}
