//! Finishes or takes back what a crash interrupted.

use std::borrow::Cow;
use std::os::fd::AsFd as _;

use super::error::{Context as _, Error};
use super::exec::{self, Applied, Work};
use super::facts::Facts;
use super::fault::Faults;
use super::filesystems::SlotDirs;
use super::forget;
use super::host::Guard;
use super::plan::{order, plan};
use super::record::{self, Direction, Phase, Record};

/// In which state the host is now, of the two it can be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// As before the change. It had not begun, or it was taken back.
    Before,
    /// As after the change; the record waits to be closed.
    After(Applied),
}

impl Guard<'_> {
    /// Brings an open record to an end. What was not decided yet is removed; what was decided is finished, or taken back when
    /// `direction` says so; what was being taken back is taken back. May be interrupted and called again.
    ///
    /// # Errors
    /// [`Error::Stuck`] when neither way works, [`Error::RolledBack`] when only the way back did, [`Error::Damaged`].
    pub fn recover(&self, journal: &Record, direction: Direction, faults: &dyn Faults) -> Result<Recovered, Error> {
        // What the caller holds may be older than what is on the disk.
        let record = self.host.record(&journal.id)?;
        match (record.phase, direction) {
            (Phase::Staging, _) => {
                forget::remove_record(self.host, &record)?;
                Ok(Recovered::Before)
            }
            (Phase::RolledBack, _) => Ok(Recovered::Before),
            (Phase::Committed, Direction::Forward) => {
                exec::complete(&mut self.load(record)?, true, faults).map(Recovered::After)
            }
            (Phase::Done, Direction::Forward) | (Phase::Closed, _) => Ok(Recovered::After(Applied {
                change: record.id,
                entries: record.entries as usize,
                moved_aside: vec![],
            })),
            (Phase::Committed | Phase::Done, Direction::Back) | (Phase::Backing, _) => {
                let id = record.id.clone();
                exec::take_back(&mut self.load(record)?, faults).map_err(|source| Error::Stuck {
                    change: id,
                    way_out: "mend what the cause names, then recover".to_owned(),
                    source: Box::new(source),
                })?;
                Ok(Recovered::Before)
            }
        }
    }

    fn load(&self, record: Record) -> Result<Work<'_>, Error> {
        let changeset = self.host.changeset(&record)?;
        let dir = self.host.record_dir(&record.id)?;
        let owner = self.host.record_dir(&record.owner)?;
        let tree = self.host.tree()?;
        let bytes = record::read_file(dir.as_fd(), b"facts").context(|| format!("read the facts of {}", record.id))?;
        let facts = Facts::decode(&bytes).filter(|f| f.slots.len() == changeset.entries().len());
        let facts = facts.ok_or_else(|| Error::Damaged { change: record.id.clone(), what: "its facts".to_owned() })?;
        let slots = SlotDirs::open(tree.fd(), owner.as_fd(), &record.owner, &record.tops)?;
        Ok(Work {
            plan: plan(&changeset),
            order: order(&changeset),
            tree,
            changeset: Cow::Owned(changeset),
            slots,
            facts,
            record,
            dir,
        })
    }
}
