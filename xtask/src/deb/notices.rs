//! The licences of what is linked into the program: each crate by name, then every text once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

pub(super) fn of(repository: &Path) -> Result<String> {
    let target = ["metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let text = super::text(Command::new("cargo").args(target).current_dir(repository))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let mut out = String::from("What is linked into the program besides its own code, and under which licence.\n\n");
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in linked(&metadata)? {
        let package = packages.get(id).with_context(|| format!("cargo does not know {id}"))?;
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        if package["source"].is_null() {
            continue;
        }
        let name = format!("{} {}", text("name"), text("version"));
        writeln!(out, "{name}: {}, {}", text("license"), text("repository"))?;
        let dir = Path::new(text("manifest_path")).parent().context("a manifest has a directory")?;
        for entry in fs::read_dir(dir)?.flatten() {
            let file = entry.file_name().to_string_lossy().to_ascii_uppercase();
            if ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"].iter().any(|w| file.starts_with(w))
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                texts.entry(text.trim().to_owned()).or_default().insert(name.clone());
            }
        }
    }
    for (text, names) in texts {
        let names: Vec<String> = names.into_iter().collect();
        write!(out, "\n{}\n{}\n{}\n\n{text}\n", "-".repeat(72), names.join(", "), "-".repeat(72))?;
    }
    Ok(out)
}

/// The packages that the program is made of, by what cargo resolved; not what only its build or its tests need.
fn linked(metadata: &Value) -> Result<BTreeSet<&str>> {
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let program = nodes.keys().find(|id| id.contains("crates/cli")).context("cargo does not know the program")?;
    let (mut found, mut open) = (BTreeSet::new(), vec![*program]);
    while let Some(id) = open.pop() {
        if !found.insert(id) {
            continue;
        }
        for dep in nodes.get(id).map_or(&[][..], |node| list(&node["deps"])) {
            if list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                open.extend(dep["pkg"].as_str());
            }
        }
    }
    Ok(found)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
