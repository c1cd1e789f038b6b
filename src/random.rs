//! [`Random`]: randomness for jitter and samples, repeatable with a seed.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// A generator of evenly spread numbers, for jitter. Not for secrets.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    /// The same numbers for the same seed.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Unpredictable numbers, as long as the system gives a random seed.
    pub(crate) fn new() -> Self {
        // Without the system's help the jitter is always the same, which is worse than none, but no fault.
        Self::seeded(u64::from_le_bytes(bytes().unwrap_or_default()))
    }

    /// A number from 0 to just below 1.
    pub(crate) fn fraction(&self) -> f64 {
        // SplitMix64: https://prng.di.unimi.it/splitmix64.c
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let bits = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Random bytes of the system, for what no two processes may share.
pub(crate) fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// A random text of 32 hexadecimal digits.
pub(crate) fn token() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_be_bytes(bytes()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_evenly_and_repeats_by_seed() {
        let random = Random::seeded(7);
        let drawn: Vec<f64> = (0..1000).map(|_| random.fraction()).collect();
        assert!(drawn.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        let again = Random::seeded(7);
        assert!(
            drawn
                .iter()
                .all(|fraction| again.fraction().to_bits() == fraction.to_bits())
        );
    }
}
