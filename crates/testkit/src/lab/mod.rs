//! Real lab hosts: Debian with systemd, each in a private full copy of a cached base root.
//!
//! ```no_run
//! use greenroom_testkit::lab::{Boot, Lab};
//! # fn main() -> Result<(), greenroom_testkit::lab::LabError> {
//! let lab = Lab::new()?;
//! let mut host = lab.host("web1")?;
//! host.install_greenroom("target/debug/greenroom".as_ref())?;
//! host.boot(&Boot::with_packages())?;
//! host.exec_ok(&["apt-get", "install", "-y", "nginx-light"])?;
//! host.kill(); // as a power cut does to processes
//! # Ok(())
//! # }
//! ```
//!
//! How a host comes about: `base` makes the base root once (debootstrap), [`Lab::host`] copies it, and
//! [`LabHost::boot`] starts it with systemd-nspawn in its own network namespace and waits until it has settled.
//! A host has no way to the outside. With [`Boot::networked`] it is on the lab's network, where it reaches what else is
//! on it; with [`Boot::with_packages`] a relay there gives it the Debian mirror too. A [`Fleet`] is several hosts on that
//! network with names, SSH, the operator's place among them, and cuts between any two. What goes wrong on a host itself
//! (it hangs, is slow, its disk is full, its clock is off) is in `faults`.
//!
//! This is not a container manager: no host outlives the process that made it. Directories of a process that was
//! killed are swept by the next [`Lab::new`].
//!
//! Environment: `GREENROOM_LAB_CACHE` (default `/var/cache/greenroom-lab`) keeps what is used again by the next run:
//! the image of the `pool` and packages. `GREENROOM_LAB_DIR` (default `/var/tmp/greenroom-lab`) holds bases and
//! hosts. To be rid of all of it: `umount /var/tmp/greenroom-lab; rm -r /var/cache/greenroom-lab`.

mod base;
mod cgroup;
mod cuts;
mod disk;
mod error;
mod faults;
mod fleet;
mod host;
mod leader;
mod machine;
mod network;
mod pool;
mod process;
mod relay;
mod sources;

pub use cuts::Cut;
pub(crate) use disk::remove_tree;
pub use error::LabError;
pub use fleet::{Fleet, Station};
pub use host::LabHost;
pub use machine::Boot;
pub use process::Output;
pub(crate) use process::{run, run_ok};
pub use relay::PROXY_PORT;

use base::Base;
use machine::WireKind;
use network::Network;
use pool::Pool;
use relay::Relay;
use rustix::fs::FlockOperation;
use sources::Source;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The search path of everything that runs in a lab host.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The limit for helpers that take milliseconds.
pub(crate) const SHORT: Duration = Duration::from_secs(20);

/// A directory of lab hosts with a network of their own; removed with the last of its hosts.
#[derive(Clone, Debug)]
pub struct Lab {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    dir: PathBuf,
    base: Base,
    sources: Vec<Source>,
    cache: PathBuf,
    wires: Mutex<Option<Arc<Wires>>>,
    next: AtomicU32,
    // Held as long as the lab lives: whoever gets it knows that the directory is a leftover.
    _lock: File,
}

/// The network with its relay; each is made when the first host needs it.
#[derive(Debug)]
pub(crate) struct Wires {
    // Before the network, so that it is dropped before it.
    relay: Mutex<Option<Relay>>,
    network: Network,
}

impl Wires {
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }
}

impl Lab {
    /// Makes a lab; the first on a machine makes the base root, which takes about a minute.
    ///
    /// # Errors
    /// When a directory or the base cannot be made: not root, no room, a tool or the mirror is missing.
    pub fn new() -> Result<Self, LabError> {
        let cache = directory("GREENROOM_LAB_CACHE", "/var/cache/greenroom-lab");
        let labs = directory("GREENROOM_LAB_DIR", "/var/tmp/greenroom-lab");
        let pool = Pool::open(&cache, &labs)?;
        let sources = sources::of_machine(Path::new("/"));
        let base = base::ensure(&pool.bases, &sources)?;
        sweep(&pool.labs)?;
        let (dir, lock) = own_directory(&pool.labs)?;
        let inner = Inner { dir, base, sources, cache, wires: Mutex::new(None), next: AtomicU32::new(2), _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A new host: a full private copy of the base, not booted. Two hosts of the same name in two labs are equal,
    /// machine id included.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn host(&self, name: &str) -> Result<LabHost, LabError> {
        LabHost::create(Arc::clone(&self.inner), name, None)
    }

    /// Like [`Lab::host`], on an ext4 of its own of `mib` MiB (the base takes about 350), which can be filled:
    /// [`LabHost::fill_disk`].
    ///
    /// # Errors
    /// When the file system or the copy cannot be made.
    pub fn host_on_disk(&self, name: &str, mib: u32) -> Result<LabHost, LabError> {
        LabHost::create(Arc::clone(&self.inner), name, Some(mib))
    }

    /// A new host that is a full copy of `other`, name and machine id included. `other` must not be running.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn copy_of(&self, other: &LabHost) -> Result<LabHost, LabError> {
        LabHost::duplicate(Arc::clone(&self.inner), other)
    }

    /// The lab's directory, for a test's own large files; removed with the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }
}

impl Inner {
    /// The lab's network with what `kind` wants on it, made when it is not there.
    fn wires(&self, kind: WireKind) -> Result<Arc<Wires>, LabError> {
        let mut slot = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let wires = match &*slot {
            Some(wires) => Arc::clone(wires),
            None => Arc::clone(slot.insert(Arc::new(Wires { relay: Mutex::new(None), network: Network::start()? }))),
        };
        let mut relay = wires.relay.lock().unwrap_or_else(PoisonError::into_inner);
        if kind == WireKind::Packages && relay.is_none() {
            *relay = Some(Relay::start(&wires.network, &self.cache.join("packages"), &self.sources)?);
        }
        drop(relay);
        Ok(wires)
    }

    /// A number that no other host of this lab has.
    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = disk::remove_tree(&self.dir) {
            eprintln!("lab: {error}");
        }
    }
}

fn directory(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

/// Makes `lab-PID-N` with a held lock in it.
fn own_directory(labs: &Path) -> Result<(PathBuf, File), LabError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = labs.join(format!("lab-{}-{count}", std::process::id()));
    // A sweeping process must never see the directory without its lock held, so all of this and all of sweeping
    // happens under one lock.
    let gate = Gate::close(labs)?;
    fs::create_dir(&dir).map_err(LabError::io("make", &dir))?;
    let path = dir.join("lock");
    let file = disk::lock_file(&path)?;
    disk::lock(&file, &path, FlockOperation::LockExclusive)?;
    drop(gate);
    Ok((dir, file))
}

/// Ends what a killed test process left running, and removes its directories.
fn sweep(labs: &Path) -> Result<(), LabError> {
    let gate = Gate::close(labs)?;
    let entries = fs::read_dir(labs).map_err(LabError::io("read", labs))?;
    for dir in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let path = dir.join("lock");
        let file = disk::lock_file(&path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            leader::kill_leftovers(&dir);
            disk::remove_tree(&dir)?;
        }
    }
    drop(gate);
    Ok(())
}

/// The lock over the directory of labs.
struct Gate {
    _file: File,
}

impl Gate {
    fn close(labs: &Path) -> Result<Self, LabError> {
        let path = labs.join(".lock");
        let file = disk::lock_file(&path)?;
        disk::lock(&file, &path, FlockOperation::LockExclusive)?;
        Ok(Self { _file: file })
    }
}
