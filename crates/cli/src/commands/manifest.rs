//! `greenroom manifest`

use std::io::{self, BufWriter, IsTerminal as _};

use greenroom_engine::Progress as _;
use greenroom_engine::parity::{Looker, System};

use crate::args::Global;
use crate::error::{Failure, status};
use crate::ui::Ui;

pub(super) fn run(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    super::need_root()?;
    if io::stdout().is_terminal() {
        return Err(Failure::usage("a manifest is no text for a terminal").hint("greenroom manifest > this.manifest"));
    }
    let asked = super::asked();
    let looker =
        Looker { asked: &asked, program: env!("CARGO_PKG_VERSION"), state_dir: &global.state, rehearsals: None };
    ui.begin("looking at the system");
    looker.manifest(&System::at(&global.root), BufWriter::with_capacity(1 << 18, io::stdout().lock()))?;
    Ok(status::DONE)
}
