//! Room for worlds.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Violation;
use crate::lab::run_ok;

/// A directory below `/var/tmp`. Dropping it removes it with all that is in it, also what is immutable.
pub struct Scratch(Option<TempDir>);

impl Scratch {
    /// Makes one.
    ///
    /// # Errors
    /// `/var/tmp` takes no directory.
    pub fn new() -> Result<Self, Violation> {
        Ok(Self(Some(tempfile::tempdir_in("/var/tmp")?)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// It stays, for whoever looks into it.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.0.take().map(TempDir::keep).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(dir) = &self.0 {
            // Not every file takes the flag; those that have it do.
            let _ = run_ok(Command::new("chattr").args(["-R", "-f", "-i", "--"]).arg(dir.path()), crate::lab::SHORT);
        }
    }
}
