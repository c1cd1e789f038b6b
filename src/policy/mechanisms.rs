//! The mechanisms of a [`FailurePolicy`](super::FailurePolicy) beside its rules: half-open probes, outage detection, retry budget (token
//! bucket), back-off. Each has an off value.

use std::time::Duration;

/// How a cooldown ends: the circuit breaker is half-open, and a few probes decide. So no thundering herd meets the credential.
///
/// * Before the end of a quota's cooldown, which is a prediction, a probe is sent once in every `parts`th part of the cooldown,
///   but not more often than every `least`, and not more rarely than every `most`.
/// * At the end of a cooldown the credential is half-open: one request is a probe. After its success two requests may be under
///   way, after the next one four, and after the third success as many as there are. A failure begins a new cooldown.
/// * After a rate limit with a retry hint there is no half-open state.
///
/// All this holds for a credential and model. A probe that is under way for `patience` and has not failed counts as a success,
/// so that long calls do not wait for each other.
///
/// ```
/// use credpool::Probes;
/// use std::time::Duration;
///
/// let probes = Probes::default();
/// let hours = |hours: u64| Duration::from_secs(hours * 3600);
/// let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
/// assert_eq!(probes.interval(hours(1)), minutes(10));
/// assert_eq!(probes.interval(hours(7 * 24)), minutes(14));
/// ```
#[doc(alias = "half-open")]
#[doc(alias = "thundering herd")]
#[doc(alias = "circuit breaker")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probes {
    /// The shortest time between two probes of a quota. Default: 10 min.
    pub least: Duration,
    /// The longest time between two probes of a quota; `least` where that is longer. Default: 14 min.
    pub most: Duration,
    /// Into how many parts a quota's cooldown is divided. Default: 16.
    pub parts: u32,
    /// After what time a probe that has not failed counts as a success. Default: 10 s.
    pub patience: Duration,
}

/// Tells a fault of the provider, or of the request, from one of the credential: by the same error on several of them.
///
/// It is about answers with a status of 5xx and errors that no rule knows, never about keys, money, limits and quotas.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{FailurePolicy, OutageDetection};
///
/// let five = OutageDetection::new(5, Duration::from_secs(30));
/// let policy = FailurePolicy::default().with_outage_detection(Some(five));
/// ```
#[doc(alias = "outage detection")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutageDetection {
    /// On how many credentials of a provider. Default: 3.
    pub credentials: usize,
    /// Within which time. Default: 10 s.
    pub within: Duration,
}

/// How many attempts of a call may follow each other immediately. After that, each is preceded by a wait: as long as a [`BackOff`] says,
/// but no longer than the call may still wait, and no longer than half of the time until its deadline. A call that may wait no longer ends.
///
/// With the defaults a call makes at most 46 attempts, whatever the upstream answers, and at most 17 where it answers that a rate is
/// exceeded.
///
/// ```
/// use credpool::{Attempts, FailurePolicy};
///
/// let policy = FailurePolicy::default().with_attempts(Some(Attempts::new(8, 3)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempts {
    /// Of all. Default: 32.
    pub at_once: u32,
    /// Of those that are refused for a rate: where several credentials are, the next one is likely to be, too. A call that may not
    /// wait at all goes on. Default: 3.
    pub refused_at_once: u32,
}

/// A retry budget: a token bucket for each provider, full at first, that caps the attempts which follow transient failures.
///
/// Only an attempt that follows a fault of the provider itself costs something. What a call is short of a token for, it does not try;
/// it goes on with its next provider or ends.
///
/// ```
/// use credpool::{FailurePolicy, RetryBudget};
///
/// // A retry costs as much as ten successes bring: at most a tenth of the traffic on top.
/// let budget = RetryBudget::new(100).with_cost(10).with_success(1);
/// let policy = FailurePolicy::default().with_budget(Some(budget));
/// ```
#[doc(alias = "token bucket")]
#[doc(alias = "retry budget")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryBudget {
    /// The most that it holds. Default: 500.
    pub capacity: u32,
    /// What another attempt after a fault of the provider costs. Default: 14.
    pub retry: u32,
    /// What a call that is served at its first attempt gives back. Default: 1.
    pub success: u32,
}

/// How long a call waits before it tries the same credential again, after a transient fault: `first`, doubling up to `most`,
/// less a random part of up to a quarter.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{BackOff, FailurePolicy};
///
/// let back_off = BackOff::new(Duration::from_millis(100), Duration::from_secs(2));
/// assert!(back_off.wait(1, 0.5) <= back_off.wait(4, 0.5));
/// let policy = FailurePolicy::default().with_back_off(Some(back_off));
/// ```
#[doc(alias = "exponential backoff")]
#[doc(alias = "jitter")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackOff {
    /// Before the first retry. Default: 0.5 s.
    pub first: Duration,
    /// The longest. Default: 8 s.
    pub most: Duration,
}

impl Probes {
    /// How long after a failure, or after a probe, a quota whose cooldown is `length` long is probed.
    pub fn interval(&self, length: Duration) -> Duration {
        let part = length / self.parts.max(1);
        part.min(self.most).max(self.least)
    }

    /// Sets the shortest time between two probes of a quota.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{FailurePolicy, Probes};
    ///
    /// let seconds = Duration::from_secs;
    /// let probes = Probes::default()
    ///     .with_least(seconds(60))
    ///     .with_most(seconds(600))
    ///     .with_parts(8)
    ///     .with_patience(seconds(30));
    /// assert_eq!(probes.interval(seconds(1600)), seconds(200));
    /// let policy = FailurePolicy::default().with_probes(Some(probes));
    /// ```
    pub fn with_least(mut self, least: Duration) -> Self {
        self.least = least;
        self
    }

    /// Sets the longest time between two probes of a quota.
    pub fn with_most(mut self, most: Duration) -> Self {
        self.most = most;
        self
    }

    /// Sets into how many parts a quota's cooldown is divided; 0 counts as 1.
    pub fn with_parts(mut self, parts: u32) -> Self {
        self.parts = parts;
        self
    }

    /// Sets after what time a probe that has not failed counts as a success.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            least: Duration::from_secs(10 * 60),
            most: Duration::from_secs(14 * 60),
            parts: 16,
            patience: Duration::from_secs(10),
        }
    }
}

impl OutageDetection {
    /// The same error on this many credentials within this time.
    pub const fn new(credentials: usize, within: Duration) -> Self {
        Self {
            credentials,
            within,
        }
    }
}

impl Default for OutageDetection {
    fn default() -> Self {
        Self::new(3, Duration::from_secs(10))
    }
}

impl Attempts {
    /// So many of all, and so many of those that are refused for a rate.
    pub const fn new(at_once: u32, refused_at_once: u32) -> Self {
        Self {
            at_once,
            refused_at_once,
        }
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self::new(32, 3)
    }
}

impl RetryBudget {
    /// A bucket of this size, with the default costs.
    pub fn new(capacity: u32) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    /// Sets what an attempt after a fault of the provider costs.
    pub fn with_cost(mut self, retry: u32) -> Self {
        self.retry = retry;
        self
    }

    /// Sets what a call that is served at its first attempt gives back.
    pub fn with_success(mut self, success: u32) -> Self {
        self.success = success;
        self
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            capacity: 500,
            retry: 14,
            success: 1,
        }
    }
}

impl BackOff {
    /// From `first`, doubling up to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// The wait after `retries` that came before; `chance` from 0 to 1 takes up to a quarter away.
    pub fn wait(&self, retries: u32, chance: f64) -> Duration {
        let whole = self
            .first
            .saturating_mul(2_u32.saturating_pow(retries))
            .min(self.most);
        let less = Duration::try_from_secs_f64(whole.as_secs_f64() * 0.25 * chance);
        whole.saturating_sub(less.unwrap_or_default())
    }
}

impl Default for BackOff {
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_off_doubles_to_its_most_and_chance_only_shortens_it() {
        let back_off = BackOff::default();
        let waits = [0, 1, 2, 3, 4, 5, u32::MAX].map(|retries| back_off.wait(retries, 0.0));
        let millis = waits.map(|wait| wait.as_millis());
        assert_eq!(millis, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(back_off.wait(0, 1.0).as_millis(), 375);
    }

    #[test]
    fn a_quota_is_probed_after_a_part_of_it_neither_too_often_nor_too_rarely() {
        let probes = Probes::default().with_parts(0);
        assert_eq!(probes.interval(Duration::MAX), probes.most);
        assert_eq!(probes.interval(Duration::ZERO), probes.least);
        let within = Duration::from_secs(12 * 60);
        assert_eq!(probes.interval(within), within);
        let rare = probes.with_least(Duration::from_secs(3600));
        assert_eq!(rare.interval(Duration::MAX), rare.least);
    }
}
