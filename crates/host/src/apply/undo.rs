//! Takes a record back by the same exchanges, out of the slots that its owner has.
//!
//! Two things are checked: that the tree is what the record left (by content, like before any change), and that the images
//! in the slots are what the record put there (by inode, size, mtime and ctime; by content where these differ).

use std::borrow::Cow;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use greenroom_core::{Changeset, TreePath};

use super::check::{self, Conflict, Reason};
use super::error::{Context as _, Error, Refusal};
use super::exec::{Applied, Work};
use super::facts::{Facts, Images, Stamp, Time};
use super::fault::Faults;
use super::filesystems::SlotDirs;
use super::finish;
use super::host::{Guard, HostState};
use super::metadata::LOCKS;
use super::plan::{Side, Step, order, plan};
use super::record::{self, Direction, Phase, Record, RecordKind};
use super::slots;
use super::stage::{Staged, locked};
use super::stamps::Stamps;
use crate::scan::{Seen, Tree};

impl Guard<'_> {
    /// Takes the record `of` back, as the change `id`. Taking back an undo is redo.
    ///
    /// # Errors
    /// [`Error::Conflicts`] when the tree or an image is not what `of` left; [`Refusal`]s; as [`Staged::commit`].
    pub fn undo(&self, of: &str, id: &str, meta: serde_json::Value, faults: &dyn Faults) -> Result<Applied, Error> {
        let changeset = self.host.changeset(&self.host.record(of)?)?;
        self.undo_known(of, id, &changeset, meta, faults)
    }

    /// The same for who has the changeset in hand, as [`HostState::changeset`] gave it: a large one is in memory once.
    ///
    /// # Errors
    /// As [`Guard::undo`].
    pub fn undo_known(
        &self,
        of: &str,
        id: &str,
        changeset: &Changeset,
        meta: serde_json::Value,
        faults: &dyn Faults,
    ) -> Result<Applied, Error> {
        let records = self.host.changes()?;
        let target = takeable(&records, of)?;
        if target.phase == Phase::Done {
            self.close(of)?;
        }
        let direction = target.direction.opposite();
        let mut tree = self.host.tree()?;
        let live = check::look(&tree, changeset, direction.side().other(), None)?;
        let mut before = Before::load(self.host, target, &tree, changeset.entries().len())?;
        let plan = plan(changeset);
        let (images, changed) = before.images(changeset, &plan, direction.side())?;
        let conflicts = [live.conflicts, changed].concat();
        if !conflicts.is_empty() {
            return Err(Error::Conflicts(name_the_later(self.host, conflicts, &records, target)?));
        }
        let facts = before.facts(&mut tree, changeset, &plan, direction.side(), (live.stamps, images))?;
        let record = Record {
            of: Some(of.to_owned()),
            owner: target.owner.clone(),
            direction,
            tops: target.tops.clone(),
            ..self.new_record(id, RecordKind::Undo, changeset)?
        };
        let dir = self.create_record(&record, None)?;
        let written = record::write_file_by(dir.as_fd(), b"facts", |file| facts.encode(file));
        let order = order(changeset);
        let changeset = Cow::Borrowed(changeset);
        let work = Work { tree, changeset, plan, order, slots: before.slots, facts, record, dir };
        let staged = Staged { guard: self, work: Some(work) };
        written.context(|| format!("write the record of {id}"))?;
        staged.commit(meta, faults)
    }
}

/// The record `of`, when it is what its chain stands at.
fn takeable<'r>(records: &'r [Record], of: &str) -> Result<&'r Record, Error> {
    let refuse = |why| Error::from(Refusal::Record { change: of.to_owned(), why });
    let target = records.iter().find(|r| r.id == of).ok_or_else(|| refuse("no such change on this host"))?;
    if target.kind == RecordKind::Adopt && target.direction == Direction::Forward {
        return Err(refuse("what was there before it is not at hand, so there is no way back"));
    }
    match target.phase {
        Phase::Done | Phase::Closed => {}
        Phase::RolledBack => return Err(refuse("it was rolled back, so there is nothing to take back")),
        _ => return Err(Refusal::Open { change: of.to_owned() }.into()),
    }
    match Guard::current(records, &target.owner) {
        Some((current, _)) if current == of => Ok(target),
        _ => Err(refuse("it was taken back already")),
    }
}

/// What the record that is taken back left.
struct Before {
    slots: SlotDirs,
    images: Images,
    /// The slot directories and the times of its facts; which inodes there were says nothing about now.
    at: Vec<u16>,
    times: Vec<Time>,
}

impl Before {
    fn load(host: &HostState, target: &Record, tree: &Tree, entries: usize) -> Result<Self, Error> {
        let owner = host.record_dir(&target.owner)?;
        let dir = host.record_dir(&target.id)?;
        let damaged = |what: &str| Error::Damaged { change: target.id.clone(), what: what.to_owned() };
        let read = |name: &str| {
            record::read_file(dir.as_fd(), name.as_bytes()).context(|| format!("read {name} of {}", target.id))
        };
        let images = Images::decode(&read("images")?).ok_or_else(|| damaged("its list of images"))?;
        let facts = Facts::decode(&read("facts")?).ok_or_else(|| damaged("its facts"))?;
        if images.slots.len() != entries || facts.slots.len() != entries {
            return Err(damaged("it has another number of entries than its changeset"));
        }
        let slots = SlotDirs::open(tree.fd(), owner.as_fd(), &target.owner, &target.tops)?;
        Ok(Self { slots, images, at: facts.slots, times: facts.times })
    }

    /// The objects in the slots, and conflicts for those that were written to since.
    fn images(&self, changeset: &Changeset, plan: &[Step], toward: Side) -> Result<(Stamps, Vec<Conflict>), Error> {
        let (mut stamps, mut out) = (Stamps::none(plan.len()), Vec::new());
        for (index, (entry, step)) in changeset.entries().iter().zip(plan).enumerate() {
            let (Step::Swap(swap), Some(node)) = (step, toward.of(entry)) else { continue };
            if swap.anchor(toward).is_some() {
                continue;
            }
            let dir = self.slots.get(self.at[index]);
            let found = slots::status(dir, index)?.map(|s| Stamp::from(&s));
            stamps.set(index, found);
            if found.is_some() && found.as_ref() == self.images.slots.get(index) {
                continue;
            }
            let found = look_into(dir, index)?.into_node();
            // Locks are taken off what goes into a slot; the changeset remembers them.
            let mut wanted = node.clone();
            wanted.flags &= !LOCKS;
            wanted.link = None;
            if found.as_deref() != Some(&wanted) {
                out.push(Conflict::new(&entry.path, Some(&wanted), found, Reason::Image));
            }
        }
        Ok((stamps, out))
    }

    /// What is written down before the exchanges begin.
    fn facts(
        &mut self,
        tree: &mut Tree,
        changeset: &Changeset,
        plan: &[Step],
        toward: Side,
        (live, mut incoming): (Stamps, Stamps),
    ) -> Result<Facts, Error> {
        for (index, step) in plan.iter().enumerate() {
            let Step::Swap(swap) = step else { continue };
            if let Some(anchor) = swap.anchor(toward) {
                incoming.set(index, tree.status(anchor)?.as_ref().map(Stamp::from));
            }
        }
        let (before, after) = if toward == Side::After { (live, incoming) } else { (incoming, live) };
        let mut facts = Facts { slots: std::mem::take(&mut self.at), before, after, ..Facts::default() };
        let touched: Vec<TreePath> = self.times.iter().map(|t| t.path.clone()).collect();
        let now = finish::times_now(tree, touched.iter())?;
        for ((path, found), (was, left)) in now.into_iter().zip(self.times.iter().zip(&self.images.times)) {
            let untouched = found == left.1;
            let planned = changeset.dir_times().iter().find(|t| t.path == path).and_then(|time| {
                let (from, to) =
                    if toward == Side::After { (time.before, time.after) } else { (time.after, time.before) };
                (found == Some(from)).then_some(to)
            });
            let wanted = if untouched { was.found } else { planned };
            facts.times.push(Time { path, found, wanted });
        }
        facts.locked = locked(tree, changeset, plan, &touched)?;
        Ok(facts)
    }
}

fn look_into(dir: std::os::fd::BorrowedFd<'_>, index: usize) -> Result<Seen, Error> {
    use std::os::fd::AsRawFd as _;
    let mut tree = Tree::open(&PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())))?;
    Ok(tree.node(&TreePath::from(slots::name(index).as_str()))?)
}

/// Says for each conflict which later change has touched the path.
fn name_the_later(
    host: &HostState,
    mut conflicts: Vec<Conflict>,
    records: &[Record],
    target: &Record,
) -> Result<Vec<Conflict>, Error> {
    let in_place = |r: &&Record| r.seq > target.seq && matches!(r.phase, Phase::Done | Phase::Closed);
    for later in records.iter().filter(in_place) {
        let changeset = host.changeset(later)?;
        for conflict in conflicts.iter_mut().filter(|c| changeset.get(&c.path).is_some()) {
            conflict.touched_by = Some(later.id.clone());
        }
    }
    Ok(conflicts)
}
