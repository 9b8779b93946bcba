//! The rule of the comparison: what two direct runs agree on, the applied change must have too.
//!
//! Two direct runs of one command on two identical hosts differ from each other: times, random keys, salts, caches with
//! addresses in them. So each *fact* of each path (its kind, owner, mode, content, target, each extended attribute, its
//! modification time) is compared by itself: where the two direct runs have the same value and the host with the applied
//! change has another, that is an infidelity. Two runs side by side may well write in the same tick of the kernel's clock: a time
//! from while they ran is chance even where both have it. Nothing is left out by name, except that a path which Greenroom's published
//! list calls volatile (or data of a store) is counted apart.

use super::tree::{Facts, Tree};
use greenroom_core::TreePath;
use greenroom_core::policy::{Class, Policy};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One path that is not as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) path: PathBuf,
    /// The facts, with what is expected and what is there.
    pub(crate) what: String,
}

/// What came out of one comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Paths that differ and should not.
    pub(crate) wrong: Vec<Difference>,
    /// Paths that differ and that the policy leaves out.
    pub(crate) left_out: Vec<Difference>,
    /// Paths in which the two direct runs differ from each other (in another fact than the time).
    pub(crate) chance: usize,
}

/// Compares `tree` with what `one` and `two` agree on; both began at `since`, in seconds since 1970.
pub(crate) fn judge(one: &Tree, two: &Tree, tree: &Tree, since: f64, policy: &Policy) -> Verdict {
    let mut verdict = Verdict::default();
    let paths: BTreeSet<&PathBuf> = one.keys().chain(two.keys()).chain(tree.keys()).collect();
    for path in paths {
        let [a, b, c] = [one, two, tree].map(|tree| tree.get(path));
        if [a, b].map(|facts| facts.map(timeless)).windows(2).any(|pair| pair[0] != pair[1]) {
            verdict.chance += 1;
        }
        let Some(what) = disagreement(a, b, c, since) else { continue };
        let difference = Difference { path: path.clone(), what };
        let is_dir = [a, b, c].into_iter().flatten().all(|facts| facts["kind"] == "Directory");
        // The time of a directory in which only volatile things are is the time of the last of these.
        let only_time = is_dir && difference.what.starts_with("mtime is ") && !difference.what.contains("; ");
        let judged = if only_time { path.join("anything") } else { path.clone() };
        match policy.class(&TreePath::new(judged.as_os_str().as_bytes()), is_dir && !only_time) {
            Class::Volatile | Class::Data => verdict.left_out.push(difference),
            Class::Managed | Class::Boot | Class::Own => verdict.wrong.push(difference),
        }
    }
    verdict
}

/// Compares two trees that should be equal.
pub(crate) fn equal(expected: &Tree, found: &Tree, policy: &Policy) -> Verdict {
    judge(expected, expected, found, f64::INFINITY, policy)
}

fn timeless(facts: &Facts) -> Facts {
    facts.iter().filter(|(name, _)| *name != "mtime").map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The facts that `a` and `b` agree on and `c` does not have. Where the kind is wrong, nothing else is told.
fn disagreement(a: Option<&Facts>, b: Option<&Facts>, c: Option<&Facts>, since: f64) -> Option<String> {
    let value = |facts: Option<&Facts>, name: &str| facts.and_then(|facts| facts.get(name).cloned());
    let chance = |name: &str, value: Option<String>| {
        name == "mtime" && value.and_then(|time| time.parse::<f64>().ok()).is_some_and(|time| time >= since)
    };
    let wrong = |name: &str| {
        value(a, name) == value(b, name) && value(a, name) != value(c, name) && !chance(name, value(a, name))
    };
    let tell = |name: &str| {
        let [is, was] = [c, a].map(|facts| value(facts, name).unwrap_or_else(|| "none".to_owned()));
        format!("{name} is {}, not {}", short(&is), short(&was))
    };
    if wrong("kind") {
        return Some(tell("kind"));
    }
    let same_kind = value(a, "kind") == value(c, "kind");
    let names: BTreeSet<&String> = [a, b, c].into_iter().flatten().flat_map(Facts::keys).collect();
    let told: Vec<String> = names.into_iter().filter(|name| same_kind && wrong(name)).map(|name| tell(name)).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn short(text: &str) -> String {
    if text.chars().count() <= 80 { text.to_owned() } else { text.chars().take(77).chain("...".chars()).collect() }
}

/// Groups paths by the directories that a person would name, with counts, the most frequent first.
pub(crate) fn places(differences: &[Difference]) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for difference in differences {
        *counts.entry(place(&difference.path)).or_default() += 1;
    }
    let mut list: Vec<_> = counts.into_iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list
}

fn place(path: &Path) -> String {
    if path.components().any(|part| part.as_os_str() == "__pycache__") {
        return "`__pycache__`".to_owned();
    }
    let parts: Vec<_> = path.components().skip(1).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let depth = parts.len().min(if path.starts_with("/var/lib") { 3 } else { 2 });
    format!("`/{}`", parts[..depth].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(list: &[(&str, &str)]) -> Facts {
        let kind = [("kind".to_owned(), "RegularFile".to_owned())];
        kind.into_iter().chain(list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }

    fn tree(list: &[(&str, &[(&str, &str)])]) -> Tree {
        list.iter().map(|(path, list)| (PathBuf::from(path), facts(list))).collect()
    }

    #[test]
    fn only_what_two_direct_runs_agree_on_counts() {
        let policy = Policy::new("", vec![], vec![]).unwrap();
        let one = tree(&[
            ("/a", &[("mode", "1"), ("content", "x")]),
            ("/key", &[("content", "r1")]),
            ("/gone", &[]),
            ("/var/log/a", &[]),
        ]);
        let two = tree(&[
            ("/a", &[("mode", "1"), ("content", "x")]),
            ("/key", &[("content", "r2")]),
            ("/gone", &[]),
            ("/var/log/a", &[]),
        ]);
        let same = judge(&one, &two, &one, 100.0, &policy);
        assert_eq!((same.wrong.len(), same.left_out.len(), same.chance), (0, 0, 1));
        let other = tree(&[
            ("/a", &[("mode", "2"), ("content", "x")]),
            ("/key", &[("content", "r3"), ("xattr", "new")]),
            ("/new", &[]),
        ]);
        let found = judge(&one, &two, &other, 100.0, &policy);
        let wrong: Vec<String> = found.wrong.iter().map(|d| format!("{}: {}", d.path.display(), d.what)).collect();
        assert_eq!(
            wrong,
            [
                "/a: mode is 2, not 1",
                "/gone: kind is none, not RegularFile",
                "/key: xattr is new, not none",
                "/new: kind is RegularFile, not none"
            ]
        );
        assert_eq!(found.left_out.len(), 1, "{:?}", found.left_out);
    }

    #[test]
    fn a_time_from_before_the_runs_is_no_chance() {
        let policy = Policy::new("", vec![], vec![]).unwrap();
        let at = |old, new| tree(&[("/set", &[("mtime", old)]), ("/made", &[("mtime", new)])]);
        let (runs, applied) = (at("99.5", "101.25"), at("99.75", "102.5"));
        let found = judge(&runs, &runs, &applied, 100.0, &policy);
        assert_eq!(found.wrong.iter().map(|d| d.what.as_str()).collect::<Vec<_>>(), ["mtime is 99.75, not 99.5"]);
    }

    #[test]
    fn places_are_what_a_person_would_name() {
        let list = ["/var/log/apt/term.log", "/var/log/dpkg.log", "/usr/lib/x/__pycache__/a.pyc", "/etc/x"];
        let differences: Vec<Difference> =
            list.iter().map(|path| Difference { path: path.into(), what: String::new() }).collect();
        let shown: Vec<String> =
            places(&differences).into_iter().map(|(place, count)| format!("{place} {count}")).collect();
        assert_eq!(shown, ["`/var/log` 2", "`/etc/x` 1", "`__pycache__` 1"]);
    }
}
