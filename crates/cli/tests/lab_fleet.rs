//! A control plane and its hosts: joined over real SSH, rehearsed on, changed as one, taken back.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod fleet;

use std::io::{Read as _, Write as _};
use std::process::Child;
use std::sync::{Arc, Mutex};

use std::fs;

use fleet::{GREENROOM, World};
use greenroom_testkit::need_root;
use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcsetwinsize};
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

    // All are asked at once, and one that is not as it should be is found without waiting for its word.
    let now = world.json(&["status", "--on", "all", "--full", "--json"]);
    let hosts = now["hosts"].as_object().unwrap();
    assert_eq!(hosts.keys().collect::<Vec<_>>(), ["db1", "web1", "web2"]);
    assert!(hosts.values().all(|host| host["drift"].as_array().unwrap().is_empty()), "{now}");
    world.fleet.host("web2").unwrap().exec_ok(&["touch", "/etc/by-hand"]).unwrap();
    let shown = world.done(&["status", "--on", "all,!db1"]).out();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("web1  as its record says ("), "{shown}");
    assert!(lines[1].starts_with("web2  1 difference (") && lines[1].ends_with(": /etc/by-hand"), "{shown}");
    assert_eq!(world.greenroom(&["status", "--on", "web1,web9"]).code(), 2);

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
    let log = world.json(&["log", "--on", "web1", "--json"]);
    let last = log["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["kind"], &last["actor"]["from"]), (&"revert".into(), &"control plane".into()), "{last}");
}

/// A terminal at the operator's place with the program at it.
struct Terminal {
    master: fs::File,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn at(world: &World, args: &[&str]) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let slave = fs::File::options().read(true).write(true).open(name).unwrap();
        let mut line = world.fleet.operator().command("setsid");
        line.args(["--ctty", "--wait", GREENROOM, "--state"]).arg(&world.state).args(args);
        line.env("TERM", "xterm").env("NO_COLOR", "1");
        line.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let child = line.spawn().unwrap();
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (master, sink) = (fs::File::from(master), Arc::clone(&seen));
        let mut source = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { master, child, seen }
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }
}

#[test]
fn progress_is_a_line_a_host_and_events_that_can_be_taken_up_again() {
    need_root!();
    let mut world = World::new(1);
    for host in ["web1", "db1"] {
        world.done(&["join", &format!("root@{host}"), "--program", GREENROOM]);
    }
    let change = "echo begun; while [ ! -e /etc/go ] && [ $SECONDS -lt 20 ]; do sleep 0.2; done; echo new > /etc/motd";
    let rehearse = ["rehearse", "--on", "all", "--boot", "no", "--", "bash", "-c", change];
    let mut terminal = Terminal::at(&world, &rehearse);
    world.until("each host has its line, and all have one", |_| {
        let seen = terminal.seen();
        seen.contains("web1  rehearsing") && seen.contains("db1   rehearsing") && seen.contains("0 of 2 hosts")
    });
    terminal.master.write_all(b"\x03").unwrap();
    assert_eq!(terminal.child.wait().unwrap().code(), Some(130), "{}", terminal.seen());
    world.until("how to look again is said", |_| terminal.seen().contains("greenroom follow r1"));
    let seen = terminal.seen();
    let id = seen.split("greenroom follow ").nth(1).unwrap().split([';', '\r', '\n']).next().unwrap().to_owned();
    assert!(seen.contains(&format!("{id} goes on without you")), "{seen}");
    // Looked at again, over the death of the control plane, it comes to its end.
    let terminal = Terminal::at(&world, &["follow", &id]);
    world.until("it is looked at again", |_| terminal.seen().contains("0 of 2 hosts"));
    world.kill();
    world.until("that is said", |_| terminal.seen().contains("what is under way goes on"));
    world.serve();
    let mut terminal = terminal;
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0), "{}", terminal.seen());
    world.until("its end is shown", |_| terminal.seen().contains("2 of 2 hosts") && terminal.seen().contains("READY"));
    // The same over the API: whoever was cut off says which event was the last one.
    let access: Value = serde_json::from_slice(&fs::read(world.state.join("control/access.json")).unwrap()).unwrap();
    let curl = |header: &str| {
        let authority = world.state.join("control/authority.pem").display().to_string();
        let token = format!("Authorization: Bearer {}", access["token"].as_str().unwrap());
        let url = format!("{}/v1/rehearsals/{id}/events", access["url"].as_str().unwrap().trim_end_matches('/'));
        let words = ["curl", "-sS", "--noproxy", "*", "--cacert", &authority, "-H", &token, "-H", header, &url];
        world.fleet.operator().exec_ok(&words).unwrap().out()
    };
    let ids = |text: &str| -> Vec<u64> {
        text.lines().filter_map(|line| line.strip_prefix("id:")?.trim().parse().ok()).collect()
    };
    let all = curl("Accept: text/event-stream");
    let numbers = ids(&all);
    assert!(numbers.len() > 3 && numbers.iter().copied().eq(1..=numbers.len() as u64), "{all}");
    assert!(all.trim_end().lines().last().unwrap().contains("\"event\":\"over\""), "{all}");
    assert_eq!(ids(&curl("Last-Event-ID: 2")), numbers[2..]);
}

#[test]
fn agents_are_upgraded_as_one_and_a_program_that_is_not_heard_of_goes_back_by_itself() {
    need_root!();
    let world = World::new(1);
    for host in ["web1", "db1"] {
        world.done(&["join", &format!("root@{host}"), "--program", GREENROOM]);
    }
    let programs = || world.on_all(&["sha256sum", "/usr/local/bin/greenroom"]);
    let agents = || world.on_all(&["sh", "-c", "readlink /proc/$(systemctl show -P MainPID greenroom-agent)/exe"]);
    let sum = |path: &std::path::Path| {
        let output = std::process::Command::new("sha256sum").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let have = |sum: &str| programs().iter().all(|line| line.starts_with(sum));
    let first = sum(GREENROOM.as_ref());
    assert!(have(&first));
    let file = |name: &str, content: &[u8]| {
        let path = world.state.with_file_name(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    // Another one: without what only a debugger reads, and with a byte that nobody reads.
    let second = world.state.with_file_name("second");
    assert!(std::process::Command::new("strip").arg("-o").arg(&second).arg(GREENROOM).status().unwrap().success());
    let content = [fs::read(&second).unwrap().as_slice(), b"2"].concat();
    let second = file("second", &content);
    let upgraded = world.json(&["agent", "upgrade", "--binary", second.to_str().unwrap(), "--json"]);
    assert_eq!((&upgraded["outcome"], &upgraded["kind"]), (&"done".into(), &"upgrade".into()), "{upgraded}");
    assert!(have(&sum(&second)), "{:?}", programs());
    assert_eq!(agents(), ["/usr/local/bin/greenroom", "/usr/local/bin/greenroom"], "the new one runs");
    assert_eq!(world.on_all(&["sh", "-c", "ls /etc/systemd/system | grep guard || true"]), ["", ""]);
    // One that says its version and then ends at once: the first host comes back by itself, the other is not touched.
    let script =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && exec echo greenroom {}\nexit 1\n", env!("CARGO_PKG_VERSION"));
    let broken = file("broken", script.as_bytes());
    let ended = world.greenroom(&["agent", "upgrade", "--binary", broken.to_str().unwrap(), "--json"]);
    let ended: Value = serde_json::from_str(&ended.out()).unwrap_or_else(|error| panic!("{error}: {ended}"));
    assert_eq!(ended["outcome"], "taken_back", "{ended}");
    assert!(ended["reason"].as_str().unwrap().contains("not in touch"), "{ended}");
    world.until("all are back", World::all_in_touch);
    assert!(have(&sum(&second)), "{:?}", programs());
    // What was upgraded is taken back when a person does not go on.
    let third = file("third", &[content.as_slice(), b"3"].concat());
    let paused = world.json(&["agent", "upgrade", "--binary", third.to_str().unwrap(), "--pause-after", "1", "--json"]);
    assert_eq!(programs().iter().filter(|line| line.starts_with(&sum(&third))).count(), 1, "{paused}");
    let aborted = world.greenroom(&["abort", paused["id"].as_str().unwrap(), "--json"]);
    assert_eq!(aborted.code(), 1, "{aborted}");
    world.until("all are back", World::all_in_touch);
    assert!(have(&sum(&second)), "{:?}", programs());
    // It runs on: a change still goes through.
    let rehearsal =
        world.json(&["rehearse", "--on", "all", "--json", "--boot", "no", "--", "sh", "-c", "echo new > /etc/motd"]);
    assert_eq!(world.json(&["apply", rehearsal["id"].as_str().unwrap(), "--json"])["outcome"], "done");
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
