//! A system file in force: who is meant, who may, in which batches, and what has to be well after each.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod fleet;

use std::fs;
use std::path::PathBuf;

use fleet::{GREENROOM, World};
use greenroom_testkit::lab::{LabHost, Output};
use greenroom_testkit::need_root;
use serde_json::Value;

const SYSTEM: &str = r#"
include = ["services/*.toml"]

[system]
name = "shop"

[person.anna]
email = "anna@example.org"
[person.ben]
email = "ben@example.org"
[team.web]
people = ["anna", "ben"]

[host.web1]
address = "web1"
roles = ["web"]
[host.web2]
address = "web2"
roles = ["web"]
[host.db1]
address = "db1"
[host.web9]
address = "web9.example.org"
roles = ["spare"]

[role.web]
volatile = ["/srv/shop/cache/**"]
policy = { may_apply = { teams = ["web"] }, second_person = true }

[[test]]
name = "the shop has a name"
run = "grep -q name= /etc/shop.conf"
roles = ["web"]
"#;

const SERVICES: &str = r#"
[service.shop]
roles = ["web"]

[[service.shop.health]]
http = "http://127.0.0.1:8080/health"
interval = "100ms"
settle = "300ms"

[[service.shop.health]]
unit = "shop.service"
interval = "100ms"
settle = "0s"
"#;

/// Answers 200 unless its configuration is broken.
const SHOP: &str = r#"#!/usr/bin/perl
use IO::Socket::INET;
my $door = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8080", Listen => 9, ReuseAddr => 1) or die;
while (my $who = $door->accept) {
    my $line = <$who>;
    open my $file, "<", "/etc/shop.conf";
    my $text = join "", <$file>;
    print $who $text =~ /broken/ ? "HTTP/1.1 500 No\r\n" : "HTTP/1.1 200 OK\r\n", "Content-Length: 0\r\nConnection: close\r\n\r\n";
    close $who;
}
"#;

/// The world with its hosts joined, the shop on the web servers, and two people.
struct Shop {
    world: World,
    anna: String,
    ben: String,
    dir: PathBuf,
}

impl Shop {
    fn new() -> Self {
        let world = World::new(2);
        for host in ["web1", "web2", "db1"] {
            world.done(&["join", &format!("root@{host}"), "--program", GREENROOM]);
        }
        for name in ["web1", "web2"] {
            let host = world.fleet.host(name).unwrap();
            fs::create_dir_all(host.path("srv/shop/cache")).unwrap();
            fs::write(host.path("etc/shop.conf"), "name=one\n").unwrap();
            fs::write(host.path("usr/local/bin/shop"), SHOP).unwrap();
            let unit = "[Service]\nExecStart=/usr/bin/perl /usr/local/bin/shop\n";
            fs::write(host.path("etc/systemd/system/shop.service"), unit).unwrap();
            host.exec_ok(&["systemctl", "start", "shop"]).unwrap();
        }
        let token = |name: &str| world.done(&["token", "create", name, "--role", "developer"]).out().trim().to_owned();
        let (anna, ben) = (token("anna"), token("ben"));
        let dir = world.state.parent().unwrap().join("repository");
        fs::create_dir_all(dir.join("services")).unwrap();
        fs::write(dir.join("greenroom.toml"), SYSTEM).unwrap();
        fs::write(dir.join("services/shop.toml"), SERVICES).unwrap();
        Self { world, anna, ben, dir }
    }

    /// The program as it is run by somebody else than root, in the directory of the system file.
    fn by(&self, token: &str, args: &[&str]) -> Output {
        let authority = self.world.state.join("control/authority.pem").display().to_string();
        let url = format!("https://{}:7443", self.world.fleet.operator().address());
        let (token, authority) = (format!("GREENROOM_TOKEN={token}"), format!("GREENROOM_AUTHORITY={authority}"));
        let (server, dir) = (format!("GREENROOM_SERVER={url}"), self.dir.display().to_string());
        let mut words = vec!["env", "-C", &dir, &server, &token, &authority, GREENROOM];
        words.extend(args);
        self.world.fleet.operator().exec(&words).unwrap()
    }

    fn refused(&self, token: &str, args: &[&str], what: &str, hint: &str) {
        let output = self.by(token, args);
        assert_eq!(output.code(), 3, "{output}");
        assert!(output.err().contains(what) && output.err().contains(hint), "{output}");
    }

    /// The control plane's ledger.
    fn log(&self) -> Vec<Value> {
        let authority = self.world.state.join("control/authority.pem").display().to_string();
        let url = format!("https://{}:7443/v1/log", self.world.fleet.operator().address());
        let token = format!("Authorization: Bearer {}", self.anna);
        let log = self.world.fleet.operator().exec_ok(&["curl", "-sS", "--cacert", &authority, "-H", &token, &url]);
        let log: Value = serde_json::from_str(&log.unwrap().out()).unwrap();
        log["entries"].as_array().unwrap().clone()
    }

    fn rehearse(&self, command: &str) -> String {
        let args = ["rehearse", "--on", "role:web", "--json", "--boot", "no", "--", "sh", "-c", command];
        let rehearsal: Value = serde_json::from_str(&self.by(&self.anna, &args).out()).unwrap();
        let hosts: Vec<&String> = rehearsal["hosts"].as_object().unwrap().keys().collect();
        assert_eq!(hosts, ["web1", "web2"]);
        rehearsal["id"].as_str().unwrap().to_owned()
    }

    fn on_webs(&self, command: &[&str]) -> [String; 2] {
        ["web1", "web2"].map(|name| self.world.fleet.host(name).unwrap().exec(command).unwrap().out().trim().to_owned())
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.out()).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[test]
fn a_system_file_says_who_is_meant_who_may_and_what_has_to_be_well() {
    need_root!();
    let shop = Shop::new();
    let world = &shop.world;
    let needs_a_file = world.greenroom(&["rehearse", "--on", "role:web", "--", "true"]);
    assert!(needs_a_file.code() == 2 && needs_a_file.err().contains("greenroom system push"), "{needs_a_file}");

    // An admin puts it in force; it is on record by whom.
    let file = shop.dir.join("greenroom.toml").display().to_string();
    assert_eq!(shop.by(&shop.anna, &["system", "push"]).code(), 3);
    let held = world.json(&["system", "push", &file, "--json"])["held"].clone();
    assert_eq!((&held["person"], &held["not_joined"]), (&"root".into(), &serde_json::json!(["web9"])));
    assert_eq!(held["files"].as_object().unwrap().len(), 2);
    let entry = shop.log().into_iter().find(|entry| entry["kind"] == "system").unwrap();
    assert_eq!((&entry["actor"]["user"], &entry["detail"]["system"]["hash"]), (&"root".into(), &held["hash"]));

    // Names that mean nothing, and a host that is not there.
    for (on, what, hint) in [
        ("role:wbe", "there is no role `wbe`", "did you mean `web`?"),
        (
            "role:spare",
            "web9 is in the system file but has not joined",
            "greenroom join root@web9.example.org --as web9",
        ),
    ] {
        let output = world.greenroom(&["rehearse", "--on", on, "--", "true"]);
        assert!(output.code() == 2 && output.err().contains(what) && output.err().contains(hint), "{output}");
    }

    // The declared test is part of the rehearsal on each host; what is declared volatile is no part of the change.
    let nameless = shop
        .by(&shop.anna, &["rehearse", "--on", "role:web", "--boot", "no", "--", "truncate", "-s0", "/etc/shop.conf"]);
    assert!(nameless.code() == 1 && nameless.out().contains("the shop has a name"), "{nameless}");
    let good = shop.rehearse("echo name=two > /etc/shop.conf; echo x > /srv/shop/cache/x");
    let shown: Value = json(&shop.by(&shop.anna, &["show", &good, "--json"]));
    assert_eq!(shown["hosts"]["web1"]["record"]["entries"], 1, "{shown}");
    assert_eq!(shown["system"]["hash"], held["hash"]);

    // Root is in no team; anna needs a second person, and is none herself.
    let refused = world.greenroom(&["apply", &good]);
    assert!(refused.code() == 3 && refused.err().contains("root may not apply on web1, web2"), "{refused}");
    shop.refused(&shop.anna, &["apply", &good], "needs a second person", &format!("greenroom approve {good}"));
    assert!(shop.by(&shop.anna, &["approve", &good]).ok());
    shop.refused(&shop.anna, &["apply", &good], "only anna has approved it", "somebody else");
    assert_eq!(world.greenroom(&["approve", &good]).code(), 3, "root may not apply it");
    assert!(shop.by(&shop.ben, &["approve", &good]).ok());
    let applied = json(&shop.by(&shop.anna, &["apply", &good, "--json"]));
    assert_eq!(applied["outcome"], "done", "{applied}");
    assert_eq!(applied["batches"], serde_json::json!([["web1"], ["web2"]]));
    assert_eq!(
        (&applied["hosts"]["web1"]["step"], &applied["hosts"]["web2"]["step"]),
        (&"well".into(), &"well".into())
    );
    assert_eq!(shop.on_webs(&["cat", "/etc/shop.conf"]), ["name=two", "name=two"]);
    let log = shop.log();
    let of = |kind: &str| log.iter().filter(|entry| entry["kind"] == kind).collect::<Vec<_>>();
    let approvals: Vec<&Value> = of("approval").iter().map(|entry| &entry["actor"]["user"]).collect();
    assert_eq!(approvals, ["anna", "ben"]);
    assert_eq!(of("apply")[0]["detail"]["system"]["hash"], held["hash"]);

    unwell_on_the_first_host(&shop);
    units_follow_each_other(&shop);
}

/// That is taken back, the other never saw it.
fn unwell_on_the_first_host(shop: &Shop) {
    let broken = shop.rehearse("echo name=broken > /etc/shop.conf");
    assert!(shop.by(&shop.ben, &["approve", &broken]).ok());
    let output = shop.by(&shop.anna, &["apply", &broken, "--json"]);
    assert_eq!(output.code(), 1, "{output}");
    let taken_back = json(&output);
    let reason = taken_back["reason"].as_str().unwrap();
    assert!(reason.starts_with("web1: shop is unwell: http://127.0.0.1:8080/health: it answered 500"), "{reason}");
    assert_eq!((&taken_back["outcome"], &taken_back["hosts"]["web2"]["local"]), (&"taken_back".into(), &Value::Null));
    assert_eq!(shop.on_webs(&["cat", "/etc/shop.conf"]), ["name=two", "name=two"]);
    let entries = shop.world.json(&["log", "--on", "web2", "--json"])["entries"].clone();
    let rollout = |entry: &Value| entry["detail"]["rollout"] == taken_back["id"];
    assert!(!entries.as_array().unwrap().iter().any(rollout), "{entries}");
}

/// Two that run, and two that do not yet.
const ORDER: &str = r#"
[service.cache]
roles = ["web"]
health = [{ command = "true", settle = "0s" }]
[service.queue]
roles = ["web"]
health = [{ command = "true", settle = "0s" }]
[service.mail]
roles = ["web"]
after = ["queue"]
health = [{ command = "true", settle = "0s" }]
"#;

/// What the host's systemd wrote of its units since then: what it did, in order.
fn journal(host: &LabHost, since: u64) -> Vec<(u64, String)> {
    // The messages' own names, of systemd's sd-messages.h.
    let messages = [("39f53479d3a045ac8e11786248231fbf", "started"), ("9d1aaa27d60140bd96365438aad20286", "stopped")];
    let output = host.exec_ok(&["journalctl", "--output=json", "--boot", "--no-pager", "_PID=1"]).unwrap().out();
    let mut out = Vec::new();
    for line in output.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let at: u64 = entry["__MONOTONIC_TIMESTAMP"].as_str().unwrap().parse().unwrap();
        let what = messages.iter().find(|(id, _)| entry["MESSAGE_ID"] == *id);
        let unit = entry["UNIT"].as_str().and_then(|unit| unit.strip_suffix(".service"));
        if let (Some((_, what)), Some(unit)) = (what, unit)
            && at > since
            && ["shop", "cache", "queue", "mail"].contains(&unit)
        {
            out.push((at, format!("{what} {unit}")));
        }
    }
    out.sort();
    out
}

/// The change does it in the wrong order; on the host units follow each other as declared, on the way back too.
fn units_follow_each_other(shop: &Shop) {
    let world = &shop.world;
    let web1 = world.fleet.host("web1").unwrap();
    for unit in ["cache", "queue", "mail"] {
        let text = "[Service]\nExecStart=/bin/sleep infinity\n";
        fs::write(web1.path(&format!("etc/systemd/system/{unit}.service")), text).unwrap();
    }
    // What runs on the host runs in its copy when it is wanted at boot.
    let make = "systemctl daemon-reload && systemctl add-wants multi-user.target shop cache && systemctl start cache && \
        touch /etc/cache.conf";
    web1.exec_ok(&["sh", "-c", make]).unwrap();
    let text = SERVICES.replace("roles = [\"web\"]", "roles = [\"web\"]\nafter = [\"cache\"]");
    fs::write(shop.dir.join("services/shop.toml"), text).unwrap();
    fs::write(shop.dir.join("services/order.toml"), ORDER).unwrap();
    let file = shop.dir.join("greenroom.toml");
    fs::write(&file, SYSTEM.replace(", second_person = true", "")).unwrap();
    world.done(&["system", "push", &file.display().to_string()]);

    let change = "echo >> /etc/shop.conf; echo >> /etc/cache.conf; systemctl restart shop; systemctl restart cache; \
        systemctl start mail; systemctl start queue";
    let rehearsal = json(&shop.by(&shop.anna, &["rehearse", "--on", "web1", "--json", "--", "sh", "-ec", change]));
    let actions = rehearsal["hosts"]["web1"]["record"]["actions"].as_array().unwrap();
    assert_eq!(actions.len(), 4, "{rehearsal}");
    let before = journal(web1, 0).last().unwrap().0;
    let applied = json(&shop.by(&shop.anna, &["apply", rehearsal["id"].as_str().unwrap(), "--json"]));
    assert_eq!(applied["outcome"], "done", "{applied}");
    let there = journal(web1, before);
    let undone = json(&shop.by(&shop.anna, &["undo", applied["id"].as_str().unwrap(), "--json"]));
    assert_eq!(undone["outcome"], "done", "{undone}");
    let back = journal(web1, there.last().unwrap().0);
    let follow = |all: &[(u64, String)], order: &[&str]| {
        let named: Vec<&str> = all.iter().map(|(_, what)| what.as_str()).filter(|what| order.contains(what)).collect();
        assert_eq!(named, order, "{all:?}");
    };
    let restarts = ["stopped cache", "started cache", "stopped shop", "started shop"];
    follow(&there, &restarts);
    follow(&there, &["started queue", "started mail"]);
    follow(&back, &["stopped mail", "stopped queue"]);
    follow(&back, &restarts);
    assert_eq!((there.len(), back.len()), (6, 6), "{there:?} {back:?}");
}

#[test]
fn a_live_step_runs_once_for_all_and_who_goes_on_is_on_record() {
    need_root!();
    let shop = Shop::new();
    let world = &shop.world;
    let file = shop.dir.join("greenroom.toml");
    let both = SYSTEM.replace("second_person = true", "on_failure = \"pause\"");
    fs::write(&file, &both).unwrap();
    world.done(&["system", "push", &file.display().to_string()]);
    let change = shop.dir.join("change.toml");
    let text = "[[step]]\nrun = 'echo name=three > /etc/shop.conf'\n\
                [[step]]\nlive = 'echo migrated >> /srv/ran'\nundo = 'rm /srv/ran'\nonce = true\n";
    fs::write(&change, text).unwrap();
    // Another file lies here than is in force: that is said, and nothing more.
    fs::write(&file, both.replace("10s", "9s") + "[role.spare]\nvolatile = [\"/srv/x\"]\n").unwrap();
    let args = ["rehearse", "--on", "service:shop", "--boot", "no", "--json", &change.display().to_string()];
    let output = shop.by(&shop.anna, &args);
    assert!(output.err().contains("greenroom.toml is not what is in force"), "{output}");
    let id = json(&output)["id"].as_str().unwrap().to_owned();

    let paused = json(&shop.by(&shop.anna, &["apply", &id, "--pause-after", "1", "--json"]));
    assert_eq!(paused["phase"]["phase"], "paused", "{paused}");
    let change = paused["id"].as_str().unwrap();
    let done = json(&shop.by(&shop.ben, &["continue", change, "--json"]));
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(shop.on_webs(&["cat", "/srv/ran"]), ["migrated", ""]);
    assert_eq!(shop.on_webs(&["cat", "/etc/shop.conf"]), ["name=three", "name=three"]);
    let log = shop.log();
    let went_on = log.iter().find(|entry| entry["kind"] == "continue").unwrap();
    assert_eq!((&went_on["actor"]["user"], &went_on["change"]), (&"ben".into(), &change.into()));
    let undone = json(&shop.by(&shop.ben, &["undo", change, "--json"]));
    assert_eq!(undone["outcome"], "done", "{undone}");
    assert_eq!(shop.on_webs(&["ls", "/srv"]), ["shop", "shop"]);
    assert_eq!(shop.on_webs(&["cat", "/etc/shop.conf"]), ["name=one", "name=one"]);

    // What fails pauses where that is declared, and whoever is asked may call it off.
    let broken = shop.rehearse("echo name=broken > /etc/shop.conf");
    let paused = json(&shop.by(&shop.anna, &["apply", &broken, "--json"]));
    let phase = (&paused["phase"]["phase"], &paused["hosts"]["web1"]["step"], &paused["hosts"]["web2"]["step"]);
    assert_eq!(phase, (&"paused".into(), &"unwell".into(), &"prepared".into()), "{paused}");
    let aborted = shop.by(&shop.ben, &["abort", paused["id"].as_str().unwrap(), "--json"]);
    assert_eq!((aborted.code(), &json(&aborted)["outcome"]), (1, &"taken_back".into()), "{aborted}");
    assert_eq!(shop.on_webs(&["cat", "/etc/shop.conf"]), ["name=one", "name=one"]);
}
