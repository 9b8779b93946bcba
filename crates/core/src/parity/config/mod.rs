//! Configuration by its meaning: which keys were added, removed or have another value.
//!
//! [`Format::of`] looks at name and content, [`parse`] makes [`Settings`] of the formats that have keys, [`diff`] compares two
//! files. What has no keys (nginx, Apache, cron, hosts), or claims a format and breaks it, is compared by its lines;
//! comments and blanks never count.

mod ini;
mod structured;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::model::Config;
use super::noise::Identity;
use super::secret;
use crate::TreePath;
use crate::textdiff::{self, Limits};

/// Values by key, in the order of the file. Keys of nested formats are joined by dots, those of lists end in `[]`.
pub type Settings = BTreeMap<String, Vec<String>>;

/// Longer keys are no person's: a file that makes them out of little, by nesting, is compared by its lines.
const LONGEST_KEY: usize = 1000;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON (RFC 8259).
    Json,
    /// YAML 1.2, all documents of the file.
    Yaml,
    /// TOML.
    Toml,
    /// `[section]`, `key = value`: units of systemd, my.cnf, php.ini.
    Ini,
    /// `KEY=value`: /etc/default, sysctl.conf, .env.
    Pairs,
    /// `Key value`: sshd_config, redis.conf, chrony.conf.
    Directives,
    /// Anything else.
    Lines,
}

/// Files of `Key value` lines, by name; a generic look at them would take a hosts file for one.
const DIRECTIVES: &[&str] = &[
    "chrony.conf",
    "host.conf",
    "ldap.conf",
    "login.defs",
    "nsswitch.conf",
    "ntp.conf",
    "redis.conf",
    "resolv.conf",
    "ssh_config",
    "sshd_config",
    "valkey.conf",
];

/// Files of columns, some of whose lines look like `KEY=value`.
const TABLES: &[&str] = &["crontab", "crypttab", "fstab", "hosts"];

/// Endings of units and of their like.
const UNITS: &[&str] =
    &["service", "socket", "timer", "mount", "path", "target", "slice", "network", "netdev", "link", "nspawn", "swap"];

impl Format {
    /// The format of a file, by its name first.
    #[must_use]
    pub fn of(path: &TreePath, text: &str) -> Self {
        let name = String::from_utf8_lossy(path.name()).to_ascii_lowercase();
        let in_ssh = path.as_bytes().starts_with(b"/etc/ssh/");
        match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "json" => return Self::Json,
            "yaml" | "yml" => return Self::Yaml,
            "toml" => return Self::Toml,
            "ini" => return Self::Ini,
            "conf" if in_ssh => return Self::Directives,
            ending if UNITS.contains(&ending) => return Self::Ini,
            _ => {}
        }
        if DIRECTIVES.contains(&name.as_str()) || path.as_bytes().starts_with(b"/etc/chrony/conf.d/") {
            return Self::Directives;
        }
        if TABLES.contains(&name.as_str()) {
            return Self::Lines;
        }
        let mut lines = significant(text).peekable();
        if lines.peek().is_some_and(|first| ini::section(first).is_some()) {
            return if lines.all(|l| ini::section(l).is_some() || !l.ends_with('{')) { Self::Ini } else { Self::Lines };
        }
        let pairs = lines.peek().is_some() && lines.all(|line| ini::pair(line).is_some());
        if pairs { Self::Pairs } else { Self::Lines }
    }
}

/// Lines without blanks at their ends that are neither empty nor a comment.
pub fn significant(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']) && !line.starts_with("//"))
}

/// The keys of a file; `None` when its format has none, or it breaks its format.
#[must_use]
pub fn parse(path: &TreePath, text: &str) -> Option<Settings> {
    match Format::of(path, text) {
        Format::Json => structured::json(text),
        Format::Yaml => structured::yaml(text),
        Format::Toml => structured::toml(text),
        Format::Ini => ini::ini(text),
        Format::Pairs => ini::pairs(text),
        Format::Directives => Some(ini::directives(text)),
        Format::Lines => None,
    }
}

/// What may be kept and shown of a file. `public`: everybody on its host may read it.
#[must_use]
pub fn kept(path: &TreePath, text: &str, public: bool) -> Config {
    // A key that lies where everybody may read it is a key all the same.
    if !public || text.contains("PRIVATE KEY-----") {
        return hashed(path, text);
    }
    match parse(path, text) {
        Some(settings) => {
            let values = masked(&settings);
            if values == settings && text.lines().all(|line| !secret::is_masked(line)) {
                Config::Text(text.to_owned())
            } else {
                Config::Values(values)
            }
        }
        None => Config::Text(text.lines().map(|line| secret::masked_line(line) + "\n").collect()),
    }
}

fn masked(settings: &Settings) -> Settings {
    let values = |key: &String, list: &Vec<String>| list.iter().map(|value| secret::masked(key, value)).collect();
    settings.iter().map(|(key, list)| (key.clone(), values(key, list))).collect()
}

/// A hash for each key.
fn hashed(path: &TreePath, text: &str) -> Config {
    Config::Keys(hashes(&parse(path, text).unwrap_or_default()))
}

fn hashes(settings: &Settings) -> BTreeMap<String, String> {
    settings.iter().map(|(key, values)| (key.clone(), secret::hashed(&values.join("\0")))).collect()
}

/// A key that differs. Values are as they may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// Which.
    pub key: String,
    /// Its value on the first side.
    pub a: Option<String>,
    /// Its value on the second.
    pub b: Option<String>,
    /// Both values are equal but for what names the machine.
    pub machine: bool,
}

/// How two files of configuration differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// In keys.
    Keys(Vec<KeyChange>),
    /// In lines.
    Lines {
        /// Lines that the first has alone.
        a: Vec<String>,
        /// Lines that the second has alone.
        b: Vec<String>,
        /// The unified diff.
        diff: String,
    },
    /// In what names the machine alone.
    Machine,
    /// In comments, blanks or the order of keys.
    Comments,
    /// In something: what, cannot be said without showing what not everybody may read.
    Hidden,
}

/// How `a` and `b` at `path` differ, on systems that are called `names`. Both as [`kept`] made them.
#[must_use]
pub fn diff(path: &TreePath, a: &Config, b: &Config, names: (&Identity, &Identity)) -> Change {
    if let (Config::Text(a), Config::Text(b)) = (a, b)
        && (parse(path, a).is_none() || parse(path, b).is_none())
    {
        return lines(a, b, names);
    }
    match (settings(path, a), settings(path, b)) {
        (Some(a), Some(b)) => keys(&a, &b, names),
        _ => hidden(&keyed(path, a), &keyed(path, b)),
    }
}

/// Keys and values, where they may be shown.
fn settings(path: &TreePath, config: &Config) -> Option<Settings> {
    match config {
        Config::Text(text) => parse(path, text),
        Config::Values(values) => Some(values.clone()),
        Config::Keys(_) => None,
    }
}

/// Keys and hashes. Where one side hashed a secret before its whole value was, the two cannot be equal: it is said as a
/// difference, which errs on the side of being looked at.
fn keyed(path: &TreePath, config: &Config) -> BTreeMap<String, String> {
    match config {
        Config::Keys(keys) => keys.clone(),
        Config::Values(values) => hashes(values),
        Config::Text(text) => hashes(&parse(path, text).unwrap_or_default()),
    }
}

fn keys(a: &Settings, b: &Settings, names: (&Identity, &Identity)) -> Change {
    let mut out = Vec::new();
    let mut all: Vec<&String> = a.keys().chain(b.keys()).collect();
    all.sort_unstable();
    all.dedup();
    for key in all {
        let (a, b) = (a.get(key), b.get(key));
        if a == b {
            continue;
        }
        let normal = |values: &Vec<String>, by: &Identity| by.normalise(&values.join("\0"));
        let machine = matches!((a, b), (Some(a), Some(b)) if normal(a, names.0) == normal(b, names.1));
        let shown = |values: &Vec<String>| values.join(", ");
        out.push(KeyChange { key: key.clone(), a: a.map(shown), b: b.map(shown), machine });
    }
    if out.is_empty() { Change::Comments } else { Change::Keys(out) }
}

fn hidden(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Change {
    let mut out = Vec::new();
    let mut all: Vec<&String> = a.keys().chain(b.keys()).collect();
    all.sort_unstable();
    all.dedup();
    for key in all.into_iter().filter(|key| a.get(*key) != b.get(*key)) {
        let (a, b) = (a.get(key).cloned(), b.get(key).cloned());
        out.push(KeyChange { key: key.clone(), a, b, machine: false });
    }
    if out.is_empty() { Change::Hidden } else { Change::Keys(out) }
}

fn lines(a: &str, b: &str, names: (&Identity, &Identity)) -> Change {
    if significant(a).eq(significant(b)) {
        return Change::Comments;
    }
    // What is equal as it stands is equal, whatever a host is called.
    let (raw_a, raw_b): (Vec<&str>, Vec<&str>) = (significant(a).collect(), significant(b).collect());
    let plain = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>();
    let (text_a, text_b) = (plain(&raw_a), plain(&raw_b));
    let (rest_a, rest_b) = (alone(&raw_a, &text_a, &text_b), alone(&raw_b, &text_b, &text_a));
    let normal = |list: &[&str], by: &Identity| list.iter().map(|l| by.normalise(&own_line(l, by))).collect::<Vec<_>>();
    let (plain_a, plain_b) = (normal(&rest_a, names.0), normal(&rest_b, names.1));
    if plain_a == plain_b && !plain_a.is_empty() {
        return Change::Machine;
    }
    let own = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
    Change::Lines {
        a: own(alone(&rest_a, &plain_a, &plain_b)),
        b: own(alone(&rest_b, &plain_b, &plain_a)),
        diff: textdiff::unified(a.as_bytes(), b.as_bytes(), Limits { lines: 60, ..Limits::default() }),
    }
}

/// A line that names the host and an address gives the host's own address, as in /etc/hosts.
fn own_line(line: &str, by: &Identity) -> String {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    let is_address = first.parse::<std::net::IpAddr>().is_ok();
    let short = by.hostname.split('.').next().unwrap_or_default();
    let names_host =
        !short.is_empty() && words.any(|word| word == by.hostname || word.split('.').next() == Some(short));
    if is_address && names_host { line.replacen(first, "<address>", 1) } else { line.to_owned() }
}

/// The lines whose normal form the other side does not have, as often as it is missing there.
fn alone<'a>(lines: &[&'a str], own: &[String], other: &[String]) -> Vec<&'a str> {
    let mut there: BTreeMap<&str, usize> = BTreeMap::new();
    for line in other {
        *there.entry(line).or_insert(0) += 1;
    }
    let mut out = Vec::new();
    for (line, normal) in lines.iter().zip(own) {
        match there.get_mut(normal.as_str()) {
            Some(left) if *left > 0 => *left -= 1,
            _ => out.push(*line),
        }
    }
    out
}
