//! What runs in a copy reaches nothing outside it: network, sockets, processes, devices, the kernel.
//!
//! The "host" is a Debian tree in a network namespace of the test's own, with addresses and listeners. The attempts
//! (isolation/attempts.pl) first run beside the listeners, where they must succeed: otherwise they prove nothing.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Lab, LabHost};
use greenroom_testkit::need_root;
use serde_json::Value;

const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";
const PORT: &str = "7411";

/// A host in a network of its own. What was started is killed when it goes.
struct World {
    children: Vec<Child>,
    holder: u32,
    log: PathBuf,
    abstract_name: String,
    dir: tempfile::TempDir,
    host: LabHost,
    _lab: Lab,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let host = lab.host("isolated").unwrap();
        let dir = tempfile::tempdir_in(lab.dir()).unwrap();
        let holder = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let abstract_name = format!("greenroom-test-{}", std::process::id());
        let mut world = Self {
            holder: holder.id(),
            children: vec![holder],
            log: dir.path().join("log"),
            abstract_name,
            dir,
            host,
            _lab: lab,
        };
        fs::write(&world.log, "").unwrap();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = || fs::read_link(format!("/proc/{}/ns/net", world.holder)).unwrap();
        wait("the network namespace", || theirs() != own);
        world.sh(&format!(
            "ip link set lo up; ip link add outside type bridge; ip link set outside addrgenmode none; ip link set outside up
             ip addr add {V4}/24 dev outside; ip addr add {V6}/64 dev outside nodad; ip route add default dev outside
             nft add table inet host; nft add chain inet host own '{{ type filter hook forward priority 0; policy drop; }}'"
        ));
        world.install();
        for kind in ["tcp", "tcp6", "udp", "udp6", "abstract", "absolute", "relative", "chrooted"] {
            world.listen(kind);
        }
        wait("the listeners", || world.count("ready") == 8);
        world
    }

    fn root(&self) -> &Path {
        self.host.root()
    }

    /// A command on the host: in its network.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder));
        command
    }

    fn sh(&self, script: &str) -> String {
        let output = self.enter().args(["sh", "-ec", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn install(&self) {
        let root = self.root();
        fs::write(root.join("root/attempts.pl"), include_str!("isolation/attempts.pl")).unwrap();
        fs::write(root.join("srv/listen.pl"), include_str!("isolation/listen.pl")).unwrap();
        fs::write(self.dir.path().join("secret"), "outside").unwrap();
        let try_it = format!(
            "/bin/sh -c 'date >> /var/log/tried.WHO; perl /root/attempts.pl {} >> /var/log/tried.WHO'",
            self.listeners()
        );
        let unit = |text: &str| format!("[Unit]\nDefaultDependencies=no\n{text}");
        fs::write(
            root.join("etc/systemd/system/reach.service"),
            unit(&format!("[Service]\nType=oneshot\nExecStart={}\n", try_it.replace("WHO", "timer"))),
        )
        .unwrap();
        fs::write(
            root.join("etc/systemd/system/reach.timer"),
            unit("[Timer]\nOnBootSec=0\nOnActiveSec=1\nAccuracySec=1ms\n"),
        )
        .unwrap();
        fs::create_dir_all(root.join("etc/systemd/system/multi-user.target.wants")).unwrap();
        std::os::unix::fs::symlink(
            "../reach.timer",
            root.join("etc/systemd/system/multi-user.target.wants/reach.timer"),
        )
        .unwrap();
        fs::write(root.join("etc/cron.d/reach"), format!("* * * * * root {}\n", try_it.replace("WHO", "cron")))
            .unwrap();
    }

    fn listen(&mut self, kind: &str) {
        let srv = self.root().join("srv");
        let (place, name) = match kind {
            "absolute" => (srv.clone(), srv.join("absolute.sock").display().to_string()),
            "relative" => (srv.clone(), "relative.sock".to_owned()),
            // It changes its root to where it is.
            "chrooted" => (self.root().to_owned(), "/srv/chrooted.sock".to_owned()),
            "abstract" => (srv.clone(), self.abstract_name.clone()),
            _ => (srv.clone(), PORT.to_owned()),
        };
        let child = self
            .enter()
            .arg("perl")
            .arg(srv.join("listen.pl"))
            .args([kind, &name])
            .arg(&self.log)
            .current_dir(place)
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    fn count(&self, word: &str) -> usize {
        fs::read_to_string(&self.log).unwrap().lines().filter(|line| *line == word).count()
    }

    fn listeners(&self) -> String {
        format!("v4={V4} v6={V6} port={PORT} abstract={} only=listeners", self.abstract_name)
    }

    /// All attempts; the block device is the one that the tree is on.
    fn everything(&self, key: i32) -> String {
        let device = fs::metadata(self.root()).unwrap().dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let secret = self.dir.path().join("secret");
        let listeners = self.listeners().replace("only=listeners", "only=");
        format!("{listeners} pid={} key={key} secret={} device={major}:{minor}", self.holder, secret.display())
    }

    /// All of the network's configuration that can be read.
    fn network(&self) -> String {
        self.sh("ip addr; ip link; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; nft list ruleset
                 find /proc/sys/net -type f ! -name '*conntrack_count' | sort | while read f; do echo \"$f: $(cat $f 2>/dev/null)\"; done")
    }

    fn rehearse(&self, boot: &str, script: &str) -> Value {
        let mut command = self.enter();
        command.arg(env!("CARGO_BIN_EXE_greenroom")).args(["--json", "--root"]).arg(self.root());
        command.arg("--state").arg(self.dir.path().join("state"));
        command
            .args(["rehearse", "--boot", boot, "--timeout", "150s", "--", "/bin/sh", "-c", script])
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What the attempts said in a copy. They write to a file that is part of the change, which `show --diff` shows.
    fn said_in_copy(&self, record: &Value) -> BTreeMap<String, bool> {
        let id = record["rehearsal"].as_str().unwrap();
        let mut command = self.enter();
        command
            .arg(env!("CARGO_BIN_EXE_greenroom"))
            .arg("--root")
            .arg(self.root())
            .arg("--state")
            .arg(self.dir.path().join("state"));
        let output = command.args(["show", id, "--diff", "/root/said"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("+done"), "the attempts did not come to their end: {record:#}\n{text}");
        said(&text.lines().filter_map(|line| line.trim_start().strip_prefix('+')).collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait(what: &str, ready: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < until, "{what}: not there after 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The lines that differ; with none the texts are equal, byte by byte.
fn changed(before: &str, after: &str) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let pairs = before.lines().zip(after.lines()).filter(|(a, b)| a != b).map(|(a, b)| format!("{a} / {b}"));
    pairs.chain([format!("{} and {} lines", before.lines().count(), after.lines().count())]).collect()
}

/// Name → whether it reached.
fn said(text: &str) -> BTreeMap<String, bool> {
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines
        .filter(|(_, how)| matches!(*how, "REACHED" | "blocked"))
        .map(|(name, how)| (name.trim().to_owned(), how == "REACHED"))
        .collect()
}

fn attempts_all_fail(boot: &str) {
    need_root!();
    let world = World::new();
    let key = i32::try_from(std::process::id()).unwrap();
    let made = Command::new("perl")
        .args(["-e", "defined shmget($ARGV[0], 64, 01600) or die", &key.to_string()])
        .status()
        .unwrap();
    assert!(made.success());

    // The same attempts on the host itself reach every listener.
    let control = said(&world.sh(&format!(
        "cd /; chroot {} perl /root/attempts.pl {}",
        world.root().display(),
        world.listeners()
    )));
    assert_eq!(control.len(), 11, "{control:?}");
    assert!(control.values().all(|reached| *reached), "the attempts prove nothing: {control:?}");
    let hits = world.count("hit");
    assert!(hits >= 11);

    let before = world.network();
    let record =
        world.rehearse(boot, &format!("perl /root/attempts.pl {} > /root/said 2>&1; true", world.everything(key)));
    let removed =
        Command::new("perl").args(["-e", "shmctl(shmget($ARGV[0], 0, 0), 0, 0)", &key.to_string()]).status().unwrap();
    assert!(removed.success());
    let said = world.said_in_copy(&record);
    assert!(said.len() > 45, "{said:?}");
    // Sent and seen on the copy's own loopback only: that is what the listeners and the interfaces say.
    let own = ["packet-socket", "raw-socket"];
    let reached: Vec<&String> = said
        .iter()
        .filter(|(name, reached)| **reached && !own.contains(&name.as_str()))
        .map(|(name, _)| name)
        .collect();
    assert!(reached.is_empty(), "a copy reached {reached:?}\n{said:#?}");
    assert_eq!(world.count("hit"), hits, "a listener of the host was reached");
    assert_eq!(changed(&before, &world.network()), Vec::<String>::new(), "the host's network is not as it was");

    let refused = record["refused"].to_string();
    for to in ["mirror.not-listed.example:80", &format!("127.0.0.1:{PORT}"), &format!("{V4}:{PORT}")] {
        assert!(refused.contains(to), "the report does not name {to}: {refused}");
    }
}

#[test]
fn attempts_from_a_copy_that_is_not_booted() {
    attempts_all_fail("no");
}

#[test]
fn attempts_from_a_booted_copy() {
    attempts_all_fail("yes");
}

#[test]
fn cron_and_timers_of_a_booted_copy_reach_nobody() {
    need_root!();
    let world = World::new();
    let before = world.network();
    // cron begins with the next full minute.
    let record = world.rehearse("yes", "n=0; while [ $n -lt 130 ] && ! grep -q chrooted /var/log/tried.cron; do sleep 0.5; n=$((n+1)); done 2>/dev/null
        sed s/^/timer-/ /var/log/tried.timer > /root/said; sed s/^/cron-/ /var/log/tried.cron >> /root/said; echo done >> /root/said");
    let said = world.said_in_copy(&record);
    for who in ["timer", "cron"] {
        assert_eq!(said.get(&format!("{who}-tcp-address")), Some(&false), "{said:?}");
        assert_eq!(said.get(&format!("{who}-unix-absolute")), Some(&false), "{said:?}");
    }
    assert!(said.values().all(|reached| !reached), "{said:?}");
    assert_eq!(world.count("hit"), 0);
    assert_eq!(changed(&before, &world.network()), Vec::<String>::new());
}
