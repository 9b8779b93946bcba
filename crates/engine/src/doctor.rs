//! What of the environment is missing, each with the command that mends it.

use std::fs;
use std::path::Path;

use greenroom_host::copy::Copy;
use greenroom_host::services::Pen;
use serde::Serialize;

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether Greenroom cannot work without it.
    pub needed: bool,
    /// What was found.
    pub found: String,
    /// The command that mends it.
    pub mend: Option<String>,
}

/// Looks at everything that the engine depends on. The calling process gets a mount namespace of its own.
#[must_use]
pub fn examine(root: &Path, state: &Path) -> Vec<Finding> {
    let mut out = vec![user()];
    let nspawn = "apt-get install -y systemd-container";
    out.push(program("systemd-nspawn", nspawn, true));
    out.push(program("nsenter", "apt-get install -y util-linux", true));
    out.push(program("systemctl", "apt-get install -y systemd", false));
    out.push(program("chroot", "apt-get install -y coreutils", false));
    out.push(program("nft", "apt-get install -y nftables", false));
    out.push(bus(root));
    out.push(copies(root, state));
    out.push(network());
    out.push(pens());
    out.push(room(state));
    out.push(exchange(root));
    out
}

fn finding(what: &str, outcome: Result<String, String>, needed: bool, mend: Option<&str>) -> Finding {
    let ok = outcome.is_ok();
    Finding {
        what: what.to_owned(),
        ok,
        needed,
        found: outcome.unwrap_or_else(|why| why),
        mend: mend.filter(|_| !ok).map(str::to_owned),
    }
}

fn user() -> Finding {
    let root = rustix::process::geteuid().is_root();
    let outcome = if root { Ok("root".to_owned()) } else { Err("not root".to_owned()) };
    finding("user", outcome, true, Some("sudo greenroom doctor"))
}

fn program(name: &str, mend: &str, needed: bool) -> Finding {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    finding(
        name,
        found.map(|path| path.display().to_string()).ok_or_else(|| "not installed".to_owned()),
        needed,
        Some(mend),
    )
}

fn bus(root: &Path) -> Finding {
    let has = ["usr/bin/dbus-daemon", "usr/bin/dbus-broker"].iter().any(|path| root.join(path).exists());
    let outcome = if has {
        Ok("installed".to_owned())
    } else {
        Err("not installed: what a change does to services is found by comparing, not by listening".to_owned())
    };
    finding("system bus", outcome, false, Some("apt-get install -y dbus"))
}

/// Makes a copy of an empty tree, next to where the real ones are made.
fn copies(root: &Path, state: &Path) -> Finding {
    let attempt = || -> Result<String, String> {
        greenroom_host::sys::ns::own_mounts().map_err(|e| format!("no mount namespace: {e}"))?;
        let dir = state.join("copies").join(format!("doctor-{}", std::process::id()));
        let copy = Copy::make(root, &dir, &[state.to_owned()]).map_err(|e| crate::apply::chain(&e))?;
        Ok(format!("a copy of {} was made and removed ({} file systems)", root.display(), copy.layers().len()))
    };
    let mend = "keep the state on ext4, XFS or btrfs: --state DIR; load the module: modprobe overlay";
    finding("copies (overlayfs)", attempt(), true, Some(mend))
}

fn network() -> Finding {
    let outcome = greenroom_host::sys::ns::Network::new(9).map(|_| "a namespace with loopback".to_owned());
    finding("network namespaces", outcome.map_err(|e| e.to_string()), true, None)
}

/// Where live steps run, so that all they start can be ended.
fn pens() -> Finding {
    let outcome = match Pen::plan("doctor") {
        Some(Pen::Scope(_)) => Ok("scopes of systemd".to_owned()),
        Some(Pen::Group(dir)) => Ok(format!("below {}", dir.parent().unwrap_or(&dir).display())),
        None => Err("none can be made: what a live step starts is not ended when the step is interrupted".to_owned()),
    };
    finding("control groups for live steps", outcome, false, Some("mount -t cgroup2 cgroup2 /sys/fs/cgroup"))
}

fn room(state: &Path) -> Finding {
    let at = state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let outcome = rustix::fs::statvfs(at).map_err(|e| e.to_string()).and_then(|s| {
        let free = s.f_bavail * s.f_frsize;
        let text = format!("{} MB free at {}", free / 1_000_000, at.display());
        if free > 1_000_000_000 { Ok(text) } else { Err(text) }
    });
    finding("room for copies", outcome, false, Some("greenroom gc, or another file system: --state DIR"))
}

/// Exchanges two files below the host's own state.
fn exchange(root: &Path) -> Finding {
    let attempt = || -> Result<String, String> {
        let dir = root.join("var/lib/greenroom");
        let at = if dir.exists() { dir } else { root.join("var/lib") };
        let names = [at.join(".greenroom-doctor-a"), at.join(".greenroom-doctor-b")];
        let done = (|| {
            fs::write(&names[0], "a")?;
            fs::write(&names[1], "b")?;
            let (a, b) = (&names[0], &names[1]);
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags).map_err(std::io::Error::from)?;
            fs::read_to_string(a)
        })();
        names.iter().for_each(|name| {
            let _ = fs::remove_file(name);
        });
        match done {
            Ok(text) if text == "b" => Ok("works".to_owned()),
            Ok(_) => Err("two files were not exchanged".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    finding(
        "exchange of files (renameat2)",
        attempt(),
        true,
        Some("the host's root must be on ext4, XFS, btrfs or overlayfs"),
    )
}
