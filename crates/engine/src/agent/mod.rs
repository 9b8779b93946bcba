//! The host's side of a fleet: does what the control plane sends, at most once each, and says what came of it.
//!
//! # What goes through here
//! A [`Command`] comes in from whoever holds the stream, on a thread of its own, and [`Agent::handle`] returns when it is over.
//! The [`journal`] has its name before anything is done and its answer before that is said: what comes again is answered out
//! of it. A command that was under way when the agent was killed is never run again; [`settle`](Agent) reads out of the
//! host's own records what became of it.
//!
//! Commands run beside each other, but those of one change one after the other (all but [`watch`], which only looks), in
//! whatever order they come: a *commit* that
//! nothing was prepared for is refused, and once *unwind* was heard nothing of the change begins any more.
//!
//! A prepared change is a thread that waits at the [gate](crate::apply::Gate) of `engine::apply`, with everything staged and
//! the host's lock held ([`held`]). It lives no longer than the agent: killed, `recover` drops what was staged, and the
//! later *commit* is refused. What a host was told to leave it never begins, whatever arrives late ([`journal::Journal::leave`]).
//!
//! As a stage it rehearses what is meant for other hosts, on the trees of their images ([`mod@stage`]).
//!
//! How the host is goes the other way without being asked ([`mod@status`]).
//!
//! Its own program is changed by the same commands ([`upgrade`]).
//!
//! # What this is not
//! It decides nothing across hosts: that is `core::rollout`, driven by `engine::fleet`, which this room meets only through
//! `core::wire`. It is no second way to change a host: everything is the engine's verbs.

mod contents;
mod held;
mod image;
mod journal;
mod link;
mod order;
mod rebuild;
mod stage;
mod status;
mod upgrade;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use greenroom_core::wire::{Answer, Class, Command, Failed, FromAgent, Note, Report, Verb, from_afar};
use greenroom_host::apply::NoFaults;
use greenroom_store::ledger::{Actor, Filter, Ledger as _, SqlLedger};

pub use self::contents::Servers;
pub(crate) use self::contents::of_blobs;
pub use self::link::{Link, serve};
pub use self::status::of as status;
pub use self::upgrade::back;

use self::held::Held;
use self::journal::{Journal, Known};
use crate::{Asked, EngineError, Progress, Silent, State, lock};

/// How the agent came to be on this host.
#[derive(Clone)]
pub struct Options {
    /// The host's tree.
    pub root: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// The environment of a rehearsed change.
    pub env: Vec<(String, String)>,
    /// The clock.
    pub now: fn() -> jiff::Timestamp,
    /// Runs this program with the words given, as a person on the host would: the one who is named.
    pub run: fn(&[String], &str) -> std::io::Result<Ran>,
    /// The same for nobody, where nothing else wants the processor or the disk.
    pub idle: fn(&[String]) -> std::io::Result<Ran>,
    /// Where this program lies.
    pub program: PathBuf,
    /// Fetches a piece of a program from the control plane: the program's hash, the number of the piece.
    pub fetch: Fetch,
    /// Where contents come from and go to.
    pub servers: Arc<Servers>,
}

/// Fetches a piece of a program.
pub type Fetch = Arc<dyn Fn(&str, u64) -> std::io::Result<Vec<u8>> + Send + Sync>;

/// What a command of this program came to.
pub struct Ran {
    /// Its exit status.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The agent of one host.
pub struct Agent {
    options: Options,
    journal: Journal,
    held: Mutex<BTreeMap<String, Held>>,
    running: Mutex<BTreeSet<String>>,
    /// One command of a change at a time.
    turns: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    /// The changes that are watched, each with whether it was called off.
    watches: Mutex<BTreeMap<String, Arc<AtomicBool>>>,
    /// The hash of the program that this process runs, where it was asked for.
    own: OnceLock<Option<String>>,
    /// Room for rehearsals of other hosts.
    seats: stage::Seats,
}

/// For so long what keeps a change from being taken back is waited out.
const WAIT_OUT: std::time::Duration = std::time::Duration::from_secs(3600);

/// How long to wait before it is tried again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Where what the agent says goes.
pub type Say = dyn Fn(FromAgent) + Send + Sync;

impl Agent {
    /// Opens the journal, and finishes what a crash interrupted on this host.
    ///
    /// # Errors
    /// The state cannot be opened, or what was interrupted cannot be finished.
    pub fn open(options: Options) -> Result<Self, EngineError> {
        let state = State::open(&options.state)?;
        let journal = Journal::open(&options.state.join("agent"))?;
        let agent = Self {
            options,
            journal,
            held: Mutex::default(),
            running: Mutex::default(),
            turns: Mutex::default(),
            watches: Mutex::default(),
            own: OnceLock::new(),
            seats: stage::Seats::of_this_machine(),
        };
        crate::apply::recover(&state, agent.root(), &NoFaults, &agent.asked("greenroom agent", "recover"), &Silent)?;
        Ok(agent)
    }

    fn root(&self) -> &Path {
        &self.options.root
    }

    fn asked(&self, person: &str, command: &str) -> Asked {
        let actor = Actor {
            user: person.to_owned(),
            from: Some("control plane".to_owned()),
            command: Some(command.to_owned()),
            ..Actor::default()
        };
        Asked { actor, now: self.options.now }
    }

    /// Does a command, unless it was done: then its answer is said again. Returns when it is over.
    pub fn handle(&self, command: &Command, say: &Say) {
        if !lock(&self.running).insert(command.id.clone()) {
            // It is under way on another thread, which answers.
            return;
        }
        let change = change(&command.verb);
        let waits = !matches!(command.verb, Verb::Watch { .. });
        let turn =
            change.filter(|_| waits).map(|change| lock(&self.turns).entry(change.to_owned()).or_default().clone());
        let one = turn.as_deref().map(lock);
        let answer = self.once(command, say);
        drop(one);
        if let Some((change, turn)) = change.zip(turn) {
            self.leave_turn(change, turn);
        }
        lock(&self.running).remove(&command.id);
        say(FromAgent::Done { id: command.id.clone(), answer });
    }

    /// Nobody else waits for this turn: what was kept of it goes.
    fn leave_turn(&self, change: &str, turn: Arc<Mutex<()>>) {
        // Whoever wants the turn takes it under this lock.
        let mut turns = lock(&self.turns);
        drop(turn);
        if turns.get(change).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(change);
        }
    }

    fn once(&self, command: &Command, say: &Say) -> Answer {
        if let Verb::Unwind { change, why } = &command.verb {
            return self.unwound(command, change, why, say);
        }
        let answer = match self.journal.known(&command.id) {
            Ok(Some(Known::Done(answer))) => return *answer,
            Ok(Some(Known::Begun)) => self.settle(command, say),
            Ok(None) => match self.begin(command) {
                Ok(()) => {
                    say(FromAgent::Begun { id: command.id.clone() });
                    self.perform(command, say)
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let answer = answer.unwrap_or_else(|error| Answer::Failed(failed(&error)));
        match self.journal.done(&command.id, &answer) {
            Ok(()) => answer,
            // Nobody may believe what is not on record: a later try settles it.
            Err(error) => Answer::Failed(failed(&error)),
        }
    }

    /// Unwinding may be done again and again, and is what everything else falls back on: a fault (a full disk) is waited out.
    fn unwound(&self, command: &Command, change: &str, why: &str, say: &Say) -> Answer {
        let began = std::time::Instant::now();
        let mut said = false;
        loop {
            let tried = self.journal.fence(change, command.fence).and_then(|()| self.unwind(command, change, why));
            let failed = match tried {
                Ok(answer) => return answer,
                Err(error) => failed(&error),
            };
            if failed.class != Class::Fault || began.elapsed() >= WAIT_OUT {
                return Answer::Failed(failed);
            }
            if !said {
                said = true;
                let note = Note::Note(format!("{change} cannot be taken back yet: {}", failed.what));
                say(FromAgent::Progress { id: command.id.clone(), note });
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn begin(&self, command: &Command) -> Result<(), EngineError> {
        if let Some(change) = change(&command.verb) {
            self.journal.fence(change, command.fence)?;
        }
        self.journal.begin(&command.id)
    }

    fn perform(&self, command: &Command, say: &Say) -> Result<Answer, EngineError> {
        match &command.verb {
            Verb::Rehearse(order) => self.rehearse(command, order, say),
            Verb::Prepare { change, what, why, hold_s } => self.prepare(command, change, what, why.as_ref(), *hold_s),
            Verb::Commit { change } => self.commit(change),
            // See `once`: it is not for the journal.
            Verb::Unwind { change, why } => self.unwind(command, change, why),
            Verb::Run { argv } => self.run(argv, &command.person),
            Verb::Watch { change, services } => self.watch(change, services, &Told { id: &command.id, say }),
            Verb::Image(wanted) => self.image(command, wanted, say),
            Verb::Rebuild(wanted) => self.rebuild(command, wanted, say),
            Verb::Stage(wanted) => self.rehearse_for(command, wanted, say),
        }
    }

    /// Runs a command of this program on this host's tree and state, whatever else is known here. What the list does not have
    /// is not run, whoever has the control plane by now.
    fn run(&self, argv: &[String], person: &str) -> Result<Answer, EngineError> {
        from_afar(argv).map_err(|error| EngineError::usage(error.to_string(), "log in on the host"))?;
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| EngineError::usage(format!("{} is not UTF-8", path.display()), "choose another"))
        };
        let mut words = vec!["--local".to_owned(), "--root".to_owned(), text(&self.options.root)?];
        words.extend(["--state".to_owned(), text(&self.options.state)?]);
        words.extend_from_slice(argv);
        let ran = (self.options.run)(&words, person).map_err(EngineError::system("run the command"))?;
        Ok(Answer::Ran { code: ran.code, stdout: ran.stdout, stderr: ran.stderr })
    }

    /// What became of a command that an earlier life of this agent had begun.
    fn settle(&self, command: &Command, say: &Say) -> Result<Answer, EngineError> {
        let lost = |what: &str, hint: &str| Err(EngineError::refused(what, hint));
        match &command.verb {
            Verb::Rehearse(_) | Verb::Stage(_) => {
                lost("the agent was restarted while it rehearsed: nothing of that is left", "rehearse again")
            }
            // What had arrived is not sent again.
            Verb::Image(_) => lost("the agent was restarted while it sent the image", "greenroom image update again"),
            Verb::Rebuild(_) => lost(
                "the agent was restarted while it rebuilt this host: its own record says what is true",
                "greenroom log --on HOST, and rebuild again",
            ),
            Verb::Prepare { .. } => lost("the agent was restarted after it prepared: all was released", "apply again"),
            Verb::Commit { change } => self.commit(change),
            Verb::Unwind { change, why } => self.unwind(command, change, why),
            Verb::Run { .. } => lost(
                "the agent was restarted while it ran this: nobody knows how far it came",
                "look at the host: greenroom status, greenroom log",
            ),
            // It only looks: whoever begins anew looks again.
            Verb::Watch { change, services } => self.watch(change, services, &Told { id: &command.id, say }),
        }
    }

    fn rehearse(
        &self,
        command: &Command,
        order: &greenroom_core::wire::Rehearse,
        say: &Say,
    ) -> Result<Answer, EngineError> {
        greenroom_host::copy::expect_copy();
        let state = State::open(&self.options.state)?;
        // What is volatile and what is data holds on this host from now on, for every command.
        crate::site::declare(self.root(), &self.options.state, order.declared.as_ref())?;
        let files = order::Files::fetch(order, &state, &*self.options.servers, &command.id)?;
        let request = order::request(order, self.root(), &self.options.env, files.dir())?;
        let asked = self.asked(&command.person, &format!("rehearse ({})", command.id));
        let told = Told { id: &command.id, say };
        let record = crate::rehearsal::rehearse(&state, &request, &asked, &told)?;
        let effect = order::effect(&state, &record)?;
        Ok(Answer::Rehearsed { record: Box::new(record), effect })
    }

    /// What the host's ledger has after entry number `since`, at most `limit` entries.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn reports(&self, since: u64, limit: u64) -> Result<Vec<Report>, EngineError> {
        // Asked for each second: nothing else of the state is opened.
        let ledger = SqlLedger::open(&self.options.state.join("ledger"))?;
        let listing = ledger.entries(&Filter { since, limit: Some(limit), ..Filter::default() })?;
        let report = |entry: greenroom_store::ledger::Entry| {
            let (seq, kind) = (entry.seq, entry.kind.clone());
            Report { seq, kind, entry: serde_json::to_value(entry).unwrap_or_default() }
        };
        Ok(listing.entries.into_iter().map(report).collect())
    }

    /// The answers of which the control plane has not said that they are on record.
    fn unrecorded(&self) -> Vec<(String, Answer)> {
        self.journal.answers()
    }

    /// What came of a command, where that is known.
    fn answer_to(&self, id: &str) -> Option<Answer> {
        self.journal.answer(id)
    }

    /// The control plane has the answer on record.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn recorded(&self, id: &str) -> Result<(), EngineError> {
        self.journal.forget(id)
    }
}

/// Passes on what goes on.
struct Told<'a> {
    id: &'a str,
    say: &'a Say,
}

impl Told<'_> {
    fn tell(&self, note: Note) {
        (self.say)(FromAgent::Progress { id: self.id.to_owned(), note });
    }
}

impl Progress for Told<'_> {
    fn begin(&self, what: &str) {
        self.tell(Note::Begins(what.to_owned()));
    }

    fn output(&self, bytes: &[u8]) {
        self.tell(Note::Output(String::from_utf8_lossy(bytes).into_owned()));
    }

    fn note(&self, text: &str) {
        self.tell(Note::Note(text.to_owned()));
    }
}

fn change(verb: &Verb) -> Option<&str> {
    match verb {
        Verb::Prepare { change, .. }
        | Verb::Commit { change }
        | Verb::Unwind { change, .. }
        | Verb::Watch { change, .. } => Some(change),
        Verb::Rehearse(_) | Verb::Run { .. } | Verb::Image(_) | Verb::Rebuild(_) | Verb::Stage(_) => None,
    }
}

/// So many paths that are not as rehearsed are named.
const PATHS: usize = 20;

/// A failure as the control plane hears it.
#[must_use]
pub fn failed(error: &EngineError) -> Failed {
    let mut causes: Vec<String> = crate::sources(error).map(ToString::to_string).collect();
    let (class, hints) = match error {
        EngineError::Usage { hint, .. } => (Class::Usage, hint.iter().cloned().collect()),
        EngineError::Refused { hint, .. } => (Class::Refused, hint.iter().cloned().collect()),
        EngineError::Conflicts(conflicts) => {
            let named = conflicts.paths.iter().take(PATHS);
            causes.extend(named.map(|p| format!("{}: expected {}, found {}", p.path, p.expected, p.found)));
            (Class::Refused, vec!["look at what changed there, and rehearse again".to_owned()])
        }
        _ => (Class::Fault, Vec::new()),
    };
    Failed { class, what: error.to_string(), causes, hints }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_turns_that_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let (root, state) = (dir.path().join("root"), dir.path().join("state"));
        std::fs::create_dir(&root).unwrap();
        let options = Options {
            root,
            state,
            env: Vec::new(),
            now: jiff::Timestamp::now,
            run: |_, _| Err(std::io::Error::other("nothing is run here")),
            idle: |_| Err(std::io::Error::other("nothing is run here")),
            program: "/nowhere/greenroom".into(),
            fetch: Arc::new(|_, _| Err(std::io::ErrorKind::NotFound.into())),
            servers: Arc::new(|| Ok(Vec::new())),
        };
        let agent = Agent::open(options).unwrap();
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let agent = &agent;
                threads.spawn(move || {
                    for n in 0..10 {
                        // Several of one change at a time, and several changes.
                        let verb = Verb::Commit { change: format!("c{n}") };
                        let (id, person) = (format!("c{n}-{thread}"), "anna".to_owned());
                        agent.handle(&Command { id, fence: 0, person, verb }, &|_| {});
                    }
                });
            }
        });
        assert!(lock(&agent.turns).is_empty() && lock(&agent.running).is_empty());
    }
}
