//! The commands, one file each, and what they share: opening the state, who asks, finishing what a crash left.

mod adopt;
mod apply;
mod check;
mod diff;
mod doctor;
mod drift;
mod fleet;
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

use crate::args::{Agent, AgentWhat, Cli, Command, Global};
use crate::error::{Failure, status as exit_status};
use crate::ui::Ui;

/// Runs a command; the exit status where it ended by itself.
pub(crate) fn run(cli: &Cli, ui: &Ui) -> Result<u8, Failure> {
    if let Some(code) = elsewhere(cli, ui)? {
        return Ok(code);
    }
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
        Command::Serve(args) => fleet::serve::run(&cli.global, args, ui),
        Command::Join(args) => fleet::join::run(&cli.global, args, ui),
        Command::Enrol => fleet::enrol::run(&cli.global, ui),
        Command::Agent(args) => match &args.what {
            None => fleet::agent::run(&cli.global, ui),
            Some(AgentWhat::Look) => fleet::agent::look(&cli.global, ui),
            Some(AgentWhat::Back) => fleet::agent::back(&cli.global, ui),
            Some(AgentWhat::Upgrade(args)) => fleet::upgrade::run(&cli.global, args, ui),
        },
        Command::Follow(args) => fleet::follow::run(&cli.global, &args.id, cli.global.progress, ui),
        Command::Continue(args) => fleet::follow::word(&cli.global, &args.id, "continue", cli.global.progress, ui),
        Command::Abort(args) => fleet::follow::word(&cli.global, &args.id, "abort", cli.global.progress, ui),
        Command::Approve(args) => fleet::follow::approve(&cli.global, args, ui),
        Command::System(args) => fleet::system::run(&cli.global, args, ui),
        Command::Image(args) => fleet::image::run(&cli.global, args, &[], ui),
        Command::Rebuild(args) => fleet::image::rebuild(&cli.global, args, ui),
        Command::Token(args) => fleet::token::run(&cli.global, args, ui),
        Command::Login(args) => fleet::token::login(args, ui),
        Command::Completions(args) => {
            let mut text = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "greenroom", &mut text);
            ui.print(&String::from_utf8_lossy(&text))?;
            Ok(exit_status::DONE)
        }
    }
}

/// A command that is about other hosts than this one: with `--on`; and apply, undo, status, show and log where a control plane
/// is known.
fn elsewhere(cli: &Cli, ui: &Ui) -> Result<Option<u8>, Failure> {
    let (global, on) = (&cli.global, &cli.global.on);
    if !on.is_empty() {
        return match &cli.command {
            Command::Image(args) => fleet::image::run(global, args, on, ui).map(Some),
            Command::Rehearse(args) => fleet::on::rehearse(global, args, on, global.progress, ui).map(Some),
            Command::Agent(Agent { what: Some(AgentWhat::Upgrade(args)) }) => {
                fleet::upgrade::run(global, args, ui).map(Some)
            }
            // Of one host it is shown as it is there.
            Command::Status(args) if is_many(on) => fleet::fresh::run(global, args, on, ui).map(Some),
            _ => match on.as_slice() {
                [host] => fleet::on::run(global, host, ui).map(Some),
                _ => Err(Failure::usage("this is for one host").hint("--on HOST")),
            },
        };
    }
    if global.local || global.root != std::path::Path::new("/") {
        return Ok(None);
    }
    let known = || Ok::<_, Failure>(crate::remote::Access::find(global)?.is_some());
    Ok(match &cli.command {
        Command::Status(args) if !args.full && !args.scrub && known()? => Some(fleet::hosts::run(global, ui)?),
        Command::Log(args) if known()? => Some(log::of_the_fleet(global, args, ui)?),
        Command::Show(args) if args.diff.is_none() && known()? => fleet::follow::show_one(global, &args.id, ui)?,
        Command::Apply(args) if known()? => Some(fleet::follow::apply(global, &change(args), global.progress, ui)?),
        Command::Undo(args) if known()? => {
            Some(fleet::follow::undo(global, &args.change, args.why.clone(), global.progress, ui)?)
        }
        _ => None,
    })
}

fn is_many(on: &[String]) -> bool {
    on.len() > 1 || on.iter().any(|word| word == "all" || word.starts_with('!'))
}

fn change(args: &crate::args::Apply) -> greenroom_core::api::NewChange {
    greenroom_core::api::NewChange {
        rehearsal: args.rehearsal.clone(),
        why: args.why.clone(),
        force_verdict: args.force_verdict.clone(),
        pause_after: args.pause_after,
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
