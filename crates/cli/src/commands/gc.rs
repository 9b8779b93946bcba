//! `greenroom gc`

use greenroom_engine::apply::{Forgotten, forget};
use greenroom_engine::gc::{Wanted, YOUNG, collect};

use crate::args::{Gc, Global};
use crate::error::{Failure, status};
use crate::ui::Ui;

pub(super) fn run(global: &Global, args: &Gc, ui: &Ui) -> Result<u8, Failure> {
    let state = super::open(global, ui)?;
    let wanted = Wanted { root: &global.root, keep: args.keep, dry_run: args.dry_run, young: YOUNG };
    let gone = collect(&state, &wanted)?;
    let given_up = args.undo_older_than.map(|age| forget(&state, &global.root, age, args.dry_run, &super::asked()));
    let given_up = given_up.transpose()?;
    if ui.json {
        let mut object = serde_json::to_value(&gone).unwrap_or_default();
        object["way_back_dropped"] = serde_json::json!(given_up);
        ui.object(&object)?;
    } else {
        let verb = if args.dry_run { "would go" } else { "gone" };
        ui.print(&format!(
            "{verb}: {} rehearsals, {} changesets, {} contents ({} MB), {} leftover copies\n",
            gone.rehearsals.len(),
            gone.changesets,
            gone.blobs,
            gone.bytes / 1_000_000,
            gone.copies
        ))?;
        if let Some(given_up) = given_up {
            ui.print(&way_back(&given_up, args.dry_run))?;
        }
    }
    Ok(status::DONE)
}

fn way_back(given_up: &Forgotten, dry_run: bool) -> String {
    let what = match (given_up.changes.is_empty(), dry_run) {
        (true, _) => "no change is so old that its way back can go\n".to_owned(),
        (_, true) => format!("could not be undone any more: {}", given_up.changes.join(", ")),
        (_, false) => format!("cannot be undone any more: {}", given_up.changes.join(", ")),
    };
    let size = if given_up.changes.is_empty() {
        String::new()
    } else {
        format!(" ({:.1} MB of before-images)\n", given_up.bytes as f64 / 1e6)
    };
    let kept = given_up.kept.iter().map(|change| format!("kept: {change}, whose undo moved data aside\n"));
    format!("{what}{size}{}", kept.collect::<String>())
}
