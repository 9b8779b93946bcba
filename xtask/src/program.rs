//! The program that tasks work with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// What cargo says to the program that it runs, by how it begins. To another cargo it would be news, and build scripts that look at it
/// would all run again.
const SAID: &[&str] = &["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_", "OUT_DIR"];

/// The top of the checkout.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// cargo, as a person would start it there.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if SAID.iter().any(|said| name.to_string_lossy().starts_with(said)) {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(workspace());
    cargo
}

/// Builds the release binary, and says where it is.
pub(crate) fn release() -> Result<PathBuf> {
    let build = ["build", "--release", "--quiet", "--locked", "--package", "greenroom-cli"];
    let status = cargo().args(build).status().context("cannot start cargo")?;
    ensure!(status.success(), "the release build failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(workspace().join(target).join("release/greenroom"))
}
