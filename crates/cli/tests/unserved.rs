//! A host whose program is newer than the control plane: the person who waits for it hears why it is not served. The control plane
//! and the person's program are real; the agent of tomorrow is played.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use greenroom_core::wire::PROTOCOL;
use greenroom_net::client::{Stream, StreamError, Url, connect};
use greenroom_net::tls::{self, Identity};
use greenroom_testkit::need_root;
use serde_json::{Value, json};

/// Stands for ssh: the host has the program, and is enrolled as hosts are.
const SSH: &str = r#"#!/bin/sh
case "$*" in
*enrol*) exec "$GREENROOM" --state "$HOST_STATE" enrol --quiet ;;
*) cat > /dev/null; "$GREENROOM" --version ;;
esac
"#;

/// Stands for the program of tomorrow, as far as it is looked at before it is brought to hosts.
const TOMORROW: &str = "#!/bin/sh\necho greenroom 9.0\n";

const GREENROOM: &str = env!("CARGO_BIN_EXE_greenroom");

/// What the guard of an upgrade says.
const LATE: &str = "the new program was not in touch with the control plane within 45 s";

/// The control plane, at an end of the machine that nobody else sees.
struct World {
    dir: tempfile::TempDir,
    serving: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.serving.kill();
        let _ = self.serving.wait();
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        for (name, text) in [("bin/ssh", SSH), ("tomorrow", TOMORROW)] {
            fs::write(dir.path().join(name), text).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut serve = command(dir.path());
        serve.args(["serve", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut serving = serve.spawn().unwrap();
        let mut said = BufReader::new(serving.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serves on") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it does not serve");
        }
        // Nobody waits for what it says later.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        Self { dir, serving }
    }

    fn greenroom(&self, args: &[&str]) -> Output {
        command(self.dir.path()).args(args).output().unwrap()
    }

    fn membership(&self) -> PathBuf {
        self.dir.path().join("host/agent/membership.json")
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(GREENROOM);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.join("bin").display());
    command.env_clear().env("PATH", path).env("GREENROOM", GREENROOM).env("HOST_STATE", dir.join("host"));
    command.current_dir(dir).arg("--state").arg(dir.join("state"));
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The host's agent.
#[derive(Default)]
struct Played {
    /// The version of the language that it speaks.
    speaks: AtomicU32,
    /// Another program was put in place; the old one is back when it `speaks` as before.
    upgraded: AtomicBool,
}

impl Played {
    /// Comes again and again, once the host is enrolled.
    async fn serve(&self, membership: &Path) {
        loop {
            if let Ok(text) = fs::read(membership) {
                let known: Value = serde_json::from_slice(&text).unwrap();
                let _ = self.stream(&known).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn stream(&self, known: &Value) -> Result<(), StreamError> {
        let field = |name: &str| known[name].as_str().unwrap().to_owned();
        let identity = Identity { certificate: field("certificate"), key: field("key") };
        let url = Url::parse(known["urls"][0].as_str().unwrap()).unwrap();
        let tls = tls::client(&field("authority"), Some(&identity)).unwrap();
        let mut stream = connect(&url, "/v1/agent/stream", tls, 1 << 20).await?;
        let protocol = self.speaks.load(Ordering::SeqCst);
        let version = if protocol > PROTOCOL { "9.0" } else { "0.9" };
        say(&mut stream, json!({ "say": "hello", "protocol": protocol, "version": version })).await?;
        loop {
            let heard: Value = serde_json::from_str(&stream.next().await?).unwrap();
            let answer = match heard["verb"]["verb"].as_str() {
                Some("prepare") => json!({ "answer": "prepared", "entries": 1 }),
                Some("commit") if !self.upgraded.swap(true, Ordering::SeqCst) => {
                    self.speaks.store(PROTOCOL + 1, Ordering::SeqCst);
                    return Ok(());
                }
                Some("commit") => json!({ "answer": "taken_back", "local": null, "why": LATE }),
                Some(_) => json!({ "answer": "unwound", "local": null }),
                None => continue,
            };
            say(&mut stream, json!({ "say": "done", "id": heard["id"], "answer": answer })).await?;
        }
    }
}

async fn say(stream: &mut Stream, message: Value) -> Result<(), StreamError> {
    stream.send(message.to_string()).await
}

#[test]
fn who_waits_for_a_host_that_is_newer_than_the_control_plane_hears_why_it_is_not_served() {
    need_root!();
    let world = World::new();
    let played = Arc::new(Played { speaks: AtomicU32::new(PROTOCOL + 1), ..Played::default() });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (agent, membership) = (played.clone(), world.membership());
    runtime.spawn(async move { agent.serve(&membership).await });

    let why = format!(
        "it is of version 9.0 and speaks version {} of the agents' language, this control plane {PROTOCOL}",
        PROTOCOL + 1
    );
    let hint = "upgrade the control plane first";
    let joined = world.greenroom(&["join", "root@web1"]);
    let said = text(&joined);
    assert_eq!(joined.status.code(), Some(4), "{said}");
    assert!(said.contains(&format!("web1 is enrolled, but its agent is not served: {why}")), "{said}");
    assert!(said.contains(&format!("hint: {hint}")), "{said}");
    let status = text(&world.greenroom(&["status"]));
    let (before, after) = status.split_once(" ago: ").unwrap_or_else(|| panic!("{status}"));
    assert!(before.starts_with("web1  never heard  not served ") && after == format!("{why}: {hint}\n"), "{status}");
    let asked = world.greenroom(&["drift", "--on", "web1"]);
    let said = text(&asked);
    assert!(asked.status.code() == Some(3) && said.contains(&why) && said.contains(&format!("hint: {hint}")), "{said}");

    // One that it knows is served, and nothing is left of that.
    played.speaks.store(PROTOCOL, Ordering::SeqCst);
    let joined = world.greenroom(&["join", "root@web1", "--again"]);
    assert!(joined.status.success() && text(&joined).contains("web1 is in touch"), "{}", text(&joined));
    let status = text(&world.greenroom(&["status"]));
    assert!(status.starts_with("web1  in touch  0.9") && !status.contains("not served"), "{status}");

    let mut upgrade = command(world.dir.path());
    upgrade.args(["agent", "upgrade", "--binary", "tomorrow"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut upgrade = upgrade.spawn().unwrap();
    let mut told = BufReader::new(upgrade.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("web1  committing: ") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "it is over, and nothing was said");
    }
    assert_eq!(line, format!("web1  committing: {why}: {hint}\n"));
    played.speaks.store(PROTOCOL, Ordering::SeqCst);
    told.read_to_end(&mut Vec::new()).unwrap();
    let ended = upgrade.wait_with_output().unwrap();
    let said = text(&ended);
    assert!(ended.status.code() == Some(1) && said.contains("c1 was taken back on 1 host"), "{said}");
    assert!(said.contains(&format!(": web1: {LATE}: {why}: {hint}\n")), "{said}");
}
