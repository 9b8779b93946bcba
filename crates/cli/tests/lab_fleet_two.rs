//! Two control planes on one PostgreSQL: what is begun at one is driven on by the other.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Boot, Fleet, Lab, Output};
use greenroom_testkit::need_root;
use greenroom_testkit::postgres::Postgres;
use serde_json::Value;

const GREENROOM: &str = env!("CARGO_BIN_EXE_greenroom");

/// Control planes at stations of their own, and the database at another.
struct World {
    planes: Vec<(String, Option<Child>)>,
    database: Postgres,
    fleet: Fleet,
    lab: Lab,
}

impl World {
    fn new(hosts: &[&str]) -> Self {
        let lab = Lab::new().unwrap();
        let mut fleet = Fleet::new(&lab).unwrap();
        for host in hosts {
            fleet.add(host).unwrap();
        }
        for station in ["plane1", "plane2", "database"] {
            fleet.station(station).unwrap();
        }
        fleet.boot(&Boot::networked()).unwrap();
        let database = Postgres::start_at(fleet.at("database").unwrap());
        let _ = database.database("fleet");
        let planes = vec![("plane1".to_owned(), None), ("plane2".to_owned(), None)];
        Self { planes, database, fleet, lab }
    }

    fn state(&self, plane: &str) -> PathBuf {
        self.lab.dir().join(plane)
    }

    /// Starts the control plane; both tell hosts both addresses.
    fn serve(&mut self, which: usize) {
        let name = self.planes[which].0.clone();
        let mut command = self.fleet.at(&name).unwrap().command(GREENROOM);
        command.arg("--state").arg(self.state(&name)).args(["serve", "--ledger", &self.database.url("fleet")]);
        for (plane, _) in &self.planes {
            command.args(["--url", &format!("https://{}:7443", self.fleet.address(plane).unwrap())]);
        }
        self.planes[which].1 = Some(command.stdin(Stdio::null()).spawn().unwrap());
    }

    fn kill(&mut self, which: usize) {
        let mut plane = self.planes[which].1.take().unwrap();
        plane.kill().unwrap();
        plane.wait().unwrap();
    }

    /// Runs the program where a control plane is, as root of that machine does.
    fn at(&self, plane: &str, args: &[&str]) -> Output {
        let state = self.state(plane).display().to_string();
        let words: Vec<&str> = [GREENROOM, "--state", &state].into_iter().chain(args.iter().copied()).collect();
        self.fleet.at(plane).unwrap().exec(&words).unwrap()
    }

    fn json(&self, plane: &str, args: &[&str]) -> Value {
        let output = self.at(plane, args);
        serde_json::from_str(&output.out()).unwrap_or_else(|error| panic!("{args:?}: {error}: {output}"))
    }

    fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !so(self) {
            assert!(began.elapsed() < Duration::from_secs(60), "not within 60 s: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn on_all(&self, command: &[&str]) -> Vec<String> {
        self.fleet.hosts().iter().map(|host| host.exec(command).unwrap().out().trim().to_owned()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for mut plane in self.planes.drain(..).filter_map(|(_, plane)| plane) {
            let _ = plane.kill();
            let _ = plane.wait();
        }
    }
}

#[test]
fn what_one_control_plane_began_the_other_ends() {
    need_root!();
    let mut world = World::new(&["web1", "web2"]);
    // The first start of both at the same time: they make one authority.
    world.serve(0);
    world.serve(1);
    world
        .until("both serve", |world| ["plane1", "plane2"].iter().all(|plane| world.at(plane, &["token", "list"]).ok()));
    let authority = |plane| std::fs::read(world.state(plane).join("control/authority.pem")).unwrap();
    assert_eq!(authority("plane1"), authority("plane2"));
    for host in ["web1", "web2"] {
        let joined = world.at("plane1", &["join", &format!("root@{host}"), "--program", GREENROOM]);
        assert!(joined.ok(), "{joined}");
    }
    let change = ["rehearse", "--on", "all", "--json", "--boot", "no", "--", "sh", "-c", "echo one > /etc/motd"];
    let rehearsal = world.json("plane1", &change);
    let paused = world.json("plane1", &["apply", rehearsal["id"].as_str().unwrap(), "--json", "--pause-after", "1"]);
    assert_eq!(paused["phase"]["phase"], "paused", "{paused}");
    let id = paused["id"].as_str().unwrap().to_owned();

    // Whichever drives it: what the second is told goes through it or the one that is left.
    world.kill(0);
    let done = world.json("plane2", &["continue", &id, "--json"]);
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(world.on_all(&["cat", "/etc/motd"]), ["one", "one"]);
    world.serve(0);
    world.until("the first is back", |world| world.at("plane1", &["token", "list"]).ok());
    assert_eq!(world.json("plane1", &["follow", &id, "--json"])["outcome"], "done");

    // The other one is killed while all is going on; nobody follows.
    world.kill(1);
    let rehearsal =
        world.json("plane1", &change[..9].iter().copied().chain(["echo two > /etc/motd"]).collect::<Vec<_>>());
    world.serve(1);
    world.until("the second is back", |world| world.at("plane2", &["token", "list"]).ok());
    let plane = world.fleet.at("plane1").unwrap();
    let mut apply = plane.command(GREENROOM);
    apply.arg("--state").arg(world.state("plane1")).args(["apply", rehearsal["id"].as_str().unwrap()]);
    let mut apply = apply.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    world.until("hosts are held", |world| {
        let hosts = world.json("plane2", &["status", "--json"]);
        hosts["hosts"].as_array().unwrap().iter().any(|host| !host["held_by"].is_null())
    });
    world.kill(0);
    let _ = apply.wait();
    world.until("the second ends it", |world| {
        let hosts = world.json("plane2", &["status", "--json"]);
        hosts["hosts"].as_array().unwrap().iter().all(|host| host["held_by"].is_null())
    });
    let motd = world.on_all(&["cat", "/etc/motd"]);
    let log = world.at("plane2", &["log", "--on", "web1", "--json"]);
    assert!(motd == ["two", "two"] || motd == ["one", "one"], "{motd:?}: {log}");
}
