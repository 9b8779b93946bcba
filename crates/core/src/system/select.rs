//! Which hosts somebody means: `--on web1`, `--on role:web`, `--on service:shop`, `--on 'all,!web3'`.

use std::fmt;

use super::System;
use crate::hint;
use crate::path::Shown;

/// Hosts by name, role or service, some taken out again with `!`. When everything is taken out with `!`, from all hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    out: bool,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    All,
    Host(String),
    Role(String),
    Service(String),
}

/// A selector that can't be read, or that means nothing in a system. `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct BadSelector {
    what: String,
    /// What to do: the nearest valid name where there is one.
    pub hint: String,
}

/// What can stand in front of a name.
const KINDS: [&str; 3] = ["host", "role", "service"];

impl Selector {
    /// Reads selectors, each a list with commas; all of them together mean one set of hosts. Names are looked up by
    /// [`Self::hosts`].
    ///
    /// # Errors
    /// [`BadSelector`]: something between two commas is empty, or a word in front of `:` is no kind of thing.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, BadSelector> {
        let mut terms = Vec::new();
        for text in texts {
            for part in text.split(',') {
                terms.push(term(part.trim(), text)?);
            }
        }
        if terms.is_empty() {
            return Err(empty(""));
        }
        Ok(Self { terms })
    }

    /// The hosts of `system` that are meant, in its order; at least one.
    ///
    /// # Errors
    /// [`BadSelector`]: a name is not one of the system's, or no host is left.
    pub fn hosts<'s>(&self, system: &'s System) -> Result<Vec<&'s super::Host>, BadSelector> {
        self.terms.iter().try_for_each(|term| known(&term.what, system))?;
        let only_out = self.terms.iter().all(|term| term.out);
        let is_meant = |host: &&super::Host| {
            let named = |out: bool| self.terms.iter().any(|term| term.out == out && means(&term.what, host, system));
            (only_out || named(false)) && !named(true)
        };
        let hosts: Vec<&super::Host> = system.hosts.iter().filter(is_meant).collect();
        if hosts.is_empty() {
            let hint = format!("hosts: {}", names(system.hosts.iter().map(|host| host.name.as_str())));
            return Err(BadSelector { what: format!("`{self}` leaves no host"), hint });
        }
        Ok(hosts)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let (comma, out) = (if at > 0 { "," } else { "" }, if term.out { "!" } else { "" });
            write!(f, "{comma}{out}")?;
            match &term.what {
                What::All => f.write_str("all")?,
                What::Host(name) => write!(f, "{}", Shown(name.as_bytes()))?,
                What::Role(name) => write!(f, "role:{}", Shown(name.as_bytes()))?,
                What::Service(name) => write!(f, "service:{}", Shown(name.as_bytes()))?,
            }
        }
        Ok(())
    }
}

fn term(part: &str, whole: &str) -> Result<Term, BadSelector> {
    let (bare, out) = part.strip_prefix('!').map_or((part, false), |rest| (rest.trim_start(), true));
    let what = match bare.split_once(':') {
        None if bare == "all" => What::All,
        None => What::Host(bare.to_owned()),
        Some(("host", name)) => What::Host(name.to_owned()),
        Some(("role", name)) => What::Role(name.to_owned()),
        Some(("service", name)) => What::Service(name.to_owned()),
        Some((kind, _)) => {
            let what = format!("`{}` is no kind of thing to select hosts by", Shown(kind.as_bytes()));
            return Err(BadSelector { what, hint: hint::for_unknown(kind, &KINDS) });
        }
    };
    match &what {
        What::Host(name) | What::Role(name) | What::Service(name) if name.is_empty() => Err(empty(whole)),
        _ => Ok(Term { out, what }),
    }
}

fn empty(whole: &str) -> BadSelector {
    BadSelector {
        what: format!("`{}` does not say which hosts are meant", Shown(whole.as_bytes())),
        hint: "name hosts, role:NAME, service:NAME or all, with commas between; ! in front takes out".to_owned(),
    }
}

fn known(what: &What, system: &System) -> Result<(), BadSelector> {
    let hosts: Vec<&str> = system.hosts.iter().map(|host| host.name.as_str()).collect();
    let roles: Vec<&str> = system.roles.iter().map(|role| role.name.as_str()).collect();
    let services: Vec<&str> = system.services.iter().map(|service| service.name.as_str()).collect();
    let (name, kind, valid) = match what {
        What::All => return Ok(()),
        What::Host(name) => (name, "host", &hosts),
        What::Role(name) => (name, "role", &roles),
        What::Service(name) => (name, "service", &services),
    };
    if valid.contains(&name.as_str()) {
        return Ok(());
    }
    let hint = match kind {
        // Whoever forgets the kind means the role or the service.
        "host" if roles.contains(&name.as_str()) => format!("did you mean `role:{name}`?"),
        "host" if services.contains(&name.as_str()) => format!("did you mean `service:{name}`?"),
        _ if valid.is_empty() => format!("the system declares no {kind}"),
        _ => match hint::nearest(name, valid.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{kind}s: {}", names(valid.iter().copied())),
        },
    };
    let place = system.environment.as_ref().map_or_else(String::new, |name| format!(" in environment {name}"));
    Err(BadSelector { what: format!("there is no {kind} `{}`{place}", Shown(name.as_bytes())), hint })
}

/// As many names as fit on a line or two.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let all: Vec<&str> = all.collect();
    let more = if all.len() > MOST { format!(" and {} more", all.len() - MOST) } else { String::new() };
    format!("{}{more}", all[..all.len().min(MOST)].join(", "))
}

fn means(what: &What, host: &super::Host, system: &System) -> bool {
    match what {
        What::All => true,
        What::Host(name) => &host.name == name,
        What::Role(name) => host.has(name),
        What::Service(name) => system.service(name).is_some_and(|service| service.hosts.contains(&host.name)),
    }
}
