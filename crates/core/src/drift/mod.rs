//! Drift: how a host differs from its record, since when, and by whom.
//!
//! Pure words: what was found ([`Drift`]), who did it ([`Actor`]) and how that is known ([`FoundBy`]). Scanning, watching and
//! deciding what to do about it are elsewhere. [`packages`] puts together what belongs to a package,
//! [`runtime`] compares what is no file.

pub mod packages;
pub mod runtime;

use serde::{Deserialize, Serialize, Serializer};

use crate::{Entry, Node, Op, TreePath};

/// One path that is not as the record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The record's state and the host's.
    pub entry: Entry,
    /// How it was noticed.
    pub found_by: FoundBy,
    /// Who did it, where that is known.
    pub actor: Option<Actor>,
    /// When: the time of the event, or the inode's ctime where only a scan found it. RFC 3339, UTC.
    pub at: String,
    /// The [`Group`] it belongs to, by its id.
    pub group: String,
}

/// How a drift was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// The watch saw it happen: the actor is who did it.
    Watch,
    /// A scan found it afterwards: who did it is not known, or only from a log.
    Scan,
    /// It was there before Greenroom was: the package's own checksums differ.
    Package,
}

impl FoundBy {
    /// The words for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Watch => "seen by the watch",
            Self::Scan => "found by scan",
            Self::Package => "modified since the package was installed",
        }
    }
}

/// Who changed something: a process and the person behind it. What is not known is absent, never guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The process's id at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its short name, as in `ps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The program it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Its command line, arguments separated by spaces, quoted where they need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The user it ran as: a name, or a number where there is no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user who had logged in (`loginuid`): the person, also through sudo and su.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The terminal: `pts/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// Where the person came from over SSH: the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The systemd unit it ran in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl Actor {
    /// Who it was, for people: `anna (sed -i s/a/b/ f) on pts/3 from 10.0.0.7`. What is not known is left out.
    #[must_use]
    pub fn words(&self) -> String {
        let person = self.login.as_ref().or(self.user.as_ref());
        let what = self.command.as_ref().or(self.process.as_ref());
        let mut out = match (person, what) {
            (Some(person), Some(what)) => format!("{person} ({what})"),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => self.unit.clone().unwrap_or_else(|| "unknown".to_owned()),
        };
        if let (Some(login), Some(user)) = (&self.login, &self.user)
            && login != user
        {
            out.push_str(&format!(" as {user}"));
        }
        if let Some(terminal) = &self.terminal {
            out.push_str(&format!(" on {terminal}"));
        }
        if let Some(from) = &self.from {
            out.push_str(&format!(" from {from}"));
        }
        if let (Some(unit), Some(_)) = (&self.unit, what) {
            out.push_str(&format!(" in {unit}"));
        }
        out
    }
}

/// What belongs together: one package's upgrade, one session of edits, or a single path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name within one report: `package:nginx`, `session:pts/3@…`, `path:/etc/x`.
    pub id: String,
    /// One line for people: `nginx 1.22.1-9 → 1.22.1-10 by unattended-upgrades`.
    pub title: String,
    /// How many paths are in it.
    pub paths: usize,
}

impl Drift {
    /// Where.
    #[must_use]
    pub fn path(&self) -> &TreePath {
        &self.entry.path
    }

    /// What happened to it.
    #[must_use]
    pub fn op(&self) -> Op {
        match (self.found_by, &self.entry.before, &self.entry.after) {
            // What the package brought is known by its checksum only.
            (FoundBy::Package, None, Some(_)) => Op::Modify,
            (FoundBy::Package, None, None) => Op::Delete,
            _ => self.entry.op(),
        }
    }
}

/// As it stands in `status --json`: flat.
#[derive(Serialize)]
struct DriftJson<'a> {
    path: &'a TreePath,
    op: Op,
    before: Option<&'a Node>,
    after: Option<&'a Node>,
    found_by: FoundBy,
    actor: Option<&'a Actor>,
    at: &'a str,
    group: &'a str,
}

impl Serialize for Drift {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        DriftJson {
            path: &self.entry.path,
            op: self.op(),
            before: self.entry.before.as_deref(),
            after: self.entry.after.as_deref(),
            found_by: self.found_by,
            actor: self.actor.as_ref(),
            at: &self.at,
            group: &self.group,
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_in_words_names_the_person_before_the_account() {
        let some = |text: &str| Some(text.to_owned());
        let through_sudo = Actor {
            command: some("vim /etc/hosts"),
            user: some("root"),
            login: some("anna"),
            terminal: some("pts/3"),
            from: some("10.0.0.7"),
            ..Actor::default()
        };
        assert_eq!(through_sudo.words(), "anna (vim /etc/hosts) as root on pts/3 from 10.0.0.7");
        let timer = Actor { process: some("apt-get"), unit: some("apt-daily-upgrade.service"), ..Actor::default() };
        assert_eq!(timer.words(), "apt-get in apt-daily-upgrade.service");
        assert_eq!(Actor::default().words(), "unknown");
    }
}
