//! Live steps whose shell leaves programs behind: what was interrupted or failed is ended before it is taken back, what went
//! well lives on. On a tree (control groups, where no systemd runs the machine) and on a booted host (scopes).
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Boot, Lab, LabHost};
use greenroom_testkit::need_root;

/// Somebody who can run greenroom against a host, and see its files from outside.
trait World {
    fn host(&self) -> &LabHost;
    fn command(&self, args: &[&str]) -> Command;

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}\n{text}");
        text
    }

    /// Rehearses a change file that lies in the host.
    fn rehearse(&self, text: &str) {
        std::fs::write(self.host().path("srv/change.toml"), text).unwrap();
        let file = self.inside("srv/change.toml");
        self.ok(&["rehearse", "--boot", "no", "--net", "none", file.to_str().unwrap()]);
    }

    fn inside(&self, path: &str) -> PathBuf;

    fn has(&self, path: &str) -> bool {
        self.host().path(path).exists()
    }

    fn wait_for(&self, path: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.has(path) {
            assert!(Instant::now() < until, "no {path} after 30 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Tree {
    host: LabHost,
    state: PathBuf,
    _lab: Lab,
}

impl World for Tree {
    fn host(&self) -> &LabHost {
        &self.host
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.host.path(path)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.arg("--root").arg(self.host.root()).arg("--state").arg(&self.state).args(args);
        command
    }
}

struct Booted {
    host: LabHost,
    _lab: Lab,
}

impl World for Booted {
    fn host(&self) -> &LabHost {
        &self.host
    }

    fn inside(&self, path: &str) -> PathBuf {
        Path::new("/").join(path)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut line = vec!["greenroom"];
        line.extend(args);
        self.host.service(&line).unwrap().1
    }
}

/// A grandchild in a session of its own, which would write a second after the step was interrupted.
const LATE: &str = r#"name = "leaves a program behind"
[[step]]
live = "setsid sh -c 'echo $$ > /var/log/late.pid; sleep 2; echo late > /var/log/late' & touch /var/log/begun; wait"
undo = "test ! -e /var/log/undone; touch /var/log/undone"
"#;

/// The same without waiting for it: the step fails, or goes well.
const FORKS: &str = r#"[[step]]
live = "setsid sh -c 'sleep 1; echo late > /var/log/NAME' & exit $(cat /var/log/status 2>/dev/null || echo 0)"
undo = "true"
"#;

fn interrupted(world: &impl World, kill: impl Fn(&mut std::process::Child)) {
    world.rehearse(LATE);
    let mut apply = world.command(&["apply", "r1"]).stdin(Stdio::null()).spawn().unwrap();
    world.wait_for("var/log/begun");
    world.wait_for("var/log/late.pid");
    kill(&mut apply);
    apply.wait().unwrap();
    let began = Instant::now();
    let told = world.ok(&["recover"]);
    assert!(told.contains("c1 was interrupted and is taken back now"), "{told}");
    assert!(world.has("var/log/undone"));
    std::thread::sleep(Duration::from_millis(2500).saturating_sub(began.elapsed()));
    assert!(!world.has("var/log/late"), "it went on after recover");
    assert!(world.ok(&["log", "--json"]).contains("taken_back"));
}

fn failed_and_well(world: &impl World) {
    world.rehearse(&FORKS.replace("NAME", "failed"));
    std::fs::write(world.host().path("var/log/status"), "7").unwrap();
    assert_eq!(world.run(&["apply", "r2"]).status.code(), Some(1));
    std::fs::remove_file(world.host().path("var/log/status")).unwrap();
    world.rehearse(&FORKS.replace("NAME", "well"));
    world.ok(&["apply", "r3"]);
    world.wait_for("var/log/well");
    assert!(!world.has("var/log/failed"), "what a failed step left running went on");
}

#[test]
fn on_a_tree() {
    need_root!();
    let lab = Lab::new().unwrap();
    let host = lab.host("live").unwrap();
    let world = Tree { state: lab.dir().join("state"), host, _lab: lab };
    interrupted(&world, |apply| apply.kill().unwrap());
    failed_and_well(&world);
}

#[test]
fn on_a_booted_host() {
    need_root!();
    let lab = Lab::new().unwrap();
    let mut host = lab.host("live").unwrap();
    host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let world = Booted { host, _lab: lab };
    interrupted(&world, |_| {
        world.host.exec_ok(&["pkill", "-KILL", "-x", "greenroom"]).unwrap();
    });
    failed_and_well(&world);
    let scopes =
        world.host.exec_ok(&["systemctl", "list-units", "--all", "--plain", "greenroom-live-*"]).unwrap().out();
    assert!(!scopes.contains(".scope"), "{scopes}");
}
