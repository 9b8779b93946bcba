//! From a file, and the files that it includes, to one tree of values: the declaration of the system, and what each
//! environment puts over it.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{NAME, is_name};
use super::read::{ENVIRONMENT_KEYS, ROOT_KEYS};
use crate::document::{At, Entry, Node, Reader, Table, Value};
use crate::hint;
use crate::path::Shown;
use crate::policy::glob;

/// How many files a system may have.
const MOST_FILES: usize = 1000;

/// Hands out the files of a system. Paths are those of the first file with what `include` says, so relative ones are
/// relative to where that one is.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// Why it can't be read, as a person would say it.
    fn read(&self, path: &str) -> Result<String, String>;

    /// The names of what is in a directory; `""` is the one that relative paths start from.
    ///
    /// # Errors
    /// Why it can't be read, as a person would say it.
    fn names(&self, dir: &str) -> Result<Vec<String>, String>;
}

/// Keys whose tables are named things, which may come from several files.
const COLLECTIONS: [&str; 6] = ["host", "role", "service", "team", "person", "environment"];

pub(super) type Entries = BTreeMap<String, Entry>;

/// What was read, before anybody asked what it means.
pub(super) struct Loaded {
    pub(super) reader: Reader,
    /// The system without its environments.
    pub(super) base: Entries,
    /// What each environment puts over it.
    pub(super) environments: BTreeMap<String, Entry>,
    /// Some of it is missing: what refers to it would be reported although it is right.
    pub(super) broken: bool,
}

pub(super) fn load(file_name: &str, files: &dyn Files) -> Result<Loaded, String> {
    let text = files.read(file_name)?;
    let mut loader = Loader { files, reader: Reader::default(), stack: Vec::new(), broken: false };
    let mut base = loader.text(file_name, &text, &mut BTreeSet::new(), false).unwrap_or_default();
    let environments = loader.environments(base.remove("environment"));
    Ok(Loaded { base, environments, broken: loader.broken, reader: loader.reader })
}

/// Puts what an environment says over the base: tables key by key, everything else as a whole. Hosts are not inherited: a
/// change for one environment must never reach a host of another because somebody forgot to take it out.
pub(super) fn overlay(base: &Entries, over: &Entries) -> Entries {
    let mut out = base.clone();
    out.remove("host");
    put_over(&mut out, over);
    out
}

fn put_over(base: &mut Entries, over: &Entries) {
    for (key, entry) in over {
        match (base.get_mut(key).map(|entry| &mut entry.node.value), &entry.node.value) {
            (Some(Value::Table(below)), Value::Table(above)) => put_over(below, above),
            _ => {
                base.insert(key.clone(), entry.clone());
            }
        }
    }
}

struct Loader<'f> {
    files: &'f dyn Files,
    reader: Reader,
    /// The files that are being read, each included by the one before it.
    stack: Vec<String>,
    broken: bool,
}

impl Loader<'_> {
    /// A file's tables with those of the files that it includes. `seen`: those that are part of the same whole already.
    fn text(&mut self, path: &str, text: &str, seen: &mut BTreeSet<String>, overlay: bool) -> Option<Entries> {
        seen.insert(path.to_owned());
        let Some(Node { at, value: Value::Table(mut entries) }) = self.reader.document(path, text) else {
            self.broken = true;
            return None;
        };
        let what = if self.stack.is_empty() { "the system file" } else { "a part of the system file" };
        let table = Table { entries: &entries, at, what: what.into() };
        self.reader.unknown(&table, if overlay { ENVIRONMENT_KEYS } else { ROOT_KEYS });
        entries.retain(|key, _| ROOT_KEYS.contains(&key.as_str()) && !(overlay && key == "environment"));
        self.stack.push(path.to_owned());
        self.includes(&mut entries, seen, overlay);
        self.includes_of_environments(&mut entries);
        self.stack.pop();
        Some(entries)
    }

    fn includes_of_environments(&mut self, entries: &mut Entries) {
        let Some(Value::Table(environments)) = entries.get_mut("environment").map(|entry| &mut entry.node.value) else {
            return;
        };
        for entry in environments.values_mut() {
            if let Value::Table(own) = &mut entry.node.value {
                self.includes(own, &mut BTreeSet::new(), true);
            }
        }
    }

    /// Replaces the key `include` by what it names.
    fn includes(&mut self, entries: &mut Entries, seen: &mut BTreeSet<String>, overlay: bool) {
        let Some(include) = entries.remove("include") else { return };
        let alone = Entries::from([("include".to_owned(), include)]);
        let table = Table { entries: &alone, at: alone["include"].key.clone(), what: "the system file".into() };
        let dir = directory(self.stack.last().map_or("", String::as_str)).to_owned();
        for (pattern, at) in self.reader.strings(&table, "include") {
            for path in self.named(&dir, pattern, &at) {
                if let Some(more) = self.included(&path, &at, seen, overlay) {
                    self.merge(entries, more);
                }
            }
        }
    }

    fn included(&mut self, path: &str, at: &At, seen: &mut BTreeSet<String>, overlay: bool) -> Option<Entries> {
        if let Some(from) = self.stack.iter().position(|open| open == path) {
            let chain: Vec<_> = self.stack[from..].iter().map(|open| Shown(open.as_bytes()).to_string()).collect();
            let message = format!("{} includes itself", Shown(path.as_bytes()));
            let hint = (chain.len() > 1).then(|| format!("by way of {}", chain[1..].join(", then ")));
            self.fail(at, message, hint);
            return None;
        }
        if seen.contains(path) {
            return None;
        }
        if self.reader.sources.len() >= MOST_FILES {
            self.fail(at, format!("more than {MOST_FILES} files are included"), None);
            return None;
        }
        match self.files.read(path) {
            Ok(text) => self.text(path, &text, seen, overlay),
            Err(why) => {
                let name = path.rsplit('/').next().unwrap_or(path);
                let names = self.files.names(directory(path)).unwrap_or_default();
                let near = hint::nearest(name, names.iter().map(String::as_str));
                let hint = match near.filter(|near| *near != name) {
                    Some(near) => format!("did you mean `{}`?", Shown(near.as_bytes())),
                    None => "paths are relative to the file that includes".to_owned(),
                };
                self.fail(at, format!("{} cannot be read: {why}", Shown(path.as_bytes())), Some(hint));
                None
            }
        }
    }

    /// The paths that an entry of `include` stands for.
    fn named(&mut self, dir: &str, pattern: &str, at: &At) -> Vec<String> {
        let (below, last) = pattern.rsplit_once('/').map_or(("", pattern), |(below, last)| (below, last));
        let is_pattern = |text: &str| text.contains(['*', '?', '[', '{']);
        if is_pattern(below) {
            let hint = "write one entry for each directory: include = [\"a/*.toml\", \"b/*.toml\"]".to_owned();
            self.fail(at, "a pattern may only be in the last part of the path", Some(hint));
            return Vec::new();
        }
        let absolute = pattern.starts_with('/');
        let dir = normal(&join(if absolute { "/" } else { dir }, below.trim_start_matches('/')));
        if !is_pattern(last) {
            return vec![join(&dir, last)];
        }
        let matcher = match glob(last) {
            Ok(glob) => glob.compile_matcher(),
            Err(why) => {
                self.fail(at, format!("`include`: not a pattern: {why}"), None);
                return Vec::new();
            }
        };
        let mut names = match self.files.names(&dir) {
            Ok(names) => names,
            Err(why) => {
                let hint = "paths are relative to the file that includes".to_owned();
                self.fail(at, format!("{} cannot be read: {why}", Shown(dir.as_bytes())), Some(hint));
                return Vec::new();
            }
        };
        // As in a shell, * does not stand for a dot in front; and whoever includes `*.toml` does not mean itself.
        names.retain(|name| matcher.is_match(name) && (!name.starts_with('.') || last.starts_with('.')));
        names.sort();
        let paths = names.iter().map(|name| join(&dir, name));
        paths.filter(|path| !self.stack.contains(path)).collect()
    }

    fn fail(&mut self, at: &At, message: impl Into<String>, hint: Option<String>) {
        self.reader.note(at, message, hint);
        self.broken = true;
    }

    /// Takes the tables of an included file in.
    fn merge(&mut self, into: &mut Entries, from: Entries) {
        for (key, entry) in from {
            let Some(own) = into.get_mut(&key) else {
                into.insert(key, entry);
                continue;
            };
            match (&mut own.node.value, entry.node.value) {
                (Value::Table(own), Value::Table(more)) if COLLECTIONS.contains(&key.as_str()) => {
                    self.merge_named(&key, own, more);
                }
                (Value::List(own), Value::List(more)) if key == "test" => own.extend(more),
                _ => {
                    let hint = Some(format!("first at {}", self.reader.place(&own.key)));
                    self.reader.note(&entry.key, format!("`{key}` is declared twice"), hint);
                }
            }
        }
    }

    fn merge_named(&mut self, kind: &str, own: &mut Entries, more: Entries) {
        for (name, entry) in more {
            let Some(first) = own.get_mut(&name) else {
                own.insert(name, entry);
                continue;
            };
            match (&mut first.node.value, entry.node.value) {
                (Value::Table(own), Value::Table(more)) if kind == "environment" => self.merge(own, more),
                _ => {
                    let hint = Some(format!("first at {}", self.reader.place(&first.key)));
                    let message = format!("{kind} `{}` is declared twice", Shown(name.as_bytes()));
                    self.reader.note(&entry.key, message, hint);
                }
            }
        }
    }

    fn environments(&mut self, entry: Option<Entry>) -> BTreeMap<String, Entry> {
        let Some(entry) = entry else { return BTreeMap::new() };
        let Some(table) = self.reader.table(&entry.node, "environment", "`environment`") else {
            return BTreeMap::new();
        };
        let mut out = table.entries.clone();
        out.retain(|name, entry| {
            if !is_name(name) {
                let message = format!("`{}` cannot be the name of an environment: {NAME}", Shown(name.as_bytes()));
                self.reader.note(&entry.key, message, None);
            }
            let what = format!("environment `{}`", Shown(name.as_bytes()));
            let Some(table) = self.reader.table(&entry.node, name, what) else { return false };
            self.reader.unknown(&table, ENVIRONMENT_KEYS);
            if let Value::Table(own) = &mut entry.node.value {
                own.retain(|key, _| ENVIRONMENT_KEYS.contains(&key.as_str()));
            }
            true
        });
        out
    }
}

/// The directory of a path, without a slash at the end; `""` for a name alone.
fn directory(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((dir, _)) => dir,
        None => "",
    }
}

fn join(dir: &str, name: &str) -> String {
    match (dir, name) {
        ("", name) => name.to_owned(),
        (dir, "") => dir.to_owned(),
        (dir, name) if dir.ends_with('/') => format!("{dir}{name}"),
        (dir, name) => format!("{dir}/{name}"),
    }
}

/// Without `.`, and without `x/..` where that is surely the same, so that a file has one path. (It is not for a directory that
/// is a symbolic link, where the kernel goes elsewhere: nobody keeps half of a repository behind one.)
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let text = parts.join("/");
    if path.starts_with('/') { format!("/{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together() {
        for (path, dir) in [("a.toml", ""), ("/a.toml", "/"), ("x/a.toml", "x"), ("/x/a.toml", "/x"), ("../a", "..")] {
            assert_eq!(directory(path), dir, "{path}");
        }
        for (dir, below, path) in
            [("", "s", "s"), ("x", "../s", "s"), ("x", "../../s", "../s"), ("/x", "./s//t", "/x/s/t"), ("/", "s", "/s")]
        {
            assert_eq!(normal(&join(dir, below)), path, "{dir} {below}");
        }
    }
}
