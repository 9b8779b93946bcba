//! Campaigns of interruptions. Each ends with a tally, or at the first violation.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Change, Disk, Driver, FileSystem, Random, State, Verb, Violation, World};

/// What happened in a campaign.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Tries, of which each was judged.
    pub tries: u32,
    /// Tries that really stopped the command before its end.
    pub interrupted: u32,
    /// Tries after which `recover` had something to do.
    pub recovered: u32,
    /// Kills of `recover` itself that stopped it before its end.
    pub recover_killed: u32,
    /// Tries after which the tree was wholly before.
    pub before: u32,
    /// Tries after which it was wholly after.
    pub after: u32,
    /// The seed of the random moments.
    pub seed: u64,
    /// How long the command takes when nobody interrupts it.
    pub uninterrupted: Duration,
    /// How long the campaign took.
    pub took: Duration,
}

impl Tally {
    /// On a machine with other work most runs take longer; a moment within the shortest one is always within.
    fn quickest(&mut self, took: Duration) {
        self.uninterrupted = self.uninterrupted.min(took);
    }

    fn count(&mut self, state: State) {
        match state {
            State::Before => self.before += 1,
            State::After => self.after += 1,
        }
    }

    /// The share of tries that really interrupted, in percent.
    #[must_use]
    pub fn share(&self) -> u32 {
        self.interrupted * 100 / self.tries.max(1)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tries, {} interrupted ({} %), {} with something to recover, {} kills of recover; \
             then wholly before: {}, wholly after: {}, neither: 0; seed {}, {} ms uninterrupted, {} s in all",
            self.tries,
            self.interrupted,
            self.share(),
            self.recovered,
            self.recover_killed,
            self.before,
            self.after,
            self.seed,
            self.uninterrupted.as_millis(),
            self.took.as_secs()
        )
    }
}

/// Worlds gather the records of all that was done to them; a fresh one after so many tries.
const WORN: u32 = 100;

/// Kills `verb` at `wanted` random moments in worlds below `dir`, and `recover` after it, and judges each time.
///
/// # Errors
/// The first violation. The world stays in `dir`.
pub fn kills(
    binary: &Path,
    dir: &Path,
    change: Change,
    verb: Verb,
    wanted: u32,
    mut random: Random,
) -> Result<Tally, Violation> {
    let began = Instant::now();
    let mut tally = Tally { seed: random.seed(), ..Tally::default() };
    while tally.tries < wanted {
        let place = dir.join(format!("{}-{}", verb.word(), tally.tries));
        let world = World::make(&place, &place.join("references"), change)?;
        let driver = Driver::rehearse(world, binary)?;
        driver.record()?;
        tally.uninterrupted = Duration::MAX;
        for _ in 0..3 {
            let apply = driver.complete(Verb::Apply)?;
            let undo = driver.complete(Verb::Undo)?;
            tally.quickest(if verb == Verb::Apply { apply } else { undo });
        }
        for _ in 0..WORN.min(wanted - tally.tries) {
            one_kill(&driver, verb, &mut random, &mut tally).map_err(|error| {
                Violation(format!("{} try {}, seed {}: {error}", verb.word(), tally.tries, tally.seed))
            })?;
        }
        crate::lab::remove_tree(&place)?;
    }
    tally.took = began.elapsed();
    Ok(tally)
}

fn one_kill(driver: &Driver, verb: Verb, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
    if verb == Verb::Undo && driver.judge()? == State::Before {
        driver.complete(Verb::Apply)?;
    }
    tally.tries += 1;
    let delay = random.moment(tally.uninterrupted);
    if driver.kill(verb, delay)? {
        tally.interrupted += 1;
    } else {
        // It was over before: so it can be that quick.
        tally.quickest(delay);
    }
    if tally.tries.is_multiple_of(3) {
        // Being interrupted while it recovers, and again.
        for _ in 0..2 {
            tally.recover_killed += u32::from(driver.kill_recover(random.moment(tally.uninterrupted))?);
        }
    }
    if driver.recover()? {
        tally.recovered += 1;
    }
    if driver.recover()? {
        return Err(Violation("a second recover found something to do".to_owned()));
    }
    let state = driver.judge()?;
    tally.count(state);
    // What follows works: the same again where it did not happen, and back to where it began.
    if state != verb.target() {
        tally.quickest(driver.complete(verb)?);
    }
    if verb == Verb::Apply {
        driver.complete(Verb::Undo)?;
    }
    Ok(())
}

/// Cuts the power at `wanted` random moments of `verb` on a host on `kind`. `dir` must be where blocks can be shared.
///
/// # Errors
/// The first violation. The images stay in `dir`.
pub fn cuts(
    binary: &Path,
    dir: &Path,
    kind: FileSystem,
    verb: Verb,
    wanted: u32,
    mut random: Random,
) -> Result<Tally, Violation> {
    let began = Instant::now();
    let mut tally = Tally { seed: random.seed(), ..Tally::default() };
    let mut base = Disk::make(kind, &dir.join("base.img"))?;
    base.mount()?;
    let world = World::make(&base.at, &dir.join("references"), Change::Command)?;
    let driver = Driver::rehearse(world, binary)?;
    if verb == Verb::Undo {
        driver.complete(Verb::Apply)?;
    }
    base.unmount()?;
    tally.uninterrupted = Duration::MAX;
    while tally.tries < wanted {
        for _ in 0..3 {
            tally.quickest(measure(&driver, &base, dir, verb)?);
        }
        for _ in 0..20.min(wanted - tally.tries) {
            tally.tries += 1;
            let delay = random.moment(tally.uninterrupted);
            one_cut(&driver, &base, dir, verb, delay, &mut tally).map_err(|error| {
                Violation(format!("{} on {}, cut {} after {delay:?}: {error}", verb.word(), kind.name(), tally.tries))
            })?;
        }
    }
    base.discard()?;
    tally.took = began.elapsed();
    Ok(tally)
}

/// How long it takes on a disk like this.
fn measure(driver: &Driver, base: &Disk, dir: &Path, verb: Verb) -> Result<Duration, Violation> {
    let mut disk = base.snapshot(&dir.join("measure.img"))?;
    disk.mount()?;
    let took = driver.complete(verb)?;
    disk.discard()?;
    Ok(took)
}

fn one_cut(
    driver: &Driver,
    base: &Disk,
    dir: &Path,
    verb: Verb,
    delay: Duration,
    tally: &mut Tally,
) -> Result<(), Violation> {
    let mut running = base.snapshot(&dir.join("running.img"))?;
    running.mount()?;
    let mut child = driver.command(verb)?.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(delay);
    let mut cut = running.snapshot(&dir.join("cut.img"))?;
    if child.try_wait()?.is_none() {
        tally.interrupted += 1;
    }
    child.kill()?;
    child.wait()?;
    running.discard()?;
    cut.mount()?;
    if driver.recover()? {
        tally.recovered += 1;
    }
    let state = driver.judge()?;
    tally.count(state);
    if state != verb.target() {
        driver.complete(verb)?;
    }
    driver.complete(if verb == Verb::Apply { Verb::Undo } else { Verb::Apply })?;
    cut.discard()
}
