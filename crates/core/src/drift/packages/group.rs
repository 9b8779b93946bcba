//! Which drift belongs to which run of the package manager.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::derived::{about, is_account, is_derived, is_record};
use super::{Action, Logged, Owned, Owner, PackageChange, Transaction, change_words};
use crate::drift::{Actor, FoundBy, Group};
use crate::{Entry, Node};

/// What a group is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Packages came, went or have another version.
    Change,
    /// Files of a package are not as it brought them.
    Modified,
    /// Configuration files of a package are not as it brought them; people may do that.
    Conffiles,
}

/// One package of a group, with its paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The package and its versions; of a modified one both are the installed version, where that is known.
    pub change: PackageChange,
    /// Positions in what was handed in.
    pub paths: Vec<usize>,
}

/// What belongs together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageGroup {
    /// Its name, its line for people, how many paths.
    pub group: Group,
    /// What it is about.
    pub kind: Kind,
    /// The packages, by name.
    pub parts: Vec<Part>,
    /// Positions of the paths that no package owns: databases, caches, links.
    pub derived: Vec<usize>,
    /// The run of the package manager: a position in what was handed in.
    pub transaction: Option<usize>,
}

/// All groups, and for each drift that was handed in the one it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Grouped {
    /// Changes of packages by time, then modified packages by name.
    pub groups: Vec<PackageGroup>,
    /// For each drift the position of its group; `None`: no package has to do with it.
    pub of: Vec<Option<usize>>,
}

/// How far a file's time may be outside the time that a log gives, in seconds: logs have whole seconds.
const SLACK: i64 = 2;

/// As many packages are named in a title.
const NAMED: usize = 4;

/// Programs in which a person changes a file; no package's script uses them.
const BY_HAND: &[&str] =
    &["vi", "vim", "vim.basic", "vim.tiny", "nvim", "nano", "emacs", "ed", "joe", "mcedit", "micro"];

/// Shells in which a person types; packages' scripts run without a terminal of their own, or are run by `sh`.
const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Puts drifts together by package.
///
/// `changes` is what differs between the record's package database and the present one, `transactions` what the logs say
/// since the record.
#[must_use]
pub fn group(drifts: &[Owned<'_>], changes: &[PackageChange], transactions: &[Transaction]) -> Grouped {
    let mut work = Work::new(changes, transactions);
    let mut of: Vec<Option<usize>> = Vec::with_capacity(drifts.len());
    for (at, drift) in drifts.iter().enumerate() {
        of.push(work.take(at, drift));
    }
    work.modified(drifts, &mut of);
    work.name(drifts);
    Grouped { groups: work.groups, of }
}

struct Work<'a> {
    transactions: &'a [Transaction],
    groups: Vec<PackageGroup>,
    /// From a package's name to its group and its place among that group's parts.
    places: HashMap<&'a str, (usize, usize)>,
}

impl<'a> Work<'a> {
    fn new(changes: &'a [PackageChange], transactions: &'a [Transaction]) -> Self {
        let mut by_run: BTreeMap<(String, usize), Vec<&PackageChange>> = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            let key = match run_of(change, transactions) {
                Some(run) => (transactions[run].begin.clone(), run),
                // Not in a log: a group of its own, after all others.
                None => ("~".to_owned(), transactions.len() + at),
            };
            by_run.entry(key).or_default().push(change);
        }
        let (mut groups, mut places) = (Vec::new(), HashMap::new());
        for ((_, run), mut changes) in by_run {
            changes.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
            for (part, change) in changes.iter().enumerate() {
                places.entry(change.name.as_str()).or_insert((groups.len(), part));
            }
            let parts = changes.into_iter().map(|change| Part { change: change.clone(), paths: Vec::new() }).collect();
            let transaction = (run < transactions.len()).then_some(run);
            groups.push(PackageGroup { group: no_name(), kind: Kind::Change, parts, derived: Vec::new(), transaction });
        }
        Self { transactions, groups, places }
    }

    /// The group of a package's change that one drift belongs to.
    fn take(&mut self, at: usize, drift: &Owned<'_>) -> Option<usize> {
        if drift.found_by == FoundBy::Package {
            return None;
        }
        let owned = [&drift.after, &drift.before].into_iter().flatten();
        let place = owned.filter_map(|owner| self.places.get(owner.package.as_str())).next().copied();
        if let Some((group, part)) = place {
            if !self.is_of_change(drift, group) {
                return None;
            }
            self.groups[group].parts[part].paths.push(at);
            return Some(group);
        }
        if drift.before.is_some() || drift.after.is_some() {
            return None;
        }
        let group = self.derived(drift)?;
        self.groups[group].derived.push(at);
        Some(group)
    }

    /// Whether a path of a package that changed is as that change left it.
    fn is_of_change(&self, drift: &Owned<'_>, group: usize) -> bool {
        let within = self.groups[group].transaction.map(|run| self.within(run, drift.at));
        match (&drift.entry.after, &drift.after) {
            (Some(_), Some(Owner { intact: Some(false), .. })) => false,
            // The package has it, the host has not: somebody deleted it.
            (None, Some(_)) => false,
            (None, None) => true,
            (Some(after), owner) => match within {
                None | Some(true) => true,
                Some(false) => {
                    let same = drift.entry.before.as_ref().is_some_and(|before| same_rights(before, after));
                    same && owner.as_ref().is_some_and(|owner| owner.intact == Some(true))
                }
            },
        }
    }

    /// The group that a path without an owner belongs to.
    fn derived(&self, drift: &Owned<'_>) -> Option<usize> {
        let path = drift.entry.path.as_bytes();
        let record = is_record(path);
        let is_of_packages = record || is_derived(path, is_link(drift.entry)) || drift.actor.is_some_and(is_manager);
        if drift.actor.is_some_and(by_hand) || !(is_of_packages || is_account(path)) {
            return None;
        }
        // Two runs within a moment are told apart by what they are about.
        if let Some((group, _)) = about(path).and_then(|package| self.places.get(package)) {
            return Some(*group);
        }
        let at_its_time = |group: &PackageGroup| {
            group.transaction.is_some_and(|run| {
                let adds = || self.transactions[run].packages.iter().any(|p| p.action == Action::Install);
                self.within(run, drift.at) && (is_of_packages || adds())
            })
        };
        let found = self.groups.iter().rposition(at_its_time);
        // dpkg's records are written by nobody else; the last group is the one that left them as they are.
        found.or_else(|| if record { self.groups.len().checked_sub(1) } else { None })
    }

    fn within(&self, run: usize, at: &str) -> bool {
        let second = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
        let run = &self.transactions[run];
        match (second(&run.begin), second(&run.end), second(at)) {
            (Some(begin), Some(end), Some(at)) => begin - SLACK <= at && at <= end + SLACK,
            _ => false,
        }
    }

    /// Files that are not as their packages brought them, from before there was a record.
    fn modified(&mut self, drifts: &[Owned<'_>], of: &mut [Option<usize>]) {
        let mut found: BTreeMap<(&str, bool), Vec<usize>> = BTreeMap::new();
        for (at, drift) in drifts.iter().enumerate().filter(|(_, d)| d.found_by == FoundBy::Package) {
            if let Some(owner) = drift.after.as_ref().or(drift.before.as_ref()) {
                found.entry((&owner.package, owner.conffile)).or_default().push(at);
            }
        }
        for ((package, conffile), paths) in found {
            paths.iter().for_each(|at| of[*at] = Some(self.groups.len()));
            let change =
                PackageChange { name: package.to_owned(), arch: String::new(), from: None, to: None, note: None };
            let parts = vec![Part { change, paths }];
            let kind = if conffile { Kind::Conffiles } else { Kind::Modified };
            self.groups.push(PackageGroup { group: no_name(), kind, parts, derived: Vec::new(), transaction: None });
        }
    }

    fn name(&mut self, drifts: &[Owned<'_>]) {
        let mut taken: HashMap<String, u32> = HashMap::new();
        for group in &mut self.groups {
            let run = group.transaction.map(|run| &self.transactions[run]);
            let paths = group.parts.iter().flat_map(|p| &p.paths).chain(&group.derived);
            let actor = paths.filter_map(|at| drifts[*at].actor).next();
            group.group = named(group, run, actor);
            let count = taken.entry(group.group.id.clone()).or_insert(0);
            *count += 1;
            if *count > 1 {
                group.group.id = format!("{}#{count}", group.group.id);
            }
        }
    }
}

/// The last run whose log says that it led to the package's present version.
fn run_of(change: &PackageChange, transactions: &[Transaction]) -> Option<usize> {
    // apt logs a package for all architectures under the machine's own.
    let same_arch = |arch: &str| arch == change.arch || [arch, &change.arch].iter().any(|a| matches!(*a, "all" | ""));
    let leads = |p: &Logged| p.name == change.name && same_arch(&p.arch) && p.to == change.to;
    transactions.iter().rposition(|t| t.packages.iter().any(leads))
}

fn no_name() -> Group {
    Group { id: String::new(), title: String::new(), paths: 0 }
}

fn named(group: &PackageGroup, run: Option<&Transaction>, actor: Option<&Actor>) -> Group {
    let paths = group.parts.iter().map(|p| p.paths.len()).sum::<usize>() + group.derived.len();
    let first = &group.parts[0].change.name;
    let files = |one: &str, many: &str| if paths == 1 { format!("1 {one}") } else { format!("{paths} {many}") };
    let since = "since the package was installed";
    let (id, title) = match group.kind {
        Kind::Modified => {
            (format!("modified:{first}"), format!("{first}: {} modified {since}", files("file", "files")))
        }
        Kind::Conffiles => {
            let files = files("configuration file", "configuration files");
            (format!("conffiles:{first}"), format!("{first}: {files} edited {since}"))
        }
        Kind::Change => {
            let by = run.map(Transaction::by).or_else(|| actor.map(Actor::words));
            let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
            let changes: Vec<&PackageChange> = group.parts.iter().map(|p| &p.change).collect();
            match (&changes[..], run) {
                ([one], _) => (format!("package:{}", one.name), change_words(one) + &by),
                (_, Some(run)) => (format!("packages:{}", run.begin), several(&changes, &by)),
                (_, None) => (format!("package:{first}"), several(&changes, &by)),
            }
        }
    };
    Group { id, title, paths }
}

fn several(changes: &[&PackageChange], by: &str) -> String {
    let verb = |change: &PackageChange| match (&change.from, &change.to) {
        (None, Some(_)) => "installed",
        (Some(_), None) => "removed",
        (Some(from), Some(to)) if super::compare_versions(from, to).is_lt() => "upgraded",
        _ => "changed",
    };
    let first = verb(changes[0]);
    let verb = if changes.iter().all(|c| verb(c) == first) { first } else { "changed" };
    let mut names: Vec<&str> = changes.iter().map(|c| c.name.as_str()).collect();
    names.dedup();
    let more = names.len().saturating_sub(NAMED);
    let mut list = names[..names.len().min(NAMED)].join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    format!("{} packages {verb}{by}: {list}", names.len())
}

fn is_link(entry: &Entry) -> bool {
    let side = entry.after.as_deref().or(entry.before.as_deref());
    side.is_some_and(|node| matches!(node.kind, crate::Kind::Symlink(_)))
}

fn same_rights(one: &Node, other: &Node) -> bool {
    (one.mode, one.uid, one.gid, one.flags, &one.xattrs)
        == (other.mode, other.uid, other.gid, other.flags, &other.xattrs)
}

/// Whether the process is a package manager, or one that it runs.
fn is_manager(actor: &Actor) -> bool {
    let process = actor.process.as_deref().unwrap_or("");
    let command = actor.command.as_deref().unwrap_or("");
    let unit = actor.unit.as_deref().unwrap_or("");
    process.starts_with("dpkg")
        || process.starts_with("apt")
        || process.starts_with("unattended-upgr")
        || command.contains("/var/lib/dpkg/info/")
        || matches!(unit, "apt-daily.service" | "apt-daily-upgrade.service" | "packagekit.service")
}

fn by_hand(actor: &Actor) -> bool {
    let process = actor.process.as_deref().unwrap_or("");
    BY_HAND.contains(&process) || (actor.terminal.is_some() && SHELLS.contains(&process))
}
