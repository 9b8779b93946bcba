//! What a host has to change to be what another one is on record, as a rehearsal that can be applied.

use std::collections::BTreeSet;

use greenroom_core::image::{Manifest, Own, between};
use greenroom_core::parity::Identity;
use greenroom_core::plan::{Part, Reason, UnitAction, UnitVerb, is_never_restarted};
use greenroom_core::policy::{Class, STORES};
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::{Changeset, Entry, TreePath};
use greenroom_host::scan::Tree;
use greenroom_store::blobs::BlobStore as _;

use crate::site::Site;
use crate::{Asked, EngineError, State};

/// The largest text that is compared by its meaning, in bytes.
const TEXT: u64 = 256 << 10;

/// What is to change.
pub(crate) struct Plan {
    /// Files.
    pub(crate) changeset: Changeset,
    /// What happens to units.
    pub(crate) actions: Vec<UnitAction>,
    /// Paths that stay because they are the host's own.
    pub(crate) own: Vec<TreePath>,
    /// What else is worth knowing.
    pub(crate) notes: Vec<String>,
}

/// What the host of `site`, whose manifest is `here`, has to change to be what `there` says. Contents of `there` are in the store.
///
/// # Errors
/// A content or the tree cannot be read.
pub(crate) fn plan(
    state: &State,
    site: &Site,
    (here, here_is): (&Manifest, &Identity),
    (there, there_is): (&Manifest, &Identity),
) -> Result<Plan, EngineError> {
    let whole = between(here, there);
    let (own, mut tree) = (Own::default(), Tree::open(&site.root)?);
    let (mut kept, mut boot) = (BTreeSet::new(), 0);
    for entry in whole.entries() {
        let is_dir = [&entry.before, &entry.after].into_iter().flatten().all(|node| node.is_dir());
        let class = site.policy.class(&entry.path, is_dir);
        if class == Class::Boot {
            boot += 1;
        }
        if class != Class::Managed
            || own.of(&entry.path)
            || same_but_for_names(state, &mut tree, entry, here_is, there_is)?
        {
            kept.insert(entry.path.clone());
        }
    }
    // A directory that holds something of the host's own stays.
    for path in kept.clone() {
        let above = std::iter::successors(path.parent(), TreePath::parent);
        kept.extend(above.filter(|dir| whole.get(dir).is_some_and(|e| e.after.is_none())));
    }
    let changeset = whole.filtered(|path| !kept.contains(path) && path.depth() > 0);
    let mut notes = Vec::new();
    if boot > 0 {
        notes.push(format!("{boot} paths of kernel and boot loader differ and are left as they are"));
    }
    let actions = units(site, &changeset, &mut notes)?;
    let managed = |path: &TreePath| site.policy.class(path, false) == Class::Managed;
    Ok(Plan { changeset, actions, own: kept.into_iter().filter(managed).collect(), notes })
}

/// Whether a configuration file says the same but for what names each host.
fn same_but_for_names(
    state: &State,
    tree: &mut Tree,
    entry: &Entry,
    here: &Identity,
    there: &Identity,
) -> Result<bool, EngineError> {
    let (Some(before), Some(after)) = (&entry.before, &entry.after) else { return Ok(false) };
    let Some(content) = after.content() else { return Ok(false) };
    let small = before.content().is_some() && before.size() <= TEXT && after.size() <= TEXT;
    if !small || before.content() == Some(content) || !entry.path.starts_with(&"/etc".into()) {
        return Ok(false);
    }
    let Some(mine) = tree.content(&entry.path, TEXT)? else { return Ok(false) };
    let theirs = state.blobs.read_range(content, 0, TEXT).map_err(crate::agent::of_blobs(state))?;
    let (Ok(mine), Ok(theirs)) = (String::from_utf8(mine), String::from_utf8(theirs)) else { return Ok(false) };
    Ok(Own::same((&mine, here), (&theirs, there)))
}

/// Kinds of units that are started and stopped.
const STARTED: [&str; 4] = [".service", ".socket", ".timer", ".path"];

/// Units that are enabled now and were not, the other way round, and those whose configuration is another.
fn units(site: &Site, changeset: &Changeset, notes: &mut Vec<String>) -> Result<Vec<UnitAction>, EngineError> {
    let (mut start, mut stop) = (BTreeSet::new(), BTreeSet::new());
    for entry in changeset.entries() {
        let Some(unit) = wanted(&entry.path) else { continue };
        match (&entry.before, &entry.after) {
            (None, Some(_)) => start.insert(unit),
            (Some(_), None) => stop.insert(unit),
            _ => false,
        };
    }
    let both: BTreeSet<String> = start.intersection(&stop).cloned().collect();
    let data: Vec<String> = start.iter().filter(|unit| has_data(unit)).cloned().collect();
    if !data.is_empty() {
        notes.push(format!(
            "not started, because their data is no part of an image: {}; start them when it is back",
            data.join(", ")
        ));
    }
    let action = |verb| move |unit: String| UnitAction { unit, verb, reason: Reason::Named };
    let may = |unit: &String| !both.contains(unit) && !is_never_restarted(unit, &[]);
    let mut out: Vec<UnitAction> = stop.into_iter().filter(may).map(action(UnitVerb::Stop)).collect();
    let fresh: BTreeSet<String> = start.into_iter().filter(|unit| may(unit) && !data.contains(unit)).collect();
    let named = crate::drift::units_of(site, changeset)?;
    out.extend(named.into_iter().filter(|action| !fresh.contains(&action.unit) && !has_data(&action.unit)));
    out.extend(fresh.into_iter().map(action(UnitVerb::Start)));
    Ok(out)
}

/// The unit that a link in `*.wants` or `*.requires` has started with the system.
fn wanted(path: &TreePath) -> Option<String> {
    let dir = path.parent()?;
    let is = dir.name().ends_with(b".wants") || dir.name().ends_with(b".requires");
    let top = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    let there = is && dir.parent().is_some_and(|up| top.iter().any(|top| up == TreePath::from(*top)));
    let name = String::from_utf8(path.name().to_vec()).ok()?;
    (there && STARTED.iter().any(|kind| name.ends_with(kind)) && !name.contains("@.")).then_some(name)
}

/// Whether a unit is nothing without data that no image has.
fn has_data(unit: &str) -> bool {
    let fits = |pattern: &&str| match pattern.split_once('*') {
        Some((begin, end)) => unit.starts_with(begin) && unit.ends_with(end),
        None => unit == *pattern,
    };
    STORES.iter().flat_map(|store| store.units).any(fits)
}

/// Makes directories in `/run` and the like, which services expect; what it makes is none of anybody's state.
const PREPARE: &str = "systemd-tmpfiles --create --exclude-prefix=/dev >/dev/null 2>&1 || :";

/// Keeps a plan as a rehearsal; its name.
///
/// # Errors
/// It cannot be written.
pub(crate) fn put_on_record(
    state: &State,
    site: &Site,
    plan: &Plan,
    of: &str,
    why: Option<String>,
    asked: &Asked,
) -> Result<String, EngineError> {
    state.blobs.sync().map_err(crate::agent::of_blobs(state))?;
    let id = state.next_id("r")?;
    let (changeset, entries) = (state.save_changeset(&plan.changeset)?, plan.changeset.entries().len());
    let mut parts = vec![Part::Files { changeset, entries }];
    if site.can_boot() {
        parts.push(Part::Live {
            step: 1,
            run: PREPARE.to_owned(),
            undo: Some(":".to_owned()),
            timeout_s: Some(60),
            once: false,
        });
    }
    let note = format!("made from the image of {of}, by comparison: it was not run in a copy");
    state.save_rehearsal(&Rehearsal {
        name: format!("rebuild as {of}"),
        why,
        changeset: Some(changeset),
        entries,
        parts,
        actions: plan.actions.clone(),
        notes: std::iter::once(note).chain(plan.notes.iter().cloned()).collect(),
        ..Rehearsal::blank(&id, asked.stamp(), &asked.actor.user, site.root.display().to_string())
    })?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_enable_units_name_them() {
        let table = [
            ("/etc/systemd/system/multi-user.target.wants/nginx.service", Some("nginx.service")),
            ("/etc/systemd/system/timers.target.wants/x.timer", Some("x.timer")),
            ("/etc/systemd/system/multi-user.target.wants/remote-fs.target", None),
            ("/etc/systemd/system/nginx.service", None),
            ("/etc/multi-user.target.wants/nginx.service", None),
        ];
        for (path, unit) in table {
            assert_eq!(wanted(&path.into()).as_deref(), unit, "{path}");
        }
        assert!(has_data("postgresql@15-main.service") && has_data("mariadb.service") && !has_data("nginx.service"));
    }
}
