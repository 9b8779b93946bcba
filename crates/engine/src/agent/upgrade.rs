//! Another program for this agent, with a way back that needs neither of the two.
//!
//! ```text
//! prepare: pieces from the control plane ─► hash ─► beside the program ─► does it run here at all?        staged
//! commit:  guard set ─► put in place ─► the service starts again ───────────────────────────────────────► trying
//!              │                              │ the new one is welcomed by the control plane ─► guard off ► kept
//!              └─ after 45 s, or that after the next boot: what ran before put back, service started again ► back
//! ```
//! The guard is a timer of systemd that runs the program from before. So whatever is wrong with the new one (it ends at once, hangs,
//! reaches nobody), and whether the machine is switched off meanwhile, somebody puts the old one back. Where it stands is in
//! `agent/upgrade.json`, durable before each step; who gets the control plane's next word, *commit* again, reads it there.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use greenroom_core::ContentHash;
use greenroom_core::wire::{Answer, MAX_PROGRAM, PIECE, Program as Wanted};
use greenroom_host::program::Program;
use greenroom_host::services::Manager;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::Agent;
use crate::EngineError;
use crate::install::{AGENT, guard};
use crate::state::write_durably;

/// How long a new program has to be welcomed, in seconds. A control plane waits longer for a host that is silent.
const TRIAL_S: u64 = 45;

/// How long it may take to say its version.
const VERSION: Duration = Duration::from_secs(20);

/// How long systemd may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where an upgrade stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Upgrade {
    /// The change of the fleet.
    change: String,
    /// Where the program lies.
    program: PathBuf,
    /// The new one's.
    hash: String,
    /// The new one's.
    version: String,
    phase: Phase,
    /// Why it went back.
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Staged,
    Trying,
    Kept,
    Back,
}

/// The record, which one process has at a time.
struct Ledger {
    path: PathBuf,
    _lock: File,
}

impl Ledger {
    fn take(state: &Path) -> Result<Self, EngineError> {
        let path = state.join("agent/upgrade.json");
        let at = path.with_extension("lock");
        let open = || -> io::Result<File> {
            let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&at)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        let lock = open().map_err(EngineError::file("lock", at.clone()))?;
        Ok(Self { path, _lock: lock })
    }

    fn read(&self) -> Result<Option<Upgrade>, EngineError> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| EngineError::Damaged { path: self.path.clone(), source: Box::new(error) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::file("read", self.path.clone())(error)),
        }
    }

    fn write(&self, upgrade: &Upgrade) -> Result<(), EngineError> {
        let text = serde_json::to_vec(upgrade)
            .map_err(|error| EngineError::Damaged { path: self.path.clone(), source: Box::new(error) })?;
        write_durably(&self.path, &text).map_err(EngineError::file("write", self.path.clone()))
    }
}

impl Upgrade {
    fn files(&self) -> Program {
        Program::at(&self.program)
    }

    /// Puts the program from before in place, on record first.
    fn go_back(&mut self, ledger: &Ledger, why: String) -> Result<(), EngineError> {
        (self.phase, self.why) = (Phase::Back, Some(why));
        ledger.write(self)?;
        self.files().put_back().map_err(EngineError::file("put the program back", self.program.clone()))
    }
}

impl Agent {
    /// Fetches the program, and sees whether it runs here.
    pub(super) fn stage(&self, change: &str, wanted: &Wanted) -> Result<Answer, EngineError> {
        let ledger = Ledger::take(&self.options.state)?;
        if let Some(other) = ledger.read()?.filter(|known| known.phase == Phase::Trying) {
            let what = format!("{} of this agent's program is not over", other.change);
            return Err(EngineError::refused(what, format!("it is within {TRIAL_S} s")));
        }
        is_service(self.root())?;
        let content = self.fetch(wanted)?;
        let program = self.options.program.clone();
        let files = Program::at(&program);
        files.stage(&content).map_err(EngineError::file("write", files.next()))?;
        if let Err(why) = says_version(files.next(), &wanted.version) {
            let _ = files.forget();
            let what = format!("the program does not run on this host: {why}");
            return Err(EngineError::refused(what, "the package's program runs with glibc 2.31 and later on x86-64"));
        }
        let (change, hash, version) = (change.to_owned(), wanted.hash.clone(), wanted.version.clone());
        ledger.write(&Upgrade { change, program, hash, version, phase: Phase::Staged, why: None })?;
        Ok(Answer::Prepared { entries: 1 })
    }

    fn fetch(&self, wanted: &Wanted) -> Result<Vec<u8>, EngineError> {
        let bad = |what: String| EngineError::refused(what, "greenroom agent upgrade again");
        if wanted.size > MAX_PROGRAM {
            return Err(bad(format!("a program of {} bytes is not taken", wanted.size)));
        }
        let mut content = Vec::new();
        for number in 0..wanted.pieces() {
            let piece = (self.options.fetch)(&wanted.hash, number)
                .map_err(EngineError::system("fetch the program from the control plane"))?;
            content.extend_from_slice(&piece);
            if piece.len() > PIECE || content.len() as u64 > wanted.size {
                return Err(bad("the program is larger than was said".to_owned()));
            }
        }
        if ContentHash::of(&content).to_string() != wanted.hash {
            return Err(bad("what came from the control plane is not the program that was meant".to_owned()));
        }
        Ok(content)
    }

    /// The upgrade that belongs to a change of the fleet, where it is one.
    pub(super) fn is_upgrade(&self, change: &str) -> Result<bool, EngineError> {
        Ok(Ledger::take(&self.options.state)?.read()?.is_some_and(|upgrade| upgrade.change == change))
    }

    /// Goes through with it. The answer comes from the program that is the agent afterwards.
    pub(super) fn switch(&self) -> Result<Answer, EngineError> {
        let ledger = Ledger::take(&self.options.state)?;
        let Some(mut upgrade) = ledger.read()? else {
            return Err(EngineError::refused("the program is not prepared any more", "greenroom agent upgrade again"));
        };
        match upgrade.phase {
            Phase::Staged => {
                upgrade.phase = Phase::Trying;
                ledger.write(&upgrade)?;
                guard::set(self.root(), upgrade.files().before(), &self.options.state, TRIAL_S)?;
                upgrade.files().swap().map_err(EngineError::file("put in place", upgrade.program.clone()))?;
                drop(ledger);
                Err(restart(self.root()))
            }
            Phase::Trying if self.is_new(&upgrade) => {
                self.keep(&ledger, &mut upgrade)?;
                Ok(in_place(&upgrade))
            }
            Phase::Trying => {
                // The one from before was started once more, before or in the middle of the switch.
                upgrade.go_back(&ledger, "the switch was interrupted".to_owned())?;
                guard::remove(self.root())?;
                Ok(went_back(&upgrade))
            }
            Phase::Kept => Ok(in_place(&upgrade)),
            Phase::Back => Ok(went_back(&upgrade)),
        }
    }

    /// Leaves the host with the program from before.
    pub(super) fn switch_back(&self, why: &str) -> Result<Answer, EngineError> {
        let ledger = Ledger::take(&self.options.state)?;
        let unwound = Ok(Answer::Unwound { local: None });
        let Some(mut upgrade) = ledger.read()? else { return unwound };
        match upgrade.phase {
            Phase::Staged => {
                upgrade.files().forget().map_err(EngineError::file("delete", upgrade.files().next()))?;
                (upgrade.phase, upgrade.why) = (Phase::Back, Some(why.to_owned()));
                ledger.write(&upgrade)?;
                unwound
            }
            Phase::Trying | Phase::Kept => {
                let is_new = self.is_new(&upgrade);
                upgrade.go_back(&ledger, why.to_owned())?;
                guard::remove(self.root())?;
                drop(ledger);
                if is_new { Err(restart(self.root())) } else { unwound }
            }
            Phase::Back => unwound,
        }
    }

    /// The control plane has welcomed this agent.
    pub(super) fn welcomed(&self) -> Result<(), EngineError> {
        let ledger = Ledger::take(&self.options.state)?;
        match ledger.read()? {
            Some(mut upgrade) if upgrade.phase == Phase::Trying && self.is_new(&upgrade) => {
                self.keep(&ledger, &mut upgrade)
            }
            _ => Ok(()),
        }
    }

    fn keep(&self, ledger: &Ledger, upgrade: &mut Upgrade) -> Result<(), EngineError> {
        upgrade.phase = Phase::Kept;
        ledger.write(upgrade)?;
        guard::remove(self.root())
    }

    /// Whether this process runs what was put in place.
    fn is_new(&self, upgrade: &Upgrade) -> bool {
        let own = self.own.get_or_init(|| fs::read("/proc/self/exe").map(|own| ContentHash::of(&own).to_string()).ok());
        own.as_ref() == Some(&upgrade.hash)
    }
}

fn in_place(upgrade: &Upgrade) -> Answer {
    Answer::Committed { local: format!("greenroom {}", upgrade.version), report: serde_json::Value::Null }
}

fn went_back(upgrade: &Upgrade) -> Answer {
    Answer::TakenBack { local: None, why: upgrade.why.clone().unwrap_or_default() }
}

/// What the guard does: puts the program from before back, unless the new one was welcomed meanwhile.
///
/// # Errors
/// The record cannot be read or written, or systemd does not start the agent.
pub fn back(root: &Path, state: &Path) -> Result<bool, EngineError> {
    let ledger = Ledger::take(state)?;
    let upgrade = ledger.read()?.filter(|upgrade| upgrade.phase == Phase::Trying);
    let Some(mut upgrade) = upgrade else {
        guard::remove(root)?;
        return Ok(false);
    };
    upgrade.go_back(&ledger, format!("the new program was not in touch with the control plane within {TRIAL_S} s"))?;
    drop(ledger);
    let manager = Manager::of(root);
    // One that ended at once, again and again, is not started any more.
    manager.systemctl(&["reset-failed", AGENT], PATIENCE)?;
    manager.systemctl(&["restart", "--no-block", AGENT], PATIENCE)?;
    // Last: this is the guard itself.
    guard::remove(root)?;
    Ok(true)
}

/// Only a service is started again by somebody.
fn is_service(root: &Path) -> Result<(), EngineError> {
    let manager = Manager::of(root);
    let own = std::process::id().to_string();
    let main = manager.systemctl(&["show", "--value", "--property=MainPID", AGENT], PATIENCE)?;
    if matches!(manager, Manager::Live) && main.text.trim() == own {
        return Ok(());
    }
    Err(EngineError::refused(
        "this agent is not run by systemd: nobody would start another program",
        "greenroom install --agent",
    ))
}

/// Has systemd start the service again, which ends this process; what is returned is why it did not.
fn restart(root: &Path) -> EngineError {
    match Manager::of(root).systemctl(&["restart", "--no-block", AGENT], PATIENCE) {
        Err(error) => return error.into(),
        Ok(answer) if answer.code != 0 => {
            let source = io::Error::other(answer.text.trim().to_owned());
            return EngineError::System { doing: format!("run `systemctl restart {AGENT}`"), source };
        }
        Ok(_) => std::thread::sleep(PATIENCE),
    }
    EngineError::refused("the agent was not started again", format!("systemctl restart {AGENT}"))
}

/// Asks a program for its version.
fn says_version(program: &Path, wanted: &str) -> Result<(), String> {
    let spawned = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| error.to_string())?;
    let began = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if began.elapsed() > VERSION {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it did not say its version within {} s", VERSION.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    if said.status.success() && text == format!("greenroom {wanted}") {
        return Ok(());
    }
    let how = said
        .status
        .code()
        .map_or_else(|| format!("signal {:?}", said.status.signal()), |code| format!("status {code}"));
    let words: String = format!("{text} {}", String::from_utf8_lossy(&said.stderr).trim()).chars().take(200).collect();
    Err(format!("asked for its version ({wanted}) it ended with {how}: {}", words.trim()))
}
