//! Whether a service is well: what one look after the other makes of a [`Check`].
//!
//! ```text
//! looking ──`successes` good in a row──► well ──for `settle`──► settled
//!    │                                     │
//!    └──`failures` bad in a row, after `grace`, or no end──► unwell
//! ```
//! It reads no clock: the times are the caller's, counted from when the watch began.

use std::time::Duration;

use super::Check;

/// What is known of a check so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough looks.
    Looking,
    /// It is well, but not for long enough yet.
    Well,
    /// It was well for as long as it has to be.
    Settled,
    /// It is unwell; why.
    Unwell(String),
}

/// A check that is being made.
#[derive(Clone, Debug)]
pub struct Judge {
    check: Check,
    began: Duration,
    good: u32,
    bad: u32,
    well_since: Option<Duration>,
    over: Option<Verdict>,
}

impl Judge {
    /// A check whose looks begin at `began`; its grace counts from 0.
    #[must_use]
    pub fn new(check: Check, began: Duration) -> Self {
        Self { check, began, good: 0, bad: 0, well_since: None, over: None }
    }

    /// After so long there is an answer in any case: a service that is well at one look and not at the next would
    /// otherwise be looked at for ever.
    #[must_use]
    pub fn limit(check: &Check) -> Duration {
        let round = check.interval.max(check.timeout);
        check.grace + check.settle + round * (check.failures + check.successes).saturating_mul(4)
    }

    /// Takes the look that ended at `at`: `Err` says what was seen.
    pub fn look(&mut self, at: Duration, seen: Result<(), String>) -> Verdict {
        if let Some(over) = &self.over {
            return over.clone();
        }
        let verdict = match seen {
            Ok(()) => self.good(at),
            Err(why) => self.bad(at, &why),
        };
        if matches!(verdict, Verdict::Settled | Verdict::Unwell(_)) {
            self.over = Some(verdict.clone());
        }
        verdict
    }

    fn good(&mut self, at: Duration) -> Verdict {
        (self.good, self.bad) = (self.good.saturating_add(1), 0);
        if self.well_since.is_none() && self.good >= self.check.successes {
            self.well_since = Some(at);
        }
        match self.well_since {
            Some(since) if at >= since + self.check.settle => Verdict::Settled,
            Some(_) => Verdict::Well,
            None => self.still_looking(at, "it answers at one look and not at the next"),
        }
    }

    fn bad(&mut self, at: Duration, why: &str) -> Verdict {
        self.good = 0;
        if at < self.check.grace {
            return Verdict::Looking;
        }
        self.bad = self.bad.saturating_add(1);
        if self.bad >= self.check.failures {
            let times = if self.bad == 1 { String::new() } else { format!(" ({} looks in a row)", self.bad) };
            return Verdict::Unwell(format!("{}: {why}{times}", self.check.probe));
        }
        match self.well_since {
            Some(_) => Verdict::Well,
            None => self.still_looking(at, why),
        }
    }

    fn still_looking(&self, at: Duration, why: &str) -> Verdict {
        if at < self.began + Self::limit(&self.check) {
            return Verdict::Looking;
        }
        Verdict::Unwell(format!(
            "{}: not well {} s after it began: {why}",
            self.check.probe,
            (at - self.began).as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::system::Probe;

    fn check(failures: u32, successes: u32, grace: u64, settle: u64) -> Check {
        let s = Duration::from_secs;
        let probe = Probe::Tcp { host: "127.0.0.1".to_owned(), port: 80 };
        Check { probe, interval: s(1), timeout: s(1), failures, successes, grace: s(grace), settle: s(settle) }
    }

    /// The looks, one a second, as a text: `+` is good, `-` bad; gives the verdicts' first letters.
    fn verdicts(check: Check, looks: &str) -> String {
        let mut judge = Judge::new(check, Duration::ZERO);
        let look = |(at, look): (usize, char)| {
            let seen = if look == '+' { Ok(()) } else { Err("refused".to_owned()) };
            match judge.look(Duration::from_secs(at as u64), seen) {
                Verdict::Looking => '.',
                Verdict::Well => 'w',
                Verdict::Settled => 's',
                Verdict::Unwell(_) => 'u',
            }
        };
        looks.chars().enumerate().map(look).collect()
    }

    #[test]
    fn looks_count_as_declared() {
        for (check, looks, expected) in [
            (check(3, 2, 0, 0), "++", ".s"),
            (check(3, 2, 0, 2), "++++", ".wws"),
            (check(3, 1, 0, 0), "---+", "..uu"),
            // In its grace nothing counts against it.
            (check(1, 1, 3, 0), "---+", "...s"),
            (check(1, 1, 3, 0), "----", "...u"),
            // A good look between begins the row again, in both directions.
            (check(2, 2, 0, 0), "-+-++", "....s"),
            // One that was well and then is not, before it has settled.
            (check(2, 1, 0, 9), "+-+--+", "wwwwuu"),
            // Neither nor, for ever.
            (check(2, 2, 0, 0), "-+-+-+-+-+-+-+-+-+", "................uu"),
        ] {
            assert_eq!(verdicts(check, looks), expected, "{looks}");
        }
    }

    proptest! {
        #[test]
        fn there_is_always_an_end(
            looks in prop::collection::vec(any::<bool>(), 80),
            failures in 1_u32..5, successes in 1_u32..5, grace in 0_u64..9, settle in 0_u64..9,
        ) {
            let check = check(failures, successes, grace, settle);
            let mut judge = Judge::new(check, Duration::ZERO);
            let mut over = None;
            for (at, good) in looks.into_iter().enumerate() {
                let seen = if good { Ok(()) } else { Err("refused".to_owned()) };
                let verdict = judge.look(Duration::from_secs(at as u64), seen);
                // What was said once stays.
                prop_assert!(over.is_none() || over == Some(verdict.clone()));
                if matches!(verdict, Verdict::Settled | Verdict::Unwell(_)) {
                    over = Some(verdict);
                }
            }
            prop_assert!(over.is_some());
        }
    }
}
