//! Project tasks: `cargo xtask --help`. One module per command; this file only dispatches.

mod bench;
mod deb;
mod demo;
mod fidelity;
mod generate;
mod program;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Project tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure against peers and write docs/benchmarks.md
    Bench {
        /// Names of rows; without any, all are measured
        rows: Vec<String>,
    },
    /// Record or scan one tree: what `bench` measures
    #[command(hide = true)]
    Walk {
        what: bench::Walk,
        root: std::path::PathBuf,
        /// Only these places
        within: Vec<String>,
    },
    /// Build the Debian package (needs root), or package a program that is there
    Deb(deb::Deb),
    /// Show the main job on a real host that it makes for itself
    Demo,
    /// Write generated files: schema, man pages, completions, tables of the reference
    Gen(generate::Args),
    /// Compare rehearse and apply with direct runs for real packages (all, or the named cases)
    Fidelity {
        /// Names of cases; without any, all are run and docs/fidelity.md is written
        cases: Vec<String>,
    },
    /// Interrupt apply and undo at random moments, many times
    Soak(soak::Soak),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Bench { rows } => bench::run(&rows),
        Task::Walk { what, root, within } => bench::walk(what, &root, &within),
        Task::Deb(options) => deb::run(&options),
        Task::Demo => demo::run(),
        Task::Gen(args) => generate::run(&args),
        Task::Fidelity { cases } => fidelity::run(&cases),
        Task::Soak(options) => soak::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
