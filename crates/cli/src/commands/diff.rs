//! `greenroom diff`

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use greenroom_core::parity::{Difference, Report};
use greenroom_core::path::Shown;
use greenroom_engine::Progress as _;
use greenroom_engine::State;
use greenroom_engine::parity::{Looker, Rehearsals, System};

use crate::args::{Diff, Global};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(super) fn run(global: &Global, args: &Diff, ui: &Ui) -> Result<u8, Failure> {
    let (a, b) = (system(&args.a, global)?, system(&args.b, global)?);
    let both = [&a, &b];
    if both.iter().any(|system| !matches!(system, System::Manifest(_))) {
        super::need_root()?;
    }
    let state = if both.iter().any(|system| matches!(system, System::Rehearsal(_))) {
        // Before any thread is started: the copy is mounted in a namespace of our own.
        greenroom_engine::rehearsal::prepare()?;
        Some(State::open(&global.state)?)
    } else {
        None
    };
    let asked = super::asked();
    let looker = Looker {
        asked: &asked,
        program: env!("CARGO_PKG_VERSION"),
        state_dir: &global.state,
        rehearsals: state.as_ref().map(|state| Rehearsals { state, root: &global.root }),
    };
    ui.begin("comparing");
    let mut report = looker.diff(&a, &b)?;
    if ui.json {
        if !args.all {
            report.aside.clear();
        }
        ui.object(&report)?;
    } else {
        ui.print(&text(&report, args, ui))?;
    }
    Ok(status::DONE)
}

/// What an argument names.
fn system(text: &OsStr, global: &Global) -> Result<System, Failure> {
    let path = Path::new(text);
    if text == "this" || text == "." {
        return Ok(System::at(&global.root));
    }
    let is_id = text
        .to_str()
        .and_then(|t| t.strip_prefix('r'))
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if is_id {
        return Ok(System::Rehearsal(text.to_string_lossy().into_owned()));
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(System::at(path)),
        Ok(meta) if meta.is_file() => Ok(System::Manifest(path.to_owned())),
        Ok(_) => Err(Failure::usage(format!("{} is neither a directory nor a file", path.display()))),
        Err(error) => Err(Failure::usage(format!("there is no system {}: {error}", path.display()))
            .hint("`this`, the root directory of a tree, a file of `greenroom manifest`, or a rehearsal (r7)")),
    }
}

/// What groups are called, in the order of the weights of their heaviest members.
fn title(kind: &str) -> &str {
    match kind {
        "library" => "libraries that services load",
        "program" => "programs of services",
        "package_file" => "files that are not what their package brought",
        "runtime" => "interpreters and runtimes",
        "service_environment" => "environment of services",
        "unit" => "units",
        "configuration" => "configuration",
        "port" => "ports",
        "locale" => "locale",
        "time_zone" => "time zone",
        "permissions" => "owners, modes and attributes",
        "limit" => "limits of services",
        "sysctl" => "kernel parameters",
        "boot_parameter" => "boot parameters",
        "kernel" => "kernel",
        "file" => "files of no package",
        "package" => "packages",
        "mount" => "mounts",
        "user" => "users and groups",
        "cpu" => "processor",
        other => other,
    }
}

fn text(report: &Report, args: &Diff, ui: &Ui) -> String {
    let mut out = String::new();
    let side = |letter: &str, side: &greenroom_core::parity::SideInfo| {
        let runs = if side.running { "running" } else { "files alone" };
        format!(
            "{} {}  ({}, {runs}, {})\n",
            ui.tone(Tone::Strong, letter),
            safe(&side.name),
            safe(&side.source),
            safe(&side.at)
        )
    };
    out.push_str(&side("a", &report.a));
    out.push_str(&side("b", &report.b));
    // Differences come heaviest first; a group stands where its heaviest member does.
    let mut groups: Vec<(&str, Vec<&Difference>)> = Vec::new();
    for difference in &report.differences {
        match groups.iter_mut().find(|(kind, _)| *kind == difference.kind) {
            Some((_, list)) => list.push(difference),
            None => groups.push((difference.kind, vec![difference])),
        }
    }
    for (kind, list) in groups {
        let _ = writeln!(out, "\n{} ({})", ui.tone(Tone::Strong, title(kind)), list.len());
        let shown = if args.all { list.len() } else { args.limit };
        list.iter().take(shown).for_each(|difference| one(difference, ui, &mut out));
        if list.len() > shown {
            let _ = writeln!(
                out,
                "  {}",
                ui.tone(Tone::Dim, &format!("and {} more: --all shows them", list.len() - shown))
            );
        }
    }
    if report.differences.is_empty() {
        out.push_str("\nno differences that matter\n");
    }
    tail(report, args, ui, &mut out);
    out
}

fn one(difference: &Difference, ui: &Ui, out: &mut String) {
    // Where the item names the service, it is not said again.
    let loads = matches!(difference.kind, "library" | "program");
    let services = match difference.services.as_slice() {
        list if list.is_empty() || !loads => String::new(),
        list if list.len() > 6 => format!("  loaded by {} and {} more", list[..6].join(", "), list.len() - 6),
        list => format!("  loaded by {}", list.join(", ")),
    };
    let weight =
        ui.tone(if difference.weight >= 80 { Tone::Bad } else { Tone::Dim }, &format!("{:3}", difference.weight));
    let _ = writeln!(out, "  {weight} {}{}", safe(&difference.item), safe(&services));
    if let Some(note) = &difference.note {
        let _ = writeln!(out, "      {}", safe(note));
    }
    for (letter, side) in [("a", &difference.a), ("b", &difference.b)] {
        let lines: Vec<&str> = match side.as_deref() {
            None => vec!["-"],
            Some("") => vec!["(empty)"],
            Some(text) => text.lines().collect(),
        };
        for line in lines {
            let _ = writeln!(out, "      {} {}", ui.tone(Tone::Dim, letter), safe(line));
        }
    }
}

fn tail(report: &Report, args: &Diff, ui: &Ui, out: &mut String) {
    if report.set_aside > 0 {
        let parts: Vec<String> = report.set_aside_by.iter().map(|(why, count)| format!("{why}: {count}")).collect();
        let _ = writeln!(out, "\nset aside: {} ({})", report.set_aside, safe(&parts.join(", ")));
        if args.all {
            for (why, items) in &report.aside {
                items.iter().for_each(|item| {
                    let _ = writeln!(out, "  {}  {}", safe(item), ui.tone(Tone::Dim, &safe(why)));
                });
            }
        }
    }
    if !report.gaps.is_empty() {
        let _ = writeln!(out, "\n{} ({})", ui.tone(Tone::Warn, "not looked at"), report.gaps.len());
        let shown = if args.all { report.gaps.len() } else { args.limit };
        report.gaps.iter().take(shown).for_each(|gap| {
            let _ = writeln!(out, "  {}", safe(gap));
        });
        if report.gaps.len() > shown {
            let _ = writeln!(out, "  and {} more", report.gaps.len() - shown);
        }
    }
}

/// Text of a host, so that it cannot act on a terminal or begin a line of its own. Backslashes stay: paths are escaped by now.
fn safe(text: &str) -> String {
    text.split('\\').map(|part| Shown(part.as_bytes()).to_string()).collect::<Vec<_>>().join("\\")
}
