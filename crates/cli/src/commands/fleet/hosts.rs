//! The hosts of a control plane: `greenroom status` where one is known.

use greenroom_core::api::{Host, Hosts};
use greenroom_core::path::Shown;
use greenroom_core::wire::HostStatus;

use crate::args::Global;
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(in crate::commands) fn run(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    let hosts: Hosts = crate::remote::open(global)?.get("/v1/hosts")?;
    if ui.json {
        ui.object(&hosts)?;
        return Ok(status::DONE);
    }
    if hosts.hosts.is_empty() {
        ui.print("no host is enrolled; greenroom join root@HOST lets one in\n")?;
        return Ok(status::DONE);
    }
    let width = hosts.hosts.iter().map(|host| host.host.len()).max().unwrap_or(0);
    let now = jiff::Timestamp::now().as_millisecond();
    let lines: String = hosts.hosts.iter().map(|host| line(host, width, now, ui)).collect();
    ui.print(&lines)?;
    Ok(status::DONE)
}

fn line(host: &Host, width: usize, now: i64, ui: &Ui) -> String {
    let touch = match (host.revoked, host.in_touch) {
        (true, _) => ui.tone(Tone::Dim, "shut out"),
        (_, true) => ui.tone(Tone::Good, "in touch"),
        (_, false) => {
            let since =
                host.last_seen.map_or_else(|| "never heard".to_owned(), |at| format!("silent for {}", ago(now - at)));
            ui.tone(Tone::Bad, &since)
        }
    };
    let refused = host.refusal.as_ref().filter(|_| !host.in_touch && !host.revoked);
    let refused = refused.map_or_else(String::new, |refusal| {
        let words = format!("  not served {} ago: {}", ago(now - refusal.at), refusal.unserved.in_full());
        ui.tone(Tone::Bad, &words)
    });
    let version = host.version.as_ref().map_or_else(String::new, |v| format!("  {}", Shown(v.as_bytes())));
    let mut out = format!("{:width$}  {touch}{version}{refused}", host.host);
    match &host.status {
        Some(status) => out.push_str(&state(status, now, ui)),
        None if host.in_touch => out.push_str(&ui.tone(Tone::Dim, "  not looked at yet")),
        None => {}
    }
    if let Some(change) = &host.held_by {
        out.push_str(&ui.tone(Tone::Warn, &format!("  {change} is under way")));
    }
    out + "\n"
}

/// What a host said of itself: what differs, what it does, what failed. Its words come from elsewhere: they are shown escaped.
fn state(status: &HostStatus, now: i64, ui: &Ui) -> String {
    let mut out = match (&status.baseline_at, status.paths + status.beyond_files) {
        (None, _) => ui.tone(Tone::Dim, "  no record"),
        (_, 0) => "  as its record says".to_owned(),
        (_, count) => format!("  {}", ui.tone(Tone::Warn, &super::super::counted(count, "difference"))),
    };
    if let Some(last) = status.latest.first() {
        let by = last.actor.as_ref().map_or_else(String::new, |actor| format!(" by {}", Shown(actor.as_bytes())));
        let at = last.at.parse::<jiff::Timestamp>().map(|at| format!(" {} ago", ago(now - at.as_millisecond())));
        out.push_str(&format!(", last{by}{}: {}", at.unwrap_or_default(), Shown(last.path.as_bytes())));
    }
    if let Some(change) = &status.under_way {
        out.push_str(&format!("  its {} is under way", Shown(change.as_bytes())));
    }
    if let Some(unit) = status.failed.first() {
        let more =
            if status.failed_units > 1 { format!(" and {} more", status.failed_units - 1) } else { String::new() };
        out.push_str(&ui.tone(Tone::Bad, &format!("  {}{more} failed", Shown(unit.as_bytes()))));
    }
    out
}

/// `3 s`, `5 min`, `2 h`, `4 d`
fn ago(ms: i64) -> String {
    let s = (ms / 1000).max(0);
    match s {
        0..=119 => format!("{s} s"),
        120..=7199 => format!("{} min", s / 60),
        7200..=172_799 => format!("{} h", s / 3600),
        _ => format!("{} d", s / 86_400),
    }
}
