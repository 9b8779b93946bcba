//! An order to rehearse, as the engine takes it, and what comes of it, to be compared with other hosts.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_core::ContentHash;
use greenroom_core::change::{Action, ChangeFile, Test};
use greenroom_core::plan::Part;
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::wire::{self, Rehearse};
use greenroom_net::egress::AllowEntry;
use greenroom_store::blobs::BlobStore as _;

use super::contents::{Exchange, Servers, of_blobs};
use crate::rehearsal::{Boot, Request, What};
use crate::{EngineError, State};

/// Share of the host's cores and memory that a copy may take where nothing is said, in percent.
const SHARE: u32 = 50;

pub(super) fn request(
    order: &Rehearse,
    root: &Path,
    env: &[(String, String)],
    files: &Path,
) -> Result<Request, EngineError> {
    let mut allow = Vec::new();
    for text in &order.allow {
        let parsed = AllowEntry::parse_allowed(text);
        allow.extend(parsed.map_err(|error| EngineError::usage(format!("{text}: {error}"), "HOST:PORT"))?);
    }
    let mut tests = crate::standing::read(root)?.tests;
    tests.extend(order.declared.iter().flat_map(|declared| &declared.tests).map(|test| Test {
        name: Some(test.name.clone()),
        run: test.run.clone(),
        timeout: Some(Duration::from_millis(test.timeout_ms)),
    }));
    tests.extend(order.tests.iter().map(|run| Test { name: None, run: run.clone(), timeout: None }));
    Ok(Request {
        root: root.to_owned(),
        what: what(order, files)?,
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
        env: env.to_vec(),
    })
}

fn what(order: &Rehearse, files: &Path) -> Result<What, EngineError> {
    let Some(text) = &order.file else {
        if order.argv.is_empty() {
            return Err(EngineError::usage("there is nothing to rehearse", "a command, or a change file"));
        }
        return Ok(What::Command { argv: order.argv.iter().map(Into::into).collect(), dir: None });
    };
    let mut file = ChangeFile::parse(text, "the change file").map_err(|problems| {
        let shown: Vec<String> = problems.iter().map(|p| p.render().trim_end().to_owned()).collect();
        EngineError::usage(shown.join("\n"), "mend the change file")
    })?;
    // What the person has under a name of theirs is here by its number.
    let mut number = 0;
    for step in &mut file.steps {
        let label = step.label();
        if let Action::Copy(copy) = &mut step.action {
            if order.files.get(number).is_none_or(|sent| sent.name != copy.from) {
                return Err(EngineError::usage(format!("{} was not sent along", copy.from), "rehearse again"));
            }
            copy.from = number.to_string();
            step.name = Some(label);
            number += 1;
        }
    }
    Ok(What::File { file: Box::new(file), dir: files.to_owned() })
}

/// The files of `copy` steps, below the state directory as long as the rehearsal lasts.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn fetch(
        order: &Rehearse,
        state: &State,
        servers: &Servers,
        command: &str,
    ) -> Result<Self, EngineError> {
        let dir = state.dir().join("agent/files").join(command);
        if order.files.is_empty() {
            return Ok(Self(dir));
        }
        // What a killed agent left.
        let _ = fs::remove_dir_all(&dir);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(EngineError::file("make", &dir))?;
        let here = Self(dir);
        let wanted = order.files.iter().map(|sent| (sent.content, 0)).collect();
        Exchange::new(servers, command)?.fetch(state, &wanted)?;
        for (number, sent) in order.files.iter().enumerate() {
            let path = here.0.join(number.to_string());
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let mut file = made.map_err(EngineError::file("make", &path))?;
            state.blobs.copy_out(sent.content, &mut file).map_err(of_blobs(state))?;
            let mode = fs::Permissions::from_mode(sent.mode & 0o7777);
            file.set_permissions(mode).map_err(EngineError::file("set the mode of", &path))?;
        }
        Ok(here)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What stays takes room and does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
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
