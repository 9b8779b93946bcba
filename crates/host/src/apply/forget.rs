//! Removes what nothing needs any more: staging that was given up, slots of what was rolled back, records whose undo nobody
//! may want again.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use super::error::{Context as _, Error, Refusal};
use super::filesystems::{SlotDirs, remove_foreign};
use super::host::{Guard, HostState};
use super::metadata::LOCKS;
use super::record::{Direction, Phase, Record, RecordKind};
use crate::scan::is_absence;
use crate::sys::fs::{self, types};

/// What must not be lost by forgetting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What an undo of something that is in place needs.
    Undo,
    /// Nothing: the way back is given up.
    Nothing,
}

impl Guard<'_> {
    /// How many bytes the images of a change take on the disk.
    ///
    /// # Errors
    /// [`Refusal::Record`] when it is unknown; [`Error::Io`].
    pub fn images_size(&self, id: &str) -> Result<u64, Error> {
        let record = self.host.record(id)?;
        let dir = self.host.record_dir(&record.owner)?;
        let fail = || format!("measure the images of {id}");
        if matches!(fs::status(dir.as_fd(), b"slots"), Err(error) if is_absence(&error)) {
            return Ok(0);
        }
        let slots = SlotDirs::open(self.host.tree()?.fd(), dir.as_fd(), &record.owner, &record.tops)?;
        let sizes = (0..slots.count()).map(|index| size_of(slots.get(index)));
        sizes.sum::<io::Result<u64>>().context(fail)
    }

    /// Forgets a change with all that took it back or redid it, and removes their images.
    ///
    /// # Errors
    /// [`Refusal::Record`] when it is unknown, open, or in place and `keep` says that its undo is to be kept.
    pub fn forget(&self, id: &str, keep: Keep) -> Result<(), Error> {
        let records = self.host.changes()?;
        let refuse = |why| Error::from(Refusal::Record { change: id.to_owned(), why });
        let owner = &self.host.record(id)?.owner;
        let chain: Vec<&Record> = records.iter().filter(|r| r.owner == *owner).collect();
        if chain.iter().any(|r| r.phase.is_open()) {
            return Err(refuse("it has not been finished"));
        }
        // An adoption with a way back stands at *back*, one without has nothing that could be lost.
        let done = chain.iter().find(|r| r.id == *owner).map(|r| (r.kind, r.direction));
        let in_place =
            Self::current(&records, owner).is_some_and(|(_, direction)| Some(direction) == done.map(|d| d.1));
        let no_way_back = done == Some((RecordKind::Adopt, Direction::Forward));
        if in_place && !no_way_back && keep == Keep::Undo {
            return Err(refuse("it is in place, and an undo needs what would be removed"));
        }
        // The owner goes last: until then the others can be read.
        chain.iter().rev().try_for_each(|record| remove_record(self.host, record))
    }
}

/// The bytes that all files below a directory take, of each name of a hard link its share.
fn size_of(dir: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes = 0;
    for name in fs::names(dir, b"")? {
        let status = fs::status(dir, &name)?;
        bytes += status.blocks * 512 / u64::from(status.nlink.max(1));
        if status.file_type() == types::DIR {
            bytes += size_of(fs::open_dir(dir, &name)?.as_fd())?;
        }
    }
    Ok(bytes)
}

/// Removes a record and, of an owner, its slots. First of all the journal is made to say that nothing is decided, so that an
/// interruption is taken for an abandoned staging, whatever it said before.
pub(super) fn remove_record(host: &HostState, record: &Record) -> Result<(), Error> {
    let fail = || format!("remove the record of {}", record.id);
    let dir = host.record_dir(&record.id)?;
    Record { phase: Phase::Staging, ..record.clone() }.write(dir.as_fd()).context(fail)?;
    if record.owner == record.id {
        remove_slots(host.tree()?.fd(), dir.as_fd(), record)?;
    }
    remove_tree(host.changes_dir(), record.id.as_bytes()).context(fail)
}

/// Removes the slots of an owner on all file systems.
pub(super) fn remove_slots(root: BorrowedFd<'_>, dir: BorrowedFd<'_>, record: &Record) -> Result<(), Error> {
    record.tops.iter().try_for_each(|top| remove_foreign(root, &record.id, top))?;
    remove_tree(dir, b"slots").context(|| format!("remove the slots of {}", record.id))
}

/// Removes `name` in `dir` with all that is in it. Directories inside are first moved up to `dir`, so that no depth is too
/// deep for it. That nothing is there is fine; what an interrupted removal had moved up goes too.
pub(super) fn remove_tree(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let mut pending = vec![name.to_vec()];
    let mut moved = 0u64;
    let prefix = [name_prefix(&pending), b".gone-"].concat();
    for left in fs::names(dir, b"")?.into_iter().filter(|left| left.starts_with(&prefix)) {
        let number = std::str::from_utf8(&left[prefix.len()..]).ok().and_then(|number| number.parse().ok());
        moved = moved.max(number.unwrap_or(0));
        pending.push(left.into());
    }
    while let Some(name) = pending.last().cloned() {
        let status = match fs::status(dir, &name) {
            Err(error) if is_absence(&error) => {
                pending.pop();
                continue;
            }
            other => other?,
        };
        let is_dir = status.file_type() == types::DIR;
        if status.flags & LOCKS != 0 {
            fs::set_flags(dir, &name, LOCKS, 0)?;
        }
        if is_dir && empty(dir, &name, &mut moved, &mut pending)? {
            continue;
        }
        fs::remove(dir, &name, is_dir)?;
        pending.pop();
    }
    Ok(())
}

/// Empties the directory `name`; whether directories were moved up and have to go first.
fn empty(dir: BorrowedFd<'_>, name: &[u8], moved: &mut u64, pending: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    let inner = fs::open_dir(dir, name)?;
    let before = pending.len();
    for child in fs::names(inner.as_fd(), b"")? {
        let status = fs::status(inner.as_fd(), &child)?;
        if status.flags & LOCKS != 0 {
            fs::set_flags(inner.as_fd(), &child, LOCKS, 0)?;
        }
        if status.file_type() == types::DIR {
            *moved += 1;
            // Names of ours never look like this, and those of slots are numbers.
            let up = [name_prefix(pending), format!(".gone-{moved}").as_bytes()].concat();
            fs::move_to_free((inner.as_fd(), &child), (dir, &up))?;
            pending.push(up);
        } else {
            fs::remove(inner.as_fd(), &child, false)?;
        }
    }
    Ok(pending.len() > before)
}

/// What the tree that is being removed is called: two removals in one directory do not meet.
fn name_prefix(pending: &[Vec<u8>]) -> &[u8] {
    pending.first().map_or(b"", |name| &name[..name.len().min(200)])
}
