//! `cargo xtask demo`: the main job, on a real host that it makes for itself.
//!
//! A Debian with systemd is booted in namespaces of its own, Greenroom is installed in it, and each command of the story is
//! shown as it is typed there, with what it prints. Nothing of it is prepared or replayed; a step that does not do what the
//! story says fails the demo.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use greenroom_testkit::lab::{Boot, Lab, LabHost};

/// Longer than any single step should take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tells the story.
///
/// # Errors
/// The host cannot be made, or a step went otherwise than told.
pub(crate) fn run() -> Result<()> {
    let binary = crate::program::release()?;
    say("Setting up: a Debian host of its own (the first time this makes the base system, about a minute)");
    let lab = Lab::new()?;
    let mut host = lab.host("web1")?;
    host.install_greenroom(&binary)?;
    host.boot(&Boot::with_packages())?;
    let story = Story { host: &host, began: Instant::now() };

    say("1. A change that is fine: rehearsed on a booted copy, put live, seen working, taken back");
    story.types("greenroom rehearse --test 'nginx -t' -- apt-get install -y -qq nginx-light", 0)?;
    story.types("ls /usr/sbin/nginx", 2).context("the rehearsal must not touch the host")?;
    story.types("greenroom apply r1", 0)?;
    story.types("systemctl is-active nginx; ss -ltn | grep :80", 0)?;
    story.types("greenroom undo c1", 0)?;
    story.types("ls /usr/sbin/nginx; systemctl is-active nginx", 3)?;

    say("2. A change whose test fails: production is not touched");
    let broken = "greenroom rehearse --test 'sshd -t' -- sh -c 'echo Prot 2 >> /etc/ssh/sshd_config'";
    story.types(broken, 1)?;
    story.types("greenroom apply r2", 3)?;

    say("3. Somebody edits the host by hand between rehearsal and apply");
    story.types("greenroom install", 0)?;
    story.types("greenroom rehearse -q -- sed -i 's/^#Port 22/Port 2222/' /etc/ssh/sshd_config", 0)?;
    story.types("echo 'MaxAuthTries 3' >> /etc/ssh/sshd_config     # 23:40, just this once", 0)?;
    story.types("greenroom apply r3", 3)?;

    say("4. It is not forgotten: what was done by hand, by whom; kept with a word why, or taken back");
    story.types("chmod 0666 /etc/crontab", 0)?;
    story.types("greenroom status", 0)?;
    story.types("greenroom drift /etc/ssh --diff", 1)?;
    story.types("greenroom adopt /etc/ssh/sshd_config -m 'fewer tries, ticket 812'", 0)?;
    story.types("greenroom revert /etc/crontab", 0)?;
    story.types("greenroom status", 0)?;

    say("5. What happened");
    story.types("greenroom log", 0)?;
    story.types("greenroom log --verify", 0)?;
    say(&format!(
        "That was {:.0} s. `greenroom --help` has the rest; docs/how-it-works.md says why it is safe.",
        story.began.elapsed().as_secs_f64()
    ));
    Ok(())
}

struct Story<'a> {
    host: &'a LabHost,
    began: Instant,
}

impl Story<'_> {
    /// Shows a command as it is typed on the host, runs it there, shows what it prints.
    fn types(&self, line: &str, status: i32) -> Result<()> {
        print(&format!("\n\x1b[1;36mweb1#\x1b[0m \x1b[1m{line}\x1b[0m\n"));
        let output = self.host.exec_with(&["bash", "-c", line], b"", PATIENCE)?;
        print(output.err().trim_end_matches('\n'));
        if !output.err().trim().is_empty() {
            print("\n");
        }
        let out = output.out();
        print(&out);
        if !out.is_empty() && !out.ends_with('\n') {
            print("\n");
        }
        ensure!(output.code() == status, "`{line}` ended with status {} instead of {status}", output.code());
        Ok(())
    }
}

fn say(text: &str) {
    print(&format!("\n\x1b[1;33m== {text}\x1b[0m\n"));
}

/// Without colours where nobody sees them.
fn print(text: &str) {
    use std::io::IsTerminal as _;
    let mut out = std::io::stdout().lock();
    let text = if out.is_terminal() { text.to_owned() } else { plain(text) };
    // Nobody reads any more: the story goes on, its outcome is the exit status.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once('m').map_or("", |(_, after)| after);
    }
    out + rest
}
