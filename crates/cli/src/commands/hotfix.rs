//! `greenroom hotfix`

use std::cell::RefCell;
use std::os::fd::BorrowedFd;

use greenroom_core::change::{ChangeFile, Test};
use greenroom_core::rehearsal::{Net, Rehearsal, Verdict};
use greenroom_engine::apply::{Open, Report, Wanted, apply};
use greenroom_engine::rehearsal::hotfix::{Choice, Left, Person, Show, hotfix};
use greenroom_engine::rehearsal::{Boot, Request, What, prepare};
use greenroom_engine::{Outcome, State};
use greenroom_host::apply::NoFaults;

use super::show;
use crate::args::{Global, Hotfix};
use crate::error::{Failure, status};
use crate::terminal::{Answer, Terminal};
use crate::ui::{Tone, Ui};

pub(super) fn run(global: &Global, args: &Hotfix, ui: &Ui) -> Result<u8, Failure> {
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return Err(Failure::usage("hotfix needs a terminal")
            .hint("to run a script: greenroom rehearse -- sh SCRIPT, then greenroom apply"));
    }
    let file = args.change.as_deref().map(change_file).transpose()?;
    if rustix::process::geteuid().is_root() {
        // Before anything starts a thread: see the engine.
        prepare()?;
    }
    let state = super::open(global, ui)?;
    let standing = super::standing_tests(global, args.no_standing_tests, ui)?;
    let request = request(global, args, file.as_ref(), standing);
    let options = file.map(|file| file.apply).unwrap_or_default();
    let terminal = Terminal::take().map_err(|error| Failure::new(status::FAULT, format!("no terminal: {error}")))?;
    let seated = Seated { terminal, global, args, why: &request.why, ui, decision: RefCell::default() };
    let left = hotfix(&state, &request, &options, &super::asked(), &seated, ui)?;
    let code = seated.conclude(&state, &left);
    // Whether it went well does not matter: what stays is swept by the next rehearsal.
    let _ = left.gone.join();
    code
}

fn request(global: &Global, args: &Hotfix, file: Option<&ChangeFile>, mut tests: Vec<Test>) -> Request {
    tests.extend(file.into_iter().flat_map(|file| file.tests.iter().cloned()));
    tests.extend(args.tests.iter().map(|run| Test { name: None, run: run.clone(), timeout: None }));
    let mut env = crate::env::for_change();
    if crate::env::no_color() {
        env.push(("NO_COLOR".to_owned(), "1".to_owned()));
    }
    Request {
        root: global.root.clone(),
        what: What::Shell,
        boot: if args.no_boot { Boot::No } else { Boot::Auto },
        net: Net::Packages,
        allow: Vec::new(),
        tests,
        timeout: None,
        name: Some("hotfix".to_owned()),
        why: args.why.clone().or_else(|| file.and_then(|file| file.why.clone())),
        keep: false,
        share: 50,
        env,
    }
}

/// Its tests and its `[apply]` table are wanted.
fn change_file(path: &std::path::Path) -> Result<ChangeFile, Failure> {
    match super::rehearse::change_file(path)? {
        What::File { file, .. } => Ok(*file),
        What::Command { .. } | What::Shell => Err(Failure::usage("this is no change file")),
    }
}

/// What the person decided.
#[derive(Default)]
enum Decision {
    /// Nothing: what was done stays on record.
    #[default]
    None,
    /// There is nothing to decide about.
    Nothing,
    Drop,
    Apply {
        why: Option<String>,
        force: Option<String>,
    },
}

/// The person at the terminal.
struct Seated<'a> {
    terminal: Terminal,
    global: &'a Global,
    args: &'a Hotfix,
    why: &'a Option<String>,
    ui: &'a Ui,
    decision: RefCell<Decision>,
}

impl Person for Seated<'_> {
    fn terminal(&self) -> BorrowedFd<'_> {
        self.terminal.fd()
    }

    fn stop(&self) -> Vec<BorrowedFd<'_>> {
        self.terminal.signals()
    }

    fn enters(&self, hostname: &str, again: bool) {
        let root = &self.global.root;
        let whose = if root == std::path::Path::new("/") { hostname.to_owned() } else { shown(root) };
        let begin = if again {
            format!("Back in the copy of {whose}, as you left it.")
        } else {
            format!("This is a copy of {whose}: nothing that you do here touches the original.")
        };
        self.ui.say(&format!("\n{begin}\nType exit or Ctrl-D when you are done: you see what you did, and decide.\n"));
    }

    fn captured<'a>(&'a self, state: &State, record: &Rehearsal) -> Show<'a> {
        // What was going on is over, before the person reads for a while.
        self.ui.say("");
        let text = self.findings(state, record, false).unwrap_or_else(|failure| format!("{}\n", failure.message));
        let proven = record.verdict == Verdict::Ready && record.entries > 0;
        let json = self.ui.json;
        // A reference to the user interface is shared with the proof's own thread; the terminal alone is not in its way.
        let terminal = &self.terminal;
        Box::new(move || {
            if proven {
                terminal.tell("· proving it in a second copy meanwhile …\n");
            }
            if !json {
                terminal.show(&text);
            }
        })
    }

    fn choose(&self, state: &State, record: &Rehearsal) -> Choice {
        self.ui.say(&verdict(record, self.ui));
        let ready = record.verdict == Verdict::Ready;
        if record.entries == 0 && record.runtime_only.is_empty() && ready {
            *self.decision.borrow_mut() = Decision::Nothing;
            return Choice::Leave;
        }
        if ready && record.entries > 0 && self.args.yes_if_ready {
            *self.decision.borrow_mut() = Decision::Apply { why: self.why.clone(), force: None };
            return Choice::Leave;
        }
        loop {
            let Answer::Line(line) = self.terminal.ask(&question(record)) else {
                return Choice::Leave;
            };
            match line.to_lowercase().as_str() {
                "s" | "shell" => return Choice::Shell,
                "d" | "drop" => {
                    *self.decision.borrow_mut() = Decision::Drop;
                    return Choice::Leave;
                }
                "v" | "view" | "diff" => match self.findings(state, record, true) {
                    Ok(text) => self.terminal.show(&text),
                    Err(failure) => self.ui.failure(&failure),
                },
                "a" | "apply" if record.entries > 0 => {
                    if let Some(decision) = self.wants_it(ready) {
                        *self.decision.borrow_mut() = decision;
                        return Choice::Leave;
                    }
                }
                _ => {}
            }
        }
    }
}

fn shown(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    greenroom_core::path::Shown(path.as_os_str().as_bytes()).to_string()
}

/// What can be answered.
fn question(record: &Rehearsal) -> String {
    let apply = match (record.entries, record.verdict) {
        (0, _) => "",
        (_, Verdict::Ready) => "[a]pply, ",
        _ => "[a]pply all the same, ",
    };
    format!("{}: {apply}[d]rop, back to the [s]hell, [v]iew all? ", record.rehearsal)
}

impl Seated<'_> {
    /// What was done, in words and path by path with all differences; `all`: of what packages brought too.
    fn findings(&self, state: &State, record: &Rehearsal, all: bool) -> Result<String, Failure> {
        let mut out = String::from("\n");
        for line in greenroom_core::effect::summary_lines(&record.effects) {
            let (label, rest) = line.split_once(": ").unwrap_or(("", &line));
            out.push_str(&format!("  {label:<10} {rest}\n"));
        }
        for found in &record.runtime_only {
            out.push_str(&format!("  {:<10} {}\n", "not kept", found.detail));
        }
        let changeset = record.changeset.map(|id| state.changeset(&id)).transpose()?.unwrap_or_default();
        let what = show::What { state, changeset: &changeset, root: &self.global.root };
        let packages = &record.effects.packages;
        out.push_str(&if all { what.paths(packages, Some("/**"), self.ui) } else { what.by_hand(packages, self.ui) }?);
        Ok(out)
    }

    /// Asks for what has to be said before it is applied; `None`: rather not.
    fn wants_it(&self, ready: bool) -> Option<Decision> {
        let asked = |question: &str| {
            for _ in 0..3 {
                match self.terminal.ask(question) {
                    Answer::Line(line) if line.is_empty() => {}
                    Answer::Line(line) => return Some(line),
                    Answer::None => return None,
                }
            }
            None
        };
        let force = if ready { None } else { Some(asked("It is not ready. Why apply it all the same? ")?) };
        let why = match self.why {
            Some(why) => why.clone(),
            None => asked("Why (goes to the ledger)? ")?,
        };
        Some(Decision::Apply { why: Some(why), force })
    }

    /// Does what was decided, and says where things are.
    fn conclude(&self, state: &State, left: &Left) -> Result<u8, Failure> {
        let record = &left.record;
        let id = &record.rehearsal;
        let stays = format!("what was done is {id}: greenroom show {id} --diff, greenroom apply {id}");
        let (outcome, code) = match &*self.decision.borrow() {
            Decision::Apply { why, force } => return self.apply(state, record, why, force),
            Decision::Drop => {
                self.ui.say(&format!("dropped; the host was not touched ({id} stays on record until it is collected)"));
                ("dropped", status::DONE)
            }
            Decision::Nothing => {
                self.ui.say("nothing was changed");
                ("nothing", status::DONE)
            }
            Decision::None if left.lost => {
                self.ui.say(&format!("the session was cut off; {stays}"));
                ("cut off", status::FAULT)
            }
            Decision::None => {
                self.ui.say(&format!("nothing was decided; {stays}"));
                ("undecided", status::DONE)
            }
        };
        self.object(outcome, record, None)?;
        Ok(code)
    }

    fn apply(
        &self,
        state: &State,
        record: &Rehearsal,
        why: &Option<String>,
        force: &Option<String>,
    ) -> Result<u8, Failure> {
        let id = &record.rehearsal;
        let wanted = Wanted {
            root: &self.global.root,
            id,
            why: why.clone(),
            force_verdict: force.clone(),
            health: Vec::new(),
            gate: &Open,
            rollout: None,
            once_elsewhere: false,
            faults: &NoFaults,
        };
        let report = apply(state, &wanted, &super::asked(), self.ui).map_err(|error| {
            Failure::from(error).hint(format!("what you did is not lost: greenroom show {id} --diff"))
        })?;
        if !self.ui.json {
            return super::apply::tell(&report, self.ui);
        }
        self.object(report.outcome, record, Some(&report))?;
        Ok(if report.outcome() == Outcome::Done { status::DONE } else { status::FAILED })
    }

    fn object(&self, outcome: &str, record: &Rehearsal, change: Option<&Report>) -> Result<(), Failure> {
        if !self.ui.json {
            return Ok(());
        }
        self.ui.object(&serde_json::json!({ "outcome": outcome, "rehearsal": record, "change": change }))
    }
}

/// Whether it may go live, and why not.
fn verdict(record: &Rehearsal, ui: &Ui) -> String {
    let tone = if record.verdict == Verdict::Ready { Tone::Good } else { Tone::Bad };
    let word = ui.tone_aside(tone, &record.verdict.words().to_uppercase());
    let mut out = format!("\n{}  {word}\n", ui.tone_aside(Tone::Strong, &record.rehearsal));
    let mut line = |label: &str, text: &str| out.push_str(&format!("  {label:<10} {text}\n"));
    record.reasons.iter().for_each(|reason| line("why", reason));
    super::rehearse::tests(record, &mut line);
    if !record.actions.is_empty() {
        let list: Vec<String> = record.actions.iter().map(|a| format!("{} {}", a.verb.word(), a.unit)).collect();
        line("services", &format!("{} (measured)", list.join(", ")));
    }
    if record.verdict == Verdict::Ready && record.entries > 0 {
        let seconds = std::time::Duration::from_millis(record.timings.proof_ms).as_secs_f64();
        let proven = format!("proven: a copy went there and back ({seconds:.1} s)");
        line("undo", if record.undo_proven { &proven } else { "not proven" });
    }
    record.notes.iter().for_each(|note| line("note", note));
    out.pop();
    out
}
