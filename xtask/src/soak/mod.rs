//! `cargo xtask soak`: the interruption tests in their long form, with the optimised binary. Prints one line for each
//! campaign; docs/soak.md has the results of the last full run.

mod drift;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use greenroom_testkit::crash::{Change, FileSystem, Random, Scratch, Verb, cuts, kills};
use greenroom_testkit::faults::schedules;
use greenroom_testkit::lab::Lab;

/// Hosts of the schedules of faults.
const HOSTS: usize = 3;

/// What is interrupted how.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// kill -9 at random moments
    Interruption,
    /// Power cuts: the disk as it is at a random moment
    PowerCut,
    /// A day of edits behind everybody's back, with a watch that is killed and a queue that overflows
    Drift,
    /// Schedules of faults while many hosts change as one
    Fleet,
}

/// Options of `cargo xtask soak`.
#[derive(Args)]
pub(crate) struct Soak {
    /// Which campaigns; without any, all
    how: Vec<How>,
    /// Kills of apply, and as many of undo; a fifth of each has a live step
    #[arg(long, default_value_t = 500)]
    kills: u32,
    /// Power cuts of apply and of undo on each of ext4, XFS and btrfs
    #[arg(long, default_value_t = 20)]
    cuts: u32,
    /// Hours of drift; each has about sixty edits
    #[arg(long, default_value_t = 24)]
    hours: u64,
    /// Schedules of faults across hosts
    #[arg(long, default_value_t = 300)]
    schedules: u32,
    /// The seed of the random moments; the clock's unless told otherwise
    #[arg(long)]
    seed: Option<u64>,
    /// The binary to interrupt; without it, target/release/greenroom is built
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub(crate) fn run(options: &Soak) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => std::fs::canonicalize(binary).with_context(|| format!("there is no {}", binary.display()))?,
        None => crate::program::release()?,
    };
    let all = |how| options.how.is_empty() || options.how.contains(&how);
    if all(How::Interruption) {
        interruption(&binary, options)?;
    }
    if all(How::PowerCut) {
        power_cuts(&binary, options)?;
    }
    if all(How::Drift) {
        drift::run(&binary, options.hours, random(options))?;
    }
    if all(How::Fleet) {
        fleet(&binary, options)?;
    }
    Ok(())
}

fn fleet(binary: &Path, options: &Soak) -> Result<()> {
    let dir = Scratch::new()?;
    let told = |line: &str| eprintln!("{line}");
    match schedules(binary, dir.path(), HOSTS, options.schedules, random(options), told) {
        Ok(tally) => println!("faults across {HOSTS} hosts: {tally}"),
        Err(violation) => bail!("faults across hosts: {violation}\nthe world is in {}", dir.keep().display()),
    }
    Ok(())
}

fn random(options: &Soak) -> Random {
    options.seed.map_or_else(Random::from_clock, Random::new)
}

fn interruption(binary: &Path, options: &Soak) -> Result<()> {
    let with_live = options.kills / 5;
    for (change, count) in [(Change::Command, options.kills - with_live), (Change::WithLiveStep, with_live)] {
        for verb in [Verb::Apply, Verb::Undo] {
            let dir = Scratch::new()?;
            let label = if change == Change::Command { "" } else { " with a live step" };
            match kills(binary, dir.path(), change, verb, count, random(options)) {
                Ok(tally) => {
                    println!("kill -9 of {}{label}: {tally}", verb.word());
                    if tally.share() < 85 {
                        bail!("only {} % of the kills came before the end", tally.share());
                    }
                }
                Err(violation) => {
                    bail!("kill -9 of {}{label}: {violation}\nthe world is in {}", verb.word(), dir.keep().display())
                }
            }
        }
    }
    Ok(())
}

fn power_cuts(binary: &Path, options: &Soak) -> Result<()> {
    for kind in FileSystem::ALL {
        for verb in [Verb::Apply, Verb::Undo] {
            let lab = Lab::new().context("make a lab")?;
            let tally = cuts(binary, lab.dir(), kind, verb, options.cuts, random(options));
            let tally = tally.with_context(|| format!("power cut of {} on {}", verb.word(), kind.name()))?;
            println!("power cut of {} on {}: {tally}", verb.word(), kind.name());
        }
    }
    Ok(())
}
