//! What a change did to units, measured: the jobs that the copy's systemd announces while the change runs, and the states of
//! the units before and after.
//!
//! systemd announces a job when it is queued and forgets it when it is done; a quick one is gone before its type can be asked
//! for, and a restart reads as a start once its first half is over. So the announcements give the units and their order, and
//! the verb follows from the states: `InvocationID` changes with every start.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_core::plan::{Reason, UnitAction, UnitVerb};
use zbus::blocking::{Connection, Proxy, connection::Builder};
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use super::{Unit, Units};

/// Jobs in the order in which they were queued, with their type where it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(Vec<(String, Option<String>)>);

impl Seen {
    /// This, and then what was seen in a later run of the same copy.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        self.0.extend(later.0);
        self
    }
}

/// Listens to the manager of a copy until it is asked for what it heard.
pub struct Recorder {
    seen: Arc<Mutex<Seen>>,
    /// Closing it ends the thread that listens.
    connection: Connection,
}

/// The copy's bus does not answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen to the copy's service manager")]
pub struct NoBus(#[from] zbus::Error);

const SYSTEMD: &str = "org.freedesktop.systemd1";

/// A bus that went away in the middle of a question never answers it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Recorder {
    /// Begins to listen at the system bus whose socket is at `bus`.
    ///
    /// # Errors
    /// [`NoBus`].
    pub fn start(bus: &Path) -> Result<Self, NoBus> {
        let stream = UnixStream::connect(bus).map_err(|error| zbus::Error::InputOutput(Arc::new(error)))?;
        let connection = Builder::async_io_unix_stream(stream).method_timeout(PATIENCE).build()?;
        let manager =
            Proxy::new(&connection, SYSTEMD, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")?;
        let announced = manager.receive_signal("JobNew")?;
        manager.call_method("Subscribe", &())?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (list, asking) = (Arc::clone(&seen), connection.clone());
        std::thread::spawn(move || {
            for message in announced {
                if let Ok((_, path, unit)) = message.body().deserialize::<(u32, OwnedObjectPath, String)>() {
                    let verb = job_type(&asking, &path);
                    list.lock().unwrap_or_else(PoisonError::into_inner).0.push((unit, verb));
                }
            }
        });
        Ok(Self { seen, connection })
    }

    /// What was heard so far. Asks the manager something first, so that all it said before has arrived.
    #[must_use]
    pub fn so_far(&self) -> Seen {
        let _ = property(&self.connection, "/org/freedesktop/systemd1", "Manager", "NJobs");
        // The listening thread may be between receiving and writing down the last one.
        std::thread::sleep(Duration::from_millis(20));
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that was heard, and nothing more.
    #[must_use]
    pub fn finish(self) -> Seen {
        let seen = self.so_far();
        let _ = self.connection.close();
        seen
    }
}

fn job_type(connection: &Connection, path: &OwnedObjectPath) -> Option<String> {
    property(connection, path.as_str(), "Job", "JobType")?.try_into().ok()
}

/// A proxy's own way to ask for one waits for ever where the bus has gone away.
fn property(connection: &Connection, path: &str, kind: &str, name: &str) -> Option<OwnedValue> {
    let properties = "org.freedesktop.DBus.Properties";
    let asked = (format!("{SYSTEMD}.{kind}"), name);
    let answer = connection.call_method(Some(SYSTEMD), path, Some(properties), "Get", &asked).ok()?;
    answer.body().deserialize().ok()
}

/// What was done to units, in the order in which it began.
#[must_use]
pub fn actions(seen: &Seen, before: &Units, after: &Units) -> Vec<UnitAction> {
    let mut order: Vec<&str> = Vec::new();
    let mut types: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (unit, job) in &seen.0 {
        if !order.contains(&unit.as_str()) {
            order.push(unit);
        }
        types.entry(unit).or_default().extend(job.as_deref());
    }
    let nothing = Unit::default();
    let state = |units: &'_ Units, name: &str| units.get(name).unwrap_or(&nothing).clone();
    order
        .into_iter()
        .filter(|unit| is_a_service_of_the_host(unit))
        .filter_map(|unit| {
            let verb = verb(&types[unit], &state(before, unit), &state(after, unit))?;
            Some(UnitAction { unit: unit.to_owned(), verb, reason: Reason::Job })
        })
        .collect()
}

fn verb(types: &[&str], before: &Unit, after: &Unit) -> Option<UnitVerb> {
    match (before.is_up(), after.is_up()) {
        (false, true) => Some(UnitVerb::Start),
        (true, false) => Some(UnitVerb::Stop),
        (true, true) if before.invocation != after.invocation => Some(UnitVerb::Restart),
        (true, true) => types.iter().any(|t| t.contains("reload")).then_some(UnitVerb::Reload),
        // It was to be started, and a condition that does not hold in a copy kept it from that (a clock daemon asks for
        // the right to set the clock, others for a machine that is no container). The host judges for itself.
        (false, false) if was_skipped(before, after) => {
            (!after.triggered_by.contains(".timer")).then_some(UnitVerb::Start)
        }
        // It ran and ended: a task. Those that a timer starts run on production by themselves.
        (false, false) => {
            let ran = before.main_started != after.main_started && !matches!(after.main_started.as_str(), "" | "0");
            (ran && after.kind == "oneshot" && after.active != "failed" && !after.triggered_by.contains(".timer"))
                .then_some(UnitVerb::Start)
        }
    }
}

fn was_skipped(before: &Unit, after: &Unit) -> bool {
    after.condition == "no"
        && after.condition_at != before.condition_at
        && !matches!(after.condition_at.as_str(), "" | "0")
}

/// Not the runner's own units, and not those that only group others.
fn is_a_service_of_the_host(unit: &str) -> bool {
    let own = ["run-", "session-", "user-", "user@"].iter().any(|prefix| unit.starts_with(prefix));
    let kinds = [".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap"];
    !own && kinds.iter().any(|kind| unit.ends_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(active: &str, invocation: &str, kind: &str, started: &str, by: &str) -> Unit {
        Unit {
            active: active.into(),
            invocation: invocation.into(),
            kind: kind.into(),
            main_started: started.into(),
            triggered_by: by.into(),
            ..Unit::default()
        }
    }

    #[test]
    fn a_start_that_a_condition_skips_is_left_to_the_host() {
        let skipped = |at: &str, by: &str| Unit {
            condition: "no".into(),
            condition_at: at.into(),
            ..unit("inactive", "", "forking", "0", by)
        };
        let never = Unit::default();
        assert_eq!(verb(&["start"], &never, &skipped("7", "")), Some(UnitVerb::Start));
        assert_eq!(verb(&["start"], &skipped("3", ""), &skipped("7", "")), Some(UnitVerb::Start));
        assert_eq!(verb(&["stop"], &skipped("7", ""), &skipped("7", "")), None, "it was skipped when the copy booted");
        assert_eq!(verb(&["start"], &never, &skipped("7", "x.timer")), None);
        assert_eq!(verb(&["start"], &never, &Unit { condition: "yes".into(), ..skipped("7", "") }), None, "it failed");
    }

    #[test]
    fn the_verb_follows_from_the_states() {
        let table: &[(&[&str], Unit, Unit, Option<UnitVerb>)] = &[
            (
                &["start"],
                unit("inactive", "", "simple", "0", ""),
                unit("active", "a", "simple", "5", ""),
                Some(UnitVerb::Start),
            ),
            (
                &[],
                unit("active", "a", "simple", "1", ""),
                unit("inactive", "a", "simple", "1", ""),
                Some(UnitVerb::Stop),
            ),
            (
                &["start"],
                unit("active", "a", "simple", "1", ""),
                unit("active", "b", "simple", "2", ""),
                Some(UnitVerb::Restart),
            ),
            (
                &["reload"],
                unit("active", "a", "simple", "1", ""),
                unit("active", "a", "simple", "1", ""),
                Some(UnitVerb::Reload),
            ),
            (&["start"], unit("active", "a", "simple", "1", ""), unit("active", "a", "simple", "1", ""), None),
            (
                &[],
                unit("inactive", "", "oneshot", "0", ""),
                unit("inactive", "b", "oneshot", "9", ""),
                Some(UnitVerb::Start),
            ),
            (
                &[],
                unit("inactive", "", "oneshot", "0", ""),
                unit("inactive", "b", "oneshot", "9", "man-db.timer"),
                None,
            ),
            (&["stop"], Unit::default(), Unit::default(), None),
        ];
        for (types, before, after, wanted) in table {
            assert_eq!(verb(types, before, after), *wanted, "{types:?} {before:?} {after:?}");
        }
        assert!(!is_a_service_of_the_host("run-u4.service"));
        assert!(!is_a_service_of_the_host("multi-user.target"));
    }
}
