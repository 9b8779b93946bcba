//! `greenroom revert`

use greenroom_engine::drift::{Wanted, revert};
use greenroom_host::apply::NoFaults;

use crate::args::{Global, Revert};
use crate::error::Failure;
use crate::ui::Ui;

pub(super) fn run(global: &Global, args: &Revert, ui: &Ui) -> Result<u8, Failure> {
    let state = super::open(global, ui)?;
    let selection = super::adopt::selection(&args.which);
    let wanted = Wanted { root: &global.root, selection, why: args.why.clone(), faults: &NoFaults };
    let report = revert(&state, &wanted, &super::asked(), ui)?;
    super::apply::tell(&report, ui)
}
