//! Cooldown curves: fixed, or doubling, with bounds for retry hints (Retry-After). What they come to for a failure: `health::cooldown`.

use std::time::Duration;

/// How long an error cools a credential down.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Cooldown, RetryAfterBounds};
///
/// let seconds = Duration::from_secs;
/// let curve = Cooldown::doubling(seconds(1), seconds(60)).with_hint(RetryAfterBounds::RATE);
/// assert_eq!(curve.length(2, None), Some(seconds(4)));
/// assert_eq!(curve.length(3, Some(seconds(20))), Some(seconds(20)));
/// assert_eq!(Cooldown::Off.length(3, None), None);
/// ```
#[doc(alias = "backoff")]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Cooldown {
    /// Not at all: the credential is marked, but is still selected.
    #[default]
    Off,
    /// Always the same time, whatever the server says.
    Fixed(Duration),
    /// `first`, doubling with every further failure up to `most`. A retry hint takes precedence, within
    /// `hint`.
    Doubling {
        /// After the first failure.
        first: Duration,
        /// The longest.
        most: Duration,
        /// The bounds within which a retry hint is obeyed; `None`: not at all.
        hint: Option<RetryAfterBounds>,
        /// How many failures in a row it takes: those before mark the credential, and block nothing. 0 and 1: the first one does.
        /// A retry hint counts from the first failure on.
        after_failures: u32,
    },
}

/// The bounds within which a retry hint (Retry-After or reset time) is obeyed.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Cooldown, RetryAfterBounds};
///
/// let seconds = Duration::from_secs;
/// let bounds = RetryAfterBounds::new(seconds(5), seconds(30));
/// let curve = Cooldown::doubling(seconds(1), seconds(60)).with_hint(bounds);
/// assert_eq!(curve.length(1, Some(seconds(600))), Some(seconds(30)));
/// ```
#[doc(alias = "Retry-After")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryAfterBounds {
    /// No wait is shorter.
    pub least: Duration,
    /// No wait is longer.
    pub most: Duration,
}

impl Cooldown {
    /// Doubling from `first` to `most`, deaf to the server.
    pub const fn doubling(first: Duration, most: Duration) -> Self {
        Self::Doubling {
            first,
            most,
            hint: None,
            after_failures: 1,
        }
    }

    /// The same, but only from so many failures in a row on: a success in between ends the count. A fixed one becomes a doubling
    /// one that does not grow; none stays none.
    ///
    /// ```
    /// use credpool::Cooldown;
    /// use std::time::Duration;
    ///
    /// let seconds = Duration::from_secs;
    /// let curve = Cooldown::doubling(seconds(1), seconds(60)).after_failures(2);
    /// assert_eq!(curve.length(0, None), None);
    /// assert_eq!(curve.length(1, None), Some(seconds(1)));
    /// assert_eq!(curve.length(2, None), Some(seconds(2)));
    /// ```
    pub const fn after_failures(self, failures: u32) -> Self {
        match self {
            Self::Off => Self::Off,
            Self::Fixed(time) => Self::doubling(time, time).after_failures(failures),
            Self::Doubling {
                first, most, hint, ..
            } => Self::Doubling {
                first,
                most,
                hint,
                after_failures: failures,
            },
        }
    }

    /// The same, but a retry hint takes precedence, within `bounds`.
    pub const fn with_hint(self, bounds: RetryAfterBounds) -> Self {
        let (first, most, after_failures) = match self {
            Self::Off => (bounds.least, bounds.most, 1),
            Self::Fixed(time) => (time, time, 1),
            Self::Doubling {
                first,
                most,
                after_failures,
                ..
            } => (first, most, after_failures),
        };
        Self::Doubling {
            first,
            most,
            hint: Some(bounds),
            after_failures,
        }
    }

    /// How long the credential is cooled down: after `failures` before this one, with the retry hint `hint`. `None`: not at all.
    /// Saturates; never longer than the bounds, without jitter.
    pub fn length(self, failures: u32, hint: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Fixed(time) => Some(time),
            Self::Doubling {
                first,
                most,
                hint: bounds,
                after_failures,
            } => match (hint, bounds) {
                (Some(hint), Some(bounds)) => {
                    Some(hint.clamp(bounds.least, bounds.most.max(bounds.least)))
                }
                _ => {
                    let doublings = failures.checked_sub(after_failures.saturating_sub(1))?;
                    let length = first.saturating_mul(2_u32.saturating_pow(doublings));
                    Some(length.min(most.max(first)))
                }
            },
        }
    }

    /// What no cooldown exceeds, jitter included, where the server has `told` how long to wait or not. `None`: a fixed length,
    /// which only jitter exceeds.
    pub(crate) const fn longest(self, told: bool) -> Option<Duration> {
        match self {
            Self::Doubling {
                hint: Some(bounds), ..
            } if told => Some(bounds.most),
            Self::Doubling { first, most, .. } if first.as_nanos() < most.as_nanos() => Some(most),
            _ => None,
        }
    }

    /// Whether a retry hint, where there is one, sets the length.
    pub(crate) const fn obeys_hints(self) -> bool {
        matches!(self, Self::Doubling { hint: Some(_), .. })
    }
}

impl RetryAfterBounds {
    /// Bounds for a retry hint.
    pub const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most }
    }

    /// For rate limits: 1 s to 1 h.
    pub const RATE: Self = Self::new(Duration::from_secs(1), Duration::from_secs(3600));

    /// For quotas: 1 min to 7 days.
    pub const QUOTA: Self = Self::new(Duration::from_secs(60), Duration::from_secs(7 * 24 * 3600));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn doubles_up_to_its_cap() {
        let curve = Cooldown::doubling(secs(1), secs(60));
        let lengths: Vec<_> = [0, 1, 2, 5, 6, 7, u32::MAX]
            .map(|failures| curve.length(failures, None).unwrap().as_secs())
            .into();
        assert_eq!(lengths, [1, 2, 4, 32, 60, 60, 60]);
        assert_eq!(curve.length(0, Some(secs(500))), Some(secs(1)), "deaf");
    }

    #[test]
    fn a_hint_goes_first_within_its_bounds() {
        let curve = Cooldown::doubling(secs(1), secs(1800)).with_hint(RetryAfterBounds::RATE);
        let after = |hint| curve.length(3, Some(hint)).unwrap();
        assert_eq!(after(Duration::ZERO), secs(1));
        assert_eq!(after(secs(30)), secs(30));
        assert_eq!(after(Duration::MAX), secs(3600));
        assert_eq!(curve.length(3, None), Some(secs(8)));
    }

    #[test]
    fn the_first_failures_of_a_row_block_nothing_unless_the_server_says_so() {
        let curve = Cooldown::doubling(secs(1), secs(4)).with_hint(RetryAfterBounds::RATE);
        let lengths = |curve: Cooldown| -> Vec<_> {
            let length = |failures| curve.length(failures, None).map(|length| length.as_secs());
            [0, 1, 2, 3, u32::MAX].map(length).into()
        };
        let from_third = curve.after_failures(3);
        assert_eq!(lengths(from_third), [None, None, Some(1), Some(2), Some(4)]);
        assert_eq!(from_third.length(0, Some(secs(7))), Some(secs(7)));
        assert_eq!(lengths(curve.after_failures(0)), lengths(curve));
        assert_eq!(lengths(curve.after_failures(1)), lengths(curve));
        let fixed = Cooldown::Fixed(secs(5)).after_failures(2);
        assert_eq!(lengths(fixed)[..3], [None, Some(5), Some(5)]);
        assert_eq!(Cooldown::Off.after_failures(2), Cooldown::Off);
        assert_eq!(
            from_third
                .with_hint(RetryAfterBounds::QUOTA)
                .length(1, None),
            None
        );
    }

    #[test]
    fn jitter_passes_a_fixed_length_alone() {
        let told = RetryAfterBounds::new(secs(1), secs(60));
        let growing = Cooldown::doubling(secs(1), secs(30)).with_hint(told);
        assert_eq!(growing.longest(true), Some(secs(60)));
        assert_eq!(growing.longest(false), Some(secs(30)));
        let steady = Cooldown::doubling(secs(30), secs(30)).with_hint(told);
        assert_eq!(steady.longest(true), Some(secs(60)));
        assert_eq!(steady.longest(false), None);
        assert_eq!(Cooldown::Fixed(secs(30)).longest(false), None);
        assert_eq!(
            Cooldown::doubling(secs(1), secs(30)).longest(true),
            Some(secs(30))
        );
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_exceeds_its_bound(
            first in 0_u64..u64::MAX, most in 0_u64..u64::MAX, failures in any::<u32>(),
            hint in prop::option::of(0_u64..u64::MAX),
        ) {
            let curve = Cooldown::doubling(secs(first), secs(most)).with_hint(RetryAfterBounds::QUOTA);
            let length = curve.length(failures, hint.map(secs)).unwrap();
            let bound = if hint.is_some() { RetryAfterBounds::QUOTA.most } else { secs(most.max(first)) };
            prop_assert!(length <= bound);
        }
    }
}
