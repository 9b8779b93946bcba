//! A hotfix: a person works at a shell in a copy, sees what came of it, and decides.
//!
//! ```text
//! copy 1: boot ─► shell ─► capture ─┬─► the person looks at it
//!            ▲     (recorder)       └─► copy 2: tests, apply, tests, undo, compare ─► verdict, record, ledger
//!            └──── back to the shell ◄── the person decides ──► leave
//! ```
//! Copy 1 goes on running while its work is proven, so that a person who comes back finds it as it was left, with its
//! services and its `/tmp`. So it is captured alive: what its services write at that moment is seen as a kill would have left
//! it. Each visit to the shell ends in a rehearsal of its own that holds the whole session so far.
//!
//! When the person goes away (the connection drops, a signal asks this program to end) the session is captured and proven all
//! the same, and is on record to be applied. What is decided, and applying it, is the caller's business.

mod recorder;
mod shell;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Instant;

use greenroom_core::change::ApplyOptions;
use greenroom_core::plan;
use greenroom_core::rehearsal::{Rehearsal, StepRun, Verdict};
use greenroom_host::capture::{CaptureError, Captured};
use greenroom_host::copy::{self, Output, Seat};
use greenroom_host::services::Units;
use greenroom_host::services::jobs::{self, Recorder as Jobs, Seen};

use self::recorder::Recorder;
use super::effects::{self, Watch};
use super::network::Outside;
use super::noise::{Awaited, Noise};
use super::run::{Run, keeps_new_data, note_stand_ins};
use super::stagehand::Stagehand;
use super::{Request, blank, common, hand, judge, millis, proof, save};
use crate::site::Site;
use crate::{Asked, EngineError, Progress, State};

/// What the person wants after having seen what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Back to the shell, in the same copy.
    Shell,
    /// No more shell.
    Leave,
}

/// Shows what was captured; runs beside the proof.
pub type Show<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Who sits at the terminal.
pub trait Person {
    /// The terminal, open for reading and writing.
    fn terminal(&self) -> BorrowedFd<'_>;
    /// What can be read as soon as the session must end.
    fn stop(&self) -> Vec<BorrowedFd<'_>>;
    /// The copy is ready, and the shell begins; `again`: not for the first time.
    fn enters(&self, hostname: &str, again: bool);
    /// Something was captured: prepares showing it.
    fn captured<'a>(&'a self, state: &State, record: &Rehearsal) -> Show<'a>;
    /// It is proven, or not, and on record.
    fn choose(&self, state: &State, record: &Rehearsal) -> Choice;
}

/// How a session ended.
pub struct Left {
    /// The last rehearsal of the session.
    pub record: Rehearsal,
    /// The person went away; nobody has decided anything.
    pub lost: bool,
    /// The copy is being removed.
    pub gone: JoinHandle<()>,
}

/// Holds a session. `request` must ask for a shell; `options` is what apply does besides.
///
/// # Errors
/// The copy cannot be made, run or compared. What was done in it is kept then, and a note says where.
pub fn hotfix(
    state: &State,
    request: &Request,
    options: &ApplyOptions,
    asked: &Asked,
    person: &dyn Person,
    progress: &dyn Progress,
) -> Result<Left, EngineError> {
    copy::sweep(&state.dir().join("copies")).map_err(EngineError::system("remove what killed rehearsals left"))?;
    let site = Site::look(&request.root, state.dir())?;
    let common = common(&site, request)?;
    std::thread::scope(|scope| {
        let (dir, shared) = (state.dir(), &common);
        let noise = Awaited::new(scope.spawn(move || Noise::of(dir, shared, &crate::Silent)));
        let run = Run { state, request, common: &common, noise: &noise, progress };
        let outside = Outside::open(&common.site.root, request.net, &request.allow)?;
        let session = Session::open(&run, options, asked, &outside)?;
        session.hold(&run, person)
    })
}

/// A copy with a person in it.
struct Session<'a, 'n> {
    options: &'a ApplyOptions,
    asked: &'a Asked,
    outside: &'n Outside,
    first: Stagehand<'n>,
    word: String,
    recorder: Recorder,
    watch: Watch,
    /// The units before anything was done, and who listens to what happens to them.
    units: Units,
    jobs: Option<Jobs>,
    /// What was heard before the copy was booted again.
    heard: Seen,
    /// The name of the rehearsal in which the next visit to the shell ends.
    id: String,
    copy_ms: u64,
    notes: Vec<String>,
}

impl<'a, 'n> Session<'a, 'n> {
    fn open(
        run: &Run<'_, '_>,
        options: &'a ApplyOptions,
        asked: &'a Asked,
        outside: &'n Outside,
    ) -> Result<Self, EngineError> {
        let began = Instant::now();
        let boot = run.common.boot;
        run.progress.begin(if boot { "booting a copy of this host" } else { "making a copy of this host" });
        let id = run.state.next_id("r")?;
        let mut first = hand(run.state, run.common, &format!("{id}-1"), outside)?;
        first.boot(run.common, run.progress)?;
        let mut notes = outside.problems.clone();
        notes.extend(first.copy.notes.iter().cloned());
        let watch = Watch::start(&first, outside).ready();
        let units = first.manager().units()?;
        let jobs = listen(&first, &mut notes);
        let word = unguessable()?;
        let asked_now = asked.clone();
        let recorder = Recorder::new(&word, move || asked_now.stamp());
        let copy_ms = millis(began);
        let heard = Seen::default();
        Ok(Self { options, asked, outside, first, word, recorder, watch, units, jobs, heard, id, copy_ms, notes })
    }

    /// To the shell and back until the person has decided.
    fn hold(mut self, run: &Run<'_, '_>, person: &dyn Person) -> Result<Left, EngineError> {
        let mut again = false;
        loop {
            let (record, lost) = match self.visit(run, person, again) {
                Ok(visit) => visit,
                Err(error) => {
                    let kept = self.keep()?;
                    run.progress.note(&format!("what was done in the copy is kept in {}", kept.display()));
                    return Err(error);
                }
            };
            if lost || person.choose(run.state, &record) == Choice::Leave {
                // What serves the copy goes after it.
                let gone = self.first.leave(run.state.blobs.leftovers());
                return Ok(Left { record, lost, gone });
            }
            self.id = run.state.next_id("r")?;
            again = true;
        }
    }

    /// From the shell's beginning to the record of what was done until its end; and whether the person is gone.
    fn visit(&mut self, run: &Run<'_, '_>, person: &dyn Person, again: bool) -> Result<(Rehearsal, bool), EngineError> {
        if run.common.boot && self.first.booted().is_none() {
            run.progress.begin("booting the copy again");
            self.first.boot(run.common, run.progress)?;
            self.jobs = listen(&self.first, &mut self.notes);
        }
        let (step, lost) = self.shell(run, person, again)?;
        if self.first.was_turned_off() {
            let note = "the copy was turned off or booted again: what happened to services before is not known";
            if !self.notes.iter().any(|known| known == note) {
                self.notes.push(note.to_owned());
            }
            self.jobs = None;
        }
        let record = self.take(run, step)?;
        Ok((self.show_and_prove(run, person, lost, record)?, lost))
    }

    /// One visit to the shell. Returns how it went, and whether the person is gone.
    fn shell(&mut self, run: &Run<'_, '_>, person: &dyn Person, again: bool) -> Result<(StepRun, bool), EngineError> {
        self.recorder.again();
        person.enters(&run.common.site.hostname, again);
        let recorder = &mut self.recorder;
        let mut tap = |bytes: &[u8], out: &mut Vec<u8>| recorder.pass(bytes, out);
        let mut seat = Seat { terminal: person.terminal(), stop: person.stop(), tap: &mut tap, lost: false };
        let ended = self.first.run(&shell::command(&self.word), Output::Seat(&mut |process| seat.run(process)))?;
        let lost = seat.lost;
        let duration_ms = u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX);
        // A shell ends with the status of its last command: leaving it is not failing.
        let step = StepRun { step: 1, kind: "shell".to_owned(), what: "hotfix".to_owned(), exit_code: 0, duration_ms };
        Ok((step, lost))
    }

    /// Captures what was done since the beginning.
    fn take(&mut self, run: &Run<'_, '_>, step: StepRun) -> Result<Rehearsal, EngineError> {
        let began = Instant::now();
        run.progress.begin("comparing it with the host");
        let mut record = blank(&self.id, run.request, self.asked, run.common.site, run.common.boot);
        record.wishes = self.options.clone();
        record.notes.clone_from(&self.notes);
        record.timings.copy_ms = self.copy_ms;
        record.timings.run_ms = step.duration_ms;
        record.steps = vec![step];
        record.typed = self.recorder.typed().to_vec();
        if self.recorder.is_full() {
            record.notes.push("more was typed than is on record".to_owned());
        }
        if self.first.booted().is_some() {
            let seen = self.heard.clone().then(self.jobs.as_ref().map(Jobs::so_far).unwrap_or_default());
            let found = jobs::actions(&seen, &self.units, &self.first.manager().units()?);
            record.actions = plan::actions(&found, &[], &record.wishes);
            note_stand_ins(run.common, &mut record);
        }
        // A copy that was booted and is not any more says nothing about services and ports.
        let comparable = self.first.booted().is_some() || !run.common.boot;
        let watched = comparable.then(|| self.watch.so_far(&self.first, self.outside));
        if keeps_new_data(&self.first, run.common) {
            self.stop(true);
        }
        let captured = self.capture(run)?;
        record.timings.capture_ms = millis(began);
        let whole = run.record(captured, Vec::new(), &mut record)?;
        let runtime = watched.and_then(|watched| watched.difference(&mut record));
        effects::describe(run.common.site, &self.first, runtime, &whole, &mut record)?;
        (record.reached, record.refused) = self.outside.so_far();
        judge(&mut record);
        Ok(record)
    }

    /// The copy runs. A service that never stops writing to a file keeps it from being read: then the copy has to end first.
    fn capture(&mut self, run: &Run<'_, '_>) -> Result<Captured, EngineError> {
        match run.capture(&self.first, false) {
            Err(EngineError::Capture(CaptureError::Read(_))) if self.first.booted().is_some() => {
                self.stop(false);
                run.capture(&self.first, false)
            }
            other => other,
        }
    }

    /// Ends what runs in the copy; it is booted again when the person comes back.
    fn stop(&mut self, orderly: bool) {
        if let Some(jobs) = self.jobs.take() {
            self.heard = std::mem::take(&mut self.heard).then(jobs.finish());
        }
        self.first.stop(orderly);
    }

    /// The person looks at what was captured while it is proven.
    fn show_and_prove(
        &self,
        run: &Run<'_, '_>,
        person: &dyn Person,
        lost: bool,
        mut record: Rehearsal,
    ) -> Result<Rehearsal, EngineError> {
        let began = Instant::now();
        let show = (!lost).then(|| person.captured(run.state, &record));
        let later = Later::default();
        let proven = std::thread::scope(|scope| {
            if let Some(show) = show {
                scope.spawn(show);
            }
            self.prove(run, &later, &mut record)
        });
        later.tell(run.progress);
        proven?;
        record.timings.total_ms = record.timings.copy_ms + record.timings.run_ms + record.timings.capture_ms;
        record.timings.total_ms += millis(began);
        save(run.state, &record, self.asked)?;
        Ok(record)
    }

    fn prove(&self, run: &Run<'_, '_>, later: &Later, record: &mut Rehearsal) -> Result<(), EngineError> {
        if record.verdict != Verdict::Ready {
            return Ok(());
        }
        if record.entries == 0 {
            record.undo_proven = true;
            return Ok(());
        }
        let began = Instant::now();
        proof::prove(run.state, run.request, run.common, run.noise.get()?, record, later)?;
        record.timings.proof_ms = millis(began);
        Ok(())
    }

    /// Leaves what was written in the copy where it is.
    fn keep(mut self) -> Result<PathBuf, EngineError> {
        let kept = self.first.copy.keep().to_owned();
        let marker = kept.join("kept");
        std::fs::write(&marker, &self.id).map_err(EngineError::file("write", marker))?;
        Ok(kept)
    }
}

/// Listens to what happens to services, where that can be heard.
fn listen(first: &Stagehand<'_>, notes: &mut Vec<String>) -> Option<Jobs> {
    match Jobs::start(&first.booted()?.bus()) {
        Ok(jobs) => Some(jobs),
        Err(error) => {
            notes.push(format!("what happens to services was not recorded: {error}"));
            None
        }
    }
}

/// What is worth saying when the person has looked up again.
#[derive(Default)]
struct Later(Mutex<Vec<String>>);

impl Later {
    fn tell(self, progress: &dyn Progress) {
        for text in self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            progress.note(&text);
        }
    }
}

impl Progress for Later {
    fn begin(&self, _what: &str) {}
    fn output(&self, _bytes: &[u8]) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(text.to_owned());
    }
}

/// A word that nothing in the copy can know beforehand.
fn unguessable() -> Result<String, EngineError> {
    let path = "/proc/sys/kernel/random/uuid";
    let text = std::fs::read_to_string(path).map_err(EngineError::file("read", path))?;
    Ok(text.trim().to_owned())
}
