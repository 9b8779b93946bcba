//! The image of a host at the control plane, against rsync to the same disk: the first time, and after 100 files have changed.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use greenroom_testkit::lab::{Boot, Fleet, Lab};

use super::measure::{Measured, Target, in_turn};
use super::plane::{Plane, took};
use super::world::World;

/// Files besides those of Debian, and their length in bytes: with them the host has about 1 GB.
const FILES: usize = 12_000;
const LENGTH: usize = 56 << 10;

/// What no image has, for rsync to leave out as well.
const LEFT_OUT: &[&str] =
    &["/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache", "/var/lib/greenroom"];

/// `greenroom image update` of a host with 1 GB, against `rsync -aHAX` over SSH.
pub(super) fn image(world: &World) -> Result<Vec<Measured>> {
    let dir = world.dir.join("image");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lab = Lab::new()?;
    let mut fleet = Fleet::new(&lab)?;
    let files = fleet.add("web1")?.path("srv/app");
    fill(&files)?;
    fleet.boot(&Boot::networked())?;
    let mut plane = Plane::new(world, &fleet, dir.join("state"))?;
    let tree = dir.join("tree");
    let first = in_turn(
        3,
        || {
            plane.forget_images()?;
            plane.run(UPDATE)
        },
        || {
            let _ = fs::remove_dir_all(&tree);
            rustix::fs::sync();
            rsync(&fleet, &tree)
        },
    )?;
    let round = Cell::new(0);
    let later = in_turn(
        3,
        || {
            round.set(round.get() + 1);
            change(&files, round.get())?;
            plane.run(UPDATE)
        },
        || rsync(&fleet, &tree),
    )?;
    let row = |what, (ours, theirs)| Measured {
        what,
        peer: "`rsync -aHAX` over SSH to the same disk",
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::Times(1.0)],
    };
    Ok(vec![row("first image of a host of 1 GB", first), row("its update after 100 changed files", later)])
}

const UPDATE: &[&str] = &["image", "update", "--on", "web1"];

fn rsync(fleet: &Fleet, tree: &Path) -> Result<Duration> {
    fs::create_dir_all(tree)?;
    let mut command = fleet.operator().command("rsync");
    command.args(["-aHAX", "--delete", "--numeric-ids", "-e"]);
    command.arg(format!("ssh -F {}", fleet.ssh_config().display()));
    command.args(LEFT_OUT.iter().map(|path| format!("--exclude={path}/*")));
    took(command.arg("root@web1:/").arg(tree))
}

/// Content that compresses about as well as programs do.
fn content(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut out = Vec::with_capacity(LENGTH);
    while out.len() < LENGTH {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend((state >> 16).to_le_bytes());
        out.extend(b"the quick brown fox, ".iter().take(usize::try_from(state % 16).unwrap_or(0)));
    }
    out.truncate(LENGTH);
    out
}

fn fill(dir: &Path) -> Result<()> {
    for number in 0..FILES {
        let sub = dir.join(format!("{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&sub)?;
        }
        fs::write(sub.join(format!("file-{number}")), content(number)).context("cannot write a file")?;
    }
    Ok(())
}

fn change(dir: &Path, round: usize) -> Result<()> {
    for number in (0..FILES).step_by(FILES / 100) {
        let path = dir.join(format!("{:03}/file-{number}", number / 100));
        fs::write(path, content(number + round * FILES)).context("cannot write a file")?;
    }
    Ok(())
}
