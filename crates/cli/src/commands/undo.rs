//! `greenroom undo`

use greenroom_engine::apply::{Open, Wanted, undo};
use greenroom_host::apply::NoFaults;

use crate::args::{Global, Undo};
use crate::error::Failure;
use crate::ui::Ui;

pub(super) fn run(global: &Global, args: &Undo, ui: &Ui) -> Result<u8, Failure> {
    let state = super::open(global, ui)?;
    let wanted = Wanted {
        root: &global.root,
        id: &args.change,
        why: args.why.clone(),
        force_verdict: None,
        health: Vec::new(),
        gate: &Open,
        rollout: None,
        once_elsewhere: false,
        faults: &NoFaults,
    };
    let report = undo(&state, &wanted, &super::asked(), ui)?;
    super::apply::tell(&report, ui)
}
