//! What the change did, in the terms of a person: packages, users, services, run-time state.

use std::cell::RefCell;

use greenroom_core::effect::{Effects, RuntimeDiff, Side, Sources};
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::{Changeset, TreePath};
use greenroom_host::facts::{Runtime, Target};
use greenroom_host::scan::Tree;

use super::stagehand::Stagehand;
use crate::site::Site;
use crate::{EngineError, State};

/// The largest file that is read to understand a change: dpkg's status of a large host has about 10 MB.
const READ_LIMIT: u64 = 64 << 20;

/// Looks at a copy's run-time state before and after the change.
pub(super) struct Watch {
    before: Option<Runtime>,
}

impl Watch {
    pub(super) fn start(hand: &Stagehand<'_>) -> Result<Self, EngineError> {
        Ok(Self { before: read(hand) })
    }

    pub(super) fn finish(self, hand: &Stagehand<'_>, record: &mut Rehearsal) -> Result<Option<RuntimeDiff>, EngineError> {
        let Some(before) = self.before else { return Ok(None) };
        let Some(after) = read(hand) else { return Ok(None) };
        for gap in after.gaps() {
            record.notes.push(format!("not compared: {gap}"));
        }
        Ok(Some(Runtime::diff(&before, &after)))
    }
}

fn read(hand: &Stagehand<'_>) -> Option<Runtime> {
    let leader = hand.booted()?.leader();
    Runtime::read(&Target::Copy { leader }).ok()
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
    let views = Views { before: RefCell::new(Tree::open(&site.root)?), after: RefCell::new(Tree::open(&hand.copy.root())?) };
    record.effects = Effects::of(&changeset, &views);
    if let Some(diff) = runtime {
        record.runtime_only = runtime_only(&mut record.effects, diff, &changeset, &views);
    }
    Ok(())
}

fn runtime_only(
    effects: &mut Effects,
    diff: RuntimeDiff,
    changeset: &Changeset,
    views: &Views,
) -> Vec<greenroom_core::effect::RuntimeOnly> {
    effects.add_runtime(diff, changeset, views)
}

/// The host and the copy.
struct Views {
    before: RefCell<Tree>,
    after: RefCell<Tree>,
}

impl Views {
    fn side(&self, side: Side) -> &RefCell<Tree> {
        match side {
            Side::Before => &self.before,
            Side::After => &self.after,
        }
    }
}

impl Sources for Views {
    fn content(&self, path: &TreePath, side: Side) -> Option<Vec<u8>> {
        self.side(side).borrow_mut().content(path, READ_LIMIT).ok().flatten()
    }

    fn names(&self, dir: &TreePath, side: Side) -> Vec<Vec<u8>> {
        let names = self.side(side).borrow_mut().names(dir).unwrap_or_default();
        names.into_iter().map(Vec::from).collect()
    }
}
