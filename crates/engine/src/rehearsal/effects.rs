//! What the change did, in the terms of a person: packages, users, services, run-time state.

use greenroom_core::effect::{Effects, RuntimeDiff};
use greenroom_core::rehearsal::Rehearsal;
use greenroom_host::facts::{Runtime, Target, Trees};

use super::network::Outside;
use super::stagehand::Stagehand;
use crate::site::Site;
use crate::{EngineError, State};

/// Looks at a copy's run-time state before and after the change.
pub(super) struct Watch {
    before: Option<Runtime>,
}

impl Watch {
    pub(super) fn start(hand: &Stagehand<'_>, outside: &Outside) -> Self {
        Self { before: read(hand, outside) }
    }

    /// What differs now.
    pub(super) fn finish(self, hand: &Stagehand<'_>, outside: &Outside, record: &mut Rehearsal) -> Option<RuntimeDiff> {
        let after = read(hand, outside)?;
        record.notes.extend(after.gaps.iter().map(|gap| format!("not compared: {gap}")));
        Some(Runtime::diff(&self.before?, &after))
    }
}

/// Of a copy that is not booted only its network namespace outlives a command.
fn read(hand: &Stagehand<'_>, outside: &Outside) -> Option<Runtime> {
    match hand.booted() {
        Some(booted) => Runtime::read(&Target::Copy { leader: booted.leader() }).ok(),
        None => outside.network.as_ref().map(|network| Runtime::read_netns(std::os::fd::AsFd::as_fd(&network.namespace))),
    }
}

/// Writes the effects into the record.
pub(super) fn describe(
    site: &Site,
    hand: &Stagehand<'_>,
    runtime: Option<RuntimeDiff>,
    record: &mut Rehearsal,
    state: &State,
) -> Result<(), EngineError> {
    let Some(id) = record.changeset else { return Ok(()) };
    let changeset = state.changeset(&id)?;
    let trees = Trees::open(&site.root, &hand.copy.root()).map_err(EngineError::system("read the copy"))?;
    record.effects = Effects::of(&changeset, &trees);
    if let Some(diff) = runtime {
        record.runtime_only = record.effects.add_runtime(diff, &changeset, &trees);
    }
    Ok(())
}
