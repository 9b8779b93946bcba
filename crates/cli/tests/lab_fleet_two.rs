//! Two control planes on one PostgreSQL and one bucket: what is begun at one is driven on by the other.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod fleet;

use std::process::Stdio;

use fleet::World;
use greenroom_testkit::need_root;

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
