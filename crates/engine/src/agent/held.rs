//! Prepare, commit and unwind: a change that waits for the others.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use greenroom_core::wire::{Answer, Command, What};
use greenroom_host::apply::NoFaults;

use super::Agent;
use crate::apply::{self, ChangeRecord, Gate, Kind, Open, Records, Standing, Wanted};
use crate::{Asked, EngineError, Outcome, Silent, State, lock};

/// However long the control plane says: after this a change that waits lets go of the host.
const LONGEST: Duration = Duration::from_secs(3600);

/// A change whose thread waits at the gate.
pub(super) struct Held {
    word: Sender<Word>,
    said: Receiver<Said>,
}

enum Word {
    Go,
    Leave(String),
}

/// What the thread says.
enum Said {
    /// Everything fits and is staged.
    AtTheGate,
    /// It is over.
    Over(Box<Result<apply::Report, EngineError>>),
}

/// Where the thread waits.
struct Waiting {
    said: Mutex<Sender<Said>>,
    word: Mutex<Receiver<Word>>,
    hold: Duration,
}

impl Gate for Waiting {
    fn pass(&self) -> Result<(), EngineError> {
        let said = lock(&self.said).clone();
        let word = lock(&self.word);
        let again = "nothing was touched; apply again";
        if said.send(Said::AtTheGate).is_err() {
            return Err(EngineError::refused("the agent ends", again));
        }
        match word.recv_timeout(self.hold) {
            Ok(Word::Go) => Ok(()),
            Ok(Word::Leave(why)) => Err(EngineError::refused(format!("it was called off: {why}"), again)),
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("there was no word from the control plane for {} s", self.hold.as_secs());
                Err(EngineError::refused(what, again))
            }
            Err(RecvTimeoutError::Disconnected) => Err(EngineError::refused("the agent ends", again)),
        }
    }
}

impl Agent {
    pub(super) fn prepare(
        &self,
        command: &Command,
        change: &str,
        what: &What,
        why: Option<&String>,
        hold_s: u64,
    ) -> Result<Answer, EngineError> {
        if self.journal.has_left(change)? {
            return Err(EngineError::refused(format!("{change} was called off"), "apply again"));
        }
        if let What::Upgrade { program } = what {
            return self.stage(change, program);
        }
        let what = &self.on_record(command, what)?;
        let (word, words) = channel();
        let (sender, said) = channel();
        let hold = Duration::from_secs(hold_s).min(LONGEST);
        let gate = Waiting { said: Mutex::new(sender.clone()), word: Mutex::new(words), hold };
        let job = Job {
            root: self.options.root.clone(),
            state: self.options.state.clone(),
            change: change.to_owned(),
            what: what.clone(),
            why: why.cloned(),
            asked: self.asked(&command.person, &format!("{change} of the fleet")),
        };
        std::thread::spawn(move || {
            let outcome = job.run(&gate);
            // The agent may have ended.
            let _ = sender.send(Said::Over(Box::new(outcome)));
        });
        match said.recv() {
            Ok(Said::AtTheGate) => {
                lock(&self.held).insert(change.to_owned(), Held { word, said });
                Ok(Answer::Prepared { entries: self.entries(what)? })
            }
            Ok(Said::Over(outcome)) => match *outcome {
                Err(error) => Err(error),
                Ok(report) => Ok(ended(report)),
            },
            Err(_) => Err(EngineError::refused("the change ended without a word", "see the agent's journal")),
        }
    }

    fn entries(&self, what: &What) -> Result<usize, EngineError> {
        let state = State::open(&self.options.state)?;
        Ok(match what {
            What::Apply { rehearsal, .. } => state.rehearsal(rehearsal)?.entries,
            What::Undo { local } => Records::look(self.root()).read(local)?.entries,
            What::Upgrade { .. } => 1,
        })
    }

    pub(super) fn commit(&self, change: &str) -> Result<Answer, EngineError> {
        if self.journal.has_left(change)? {
            return Err(EngineError::refused(format!("{change} was called off"), "apply again"));
        }
        if self.is_upgrade(change)? {
            return self.switch();
        }
        let held = lock(&self.held).remove(change);
        if let Some(held) = held {
            // One that gave up waiting is over and says why.
            let _ = held.word.send(Word::Go);
            return match held.over() {
                Err(error) => Err(error),
                Ok(report) => Ok(ended(report)),
            };
        }
        // Another life of this agent may have gone through with it.
        match self.part_of(change)? {
            Some(record) if record.standing == Standing::Done => {
                Ok(Answer::Committed { local: record.change, report: serde_json::Value::Null })
            }
            Some(record) => {
                let why = record.notes.last().cloned().unwrap_or_else(|| "it was interrupted".to_owned());
                Ok(Answer::TakenBack { local: Some(record.change), why })
            }
            None => Err(EngineError::refused(format!("{change} is not prepared any more"), "apply again")),
        }
    }

    pub(super) fn unwind(&self, command: &Command, change: &str, why: &str) -> Result<Answer, EngineError> {
        self.journal.leave(change)?;
        self.call_off(change);
        if self.is_upgrade(change)? {
            return self.switch_back(why);
        }
        let held = lock(&self.held).remove(change);
        if let Some(held) = held {
            let _ = held.word.send(Word::Leave(why.to_owned()));
            // Whether it went through or not is on record.
            let _ = held.over();
        }
        let state = State::open(&self.options.state)?;
        let asked = self.asked(&command.person, &format!("take {change} of the fleet back"));
        apply::recover(&state, self.root(), &NoFaults, &asked, &Silent)?;
        let Some(record) = self.part_of(change)?.filter(|record| record.standing == Standing::Done) else {
            return Ok(Answer::Unwound { local: None });
        };
        let all = Records::look(self.root()).all()?;
        let back = all.iter().rev().find(|r| r.of.as_ref() == Some(&record.change) && r.standing == Standing::Done);
        if let Some(back) = back {
            return Ok(Answer::Unwound { local: Some(back.change.clone()) });
        }
        let report = apply::undo(&state, &self.back(&record, why), &asked, &Silent)?;
        match report.outcome() {
            Outcome::Done => Ok(Answer::Unwound { local: Some(report.change) }),
            Outcome::Failed => {
                let what = format!("{} could not be taken back: {}", record.change, report.notes.join("; "));
                Err(EngineError::refused(what, "it is in place on this host; see `greenroom log` there"))
            }
        }
    }

    fn back<'a>(&'a self, record: &'a ChangeRecord, why: &str) -> Wanted<'a> {
        Wanted {
            root: self.root(),
            id: &record.change,
            why: Some(why.to_owned()),
            force_verdict: None,
            health: Vec::new(),
            gate: &Open,
            rollout: None,
            once_elsewhere: false,
            faults: &NoFaults,
        }
    }

    /// This host's part of a change of the fleet.
    fn part_of(&self, change: &str) -> Result<Option<ChangeRecord>, EngineError> {
        let all = Records::look(self.root()).all()?;
        let wanted = |record: &ChangeRecord| {
            record.rollout.as_deref() == Some(change) && matches!(record.kind, Kind::Apply | Kind::Undo)
        };
        Ok(all.into_iter().rev().find(wanted))
    }
}

impl Held {
    fn over(self) -> Result<apply::Report, EngineError> {
        loop {
            match self.said.recv() {
                Ok(Said::Over(outcome)) => return *outcome,
                Ok(Said::AtTheGate) => {}
                Err(_) => {
                    return Err(EngineError::refused("the change ended without a word", "see the agent's journal"));
                }
            }
        }
    }
}

fn ended(report: apply::Report) -> Answer {
    match report.outcome() {
        Outcome::Done => {
            let local = report.change.clone();
            Answer::Committed { local, report: serde_json::to_value(report).unwrap_or_default() }
        }
        Outcome::Failed => Answer::TakenBack { why: report.notes.join("; "), local: Some(report.change) },
    }
}

/// What the thread does.
struct Job {
    root: std::path::PathBuf,
    state: std::path::PathBuf,
    change: String,
    what: What,
    why: Option<String>,
    asked: Asked,
}

impl Job {
    fn run(&self, gate: &Waiting) -> Result<apply::Report, EngineError> {
        let state = State::open(&self.state)?;
        apply::recover(&state, &self.root, &NoFaults, &self.asked, &Silent)?;
        let wanted = |id, force_verdict: Option<&String>, once_elsewhere| Wanted {
            root: &self.root,
            id,
            why: self.why.clone(),
            force_verdict: force_verdict.cloned(),
            health: Vec::new(),
            gate,
            rollout: Some(self.change.clone()),
            once_elsewhere,
            faults: &NoFaults,
        };
        match &self.what {
            What::Apply { rehearsal, force_verdict, once_elsewhere, .. } => {
                let wanted = wanted(rehearsal, force_verdict.as_ref(), *once_elsewhere);
                apply::apply(&state, &wanted, &self.asked, &Silent)
            }
            What::Undo { local } => apply::undo(&state, &wanted(local, None, false), &self.asked, &Silent),
            What::Upgrade { .. } => Err(EngineError::refused("a program is no change of files", "apply again")),
        }
    }
}
