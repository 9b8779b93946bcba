//! `greenroom log`

use greenroom_store::ledger::{Entry, Filter, Ledger as _, LedgerError, SqlLedger, Verdict};

use crate::args::{Global, Log};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(super) fn run(global: &Global, args: &Log, ui: &Ui) -> Result<u8, Failure> {
    // Whoever writes first recovers an interrupted transaction; a reader without the right to write sees it as it is.
    if rustix::process::geteuid().is_root() && global.state.exists() {
        // What cannot be recovered is no reason not to show what happened.
        if let Err(failure) = super::open(global, ui) {
            ui.say(&failure.message);
        }
    }
    let ledger = SqlLedger::open_read_only(&global.state.join("ledger")).map_err(fault)?;
    if args.verify {
        return verify(&ledger, ui);
    }
    let mut listing = ledger.entries(&Filter::default()).map_err(fault)?;
    if let Some(limit) = args.limit {
        listing.entries.drain(..listing.entries.len().saturating_sub(limit));
    }
    for gap in &listing.unreadable {
        ui.say(&format!("entry {} cannot be read: {}", gap.seq, gap.reason));
    }
    if ui.json {
        ui.object(&serde_json::json!({ "entries": listing.entries, "unreadable": listing.unreadable }))?;
    } else {
        let lines: String = listing.entries.iter().map(|entry| line(entry, ui)).collect();
        ui.print(if lines.is_empty() { "nothing has happened yet\n" } else { &lines })?;
    }
    Ok(status::DONE)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn fault(error: LedgerError) -> Failure {
    let mut failure = Failure::new(status::FAULT, error.to_string());
    for inner in greenroom_engine::sources(&error) {
        let io = inner.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied) {
            failure.hints.push("Greenroom's state belongs to root: run it with sudo".to_owned());
        }
        failure.causes.push(inner.to_string());
    }
    failure
}

fn verify(ledger: &SqlLedger, ui: &Ui) -> Result<u8, Failure> {
    match ledger.verify().map_err(fault)? {
        Verdict::Verified { entries } => {
            if ui.json {
                ui.object(&serde_json::json!({ "verified": true, "entries": entries }))?;
            } else {
                ui.print(&format!("{entries} entries, the chain holds\n"))?;
            }
            Ok(status::DONE)
        }
        Verdict::Broken { seq, id, reason } => {
            if ui.json {
                ui.object(&serde_json::json!({ "verified": false, "broken": id, "seq": seq, "reason": reason }))?;
            } else {
                ui.print(&format!("{id} is the first broken entry: {reason}\n"))?;
            }
            Ok(status::FAULT)
        }
    }
}

fn line(entry: &Entry, ui: &Ui) -> String {
    let text = |key: &str| entry.detail.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let subject = entry.change.as_ref().or(entry.rehearsal.as_ref()).cloned().unwrap_or_default();
    let who = entry.actor.login_user.as_ref().unwrap_or(&entry.actor.user);
    let outcome = if entry.kind == "rehearsal" { text("verdict") } else { text("outcome") }.replace('_', " ");
    let link = match (entry.kind.as_str(), entry.detail.get("of").and_then(serde_json::Value::as_str)) {
        ("undo", Some(of)) => format!(" of {of}"),
        ("apply", _) => entry.rehearsal.as_ref().map_or_else(String::new, |r| format!(" of {r}")),
        _ => String::new(),
    };
    let count = entry.detail.get("entries").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let why = entry
        .why
        .as_ref()
        .map_or_else(String::new, |why| format!("  ({})", greenroom_core::path::Shown(why.as_bytes())));
    let name = greenroom_core::path::Shown(text("name").as_bytes()).to_string();
    format!(
        "{}  {:<4} {:<14} {:<18} {:<8} {count} {}  {name}{why}\n",
        ui.tone(Tone::Dim, &entry.at),
        ui.tone(Tone::Strong, &subject),
        format!("{}{link}", entry.kind),
        outcome,
        who,
        if count == 1 { "path" } else { "paths" },
    )
}
