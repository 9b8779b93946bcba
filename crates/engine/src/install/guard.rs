//! The timer that puts the agent's program from before back, should the new one not be heard of.
//!
//! Its units are files of the tree, so that it is there after a boot too; it counts from its start then.

use std::path::Path;

use greenroom_host::services::Manager;

use super::{UNITS, link, quoted, remove as drop_file, systemctl, write};
use crate::EngineError;

const SERVICE: &str = "greenroom-guard.service";
const TIMER: &str = "greenroom-guard.timer";

fn enabled() -> String {
    format!("{UNITS}/timers.target.wants/{TIMER}")
}

/// Sets it: in so many seconds `before` is run.
pub(crate) fn set(root: &Path, before: &Path, state: &Path, seconds: u64) -> Result<(), EngineError> {
    let about = "# Written by `greenroom agent upgrade`, which removes it as soon as the new program is in touch.\n[Unit]\n\
                 Description=Greenroom: the agent's program from before, should the new one not be heard of\n";
    let program = quoted(before);
    let service =
        format!("{about}\n[Service]\nType=oneshot\nExecStart={program} --state {} agent back\n", quoted(state));
    let timer =
        format!("{about}\n[Timer]\nOnActiveSec={seconds}\nAccuracySec=1\n\n[Install]\nWantedBy=timers.target\n");
    write(root, &format!("{UNITS}/{SERVICE}"), &service)?;
    write(root, &format!("{UNITS}/{TIMER}"), &timer)?;
    link(root, &enabled(), &format!("/{UNITS}/{TIMER}"))?;
    let manager = Manager::of(root);
    systemctl(&manager, &["daemon-reload"])?;
    systemctl(&manager, &["restart", TIMER])
}

/// Removes it. Done twice, it is as if it had been done once.
pub(crate) fn remove(root: &Path) -> Result<(), EngineError> {
    let mut removed = false;
    for path in [enabled(), format!("{UNITS}/{TIMER}"), format!("{UNITS}/{SERVICE}")] {
        removed |= drop_file(root, &path)?;
    }
    let manager = Manager::of(root);
    if removed && matches!(manager, Manager::Live) {
        systemctl(&manager, &["stop", "--no-block", TIMER])?;
        systemctl(&manager, &["daemon-reload"])?;
    }
    Ok(())
}
