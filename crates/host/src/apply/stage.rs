//! Makes everything new beside the tree, before anything in the tree is touched.

use std::borrow::Cow;
use std::os::fd::{AsFd as _, BorrowedFd};

use greenroom_core::changeset::DirTime;
use greenroom_core::{Changeset, Entry, Kind, Node, TreePath};
use rayon::prelude::*;

use super::content::{self, Contents};
use super::error::{Context as _, Error, Refusal};
use super::exec::{self, Applied, Work};
use super::facts::{Facts, Stamp, Time};
use super::fault::Faults;
use super::filesystems::{SlotDirs, Survey};
use super::host::Guard;
use super::metadata::{self, LOCKS};
use super::plan::{Step, Swap, order, plan};
use super::record::{self, Phase, Record, RecordKind};
use super::stamps::Shared;
use super::{finish, forget, slots};
use crate::scan::{Tree, is_absence};
use crate::sys::fs::{self, types};

/// A change that is ready to be put in place. Dropped, it leaves nothing behind.
pub struct Staged<'g> {
    pub(super) guard: &'g Guard<'g>,
    pub(super) work: Option<Work<'g>>,
}

impl Guard<'_> {
    /// Stages `changeset` as the change `id`: checks room and file systems and makes all new objects with their metadata. The
    /// tree is not touched.
    ///
    /// # Errors
    /// [`Refusal`]s; [`Error::Io`]. Nothing is left behind.
    pub fn stage<'s>(
        &'s self,
        id: &str,
        changeset: &'s Changeset,
        contents: &dyn Contents,
        faults: &dyn Faults,
    ) -> Result<Staged<'s>, Error> {
        let mut tree = self.host.tree()?;
        let plan = plan(changeset);
        let mut survey = Survey::new(tree.fd(), self.host.changes_dir())?;
        let indices: Vec<u16> = changeset.entries().iter().map(|e| survey.locate(&e.path)).collect::<Result<_, _>>()?;
        let survey_names: Vec<TreePath> = (0..=survey.tops().len()).map(|i| survey.name(i as u16)).collect();
        let tops = survey.tops();
        let facts = look(&mut tree, changeset, &plan, &indices)?;
        let mut record = self.new_record(id, RecordKind::Apply, changeset)?;
        record.tops = tops;
        let dir = self.create_record(&record, Some(changeset))?;
        let undo_on_failure = |error: Error| {
            // The error at hand says more than one of the clean-up, which `recover` repeats anyway.
            let _ = forget::remove_record(self.host, &record);
            error
        };
        let slots = SlotDirs::create(tree.fd(), dir.as_fd(), id, &record.tops).map_err(undo_on_failure)?;
        let order = order(changeset);
        let mut work =
            Work { tree, changeset: Cow::Borrowed(changeset), plan, order, slots, facts, record: record.clone(), dir };
        match fill(&mut work, &survey_names, contents, faults) {
            Ok(()) => Ok(Staged { guard: self, work: Some(work) }),
            Err(error) => Err(undo_on_failure(error)),
        }
    }
}

impl Staged<'_> {
    /// Puts the change in place: all of it, or (on an error) nothing. `meta` is the caller's own and comes back in the
    /// [`Record`].
    ///
    /// # Errors
    /// [`Error::RolledBack`], [`Error::Stuck`]; others before anything was touched.
    pub fn commit(mut self, meta: serde_json::Value, faults: &dyn Faults) -> Result<Applied, Error> {
        let Some(mut work) = self.work.take() else {
            unreachable!("work is taken only here and on drop");
        };
        match decide(&mut work, meta, faults) {
            Ok(()) => exec::complete(&mut work, false, faults),
            Err(error) => {
                self.work = Some(work);
                Err(error)
            }
        }
    }
}

/// Makes all that was staged durable, then the journal that refers to it: from here on the outcome is decided.
fn decide(work: &mut Work<'_>, meta: serde_json::Value, faults: &dyn Faults) -> Result<(), Error> {
    let fail = || "commit the change".to_owned();
    faults.hit("commit.before").context(fail)?;
    work.record.meta = meta;
    work.record.phase = Phase::Committed;
    work.record.prepare(work.dir.as_fd()).context(fail)?;
    work.slots.sync()?;
    faults.hit("commit.synced").context(fail)?;
    Record::decide(work.dir.as_fd()).context(fail)?;
    faults.hit("commit.decided").context(fail)
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            // Nowhere to report to; what stays is removed by the next recovery.
            let _ = forget::remove_record(self.guard.host, &work.record);
        }
    }
}

/// Looks at the live side of every entry, at anchors, and at the directories that will be touched.
fn look(tree: &mut Tree, changeset: &Changeset, plan: &[Step], indices: &[u16]) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    for ((entry, step), slots) in changeset.entries().iter().zip(plan).zip(indices) {
        let status = tree.status(&entry.path)?;
        let fits = match (&status, entry.before.as_deref()) {
            (Some(found), Some(before)) => match before.kind {
                Kind::File { size, .. } => found.size == size && found.mtime == before.mtime,
                _ => (found.file_type() == types::DIR) == before.is_dir(),
            },
            (found, before) => found.is_some() == before.is_some(),
        };
        if !fits {
            return Err(Refusal::Raced { path: entry.path.clone() }.into());
        }
        let anchored = match step {
            Step::Swap(Swap { anchor_after: Some(anchor), .. }) => tree.status(anchor)?,
            _ => None,
        };
        facts.slots.push(*slots);
        facts.before.push(status.as_ref().map(Stamp::from));
        facts.after.push(anchored.as_ref().map(Stamp::from));
    }
    let touched = touched_dirs(changeset, plan);
    let now = finish::times_now(tree, touched.iter())?;
    facts.times =
        now.into_iter().map(|(path, found)| Time { wanted: planned(changeset, &path, found), path, found }).collect();
    facts.locked = locked(tree, changeset, plan, &touched)?;
    Ok(facts)
}

/// The time that the changeset wants for a directory that was found with `found`, or that is not there yet.
fn planned(
    changeset: &Changeset,
    path: &TreePath,
    found: Option<greenroom_core::Mtime>,
) -> Option<greenroom_core::Mtime> {
    let times = changeset.dir_times();
    // A file edited in place leaves its directory's time alone; the exchange that puts it here does not.
    let Ok(at) = times.binary_search_by(|t| t.path.cmp(path)) else { return found };
    let known = &times[at];
    (found.unwrap_or(DirTime::NONE) == known.before).then_some(known.after)
}

/// The directories in which something moves, those of which the changeset knows a time, and those that are moved themselves:
/// XFS gives a directory another mtime when it gets another parent.
fn touched_dirs(changeset: &Changeset, plan: &[Step]) -> Vec<TreePath> {
    let swaps = changeset.entries().iter().zip(plan).filter(|(_, step)| matches!(step, Step::Swap(_)));
    let mut out: Vec<TreePath> = Vec::new();
    for parent in swaps.filter_map(|(entry, _)| entry.path.parent()) {
        if out.last() != Some(&parent) {
            out.push(parent);
        }
    }
    out.extend(changeset.dir_times().iter().map(|t| t.path.clone()));
    let is_dir = |node: &Option<Box<Node>>| node.as_ref().is_some_and(|n| n.is_dir());
    out.extend(changeset.entries().iter().filter(|e| is_dir(&e.before) || is_dir(&e.after)).map(|e| e.path.clone()));
    out.sort_unstable();
    out.dedup();
    out
}

/// Inodes that are no entries of their own and forbid what is going to happen.
pub(super) fn locked(
    tree: &mut Tree,
    changeset: &Changeset,
    plan: &[Step],
    touched: &[TreePath],
) -> Result<Vec<(TreePath, u8)>, Error> {
    let anchors = plan.iter().flat_map(|step| match step {
        Step::Swap(swap) => [swap.anchor_before.as_ref(), swap.anchor_after.as_ref()],
        _ => [None, None],
    });
    let mut out = Vec::new();
    for path in touched.iter().chain(anchors.flatten()).filter(|p| changeset.get(p).is_none()) {
        let flags = tree.status(path)?.map_or(0, |s| s.flags & LOCKS);
        if flags != 0 && !out.iter().any(|(known, _)| known == path) {
            out.push((path.clone(), flags));
        }
    }
    Ok(out)
}

/// The entries whose new object is made here, or is a further name of one that is.
fn made<'a>(
    changeset: &'a Changeset,
    plan: &'a [Step],
) -> impl Iterator<Item = (usize, &'a Entry, &'a Node, &'a Swap)> {
    changeset.entries().iter().zip(plan).enumerate().filter_map(|(index, (entry, step))| match (step, &entry.after) {
        (Step::Swap(swap), Some(after)) if swap.anchor_after.is_none() => Some((index, entry, &**after, swap)),
        _ => None,
    })
}

fn fill(work: &mut Work<'_>, names: &[TreePath], contents: &dyn Contents, faults: &dyn Faults) -> Result<(), Error> {
    let fail = || format!("stage {}", work.record.id);
    faults.hit("stage.begun").context(fail)?;
    require_room(work, names, contents)?;
    for index in 0..work.slots.count() {
        let swaps = |(step, slots): (&Step, &u16)| *slots == index && matches!(step, Step::Swap(_));
        if work.plan.iter().zip(&work.facts.slots).any(swaps) {
            work.slots.probe(index, names[usize::from(index)].clone())?;
        }
    }
    let after = Shared::new(std::mem::take(&mut work.facts.after));
    make_all(work, contents, faults, &after)?;
    let mut after = after.into_inner();
    for (index, entry, _, swap) in made(&work.changeset, &work.plan) {
        let Some(first) = swap.same_as else { continue };
        let dir = work.slots.get(work.facts.slots[index]);
        let fail = || format!("stage {}", entry.path);
        fs::link((dir, slots::name(first).as_bytes()), (dir, slots::name(index).as_bytes())).context(fail)?;
        faults.hit("stage.object").context(fail)?;
        after.set(index, after.get(first).copied());
    }
    work.facts.after = after;
    record::write_file_by(work.dir.as_fd(), b"facts", |file| work.facts.encode(file)).context(fail)
}

/// Makes the new objects, each inode once, on all cores.
fn make_all(work: &Work<'_>, contents: &dyn Contents, faults: &dyn Faults, after: &Shared) -> Result<(), Error> {
    let objects: Vec<usize> = made(&work.changeset, &work.plan)
        .filter(|(.., swap)| swap.same_as.is_none())
        .map(|(index, ..)| index)
        .collect();
    objects.par_chunks(64).try_for_each(|chunk| {
        let mut maker = Maker { buffer: vec![0; content::BUFFER], tree: work.tree.again()?, contents, faults };
        for index in chunk {
            let entry = &work.changeset.entries()[*index];
            let Some(node) = &entry.after else { continue };
            let stamp = maker.make(work, *index, entry, node)?;
            after.lock().set(*index, Some(stamp));
        }
        Ok(())
    })
}

/// Bytes that an object takes besides its content: an inode, a name, a block of attributes.
const OVERHEAD: u64 = 1024;
const BLOCK: u64 = 4096;
/// Below this the store is not asked how much of a file is holes.
const LARGE: u64 = 1 << 20;

fn require_room(work: &Work<'_>, names: &[TreePath], contents: &dyn Contents) -> Result<(), Error> {
    let mut needed = vec![(0u64, 0u64); names.len()];
    for (index, entry, node, swap) in made(&work.changeset, &work.plan) {
        let (bytes, inodes) = &mut needed[usize::from(work.facts.slots[index])];
        let size = match (&node.kind, swap.same_as) {
            (_, Some(_)) => 0,
            (Kind::File { size, content }, None) if *size >= LARGE => {
                use std::os::unix::fs::MetadataExt as _;
                let allocated = contents.open(content).and_then(|f| f.metadata()).map(|m| m.blocks() * 512);
                allocated.unwrap_or(*size).min(*size)
            }
            (Kind::File { size, .. }, None) => *size,
            (Kind::Dir, None) => BLOCK,
            _ => 0,
        };
        *bytes += size.next_multiple_of(BLOCK) + OVERHEAD + entry.path.as_bytes().len() as u64;
        *inodes += u64::from(swap.same_as.is_none());
    }
    for (index, (bytes, inodes)) in needed.into_iter().enumerate().filter(|(_, (_, inodes))| *inodes > 0) {
        let file_system = names[index].clone();
        let room = fs::free_room(work.slots.get(index as u16)).context(|| format!("ask {file_system} for its room"))?;
        if room.0 < bytes {
            return Err(Refusal::NoRoom { file_system, needed: bytes, free: room.0 }.into());
        }
        if let Some(free) = room.1.filter(|free| *free < inodes) {
            return Err(Refusal::NoInodes { file_system, needed: inodes, free }.into());
        }
    }
    Ok(())
}

/// Makes new objects, one after another.
struct Maker<'a> {
    buffer: Vec<u8>,
    tree: Tree,
    contents: &'a dyn Contents,
    faults: &'a dyn Faults,
}

impl Maker<'_> {
    fn make(&mut self, work: &Work<'_>, index: usize, entry: &Entry, node: &Node) -> Result<Stamp, Error> {
        let dir = work.slots.get(work.facts.slots[index]);
        let name = slots::name(index);
        let name = name.as_bytes();
        let fail = || format!("stage {}", entry.path);
        let no_room = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Error::Refused(Refusal::NoRoom { file_system: entry.path.clone(), needed: node.size(), free: 0 })
            }
            _ => Error::Io { what: fail(), source: error },
        };
        match &node.kind {
            Kind::File { .. } => self.make_file(dir, name, entry, node).map_err(|e| match e {
                Error::Io { source, .. } => no_room(source),
                other => other,
            })?,
            Kind::Dir => fs::make_dir(dir, name, 0o700).map_err(no_room)?,
            Kind::Symlink(target) => fs::make_symlink(dir, name, target).map_err(no_room)?,
            Kind::Fifo => fs::make_node(dir, name, types::FIFO, (0, 0)).map_err(no_room)?,
            Kind::CharDevice { major, minor } => {
                fs::make_node(dir, name, types::CHAR, (*major, *minor)).map_err(no_room)?;
            }
            Kind::BlockDevice { major, minor } => {
                fs::make_node(dir, name, types::BLOCK, (*major, *minor)).map_err(no_room)?;
            }
        }
        metadata::set(dir, name, node, self.faults, "stage.object").map_err(no_room)?;
        self.faults.hit("stage.object").context(fail)?;
        let status = fs::status(dir, name).context(fail)?;
        Ok(Stamp::from(&status))
    }

    fn make_file(&mut self, dir: BorrowedFd<'_>, name: &[u8], entry: &Entry, node: &Node) -> Result<(), Error> {
        let fail = || format!("stage {}", entry.path);
        let Some(expected) = node.content() else { return Ok(()) };
        let mut to = fs::create_file(dir, name).context(fail)?;
        if node.size() == 0 && expected == greenroom_core::ContentHash::of(b"") {
            return Ok(());
        }
        let stored = self.contents.open(&expected);
        let mut from = match stored {
            // A file that only gets another name or another owner: the tree has its content.
            Err(error) if is_absence(&error) && entry.before.as_ref().and_then(|b| b.content()) == Some(expected) => {
                match self.tree.place(&entry.path)? {
                    Some((dir, name)) => fs::open_file(dir, name).context(fail)?,
                    None => return Err(error).context(fail),
                }
            }
            other => other.context(|| format!("read the stored content of {}", entry.path))?,
        };
        let found = content::copy(&mut from, &mut to, &mut self.buffer).context(fail)?;
        if found == expected {
            Ok(())
        } else {
            Err(Refusal::Corrupt { path: entry.path.clone(), expected, found }.into())
        }
    }
}
