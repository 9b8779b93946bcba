//! Unit files, drop-ins and what is enabled or masked, from the paths below the directories where systemd looks
//! (systemd.unit(5)). Links alone say it: `X.wants/Y` enables Y, a link to `/dev/null` masks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Change, shown};
use crate::{Changeset, Entry, Kind, Node, TreePath};

/// Where the system's unit files lie. `/run` does not outlive a boot and is no part of a changeset.
const DIRS: &[&str] =
    &["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system"];

const SUFFIXES: &[&[u8]] = &[
    b".service",
    b".socket",
    b".timer",
    b".target",
    b".mount",
    b".automount",
    b".path",
    b".swap",
    b".slice",
    b".scope",
    b".device",
];

/// Something about a unit's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFileChange {
    /// The unit.
    pub unit: String,
    /// What happened.
    pub op: UnitFileOp,
    /// One path that says so.
    pub path: TreePath,
}

/// What happened to a unit's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitFileOp {
    /// There is a unit file.
    Added,
    /// The unit file is another.
    Changed,
    /// There is no unit file any more.
    Removed,
    /// Something pulls it in at boot.
    Enabled,
    /// What pulled it in at boot does no longer.
    Disabled,
    /// Other units pull it in than before.
    Rewired,
    /// It can't be started.
    Masked,
    /// It can be started again.
    Unmasked,
    /// A drop-in came, went or is another.
    DropIn,
    /// It has another name, or one less.
    Alias,
}

impl UnitFileOp {
    /// The word for it, after the unit's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "new",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Rewired => "pulled in by other units",
            Self::Masked => "masked",
            Self::Unmasked => "unmasked",
            Self::DropIn => "overridden by drop-in",
            Self::Alias => "alias changed",
        }
    }
}

/// Whether `name` is a unit's name by its suffix.
#[must_use]
pub fn is_unit_name(name: &[u8]) -> bool {
    SUFFIXES.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// Where below a unit directory a path lies.
pub(super) fn below_unit_dir(path: &TreePath) -> Option<&[u8]> {
    let bytes = path.as_bytes();
    DIRS.iter().find_map(|dir| bytes.strip_prefix(dir.as_bytes())?.strip_prefix(b"/"))
}

pub(super) fn changes(changeset: &Changeset) -> Vec<UnitFileChange> {
    let mut found: BTreeMap<(String, UnitFileOp), TreePath> = BTreeMap::new();
    for entry in changeset.entries() {
        if let Some((unit, op)) = below_unit_dir(&entry.path).and_then(|rest| one(entry, rest)) {
            found.entry((unit, op)).or_insert_with(|| entry.path.clone());
        }
    }
    let both: Vec<String> = found
        .keys()
        .filter(|(unit, op)| *op == UnitFileOp::Enabled && found.contains_key(&(unit.clone(), UnitFileOp::Disabled)))
        .map(|(unit, _)| unit.clone())
        .collect();
    for unit in both {
        found.remove(&(unit.clone(), UnitFileOp::Disabled));
        if let Some(path) = found.remove(&(unit.clone(), UnitFileOp::Enabled)) {
            found.insert((unit, UnitFileOp::Rewired), path);
        }
    }
    found.into_iter().map(|((unit, op), path)| UnitFileChange { unit, op, path }).collect()
}

fn one(entry: &Entry, rest: &[u8]) -> Option<(String, UnitFileOp)> {
    let mut parts = rest.split(|b| *b == b'/');
    let (first, second) = (parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    match second {
        None if is_unit_name(first) => Some((shown(first), of_file(entry)?)),
        None => None,
        Some(name) => {
            if let Some(unit) = first.strip_suffix(b".d").filter(|unit| is_unit_name(unit)) {
                return name.ends_with(b".conf").then(|| (shown(unit), UnitFileOp::DropIn));
            }
            let pulls = [&b".wants"[..], b".requires", b".upholds"].iter().any(|suffix| first.ends_with(suffix));
            let op = match (&entry.before, &entry.after) {
                (None, Some(_)) => UnitFileOp::Enabled,
                (Some(_), None) => UnitFileOp::Disabled,
                _ => UnitFileOp::Rewired,
            };
            (pulls && is_unit_name(name)).then(|| (shown(name), op))
        }
    }
}

fn of_file(entry: &Entry) -> Option<UnitFileOp> {
    let (before, after) = (entry.before.as_deref(), entry.after.as_deref());
    let masks = |node: Option<&Node>| node.is_some_and(is_mask);
    let links = |node: Option<&Node>| node.is_some_and(|n| matches!(n.kind, Kind::Symlink(_)));
    if before.or(after)?.is_dir() {
        return None;
    }
    Some(match (masks(before), masks(after)) {
        (false, true) => UnitFileOp::Masked,
        (true, false) => UnitFileOp::Unmasked,
        _ if links(before.or(after)) && links(after.or(before)) => UnitFileOp::Alias,
        _ => match Change::from(entry.op()) {
            Change::Added => UnitFileOp::Added,
            Change::Changed => UnitFileOp::Changed,
            Change::Removed => UnitFileOp::Removed,
        },
    })
}

/// A link to `/dev/null` or an empty file.
fn is_mask(node: &Node) -> bool {
    match &node.kind {
        Kind::Symlink(to) => **to == *b"/dev/null",
        Kind::File { size, .. } => *size == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::testing::World;

    #[test]
    fn what_the_paths_say() {
        let unit = Some("[Service]\nExecStart=/bin/true\n");
        let world = World::default()
            .file("/usr/lib/systemd/system/nginx.service", None, unit)
            .link(
                "/etc/systemd/system/multi-user.target.wants/nginx.service",
                None,
                Some("/lib/systemd/system/nginx.service"),
            )
            .link("/etc/systemd/system/cron.service", None, Some("/dev/null"))
            .link("/etc/systemd/system/was.service", Some("/dev/null"), None)
            .file("/etc/systemd/system/app.service", unit, Some("[Service]\n"))
            .file("/lib/systemd/system/old.timer", unit, None)
            .file("/etc/systemd/system/ssh.service.d/limits.conf", None, Some("[Service]\nLimitNOFILE=1\n"))
            .file("/etc/systemd/system/ssh.service.d/README", None, Some("x"))
            .link("/etc/systemd/system/a.target.wants/moved.service", Some("x"), None)
            .link("/etc/systemd/system/b.target.requires/moved.service", None, Some("x"))
            .link("/etc/systemd/system/timers.target.wants/off.timer", Some("x"), None)
            .link("/etc/systemd/system/dbus-org.x.service", None, Some("/lib/systemd/system/x.service"))
            .link("/etc/systemd/system/network-online.target.wants/inst@a-b.service", None, Some("x"))
            .file("/etc/systemd/system/notes.txt", None, Some("x"))
            .file("/etc/systemd/journald.conf", None, Some("x"));
        let found: Vec<String> = changes(&world.changeset()).iter().map(|c| format!("{} {:?}", c.unit, c.op)).collect();
        let expected = [
            "app.service Changed",
            "cron.service Masked",
            "dbus-org.x.service Alias",
            "inst@a-b.service Enabled",
            "moved.service Rewired",
            "nginx.service Added",
            "nginx.service Enabled",
            "off.timer Disabled",
            "old.timer Removed",
            "ssh.service DropIn",
            "was.service Unmasked",
        ];
        assert_eq!(found, expected);
    }
}
