//! Contents across hosts: files of a change travel, images are kept, a lost server comes back from one.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod fleet;

use std::fs;

use fleet::World;
use greenroom_testkit::lab::LabHost;
use greenroom_testkit::need_root;
use serde_json::Value;

/// A host, from outside.
fn of<'a>(world: &'a World, name: &str) -> &'a LabHost {
    world.fleet.host(name).unwrap()
}

/// Brings the image of a host up to date.
fn image(world: &World, host: &str) -> Value {
    let run = world.json(&["image", "update", "--on", host, "--json"]);
    run["hosts"][host]["image"].clone()
}

#[test]
fn the_files_of_a_change_travel_to_the_hosts() {
    need_root!();
    let world = World::joined(&["web1", "web2"]);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("shop.conf"), "listen = 8080\n").unwrap();
    let change = dir.path().join("shop.toml");
    let step = "[[step]]\ncopy = { from = \"shop.conf\", to = \"/etc/shop.conf\", mode = \"0640\", owner = \"root:daemon\" }\n";
    fs::write(&change, step).unwrap();
    let rehearsal = world.json(&["rehearse", "--on", "all", "--json", "--boot", "no", change.to_str().unwrap()]);
    assert_eq!(rehearsal["hosts"]["web1"]["record"]["steps"][0]["what"], "copy shop.conf to /etc/shop.conf");
    assert_eq!(world.json(&["apply", rehearsal["id"].as_str().unwrap(), "--json"])["outcome"], "done");
    for host in ["web1", "web2"] {
        let there = of(&world, host).exec(&["stat", "-c", "%a %U:%G", "/etc/shop.conf"]).unwrap();
        assert_eq!(there.out().trim(), "640 root:daemon");
        assert_eq!(fs::read_to_string(of(&world, host).path("etc/shop.conf")).unwrap(), "listen = 8080\n");
        let left = of(&world, host).exec(&["ls", "/var/lib/greenroom/agent/files"]).unwrap();
        assert_eq!(left.out().trim(), "");
    }
}

/// What a rebuilt host has of its own, and what is no host's state.
const OWN: &[&str] = &[
    "etc/hostname",
    "etc/hosts",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/network",
    "etc/systemd/network",
    "etc/ssh/ssh_host_*",
    "etc/systemd/system/greenroom-*",
    "etc/systemd/system/*.wants/greenroom-*",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/subuid-",
    "etc/subgid-",
    "etc/.pwd.lock",
    "var/lib/greenroom",
    "var/lib/dbus/machine-id",
    "var/lib/systemd",
    "var/log",
    "var/cache",
    "var/tmp",
    "tmp",
    // The program itself, which each host has its own of.
    "usr/local/bin/greenroom",
    "run",
    "proc",
    "sys",
    "dev",
];

/// Whether the control plane has a content that reads so.
fn is_kept(world: &World, text: &str) -> bool {
    let hash = greenroom_core::ContentHash::of(text.as_bytes()).to_string();
    world.state.join("control/blobs").join(&hash[..2]).join(&hash[2..]).exists()
}

#[test]
fn a_fresh_host_becomes_a_lost_one_again_and_back() {
    need_root!();
    let world = World::joined(&["web1", "web9"]);
    // What makes web1 web1: a user with a password, a service with its files, something with attributes, something gone.
    let make = "useradd -m -s /bin/bash shop && echo shop:secret | chpasswd && mkdir -p /srv/shop/static && \
        printf '[Service]\\nExecStart=/bin/sleep infinity\\nUser=shop\\n[Install]\\nWantedBy=multi-user.target\\n' \
        > /etc/systemd/system/shop.service && head -c 3000000 /dev/urandom > /srv/shop/static/a && \
        ln /srv/shop/static/a /srv/shop/static/b && ln -s a /srv/shop/static/c && chown -R shop: /srv/shop && \
        chmod 2750 /srv/shop && rm /etc/motd && systemctl enable --now shop";
    of(&world, "web1").exec_ok(&["sh", "-c", make]).unwrap();
    let first = image(&world, "web1");
    assert!(first["sent"].as_u64().unwrap() >= 3_000_000, "{first}");
    // Nothing has changed but one file, and what is volatile.
    fs::write(of(&world, "web1").path("srv/shop/page"), "new\n").unwrap();
    fs::write(of(&world, "web1").path("var/log/noise"), "noise\n").unwrap();
    let second = image(&world, "web1");
    assert_eq!(second["sent"], 4, "{second}");
    assert_eq!(second["since"], first["manifest"]);
    // What another host has, the control plane has already.
    let other = image(&world, "web9");
    assert!(other["sent"].as_u64().unwrap() < first["sent"].as_u64().unwrap() / 2, "{other}");
    assert_eq!(world.json(&["image", "list", "--json"])["images"].as_array().unwrap().len(), 2);

    let web9 = of(&world, "web9");
    let look = "cat /etc/hostname /etc/machine-id; sha256sum /etc/ssh/ssh_host_*; ls -A /etc/motd /srv";
    let before = web9.exec(&["sh", "-c", look]).unwrap().out();
    let rebuilt = world.json(&["rebuild", "web9", "--as", "web1", "--why", "web1 burned down", "--json"]);
    assert_eq!(rebuilt["now"]["state"], "done", "{rebuilt}");
    let own = rebuilt["now"]["own"].to_string();
    assert!(own.contains("/etc/hostname"), "{own}");
    // Judged from outside.
    let exclude: Vec<String> = OWN.iter().map(|path| format!("--exclude=/{path}")).collect();
    let (from, to) = (of(&world, "web1").path(""), web9.path(""));
    let compared = std::process::Command::new("rsync")
        .args(["-aHAXn", "--omit-dir-times", "--checksum", "--delete", "--itemize-changes"])
        .args(&exclude)
        .arg(format!("{}/", from.display()))
        .arg(format!("{}/", to.display()))
        .output()
        .unwrap();
    assert!(compared.status.success());
    assert_eq!(String::from_utf8_lossy(&compared.stdout), "");
    web9.exec_ok(&["sh", "-c", "systemctl is-active shop && su shop -c 'test -r /srv/shop/page'"]).unwrap();
    let now =
        web9.exec(&["sh", "-c", "cat /etc/hostname /etc/machine-id; sha256sum /etc/ssh/ssh_host_*"]).unwrap().out();
    assert!(before.starts_with(&now), "{before}\n{now}");
    let log = world.json(&["log", "--on", "web9", "--json"]);
    assert!(log["entries"].as_array().unwrap().iter().any(|e| e["why"] == "web1 burned down"), "{log}");

    let local = rebuilt["now"]["local"].as_str().unwrap();
    world.done(&["undo", local, "--on", "web9"]);
    assert_eq!(web9.exec(&["sh", "-c", look]).unwrap().out(), before);
    assert!(!web9.exec(&["systemctl", "is-active", "shop"]).unwrap().ok());
    old_images_go(&world, first["id"].as_str().unwrap());
}

/// web1 has had two images. Of four the oldest goes with what it alone had, and hosts go on.
fn old_images_go(world: &World, first: &str) {
    let page = |text: &str| fs::write(of(world, "web1").path("srv/shop/page"), text).unwrap();
    fs::remove_file(of(world, "web1").path("srv/shop/static/c")).unwrap();
    page("third\n");
    image(world, "web1");
    page("fourth\n");
    image(world, "web1");
    let sweep = |options: &[&str]| world.json(&[&["gc", "--images", "--json"], options].concat());
    let today = sweep(&["--dry-run"]);
    assert_eq!((&today["images"]["web1"], &today["contents"]), (&serde_json::json!([first]), &0.into()), "{today}");
    let now = ["--older-than", "1ms"];
    let would = sweep(&[&now[..], &["--dry-run"]].concat());
    assert!(is_kept(world, "new\n"));
    let gone = sweep(&now);
    assert_eq!(gone, would);
    assert!(gone["contents"].as_u64().unwrap() >= 1, "{gone}");
    assert_eq!(sweep(&now)["contents"], 0);
    assert_eq!(world.json(&["image", "show", "web1", "--json"])["images"].as_array().unwrap().len(), 3);
    // The second image is one of three, the fifth takes its place.
    page("fifth\n");
    image(world, "web1");
    assert!(is_kept(world, "new\n"));
    sweep(&now);
    assert!(!is_kept(world, "new\n") && is_kept(world, "third\n"));
    let log = world.json(&["log", "--json"]);
    assert!(
        log["entries"].as_array().unwrap().iter().any(|e| e["kind"] == "gc" && e["actor"]["user"] == "root"),
        "{log}"
    );
    world.done(&["rebuild", "web9", "--as", "web1"]);
    assert_eq!(fs::read_to_string(of(world, "web9").path("srv/shop/page")).unwrap(), "fifth\n");
}
