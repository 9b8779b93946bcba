//! SSH within a fleet: one key that opens every host, a key of each host's own, and a client configuration that knows
//! them all, with the host keys pinned.

use super::super::process::run_ok;
use super::super::{LabError, SHORT, disk};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The client's side: a directory with key, known hosts and configuration.
#[derive(Debug)]
pub(crate) struct Ssh {
    dir: PathBuf,
    public: String,
}

impl Ssh {
    /// Makes the key and a configuration without hosts.
    pub(crate) fn new(dir: PathBuf) -> Result<Self, LabError> {
        let masters = dir.join("masters");
        fs::create_dir_all(&masters).map_err(LabError::io("make", &masters))?;
        let key = dir.join("id_ed25519");
        let public = make_key(&key, "greenroom lab")?;
        let mut config = "# The lab's own; ControlMaster is for whoever wants it.\nHost *\n    User root\n".to_owned();
        for (option, file) in [("IdentityFile", &key), ("UserKnownHostsFile", &dir.join("known_hosts"))] {
            let _ = writeln!(config, "    {option} {}", file.display());
        }
        let _ = writeln!(config, "    ControlPath {}/%n", masters.display());
        config.push_str(
            "    IdentitiesOnly yes\n    IdentityAgent none\n    GlobalKnownHostsFile none\n    \
             StrictHostKeyChecking yes\n    BatchMode yes\n    ConnectTimeout 10\n",
        );
        disk::write(&dir.join("config"), &config)?;
        disk::write(&dir.join("known_hosts"), "")?;
        Ok(Self { dir, public })
    }

    /// The client's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// Gives the host below `root` a key of its own, lets the lab's key in, and makes it known by name and address.
    pub(crate) fn admit(&self, root: &Path, name: &str, address: Ipv4Addr, via: Option<&str>) -> Result<(), LabError> {
        let etc = root.join("etc/ssh");
        for old in fs::read_dir(&etc).map_err(LabError::io("read", &etc))?.flatten() {
            if old.file_name().to_string_lossy().starts_with("ssh_host_") {
                fs::remove_file(old.path()).map_err(LabError::io("remove", &old.path()))?;
            }
        }
        let host_key = make_key(&etc.join("ssh_host_ed25519_key"), name)?;
        let keys = root.join("root/.ssh/authorized_keys");
        disk::write(&keys, &self.public)?;
        for (path, mode) in [(keys.parent().unwrap_or(&keys), 0o700), (&keys, 0o600)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(LabError::io("chmod", path))?;
        }
        append(&self.dir.join("known_hosts"), &format!("{name},{address} {host_key}"))?;
        // ssh takes the first value of an option that it meets, so what is general may come first when it says
        // nothing of these.
        let jump = via.map(|via| format!("    ProxyJump {via}\n")).unwrap_or_default();
        append(&self.config(), &format!("Host {name} {address}\n    HostName {address}\n{jump}"))
    }
}

/// A new key without a passphrase; the public half as a line.
fn make_key(file: &Path, comment: &str) -> Result<String, LabError> {
    run_ok(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(file), SHORT)?;
    let public = file.with_extension("pub");
    fs::read_to_string(&public).map_err(LabError::io("read", &public))
}

/// Adds text at the end of a file, which stays the same file: it may be mounted somewhere.
pub(crate) fn append(file: &Path, text: &str) -> Result<(), LabError> {
    let mut open = OpenOptions::new().append(true).open(file).map_err(LabError::io("open", file))?;
    open.write_all(text.as_bytes()).map_err(LabError::io("write", file))
}
