//! Drives one change through a host, in either direction: services stop, parts go in place in their order, services come
//! back, health. When anything fails, all is taken back by the same means.

use std::time::Duration;

use greenroom_core::Changeset;
use greenroom_core::change::ApplyOptions;
use greenroom_core::plan::{Part, UnitAction};
use greenroom_host::apply::{Error as HostError, Guard};
use greenroom_host::services::Pen;

use super::record::{ChangeRecord, Kind, PartRecord, Records, Standing, Step};
use super::services::{Changed, Services, inverse};
use super::{Place, Tools};
use crate::EngineError;

/// How a change ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It is in place.
    Done,
    /// It failed; the host is as before. Why, in words.
    TakenBack(String),
}

/// One change on its way.
pub(crate) struct Drive<'a> {
    pub(crate) place: &'a Place<'a>,
    pub(crate) tools: &'a Tools<'a>,
    pub(crate) guard: &'a Guard<'a>,
    pub(crate) records: &'a Records,
    /// The changesets of the parts of files, by part, in the direction of the rehearsal. They can be large: they are here
    /// once, and who needs the other direction looks at the other side.
    pub(crate) changesets: &'a [Option<Changeset>],
    /// Whether the staged slots of another change are used (undo) or contents from the store.
    pub(crate) of: Option<&'a ChangeRecord>,
}

/// Why it stopped.
enum Stop {
    /// Nothing was touched.
    Refused(EngineError),
    /// Something was; why, in words.
    Failed(String),
    /// The file engine itself can go neither way: the change stays open.
    Stuck(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Refused(error)
    }
}

impl Drive<'_> {
    /// Goes through with `record`. Its standing is written before anything is touched and when it is over.
    ///
    /// # Errors
    /// A refusal: nothing was touched. Or a state that needs a person, which the error describes.
    pub(crate) fn run(&self, record: &mut ChangeRecord) -> Result<Ended, EngineError> {
        let mut services = Services::look(self.place)?;
        if record.kind == Kind::Apply {
            // What is as wanted already is none of this change's doing, and its undo leaves it so.
            record.jobs.retain(|action| !services.is_so(action));
        }
        self.records.begin(record)?;
        let (jobs, options) = (directed(record), record.options.clone());
        let outcome = self.forward(record, &mut services, &jobs, &options);
        record.services.clone_from(&services.done);
        match outcome {
            Ok(()) => {
                record.standing = Standing::Done;
                Ok(Ended::Done)
            }
            Err(Stop::Refused(error)) => {
                record.standing = Standing::TakenBack;
                record.notes.push(error.to_string());
                self.records.end(record)?;
                Err(error)
            }
            Err(Stop::Stuck(error)) => {
                record.notes.push(error.to_string());
                self.records.write(record)?;
                Err(error)
            }
            Err(Stop::Failed(why)) => {
                record.notes.push(why.clone());
                self.take_back(record)?;
                Ok(Ended::TakenBack(why))
            }
        }
    }

    fn forward(
        &self,
        record: &mut ChangeRecord,
        services: &mut Services<'_>,
        jobs: &[UnitAction],
        options: &ApplyOptions,
    ) -> Result<(), Stop> {
        let order = order(record);
        let mut touched = false;
        for at in order {
            match &record.parts[at].part {
                Part::Files { .. } => self.files(record, at, &mut touched, services, jobs, options)?,
                Part::Live { .. } => {
                    self.first(touched, services, jobs, options)?;
                    touched = true;
                    self.live(record, at)?;
                }
            }
        }
        self.first(touched, services, jobs, options)?;
        services.after(jobs, options, &self.changed(record.forward)).map_err(Stop::Failed)?;
        let commands: Vec<String> = options.health.iter().chain(self.tools.health).cloned().collect();
        services.healthy(if record.forward { &commands } else { &[] }).map_err(Stop::Failed)
    }

    /// What comes right before the first touch: the word to go on, and the services that stop for it.
    fn first(
        &self,
        touched: bool,
        services: &mut Services<'_>,
        jobs: &[UnitAction],
        options: &ApplyOptions,
    ) -> Result<(), Stop> {
        if touched {
            return Ok(());
        }
        self.tools.gate.pass()?;
        services.before(jobs, options).map_err(Stop::Failed)
    }

    /// What is different once the files are in place, or are back.
    fn changed(&self, forward: bool) -> Vec<Changed<'_>> {
        self.changesets.iter().flatten().map(|changeset| Changed { changeset, forward }).collect()
    }

    /// Puts one part of files in place. The first thing that is touched on the host is touched here.
    fn files(
        &self,
        record: &mut ChangeRecord,
        at: usize,
        touched: &mut bool,
        services: &mut Services<'_>,
        jobs: &[UnitAction],
        options: &ApplyOptions,
    ) -> Result<(), Stop> {
        let id = &record.parts[at].host_id.clone();
        let meta = serde_json::json!({ "change": record.change });
        let stop = |touched: bool, error: HostError| {
            let stuck = matches!(error, HostError::Stuck { .. });
            let error = super::host_error(error);
            if stuck {
                return Stop::Stuck(error);
            }
            if touched { Stop::Failed(error.to_string()) } else { Stop::Refused(error) }
        };
        let Some(changeset) = &self.changesets[at] else { return Ok(()) };
        if let Some(of) = self.of {
            self.first(*touched, services, jobs, options)?;
            // An undo that was taken back brought the part back under a name of its own.
            let target = self.guard.host().in_place_by(&of.parts[at].host_id).map_err(|e| stop(*touched, e))?;
            let begun = *touched || !services.done.is_empty();
            let moved =
                self.guard.undo_known(&target, id, changeset, meta, self.tools.faults).map_err(|e| stop(begun, e))?;
            moved.moved_aside.iter().for_each(|path| {
                self.tools.progress.note(&format!("{path} was not part of the change and went aside with it"))
            });
            record.aside.extend(moved.moved_aside);
        } else {
            let staged = self
                .guard
                .stage(id, changeset, self.tools.contents, self.tools.faults)
                .map_err(|e| stop(*touched, e))?;
            self.first(*touched, services, jobs, options)?;
            let begun = *touched || !services.done.is_empty();
            staged.commit(meta, self.tools.faults).map_err(|e| stop(begun, e))?;
        }
        *touched = true;
        self.guard.close(id).map_err(|e| stop(true, e))
    }

    /// Runs a live step, or its undo where the change goes back.
    fn live(&self, record: &mut ChangeRecord, at: usize) -> Result<(), Stop> {
        let Part::Live { step, run, undo, timeout_s, .. } = record.parts[at].part.clone() else { return Ok(()) };
        if record.parts[at].step == Step::Elsewhere {
            return Ok(());
        }
        let command = if record.forward { Some(run) } else { undo };
        let Some(command) = command else {
            return Err(Stop::Failed(format!("live step {step} has no undo command")));
        };
        record.parts[at].step = Step::Begun;
        let ran = self.step(record, at, "run", &command, timeout_s).map_err(|e| Stop::Failed(chain(&e)))?;
        let (code, text) = ran;
        if code != 0 {
            let end = text.lines().last().unwrap_or_default();
            return Err(Stop::Failed(format!("live step {step} (`{command}`) ended with exit status {code}: {end}")));
        }
        record.parts[at].step = Step::Done;
        self.records.write(record).map_err(|e| Stop::Failed(e.to_string()))?;
        self.tools.hit("live.done").map_err(|e| Stop::Failed(e.to_string()))
    }

    /// Runs the command of a live step in a control group of its own, which is on record before it begins.
    fn step(
        &self,
        record: &mut ChangeRecord,
        at: usize,
        which: &str,
        command: &str,
        timeout_s: Option<u64>,
    ) -> Result<(i32, String), EngineError> {
        let name = |tree: &String| format!("{tree}-{}-{}-{which}", record.change, at + 1);
        let pen = self.place.pens.as_ref().and_then(|tree| Pen::plan(&name(tree)));
        if self.place.pens.is_some() && pen.is_none() {
            record
                .notes
                .push("there is no control group for live steps: what they start is not ended with them".to_owned());
        }
        record.parts[at].pen = pen.as_ref().map(Pen::name);
        self.records.write(record)?;
        self.tools.hit("live.begun")?;
        let (code, text) = (self.place.shell)(command, timeout_s.map(Duration::from_secs), pen.as_ref())?;
        if code == 0 {
            pen.iter().for_each(Pen::leave);
            record.parts[at].pen = None;
        }
        Ok((code, text))
    }

    /// Ends what a live step that failed or was interrupted has left running: it must not write while it is taken back.
    fn end_steps(&self, record: &mut ChangeRecord) -> Result<(), EngineError> {
        for part in &mut record.parts {
            if let Some(pen) = part.pen.as_deref().and_then(Pen::named) {
                pen.end()
                    .map_err(EngineError::system(format!("end what a live step left running ({})", pen.name())))?;
            }
            part.pen = None;
        }
        Ok(())
    }

    /// Finishes a change whose every part had happened when it was interrupted.
    ///
    /// # Errors
    /// The files could not be finished, and the change stays open.
    pub(crate) fn finish(&self, record: &mut ChangeRecord) -> Result<(), EngineError> {
        use greenroom_host::apply::{Direction, Phase};
        for part in record.parts.iter().filter(|p| matches!(p.part, Part::Files { .. })) {
            let known = self.guard.host().changes().map_err(super::host_error)?;
            let Some(journal) = known.iter().find(|r| r.id == part.host_id && r.phase != Phase::Closed) else {
                continue;
            };
            // The engine's own direction for this record: towards what it was to bring about.
            self.guard.recover(journal, Direction::Forward, self.tools.faults).map_err(super::host_error)?;
            self.guard.close(&part.host_id).map_err(super::host_error)?;
        }
        let mut services = Services::look(self.place)?;
        let done = services.after(&directed(record), &record.options.clone(), &self.changed(record.forward));
        record.services.extend(services.done);
        record.notes.push("it was interrupted and finished afterwards".to_owned());
        record.notes.extend(done.err());
        record.standing = Standing::Done;
        Ok(())
    }

    /// Takes back what `record` has done so far, in reverse order: for a failure, and after a crash.
    ///
    /// # Errors
    /// Something could not be taken back. The change stays open, and the error says what a person can do.
    pub(crate) fn take_back(&self, record: &mut ChangeRecord) -> Result<(), EngineError> {
        // From here on a crash must not be taken for one on the way forward.
        record.standing = Standing::TakingBack;
        self.records.write(record)?;
        self.end_steps(record)?;
        let mut services = Services::look(self.place)?;
        let back = inverse(&directed(record));
        let options = record.options.clone();
        let mut trouble: Vec<String> = Vec::new();
        trouble.extend(services.before(&back, &options).err());
        let mut order = order(record);
        order.reverse();
        for at in order {
            let part = record.parts[at].clone();
            let done = match part.part {
                Part::Files { .. } => self.files_back(record, &part),
                Part::Live { .. } => self.live_back(record, at),
            };
            trouble.extend(done.err());
        }
        trouble.extend(services.after(&back, &options, &self.changed(!record.forward)).err());
        record.services.extend(services.done);
        if trouble.is_empty() {
            record.standing = Standing::TakenBack;
            return Ok(());
        }
        record.notes.extend(trouble.iter().cloned());
        self.records.write(record)?;
        Err(EngineError::Apply {
            what: format!("{} failed and could not be taken back entirely: {}", record.change, trouble.join("; ")),
            source: format!("when that is mended, `greenroom recover` goes on; the record is {}", record.change).into(),
        })
    }

    fn files_back(&self, record: &ChangeRecord, part: &PartRecord) -> Result<(), String> {
        use greenroom_host::apply::{Direction, Phase};
        let records = self.guard.host().changes().map_err(|e| e.to_string())?;
        let Some(known) = records.iter().find(|r| r.id == part.host_id) else { return Ok(()) };
        match known.phase {
            Phase::RolledBack => Ok(()),
            Phase::Staging | Phase::Committed | Phase::Backing | Phase::Done => {
                self.guard.recover(known, Direction::Back, self.tools.faults).map(|_| ()).map_err(|e| chain(&e))
            }
            Phase::Closed => {
                if self.back_already(part)? {
                    return Ok(());
                }
                let known = self.guard.host().changes().map_err(|e| e.to_string())?;
                let names = (1..).map(|n| if n == 1 { back_name(part) } else { format!("{}{n}", back_name(part)) });
                let Some(back) = names.into_iter().find(|name| known.iter().all(|r| r.id != *name)) else {
                    return Ok(());
                };
                let meta = serde_json::json!({ "change": record.change, "takes_back": part.host_id });
                self.guard.undo(&part.host_id, &back, meta, self.tools.faults).map_err(|e| chain(&e))?;
                self.guard.close(&back).map_err(|e| chain(&e))
            }
        }
    }

    /// Whether a part was taken back by an earlier try. One that was interrupted is finished where it was decided, and
    /// removed where it was not.
    fn back_already(&self, part: &PartRecord) -> Result<bool, String> {
        use greenroom_host::apply::{Direction, Phase};
        let known = self.guard.host().changes().map_err(|e| e.to_string())?;
        let tries = known.iter().filter(|r| r.id.starts_with(&back_name(part)));
        for earlier in tries {
            match earlier.phase {
                Phase::Closed => return Ok(true),
                Phase::Committed | Phase::Done => {
                    self.guard.recover(earlier, Direction::Forward, self.tools.faults).map_err(|e| chain(&e))?;
                    self.guard.close(&earlier.id).map_err(|e| chain(&e))?;
                    return Ok(true);
                }
                Phase::Staging | Phase::Backing => {
                    self.guard.recover(earlier, Direction::Back, self.tools.faults).map_err(|e| chain(&e))?;
                }
                Phase::RolledBack => {}
            }
        }
        Ok(false)
    }

    fn live_back(&self, record: &mut ChangeRecord, at: usize) -> Result<(), String> {
        let PartRecord { part: Part::Live { step, run, undo, timeout_s, .. }, step: how, .. } =
            record.parts[at].clone()
        else {
            return Ok(());
        };
        if matches!(how, Step::Waiting | Step::TakenBack | Step::Elsewhere) {
            return Ok(());
        }
        let command = if record.forward { undo } else { Some(run) };
        let Some(command) = command else {
            return Err(format!("live step {step} was begun and has no undo command"));
        };
        let (code, text) = self.step(record, at, "back", &command, timeout_s).map_err(|e| chain(&e))?;
        if code != 0 {
            return Err(format!(
                "the undo of live step {step} (`{command}`) ended with exit status {code}: {}",
                text.trim()
            ));
        }
        record.parts[at].step = Step::TakenBack;
        self.records.write(record).map_err(|e| chain(&e))
    }
}

/// What the record is called by which a part is taken back.
fn back_name(part: &PartRecord) -> String {
    format!("{}-back", part.host_id)
}

/// The order in which the parts of this change happen.
fn order(record: &ChangeRecord) -> Vec<usize> {
    let forward = 0..record.parts.len();
    if record.forward { forward.collect() } else { forward.rev().collect() }
}

/// The measured actions in the direction of this change.
fn directed(record: &ChangeRecord) -> Vec<UnitAction> {
    if record.forward { record.jobs.clone() } else { inverse(&record.jobs) }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    crate::sources(error).fold(error.to_string(), |out, inner| format!("{out}: {inner}"))
}
