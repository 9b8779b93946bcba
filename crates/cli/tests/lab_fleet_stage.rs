//! Rehearsals on a stage: on copies of hosts' images, on another machine.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod fleet;

use std::fs;

use fleet::World;
use greenroom_testkit::need_root;
use serde_json::Value;

#[test]
fn a_change_is_rehearsed_on_the_stage_and_applied_where_it_is_for() {
    need_root!();
    let world = World::joined(&["web1", "stage1"]);
    world.until("all are in touch", World::all_in_touch);
    let (web1, stage1) = (world.fleet.host("web1").unwrap(), world.fleet.host("stage1").unwrap());
    // What only web1 has: a service, a user, a database with data, hard links.
    let make = "useradd -m shop && mkdir -p /srv/shop /var/lib/postgresql/15 && echo secret > /var/lib/postgresql/15/data && \
        echo 1 > /srv/shop/a && ln /srv/shop/a /srv/shop/b && \
        printf '[Service]\\nExecStart=/bin/sleep infinity\\nUser=shop\\n[Install]\\nWantedBy=multi-user.target\\n' \
        > /etc/systemd/system/shop.service && systemctl enable --now shop && \
        printf '[Service]\\nExecStart=/bin/sh -c \"test -e /var/lib/postgresql/15/data && sleep infinity\"\\n\
        [Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/postgresql.service && \
        systemctl enable --now postgresql";
    web1.exec_ok(&["sh", "-c", make]).unwrap();
    let change = "id shop && systemctl is-active shop && ! test -e /var/lib/postgresql/15 && \
        echo new >> /srv/shop/a && useradd ops && printf '[Service]\\nNice=3\\n' > /etc/systemd/system/shop.service.d/nice.conf \
        && systemctl daemon-reload && systemctl restart shop postgresql";
    let change = format!("mkdir -p /etc/systemd/system/shop.service.d && {change}");
    let test = "grep -q ^ops: /etc/passwd && systemctl is-active shop";
    let rehearse = ["rehearse", "--on", "web1", "--stage=stage1", "--json", "--test", test, "--", "sh", "-ec", &change];
    let rehearsal = world.json(&rehearse);
    let record = &rehearsal["hosts"]["web1"]["record"];
    assert_eq!(record["verdict"], "ready", "{record}");
    assert_eq!(record["undo_proven"], true, "{record}");
    assert_eq!(record["booted"], true);
    assert_eq!(rehearsal["stage"]["host"], "stage1");
    assert!(record["notes"].to_string().contains("/var/lib/postgresql had no data"), "{record}");
    // Nobody on web1 has seen anything of it, and nothing of the copy stays on the stage but the tree.
    assert!(!web1.exec(&["grep", "-q", "^ops:", "/etc/passwd"]).unwrap().ok());
    let left = stage1.exec(&["sh", "-c", "ls -A /var/lib/greenroom/stage/work; mount | grep -c stage/"]).unwrap();
    assert_eq!(left.out().trim(), "0");
    let layers = || stage1.exec(&["ls", "/var/lib/greenroom/stage/layers"]).unwrap().out().lines().count();
    assert_eq!(layers(), 1);

    let id = rehearsal["id"].as_str().unwrap();
    let applied = world.json(&["apply", id, "--json", "--why", "it was rehearsed elsewhere"]);
    assert_eq!(applied["outcome"], "done", "{applied}");
    let look = "systemctl show -p Nice shop && systemctl is-active shop postgresql && cat /srv/shop/b && grep -c ^ops: /etc/passwd";
    assert_eq!(web1.exec(&["sh", "-c", look]).unwrap().out().trim(), "Nice=3\nactive\nactive\n1\nnew\n1");
    assert_eq!(fs::read_to_string(web1.path("var/lib/postgresql/15/data")).unwrap(), "secret\n");
    world.done(&["undo", applied["id"].as_str().unwrap()]);
    assert_eq!(fs::read_to_string(web1.path("srv/shop/b")).unwrap(), "1\n");
    assert!(!web1.exec(&["grep", "-q", "^ops:", "/etc/passwd"]).unwrap().ok());

    // The next generation is a layer over the first; what was changed on the host meanwhile is seen at apply.
    web1.exec_ok(&["sh", "-c", "echo 2 > /srv/shop/page"]).unwrap();
    let more = ["rehearse", "--on", "web1", "--stage=stage1", "--json", "--boot", "no", "--"];
    let more = world.json(&[&more[..], &["sh", "-c", "echo 3 >> /srv/shop/page"]].concat());
    assert_eq!(layers(), 2);
    web1.exec_ok(&["sh", "-c", "echo 4 >> /srv/shop/page"]).unwrap();
    let refused = world.greenroom(&["apply", more["id"].as_str().unwrap()]);
    assert!(refused.code() == 3 && refused.err().contains("/srv/shop/page"), "{refused}");
}

#[test]
fn what_cannot_be_held_on_a_stage_says_so() {
    need_root!();
    let world = World::joined(&["web1", "stage1"]);
    let refused = |world: &World, stage: &str| {
        let output = world.greenroom(&["rehearse", "--on", "web1", stage, "--", "true"]);
        (output.code(), output.err())
    };
    let (code, said) = refused(&world, "--stage");
    assert!(code == 2 && said.contains("no host has the role `stage`") && said.contains("--stage=HOST"), "{said}");
    let (code, said) = refused(&world, "--stage=stage2");
    assert!(code == 2 && said.contains("did you mean stage1?"), "{said}");
    world.until("all are in touch", World::all_in_touch);
    // The stage's agent is killed in the middle: that is said, and what it leaves goes with the next rehearsal.
    let stage1 = world.fleet.host("stage1").unwrap();
    let rehearse = |command: &[&str]| {
        let words = ["rehearse", "--on", "web1", "--stage=stage1", "--boot", "no", "--"];
        world.greenroom(&[&words[..], command].concat())
    };
    let killed = std::thread::scope(|threads| {
        let held = threads.spawn(|| rehearse(&["sleep", "600"]));
        world.until("the change runs on the stage", |_| stage1.exec(&["pgrep", "-x", "sleep"]).unwrap().ok());
        stage1.exec_ok(&["systemctl", "kill", "-s", "KILL", "greenroom-agent"]).unwrap();
        held.join().unwrap()
    });
    assert!(killed.code() == 1 && killed.out().contains("was restarted while it rehearsed"), "{killed}");
    world.until("all are in touch", World::all_in_touch);
    let again = rehearse(&["true"]);
    assert!(again.ok(), "{again}");
    let left = stage1
        .exec(&["sh", "-c", "ls -A /var/lib/greenroom/stage/work; ls /var/lib/greenroom/stage/trees | grep -c json"])
        .unwrap();
    assert_eq!(left.out().trim(), "1");
    stage1.exec_ok(&["systemctl", "stop", "greenroom-agent"]).unwrap();
    world.until("the stage is away", |world| !world.all_in_touch());
    let (code, said) = refused(&world, "--stage=stage1");
    assert!(code == 3 && said.contains("the stage stage1 is not in touch"), "{said}");
    let local =
        std::process::Command::new(fleet::GREENROOM).args(["rehearse", "--local", "--stage", "--", "true"]).output();
    assert_eq!(local.unwrap().status.code(), Some(2));
}

const SYSTEM: &str = r#"
[system]
name = "shop"
[host.web1]
address = "web1"
roles = ["web"]
[host.web2]
address = "web2"
roles = ["web"]
[host.stage1]
address = "stage1"
roles = ["stage"]
[paths]
volatile = ["/srv/cache/**"]
"#;

#[test]
fn hosts_that_are_alike_share_a_copy_unless_the_change_names_one() {
    need_root!();
    let world = World::joined(&["web1", "web2", "stage1"]);
    world.until("all are in touch", World::all_in_touch);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("greenroom.toml");
    fs::write(&file, SYSTEM).unwrap();
    world.done(&["system", "push", file.to_str().unwrap()]);
    let webs = ["web1", "web2"].map(|name| world.fleet.host(name).unwrap());
    let hosts = fs::read(webs[0].path("etc/hosts")).unwrap();
    for (number, host) in webs.iter().enumerate() {
        // The same at another time, and each with its own name in a text.
        let at = 1_000_000 + number;
        let make = format!(
            "echo 1 > /etc/shop.conf; touch -d @{at} /etc/shop.conf; echo from = web{}.shop > /etc/shop.mail",
            number + 1
        );
        fs::write(host.path("etc/hosts"), &hosts).unwrap();
        host.exec_ok(&["sh", "-c", &make]).unwrap();
    }
    let rehearse = |command: &str| world.json(&["rehearse", "--on", "role:web", "--json", "--", "sh", "-ec", command]);

    // Where a host is declared to be the stage, that is where it is held.
    let shared = rehearse("chmod 600 /etc/shop.conf; echo 2 > /etc/shop.d");
    assert_eq!(shared["stage"]["host"], "stage1");
    assert_eq!(shared["stage"]["shared"], serde_json::json!([["web1", "web2"]]), "{shared}");
    assert_eq!(shared["alike"], serde_json::json!([["web1", "web2"]]));
    let applied = world.json(&["apply", shared["id"].as_str().unwrap(), "--json"]);
    assert_eq!(applied["outcome"], "done", "{applied}");
    for (number, host) in webs.iter().enumerate() {
        let look = host.exec(&["sh", "-c", "stat -c '%a %Y' /etc/shop.conf; cat /etc/shop.d"]).unwrap();
        assert_eq!(look.out().trim(), format!("600 {}\n2", 1_000_000 + number));
        // What is declared for a host comes to it with what was rehearsed for it.
        let declared = fs::read_to_string(host.path("var/lib/greenroom/declared.json")).unwrap();
        assert!(declared.contains("/srv/cache/**"), "{declared}");
    }
    world.done(&["undo", applied["id"].as_str().unwrap()]);

    // A key, a name: each host has a copy of its own then.
    let own =
        ["echo '-----BEGIN PRIVATE KEY-----' > /etc/shop.key", "cat /etc/hostname > /etc/shop.name"].map(|command| {
            let own = rehearse(command);
            assert_eq!(own["stage"]["shared"], serde_json::json!([]), "{own}");
            assert!(["web1", "web2"].iter().all(|host| own["hosts"][host]["record"]["verdict"] == "ready"), "{own}");
            own
        });
    let [_, own] = own;
    assert_eq!(own["alike"].as_array().unwrap().len(), 2, "{own}");
    world.done(&["apply", own["id"].as_str().unwrap()]);
    assert_eq!(webs.map(|host| fs::read_to_string(host.path("etc/shop.name")).unwrap()), ["web1\n", "web2\n"]);

    // Hosts that differ are not alike; and the hosts themselves can still be meant.
    webs[1].exec_ok(&["sh", "-c", "echo 3 > /etc/shop.conf"]).unwrap();
    let apart = rehearse("echo 4 >> /etc/shop.conf");
    assert_eq!(apart["stage"]["shared"], serde_json::json!([]), "{apart}");
    assert_eq!(apart["alike"].as_array().unwrap().len(), 2, "{apart}");
    let there = world.json(&["rehearse", "--on", "web1", "--stage=no", "--json", "--boot", "no", "--", "true"]);
    assert_eq!(there["stage"], Value::Null);
}
