//! The program of a service, put in place of the one that runs, and taken back.
//!
//! ```text
//! bin/greenroom                          what runs
//! bin/.greenroom/program.next            what is to run: written, and tried, before anything changes
//! bin/.greenroom/program.before          what ran before; it stays, so that it can be put back
//! ```
//! Each step is one rename: at any instant the program is wholly the old one or the new one. Each can be repeated.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The places of one program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    next: PathBuf,
    before: PathBuf,
}

impl Program {
    /// Of the program at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let beside = path.with_file_name(".greenroom");
        Self { path: path.to_owned(), next: beside.join("program.next"), before: beside.join("program.before") }
    }

    /// What is to run, where it was staged.
    #[must_use]
    pub fn next(&self) -> &Path {
        &self.next
    }

    /// What ran before, where something took its place.
    #[must_use]
    pub fn before(&self) -> &Path {
        &self.before
    }

    /// Writes what is to run beside what runs.
    ///
    /// # Errors
    /// The file system's.
    pub fn stage(&self, content: &[u8]) -> io::Result<()> {
        let dir = self.next.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        self.forget()?;
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o755).open(&self.next)?;
        file.write_all(content)?;
        file.sync_all()?;
        sync(dir)
    }

    /// Puts it in place; keeps what ran.
    ///
    /// # Errors
    /// The file system's; what runs is in place then.
    pub fn swap(&self) -> io::Result<()> {
        if !self.next.exists() {
            // Done already.
            return Ok(());
        }
        ignore_missing(fs::remove_file(&self.before))?;
        fs::hard_link(&self.path, &self.before)?;
        sync(self.next.parent().unwrap_or(Path::new("/")))?;
        fs::rename(&self.next, &self.path)?;
        self.sync()
    }

    /// Puts back what ran before; without one, nothing.
    ///
    /// # Errors
    /// The file system's.
    pub fn put_back(&self) -> io::Result<()> {
        ignore_missing(fs::rename(&self.before, &self.path))?;
        self.sync()
    }

    /// Drops what was staged.
    ///
    /// # Errors
    /// The file system's.
    pub fn forget(&self) -> io::Result<()> {
        ignore_missing(fs::remove_file(&self.next))
    }

    fn sync(&self) -> io::Result<()> {
        sync(self.path.parent().unwrap_or(Path::new("/")))?;
        sync(self.next.parent().unwrap_or(Path::new("/")))
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    #[test]
    fn each_step_repeated_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("greenroom");
        fs::write(&path, "one").unwrap();
        let program = Program::at(&path);
        let holds = |wanted: &str| assert_eq!(fs::read_to_string(&path).unwrap(), wanted);
        program.stage(b"two").unwrap();
        holds("one");
        program.swap().unwrap();
        program.swap().unwrap();
        holds("two");
        assert_eq!(fs::read_to_string(program.before()).unwrap(), "one");
        program.put_back().unwrap();
        program.put_back().unwrap();
        holds("one");
        program.stage(b"three").unwrap();
        program.forget().unwrap();
        program.swap().unwrap();
        holds("one");
    }
}
