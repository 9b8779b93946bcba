//! The processes and where they live.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Station;
use super::service::Service;
use crate::crash::{Change, Disk, FileSystem, Violation, World as Tree};
use crate::lab::{Fleet, Lab, Output, run};
use crate::oracle::Comparison;
use crate::postgres::Postgres;

/// How long anything that has to come about may take: longer than a control plane is patient with a host.
const PATIENCE: Duration = Duration::from_secs(240);

/// The limit of one command.
const LIMIT: Duration = Duration::from_secs(60);

/// The database's name.
const DATABASE: &str = "fleet";

/// Who may be killed, stopped or have a wrong clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// A control plane.
    Plane(usize),
    /// An agent.
    Host(usize),
}

struct Host {
    service: Service,
    tree: Tree,
    disk: Disk,
}

/// A fleet with all that belongs to it.
pub struct World {
    planes: Vec<Service>,
    hosts: Vec<Host>,
    database: Postgres,
    fleet: Fleet,
    lab: Lab,
    dir: PathBuf,
    binary: PathBuf,
    /// The rehearsal that is applied again and again.
    pub(super) rehearsal: String,
}

impl World {
    /// Makes one with so many hosts in `dir`, enrols them and rehearses the change on all.
    ///
    /// # Errors
    /// Something of it does not work.
    pub fn new(binary: &Path, dir: &Path, hosts: usize) -> Result<Self, Violation> {
        let names: Vec<String> = (1..=hosts).map(|number| format!("host{number}")).collect();
        // Before the stations, which take over what is mounted when they are made.
        let mut members = Vec::new();
        for name in &names {
            let mut disk = Disk::make(FileSystem::Ext4, &dir.join(format!("{name}.img")))?;
            disk.mount()?;
            let tree = Tree::make(&disk.at, &dir.join(format!("{name}.references")), Change::Command)?;
            members.push(Host { service: Service::new(name.clone()), tree, disk });
        }
        let lab = Lab::new()?;
        let mut fleet = Fleet::new(&lab)?;
        for station in ["plane1", "plane2", "database"].into_iter().chain(names.iter().map(String::as_str)) {
            fleet.station(station)?;
        }
        let database = Postgres::start_at(fleet.at("database")?);
        let _ = database.database(DATABASE);
        let planes = ["plane1", "plane2"].map(|name| Service::new(name.to_owned())).into();
        let (dir, binary) = (dir.to_owned(), binary.to_owned());
        let mut world = Self { planes, hosts: members, database, fleet, lab, dir, binary, rehearsal: String::new() };
        world.start(Member::Plane(0))?;
        world.start(Member::Plane(1))?;
        for plane in 0..2 {
            world.until("a control plane serves", |world| Ok(world.at_plane(plane, &["token", "list"])?.ok()))?;
        }
        for host in 0..hosts {
            world.enrol(host)?;
            world.start(Member::Host(host))?;
        }
        world.until("all hosts are in touch", Self::all_in_touch)?;
        let change =
            ["rehearse", "--on", "all", "--json", "--boot", "no", "--net", "none", "--", "/bin/sh", "/change.sh"];
        let output = world.at_plane(0, &change)?;
        let rehearsal = object(&output)?;
        if !output.ok() {
            return Err(Violation(format!("the change is not ready: {rehearsal:#}")));
        }
        world.rehearsal = rehearsal["id"].as_str().unwrap_or_default().to_owned();
        Ok(world)
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    fn state(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.state"))
    }

    fn service(&mut self, member: Member) -> &mut Service {
        match member {
            Member::Plane(plane) => &mut self.planes[plane],
            Member::Host(host) => &mut self.hosts[host].service,
        }
    }

    /// The name of a member's station.
    pub(super) fn name(&self, member: Member) -> &str {
        match member {
            Member::Plane(plane) => &self.planes[plane].name,
            Member::Host(host) => &self.hosts[host].service.name,
        }
    }

    pub(super) fn station(&self, station: Station) -> &str {
        match station {
            Station::Of(member) => self.name(member),
            Station::Database => "database",
        }
    }

    /// Starts a member that does not run.
    pub(super) fn start(&mut self, member: Member) -> Result<(), Violation> {
        let name = self.name(member).to_owned();
        let mut command = self.fleet.at(&name)?.command(&self.binary);
        match member {
            Member::Plane(_) => {
                command.arg("--state").arg(self.state(&name)).args(["serve", "--ledger", &self.database.url(DATABASE)]);
                for plane in &self.planes {
                    command.args(["--url", &format!("https://{}:7443", self.fleet.address(&plane.name)?)]);
                }
            }
            Member::Host(host) => {
                let tree = &self.hosts[host].tree;
                command.arg("--root").arg(&tree.root).arg("--state").arg(&tree.state).arg("agent");
            }
        }
        let log = File::options().create(true).append(true).open(self.dir.join(format!("{name}.log")))?;
        let off = self.service(member).off;
        if off != 0 {
            command.envs(self.lab.off_clock(off)?);
        }
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.service(member).process = Some(process);
        Ok(())
    }

    /// kill -9.
    pub(super) fn kill(&mut self, member: Member) -> Result<(), Violation> {
        Ok(self.service(member).kill()?)
    }

    /// Starts it when it does not run: as systemd does with what ended.
    pub(super) fn revive(&mut self, member: Member) -> Result<(), Violation> {
        let ended = match &mut self.service(member).process {
            Some(process) => process.try_wait()?.is_some(),
            None => true,
        };
        if ended { self.start(member) } else { Ok(()) }
    }

    /// Starts it anew with a clock that is off by so many seconds.
    pub(super) fn shift(&mut self, member: Member, off: i64) -> Result<(), Violation> {
        self.kill(member)?;
        self.service(member).off = off;
        self.start(member)
    }

    /// Stops it where it is, or lets it go on.
    pub(super) fn stop(&mut self, member: Member, stop: bool) {
        let process = self.service(member).process.as_ref();
        let pid = process.and_then(|process| i32::try_from(process.id()).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, if stop { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Lets it be slow, until it is [quick](Self::quick) again or is started anew.
    pub(super) fn slow(&mut self, member: Member) -> Result<(), Violation> {
        Ok(self.service(member).slow()?)
    }

    pub(super) fn quick(&mut self, member: Member) {
        self.service(member).quick();
    }

    pub(super) fn database(&mut self) -> &mut Postgres {
        &mut self.database
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Takes every free block of a host's disk, or gives them back.
    pub(super) fn fill(&self, host: usize, full: bool) -> Result<(), Violation> {
        let filler = self.hosts[host].disk.at.join("filler");
        if !full {
            return match fs::remove_file(&filler) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        // It fails when there is no room left: that is what it is for.
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=64k", "conv=fsync", "status=none"]).arg(format!("of={}", filler.display()));
        run(&mut dd, b"", LIMIT).map(drop).map_err(Violation::from)
    }

    /// Lets a host in, once more when it was shut out.
    pub(super) fn enrol(&self, host: usize) -> Result<(), Violation> {
        let (name, tree) = (&self.hosts[host].service.name, &self.hosts[host].tree);
        let invitation = self.at_plane(0, &["join", name, "--invite"])?;
        let mut command = self.fleet.at(name)?.command(&self.binary);
        command.arg("--root").arg(&tree.root).arg("--state").arg(&tree.state).arg("enrol");
        let output = run(&mut command, invitation.out().as_bytes(), LIMIT)?;
        if output.ok() { Ok(()) } else { Err(Violation(format!("{name} is not let in: {output}"))) }
    }

    /// Shuts a host out.
    pub(super) fn shut_out(&self, plane: usize, host: usize) -> Result<(), Violation> {
        let access = fs::read_to_string(self.state(&self.planes[plane].name).join("control/access.json"))?;
        let access: Value = serde_json::from_str(&access).map_err(|error| Violation(error.to_string()))?;
        let authority = self.state(&self.planes[plane].name).join("control/authority.pem");
        let mut curl = self.fleet.at(&self.planes[plane].name)?.command("curl");
        curl.args(["-sS", "--max-time", "10", "-X", "DELETE", "--cacert"]).arg(authority);
        curl.arg("-H").arg(format!("Authorization: Bearer {}", access["token"].as_str().unwrap_or_default()));
        let url = access["url"].as_str().unwrap_or_default();
        curl.arg(format!("{url}/v1/hosts/{}", self.hosts[host].service.name));
        // A control plane that is away just now shuts nobody out.
        run(&mut curl, b"", LIMIT).map(drop).map_err(Violation::from)
    }

    /// A command line of a person at a control plane's machine.
    pub(super) fn command(&self, plane: usize, args: &[&str]) -> Result<Command, Violation> {
        let name = &self.planes[plane].name;
        let mut command = self.fleet.at(name)?.command(&self.binary);
        command.arg("--state").arg(self.state(name)).args(args);
        Ok(command)
    }

    pub(super) fn at_plane(&self, plane: usize, args: &[&str]) -> Result<Output, Violation> {
        Ok(run(&mut self.command(plane, args)?, b"", LIMIT)?)
    }

    /// Drops what hosts keep to take changes back that nobody will ask for.
    pub(super) fn tidy(&self) -> Result<(), Violation> {
        for host in 0..self.hosts.len() {
            self.at_host(host, &["gc", "--undo-older-than", "1ms"])?;
        }
        Ok(())
    }

    /// Judges the control planes' own ledger.
    pub(super) fn judge_record(&mut self) -> Result<(), Violation> {
        self.until("somebody says whether the control planes' ledger holds", |world| {
            let said = object(&world.at_plane(0, &["log", "--verify", "--json"])?)?;
            match said["verified"].as_bool() {
                Some(false) => Err(Violation(format!("the control planes' ledger does not hold: {said}"))),
                verified => Ok(verified.is_some()),
            }
        })
    }

    fn at_host(&self, host: usize, args: &[&str]) -> Result<Value, Violation> {
        let tree = &self.hosts[host].tree;
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&tree.root).arg("--state").arg(&tree.state).arg("--json").args(args);
        object(&run(&mut command, b"", LIMIT)?)
    }

    pub(super) fn all_in_touch(&self) -> Result<bool, Violation> {
        let output = self.at_plane(0, &["status", "--json"])?;
        if !output.ok() {
            return Ok(false);
        }
        let hosts = object(&output)?;
        let hosts = hosts["hosts"].as_array().cloned().unwrap_or_default();
        let good = |host: &Value| host["in_touch"] == true && host["revoked"] == false && host["held_by"].is_null();
        Ok(hosts.len() == self.hosts.len() && hosts.iter().all(good))
    }

    /// What is on record in the control planes' database: the value of one statement.
    pub(super) fn asked(&self, statement: &str) -> String {
        self.database.psql(DATABASE, statement)
    }

    /// Waits for something that has to come about. What ended by itself meanwhile is started again.
    pub(super) fn until(
        &mut self,
        what: &str,
        mut so: impl FnMut(&Self) -> Result<bool, Violation>,
    ) -> Result<(), Violation> {
        let began = Instant::now();
        while !so(self)? {
            if began.elapsed() > PATIENCE {
                return Err(Violation(format!("not within {} s: {what}", PATIENCE.as_secs())));
            }
            for plane in 0..self.planes.len() {
                self.revive(Member::Plane(plane))?;
            }
            for host in 0..self.hosts.len() {
                self.revive(Member::Host(host))?;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Judges a host on which nothing is at work: its tree is wholly after the change, or wholly before it; its ledger
    /// holds, and has the part of `change` that it should have, once.
    pub(super) fn judge(&self, host: usize, after: bool, change: Option<&str>, done: bool) -> Result<(), Violation> {
        let (name, tree) = (&self.hosts[host].service.name, &self.hosts[host].tree);
        let found = |reference: &Path| {
            Comparison::new(reference, &tree.root).exclude(&["var/lib/greenroom", "var/log"]).differences()
        };
        let differences = found(if after { &tree.after } else { &tree.before });
        if !differences.is_empty() {
            let other = found(if after { &tree.before } else { &tree.after });
            let what = if other.is_empty() { "wholly in the other state" } else { "neither before nor after" };
            let shown = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
            let wanted = if after { "after" } else { "before" };
            return Err(Violation(format!("{name} should be {wanted} the change and is {what}:\n{shown}")));
        }
        let verified = self.at_host(host, &["log", "--verify"])?;
        if verified["verified"] != true {
            return Err(Violation(format!("the ledger of {name} does not verify: {verified}")));
        }
        let Some(change) = change else { return Ok(()) };
        let log = self.at_host(host, &["log"])?;
        let entries = log["entries"].as_array().cloned().unwrap_or_default();
        let parts: Vec<&Value> = entries.iter().filter(|entry| entry["detail"]["rollout"] == change).collect();
        let in_place = parts.iter().filter(|entry| entry["detail"]["outcome"] == "done").count();
        if in_place > 1 || done && in_place != 1 {
            return Err(Violation(format!("{name} went through with {change} {in_place} times: {parts:#?}")));
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for host in 0..self.hosts.len() {
            self.stop(Member::Host(host), false);
        }
        for service in self.planes.iter_mut().chain(self.hosts.iter_mut().map(|host| &mut host.service)) {
            let _ = service.kill();
        }
    }
}

fn object(output: &Output) -> Result<Value, Violation> {
    serde_json::from_slice(&output.stdout).map_err(|error| Violation(format!("{error}: {output}")))
}
