//! Units and ports: what runs now and did not, or the other way round.

use std::collections::BTreeMap;

use super::facts::{Facts, Port, Running, UnitFile, UnitFileState, UnitState};
use super::files::is_auto_named;
use super::{Against, FactKind, RuntimeDrift};

/// Units of these kinds are somebody's intent; targets, slices, scopes and devices follow from others, and mounts and swap
/// spaces are compared as such.
const KINDS: &[&str] = &[".service", ".socket", ".timer", ".automount", ".path"];

/// They come with a session, a terminal, a disk or a question to the system, and go again.
const PASSING: &[&str] = &[
    "user@",
    "user-runtime-dir@",
    "getty@tty",
    "autovt@",
    "serial-getty@",
    "container-getty@",
    "systemd-fsck@",
    "systemd-coredump@",
    "systemd-hostnamed.",
    "systemd-localed.",
    "systemd-timedated.",
    "systemd-importd.",
    "systemd-machined.",
    "systemd-tmpfiles-clean.service",
    "systemd-update-utmp-runlevel.service",
    "modprobe@",
    "lvm2-pvscan@",
    "apt-daily.service",
    "apt-daily-upgrade.service",
    "packagekit.service",
    "greenroom-",
];

/// What a unit's state comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Up,
    Down,
    Failed,
    /// On its way: nothing to be said of it yet.
    Moving,
}

impl Life {
    pub(super) fn of(state: Option<&UnitState>) -> Self {
        let Some(state) = state else { return Self::Down };
        match (state.active.as_str(), state.sub.as_str()) {
            ("active" | "reloading" | "refreshing", _) => Self::Up,
            // It ended, and systemd tries again and again.
            ("failed", _) | (_, "auto-restart" | "auto-restart-queued") => Self::Failed,
            ("activating" | "deactivating" | "maintenance", _) => Self::Moving,
            _ => Self::Down,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Up => "active",
            Self::Down => "inactive",
            Self::Failed => "failed",
            Self::Moving => "changing",
        }
    }
}

/// Whether a unit's coming and going is anybody's intent.
pub(super) fn matters(name: &str) -> bool {
    KINDS.iter().any(|kind| name.ends_with(kind))
        && !PASSING.iter().any(|passing| name.starts_with(passing))
        && !is_auto_named(name)
}

/// What the files say of a unit; of an instance, what they say of its template.
pub(super) fn file_of<'a>(facts: &'a Facts, unit: &str) -> Option<&'a UnitFile> {
    let template = || {
        let (stem, rest) = unit.split_once('@')?;
        facts.units.get(&format!("{stem}@.{}", rest.rsplit_once('.')?.1))
    };
    facts.units.get(unit).or_else(template)
}

pub(super) fn units(before: &Facts, after: &Facts, was: &Running, is: &Running, out: &mut Vec<RuntimeDrift>) {
    if was.units.is_empty() || is.units.is_empty() {
        // One of the looks failed: nothing to compare, and not everything stopped.
        return;
    }
    let mut names: Vec<&String> = was.units.keys().chain(is.units.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names.into_iter().filter(|name| matters(name)) {
        let (one, other) = (was.units.get(name), is.units.get(name));
        let (from, to) = (Life::of(one), Life::of(other));
        if from == to || from == Life::Moving || to == Life::Moving {
            continue;
        }
        let file = file_of(after, name).or_else(|| file_of(before, name));
        let once = file.is_some_and(|f| f.once);
        let passing = once && !file.is_some_and(|f| f.remains) || file.is_some_and(|f| f.on_demand);
        // Conditions decide at each boot anew whether a unit is started.
        let unmet = one.is_some_and(|s| s.unmet) || other.is_some_and(|s| s.unmet);
        // A failure that is no more, without anything that runs now.
        let over = from == Life::Failed && to == Life::Down;
        // What runs once a boot and stays as a mark only.
        let other_boot = once && was.boot != is.boot;
        if to != Life::Failed && (passing || unmet || over || other_boot) {
            continue;
        }
        out.push(unit(name, from, to, other, file));
    }
}

fn unit(name: &str, from: Life, to: Life, state: Option<&UnitState>, file: Option<&UnitFile>) -> RuntimeDrift {
    let starts = file.is_some_and(|f| f.at_boot || f.state == UnitFileState::Enabled);
    let (detail, lasting) = match (to, file) {
        (Life::Failed, _) => {
            let sub = state.map(|s| s.sub.as_str()).unwrap_or_default();
            let how = if sub.starts_with("auto-restart") { "fails again and again" } else { "has failed" };
            (format!("{name} {how}: see `systemctl status {name}`"), false)
        }
        (Life::Up, None) => (format!("{name} runs and no file describes it: it does not outlive this boot"), false),
        (Life::Up, Some(_)) if starts => (format!("{name} runs, and boot starts it"), true),
        (Life::Up, Some(file)) => {
            let word = file.state.word();
            (format!("{name} runs but is {word}: nothing starts it at boot"), false)
        }
        (_, _) if starts => (format!("{name} does not run but is enabled: the next boot starts it"), false),
        _ => (format!("{name} does not run, and nothing starts it at boot"), true),
    };
    RuntimeDrift {
        kind: FactKind::Unit,
        item: name.to_owned(),
        before: Some(from.word().to_owned()),
        after: Some(to.word().to_owned()),
        detail,
        lasting,
        against: Against::Record,
        file: None,
    }
}

/// By what a port is known again after a restart: by its number, or, where the kernel picked that, by who holds it.
type Key<'a> = (&'a str, &'a str, u16, String);

fn by_key(ports: &std::collections::BTreeSet<Port>) -> BTreeMap<Key<'_>, &Port> {
    let mut out: BTreeMap<Key<'_>, &Port> = BTreeMap::new();
    for port in ports {
        let (number, holder) = if port.ephemeral { (0, holder(port)) } else { (port.port, String::new()) };
        let place = out.entry((&port.proto, &port.address, number, holder)).or_insert(port);
        // systemd keeps a socket that it has handed over.
        if place.process.as_deref() == Some("systemd") {
            *place = port;
        }
    }
    out
}

/// Sessions are numbered; who is logged in is not told by the number.
fn unit_of(port: &Port) -> Option<&str> {
    port.unit.as_deref().map(|unit| if unit.starts_with("session-") { "a session" } else { unit })
}

fn holder(port: &Port) -> String {
    match (&port.process, unit_of(port)) {
        (Some(process), Some(unit)) => format!("{process} ({unit})"),
        (Some(one), None) => one.clone(),
        (None, Some(unit)) => unit.to_owned(),
        (None, None) => "unknown".to_owned(),
    }
}

pub(super) fn ports(after: &Facts, was: &Running, is: &Running, out: &mut Vec<RuntimeDrift>) {
    let (before, now) = (by_key(&was.ports), by_key(&is.ports));
    for (key, port) in &now {
        match before.get(key) {
            None => out.push(one_port(after, None, Some(port))),
            Some(old) if another_holder(old, port) => out.push(one_port(after, Some(old), Some(port))),
            Some(_) => {}
        }
    }
    for (_, port) in before.iter().filter(|(key, _)| !now.contains_key(*key)) {
        out.push(one_port(after, Some(port), None));
    }
}

/// Whether someone else listens: another unit, or where neither is in one, another process.
fn another_holder(old: &Port, new: &Port) -> bool {
    let by_systemd = |p: &Port| matches!(p.process.as_deref(), None | Some("systemd"));
    if by_systemd(old) || by_systemd(new) {
        return false;
    }
    let (a, b) = (unit_of(old), unit_of(new));
    a != b || (a.is_none() && old.process != new.process)
}

fn one_port(after: &Facts, from: Option<&Port>, to: Option<&Port>) -> RuntimeDrift {
    // One of both is there: a port that is on neither side has no key.
    let port = to.or(from).cloned().unwrap_or_default();
    let host = if port.address.contains(':') { format!("[{}]", port.address) } else { port.address.clone() };
    let item = format!("{} {host}:{}", port.proto, port.port);
    let starts = |p: &Port| {
        let file = p.unit.as_deref().and_then(|unit| file_of(after, unit));
        file.is_some_and(|f| f.at_boot || f.state == UnitFileState::Enabled)
    };
    let (detail, lasting) = match (from, to) {
        (None, Some(p)) => match p.unit.as_deref() {
            Some(unit) if starts(p) => (format!("{} listens on {item}; boot starts {unit}", holder(p)), true),
            Some(_) => (format!("{} listens on {item}; nothing starts it at boot", holder(p)), false),
            None => (format!("{} listens on {item} outside every unit", holder(p)), false),
        },
        (Some(old), Some(p)) => (format!("{} listens on {item}, where {} did", holder(p), holder(old)), starts(p)),
        (Some(old), _) => (format!("nobody listens on {item} any more; {} did", holder(old)), !starts(old)),
        (None, None) => (String::new(), false),
    };
    RuntimeDrift {
        kind: FactKind::Port,
        item,
        before: from.map(holder),
        after: to.map(holder),
        detail,
        lasting,
        against: Against::Record,
        file: None,
    }
}
