//! One copy with all that it needs to run things in it: network, limits, environment, its systemd when it is booted.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use greenroom_core::change::Test;
use greenroom_host::capture::{Captured, Keep, Rules, capture};
use greenroom_host::copy::{Booted, Command, Copy, Ended, Limits, Output, Runner, with_tail};
use greenroom_host::services::Manager;
use greenroom_store::blobs::Leftovers;

use super::Noise;
use crate::site::Site;
use crate::{EngineError, Progress};

/// How long a copy may take to come up before it is used as it is.
const SETTLE: Duration = Duration::from_secs(60);

/// A copy that things can be run in.
pub(super) struct Stagehand<'a> {
    pub(super) copy: Copy,
    booted: Option<Booted>,
    runner: Plain<'a>,
}

/// What a [`Runner`] borrows, owned.
struct Plain<'a> {
    hostname: String,
    network: Option<std::os::fd::BorrowedFd<'a>>,
    hidden: Vec<std::path::PathBuf>,
    limits: Option<Limits>,
    env: Vec<(String, String)>,
}

/// What the copies of one rehearsal have in common.
pub(super) struct Common<'a> {
    pub(super) site: &'a Site,
    pub(super) boot: bool,
    pub(super) limits: Option<Limits>,
    pub(super) env: Vec<(String, String)>,
}

impl<'a> Stagehand<'a> {
    /// Makes a copy below `dir`; nothing runs in it yet.
    pub(super) fn new(
        common: &Common<'_>,
        dir: &Path,
        network: Option<std::os::fd::BorrowedFd<'a>>,
        env: Vec<(String, String)>,
    ) -> Result<Self, EngineError> {
        let hidden: Vec<_> =
            common.site.hidden.iter().map(|h| common.site.root.join(h.strip_prefix("/").unwrap_or(h))).collect();
        let copy = Copy::make(&common.site.root, dir, &hidden)?;
        let mut all = common.env.clone();
        all.extend(env);
        let runner = Plain {
            hostname: common.site.hostname.clone(),
            network,
            hidden: common.site.hidden.clone(),
            limits: common.limits,
            env: all,
        };
        Ok(Self { copy, booted: None, runner })
    }

    /// Boots it, where the rehearsal boots its copies.
    pub(super) fn boot(&mut self, common: &Common<'_>, progress: &dyn Progress) -> Result<(), EngineError> {
        if !common.boot {
            return Ok(());
        }
        let root = self.copy.root();
        let mut booted = Booted::start(&self.copy, &self.runner(&root), &common.site.stood_in())?;
        let settled = booted.settle(SETTLE)?;
        if settled.state != "running" && settled.state != "degraded" {
            progress.note(&format!(
                "the copy has not settled after {} s (it is {})",
                settled.took.as_secs(),
                settled.state
            ));
        }
        self.booted = Some(booted);
        Ok(())
    }

    fn runner<'r>(&'r self, root: &'r Path) -> Runner<'r> {
        Runner {
            root,
            group: self.copy.group(),
            hostname: self.runner.hostname.clone(),
            network: self.runner.network,
            hidden: self.runner.hidden.clone(),
            limits: self.runner.limits,
            env: self.runner.env.clone(),
        }
    }

    /// The copy's systemd.
    pub(super) fn booted(&self) -> Option<&Booted> {
        self.booted.as_ref()
    }

    /// Whether it was booted and has been turned off since, by somebody in it. Then it is as if it had been stopped.
    pub(super) fn was_turned_off(&mut self) -> bool {
        let off = self.booted.as_mut().is_some_and(|booted| !booted.runs());
        if off {
            self.booted = None;
        }
        off
    }

    /// Who manages the copy's services.
    pub(super) fn manager(&self) -> Manager<'_> {
        self.booted.as_ref().map_or(Manager::None, Manager::Copy)
    }

    /// Runs a command in it.
    pub(super) fn run(&self, command: &Command, output: Output<'_>) -> Result<Ended, EngineError> {
        match &self.booted {
            Some(booted) => Ok(booted.run(command, output)?),
            None => Ok(self.runner(&self.copy.root()).run(command, output)?),
        }
    }

    /// Runs a shell command; its exit status and the end of what it printed.
    pub(super) fn shell(&self, text: &str, limit: Option<Duration>) -> Result<(Ended, String), EngineError> {
        with_tail(|output| self.run(&Command::shell(text, limit), output))
    }

    /// Runs a test.
    pub(super) fn test(&self, test: &Test) -> Result<(Ended, String), EngineError> {
        self.shell(&test.run, Some(test.timeout.unwrap_or(Duration::from_secs(120))))
    }

    /// Ends all that runs in it. `orderly`: services may write what they write when they are told to end.
    pub(super) fn stop(&mut self, orderly: bool) {
        if let Some(mut booted) = self.booted.take()
            && orderly
        {
            booted.shut_down(Duration::from_secs(20));
        }
    }

    /// Takes it away, meanwhile, and what the store has of it and does not need. What is not gone when this program ends is swept by
    /// the next, or by collecting garbage.
    pub(super) fn leave(self, leftovers: Vec<Leftovers>) -> JoinHandle<()> {
        let Self { copy, booted, .. } = self;
        std::thread::spawn(move || {
            drop(booted);
            drop(copy);
            for leftover in leftovers {
                let _ = leftover.clear();
            }
        })
    }

    /// Compares it with the host.
    pub(super) fn capture(
        &self,
        site: &Site,
        noise: &Noise,
        keep: &dyn Keep,
        at_rest: bool,
    ) -> Result<Captured, EngineError> {
        let class = |path: &greenroom_core::TreePath, is_dir: bool| site.policy.class(path, is_dir);
        let root = self.copy.root();
        let is_noise =
            |path: &greenroom_core::TreePath| noise.contains(path) || is_mount_point(&site.root, &root, path);
        Ok(capture(&self.copy, &Rules { class: &class, noise: &is_noise, at_rest }, keep)?)
    }
}

/// Directories that nspawn makes in a tree that has none, because it needs them.
const MOUNT_POINTS: &[&str] = &["/dev", "/proc", "/root", "/run", "/sys", "/tmp"];

/// Whether a new path is one of those, and nobody has put anything there.
fn is_mount_point(host: &Path, copy: &Path, path: &greenroom_core::TreePath) -> bool {
    let known = MOUNT_POINTS.iter().find(|known| greenroom_core::TreePath::from(**known) == *path);
    known.map(|known| known.trim_start_matches('/')).is_some_and(|known| {
        let entries = std::fs::read_dir(copy.join(known));
        host.join(known).symlink_metadata().is_err() && entries.is_ok_and(|mut entries| entries.next().is_none())
    })
}
