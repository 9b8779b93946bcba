//! `greenroom log`

use greenroom_core::api;
use greenroom_core::path::Shown;
use greenroom_store::ledger::{Entry, Filter, Ledger as _, LedgerError, SqlLedger, Unreadable, Verdict};

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
        return verified(ledger.verify().map_err(fault)?, ui);
    }
    let listing = ledger.entries(&Filter::default()).map_err(fault)?;
    show(listing.entries, &listing.unreadable, args.limit, ui)
}

/// The log of the control plane: what was done to many hosts, and who was let in.
pub(super) fn of_the_fleet(global: &Global, args: &Log, ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    if args.verify {
        let found: api::Verified = http.get("/v1/log/verify")?;
        return verified(
            match (found.broken, found.reason) {
                (Some(id), reason) => {
                    Verdict::Broken { seq: found.entries + 1, id, reason: reason.unwrap_or_default() }
                }
                (None, _) => Verdict::Verified { entries: found.entries },
            },
            ui,
        );
    }
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let since = entries.last().map_or(0, |entry| entry.seq);
        let page: api::Log = http.get(&format!("/v1/log?since={since}"))?;
        if page.entries.is_empty() {
            return show(entries, &[], args.limit, ui);
        }
        for entry in page.entries {
            entries.push(serde_json::from_value(entry)?);
        }
    }
}

/// The last entries, all where `limit` says nothing.
fn show(mut entries: Vec<Entry>, unreadable: &[Unreadable], limit: Option<usize>, ui: &Ui) -> Result<u8, Failure> {
    if let Some(limit) = limit {
        entries.drain(..entries.len().saturating_sub(limit));
    }
    for gap in unreadable {
        ui.say(&format!("entry {} cannot be read: {}", gap.seq, gap.reason));
    }
    if ui.json {
        ui.object(&serde_json::json!({ "entries": entries, "unreadable": unreadable }))?;
    } else {
        let lines: String = entries.iter().map(|entry| line(entry, ui)).collect();
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

fn verified(verdict: Verdict, ui: &Ui) -> Result<u8, Failure> {
    match verdict {
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
    let of = match (&entry.detail["hosts"], &entry.detail["what"], &entry.detail["entries"]) {
        (serde_json::Value::Array(hosts), ..) => super::counted(hosts.len(), "host"),
        (_, serde_json::Value::String(what), _) => Shown(what.as_bytes()).to_string(),
        (.., entries) => super::counted(entries.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0), "path"),
    };
    let why = entry.why.as_ref().map_or_else(String::new, |why| format!("  ({})", Shown(why.as_bytes())));
    let name = Shown(text("name").as_bytes()).to_string();
    format!(
        "{}  {:<4} {:<14} {:<18} {:<8} {of}  {name}{why}\n",
        ui.tone(Tone::Dim, &entry.at),
        ui.tone(Tone::Strong, &subject),
        format!("{}{link}", entry.kind),
        outcome,
        who,
    )
}
