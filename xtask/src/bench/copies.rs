//! Making a copy, of a small root and of a large one.
//!
//! Measured in this process, around `Copy::make` itself: directories, lock, control groups, the plan of file systems, the
//! overlay, live sockets taken out. The peer is the mount(2) of the same overlay with the same options and nothing else.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use greenroom_host::copy::Copy;
use greenroom_host::sys::mount;

use super::measure::{Measured, Target, in_turn, timed};
use super::world::World;

const ROUNDS: usize = 21;

pub(super) fn making(world: &World) -> Result<Vec<Measured>> {
    let small = one(world, "making a copy, 1 GB root", 10_000, 1)?;
    let large = one(world, "making a copy, 20 GB root", 200_000, 20)?;
    Ok(vec![small, large])
}

fn one(world: &World, what: &'static str, files: usize, gigabytes: u64) -> Result<Measured> {
    let host = world.host("copy")?;
    fill(&host.root, files, gigabytes)?;
    let ours = || {
        let (took, copy) = timed(|| Ok(Copy::make(&host.root, &host.dir.join("copy"), &[])?))?;
        drop(copy);
        Ok(took)
    };
    let theirs = || {
        let dir = host.dir.join("bare");
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| dir.join(name));
        for path in [&upper, &work, &merged] {
            fs::create_dir_all(path).context("cannot make a directory")?;
        }
        let (took, ()) = timed(|| mount::overlay(&host.root, &upper, &work, &merged).context("cannot mount"))?;
        mount::detach(&merged).context("cannot unmount")?;
        fs::remove_dir_all(&dir).context("cannot remove a directory")?;
        Ok(took)
    };
    let (ours, theirs) = in_turn(ROUNDS, ours, theirs)?;
    Ok(Measured {
        what,
        peer: "mount(2) of the same overlay",
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::AtMost(30.0)],
    })
}

/// Brings a root to about this size: small files, and one large file for each gigabyte.
fn fill(root: &Path, files: usize, gigabytes: u64) -> Result<()> {
    let top = root.join("srv/fill");
    for number in 0..files {
        let dir = top.join(format!("{:03}", number / 500));
        if number % 500 == 0 {
            fs::create_dir_all(&dir).context("cannot make a directory")?;
        }
        fs::write(dir.join(format!("{number}")), [b'x'; 4096]).context("cannot write a file")?;
    }
    // What the Debian root and the small files do not come to.
    let filled = 300_000_000 + files as u64 * 4096;
    let each = (gigabytes * 1_000_000_000).saturating_sub(filled) / gigabytes;
    for number in 0..gigabytes {
        let file = File::create(top.join(format!("large-{number}"))).context("cannot make a large file")?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, each)
            .context("no room for a large file")?;
    }
    Ok(())
}
