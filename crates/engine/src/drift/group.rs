//! What belongs together, for a person who reads a report: a run of the package manager, what somebody did at one terminal, what
//! one program did, a new tree.

use std::collections::{BTreeMap, HashMap};

use greenroom_core::drift::packages::{self, Grouped, Owned, Owner, Transaction};
use greenroom_core::drift::{Actor, Drift, FoundBy, Group};
use greenroom_core::path::Shown;
use greenroom_core::{Node, TreePath};
use greenroom_host::dpkg::Database;
use jiff::{SignedDuration, Timestamp};

/// The package databases of the record and of the host.
pub(super) struct Databases {
    pub(super) record: Option<Database>,
    pub(super) host: Option<Database>,
}

/// Edits of one person at one terminal that are further apart are two sessions.
const PAUSE: SignedDuration = SignedDuration::from_mins(30);

/// As many programs are named in a title.
const NAMED: usize = 3;

/// Gives each drift its group. `intact` says of a path's content whether it is what its package brought.
pub(super) fn group(
    drift: &mut [Drift],
    databases: &Databases,
    transactions: &[Transaction],
    intact: &dyn Fn(&TreePath) -> Option<[u8; 16]>,
) -> Vec<Group> {
    let grouped = by_package(drift, databases, transactions, intact);
    let mut groups: Vec<Group> =
        grouped.groups.iter().map(|g| g.group.clone()).filter(|group| group.paths > 0).collect();
    let mut rest: Vec<usize> = Vec::new();
    for (at, of) in grouped.of.iter().enumerate() {
        match of {
            Some(of) => drift[at].group.clone_from(&grouped.groups[*of].group.id),
            None => rest.push(at),
        }
    }
    let mut seats: HashMap<Seat, Vec<usize>> = HashMap::new();
    let mut alone: Vec<usize> = Vec::new();
    for at in rest {
        match drift[at].actor.as_ref().and_then(Seat::of) {
            Some(seat) => seats.entry(seat).or_default().push(at),
            None => alone.push(at),
        }
    }
    let mut seats: Vec<(Seat, Vec<usize>)> = seats.into_iter().collect();
    seats.sort_by(|a, b| a.1.cmp(&b.1));
    for (seat, mut of) in seats {
        of.sort_by(|a, b| (&drift[*a].at, a).cmp(&(&drift[*b].at, b)));
        for session in sessions(drift, &of) {
            let group = seat.group(drift, session);
            session.iter().for_each(|at| drift[*at].group.clone_from(&group.id));
            groups.push(group);
        }
    }
    trees(drift, &alone, &mut groups);
    groups
}

fn by_package(
    drift: &[Drift],
    databases: &Databases,
    transactions: &[Transaction],
    md5: &dyn Fn(&TreePath) -> Option<[u8; 16]>,
) -> Grouped {
    let changes = match (&databases.record, &databases.host) {
        (Some(record), Some(host)) => Database::compare(record, host),
        _ => Vec::new(),
    };
    let owned: Vec<Owned<'_>> = drift
        .iter()
        .map(|drift| {
            let owner = |database: &Option<Database>, content: Option<&[u8; 16]>| -> Option<Owner> {
                database.as_ref()?.owner_words(drift.path(), content)
            };
            let host = owner(&databases.host, None);
            // Only what belongs to a package that changed is worth reading again.
            let looked = host.as_ref().filter(|o| changes.iter().any(|c| c.name == o.package));
            let content = looked.and_then(|_| md5(drift.path()));
            Owned {
                entry: &drift.entry,
                found_by: drift.found_by,
                actor: drift.actor.as_ref(),
                at: &drift.at,
                before: owner(&databases.record, None),
                after: if content.is_some() { owner(&databases.host, content.as_ref()) } else { host },
            }
        })
        .collect();
    packages::group(&owned, &changes, transactions)
}

/// Who and where from: what one of them does is one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Seat {
    person: Option<String>,
    terminal: Option<String>,
    from: Option<String>,
    unit: Option<String>,
}

impl Seat {
    fn of(actor: &Actor) -> Option<Self> {
        let person = actor.login.clone().or_else(|| actor.user.clone());
        let unit = if actor.terminal.is_some() { None } else { actor.unit.clone() };
        (person.is_some() || unit.is_some()).then(|| Self {
            person,
            terminal: actor.terminal.clone(),
            from: actor.from.clone(),
            unit,
        })
    }

    /// The name and the line of one session.
    fn group(&self, drift: &[Drift], session: &[usize]) -> Group {
        let first = &drift[session[0]];
        if let [_] = session {
            return single(first);
        }
        let mut programs: Vec<&str> = Vec::new();
        for actor in session.iter().filter_map(|at| drift[*at].actor.as_ref()) {
            if let Some(process) = actor.process.as_deref().filter(|p| !programs.contains(p)) {
                programs.push(process);
            }
        }
        let more = if programs.len() > NAMED { ", …" } else { "" };
        let programs = programs[..programs.len().min(NAMED)].join(", ");
        let mut with = if programs.is_empty() { String::new() } else { format!(" ({programs}{more})") };
        if let (Some(unit), Some(_)) = (&self.unit, &self.person) {
            with.push_str(&format!(" in {unit}"));
        }
        let who = Actor {
            user: self.person.clone(),
            terminal: self.terminal.clone(),
            from: self.from.clone(),
            unit: self.unit.clone(),
            ..Actor::default()
        };
        let place = self.terminal.as_ref().or(self.unit.as_ref()).or(self.person.as_ref());
        let mut paths: Vec<String> = session.iter().take(2).map(|at| drift[*at].path().to_string()).collect();
        if session.len() > paths.len() {
            paths.push(format!("{} more", session.len() - paths.len()));
        }
        let last = paths.pop().unwrap_or_default();
        Group {
            id: format!("session:{}@{}", place.map_or("", String::as_str), first.at),
            title: format!("{} and {last} by {}{with}", paths.join(", "), who.words()),
            paths: session.len(),
        }
    }
}

/// The sessions among what one seat did, which is sorted by time.
fn sessions<'a>(drift: &[Drift], of: &'a [usize]) -> Vec<&'a [usize]> {
    let time = |at: usize| drift[at].at.parse::<Timestamp>().unwrap_or_default();
    of.chunk_by(|a, b| time(*b).duration_since(time(*a)) <= PAUSE).collect()
}

/// What nobody is known for: a tree that came or went is one, all else stands by itself.
fn trees(drift: &mut [Drift], alone: &[usize], groups: &mut Vec<Group>) {
    let side = |drift: &Drift| (drift.entry.before.is_none(), drift.entry.after.is_none());
    let mut tops: BTreeMap<TreePath, ((bool, bool), Vec<usize>)> = BTreeMap::new();
    let mut top: Option<(TreePath, (bool, bool))> = None;
    for at in alone.iter().copied() {
        let here = &drift[at];
        let inside = top.as_ref().is_some_and(|(dir, how)| here.path().starts_with(dir) && *how == side(here));
        if !inside {
            let node = here.entry.after.as_deref().or(here.entry.before.as_deref());
            let one_sided = here.entry.before.is_none() != here.entry.after.is_none();
            top = (one_sided && node.is_some_and(Node::is_dir)).then(|| (here.path().clone(), side(here)));
        }
        let key = top.as_ref().filter(|_| inside).map_or_else(|| here.path().clone(), |(dir, _)| dir.clone());
        tops.entry(key).or_insert_with(|| (side(here), Vec::new())).1.push(at);
    }
    for (path, (how, of)) in tops {
        let group = match of.as_slice() {
            [one] => single(&drift[*one]),
            many => {
                let verb = if how.0 { "a new tree" } else { "a deleted tree" };
                let title = format!("{path}: {verb} of {} paths, {}", many.len(), FoundBy::Scan.words());
                Group { id: format!("tree:{path}"), title, paths: many.len() }
            }
        };
        of.iter().for_each(|at| drift[*at].group.clone_from(&group.id));
        groups.push(group);
    }
}

fn single(drift: &Drift) -> Group {
    let who = match &drift.actor {
        Some(actor) => format!("by {}", Shown(actor.words().as_bytes())),
        None => format!("({})", drift.found_by.words()),
    };
    let verb = verb(drift);
    Group { id: format!("path:{}", drift.path()), title: format!("{} {verb} {who}", drift.path()), paths: 1 }
}

/// What happened to a path, in a word.
#[must_use]
pub fn verb(drift: &Drift) -> &'static str {
    use greenroom_core::Op;
    match drift.op() {
        Op::Create => "created",
        Op::Delete => "deleted",
        Op::Modify => "modified",
        Op::Replace => "replaced by another kind of file",
        Op::Metadata => "metadata changed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::{Entry, Kind, Mtime};

    fn drift(path: &str, kind: Kind, at: &str, actor: Option<Actor>) -> Drift {
        let (mtime, xattrs) = (Mtime::default(), Box::default());
        let node = Node { kind, mode: 0o644, flags: 0, uid: 0, gid: 0, mtime, xattrs, link: None };
        let entry = Entry { path: path.into(), before: None, after: Some(Box::new(node)) };
        let found_by = if actor.is_some() { FoundBy::Watch } else { FoundBy::Scan };
        Drift { entry, found_by, actor, at: format!("2026-11-27T{at}Z"), group: String::new() }
    }

    fn by(login: &str, terminal: Option<&str>, unit: Option<&str>, process: &str) -> Option<Actor> {
        let own = |text: &str| Some(text.to_owned());
        let (terminal, unit) = (terminal.map(str::to_owned), unit.map(str::to_owned));
        Some(Actor { login: own(login), user: own("root"), terminal, unit, process: own(process), ..Actor::default() })
    }

    #[test]
    fn sessions_programs_and_trees_are_one_each() {
        let mut all = vec![
            drift("/a", Kind::Fifo, "10:00:00", by("anna", Some("pts/1"), None, "vim")),
            drift("/b", Kind::Fifo, "10:29:00", by("anna", Some("pts/1"), Some("session-1.scope"), "sed")),
            drift("/c", Kind::Fifo, "11:30:00", by("anna", Some("pts/1"), None, "sed")),
            drift("/d", Kind::Fifo, "10:00:01", by("bob", Some("pts/1"), None, "sed")),
            drift("/e", Kind::Fifo, "10:00:02", by("root", None, Some("puppet.service"), "puppet")),
            drift("/f", Kind::Fifo, "10:00:03", by("root", None, Some("puppet.service"), "puppet")),
            drift("/g", Kind::Fifo, "10:00:03", by("root", None, Some("puppet.service"), "puppet")),
            drift("/h", Kind::Dir, "10:00:04", None),
            drift("/h/x", Kind::Fifo, "10:00:04", None),
            drift("/h/y", Kind::Fifo, "10:00:04", None),
            drift("/hx\n", Kind::Fifo, "10:00:04", None),
        ];
        let none = Databases { record: None, host: None };
        let groups = group(&mut all, &none, &[], &|_| None);
        let titles: Vec<&str> = groups.iter().map(|g| g.title.as_str()).collect();
        assert_eq!(
            titles,
            [
                "/a and /b by anna on pts/1 (vim, sed)",
                "/c created by anna (sed) as root on pts/1",
                "/d created by bob (sed) as root on pts/1",
                "/e, /f and 1 more by root (puppet) in puppet.service",
                "/h: a new tree of 3 paths, found by scan",
                "/hx\\n created (found by scan)",
            ]
        );
        for one in &all {
            let of: Vec<&Group> = groups.iter().filter(|g| g.id == one.group).collect();
            assert_eq!(of.len(), 1, "{}", one.path());
        }
        assert_eq!(groups.iter().map(|g| g.paths).sum::<usize>(), all.len());
    }
}
