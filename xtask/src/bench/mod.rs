//! `cargo xtask bench [ROW…]`: how fast, each against its named peer in the same run.
//!
//! Each row ([`copies`], [`running`], [`changed`], [`delivery`], [`fleet`], [`scan`], [`watching`], [`image`], [`scale`]) prepares a tree in the [`world`], then measures Greenroom
//! and the peer in turn, several times, so that both see the same machine in the same minute. What is compared are medians.
//! The results are printed and put into `docs/benchmarks.md` ([`report`]); a run of named rows replaces only these. Needs
//! root and about 25 GB of room for a moment. Measures the release build: a debug build starts it anew.
//!
//! Not here: a test. A number that falls short is printed as that and is no failure; a row that cannot be measured is one, after
//! the others.

mod changed;
mod copies;
mod delivery;
mod fleet;
mod image;
mod measure;
mod plane;
mod report;
mod running;
mod scale;
mod scan;
mod watching;
mod world;

use anyhow::{Context as _, Result, bail, ensure};

use measure::Measured;
pub(crate) use scan::{Walk, walk};
use world::World;

/// One thing that is measured.
struct Row {
    name: &'static str,
    run: fn(&World) -> Result<Vec<Measured>>,
}

const ROWS: &[Row] = &[
    Row { name: "copy", run: copies::making },
    Row { name: "true", run: running::trivial },
    Row { name: "boot", run: running::boot },
    Row { name: "capture", run: changed::capture },
    Row { name: "undo", run: changed::undo },
    Row { name: "watch", run: watching::all },
    Row { name: "memory", run: changed::memory },
    Row { name: "scan", run: scan::warm },
    Row { name: "aide", run: scan::aide },
    Row { name: "million", run: scan::million },
    Row { name: "apply", run: delivery::apply },
    Row { name: "fleet-apply", run: fleet::apply },
    Row { name: "image", run: image::image },
    Row { name: "fleet-scale", run: scale::scale },
];

/// Measures the named rows, or all.
///
/// # Errors
/// Something could not be built, made, measured or written.
pub(crate) fn run(names: &[String]) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "bench makes overlays and containers and needs root");
    let rows = choose(names)?;
    if cfg!(debug_assertions) {
        return again_in_release(names);
    }
    greenroom_host::sys::ns::own_mounts().context("cannot get a mount namespace")?;
    let world = World::new()?;
    let mut without = Vec::new();
    for row in rows {
        eprintln!("{} …", row.name);
        let measured = match (row.run)(&world) {
            Ok(measured) => measured,
            Err(error) => {
                eprintln!("{} cannot be measured: {error:?}", row.name);
                without.push(row.name);
                continue;
            }
        };
        for one in &measured {
            println!("{}", report::line(one));
            println!("    {}", report::runs(one));
        }
        report::write(&world, &measured)?;
    }
    ensure!(without.is_empty(), "not measured: {}", without.join(", "));
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(name) = names.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("there is no row `{name}`; there are: {}", known.join(", "));
    }
    Ok(ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| name == row.name)).collect())
}

/// The peers written in Rust are part of this program: they must be as fast as they can be.
fn again_in_release(names: &[String]) -> Result<()> {
    let status = crate::program::cargo()
        .args(["run", "--quiet", "--release", "--package", "xtask", "--", "bench"])
        .args(names)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the release build of bench failed");
    Ok(())
}
