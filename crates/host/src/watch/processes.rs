//! Which process was what: kept also when it is gone.
//!
//! A fork inherits what its parent is; a program that begins replaces all but where the person came from, which is the word of
//! the first in the line that has one (sudo takes it out of the environment, and whoever came over SSH cannot change it for
//! those after them). sshd begins a new line.

use std::collections::HashMap;
use std::sync::Arc;

use super::bpf::{Exec, Record};
use super::{people, proc};

/// What is known of a program that runs, in the system's terms. Unchecked text of the process itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) comm: Vec<u8>,
    pub(super) program: Vec<u8>,
    pub(super) args: Vec<u8>,
    pub(super) uid: Option<u32>,
    pub(super) login: Option<u32>,
    pub(super) terminal: Option<String>,
    pub(super) from: Option<String>,
    pub(super) unit: Option<String>,
}

/// One process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) image: Arc<Image>,
    /// It began a program itself, or was there before us. Not so: a fork that still is what its parent was.
    pub(super) began: bool,
    /// Its user was asked for again.
    checked: bool,
}

/// All processes that may still be asked for.
#[derive(Default)]
pub(super) struct Processes {
    known: HashMap<u32, Process>,
    /// How many there may be before those that are gone are looked for.
    limit: usize,
}

const FEW: usize = 8192;

impl Processes {
    /// Those that run now.
    pub(super) fn now() -> Self {
        let mut out = Self { known: HashMap::new(), limit: FEW };
        out.refresh();
        out
    }

    /// Looks at all that run, and keeps what is known of the others.
    pub(super) fn refresh(&mut self) {
        let mut found: HashMap<u32, (Image, u32)> = HashMap::new();
        for pid in proc::all() {
            if let Some(one) = proc::read(pid) {
                found.insert(pid, one);
            }
        }
        for pid in found.keys() {
            let from = source(&found, *pid, 0);
            let Some((image, _)) = found.get(pid) else { continue };
            let image = Arc::new(Image { from, ..image.clone() });
            self.known.insert(*pid, Process { image, began: true, checked: true });
        }
    }

    /// What `pid` is; a process that is not known is looked at.
    pub(super) fn get(&mut self, pid: u32) -> Option<Process> {
        if pid == 0 {
            return None;
        }
        if !self.known.contains_key(&pid) {
            let (image, parent) = proc::read(pid)?;
            let from = self.known.get(&parent).and_then(|p| p.image.from.clone()).or(image.from);
            let image = Arc::new(Image { from, ..image });
            self.known.insert(pid, Process { image, began: true, checked: true });
        }
        let process = self.known.get_mut(&pid)?;
        if !process.checked {
            process.checked = true;
            // Daemons change their user after they began.
            if let Some(uid) = proc::user(pid).filter(|uid| process.image.uid != Some(*uid)) {
                process.image = Arc::new(Image { uid: Some(uid), ..(*process.image).clone() });
            }
        }
        Some(process.clone())
    }

    /// The process that a record makes into another program, as it was.
    pub(super) fn replaces(&self, record: &Record) -> Option<(u32, Process)> {
        let Record::Exec(exec) = record else { return None };
        let before = self.known.get(&exec.pid).filter(|process| process.began)?;
        Some((exec.pid, before.clone()))
    }

    /// Looks at one anew. Of one that is gone stays what was known of it, until the next sweep.
    pub(super) fn again(&mut self, pid: u32) {
        let before = self.known.remove(&pid);
        match (self.get(pid), before) {
            (Some(now), Some(before)) if now.image == before.image => drop(self.known.insert(pid, before)),
            (None, Some(before)) => drop(self.known.insert(pid, before)),
            _ => {}
        }
    }

    /// Takes up what happened.
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Fork { pid, parent } => {
                if let Some(parent) = self.get(parent) {
                    self.known.insert(pid, Process { began: false, checked: false, ..parent });
                } else {
                    self.known.remove(&pid);
                }
            }
            Record::Exec(exec) => {
                let process = self.begun(*exec);
                self.known.insert(process.0, process.1);
            }
        }
        if self.known.len() > self.limit {
            self.sweep();
        }
    }

    fn begun(&self, exec: Exec) -> (u32, Process) {
        let before = self.known.get(&exec.pid).or_else(|| self.known.get(&exec.parent)).map(|p| &p.image);
        let parent = self.known.get(&exec.parent).map(|p| &p.image);
        let fresh = parent.is_some_and(|p| p.comm.starts_with(b"sshd"));
        let own = people::ssh_source(&exec.env);
        let inherited = before.and_then(|image| image.from.clone());
        let from = if fresh { own.or(inherited) } else { inherited.or(own) };
        let unit = people::unit(exec.groups.iter().map(Vec::as_slice));
        // Without a unified hierarchy the kernel's answer is empty.
        let unit = unit.or_else(|| proc::unit(exec.pid)).or_else(|| before.and_then(|image| image.unit.clone()));
        let image = Image {
            comm: exec.comm,
            program: exec.program,
            args: exec.args,
            uid: Some(exec.uid),
            login: Some(exec.login).filter(|login| *login != u32::MAX),
            terminal: people::terminal(&exec.tty),
            from,
            unit,
        };
        (exec.pid, Process { image: Arc::new(image), began: true, checked: false })
    }

    /// Drops those that are gone. What they did must have been read before.
    pub(super) fn sweep(&mut self) {
        self.known.retain(|pid, _| proc::lives(*pid));
        self.limit = FEW.max(self.known.len() * 2);
    }
}

/// Where the person came from: the first of the line that says so, sshd's child at the latest.
fn source(found: &HashMap<u32, (Image, u32)>, pid: u32, depth: u32) -> Option<String> {
    let (image, parent) = found.get(&pid)?;
    let fresh = found.get(parent).is_some_and(|(p, _)| p.comm.starts_with(b"sshd"));
    if depth > 64 || fresh && image.from.is_some() {
        return image.from.clone();
    }
    source(found, *parent, depth + 1).or_else(|| image.from.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(pid: u32, parent: u32, comm: &str, env: &str) -> Record {
        Record::Exec(Box::new(Exec {
            pid,
            parent,
            comm: comm.into(),
            args: format!("{comm}\0").into_bytes(),
            env: env.as_bytes().to_vec(),
            login: u32::MAX,
            ..Exec::default()
        }))
    }

    /// Numbers that no process of this machine has.
    const BASE: u32 = 0x7000_0000;

    #[test]
    fn a_line_of_processes_is_followed_after_it_is_gone() {
        let mut all = Processes { limit: FEW, ..Processes::default() };
        let (sshd, shell, sudo, sed, echo) = (BASE, BASE + 1, BASE + 2, BASE + 3, BASE + 4);
        for record in [
            exec(sshd, 1, "sshd", ""),
            Record::Fork { pid: shell, parent: sshd },
            exec(shell, sshd, "bash", "SSH_CONNECTION=10.0.0.7 50 10.0.0.1 22\0"),
            Record::Fork { pid: sudo, parent: shell },
            exec(sudo, shell, "sudo", "SSH_CONNECTION=6.6.6.6 50 10.0.0.1 22\0"),
            Record::Fork { pid: sed, parent: sudo },
            exec(sed, sudo, "sed", ""),
            Record::Fork { pid: echo, parent: shell },
        ] {
            all.apply(record);
        }
        let of = |pid: u32| (all.known[&pid].image.comm.clone(), all.known[&pid].image.from.clone());
        let home = Some("10.0.0.7".to_owned());
        assert_eq!(of(sshd), (b"sshd".to_vec(), None));
        assert_eq!(of(shell), (b"bash".to_vec(), home.clone()));
        assert_eq!(of(sudo).1, home, "what a process says of itself later does not count");
        assert_eq!(of(sed), (b"sed".to_vec(), home.clone()), "through sudo, which clears the environment");
        assert_eq!(of(echo), (b"bash".to_vec(), home), "a fork without a program of its own");
        assert!(!all.known[&echo].began && all.known[&sed].began);
    }

    #[test]
    fn the_dead_are_dropped_when_there_are_many() {
        let mut all = Processes { limit: 10, ..Processes::default() };
        let me = std::process::id();
        all.apply(Record::Fork { pid: me, parent: me });
        for pid in 0..20 {
            all.apply(exec(BASE + pid, 1, "x", ""));
        }
        assert!(all.known.contains_key(&me));
        assert!(all.known.len() < 14, "{}", all.known.len());
        assert!(all.get(BASE).is_none());
    }
}
