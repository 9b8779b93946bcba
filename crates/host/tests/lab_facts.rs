//! Looks at a real booted host: what is done to it at run time is seen, told apart from what a file keeps, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a test ends with what was unexpected")]

use std::fs;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use greenroom_core::effect::{Effects, RuntimeDiff};
use greenroom_core::{Changeset, TreePath};
use greenroom_host::facts::{Runtime, Target, Trees, maps};
use greenroom_testkit::lab::{Boot, Lab, LabHost};

fn booted(name: &str) -> (LabHost, Target) {
    let mut host = Lab::new().unwrap().host(name).unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let leader = host.leader().unwrap();
    (host, Target::Copy { leader })
}

fn sh(host: &LabHost, script: &str) {
    host.exec_ok(&["sh", "-ec", script]).unwrap();
}

/// Looks until two looks differ in no unit: a service that was just started may still be starting.
fn settled(target: Target) -> Runtime {
    let until = Instant::now() + Duration::from_secs(20);
    let mut last = Runtime::read(&target).unwrap();
    loop {
        thread::sleep(Duration::from_millis(200));
        let now = Runtime::read(&target).unwrap();
        if Runtime::diff(&last, &now).is_empty() || Instant::now() > until {
            return now;
        }
        last = now;
    }
}

fn words(diff: &RuntimeDiff) -> Vec<String> {
    let units = diff.units.iter().map(|u| format!("{} {}→{} {}", u.unit, u.from, u.to, u.restarted));
    let ports = diff.ports.iter().map(|p| format!("{} {} {:?} {:?}", p.proto, p.port, p.unit.as_deref(), p.op));
    let sysctl = diff.sysctl.iter().map(|s| format!("{}={}", s.key, s.to));
    let rules = diff.firewall.iter().map(|r| format!("{}: {}", r.place, r.line));
    let mounts = diff.mounts.iter().map(|m| format!("{} on {} {:?}", m.fstype, m.target, m.op));
    let strays = diff.strays.iter().map(|s| format!("stray {}", s.name));
    units.chain(ports).chain(sysctl).chain(rules).chain(mounts).chain(strays).collect()
}

#[test]
fn nothing_done_is_nothing_seen() {
    greenroom_testkit::need_root!();
    let (host, target) = booted("facts-idle");
    let before = settled(target);
    assert!(before.units["cron.service"].active == "active" && before.gaps.is_empty(), "{:?}", before.gaps);
    assert!(
        before.ports.iter().any(|p| p.port == 22 && p.unit.as_deref() == Some("ssh.service")),
        "{:?}",
        before.ports
    );
    assert!(before.sysctl.contains_key("net.ipv4.ip_forward") && before.sysctl.contains_key("kernel.hostname"));
    sh(&host, "systemctl is-active cron; ls / >/dev/null; nft list ruleset; sysctl -a >/dev/null");
    let after = settled(target);
    assert_eq!(Runtime::diff(&before, &after), RuntimeDiff::default());
}

#[test]
fn what_is_done_at_run_time_is_seen_and_what_a_file_keeps_is_told_apart() {
    greenroom_testkit::need_root!();
    let (host, target) = booted("facts-busy");
    let before = settled(target);
    sh(
        &host,
        "systemctl stop cron
         systemctl restart ssh
         systemd-run -q --unit=adhoc sleep 1000
         mount -t tmpfs none /mnt
         echo 'none /srv tmpfs defaults 0 0' >>/etc/fstab
         mount -t tmpfs none /srv
         echo renamed >/etc/hostname
         hostname renamed
         nft -f - <<'E'
         table inet t { chain c { type filter hook input priority 0; tcp dport 81 counter drop; }; }
E",
    );
    let diff = Runtime::diff(&before, &settled(target));
    let expected = [
        "adhoc.service inactive→active false",
        "cron.service active→inactive false",
        "ssh.service active→active true",
        "kernel.hostname=renamed",
        ": table inet t",
        "table inet t: chain c",
        "table inet t, chain c: type filter hook input priority filter; policy accept;",
        "table inet t, chain c: tcp dport 81 counter drop",
        "tmpfs on /mnt Added",
        "tmpfs on /srv Added",
    ];
    assert_eq!(words(&diff), expected);
    let trees = Trees::open(host.root(), host.root()).unwrap();
    let mut effects = Effects::default();
    let only = effects.add_runtime(diff, &Changeset::default(), &trees);
    let items: Vec<String> = only.iter().map(|o| format!("{} {}", o.kind, o.item)).collect();
    assert_eq!(items, ["firewall nftables", "mount /mnt", "unit adhoc.service", "unit cron.service"]);
    assert_eq!(effects.mounts.iter().map(|m| m.kept_by.as_deref()).collect::<Vec<_>>(), [None, Some("/etc/fstab")]);
}

#[test]
fn the_network_alone_is_read_through_its_namespace() {
    greenroom_testkit::need_root!();
    let (host, target) = booted("facts-net");
    let Target::Copy { leader } = target else { unreachable!("it was just made") };
    let namespace = fs::File::open(format!("/proc/{leader}/ns/net")).unwrap();
    let before = Runtime::read_netns(namespace.as_fd());
    sh(&host, "nft add table inet t");
    let after = Runtime::read_netns(namespace.as_fd());
    assert_eq!(words(&Runtime::diff(&before, &after)), [": table inet t"]);
    // The machine's own rules are others.
    let own = fs::File::open("/proc/self/ns/net").unwrap();
    assert!(!Runtime::read_netns(own.as_fd()).rules.nftables.contains("table inet t"));
}

#[test]
fn a_service_whose_program_was_replaced_is_found_until_it_is_restarted() {
    greenroom_testkit::need_root!();
    let (host, target) = booted("facts-maps");
    let program = [TreePath::from("/usr/sbin/cron")];
    let units = |found: Vec<maps::StaleUnit>| found.into_iter().filter_map(|u| u.unit).collect::<Vec<_>>();
    assert_eq!(units(maps::units_mapping(&target, &program).unwrap()), ["cron.service"]);
    assert_eq!(units(maps::units_with_stale_maps(&target, &program).unwrap()), Vec::<String>::new());
    sh(&host, "cp -p /usr/sbin/cron /usr/sbin/cron.new; mv /usr/sbin/cron.new /usr/sbin/cron");
    assert_eq!(units(maps::units_with_stale_maps(&target, &program).unwrap()), ["cron.service"]);
    sh(&host, "systemctl restart cron");
    assert_eq!(units(maps::units_with_stale_maps(&target, &program).unwrap()), Vec::<String>::new());
}

#[test]
fn a_copy_that_has_ended_is_an_error() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let gone = Runtime::read(&Target::Copy { leader: child.id() }).unwrap_err();
    assert!(gone.to_string().contains(&child.id().to_string()), "{gone}");
}
