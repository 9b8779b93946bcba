//! The first copy: the change runs in it, and what it did is captured, in parts around the live steps.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use greenroom_core::change::{Action, CopyFile, Step};
use greenroom_core::plan::Part;
use greenroom_core::rehearsal::{Rehearsal, StepRun, Verdict};
use greenroom_core::{Changeset, plan};
use greenroom_host::capture::{Captured, Log};
use greenroom_host::copy::{Command, Ended, Output, is_stood_in};
use greenroom_host::services::Units;
use greenroom_host::services::jobs::{self, Recorder};

use super::effects::{self, Watch};
use super::keep::IntoBlobs;
use super::network::Outside;
use super::noise::Awaited;
use super::request::{Request, What};
use super::stagehand::{Common, Stagehand};
use super::{hand, millis};
use crate::{EngineError, Progress, State};

/// What every step needs to know.
pub(super) struct Run<'a, 's> {
    pub(super) state: &'a State,
    pub(super) request: &'a Request,
    pub(super) common: &'a Common<'a>,
    pub(super) noise: &'a Awaited<'s>,
    pub(super) progress: &'a dyn Progress,
}

/// A live step: what had changed before it and after it, since the beginning.
pub(super) struct Mark {
    part: Part,
    before: Changeset,
    after: Changeset,
}

/// Runs the change in a copy and writes into `record` what it did. The copy is being removed when this returns.
pub(super) fn first_copy(
    state: &State,
    request: &Request,
    common: &Common<'_>,
    noise: &Awaited<'_>,
    record: &mut Rehearsal,
    progress: &dyn Progress,
) -> Result<JoinHandle<()>, EngineError> {
    let run = Run { state, request, common, noise, progress };
    progress.begin(if common.boot { "booting a copy of this host" } else { "making a copy of this host" });
    let began = Instant::now();
    let outside = Outside::open(&common.site.root, request.net, &request.allow)?;
    record.notes.extend(outside.problems.iter().cloned());
    let mut first = hand(state, common, &format!("{}-1", record.rehearsal), &outside)?;
    first.boot(common, progress)?;
    record.notes.extend(first.copy.notes.iter().cloned());
    record.timings.copy_ms = millis(began);

    let watch = Watch::start(&first, &outside);
    let before = first.manager().units()?;
    let recorder = first.booted().and_then(|booted| match Recorder::start(&booted.bus()) {
        Ok(recorder) => Some(recorder),
        Err(error) => {
            record.notes.push(format!("what happens to services was not recorded: {error}"));
            None
        }
    });
    progress.begin("running the change in it");
    let began = Instant::now();
    let marks = run.steps(&first, record)?;
    record.timings.run_ms = millis(began);
    note_services(recorder, &before, &first, record)?;
    note_stand_ins(common, record);
    let watched = watch.finish(&first, &outside);
    let orderly = keeps_new_data(&first, common);
    first.stop(orderly);

    progress.begin("comparing it with the host");
    let began = Instant::now();
    let captured = run.capture(&first, !request.keep)?;
    record.timings.capture_ms = millis(began);
    let whole = run.record(captured, marks, record)?;
    let runtime = watched.difference(record);
    effects::describe(common.site, &first, runtime, &whole, record)?;
    drop(whole);
    if request.keep {
        let kept = first.copy.keep().to_owned();
        std::fs::write(kept.join("kept"), &record.rehearsal).map_err(EngineError::file("write", kept.join("kept")))?;
        record.notes.push(format!("the copy was kept: what it wrote is in {}", kept.display()));
    }
    let gone = first.leave(state.blobs.leftovers());
    (record.reached, record.refused) = outside.close();
    Ok(gone)
}

/// The measured actions, as they were in the copy.
fn note_services(
    recorder: Option<Recorder>,
    before: &Units,
    first: &Stagehand<'_>,
    record: &mut Rehearsal,
) -> Result<(), EngineError> {
    if let Some(recorder) = recorder {
        let seen = recorder.finish();
        let after = first.manager().units()?;
        let found = jobs::actions(&seen, before, &after);
        record.actions = plan::actions(&found, &[], &record.wishes);
    }
    Ok(())
}

/// Says of which units the action was measured on what stands in for them, and what will happen for real.
pub(super) fn note_stand_ins(common: &Common<'_>, record: &mut Rehearsal) {
    let stood_in = common.site.stood_in();
    let of = record.actions.iter().filter(|action| is_stood_in(&action.unit, &stood_in));
    let list: Vec<String> = of.map(|action| format!("{} {}", action.verb.word(), action.unit)).collect();
    if !list.is_empty() {
        record.notes.push(format!(
            "not run in the copy, which has no copy of their data: apply will really {}; whether that works was not rehearsed",
            list.join(", ")
        ));
    }
}

/// Whether the change made data of a store that the host did not have: its server should end in good order.
pub(super) fn keeps_new_data(first: &Stagehand<'_>, common: &Common<'_>) -> bool {
    let root = first.copy.root();
    let made =
        |path: &str| std::fs::read_dir(root.join(path.trim_start_matches('/'))).is_ok_and(|mut d| d.next().is_some());
    let known = |path: &str| common.site.stores.iter().any(|store| store.path == path);
    first.booted().is_some()
        && greenroom_core::policy::STORES.iter().any(|store| made(store.path) && !known(store.path))
}

impl Run<'_, '_> {
    pub(super) fn capture(&self, first: &Stagehand<'_>, at_rest: bool) -> Result<Captured, EngineError> {
        self.state.keeps()?;
        first.capture(self.common.site, self.noise.get()?, &IntoBlobs::new(&self.state.blobs), at_rest)
    }

    /// Runs what was asked for; stops at the first failure.
    fn steps(&self, first: &Stagehand<'_>, record: &mut Rehearsal) -> Result<Vec<Mark>, EngineError> {
        let mut marks = Vec::new();
        match &self.request.what {
            What::Command { argv, dir } => {
                let dir = self.working_dir(first, dir.as_deref());
                let command = Command { argv: argv.clone(), dir, timeout: self.request.timeout };
                let ended = self.output(first, &command)?;
                note(record, 1, "run", &self.request.title(), ended);
            }
            What::Shell => {
                let argv = vec![
                    OsString::from("/bin/sh"),
                    "-c".into(),
                    "[ -x /bin/bash ] && exec /bin/bash -i; exec /bin/sh -i".into(),
                ];
                let command = Command { argv, dir: None, timeout: None };
                let ended = first.run(&command, Output::Terminal)?;
                // A shell ends with the status of its last command: leaving it is not failing.
                note(record, 1, "shell", "shell", Ended { code: 0, ..ended });
            }
            What::File { file, dir } => {
                for (at, step) in file.steps.iter().enumerate() {
                    let ended = self.step(first, at + 1, step, dir, &mut marks)?;
                    note(record, at + 1, word(&step.action), &step.label(), ended);
                    if ended.code != 0 {
                        break;
                    }
                }
            }
        }
        if let Some(failed) = record.steps.iter().find(|step| step.exit_code != 0) {
            record.verdict = Verdict::ChangeFailed;
            record.exit_code = failed.exit_code;
            record.reasons.push(reason(failed, self.request.timeout));
        }
        Ok(marks)
    }

    /// A relative path means the same as in production, where the copy has the directory too.
    fn working_dir(&self, first: &Stagehand<'_>, dir: Option<&Path>) -> Option<PathBuf> {
        let dir = dir.filter(|_| self.common.site.root == Path::new("/"))?;
        first.copy.root().join(dir.strip_prefix("/").ok()?).is_dir().then(|| dir.to_owned())
    }

    fn output(&self, first: &Stagehand<'_>, command: &Command) -> Result<Ended, EngineError> {
        let mut sink = |bytes: &[u8]| self.progress.output(bytes);
        first.run(command, Output::To(&mut sink))
    }

    fn step(
        &self,
        first: &Stagehand<'_>,
        number: usize,
        step: &Step,
        dir: &Path,
        marks: &mut Vec<Mark>,
    ) -> Result<Ended, EngineError> {
        let timeout = step.timeout.or(self.request.timeout);
        match &step.action {
            Action::Run { command } => self.output(first, &Command::shell(command, timeout)),
            Action::Copy(copy) => self.copy_file(first, copy, dir),
            Action::Live { command, undo, once } => {
                let before = self.capture(first, false)?.changeset;
                let ended = self.output(first, &Command::shell(command, timeout))?;
                let after = self.capture(first, false)?.changeset;
                let timeout_s = timeout.map(|limit| limit.as_secs().max(1));
                let (run, undo, once) = (command.clone(), undo.clone(), *once);
                let part = Part::Live { step: number, run, undo, timeout_s, once };
                marks.push(Mark { part, before, after });
                Ok(ended)
            }
        }
    }

    /// Copies a file of the person's into the copy: handed over in `/run`, which is the copy's own, and put in place by
    /// install(1) inside, so that user names are the copy's.
    fn copy_file(&self, first: &Stagehand<'_>, copy: &CopyFile, dir: &Path) -> Result<Ended, EngineError> {
        let began = Instant::now();
        let from = dir.join(&copy.from);
        let content = std::fs::File::open(&from).map_err(EngineError::file("read", &from))?;
        let put = greenroom_host::copy::put_file(&first.copy.root(), copy, content);
        put.map_err(EngineError::system(format!("copy {} to {} in the copy", from.display(), copy.to)))?;
        let mut code = 0;
        if let Some(owner) = &copy.owner {
            let group = owner.group.as_ref().map_or_else(String::new, |group| format!(":{group}"));
            let mut argv: Vec<OsString> = ["chown", "--"].map(OsString::from).to_vec();
            argv.push(format!("{}{group}", owner.user).into());
            argv.push(std::ffi::OsStr::from_bytes(copy.to.as_bytes()).to_owned());
            code = self.output(first, &Command { argv, dir: None, timeout: Some(Duration::from_secs(60)) })?.code;
        }
        Ok(Ended { code, took: began.elapsed() })
    }

    /// Writes the parts and the counts into the record; gives back the whole effect.
    pub(super) fn record(
        &self,
        captured: Captured,
        marks: Vec<Mark>,
        record: &mut Rehearsal,
    ) -> Result<Changeset, EngineError> {
        record.volatile_paths = captured.volatile.count;
        record.volatile = captured.volatile;
        record.noise = captured.noise;
        record.data = captured.data;
        record.boot = captured.boot;
        record.sockets = captured.sockets;
        record.notes.extend(note_logs(&captured.logs));
        let last = captured.changeset;
        let mut parts = Vec::new();
        let whole = if marks.is_empty() {
            parts.extend(self.files(&last)?);
            last
        } else {
            let (mut whole, mut known) = (Changeset::default(), Changeset::default());
            for mark in marks {
                let files = known.until(&mark.before);
                parts.extend(self.files(&files)?);
                whole = whole.then(&files);
                parts.push(mark.part);
                known = mark.after;
            }
            let files = known.until(&last);
            parts.extend(self.files(&files)?);
            whole.then(&files)
        };
        record.parts = parts;
        record.entries = whole.entries().len();
        record.changeset = Some(self.state.save_changeset(&whole)?);
        Ok(whole)
    }

    fn files(&self, changeset: &Changeset) -> Result<Option<Part>, EngineError> {
        if changeset.is_empty() {
            return Ok(None);
        }
        let id = self.state.save_changeset(changeset)?;
        Ok(Some(Part::Files { changeset: id, entries: changeset.entries().len() }))
    }
}

/// Names log files that apply does not make, and that a service may be unable to make for itself.
fn note_logs(logs: &[Log]) -> Option<String> {
    let show = |log: &Log| format!("{} ({:04o}, {}:{})", log.path, log.mode, log.uid, log.gid);
    let more = if logs.len() > 5 { format!(" and {} more", logs.len() - 5) } else { String::new() };
    let list: Vec<String> = logs.iter().take(5).map(show).collect();
    (!list.is_empty()).then(|| {
        format!(
            "log files are volatile, and apply does not make {}{more}: a service that may not make its own needs a `live` step \
             (install -m … -o … /dev/null FILE)",
            list.join(", ")
        )
    })
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::Run { .. } => "run",
        Action::Copy(_) => "copy",
        Action::Live { .. } => "live",
    }
}

fn note(record: &mut Rehearsal, step: usize, kind: &str, what: &str, ended: Ended) {
    let duration_ms = u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX);
    record.steps.push(StepRun {
        step,
        kind: kind.to_owned(),
        what: what.to_owned(),
        exit_code: ended.code,
        duration_ms,
    });
}

fn reason(failed: &StepRun, timeout: Option<Duration>) -> String {
    match (failed.exit_code, timeout) {
        (124, Some(limit)) => format!("step {} ({}) was killed after {} s", failed.step, failed.what, limit.as_secs()),
        (code, _) => format!("step {} ({}) ended with exit status {code}", failed.step, failed.what),
    }
}
