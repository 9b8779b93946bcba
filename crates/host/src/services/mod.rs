//! Services of a host or of a booted copy: what runs, what a change did to it, and doing it again.
//!
//! [`Manager`] is one door to three situations: the machine's own systemd, the systemd of a booted copy, and none at all
//! (a tree that does not run). Apply on production and its rehearsal in a copy go through the same calls. [`jobs`] measures
//! what a change did to units. Not here: deciding what to restart (that is [`greenroom_core::plan`]).

pub mod jobs;
mod pen;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use greenroom_core::plan::{UnitAction, UnitVerb};

pub use pen::Pen;

use crate::copy::{Booted, CopyError, Output, with_tail};

/// Who manages the services of a tree.
#[derive(Clone, Copy)]
pub enum Manager<'a> {
    /// This machine's systemd.
    Live,
    /// The systemd of a booted copy.
    Copy(&'a Booted),
    /// Nobody: the tree does not run.
    None,
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit status; 124 when it was killed for its time limit.
    pub code: i32,
    /// The last part of its output and errors.
    pub text: String,
}

/// How long a single call of systemctl may take.
const PATIENCE: Duration = Duration::from_secs(120);

impl Manager<'_> {
    /// The manager of the tree at `root` of this machine.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        if root == Path::new("/") && runs_systemd() { Self::Live } else { Self::None }
    }

    /// Runs systemctl.
    ///
    /// # Errors
    /// It cannot be started. That it fails is an [`Answer`].
    pub fn systemctl(&self, args: &[&str], limit: Duration) -> Result<Answer, CopyError> {
        let mut argv = vec![OsString::from("systemctl")];
        argv.extend(args.iter().map(OsString::from));
        self.execute(argv, limit)
    }

    fn execute(&self, argv: Vec<OsString>, limit: Duration) -> Result<Answer, CopyError> {
        let mut args = match self {
            Self::Live => Vec::new(),
            Self::Copy(booted) => booted.enter(),
            Self::None => return Ok(Answer { code: 0, text: String::new() }),
        };
        args.extend(argv);
        let mut text = Vec::new();
        let mut sink = |bytes: &[u8]| text.extend_from_slice(bytes);
        let ended =
            crate::copy::execute(crate::copy::process(&args), Output::To(&mut sink), Some(limit), "start systemctl")?;
        Ok(Answer { code: ended.code, text: String::from_utf8_lossy(&text).into_owned() })
    }

    /// Lets systemd read its unit files again.
    ///
    /// # Errors
    /// systemctl cannot be started.
    pub fn reload_units(&self) -> Result<Answer, CopyError> {
        self.systemctl(&["daemon-reload"], PATIENCE)
    }

    /// Does one thing to one unit.
    ///
    /// # Errors
    /// systemctl cannot be started. That the unit fails is an [`Answer`].
    pub fn act(&self, action: &UnitAction) -> Result<Answer, CopyError> {
        let verb = match action.verb {
            UnitVerb::Restart => "try-restart",
            UnitVerb::Reload => "try-reload-or-restart",
            other => other.word(),
        };
        self.systemctl(&[verb, "--", &action.unit], PATIENCE)
    }

    /// The state of all loaded units.
    ///
    /// # Errors
    /// systemctl cannot be started.
    pub fn units(&self) -> Result<Units, CopyError> {
        if matches!(self, Self::None) {
            return Ok(Units::new());
        }
        let properties = "--property=Id,ActiveState,InvocationID,Type,TriggeredBy,ExecMainStartTimestampMonotonic,UnitFileState,\
             ConditionResult,ConditionTimestampMonotonic";
        let answer = self.systemctl(&["show", "*", "--all", properties], PATIENCE)?;
        Ok(parse_units(&answer.text))
    }
}

/// What systemd says of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// Changes each time that the unit is started.
    pub invocation: String,
    /// `oneshot`, `simple`, …; empty for what is no service.
    pub kind: String,
    /// Units that start it on their own.
    pub triggered_by: String,
    /// When its main process was started; microseconds.
    pub main_started: String,
    /// `enabled`, `disabled`, `static`, …
    pub file_state: String,
    /// `yes` or `no`: whether its conditions held when they were last looked at, which every start does first.
    pub condition: String,
    /// When that was; microseconds.
    pub condition_at: String,
}

impl Unit {
    /// Whether it runs or is about to.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading" | "refreshing")
    }
}

/// Units by name.
pub type Units = BTreeMap<String, Unit>;

/// Reads the blocks that `systemctl show` prints.
fn parse_units(text: &str) -> Units {
    let mut out = Units::new();
    for block in text.split("\n\n") {
        let (mut id, mut unit) = (None, Unit::default());
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            let field = match key {
                "Id" => {
                    id = Some(value.to_owned());
                    continue;
                }
                "ActiveState" => &mut unit.active,
                "InvocationID" => &mut unit.invocation,
                "Type" => &mut unit.kind,
                "TriggeredBy" => &mut unit.triggered_by,
                "ExecMainStartTimestampMonotonic" => &mut unit.main_started,
                "UnitFileState" => &mut unit.file_state,
                "ConditionResult" => &mut unit.condition,
                "ConditionTimestampMonotonic" => &mut unit.condition_at,
                _ => continue,
            };
            value.clone_into(field);
        }
        if let Some(id) = id {
            out.insert(id, unit);
        }
    }
    out
}

/// Whether systemd runs this machine (sd_booted(3)).
#[must_use]
pub fn runs_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Runs a shell command on this machine; in a tree at `root` that is not the machine's own, inside it: chroot(2) only, with
/// the machine's own network. `pen`: where all that it starts can be found.
///
/// # Errors
/// It cannot be started.
pub fn shell(root: &Path, text: &str, limit: Option<Duration>, pen: Option<&Pen>) -> Result<Answer, CopyError> {
    let mut args: Vec<OsString> = Vec::new();
    if root != Path::new("/") {
        args.extend([OsString::from("chroot"), root.into()]);
    }
    args.extend(["/bin/sh", "-c", text].map(OsString::from));
    let args = pen.map_or_else(|| args.clone(), |pen| pen.words(args.clone()));
    let mut process = crate::copy::process(&args);
    if let Some(pen) = pen {
        pen.contain(&mut process).map_err(CopyError::system("make the control group of a live step"))?;
    }
    let process = with_us(process);
    let (ended, text) = with_tail(|output| crate::copy::execute(process, output, limit, "start a shell"))?;
    Ok(Answer { code: ended.code, text })
}

/// Lets a shell end when the thread that started it does: a live step must not go on after Greenroom was killed, while its
/// undo already runs. What the shell itself has started at that moment is ended with its [`Pen`].
fn with_us(mut command: std::process::Command) -> std::process::Command {
    use std::os::unix::process::CommandExt as _;
    let bind = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?);
    // SAFETY: between fork and exec only prctl(2) is called.
    unsafe { command.pre_exec(bind) };
    command
}
