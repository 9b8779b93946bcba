//! `greenroom hotfix` on a real host, at a real terminal: this program is the terminal, and types.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greenroom_testkit::lab::{Boot, Lab, LabHost};
use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

fn host_with_greenroom(lab: &Lab, name: &str) -> LabHost {
    let mut host = lab.host(name).unwrap();
    host.install_greenroom(Path::new(env!("CARGO_BIN_EXE_greenroom"))).unwrap();
    host.boot(&Boot::with_packages()).unwrap();
    host
}

fn standing_test(host: &LabHost, name: &str, script: &str) {
    fs::create_dir_all(host.path("/etc/greenroom/tests.d")).unwrap();
    let path = host.path(&format!("/etc/greenroom/tests.d/{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn shown(host: &LabHost, id: &str) -> Value {
    let output = host.exec(&["greenroom", "show", "--json", id]).unwrap();
    serde_json::from_str(&output.out()).unwrap_or(Value::Null)
}

fn typed(shown: &Value) -> Vec<(String, i64)> {
    let command = |t: &Value| (t["text"].as_str().unwrap().to_owned(), t["exit_code"].as_i64().unwrap_or(-1));
    shown["rehearsal"]["typed"].as_array().unwrap().iter().map(command).collect()
}

/// A terminal with a program at it, as a person logged in to the host has it.
struct Person {
    master: Option<File>,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    /// What was waited for so far ends here.
    at: usize,
}

impl Person {
    fn at(host: &LabHost, env: &[&str], command: &[&str]) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        size(&master, 60, 90);
        let slave = File::options().read(true).write(true).open(name).unwrap();
        let leader = host.leader().unwrap().to_string();
        let mut line = Command::new("setsid");
        line.args(["--ctty", "--wait", "nsenter", "-t", &leader, "-a", "--"]);
        line.args(["systemd-run", "--quiet", "--pty", "--wait", "--collect", "-p", "Delegate=yes"]);
        for one in ["HOME=/root", "TERM=xterm", "LANG=C.UTF-8", "NO_COLOR=1"].iter().chain(env) {
            line.args(["-E", one]);
        }
        line.arg("--").args(command);
        line.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let child = line.spawn().unwrap();
        drop(line);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut source, sink) = (File::from(master.try_clone().unwrap()), Arc::clone(&seen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { master: Some(master.into()), child, seen, at: 0 }
    }

    fn types(&mut self, bytes: impl AsRef<[u8]>) {
        self.master.as_mut().unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Waits until `text` is shown after all that was waited for; returns what is shown until then.
    fn sees(&mut self, text: &str) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            {
                let seen = self.seen.lock().unwrap();
                let rest = &seen[self.at..];
                if let Some(found) = rest.windows(text.len()).position(|w| w == text.as_bytes()) {
                    let before = String::from_utf8_lossy(&rest[..found]).into_owned();
                    self.at += found + text.len();
                    return before;
                }
                assert!(Instant::now() < until, "never seen: {text:?}; but\n{}", String::from_utf8_lossy(rest));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types a command at the shell of the copy and waits for the next prompt.
    fn runs(&mut self, command: &str) -> String {
        self.types(format!("{command}\r"));
        // The terminal shows what is typed.
        self.sees("\n");
        self.sees("(copy) ")
    }

    fn all(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// The exit status of the program.
    fn ends(&mut self) -> i32 {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.all());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The connection drops: the whole session at this terminal gets SIGHUP.
    fn vanishes(mut self) {
        // The reader holds the terminal open too; what drops a connection ends the processes at it.
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::HUP)
            .unwrap();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.master = None;
    }
}

fn size(master: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master.as_fd(), size).unwrap();
}

#[test]
fn what_was_poked_is_seen_tested_applied_and_taken_back() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = host_with_greenroom(&lab, "poked");
    standing_test(&host, "10-ssh", "systemctl is-active --quiet ssh");
    standing_test(&host, "20-motd", "! grep -q BAD /etc/motd");
    let mut person = Person::at(&host, &[], &["greenroom", "hotfix"]);
    person.sees("This is a copy of poked");
    person.sees("(copy) ");
    person.runs("sed -i 's/^#Port 22/Port 2222/' /etc/ssh/sshd_config && systemctl restart ssh");
    person.runs("apt-get install -y -qq tree >/dev/null 2>&1; echo BAD >/etc/motd; false");
    assert!(!host.path("/usr/bin/tree").exists(), "the host was touched");
    person.types("exit\r");
    let diff = person.sees("[d]rop");
    for expected in
        ["tree 2.", "ssh.service restarted", "-#Port 22", "+Port 2222", "not listed here", "failed: tests.d/20-motd"]
    {
        assert!(diff.contains(expected), "{expected} is not in\n{diff}");
    }
    assert!(diff.contains("[a]pply all the same") && !diff.contains("+ /usr/bin/tree"), "{diff}");
    person.types("s\r");
    person.sees("Back in the copy");
    person.sees("(copy) ");
    assert!(person.runs("cat /etc/motd").contains("BAD"), "it is as it was left");
    person.runs("echo GOOD >/etc/motd");
    let began = Instant::now();
    person.types("exit\r");
    let verdict = person.sees("[v]iew all? ");
    let decided = began.elapsed();
    assert!(verdict.contains("READY") && verdict.contains("2 of 2 hold"), "{verdict}");
    person.types("a\r");
    person.sees("ledger)? ");
    let began = Instant::now();
    person.types("move ssh, ticket 7\r");
    person.sees("applied r2");
    let applied = began.elapsed();
    assert_eq!(person.ends(), 0);
    println!("from exit to the question {decided:.1?}, from the answer to applied {applied:.1?}");
    // Ten seconds are promised of the program as it is released, on a machine that does nothing else.
    assert!(decided + applied < Duration::from_secs(20), "{decided:?} and {applied:?}");

    assert!(host.path("/usr/bin/tree").exists());
    assert_eq!(fs::read_to_string(host.path("/etc/motd")).unwrap(), "GOOD\n");
    assert!(host.exec(&["ss", "-ltn"]).unwrap().out().contains(":2222"));
    let change = shown(&host, "c1");
    assert_eq!(change["change"]["why"], "move ssh, ticket 7");
    let commands = typed(&change);
    assert_eq!(commands[1].0, "apt-get install -y -qq tree >/dev/null 2>&1; echo BAD >/etc/motd; false");
    let codes: Vec<i64> = commands.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, [0, 1, -1, 0, 0, -1], "{commands:?}");
    host.exec_ok(&["greenroom", "undo", "c1"]).unwrap();
    assert!(!host.path("/usr/bin/tree").exists());
    assert!(host.exec(&["ss", "-ltn"]).unwrap().out().contains(":22 "));
}

#[test]
fn a_connection_that_drops_loses_nothing() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = host_with_greenroom(&lab, "dropped");
    // In the middle of a command.
    let mut person = Person::at(&host, &[], &["greenroom", "hotfix"]);
    person.sees("(copy) ");
    person.runs("echo kept >/etc/kept");
    person.types("sleep 1000\r");
    person.sees("sleep 1000");
    thread::sleep(Duration::from_millis(300));
    person.vanishes();
    let until = Instant::now() + Duration::from_secs(40);
    while shown(&host, "r1")["rehearsal"]["verdict"] != "ready" {
        assert!(Instant::now() < until, "{}", host.exec(&["greenroom", "log"]).unwrap().out());
        thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(typed(&shown(&host, "r1"))[0].0, "echo kept >/etc/kept");
    assert!(!host.path("/etc/kept").exists());
    host.exec_ok(&["greenroom", "apply", "r1", "--why", "after all"]).unwrap();
    assert_eq!(fs::read_to_string(host.path("/etc/kept")).unwrap(), "kept\n");
    // At the question.
    let mut person = Person::at(&host, &[], &["greenroom", "hotfix"]);
    person.sees("(copy) ");
    person.runs("echo other >/etc/kept");
    person.types("exit\r");
    person.sees("[v]iew all? ");
    person.vanishes();
    let left = || host.exec(&["sh", "-c", "pgrep -l 'greenroom|systemd-nspawn'"]).unwrap().out();
    while !left().is_empty() {
        assert!(Instant::now() < until, "still there: {}", left());
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(shown(&host, "r2")["rehearsal"]["verdict"], "ready");
    assert_eq!(fs::read_to_string(host.path("/etc/kept")).unwrap(), "kept\n");
}

#[test]
fn what_people_and_terminals_do() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = host_with_greenroom(&lab, "habits");
    fs::write(host.path("/etc/hostname"), "ha\x1b[2Jbits\n").unwrap();
    let no_terminal = host.exec(&["greenroom", "hotfix"]).unwrap();
    assert!(no_terminal.code() == 2 && no_terminal.err().contains("greenroom rehearse"), "{}", no_terminal.err());
    let mut person = Person::at(&host, &["PAGER=/no/such/pager -x"], &["greenroom", "hotfix"]);
    person.sees("(copy) ");
    // Ctrl-C is for what runs in the shell.
    person.types("sleep 1000\r");
    person.sees("sleep 1000");
    thread::sleep(Duration::from_millis(300));
    person.types("\x03");
    person.sees("(copy) ");
    assert!(person.runs("echo status=$?").contains("status=130"));
    // The window gets another size.
    size(person.master.as_ref().unwrap(), 41, 123);
    thread::sleep(Duration::from_millis(600));
    assert!(person.runs("stty size").contains("41 123"));
    // Bytes that are no text, and a file name that would clear the screen.
    person.types(b": caf\xe9 \xff\r");
    person.sees("(copy) ");
    person.runs("touch $'/etc/caf\\xe9' $'/etc/x\\e[2Jy'");
    person.runs("seq -f 'line %g' 200 >/etc/long");
    person.types("\x04");
    let shown_text = person.sees("[v]iew all? ");
    assert!(
        shown_text.contains("+line 1\r") && shown_text.contains("+line 200\r"),
        "no pager, so all of it:\n{shown_text}"
    );
    assert!(shown_text.contains("caf\\xe9") && shown_text.contains("/etc/x\\u{1b}[2Jy"), "{shown_text}");
    // Neither a wrong answer nor an empty one decides.
    person.types("yes please\r");
    person.sees("[v]iew all? ");
    person.types("\r");
    person.sees("[v]iew all? ");
    // Ctrl-C here is leaving without having decided.
    person.types("\x03");
    person.sees("nothing was decided; what was done is r1");
    assert_eq!(person.ends(), 0);
    assert!(!person.all().contains("\x1b[2J"), "{:?}", person.all());
    assert!(!host.path("/etc/long").exists());
}

#[test]
fn a_look_around_a_drop_and_a_copy_that_is_turned_off() {
    greenroom_testkit::need_root!();
    let lab = Lab::new().unwrap();
    let host = host_with_greenroom(&lab, "ends");
    // A look around is no change, and asks nothing.
    let mut person = Person::at(&host, &[], &["greenroom", "hotfix"]);
    person.sees("(copy) ");
    person.runs("ls / >/dev/null");
    person.types("exit\r");
    person.sees("nothing was changed");
    assert_eq!(person.ends(), 0);
    // Dropped.
    let mut person = Person::at(&host, &["PAGER=less"], &["greenroom", "hotfix"]);
    person.sees("(copy) ");
    person.runs("rm /etc/motd; seq -f 'line %g' 200 >/etc/long");
    person.types("exit\r");
    // More than the window holds; and Ctrl-C is for the pager.
    assert!(!person.sees("q ends the list").contains("line 200"));
    person.types("\x03");
    thread::sleep(Duration::from_millis(300));
    person.types("q");
    person.sees("[v]iew all? ");
    person.types("d\r");
    person.sees("dropped; the host was not touched");
    assert_eq!(person.ends(), 0);
    assert!(host.path("/etc/motd").exists());

    // Turned off, and booted, from inside: what was done is there, and that all services ended is nobody's wish.
    let mut person = Person::at(&host, &[], &["greenroom", "hotfix"]);
    person.sees("(copy) ");
    for turns in ["echo once >/etc/y; poweroff", "echo again >/etc/y; reboot"] {
        person.types(format!("{turns}\r"));
        let shown = person.sees("[v]iew all? ");
        assert!(shown.contains("READY") && shown.contains("turned off") && !shown.contains("services  "), "{shown}");
        person.types("s\r");
        person.sees("(copy) ");
    }
    assert!(person.runs("cat /etc/y; systemctl is-system-running").contains("again"));
    person.types("exit\r");
    person.sees("[v]iew all? ");
    person.types("d\r");
    assert_eq!(person.ends(), 0);
}
