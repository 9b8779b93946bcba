//! A small host with every kind of file, and a change of all of it.
//!
//! ```text
//! DIR/root      the host: enough programs to run the change, `/srv` with the files, `/model` with what `/srv` becomes
//! DIR/state     Greenroom's state
//! REF/before    what the tree is before the change
//! REF/after     what it is after it
//! ```
//! The change is `rsync /model/ /srv/`, which gives every file its times to the nanosecond, and `chattr`.
//! So the tree after it does not depend on when it ran, and the reference can be made by running it once in a chroot.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Violation;
use crate::lab::run_ok;
use crate::tree::{Kind, disk};

/// The change as a shell script. What is immutable stays so, with another content.
const SCRIPT: &str = "set -e\nchattr -i /srv/locked /srv/locked-dir\n\
    rsync -aHAX --delete /model/ /srv/\nchattr +i /srv/locked /srv/locked-dir /srv/fresh\n";

/// The programs that the change and its live step need.
const PROGRAMS: &[&str] = &["sh", "rsync", "chattr", "sleep"];

/// What kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One command.
    Command,
    /// A change file: the command, a live step with its undo, and another command.
    WithLiveStep,
}

/// The live step takes a while, so that kills land in it. Its log is in a volatile place: no part of a changeset.
const CHANGE_FILE: &str = r#"name = "with a live step"
[[step]]
run = "/bin/sh /change.sh"
[[step]]
live = "echo begin >> /var/log/live; sleep 0.02; echo do >> /var/log/live"
undo = "echo begin >> /var/log/live; sleep 0.02; echo undo >> /var/log/live"
[[step]]
run = "rsync -a /model.last/ /last/"
"#;

/// A host on some file system, with its references on another.
#[derive(Clone, Debug)]
pub struct World {
    /// The host's tree.
    pub root: PathBuf,
    /// Greenroom's state.
    pub state: PathBuf,
    /// The tree before the change.
    pub before: PathBuf,
    /// The tree after it.
    pub after: PathBuf,
    /// What is rehearsed.
    pub change: Change,
}

impl World {
    /// Makes one with its root and state in `dir` and the references in `references`.
    ///
    /// # Errors
    /// A file operation or a tool failed.
    pub fn make(dir: &Path, references: &Path, change: Change) -> Result<Self, Violation> {
        let world = Self {
            root: dir.join("root"),
            state: dir.join("state"),
            before: references.join("before"),
            after: references.join("after"),
            change,
        };
        fs::create_dir_all(&world.root)?;
        fs::create_dir_all(references)?;
        programs(&world.root)?;
        for name in [
            "root",
            "etc",
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
            "var/lib",
            "var/log",
            "srv",
            "model",
            "last",
            "model.last",
        ] {
            fs::create_dir_all(world.root.join(name))?;
        }
        fs::write(world.root.join("change.sh"), SCRIPT)?;
        fs::write(world.root.join("model.last/file"), "last\n")?;
        set_times(&world.root.join("last"), 1)?;
        set_times(&world.root.join("model.last"), 2)?;
        fill(&world.root.join("srv"), 1)?;
        fill(&world.root.join("model"), 2)?;
        chattr("+i", &world.root.join("srv/locked"))?;
        chattr("+i", &world.root.join("srv/locked-dir"))?;
        world.refer()?;
        Ok(world)
    }

    /// Makes the references: a copy of the tree, and another one in which the change is run.
    fn refer(&self) -> Result<(), Violation> {
        for reference in [&self.before, &self.after] {
            let mut copy = Command::new("cp");
            run_ok(copy.arg("-a").arg("--").arg(&self.root).arg(reference), Duration::from_secs(60))?;
            chattr("+i", &reference.join("srv/locked"))?;
            chattr("+i", &reference.join("srv/locked-dir"))?;
        }
        let mut change = Command::new("chroot");
        run_ok(change.arg(&self.after).args(["/bin/sh", "/change.sh"]), Duration::from_secs(60))?;
        if self.change == Change::WithLiveStep {
            let mut last = Command::new("chroot");
            run_ok(
                last.arg(&self.after).args(["/bin/rsync", "-a", "/model.last/", "/last/"]),
                Duration::from_secs(60),
            )?;
        }
        Ok(())
    }

    /// What to give to `rehearse`. Writes the change file where there is one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn rehearsal(&self) -> Result<Vec<String>, Violation> {
        if self.change == Change::Command {
            return Ok(["--", "/bin/sh", "/change.sh"].map(str::to_owned).to_vec());
        }
        let path = self.state.with_file_name("change.toml");
        fs::write(&path, CHANGE_FILE)?;
        Ok(vec![path.display().to_string()])
    }

    /// What the live step and its undo wrote, in order.
    #[must_use]
    pub fn live_log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root.join("var/log/live")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// One directory for each kind with a file for each kind that it becomes; and what is not a matter of kinds.
fn fill(top: &Path, side: u32) -> Result<(), Violation> {
    for (number, (before, after)) in Kind::pairs().enumerate() {
        let dir = top.join(format!("{before:?}"));
        fs::create_dir_all(&dir)?;
        let kind = if side == 1 { before } else { after };
        kind.put(&dir.join(format!("{after:?}")), side * 1000 + u32::try_from(number).unwrap_or(0))?;
    }
    let many = top.join("many");
    fs::create_dir(&many)?;
    for number in 0..80_u32 {
        let path = many.join(format!("file {number}\n"));
        // A third is the same on both sides but for its mode, a third has another content, a third stays.
        let seed = if number % 3 == 1 { side } else { 0 };
        fs::write(&path, disk::bytes(seed.into(), 2000 + number as usize))?;
        if number % 3 != 1 {
            disk::set_mtime(&path, (1_500_000_000, number))?;
        }
        if number % 3 == 0 {
            disk::set_mode(&path, [0o600, 0o755][side as usize - 1])?;
            disk::set_xattr(&path, "user.side", &[u8::try_from(side).unwrap_or(0)])?;
        }
    }
    fs::write(top.join("locked"), format!("{side}\n"))?;
    fs::create_dir(top.join("locked-dir"))?;
    fs::write(top.join("locked-dir/in"), format!("{side}\n"))?;
    fs::write(top.join(if side == 1 { "gone" } else { "fresh" }), "once\n")?;
    symlink(format!("to {side}"), top.join("link"))?;
    set_times(top, side)?;
    Ok(())
}

/// Times that say which side a file is of, bottom up; a file that has a time of its own keeps it.
fn set_times(path: &Path, side: u32) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            set_times(&entry?.path(), side)?;
        }
    }
    let made_now = meta.mtime() > 1_750_000_000;
    if meta.is_dir() || made_now {
        let name = blake3::hash(path.file_name().unwrap_or_default().as_encoded_bytes());
        let nanos = u32::from_le_bytes([name.as_bytes()[0], name.as_bytes()[1], name.as_bytes()[2], 0]);
        disk::set_mtime(path, (1_500_000_000 + i64::from(side), nanos))?;
    }
    Ok(())
}

/// Programs with the libraries they need.
fn programs(root: &Path) -> Result<(), Violation> {
    fs::create_dir_all(root.join("usr/bin"))?;
    symlink("usr/bin", root.join("bin"))?;
    for program in PROGRAMS {
        let found = run_ok(
            Command::new("sh").args(["-c", "readlink -f \"$(command -v \"$0\")\"", program]),
            crate::lab::SHORT,
        )?;
        let path = PathBuf::from(found.out());
        fs::copy(&path, root.join("usr/bin").join(program))?;
        for library in run_ok(Command::new("ldd").arg(&path), crate::lab::SHORT)?.out().split_whitespace() {
            let to = root.join(library.trim_start_matches('/'));
            if library.starts_with('/') && !to.exists() {
                fs::create_dir_all(to.parent().unwrap_or(root))?;
                fs::copy(library, to)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn chattr(flag: &str, path: &Path) -> Result<(), Violation> {
    run_ok(Command::new("chattr").arg(flag).arg("--").arg(path), crate::lab::SHORT)?;
    Ok(())
}
