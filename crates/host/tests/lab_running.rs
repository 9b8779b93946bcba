//! Looks at a real host from inside, as `greenroom status` takes them: what was done is told exactly, with what keeps it, and
//! nothing else is.
#![allow(clippy::unwrap_used, reason = "a test ends with what was unexpected")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use greenroom_core::drift::runtime::{Facts, RuntimeDrift, compare, deviations};
use greenroom_host::facts::look;
use greenroom_testkit::lab::{Boot, Lab, LabHost};

/// Where a look is left, when this program runs in a lab host.
const LEAVE: &str = "LOOK_LEFT_AT";

/// Taken on whatever runs the tests; in a lab host by [`look_in`].
#[test]
fn a_look_at_this_machine() {
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let facts = look(Path::new("/")).unwrap();
        quickest = quickest.min(start.elapsed());
        let running = facts.running.as_ref().unwrap();
        assert!(!running.boot.is_empty() && !running.kernel.release.is_empty() && !running.sysctl.is_empty());
        if let Ok(path) = std::env::var(LEAVE) {
            fs::write(path, serde_json::to_vec(&facts).unwrap()).unwrap();
        }
    }
    println!("a look took {quickest:?}");
    // Half a machine that runs other tests too.
    assert!(quickest < Duration::from_secs(2), "{quickest:?}");
    assert!(look(&std::env::temp_dir()).unwrap().running.is_none());
}

/// Runs this very program in the host, outside its units: a unit for it would be a change.
fn look_in(host: &LabHost) -> Facts {
    let leader = host.leader().unwrap().to_string();
    let program = host.path("/usr/local/bin/look");
    if !program.exists() {
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    }
    let mut command = Command::new("nsenter");
    command.args(["-t", &leader, "-a", "--", "env", "-i", &format!("{LEAVE}=/run/look"), "PATH=/usr/sbin:/usr/bin"]);
    let output =
        command.args(["/usr/local/bin/look", "--exact", "a_look_at_this_machine", "--nocapture"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stdout).lines().find(|l| l.starts_with("a look")).unwrap());
    serde_json::from_slice(&fs::read(format!("/proc/{leader}/root/run/look")).unwrap()).unwrap()
}

/// Looks until two looks are the same: a service that was just started may still be starting.
fn settled(host: &LabHost) -> Facts {
    let until = Instant::now() + Duration::from_secs(20);
    let mut last = look_in(host);
    loop {
        thread::sleep(Duration::from_millis(200));
        let now = look_in(host);
        if compare(&last, &now).is_empty() || Instant::now() > until {
            return now;
        }
        last = now;
    }
}

fn sh(host: &LabHost, script: &str) {
    let leader = host.leader().unwrap().to_string();
    let output = Command::new("nsenter").args(["-t", &leader, "-a", "--", "sh", "-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn told(drift: &[RuntimeDrift]) -> Vec<String> {
    drift
        .iter()
        .map(|d| format!("{} | {} | {}", d.kind.words(), if d.lasting { "lasts" } else { "passes" }, d.detail))
        .collect()
}

#[test]
fn an_idle_host_is_the_same_also_after_a_boot() {
    greenroom_testkit::need_root!();
    let mut host = Lab::new().unwrap().host("idle").unwrap();
    let before_boot = look(host.root()).unwrap();
    assert!(before_boot.running.is_none());
    host.boot(&Boot::isolated()).unwrap();
    let first = settled(&host);
    let running = first.running.as_ref().unwrap();
    assert_eq!(running.gaps, Vec::<String>::new());
    assert!(running.units["cron.service"].active == "active" && running.container);
    assert!(
        running.ports.iter().any(|p| p.port == 22 && p.unit.as_deref() == Some("ssh.service")),
        "{:?}",
        running.ports
    );
    assert_eq!(told(&deviations(&first)), Vec::<String>::new());
    thread::sleep(Duration::from_secs(3));
    assert_eq!(told(&compare(&first, &look_in(&host))), Vec::<String>::new());
    host.poweroff().unwrap();
    host.boot(&Boot::isolated()).unwrap();
    let later = settled(&host);
    assert_ne!(later.running.as_ref().unwrap().boot, running.boot);
    assert_eq!(told(&compare(&first, &later)), Vec::<String>::new());
}
