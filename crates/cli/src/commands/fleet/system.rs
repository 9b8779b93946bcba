//! `greenroom system`: the system file of the control plane; and whether the one in the working directory is another one.

use std::collections::BTreeMap;
use std::path::Path;

use greenroom_core::api::{DeclaredSystem, HeldSystem, InForce, NewSystem};
use greenroom_core::system::{Bundle, Declaration};
use greenroom_engine::Progress as _;
use greenroom_engine::system::{Declared, SystemError, find};
use greenroom_net::client::Http;

use crate::args::{Global, System, SystemWhat};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(in crate::commands) fn run(global: &Global, args: &System, ui: &Ui) -> Result<u8, Failure> {
    let held = match &args.what {
        SystemWhat::Push { file, environment } => {
            let file = super::super::check::file_or_found(file.as_ref())?;
            let pushed = bundle(&file, environment.as_deref())?;
            crate::remote::open(global)?.post("/v1/system", &pushed)?
        }
        SystemWhat::Show => crate::remote::open(global)?.get::<DeclaredSystem>("/v1/system")?,
    };
    if ui.json {
        ui.object(&held)?;
        return Ok(status::DONE);
    }
    match &held.held {
        None => ui.print("the control plane has no system file; greenroom system push gives it one\n")?,
        Some(held) => ui.print(&text(held, ui))?,
    }
    Ok(status::DONE)
}

/// Reads a system file as it travels, and makes sure that it means the same there.
fn bundle(file: &Path, environment: Option<&str>) -> Result<NewSystem, Failure> {
    let declared = Declared::load(file, environment)?;
    let dir = file.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
    let own = |path: &Path| {
        let text = path.display().to_string();
        let inside =
            if dir.is_empty() { None } else { text.strip_prefix(&dir).and_then(|rest| rest.strip_prefix('/')) };
        inside.map_or_else(|| text.clone(), str::to_owned)
    };
    let mut files = BTreeMap::new();
    for path in &declared.files {
        files.insert(own(path), std::fs::read_to_string(path)?);
    }
    let first = own(file);
    let bundle = Bundle(files);
    let same = Declaration::read(&first, &bundle).ok().and_then(|read| read.system(environment).ok().map(|s| s.hash()));
    if same != Some(declared.hash) {
        return Err(Failure::usage(format!("{} does not mean the same on another machine", file.display()))
            .hint("it was changed just now, or it includes files of other directories by an absolute path"));
    }
    Ok(NewSystem {
        file: first,
        files: bundle.0,
        environment: environment.map(str::to_owned).or_else(|| declared.system.environment.clone()),
        revision: declared.revision,
        dirty: declared.dirty,
        hash: declared.hash.to_string(),
    })
}

fn text(held: &HeldSystem, ui: &Ui) -> String {
    let at = jiff::Timestamp::from_millisecond(held.at).map_or_else(|_| "?".to_owned(), |at| at.to_string());
    let environment =
        held.in_force.environment.as_ref().map_or_else(String::new, |name| format!(", environment {name}"));
    let mut out = format!("{}{environment}\n", ui.tone(Tone::Strong, &held.name));
    out.push_str(&format!("  revision     {}\n", revision(&held.in_force)));
    out.push_str(&format!("  hash         {}\n", held.in_force.hash));
    out.push_str(&format!("  in force     since {at}, by {}\n", held.person));
    out.push_str(&format!("  files        {}\n", held.files.keys().cloned().collect::<Vec<_>>().join(", ")));
    if !held.not_joined.is_empty() {
        let hosts = ui.tone(Tone::Warn, &held.not_joined.join(", "));
        out.push_str(&format!("  not joined   {hosts}; greenroom join lets them in\n"));
    }
    out
}

fn revision(system: &InForce) -> String {
    let dirty = if system.dirty { ", with changes that are not committed" } else { "" };
    match &system.revision {
        Some(revision) => format!("{}{dirty}", revision.chars().take(12).collect::<String>()),
        None => "none".to_owned(),
    }
}

/// Which system file, in a few words.
pub(super) fn words(system: &InForce) -> String {
    let environment = system.environment.as_ref().map_or_else(String::new, |name| format!(", environment {name}"));
    format!("revision {}, hash {}{environment}", revision(system), system.hash.chars().take(12).collect::<String>())
}

/// Says so when the system file of the working directory is not the one that is in force.
pub(super) fn compare(http: &Http, ui: &Ui) -> Result<(), Failure> {
    let file = match find(&super::super::check::here()?) {
        Ok(file) => file,
        Err(SystemError::Absent { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let held: DeclaredSystem = http.get("/v1/system")?;
    let name = file.display();
    let Some(held) = held.held else {
        ui.note(&format!("{name} is not used: the control plane has no system file; greenroom system push"));
        return Ok(());
    };
    match Declared::load(&file, held.in_force.environment.as_deref()) {
        Ok(own) if own.hash.to_string() == held.in_force.hash => {}
        Ok(_) => ui.note(&format!(
            "{name} is not what is in force ({}); to use it: greenroom system push",
            words(&held.in_force)
        )),
        Err(_) => ui.note(&format!(
            "{name} is not what is in force ({}), and cannot be read: greenroom check",
            words(&held.in_force)
        )),
    }
    Ok(())
}
