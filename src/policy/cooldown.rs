use std::time::Duration;

/// How long an error keeps a credential out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Cooldown {
    /// Not at all: it is marked, but goes on being asked.
    #[default]
    Off,
    /// Always the same time, whatever the server says.
    Fixed(Duration),
    /// `first`, doubling with every further failure up to `most`. What the server says about the wait goes first, within
    /// `hint`.
    Doubling {
        /// After the first failure.
        first: Duration,
        /// The longest.
        most: Duration,
        /// Between what bounds the server's own word is taken; `None`: not at all.
        hint: Option<HintBounds>,
    },
}

/// What is believed of a server's word on how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HintBounds {
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
        }
    }

    /// The same, but the server's own word goes first, within `bounds`.
    pub const fn with_hint(self, bounds: HintBounds) -> Self {
        match self {
            Self::Doubling { first, most, .. } => Self::Doubling {
                first,
                most,
                hint: Some(bounds),
            },
            Self::Off => Self::Doubling {
                first: bounds.least,
                most: bounds.most,
                hint: Some(bounds),
            },
            Self::Fixed(time) => Self::Doubling {
                first: time,
                most: time,
                hint: Some(bounds),
            },
        }
    }

    /// How long the credential is out: after `failures` that came before this one, when the server said `hint`. `None`: it is
    /// not out at all. Saturates; never longer than the bounds, without jitter.
    pub fn length(self, failures: u32, hint: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Fixed(time) => Some(time),
            Self::Doubling {
                first,
                most,
                hint: bounds,
            } => Some(match (hint, bounds) {
                (Some(hint), Some(bounds)) => {
                    hint.clamp(bounds.least, bounds.most.max(bounds.least))
                }
                _ => first
                    .saturating_mul(2_u32.saturating_pow(failures))
                    .min(most.max(first)),
            }),
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

    /// Whether the server's word decides where it said something.
    pub(crate) const fn obeys_hints(self) -> bool {
        matches!(self, Self::Doubling { hint: Some(_), .. })
    }
}

impl HintBounds {
    /// Bounds for a server's word.
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
        let curve = Cooldown::doubling(secs(1), secs(1800)).with_hint(HintBounds::RATE);
        let after = |hint| curve.length(3, Some(hint)).unwrap();
        assert_eq!(after(Duration::ZERO), secs(1));
        assert_eq!(after(secs(30)), secs(30));
        assert_eq!(after(Duration::MAX), secs(3600));
        assert_eq!(curve.length(3, None), Some(secs(8)));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_exceeds_its_bound(
            first in 0_u64..u64::MAX, most in 0_u64..u64::MAX, failures in any::<u32>(),
            hint in prop::option::of(0_u64..u64::MAX),
        ) {
            let curve = Cooldown::doubling(secs(first), secs(most)).with_hint(HintBounds::QUOTA);
            let length = curve.length(failures, hint.map(secs)).unwrap();
            let bound = if hint.is_some() { HintBounds::QUOTA.most } else { secs(most.max(first)) };
            prop_assert!(length <= bound);
        }
    }
}
