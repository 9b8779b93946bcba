//! One change with its faults, and the judgement; and many of them.

use std::fmt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::{Member, World};
use crate::crash::{Random, Violation};
use crate::lab::Cut;

/// The time in which faults begin.
const WITHIN: Duration = Duration::from_millis(1200);

/// The longest fault.
const LONGEST: Duration = Duration::from_secs(4);

/// Something that goes wrong, and is healed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9.
    Kill(Member),
    /// kill -9 of the database.
    Database,
    /// Two don't reach each other; packets vanish or are refused.
    Cut(Station, Station, bool),
    /// The disk of a host is full.
    Full(usize),
    /// A member's clock is an hour off.
    Clock(Member, bool),
    /// A process stands still.
    Still(Member),
    /// A process gets a fiftieth of the time.
    Slow(Member),
    /// A host's certificate is revoked.
    ShutOut(usize),
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    /// A control plane or a host.
    Of(Member),
    /// The database.
    Database,
}

/// A change, what goes wrong when, and for how long.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What its random choices follow from.
    pub seed: u64,
    /// The control plane that is told.
    pub plane: usize,
    /// The faults: when each begins and when it is healed, from the begin of the change.
    pub faults: Vec<(Duration, Duration, Fault)>,
}

impl Schedule {
    /// A random one for so many hosts: none to four faults.
    #[must_use]
    pub fn random(random: &mut Random, hosts: usize) -> Self {
        let seed = random.seed();
        let plane = pick(random, 2);
        let faults = (0..pick(random, 5))
            .map(|_| {
                let begin = random.moment(WITHIN);
                (begin, begin + Duration::from_millis(100) + random.moment(LONGEST), fault(random, hosts))
            })
            .collect();
        Self { seed, plane, faults }
    }
}

fn pick(random: &mut Random, of: usize) -> usize {
    // A fraction is less than 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    let picked = (random.fraction() * of as f64) as usize;
    picked.min(of.saturating_sub(1))
}

fn member(random: &mut Random, hosts: usize) -> Member {
    match pick(random, hosts + 2) {
        plane @ 0..2 => Member::Plane(plane),
        host => Member::Host(host - 2),
    }
}

/// Two different stations, one of them a control plane: hosts have nothing to say to each other.
fn two(random: &mut Random, hosts: usize) -> [Station; 2] {
    let plane = pick(random, 2);
    let other = match pick(random, hosts + 2) {
        0 => Station::Database,
        1 => Station::Of(Member::Plane(1 - plane)),
        host => Station::Of(Member::Host(host - 2)),
    };
    [Station::Of(Member::Plane(plane)), other]
}

fn fault(random: &mut Random, hosts: usize) -> Fault {
    match pick(random, 13) {
        0..3 => Fault::Kill(member(random, hosts)),
        3 => Fault::Database,
        4..7 => {
            let [one, other] = two(random, hosts);
            Fault::Cut(one, other, random.fraction() < 0.5)
        }
        7 | 8 => Fault::Full(pick(random, hosts)),
        9 => Fault::Clock(member(random, hosts), random.fraction() < 0.5),
        10 => Fault::Still(member(random, hosts)),
        11 => Fault::Slow(member(random, hosts)),
        _ => Fault::ShutOut(pick(random, hosts)),
    }
}

/// What many schedules came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Schedules.
    pub schedules: u32,
    /// Faults in them.
    pub faults: usize,
    /// Changes that went through.
    pub done: u32,
    /// Changes that were refused or taken back.
    pub unwound: u32,
    /// Changes that were not begun, because nobody could be told.
    pub untold: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedules, faults, done, unwound, untold } = self;
        write!(f, "{schedules} schedules with {faults} faults: {done} done, {unwound} unwound, {untold} not begun; ")?;
        write!(f, "0 violations")
    }
}

/// Runs random schedules, one after the other, on one world in `dir`; `tell` hears of each.
///
/// # Errors
/// The first violation, with its schedule and seed.
pub fn schedules(
    binary: &Path,
    dir: &Path,
    hosts: usize,
    count: u32,
    mut random: Random,
    mut tell: impl FnMut(&str),
) -> Result<Tally, Violation> {
    let mut world = World::new(binary, dir, hosts)?;
    let mut tally = Tally::default();
    // The change that is in place.
    let mut in_place: Option<String> = None;
    for number in 1..=count {
        let schedule = Schedule::random(&mut random, hosts);
        let began = Instant::now();
        let ended = run(&mut world, &schedule, in_place.as_deref());
        let ended = ended.map_err(|violation| {
            Violation(format!("schedule {number}, seed {}: {violation}\n{:#?}", schedule.seed, schedule.faults))
        })?;
        tally.schedules += 1;
        tally.faults += schedule.faults.len();
        tell(&format!("{number}: {ended:?} in {:.1} s, {:?}", began.elapsed().as_secs_f64(), schedule.faults));
        match ended {
            Ended::Done(change) => {
                tally.done += 1;
                in_place = if in_place.is_some() { None } else { Some(change) };
                if in_place.is_none() {
                    // Nobody will want it back: hosts' disks are small.
                    world.tidy()?;
                }
            }
            Ended::Unwound => tally.unwound += 1,
            Ended::Untold => tally.untold += 1,
        }
    }
    Ok(tally)
}

#[derive(Debug)]
enum Ended {
    Done(String),
    Unwound,
    Untold,
}

/// The sagas that are changes.
const CHANGES: &str = "(SELECT * FROM greenroom.saga WHERE id LIKE 'c%') AS change";

fn run(world: &mut World, schedule: &Schedule, in_place: Option<&str>) -> Result<Ended, Violation> {
    world.until("all hosts are in touch and free", World::all_in_touch)?;
    let known: i64 = world.asked(&format!("SELECT count(*) FROM {CHANGES}")).parse().unwrap_or(-1);
    let rehearsal = world.rehearsal.clone();
    let words = in_place.map_or(["apply", &rehearsal], |change| ["undo", change]);
    let mut person = world.command(schedule.plane, &words)?;
    let person = person.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let outcome = go_wrong(world, schedule);
    end(person)?;
    outcome?;
    let open = format!("SELECT count(*) FROM {CHANGES} WHERE finished IS NULL");
    world.until("the change is over", |world| Ok(world.asked(&open) == "0"))?;
    judge(world, schedule, known, in_place)
}

/// The person's program may wait for what nobody will say any more.
fn end(mut person: Child) -> Result<(), Violation> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) && person.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = person.kill();
    person.wait()?;
    Ok(())
}

fn go_wrong(world: &mut World, schedule: &Schedule) -> Result<(), Violation> {
    let mut moments: Vec<(Duration, bool, Fault)> = schedule
        .faults
        .iter()
        .flat_map(|(begin, end, fault)| [(*begin, true, *fault), (*end, false, *fault)])
        .collect();
    moments.sort_by_key(|(at, ..)| *at);
    let began = Instant::now();
    let mut database_runs = true;
    for (at, begins, fault) in moments {
        std::thread::sleep(at.saturating_sub(began.elapsed()));
        match (fault, begins) {
            (Fault::Kill(member), true) => world.kill(member)?,
            (Fault::Kill(member), false) => world.revive(member)?,
            (Fault::Database, true) if database_runs => {
                world.database().kill();
                database_runs = false;
            }
            (Fault::Database, false) if !database_runs => {
                world.database().restart();
                database_runs = true;
            }
            (Fault::Database, _) => {}
            (Fault::Cut(one, other, vanish), begins) => {
                let (one, other) = (world.station(one), world.station(other));
                let how = if vanish { Cut::Drop } else { Cut::Reject };
                if begins {
                    world.fleet().cut(one, other, how)?;
                } else {
                    world.fleet().heal(one, other)?;
                }
            }
            (Fault::Full(host), full) => world.fill(host, full)?,
            (Fault::Clock(member, ahead), begins) => {
                let hour = if ahead { 3600 } else { -3600 };
                world.shift(member, if begins { hour } else { 0 })?;
            }
            (Fault::Still(member), still) => world.stop(member, still),
            (Fault::Slow(member), true) => world.slow(member)?,
            (Fault::Slow(member), false) => world.quick(member),
            (Fault::ShutOut(host), true) => world.shut_out(schedule.plane, host)?,
            // It is let in again below, when there is certainly somebody who can.
            (Fault::ShutOut(_), false) => {}
        }
    }
    heal(world, schedule)
}

fn heal(world: &mut World, schedule: &Schedule) -> Result<(), Violation> {
    world.fleet().heal_all()?;
    for plane in 0..2 {
        world.revive(Member::Plane(plane))?;
    }
    for host in 0..world.hosts() {
        world.revive(Member::Host(host))?;
    }
    for (_, _, fault) in &schedule.faults {
        if let Fault::ShutOut(host) = fault {
            world.until("a control plane serves", |world| Ok(world.at_plane(0, &["token", "list"])?.ok()))?;
            world.enrol(*host)?;
        }
    }
    Ok(())
}

fn judge(world: &mut World, schedule: &Schedule, known: i64, in_place: Option<&str>) -> Result<Ended, Violation> {
    let new = format!(
        "SELECT id, state::json->'rollout'->'phase'->>'outcome', state::json->'rollout'->>'reason'
         FROM {CHANGES} ORDER BY made DESC, id DESC LIMIT (SELECT count(*) - {known} FROM {CHANGES})"
    );
    let new = world.asked(&new);
    let was_after = in_place.is_some();
    if new.is_empty() {
        if schedule.faults.is_empty() {
            return Err(Violation("nothing went wrong, and the change was not begun".to_owned()));
        }
        all_hosts(world, was_after, None, false)?;
        return Ok(Ended::Untold);
    }
    if new.lines().count() != 1 {
        return Err(Violation(format!("one change was asked for, and these are there:\n{new}")));
    }
    let (id, rest) = new.split_once('|').unwrap_or((&new, ""));
    let outcome = rest.split('|').next().unwrap_or_default();
    let done = outcome == "done";
    if !["done", "refused", "taken_back"].contains(&outcome) || schedule.faults.is_empty() && !done {
        return Err(Violation(format!("it ended like this: {new}")));
    }
    for (what, statement, wanted) in [
        ("hosts are still held", "SELECT count(*) FROM greenroom.host_lock".to_owned(), "0"),
        (
            "it is on record so many times",
            format!("SELECT count(*) FROM greenroom.entry WHERE change = '{id}' AND kind IN ('apply', 'undo')"),
            "1",
        ),
        (
            "it was said so many times that it is over",
            format!(
                "SELECT count(*) FROM greenroom.event WHERE subject = '{id}' AND body LIKE '{{\"event\":\"over\"%'"
            ),
            "1",
        ),
    ] {
        let found = world.asked(&statement);
        if found != wanted {
            return Err(Violation(format!("{id}: {what}: {found}")));
        }
    }
    world.judge_record()?;
    all_hosts(world, done != was_after, Some(id), done)?;
    Ok(if done { Ended::Done(id.to_owned()) } else { Ended::Unwound })
}

fn all_hosts(world: &World, after: bool, change: Option<&str>, done: bool) -> Result<(), Violation> {
    (0..world.hosts()).try_for_each(|host| world.judge(host, after, change, done))
}
