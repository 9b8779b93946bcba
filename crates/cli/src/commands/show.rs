//! `greenroom show`

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use greenroom_core::changeset::Op;
use greenroom_core::effect::{Group, Ownership, PackageChange, Side, Sources};
use greenroom_core::path::Shown;
use greenroom_core::rehearsal::Typed;
use greenroom_core::textdiff::{self, Limits};
use greenroom_core::{Changeset, ContentHash, Entry, TreePath, policy};
use greenroom_engine::State;
use greenroom_engine::apply::{ChangeRecord, Records};
use greenroom_host::scan::Tree;
use greenroom_store::blobs::BlobStore as _;

use crate::args::{Global, Show};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(super) fn run(global: &Global, args: &Show, ui: &Ui) -> Result<u8, Failure> {
    let state = super::open(global, ui)?;
    let (rehearsal, change) = if args.id.starts_with('c') {
        let record = Records::look(&global.root).read(&args.id)?;
        let rehearsal = if record.rehearsal.is_empty() { None } else { state.rehearsal(&record.rehearsal).ok() };
        (rehearsal, Some(record))
    } else {
        (Some(state.rehearsal(&args.id)?), None)
    };
    let id = change.as_ref().map_or_else(|| rehearsal.as_ref().and_then(|r| r.changeset), |c| c.changeset);
    let mut changeset = id.map(|id| state.changeset(&id)).transpose()?.unwrap_or_default();
    if change.as_ref().is_some_and(|c| !c.forward) {
        changeset = changeset.inverse();
    }
    if ui.json {
        let diffs = args.diff.as_deref().map(|pattern| diffs(&state, &changeset, pattern, &global.root)).transpose()?;
        ui.object(&serde_json::json!({
            "id": args.id,
            "changeset": id,
            "entries": changeset.entries(),
            "dir_times": changeset.dir_times(),
            "rehearsal": rehearsal,
            "change": change,
            "diffs": diffs,
        }))?;
        return Ok(status::DONE);
    }
    let mut out = String::new();
    if let Some(rehearsal) = &rehearsal {
        // What to do next is said of a rehearsal; a change is there already.
        let words = if change.is_some() { super::rehearse::outcome } else { super::rehearse::summary };
        out.push_str(&words(rehearsal, ui));
        out.push_str(&typed(&rehearsal.typed, ui));
    }
    if let Some(change) = change.as_ref().filter(|change| change.rehearsal.is_empty()) {
        out.push_str(&by_hand(change, ui));
    }
    if let Some(at) = change.as_ref().and_then(|change| change.forgotten.as_ref()) {
        out.push_str(&format!(
            "  {:<10} {} cannot be undone any more: its before-images were dropped on {at}\n",
            "undo", args.id
        ));
    }
    let packages = rehearsal.as_ref().map(|r| r.effects.packages.as_slice()).unwrap_or_default();
    let what = What { state: &state, changeset: &changeset, root: &global.root };
    out.push_str(&what.paths(packages, args.diff.as_deref(), ui)?);
    ui.print(&out)?;
    Ok(status::DONE)
}

/// What an adoption or a reversal is about.
fn by_hand(change: &ChangeRecord, ui: &Ui) -> String {
    let shown = |text: &str| Shown(text.as_bytes()).to_string();
    let kind = change.kind.word();
    let of = change.of.as_ref().map_or_else(String::new, |of| format!(" of {of}"));
    let mut out = format!("{}  {kind}{of}: {}\n", ui.tone(Tone::Strong, &change.change), change.name);
    if let Some(why) = &change.why {
        out.push_str(&format!("  why: {}\n", shown(why)));
    }
    for edit in &change.edits {
        let by = edit.by.as_deref().map_or_else(|| "somebody unknown".to_owned(), shown);
        out.push_str(&format!("  {} changed by {by}, last at {}\n", super::counted(edit.paths, "path"), edit.at));
    }
    for path in &change.no_way_back {
        out.push_str(&format!("  no way back for {path}: what was there before is not at hand\n"));
    }
    out
}

/// A changeset to be shown.
pub(super) struct What<'a> {
    pub(super) state: &'a State,
    pub(super) changeset: &'a Changeset,
    pub(super) root: &'a Path,
}

impl What<'_> {
    /// All paths, grouped; then the differences of those that match.
    pub(super) fn paths(&self, packages: &[PackageChange], diff: Option<&str>, ui: &Ui) -> Result<String, Failure> {
        let mut out = listing(&self.grouped(packages), false, ui);
        if !self.changeset.dir_times().is_empty() {
            out.push_str(&format!("\n{} directories get another time\n", self.changeset.dir_times().len()));
        }
        if let Some(pattern) = diff {
            out.push_str(&self.differences(pattern, |_| true, ui)?);
        }
        Ok(out)
    }

    /// What somebody did by hand, with all its differences; of what packages brought, how much it is.
    pub(super) fn by_hand(&self, packages: &[PackageChange], ui: &Ui) -> Result<String, Failure> {
        let mut groups = self.grouped(packages);
        let brought = groups.remove(&Group::Packages).unwrap_or_default();
        let mut out = listing(&groups, true, ui);
        if !brought.is_empty() {
            let title = ui.tone(Tone::Strong, Group::Packages.words());
            out.push_str(&format!("\n{title} ({} paths, not listed here)\n", brought.len()));
        }
        let brought: HashSet<&TreePath> = brought.iter().map(|entry| &entry.path).collect();
        out.push_str(&self.differences("/**", |path| !brought.contains(path), ui)?);
        Ok(out)
    }

    fn grouped(&self, packages: &[PackageChange]) -> BTreeMap<Group, Vec<&Entry>> {
        let files = Recorded { state: self.state, changeset: self.changeset, root: self.root };
        let ownership = Ownership::of(self.changeset, &files, packages);
        let mut groups: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
        for entry in self.changeset.entries() {
            groups.entry(ownership.group(entry)).or_default().push(entry);
        }
        groups
    }

    fn differences(&self, pattern: &str, wanted: impl Fn(&TreePath) -> bool, ui: &Ui) -> Result<String, Failure> {
        let mut out = String::new();
        for (path, diff) in diffs(self.state, self.changeset, pattern, self.root)? {
            if wanted(&path) {
                out.push_str(&format!("\n{}\n{diff}", ui.tone(Tone::Strong, &format!("--- {path}"))));
            }
        }
        Ok(out)
    }
}

/// What was typed at the shell of a hotfix.
fn typed(commands: &[Typed], ui: &Ui) -> String {
    if commands.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{} ({})\n", ui.tone(Tone::Strong, "typed"), commands.len());
    for command in commands {
        for (at, line) in command.text.lines().enumerate() {
            out.push_str(&format!("  {} {}", if at == 0 { "$" } else { ">" }, Shown(line.as_bytes())));
            out.push('\n');
        }
        match command.exit_code {
            None | Some(0) => {}
            Some(code) => out.push_str(&format!("    {}\n", ui.tone(Tone::Bad, &format!("exit status {code}")))),
        }
    }
    out
}

/// The files before and after a recorded change: out of the store where it touched them, else as they are on the host.
struct Recorded<'a> {
    state: &'a State,
    changeset: &'a Changeset,
    root: &'a Path,
}

impl Sources for Recorded<'_> {
    fn content(&self, path: &TreePath, side: Side) -> Option<Vec<u8>> {
        let Some(entry) = self.changeset.get(path) else {
            let mut tree = Tree::open(self.root).ok()?;
            return tree.content(path, LARGEST_LIST).ok()?;
        };
        let node = match side {
            Side::Before => &entry.before,
            Side::After => &entry.after,
        };
        content(self.state, Some(node.as_ref()?.content()?))
    }

    fn names(&self, _dir: &TreePath, _side: Side) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// A package's list of files is never larger, in bytes.
const LARGEST_LIST: u64 = 64 << 20;

/// All entries, grouped as a person thinks. `brief`: their differences follow.
fn listing(groups: &BTreeMap<Group, Vec<&Entry>>, brief: bool, ui: &Ui) -> String {
    let mut out = String::new();
    for (group, entries) in groups {
        out.push_str(&format!("\n{} ({})\n", ui.tone(Tone::Strong, group.words()), entries.len()));
        for entry in entries {
            out.push_str(&line(entry, brief, ui));
        }
    }
    out
}

fn line(entry: &Entry, brief: bool, ui: &Ui) -> String {
    format!("  {}\n", entry_words(entry, entry.op(), brief, ui))
}

/// One path, with a sign and what is different.
pub(super) fn entry_words(entry: &Entry, op: Op, brief: bool, ui: &Ui) -> String {
    let (sign, tone) = match op {
        Op::Create => ("+", Tone::Good),
        Op::Delete => ("-", Tone::Bad),
        Op::Modify | Op::Replace => ("~", Tone::Warn),
        Op::Metadata => ("m", Tone::Dim),
    };
    let detail = match (&entry.before, &entry.after) {
        (Some(before), Some(after)) => {
            let mut list = before.differences(after);
            // That it was written is said already.
            if list.iter().any(|d| d.what == "content") {
                list.retain(|d| d.what != "mtime" && !(brief && d.what == "content"));
            }
            let list: Vec<String> = list.into_iter().map(|d| format!("{} {} → {}", d.what, d.from, d.to)).collect();
            if list.is_empty() { String::new() } else { format!("  ({})", list.join("; ")) }
        }
        (None, Some(node)) | (Some(node), None) => match &node.kind {
            greenroom_core::Kind::Symlink(target) => format!(" → {}", greenroom_core::path::Shown(target)),
            greenroom_core::Kind::Dir => "/".to_owned(),
            greenroom_core::Kind::File { .. } => String::new(),
            other => format!("  ({})", other.word()),
        },
        (None, None) => String::new(),
    };
    format!("{} {}{detail}", ui.tone(tone, sign), entry.path)
}

/// Unified diffs of the entries whose paths match.
fn diffs(state: &State, changeset: &Changeset, pattern: &str, root: &Path) -> Result<Vec<(TreePath, String)>, Failure> {
    use std::os::unix::ffi::OsStrExt as _;
    let glob =
        policy::glob(pattern).map_err(|why| Failure::usage(format!("{pattern} is not a path pattern: {why}")))?;
    let matcher = glob.compile_matcher();
    let mut out = Vec::new();
    for entry in changeset.entries() {
        let wanted = matcher.is_match(std::ffi::OsStr::from_bytes(entry.path.as_bytes()))
            || entry.path == TreePath::from(pattern);
        let has_content = |node: &Option<Box<greenroom_core::Node>>| node.as_ref().and_then(|n| n.content());
        let (before, after) = (has_content(&entry.before), has_content(&entry.after));
        if !wanted || before == after {
            continue;
        }
        let kept = |hash| content(state, hash).or_else(|| on_host(root, &entry.path, hash));
        let diff = match (kept(before), kept(after)) {
            (Some(before), Some(after)) => textdiff::unified(&before, &after, Limits::default()),
            _ => "the content from before is neither kept nor on the host any more\n".to_owned(),
        };
        out.push((entry.path.clone(), diff));
    }
    Ok(out)
}

/// A content that the host still has where it was, as long as it is the same.
fn on_host(root: &Path, path: &TreePath, hash: Option<ContentHash>) -> Option<Vec<u8>> {
    let limit = Limits::default().bytes as u64 + 1;
    let found = Tree::open(root).ok()?.content(path, limit).ok()??;
    (Some(ContentHash::of(&found)) == hash).then_some(found)
}

/// A content out of the store; the empty one for an absent side.
fn content(state: &State, hash: Option<ContentHash>) -> Option<Vec<u8>> {
    let Some(hash) = hash else { return Some(Vec::new()) };
    let mut out = Vec::new();
    state.blobs.copy_out(hash, &mut out).ok()?;
    Some(out)
}
