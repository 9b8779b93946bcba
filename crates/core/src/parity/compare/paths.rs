//! Paths, pair by pair. What a package's version explains is not said again; what it does not explain is said with what it
//! means: a patched file, a key of a configuration, a file that somebody put there.

use std::collections::HashMap;

use super::super::config::{self, Change, KeyChange};
use super::super::model::{PathKind, PathState};
use super::super::noise::Rule;
use super::super::report::Difference;
use super::super::weight::Rank;
use super::{Comparison, Finding, Need};
use crate::TreePath;

impl Comparison<'_> {
    /// What has to be read of a pair before it can be judged.
    #[must_use]
    pub fn need(&self, a: Option<&PathState>, b: Option<&PathState>) -> Need {
        let (Some(a), Some(b)) = (a, b) else { return Need::Nothing };
        let compared = matches!(self.rules.of(&a.path), Rule::Compare);
        if a.kind != b.kind || (!compared && a.kind != PathKind::File) {
            return Need::Nothing;
        }
        let explained = self.explained(a, b) && !is_config(&a.path);
        match (a.kind, compared) {
            (PathKind::File, _) if explained => Need::Nothing,
            (PathKind::File, true) if is_config(&a.path) || a.size == b.size => Need::Content,
            // Another size is another content.
            (PathKind::File, true) => Need::Attributes,
            (PathKind::File, false) if a.size == b.size => Need::Content,
            (PathKind::File, false) => Need::Nothing,
            _ => Need::Attributes,
        }
    }

    /// What differs at a path. `None` on one side: there is nothing.
    #[must_use]
    pub fn judge(&self, a: Option<&PathState>, b: Option<&PathState>) -> Vec<Finding> {
        match (a, b) {
            (Some(a), Some(b)) => self.pair(a, b),
            (Some(state), None) => self.alone(state, true).into_iter().collect(),
            (None, Some(state)) => self.alone(state, false).into_iter().collect(),
            (None, None) => Vec::new(),
        }
    }

    fn pair(&self, a: &PathState, b: &PathState) -> Vec<Finding> {
        let content = content_differs(a, b);
        let metadata = metadata(a, b);
        if !content && metadata.is_none() {
            return Vec::new();
        }
        let item = || a.path.to_string();
        match self.rules.of(&a.path) {
            Rule::Elsewhere => return Vec::new(),
            Rule::Machine(why) => return vec![Finding::Aside { why, item: item() }],
            Rule::Derived => return vec![Finding::Aside { why: "made from something else", item: item() }],
            Rule::Compare => {}
        }
        let explained = self.explained(a, b);
        if explained && a.kind != PathKind::Dir && !is_config(&a.path) {
            return Vec::new();
        }
        let mut out = Vec::new();
        if content {
            self.content(a, b, explained, &mut out);
        }
        if let Some(difference) = metadata.filter(|_| a.kind == b.kind) {
            out.push(Finding::Difference(Box::new(difference)));
        }
        out
    }

    fn content(&self, a: &PathState, b: &PathState, explained: bool, out: &mut Vec<Finding>) {
        let covered = self.covered.contains(&a.path) && a.kind == b.kind;
        if covered || is_unit_link(a) || is_unit_link(b) {
            return;
        }
        if let (Some(text_a), Some(text_b)) = (&a.config, &b.config) {
            let names = (&self.a.header.identity, &self.b.header.identity);
            let change = config::diff(&a.path, text_a, text_b, names);
            self.configuration(a, b, change, explained, out);
            return;
        }
        let (words_a, words_b) = (Some(words(a)), Some(words(b)));
        let same_package = a.package.is_some() && a.package == b.package;
        let mut difference = if is_config(&a.path) {
            Difference::new(self.config_rank(&a.path, explained), a.path.to_string(), words_a, words_b)
        } else if let Some(services) = self.loaded.get(&a.path) {
            let rank = if same_package { Rank::LibraryPatched } else { Rank::LibraryForeign };
            let mut found = Difference::new(rank, a.path.to_string(), words_a, words_b);
            found.services = services.iter().cloned().collect();
            found
        } else if same_package {
            let rank = if is_code(a) { Rank::PackageCode } else { Rank::PackageFile };
            Difference::new(rank, a.path.to_string(), words_a, words_b)
        } else {
            let rank = if is_code(a) || is_code(b) { Rank::Code } else { Rank::File };
            Difference::new(rank, a.path.to_string(), words_a, words_b)
        };
        if same_package && a.kind == PathKind::File {
            difference.note = a.package.as_deref().map(|package| self.changed_package(package));
        }
        out.push(Finding::Difference(Box::new(difference)));
    }

    fn changed_package(&self, package: &str) -> String {
        let version = self.a.packages.get(package).map_or("", String::as_str);
        format!("same version, other content: {} {version}", self.package_name(package))
    }

    fn configuration(&self, a: &PathState, b: &PathState, change: Change, explained: bool, out: &mut Vec<Finding>) {
        let (path, rank) = (a.path.to_string(), self.config_rank(&a.path, explained));
        let difference = |d: Difference| Finding::Difference(Box::new(d));
        match change {
            Change::Keys(keys) => {
                for KeyChange { key, a, b, machine } in keys {
                    out.push(if machine {
                        Finding::Aside { why: "names the machine", item: format!("{path} {key}") }
                    } else {
                        difference(Difference::new(rank, format!("{path} {key}"), a, b))
                    });
                }
            }
            Change::Lines { a, b, diff } => {
                let side = |lines: Vec<String>| (!lines.is_empty()).then(|| lines.join("\n"));
                let mut found = Difference::new(rank, path, side(a), side(b));
                found.diff = Some(diff);
                out.push(difference(found));
            }
            Change::Machine => out.push(Finding::Aside { why: "names the machine", item: path }),
            Change::Comments => {
                let found = Difference::new(Rank::Comments, path, Some(words(a)), Some(words(b)));
                out.push(difference(found.note("comments, blanks or order alone")));
            }
            Change::Hidden => {
                let found = Difference::new(rank, path, Some(words(a)), Some(words(b)));
                out.push(difference(found.note("not for everybody to read: only hashes are compared")));
            }
        }
    }

    /// Configuration that bears the name of a service weighs more: /etc/nginx/…, /etc/default/nginx, nginx.conf.
    fn config_rank(&self, path: &TreePath, explained: bool) -> Rank {
        if explained {
            return Rank::ConfigurationOfVersion;
        }
        let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
        let mut parts = text.split('/').map(|part| part.split('.').next().unwrap_or(part));
        let named = parts.any(|part| self.stems.contains(part) || self.stems.contains(part.trim_end_matches("d")));
        if named { Rank::ServiceConfiguration } else { Rank::Configuration }
    }

    fn alone(&self, state: &PathState, first: bool) -> Option<Finding> {
        let item = state.path.to_string();
        match self.rules.of(&state.path) {
            Rule::Elsewhere => return None,
            Rule::Machine(why) => return Some(Finding::Aside { why, item }),
            Rule::Derived => return Some(Finding::Aside { why: "made from something else", item }),
            Rule::Compare => {}
        }
        let version = |here: bool| {
            let facts = if here == first { self.a } else { self.b };
            state.package.as_deref().and_then(|package| facts.packages.get(package))
        };
        if version(true) != version(false) || is_unit_link(state) || self.covered.contains(&state.path) {
            return None;
        }
        if is_alternative(state) {
            return Some(Finding::Aside { why: "alternatives of packages", item });
        }
        let side = |words: String| if first { (Some(words), None) } else { (None, Some(words)) };
        if let Some((name, version)) = python_package(state) {
            let (a, b) = side(version);
            return Some(Finding::Difference(Box::new(Difference::new(Rank::PackageOnly, name, a, b))));
        }
        let (a, b) = side(words(state));
        let (rank, note) = match &state.package {
            Some(package) if state.kind != PathKind::Dir => {
                (Rank::PackageFileGone, Some(format!("{} is installed on both sides", self.package_name(package))))
            }
            _ if is_config(&state.path) => (self.config_rank(&state.path, false), None),
            _ if is_code(state) => (Rank::Code, None),
            _ => (Rank::File, None),
        };
        let mut difference = Difference::new(rank, item, a, b);
        difference.note = note;
        Some(Finding::Difference(Box::new(difference)))
    }

    /// Whether another version of a package explains that a path differs.
    fn explained(&self, a: &PathState, b: &PathState) -> bool {
        let differs = |package: &Option<Box<str>>| {
            package.as_deref().is_some_and(|p| self.a.packages.get(p) != self.b.packages.get(p))
        };
        differs(&a.package) || differs(&b.package)
    }
}

fn content_differs(a: &PathState, b: &PathState) -> bool {
    let known = a.content.is_some() && b.content.is_some();
    a.kind != b.kind || a.size != b.size || a.target != b.target || (known && a.content != b.content)
}

fn metadata(a: &PathState, b: &PathState) -> Option<Difference> {
    let mut list = (Vec::new(), Vec::new());
    let mut look = |what: &str, x: String, y: String| {
        if x != y {
            list.0.push(format!("{what} {x}"));
            list.1.push(format!("{what} {y}"));
        }
    };
    look("mode", format!("{:04o}", a.mode), format!("{:04o}", b.mode));
    look("owner", a.owner.to_string(), b.owner.to_string());
    look("group", a.group.to_string(), b.group.to_string());
    let attributes =
        |state: &PathState| if state.attributes.is_empty() { "none".into() } else { state.attributes.join(" ") };
    look("attributes", attributes(a), attributes(b));
    if list.0.is_empty() {
        return None;
    }
    let set_id = |state: &PathState| state.kind == PathKind::File && state.mode & 0o6000 != 0;
    let strong = |state: &PathState| {
        let word = |text: &String| text.starts_with("security.capability=") || text.starts_with("flags=");
        state.attributes.iter().filter(|text| word(text)).cloned().collect::<Vec<_>>()
    };
    let privilege = set_id(a) != set_id(b) || strong(a) != strong(b);
    let rank = if privilege { Rank::Privilege } else { Rank::Permissions };
    Some(Difference::new(rank, a.path.to_string(), Some(list.0.join(", ")), Some(list.1.join(", "))))
}

/// A path in a few words.
fn words(state: &PathState) -> String {
    match state.kind {
        PathKind::File => match state.content {
            Some(hash) => format!("file, {} bytes, {}", state.size, &hash.to_string()[..12]),
            None => format!("file, {} bytes", state.size),
        },
        PathKind::Dir => "directory".to_owned(),
        PathKind::Symlink => format!("symlink to {}", String::from_utf8_lossy(&state.target)),
        PathKind::Fifo => "named pipe".to_owned(),
        PathKind::CharDevice | PathKind::BlockDevice => format!("device {}", String::from_utf8_lossy(&state.target)),
    }
}

/// Whether `path` is where configuration is.
#[must_use]
pub fn is_config(path: &TreePath) -> bool {
    let bytes = path.as_bytes();
    if bytes.starts_with(b"/etc/") || bytes.starts_with(b"/usr/local/etc/") {
        return true;
    }
    let endings: &[&[u8]] =
        &[b".conf", b".cnf", b".ini", b".cfg", b".yaml", b".yml", b".toml", b".env", b".properties"];
    let of_somebody = [&b"/opt/"[..], b"/srv/", b"/usr/local/", b"/var/www/", b"/home/", b"/root/"];
    of_somebody.iter().any(|top| bytes.starts_with(top)) && endings.iter().any(|ending| bytes.ends_with(ending))
}

/// Links that enable, mask or alias units; run levels. Said as facts about units.
fn is_unit_link(state: &PathState) -> bool {
    let path = state.path.as_bytes();
    let runlevel = path.starts_with(b"/etc/rc") && path.get(8..10).is_some_and(|end| end == b"d/");
    state.kind == PathKind::Symlink && (path.starts_with(b"/etc/systemd/") || runlevel)
}

/// Links of update-alternatives(1): that one is there follows from packages; where it leads does not, and is compared.
fn is_alternative(state: &PathState) -> bool {
    let place = b"/etc/alternatives/";
    state.kind == PathKind::Symlink && (state.path.as_bytes().starts_with(place) || state.target.starts_with(place))
}

fn is_code(state: &PathState) -> bool {
    let name = state.path.name();
    let endings: &[&[u8]] =
        &[b".so", b".py", b".js", b".mjs", b".rb", b".php", b".pl", b".pm", b".jar", b".war", b".sh"];
    let library = name.windows(4).any(|part| part == b".so.");
    state.kind == PathKind::File && (state.mode & 0o111 != 0 || library || endings.iter().any(|e| name.ends_with(e)))
}

/// Name and version of what pip installed: `requests-2.31.0.dist-info`.
fn python_package(state: &PathState) -> Option<(String, String)> {
    let name = std::str::from_utf8(state.path.name()).ok()?;
    let bare = name.strip_suffix(".dist-info").or_else(|| name.strip_suffix(".egg-info"))?;
    let (name, version) = bare.split_once('-')?;
    if state.package.is_some() || state.kind != PathKind::Dir {
        return None;
    }
    let place = state.path.parent()?;
    Some((format!("{place} {name}"), version.to_owned()))
}

/// Joins what one side has in one version and the other in another: two directories, one package.
pub(super) fn versions_joined(list: Vec<Difference>) -> Vec<Difference> {
    let mut out: Vec<Difference> = Vec::with_capacity(list.len());
    let mut at: HashMap<String, usize> = HashMap::new();
    for next in list {
        let known = at.get(&next.item).map(|at| &mut out[*at]);
        match known.filter(|known| next.kind == "package" && known.a.is_some() != next.a.is_some()) {
            Some(known) => {
                known.a = known.a.take().or(next.a);
                known.b = known.b.take().or(next.b);
                known.weight = Rank::Package.row().weight;
            }
            None => {
                if next.kind == "package" {
                    at.insert(next.item.clone(), out.len());
                }
                out.push(next);
            }
        }
    }
    out
}
