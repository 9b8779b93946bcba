//! What is beyond files, beside the record: packages, accounts, units, ports, settings.
//!
//! `facts.json` is the look that is on record. While a change is under way `facts.before` is the look before it; what is
//! different after it the change did, and that goes into the record ([`super::merge`]). After a crash the next look does it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use greenroom_core::TreePath;
use greenroom_core::drift::runtime::{Facts, RuntimeDrift, compare};
use greenroom_host::facts;

use super::merge::merge;
use super::place::beside;
use crate::EngineError;
use crate::site::Site;
use crate::state::write_durably;

const RECORD: &str = "facts.json";
const BEFORE: &str = "facts.before";

fn path(root: &Path, name: &str) -> PathBuf {
    beside(root, name)
}

fn read(root: &Path, name: &str) -> Result<Option<Facts>, EngineError> {
    let path = path(root, name);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| EngineError::Damaged { path, source: Box::new(error) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EngineError::File { doing: "read", path, source }),
    }
}

fn write(root: &Path, name: &str, facts: &Facts) -> Result<(), EngineError> {
    let path = path(root, name);
    let text = serde_json::to_vec(facts)
        .map_err(|error| EngineError::Damaged { path: path.clone(), source: Box::new(error) })?;
    write_durably(&path, &text).map_err(EngineError::file("write", path))
}

fn now(site: &Site) -> Result<Facts, EngineError> {
    let mut now = facts::look(&site.root).map_err(EngineError::system("look at what runs on this host"))?;
    if let Some(running) = &mut now.running {
        let own = facts::own_units();
        running.units.retain(|unit, _| !own.contains(unit));
    }
    Ok(now)
}

/// Takes the present look on record.
pub(super) fn record(site: &Site) -> Result<(), EngineError> {
    write(&site.root, RECORD, &now(site)?)?;
    forget_before(site)
}

/// Forgets the look before a change that came to nothing.
pub(super) fn forget_before(site: &Site) -> Result<(), EngineError> {
    let path = path(&site.root, BEFORE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::File { doing: "delete", path, source: error })
        }
        _ => Ok(()),
    }
}

/// What differs from the record and from the host's own files, and what could not be read of it.
pub(super) fn differences(site: &Site) -> Result<(Vec<RuntimeDrift>, Vec<String>), EngineError> {
    let Some(record) = read(&site.root, RECORD)? else { return Ok((Vec::new(), Vec::new())) };
    let now = now(site)?;
    Ok((compare(&record, &now), now.running.map(|running| running.gaps).unwrap_or_default()))
}

/// Before a change of a host that has a record.
pub(super) fn about_to(site: &Site) -> Result<(), EngineError> {
    if path(&site.root, RECORD).exists() { write(&site.root, BEFORE, &now(site)?) } else { Ok(()) }
}

/// After it, or when a crash left it to whoever comes next.
pub(super) fn settle(site: &Site) -> Result<(), EngineError> {
    let (Some(record), Some(before)) = (read(&site.root, RECORD)?, read(&site.root, BEFORE)?) else { return Ok(()) };
    let moved = merge(&record, &before, &now(site)?)
        .map_err(|error| EngineError::Damaged { path: path(&site.root, BEFORE), source: Box::new(error) })?;
    write(&site.root, RECORD, &moved)?;
    forget_before(site)
}

/// Takes on record what goes with adopted paths; with `all` everything.
pub(super) fn adopted(site: &Site, all: bool, paths: &BTreeSet<TreePath>) -> Result<(), EngineError> {
    let Some(mut record) = read(&site.root, RECORD)? else { return Ok(()) };
    let now = now(site)?;
    if all {
        return write(&site.root, RECORD, &now);
    }
    let has = |path: &str| paths.contains(&TreePath::from(path));
    if has("/var/lib/dpkg/status") {
        record.packages = now.packages;
    }
    if has("/etc/passwd") || has("/etc/shadow") {
        record.users = now.users;
    }
    if has("/etc/group") {
        record.groups = now.groups;
    }
    let units: BTreeSet<String> = paths.iter().flat_map(names).collect();
    take(&mut record.units, now.units, |unit| units.contains(unit));
    take(&mut record.timers, now.timers, |unit| units.contains(unit));
    take(&mut record.crontabs, now.crontabs, |path| has(path));
    write(&site.root, RECORD, &record)
}

/// A path's own name, and that of the unit whose drop-in it is.
fn names(path: &TreePath) -> Vec<String> {
    let own = path.name().to_vec();
    let above = path.parent().and_then(|dir| Some(dir.name().strip_suffix(b".d")?.to_vec()));
    [Some(own), above].into_iter().flatten().filter_map(|name| String::from_utf8(name).ok()).collect()
}

fn take<T>(
    record: &mut std::collections::BTreeMap<String, T>,
    now: std::collections::BTreeMap<String, T>,
    meant: impl Fn(&str) -> bool,
) {
    record.retain(|key, _| !meant(key));
    record.extend(now.into_iter().filter(|(key, _)| meant(key)));
}
