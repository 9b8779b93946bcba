//! The loop.

mod take;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::drift::Actor;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::WatchError;
use super::ask::Asked;
use super::bpf::{Record, Tracer};
use super::dirs::Dirs;
use super::event;
use super::fan::{Fan, Queue};
use super::ground::{Ground, ReadPolicy};
use super::journal::{Bounds, Journal};
use super::line::MarkKind;
use super::links::Links;
use super::log;
use super::pending::Pending;
use super::people::Names;
use super::processes::{Image, Process, Processes};
use super::rate::Rate;
use super::state::{Attribution, Lock, State};
use super::writers::Writers;

/// How long events gather before they are read: the kernel puts those of one process on one name together meanwhile.
const GATHER: Duration = Duration::from_millis(50);
/// What one turn reads at most before it writes.
const BATCH: usize = 1 << 20;

/// How long a process that nobody follows is believed to be what it was, once it is gone: its number may be another's later.
const MEMORY: Duration = Duration::from_secs(2);

/// How to watch.
pub struct Options {
    /// The root of the tree.
    pub root: PathBuf,
    /// Reads what its paths are.
    pub policy: ReadPolicy,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// How large the log may become.
    pub bounds: Bounds,
    /// How long the kernel's queue may become.
    pub queue: Queue,
    /// Follow processes in the kernel where that is possible.
    pub trace: bool,
}

/// A watch that is set up.
pub struct Watch {
    now: fn() -> Timestamp,
    dir: PathBuf,
    root: PathBuf,
    own: Vec<u8>,
    fan: Fan,
    ground: Ground,
    dirs: Dirs,
    tracer: Option<Tracer>,
    processes: Processes,
    names: Names,
    pending: Pending,
    journal: Journal,
    state: State,
    /// What this kernel cannot do, in sentences.
    able: Vec<String>,
    batch: Vec<u8>,
    deferred: Vec<Record>,
    /// Processes that were looked at in this turn.
    looked: HashSet<u32>,
    asked: Asked,
    rate: Rate,
    links: Links,
    writers: Writers,
    /// Who was put into words last in this turn.
    named: Option<(u32, Arc<Image>, Actor)>,
    /// When the queue was found empty last.
    empty: Timestamp,
    /// The last turn did not get to the queue's end: the number of the file that says so.
    behind: Option<u64>,
    /// Lines were written since it said last that the log is complete.
    owes: bool,
    swept: Instant,
    _lock: Lock,
}

impl Watch {
    /// Sets up a watch: from here on changes are queued.
    ///
    /// # Errors
    /// There is one already; the kernel does not allow it; nothing can be watched; the log cannot be written.
    pub fn start(options: Options) -> Result<Self, WatchError> {
        let root = std::fs::canonicalize(&options.root)
            .map_err(WatchError::system(format!("read {}", options.root.display())))?;
        let dir = super::dir(&root);
        let write = || WatchError::system(format!("write the log in {}", dir.display()));
        let lock = Lock::take(&dir).map_err(write())?.ok_or_else(|| WatchError::Running(root.clone()))?;
        let end = log::end(&dir).map_err(WatchError::system("read the log"))?;
        let mut limits = Vec::new();
        let tracer = if options.trace { start_tracer(&mut limits) } else { None };
        let processes = Processes::now();
        let fan = Fan::new(options.queue).map_err(WatchError::Fanotify)?;
        if !fan.pairs {
            limits.push("this kernel (before 5.17) reports both ends of a rename apart".to_owned());
        }
        let policy = (options.policy)().map_err(WatchError::Policy)?;
        let mut dirs = Dirs::new(&root, policy);
        let ground = Ground::new(&root, options.policy, &fan, &mut dirs)?;
        let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
        let attribution = if tracer.is_some() { Attribution::Traced } else { Attribution::Looked };
        let started = (options.now)();
        let mut journal = Journal::open(&dir, options.bounds, end.next, end.latest).map_err(write())?;
        journal.mark(started, MarkKind::Started, end.seen).map_err(write())?;
        journal.flush().map_err(write())?;
        let able = limits;
        let state = State { pid: std::process::id(), started, attribution, places: Vec::new(), limits: Vec::new() };
        let mut out = Self {
            now: options.now,
            names: Names::new(root.join("etc/passwd")),
            dir: dir.clone(),
            root,
            own: own.into_os_string().into_encoded_bytes(),
            fan,
            ground,
            dirs,
            tracer,
            processes,
            pending: Pending::default(),
            journal,
            state,
            able,
            batch: Vec::with_capacity(BATCH),
            deferred: Vec::new(),
            looked: HashSet::new(),
            rate: Rate::default(),
            links: Links::new(Instant::now()),
            writers: Writers::new(Instant::now()),
            named: None,
            empty: started,
            behind: None,
            owes: false,
            asked: Asked::listen(&dir).map_err(write())?,
            swept: Instant::now(),
            _lock: lock,
        };
        out.say()?;
        Ok(out)
    }

    /// Writes down what it can do by now.
    fn say(&mut self) -> Result<(), WatchError> {
        self.state.places = self.ground.places();
        self.state.limits = self.able.iter().cloned().chain(self.ground.limits()).collect();
        let write = WatchError::system(format!("write the log in {}", self.dir.display()));
        self.state.write(&self.dir).map_err(write)
    }

    /// What it can do here.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Watches until `stop` can be read.
    ///
    /// # Errors
    /// The log cannot be written, or the kernel's queue not be read.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), WatchError> {
        let failed = || WatchError::system("go on watching");
        loop {
            // Without events nothing wakes it, other than what is held back or not yet said.
            let wait = (self.pending.holds() || self.rate.waits() || self.owes).then_some(Duration::from_secs(1));
            let mut woken = self.wait(stop, true, wait).map_err(failed())?;
            if !woken.stop && !woken.asked && woken.events && self.tracer.is_some() {
                let more = self.wait(stop, false, Some(GATHER)).map_err(failed())?;
                // The kernel tells of a change of mounts once.
                woken = Woken { stop: more.stop, mounts: woken.mounts || more.mounts, ..woken };
            }
            if woken.mounts && self.ground.look(&self.fan, &mut self.dirs).map_err(failed())? {
                self.journal.mark((self.now)(), MarkKind::Ground, None).map_err(failed())?;
                self.say()?;
            }
            // Whoever asks from here on may ask for what this turn does not have.
            let asked = self.asked.all();
            while self.turn().map_err(failed())? {}
            if woken.stop || !asked.is_empty() {
                for change in self.pending.all() {
                    self.write(change).map_err(failed())?;
                }
                self.journal.flush().map_err(failed())?;
            }
            drop(asked);
            if woken.stop {
                break;
            }
        }
        // What happened since the last turn was queued, and nobody reads it any more.
        self.journal.mark(self.empty, MarkKind::Stopped, None).map_err(failed())?;
        self.journal.sync().map_err(failed())
    }

    fn wait(&self, stop: BorrowedFd<'_>, events: bool, limit: Option<Duration>) -> io::Result<Woken> {
        let mut fds = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        fds.push(PollFd::from_borrowed_fd(self.ground.as_fd(), PollFlags::PRI));
        fds.push(PollFd::from_borrowed_fd(self.asked.as_fd(), PollFlags::IN));
        if let Some(tracer) = &self.tracer {
            fds.push(PollFd::from_borrowed_fd(tracer.as_fd(), PollFlags::IN));
        }
        let traced = fds.len();
        if events {
            fds.push(PollFd::from_borrowed_fd(self.fan.as_fd(), PollFlags::IN));
        }
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Woken { stop: ready(0), mounts: ready(1), asked: ready(2), events: ready(traced) })
    }

    /// Reads what there is and writes it down. True when there may be more.
    fn turn(&mut self) -> io::Result<bool> {
        self.looked.clear();
        self.names.again();
        self.named = None;
        self.links.turn(Instant::now());
        self.writers.turn(Instant::now());
        if self.tracer.is_none() && self.swept.elapsed() > MEMORY {
            self.swept = Instant::now();
            self.processes.sweep();
        }
        let records = self.records();
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let mut room = [0u8; 64 << 10];
        let mut parts = Vec::new();
        // Before the reading that finds the queue empty: all that happened until then has been read, and nothing later.
        let mut at = (self.now)();
        while batch.len() < BATCH {
            let len = self.fan.read(&mut room)?;
            if len == 0 {
                break;
            }
            batch.extend_from_slice(&room[..len]);
            parts.push(len);
            at = (self.now)();
        }
        self.complete(batch.len(), at)?;
        if let Some(told) = self.rate.read(batch.len(), Instant::now()) {
            self.ground.writes(&self.fan, told);
        }
        let late = self.records();
        let earlier = self.follow(records, late);
        let more = batch.len() >= BATCH || !self.deferred.is_empty();
        let mut from = 0;
        for len in parts {
            for raw in event::events(&batch[from..from + len]) {
                self.take(&raw, &earlier, at)?;
            }
            from += len;
        }
        for bunch in self.pending.bunches() {
            self.write_bunch(bunch)?;
        }
        for change in self.pending.take(Instant::now()) {
            self.write(change)?;
        }
        self.journal.flush()?;
        if self.behind.is_none() {
            self.empty = at;
        }
        self.batch = batch;
        Ok(more)
    }

    /// Says when it begins not to keep up, before the lines that are later than what still waits, and once all that was done is on
    /// record. Should it be killed, the next start knows since when there may be changes that nobody read.
    fn complete(&mut self, read: usize, at: Timestamp) -> io::Result<()> {
        let behind = (read >= BATCH).then(|| self.journal.number());
        let was = std::mem::replace(&mut self.behind, behind);
        if behind.is_some() {
            self.owes = true;
            // Each file of the log says it.
            return if was == behind { Ok(()) } else { self.journal.mark(at, MarkKind::Behind, Some(self.empty)) };
        }
        // A tick after the last line, so that what that tells of is not within the clock's doubt.
        let quiet = read == 0 && self.journal.last().is_none_or(|last| at.duration_since(last) >= log::TICK);
        if self.owes && (was.is_some() || quiet) {
            self.owes = false;
            return self.journal.mark(at, MarkKind::CaughtUp, None);
        }
        Ok(())
    }

    /// What happened to processes since the last time.
    fn records(&mut self) -> Vec<Record> {
        let mut out = Vec::new();
        if let Some(tracer) = &mut self.tracer
            && tracer.read(|record| out.push(record))
        {
            self.processes.refresh();
            // A mark only tells: that it cannot be written will be heard with the next line.
            let _ = self.journal.mark((self.now)(), MarkKind::ActorsLost, None);
        }
        out
    }

    /// Takes up what happened to processes. `first` was read before this turn's events, so they hold all that was done before it;
    /// `late` was read after them, so that whoever made one of them is known. A process that became another program late may have
    /// done more before, which is still in the queue: its records wait for the next turn.
    ///
    /// Gives what processes were before they became another program: this turn's events are of that.
    fn follow(&mut self, first: Vec<Record>, late: Vec<Record>) -> HashMap<u32, Process> {
        let mut earlier = HashMap::new();
        for record in std::mem::take(&mut self.deferred).into_iter().chain(first) {
            if let Some((pid, before)) = self.processes.replaces(&record) {
                earlier.entry(pid).or_insert(before);
            }
            self.processes.apply(record);
        }
        let mut waits = HashSet::new();
        for record in late {
            let (pid, parent) = record.who();
            if waits.contains(&pid) || waits.contains(&parent) || self.processes.replaces(&record).is_some() {
                waits.insert(pid);
                self.deferred.push(record);
            } else {
                self.processes.apply(record);
            }
        }
        earlier
    }
}

struct Woken {
    stop: bool,
    mounts: bool,
    asked: bool,
    events: bool,
}

fn start_tracer(limits: &mut Vec<String>) -> Option<Tracer> {
    Tracer::start()
        .inspect_err(|error| {
            limits.push(format!("processes that end within moments stay unknown: no eBPF here ({error})"));
        })
        .ok()
}
