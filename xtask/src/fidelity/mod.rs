//! `cargo xtask fidelity [CASE…]`: is what Greenroom applies what the command itself would have done?
//!
//! For each case ([`cases`]) three equal hosts are made; on two the change is run directly, on the third it is rehearsed,
//! applied and undone by the release binary ([`trial`]). A walk of its own reads the trees ([`tree`]); what two direct runs
//! agree on and the third host does not have is an infidelity ([`judge`]). A full run writes `docs/fidelity.md`
//! ([`report`]); a run of named cases prints every difference. Needs root.

mod cases;
mod judge;
mod report;
mod tree;
mod trial;

use anyhow::{Context as _, Result, bail, ensure};
use cases::{CASES, Case};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use trial::{Bench, Outcome};

/// A case and what it showed, or why it could not be measured.
pub(crate) struct Row {
    case: &'static Case,
    outcome: Result<Outcome, String>,
}

/// Runs the named cases, or all of them and writes the table.
///
/// # Errors
/// Something could not be built, made or written; a case has an infidelity that is not explained.
pub(crate) fn run(names: &[String]) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "fidelity makes lab hosts and needs root");
    let chosen = choose(names)?;
    let began = Instant::now();
    let greenroom = build()?;
    let mut bench = Bench::new(&greenroom).map_err(anyhow::Error::msg)?;
    let mut rows = Vec::new();
    for case in chosen {
        let outcome = bench.run(case);
        let row = Row { case, outcome };
        // One line as each case ends, also into a file.
        print!("{}", report::told(&row, !names.is_empty()));
        std::io::Write::flush(&mut std::io::stdout()).context("cannot print")?;
        rows.push(row);
    }
    let took = began.elapsed();
    println!("{} cases in {} s", rows.len(), took.as_secs());
    if names.is_empty() {
        let path = workspace().join("docs/fidelity.md");
        std::fs::write(&path, report::page(&rows, took)).with_context(|| format!("cannot write {}", path.display()))?;
        println!("written: {}", path.display());
    }
    let bad: Vec<&str> = rows.iter().filter(|row| report::unexplained(row)).map(|row| row.case.name).collect();
    ensure!(bad.is_empty(), "not as the direct run: {}", bad.join(", "));
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(CASES.iter().collect());
    }
    let find = |name: &String| match CASES.iter().find(|case| case.name == name) {
        Some(case) => Ok(case),
        None => {
            let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            bail!("there is no case {name}; there are {}", known.join(", "))
        }
    };
    names.iter().map(find).collect()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

/// Builds the release binary.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--locked", "--package", "greenroom-cli"])
        .current_dir(workspace())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the release build failed");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), |dir| workspace().join(dir));
    Ok(target.join("release/greenroom"))
}
