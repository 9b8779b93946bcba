//! A control plane and its hosts: joined over real SSH, rehearsed on, changed as one, taken back.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Boot, Fleet, Lab, Output};
use greenroom_testkit::need_root;
use serde_json::Value;

const GREENROOM: &str = env!("CARGO_BIN_EXE_greenroom");

/// A fleet with a control plane at the operator's place.
struct World {
    control: Option<Child>,
    fleet: Fleet,
    state: PathBuf,
}

impl World {
    fn new(webs: u32) -> Self {
        let lab = Lab::new().unwrap();
        let fleet = Fleet::webs_and_db(&lab, webs, None, &Boot::networked()).unwrap();
        let state = lab.dir().join("control-plane");
        let mut world = Self { control: None, fleet, state };
        world.serve();
        world
    }

    fn serve(&mut self) {
        let url = format!("https://{}:7443", self.fleet.operator().address());
        let mut command = self.fleet.operator().command(GREENROOM);
        command.arg("--state").arg(&self.state).args(["serve", "--url", &url]);
        self.control = Some(command.stdin(Stdio::null()).spawn().unwrap());
        self.until("the control plane serves", |world| world.greenroom(&["status"]).ok());
    }

    /// Runs the program at the operator's place.
    fn greenroom(&self, args: &[&str]) -> Output {
        let state = self.state.display().to_string();
        let mut words = vec![GREENROOM, "--state", &state];
        words.extend(args);
        self.fleet.operator().exec(&words).unwrap()
    }

    fn done(&self, args: &[&str]) -> Output {
        let output = self.greenroom(args);
        assert!(output.ok(), "{args:?}: {output}");
        output
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.done(args);
        serde_json::from_str(&output.out()).unwrap_or_else(|error| panic!("{error}: {output}"))
    }

    fn kill(&mut self) {
        if let Some(mut control) = self.control.take() {
            control.kill().unwrap();
            control.wait().unwrap();
        }
    }

    fn all_in_touch(&self) -> bool {
        let hosts = self.json(&["status", "--json"]);
        hosts["hosts"].as_array().unwrap().iter().all(|host| host["in_touch"] == true)
    }

    fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !so(self) {
            assert!(began.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn on_all(&self, command: &[&str]) -> Vec<String> {
        self.fleet.hosts().iter().map(|host| host.exec(command).unwrap().out().trim().to_owned()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn hosts_are_joined_rehearsed_on_changed_as_one_and_taken_back() {
    need_root!();
    let world = World::new(2);
    for host in ["web1", "web2", "db1"] {
        let joined = world.done(&["join", &format!("root@{host}"), "--program", GREENROOM]);
        assert!(joined.out().contains("is in touch"), "{joined}");
    }
    // Once more changes nothing.
    assert!(world.done(&["join", "root@web1"]).out().contains("in touch already"));
    let hosts = world.json(&["status", "--json"]);
    assert_eq!(hosts["hosts"].as_array().unwrap().iter().filter(|host| host["in_touch"] == true).count(), 3);

    let change = "echo 'hello fleet' > /etc/motd && id -un > /etc/who";
    let rehearsal = world.json(&["rehearse", "--on", "all", "--json", "--boot", "no", "--", "sh", "-c", change]);
    let id = rehearsal["id"].as_str().unwrap().to_owned();
    assert_eq!(rehearsal["over"], true);
    assert_eq!(rehearsal["alike"].as_array().unwrap().len(), 1, "{rehearsal}");
    assert_eq!(world.on_all(&["cat", "/etc/who"]), ["", "", ""], "a rehearsal touches nothing");

    let applied = world.json(&["apply", &id, "--json", "--why", "a test"]);
    assert_eq!(applied["outcome"], "done", "{applied}");
    assert_eq!(world.on_all(&["cat", "/etc/who"]), ["root", "root", "root"]);
    let local = world.json(&["log", "--on", "web1", "--json"]);
    let entries = local["entries"].as_array().unwrap();
    assert!(
        entries.iter().any(|entry| entry["detail"]["rollout"] == applied["id"] && entry["actor"]["user"] == "root")
    );

    let undone = world.json(&["undo", applied["id"].as_str().unwrap(), "--json"]);
    assert_eq!(undone["outcome"], "done", "{undone}");
    assert_eq!(world.on_all(&["cat", "/etc/who"]), ["", "", ""]);
}

#[test]
fn what_somebody_does_on_a_host_is_in_the_status_of_all_without_being_asked_for() {
    need_root!();
    let mut world = World::new(1);
    world.done(&["join", "root@web1", "--program", GREENROOM]);
    let status = |world: &World| world.json(&["status", "--json"])["hosts"][0]["status"].clone();
    world.until("the host has said how it is", |world| status(world)["watch"] == true);
    assert_eq!((&status(&world)["paths"], &status(&world)["failed_units"]), (&0.into(), &0.into()));
    let web = world.fleet.host("web1").unwrap();
    web.exec_ok(&["sh", "-c", "echo 'by hand' > /etc/motd"]).unwrap();
    world.until("it shows", |world| status(world)["paths"] == 1);
    let found = status(&world)["latest"][0].clone();
    assert_eq!(
        (&found["path"], &found["op"], &found["actor"]),
        (&"/etc/motd".into(), &"modify".into(), &"root".into())
    );
    assert!(found["how"].as_str().unwrap().contains("by hand"), "{found}");
    let shown = world.done(&["status"]).out();
    assert!(shown.contains("web1  in touch") && shown.contains("1 difference, last by root"), "{shown}");
    // What happens while the control plane is away is known when it is back, and so is a unit that failed.
    world.kill();
    let web = world.fleet.host("web1").unwrap();
    web.exec_ok(&["sh", "-c", "touch /etc/one /etc/two; ! systemd-run --wait --unit=broken false"]).unwrap();
    world.serve();
    world.until("both are known", |world| status(world)["paths"] == 3 && status(world)["failed_units"] == 1);
    assert_eq!(status(&world)["failed"][0], "broken.service");
    // Taken back by Greenroom itself, nothing is left.
    world.done(&["revert", "--all", "--on", "web1"]);
    world.until("nothing differs", |world| status(world)["paths"] == 0);
}

#[test]
fn one_host_that_does_not_fit_keeps_all_as_they_are() {
    need_root!();
    let world = World::new(1);
    for host in ["web1", "db1"] {
        world.done(&["join", &format!("root@{host}"), "--program", GREENROOM]);
    }
    let rehearsal =
        world.json(&["rehearse", "--on", "all", "--json", "--boot", "no", "--", "sh", "-c", "echo new > /etc/motd"]);
    let before = world.on_all(&["cat", "/etc/motd"]);
    fs::write(world.fleet.host("web1").unwrap().path("etc/motd"), "by hand\n").unwrap();
    let refused = world.greenroom(&["apply", rehearsal["id"].as_str().unwrap()]);
    assert_eq!(refused.code(), 3, "{refused}");
    assert!(refused.out().contains("nothing was touched") && refused.out().contains("/etc/motd"), "{refused}");
    assert_eq!(world.fleet.host("db1").unwrap().exec(&["cat", "/etc/motd"]).unwrap().out().trim(), before[1]);
    let now = world.on_all(&["cat", "/etc/motd"]);
    assert_eq!(now, ["by hand", &before[1]]);
    // All let go: on the host that fits the next change goes through.
    let alone =
        world.json(&["rehearse", "--on", "db1", "--json", "--boot", "no", "--", "sh", "-c", "echo new > /etc/motd"]);
    assert_eq!(world.json(&["apply", alone["id"].as_str().unwrap(), "--json"])["outcome"], "done");
}

#[test]
fn what_was_killed_goes_on_or_is_taken_back() {
    need_root!();
    let mut world = World::new(2);
    for host in ["web1", "web2", "db1"] {
        world.done(&["join", &format!("root@{host}"), "--program", GREENROOM]);
    }
    let rehearse = |world: &World, text: &str| {
        let command = format!("echo {text} > /etc/motd");
        let rehearsal = world.json(&["rehearse", "--on", "all", "--json", "--boot", "no", "--", "sh", "-c", &command]);
        rehearsal["id"].as_str().unwrap().to_owned()
    };
    // Paused after the first batch, the control plane is killed. The next one knows where it was.
    let id = rehearse(&world, "one");
    let paused = world.json(&["apply", &id, "--json", "--pause-after", "1"]);
    assert_eq!(paused["phase"]["phase"], "paused", "{paused}");
    let motd = world.on_all(&["cat", "/etc/motd"]);
    assert_eq!(motd.iter().filter(|text| *text == "one").count(), 1, "{motd:?}");
    let change = paused["id"].as_str().unwrap();
    world.kill();
    world.serve();
    world.until("all are back", World::all_in_touch);
    let done = world.json(&["continue", change, "--json"]);
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(world.on_all(&["cat", "/etc/motd"]), ["one", "one", "one"]);
    // An agent is killed while its host waits: what it held is gone, so the change goes nowhere.
    let id = rehearse(&world, "two");
    let paused = world.json(&["apply", &id, "--json", "--pause-after", "1"]);
    let waiting = paused["hosts"].as_object().unwrap().iter().find(|(_, part)| part["step"] == "prepared").unwrap().0;
    world.fleet.host(waiting).unwrap().exec_ok(&["systemctl", "kill", "--signal=KILL", "greenroom-agent"]).unwrap();
    let ended = world.greenroom(&["continue", paused["id"].as_str().unwrap(), "--json"]);
    let ended: Value = serde_json::from_str(&ended.out()).unwrap();
    assert_eq!(ended["outcome"], "taken_back", "{ended}");
    assert_eq!(world.on_all(&["cat", "/etc/motd"]), ["one", "one", "one"]);
}
