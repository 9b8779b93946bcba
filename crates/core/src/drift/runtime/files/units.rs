//! Unit files (systemd.unit(5)): what is enabled, what kind of service it is, when a timer elapses.
//!
//! The files alone are read, as they are before the next `daemon-reload`. What generators make is not among them, with one
//! exception: scripts of `/etc/init.d` that a runlevel starts.

use std::collections::{BTreeMap, BTreeSet};

use super::shown;
use crate::TreePath;
use crate::drift::runtime::{Timer, UnitFile, UnitFileState};
use crate::effect::{Side, Sources, is_unit_name};

/// By descending rank: a file hides one of the same name further down.
const DIRS: &[&str] =
    &["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Kinds that somebody enables or that run; targets, slices and mounts follow from others.
const KINDS: &[&[u8]] = &[b".service", b".socket", b".timer", b".path", b".automount", b".swap", b".target", b".mount"];

/// Targets that every boot reaches.
const AT_BOOT: &[&[u8]] = &[
    b"sysinit",
    b"basic",
    b"multi-user",
    b"default",
    b"local-fs",
    b"remote-fs",
    b"network-pre",
    b"network",
    b"network-online",
    b"sockets",
    b"timers",
    b"paths",
    b"getty",
];

#[derive(Default)]
struct Seen {
    /// Units that the administrator's directories pull in.
    enabled: BTreeSet<Vec<u8>>,
    /// Units that the vendor's directories pull in.
    wanted: BTreeSet<Vec<u8>>,
    /// Those of both that a target of [`AT_BOOT`] pulls in.
    at_boot: BTreeSet<Vec<u8>>,
    /// Names of unit files, each with the directory of highest rank.
    files: BTreeMap<Vec<u8>, TreePath>,
    /// Directories of drop-ins, lowest rank first.
    drop_ins: BTreeMap<Vec<u8>, Vec<TreePath>>,
}

pub(super) fn read(sources: &dyn Sources) -> (BTreeMap<String, UnitFile>, BTreeMap<String, Timer>) {
    let seen = look(sources);
    let (mut units, mut timers) = (BTreeMap::new(), BTreeMap::new());
    // What sockets, paths and timers start.
    let triggered: BTreeSet<Vec<u8>> = seen.files.keys().filter_map(|name| triggered_by(name)).collect();
    let names: BTreeSet<&Vec<u8>> = seen.files.keys().chain(&seen.enabled).collect();
    for name in names.into_iter().filter(|name| KINDS.iter().any(|kind| name.ends_with(kind))) {
        let Some((path, text)) = text_of(name, &seen, sources) else {
            if seen.files.contains_key(name) {
                let state = UnitFileState::Masked;
                units.insert(shown(name), UnitFile { state, ..UnitFile::default() });
            }
            continue;
        };
        let unit = parse(&text);
        if unit.aliases.iter().any(|alias| alias.as_bytes() == &name[..]) {
            // Another unit's second name.
            continue;
        }
        let enabled = seen.enabled.contains(name);
        let state = match (enabled, unit.install) {
            _ if text.is_empty() && path.starts_with(&TreePath::from(DIRS[0])) => UnitFileState::Masked,
            (true, _) => UnitFileState::Enabled,
            (false, true) => UnitFileState::Disabled,
            (false, false) => UnitFileState::Static,
        };
        let called = unit.bus || triggered.contains(name) || is_instance_of_socket(name, &seen);
        let on_demand = called && !enabled && !seen.wanted.contains(name);
        if name.ends_with(b".timer") && (enabled || seen.wanted.contains(name)) && state != UnitFileState::Masked {
            timers.insert(shown(name), Timer { schedule: unit.schedule });
        }
        let file =
            UnitFile { state, at_boot: seen.at_boot.contains(name), once: unit.once, remains: unit.remains, on_demand };
        units.insert(shown(name), file);
    }
    init_scripts(sources, &mut units);
    (units, timers)
}

fn look(sources: &dyn Sources) -> Seen {
    let mut seen = Seen::default();
    for (rank, dir) in DIRS.iter().enumerate() {
        let dir = TreePath::from(*dir);
        for name in sources.names(&dir, Side::After) {
            let pulls = [&b".wants"[..], b".requires", b".upholds"].iter().any(|suffix| name.ends_with(suffix));
            if pulls {
                let set = if rank == 0 { &mut seen.enabled } else { &mut seen.wanted };
                let mut pulled = sources.names(&dir.join(&name), Side::After);
                pulled.retain(|name| is_unit_name(name));
                let by = name.split(|b| *b == b'.').next().unwrap_or_default();
                if AT_BOOT.contains(&by) {
                    seen.at_boot.extend(pulled.iter().cloned());
                }
                set.extend(pulled);
            } else if name.ends_with(b".d") {
                seen.drop_ins.entry(name[..name.len() - 2].to_vec()).or_default().insert(0, dir.join(&name));
            } else if is_unit_name(&name) {
                seen.files.entry(name.clone()).or_insert_with(|| dir.join(&name));
            }
        }
    }
    seen
}

/// The text of a unit with its drop-ins, and where it lies; of an instance, that of its template. `None`: a link to nothing
/// that can be read, that is a mask.
fn text_of(name: &[u8], seen: &Seen, sources: &dyn Sources) -> Option<(TreePath, String)> {
    let template = template(name);
    let found = seen.files.get(name).or_else(|| seen.files.get(template.as_ref()?))?;
    let mut text = String::from_utf8_lossy(&sources.content(found, Side::After)?).into_owned();
    for owner in [template.as_deref(), Some(name)].into_iter().flatten() {
        for dir in seen.drop_ins.get(owner).into_iter().flatten() {
            for file in sources.names(dir, Side::After).iter().filter(|file| file.ends_with(b".conf")) {
                let content = sources.content(&dir.join(file), Side::After).unwrap_or_default();
                text.push('\n');
                text.push_str(&String::from_utf8_lossy(&content));
            }
        }
    }
    Some((found.clone(), text))
}

/// `getty@.service` of `getty@tty1.service`.
fn template(name: &[u8]) -> Option<Vec<u8>> {
    let at = name.iter().position(|b| *b == b'@')?;
    let dot = name.iter().rposition(|b| *b == b'.')?;
    (at + 1 < dot).then(|| [&name[..=at], &name[dot..]].concat())
}

/// The service that a socket, path or timer of this name starts.
fn triggered_by(name: &[u8]) -> Option<Vec<u8>> {
    let stem = [&b".socket"[..], b".path", b".timer"].iter().find_map(|suffix| name.strip_suffix(*suffix))?;
    Some([stem, b".service"].concat())
}

/// `ssh@….service` for each connection to `ssh.socket`.
fn is_instance_of_socket(name: &[u8], seen: &Seen) -> bool {
    let stem = name.split(|b| *b == b'@').next().unwrap_or(name);
    name.contains(&b'@') && seen.files.contains_key(&[stem, b".socket"].concat())
}

#[derive(Default)]
struct Parsed {
    install: bool,
    once: bool,
    remains: bool,
    bus: bool,
    aliases: Vec<String>,
    schedule: Vec<String>,
}

fn parse(text: &str) -> Parsed {
    let mut out = Parsed::default();
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            out.install |= name == "Install";
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match (section, key) {
            ("Install", "Alias") => out.aliases.extend(value.split_whitespace().map(str::to_owned)),
            ("Service", "Type") => (out.once, out.bus) = (value == "oneshot", value == "dbus"),
            ("Service", "BusName") => out.bus = true,
            ("Service", "RemainAfterExit") => out.remains = matches!(value, "yes" | "true" | "1" | "on"),
            ("Timer", key) if key.starts_with("On") || matches!(key, "Unit" | "Persistent" | "RandomizedDelaySec") => {
                // An empty value takes back what was set before.
                if value.is_empty() {
                    out.schedule.retain(|line| !line.starts_with(&format!("{key}=")));
                } else {
                    out.schedule.push(shown(format!("{key}={value}").as_bytes()));
                }
            }
            _ => {}
        }
    }
    out
}

/// What runlevel 2 to 5 starts and no unit file describes, as systemd-sysv-generator(8) finds it.
fn init_scripts(sources: &dyn Sources, units: &mut BTreeMap<String, UnitFile>) {
    for script in sources.names(&"/etc/init.d".into(), Side::After).into_iter().filter(|name| !name.starts_with(b".")) {
        let unit = shown(&[&script[..], b".service"].concat());
        if units.contains_key(&unit) {
            continue;
        }
        let starts = |level: u8| {
            let dir = TreePath::new(format!("/etc/rc{level}.d").as_bytes());
            let names = sources.names(&dir, Side::After);
            names.iter().any(|name| name.first() == Some(&b'S') && name.get(3..) == Some(&script[..]))
        };
        let state = if (2..=5).any(starts) { UnitFileState::Enabled } else { UnitFileState::Disabled };
        // Nothing says whether a script leaves a process behind.
        units.insert(
            unit,
            UnitFile { state, at_boot: state == UnitFileState::Enabled, once: true, remains: true, on_demand: false },
        );
    }
}

/// Named by systemd-run(1) or by the manager itself: nobody's intent, gone with what asked for it.
pub(in crate::drift::runtime) fn is_auto_named(unit: &str) -> bool {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let rest = stem.strip_prefix("run-").unwrap_or("");
    let id = rest.strip_prefix(['r', 'u', 'p']).unwrap_or("");
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'-' | b'i'))
}
