//! Two control planes on one PostgreSQL and one bucket: what is begun at one is driven on by the other, or by whichever is back.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod fleet;

use std::process::Stdio;

use fleet::World;
use greenroom_testkit::need_root;
use serde_json::Value;

#[test]
fn what_one_control_plane_began_the_other_ends() {
    need_root!();
    let mut world = World::with_two(&["web1", "web2"]);
    let authority = |plane| std::fs::read(world.state.with_file_name(plane).join("control/authority.pem")).unwrap();
    assert_eq!(authority("plane1"), authority("plane2"));
    let change = ["rehearse", "--on", "all", "--json", "--boot", "no", "--", "sh", "-c", "echo one > /etc/motd"];
    let rehearsal = world.json(&change);
    let paused = world.json(&["apply", rehearsal["id"].as_str().unwrap(), "--json", "--pause-after", "1"]);
    assert_eq!(paused["phase"]["phase"], "paused", "{paused}");
    let id = paused["id"].as_str().unwrap().to_owned();

    // Whichever drives it: what the second is told goes through it or the one that is left.
    world.kill_at(0);
    let done = world.json_at(1, &["continue", &id, "--json"]);
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(world.on_all(&["cat", "/etc/motd"]), ["one", "one"]);
    world.serve();
    assert_eq!(world.json(&["follow", &id, "--json"])["outcome"], "done");

    // The other one is killed while all is going on; nobody follows.
    world.kill_at(1);
    let rehearsal = world.json(&change[..9].iter().copied().chain(["echo two > /etc/motd"]).collect::<Vec<_>>());
    world.start(1);
    world.until("the second is back", |world| world.serves(1));
    let mut apply = world.command(0);
    apply.args(["apply", rehearsal["id"].as_str().unwrap()]);
    let mut apply = apply.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    world.until("hosts are held", |world| world.hosts(1).iter().any(|host| !host["held_by"].is_null()));
    world.kill_at(0);
    // It would wait for the one that is gone.
    apply.kill().unwrap();
    apply.wait().unwrap();
    world.until("the second ends it", |world| world.hosts(1).iter().all(|host| host["held_by"].is_null()));
    let motd = world.on_all(&["cat", "/etc/motd"]);
    let log = world.at(1, &["log", "--on", "web1", "--json"]);
    assert!(motd == ["two", "two"] || motd == ["one", "one"], "{motd:?}: {log}");
}

#[test]
fn a_rehearsal_on_a_stage_outlives_the_control_planes_that_it_began_at() {
    need_root!();
    let mut world = World::with_two(&["web1", "web2", "stage1"]);
    world.until("all are in touch", World::all_in_touch);
    // The less a host has, the sooner its image is there.
    for host in world.fleet.hosts() {
        let less = "cd /usr/share && rm -rf doc man locale zoneinfo ca-certificates perl5 bash-completion lintian zsh \
            ../lib/*/gconv ../lib/*/perl-base";
        host.exec_ok(&["sh", "-c", less]).unwrap();
    }
    // One host hangs, so that its image does not arrive.
    world.fleet.host("web2").unwrap().pause().unwrap();
    let change = "cat /etc/hostname > /etc/motd; sleep 3";
    let mut rehearse = world.command(0);
    let words = "rehearse --on web1,web2 --stage=stage1 --json --boot no -- sh -ec";
    rehearse.args(words.split(' ')).arg(change);
    let rehearse = rehearse.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let images = |world: &World| world.json_at(1, &["image", "list", "--json"])["images"].as_array().unwrap().len();
    world.until("the image of the other host has arrived", |world| images(world) == 1);

    // The one where it began is killed; the other one takes the second image, and has the copies made.
    world.kill_at(0);
    world.fleet.host("web2").unwrap().resume().unwrap();
    let stage = |world: &World| world.fleet.host("stage1").unwrap().exec(&["pgrep", "-x", "sleep"]).unwrap().ok();
    world.until("the change runs on the stage", stage);
    // That one is killed while it runs. It comes to its end with nobody there to be told.
    world.kill_at(1);
    world.until("the change has run", |world| !stage(world));
    world.serve();
    let output = rehearse.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    let rehearsal: Value = serde_json::from_slice(&output.stdout).unwrap();
    for host in ["web1", "web2"] {
        let record = &rehearsal["hosts"][host]["record"];
        assert_eq!((&record["verdict"], &record["entries"]), (&"ready".into(), &1.into()), "{record}");
    }
    let id = rehearsal["id"].as_str().unwrap();
    let shown = world.json(&["show", id, "--json"]);
    assert_eq!((&shown["over"], &shown["stage"]["host"]), (&true.into(), &"stage1".into()), "{shown}");
    let applied = world.json(&["apply", id, "--json"]);
    assert_eq!(applied["outcome"], "done", "{applied}");
    assert_eq!(world.on_all(&["head", "-n1", "/etc/motd"])[..2], ["web1", "web2"]);
}
