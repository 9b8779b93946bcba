//! What differs between two looks.

use std::collections::BTreeMap;

use super::facts::{Crontab, Facts, Package, Timer, UnitFile, UnitFileState, User, UserGroup};
use super::{Against, FactKind, RuntimeDrift, deviations, firewall, kernel, live};

/// What differs from `before` to `after`, by kind and item. Where only one of the looks is of a running host, what runs is not
/// compared.
#[must_use]
pub fn compare(before: &Facts, after: &Facts) -> Vec<RuntimeDrift> {
    let mut out = Vec::new();
    each(&before.packages, &after.packages, |name, from, to| out.extend(package(name, from, to)));
    each(&before.users, &after.users, |name, from, to| out.extend(user(name, from, to)));
    each(&before.groups, &after.groups, |name, from, to| out.extend(group(name, from, to)));
    each(&before.units, &after.units, |name, from, to| out.extend(unit_file(name, from, to)));
    each(&before.timers, &after.timers, |name, from, to| out.extend(timer(name, from, to)));
    each(&before.crontabs, &after.crontabs, |path, from, to| cron(path, from, to, &mut out));
    out.extend(kernel::boot_files(&before.boot, &after.boot));
    if let (Some(was), Some(is)) = (&before.running, &after.running) {
        live::units(before, after, was, is, &mut out);
        live::ports(after, was, is, &mut out);
        kernel::sysctl(was, is, &mut out);
        kernel::mounts(was, is, &mut out);
        kernel::running(was, is, &mut out);
        firewall::compare(&was.rules, &is.rules, &mut out);
    }
    let known = deviations(before);
    for deviation in deviations(after) {
        let same = |other: &RuntimeDrift| {
            (other.kind, &other.item, &other.after) == (deviation.kind, &deviation.item, &deviation.after)
        };
        if !known.iter().any(same) && !out.iter().any(same) {
            out.push(deviation);
        }
    }
    out.sort_by(|a, b| (a.kind, &a.item, &a.before, &a.after).cmp(&(b.kind, &b.item, &b.before, &b.after)));
    out
}

/// Calls `found` for each key whose value is not the same on both sides.
pub(super) fn each<T: PartialEq>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    mut found: impl FnMut(&str, Option<&T>, Option<&T>),
) {
    for (key, from) in before {
        let to = after.get(key);
        if to != Some(from) {
            found(key, Some(from), to);
        }
    }
    for (key, to) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        found(key, None, Some(to));
    }
}

/// A difference from the record that a file keeps.
pub(super) fn lasting(
    kind: FactKind,
    item: &str,
    (before, after): (Option<String>, Option<String>),
    detail: String,
) -> RuntimeDrift {
    let item = item.to_owned();
    RuntimeDrift { kind, item, before, after, detail, lasting: true, against: Against::Record, file: None }
}

fn package(name: &str, from: Option<&Package>, to: Option<&Package>) -> Option<RuntimeDrift> {
    let words = |package: &Package| {
        let state = package.broken.as_ref().map(|state| format!(" ({state})")).unwrap_or_default();
        let held = if package.held { " (held)" } else { "" };
        format!("{}{state}{held}", package.version)
    };
    let detail = match (from, to) {
        (None, Some(to)) => format!("{name} {} was installed", to.version),
        (Some(from), None) => format!("{name} {} was removed", from.version),
        (Some(from), Some(to)) if from.version != to.version => {
            let later = crate::drift::packages::compare_versions(&from.version, &to.version).is_lt();
            let verb = if later { "upgraded" } else { "downgraded" };
            format!("{name} was {verb} from {} to {}", from.version, to.version)
        }
        (_, Some(to)) => match &to.broken {
            Some(state) => format!("{name} is not properly installed: {state}"),
            None if to.held => format!("{name} is held at its version"),
            None => format!("{name} is properly installed and not held any more"),
        },
        (None, None) => return None,
    };
    let mut out = lasting(FactKind::Package, name, (from.map(words), to.map(words)), detail);
    out.file = Some("/var/lib/dpkg/status".to_owned());
    Some(out)
}

fn user(name: &str, from: Option<&User>, to: Option<&User>) -> Option<RuntimeDrift> {
    let words = |u: &User| {
        let password = if u.password { ", with a password" } else { "" };
        format!("uid {}, gid {}, {}, {}{password}", u.uid, u.gid, u.home, u.shell)
    };
    let detail = match (from, to) {
        (None, Some(to)) => format!("the user {name} (uid {}) was added", to.uid),
        (Some(from), None) => format!("the user {name} (uid {}) was removed", from.uid),
        (Some(from), Some(to)) => {
            let mut what = Vec::new();
            for (word, differs) in [
                ("uid", from.uid != to.uid),
                ("group", from.gid != to.gid),
                ("home directory", from.home != to.home),
                ("shell", from.shell != to.shell),
                ("password", from.password_mark != to.password_mark),
            ] {
                if differs {
                    what.push(word);
                }
            }
            format!("the user {name} has another {}", what.join(", another "))
        }
        (None, None) => return None,
    };
    let mut out = lasting(FactKind::User, name, (from.map(words), to.map(words)), detail);
    out.file = Some("/etc/passwd".to_owned());
    Some(out)
}

fn group(name: &str, from: Option<&UserGroup>, to: Option<&UserGroup>) -> Option<RuntimeDrift> {
    let words = |g: &UserGroup| {
        let members: Vec<&str> = g.members.iter().map(String::as_str).collect();
        format!("gid {}: {}", g.gid, if members.is_empty() { "nobody".to_owned() } else { members.join(", ") })
    };
    let detail = match (from, to) {
        (None, Some(to)) => format!("the group {name} (gid {}) was added", to.gid),
        (Some(from), None) => format!("the group {name} (gid {}) was removed", from.gid),
        (Some(from), Some(to)) => {
            let list = |one: &UserGroup, other: &UserGroup| {
                one.members.difference(&other.members).cloned().collect::<Vec<_>>().join(", ")
            };
            let (joined, left) = (list(to, from), list(from, to));
            let mut what = Vec::new();
            if !joined.is_empty() {
                what.push(format!("{joined} joined the group {name}"));
            }
            if !left.is_empty() {
                what.push(format!("{left} left the group {name}"));
            }
            if from.gid != to.gid {
                what.push(format!("the group {name} has another id"));
            }
            what.join("; ")
        }
        (None, None) => return None,
    };
    let mut out = lasting(FactKind::Group, name, (from.map(words), to.map(words)), detail);
    out.file = Some("/etc/group".to_owned());
    Some(out)
}

/// What is enabled or masked; that a file came or went says the scan of files.
fn unit_file(name: &str, from: Option<&UnitFile>, to: Option<&UnitFile>) -> Option<RuntimeDrift> {
    let (was, is) = (from.map(|f| f.state), to.map(|f| f.state));
    let counts = |s: Option<UnitFileState>| matches!(s, Some(UnitFileState::Enabled | UnitFileState::Masked));
    if was == is || !(counts(was) || counts(is)) {
        return None;
    }
    let detail = match (was, is) {
        (_, Some(UnitFileState::Enabled)) => format!("{name} was enabled: boot starts it"),
        (_, Some(UnitFileState::Masked)) => format!("{name} was masked: it can't be started"),
        (Some(UnitFileState::Masked), _) => format!("{name} was unmasked"),
        (_, None) => format!("{name} was enabled and has no unit file any more"),
        _ => format!("{name} was disabled: boot does not start it any more"),
    };
    let words = |s: UnitFileState| s.word().to_owned();
    Some(lasting(FactKind::Unit, name, (was.map(words), is.map(words)), detail))
}

fn timer(name: &str, from: Option<&Timer>, to: Option<&Timer>) -> Option<RuntimeDrift> {
    let detail = match (from, to) {
        (None, Some(_)) => format!("the timer {name} was enabled"),
        (Some(_), None) => format!("the timer {name} was disabled"),
        (Some(_), Some(_)) => format!("the timer {name} elapses at other times"),
        (None, None) => return None,
    };
    let words = |t: &Timer| t.schedule.join(" ");
    Some(lasting(FactKind::Timer, name, (from.map(words), to.map(words)), detail))
}

fn cron(path: &str, from: Option<&Crontab>, to: Option<&Crontab>, out: &mut Vec<RuntimeDrift>) {
    let none = Crontab::default();
    let (from, to) = (from.unwrap_or(&none), to.unwrap_or(&none));
    let mut gone: Vec<_> = from.lines.difference(&to.lines).collect();
    for (told, _) in to.lines.difference(&from.lines) {
        // The same time and program with other arguments, or a script of the same name.
        let same = gone.iter().position(|(other, _)| other == told);
        let before = same.map(|at| gone.remove(at).0.clone());
        let verb = if before.is_some() { "changed in" } else { "was added to" };
        let mut one = lasting(FactKind::Cron, path, (before, Some(told.clone())), format!("`{told}` {verb} {path}"));
        one.file = Some(path.to_owned());
        out.push(one);
    }
    for (told, _) in gone {
        let detail = format!("`{told}` was removed from {path}");
        out.push(lasting(FactKind::Cron, path, (Some(told.clone()), None), detail));
    }
}
