//! The command line: one file a command in [`commands`], one [`ui`], one [`error`]. Nothing is decided here: options become
//! a request to the engine, and what comes back becomes text, JSON and an exit status.

pub mod args;
mod board;
mod commands;
mod env;
mod error;
mod remote;
mod terminal;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::Cli;
pub use crate::env::{VARIABLES, Variable};

/// The whole command line, for completions and manual pages.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(problem) => {
            // A closed standard output or error leaves nobody to tell.
            let _ = problem.print();
            return ExitCode::from(u8::try_from(problem.exit_code()).unwrap_or(2));
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(problem) => {
            let _ = problem.print();
            return ExitCode::from(2);
        }
    };
    let ui = ui::Ui::new(cli.global.json, cli.global.quiet);
    match commands::run(&cli, &ui) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}
