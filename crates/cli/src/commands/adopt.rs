//! `greenroom adopt`

use greenroom_engine::drift::{Selection, Wanted, adopt};
use greenroom_host::apply::NoFaults;

use crate::args::{Adopt, Global, Which};
use crate::error::Failure;
use crate::ui::Ui;

pub(super) fn run(global: &Global, args: &Adopt, ui: &Ui) -> Result<u8, Failure> {
    let state = super::open(global, ui)?;
    let why = Some(args.message.clone());
    let wanted = Wanted { root: &global.root, selection: selection(&args.which), why, faults: &NoFaults };
    let report = adopt(&state, &wanted, &super::asked(), ui)?;
    super::apply::tell(&report, ui)
}

pub(super) fn selection(which: &Which) -> Selection {
    Selection { all: which.all, paths: which.paths.clone(), groups: which.group.clone() }
}
