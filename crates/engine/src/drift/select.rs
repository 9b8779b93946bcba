//! Which of the drifts a person means, and what has to come along so that the record stays a tree.
//!
//! A path means itself and all below it, or it is a glob. What comes along by itself: the directory that a new file needs, what
//! is inside a directory that goes, and the other names of one file.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::GlobMatcher;
use greenroom_core::drift::{Drift, Group};
use greenroom_core::{Entry, Node, TreePath, policy};

use crate::EngineError;

/// What a person named.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Everything.
    pub all: bool,
    /// Paths, with all below them, and globs.
    pub paths: Vec<String>,
    /// Groups, by their id.
    pub groups: Vec<String>,
}

/// Whether the paths go to what is on the host or to what is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    Host,
    Record,
}

impl Toward {
    /// How the entry will be on record and on the host.
    fn target(self, entry: &Entry) -> Option<&Node> {
        match self {
            Self::Host => entry.after.as_deref(),
            Self::Record => entry.before.as_deref(),
        }
    }

    fn other(self, entry: &Entry) -> Option<&Node> {
        match self {
            Self::Host => Self::Record.target(entry),
            Self::Record => Self::Host.target(entry),
        }
    }
}

/// One path of a command line.
pub struct Pattern {
    prefix: TreePath,
    glob: GlobMatcher,
}

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// It is relative, or no glob.
    pub fn new(text: &str) -> Result<Self, EngineError> {
        if !text.starts_with('/') {
            return Err(EngineError::usage(
                format!("{text} is not a path from /"),
                "write the whole path, from the host's /",
            ));
        }
        let glob = policy::glob(text).map_err(|why| {
            EngineError::usage(
                format!("{text} is not a path pattern: {why}"),
                "a backslash takes the meaning from a * or [",
            )
        })?;
        Ok(Self { prefix: TreePath::from(text), glob: glob.compile_matcher() })
    }

    /// Whether the path is meant.
    #[must_use]
    pub fn matches(&self, path: &TreePath) -> bool {
        path.starts_with(&self.prefix) || self.glob.is_match(OsStr::from_bytes(path.as_bytes()))
    }
}

/// The positions of what is meant, with what comes along.
pub(super) fn select(drift: &[Drift], wanted: &Selection, toward: Toward) -> Result<Vec<usize>, EngineError> {
    let patterns: Vec<Pattern> = wanted.paths.iter().map(|text| Pattern::new(text)).collect::<Result<_, _>>()?;
    if let Some(unknown) = wanted.groups.iter().find(|id| drift.iter().all(|d| d.group != **id)) {
        let what = format!("there is no group {unknown} in the drift of this host");
        return Err(EngineError::usage(what, "`greenroom status --json` lists them"));
    }
    let is_meant = |drift: &Drift| {
        wanted.all || wanted.groups.contains(&drift.group) || patterns.iter().any(|p| p.matches(drift.path()))
    };
    for (pattern, text) in patterns.iter().zip(&wanted.paths) {
        if drift.iter().all(|d| !pattern.matches(d.path())) {
            let what = format!("nothing at {} differs from the record", greenroom_core::path::Shown(text.as_bytes()));
            return Err(EngineError::refused(what, "`greenroom drift` lists what does"));
        }
    }
    let chosen: BTreeSet<usize> = (0..drift.len()).filter(|at| is_meant(&drift[*at])).collect();
    Ok(along(drift, chosen, toward).into_iter().collect())
}

/// Changes of packages go together: they share the package manager's records, and files without their records (or the other way
/// round) are a broken host.
pub(super) fn whole_packages(drift: &[Drift], groups: &[Group], chosen: &[usize]) -> Result<(), EngineError> {
    let is_change = |id: &str| id.starts_with("package:") || id.starts_with("packages:");
    let is_left = |at: &usize| is_change(&drift[*at].group) && chosen.binary_search(at).is_err();
    if !chosen.iter().any(|at| is_change(&drift[*at].group)) || !(0..drift.len()).any(|at| is_left(&at)) {
        return Ok(());
    }
    let all: Vec<&Group> = groups.iter().filter(|group| is_change(&group.id)).collect();
    let titles: Vec<&str> = all.iter().map(|group| group.title.as_str()).collect();
    let names: Vec<String> = all.iter().map(|group| format!("--group {}", group.id)).collect();
    let what = format!("packages share their records, so what changed of them goes together: {}", titles.join("; "));
    Err(EngineError::refused(what, format!("name all of it: {}", names.join(" "))))
}

/// Adds what has to come along, until nothing more does. `drift` is sorted by path.
fn along(drift: &[Drift], mut chosen: BTreeSet<usize>, toward: Toward) -> BTreeSet<usize> {
    let is_dir = |node: Option<&Node>| node.is_some_and(Node::is_dir);
    let mut pending: Vec<usize> = chosen.iter().copied().collect();
    while let Some(at) = pending.pop() {
        let entry = &drift[at].entry;
        let mut more: Vec<usize> = Vec::new();
        if toward.target(entry).is_some() {
            let above = std::iter::successors(entry.path.parent(), TreePath::parent);
            more.extend(above.filter_map(|dir| find(drift, &dir)).filter(|dir| {
                let dir = &drift[*dir].entry;
                is_dir(toward.target(dir)) && !is_dir(toward.other(dir))
            }));
        }
        if is_dir(toward.other(entry)) && !is_dir(toward.target(entry)) {
            let below = drift[at + 1..].iter().take_while(|d| d.path().starts_with(&entry.path)).count();
            more.extend(at + 1..=at + below);
        }
        let links: Vec<&TreePath> = links(entry).collect();
        if !links.is_empty() {
            let shares = |d: &&Drift| links.contains(&d.path()) || self::links(&d.entry).any(|l| links.contains(&l));
            more.extend(drift.iter().enumerate().filter(|(_, d)| shares(d)).map(|(at, _)| at));
        }
        pending.extend(more.into_iter().filter(|at| chosen.insert(*at)));
    }
    chosen
}

fn find(drift: &[Drift], path: &TreePath) -> Option<usize> {
    drift.binary_search_by(|d| d.path().cmp(path)).ok()
}

fn links(entry: &Entry) -> impl Iterator<Item = &TreePath> {
    [&entry.before, &entry.after].into_iter().flatten().filter_map(|node| node.link.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::drift::FoundBy;
    use greenroom_core::{ContentHash, Kind, Mtime};

    fn node(kind: Kind, link: Option<&str>) -> Option<Box<Node>> {
        let link = link.map(TreePath::from);
        let mtime = Mtime::default();
        Some(Box::new(Node { kind, mode: 0o644, flags: 0, uid: 0, gid: 0, mtime, xattrs: Box::new([]), link }))
    }

    fn file(text: &str) -> Option<Box<Node>> {
        node(Kind::File { size: 1, content: ContentHash::of(text.as_bytes()) }, None)
    }

    fn linked(text: &str, to: &str) -> Option<Box<Node>> {
        node(Kind::File { size: 1, content: ContentHash::of(text.as_bytes()) }, Some(to))
    }

    fn dir() -> Option<Box<Node>> {
        node(Kind::Dir, None)
    }

    fn world() -> Vec<Drift> {
        let table = [
            ("/a", None, dir()),
            ("/a/one", None, file("1")),
            ("/a/two", None, file("2")),
            ("/b", dir(), None),
            ("/b/one", file("1"), None),
            ("/b/two", file("2"), None),
            ("/c", dir(), file("c")),
            ("/c/in", file("i"), None),
            ("/l1", linked("x", "/l1"), linked("y", "/l1")),
            ("/l2", linked("x", "/l1"), linked("y", "/l1")),
            ("/z*", file("z"), file("zz")),
        ];
        let drift = table.map(|(path, before, after)| Drift {
            entry: Entry { path: path.into(), before, after },
            found_by: FoundBy::Scan,
            actor: None,
            at: String::new(),
            group: format!("path:{path}"),
        });
        drift.into()
    }

    #[test]
    fn what_has_to_come_along_does_and_nothing_else() {
        use Toward::{Host, Record};
        let table: &[(&str, Toward, &[&str])] = &[
            ("/a/one", Host, &["/a", "/a/one"]),
            ("/a/one", Record, &["/a/one"]),
            ("/a", Record, &["/a", "/a/one", "/a/two"]),
            ("/b/one", Host, &["/b/one"]),
            ("/b/one", Record, &["/b", "/b/one"]),
            ("/c/in", Record, &["/c", "/c/in"]),
            ("/c/i?", Host, &["/c/in"]),
            ("/l2", Host, &["/l1", "/l2"]),
            ("/z\\*", Host, &["/z*"]),
            ("/**/two", Host, &["/a", "/a/two", "/b/two"]),
        ];
        let drift = world();
        for (pattern, toward, expected) in table {
            let wanted = Selection { paths: vec![(*pattern).to_owned()], ..Selection::default() };
            let found = select(&drift, &wanted, *toward).unwrap();
            let found: Vec<String> = found.into_iter().map(|at| drift[at].path().to_string()).collect();
            assert_eq!(found, *expected, "{pattern} {toward:?}");
        }
        let mut of_packages = world();
        of_packages[0].group = "package:a".to_owned();
        of_packages[9].group = "packages:b".to_owned();
        let fits = |chosen: &[usize]| whole_packages(&of_packages, &[], chosen).is_ok();
        assert!(fits(&[1, 2]) && fits(&[0, 9]) && fits(&[0, 1, 9]) && !fits(&[0]) && !fits(&[1, 9]));
        let group = Selection { groups: vec!["path:/b".into()], ..Selection::default() };
        assert_eq!(select(&drift, &group, Host).unwrap(), [3, 4, 5]);
        let all = Selection { all: true, ..Selection::default() };
        assert_eq!(select(&drift, &all, Host).unwrap().len(), drift.len());
        for (paths, status) in [("nothing", "usage"), ("/nothing", "refused"), ("/a{", "usage")] {
            let wanted = Selection { paths: vec![paths.to_owned()], ..Selection::default() };
            let found = match select(&drift, &wanted, Host) {
                Err(EngineError::Usage { .. }) => "usage",
                Err(EngineError::Refused { .. }) => "refused",
                other => panic!("{other:?}"),
            };
            assert_eq!(found, status, "{paths}");
        }
    }
}
