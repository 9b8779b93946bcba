//! What services load: the first place to look. A library is known by its soname, so that another file under the same soname
//! (/usr/local before /usr, 1.2.13 against 1.3.1) is compared with what it stands in for.

use std::collections::{BTreeMap, BTreeSet};

use super::super::model::{Facts, Library};
use super::super::report::Difference;
use super::super::weight::{Rank, SENSITIVE};
use super::Comparison;

type Sides<'l> = (Vec<&'l Library>, Vec<&'l Library>);

impl Comparison<'_> {
    /// Compares libraries and programs; the packages that this shows.
    pub(super) fn compare_libraries(&mut self) -> BTreeSet<String> {
        let (a, b) = (self.a, self.b);
        let mut by_name: BTreeMap<(bool, &str), Sides<'_>> = BTreeMap::new();
        for library in &a.libraries {
            by_name.entry((library.program, library.name.as_str())).or_default().0.push(library);
        }
        for library in &b.libraries {
            by_name.entry((library.program, library.name.as_str())).or_default().1.push(library);
        }
        let services = [services_of(a), services_of(b)];
        self.services.clone_from(&services);
        self.stems = services.iter().flatten().map(|unit| stem(unit)).collect();
        let mut shown = BTreeSet::new();
        for ((_, name), (on_a, on_b)) in by_name {
            match (on_a.is_empty(), on_b.is_empty()) {
                (false, false) => self.both(name, &on_a, &on_b, &mut shown),
                (false, true) => self.one(name, &on_a, true, &services[1]),
                (true, false) => self.one(name, &on_b, false, &services[0]),
                (true, true) => {}
            }
        }
        shown
    }

    fn both(&mut self, name: &str, on_a: &[&Library], on_b: &[&Library], shown: &mut BTreeSet<String>) {
        self.covered.extend(on_a.iter().chain(on_b).map(|library| library.path.clone()));
        let contents = |list: &[&Library]| list.iter().map(|l| l.content).collect::<BTreeSet<_>>();
        let (contents_a, contents_b) = (contents(on_a), contents(on_b));
        let stale = |list: &[&Library]| list.iter().any(|l| l.replaced);
        if contents_a == contents_b && stale(on_a) == stale(on_b) {
            return;
        }
        let other = |list: &[&Library], there: &BTreeSet<_>| {
            list.iter().find(|l| !there.contains(&l.content)).or(list.first()).map(|l| (*l).clone())
        };
        let (Some(a), Some(b)) = (other(on_a, &contents_b), other(on_b, &contents_a)) else { return };
        if (a.content.is_none() || b.content.is_none()) && self.version(&a, true) == self.version(&b, false) {
            return;
        }
        let (rank, note) = self.rank(&a, &b);
        let mut difference = Difference::new(rank, name, Some(self.words(&a, true)), Some(self.words(&b, false)));
        difference.note = Some(note);
        difference.services = loaders(&[on_a, on_b].concat());
        if SENSITIVE.iter().any(|start| name.starts_with(start)) && difference.weight < 100 {
            difference.weight += 1;
        }
        shown.extend([a.package, b.package].into_iter().flatten());
        self.differences.push(difference);
    }

    fn version(&self, library: &Library, first: bool) -> Option<&String> {
        let facts = if first { self.a } else { self.b };
        library.package.as_ref().and_then(|package| facts.packages.get(package))
    }

    fn rank(&self, a: &Library, b: &Library) -> (Rank, String) {
        let (va, vb) = (self.version(a, true), self.version(b, false));
        let foreign = a.package.is_none() != b.package.is_none();
        let ranks = if a.program {
            (Rank::ProgramPatched, Rank::ProgramPatched, Rank::ProgramVersion)
        } else {
            (Rank::LibraryPatched, Rank::LibraryForeign, Rank::LibraryVersion)
        };
        if a.content == b.content {
            return (ranks.2, "the same file, but on one side services still have an older one in memory".to_owned());
        }
        let (rank, note) = match (va, vb) {
            (Some(va), Some(vb)) if va == vb && a.package == b.package => {
                let package = a.package.as_deref().map_or("", |p| self.package_name(p));
                (ranks.0, format!("same version, other content: {package} {va}"))
            }
            (Some(va), Some(vb)) => (ranks.2, format!("other version: {va} / {vb}")),
            _ if foreign => (ranks.1, "on one side the file belongs to no package".to_owned()),
            _ => (ranks.1, "belongs to no package, other content".to_owned()),
        };
        let patched = match (a.intact == Some(false), b.intact == Some(false)) {
            (true, false) => "; a's is not what the package brought",
            (false, true) => "; b's is not what the package brought",
            (true, true) => "; neither is what the package brought",
            (false, false) => "",
        };
        (rank, format!("{note}{patched}"))
    }

    fn words(&self, library: &Library, first: bool) -> String {
        let package = match (&library.package, self.version(library, first)) {
            (Some(package), Some(version)) => format!("{} {version}", self.package_name(package)),
            (Some(package), None) => self.package_name(package).to_owned(),
            (None, _) => "no package".to_owned(),
        };
        let content = library.content.map_or_else(|| "unreadable".to_owned(), |hash| hash.to_string()[..12].to_owned());
        let memory = if library.replaced { ", an older one still in memory" } else { "" };
        format!("{package} ({}, {} bytes, {content}{memory})", library.path, library.size)
    }

    /// A library that one side has alone: worth a line when a service that loads it is on the other side too, and both were
    /// looked at in the same way. Otherwise its file may still turn out to differ.
    fn one(&mut self, name: &str, list: &[&Library], first: bool, there: &BTreeSet<String>) {
        let alike = self.a.header.running == self.b.header.running;
        for library in list {
            let who = if alike || library.linked.is_empty() { &library.running } else { &library.linked };
            let all: BTreeSet<String> = library.running.union(&library.linked).cloned().collect();
            let shared = who.iter().chain(if alike { &library.linked } else { who }).any(|unit| there.contains(unit));
            let comparable = alike || !library.linked.is_empty();
            if library.program || !comparable || !shared {
                self.loaded.insert(library.path.clone(), all);
                continue;
            }
            self.covered.insert(library.path.clone());
            let words = Some(self.words(library, first));
            let (a, b) = if first { (words, None) } else { (None, words) };
            let mut difference = Difference::new(Rank::LibraryOnly, name, a, b).note("loaded on one side alone");
            difference.services = loaders(&[*library]);
            self.differences.push(difference);
        }
    }

    /// Compares packages; those in `shown` are said to be above already.
    pub(super) fn compare_packages(&mut self, shown: &BTreeSet<String>) {
        let (a, b) = (&self.a.packages, &self.b.packages);
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let (va, vb) = (a.get(name), b.get(name));
            if va == vb {
                continue;
            }
            let rank = match (va, vb) {
                _ if shown.contains(name) => Rank::PackageShown,
                (Some(_), Some(_)) => Rank::Package,
                _ => Rank::PackageOnly,
            };
            let item = self.package_name(name).to_owned();
            self.differences.push(Difference::new(rank, item, va.cloned(), vb.cloned()));
        }
    }
}

fn services_of(facts: &Facts) -> BTreeSet<String> {
    facts.libraries.iter().flat_map(|l| l.running.iter().chain(&l.linked)).cloned().collect()
}

/// `postgresql` of `postgresql@15-main.service`.
fn stem(unit: &str) -> String {
    let bare = unit.rsplit_once('.').map_or(unit, |(name, _)| name);
    bare.split('@').next().unwrap_or(bare).to_owned()
}

/// Who loads them: those that run, or else those that will.
fn loaders(list: &[&Library]) -> Vec<String> {
    let running: BTreeSet<&String> = list.iter().flat_map(|l| &l.running).collect();
    let linked: BTreeSet<&String> = list.iter().flat_map(|l| &l.linked).collect();
    let chosen = if running.is_empty() { linked } else { running };
    chosen.into_iter().cloned().collect()
}
