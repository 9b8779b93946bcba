//! What a change needs before it may be applied, what happens when it fails, and how it is rolled out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::{duration_text, show_duration, text_or_zero};

/// What a change needs, and what is done when it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Who may apply and undo: each of these must agree. Empty: whoever has the rights of an operator.
    pub may_apply: Vec<MayApply>,
    /// The rehearsal must be younger; any age will do when absent.
    #[serde(default, with = "duration_text")]
    pub rehearsal_within: Option<Duration>,
    /// Somebody other than the one who applies must have approved.
    pub second_person: bool,
    /// What is done when a host fails.
    pub on_failure: OnFailure,
    /// A host that has not been heard of for so long counts as failed.
    #[serde(with = "text_or_zero")]
    pub host_lost_after: Duration,
}

/// Who may apply: any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MayApply {
    /// Whoever has one of these rights, or more.
    pub rights: Vec<Rights>,
    /// Whoever is in one of these teams.
    pub teams: Vec<String>,
    /// These people.
    pub people: Vec<String>,
}

/// What a person may do in the control plane, least first: each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// Look.
    Viewer,
    /// Rehearse.
    Developer,
    /// Apply and undo.
    Operator,
    /// Everything.
    Admin,
}

impl Rights {
    /// All, least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Developer, Self::Operator, Self::Admin];

    /// Its word in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// What is done when a host fails in the middle of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The hosts that are done are taken back.
    Undo,
    /// The change stops where it is, and a person decides.
    Pause,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            may_apply: Vec::new(),
            rehearsal_within: None,
            second_person: false,
            on_failure: OnFailure::Undo,
            host_lost_after: Duration::from_secs(120),
        }
    }
}

impl MayApply {
    /// Whether it allows a person of these teams, acting with these rights.
    #[must_use]
    pub fn allows(&self, person: &str, teams: &[&str], rights: Rights) -> bool {
        self.rights.iter().any(|least| rights >= *least)
            || self.teams.iter().any(|team| teams.contains(&team.as_str()))
            || self.people.iter().any(|name| name == person)
    }

    fn words(&self) -> String {
        let rights = self.rights.iter().min().map(|least| match least {
            Rights::Admin => "admins".to_owned(),
            other => format!("every {} and above", other.word()),
        });
        let teams = self.teams.iter().map(|team| format!("team {team}"));
        let all: Vec<String> = rights.into_iter().chain(teams).chain(self.people.iter().cloned()).collect();
        all.join(", ")
    }
}

impl Policy {
    /// What satisfies all of `policies`; `None` for none. Of undo and pause, pause: a person can still choose undo.
    #[must_use]
    pub fn strictest<'a>(policies: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        policies.into_iter().cloned().reduce(|mut all, next| {
            for rule in next.may_apply {
                if !all.may_apply.contains(&rule) {
                    all.may_apply.push(rule);
                }
            }
            all.rehearsal_within = match (all.rehearsal_within, next.rehearsal_within) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            all.second_person |= next.second_person;
            if next.on_failure == OnFailure::Pause {
                all.on_failure = OnFailure::Pause;
            }
            all.host_lost_after = all.host_lost_after.min(next.host_lost_after);
            all
        })
    }

    /// The policy as sentences, one for each thing that it says.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut out = Vec::new();
        match self.may_apply.as_slice() {
            [] => out.push("every operator and admin may apply".to_owned()),
            rules => out.extend(rules.iter().map(|rule| format!("may apply: {}", rule.words()))),
        }
        out.push(match self.rehearsal_within {
            Some(age) => format!("the rehearsal must be younger than {}", show_duration(age)),
            None => "the rehearsal may be of any age".to_owned(),
        });
        if self.second_person {
            out.push("a second person must approve".to_owned());
        }
        let lost = show_duration(self.host_lost_after);
        out.push(match self.on_failure {
            OnFailure::Undo => format!("when a host fails, or is lost for {lost}, the hosts that are done are undone"),
            OnFailure::Pause => format!("when a host fails, or is lost for {lost}, the change pauses and asks"),
        });
        out
    }
}

/// How many hosts are changed at a time: batch after batch, the last size again and again until none is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batches(Vec<Batch>);

/// The size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batch {
    /// So many hosts; at least 1.
    Hosts(u32),
    /// A share of all hosts of the service, from 1 to 100, rounded up to whole hosts.
    Percent(u32),
    /// All that are left.
    Rest,
}

impl Default for Batches {
    /// One host, then the rest.
    fn default() -> Self {
        Self(vec![Batch::Hosts(1), Batch::Rest])
    }
}

impl Batches {
    /// These sizes, in this order; `None` when there is none, one that is nothing or more than all, or one behind the rest.
    #[must_use]
    pub fn new(sizes: Vec<Batch>) -> Option<Self> {
        let sound = |size: &Batch| match size {
            Batch::Hosts(n) => *n >= 1,
            Batch::Percent(p) => (1..=100).contains(p),
            Batch::Rest => true,
        };
        let rest = sizes.iter().position(|size| *size == Batch::Rest);
        let at_end = rest.is_none_or(|at| at + 1 == sizes.len());
        (!sizes.is_empty() && at_end && sizes.iter().all(sound)).then_some(Self(sizes))
    }

    /// The sizes as declared.
    #[must_use]
    pub fn sizes(&self) -> &[Batch] {
        &self.0
    }

    /// How many hosts each batch has, for `hosts` hosts: their sum is `hosts`, and none is 0.
    #[must_use]
    pub fn split(&self, hosts: usize) -> Vec<usize> {
        let (mut out, mut left, mut at) = (Vec::new(), hosts, 0);
        while left > 0 {
            let wanted = match self.0.get(at) {
                Some(Batch::Hosts(n)) => *n as usize,
                Some(Batch::Percent(p)) => (hosts * *p as usize).div_ceil(100),
                Some(Batch::Rest) | None => left,
            };
            let size = wanted.clamp(1, left);
            out.push(size);
            left -= size;
            at = (at + 1).min(self.0.len().saturating_sub(1));
        }
        out
    }

    /// `1, then the rest`
    #[must_use]
    pub fn words(&self) -> String {
        let word = |size: &Batch| match size {
            Batch::Hosts(n) => n.to_string(),
            Batch::Percent(p) => format!("{p}%"),
            Batch::Rest => "the rest".to_owned(),
        };
        let mut text = self.0.iter().map(word).collect::<Vec<_>>().join(", then ");
        if !matches!(self.0.last(), Some(Batch::Rest | Batch::Percent(100))) {
            text.push_str(" at a time");
        }
        text
    }
}
