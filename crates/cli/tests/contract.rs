//! The contract for scripts, through the binary, on a small tree that is not booted.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use greenroom_testkit::lab::{Lab, LabHost};
use serde_json::Value;
use tempfile::TempDir;

/// A Debian tree of its own, which does not run, and a state directory beside it.
struct World {
    dir: TempDir,
    host: LabHost,
    // Last: it removes what is left.
    _lab: Lab,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let host = lab.host("contract").unwrap();
        let dir = tempfile::Builder::new().prefix("contract").tempdir_in(lab.dir()).unwrap();
        Self { dir, host, _lab: lab }
    }

    fn root(&self) -> &Path {
        self.host.root()
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--root").arg(self.root()).arg("--state").arg(self.dir.path().join("state"));
        command.args(args).current_dir(self.dir.path()).output().unwrap()
    }

    fn json(&self, args: &[&str], code: i32) -> Value {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{errors}"))
    }

    fn sh(&self, script: &str, code: i32) -> Value {
        self.json(&["rehearse", "--json", "--boot", "no", "--", "sh", "-c", script], code)
    }

    fn change_file(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("change.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root().join(path)).ok()
    }
}

#[test]
fn json_objects_hold_what_the_contract_names() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let record =
        world.sh("echo hello > /etc/greeting; printf x > \"/srv/$(printf 'a\\377')\"; echo log > /var/log/x.log", 0);
    for key in [
        "rehearsal",
        "verdict",
        "exit_code",
        "changeset",
        "entries",
        "undo_proven",
        "tests",
        "volatile_paths",
        "runtime_only",
    ] {
        assert!(record.get(key).is_some(), "{key}");
    }
    assert_eq!(record["rehearsal"], "r1");
    assert_eq!(
        (&record["verdict"], &record["entries"], &record["volatile_paths"]),
        (&"ready".into(), &2.into(), &1.into())
    );
    let logs = world.sh("install -m 0640 -o mail -g adm /dev/null /var/log/mine.log; touch /var/log/usual.log", 0);
    let notes = logs["notes"].to_string();
    assert!(notes.contains("/var/log/mine.log (0640, 8:4)") && !notes.contains("usual"), "{notes}");
    let shown = world.json(&["show", "--json", "r1"], 0);
    assert_eq!(shown["entries"][0]["path"], "/etc/greeting");
    assert_eq!(shown["entries"][1]["path"]["base64"], "L3Nydi9h/w==");
    assert_eq!(shown["changeset"], record["changeset"]);

    let applied = world.json(&["apply", "--json", "r1"], 0);
    for key in ["change", "outcome", "entries", "restarted", "duration_ms"] {
        assert!(applied.get(key).is_some(), "{key}");
    }
    assert_eq!(world.read("etc/greeting").unwrap(), "hello\n");
    assert_eq!(world.read("var/log/x.log"), None);
    let undone = world.json(&["undo", "--json", "c1"], 0);
    assert_eq!((&undone["change"], &undone["outcome"]), (&"c2".into(), &"undone".into()));
    assert_eq!(world.read("etc/greeting"), None);
    let log = world.json(&["log", "--json"], 0);
    let entries = log["entries"].as_array().unwrap();
    assert!(entries.iter().all(|e| ["id", "kind", "at", "actor"].iter().all(|key| e.get(key).is_some())));
    let subjects: Vec<&Value> = entries.iter().map(|e| e.get("change").unwrap_or(&e["rehearsal"])).collect();
    assert_eq!(subjects, ["r1", "r2", "c1", "c2"]);
    assert_eq!(world.json(&["log", "--verify", "--json"], 0)["verified"], true);
}

/// Absolute links of the tree lead out of it when they are followed from outside. Of a copy, they would lead to the host: to
/// its live sockets (Debian has `/var/run -> /run`), apt's configuration, Greenroom's own records.
#[test]
fn no_link_leads_out_of_a_copy() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let host = world.dir.path().join("host");
    let places = [("var/run", "run"), ("etc/apt", "apt"), ("var/lib/greenroom", "greenroom")];
    for (link, to) in places {
        // Once outside, where only the host may come, and once where the link leads inside.
        for place in [&host, &world.root().join(host.strip_prefix("/").unwrap())] {
            std::fs::create_dir_all(place.join(to).join("apt.conf.d")).unwrap();
        }
        let link = world.root().join(link);
        let _ = std::fs::remove_dir_all(&link).or_else(|_| std::fs::remove_file(&link));
        std::os::unix::fs::symlink(host.join(to), link).unwrap();
    }
    let path = world.root().join("var/run/live");
    let _server = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let list = || {
        let found = Command::new("find").arg(&host).args(["-printf", "%p %y %T@ %C@\\n"]).output().unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    let before = list();
    world.sh("echo x > /etc/x", 0);
    assert_eq!(list(), before, "the rehearsal reached out of its copies");
    assert!(std::os::unix::net::UnixStream::connect(path).is_ok());
}

#[test]
fn before_images_go_when_a_person_says_so_and_never_data() {
    greenroom_testkit::need_root!();
    let world = World::new();
    std::fs::write(world.root().join("etc/big"), vec![b'x'; 3 << 20]).unwrap();
    world.sh("echo small > /etc/big; mkdir /srv/app; echo 1 > /srv/app/program", 0);
    world.json(&["apply", "--json", "r1"], 0);
    world.json(&["gc", "--json"], 0);
    let nothing = world.json(&["gc", "--json", "--undo-older-than", "90d"], 0);
    assert_eq!(nothing["way_back_dropped"]["changes"].as_array().unwrap().len(), 0);
    let slots = world.root().join("var/lib/greenroom/changes");
    let tried = world.json(&["gc", "--json", "--dry-run", "--undo-older-than", "1ms"], 0);
    assert_eq!(tried["way_back_dropped"]["changes"], serde_json::json!(["c1"]));
    assert!(tried["way_back_dropped"]["bytes"].as_u64().unwrap() >= 3 << 20, "{tried}");
    assert!(slots.join("c1").exists());

    // An undo moves aside what was written into a directory that goes: nobody else has it.
    std::fs::write(world.root().join("srv/app/order"), "an order").unwrap();
    world.json(&["undo", "--json", "c1"], 0);
    let kept = world.json(&["gc", "--json", "--undo-older-than", "1ms"], 0);
    assert_eq!(kept["way_back_dropped"]["kept"], serde_json::json!(["c1"]), "{kept}");
    world.json(&["undo", "--json", "c2"], 0);
    assert_eq!(world.read("srv/app/order").unwrap(), "an order");

    let gone = world.json(&["gc", "--json", "--undo-older-than", "1ms"], 0);
    assert_eq!(gone["way_back_dropped"]["changes"], serde_json::json!(["c1", "c2", "c3"]));
    assert_eq!(std::fs::read_dir(&slots).unwrap().count(), 0);
    for change in ["c1", "c2", "c3"] {
        let refused = world.json(&["undo", "--json", change], 3);
        assert!(refused["error"].as_str().unwrap().contains("before-images were dropped"), "{refused}");
    }
    assert!(world.json(&["show", "--json", "c1"], 0)["change"]["forgotten"].is_string());
    let log = world.json(&["log", "--json"], 0);
    let last = log["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["kind"], &last["change"]), (&"forget".into(), &"c1".into()));
    assert_eq!(world.json(&["log", "--verify", "--json"], 0)["verified"], true);
    // The next change has a name of its own and all its rights.
    world.sh("echo next > /etc/big", 0);
    assert_eq!(world.json(&["apply", "--json", "r2"], 0)["change"], "c4");
    world.json(&["undo", "--json", "c4"], 0);
    assert_eq!(world.read("etc/big").unwrap(), "small\n");
}

/// What only a copy does: nspawn makes the mount points that it needs, overlayfs moves no directory with a long path.
#[test]
fn habits_of_copies_are_no_part_of_a_change() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let empty = |dir: &str| std::fs::remove_dir_all(world.root().join(dir)).unwrap();
    empty("root");
    std::fs::create_dir(world.root().join("root")).unwrap();
    assert_eq!(world.sh("chmod 700 /root", 0)["entries"], 1);
    ["root", "sys"].into_iter().for_each(empty);
    assert_eq!(world.sh("echo x > /srv/x", 0)["entries"], 1);
    assert_eq!(world.sh("echo x > /root/x", 0)["entries"], 2);
    let long = format!("/srv/{}/{}", "a".repeat(150), "b".repeat(150));
    std::fs::create_dir_all(world.root().join(&long[1..]).join("full")).unwrap();
    let record = world.sh(&format!("rm -r {long}"), 1);
    assert!(record["reasons"].to_string().contains("longer than 256 bytes"), "{record:#}");
}

/// So many that the store takes the copy's own directory: with nothing in it that is no content, and each content once.
#[test]
fn a_change_to_many_files_is_kept_once_goes_live_and_comes_back() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let blobs = world.dir.path().join("state/blobs");
    let script = "mkdir /srv/many; cd /srv/many; for i in $(seq 400); do echo \"line $i\" > $i; done; chmod 600 7; \
        echo log > /var/log/many.log; rm /etc/motd; rm -r /var/lib/apt/lists; mkdir /var/lib/apt/lists";
    let files = || {
        let listed =
            Command::new("find").arg(blobs.join("layers")).args(["-path", "*/files/*", "!", "-type", "d"]).output();
        String::from_utf8(listed.unwrap().stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    world.sh(script, 0);
    let first = files();
    assert!(first.len() == 400 && first.iter().all(|file| file.contains("/srv/many/")), "{first:#?}");
    world.sh(script, 0);
    assert_eq!(files(), first, "the same contents again");
    assert_eq!(std::fs::read_dir(blobs.join("tmp")).unwrap().count(), 0);

    world.json(&["apply", "--json", "r2"], 0);
    assert_eq!(world.read("srv/many/399").unwrap(), "line 399\n");
    let shown = world.run(&["show", "r2", "--diff", "/srv/many/12"]).stdout;
    assert!(String::from_utf8(shown).unwrap().contains("+line 12"));
    world.json(&["undo", "--json", "c1"], 0);
    assert!(!world.root().join("srv/many").exists());

    // One of them is gone, and its name is said.
    std::fs::remove_file(first.iter().find(|file| file.ends_with("/399")).unwrap()).unwrap();
    let refused = world.json(&["apply", "--json", "r1"], 4).to_string();
    assert!(refused.contains("/srv/many/399") && refused.contains("not in the store"), "{refused}");
    assert!(!world.root().join("srv/many").exists());
}

/// Each kind of damage to what Greenroom keeps: it is named with what to do, nothing is touched, the rest goes on.
#[test]
fn damaged_state_is_named_and_the_rest_goes_on() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let state = world.dir.path().join("state");
    let host = world.root().join("var/lib/greenroom");
    let refuses = |args: &[&str], code: i32, words: &str, hint: &str| {
        let said = world.json(args, code);
        let (text, hints) = (said.to_string(), said["hints"].to_string());
        assert!(text.contains(words) && hints.contains(hint), "{args:?}: {said:#}");
    };
    for (number, text) in [(1, "one"), (2, "two"), (3, "three")] {
        assert_eq!(world.sh(&format!("echo {text} > /etc/{text}"), 0)["rehearsal"], format!("r{number}"));
    }
    world.json(&["apply", "--json", "r1"], 0);
    let hash = |id: &str| world.json(&["show", "--json", id], 0)["entries"][0]["after"]["content"].clone();
    let blob = hash("r2").as_str().unwrap().to_owned();
    std::fs::remove_file(state.join("blobs").join(&blob[..2]).join(&blob))
        .or_else(|_| std::fs::remove_file(state.join("blobs").join(&blob[..2]).join(&blob[2..])))
        .unwrap();
    refuses(&["apply", "--json", "r2"], 4, "not in the store", "rehearse it again");
    std::fs::write(state.join("rehearsals/r2.json"), "{").unwrap();
    refuses(&["show", "--json", "r2"], 4, "r2.json is damaged", "rehearse it again");
    let changeset = world.json(&["show", "--json", "r3"], 0)["changeset"].as_str().unwrap().to_owned();
    std::fs::remove_file(state.join("changesets").join(changeset)).unwrap();
    refuses(&["apply", "--json", "r3"], 4, "No such file", "rehearse it again");
    assert_eq!((world.read("etc/two"), world.read("etc/three")), (None, None));

    let journal = host.join("changes/c1/journal");
    let good = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, "junk").unwrap();
    refuses(&["undo", "--json", "c1"], 4, "the record of c1 is damaged", "changes/c1");
    assert_eq!(world.json(&["log", "--json"], 0)["entries"].as_array().unwrap().len(), 4);
    std::fs::rename(host.join("changes/c1"), host.join("aside")).unwrap();
    refuses(&["undo", "--json", "c1"], 3, "is gone", "rehearse the opposite");
    std::fs::rename(host.join("aside"), host.join("changes/c1")).unwrap();
    std::fs::write(&journal, good).unwrap();

    // A ledger that is lost takes neither rehearsals nor the way back with it.
    std::fs::write(state.join("ledger/ledger.db"), vec![b'x'; 8192]).unwrap();
    refuses(&["undo", "--json", "c1"], 4, "the ledger failed", "move the ledger's directory aside");
    std::fs::rename(state.join("ledger"), state.join("ledger.old")).unwrap();
    assert_eq!(world.sh("echo four > /etc/four", 0)["rehearsal"], "r4");
    assert_eq!(world.json(&["undo", "--json", "c1"], 0)["outcome"], "undone");
    assert_eq!(world.read("etc/one"), None);
}

#[test]
fn exit_statuses() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let failed = world.sh("echo half > /etc/half; exit 7", 1);
    assert_eq!((&failed["verdict"], &failed["exit_code"]), (&"change_failed".into(), &7.into()));
    assert_eq!(world.json(&["apply", "--json", "r1"], 3)["outcome"], "refused");
    assert_eq!(world.read("etc/half"), None);
    world.json(&["apply", "--json", "--force-verdict", "half is enough", "r1"], 0);
    assert_eq!(world.read("etc/half").unwrap(), "half\n");
    let log = world.json(&["log", "--json"], 0).to_string();
    assert!(log.contains("half is enough"));

    assert_eq!(world.sh("echo x > /boot/vmlinuz-9", 3)["verdict"], "will_not_transplant");
    let tested = ["rehearse", "--json", "--boot", "no", "--test", "test ! -e /etc/bad", "--", "touch", "/etc/bad"];
    let record = world.json(&tested, 1);
    assert_eq!((&record["verdict"], &record["tests"][0]["before"]), (&"tests_failed".into(), &true.into()));
    let slow = ["rehearse", "--json", "--boot", "no", "--timeout", "1s", "--", "sleep", "60"];
    assert_eq!(world.json(&slow, 1)["exit_code"], 124);
    for usage in [
        &["rehearse"][..],
        &["apply", "r99"],
        &["undo", "c99"],
        &["show", "nonsense"],
        &["rehearse", "--net", "all", "--", "true"],
    ] {
        assert_eq!(world.run(usage).status.code(), Some(2), "{usage:?}");
    }
    // A broken chain.
    let ledger = world.dir.path().join("state/ledger/ledger.db");
    let mut bytes = std::fs::read(&ledger).unwrap();
    let at = bytes.windows(14).position(|w| w == b"half is enough").unwrap();
    bytes[at] = b'H';
    std::fs::write(&ledger, bytes).unwrap();
    assert_eq!(world.json(&["log", "--verify", "--json"], 4)["verified"], false);
}

#[test]
fn refusals_name_every_path_and_touch_nothing() {
    greenroom_testkit::need_root!();
    let world = World::new();
    world.sh("echo a > /etc/one; echo b > /etc/two; echo c >> /etc/issue; rm /etc/debian_version", 0);
    std::fs::write(world.root().join("etc/two"), "mine").unwrap();
    std::fs::remove_file(world.root().join("etc/debian_version")).unwrap();
    let refusal = world.json(&["apply", "--json", "r1"], 3);
    let paths: Vec<&Value> = refusal["conflicts"].as_array().unwrap().iter().map(|c| &c["path"]).collect();
    assert_eq!(paths, ["/etc/debian_version", "/etc/two"]);
    assert_eq!(world.read("etc/one"), None);
    assert_eq!(world.read("etc/two").unwrap(), "mine");

    // A later change on the same path is named when the earlier one is to go.
    world.sh("echo 1 > /etc/three", 0);
    world.json(&["apply", "--json", "r2"], 0);
    world.sh("echo 2 > /etc/three", 0);
    world.json(&["apply", "--json", "r3"], 0);
    let refusal = world.json(&["undo", "--json", "c1"], 3);
    assert_eq!(refusal["conflicts"][0]["path"], "/etc/three");
    assert!(refusal["touched_by"][0].as_str().unwrap().starts_with("c2"));
    world.json(&["undo", "--json", "c2"], 0);
    world.json(&["undo", "--json", "c1"], 0);
    assert_eq!(world.read("etc/three"), None);
    assert_eq!(world.json(&["undo", "--json", "c1"], 3)["outcome"], "refused");

    // Brought back by the undo of its undo, it goes under its own name again.
    world.json(&["undo", "--json", "c4"], 0);
    assert_eq!(world.read("etc/three").unwrap(), "1\n");
    assert_eq!(world.json(&["undo", "--json", "c1"], 0)["of"], "c5");
    assert_eq!(world.read("etc/three"), None);
    let refusal = world.json(&["undo", "--json", "c1"], 3);
    assert!(refusal["error"].as_str().unwrap().contains("by c6"), "{refusal}");
}

const LIVE: &str = r#"
name = "live steps"
[[step]]
run = "echo one > /etc/one"
[[step]]
live = "echo did >> /srv/live-log"
undo = "echo undid >> /srv/live-log"
[[step]]
run = "echo two > /etc/two"
[[test]]
name = "both are there"
run = "test -e /etc/one && test -e /etc/two"
"#;

#[test]
fn live_steps_run_on_the_host_at_their_place() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let file = world.change_file(LIVE);
    let record = world.json(&["rehearse", "--json", "--boot", "no", file.to_str().unwrap()], 0);
    assert_eq!(record["verdict"], "ready", "{record:#}");
    let kinds: Vec<&Value> = record["parts"].as_array().unwrap().iter().map(|p| &p["kind"]).collect();
    assert_eq!(kinds, ["files", "live", "files"]);
    assert_eq!(record["entries"], 2, "the live step's own file is not transplanted");
    world.json(&["apply", "--json", "r1"], 0);
    assert_eq!(world.read("srv/live-log").unwrap(), "did\n");
    world.json(&["undo", "--json", "c1"], 0);
    assert_eq!(world.read("srv/live-log").unwrap(), "did\nundid\n");
    assert_eq!((world.read("etc/one"), world.read("etc/two")), (None, None));

    let file = world.change_file(&LIVE.replace(
        "live = \"echo did >> /srv/live-log\"",
        "live = \"test ! -e /srv/stop; echo did >> /srv/live-log; test ! -e /srv/stop\"",
    ));
    world.json(&["rehearse", "--json", "--boot", "no", file.to_str().unwrap()], 0);
    std::fs::write(world.root().join("srv/stop"), "").unwrap();
    assert_eq!(world.json(&["apply", "--json", "r2"], 1)["outcome"], "taken back");
    assert_eq!((world.read("etc/one"), world.read("etc/two")), (None, None));
    assert!(world.read("srv/live-log").unwrap().ends_with("did\nundid\n"), "a failed live step is taken back too");

    let file = world.change_file("[[step]]\nlive = \"true\"\n");
    let record = world.json(&["rehearse", "--json", "--boot", "no", file.to_str().unwrap()], 3);
    assert_eq!(record["verdict"], "cannot_be_undone");
}

#[test]
fn bad_change_files_are_refused_before_anything_starts() {
    greenroom_testkit::need_root!();
    let world = World::new();
    let table = [
        ("[[step]]\nrunn = \"true\"\n", "change.toml:2:1", "run"),
        ("[[step]]\ncopy = {from = \"nowhere\", to = \"/etc/x\"}\n", "change.toml:2:", "nowhere"),
        ("[[step]]\nrun = 5\n", "change.toml:2:7", "string"),
        ("nonsense", "change.toml:1:", ""),
    ];
    for (text, place, words) in table {
        let file = world.change_file(text);
        let output = world.run(&["rehearse", file.to_str().unwrap()]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(place) && errors.contains(words), "{text}: {errors}");
    }
    assert!(!world.dir.path().join("state").exists(), "nothing was begun");
    let missing = Path::new("/nonexistent");
    assert_eq!(world.run(&["rehearse", missing.to_str().unwrap()]).status.code(), Some(2));
}

#[test]
fn copy_steps_put_files_with_owner_and_mode() {
    greenroom_testkit::need_root!();
    let world = World::new();
    std::fs::write(world.dir.path().join("motd"), "welcome\n").unwrap();
    let file = world
        .change_file("[[step]]\ncopy = {from = \"motd\", to = \"/etc/motd\", mode = \"0640\", owner = \"mail:adm\"}\n");
    world.json(&["rehearse", "--json", "--boot", "no", file.to_str().unwrap()], 0);
    world.json(&["apply", "--json", "r1"], 0);
    let stat = Command::new("stat").args(["-c", "%a %u %g"]).arg(world.root().join("etc/motd")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stat.stdout).trim(), "640 8 4");
    let diff = String::from_utf8(world.run(&["show", "r1", "--diff", "/etc/mot*"]).stdout).unwrap();
    assert!(diff.contains("+welcome"), "{diff}");
}
