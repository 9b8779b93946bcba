//! Running something in a copy: the whole command for `true`, and the boot.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenroom_host::copy::Copy;

use super::measure::{Measured, Target, in_turn};
use super::world::{Host, World, must};

/// What nspawn is told so that it leaves the tree as it is. No network of its own, no more than the peer needs.
const QUIET: [&str; 4] = ["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--settings=no"];

/// `greenroom rehearse --boot no -- true`, from start to end, against nspawn on an overlay that is there already.
pub(super) fn trivial(world: &World) -> Result<Vec<Measured>> {
    let host = world.host("true")?;
    let overlay = Copy::make(&host.root, &host.dir.join("overlay"), &[])?;
    let ours = || Ok(host.run(&["rehearse", "--boot", "no", "--json", "--", "true"])?.took);
    let theirs = || {
        let began = Instant::now();
        must(nspawn(&overlay.root()).arg("true"))?;
        Ok(began.elapsed())
    };
    let (ours, theirs) = in_turn(31, ours, theirs)?;
    Ok(vec![Measured {
        what: "rehearsing `true`, not booted, whole command",
        peer: "`systemd-nspawn … true` on the same overlay",
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::Times(1.5)],
    }])
}

/// `copy_ms` of a rehearsal that boots (copy, network and proxy made, booted until settled; noise known) against nspawn on
/// an overlay that is there already, asked in the same way whether it has settled.
pub(super) fn boot(world: &World) -> Result<Vec<Measured>> {
    let host = world.host("boot")?;
    let _groups = Groups::enter()?;
    let ours = || {
        let ran = host.run(&["rehearse", "--boot", "yes", "--json", "--", "true"])?;
        let took = ran.answer["timings"]["copy_ms"].as_u64().context("the answer has no copy_ms")?;
        Ok(Duration::from_millis(took))
    };
    let (ours, theirs) = in_turn(9, ours, || bare_boot(&host))?;
    Ok(vec![Measured {
        what: "boot of a copy until settled",
        peer: "`systemd-nspawn --boot` of the same tree until settled",
        unit: "ms",
        ours,
        theirs,
        targets: vec![Target::Times(1.2)],
    }])
}

fn nspawn(root: &Path) -> Command {
    let systemd = Path::new("/run/systemd/system").exists();
    let mut command = Command::new(if systemd { "systemd-run" } else { "systemd-nspawn" });
    if systemd {
        command.args(["--scope", "--quiet", "--collect", "-p", "Delegate=yes", "systemd-nspawn"]);
    }
    command.args(["--quiet", "--register=no", "--keep-unit"]).args(QUIET).arg("-D").arg(root);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn bare_boot(host: &Host<'_>) -> Result<Duration> {
    let overlay = Copy::make(&host.root, &host.dir.join("overlay"), &[])?;
    let log = File::create(host.dir.join("console")).context("cannot write the console")?;
    let began = Instant::now();
    let child = nspawn(&overlay.root())
        .args(["--private-network", "--console=pipe", "--boot"])
        .stdout(log)
        .spawn()
        .context("cannot start systemd-nspawn")?;
    let mut machine = Machine { child, leader: None };
    let leader = machine.find_leader()?;
    let bus = PathBuf::from(format!("/proc/{leader}/root/run/dbus/system_bus_socket"));
    loop {
        ensure!(began.elapsed() < Duration::from_secs(60), "the bare boot does not settle");
        if bus.exists() {
            let state = settled(leader)?;
            if !matches!(state.as_str(), "" | "offline" | "unknown" | "initializing" | "starting") {
                return Ok(began.elapsed());
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn settled(leader: u32) -> Result<String> {
    let target = leader.to_string();
    let args = ["--target", &target, "--mount", "--uts", "--ipc", "--net", "--pid", "--"].map(OsString::from);
    let output = Command::new("nsenter")
        .args(args)
        .args(["systemctl", "is-system-running", "--wait"])
        .output()
        .context("cannot start nsenter")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A booted tree; dropping it kills all in it.
struct Machine {
    child: Child,
    leader: Option<u32>,
}

impl Machine {
    /// The last child of nspawn is PID 1 inside.
    fn find_leader(&mut self) -> Result<u32> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().context("cannot wait for systemd-nspawn")? {
                bail!("systemd-nspawn ended with {status}");
            }
            let pid = self.child.id();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let last = children.split_whitespace().last().and_then(|word| word.parse().ok());
            if let Some(leader) = last.filter(|pid| is_first(*pid)) {
                self.leader = Some(leader);
                return Ok(leader);
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        bail!("the first process of the bare boot did not appear")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        if let Some(pid) = self.leader.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            // The kernel kills all others of the process namespace with its first; nspawn ends then by itself.
            let _ = kill_process(pid, Signal::KILL);
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn is_first(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .any(|line| line.strip_prefix("NSpid:").is_some_and(|l| l.split_whitespace().skip(1).last() == Some("1")))
}

/// This process in control groups of its own: where systemd does not run the machine, a bare boot would share its units'
/// groups with any other that was started from the same group.
struct Groups(Vec<PathBuf>);

impl Groups {
    fn enter() -> Result<Self> {
        let mut out = Self(Vec::new());
        if Path::new("/run/systemd/system").exists() {
            return Ok(out);
        }
        for hierarchy in ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            let hierarchy = Path::new(hierarchy);
            if hierarchy.join("cgroup.procs").exists() {
                let dir = hierarchy.join(format!("greenroom-bench-{}", std::process::id()));
                fs::create_dir(&dir).context("cannot make a control group")?;
                fs::write(dir.join("cgroup.procs"), "0").context("cannot enter a control group")?;
                out.0.push(dir);
            }
        }
        Ok(out)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for dir in &self.0 {
            if let Some(parent) = dir.parent() {
                let _ = fs::write(parent.join("cgroup.procs"), "0");
            }
            remove_groups(dir);
        }
    }
}

/// Groups that nspawn leaves are empty; one that is not stays.
fn remove_groups(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
        remove_groups(&entry.path());
    }
    let _ = fs::remove_dir(dir);
}
