//! `greenroom status`

use greenroom_core::drift::runtime::{Against, RuntimeDrift};
use greenroom_core::path::Shown;
use greenroom_engine::drift::{Depth, Look, Watching, look};
use greenroom_host::watch::Attribution;

use crate::args::{Global, Status};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

/// As many lines of one kind are shown; `--json` has all.
const MOST: usize = 40;

pub(super) fn run(global: &Global, args: &Status, ui: &Ui) -> Result<u8, Failure> {
    let state = super::open(global, ui)?;
    let asked = super::asked();
    let depth = match (args.full, args.scrub) {
        (true, _) => Depth::Full,
        (_, true) => Depth::Slice { part: today((asked.now)()) % SLICES, of: SLICES },
        _ => Depth::Changed,
    };
    let (look, _) = look(&state, &global.root, depth, &asked, ui)?;
    if ui.json {
        ui.object(&look)?;
    } else {
        ui.print(&summary(&look, ui))?;
    }
    Ok(status::DONE)
}

/// The scrub takes so many days.
const SLICES: u32 = 30;

/// The day, counted from 1970.
fn today(now: jiff::Timestamp) -> u32 {
    u32::try_from(now.as_second() / 86_400).unwrap_or(0)
}

fn summary(look: &Look, ui: &Ui) -> String {
    let places = look.groups.len() + look.runtime.len();
    let at = short(&look.baseline_at);
    if places == 0 {
        let paths = look.paths;
        let mut out =
            format!("{} ({paths} paths, record of {at})\n", ui.tone(Tone::Good, "this host is as its record says"));
        out.push_str(&troubles(look, ui));
        return out;
    }
    let head = format!("this host differs from its record in {}", super::counted(places, "place"));
    let mut out = format!("{} (record of {at})\n", ui.tone(Tone::Strong, &head));
    out.push_str(&groups(look, ui));
    if !look.runtime.is_empty() {
        out.push_str(&format!("\n{}\n", ui.tone(Tone::Strong, "beyond files")));
        look.runtime.iter().take(MOST).for_each(|one| out.push_str(&runtime(one, ui)));
        out.push_str(&more(look.runtime.len()));
    }
    out.push_str(&troubles(look, ui));
    out.push_str(&watch(&look.watch));
    if !look.groups.is_empty() {
        out.push_str("\nto see it: greenroom drift --diff   to keep it: greenroom adopt … -m WHY   to take it back: greenroom revert …\n");
    }
    out
}

/// What belongs together, a line each: since when, what, by whom, and the name to use with `--group`.
pub(super) fn groups(look: &Look, ui: &Ui) -> String {
    let mut out = String::new();
    for group in look.groups.iter().take(MOST) {
        let of = look.drift.iter().filter(|d| d.group == group.id);
        let since = of.map(|d| d.at.as_str()).min().map_or_else(String::new, short);
        let name = if group.id.starts_with("path:") { String::new() } else { format!("  [{}]", group.id) };
        out.push_str(&format!("  {}  {}{}\n", ui.tone(Tone::Dim, &since), group.title, ui.tone(Tone::Dim, &name)));
    }
    out + &more(look.groups.len())
}

pub(super) fn runtime(one: &RuntimeDrift, ui: &Ui) -> String {
    let against = match one.against {
        Against::Record => "",
        Against::Files => " (against the host's files)",
    };
    let lasting = if one.lasting { "" } else { ", until the next boot" };
    let note = ui.tone(Tone::Dim, &format!("{against}{lasting}"));
    format!("  {}: {}{note}\n", one.kind.words(), Shown(one.detail.as_bytes()))
}

fn more(count: usize) -> String {
    if count > MOST { format!("  and {} more (--json lists them all)\n", count - MOST) } else { String::new() }
}

pub(super) fn troubles(look: &Look, ui: &Ui) -> String {
    if look.problems.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", ui.tone(Tone::Warn, "not known"));
    look.problems.iter().take(MOST).for_each(|one| out.push_str(&format!("  {}\n", one.what)));
    out + &more(look.problems.len())
}

fn watch(watch: &Watching) -> String {
    if !watch.running {
        return "\nno watch runs: who did something is known from the package manager's logs only\n".to_owned();
    }
    let how = match watch.attribution {
        Some(Attribution::Traced) => "every process is followed",
        _ => "processes are looked up when their event is read: a short one may be missed",
    };
    let since =
        watch.complete_since.as_deref().map_or_else(String::new, |at| format!(", complete since {}", short(at)));
    let mut out = format!("\na watch runs{since}; {how}\n");
    watch.limits.iter().for_each(|limit| out.push_str(&format!("  {limit}\n")));
    out
}

/// `2026-11-27T19:40:12.123Z` as `2026-11-27 19:40:12`; times are in UTC.
fn short(at: &str) -> String {
    at.split('.').next().unwrap_or(at).trim_end_matches('Z').replace('T', " ")
}
