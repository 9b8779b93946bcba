//! Control planes with their hosts, for the tests of many hosts as one.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Boot, Fleet, Lab, Output};
use greenroom_testkit::postgres::Postgres;
use greenroom_testkit::s3::{KEY, S3, SECRET};
use serde_json::Value;

/// The program.
pub(crate) const GREENROOM: &str = env!("CARGO_BIN_EXE_greenroom");

/// How long anything may take.
const LONG: Duration = Duration::from_secs(60);

/// A fleet with one control plane at the operator's place, or with two of their own.
pub(crate) struct World {
    planes: Vec<Plane>,
    database: Option<Postgres>,
    contents: Option<S3>,
    pub(crate) fleet: Fleet,
    /// The state directory of the first control plane.
    pub(crate) state: PathBuf,
}

/// A control plane.
struct Plane {
    station: String,
    state: PathBuf,
    process: Option<Child>,
}

impl World {
    pub(crate) fn new(webs: u32) -> Self {
        let lab = Lab::new().unwrap();
        let fleet = Fleet::webs_and_db(&lab, webs, None, &Boot::networked()).unwrap();
        Self::with_one(&lab, fleet)
    }

    /// The same with hosts of these names, joined.
    pub(crate) fn joined(names: &[&str]) -> Self {
        let lab = Lab::new().unwrap();
        let world = Self::with_one(&lab, booted(&lab, names, &[]));
        world.join(names);
        world
    }

    /// Hosts of these names, joined, and two control planes at stations of their own, on one PostgreSQL and one bucket of S3.
    pub(crate) fn with_two(names: &[&str]) -> Self {
        let lab = Lab::new().unwrap();
        let fleet = booted(&lab, names, &["plane1", "plane2", "database", "contents"]);
        let database = Postgres::start_at(fleet.at("database").unwrap());
        let _ = database.database("fleet");
        let contents = S3::start_at(fleet.at("contents").unwrap());
        let _ = contents.bucket("fleet");
        let mut world = Self::of(&lab, fleet, &["plane1", "plane2"]);
        (world.database, world.contents) = (Some(database), Some(contents));
        // The first start of both at the same time: they make one authority.
        world.start(0);
        world.start(1);
        world.until("both serve", |world| [0, 1].iter().all(|plane| world.serves(*plane)));
        world.join(names);
        world
    }

    /// Hosts that are booted, none of them joined, and one control plane.
    pub(crate) fn with_one(lab: &Lab, fleet: Fleet) -> Self {
        let mut world = Self::of(lab, fleet, &["operator"]);
        world.serve();
        world
    }

    fn of(lab: &Lab, fleet: Fleet, stations: &[&str]) -> Self {
        let plane = |station: &&str| Plane {
            station: (*station).to_owned(),
            state: lab.dir().join("state").join(station),
            process: None,
        };
        let planes: Vec<Plane> = stations.iter().map(plane).collect();
        let state = planes[0].state.clone();
        Self { planes, database: None, contents: None, fleet, state }
    }

    /// Lets hosts in, all at once; the program goes there without what only a debugger reads, which is half of it.
    fn join(&self, names: &[&str]) {
        let program = self.state.with_file_name("greenroom").display().to_string();
        let stripped = Command::new("strip").args(["-o", &program, GREENROOM]).status().unwrap();
        assert!(stripped.success());
        std::thread::scope(|threads| {
            for name in names {
                let program = &program;
                threads.spawn(move || self.done(&["join", &format!("root@{name}"), "--program", program]));
            }
        });
    }

    /// Starts a control plane; all tell hosts the addresses of all.
    pub(crate) fn start(&mut self, which: usize) {
        let Plane { station, state, .. } = &self.planes[which];
        let mut command = self.fleet.at(station).unwrap().command(GREENROOM);
        command.arg("--state").arg(state).arg("serve");
        for plane in &self.planes {
            command.args(["--url", &format!("https://{}:7443", self.fleet.address(&plane.station).unwrap())]);
        }
        if let Some(database) = &self.database {
            command.args(["--ledger", &database.url("fleet")]);
        }
        if let Some(contents) = &self.contents {
            let bucket = format!("s3://fleet/contents?endpoint={}&region=eu-central-1", contents.endpoint());
            command.args(["--blobs", &bucket]).env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        }
        self.planes[which].process = Some(command.stdin(Stdio::null()).spawn().unwrap());
    }

    /// Starts the first one and waits until it serves.
    pub(crate) fn serve(&mut self) {
        self.start(0);
        self.until("the control plane serves", |world| world.serves(0));
    }

    pub(crate) fn serves(&self, which: usize) -> bool {
        self.at(which, &["token", "list"]).ok()
    }

    /// The program where a control plane is, as root of that machine runs it.
    pub(crate) fn command(&self, which: usize) -> Command {
        let plane = &self.planes[which];
        let mut command = self.fleet.at(&plane.station).unwrap().command(GREENROOM);
        command.arg("--state").arg(&plane.state);
        command
    }

    /// Runs it.
    pub(crate) fn at(&self, which: usize, args: &[&str]) -> Output {
        let plane = &self.planes[which];
        let state = plane.state.display().to_string();
        let words: Vec<&str> = [GREENROOM, "--state", &state].into_iter().chain(args.iter().copied()).collect();
        self.fleet.at(&plane.station).unwrap().exec(&words).unwrap()
    }

    /// Runs it where the first one is.
    pub(crate) fn greenroom(&self, args: &[&str]) -> Output {
        self.at(0, args)
    }

    pub(crate) fn done(&self, args: &[&str]) -> Output {
        let output = self.greenroom(args);
        assert!(output.ok(), "{args:?}: {output}");
        output
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.json_at(0, args)
    }

    pub(crate) fn json_at(&self, which: usize, args: &[&str]) -> Value {
        let output = self.at(which, args);
        assert!(output.ok(), "{args:?}: {output}");
        serde_json::from_str(&output.out()).unwrap_or_else(|error| panic!("{args:?}: {error}: {output}"))
    }

    /// Kills the first one.
    pub(crate) fn kill(&mut self) {
        self.kill_at(0);
    }

    /// Kills one, as `kill -9` does.
    pub(crate) fn kill_at(&mut self, which: usize) {
        if let Some(mut process) = self.planes[which].process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn hosts(&self, which: usize) -> Vec<Value> {
        self.json_at(which, &["status", "--json"])["hosts"].as_array().unwrap().clone()
    }

    pub(crate) fn all_in_touch(&self) -> bool {
        self.hosts(0).iter().all(|host| host["in_touch"] == true)
    }

    pub(crate) fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !so(self) {
            assert!(began.elapsed() < LONG, "not within {} s: {what}", LONG.as_secs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn on_all(&self, command: &[&str]) -> Vec<String> {
        self.fleet.hosts().iter().map(|host| host.exec(command).unwrap().out().trim().to_owned()).collect()
    }
}

/// Hosts of these names, and stations.
fn booted(lab: &Lab, names: &[&str], stations: &[&str]) -> Fleet {
    let mut fleet = Fleet::new(lab).unwrap();
    for name in names {
        fleet.add(name).unwrap();
    }
    for station in stations {
        fleet.station(station).unwrap();
    }
    fleet.boot(&Boot::networked()).unwrap();
    fleet
}

impl Drop for World {
    fn drop(&mut self) {
        (0..self.planes.len()).for_each(|plane| self.kill_at(plane));
    }
}
