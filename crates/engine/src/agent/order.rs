//! An order to rehearse, as the engine takes it, and what comes of it, to be compared with other hosts.

use std::time::Duration;

use greenroom_core::ContentHash;
use greenroom_core::change::{ChangeFile, Test};
use greenroom_core::plan::Part;
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::wire::{self, Rehearse};
use greenroom_net::egress::AllowEntry;

use super::Options;
use crate::rehearsal::{Boot, Request, What};
use crate::{EngineError, State};

/// Share of the host's cores and memory that a copy may take where nothing is said, in percent.
const SHARE: u32 = 50;

pub(super) fn request(order: &Rehearse, options: &Options) -> Result<Request, EngineError> {
    let mut allow = Vec::new();
    for text in &order.allow {
        let parsed = AllowEntry::parse_allowed(text);
        allow.extend(parsed.map_err(|error| EngineError::usage(format!("{text}: {error}"), "HOST:PORT"))?);
    }
    let mut tests = crate::standing::read(&options.root)?.tests;
    tests.extend(order.declared.iter().flat_map(|declared| &declared.tests).map(|test| Test {
        name: Some(test.name.clone()),
        run: test.run.clone(),
        timeout: Some(Duration::from_millis(test.timeout_ms)),
    }));
    tests.extend(order.tests.iter().map(|run| Test { name: None, run: run.clone(), timeout: None }));
    Ok(Request {
        root: options.root.clone(),
        what: what(order)?,
        boot: match order.boot {
            wire::Boot::Auto => Boot::Auto,
            wire::Boot::Yes => Boot::Yes,
            wire::Boot::No => Boot::No,
        },
        net: order.net,
        allow,
        tests,
        timeout: order.timeout_s.map(Duration::from_secs),
        name: order.name.clone(),
        why: order.why.clone(),
        keep: false,
        share: if order.share == 0 { SHARE } else { order.share.clamp(5, 100) },
        env: options.env.clone(),
    })
}

fn what(order: &Rehearse) -> Result<What, EngineError> {
    let Some(text) = &order.file else {
        if order.argv.is_empty() {
            return Err(EngineError::usage("there is nothing to rehearse", "a command, or a change file"));
        }
        return Ok(What::Command { argv: order.argv.iter().map(Into::into).collect(), dir: None });
    };
    let file = ChangeFile::parse(text, "the change file").map_err(|problems| {
        let shown: Vec<String> = problems.iter().map(|p| p.render().trim_end().to_owned()).collect();
        EngineError::usage(shown.join("\n"), "mend the change file")
    })?;
    Ok(What::File { file: Box::new(file), dir: "/".into() })
}

/// What a rehearsal would do, as one text that is the same where it does the same.
pub(super) fn effect(state: &State, record: &Rehearsal) -> Result<String, EngineError> {
    let mut out = format!("{:?}", record.verdict);
    for part in &record.parts {
        match part {
            Part::Files { changeset, .. } => out += &state.changeset(changeset)?.timeless_id().to_string(),
            Part::Live { run, .. } => out += run,
        }
    }
    out += &serde_json::to_string(&record.actions).unwrap_or_default();
    Ok(ContentHash::of(out.as_bytes()).to_string())
}
