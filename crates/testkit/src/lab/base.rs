//! The base root: a small Debian with systemd that every lab host is a copy of.
//!
//! debootstrap makes it once per recipe; the recipe's hash is in its name, so a changed
//! recipe makes a new one. Many test processes start at the same moment: a lock file lets one of them work and
//! the others wait. Whoever copies the base holds the lock shared, so that the daily refresh of the apt lists
//! (the only write after the making) never runs under a copy.

use super::process::run_ok;
use super::sources::{Source, suite};
use super::{LabError, disk};
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Raise it when the code below makes another root from the same recipe.
const VERSION: u32 = 1;

/// What debootstrap adds to its smallest root: what an ordinary server has, and what tests look at it with.
const PACKAGES: &[&str] = &[
    "acl",
    "attr",
    "ca-certificates",
    "cron",
    "dbus",
    "debconf-utils",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "less",
    "libcap2-bin",
    "libfaketime",
    "libpam-systemd",
    "nftables",
    "openssh-server",
    "procps",
    "rsync",
    "systemd",
    "systemd-container",
    "systemd-sysv",
];

const MAKING: Duration = Duration::from_secs(1200);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The finished base; nobody changes it while this lives.
#[derive(Debug)]
pub(crate) struct Base {
    /// Its root.
    pub(crate) root: PathBuf,
    _shared: File,
}

/// Finds the base of this recipe below `cache`, or makes it.
pub(crate) fn ensure(cache: &Path, sources: &[Source]) -> Result<Base, LabError> {
    fs::create_dir_all(cache).map_err(LabError::io("make", cache))?;
    let name = format!("base-{}", recipe_hash(sources));
    let root = cache.join(&name);
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = disk::lock_file(&lock_path)?;
    disk::lock(&lock, &lock_path, FlockOperation::LockShared)?;
    if !usable(cache, &name) {
        disk::lock(&lock, &lock_path, FlockOperation::LockExclusive)?;
        if !root.exists() {
            make(cache, &name, sources)?;
            refreshed(cache, &name)?;
        } else if !usable(cache, &name) {
            // Without a network the lists of yesterday still serve; the stamp keeps the next hundred test
            // processes from trying again one by one.
            if let Err(error) = refresh_lists(&root, sources) {
                eprintln!("lab: the package lists stay as they were: {error}");
            }
            refreshed(cache, &name)?;
        }
        disk::lock(&lock, &lock_path, FlockOperation::LockShared)?;
    }
    Ok(Base { root, _shared: lock })
}

fn recipe_hash(sources: &[Source]) -> String {
    let mut hasher = blake3::Hasher::new();
    // How the machine reaches its mirror leaves no trace in the root.
    let plain = source_list(sources, plain_uri);
    hasher.update(format!("{VERSION} {} {PACKAGES:?} {plain}", suite()).as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}

fn stamp(cache: &Path, name: &str) -> PathBuf {
    cache.join(format!("{name}.refreshed"))
}

fn refreshed(cache: &Path, name: &str) -> Result<(), LabError> {
    disk::write(&stamp(cache, name), "")
}

fn usable(cache: &Path, name: &str) -> bool {
    let age = fs::metadata(stamp(cache, name))
        .and_then(|meta| meta.modified())
        .map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    cache.join(name).exists() && age.is_ok_and(|age| age < DAY)
}

fn make(cache: &Path, name: &str, sources: &[Source]) -> Result<(), LabError> {
    let unfinished = cache.join(format!(".{name}.new"));
    if unfinished.exists() {
        disk::remove_tree(&unfinished)?;
    }
    eprintln!("lab: making {} (once, about a minute)", cache.join(name).display());
    let made = fill(&unfinished, sources);
    disk::unmount_below(&unfinished);
    if let Err(error) = made {
        disk::remove_tree(&unfinished)?;
        return Err(error);
    }
    let root = cache.join(name);
    fs::rename(&unfinished, &root).map_err(LabError::io("put in place", &root))
}

fn fill(root: &Path, sources: &[Source]) -> Result<(), LabError> {
    let main = sources.iter().find(|source| source.suite == suite());
    let mirror = main.map_or_else(|| "http://deb.debian.org/debian".to_owned(), Source::uri);
    run_ok(
        Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={}", PACKAGES.join(",")), suite()])
            .arg(root)
            .arg(mirror),
        MAKING,
    )?;
    let etc = root.join("etc");
    disk::write(&etc.join("hostname"), "lab\n")?;
    disk::write(&etc.join("machine-id"), "")?;
    // Tests bring their own clock-independent mirror: an old cached index is as good as a new one.
    disk::write(
        &etc.join("apt/apt.conf.d/90lab"),
        "Acquire::Check-Valid-Until \"false\";\nAcquire::Languages \"none\";\n",
    )?;
    refresh_lists(root, sources)
}

/// `apt-get update` in the base, over the machine's own network.
fn refresh_lists(root: &Path, sources: &[Source]) -> Result<(), LabError> {
    let list = root.join("etc/apt/sources.list");
    let resolver = root.join("etc/resolv.conf");
    disk::write(&list, &source_list(sources, Source::uri))?;
    disk::write(&resolver, &fs::read_to_string("/etc/resolv.conf").unwrap_or_default())?;
    let updated = run_ok(
        Command::new("chroot")
            .arg(root)
            .args(["/bin/sh", "-ec", "apt-get -q update && apt-get clean"])
            .env_clear()
            .envs(proxy_variables())
            .env("PATH", super::PATH),
        MAKING,
    );
    // Lab hosts have no resolver: the names of the mirrors are in /etc/hosts, and they speak plain http to the
    // relay. The lists' file names do not contain the scheme.
    disk::write(&resolver, "# Lab hosts resolve names from /etc/hosts only.\n")?;
    disk::write(&list, &source_list(sources, plain_uri))?;
    updated.map(|_| ())
}

fn proxy_variables() -> Vec<(String, String)> {
    ["http_proxy", "https_proxy", "no_proxy"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| (name.to_owned(), value)))
        .collect()
}

/// The address of the archive as a lab host reaches it.
fn plain_uri(source: &Source) -> String {
    format!("http://{}{}", source.authority, source.path)
}

fn source_list(sources: &[Source], uri: impl Fn(&Source) -> String) -> String {
    sources.iter().map(|source| format!("deb {} {} main\n", uri(source), source.suite)).collect()
}
