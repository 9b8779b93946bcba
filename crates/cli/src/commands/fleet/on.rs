//! `--on HOST`: a command as it would be run on that host.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_core::api::{Begun, Contents, HeldAt, Missing, NewRehearsal, RUN_WITHIN, Ran, Received, Run};
use greenroom_core::rehearsal::Net;
use greenroom_core::{ContentHash, wire};
use greenroom_net::client::Http;
use greenroom_store::blobs::pack::Packer;

use crate::args::{BootArg, Global, NetArg, Progress, Rehearse};
use crate::error::Failure;
use crate::ui::Ui;

/// The control plane gives up first, and says why.
const LATER: Duration = Duration::from_secs(15);

/// Runs the command that was given, without `--on`, on one host, and shows what it shows there.
pub(in crate::commands) fn run(global: &Global, host: &str, ui: &Ui) -> Result<u8, Failure> {
    let argv = crate::env::words_for_elsewhere();
    let ran = ask(&crate::remote::open(global)?, host, argv)?;
    ui.print(&ran.stdout)?;
    if !ran.stderr.is_empty() {
        ui.say(ran.stderr.trim_end());
    }
    Ok(u8::try_from(ran.code).unwrap_or(crate::error::status::FAULT))
}

/// Has a command run on a host.
pub(super) fn ask(http: &Http, host: &str, argv: Vec<String>) -> Result<Ran, Failure> {
    Ok(http.post_within(&format!("/v1/hosts/{host}/run"), &Run { argv }, RUN_WITHIN + LATER)?)
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
    let (rehearse, files) = order(args)?;
    bring(&http, &files, ui)?;
    let wanted = NewRehearsal { on: on.to_vec(), rehearse, held: held_at(args.stage.as_deref()) };
    let begun: Begun = http.post("/v1/rehearsals", &wanted)?;
    ui.say(&format!("{} on {}", begun.id, begun.hosts.join(", ")));
    super::follow::until_over(&http, &begun.id, progress, ui)
}

/// What `--stage` says.
fn held_at(stage: Option<&str>) -> HeldAt {
    match stage {
        None => HeldAt::AsDeclared,
        Some("no") => HeldAt::Hosts,
        Some("") => HeldAt::Stage(None),
        Some(host) => HeldAt::Stage(Some(host.to_owned())),
    }
}

fn order(args: &Rehearse) -> Result<(wire::Rehearse, Vec<(ContentHash, PathBuf)>), Failure> {
    if args.shell || args.keep {
        return Err(Failure::usage("--shell and --keep are for the host that one is on").hint("log in there"));
    }
    let (file, files) = match &args.change {
        None => (None, Vec::new()),
        Some(path) => change_file(path).map(|(text, files)| (Some(text), files))?,
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
    let sent = files.iter().map(|file| file.sent.clone()).collect();
    let order = wire::Rehearse {
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
        files: sent,
    };
    Ok((order, files.into_iter().map(|file| (file.sent.content, file.path)).collect()))
}

/// A file of a `copy` step.
struct File {
    sent: wire::Sent,
    path: PathBuf,
}

/// Reads a change file here, so that what is wrong with it is said with its line, and what its `copy` steps take.
fn change_file(path: &Path) -> Result<(String, Vec<File>), Failure> {
    use greenroom_engine::rehearsal::What;
    let mut files = Vec::new();
    if let What::File { file, dir } = super::super::rehearse::change_file(path)? {
        for needed in file.files_needed() {
            let path = dir.join(&needed.path);
            let failed = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
            let content = ContentHash::of(&std::fs::read(&path).map_err(failed)?);
            let mode = std::fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o7777;
            files.push(File { sent: wire::Sent { name: needed.path.clone(), content, mode }, path });
        }
    }
    Ok((std::fs::read_to_string(path)?, files))
}

/// Brings what the control plane does not have of a person's files.
fn bring(http: &Http, files: &[(ContentHash, PathBuf)], ui: &Ui) -> Result<(), Failure> {
    if files.is_empty() {
        return Ok(());
    }
    let contents = files.iter().map(|(content, _)| *content).collect();
    let missing: Missing = http.post("/v1/contents/missing", &Contents { contents })?;
    let mut packer = Packer::new(Vec::new())?;
    for (content, path) in files.iter().filter(|(content, _)| missing.missing.contains(content)) {
        ui.say(&format!("sending {}", path.display()));
        let mut file = std::fs::File::open(path)?;
        packer.put(*content, file.metadata()?.len(), &mut file)?;
    }
    let received: Received = http.send("/v1/contents", &*packer.end()?)?;
    match files.iter().find(|(content, _)| received.changed.contains(content)) {
        Some((_, path)) => Err(Failure::usage(format!("{} changed while it was sent", path.display()))),
        None => Ok(()),
    }
}
