//! Taking turns, medians, and what a number has to reach.

use std::time::{Duration, Instant};

use anyhow::Result;

/// What a row must reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Ours at most this much, in the row's unit.
    AtMost(f64),
    /// Ours at most this many times the peer.
    Times(f64),
    /// Ours at least this many times as fast.
    Faster(f64),
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Measured {
    /// What is measured; one line per text.
    pub(super) what: &'static str,
    /// The peer; empty where there is none.
    pub(super) peer: &'static str,
    /// `ms` or `MiB`.
    pub(super) unit: &'static str,
    pub(super) ours: Vec<f64>,
    pub(super) theirs: Vec<f64>,
    pub(super) targets: Vec<Target>,
}

impl Measured {
    /// Of ours to theirs.
    pub(super) fn ratio(&self) -> Option<f64> {
        (!self.theirs.is_empty()).then(|| median(&self.ours) / median(&self.theirs))
    }

    /// Whether every target is met.
    pub(super) fn passes(&self) -> bool {
        self.targets.iter().all(|target| match *target {
            Target::AtMost(limit) => median(&self.ours) <= limit,
            Target::Times(limit) => self.ratio().is_some_and(|ratio| ratio <= limit),
            Target::Faster(times) => self.ratio().is_some_and(|ratio| ratio * times <= 1.0),
        })
    }
}

/// The middle value; the mean of the two in the middle of an even number.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Measures both `rounds` times, in turn, after a round that is not counted.
pub(super) fn in_turn(
    rounds: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut theirs: impl FnMut() -> Result<Duration>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (first, second) = (ours()?, theirs()?);
        if round > 0 {
            a.push(millis(first));
            b.push(millis(second));
        }
    }
    Ok((a, b))
}

/// How long `work` takes, and what it gives.
pub(super) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let began = Instant::now();
    let out = work()?;
    Ok((began.elapsed(), out))
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn targets() {
        let measured = |target| Measured {
            what: "x",
            peer: "y",
            unit: "ms",
            ours: vec![10.0],
            theirs: vec![8.0],
            targets: vec![target],
        };
        for (target, passes) in [
            (Target::AtMost(10.0), true),
            (Target::AtMost(9.0), false),
            (Target::Times(1.3), true),
            (Target::Times(1.2), false),
            (Target::Faster(0.5), true),
            (Target::Faster(2.0), false),
        ] {
            assert_eq!(measured(target).passes(), passes, "{target:?}");
        }
    }
}
