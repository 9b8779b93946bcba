//! A control plane in its own process at the operator's place of a fleet, with hosts joined to it over SSH.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use greenroom_testkit::lab::Fleet;
use serde_json::Value;

use super::world::{Ran, World, must};

/// How long something that has to come about is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control plane; its process ends with it.
pub(super) struct Plane<'a> {
    pub(super) fleet: &'a Fleet,
    world: &'a World,
    pub(super) state: PathBuf,
    serve: Option<Child>,
}

impl<'a> Plane<'a> {
    /// One for a fleet that is booted: all its hosts are joined, and each has its record, as every host has that is watched.
    pub(super) fn new(world: &'a World, fleet: &'a Fleet, state: PathBuf) -> Result<Self> {
        let mut plane = Self { fleet, world, state, serve: None };
        plane.start()?;
        for host in fleet.hosts() {
            plane.run(&["join", &format!("root@{}", host.name())])?;
            plane.run(&["status", "--on", host.name()])?;
        }
        Ok(plane)
    }

    /// Starts it, and waits until every host that has joined is in touch.
    pub(super) fn start(&mut self) -> Result<()> {
        let mut command =
            self.command(&["serve", "--url", &format!("https://{}:7443", self.fleet.operator().address())]);
        self.serve = Some(command.stdout(Stdio::null()).spawn().context("cannot start serve")?);
        let began = Instant::now();
        while !self.is_up() {
            ensure!(began.elapsed() < PATIENCE, "the control plane does not serve all its hosts");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        // Where no control plane is known yet, `status` is about the machine itself.
        if !self.state.join("control/access.json").exists() {
            return false;
        }
        let Ok(hosts) = self.json(&["status"]) else { return false };
        hosts.answer["hosts"].as_array().is_some_and(|hosts| hosts.iter().all(|host| host["in_touch"] == true))
    }

    /// Ends it. What it knows stays.
    pub(super) fn stop(&mut self) -> Result<()> {
        let Some(mut serve) = self.serve.take() else { return Ok(()) };
        serve.kill().and_then(|()| serve.wait()).map(drop).context("cannot end the control plane")
    }

    /// Makes it know no image and no content.
    pub(super) fn forget_images(&mut self) -> Result<()> {
        self.stop()?;
        fs::remove_dir_all(self.state.join("control/blobs")).context("cannot remove the contents")?;
        let sql = "DELETE FROM document WHERE kind LIKE 'image%';";
        must(Command::new("sqlite3").arg(self.state.join("control/control.db")).arg(sql).stdin(Stdio::null()))
            .context("apt-get install sqlite3")?;
        // What the file system still has to do for that is no part of what comes next.
        rustix::fs::sync();
        self.start()?;
        // The one that was ended has left word that they are in touch: only an answer says that they are.
        self.fleet.hosts().iter().try_for_each(|host| self.run(&["status", "--on", host.name()]).map(drop))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.fleet.operator().command(&self.world.binary);
        command.arg("--state").arg(&self.state).args(args).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs the program at the operator's place; how long that took.
    pub(super) fn run(&self, args: &[&str]) -> Result<Duration> {
        took(self.command(args).stderr(Stdio::piped()))
    }

    /// The same with `--json`.
    pub(super) fn json(&self, args: &[&str]) -> Result<Ran> {
        let began = Instant::now();
        let output = self.command(args).arg("--json").stderr(Stdio::piped()).output().context("cannot start it")?;
        let took = began.elapsed();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "greenroom {} ended with {}: {said}", args.join(" "), output.status);
        let answer: Value =
            serde_json::from_slice(&output.stdout).with_context(|| format!("greenroom {}", args.join(" ")))?;
        Ok(Ran { took, answer })
    }
}

impl Drop for Plane<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("bench: {error:#}");
        }
    }
}

/// Runs a command that has to succeed; how long it took.
pub(super) fn took(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    must(command.stdin(Stdio::null()))?;
    Ok(began.elapsed())
}
