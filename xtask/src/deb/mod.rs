//! `cargo xtask deb`: the Debian package, for Debian 12 and Ubuntu 22.04 and later.
//!
//! ```text
//! chroot: an optimised build against an old C library ─┐
//! --binary FILE ───────────────────────────────────────┴─► needs: the versions of the library ─► tree ─► dpkg-deb
//! engine::install (units)   generate (man pages, completions)   notices (licences of what is linked in) ─┘
//! ```
//! Why a chroot and no static binary: docs/decisions/0028. The package has no configuration files of its own, and its
//! installation starts and enables nothing.

mod chroot;
mod needs;
mod notices;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The oldest C library of the systems that the package is for: Ubuntu 22.04's.
const OLDEST: needs::Version = needs::Version(2, 35);

/// Options of `deb`.
#[derive(clap::Args)]
pub(crate) struct Deb {
    /// Package this program instead of building one; it runs where its C library is
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the package goes
    #[arg(long, value_name = "DIR", default_value = "target/deb")]
    out: PathBuf,
    /// Where the packages of the chroot come from
    #[arg(long, value_name = "URL", default_value = "http://deb.debian.org/debian")]
    mirror: String,
}

pub(crate) fn run(options: &Deb) -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    fs::create_dir_all(&options.out).with_context(|| format!("make {}", options.out.display()))?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => chroot::build(repository, &options.mirror)?,
    };
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("greenroom");
    let package = format!("greenroom_{}_amd64", env!("CARGO_PKG_VERSION"));
    // Back traces of a crash can be read with what is kept beside the package.
    let lines = options.out.join(format!("{package}.debug"));
    done(Command::new("objcopy").args(["--only-keep-debug", "--compress-debug-sections"]).arg(&binary).arg(&lines))?;
    done(
        Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment", "-o"]).arg(&program).arg(&binary),
    )?;
    let needed = needs::of(&program)?;
    println!("{} needs libc6 {needed}", binary.display());
    if options.binary.is_none() && needed > OLDEST {
        bail!("the program needs libc6 {needed}; the package is for systems that have {OLDEST}");
    }
    let root = dir.path().join("tree");
    tree::lay(repository, &root, &program, needed)?;
    let deb = options.out.join(format!("{package}.deb"));
    done(
        Command::new("dpkg-deb")
            // What is packaged to be looked at need not be small.
            .args(["--root-owner-group", "-Zxz", if options.binary.is_some() { "-z1" } else { "-z9" }, "--build"])
            .arg(&root)
            .arg(&deb)
            .env("SOURCE_DATE_EPOCH", tree::time(repository)?.to_string()),
    )?;
    println!("{}", deb.display());
    Ok(())
}

/// Runs a command to its end.
fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// What a command prints.
fn text(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
