//! Where the secrets of a control plane are not: the arguments and the environment of processes, and what is printed.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Stands for ssh: notes how it was called, and what every process of the machine was called with at that moment.
const SSH: &str = r#"#!/bin/sh
{ printf '%s\n' "$@"; cat /proc/[0-9]*/cmdline; cat "/proc/$PPID/environ" /proc/self/environ; } >> "$SEEN" 2>/dev/null
case "$*" in
*enrol*) cat > "$SEEN.input"; echo "the host says no" >&2; exit 1 ;;
*) cat > /dev/null ;;
esac
"#;

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn greenroom(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.join("bin").display());
    command.env_clear().env("PATH", path).env("SEEN", dir.join("seen")).current_dir(dir);
    command.arg("--state").arg(dir.join("state"));
    command
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

#[test]
fn join_gives_the_secret_to_ssh_on_standard_input_and_shows_it_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("bin")).unwrap();
    fs::write(dir.join("bin/ssh"), SSH).unwrap();
    fs::set_permissions(dir.join("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let said = fs::File::create(dir.join("said")).unwrap();
    let mut serve = greenroom(dir);
    serve.args(["serve", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
    serve.stdout(said.try_clone().unwrap()).stderr(said);
    let mut serving = Serving(serve.spawn().unwrap());
    while !read(&dir.join("said")).contains("serves on") {
        assert_eq!(serving.0.try_wait().unwrap(), None, "{}", read(&dir.join("said")));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let access = dir.join("state/control/access.json");
    assert_eq!(fs::metadata(&access).unwrap().permissions().mode() & 0o777, 0o600);
    let access: Value = serde_json::from_str(&read(&access)).unwrap();

    let join = greenroom(dir).args(["join", "root@web1", "--program", "/bin/true"]).output().unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&join.stdout), String::from_utf8_lossy(&join.stderr));
    assert!(join.status.code() == Some(4) && printed.contains("the host says no"), "{printed}");
    let invitation: Value = serde_json::from_str(&read(&dir.join("seen.input"))).unwrap();
    let seen = read(&dir.join("seen"));
    assert!(seen.contains("root@web1") && seen.contains("join\0"), "it looked where it would be");
    for secret in [&invitation["token"], &access["token"]] {
        let secret = secret.as_str().unwrap().strip_prefix("gr_").unwrap();
        for (place, text) in
            [("a process", &seen), ("what join printed", &printed), ("serve", &read(&dir.join("said")))]
        {
            assert!(!text.contains(secret), "a secret is in {place}");
        }
    }
    // One that is wrong is not shown either.
    let mut wrong = greenroom(dir);
    wrong.env("GREENROOM_SERVER", access["url"].as_str().unwrap()).env("GREENROOM_TOKEN", "gr_wrong-but-mine");
    wrong.env("GREENROOM_AUTHORITY", dir.join("state/control/authority.pem"));
    let refused = wrong.args(["token", "list"]).output().unwrap();
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && printed.contains("the token is not known here"), "{printed}");
    assert!(!printed.contains("wrong-but-mine"), "{printed}");
}
