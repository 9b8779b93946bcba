//! `greenroom agent upgrade`: another program for the agents, rolled out as a change is.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use greenroom_core::ContentHash;
use greenroom_core::api::{Begun, NewUpgrade, Piece};
use greenroom_core::wire::{PIECE, Program};
use greenroom_engine::Progress as _;

use crate::args::{Global, Upgrade};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(in crate::commands) fn run(global: &Global, args: &Upgrade, ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    let dir = tempfile::tempdir()?;
    let file = match (&args.binary, &args.deb) {
        (Some(binary), _) => binary.clone(),
        (None, Some(deb)) => unpacked(deb, dir.path())?,
        (None, None) => std::env::current_exe()?,
    };
    let content = std::fs::read(&file)
        .map_err(|error| Failure::usage(format!("cannot read the program {}: {error}", file.display())))?;
    let program =
        Program { hash: ContentHash::of(&content).to_string(), size: content.len() as u64, version: version(&file)? };
    ui.begin(&format!("sending greenroom {} to the control plane", program.version));
    for (number, piece) in content.chunks(PIECE).enumerate() {
        let piece = Piece { data: STANDARD.encode(piece) };
        let _: Piece = http.post(&format!("/v1/programs/{}/{number}", program.hash), &piece)?;
    }
    let on = if global.on.is_empty() { vec!["all".to_owned()] } else { global.on.clone() };
    let wanted = NewUpgrade { on, program, why: args.why.clone(), pause_after: args.pause_after };
    let begun: Begun = http.post("/v1/upgrades", &wanted)?;
    ui.say(&format!("{} on {}", ui.tone_aside(Tone::Strong, &begun.id), begun.hosts.join(", ")));
    super::follow::until_over(&http, &begun.id, global.progress, ui)
}

/// The program of a Debian package.
fn unpacked(deb: &Path, dir: &Path) -> Result<PathBuf, Failure> {
    let unpack = Command::new("dpkg-deb").arg("--extract").arg(deb).arg(dir).output();
    let unpack = unpack.map_err(|error| {
        Failure::new(status::FAULT, format!("cannot run dpkg-deb: {error}"))
            .hint("--binary FILE takes the program itself")
    })?;
    if !unpack.status.success() {
        let said = String::from_utf8_lossy(&unpack.stderr).trim().to_owned();
        return Err(Failure::usage(format!("cannot unpack {}: {said}", deb.display())));
    }
    Ok(dir.join("usr/bin/greenroom"))
}

/// What a program says its version is.
fn version(file: &Path) -> Result<String, Failure> {
    let file = std::fs::canonicalize(file)?;
    let ran = Command::new(&file).arg("--version").output();
    let said = ran.map(|ran| String::from_utf8_lossy(&ran.stdout).trim().to_owned());
    match said.as_ref().map(|said| said.strip_prefix("greenroom ")) {
        Ok(Some(version)) if !version.is_empty() => Ok(version.to_owned()),
        Ok(_) => Err(Failure::usage(format!("{} is no greenroom", file.display()))),
        Err(error) => Err(Failure::usage(format!("{} does not run here: {error}", file.display()))),
    }
}
