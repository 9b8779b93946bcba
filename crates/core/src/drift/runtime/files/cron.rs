//! Cron tables (crontab(5)) and the directories of scripts that cron or anacron runs.

use std::collections::BTreeMap;

use super::{mark, shown};
use crate::TreePath;
use crate::drift::runtime::Crontab;
use crate::effect::{Side, Sources};

/// Tables whose lines name the user.
const WITH_USER: &[&str] = &["/etc/crontab"];
const WITH_USER_DIRS: &[&str] = &["/etc/cron.d"];
/// A table for each user, whose lines do not.
const OF_USERS: &[&str] = &["/var/spool/cron/crontabs", "/var/spool/cron/tabs"];
const SCRIPTS: &[&str] =
    &["/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/etc/cron.yearly"];

pub(super) fn read(sources: &dyn Sources) -> BTreeMap<String, Crontab> {
    let mut out = BTreeMap::new();
    let mut put = |path: &TreePath, lines: Crontab| {
        if !lines.lines.is_empty() {
            out.insert(path.to_string(), lines);
        }
    };
    for path in WITH_USER.iter().map(|p| TreePath::from(*p)) {
        put(&path, table(sources, &path, 1));
    }
    put(&"/etc/anacrontab".into(), anacron(sources));
    for (dirs, more) in [(WITH_USER_DIRS, 1), (OF_USERS, 0)] {
        for dir in dirs.iter().map(|dir| TreePath::from(*dir)) {
            for name in sources.names(&dir, Side::After) {
                // cron ignores other names, and so do people's backups.
                if more == 0 || name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
                    let path = dir.join(&name);
                    put(&path, table(sources, &path, more));
                }
            }
        }
    }
    for dir in SCRIPTS.iter().map(|dir| TreePath::from(*dir)) {
        let mut lines = Crontab::default();
        for name in sources.names(&dir, Side::After).into_iter().filter(|name| !name.starts_with(b".")) {
            let content = sources.content(&dir.join(&name), Side::After).unwrap_or_default();
            lines.lines.insert((shown(&name), mark(&content)));
        }
        put(&dir, lines);
    }
    out
}

fn lines(text: &[u8]) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.into_iter().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// `more`: how many words stand between the time and the command.
fn table(sources: &dyn Sources, path: &TreePath, more: usize) -> Crontab {
    let mut out = Crontab::default();
    for line in lines(&sources.content(path, Side::After).unwrap_or_default()) {
        let first = line.split_whitespace().next().unwrap_or("");
        // `PATH=…`: what the commands get, and often a secret.
        let told = match line.split_once('=') {
            Some((name, _)) if !name.trim().contains(char::is_whitespace) && !first.starts_with(['*', '@']) => {
                format!("{}=…", name.trim())
            }
            _ => short(&line, if first.starts_with('@') { 1 } else { 5 } + more),
        };
        out.lines.insert((shown(told.as_bytes()), mark(line.as_bytes())));
    }
    out
}

fn anacron(sources: &dyn Sources) -> Crontab {
    let mut out = Crontab::default();
    for line in lines(&sources.content(&"/etc/anacrontab".into(), Side::After).unwrap_or_default()) {
        if !line.split_whitespace().next().is_some_and(|first| first.contains('=')) {
            out.lines.insert((shown(short(&line, 3).as_bytes()), mark(line.as_bytes())));
        }
    }
    out
}

/// The time and the program, without its arguments.
fn short(line: &str, before: usize) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let told = words[..words.len().min(before + 1)].join(" ");
    if words.len() > before + 1 { told + " …" } else { told }
}
