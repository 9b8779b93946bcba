//! The directory that everything is measured in, a Debian root, and the release binary.
//!
//! Without `GREENROOM_BENCH_DIR` it is an ext4 of its own, in a sparse image below `/var/tmp`: file systems as machines happen to
//! have them differ too much (an ext4 without a journal takes seconds to find free inodes after many deletions). A directory
//! that is named must be on a real disk; it is emptied before and removed after. `GREENROOM_BENCH_CACHE` (default `/var/cache/greenroom-bench`) keeps the peers that have to be installed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenroom_testkit::lab::Lab;
use rustix::mount::{UnmountFlags, unmount};
use serde_json::Value;

use crate::program;

/// Where to measure and with what.
pub(super) struct World {
    pub(super) dir: PathBuf,
    pub(super) cache: PathBuf,
    /// A Debian root with systemd, to be copied.
    base: PathBuf,
    pub(super) binary: PathBuf,
}

/// How a command of Greenroom's went.
pub(super) struct Ran {
    /// From before it was started until it had ended.
    pub(super) took: Duration,
    /// What it printed.
    pub(super) answer: Value,
}

impl World {
    pub(super) fn new() -> Result<Self> {
        let binary = program::release()?;
        let dir = directory("GREENROOM_BENCH_DIR", OWN);
        clear(&dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        if dir == Path::new(OWN) {
            own_file_system(&dir)?;
        }
        let base = dir.join("base");
        let lab = Lab::new()?;
        copy_tree(lab.host("bench")?.root(), &base)?;
        Ok(Self { dir, cache: directory("GREENROOM_BENCH_CACHE", "/var/cache/greenroom-bench"), base, binary })
    }

    /// A fresh Debian root at `to`.
    pub(super) fn copy_base(&self, to: &Path) -> Result<()> {
        copy_tree(&self.base, to)
    }

    /// A root that is there already, in `dir`.
    pub(super) fn at(&self, dir: &Path) -> Host<'_> {
        Host { world: self, root: dir.join("root"), state: dir.join("state"), dir: dir.to_owned(), keep: true }
    }

    /// A fresh Debian root called `name` and a state directory beside it.
    pub(super) fn host(&self, name: &str) -> Result<Host<'_>> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let host = Host { world: self, root: dir.join("root"), state: dir.join("state"), dir, keep: false };
        copy_tree(&self.base, &host.root)?;
        Ok(host)
    }
}

/// Where the benchmark has a file system of its own.
const OWN: &str = "/var/tmp/greenroom-bench";

/// Mounts an ext4 with a journal at `dir`, in this process's mount namespace. Its image has no name any more, so that it is gone
/// with the mount.
fn own_file_system(dir: &Path) -> Result<()> {
    let image = dir.with_extension("img");
    File::create(&image)?.set_len(60 << 30)?;
    must(Command::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&image))?;
    must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(dir))?;
    fs::remove_file(&image).context("cannot remove the image's name")
}

impl Drop for World {
    fn drop(&mut self) {
        let done = match self.dir == Path::new(OWN) {
            true => unmount(&self.dir, UnmountFlags::DETACH).context("cannot unmount the benchmark's file system"),
            false => clear(&self.dir),
        };
        if let Err(error) = done {
            eprintln!("bench: {error:#}");
        }
    }
}

/// A root to work on; removed when it is dropped.
pub(super) struct Host<'a> {
    world: &'a World,
    pub(super) dir: PathBuf,
    pub(super) root: PathBuf,
    pub(super) state: PathBuf,
    keep: bool,
}

impl Host<'_> {
    /// A command of Greenroom's for this root, with `--json`.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.world.binary);
        command.arg("--root").arg(&self.root).arg("--state").arg(&self.state).args(args);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs one and reads what it prints.
    pub(super) fn run(&self, args: &[&str]) -> Result<Ran> {
        let began = Instant::now();
        let output = self.command(args).output().context("cannot start greenroom")?;
        let took = began.elapsed();
        ensure!(
            output.status.success(),
            "greenroom {} ended with {}: {}",
            args.join(" "),
            output.status,
            shown(&output.stdout)
        );
        let answer = serde_json::from_slice(&output.stdout).with_context(|| format!("greenroom {}", args.join(" ")))?;
        Ok(Ran { took, answer })
    }

    /// Rehearses a shell command without booting; the rehearsal must be ready to go live.
    pub(super) fn rehearse(&self, script: &str) -> Result<Ran> {
        let ran = self.run(&["rehearse", "--boot", "no", "--json", "--", "sh", "-c", script])?;
        ensure!(ran.answer["verdict"] == "ready", "the rehearsal is not ready: {}", ran.answer["reasons"]);
        Ok(ran)
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = clear(&self.dir) {
            eprintln!("bench: {error:#}");
        }
    }
}

/// A text of an answer.
pub(super) fn text(answer: &Value, key: &str) -> Result<String> {
    answer[key].as_str().map(str::to_owned).with_context(|| format!("the answer has no `{key}`"))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned()
}

/// Runs a command that has to succeed, and shows its output if it does not.
pub(super) fn must(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let text = [shown(&output.stdout), shown(&output.stderr)].concat();
        bail!("{} {} ended with {}: {text}", command.get_program().display(), words.join(" "), output.status);
    }
    Ok(())
}

fn directory(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    must(Command::new("cp").args(["-a", "--"]).arg(from).arg(to))
}

fn clear(dir: &Path) -> Result<()> {
    greenroom_host::copy::remove_tree(dir).with_context(|| format!("cannot remove {}", dir.display()))
}
