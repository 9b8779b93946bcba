//! The second copy: what was captured is put in place there by production's own code, judged by the tests, taken back, and
//! the copy compared with what it was.

use std::time::Duration;

use greenroom_core::change::Test;
use greenroom_core::plan::Part;
use greenroom_core::rehearsal::{Rehearsal, TestRun, Verdict};
use greenroom_core::{Changeset, TreePath};
use greenroom_host::apply::{HostState, NoFaults};
use greenroom_host::services::Pen;

use super::keep::Nowhere;
use super::network::Outside;
use super::noise::Noise;
use super::request::Request;
use super::stagehand::{Common, Stagehand};
use super::{hand, millis};
use crate::apply::{self, ChangeRecord, Drive, Ended, FromBlobs, Open, Place, Records, Tools, chain, host_error};
use crate::site::Site;
use crate::{EngineError, Progress, State};

/// Names of the change and of its undo inside the copy.
const NAMES: [&str; 2] = ["proof", "proof-undo"];

/// Proves the rehearsal in `record`, or lowers its verdict.
pub(super) fn prove(
    state: &State,
    request: &Request,
    common: &Common<'_>,
    noise: &Noise,
    record: &mut Rehearsal,
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    if let Some(step) = record.parts.iter().find_map(dead_end) {
        record.verdict = Verdict::CannotBeUndone;
        record.reasons.push(format!("live step {step} has no undo command: what it does cannot be taken back"));
    }
    let outside = Outside::open(&common.site.root, request.net, &request.allow)?;
    let mut second = hand(state, common, &format!("{}-2", record.rehearsal), &outside)?;
    second.boot(common, progress)?;
    let tests = request.all_tests();
    record.tests = tests.iter().map(|test| first_run(&second, test)).collect::<Result<_, _>>()?;
    let applied = put_and_take_back(state, common.site, &second, &tests, record, progress)?;
    second.stop(false);
    if applied {
        compare(state, common, noise, &second, record)?;
    }
    Ok(())
}

fn dead_end(part: &Part) -> Option<usize> {
    match part {
        Part::Live { step, undo: None, .. } => Some(*step),
        _ => None,
    }
}

/// A test on the untouched copy.
fn first_run(second: &Stagehand<'_>, test: &Test) -> Result<TestRun, EngineError> {
    let (ended, _) = second.test(test)?;
    Ok(TestRun {
        name: test.label(),
        run: test.run.clone(),
        before: ended.code == 0,
        after: None,
        output: String::new(),
        duration_ms: 0,
    })
}

/// Applies, tests, undoes. Returns whether there is something to compare.
fn put_and_take_back(
    state: &State,
    site: &Site,
    second: &Stagehand<'_>,
    tests: &[Test],
    record: &mut Rehearsal,
    progress: &dyn Progress,
) -> Result<bool, EngineError> {
    let root = second.copy.root();
    let host = HostState::open(&root).map_err(host_error)?;
    let guard = host.lock("rehearsal").map_err(host_error)?;
    let records = Records::open(&root)?;
    let shell = |text: &str, limit: Option<Duration>, _: Option<&Pen>| {
        second.shell(text, limit).map(|(ended, text)| (ended.code, text))
    };
    let place = Place { manager: second.manager(), shell: &shell, pens: None, units: &site.units };
    let contents = FromBlobs(&state.blobs);
    let tools = Tools { contents: &contents, faults: &NoFaults, progress, gate: &Open, health: &[] };
    let changesets = apply::load(state, &record.parts)?;
    let drive =
        Drive { place: &place, tools: &tools, guard: &guard, records: &records, changesets: &changesets, of: None };
    let mut change = apply::proof_record(record, NAMES[0]);
    let outcome = drive.run(&mut change);
    drop(changesets);
    match outcome {
        Ok(Ended::Done) => records.end(&change)?,
        Ok(Ended::TakenBack(why)) => {
            refuse(
                record,
                Verdict::ChangeFailed,
                format!("what was captured does not work when it is put in place: {why}"),
            );
            return Ok(false);
        }
        Err(error) => {
            refuse(
                record,
                Verdict::ChangeFailed,
                format!("what was captured cannot be put in place: {}{}", chain(&error), long_path(&error)),
            );
            return Ok(false);
        }
    }
    judge_tests(second, tests, record)?;
    if record.parts.iter().any(|part| dead_end(part).is_some()) {
        return Ok(false);
    }
    take_back(&Back { host: &host, place: &place, tools: &tools, guard: &guard, records: &records }, &change, record)
}

/// What the way back needs.
struct Back<'a> {
    host: &'a HostState,
    place: &'a Place<'a>,
    tools: &'a Tools<'a>,
    guard: &'a greenroom_host::apply::Guard<'a>,
    records: &'a Records,
}

fn take_back(back: &Back<'_>, change: &ChangeRecord, record: &mut Rehearsal) -> Result<bool, EngineError> {
    greenroom_host::sys::memory::give_back();
    let changesets = apply::recorded(back.host, change)?;
    let Back { place, tools, guard, records, .. } = *back;
    let drive = Drive { place, tools, guard, records, changesets: &changesets, of: Some(change) };
    let mut undo = apply::inverse_record(change, NAMES[1]);
    match drive.run(&mut undo) {
        Ok(Ended::Done) => {
            records.end(&undo)?;
            Ok(true)
        }
        Ok(Ended::TakenBack(why)) => {
            refuse(record, Verdict::CannotBeUndone, format!("taking it back failed: {why}"));
            Ok(false)
        }
        Err(error) => {
            let mut restless = if let EngineError::Conflicts(found) = &error { restless(found) } else { String::new() };
            restless.push_str(long_path(&error));
            refuse(record, Verdict::CannotBeUndone, format!("taking it back failed: {}{restless}", chain(&error)));
            Ok(false)
        }
    }
}

/// Nobody but what the change started works in the second copy: what differs there was written by its services.
fn restless(found: &apply::Conflicts) -> String {
    let names: Vec<String> = found.paths.iter().take(5).map(|conflict| conflict.path.to_string()).collect();
    format!(
        ". Services of the change wrote to {}: when nobody minds what is in there, add such paths to {}",
        names.join(", "),
        crate::site::VOLATILE_LIST
    )
}

/// What a copy cannot show although the host could do it: overlayfs remembers where a directory came from, up to 256 bytes
/// (`redirect_max` of the kernel's module, for the whole machine).
fn long_path(error: &EngineError) -> &'static str {
    let crosses = |inner: &(dyn std::error::Error + 'static)| {
        inner.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::CrossesDevices)
    };
    if crate::sources(error).any(crosses) {
        return ". A copy cannot move a directory whose path is longer than 256 bytes; the host can. Make that a `live` step";
    }
    ""
}

fn refuse(record: &mut Rehearsal, verdict: Verdict, why: String) {
    record.verdict = verdict;
    record.reasons.push(why);
}

/// Runs the tests on the changed copy.
fn judge_tests(second: &Stagehand<'_>, tests: &[Test], record: &mut Rehearsal) -> Result<(), EngineError> {
    for (at, test) in tests.iter().enumerate() {
        let began = std::time::Instant::now();
        let (ended, output) = second.test(test)?;
        let run = &mut record.tests[at];
        run.after = Some(ended.code == 0);
        run.duration_ms = millis(began);
        if ended.code != 0 {
            run.output = output;
            let already = if run.before { "" } else { "; it fails on an untouched copy of this host too" };
            let why = format!("the test `{}` ended with exit status {}{already}", run.name, ended.code);
            if record.verdict == Verdict::Ready {
                record.verdict = Verdict::TestsFailed;
            }
            record.reasons.push(why);
        }
    }
    Ok(())
}

/// Compares the copy, after the way back, with the host.
fn compare(
    state: &State,
    common: &Common<'_>,
    noise: &Noise,
    second: &Stagehand<'_>,
    record: &mut Rehearsal,
) -> Result<(), EngineError> {
    let left = second.capture(common.site, noise, &Nowhere, true)?.changeset;
    let whole = match &record.changeset {
        Some(id) if !left.is_empty() => state.changeset(id)?,
        _ => Changeset::default(),
    };
    let (unrestored, others): (Vec<TreePath>, Vec<TreePath>) =
        left.entries().iter().map(|entry| entry.path.clone()).partition(|path| whole.get(path).is_some());
    record.undo_proven = unrestored.is_empty();
    record.left_behind = others;
    if !unrestored.is_empty() {
        let examples: Vec<String> = unrestored.iter().take(5).map(ToString::to_string).collect();
        let why = format!(
            "{} paths are not what they were after undoing it in the copy: {}",
            unrestored.len(),
            examples.join(", ")
        );
        refuse(record, Verdict::CannotBeUndone, why);
    }
    Ok(())
}
