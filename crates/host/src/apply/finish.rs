//! What frames the steps: inodes that forbid changes are unlocked before and locked after, directories get their times,
//! links that were made for an exchange are dropped, the objects in the slots are written down.
//!
//! All of it is decided by what the record says and not by what is found, so doing it twice is the same as doing it once.

use std::os::fd::AsFd as _;

use greenroom_core::{Mtime, TreePath};
use rayon::prelude::*;

use super::error::{Context as _, Error, Refusal};
use super::exec::Work;
use super::facts::{Images, Stamp};
use super::fault::Faults;
use super::metadata::LOCKS;
use super::plan::{Side, Step, can_be_locked};
use super::record;
use super::slots;
use super::stamps::{Shared, Stamps};
use crate::scan::{Tree, is_absence};
use crate::sys::fs::{self, types};

/// Clears the flags that forbid changes wherever they may be in the way.
pub(super) fn unlock(work: &mut Work<'_>, faults: &dyn Faults) -> Result<(), Error> {
    let Work { tree, changeset, facts, .. } = work;
    for (path, _) in &facts.locked {
        set_flags(tree, path, 0, faults, "unlock")?;
    }
    for entry in changeset.entries() {
        let locked = |side: Side| side.of(entry).is_some_and(|n| n.flags & LOCKS != 0);
        if locked(Side::Before) || locked(Side::After) {
            set_flags(tree, &entry.path, 0, faults, "unlock")?;
        }
    }
    Ok(())
}

/// Sets the flags that forbid changes as they are on the `toward` side.
pub(super) fn lock(work: &mut Work<'_>, toward: Side, faults: &dyn Faults) -> Result<(), Error> {
    let Work { tree, changeset, facts, .. } = work;
    for entry in changeset.entries() {
        if let Some(node) = toward.of(entry)
            && node.flags & LOCKS != 0
            && can_be_locked(node)
        {
            set_flags(tree, &entry.path, node.flags, faults, "finish.flags")?;
        }
    }
    for (path, flags) in &facts.locked {
        set_flags(tree, path, *flags, faults, "finish.flags")?;
    }
    Ok(())
}

fn set_flags(tree: &mut Tree, path: &TreePath, wanted: u8, faults: &dyn Faults, point: &str) -> Result<(), Error> {
    let fail = || format!("set the attributes of {path}");
    let Some((dir, name)) = tree.place(path)? else { return Ok(()) };
    match fs::set_flags(dir, name, LOCKS, wanted) {
        Err(error) if is_absence(&error) => Ok(()),
        Err(error) => Err(error).context(fail),
        Ok(()) => faults.hit(point).context(fail),
    }
}

/// Gives touched directories their times: those the record wants, or on the way `back` those that were found.
pub(super) fn set_times(work: &mut Work<'_>, back: bool, faults: &dyn Faults) -> Result<(), Error> {
    let Work { tree, facts, .. } = work;
    for time in &facts.times {
        let Some(mtime) = (if back { time.found } else { time.wanted }) else { continue };
        let fail = || format!("set the time of {}", time.path);
        let is_dir = tree.status(&time.path)?.is_some_and(|s| s.file_type() == types::DIR);
        if let (true, Some((dir, name))) = (is_dir, tree.place(&time.path)?) {
            fs::set_mtime(dir, name, mtime).context(fail)?;
            faults.hit("finish.time").context(fail)?;
        }
    }
    Ok(())
}

/// The mtimes of the touched directories as they are now.
pub(super) fn times_now<'p>(
    tree: &mut Tree,
    paths: impl Iterator<Item = &'p TreePath>,
) -> Result<Vec<(TreePath, Option<Mtime>)>, Error> {
    let mut out = Vec::new();
    for path in paths {
        let status = tree.status(path)?.filter(|s| s.file_type() == types::DIR);
        out.push((path.clone(), status.map(|s| s.mtime)));
    }
    Ok(out)
}

/// What is still inside directories that are in their slots now.
pub(super) fn moved_aside(work: &Work<'_>, toward: Side) -> Result<Vec<TreePath>, Error> {
    let mut out = Vec::new();
    for (index, entry) in work.changeset.entries().iter().enumerate() {
        let is_dir = |side: Side| side.of(entry).is_some_and(greenroom_core::Node::is_dir);
        if !is_dir(toward.other()) || is_dir(toward) {
            continue;
        }
        let dir = work.slots.get(work.facts.slots[index]);
        let names = match fs::names(dir, slots::name(index).as_bytes()) {
            Err(error) if is_absence(&error) => Vec::new(),
            other => other.context(|| format!("read what was in {}", entry.path))?,
        };
        out.extend(names.iter().map(|name| entry.path.join(name)));
    }
    Ok(out)
}

/// Removes the names of kept inodes from the slots.
pub(super) fn drop_links(work: &Work<'_>, toward: Side, faults: &dyn Faults) -> Result<(), Error> {
    for (index, step) in work.plan.iter().enumerate() {
        let Step::Swap(swap) = step else { continue };
        if swap.anchor(toward.other()).is_none() {
            continue;
        }
        let fail = || format!("empty slot {index} of {}", work.record.owner);
        let dir = work.slots.get(work.facts.slots[index]);
        match fs::remove(dir, slots::name(index).as_bytes(), false) {
            Err(error) if is_absence(&error) => continue,
            other => other.context(fail)?,
        }
        faults.hit("finish.dropped").context(fail)?;
    }
    Ok(())
}

/// Writes down the objects that are in the slots now. Unless this is a recovery, one that is not as it was when the change
/// began was written to in the moment of the exchange: an edit that the change would hide.
pub(super) fn write_images(work: &mut Work<'_>, toward: Side, careful: bool) -> Result<(), Error> {
    let Work { changeset, plan, facts, slots, .. } = work;
    let look = |index: usize| -> Result<Option<Stamp>, Error> {
        let entry = &changeset.entries()[index];
        match (&plan[index], toward.other().of(entry)) {
            (Step::Swap(swap), Some(node)) if swap.anchor(toward.other()).is_none() => {
                let found = slots::status(slots.get(facts.slots[index]), index)?.as_ref().map(Stamp::from);
                let was = if toward == Side::After { &facts.before } else { &facts.after };
                let raced = found.zip(was.get(index)).is_some_and(|(now, was)| !now.same_content(was));
                if raced && !careful && node.content().is_some() {
                    return Err(Refusal::Raced { path: entry.path.clone() }.into());
                }
                Ok(found)
            }
            _ => Ok(None),
        }
    };
    let stamps = Shared::new(Stamps::none(plan.len()));
    (0..plan.len()).into_par_iter().with_min_len(256).try_for_each(|index| {
        if let Some(stamp) = look(index)? {
            stamps.lock().set(index, Some(stamp));
        }
        Ok::<_, Error>(())
    })?;
    let mut images = Images { slots: stamps.into_inner(), times: Vec::new() };
    images.times = times_now(&mut work.tree, work.facts.times.iter().map(|t| &t.path))?;
    record::write_file_by(work.dir.as_fd(), b"images", |file| images.encode(file))
        .context(|| format!("write the record of {}", work.record.id))
}
