//! Random moments that can be repeated: a seed says all of them.

use std::time::Duration;

/// A generator of pseudo-random numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed; 0 is taken as 1.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// From the clock.
    #[must_use]
    pub fn from_clock() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self::new(now.as_secs().wrapping_mul(1_000_003) ^ u64::from(now.subsec_nanos()))
    }

    /// The state, which is the seed of what follows.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0
    }

    /// At least 0, less than 1.
    #[must_use]
    pub fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap_or(0);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// A moment within `whole`.
    #[must_use]
    pub fn moment(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(self.fraction())
    }
}
