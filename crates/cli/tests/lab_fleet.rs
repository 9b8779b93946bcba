//! A control plane and its hosts: joined over real SSH, rehearsed on, changed as one, taken back.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod fleet;

use std::fs;

use fleet::{GREENROOM, World};
use greenroom_testkit::need_root;
use serde_json::Value;

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
