//! `greenroom gc`

use std::time::Duration;

use greenroom_core::api::{NewSweep, Swept};
use greenroom_engine::apply::{Forgotten, forget};
use greenroom_engine::gc::{Wanted, YOUNG, collect};

use crate::args::{Gc, Global};
use crate::error::{Failure, status};
use crate::ui::Ui;

/// How long a sweep of the control plane's contents is waited for.
const SWEEP: Duration = Duration::from_secs(3600);

pub(super) fn run(global: &Global, args: &Gc, ui: &Ui) -> Result<u8, Failure> {
    if args.images {
        return images(global, args, ui);
    }
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

/// `greenroom gc --images`
fn images(global: &Global, args: &Gc, ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    let older_than_ms = args.older_than.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let wanted = NewSweep { dry_run: args.dry_run, older_than_ms };
    let swept: Swept = http.post_within("/v1/gc", &wanted, SWEEP)?;
    if ui.json {
        ui.object(&swept)?;
    } else {
        let verb = if args.dry_run { "would go" } else { "gone" };
        let images: usize = swept.images.values().map(Vec::len).sum();
        let size = swept.bytes as f64 / 1e6;
        ui.print(&format!("{verb}: {images} images, {} contents ({size:.1} MB)\n", swept.contents))?;
        for (host, images) in &swept.images {
            ui.print(&format!("  {host}  {}\n", images.join(", ")))?;
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
