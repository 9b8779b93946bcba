//! `cargo xtask gen`: everything in the repository that is written by a program.
//!
//! ```text
//! change::json_schema ─► docs/schema/change.json   system::json_schema ─► docs/schema/system.json
//! server::api         ─► docs/schema/openapi.json
//! clap, clap_mangen   ─► docs/man/*.1          clap, clap_complete ─► completions/*
//! env::VARIABLES, policy::VOLATILE, policy::STORES, plan::NEVER_RESTART ─► docs/reference.md, between markers
//! ```
//! All of it is made in memory first. `--check` compares and writes nothing, so CI can say what is stale.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap_complete::Shell;
use greenroom_core::plan::NEVER_RESTART;
use greenroom_core::policy::{STORES, VOLATILE};

/// Options of `gen`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail with the list of files that are not up to date
    #[arg(long)]
    check: bool,
}

/// Directories in which every file is generated: what is there besides is stale.
const OWNED: &[&str] = &["docs/schema", "docs/man", "completions"];

/// The document with generated parts.
const REFERENCE: &str = "docs/reference.md";

/// Generated files by their path in the repository.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

pub(crate) fn run(args: &Args) -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    let wanted = all(repository)?;
    let (stale, extra) = compare(repository, &wanted)?;
    if stale.is_empty() && extra.is_empty() {
        return Ok(());
    }
    if args.check {
        let list: Vec<String> = stale.iter().chain(&extra).map(|path| format!("\n  {}", path.display())).collect();
        bail!("not up to date, `cargo xtask gen` writes them:{}", list.concat());
    }
    for path in &extra {
        fs::remove_file(repository.join(path)).with_context(|| format!("delete {}", path.display()))?;
        println!("deleted {}", path.display());
    }
    for path in &stale {
        let full = repository.join(path);
        fs::create_dir_all(full.parent().unwrap_or(repository))?;
        fs::write(&full, &wanted[path]).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn all(repository: &Path) -> Result<Files> {
    let mut out = Files::new();
    let schemas = [
        ("change", greenroom_core::change::json_schema()),
        ("system", greenroom_core::system::json_schema()),
        ("openapi", greenroom_server::api::openapi()),
    ];
    for (name, schema) in schemas {
        let text = serde_json::to_string_pretty(&schema)?;
        out.insert(format!("docs/schema/{name}.json").into(), format!("{text}\n").into_bytes());
    }
    man_pages(&mut out)?;
    completions(&mut out);
    let text = fs::read_to_string(repository.join(REFERENCE)).with_context(|| format!("read {REFERENCE}"))?;
    out.insert(REFERENCE.into(), fill(&text)?.into_bytes());
    Ok(out)
}

/// What is missing or different, and what nobody generates any more.
fn compare(repository: &Path, wanted: &Files) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let differs =
        |(path, content): &(&PathBuf, &Vec<u8>)| fs::read(repository.join(path)).ok().as_ref() != Some(*content);
    let stale = wanted.iter().filter(differs).map(|(path, _)| path.clone()).collect();
    let mut extra = Vec::new();
    for dir in OWNED {
        let entries = match fs::read_dir(repository.join(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("read {dir}"))?,
        };
        for entry in entries {
            let path = Path::new(dir).join(entry?.file_name());
            if !wanted.contains_key(&path) {
                extra.push(path);
            }
        }
    }
    Ok((stale, extra))
}

/// One page for each command.
pub(crate) fn man_pages(out: &mut Files) -> Result<()> {
    let dir = tempfile::tempdir()?;
    clap_mangen::generate_to(greenroom_cli::command(), dir.path())?;
    for entry in fs::read_dir(dir.path())? {
        let entry = entry?;
        out.insert(Path::new("docs/man").join(entry.file_name()), fs::read(entry.path())?);
    }
    Ok(())
}

pub(crate) fn completions(out: &mut Files) {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut greenroom_cli::command(), "greenroom", &mut text);
        out.insert(Path::new("completions").join(clap_complete::Generator::file_name(&shell, "greenroom")), text);
    }
}

/// Replaces what lies between `<!-- generated: NAME -->` and `<!-- end of NAME -->`.
fn fill(text: &str) -> Result<String> {
    let mut text = text.to_owned();
    for (name, content) in parts() {
        let (begin, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = text.find(&begin).with_context(|| format!("{REFERENCE} has no line {begin:?}"))? + begin.len();
        let length = text[from..].find(&end).with_context(|| format!("{REFERENCE} has no {end:?}"))?;
        text.replace_range(from..from + length, &content);
    }
    Ok(text)
}

fn parts() -> [(&'static str, String); 4] {
    [
        ("environment variables", environment()),
        ("volatile paths", block(VOLATILE)),
        ("stores", stores()),
        ("never-restart units", block(NEVER_RESTART)),
    ]
}

fn environment() -> String {
    let rows = greenroom_cli::VARIABLES.iter().map(|v| format!("| `{}` | {} |\n", v.name, v.help));
    format!("| variable | what it does |\n|---|---|\n{}", rows.collect::<String>())
}

fn stores() -> String {
    let rows = STORES.iter().map(|store| {
        let units: Vec<String> = store.units.iter().map(|unit| format!("`{unit}`")).collect();
        format!("| {} | `{}` | {} |\n", store.name, store.path, units.join(", "))
    });
    format!("| store | data below | units that own it |\n|---|---|---|\n{}", rows.collect::<String>())
}

fn block(lines: &[&str]) -> String {
    format!("```text\n{}\n```\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skeleton() -> String {
        parts()
            .iter()
            .map(|(name, _)| format!("# {name}\n<!-- generated: {name} -->\nold\n<!-- end of {name} -->\n"))
            .collect()
    }

    #[test]
    fn fills_between_the_markers_and_nowhere_else() {
        let once = fill(&skeleton()).unwrap();
        assert_eq!(fill(&once).unwrap(), once, "filling twice is filling once");
        assert!(!once.contains("\nold\n"));
        assert!(once.contains("# stores\n<!-- generated: stores -->\n| store |"));
        assert!(once.contains("/var/log/**"));
    }

    #[test]
    fn a_missing_marker_is_named() {
        let broken = skeleton().replace("<!-- end of stores -->", "");
        assert!(fill(&broken).unwrap_err().to_string().contains("end of stores"));
    }

    #[test]
    fn the_example_of_the_change_file_page_is_one() {
        let page = include_str!("../../docs/change-file.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let file = greenroom_core::change::ChangeFile::parse(example, "docs/change-file.md").unwrap();
        assert_eq!(file.steps.len(), 3);
    }

    /// The pages of docs/system-file.md: its first example, with the files that it includes.
    struct Pages<'a>(&'a [&'a str]);

    impl greenroom_core::system::Files for Pages<'_> {
        fn read(&self, path: &str) -> Result<String, String> {
            let first_line = format!("# {path}\n");
            let page =
                self.0.iter().find(|page| page.starts_with(&first_line) || page.contains(&format!("\n{first_line}")));
            page.map(|page| (*page).to_owned()).ok_or_else(|| "it is not on the page".to_owned())
        }

        fn names(&self, dir: &str) -> Result<Vec<String>, String> {
            let paths = self.0.iter().filter_map(|page| page.lines().find_map(|line| line.strip_prefix("# ")));
            let names = paths.filter_map(|path| path.rsplit_once('/')).filter(|(below, _)| *below == dir);
            Ok(names.map(|(_, name)| name.to_owned()).collect())
        }
    }

    #[test]
    fn the_examples_of_the_system_file_page_are_one() {
        let page = include_str!("../../docs/system-file.md");
        let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let declaration = greenroom_core::system::Declaration::read("greenroom.toml", &Pages(&examples))
            .unwrap_or_else(|unsound| panic!("{unsound}"));
        assert_eq!(declaration.files(), ["greenroom.toml", "people.toml", "services/shop.toml", "staging.toml"]);
        let production = declaration.system(None).unwrap();
        assert_eq!((production.hosts.len(), production.services.len()), (4, 2));
        assert_eq!(declaration.system(Some("staging")).unwrap().hosts.len(), 1);
    }

    #[test]
    fn every_command_has_a_page() {
        let mut files = Files::new();
        man_pages(&mut files).unwrap();
        for command in greenroom_cli::command().get_subcommands() {
            let page = format!("docs/man/greenroom-{}.1", command.get_name());
            assert!(files.contains_key(Path::new(&page)), "{page}");
        }
    }
}
