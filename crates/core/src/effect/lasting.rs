//! What makes a change at run time last, and what nothing does.
//!
//! For each item of a [`RuntimeDiff`] the place that would bring it back at the next boot is looked up in the tree after the
//! change: a sysctl file, a rule file and the unit that loads it, fstab or a mount unit, what is enabled. Where there is
//! none the change is a [`RuntimeOnly`]: the person is told before going live, not after the next boot.

use super::places::{SettingKind, setting};
use super::runtime::{MountChange, RuleChange, SysctlChange, UnitActivity};
use super::{Direction, RuntimeDiff, RuntimeOnly, Side, Sources};
use crate::{Changeset, TreePath};

mod sysctl;

pub use sysctl::{Settings as SysctlFiles, follows as sysctl_follows};

/// Fills `kept_by` everywhere and returns what stays without.
pub(super) fn judge(diff: &mut RuntimeDiff, changeset: &Changeset, sources: &dyn Sources) -> Vec<RuntimeOnly> {
    let mut out = Vec::new();
    sysctls(&mut diff.sysctl, sources, &mut out);
    firewall(&mut diff.firewall, changeset, sources, &mut out);
    diff.mounts.iter_mut().for_each(|m| mount(m, sources, &mut out));
    diff.units.iter_mut().for_each(|u| unit(u, &mut out));
    for stray in &diff.strays {
        let detail = format!(
            "the process {} (pid {} in the copy) was left running outside every unit and will not run on the host: make \
             it a unit, or a `live` step",
            stray.name, stray.pid
        );
        out.push(RuntimeOnly { kind: "process".into(), item: stray.name.clone(), detail });
    }
    for port in diff.ports.iter().filter(|p| p.op == Direction::Added && p.unit.is_none()) {
        let who = port.process.as_deref().unwrap_or("a process");
        let item = format!("{} {}", port.proto, host_port(&port.address, port.port));
        let detail = format!("{who} listens on {item} outside every unit: nobody will on the host, unless a unit does");
        out.push(RuntimeOnly { kind: "port".into(), item, detail });
    }
    out
}

/// An address with its port, IPv6 in brackets.
pub(super) fn host_port(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn sysctls(changes: &mut [SysctlChange], sources: &dyn Sources, out: &mut Vec<RuntimeOnly>) {
    if changes.is_empty() {
        return;
    }
    let settings = sysctl::Settings::read(sources);
    for change in changes {
        let (key, from, to) = (&change.key, &change.from, &change.to);
        if key == "kernel.hostname" {
            let hostname = sources.content(&"/etc/hostname".into(), Side::After).unwrap_or_default();
            if String::from_utf8_lossy(&hostname).trim() == to {
                change.kept_by = Some("/etc/hostname".to_owned());
                continue;
            }
            let detail = format!(
                "the host's name changed from {from} to {to} at run time only and will not go live: write /etc/hostname"
            );
            out.push(RuntimeOnly { kind: "hostname".into(), item: to.clone(), detail });
            continue;
        }
        let set = settings.of(key);
        if let Some((_, file)) = set.as_ref().filter(|(value, _)| value == to) {
            change.kept_by = Some(file.clone());
            continue;
        }
        let why = match set {
            Some((value, file)) => format!("{file} sets it to {value}"),
            None => "no file sets it".to_owned(),
        };
        let detail = format!(
            "{key} changed from {from} to {to} at run time and {why}, so it will not go live: write `{key} = {to}` to a \
             file in /etc/sysctl.d, or make it a `live` step"
        );
        out.push(RuntimeOnly { kind: "sysctl".into(), item: key.clone(), detail });
    }
}

/// Who loads rules at boot: files below these, by this unit.
const LOADERS: &[(&str, &str)] = &[
    ("/etc/nftables", "nftables.service"),
    ("/etc/sysconfig/nftables", "nftables.service"),
    ("/etc/iptables/", "netfilter-persistent.service"),
    ("/etc/ufw/", "ufw.service"),
    ("/etc/firewalld/", "firewalld.service"),
    ("/etc/ferm/", "ferm.service"),
    ("/etc/shorewall/", "shorewall.service"),
    ("/etc/fail2ban/", "fail2ban.service"),
];

fn firewall(changes: &mut [RuleChange], changeset: &Changeset, sources: &dyn Sources, out: &mut Vec<RuntimeOnly>) {
    for backend in ["nftables", "iptables"] {
        let count = changes.iter().filter(|c| c.backend == backend).count();
        if count == 0 {
            continue;
        }
        let files = changeset.entries().iter().filter(|e| e.after.is_some()).map(|e| &e.path);
        let files: Vec<&TreePath> = files.filter(|p| setting(p) == Some(SettingKind::Firewall)).collect();
        let loaded = files.iter().find_map(|path| {
            let unit = loader(path)?;
            enabled(unit, sources).then(|| format!("{path}, loaded by {unit}"))
        });
        if loaded.is_some() {
            changes.iter_mut().filter(|c| c.backend == backend).for_each(|c| c.kept_by.clone_from(&loaded));
            continue;
        }
        let (file, unit) = match backend {
            "nftables" => ("/etc/nftables.conf", "nftables.service"),
            _ => ("/etc/iptables/rules.v4", "netfilter-persistent.service"),
        };
        let detail = match files.first() {
            Some(path) => format!(
                "{count} lines of the {backend} rule set changed; {path} changed too, but {} is not enabled, so nothing loads \
                 it: enable the unit, or make it a `live` step",
                loader(path).unwrap_or("the unit that loads it")
            ),
            None => format!(
                "{count} lines of the {backend} rule set changed and no rule file did, so they will not go live: write them to \
                 {file} and enable {unit}, or make it a `live` step"
            ),
        };
        out.push(RuntimeOnly { kind: "firewall".into(), item: backend.to_owned(), detail });
    }
}

fn loader(path: &TreePath) -> Option<&'static str> {
    LOADERS.iter().find(|(place, _)| path.as_bytes().starts_with(place.as_bytes())).map(|(_, unit)| *unit)
}

/// Whether a target that every boot reaches pulls `unit` in.
fn enabled(unit: &str, sources: &dyn Sources) -> bool {
    let masked = sources.names(&"/etc/systemd/system".into(), Side::After).iter().any(|n| n == unit.as_bytes())
        && sources.content(&TreePath::from("/etc/systemd/system").join(unit.as_bytes()), Side::After).is_none();
    let targets = ["sysinit", "basic", "multi-user", "graphical", "network-pre", "network", "network-online"];
    let pulls = |target: &str| {
        ["wants", "requires"].iter().any(|how| {
            let dir = TreePath::new(format!("/etc/systemd/system/{target}.target.{how}").as_bytes());
            sources.names(&dir, Side::After).iter().any(|name| name == unit.as_bytes())
        })
    };
    !masked && targets.iter().any(|t| pulls(t))
}

fn mount(change: &mut MountChange, sources: &dyn Sources, out: &mut Vec<RuntimeOnly>) {
    let declared = declared_mount(&change.target, sources);
    let MountChange { target, source, fstype, .. } = &*change;
    let detail = match (change.op, declared) {
        (Direction::Added, Some(file)) => {
            change.kept_by = Some(file);
            return;
        }
        (Direction::Removed, None) => return,
        (Direction::Added, None) => format!(
            "{source} ({fstype}) was mounted on {target} at run time only and will not go live: add a line to /etc/fstab, or \
             make it a `live` step"
        ),
        (Direction::Removed, Some(file)) => format!(
            "{target} was unmounted, but {file} still mounts it at boot: take it out there, or make it a `live` step"
        ),
    };
    out.push(RuntimeOnly { kind: "mount".into(), item: change.target.clone(), detail });
}

/// The file after the change that mounts `target` at boot.
#[must_use]
pub fn declared_mount(target: &str, sources: &dyn Sources) -> Option<String> {
    let fstab = sources.content(&"/etc/fstab".into(), Side::After).unwrap_or_default();
    let fstab = String::from_utf8_lossy(&fstab);
    let points = fstab.lines().filter(|l| !l.trim_start().starts_with('#')).filter_map(|l| l.split_whitespace().nth(1));
    if points.map(unescape_octal).any(|point| point.trim_end_matches('/') == target.trim_end_matches('/')) {
        return Some("/etc/fstab".to_owned());
    }
    let unit = mount_unit(target);
    let dirs = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    let paths = dirs.iter().map(|dir| TreePath::from(*dir).join(unit.as_bytes()));
    paths.into_iter().find(|p| sources.content(p, Side::After).is_some()).map(|p| p.to_string())
}

/// `\040` and its like, as in fstab(5).
fn unescape_octal(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let bytes = field.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|d| u8::from_str_radix(d, 8).ok()).filter(|_| bytes[at] == b'\\') {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The mount unit of a path: systemd-escape(1) with `--path --suffix=mount`.
fn mount_unit(target: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for (at, byte) in target.trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => out.push(char::from(byte)),
            // Writing to a string can't fail.
            other => _ = write!(out, "\\x{other:02x}"),
        }
    }
    if out.is_empty() {
        out.push('-');
    }
    out + ".mount"
}

fn unit(change: &mut UnitActivity, out: &mut Vec<RuntimeOnly>) {
    let runs = |state: &str| matches!(state, "active" | "reloading" | "activating");
    let (was, is) = (runs(&change.from), runs(&change.to));
    if was == is || change.passing {
        return;
    }
    let at_boot = match change.file_state.as_str() {
        "enabled" | "alias" | "generated" | "static" | "indirect" => Some(format!("the unit is {}", change.file_state)),
        _ => change.pulled_by.first().map(|by| format!("{by} pulls it in")),
    };
    // Pulled in or triggered by something: a static unit comes and goes with that and nobody decided it.
    let decided = change.file_state.starts_with("enabled") || change.file_state == "generated";
    let unit = &change.unit;
    let detail = match (is, at_boot) {
        (true, Some(why)) => {
            change.kept_by = Some(why);
            return;
        }
        (true, None) if change.file_state == "transient" => format!(
            "{unit} was started as a transient unit and no file describes it, so it will not go live: write a unit file and \
             enable it, or make it a `live` step"
        ),
        (true, None) => format!(
            "{unit} was started but is not enabled: apply starts it too, the next boot will not; `systemctl enable {unit}` \
             makes it last"
        ),
        (false, Some(_)) if decided && change.to != "failed" => format!(
            "{unit} was stopped but is still enabled: apply stops it too, the next boot starts it again; `systemctl \
             disable {unit}` makes it last"
        ),
        (false, None) => {
            change.kept_by = Some("nothing starts it at boot".to_owned());
            return;
        }
        (false, Some(_)) => return,
    };
    out.push(RuntimeOnly { kind: "unit".into(), item: unit.clone(), detail });
}

#[cfg(test)]
mod tests;
