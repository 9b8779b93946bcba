//! `check` and `init` through the binary, on trees that do not run.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A directory for system files, and a tree that is no host that runs.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: TempDir::with_prefix("shop").unwrap() };
        world.put("root/etc/hostname", "web1\n");
        world
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run_in(&self, dir: &str, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.dir.path());
        command.arg("--root").arg(self.dir.path().join("root")).args(args);
        command.current_dir(self.dir.path().join(dir)).output().unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_in("", args)
    }

    fn json(&self, args: &[&str], code: i32) -> Value {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{errors}"))
    }

    fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(args);
        let output = command.env("GIT_CONFIG_NOSYSTEM", "1").current_dir(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const SHOP: &str = "include = ['services/*.toml']\n[system]\nname = 'shop'\n[host.web1]\naddress = '10.0.0.11'\nroles = ['web']\n\
                    [host.web2]\naddress = '10.0.0.12'\nroles = ['web']\n[team.web]\nemail = 'web@example.org'\n\
                    [policy]\nrehearsal_within = '24h'\n[environment.staging.host.web1]\naddress = '10.0.9.11'\nroles = ['web']\n";
const SERVICE: &str = "[service.shop]\nroles = ['web']\nunit = 'nginx'\nowner = 'web'\n[[service.shop.health]]\nhttp = 'http://127.0.0.1/'\n";

#[test]
fn a_sound_file_is_shown_as_it_is_meant() {
    let world = World::new();
    world.put("greenroom.toml", SHOP);
    world.put("services/shop.toml", SERVICE);
    world.put("deep/below/x", "");
    // From wherever below it one asks.
    let shown = world.run_in("deep/below", &["check"]);
    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    for line in [
        "shop  all is well\n",
        "2 hosts\n  web1  10.0.0.11  web\n          runs shop\n",
        "  shop  nginx.service  team web\n    on web1, web2, 1, then the rest (1+1)\n",
        "    well: http://127.0.0.1/ (every 5s, 2 good, 3 bad in a row)\n",
        "  the rehearsal must be younger than 24h\n",
        "  team web  web@example.org\n",
    ] {
        assert!(out(&shown).contains(line), "{line}\nis not in\n{}", out(&shown));
    }
    let object = world.json(&["check", "--json", "greenroom.toml"], 0);
    assert_eq!(object["files"], serde_json::json!(["greenroom.toml", "services/shop.toml"]));
    assert_eq!((&object["revision"], &object["environments"]), (&Value::Null, &serde_json::json!(["staging"])));
    assert_eq!(object["system"]["services"][0]["hosts"], serde_json::json!(["web1", "web2"]));
    let staging = world.json(&["check", "--json", "--environment", "staging"], 0);
    assert_eq!(staging["system"]["hosts"][0]["address"], "10.0.9.11");
    assert_ne!(staging["hash"], object["hash"]);
    let missing = world.run(&["check", "--environment", "stagin"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(err(&missing).contains("hint: did you mean `staging`?"), "{}", err(&missing));
}

#[test]
fn all_that_is_wrong_is_said_with_its_place() {
    let world = World::new();
    world.put("greenroom.toml", &SHOP.replace("address = '10.0.0.12'", "adress = '10.0.0.12'"));
    world.put("services/shop.toml", &SERVICE.replace("'web'\n[[", "'wbe'\n[["));
    let wrong = world.run(&["check"]);
    assert_eq!((wrong.status.code(), out(&wrong).as_str()), (Some(2), ""));
    let expected = "error: greenroom.toml is not a sound system file\n\
        greenroom.toml:8:1: unknown key `adress` in host `web2`\n  |\n8 | adress = '10.0.0.12'\n  | ^^^^^^\n  = hint: did you mean `address`?\n\
        services/shop.toml:4:9: there is no team `wbe`\n  |\n4 | owner = 'wbe'\n  |         ^^^^^\n  = hint: did you mean `web`?\n";
    assert_eq!(err(&wrong), expected);
    let object = world.json(&["check", "--json"], 2);
    assert_eq!((&object["outcome"], &object["exit_status"]), (&"error".into(), &2.into()));
    let second = serde_json::json!({
        "file": "services/shop.toml", "line": 4, "column": 9,
        "message": "there is no team `wbe`", "hint": "did you mean `web`?",
    });
    assert_eq!(object["problems"][1], second);
    for args in [&["check", "none.toml"][..], &["check", "services"]] {
        assert_eq!(world.run(args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(world.run_in("/", &["check"]).status.code(), Some(2), "there is none above the root");
}

#[test]
fn the_revision_is_that_of_the_directory() {
    let world = World::new();
    world.put("conf/greenroom.toml", "include = ['../people.toml']\n[system]\nname = 's'\n[host.a]\n");
    world.put("people.toml", "");
    world.put("elsewhere.txt", "");
    let look = || {
        let object = world.json(&["check", "--json", "conf/greenroom.toml"], 0);
        (
            object["revision"].as_str().map(str::to_owned),
            object["dirty"].as_bool().unwrap(),
            object["unversioned"].clone(),
        )
    };
    assert_eq!(look(), (None, false, "it is not in a git repository".into()));
    world.git(&["init", "-q"]);
    assert_eq!(look(), (None, false, "its git repository has no commit yet".into()));
    world.git(&["add", "conf", "people.toml", "elsewhere.txt"]);
    world.git(&["commit", "-q", "-m", "x"]);
    let head = Some(world.git(&["rev-parse", "HEAD"]));
    assert_eq!(look(), (head.clone(), false, Value::Null));
    world.put("elsewhere.txt", "of no concern");
    assert!(!look().1);
    world.put("people.toml", "[person.a]\nemail = 'a@example.org'\n");
    assert_eq!(look(), (head.clone(), true, Value::Null), "an included file was edited");
    world.put("people.toml", "");
    assert!(!look().1);
    world.put("conf/new.toml", "");
    assert_eq!(look(), (head, true, Value::Null), "a new file may be included tomorrow");
}

#[test]
fn the_first_file_is_written_once_and_is_sound() {
    let world = World::new();
    let unit = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    world.put("root/usr/lib/systemd/system/nginx.service", unit);
    world.put("root/usr/lib/systemd/system/cron.service", unit);
    world.put("root/etc/systemd/system/shop-worker.service", unit);
    let wants = world.dir.path().join("root/etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    for name in ["nginx", "cron", "shop-worker"] {
        std::os::unix::fs::symlink(format!("/x/{name}.service"), wants.join(format!("{name}.service"))).unwrap();
    }
    world.put(".ssh/config", "Host web2\n  HostName 10.0.0.12\nHost *\n  User root\n");
    world.git(&["init", "-q"]);
    let written = world.json(&["init", "--json"], 0);
    assert_eq!((&written["host"], &written["suggested"]), (&"web1".into(), &serde_json::json!(["web2"])));
    assert_eq!(written["units"], serde_json::json!(["nginx.service", "shop-worker.service"]));
    assert!(written["system"].as_str().unwrap().starts_with("shop"), "the name of the repository: {written}");
    let file = world.dir.path().join("greenroom.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("# [host.web2]\n# address = \"10.0.0.12\"\n# ssh = \"web2\"\n"), "{text}");
    world.json(&["check", "--json"], 0);

    fs::write(&file, "mine").unwrap();
    let refused = world.run(&["init"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(err(&refused).contains("greenroom.toml is there already"), "{}", err(&refused));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    // Nor through a link that leads nowhere yet.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("elsewhere.toml", &file).unwrap();
    assert_eq!(world.run(&["init"]).status.code(), Some(3));
    assert!(!world.dir.path().join("elsewhere.toml").exists());
    assert_eq!(world.run(&["init", "--force"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert!(!Path::new(&file).is_symlink());
}
