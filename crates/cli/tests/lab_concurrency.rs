//! Several Greenrooms at once on one root: one change at a time, any number of rehearsals, gc beside both.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Lab, LabHost};
use greenroom_testkit::need_root;
use serde_json::Value;

struct World {
    state: PathBuf,
    host: LabHost,
    _lab: Lab,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let host = lab.host("busy").unwrap();
        Self { state: lab.dir().join("state"), host, _lab: lab }
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.arg("--json").arg("--root").arg(self.host.root()).arg("--state").arg(&self.state).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn rehearse(&self, script: &str) -> Child {
        self.start(&["rehearse", "--boot", "no", "--net", "none", "--", "/bin/sh", "-c", script])
    }

    /// Waits until something is there; it must be soon.
    fn wait_for(what: &str, ready: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !ready() {
            assert!(Instant::now() < until, "{what}: not after 30 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn object(output: &Output) -> Value {
    let text = || String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text()))
}

fn end(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    object(&output)
}

#[test]
fn a_second_apply_is_refused_and_names_the_first() {
    need_root!();
    let world = World::new();
    let file = world.host.path("../change.toml");
    std::fs::write(&file, "[[step]]\nrun = \"echo one > /etc/one\"\n[[step]]\nlive = \"sleep 3\"\nundo = \"true\"\n")
        .unwrap();
    let slow = end(world.start(&["rehearse", "--boot", "no", "--net", "none", file.to_str().unwrap()]));
    let other = end(world.rehearse("echo two > /etc/two"));
    assert_eq!((&slow["verdict"], &other["verdict"]), (&"ready".into(), &"ready".into()), "{slow:#}");

    let first = world.start(&["apply", slow["rehearsal"].as_str().unwrap()]);
    World::wait_for("the first file of the first apply", || world.host.path("etc/one").exists());
    let second = world.start(&["apply", other["rehearsal"].as_str().unwrap()]).wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(3), "{}", String::from_utf8_lossy(&second.stderr));
    let said = String::from_utf8_lossy(&second.stdout).into_owned() + &String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("apply r1") && said.contains(&first.id().to_string()), "the holder is not named: {said}");
    assert!(!world.host.path("etc/two").exists());

    assert_eq!(end(first)["outcome"], "applied");
    assert_eq!(end(world.start(&["apply", other["rehearsal"].as_str().unwrap()]))["outcome"], "applied");
    let log = end(world.start(&["log"]));
    let kinds: Vec<&str> = log["entries"].as_array().unwrap().iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["rehearsal", "rehearsal", "apply", "apply"]);
}

#[test]
fn two_rehearsals_at_once_do_not_see_each_other() {
    need_root!();
    let world = World::new();
    let script = |mine: &str, other: &str| format!("echo {mine} > /etc/{mine}; sleep 2; [ ! -e /etc/{other} ]");
    let (one, two) = (world.rehearse(&script("one", "two")), world.rehearse(&script("two", "one")));
    let (one, two) = (end(one), end(two));
    assert_ne!(one["rehearsal"], two["rehearsal"]);
    for (record, name) in [(&one, "/etc/one"), (&two, "/etc/two")] {
        assert_eq!(record["verdict"], "ready", "{record:#}");
        let shown = end(world.start(&["show", record["rehearsal"].as_str().unwrap()])).to_string();
        assert!(shown.contains(name), "{shown}");
    }
    assert_eq!(end(world.start(&["log", "--verify"]))["verified"], true);
}

#[test]
fn gc_leaves_a_rehearsal_that_is_being_held_alone() {
    need_root!();
    let world = World::new();
    end(world.rehearse("echo old > /etc/old"));
    let held = world.rehearse("echo held > /etc/held; sleep 3");
    World::wait_for("the copy of the rehearsal", || {
        std::fs::read_dir(world.state.join("copies")).is_ok_and(|d| d.count() > 0)
    });
    let gone = end(world.start(&["gc", "--keep", "0"]));
    assert_eq!(gone["copies"], 0, "{gone:#}");
    let record = end(held);
    assert_eq!(record["verdict"], "ready", "{record:#}");
    assert_eq!(end(world.start(&["apply", record["rehearsal"].as_str().unwrap()]))["outcome"], "applied");
    assert_eq!(std::fs::read_to_string(world.host.path("etc/held")).unwrap(), "held\n");
    let after = end(world.start(&["gc", "--keep", "0"]));
    assert_eq!(end(world.start(&["undo", "c1"]))["outcome"], "undone", "{after:#}");
}
