//! The file system that bases and hosts live on: one that can share blocks, so that a full copy takes a fraction
//! of a second.
//!
//! When the lab directory cannot do that (ext4), an XFS image in the cache directory is mounted over it, once; it
//! stays mounted, and keeps the bases, until somebody unmounts it. Measured on an ext4 without a journal: copying
//! the base took 1.3 to 11 s there and 0.23 s here. Where no loop device can be had, the directory serves as it is.

use super::process::run_ok;
use super::{LabError, disk};
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The image is sparse: it takes what its files take, at most this.
const SIZE: &str = "48G";

const LIMIT: Duration = Duration::from_secs(120);

/// Where bases and labs are kept.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Bases, on the file system of the labs.
    pub(crate) bases: PathBuf,
    /// Directories of labs.
    pub(crate) labs: PathBuf,
}

impl Pool {
    /// Makes the directories, and mounts the image where it helps.
    pub(crate) fn open(cache: &Path, dir: &Path) -> Result<Self, LabError> {
        for dir in [cache, dir] {
            fs::create_dir_all(dir).map_err(LabError::io("make", dir))?;
        }
        let lock_path = cache.join("pool.lock");
        let lock = disk::lock_file(&lock_path)?;
        disk::lock(&lock, &lock_path, FlockOperation::LockExclusive)?;
        if !shares_blocks(dir)
            && let Err(error) = mount(&cache.join("pool.xfs"), dir)
        {
            eprintln!("lab: hosts are slow to make on {}: {error}", dir.display());
        }
        disk::must_be_on_disk(dir)?;
        let pool = Self { bases: dir.join("bases"), labs: dir.join("labs") };
        for dir in [&pool.bases, &pool.labs] {
            fs::create_dir_all(dir).map_err(LabError::io("make", dir))?;
        }
        Ok(pool)
    }
}

/// Tries it, since no name of a file system tells whether this one was made with the feature.
fn shares_blocks(dir: &Path) -> bool {
    let Ok(from) = tempfile::tempfile_in(dir) else { return false };
    let Ok(to) = tempfile::tempfile_in(dir) else { return false };
    rustix::fs::ioctl_ficlone(&to, &from).is_ok()
}

fn mount(image: &Path, dir: &Path) -> Result<(), LabError> {
    if !image.exists() {
        make(image)?;
    }
    let mount = || {
        let mut command = Command::new("mount");
        // Discard gives the blocks of removed hosts back to the machine.
        run_ok(command.args(["-o", "loop,discard,noatime", "--"]).arg(image).arg(dir), LIMIT)
    };
    if mount().is_err() {
        // Damaged by a crash of the machine, or half made: all in it can be made again.
        make(image)?;
        mount()?;
    }
    Ok(())
}

fn make(image: &Path) -> Result<(), LabError> {
    let unfinished = image.with_extension("new");
    File::create(&unfinished).map_err(LabError::io("make", &unfinished))?;
    run_ok(Command::new("truncate").args(["--size", SIZE, "--"]).arg(&unfinished), LIMIT)?;
    run_ok(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&unfinished), LIMIT)?;
    fs::rename(&unfinished, image).map_err(LabError::io("put in place", image))
}
