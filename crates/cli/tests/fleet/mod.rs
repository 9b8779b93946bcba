//! A control plane with its hosts, for the tests of many hosts as one.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Boot, Fleet, Lab, Output};
use serde_json::Value;

/// The program.
pub(crate) const GREENROOM: &str = env!("CARGO_BIN_EXE_greenroom");

/// A fleet with a control plane at the operator's place.
pub(crate) struct World {
    control: Option<Child>,
    pub(crate) fleet: Fleet,
    pub(crate) state: PathBuf,
}

impl World {
    pub(crate) fn new(webs: u32) -> Self {
        let lab = Lab::new().unwrap();
        let fleet = Fleet::webs_and_db(&lab, webs, None, &Boot::networked()).unwrap();
        Self::of(&lab, fleet)
    }

    /// The same with hosts of these names, joined.
    pub(crate) fn joined(names: &[&str]) -> Self {
        let lab = Lab::new().unwrap();
        let mut fleet = Fleet::new(&lab).unwrap();
        for name in names {
            fleet.add(name).unwrap();
        }
        fleet.boot(&Boot::networked()).unwrap();
        let world = Self::of(&lab, fleet);
        for name in names {
            world.done(&["join", &format!("root@{name}"), "--program", GREENROOM]);
        }
        world
    }

    fn of(lab: &Lab, fleet: Fleet) -> Self {
        let state = lab.dir().join("control-plane");
        let mut world = Self { control: None, fleet, state };
        world.serve();
        world
    }

    pub(crate) fn serve(&mut self) {
        let url = format!("https://{}:7443", self.fleet.operator().address());
        let mut command = self.fleet.operator().command(GREENROOM);
        command.arg("--state").arg(&self.state).args(["serve", "--url", &url]);
        self.control = Some(command.stdin(Stdio::null()).spawn().unwrap());
        self.until("the control plane serves", |world| world.greenroom(&["token", "list"]).ok());
    }

    /// Runs the program at the operator's place.
    pub(crate) fn greenroom(&self, args: &[&str]) -> Output {
        let state = self.state.display().to_string();
        let mut words = vec![GREENROOM, "--state", &state];
        words.extend(args);
        self.fleet.operator().exec(&words).unwrap()
    }

    pub(crate) fn done(&self, args: &[&str]) -> Output {
        let output = self.greenroom(args);
        assert!(output.ok(), "{args:?}: {output}");
        output
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.done(args);
        serde_json::from_str(&output.out()).unwrap_or_else(|error| panic!("{error}: {output}"))
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut control) = self.control.take() {
            control.kill().unwrap();
            control.wait().unwrap();
        }
    }

    pub(crate) fn all_in_touch(&self) -> bool {
        let hosts = self.json(&["status", "--json"]);
        hosts["hosts"].as_array().unwrap().iter().all(|host| host["in_touch"] == true)
    }

    pub(crate) fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !so(self) {
            assert!(began.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn on_all(&self, command: &[&str]) -> Vec<String> {
        self.fleet.hosts().iter().map(|host| host.exec(command).unwrap().out().trim().to_owned()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}
