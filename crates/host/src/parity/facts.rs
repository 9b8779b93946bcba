//! All that is known of a system besides its paths.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use greenroom_core::drift::runtime::{Facts as FileFacts, UnitFile, UnitFileState};
use greenroom_core::parity::{FactKind, Facts, Header, VERSION};
use greenroom_core::policy::Policy;
use greenroom_core::{ContentHash, TreePath};

use super::accounts::Names;
use super::inside::Inside;
use super::libraries::Libraries;
use super::linker::Linker;
use super::walk::{Place, Walk};
use super::{Gaps, ParityError, identity, running, runtimes, units};
use crate::dpkg::Database;
use crate::scan::Tree;

/// What to look at.
#[derive(Debug)]
pub struct Look<'a> {
    /// The root of the tree.
    pub root: &'a Path,
    /// What its paths are.
    pub policy: &'a Policy,
    /// It is this machine's own, and what runs is looked at too.
    pub running: bool,
    /// What to call it: `this host`, the directory, the rehearsal.
    pub source: &'a str,
    /// When, RFC 3339.
    pub at: String,
    /// The version of this program.
    pub program: &'a str,
    /// Where its file systems are mounted; `None`: look it up.
    pub mounts: Option<BTreeSet<TreePath>>,
}

/// What was seen at once, and the paths that are still to come.
#[derive(Debug)]
pub struct Looked {
    /// All but paths.
    pub facts: Facts,
    /// The paths.
    pub walk: Walk,
    /// What could not be read.
    pub gaps: Gaps,
}

/// Looks at a system.
///
/// # Errors
/// Its tree can't be read. What can't be read in it is in [`Looked::gaps`].
pub fn look(look: Look<'_>) -> Result<Looked, ParityError> {
    let system = |source| ParityError::System { doing: format!("look into {}", look.root.display()), source };
    let inside = Inside::open(look.root).map_err(system)?;
    let mut tree = Tree::open(look.root)?;
    let mut gaps = Gaps::default();
    let packages = Database::read(&mut tree)?;
    gaps.extend(packages.iter().flat_map(|db| db.gaps().iter().cloned()));
    let files = FileFacts::of_files(inside.sources());
    let header = Header {
        greenroom_manifest: VERSION,
        program: look.program.to_owned(),
        at: look.at,
        identity: identity::read(&inside, look.running),
        name: String::new(),
        source: look.source.to_owned(),
        running: look.running,
    };
    let mut facts = Facts::new(Header { name: header.identity.hostname.clone(), ..header });
    let there = packages.iter().flat_map(|db| db.packages()).filter(|package| package.is_there());
    facts.packages = there.map(|p| (format!("{}:{}", p.name, p.arch), p.version.clone())).collect();
    accounts(&files, &mut facts);
    place(&inside, &mut facts);
    programs(&inside, &files, packages.as_ref(), &mut facts, &mut gaps);
    let mounts = look.mounts.unwrap_or_else(|| mounts(look.root, &mut gaps));
    let place = Place { policy: look.policy.clone(), names: Names::of(&files), packages, mounts };
    Ok(Looked { facts, walk: Walk::new(tree, Arc::new(place)), gaps })
}

/// Runtimes, what runs, and what services load.
fn programs(inside: &Inside, files: &FileFacts, packages: Option<&Database>, facts: &mut Facts, gaps: &mut Gaps) {
    let mut linker = Linker::new(inside);
    runtimes::read(&mut linker, packages, facts);
    let maps = if facts.header.running { running::read(facts, gaps) } else { Vec::new() };
    let active = maps.iter().flat_map(|map| &map.units).map(String::as_str);
    let starts = |unit: &UnitFile| unit.at_boot || unit.state == UnitFileState::Enabled || unit.on_demand;
    let enabled = files.units.iter().filter(|(_, unit)| unit.state != UnitFileState::Masked && starts(unit));
    let names: BTreeSet<&str> = enabled.map(|(name, _)| name.as_str()).chain(active).collect();
    let mut libraries = Libraries::new(&mut linker, packages);
    for unit in names.into_iter().filter(|name| name.ends_with(".service")) {
        let Some(service) = units::service(inside, unit) else { continue };
        libraries.linked(unit, &service);
        for (key, value) in service.environment {
            facts.add(FactKind::ServiceEnvironment, format!("{unit} {key}"), value);
        }
    }
    libraries.running(&maps);
    facts.libraries = libraries.into_list();
}

/// Where local file systems are mounted in the tree: no others are walked into.
fn mounts(root: &Path, gaps: &mut Gaps) -> BTreeSet<TreePath> {
    match crate::copy::places(root) {
        Ok(places) => places.into_iter().map(|(at, _)| at).collect(),
        Err(error) => {
            gaps.add(format!("file systems mounted in the tree were left out: {error}"));
            BTreeSet::new()
        }
    }
}

fn accounts(files: &FileFacts, facts: &mut Facts) {
    for (name, user) in &files.users {
        let group = files.groups.iter().find(|(_, group)| group.gid == user.gid);
        let group = group.map_or_else(|| format!("#{}", user.gid), |(name, _)| name.clone());
        let password = if user.password { ", has a password" } else { "" };
        let value = format!("uid {}, group {group}, home {}, shell {}{password}", user.uid, user.home, user.shell);
        facts.add(FactKind::User, name.clone(), value);
    }
    for (name, group) in &files.groups {
        let members: Vec<&str> = group.members.iter().map(String::as_str).collect();
        let members = if members.is_empty() { String::new() } else { format!(", members {}", members.join(" ")) };
        facts.add(FactKind::Group, name.clone(), format!("gid {}{members}", group.gid));
    }
    for (name, unit) in &files.units {
        if unit.state != UnitFileState::Static {
            facts.add(FactKind::Unit, name.clone(), unit.state.word());
        }
    }
}

/// Locale and time zone.
fn place(inside: &Inside, facts: &mut Facts) {
    for path in ["/etc/default/locale", "/etc/locale.conf"] {
        let text = inside.text(&path.into()).map(|(text, _)| text).unwrap_or_default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some((key, value)) = line.split_once('=') {
                facts.add(FactKind::Locale, key.trim_start_matches("export ").trim(), value.trim().trim_matches('"'));
            }
        }
    }
    let path = TreePath::from("/etc/localtime");
    let zone = inside.link(&path).map(|target| match target.split_once("/zoneinfo/") {
        Some((_, zone)) => zone.trim_start_matches("posix/").to_owned(),
        None => target,
    });
    let copied = || {
        inside.text(&path).map(|(text, _)| format!("a copy, {}", &ContentHash::of(text.as_bytes()).to_string()[..12]))
    };
    facts.add(FactKind::TimeZone, "time zone", zone.or_else(copied).unwrap_or_else(|| "UTC".to_owned()));
}
