//! `--on HOST`: a command as it would be run on that host.

use greenroom_core::api::{Begun, NewRehearsal, Ran, Run};
use greenroom_core::rehearsal::Net;
use greenroom_core::wire;

use crate::args::{BootArg, Global, NetArg, Progress, Rehearse};
use crate::error::Failure;
use crate::ui::Ui;

/// Runs the command that was given, without `--on`, on one host, and shows what it shows there.
pub(in crate::commands) fn run(global: &Global, host: &str, ui: &Ui) -> Result<u8, Failure> {
    let argv = crate::env::words_for_elsewhere();
    let ran: Ran = crate::remote::open(global)?.post(&format!("/v1/hosts/{host}/run"), &Run { argv })?;
    ui.print(&ran.stdout)?;
    if !ran.stderr.is_empty() {
        ui.say(ran.stderr.trim_end());
    }
    Ok(u8::try_from(ran.code).unwrap_or(crate::error::status::FAULT))
}

/// `greenroom rehearse --on …`
pub(in crate::commands) fn rehearse(
    global: &Global,
    args: &Rehearse,
    on: &[String],
    progress: Progress,
    ui: &Ui,
) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    super::system::compare(&http, ui)?;
    let wanted = NewRehearsal { on: on.to_vec(), rehearse: order(args)? };
    let begun: Begun = http.post("/v1/rehearsals", &wanted)?;
    ui.say(&format!("{} on {}", begun.id, begun.hosts.join(", ")));
    super::follow::until_over(&http, &begun.id, progress, ui)
}

fn order(args: &Rehearse) -> Result<wire::Rehearse, Failure> {
    if args.shell || args.keep {
        return Err(Failure::usage("--shell and --keep are for the host that one is on").hint("log in there"));
    }
    let file = match &args.change {
        None => None,
        Some(path) => Some(change_file(path)?),
    };
    let text = |word: &std::ffi::OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| Failure::usage("a command for another host has to be UTF-8"))
    };
    let argv = args.command.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    if argv.is_empty() && file.is_none() {
        return Err(
            Failure::usage("there is nothing to rehearse").hint("greenroom rehearse --on all -- apt-get -y upgrade")
        );
    }
    Ok(wire::Rehearse {
        argv,
        file,
        tests: args.tests.clone(),
        boot: match args.boot {
            BootArg::Auto => wire::Boot::Auto,
            BootArg::Yes => wire::Boot::Yes,
            BootArg::No => wire::Boot::No,
        },
        net: match args.net {
            NetArg::Packages => Net::Packages,
            NetArg::None => Net::None,
            NetArg::Host => Net::Host,
        },
        allow: args.allow.clone(),
        timeout_s: args.timeout.map(|timeout| timeout.as_secs()),
        name: args.name.clone(),
        why: args.why.clone(),
        share: args.share,
        declared: None,
    })
}

/// Reads a change file here, so that what is wrong with it is said with its line.
fn change_file(path: &std::path::Path) -> Result<String, Failure> {
    use greenroom_engine::rehearsal::What;
    if let What::File { file, .. } = super::super::rehearse::change_file(path)?
        && !file.files_needed().is_empty()
    {
        return Err(Failure::usage("a change file with `copy` steps cannot go to other hosts yet")
            .hint("write the file with a `run` step"));
    }
    Ok(std::fs::read_to_string(path)?)
}
