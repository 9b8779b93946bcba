//! Facts: one rule for most, and what is particular about some.

use std::collections::{BTreeMap, BTreeSet};

use super::super::model::{FactKind, Facts};
use super::super::noise::{is_machine_sysctl, is_made_up, is_sized_sysctl};
use super::super::report::Difference;
use super::super::secret::{hashed, masked};
use super::super::weight::Rank;
use super::{Comparison, Finding};

/// By kind and by the item without what names the machine: the item and its value.
type Known<'f> = BTreeMap<(FactKind, String), (&'f str, &'f str)>;

/// A fact on both sides.
struct Pair<'f> {
    kind: FactKind,
    item: &'f str,
    a: Option<&'f str>,
    b: Option<&'f str>,
}

impl Comparison<'_> {
    pub(super) fn compare_facts(&mut self) {
        let (a, b) = (self.a, self.b);
        let both_run = a.header.running && b.header.running;
        let (known_a, known_b) = (known(a, b), known(b, a));
        let keys: BTreeSet<&(FactKind, String)> = known_a.keys().chain(known_b.keys()).collect();
        for key in keys {
            let (at_a, at_b) = (known_a.get(key), known_b.get(key));
            let (va, vb) = (at_a.map(|v| v.1), at_b.map(|v| v.1));
            if va == vb || (key.0.is_running() && !both_run) {
                continue;
            }
            if let (Some(va), Some(vb)) = (va, vb)
                && (hashed(va) == vb || hashed(vb) == va)
            {
                // The same, but one side keeps it where not everybody may read it.
                continue;
            }
            let item = at_a.or(at_b).map_or(key.1.as_str(), |v| v.0);
            let pair = Pair { kind: key.0, item, a: va, b: vb };
            if let Some(finding) = self.fact(&pair, &known_a, &known_b) {
                self.put(finding);
            }
        }
    }

    fn fact(&self, pair: &Pair<'_>, known_a: &Known<'_>, known_b: &Known<'_>) -> Option<Finding> {
        let item = || format!("{:?} {}", pair.kind, pair.item).to_lowercase();
        let normal = |value: &str, facts: &Facts| facts.header.identity.normalise(value);
        if let (Some(va), Some(vb)) = (pair.a, pair.b)
            && normal(va, self.a) == normal(vb, self.b)
        {
            return Some(Finding::Aside { why: "names the machine", item: item() });
        }
        let one_sided = pair.a.is_none() || pair.b.is_none();
        match pair.kind {
            FactKind::Sysctl if is_machine_sysctl(pair.item) => {
                Some(Finding::Aside { why: "interfaces and names", item: item() })
            }
            FactKind::Sysctl if one_sided => Some(Finding::Aside { why: "known to one kernel alone", item: item() }),
            FactKind::BootParameter if matches!(pair.item, "root" | "BOOT_IMAGE" | "initrd" | "resume") => {
                Some(Finding::Aside { why: "file systems", item: item() })
            }
            FactKind::RunningEnvironment => self.running_environment(pair, known_a, known_b),
            FactKind::ServiceEnvironment if one_sided && !self.both_have(pair.item) => None,
            // Which services there are is said by the units.
            FactKind::Limit if one_sided => None,
            FactKind::UnitState if !pair.a.or(pair.b).is_some_and(|v| one_sided && v == "inactive") => {
                let failed = [pair.a, pair.b].contains(&Some("failed"));
                Some(self.plain(pair, if failed { Rank::UnitFailed } else { Rank::UnitState }))
            }
            FactKind::UnitState => None,
            FactKind::Cpu if pair.item == "features" => features(pair),
            kind => Some(self.plain(pair, rank(kind, pair.item))),
        }
    }

    /// Whether both sides have the service of `SERVICE NAME`.
    fn both_have(&self, item: &str) -> bool {
        let service = item.split(' ').next().unwrap_or_default();
        self.services.iter().all(|services| services.contains(service))
    }

    /// Of services that run on both sides, and that unit files do not say already.
    fn running_environment(&self, pair: &Pair<'_>, known_a: &Known<'_>, known_b: &Known<'_>) -> Option<Finding> {
        let (service, variable) = pair.item.split_once(' ')?;
        if is_made_up(variable) {
            let item = format!("environment of {service}: {variable}");
            return Some(Finding::Aside { why: "made up at each start", item });
        }
        let start = (pair.kind, format!("{service} "));
        let runs =
            |known: &Known<'_>| known.range(start.clone()..).next().is_some_and(|(key, _)| key.1.starts_with(&start.1));
        let by_file = |known: &Known<'_>| known.contains_key(&(FactKind::ServiceEnvironment, pair.item.to_owned()));
        let said = by_file(known_a) || by_file(known_b);
        (runs(known_a) && runs(known_b) && !said).then(|| self.plain(pair, Rank::ServiceEnvironment))
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn plain(&self, pair: &Pair<'_>, rank: Rank) -> Finding {
        let shown = |value: &str| {
            let environment = matches!(pair.kind, FactKind::ServiceEnvironment | FactKind::RunningEnvironment);
            let key = if environment { pair.item.rsplit(' ').next().unwrap_or_default() } else { pair.item };
            if pair.kind == FactKind::User || pair.kind == FactKind::Group {
                value.to_owned()
            } else {
                masked(key, value)
            }
        };
        let item = match pair.kind {
            FactKind::User => format!("user {}", pair.item),
            FactKind::Group => format!("group {}", pair.item),
            _ => pair.item.to_owned(),
        };
        let mut difference = Difference::new(rank, item, pair.a.map(shown), pair.b.map(shown));
        if matches!(pair.kind, FactKind::ServiceEnvironment | FactKind::RunningEnvironment | FactKind::Limit) {
            difference.services = pair.item.split(' ').next().map(str::to_owned).into_iter().collect();
        }
        Finding::Difference(Box::new(difference))
    }
}

/// What both name alike is one thing, also where a host is called like a service of its own.
fn known<'f>(facts: &'f Facts, other: &Facts) -> Known<'f> {
    let identity = &facts.header.identity;
    let key = |key: &'f (FactKind, String)| {
        if other.facts.contains_key(key) { key.clone() } else { (key.0, identity.normalise(&key.1)) }
    };
    facts.facts.iter().map(|(id, value)| (key(id), (id.1.as_str(), value.as_str()))).collect()
}

fn rank(kind: FactKind, item: &str) -> Rank {
    match kind {
        FactKind::Runtime => Rank::Runtime,
        FactKind::ServiceEnvironment | FactKind::RunningEnvironment => Rank::ServiceEnvironment,
        FactKind::Limit => Rank::Limit,
        FactKind::Sysctl if is_sized_sysctl(item) => Rank::SysctlSized,
        FactKind::Sysctl => Rank::Sysctl,
        FactKind::Locale => Rank::Locale,
        FactKind::TimeZone => Rank::TimeZone,
        FactKind::Kernel => Rank::Kernel,
        FactKind::BootParameter => Rank::BootParameter,
        FactKind::Cpu => Rank::Cpu,
        FactKind::User | FactKind::Group => Rank::User,
        FactKind::Port => Rank::Port,
        FactKind::Unit => Rank::Unit,
        FactKind::UnitState => Rank::UnitState,
        FactKind::Mount => Rank::Mount,
    }
}

/// Of the processors' features only those that one side has alone.
fn features(pair: &Pair<'_>) -> Option<Finding> {
    let set = |value: Option<&'_ str>| {
        value.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (a, b) = (set(pair.a), set(pair.b));
    let alone = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>().join(" ");
    let (only_a, only_b) = (alone(&a, &b), alone(&b, &a));
    if only_a.is_empty() && only_b.is_empty() {
        return None;
    }
    let side = |only: String| (!only.is_empty()).then(|| format!("alone: {only}"));
    Some(Finding::Difference(Box::new(Difference::new(Rank::Cpu, pair.item, side(only_a), side(only_b)))))
}
