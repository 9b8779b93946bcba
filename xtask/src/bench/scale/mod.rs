//! One control plane with 10, 100 and 1,000 agents: how long a change of all of them takes, and what it costs.
//!
//! ```text
//! greenroom serve, a process of its own ◄══ mutual TLS, WebSockets, core::wire ══► agents: all of them in this process
//!                                       ◄── HTTPS ── a person: rehearse, apply, follow until it is over
//! ```
//! The control plane is the release binary with a fresh state. The [`agents`] hold real streams and play their hosts
//! ([`played`]): what is measured is the control plane, and the agents' own processor time is on the same cores.

mod agents;
mod played;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenroom_core::api::{Begun, Change, Event, HeldAt, Hosts, NewChange, NewRehearsal};
use greenroom_core::rollout::{Outcome, Step};
use greenroom_core::wire::Rehearse;
use greenroom_net::client::{Http, Url};
use greenroom_testkit::postgres::Postgres;

use self::agents::{Agents, Door, enrol};
use super::changed::high_water;
use super::measure::{Measured, Target, median, millis};
use super::watching::processor_time;
use super::world::World;

/// The hosts of the row.
const MANY: usize = 1000;

/// Changes that are counted, with so many.
const ROUNDS: usize = 5;

/// For how long nothing happens, three times: a heartbeat of the control plane, and pings and statuses of the agents as usual.
const IDLE: Duration = Duration::from_secs(20);

/// What hosts say after a change has come and gone.
const AFTER: Duration = Duration::from_secs(4);

/// All rows.
pub(super) fn scale(world: &World) -> Result<Vec<Measured>> {
    let many = Plane::start(world, "many", None)?.measure(MANY, ROUNDS, true)?;
    let hundred = Plane::start(world, "hundred", None)?.measure(100, 8, false)?;
    let ten = Plane::start(world, "ten", None)?.measure(10, 16, false)?;
    let postgres = Postgres::start();
    let url = postgres.database("fleet");
    let other = Plane::start(world, "postgres", Some(&url))?.measure(MANY, ROUNDS, true)?;
    let row = |what, peer, unit, ours: &[f64], theirs: &[f64], targets| Measured {
        what,
        peer,
        unit,
        ours: ours.to_vec(),
        theirs: theirs.to_vec(),
        targets,
    };
    let flat = |what, peer, few: &Found| row(what, peer, "ms", &many.each, &few.each, vec![Target::Times(1.2)]);
    let takes = vec![Target::AtMost(10_000.0)];
    let bears = |found: &Found| [found.memory];
    Ok(vec![
        row(
            "1,000 simulated agents: prepare and commit of a change with 100 entries",
            "",
            "ms",
            &many.took,
            &[],
            takes.clone(),
        ),
        row("the control plane's memory then", "", "MiB", &bears(&many), &[], vec![Target::AtMost(500.0)]),
        row(
            "the control plane with 1,000 idle agents, of one core",
            "",
            "%",
            &many.idle,
            &[],
            vec![Target::AtMost(2.0)],
        ),
        flat("its processor time for that change, per host of 1,000", "per host of 10", &ten),
        flat("the same against 100 hosts", "per host of 100", &hundred),
        row("the same change with PostgreSQL", "", "ms", &other.took, &[], takes),
        row("the control plane's memory with PostgreSQL", "", "MiB", &bears(&other), &[], vec![Target::AtMost(500.0)]),
        row("idle with PostgreSQL, of one core", "", "%", &other.idle, &[], vec![Target::AtMost(2.0)]),
    ])
}

/// What was found with so many hosts.
struct Found {
    /// Of each change, from the request until it is over, in milliseconds.
    took: Vec<f64>,
    /// Processor time of the control plane for each change, per host, in milliseconds.
    each: Vec<f64>,
    /// Percent of a core.
    idle: Vec<f64>,
    /// The most that the control plane had, in MiB.
    memory: f64,
}

/// A control plane in a process of its own; dropping it ends it.
struct Plane {
    serve: Child,
    state: PathBuf,
}

impl Plane {
    fn start(world: &World, name: &str, database: Option<&str>) -> Result<Self> {
        let state = world.dir.join(format!("scale-{name}"));
        let mut command = Command::new(&world.binary);
        command.arg("--state").arg(&state).args(["serve", "--listen", "127.0.0.1:0"]);
        if let Some(url) = database {
            command.args(["--ledger", url]);
        }
        let serve = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start serve")?;
        Ok(Self { serve, state })
    }

    /// Waits until it serves; how root comes in.
    fn door(&mut self) -> Result<Door> {
        let (began, path) = (Instant::now(), self.state.join("control/access.json"));
        loop {
            if let Ok(door) = door(&path)
                && door.person()?.get::<Hosts>("/v1/hosts").is_ok()
            {
                return Ok(door);
            }
            if let Some(status) = self.serve.try_wait()? {
                bail!("the control plane ended with {status}");
            }
            ensure!(began.elapsed() < Duration::from_secs(30), "the control plane does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn used(&self) -> Result<Duration> {
        processor_time(&format!("/proc/{}/stat", self.serve.id()))
    }

    fn measure(mut self, hosts: usize, rounds: usize, idle: bool) -> Result<Found> {
        let door = self.door()?;
        let began = Instant::now();
        let members = enrol(&door, hosts)?;
        eprintln!("    {hosts} hosts: let in within {:.1} s", began.elapsed().as_secs_f64());
        let began = Instant::now();
        let agents = Agents::connect(&door, members)?;
        eprintln!("    {hosts} hosts: connected within {:.1} s", began.elapsed().as_secs_f64());
        std::thread::sleep(AFTER);
        let idle = if idle { self.idle()? } else { Vec::new() };
        agents.unbroken()?;
        let person = door.person()?;
        let (mut took, mut each) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let begun = Instant::now();
            let rehearsal = rehearse(&person, hosts)?;
            let rehearsed = begun.elapsed();
            agents.settled()?;
            std::thread::sleep(AFTER);
            let (used, began) = (self.used()?, Instant::now());
            let change = apply(&person, &rehearsal)?;
            let over = began.elapsed();
            agents.settled()?;
            let used = self.used()?.saturating_sub(used);
            in_place(&person, &change, hosts)?;
            let per_host = millis(used) / hosts as f64;
            eprintln!(
                "    {hosts} hosts: rehearsed in {:.0} ms, changed in {:.0} ms, {per_host:.2} ms of processor time per host",
                millis(rehearsed),
                millis(over),
            );
            // The first one finds nothing warm.
            if round > 0 {
                took.push(millis(over));
                each.push(per_host);
            }
            std::thread::sleep(AFTER);
        }
        agents.unbroken()?;
        let memory = high_water(Path::new(&format!("/proc/{}/status", self.serve.id()))) as f64 / 1024.0;
        eprintln!("    {hosts} hosts: {memory:.0} MiB, changes of {:.0} ms", median(&took));
        Ok(Found { took, each, idle, memory })
    }

    fn idle(&self) -> Result<Vec<f64>> {
        let one = |_| {
            let (used, began) = (self.used()?, Instant::now());
            std::thread::sleep(IDLE);
            let used = self.used()?.saturating_sub(used);
            Ok(used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0)
        };
        (0..3).map(one).collect()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.serve.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.serve.wait();
    }
}

/// What `serve` wrote for root.
fn door(access: &Path) -> Result<Door> {
    let access: serde_json::Value = serde_json::from_slice(&fs::read(access)?)?;
    let text = |key: &str| access[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
    let url = text("url")?.replace("localhost", "127.0.0.1");
    let url = Url::parse(&url).map_err(anyhow::Error::msg)?;
    Ok(Door { url, authority: text("authority")?, token: text("token")? })
}

/// Holds a rehearsal on all hosts; gives its name.
fn rehearse(person: &Http, hosts: usize) -> Result<String> {
    let argv = ["install", "-m", "644"].map(str::to_owned).to_vec();
    let rehearse = Rehearse { argv, ..Rehearse::default() };
    let wanted = NewRehearsal { on: vec!["all".to_owned()], rehearse, held: HeldAt::Hosts };
    let begun: Begun = person.post("/v1/rehearsals", &wanted)?;
    ensure!(begun.hosts.len() == hosts, "it is rehearsed on {} of {hosts} hosts", begun.hosts.len());
    let outcome = followed(person, &format!("/v1/rehearsals/{}/events", begun.id))?;
    ensure!(outcome == "ready", "the rehearsal is {outcome}");
    Ok(begun.id)
}

/// Puts a rehearsal live; gives the change's name when it is over.
fn apply(person: &Http, rehearsal: &str) -> Result<String> {
    let wanted = NewChange { rehearsal: rehearsal.to_owned(), ..NewChange::default() };
    let begun: Begun = person.post("/v1/changes", &wanted)?;
    let outcome = followed(person, &format!("/v1/changes/{}/events", begun.id))?;
    ensure!(outcome == "done", "{} is {outcome}", begun.id);
    Ok(begun.id)
}

/// Hears all that is told, as `greenroom follow` does; how it ended.
fn followed(person: &Http, path: &str) -> Result<String> {
    for event in person.events(path, None)? {
        if let Event::Over { outcome } = serde_json::from_str(&event?)? {
            return Ok(outcome);
        }
    }
    bail!("{path} ended before it was over")
}

/// The change is in place on all hosts: the first one alone, then the others.
fn in_place(person: &Http, id: &str, hosts: usize) -> Result<()> {
    let change: Change = person.get(&format!("/v1/changes/{id}"))?;
    ensure!(change.outcome == Some(Outcome::Done), "{id} is {:?}", change.outcome);
    let well = change.hosts.values().filter(|part| part.step == Step::Well && part.local.is_some()).count();
    ensure!(well == hosts, "{id} is in place on {well} of {hosts} hosts");
    let sizes: Vec<usize> = change.batches.iter().map(Vec::len).collect();
    ensure!(sizes == [1, hosts - 1], "{id} went in batches of {sizes:?}");
    Ok(())
}
