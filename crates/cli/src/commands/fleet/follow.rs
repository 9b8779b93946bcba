//! Following a rehearsal or a change across hosts until it is over. Ctrl-C only stops looking.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use greenroom_core::api::{Begun, Change, Event, InForce, NewChange, OnHost, Rehearsal, Undo};
use greenroom_core::rollout::Outcome;
use greenroom_core::wire::Note;
use greenroom_net::client::Http;

use crate::args::{Global, Progress};
use crate::board::Board;
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

/// `greenroom follow ID`
pub(in crate::commands) fn run(global: &Global, id: &str, progress: Progress, ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    until_over(&http, id, progress, ui)
}

/// `greenroom apply rN` through the control plane.
pub(in crate::commands) fn apply(
    global: &Global,
    wanted: &NewChange,
    progress: Progress,
    ui: &Ui,
) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    super::system::compare(&http, ui)?;
    let begun: Begun = http.post("/v1/changes", wanted)?;
    ui.say(&format!("{} on {}", ui.tone_aside(Tone::Strong, &begun.id), begun.hosts.join(", ")));
    until_over(&http, &begun.id, progress, ui)
}

/// `greenroom undo cN` through the control plane.
pub(in crate::commands) fn undo(
    global: &Global,
    id: &str,
    why: Option<String>,
    progress: Progress,
    ui: &Ui,
) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    let begun: Begun = http.post(&format!("/v1/changes/{id}/undo"), &Undo { why })?;
    ui.say(&format!("{} takes {id} back on {}", ui.tone_aside(Tone::Strong, &begun.id), begun.hosts.join(", ")));
    until_over(&http, &begun.id, progress, ui)
}

/// `greenroom continue cN` and `greenroom abort cN`
pub(in crate::commands) fn word(
    global: &Global,
    id: &str,
    word: &str,
    progress: Progress,
    ui: &Ui,
) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    let _: Change = http.post(&format!("/v1/changes/{id}/{word}"), &Undo::default())?;
    until_over(&http, id, progress, ui)
}

/// `greenroom approve rN`
pub(in crate::commands) fn approve(global: &Global, args: &crate::args::Approve, ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    let body = Undo { why: args.why.clone() };
    let rehearsal: Rehearsal = http.post(&format!("/v1/rehearsals/{}/approve", args.id), &body)?;
    if ui.json {
        ui.object(&rehearsal)?;
    } else {
        ui.print(&format!("{} is approved; next: greenroom apply {}\n", args.id, args.id))?;
    }
    Ok(status::DONE)
}

/// `greenroom show rN` and `greenroom show cN` of the control plane, as far as they are; `None`: there is none of that name.
pub(in crate::commands) fn show_one(global: &Global, id: &str, ui: &Ui) -> Result<Option<u8>, Failure> {
    let http = crate::remote::open(global)?;
    let is_change = id.starts_with('c');
    let shown = if is_change {
        change_end(&http, id, Progress::Text, ui)
    } else {
        rehearsal_end(&http, id, Progress::Text, ui)
    };
    shown
        .map(|_| Some(status::DONE))
        .map_err(|failure| failure.hint("of this host: greenroom show --local; of another: --on HOST"))
}

/// Which system file was in force, in a line.
fn in_force(system: Option<&InForce>) -> String {
    let of = |system: &InForce| format!("  system file: {}\n", super::system::words(system));
    system.map(of).unwrap_or_default()
}

/// How long it is tried to reach a control plane again that went away.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often times are drawn again.
const TICK: Duration = Duration::from_millis(500);

/// What comes to who looks.
enum Heard {
    Event(String),
    /// The control plane is away; it is tried again.
    Away(Failure),
    /// It is tried no more, or the stream ended with the last event.
    End(Result<(), Failure>),
    /// Ctrl-C.
    Interrupt,
}

/// Shows what is told until it is over or a person is asked, then how it ended.
pub(super) fn until_over(http: &Http, id: &str, progress: Progress, ui: &Ui) -> Result<u8, Failure> {
    let kind = if id.starts_with('c') { "changes" } else { "rehearsals" };
    let heard = listen(http, format!("/v1/{kind}/{id}/events"))?;
    let mut board = match progress {
        Progress::Text => {
            Board::at_terminal(id, &hosts_of(http, id)?, if kind == "changes" { "preparing" } else { "rehearsing" }, ui)
        }
        _ => None,
    };
    loop {
        let text = match heard.recv_timeout(TICK) {
            Ok(Heard::Event(text)) => text,
            Ok(Heard::Away(failure)) => {
                let note = format!("{}; what is under way goes on, and so does this when it is back", failure.message);
                say(&mut board, &ui.tone_aside(Tone::Warn, &note), ui);
                continue;
            }
            Ok(Heard::End(outcome)) => {
                board.iter_mut().for_each(Board::erase);
                outcome?;
                break;
            }
            Ok(Heard::Interrupt) => {
                board.iter_mut().for_each(Board::erase);
                return Ok(detached(id, kind, ui));
            }
            Err(RecvTimeoutError::Timeout) => {
                board.iter_mut().for_each(|board| board.draw("", ui));
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if matches!(progress, Progress::Json) {
            ui.print(&format!("{text}\n"))?;
        }
        let event: Event = serde_json::from_str(&text)?;
        let (over, paused) = match &event {
            Event::Over { .. } => (true, false),
            Event::Phase { phase, .. } => (false, phase.starts_with("paused") && is_paused(http, id)?),
            _ => (false, false),
        };
        match &mut board {
            Some(board) => put(board, &event, ui),
            None if matches!(progress, Progress::Text) => show(&event, ui),
            None => {}
        }
        if over || paused {
            // The lines of the hosts stay, as they are at the end.
            board.iter_mut().for_each(|board| board.draw("", ui));
            break;
        }
    }
    if kind == "changes" { change_end(http, id, progress, ui) } else { rehearsal_end(http, id, progress, ui) }
}

/// Reads the events on a thread, again after a cut, from where it was; and hears Ctrl-C.
fn listen(http: &Http, path: String) -> Result<Receiver<Heard>, Failure> {
    let (say, heard) = channel();
    let (mut interrupt, told) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, told)?;
    let interrupted = say.clone();
    std::thread::spawn(move || {
        if interrupt.read(&mut [0]).is_ok_and(|count| count > 0) {
            // Nobody listens any more when it is over.
            let _ = interrupted.send(Heard::Interrupt);
        }
    });
    let http = http.clone();
    std::thread::spawn(move || {
        let end = read(&http, &path, &say);
        let _ = say.send(Heard::End(end));
    });
    Ok(heard)
}

fn read(http: &Http, path: &str, say: &Sender<Heard>) -> Result<(), Failure> {
    let (mut last, mut came, mut away) = (None::<String>, false, None::<Instant>);
    loop {
        match http.events(path, last.as_deref()) {
            Ok(mut events) => {
                (came, away) = (true, None);
                while let Some(Ok(text)) = events.next() {
                    let over = text.starts_with("{\"event\":\"over\"");
                    if say.send(Heard::Event(text)).is_err() || over {
                        return Ok(());
                    }
                }
                last = events.last_id().map(str::to_owned);
            }
            Err(error) => {
                let began = *away.get_or_insert_with(Instant::now);
                let failure = Failure::from(error);
                if !came || began.elapsed() > PATIENCE || failure.code != status::FAULT {
                    return Err(failure);
                }
                if began.elapsed() < TICK {
                    let _ = say.send(Heard::Away(failure));
                }
            }
        }
        std::thread::sleep(TICK);
    }
}

fn hosts_of(http: &Http, id: &str) -> Result<Vec<String>, Failure> {
    if id.starts_with('c') {
        let change: Change = http.get(&format!("/v1/changes/{id}"))?;
        return Ok(change.hosts.into_keys().collect());
    }
    let rehearsal: Rehearsal = http.get(&format!("/v1/rehearsals/{id}"))?;
    Ok(rehearsal.hosts.into_keys().collect())
}

fn detached(id: &str, kind: &str, ui: &Ui) -> u8 {
    let back = if kind == "changes" { format!("; to take it back: greenroom abort {id}") } else { String::new() };
    ui.say(&format!("{id} goes on without you. To look again: greenroom follow {id}{back}"));
    status::DETACHED
}

/// Says something above the board, where there is one.
fn say(board: &mut Option<Board>, text: &str, ui: &Ui) {
    match board {
        Some(board) => board.draw(&format!("{text}\n"), ui),
        None => ui.say(text),
    }
}

/// Puts an event where it belongs on the board: what a person has to read in full goes above it.
fn put(board: &mut Board, event: &Event, ui: &Ui) {
    let mut above = String::new();
    match event {
        Event::Note { host, note } => match note {
            Note::Begins(text) | Note::Output(text) => board.detail(host, text),
            Note::Note(text) => above = format!("{host}: {text}\n"),
        },
        Event::Host { host, step, trouble } => {
            board.step(host, &step.replace('_', " "), tone(step, trouble.is_some()), is_over(step));
            above = trouble.as_ref().map_or_else(String::new, |trouble| format!("{host}: {trouble}\n"));
        }
        Event::Phase { phase, reason } => {
            board.phase(phase);
            above = reason.as_ref().map_or_else(String::new, |reason| format!("{phase}: {reason}\n"));
        }
        Event::Over { .. } => board.phase(""),
    }
    board.draw(&above, ui);
}

/// Whether a host is done: at a change in place, as before or stuck; at a rehearsal with whatever verdict.
fn is_over(step: &str) -> bool {
    !matches!(step, "preparing" | "prepared" | "committing" | "unwinding")
}

fn tone(step: &str, trouble: bool) -> Tone {
    match step {
        "in_place" | "ready" | "prepared" => Tone::Good,
        _ if trouble => Tone::Bad,
        _ => Tone::Dim,
    }
}

/// What was told long ago is told again to who follows anew: only what is so now counts.
fn is_paused(http: &Http, id: &str) -> Result<bool, Failure> {
    let change: Change = http.get(&format!("/v1/changes/{id}"))?;
    Ok(matches!(change.phase, greenroom_core::rollout::Phase::Paused { .. }))
}

fn show(event: &Event, ui: &Ui) {
    match event {
        Event::Note { host, note } => match note {
            Note::Begins(what) => ui.say(&ui.tone_aside(Tone::Dim, &format!("{host}: {what}"))),
            Note::Output(text) => text.lines().for_each(|line| ui.say(&format!("{host}| {line}"))),
            Note::Note(text) => ui.say(&format!("{host}: {text}")),
        },
        Event::Host { host, step, trouble } => {
            let tone = tone(step, trouble.is_some());
            let trouble = trouble.as_ref().map_or_else(String::new, |trouble| format!(": {trouble}"));
            ui.say(&format!("{host}  {}{trouble}", ui.tone_aside(tone, &step.replace('_', " "))));
        }
        Event::Phase { phase, reason } => {
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            ui.say(&ui.tone_aside(Tone::Strong, &format!("{phase}{reason}")));
        }
        Event::Over { .. } => {}
    }
}

fn change_end(http: &Http, id: &str, progress: Progress, ui: &Ui) -> Result<u8, Failure> {
    let change: Change = http.get(&format!("/v1/changes/{id}"))?;
    if ui.json {
        ui.object(&change)?;
    } else if matches!(progress, Progress::Text) {
        let reason = change.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let took =
            change.ended_at.map_or_else(String::new, |at| format!(" in {:.1} s", (at - change.at) as f64 / 1000.0));
        let count = super::super::counted(change.hosts.len(), "host");
        let line = match change.outcome {
            Some(Outcome::Done) => ui.tone(Tone::Good, &format!("{id} is in place on {count}{took}")),
            Some(Outcome::Refused) => ui.tone(Tone::Bad, &format!("{id} was refused, nothing was touched{reason}")),
            Some(Outcome::TakenBack) => ui.tone(Tone::Bad, &format!("{id} was taken back on {count}{reason}")),
            Some(Outcome::Stuck) => ui.tone(Tone::Bad, &format!("{id} could not be taken back everywhere{reason}")),
            None => format!("{id} is not over{reason}; greenroom continue {id}, or greenroom abort {id}"),
        };
        ui.print(&format!("{line}\n{}", in_force(change.system.as_ref())))?;
        for said in &change.said {
            ui.print(&format!("  {} by {}\n", said.word, said.person))?;
        }
        if change.outcome == Some(Outcome::Done) {
            ui.print(&format!("  to take it back on all of them: greenroom undo {id}\n"))?;
        }
    }
    Ok(match change.outcome {
        Some(Outcome::Done) | None => status::DONE,
        Some(Outcome::Refused) => status::REFUSED,
        Some(Outcome::TakenBack) => status::FAILED,
        Some(Outcome::Stuck) => status::FAULT,
    })
}

fn rehearsal_end(http: &Http, id: &str, progress: Progress, ui: &Ui) -> Result<u8, Failure> {
    let rehearsal: Rehearsal = http.get(&format!("/v1/rehearsals/{id}"))?;
    let ready = |on: &OnHost| matches!(on, OnHost::Held { record } if record["verdict"] == "ready");
    let all = rehearsal.hosts.values().all(ready);
    if ui.json {
        ui.object(&rehearsal)?;
    } else if matches!(progress, Progress::Text) {
        ui.print(&summary(&rehearsal, all, ui))?;
    }
    Ok(if all { status::DONE } else { status::FAILED })
}

fn summary(rehearsal: &Rehearsal, ready: bool, ui: &Ui) -> String {
    let id = &rehearsal.id;
    let head = if ready { ui.tone(Tone::Good, "READY") } else { ui.tone(Tone::Bad, "NOT READY") };
    let mut out = format!(
        "\n{}  {head} on {}\n",
        ui.tone(Tone::Strong, id),
        super::super::counted(rehearsal.hosts.len(), "host")
    );
    for (host, on) in &rehearsal.hosts {
        let line = match on {
            OnHost::Running => "not over".to_owned(),
            OnHost::Failed { failed } => format!("could not be held: {}", failed.what),
            OnHost::Held { record } => {
                let reasons: Vec<&str> =
                    record["reasons"].as_array().into_iter().flatten().filter_map(|r| r.as_str()).collect();
                let verdict = record["verdict"].as_str().unwrap_or_default().replace('_', " ");
                let entries = usize::try_from(record["entries"].as_u64().unwrap_or(0)).unwrap_or(0);
                format!("{verdict}, {} {}", super::super::counted(entries, "path"), reasons.join("; "))
            }
        };
        out.push_str(&format!("  {host}  {}\n", line.trim_end()));
        if let (OnHost::Held { record }, Some(_)) = (on, &rehearsal.stage) {
            let notes = record["notes"].as_array().into_iter().flatten().filter_map(|note| note.as_str());
            notes.for_each(|note| out.push_str(&format!("    {note}\n")));
        }
    }
    if let Some(stage) = &rehearsal.stage {
        out.push_str(&format!("  held on {}, on copies of the images of {}\n", stage.host, stage.images));
        for hosts in &stage.shared {
            out.push_str(&format!("    one copy of {} for {}\n", hosts[0], hosts.join(", ")));
        }
    }
    if rehearsal.alike.len() > 1 {
        out.push_str(&ui.tone(Tone::Warn, "  the change does not do the same everywhere:\n"));
        rehearsal.alike.iter().for_each(|hosts| out.push_str(&format!("    alike: {}\n", hosts.join(", "))));
    }
    out.push_str(&in_force(rehearsal.system.as_ref()));
    for approval in &rehearsal.approvals {
        out.push_str(&format!("  approved by {}\n", approval.person));
    }
    if ready {
        out.push_str(&format!("  next: greenroom apply {id}\n"));
    }
    out
}
