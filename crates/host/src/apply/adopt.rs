//! Takes what was found on the host as wanted. The tree is not touched; what is made is the way back.
//!
//! **With a way back** the record is that of a change that was undone: its changeset leads from what is there to what was on
//! record, its slots hold the old objects, its direction is *back*. Undoing the adoption goes forward through it, by the
//! same exchanges as any change. **Without** one (some old content is nowhere to be had) only the changeset is on record.

use std::os::fd::AsFd as _;

use greenroom_core::Changeset;

use super::content::Contents;
use super::error::{Context as _, Error};
use super::fault::Faults;
use super::finish;
use super::host::Guard;
use super::plan::Side;
use super::record::{self, Direction, Phase, Record, RecordKind};
use crate::sys::fs;

impl Guard<'_> {
    /// Records that what was found on the host is what is wanted. It cannot be taken back.
    ///
    /// # Errors
    /// [`super::Refusal::Record`] when the name is taken, [`Error::Io`].
    pub fn adopt(&self, id: &str, changeset: &Changeset, meta: serde_json::Value) -> Result<(), Error> {
        let record = self.new_record(id, RecordKind::Adopt, changeset)?;
        let fail = || format!("write the record of {id}");
        let dir = self.create_record(&record, Some(changeset))?;
        let record = Record { phase: Phase::Closed, meta, ..record };
        record.prepare(dir.as_fd()).and_then(|()| fs::sync_file_system(dir.as_fd())).context(fail)?;
        Record::decide(dir.as_fd()).context(fail)
    }

    /// The same with the old objects, made from `contents`, so that it can be taken back. `back` leads from what is on the
    /// host to what was on record.
    ///
    /// # Errors
    /// As [`Guard::stage`]: a content that is missing, no room, a path that changed meanwhile. Nothing is left behind.
    pub fn adopt_with_way_back(
        &self,
        id: &str,
        back: &Changeset,
        contents: &dyn Contents,
        meta: serde_json::Value,
        faults: &dyn Faults,
    ) -> Result<(), Error> {
        let mut staged = self.stage(id, back, contents, faults)?;
        let Some(work) = staged.work.as_mut() else { return Ok(()) };
        let fail = || format!("write the record of {id}");
        finish::write_images(work, Side::Before, true)?;
        // As if it had been put in place and undone: what an undo finds again is what the way back wants.
        work.facts
            .times
            .iter_mut()
            .filter(|t| t.wanted.is_some())
            .for_each(|t| std::mem::swap(&mut t.found, &mut t.wanted));
        record::write_file_by(work.dir.as_fd(), b"facts", |file| work.facts.encode(file)).context(fail)?;
        work.record.kind = RecordKind::Adopt;
        work.record.direction = Direction::Back;
        work.record.phase = Phase::Closed;
        work.record.meta = meta;
        faults.hit("commit.before").context(fail)?;
        work.record.prepare(work.dir.as_fd()).context(fail)?;
        work.slots.sync()?;
        faults.hit("commit.synced").context(fail)?;
        Record::decide(work.dir.as_fd()).context(fail)?;
        staged.work = None;
        Ok(())
    }
}
