//! The hosts of a control plane: `greenroom status` where one is known.

use greenroom_core::api::{Host, Hosts};

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
    let held = host.held_by.as_ref().map_or_else(String::new, |change| format!("  {change} is under way"));
    let drift = host.status.as_ref().and_then(|status| status["drift"].as_array()).map(Vec::len);
    let drift = match drift {
        Some(0) => "  as its record says".to_owned(),
        Some(count) => format!("  {}", super::super::counted(count, "path") + " differ from its record"),
        None => String::new(),
    };
    format!("{:width$}  {touch}{drift}{held}\n", host.host)
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
