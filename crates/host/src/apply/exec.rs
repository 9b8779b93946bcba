//! Runs the steps of a record, forward or back, and turns round when one fails.
//!
//! A step is tried blindly on the first run. After an interruption (`careful`) each is looked at first, so the same list may be
//! run again any number of times, in either direction, from any point at which it stopped.

use std::borrow::Cow;
use std::os::fd::{AsFd as _, OwnedFd};

use greenroom_core::{Changeset, TreePath};

use super::error::{Context as _, Error};
use super::facts::Facts;
use super::fault::Faults;
use super::filesystems::SlotDirs;
use super::plan::{Side, Step};
use super::record::{Phase, Record, RecordKind};
use super::{finish, forget, metadata, slots};
use crate::scan::Tree;

/// Everything that running a record needs.
pub(super) struct Work<'a> {
    pub(super) tree: Tree,
    pub(super) changeset: Cow<'a, Changeset>,
    pub(super) plan: Vec<Step>,
    pub(super) order: Vec<usize>,
    pub(super) slots: SlotDirs,
    pub(super) facts: Facts,
    pub(super) record: Record,
    /// The record's own directory.
    pub(super) dir: OwnedFd,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The record's name.
    pub change: String,
    /// How many entries were put in place.
    pub entries: usize,
    /// What was inside directories that went away and that the change did not know: it went along, and comes back with undo.
    pub moved_aside: Vec<TreePath>,
}

/// Brings a committed record to its end and says so durably. On failure everything is taken back.
pub(super) fn complete(work: &mut Work<'_>, careful: bool, faults: &dyn Faults) -> Result<Applied, Error> {
    match put_in_place(work, careful, faults) {
        Ok(applied) => Ok(applied),
        Err(cause) => match take_back(work, faults) {
            Ok(()) => Err(Error::RolledBack(Box::new(cause))),
            Err(source) => Err(Error::Stuck {
                change: work.record.id.clone(),
                way_out: format!("mend what the cause names ({cause}), then recover"),
                source: Box::new(source),
            }),
        },
    }
}

fn put_in_place(work: &mut Work<'_>, careful: bool, faults: &dyn Faults) -> Result<Applied, Error> {
    let toward = work.record.direction.side();
    run(work, toward, careful, faults)?;
    finish::set_times(work, false, faults)?;
    let moved_aside = finish::moved_aside(work, toward)?;
    finish::drop_links(work, toward, faults)?;
    finish::lock(work, toward, faults)?;
    finish::write_images(work, toward, careful)?;
    let fail = |id: &str| format!("finish {id}");
    work.record.phase = Phase::Done;
    work.record.prepare(work.dir.as_fd()).context(|| fail(&work.record.id))?;
    work.slots.sync()?;
    let fail = || fail(&work.record.id);
    faults.hit("finish.synced").context(fail)?;
    Record::decide(work.dir.as_fd()).context(fail)?;
    faults.hit("commit.done").context(fail)?;
    Ok(Applied { change: work.record.id.clone(), entries: work.plan.len(), moved_aside })
}

/// Takes a record back, whatever of it was done, and says so durably.
pub(super) fn take_back(work: &mut Work<'_>, faults: &dyn Faults) -> Result<(), Error> {
    let fail = |id: &str| format!("take {id} back");
    work.record.phase = Phase::Backing;
    work.record.write(work.dir.as_fd()).context(|| fail(&work.record.id))?;
    let toward = work.record.direction.side().other();
    run(work, toward, true, faults)?;
    finish::set_times(work, true, faults)?;
    finish::drop_links(work, toward, faults)?;
    finish::lock(work, toward, faults)?;
    work.record.phase = Phase::RolledBack;
    work.record.prepare(work.dir.as_fd()).context(|| fail(&work.record.id))?;
    work.slots.sync()?;
    faults.hit("finish.synced").context(|| fail(&work.record.id))?;
    Record::decide(work.dir.as_fd()).context(|| fail(&work.record.id))?;
    if work.record.kind == RecordKind::Apply {
        forget::remove_slots(work.tree.fd(), work.dir.as_fd(), &work.record)?;
    }
    Ok(())
}

fn run(work: &mut Work<'_>, toward: Side, careful: bool, faults: &dyn Faults) -> Result<(), Error> {
    finish::unlock(work, faults)?;
    work.tree.forget();
    let order = std::mem::take(&mut work.order);
    let result = match toward {
        Side::After => order.iter().try_for_each(|index| step(work, *index, toward, careful, faults)),
        Side::Before => order.iter().rev().try_for_each(|index| step(work, *index, toward, careful, faults)),
    };
    work.order = order;
    work.tree.forget();
    result
}

fn step(work: &mut Work<'_>, index: usize, toward: Side, careful: bool, faults: &dyn Faults) -> Result<(), Error> {
    // Taken out for the time of the step, so that the rest can be borrowed.
    match std::mem::replace(&mut work.plan[index], Step::Keep) {
        Step::Keep => Ok(()),
        Step::Metadata => {
            work.plan[index] = Step::Metadata;
            set_metadata(work, index, toward, faults)
        }
        Step::Swap(swap) => {
            let done = careful && slots::is_done(work, index, &swap, toward)?;
            let result = if done { Ok(()) } else { slots::swap(work, index, &swap, toward, faults) };
            work.plan[index] = Step::Swap(swap);
            result
        }
    }
}

fn set_metadata(work: &mut Work<'_>, index: usize, toward: Side, faults: &dyn Faults) -> Result<(), Error> {
    let entry = &work.changeset.entries()[index];
    let fail = || format!("set the metadata of {}", entry.path);
    let missing = || Error::Io { what: fail(), source: rustix::io::Errno::NOENT.into() };
    let node = toward.of(entry).ok_or_else(missing)?;
    let (dir, name) = work.tree.place(&entry.path)?.ok_or_else(missing)?;
    metadata::set(dir, name, node, faults, "step.metadata").context(fail)
}
