//! `greenroom watch`

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use greenroom_engine::watch::{Wanted, failed, start};
use greenroom_engine::{EngineError, Progress as _};
use greenroom_host::watch::{Attribution, State};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::args::{Global, Watch};
use crate::error::{Failure, status};
use crate::ui::Ui;

pub(super) fn run(global: &Global, args: &Watch, ui: &Ui) -> Result<u8, Failure> {
    super::need_root()?;
    // From here on these end the loop instead of the process: what is in the queue is still written down.
    let (end, told) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, told.try_clone()?)?;
    }
    let wanted = Wanted {
        root: &global.root,
        state: &global.state,
        trace: !args.no_trace,
        bounded: args.bounded_queue,
        now: jiff::Timestamp::now,
    };
    let mut watch = start(&wanted)?;
    tell(watch.state(), ui)?;
    // A manager that cannot be told gives up by itself.
    let _ = crate::env::tell_manager(&format!("READY=1\nSTATUS={}", summary(watch.state())));
    watch.run(end.as_fd()).map_err(failed).map_err(EngineError::into).map(|()| status::DONE)
}

/// What it can do here, and what it cannot.
fn tell(state: &State, ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        return ui.object(state);
    }
    ui.say(&summary(state));
    state.limits.iter().for_each(|limit| ui.note(limit));
    Ok(())
}

fn summary(state: &State) -> String {
    let who = match state.attribution {
        Attribution::Traced => "every process is followed in the kernel",
        Attribution::Looked => "processes are looked up as their changes are read",
    };
    format!("watching {}: {who}", state.places.join(", "))
}
