//! Whether all is well on this host once a change is in place here.
//!
//! ```text
//! services in their order ─► a thread for each check, begun when the service before is well ─► looks ─► core's Judge
//!     all settled ─► well      one unwell, or the change was called off ─► all threads end
//! ```
//! It only looks, so an agent that was killed in between looks again. It does not hold the change's turn: who is told to leave
//! the change meanwhile does so at once, and the watch ends.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use greenroom_core::system::health::{Judge, Verdict};
use greenroom_core::system::{Check, Probe};
use greenroom_core::wire::{Answer, Note, Watched};
use greenroom_host::services::{Manager, shell};
use greenroom_net::probe;

use super::{Agent, Told};
use crate::{EngineError, lock};

/// What the threads know of each other.
struct Board {
    state: Mutex<State>,
    news: Condvar,
    called_off: Arc<AtomicBool>,
}

struct State {
    /// For each check, of all services.
    verdicts: Vec<Verdict>,
    looks: u32,
    /// What was found first; all end then.
    unwell: Option<String>,
}

/// One check of a service.
struct Looker<'a> {
    at: usize,
    service: &'a str,
    check: &'a Check,
    /// The checks before this one that have to be well before it begins.
    before: usize,
}

impl Agent {
    pub(super) fn watch(&self, change: &str, services: &[Watched], told: &Told<'_>) -> Result<Answer, EngineError> {
        let called_off = lock(&self.watches).entry(change.to_owned()).or_default().clone();
        if self.journal.has_left(change)? {
            return Err(EngineError::refused(format!("{change} was called off"), "apply again"));
        }
        let answer = look_at_all(self.root(), services, called_off, told);
        lock(&self.watches).remove(change);
        Ok(answer)
    }

    /// Ends the watch of a change that is left.
    pub(super) fn call_off(&self, change: &str) {
        if let Some(flag) = lock(&self.watches).get(change) {
            flag.store(true, Ordering::Relaxed);
        }
    }
}

fn look_at_all(root: &Path, services: &[Watched], called_off: Arc<AtomicBool>, told: &Told<'_>) -> Answer {
    let mut lookers = Vec::new();
    for service in services {
        let before = lookers.len();
        let of = |(n, check)| Looker { at: before + n, service: &service.service, check, before };
        lookers.extend(service.health.iter().enumerate().map(of));
    }
    let state = State { verdicts: vec![Verdict::Looking; lookers.len()], looks: 0, unwell: None };
    let board = Board { state: Mutex::new(state), news: Condvar::new(), called_off };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for looker in &lookers {
            let board = &board;
            scope.spawn(move || looker.run(root, began, board));
        }
        services.iter().for_each(|service| told.tell(Note::Begins(format!("watching {}", service.service))));
    });
    let state = board.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.unwell {
        Some(why) => Answer::Unwell { why },
        None if board.called_off.load(Ordering::Relaxed) => {
            Answer::Unwell { why: "the change was called off".to_owned() }
        }
        None => Answer::Well { looks: state.looks },
    }
}

impl Looker<'_> {
    fn run(&self, root: &Path, began: Instant, board: &Board) {
        let ready = |state: &State| !state.verdicts[..self.before].contains(&Verdict::Looking);
        if !board.wait(None, ready) {
            return;
        }
        let mut judge = Judge::new(self.check.clone(), began.elapsed());
        loop {
            let looked = Instant::now();
            let seen = look(root, &self.check.probe, self.check.timeout);
            let verdict = judge.look(began.elapsed(), seen);
            if board.tell(self, verdict) {
                return;
            }
            let left = self.check.interval.saturating_sub(looked.elapsed());
            if !board.wait(Some(left), |_| false) {
                return;
            }
        }
    }
}

impl Board {
    /// Waits until `so`, or so long; false when all end.
    fn wait(&self, limit: Option<Duration>, so: impl Fn(&State) -> bool) -> bool {
        /// So soon somebody who calls it off is heard.
        const SHORT: Duration = Duration::from_millis(100);
        let until = limit.map(|limit| Instant::now() + limit);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.unwell.is_some() || self.called_off.load(Ordering::Relaxed) {
                return false;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if so(&state) || left.is_some_and(|left| left.is_zero()) {
                return true;
            }
            let pause = left.unwrap_or(SHORT).min(SHORT);
            state = self.news.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes a look; whether the one who looked is done.
    fn tell(&self, looker: &Looker<'_>, verdict: Verdict) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.looks += 1;
        if let Verdict::Unwell(why) = &verdict
            && state.unwell.is_none()
        {
            state.unwell = Some(format!("{} is unwell: {why}", looker.service));
        }
        let done = matches!(verdict, Verdict::Settled | Verdict::Unwell(_));
        state.verdicts[looker.at] = verdict;
        self.news.notify_all();
        done
    }
}

/// One look, in at most `limit`.
fn look(root: &Path, probe: &Probe, limit: Duration) -> Result<(), String> {
    match probe {
        Probe::Http { url, status } => {
            let code = probe::http(&url.to_string(), limit)?;
            let good = if status.is_empty() { (200..400).contains(&code) } else { status.contains(&code) };
            if good { Ok(()) } else { Err(format!("it answered {code}")) }
        }
        Probe::Tcp { host, port } => probe::tcp(host, *port, limit),
        Probe::Command { command } => {
            let answer = shell(root, command, Some(limit), None).map_err(|error| crate::apply::chain(&error))?;
            if answer.code == 0 {
                return Ok(());
            }
            let end = answer.text.lines().last().map_or_else(String::new, |line| format!(": {line}"));
            Err(format!("it ended with exit status {}{end}", answer.code))
        }
        Probe::Unit { unit } => {
            let args = ["show", "--value", "--property=ActiveState", "--", unit];
            let answer = Manager::of(root).systemctl(&args, limit).map_err(|error| crate::apply::chain(&error))?;
            match answer.text.trim() {
                "active" | "reloading" | "refreshing" => Ok(()),
                "" => Err("systemd does not answer".to_owned()),
                state => Err(format!("it is {state}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use greenroom_core::wire::FromAgent;

    use super::*;

    fn service(name: &str, probe: Probe) -> Watched {
        let ms = Duration::from_millis;
        let check = Check {
            probe,
            interval: ms(20),
            timeout: Duration::from_secs(5),
            failures: 2,
            successes: 2,
            grace: Duration::ZERO,
            settle: ms(60),
        };
        Watched { service: name.to_owned(), health: vec![check] }
    }

    fn watch(services: &[Watched], called_off: bool) -> Answer {
        let say = |_: FromAgent| {};
        let told = Told { id: "c1-watch.web1", say: &say };
        look_at_all(Path::new("/"), services, Arc::new(AtomicBool::new(called_off)), &told)
    }

    fn command(text: &str) -> Probe {
        Probe::Command { command: text.to_owned() }
    }

    #[test]
    fn all_that_is_declared_has_to_be_well() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = |port| Probe::Tcp { host: "127.0.0.1".to_owned(), port };
        let good = [service("database", tcp(open.local_addr().unwrap().port())), service("shop", command("true"))];
        assert!(matches!(watch(&good, false), Answer::Well { looks } if looks >= 4));
        let bad = [service("database", command("true")), service("shop", command("echo no; exit 3"))];
        let Answer::Unwell { why } = watch(&bad, false) else { panic!("it is not well") };
        assert!(why.contains("shop is unwell") && why.contains("exit status 3: no"), "{why}");
        assert_eq!(watch(&[], false), Answer::Well { looks: 0 });
    }

    #[test]
    fn a_service_is_looked_at_when_the_one_before_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("database-is-well");
        // The first is well from its second look on; the second would be unwell if it were looked at before.
        let first = format!("test -e {0}.seen && touch {0}; touch {0}.seen; true", mark.display());
        let services =
            [service("database", command(&first)), service("shop", command(&format!("test -e {}", mark.display())))];
        assert!(matches!(watch(&services, false), Answer::Well { .. }));
    }

    #[test]
    fn who_is_called_off_looks_no_more() {
        let Answer::Unwell { why } = watch(&[service("shop", command("true"))], true) else { panic!() };
        assert!(why.contains("called off"));
    }
}
