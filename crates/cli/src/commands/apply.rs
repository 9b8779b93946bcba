//! `greenroom apply`

use greenroom_engine::apply::{Open, Report, Wanted, apply};
use greenroom_host::apply::NoFaults;

use crate::args::{Apply, Global};
use crate::error::Failure;
use crate::ui::{Tone, Ui};

pub(super) fn run(global: &Global, args: &Apply, ui: &Ui) -> Result<u8, Failure> {
    let state = super::open(global, ui)?;
    let wanted = Wanted {
        root: &global.root,
        id: &args.rehearsal,
        why: args.why.clone(),
        force_verdict: args.force_verdict.clone(),
        health: args.health.clone(),
        gate: &Open,
        rollout: None,
        once_elsewhere: false,
        faults: &NoFaults,
    };
    let report = apply(&state, &wanted, &super::asked(), ui)?;
    tell(&report, ui)
}

/// Says how a change ended.
pub(super) fn tell(report: &Report, ui: &Ui) -> Result<u8, Failure> {
    if ui.json {
        ui.object(report)?;
        return Ok(super::exit(report.outcome()));
    }
    let tone = if report.outcome == "taken back" { Tone::Bad } else { Tone::Good };
    let of = report.of.as_ref().unwrap_or(&report.rehearsal);
    let of = if of.is_empty() { String::new() } else { format!(" {of}") };
    let mut out = format!(
        "{}  {}{of}: {} {} in {} ms\n",
        ui.tone(Tone::Strong, &report.change),
        ui.tone(tone, report.outcome),
        report.entries,
        if report.entries == 1 { "path" } else { "paths" },
        report.duration_ms
    );
    for action in &report.services {
        out.push_str(&format!("  {} {}\n", action.verb.word(), action.unit));
    }
    for note in &report.notes {
        out.push_str(&format!("  {note}\n"));
    }
    match report.outcome {
        _ if !report.no_way_back.is_empty() => {
            out.push_str("  it cannot be taken back: what was there before is not at hand for\n");
            report.no_way_back.iter().for_each(|path| out.push_str(&format!("    {path}\n")));
        }
        "applied" | "undone" | "adopted" | "reverted" => {
            out.push_str(&format!("  to take it back: greenroom undo {}\n", report.change))
        }
        _ => out.push_str("  the host is as before\n"),
    }
    ui.print(&out)?;
    Ok(super::exit(report.outcome()))
}
