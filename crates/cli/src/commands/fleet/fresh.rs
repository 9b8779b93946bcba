//! `greenroom status --on HOSTS`: all of them are asked at once, and each looks at itself now.
//!
//! `greenroom status` without `--on` shows what the hosts last said by themselves, and asks nobody.

use greenroom_core::api::Hosts;
use greenroom_core::path::Shown;
use greenroom_net::client::Http;
use serde_json::{Value, json};

use super::super::counted;
use crate::args::{Global, Status};
use crate::error::Failure;
use crate::ui::{Tone, Ui};

/// So many paths of a host are named in its line; `--json` has all.
const NAMED: usize = 3;

/// What a host answered: the object of its `status --json`.
type Looked = Result<Value, Failure>;

pub(in crate::commands) fn run(global: &Global, args: &Status, on: &[String], ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    let meant: Hosts = http.get_with("/v1/hosts", "on", &on.join(","))?;
    let hosts: Vec<String> = meant.hosts.into_iter().map(|host| host.host).collect();
    let mut argv = vec!["status".to_owned(), "--json".to_owned()];
    argv.extend(args.full.then(|| "--full".to_owned()));
    argv.extend(args.scrub.then(|| "--scrub".to_owned()));
    let looked: Vec<Looked> = std::thread::scope(|scope| {
        let asked: Vec<_> = hosts.iter().map(|host| scope.spawn(|| ask(&http, host, &argv))).collect();
        asked.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    if ui.json {
        let all: serde_json::Map<_, _> = hosts.iter().cloned().zip(looked.iter().map(object)).collect();
        ui.object(&json!({ "hosts": all }))?;
    } else {
        let width = hosts.iter().map(String::len).max().unwrap_or(0);
        let lines = hosts.iter().zip(&looked).map(|(host, looked)| format!("{host:width$}  {}\n", line(looked, ui)));
        ui.print(&lines.collect::<String>())?;
    }
    // Every host has its line; one that could not be asked decides how this ends.
    Ok(looked.iter().filter_map(|looked| looked.as_ref().err()).map(|failure| failure.code).max().unwrap_or(0))
}

fn ask(http: &Http, host: &str, argv: &[String]) -> Looked {
    let ran = super::on::ask(http, host, argv.to_vec())?;
    if ran.code != 0 {
        let code = u8::try_from(ran.code).unwrap_or(crate::error::status::FAULT);
        let said = ran.stderr.trim().trim_start_matches("error: ").to_owned();
        return Err(Failure::new(code, if said.is_empty() { ran.stdout } else { said }));
    }
    Ok(serde_json::from_str(&ran.stdout)?)
}

fn object(looked: &Looked) -> Value {
    match looked {
        Ok(look) => look.clone(),
        Err(failure) => json!({ "failed": failure.message, "hints": failure.hints }),
    }
}

/// What a host says, in a line. Its words come from elsewhere: they are shown escaped.
fn line(looked: &Looked, ui: &Ui) -> String {
    let look = match looked {
        Ok(look) => look,
        Err(failure) => return ui.tone(Tone::Bad, &Shown(failure.message.as_bytes()).to_string()),
    };
    let list = |key: &str| look[key].as_array().map_or(&[][..], Vec::as_slice);
    let (drift, beyond, problems) = (list("drift"), list("runtime").len(), list("problems").len());
    let looked_at = counted(usize::try_from(look["paths"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX), "path");
    let mut out = match drift.len() + beyond {
        0 => format!("{} ({looked_at})", ui.tone(Tone::Good, "as its record says")),
        count => format!("{} ({looked_at})", ui.tone(Tone::Warn, &counted(count, "difference"))),
    };
    let named = drift.iter().take(NAMED).filter_map(|one| one["path"].as_str()).map(|path| Shown(path.as_bytes()));
    let named: Vec<String> = named.map(|path| path.to_string()).collect();
    if !named.is_empty() {
        let more = drift.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        out.push_str(&format!(": {}{more}", named.join(", ")));
    }
    if beyond > 0 {
        out.push_str(&format!("; beyond files: {beyond}"));
    }
    if problems > 0 {
        out.push_str(&format!("; not known: {problems}"));
    }
    out
}
