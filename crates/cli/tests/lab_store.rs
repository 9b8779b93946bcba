//! A change around a live database: its server does not run in the copy, what happens to it is measured all the same, and
//! apply does it for real.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::Path;

use greenroom_testkit::lab::{Boot, Lab, LabHost};
use serde_json::Value;

const CLUSTER: &str = "postgresql@15-main.service";

struct World {
    host: LabHost,
    _lab: Lab,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let mut host = lab.host("store").unwrap();
        host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
        host.boot(&Boot::with_packages()).unwrap();
        host.exec_ok(&["apt-get", "update"]).unwrap();
        host.exec_ok(&["apt-get", "install", "-y", "--no-install-recommends", "postgresql-15"]).unwrap();
        Self { host, _lab: lab }
    }

    fn greenroom(&self, args: &[&str], code: i32) -> Value {
        let output = self.host.exec(&[&["greenroom", "--json"], args].concat()).unwrap();
        assert_eq!(output.code(), code, "{args:?}\n{}\n{}", output.out(), output.err());
        serde_json::from_str(&output.out()).unwrap()
    }

    /// Rehearses a script; the actions that were measured, and the notes.
    fn rehearse(&self, script: &str) -> (Vec<String>, String) {
        let record = self.greenroom(&["rehearse", "--", "sh", "-c", script], 0);
        assert_eq!(record["verdict"], "ready", "{record:#}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let actions = record["actions"].as_array().unwrap();
        let mut actions: Vec<String> =
            actions.iter().map(|a| format!("{} {}", text(&a["verb"]), text(&a["unit"]))).collect();
        actions.sort();
        (actions, record["notes"].to_string())
    }

    fn sql(&self, text: &str) -> String {
        let command = ["runuser", "-u", "postgres", "--", "psql", "-Atc", text];
        self.host.exec_ok(&command).unwrap().out().trim().to_owned()
    }

    /// Who the server is: another process after a restart.
    fn main_pid(&self) -> String {
        let show = ["systemctl", "show", "--value", "--property=MainPID,InvocationID,NRestarts", CLUSTER];
        self.host.exec_ok(&show).unwrap().out()
    }
}

#[test]
fn a_database_is_restarted_and_reloaded_for_real() {
    greenroom_testkit::need_root!();
    let world = World::new();
    world.sql("create table t as select generate_series(1, 1000) as n");
    let starts = || {
        let log = world.host.exec_ok(&["sh", "-c", "cat /var/log/postgresql/*.log"]).unwrap().out();
        log.matches("database system is ready to accept connections").count()
    };

    let before = world.main_pid();
    let (actions, notes) = world.rehearse("systemctl restart postgresql; systemctl is-active postgresql");
    assert_eq!(actions, ["restart postgresql.service", &format!("restart {CLUSTER}")]);
    assert!(notes.contains("really restart") && notes.contains(CLUSTER), "{notes}");
    assert!(!notes.contains("log files"), "{notes}");
    assert_eq!(world.main_pid(), before, "the host was touched");
    let began = starts();
    world.greenroom(&["apply", "r1"], 0);
    assert_ne!(world.main_pid(), before);
    assert_eq!(starts(), began + 1, "restarted once, not once for each unit");

    let before = world.main_pid();
    let edit = "echo 'work_mem = 7MB' >> /etc/postgresql/15/main/postgresql.conf; systemctl reload postgresql";
    let (actions, _) = world.rehearse(edit);
    assert!(
        actions.contains(&format!("reload {CLUSTER}")) || actions.contains(&"reload postgresql.service".to_owned())
    );
    assert!(actions.iter().all(|action| action.starts_with("reload")), "{actions:?}");
    world.greenroom(&["apply", "r2"], 0);
    assert_eq!(world.main_pid(), before, "reloaded, not restarted");
    assert_eq!(world.sql("show work_mem"), "7MB");
    world.greenroom(&["undo", "c2"], 0);
    assert_eq!(world.sql("show work_mem"), "4MB");

    assert_eq!(world.sql("select sum(n) from t"), "500500");
    let stop = ["stop postgresql.service".to_owned(), format!("stop {CLUSTER}")];
    assert_eq!(world.rehearse("systemctl stop postgresql").0, stop);
    // A timer is held by a condition in a copy. That it was up is none of the change's doing: undo leaves it so.
    assert_eq!(world.rehearse("systemctl start apt-daily.timer").0, ["start apt-daily.timer"]);
    let id = world.greenroom(&["apply", "r4"], 0)["change"].clone();
    world.greenroom(&["undo", id.as_str().unwrap()], 0);
    world.host.exec_ok(&["systemctl", "is-active", "apt-daily.timer"]).unwrap();
}
