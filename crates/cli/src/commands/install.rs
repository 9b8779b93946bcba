//! `greenroom install` and `greenroom uninstall`

use std::path::Path;

use greenroom_engine::install::{Done, Wanted, install, uninstall};

use crate::args::{Global, Install};
use crate::error::{Failure, status};
use crate::ui::Ui;

pub(super) fn run(global: &Global, args: &Install, ui: &Ui) -> Result<u8, Failure> {
    super::need_root()?;
    let program = std::env::current_exe()?;
    let state = (global.state != Path::new("/var/lib/greenroom")).then_some(global.state.as_path());
    let done =
        install(&Wanted { root: &global.root, state, program: &program, start: !args.no_start, agent: args.agent })?;
    // What the watch tells of is held against a record; it is made as early as can be.
    let state = super::open(global, ui)?;
    greenroom_engine::drift::record(&state, &global.root, &super::asked(), ui)?;
    tell(&done, ui)
}

pub(super) fn remove(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    super::need_root()?;
    let done = uninstall(&global.root)?;
    if done.is_empty() && !ui.json {
        ui.print("nothing was installed\n")?;
        return Ok(status::DONE);
    }
    tell(&done, ui)
}

fn tell(done: &[Done], ui: &Ui) -> Result<u8, Failure> {
    if ui.json {
        ui.object(&serde_json::json!({ "done": done }))?;
    } else {
        let lines: String = done.iter().map(|one| format!("{:<10}{}\n", one.done, one.what)).collect();
        ui.print(&lines)?;
    }
    Ok(status::DONE)
}
