//! An optimised build against an old C library: Debian 11 in a directory, with this machine's Rust.
//!
//! debootstrap makes the directory once, where the lab keeps what it uses again. The build runs in a mount namespace of its own:
//! the repository and the toolchain lie at the same paths as outside, and nothing stays mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// glibc 2.31; its linker and compiler are new enough for everything that is built.
const SUITE: &str = "bullseye";

const PACKAGES: &str = "gcc,libc6-dev";

/// Mounts what is needed below `$1`, and builds in it. `$2` is the toolchain, `$3` Cargo's directory, `$4` the repository.
const BUILD: &str = r#"
set -eu
for dir in "$2" "$3" "$4"; do
    mkdir -p "$1$dir"
    mount --bind "$dir" "$1$dir"
done
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
exec chroot "$1" /usr/bin/env -i PATH="$2/bin:/usr/bin:/bin" HOME=/root CARGO_HOME="$3" LANG=C.UTF-8 \
    sh -euc 'cd "$1" && exec cargo build --release --locked --offline --package greenroom-cli --target-dir target/deb/build' sh "$4"
"#;

pub(super) fn build(repository: &Path, mirror: &str) -> Result<PathBuf> {
    if !is_root() {
        bail!("the build in a chroot needs root; --binary FILE packages a program that is there");
    }
    let root = root(mirror)?;
    super::done(Command::new("cargo").args(["fetch", "--locked"]).current_dir(repository))?;
    let toolchain = super::text(Command::new("rustc").args(["--print", "sysroot"]))?;
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let cargo = cargo.context("neither CARGO_HOME nor HOME is set")?;
    fs::create_dir_all(repository.join("target/deb/build"))?;
    super::done(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-c", BUILD, "sh"])
            .arg(&root)
            .arg(toolchain.trim())
            .arg(cargo)
            .arg(repository),
    )?;
    Ok(repository.join("target/deb/build/release/greenroom"))
}

/// The directory, made when it is not there.
fn root(mirror: &str) -> Result<PathBuf> {
    let cache =
        std::env::var_os("GREENROOM_LAB_CACHE").map_or_else(|| "/var/cache/greenroom-lab".into(), PathBuf::from);
    let root = cache.join(format!("build-{SUITE}"));
    if root.exists() {
        return Ok(root);
    }
    fs::create_dir_all(&cache)?;
    let new = tempfile::Builder::new().prefix(".build-").tempdir_in(&cache)?;
    println!("making {} (once, about a minute)", root.display());
    let include = format!("--include={PACKAGES}");
    super::done(
        Command::new("debootstrap")
            .args(["--variant=minbase", &include, SUITE])
            .arg(new.path().join("root"))
            .arg(mirror),
    )?;
    match fs::rename(new.path().join("root"), &root) {
        // Somebody else was faster.
        Err(_) if root.exists() => Ok(root),
        other => other.map(|()| root).context("put the chroot in place"),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
