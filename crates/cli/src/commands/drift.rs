//! `greenroom drift`

use greenroom_core::drift::{Drift as One, Group};
use greenroom_core::path::Shown;
use greenroom_core::textdiff::{self, Limits};
use greenroom_core::{Op, TreePath};
use greenroom_engine::State;
use greenroom_engine::drift::{Depth, Look, Pattern, Texts, look};

use super::status::{runtime, troubles};
use crate::args::{Drift, Global};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

/// A group of up to so many paths is shown with them.
const FEW: usize = 12;

pub(super) fn run(global: &Global, args: &Drift, ui: &Ui) -> Result<u8, Failure> {
    let patterns: Vec<Pattern> = args.paths.iter().map(|text| Pattern::new(text)).collect::<Result<_, _>>()?;
    let state = super::open(global, ui)?;
    let depth = if args.full { Depth::Full } else { Depth::Changed };
    let (mut look, mut texts) = look(&state, &global.root, depth, &super::asked(), ui)?;
    if !patterns.is_empty() {
        let meant = |path: &TreePath| patterns.iter().any(|pattern| pattern.matches(path));
        look.drift.retain(|one| meant(one.path()));
        look.groups.retain(|group| look.drift.iter().any(|one| one.group == group.id));
        look.runtime.clear();
        look.problems.retain(|problem| problem.path.as_ref().is_none_or(&meant));
    }
    let diffs = if args.diff { Some(diffs(&state, &look, &mut texts)) } else { None };
    if ui.json {
        let mut object = serde_json::to_value(&look)?;
        object["diffs"] = serde_json::to_value(&diffs)?;
        ui.object(&object)?;
    } else {
        let text = listing(&look, args.expand || !patterns.is_empty(), ui) + &troubles(&look, ui);
        let diffs = diffs.unwrap_or_default();
        let diffs =
            diffs.iter().map(|(path, diff)| format!("\n{}\n{diff}", ui.tone(Tone::Strong, &format!("--- {path}"))));
        ui.print(&(text + &diffs.collect::<String>()))?;
    }
    let clean = look.drift.is_empty() && look.runtime.is_empty();
    Ok(if clean { status::DONE } else { status::FAILED })
}

fn listing(look: &Look, expand: bool, ui: &Ui) -> String {
    if look.drift.is_empty() && look.runtime.is_empty() {
        return "nothing differs\n".to_owned();
    }
    let mut out = String::new();
    for group in &look.groups {
        let of: Vec<&One> = look.drift.iter().filter(|one| one.group == group.id).collect();
        out.push_str(&section(group, &of, expand, ui));
    }
    if !look.runtime.is_empty() {
        out.push_str(&format!("{}\n", ui.tone(Tone::Strong, "beyond files")));
        look.runtime.iter().for_each(|one| out.push_str(&runtime(one, ui)));
    }
    out
}

fn section(group: &Group, of: &[&One], expand: bool, ui: &Ui) -> String {
    let mut out = format!("{}\n", ui.tone(Tone::Strong, &group.title));
    let shown = if expand || of.len() <= FEW { of.len() } else { 0 };
    for one in &of[..shown] {
        out.push_str(&format!("  {}", super::show::entry_words(&one.entry, one.op(), false, ui)));
        let who = one.actor.as_ref().map_or_else(|| one.found_by.words().to_owned(), |actor| actor.words());
        let who = format!("  {} {}", one.at, Shown(who.as_bytes()));
        out.push_str(&format!("{}\n", ui.tone(Tone::Dim, &who)));
    }
    if shown < of.len() {
        out.push_str(&format!("  {} (--expand lists them)\n", super::counted(of.len(), "path")));
    }
    out
}

/// Unified diffs of what has another content.
fn diffs(state: &State, look: &Look, texts: &mut Texts) -> Vec<(TreePath, String)> {
    let limits = Limits::default();
    let mut out = Vec::new();
    for one in &look.drift {
        let content = |node: &Option<Box<greenroom_core::Node>>| node.as_ref().and_then(|n| n.content());
        let same = content(&one.entry.before) == content(&one.entry.after);
        if one.op() == Op::Metadata || same {
            continue;
        }
        let diff = match texts.sides(state, one, limits.bytes as u64) {
            [Some(before), Some(after)] => textdiff::unified(&before, &after, limits),
            [None, _] => "the text of before is not at hand\n".to_owned(),
            [_, None] => "the text of now is not at hand\n".to_owned(),
        };
        out.push((one.path().clone(), diff));
    }
    out
}
