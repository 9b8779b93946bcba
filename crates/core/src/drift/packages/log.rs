//! The logs of the package managers: apt's `history.log` (apt.conf(5), `Dir::Log::History`) and dpkg's `dpkg.log` (dpkg(1)).
//!
//! Both write local time without a zone; [`Clock`] turns it into UTC by the host's own `/etc/localtime`. apt runs dpkg several
//! times in one transaction, so what dpkg logs inside the time of one of apt's says nothing new and is left out.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Action, Logged, Transaction, compare_versions};
use crate::path::Shown;

/// What a host's local times mean.
#[derive(Clone, Debug)]
pub struct Clock(TimeZone);

impl Clock {
    /// By the content of `/etc/localtime` (tzfile(5)); UTC where there is none or it can't be understood.
    #[must_use]
    pub fn new(localtime: Option<&[u8]>) -> Self {
        let zone = localtime.and_then(|bytes| TimeZone::tzif("host", bytes).ok());
        Self(zone.unwrap_or(TimeZone::UTC))
    }

    /// `2024-05-01  06:12:33` in RFC 3339, UTC.
    fn utc(&self, text: &str) -> Option<String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join("T");
        let local: DateTime = text.parse().ok()?;
        // Twice in autumn: the first of both, as the log's writer can't say.
        let stamp: Timestamp = self.0.to_ambiguous_timestamp(local).compatible().ok()?;
        Some(stamp.to_string())
    }
}

/// The transactions in a `history.log`, in its order.
#[must_use]
pub fn apt_history(text: &[u8], clock: &Clock) -> Vec<Transaction> {
    let text = String::from_utf8_lossy(text);
    let mut out = Vec::new();
    for block in text.split("\n\n") {
        let mut one = Transaction::default();
        for (name, value) in block.lines().filter_map(|line| line.split_once(": ")) {
            let action = match name {
                "Install" => Action::Install,
                "Reinstall" => Action::Reinstall,
                "Upgrade" => Action::Upgrade,
                "Downgrade" => Action::Downgrade,
                "Remove" => Action::Remove,
                "Purge" => Action::Purge,
                _ => {
                    field(&mut one, name, value, clock);
                    continue;
                }
            };
            one.packages.extend(items(value).filter_map(|item| package(action, item)));
        }
        if !one.begin.is_empty() {
            if one.end.is_empty() {
                one.end.clone_from(&one.begin);
            }
            out.push(one);
        }
    }
    out
}

fn field(one: &mut Transaction, name: &str, value: &str, clock: &Clock) {
    let shown = || Some(Shown(value.trim().as_bytes()).to_string());
    match name {
        "Start-Date" => one.begin = clock.utc(value).unwrap_or_default(),
        "End-Date" => one.end = clock.utc(value).unwrap_or_default(),
        "Commandline" => one.command = shown(),
        "Error" => one.error = shown(),
        // `anna (1000)`
        "Requested-By" => {
            let person = value.rsplit_once(" (").map_or(value, |(name, _)| name);
            one.requested_by = Some(Shown(person.as_bytes()).to_string());
        }
        _ => {}
    }
}

/// `a:amd64 (1, 2), b:all (3, automatic)` at the commas outside parentheses.
fn items(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    list.split(move |c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    })
}

fn package(action: Action, item: &str) -> Option<Logged> {
    let (full, versions) = item.trim().split_once(" (")?;
    let mut versions: Vec<&str> = versions.trim_end_matches(')').split(", ").collect();
    let automatic = versions.last() == Some(&"automatic");
    if automatic {
        versions.pop();
    }
    let shown = |text: &str| Shown(text.as_bytes()).to_string();
    let (first, second) = (versions.first().map(|v| shown(v)), versions.get(1).map(|v| shown(v)));
    let (from, to) = match action {
        Action::Install => (None, first),
        Action::Reinstall => (first.clone(), first),
        Action::Upgrade | Action::Downgrade => (first, second),
        Action::Remove | Action::Purge => (first, None),
    };
    let (name, arch) = full.rsplit_once(':').unwrap_or((full, ""));
    Some(Logged { action, name: shown(name), arch: shown(arch), from, to, automatic })
}

/// The runs of dpkg in a `dpkg.log`, in its order; those that changed no package are left out.
#[must_use]
pub fn dpkg_log(text: &[u8], clock: &Clock) -> Vec<Transaction> {
    let text = String::from_utf8_lossy(text);
    let mut out: Vec<Transaction> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(day), Some(time), Some(what)) = (words.next(), words.next(), words.next()) else { continue };
        let Some(at) = clock.utc(&format!("{day} {time}")) else { continue };
        if what == "startup" {
            out.push(Transaction { begin: at.clone(), end: at, ..Transaction::default() });
            continue;
        }
        let Some(last) = out.last_mut() else { continue };
        last.end = at;
        let rest: Vec<&str> = words.collect();
        if let Some(logged) = of_dpkg(what, &rest) {
            // A purge is logged after the removal that it begins with.
            match last.packages.iter_mut().find(|p| p.name == logged.name && p.arch == logged.arch) {
                Some(same) if logged.action == Action::Purge => same.action = Action::Purge,
                _ => last.packages.push(logged),
            }
        }
    }
    out.retain(|run| !run.packages.is_empty());
    out
}

/// `install nginx:amd64 <none> 1.22.1-9`, `upgrade …`, `remove nginx:amd64 1.22.1-9 <none>`.
fn of_dpkg(what: &str, rest: &[&str]) -> Option<Logged> {
    let [full, from, to] = rest else { return None };
    let version = |text: &str| (text != "<none>").then(|| Shown(text.as_bytes()).to_string());
    let (from, to) = (version(from), version(to));
    let action = match (what, &from, &to) {
        ("install", _, _) => Action::Install,
        ("upgrade", Some(from), Some(to)) => match compare_versions(from, to) {
            std::cmp::Ordering::Less => Action::Upgrade,
            std::cmp::Ordering::Equal => Action::Reinstall,
            std::cmp::Ordering::Greater => Action::Downgrade,
        },
        ("remove", _, _) => Action::Remove,
        ("purge", _, _) => Action::Purge,
        _ => return None,
    };
    let to = if matches!(action, Action::Remove | Action::Purge) { None } else { to };
    // Installed over what a removal had left: the version before is that of the configuration.
    let from = if action == Action::Install { None } else { from };
    let (name, arch) = full.rsplit_once(':').unwrap_or((full, ""));
    let shown = |text: &str| Shown(text.as_bytes()).to_string();
    Some(Logged { action, name: shown(name), arch: shown(arch), from, to, automatic: false })
}

/// Both logs as one, by time: dpkg's runs within a transaction of apt are part of it.
#[must_use]
pub fn merge_logs(mut apt: Vec<Transaction>, dpkg: Vec<Transaction>) -> Vec<Transaction> {
    apt.sort_by(|a, b| a.begin.cmp(&b.begin));
    let within = |run: &Transaction| apt.iter().any(|t| t.begin <= run.begin && run.begin <= t.end);
    let alone: Vec<Transaction> = dpkg.into_iter().filter(|run| !within(run)).collect();
    apt.extend(alone);
    apt.sort_by(|a, b| (&a.begin, &a.end).cmp(&(&b.begin, &b.end)));
    apt
}
