//! The commands, one file each, and what they share: opening the state, who asks, finishing what a crash left.

mod adopt;
mod apply;
mod check;
mod diff;
mod doctor;
mod drift;
mod gc;
mod hotfix;
mod init;
mod install;
mod log;
mod manifest;
mod rehearse;
mod revert;
mod show;
mod status;
mod undo;
mod watch;

use clap::CommandFactory as _;
use greenroom_core::change::Test;
use greenroom_engine::{Asked, EngineError, Outcome, Progress as _, State};
use greenroom_host::apply::NoFaults;

use crate::args::{Cli, Command, Global};
use crate::error::{Failure, status as exit_status};
use crate::ui::Ui;

/// Runs a command; the exit status where it ended by itself.
pub(crate) fn run(cli: &Cli, ui: &Ui) -> Result<u8, Failure> {
    match &cli.command {
        Command::Rehearse(args) => rehearse::run(&cli.global, args, ui),
        Command::Hotfix(args) => hotfix::run(&cli.global, args, ui),
        Command::Show(args) => show::run(&cli.global, args, ui),
        Command::Apply(args) => apply::run(&cli.global, args, ui),
        Command::Undo(args) => undo::run(&cli.global, args, ui),
        Command::Log(args) => log::run(&cli.global, args, ui),
        Command::Status(args) => status::run(&cli.global, args, ui),
        Command::Drift(args) => drift::run(&cli.global, args, ui),
        Command::Adopt(args) => adopt::run(&cli.global, args, ui),
        Command::Revert(args) => revert::run(&cli.global, args, ui),
        Command::Diff(args) => diff::run(&cli.global, args, ui),
        Command::Manifest => manifest::run(&cli.global, ui),
        Command::Recover => recover(&cli.global, ui),
        Command::Gc(args) => gc::run(&cli.global, args, ui),
        Command::Watch(args) => watch::run(&cli.global, args, ui),
        Command::Init(args) => init::run(&cli.global, args, ui),
        Command::Check(args) => check::run(args, ui),
        Command::Install(args) => install::run(&cli.global, args, ui),
        Command::Uninstall => install::remove(&cli.global, ui),
        Command::Doctor => doctor::run(&cli.global, ui),
        Command::Completions(args) => {
            let mut text = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "greenroom", &mut text);
            ui.print(&String::from_utf8_lossy(&text))?;
            Ok(exit_status::DONE)
        }
    }
}

/// The clock and the person.
pub(crate) fn asked() -> Asked {
    Asked { actor: crate::env::actor(), now: jiff::Timestamp::now }
}

fn need_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(exit_status::FAULT, "Greenroom needs root").hint("run it with sudo"))
}

fn open_as_root(global: &Global) -> Result<State, Failure> {
    need_root()?;
    Ok(State::open(&global.state)?)
}

/// Opens the state and finishes what a crash interrupted on this host.
pub(crate) fn open(global: &Global, ui: &Ui) -> Result<State, Failure> {
    let state = open_as_root(global)?;
    match greenroom_engine::apply::recover(&state, &global.root, &NoFaults, &asked(), ui) {
        Ok(Some(report)) => ui.say(&format!("{}: {}", report.change, report.outcome)),
        // Nothing to finish; or somebody is at it just now, which a command that wants the host will hear again.
        Ok(None) | Err(EngineError::Refused { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(state)
}

/// The host's standing tests; what lies there and is none is said.
fn standing_tests(global: &Global, leave_out: bool, ui: &Ui) -> Result<Vec<Test>, Failure> {
    // That the root is not there is for the engine to say.
    if leave_out || !global.root.is_dir() {
        return Ok(Vec::new());
    }
    let found = greenroom_engine::standing::read(&global.root)?;
    found.notes.iter().for_each(|note| ui.note(note));
    Ok(found.tests)
}

pub(crate) fn exit(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Done => exit_status::DONE,
        Outcome::Failed => exit_status::FAILED,
    }
}

fn recover(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    let state = open_as_root(global)?;
    let report = greenroom_engine::apply::recover(&state, &global.root, &NoFaults, &asked(), ui)?;
    if ui.json {
        ui.object(&serde_json::json!({ "recovered": report }))?;
    } else if let Some(report) = report {
        ui.print(&format!("{} was interrupted and is {} now\n", report.change, report.outcome))?;
    } else {
        ui.print("nothing was interrupted\n")?;
    }
    Ok(exit_status::DONE)
}

/// `1 path`, `2 paths`
fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
