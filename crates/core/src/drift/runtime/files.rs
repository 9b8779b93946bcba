//! The half of the facts that follows from files: of any tree, running or not.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{BootFiles, Facts, Package, User, UserGroup, VERSION};
use crate::effect::{Side, Sources};
use crate::path::Shown;
use crate::{ContentHash, TreePath};

mod cron;
mod units;

pub(super) use units::is_auto_named;

/// What bytes of a host's file say, safe to show.
pub(super) fn shown(bytes: &[u8]) -> String {
    Shown(bytes).to_string()
}

pub(super) fn read(sources: &dyn Sources, path: &str) -> Vec<u8> {
    sources.content(&TreePath::from(path), Side::After).unwrap_or_default()
}

/// Short, and no way back to what it marks.
pub(super) fn mark(bytes: &[u8]) -> String {
    ContentHash::of(bytes).to_string().chars().take(16).collect()
}

impl Facts {
    /// What the files of a tree say; [`Facts::running`] is left empty.
    #[must_use]
    pub fn of_files(sources: &dyn Sources) -> Self {
        let (units, timers) = units::read(sources);
        Self {
            version: VERSION,
            packages: packages(&read(sources, "/var/lib/dpkg/status")),
            users: users(&read(sources, "/etc/passwd"), &read(sources, "/etc/shadow")),
            groups: groups(&read(sources, "/etc/group")),
            units,
            timers,
            crontabs: cron::read(sources),
            boot: boot(sources),
            running: None,
        }
    }
}

/// From dpkg's status file (deb-control(5)); those whose configuration alone is left are no packages.
fn packages(status: &[u8]) -> BTreeMap<String, Package> {
    let mut out = BTreeMap::new();
    let (mut name, mut arch, mut package, mut there) = (String::new(), String::new(), Package::default(), false);
    for line in status.split(|b| *b == b'\n').chain([&b""[..]]) {
        let field = |key: &[u8]| line.strip_prefix(key).map(|value| shown(value.trim_ascii()));
        if line.is_empty() {
            if there && !name.is_empty() {
                out.insert(format!("{name}:{arch}"), package);
            }
            (name, arch, package, there) = (String::new(), String::new(), Package::default(), false);
        } else if let Some(value) = field(b"Package:") {
            name = value;
        } else if let Some(value) = field(b"Architecture:") {
            arch = value;
        } else if let Some(value) = field(b"Version:") {
            package.version = value;
        } else if let Some(words) = field(b"Status:") {
            let mut words = words.split(' ');
            package.held = words.next() == Some("hold");
            let state = words.nth(1).unwrap_or("");
            there = !matches!(state, "not-installed" | "config-files" | "");
            let fine = matches!(state, "installed" | "triggers-awaited" | "triggers-pending");
            package.broken = (there && !fine).then(|| state.to_owned());
        }
    }
    out
}

fn table(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    lines.map(|line| line.split(|b| *b == b':').collect())
}

fn number(field: Option<&&[u8]>) -> Option<u32> {
    std::str::from_utf8(field?).ok()?.parse().ok()
}

fn users(passwd: &[u8], shadow: &[u8]) -> BTreeMap<String, User> {
    let passwords: BTreeMap<&[u8], &[u8]> =
        table(shadow).filter_map(|fields| Some((*fields.first()?, *fields.get(1)?))).collect();
    let user = |fields: Vec<&[u8]>| {
        let password = passwords.get(fields[0]).copied().unwrap_or_default();
        let locked = password.is_empty() || matches!(password[0], b'!' | b'*');
        let text = |at: usize| fields.get(at).map(|f| shown(f)).unwrap_or_default();
        let user = User {
            uid: number(fields.get(2))?,
            gid: number(fields.get(3))?,
            home: text(5),
            shell: text(6),
            password: !locked,
            password_mark: if locked { String::new() } else { mark(password) },
        };
        Some((shown(fields[0]), user))
    };
    table(passwd).filter_map(user).collect()
}

fn groups(group: &[u8]) -> BTreeMap<String, UserGroup> {
    let one = |fields: Vec<&[u8]>| {
        let list = fields.get(3).copied().unwrap_or_default();
        let members: BTreeSet<String> = list.split(|b| *b == b',').filter(|m| !m.is_empty()).map(shown).collect();
        Some((shown(fields[0]), UserGroup { gid: number(fields.get(2))?, members }))
    };
    table(group).filter_map(one).collect()
}

/// Where boot loaders' configurations say what the kernel gets: GRUB's variables, and the file of systemd-boot's kernel-install(8).
fn boot(sources: &dyn Sources) -> BootFiles {
    let mut out = BootFiles::default();
    let grub = "/etc/default/grub";
    let text = read(sources, grub);
    let text = String::from_utf8_lossy(&text);
    for name in ["GRUB_CMDLINE_LINUX=", "GRUB_CMDLINE_LINUX_DEFAULT="] {
        // A shell reads it: the last assignment counts.
        let Some(value) = text.lines().rev().find_map(|line| line.trim().strip_prefix(name)) else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        // What another variable says is not known here.
        let words = value.split_whitespace().filter(|word| !word.contains(['$', '`']));
        out.parameters.extend(words.map(|word| shown(word.as_bytes())));
        out.parameters_file = Some(grub.to_owned());
    }
    let own = "/etc/kernel/cmdline";
    let text = read(sources, own);
    if out.parameters_file.is_none() && !text.is_empty() {
        let text = String::from_utf8_lossy(&text);
        out.parameters = text.split_whitespace().map(|word| shown(word.as_bytes())).collect();
        out.parameters_file = Some(own.to_owned());
    }
    let names = sources.names(&"/boot".into(), Side::After);
    let releases = names.iter().filter_map(|name| name.strip_prefix(b"vmlinuz-"));
    out.kernels = releases.map(shown).filter(|release| !release.ends_with(".dpkg-bak")).collect();
    out.kernels.sort_by(|a, b| crate::drift::packages::compare_versions(b, a));
    out
}
