//! Commands that are about many hosts: the control plane, the agents, and what a person says to them.

pub(super) mod agent;
pub(super) mod enrol;
pub(super) mod follow;
pub(super) mod fresh;
pub(super) mod hosts;
pub(super) mod image;
pub(super) mod join;
pub(super) mod on;
pub(super) mod serve;
pub(super) mod system;
pub(super) mod token;
pub(super) mod upgrade;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;

use crate::error::Failure;

/// Keeps a secret: the file is there whole or not at all, and only its owner reads it.
fn keep(path: &Path, secret: &impl Serialize) -> Result<(), Failure> {
    let (dir, fresh) = (path.parent().unwrap_or(Path::new("/")), path.with_extension("new"));
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(secret)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(())
}

/// Returns when this process is asked to end.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
