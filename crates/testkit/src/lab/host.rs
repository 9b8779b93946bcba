//! One lab host: its files, and its machine while it is booted.

use super::leader;
use super::machine::{Boot, Machine, Start};
use super::process::{must_succeed, run};
use super::{Inner, LabError, Output, SHORT, Wires, disk, relay};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a command in a host may take unless the test says otherwise.
const COMMAND: Duration = Duration::from_secs(300);

/// A host of the lab. Dropping it ends its processes and removes its files.
#[derive(Debug)]
pub struct LabHost {
    name: String,
    dir: PathBuf,
    root: PathBuf,
    /// Where the file system that it has for itself is mounted.
    pub(crate) own_disk: Option<PathBuf>,
    number: u32,
    machine: Option<Machine>,
    /// The network that it was booted on.
    wires: Option<Arc<Wires>>,
    commands: AtomicU32,
    // Last, so that the lab's directory is removed after the host's.
    lab: Arc<Inner>,
}

impl LabHost {
    pub(crate) fn create(lab: Arc<Inner>, name: &str, disk: Option<u32>) -> Result<Self, LabError> {
        let base = lab.base.root.clone();
        let host = Self::copy(lab, name, &base, disk)?;
        let etc = host.root.join("etc");
        let id = &blake3::hash(name.as_bytes()).to_hex()[..32];
        disk::write(&etc.join("hostname"), &format!("{name}\n"))?;
        disk::write(&etc.join("machine-id"), &format!("{id}\n"))?;
        let mirrors = relay::hosts_lines(&host.lab.sources);
        let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n{mirrors}");
        disk::write(&etc.join("hosts"), &hosts)?;
        Ok(host)
    }

    pub(crate) fn duplicate(lab: Arc<Inner>, other: &Self) -> Result<Self, LabError> {
        Self::copy(lab, &other.name, &other.root, None)
    }

    /// With `disk`, on a file system of its own of that many MiB.
    fn copy(lab: Arc<Inner>, name: &str, from: &Path, disk: Option<u32>) -> Result<Self, LabError> {
        let number = lab.number();
        let dir = lab.dir.join(format!("{name}-{number}"));
        fs::create_dir(&dir).map_err(LabError::io("make", &dir))?;
        let own_disk = disk.map(|mib| disk::mount_new(&dir, mib)).transpose()?;
        let root = own_disk.as_ref().unwrap_or(&dir).join("root");
        let commands = AtomicU32::new(0);
        // From here on dropping it removes what was made.
        let host =
            Self { name: name.to_owned(), dir, root, own_disk, number, machine: None, wires: None, commands, lab };
        disk::copy_tree(from, &host.root)?;
        Ok(host)
    }

    /// The host's name, which is its hostname too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's root directory on this machine, booted or not.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the host as a path on this machine.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// The address that the host has on the lab's network, whenever it boots on it.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        super::network::address(self.number)
    }

    /// Puts the built binary at `/usr/local/bin/greenroom`.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn install_greenroom(&self, binary: &Path) -> Result<(), LabError> {
        let to = self.path("usr/local/bin/greenroom");
        // Not over the old file: it may be running.
        if to.exists() {
            fs::remove_file(&to).map_err(LabError::io("remove", &to))?;
        }
        fs::copy(binary, &to).map_err(LabError::io("copy", binary))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).map_err(LabError::io("chmod", &to))
    }

    /// Makes apt in this host use the relay as its configured proxy, as hosts behind a company's proxy do.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn use_apt_proxy(&self) -> Result<(), LabError> {
        relay::configure_apt_proxy(&self.root)
    }

    /// Boots the host and waits until it has settled; see [`LabHost::state`] for how. A host that was booted is
    /// killed first.
    ///
    /// # Errors
    /// [`LabError::NotSettled`] with the console's text, or that a tool could not be started.
    pub fn boot(&mut self, boot: &Boot) -> Result<(), LabError> {
        self.kill();
        let id = leader::machine_id_of(&self.dir);
        let plan = Start { name: &self.name, dir: &self.dir, root: &self.root, id: &id, boot };
        self.wires = boot.wire().map(|kind| self.lab.wires(kind)).transpose()?;
        let wire = self.wires.as_ref().map(|wires| (wires.network(), self.address()));
        self.machine = Some(Machine::start(&plan, wire)?);
        Ok(())
    }

    /// `running`, or `degraded` when a unit failed at boot.
    ///
    /// # Errors
    /// [`LabError::NotBooted`].
    pub fn state(&self) -> Result<&str, LabError> {
        Ok(&self.machine()?.state)
    }

    /// The number of the host's PID 1 on this machine.
    ///
    /// # Errors
    /// [`LabError::NotBooted`].
    pub fn leader(&self) -> Result<u32, LabError> {
        Ok(self.machine()?.leader())
    }

    /// All that the host wrote on its console since it was booted.
    ///
    /// # Errors
    /// [`LabError::NotBooted`].
    pub fn console(&self) -> Result<String, LabError> {
        Ok(self.machine()?.console())
    }

    /// Runs a command as root in the host, as a transient service of its systemd, for at most 5 minutes.
    ///
    /// # Errors
    /// [`LabError::NotBooted`], or that the command did not end in time. Its exit status is no error.
    pub fn exec(&self, command: &[&str]) -> Result<Output, LabError> {
        self.exec_with(command, b"", COMMAND)
    }

    /// Like [`LabHost::exec`], and a status other than 0 is an error that shows the output.
    ///
    /// # Errors
    /// As [`LabHost::exec`], and [`LabError::Failed`].
    pub fn exec_ok(&self, command: &[&str]) -> Result<Output, LabError> {
        must_succeed(format!("{} on {}", command.join(" "), self.name), self.exec(command)?)
    }

    /// Like [`LabHost::exec`] with an input and a limit.
    ///
    /// # Errors
    /// As [`LabHost::exec`]. At the limit everything that the command started is killed.
    pub fn exec_with(&self, command: &[&str], input: &[u8], limit: Duration) -> Result<Output, LabError> {
        let (unit, mut line) = self.service(command)?;
        let result = run(&mut line, input, limit);
        if let Err(LabError::TimedOut { .. }) = result {
            let mut stop = self.machine()?.enter();
            stop.args(["systemctl", "kill", "--signal=KILL", &unit]);
            let _ = run(&mut stop, b"", SHORT);
        }
        result
    }

    /// The command line, on this machine, that runs `command` in the host as [`LabHost::exec`] does; for tests that
    /// start it themselves, to kill it at a moment of their choice. The string is the name of its service.
    ///
    /// # Errors
    /// [`LabError::NotBooted`].
    pub fn service(&self, command: &[&str]) -> Result<(String, Command), LabError> {
        let serial = self.commands.fetch_add(1, Ordering::Relaxed);
        let unit = format!("lab-command-{serial}.service");
        let mut line = self.machine()?.enter();
        line.args(["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--unit", &unit])
            .args(["-E", "HOME=/root", "-E", "LANG=C.UTF-8", "-E", "DEBIAN_FRONTEND=noninteractive"])
            .args(["-p", "Delegate=yes", "--"])
            .args(command);
        Ok((unit, line))
    }

    /// Kills every process of the host at once, as a power cut does: nobody on the network hears of it. What the host had written but not synced is
    /// still in this machine's memory: for the disk's side of a power cut, copy the backing file.
    pub fn kill(&mut self) {
        // The kernel ends the connections of a killed process in good order; that must not get out.
        if let Some(wires) = self.wires.take()
            && let Err(error) = wires.network().detach(self.address())
        {
            eprintln!("lab: {} goes down with its network up: {error}", self.name);
        }
        self.machine = None;
    }

    /// Shuts the host down in order; kills it after 30 s.
    ///
    /// # Errors
    /// [`LabError::NotBooted`], [`LabError::TimedOut`].
    pub fn poweroff(&mut self) -> Result<(), LabError> {
        let machine = self.machine.take().ok_or_else(|| LabError::NotBooted(self.name.clone()))?;
        machine.poweroff(Duration::from_secs(30))
    }

    pub(crate) fn machine(&self) -> Result<&Machine, LabError> {
        self.machine.as_ref().ok_or_else(|| LabError::NotBooted(self.name.clone()))
    }
}

impl Drop for LabHost {
    fn drop(&mut self) {
        self.kill();
        if let Err(error) = disk::remove_tree(&self.dir) {
            eprintln!("lab: {error}");
        }
    }
}
