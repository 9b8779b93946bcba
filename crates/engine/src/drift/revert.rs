//! Revert: what is on record comes back to the host, by the engine's own apply.
//!
//! Contents come from where `contents` finds them; one that is nowhere refuses the whole. Units that run replaced files are
//! restarted as with any change; those whose configuration comes back are told to read it again.

use std::time::Instant;

use greenroom_core::TreePath;
use greenroom_core::drift::FoundBy;
use greenroom_core::policy::Class;
use greenroom_host::apply::HostState;

use super::adopt::{Wanted, by_hand, name};
use super::look::{Finding, find};
use super::select::{Toward, select, whole_packages};
use super::{edits, moves, units};
use crate::apply::{
    ChangeRecord, Drive, FromBlobs, Kind, Open, Place, Records, Report, Tools, close, conflicts, fresh_id, host_error,
    live_shell, refused,
};
use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// Brings what is on record back.
///
/// # Errors
/// A refusal, with the paths: nothing was touched.
pub fn revert(
    state: &State,
    wanted: &Wanted<'_>,
    asked: &Asked,
    progress: &dyn Progress,
) -> Result<Report, EngineError> {
    let began = Instant::now();
    let site = Site::look(wanted.root, state.dir())?;
    let host = HostState::open(&site.root).map_err(host_error)?;
    let guard = host.lock("revert").map_err(host_error)?;
    let records = Records::open(&site.root)?;
    let mut found = find(state, &site, &guard, asked, progress)?;
    let chosen = select(&found.look.drift, &wanted.selection, Toward::Record)?;
    whole_packages(&found.look.drift, &found.look.groups, &chosen)?;
    if chosen.is_empty() {
        return Err(EngineError::refused("no file differs from the record", "`greenroom status` says what does"));
    }
    may_come_back(&site, &found, &chosen)?;
    let forward = super::changeset(&mut found, &chosen)?;
    let missing = super::missing(state, &mut found, &forward)?;
    if !missing.is_empty() {
        return Err(not_at_hand(&found, &chosen, &missing));
    }
    let changeset = forward.into_inverse();
    progress.begin("checking that the host is as it was found");
    let in_the_way = conflicts(&site, &changeset)?;
    if !in_the_way.is_empty() {
        return Err(refused(&in_the_way));
    }
    let change = fresh_id(state, &records)?;
    let mut record = ChangeRecord {
        name: name(&found, &chosen),
        why: wanted.why.clone(),
        edits: edits(&found.look.drift, &chosen),
        jobs: units::of(&site, &changeset, found.databases.host.as_ref())?,
        ..by_hand(state, Kind::Revert, &change, &changeset, asked)?
    };
    progress.begin("bringing it back");
    moves::about_to(&site)?;
    let shell = live_shell(&site);
    let place = Place::live(&site, &shell);
    let contents = FromBlobs(&state.blobs);
    let tools = Tools { contents: &contents, faults: wanted.faults, progress, gate: &Open, health: &[] };
    let changesets = vec![Some(changeset)];
    let drive =
        Drive { place: &place, tools: &tools, guard: &guard, records: &records, changesets: &changesets, of: None };
    drive.run(&mut record)?;
    close(state, &records, &record, asked, &tools)?;
    moves::moved(state, &site, &guard, asked, &tools);
    Ok(Report::of(&record, began))
}

/// Kernel, modules and boot loader are never transplanted.
fn may_come_back(site: &Site, found: &Finding, chosen: &[usize]) -> Result<(), EngineError> {
    let paths = chosen.iter().map(|at| found.look.drift[*at].path());
    let boot: Vec<&TreePath> = paths.filter(|path| site.policy.class(path, false) == Class::Boot).collect();
    if boot.is_empty() {
        return Ok(());
    }
    let what = format!("{} belong to the boot of this host, which is never transplanted", list(boot.into_iter()));
    Err(EngineError::refused(what, hint(found, chosen)))
}

fn not_at_hand(found: &Finding, chosen: &[usize], missing: &[TreePath]) -> EngineError {
    let is_package = |at: &&usize| found.look.drift[**at].found_by == FoundBy::Package;
    let what = if chosen.iter().any(|at| is_package(&at)) {
        "what the package brought is not at hand for"
    } else {
        "the content that is on record is not at hand for"
    };
    EngineError::refused(format!("{what} {}; nothing was touched", list(missing.iter())), hint(found, chosen))
}

fn list<'a>(paths: impl Iterator<Item = &'a TreePath>) -> String {
    let all: Vec<String> = paths.map(ToString::to_string).collect();
    let more = all.len().saturating_sub(20);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", all[..all.len().min(20)].join(", "))
}

/// With packages the way back is the package manager's.
fn hint(found: &Finding, chosen: &[usize]) -> String {
    let mut packages: Vec<String> = found.versions(chosen);
    packages.sort();
    packages.dedup();
    if packages.is_empty() {
        return "bring it back by hand, or `greenroom adopt` it".to_owned();
    }
    let reinstall = if packages.iter().all(|p| !p.contains('=')) { "--reinstall " } else { "--allow-downgrades " };
    format!("greenroom rehearse -- apt-get install -y {reinstall}{}", packages.join(" "))
}
