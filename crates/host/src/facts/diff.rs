//! The difference between two looks, without what happens by itself.

use std::collections::BTreeMap;

use greenroom_core::effect::{
    Direction, MountChange, PortChange, RuntimeDiff, Stray, SysctlChange, UnitActivity, ruleset_changes, sysctl_follows,
};

use super::{Port, Runtime, UnitState};

/// Units of these kinds are somebody's intent; targets, slices, scopes and devices follow from others, and mounts are
/// compared as such.
const KINDS: &[&str] = &[".service", ".socket", ".timer", ".automount", ".path", ".swap"];

/// Started on demand or by a timer, and gone again by themselves.
const PASSING: &[&str] = &[
    "systemd-hostnamed.service",
    "systemd-localed.service",
    "systemd-timedated.service",
    "systemd-tmpfiles-clean.service",
    "systemd-update-utmp-runlevel.service",
    "apt-daily.service",
    "apt-daily-upgrade.service",
    "packagekit.service",
];

impl Runtime {
    /// What differs from `before` to `after`, sorted.
    #[must_use]
    pub fn diff(before: &Self, after: &Self) -> RuntimeDiff {
        let mut firewall = ruleset_changes("nftables", &before.rules.nftables, &after.rules.nftables);
        firewall.extend(ruleset_changes("iptables", &before.rules.iptables, &after.rules.iptables));
        let mut gaps: Vec<String> = before.gaps.iter().chain(&after.gaps).cloned().collect();
        gaps.sort();
        gaps.dedup();
        let strays = after.strays.iter().filter(|(key, _)| !before.strays.contains_key(key));
        RuntimeDiff {
            units: units(&before.units, &after.units),
            ports: ports(before, after),
            sysctl: sysctls(&before.sysctl, &after.sysctl),
            firewall,
            mounts: mounts(before, after),
            strays: strays.map(|(_, stray): (_, &Stray)| stray.clone()).collect(),
            gaps,
        }
    }
}

fn units(before: &BTreeMap<String, UnitState>, after: &BTreeMap<String, UnitState>) -> Vec<UnitActivity> {
    if before.is_empty() || after.is_empty() {
        // One of the looks failed: nothing to compare, and not everything stopped.
        return Vec::new();
    }
    let unloaded = UnitState { active: "inactive".to_owned(), ..UnitState::default() };
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut out = Vec::new();
    for name in names {
        let (was, is) = (before.get(name).unwrap_or(&unloaded), after.get(name).unwrap_or(&unloaded));
        let loaded = if after.contains_key(name) { is } else { was };
        let restarted = was.active == "active"
            && is.active == "active"
            && (was.invocation != is.invocation || was.restarts != is.restarts);
        let passing = loaded.kind == "oneshot" && !loaded.remains && is.active != "failed";
        if (was.active == is.active && !restarted) || !matters(name) || passing {
            continue;
        }
        out.push(UnitActivity {
            unit: name.clone(),
            from: was.active.clone(),
            to: is.active.clone(),
            restarted,
            file_state: loaded.file_state.clone(),
            pulled_by: loaded.pulled_by.clone(),
            passing,
            kept_by: None,
        });
    }
    out
}

fn matters(name: &str) -> bool {
    let of_a_session = name.starts_with("user@") || name.starts_with("user-runtime-dir@");
    let below_run = name.starts_with("run-") && name.ends_with(".mount");
    let passing = PASSING.contains(&name) || of_a_session || below_run;
    KINDS.iter().any(|kind| name.ends_with(kind)) && !passing
}

fn ports(before: &Runtime, after: &Runtime) -> Vec<PortChange> {
    // Who listens may have been restarted: the same port by another process of the same name is no change.
    let same = |a: &Port, b: &Port| (a.proto, &a.address, a.port) == (b.proto, &b.address, b.port);
    let only = |here: &Runtime, there: &Runtime, op| -> Vec<PortChange> {
        let lone = here.ports.iter().filter(|p| !there.ports.iter().any(|q| same(p, q)));
        let change = lone.map(|p| PortChange {
            proto: p.proto.to_owned(),
            address: p.address.clone(),
            port: p.port,
            process: p.process.clone(),
            unit: p.unit.clone(),
            op,
        });
        change.collect()
    };
    let mut out = only(after, before, Direction::Added);
    out.extend(only(before, after, Direction::Removed));
    out.sort();
    out
}

/// Keys that are on one side only come and go with an interface or a module: nobody set them.
fn sysctls(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<SysctlChange> {
    let differs =
        after.iter().filter_map(|(key, to)| before.get(key).filter(|from| *from != to).map(|from| (key, from, to)));
    let differs: Vec<_> = differs.collect();
    let changed: BTreeMap<&str, &str> = differs.iter().map(|(key, _, to)| (key.as_str(), to.as_str())).collect();
    let own = differs.iter().filter(|(key, _, to)| !sysctl_follows(key, to, &changed));
    own.map(|(key, from, to)| SysctlChange {
        key: (*key).clone(),
        from: (*from).clone(),
        to: (*to).clone(),
        kept_by: None,
    })
    .collect()
}

fn mounts(before: &Runtime, after: &Runtime) -> Vec<MountChange> {
    let only = |here: &Runtime, there: &Runtime, op| -> Vec<MountChange> {
        let lone = here.mounts.iter().filter(|(at, mount)| there.mounts.get(*at) != Some(mount));
        let change = lone.map(|(at, mount)| MountChange {
            target: at.clone(),
            source: mount.source.clone(),
            fstype: mount.fstype.clone(),
            op,
            kept_by: None,
        });
        change.collect()
    };
    let mut out = only(before, after, Direction::Removed);
    out.extend(only(after, before, Direction::Added));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(active: &str, invocation: &str, kind: &str) -> UnitState {
        UnitState { active: active.into(), invocation: invocation.into(), kind: kind.into(), ..UnitState::default() }
    }

    #[test]
    fn units_that_started_stopped_and_restarted() {
        let before = BTreeMap::from([
            ("same.service".to_owned(), unit("active", "1", "simple")),
            ("again.service".to_owned(), unit("active", "1", "simple")),
            ("gone.service".to_owned(), unit("active", "1", "simple")),
            ("once.service".to_owned(), unit("active", "1", "oneshot")),
            ("a.target".to_owned(), unit("inactive", "", "")),
            ("user@0.service".to_owned(), unit("active", "1", "notify")),
        ]);
        let after = BTreeMap::from([
            ("same.service".to_owned(), unit("active", "1", "simple")),
            ("again.service".to_owned(), unit("active", "2", "simple")),
            ("new.timer".to_owned(), unit("active", "1", "")),
            ("once.service".to_owned(), unit("inactive", "1", "oneshot")),
            ("broken.service".to_owned(), unit("failed", "1", "oneshot")),
            ("a.target".to_owned(), unit("active", "1", "")),
        ]);
        let found: Vec<String> =
            units(&before, &after).iter().map(|u| format!("{} {} {} {}", u.unit, u.from, u.to, u.restarted)).collect();
        let expected = [
            "again.service active active true",
            "broken.service inactive failed false",
            "gone.service active inactive false",
            "new.timer inactive active false",
        ];
        assert_eq!(found, expected);
        assert_eq!(units(&before, &BTreeMap::new()), []);
    }

    #[test]
    fn a_restarted_listener_is_no_change() {
        let port = |process: &str, port| Port {
            proto: "tcp",
            address: "::".into(),
            port,
            process: Some(process.into()),
            unit: None,
        };
        let before = Runtime { ports: [port("a", 80), port("x", 81)].into(), ..Runtime::default() };
        let after = Runtime { ports: [port("b", 80), port("y", 82)].into(), ..Runtime::default() };
        let diff = Runtime::diff(&before, &after);
        let found: Vec<_> = diff.ports.iter().map(|p| (p.port, p.op)).collect();
        assert_eq!(found, [(81, Direction::Removed), (82, Direction::Added)]);
        assert!(!diff.is_empty() && Runtime::diff(&before, &before).is_empty());
    }

    #[test]
    fn keys_that_come_with_an_interface_are_no_change() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let before: BTreeMap<_, _> = map(&[("net.ipv4.ip_forward", "0"), ("net.ipv4.conf.lo.forwarding", "0")]);
        let after = map(&[
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.lo.forwarding", "1"),
            ("net.ipv4.conf.eth9.forwarding", "1"),
        ]);
        let keys: Vec<String> = sysctls(&before, &after).into_iter().map(|c| c.key).collect();
        assert_eq!(keys, ["net.ipv4.ip_forward"]);
    }
}
