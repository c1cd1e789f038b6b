//! [`Histogram`]: how long something took, in the buckets of the OpenTelemetry conventions.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// How long something took, how often: in the buckets that the
/// [OpenTelemetry conventions for generative AI](crate::guide::observing#the-conventions) name for durations.
///
/// Serializes as an object with the number for each bucket, `count`, and `sum` in seconds.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::Histogram;
///
/// let mut times = Histogram::default();
/// times.record(Duration::from_millis(15));
/// times.record(Duration::from_secs(600));
/// assert_eq!((times.count(), times.buckets[1], times.buckets[14]), (2, 1, 1));
/// assert_eq!(Histogram::BOUNDS[1], Duration::from_millis(20));
/// assert_eq!(times.mean(), Some(Duration::from_millis(300_007) + Duration::from_micros(500)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Histogram {
    /// How many took no longer than the bound of the same place in [`BOUNDS`](Self::BOUNDS), and longer than the one before; in the last one,
    /// those that took longer than every bound.
    pub buckets: [u64; BUCKETS],
    /// How long all of them took together.
    pub sum: Duration,
}

pub(super) const BUCKETS: usize = 15;

/// The first bound; each other one is twice the one before.
const FIRST: Duration = Duration::from_nanos(FIRST_NANOS);
const FIRST_NANOS: u64 = 10_000_000;

impl Histogram {
    /// The bounds of the buckets but the last, which has none: 10 ms, and so on doubling to 81.92 s.
    pub const BOUNDS: [Duration; BUCKETS - 1] = {
        let mut bounds = [FIRST; BUCKETS - 1];
        let mut place = 1;
        while place < bounds.len() {
            bounds[place] = bounds[place - 1].saturating_mul(2);
            place += 1;
        }
        bounds
    };

    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        self.buckets[bucket(nanos(took))] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What one took on average. `None`: there is none.
    pub fn mean(&self) -> Option<Duration> {
        let count = u128::from(self.count());
        let nanos = self.sum.as_nanos().checked_div(count)?;
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (own, other) in self.buckets.iter_mut().zip(other.buckets) {
            *own += other;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// As far as they can be counted: 584 years.
#[inline]
pub(super) fn nanos(took: Duration) -> u64 {
    let nanos = took.as_secs().saturating_mul(1_000_000_000);
    nanos.saturating_add(took.subsec_nanos().into())
}

/// How often the first bound must be doubled to reach so many nanoseconds.
#[inline]
pub(super) fn bucket(nanos: u64) -> usize {
    let doublings = u64::BITS - (nanos.saturating_sub(1) / FIRST_NANOS).leading_zeros();
    usize::try_from(doublings).map_or(BUCKETS - 1, |doublings| doublings.min(BUCKETS - 1))
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Histogram", 3)?;
        object.serialize_field("buckets", &self.buckets)?;
        object.serialize_field("count", &self.count())?;
        object.serialize_field("sum", &self.sum.as_secs_f64())?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_to_the_next() {
        for (place, bound) in Histogram::BOUNDS.into_iter().enumerate() {
            assert_eq!(bucket(nanos(bound)), place, "{bound:?}");
            assert_eq!(bucket(nanos(bound) + 1), place + 1, "{bound:?}");
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(nanos(Duration::MAX)), BUCKETS - 1);
    }
}
