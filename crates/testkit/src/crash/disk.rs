//! A file system in an image, and copies of the image at one instant: the disk's side of a power cut.
//!
//! The image is a file on a file system that shares blocks; the loop device writes to it through the machine's page
//! cache. A copy of the image is one `FICLONE` call: it holds all that the mounted file system had *written to its
//! device* at that instant, in the order in which it wrote it, and nothing that was only in that file system's own
//! page cache and never synced. So it is what the disk holds when the power goes, for a disk that keeps what it has
//! acknowledged. (A disk that loses acknowledged writes on top of it needs a barrier; that a barrier is sent where it
//! must be is what `fsync` and `syncfs` are for, and is not seen by this test.)

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Violation;
use crate::lab::run_ok;

const LIMIT: Duration = Duration::from_secs(60);

/// Which file system is in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 with a journal.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// Its name for mount(8).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    fn make(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["mkfs.ext4", "-q", "-F", "-O", "has_journal"],
            Self::Xfs => &["mkfs.xfs", "-q", "-f"],
            Self::Btrfs => &["mkfs.btrfs", "-q", "-f"],
        }
    }
}

/// An image with a file system. Dropping it unmounts it; the image stays.
#[derive(Debug)]
pub struct Disk {
    kind: FileSystem,
    image: PathBuf,
    /// Where it is mounted, one at a time: copies have the place of their original.
    pub at: PathBuf,
    mounted: bool,
}

impl Disk {
    /// Makes a file system in the new file `image`, which must be where blocks can be shared; not mounted.
    ///
    /// # Errors
    /// The tool failed.
    pub fn make(kind: FileSystem, image: &Path) -> Result<Self, Violation> {
        let file = File::create_new(image)?;
        file.set_len(320 << 20)?;
        let (tool, options) = kind.make().split_first().unwrap_or((&"", &[]));
        run_ok(Command::new(tool).args(options).arg(image), LIMIT)?;
        Ok(Self { kind, image: image.to_owned(), at: image.with_extension("mount"), mounted: false })
    }

    /// A copy of the image as it is at this instant; the file system may be at work.
    ///
    /// # Errors
    /// The file system that the images are on cannot share blocks.
    pub fn snapshot(&self, image: &Path) -> Result<Self, Violation> {
        let (from, to) = (File::open(&self.image)?, File::create(image)?);
        rustix::fs::ioctl_ficlone(&to, &from).map_err(|error| {
            Violation(format!("{} is on a file system that cannot share blocks: {error}", image.display()))
        })?;
        Ok(Self { kind: self.kind, image: image.to_owned(), at: self.at.clone(), mounted: false })
    }

    /// Mounts it, which replays its journal where there is something to replay.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount(&mut self) -> Result<(), Violation> {
        fs::create_dir_all(&self.at)?;
        if self.kind == FileSystem::Btrfs {
            // It has the identity of the image that it is a copy of, and btrfs remembers that one.
            let _ = Command::new("btrfs").args(["device", "scan", "--forget"]).output();
        }
        let options = if self.kind == FileSystem::Xfs { "loop,nouuid" } else { "loop" };
        run_ok(
            Command::new("mount").args(["-t", self.kind.name(), "-o", options]).arg(&self.image).arg(&self.at),
            LIMIT,
        )?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// Somebody uses it.
    pub fn unmount(&mut self) -> Result<(), Violation> {
        run_ok(Command::new("umount").arg(&self.at), LIMIT)?;
        self.mounted = false;
        Ok(())
    }

    /// Unmounts and deletes it.
    ///
    /// # Errors
    /// As [`Disk::unmount`].
    pub fn discard(mut self) -> Result<(), Violation> {
        if self.mounted {
            self.unmount()?;
        }
        fs::remove_file(&self.image)?;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg(&self.at).output();
        }
    }
}
