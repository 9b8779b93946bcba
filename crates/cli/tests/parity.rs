//! `diff` and `manifest` through the binary, on trees that do not run.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use greenroom_testkit::lab::Lab;
use serde_json::Value;
use tempfile::TempDir;

struct World {
    dir: TempDir,
    root: String,
}

impl World {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--root").arg(&self.root).arg("--state").arg(self.dir.path().join("state"));
        command.args(args).current_dir(self.dir.path()).output().unwrap()
    }

    fn json(&self, args: &[&str], code: i32) -> Value {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{errors}"))
    }

    fn diff(&self, a: &str, b: &str) -> Vec<String> {
        let report = self.json(&["diff", "--json", a, b], 0);
        let side = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let one =
            |d: &Value| format!("{} {}: {} / {}", side(&d["kind"]), side(&d["item"]), side(&d["a"]), side(&d["b"]));
        report["differences"].as_array().unwrap().iter().map(one).collect()
    }
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn two_trees_and_a_manifest_for_scripts_and_for_people() {
    greenroom_testkit::need_root!();
    let dir = TempDir::new().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    for (root, name, port, level) in [(&a, "web1", 80, "info"), (&b, "web2", 81, "debug")] {
        put(root, "etc/hostname", &format!("{name}\n"));
        put(root, "etc/hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {name}\n"));
        put(root, "etc/app/a.json", &format!("{{\"server\": {{\"port\": {port}, \"name\": \"{name}\"}}}}"));
        put(root, "etc/app/b.yaml", &format!("# {name}\nlog:\n  level: {level}\n"));
        put(root, "etc/app/c.toml", &format!("[log]\nlevel = \"{level}\"\n"));
        put(root, "etc/app/d.ini", &format!("[log]\nlevel = {level}\n"));
        put(root, "etc/default/app", &format!("LEVEL={level}\n"));
        put(root, "etc/nginx/e.conf", &format!("events {{\n}}\nlevel {level};\n"));
    }
    put(&b, "etc/app/b.yaml", "# web2\nlog:\n  level: debug\n  file: x\n");
    put(&b, "etc/zz\u{1b}[2J\n  100 library libssl.so.3", "");
    let world = World { dir, root: a.to_str().unwrap().to_owned() };
    let forged = "configuration /etc/zz\\u{1b}[2J\\n  100 library libssl.so.3: - / file, 0 bytes";
    let expected = [
        "configuration /etc/app/a.json server.port: 80 / 81",
        "configuration /etc/app/b.yaml log.file: - / x",
        "configuration /etc/app/b.yaml log.level: info / debug",
        "configuration /etc/app/c.toml log.level: info / debug",
        "configuration /etc/app/d.ini log.level: info / debug",
        "configuration /etc/default/app LEVEL: info / debug",
        "configuration /etc/nginx/e.conf: level info; / level debug;",
        forged,
    ];
    assert_eq!(world.diff("this", "b"), expected);
    let report = world.json(&["diff", "--json", "a", "b"], 0);
    assert_eq!((&report["a"]["name"], &report["b"]["name"]), (&"web1".into(), &"web2".into()));
    assert_eq!(report["set_aside"], 3, "{report:#}");
    assert!(report["aside"].is_null(), "only with --all");
    assert!(report["differences"][0]["weight"].is_u64() && report["gaps"].is_array());

    let kept = world.run(&["manifest"]);
    assert!(kept.status.success());
    fs::write(world.dir.path().join("web1.manifest"), &kept.stdout).unwrap();
    assert_eq!(world.diff("web1.manifest", "b"), expected);
    assert!(world.diff("web1.manifest", "this").is_empty());

    let text = world.run(&["diff", "a", "b", "--limit", "2"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("and 6 more: --all shows them") && text.contains("set aside: 3"), "{text}");
    let all = String::from_utf8(world.run(&["diff", "a", "b", "--all"]).stdout).unwrap();
    assert!(!all.contains('\u{1b}') && !all.lines().any(|line| line == "  100 library libssl.so.3"), "{all}");

    let damaged: Vec<u8> = kept.stdout.iter().take(kept.stdout.len() / 2).copied().collect();
    fs::write(world.dir.path().join("cut"), damaged).unwrap();
    for (args, why) in [
        (["cut", "b"], "it was cut off"),
        (["b/etc/hosts", "a"], "it is no manifest"),
        (["a", "none"], "no system none"),
    ] {
        let error = world.json(&["diff", "--json", args[0], args[1]], 2);
        let said = format!("{} {}", error["error"], error["causes"]);
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(world.run(&["diff", "a", "r7"]).status.code(), Some(2), "a rehearsal that is not on record");
}

#[test]
fn a_rehearsal_is_compared_with_the_host() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = lab.host("parity").unwrap();
    let dir = tempfile::tempdir_in(lab.dir()).unwrap();
    let world = World { dir, root: host.root().to_str().unwrap().to_owned() };
    let script = "echo MaxAuthTries 3 > /etc/ssh/sshd_config.d/x.conf; mkdir /opt/app; echo 1 > /opt/app/x; \
        rm /etc/issue.net; useradd -u 4242 -M app";
    world.json(&["rehearse", "--json", "--boot", "no", "--", "sh", "-c", script], 0);
    let found = world.diff("this", "r1");
    for wanted in [
        "configuration /etc/ssh/sshd_config.d/x.conf",
        "file /opt/app: - / directory, with 1 paths in it",
        "package_file /etc/issue.net",
        "user user app: - / uid 4242",
        "user group app: - / gid 4242",
    ] {
        assert_eq!(found.iter().filter(|line| line.starts_with(wanted)).count(), 1, "{wanted}\n{found:#?}");
    }
    assert!(found.len() <= 7, "{found:#?}");
    assert!(world.diff("r1", "r1").is_empty());
    assert!(!host.path("/opt/app").exists(), "the host was touched");
    assert_eq!(fs::read_dir(world.dir.path().join("state/copies")).unwrap().count(), 0, "a copy was left behind");

    // On a host that has it there is no difference; on one that changed since, it can't be said.
    world.json(&["apply", "--json", "r1"], 0);
    assert!(world.diff("this", "r1").is_empty());
    fs::write(host.path("/opt/app/x"), "2").unwrap();
    let refused = world.json(&["diff", "--json", "this", "r1"], 3);
    assert!(refused["error"].as_str().unwrap().contains("no longer as it was rehearsed"), "{refused}");
}
