//! `greenroom rehearse`

use std::path::Path;

use greenroom_core::change::{ChangeFile, Test};
use greenroom_core::rehearsal::{Net, Rehearsal, Verdict};
use greenroom_engine::rehearsal::{Boot, Request, What, prepare, rehearse};
use greenroom_net::egress::AllowEntry;

use crate::args::{BootArg, Global, NetArg, Rehearse};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(super) fn run(global: &Global, args: &Rehearse, ui: &Ui) -> Result<u8, Failure> {
    if args.stage.is_some() {
        return Err(Failure::usage("--stage is for hosts of a control plane").hint("--on HOST says which"));
    }
    let mut request = request(global, args)?;
    if rustix::process::geteuid().is_root() {
        // Before anything starts a thread: see the engine.
        prepare()?;
    }
    let state = super::open(global, ui)?;
    request.tests.splice(..0, super::standing_tests(global, args.no_standing_tests, ui)?);
    let record = rehearse(&state, &request, &super::asked(), ui)?;
    if ui.json {
        ui.object(&record)?;
    } else {
        ui.print(&summary(&record, ui))?;
    }
    Ok(match record.verdict {
        Verdict::Ready => status::DONE,
        Verdict::ChangeFailed | Verdict::TestsFailed => status::FAILED,
        Verdict::CannotBeUndone | Verdict::WillNotTransplant => status::REFUSED,
    })
}

fn request(global: &Global, args: &Rehearse) -> Result<Request, Failure> {
    let mut allow = Vec::new();
    for text in &args.allow {
        let entries = AllowEntry::parse_allowed(text).map_err(|error| {
            Failure::usage(format!("--allow {text}: {error}")).hint("for example --allow api.example.com:443")
        })?;
        allow.extend(entries);
    }
    let tests = args.tests.iter().map(|run| Test { name: None, run: run.clone(), timeout: None }).collect();
    Ok(Request {
        root: global.root.clone(),
        what: what(args)?,
        boot: match args.boot {
            BootArg::Auto => Boot::Auto,
            BootArg::Yes => Boot::Yes,
            BootArg::No => Boot::No,
        },
        net: match args.net {
            NetArg::Packages => Net::Packages,
            NetArg::None => Net::None,
            NetArg::Host => Net::Host,
        },
        allow,
        tests,
        timeout: args.timeout,
        name: args.name.clone(),
        why: args.why.clone(),
        keep: args.keep,
        share: args.share,
        env: crate::env::for_change(),
    })
}

fn what(args: &Rehearse) -> Result<What, Failure> {
    if args.shell {
        if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            return Err(
                Failure::usage("--shell needs a terminal").hint("to run a script: greenroom rehearse -- sh SCRIPT")
            );
        }
        return Ok(What::Shell);
    }
    if let Some(path) = &args.change {
        return change_file(path);
    }
    if args.command.is_empty() {
        return Err(Failure::usage("there is nothing to rehearse")
            .hint("greenroom rehearse -- apt-get install -y nginx")
            .hint("or a change file: greenroom rehearse change.toml; or a shell: greenroom rehearse --shell"));
    }
    Ok(What::Command { argv: args.command.clone(), dir: std::env::current_dir().ok() })
}

/// Reads a change file; everything that is wrong with it is said at once.
pub(super) fn change_file(path: &Path) -> Result<What, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the change file {name}: {error}"))
            .hint("to run a command, put -- in front of it")
    })?;
    let file = ChangeFile::parse(&text, &name).map_err(|problems| {
        let shown: Vec<String> = problems.iter().map(|p| p.render().trim_end().to_owned()).collect();
        Failure::usage(format!("{name} is not a change file\n{}", shown.join("\n")))
    })?;
    let dir = std::path::absolute(path).ok().and_then(|p| p.parent().map(Path::to_owned)).unwrap_or_else(|| "/".into());
    let missing: Vec<String> = file
        .files_needed()
        .iter()
        .filter(|needed| !dir.join(&needed.path).is_file())
        .map(|needed| {
            let what = format!("there is no file {}", dir.join(&needed.path).display());
            file.problem_at(&needed.span, &what, Some("paths are relative to the change file"))
                .render()
                .trim_end()
                .to_owned()
        })
        .collect();
    if !missing.is_empty() {
        return Err(Failure::usage(format!("{name} needs files that are not there\n{}", missing.join("\n"))));
    }
    Ok(What::File { file: Box::new(file), dir })
}

/// What a tired person understands in ten seconds, and what to do next.
pub(super) fn summary(record: &Rehearsal, ui: &Ui) -> String {
    let id = &record.rehearsal;
    let next = match record.verdict {
        Verdict::Ready if record.entries > 0 || !record.parts.is_empty() || !record.actions.is_empty() => {
            format!("greenroom show {id} --diff, then greenroom apply {id}")
        }
        Verdict::Ready => "nothing to apply".to_owned(),
        _ => format!("greenroom show {id}; the host was not touched"),
    };
    format!("{}  {:<10} {next}\n", outcome(record, ui), "next")
}

/// What came of it.
pub(super) fn outcome(record: &Rehearsal, ui: &Ui) -> String {
    let tone = if record.verdict == Verdict::Ready { Tone::Good } else { Tone::Bad };
    let mut out = format!(
        "\n{}  {}  {}\n",
        ui.tone(Tone::Strong, &record.rehearsal),
        record.name,
        ui.tone(tone, &record.verdict.words().to_uppercase())
    );
    let mut line = |label: &str, text: &str| out.push_str(&format!("  {:<10} {text}\n", label));
    for reason in &record.reasons {
        line("why", reason);
    }
    for effect in greenroom_core::effect::summary_lines(&record.effects) {
        match effect.split_once(": ") {
            Some((label, rest)) => line(label, rest),
            None => line("", &effect),
        }
    }
    line("files", &format!("{} {}", record.entries, if record.entries == 1 { "path" } else { "paths" }));
    if !record.actions.is_empty() {
        let list: Vec<String> = record.actions.iter().map(|a| format!("{} {}", a.verb.word(), a.unit)).collect();
        line("services", &format!("{} (measured)", list.join(", ")));
    }
    tests(record, &mut line);
    if record.verdict == Verdict::Ready && record.entries > 0 {
        line("undo", if record.undo_proven { "proven: a copy went there and back" } else { "not proven" });
    }
    limits(record, &mut line);
    let t = &record.timings;
    let s = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
    line(
        "took",
        &format!(
            "{} (copy {}, change {}, capture {}, proof {})",
            s(t.total_ms),
            s(t.copy_ms),
            s(t.run_ms),
            s(t.capture_ms),
            s(t.proof_ms)
        ),
    );
    out
}

pub(super) fn tests(record: &Rehearsal, line: &mut impl FnMut(&str, &str)) {
    if record.tests.is_empty() {
        return;
    }
    let good = record.tests.iter().filter(|t| t.after == Some(true)).count();
    line("tests", &format!("{good} of {} hold", record.tests.len()));
    for test in record.tests.iter().filter(|t| t.after == Some(false)) {
        line("", &format!("failed: {}", test.name));
        for text in test.output.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev() {
            line("", &format!("  {}", greenroom_core::path::Shown(text.as_bytes())));
        }
    }
}

/// What is left out, and what went where.
fn limits(record: &Rehearsal, line: &mut impl FnMut(&str, &str)) {
    for found in &record.runtime_only {
        line("not kept", &found.detail);
    }
    if !record.left_behind.is_empty() {
        let examples: Vec<String> = record.left_behind.iter().take(3).map(ToString::to_string).collect();
        line(
            "stays",
            &format!(
                "{} paths that services wrote would stay after an undo: {}",
                record.left_behind.len(),
                examples.join(", ")
            ),
        );
    }
    if record.data.count > 0 || !record.stores.is_empty() {
        line(
            "data",
            &format!("{}: never part of a change ({} paths left out)", record.stores.join(", "), record.data.count),
        );
    }
    line(
        "left out",
        &format!("{} volatile paths, {} that every boot changes", record.volatile_paths, record.noise.count),
    );
    if record.net == Net::Host {
        line("network", "NOT ISOLATED: the copy had the host's network");
    }
    let list = |reached: &[greenroom_core::rehearsal::Destination]| {
        reached.iter().map(|d| format!("{} ({})", d.to, d.connections)).collect::<Vec<_>>().join(", ")
    };
    if !record.reached.is_empty() {
        line("network", &list(&record.reached));
    }
    if !record.refused.is_empty() {
        line("refused", &list(&record.refused));
    }
    for note in &record.notes {
        line("note", note);
    }
}
