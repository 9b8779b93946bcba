//! `greenroom agent`: the service that does on this host what the control plane sends.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use greenroom_core::api::{Enrolled, Piece, Renew};
use greenroom_engine::State;
use greenroom_engine::agent::{Agent, Fetch, Link, Options, Ran, serve};
use greenroom_engine::rehearsal::prepare;
use greenroom_net::client::{Http, Url};
use greenroom_net::tls::request;

use super::asked_to_end;
use super::enrol::Membership;
use crate::args::Global;
use crate::error::{Failure, status};
use crate::ui::Ui;

/// How often it is looked whether the certificate is to be renewed.
const LOOK: Duration = Duration::from_secs(600);

pub(in crate::commands) fn run(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    super::super::need_root()?;
    let membership = Membership::read(&global.state)?;
    // Before anything starts a thread: see the engine.
    prepare()?;
    let options = Options {
        root: global.root.clone(),
        state: global.state.clone(),
        env: crate::env::for_change(),
        now: jiff::Timestamp::now,
        run: run_here,
        idle: run_idle,
        program: std::env::current_exe()?,
        fetch: fetch(global.state.clone()),
        servers: Arc::new(servers(global.state.clone())),
    };
    let agent = Arc::new(Agent::open(options)?);
    let urls =
        membership.urls.iter().map(|url| Url::parse(url)).collect::<Result<Vec<_>, _>>().map_err(Failure::usage)?;
    let (state, quiet) = (global.state.clone(), ui.is_quiet());
    let link = Link {
        urls,
        authority: membership.authority,
        identity: Box::new(move || {
            let known = Membership::read(&state).map_err(|failure| io::Error::other(failure.message))?;
            Ok(known.identity())
        }),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        note: Box::new(move |text| {
            if !quiet {
                eprintln!("{text}");
            }
        }),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    crate::env::tell_manager("READY=1")?;
    let state = global.state.clone();
    runtime.block_on(async move {
        let keep = tokio::spawn(keep_certificate(state));
        tokio::select! {
            () = serve(agent, link) => {}
            () = asked_to_end() => {}
        }
        keep.abort();
    });
    // A change that waits at its gate is released with the process: nothing of it was touched.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(status::DONE)
}

/// The control plane's addresses, with the certificate as it is now.
fn servers(state: PathBuf) -> impl Fn() -> std::io::Result<Vec<Http>> + Send + Sync {
    move || {
        let known = Membership::read(&state).map_err(|failure| std::io::Error::other(failure.message))?;
        let open = |text: &String| {
            let url = Url::parse(text).map_err(std::io::Error::other)?;
            Http::new(url, &known.authority, Some(&known.identity()), None).map_err(std::io::Error::other)
        };
        known.urls.iter().map(open).collect()
    }
}

/// Renews the certificate when a third of its time has gone by.
async fn keep_certificate(state: PathBuf) {
    loop {
        let state = state.clone();
        // What fails now is tried again: there is time.
        let _ = tokio::task::spawn_blocking(move || renew(&state)).await;
        tokio::time::sleep(LOOK).await;
    }
}

fn renew(state: &std::path::Path) -> Result<(), Failure> {
    let known = Membership::read(state)?;
    let now = jiff::Timestamp::now().as_second();
    if now < known.since + (known.not_after - known.since) / 3 {
        return Ok(());
    }
    let wanted = request(&known.host).map_err(Failure::fault)?;
    for url in &known.urls {
        let url = Url::parse(url).map_err(Failure::usage)?;
        let http = Http::new(url, &known.authority, Some(&known.identity()), None)?;
        if let Ok(new) = http.post::<Enrolled>("/v1/agent/renew", &Renew { request: wanted.request.clone() }) {
            let renewed = Membership {
                certificate: new.certificate,
                key: wanted.key,
                since: now,
                not_after: new.not_after,
                ..known
            };
            return renewed.write(state);
        }
    }
    Ok(())
}

/// Fetches a piece of a program from whichever control plane answers first.
fn fetch(state: PathBuf) -> Fetch {
    Arc::new(move |hash, number| {
        let known = Membership::read(&state).map_err(|failure| io::Error::other(failure.message))?;
        let mut last = io::Error::other("no control plane is known");
        for url in &known.urls {
            let url = Url::parse(url).map_err(io::Error::other)?;
            let http = Http::new(url, &known.authority, Some(&known.identity()), None).map_err(io::Error::other)?;
            match http.get::<Piece>(&format!("/v1/agent/programs/{hash}/{number}")) {
                Ok(piece) => return STANDARD.decode(piece.data).map_err(io::Error::other),
                Err(error) => last = io::Error::other(error),
            }
        }
        Err(last)
    })
}

/// `greenroom agent back`: the guard of an upgrade.
pub(in crate::commands) fn back(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    super::super::need_root()?;
    if greenroom_engine::agent::back(&global.root, &global.state)? {
        ui.say("the agent's program from before is back in place");
    }
    Ok(status::DONE)
}

/// `greenroom agent look`: how this host is, in short, as the agent tells it.
pub(in crate::commands) fn look(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    super::super::need_root()?;
    let state = State::open(&global.state)?;
    ui.object(&greenroom_engine::agent::status(&state, &global.root, &super::super::asked())?)?;
    Ok(status::DONE)
}

/// Runs this program again, with the words given, for a person.
fn run_here(argv: &[String], person: &str) -> io::Result<Ran> {
    ran(Command::new(std::env::current_exe()?).args(argv).env(crate::env::PERSON, person))
}

/// The same for nobody, where nothing else wants the processor or the disk.
fn run_idle(argv: &[String]) -> io::Result<Ran> {
    ran(Command::new("nice").args(["-n", "19", "ionice", "-c", "3"]).arg(std::env::current_exe()?).args(argv))
}

fn ran(command: &mut Command) -> io::Result<Ran> {
    let ran = command.stdin(std::process::Stdio::null()).output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { code: ran.status.code().unwrap_or(4), stdout: text(ran.stdout), stderr: text(ran.stderr) })
}
