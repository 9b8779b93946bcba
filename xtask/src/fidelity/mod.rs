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
use std::time::Instant;
use trial::{Bench, Outcome};

use crate::program;

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
    let greenroom = program::release()?;
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
        let path = program::workspace().join("docs/fidelity.md");
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
