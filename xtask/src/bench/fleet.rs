//! 200 files on three hosts, against Ansible and pyinfra over SSH; nothing to do there; and the way back.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenroom_testkit::lab::{Boot, Fleet, Lab};
use serde_json::Value;

use super::delivery::{ANSIBLE, install};
use super::measure::{Measured, Target, millis};
use super::plane::{Plane, took};
use super::world::{World, text};

/// The second peer, as its package registry has it.
const PYINFRA: &str = "pyinfra==3.10.0";

const HOSTS: [&str; 3] = ["web1", "web2", "db1"];
const FILES: usize = 200;

/// How often everything is measured; Greenroom's own commands three times in each round.
const ROUNDS: usize = 2;

/// Where the files go.
const TO: &str = "srv/app";

/// What was measured, in milliseconds.
#[derive(Default)]
struct Times {
    rehearse: Vec<f64>,
    apply: Vec<f64>,
    status: Vec<f64>,
    full: Vec<f64>,
    undo: Vec<f64>,
    ansible: Vec<f64>,
    ansible_again: Vec<f64>,
    pyinfra: Vec<f64>,
}

/// Joined lab hosts and the two peers, each with its connections open before anything counts.
pub(super) fn apply(world: &World) -> Result<Vec<Measured>> {
    let dir = world.dir.join("fleet");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    write_change(&dir)?;
    let lab = Lab::new()?;
    let mut fleet = Fleet::new(&lab)?;
    for host in HOSTS {
        fleet.add(host)?;
    }
    fleet.boot(&Boot::with_packages())?;
    // Ansible's modules are run by the host's own Python.
    for host in fleet.hosts() {
        host.exec_ok(&["sh", "-c", "apt-get -qq update && apt-get -qq -y install python3-minimal >/dev/null"])?;
    }
    let plane = Plane::new(world, &fleet, dir.join("state"))?;
    let peers = Peers::new(world, &fleet, &dir)?;
    let mut times = Times::default();
    once(&plane, &dir, &mut Times::default())?;
    for _ in 0..ROUNDS {
        for _ in 0..3 {
            once(&plane, &dir, &mut times)?;
        }
        peers.measure(&mut times)?;
    }
    Ok(rows(&times))
}

/// Rehearsed, put in place, looked at, and taken back.
fn once(plane: &Plane<'_>, dir: &Path, times: &mut Times) -> Result<()> {
    let change = dir.join("change.toml").display().to_string();
    let rehearsal = plane.json(&["rehearse", "--on", "all", "--boot", "no", &change])?;
    let ran = plane.json(&["apply", &text(&rehearsal.answer, "id")?])?;
    ensure!(ran.answer["outcome"] == "done", "it was not applied: {}", ran.answer);
    all(plane.fleet, FILES)?;
    times.rehearse.push(millis(rehearsal.took));
    times.apply.push(millis(ran.took));
    for (full, into) in [(false, &mut times.status), (true, &mut times.full)] {
        let words: &[&str] = if full { &["status", "--on", "all", "--full"] } else { &["status", "--on", "all"] };
        let looked = plane.json(words)?;
        let as_recorded = |host: &Value| host["drift"].as_array().is_some_and(Vec::is_empty);
        let hosts = looked.answer["hosts"].as_object().context("no hosts")?;
        ensure!(hosts.len() == HOSTS.len() && hosts.values().all(as_recorded), "not as applied: {}", looked.answer);
        into.push(millis(looked.took));
    }
    let undone = plane.json(&["undo", &text(&ran.answer, "id")?])?;
    ensure!(undone.answer["outcome"] == "done", "it was not taken back: {}", undone.answer);
    all(plane.fleet, 0)?;
    times.undo.push(millis(undone.took));
    Ok(())
}

/// That every host has so many of the files.
fn all(fleet: &Fleet, count: usize) -> Result<()> {
    for host in fleet.hosts() {
        let found = fs::read_dir(host.path(TO)).map_or(0, Iterator::count);
        ensure!(found == count, "{} has {found} files instead of {count}", host.name());
    }
    Ok(())
}

/// The peers at the operator's place, with its keys and its configuration of ssh.
struct Peers<'a> {
    fleet: &'a Fleet,
    dir: &'a Path,
    ansible: PathBuf,
    pyinfra: PathBuf,
}

impl<'a> Peers<'a> {
    fn new(world: &World, fleet: &'a Fleet, dir: &'a Path) -> Result<Self> {
        let (ansible, pyinfra) =
            (install(&world.cache, ANSIBLE, "ansible")?, install(&world.cache, PYINFRA, "pyinfra")?);
        fs::write(dir.join("hosts.ini"), HOSTS.join("\n") + "\n").context("cannot write the inventory")?;
        let ssh = fleet.ssh_config();
        let keys = ssh.parent().unwrap_or(dir);
        let host = |host: &&str| {
            let (key, known) = (keys.join("id_ed25519"), keys.join("known_hosts"));
            Ok(format!(
                "    (\"{host}\", {{\"ssh_hostname\": \"{}\", \"ssh_user\": \"root\", \"ssh_key\": \"{}\", \
                 \"ssh_known_hosts_file\": \"{}\", \"ssh_config_file\": \"{}\"}}),\n",
                fleet.address(host)?,
                key.display(),
                known.display(),
                ssh.display()
            ))
        };
        let hosts = HOSTS.iter().map(host).collect::<Result<String>>()?;
        fs::write(dir.join("inventory.py"), format!("hosts = [\n{hosts}]\n")).context("cannot write the inventory")?;
        let peers = Self { fleet, dir, ansible, pyinfra };
        // Its connections stay open from now on.
        took(peers.ansible(&["-m", "ping"]).env("ANSIBLE_NOCOLOR", "1"))?;
        Ok(peers)
    }

    fn ansible(&self, words: &[&str]) -> Command {
        let mut command = self.fleet.operator().command(&self.ansible);
        command.arg("all").arg("--inventory").arg(self.dir.join("hosts.ini")).args(["--forks", "3"]).args(words);
        let ssh = format!("-F {} -o ControlMaster=auto -o ControlPersist=3600s", self.fleet.ssh_config().display());
        command.env("ANSIBLE_SSH_ARGS", ssh).env("ANSIBLE_PIPELINING", "True").env("HOME", self.dir);
        command.env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3");
        command
    }

    fn copy(&self) -> Result<Duration> {
        took(&mut self.ansible(&[
            "-m",
            "copy",
            "-a",
            &format!("src={}/ dest=/{TO}/", self.dir.join("source").display()),
        ]))
    }

    fn sync(&self) -> Result<Duration> {
        let mut command = self.fleet.operator().command(&self.pyinfra);
        command.arg("-y").arg(self.dir.join("inventory.py")).arg("files.sync");
        command.arg(format!("src={}", self.dir.join("source").display())).arg(format!("dest=/{TO}"));
        took(command.env("HOME", self.dir))
    }

    /// The files, and what Ansible leaves on a host, which would be drift.
    fn remove(&self) -> Result<()> {
        for host in self.fleet.hosts() {
            fs::remove_dir_all(host.path(TO)).context("cannot remove the files")?;
            match fs::remove_dir_all(host.path("root/.ansible")) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context("cannot clean up"),
                _ => (),
            }
        }
        Ok(())
    }

    fn measure(&self, times: &mut Times) -> Result<()> {
        for (work, into) in [
            (&(|| self.copy()) as &dyn Fn() -> Result<Duration>, &mut times.ansible),
            (&|| self.copy(), &mut times.ansible_again),
        ] {
            into.push(millis(work()?));
            all(self.fleet, FILES)?;
        }
        self.remove()?;
        times.pyinfra.push(millis(self.sync()?));
        all(self.fleet, FILES)?;
        self.remove()
    }
}

/// Files of 4 to 6 KiB, and the change that brings them.
fn write_change(dir: &Path) -> Result<()> {
    let source = dir.join("source");
    fs::create_dir(&source).context("cannot make a directory")?;
    for number in 0..FILES {
        let line = format!("a line of file {number}\n");
        let length = 4096 + number * 2048 / FILES;
        let mut content = line.repeat(length / line.len() + 1).into_bytes();
        content.truncate(length);
        fs::write(source.join(format!("file-{number}.conf")), content).context("cannot write a file")?;
    }
    let steps: String = (0..FILES)
        .map(|n| format!("[[step]]\ncopy = {{ from = \"source/file-{n}.conf\", to = \"/{TO}/file-{n}.conf\" }}\n"))
        .collect();
    let text = format!("name = \"200 files\"\n[[step]]\nrun = \"mkdir -p /{TO}\"\n{steps}");
    fs::write(dir.join("change.toml"), text).context("cannot write the change")
}

fn rows(times: &Times) -> Vec<Measured> {
    let row = |what, ours: &[f64], peer, theirs: &[f64], targets| Measured {
        what,
        peer,
        unit: "ms",
        ours: ours.to_vec(),
        theirs: theirs.to_vec(),
        targets,
    };
    let (copy, again) = ("Ansible `copy` of the directory, over SSH", "the same Ansible again, nothing to do");
    vec![
        row(
            "apply of 200 files of 4–6 KiB to 3 hosts, whole command",
            &times.apply,
            copy,
            &times.ansible,
            vec![Target::Faster(60.0)],
        ),
        row(
            "the same apply to 3 hosts",
            &times.apply,
            "pyinfra `files.sync` of the directory, over SSH",
            &times.pyinfra,
            vec![Target::Faster(15.0)],
        ),
        row("its rehearsal on the 3 hosts, apart", &times.rehearse, "", &[], vec![]),
        row(
            "nothing to do: `status --on all`, 3 hosts",
            &times.status,
            again,
            &times.ansible_again,
            vec![Target::Faster(100.0)],
        ),
        row("the same with `--full`: every file of the 3 hosts read", &times.full, again, &times.ansible_again, vec![]),
        row("undo on 3 hosts, all files back, whole command", &times.undo, "", &[], vec![Target::AtMost(1000.0)]),
    ]
}
