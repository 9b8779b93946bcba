//! `greenroom init`

use std::path::Path;

use greenroom_engine::Progress as _;
use greenroom_engine::system::init::{Request, Written, init};

use crate::args::{Global, Init};
use crate::error::{Failure, status};
use crate::ui::Ui;

pub(super) fn run(global: &Global, args: &Init, ui: &Ui) -> Result<u8, Failure> {
    let ssh_config = crate::env::home().map(|home| home.join(".ssh/config"));
    let request =
        Request { root: &global.root, dir: Path::new("."), ssh_config: ssh_config.as_deref(), force: args.force };
    ui.begin("looking at this host");
    let written = init(&request)?;
    written.gaps.iter().for_each(|gap| ui.note(gap));
    if ui.json {
        ui.object(&written)?;
    } else {
        ui.print(&text(&written))?;
    }
    Ok(status::DONE)
}

fn text(written: &Written) -> String {
    let file = written.file.strip_prefix(".").unwrap_or(&written.file).display();
    let mut out = format!("wrote {file}: system {}, host {} ({})\n", written.system, written.host, written.address);
    if !written.units.is_empty() {
        out.push_str(&format!("  services     {}\n", written.units.join(", ")));
    }
    if !written.suggested.is_empty() {
        let count = super::counted(written.suggested.len(), "host");
        out.push_str(&format!("  as comments  {count} of your ssh configuration\n"));
    }
    match &written.repository {
        Some(_) => out.push_str(&format!("  next         greenroom check, then git add {file}\n")),
        None => out.push_str(
            "  next         greenroom check; keep the file in a git repository, so that each change has its revision on record\n",
        ),
    }
    out
}
