//! `greenroom gc`

use greenroom_engine::gc::{Wanted, YOUNG, collect};

use crate::args::{Gc, Global};
use crate::error::{Failure, status};
use crate::ui::Ui;

pub(super) fn run(global: &Global, args: &Gc, ui: &Ui) -> Result<u8, Failure> {
    let state = super::open(global, ui)?;
    let wanted = Wanted { root: &global.root, keep: args.keep, dry_run: args.dry_run, young: YOUNG };
    let gone = collect(&state, &wanted)?;
    if ui.json {
        ui.object(&gone)?;
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
    }
    Ok(status::DONE)
}
