//! [`Limiter`]: how much of a credential may be used at once, and in a minute. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::FastMap;
use crate::Timestamp;
use crate::auth::Auth;
use crate::clock::{earlier, later};

/// The limits that a credential is used within; `None`: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UseLimits {
    /// Requests at once, over all models.
    pub(crate) max_concurrent: Option<u32>,
    /// Requests a minute, for each model.
    pub(crate) rpm: Option<u64>,
    /// Tokens a minute, for each model.
    pub(crate) tpm: Option<u64>,
}

/// What is used of a credential that has limits.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: UseLimits,
    in_flight: u32,
    models: FastMap<Arc<str>, Minute>,
    /// By how much the wall clock was set back: the windows go by a time that is ahead of it by that.
    set_back: Duration,
}

/// A use that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    tokens: u64,
    second: i64,
}

/// What was used of a model in the last minute.
#[derive(Debug, Default)]
struct Minute {
    requests: Window,
    tokens: Window,
    /// A request that is too large for what is left waits until then, and the others behind it.
    held_until: Option<Timestamp>,
}

/// Amounts by the second, for the present one and the sixty before it: whatever minute one looks at is covered.
#[derive(Debug)]
struct Window {
    amounts: [u64; SECONDS],
    /// The present second, since the epoch.
    second: i64,
    total: u64,
}

impl UseLimits {
    /// A credential's own limits, from its attributes; those of `default` where it has none.
    pub(super) fn of(auth: &Auth, default: &Self) -> Self {
        let own = |name| auth.attributes.get(name)?.trim().parse().ok();
        Self {
            max_concurrent: own("max_concurrent")
                .and_then(|most: u64| u32::try_from(most).ok())
                .or(default.max_concurrent),
            rpm: own("rpm").or(default.rpm),
            tpm: own("tpm").or(default.tpm),
        }
    }

    pub(super) fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Limiter {
    pub(super) fn new(limits: UseLimits) -> Self {
        Self {
            limits,
            in_flight: 0,
            models: FastMap::default(),
            set_back: Duration::ZERO,
        }
    }

    pub(super) fn set_limits(&mut self, limits: UseLimits) {
        self.limits = limits;
    }

    /// When the next request for a model may go; `None`: now.
    pub(super) fn free_at(&self, model: &str) -> Option<Timestamp> {
        let full = |most: u32| self.in_flight >= most;
        if self.limits.max_concurrent.is_some_and(full) {
            // When another one ends, whenever that is.
            return Some(Timestamp::MAX);
        }
        let minute = self.models.get(model)?;
        let free_at = minute.room_at(&self.limits, 1).max(minute.held_until);
        free_at.map(|at| earlier(at, self.set_back))
    }

    /// The wall clock was set back: the windows stay as they are.
    pub(super) fn set_back(&mut self, by: Duration) {
        self.set_back = self.set_back.saturating_add(by);
    }

    /// Takes a permit for one request of about so many tokens.
    pub(super) fn take(
        &mut self,
        model: &str,
        shared: impl FnOnce() -> Arc<str>,
        tokens: u64,
        now: Timestamp,
    ) -> Option<Granted> {
        let unmoved = later(now, self.set_back);
        let second = unmoved.unix_timestamp();
        if let Some(minute) = self.models.get_mut(model) {
            minute.requests.advance(second);
            minute.tokens.advance(second);
        }
        if self.free_at(model).is_some_and(|at| at > now) {
            return None;
        }
        if let Some(minute) = self.models.get_mut(model) {
            // A large request that must wait goes before smaller ones that come later.
            minute.held_until = minute.room_at(&self.limits, tokens);
            if minute.held_until.is_some_and(|at| at > unmoved) {
                return None;
            }
        }
        self.in_flight = self.in_flight.saturating_add(1);
        if self.limits.rpm.is_some() || self.limits.tpm.is_some() {
            if self.models.len() >= MOST_MODELS && !self.models.contains_key(model) {
                self.models
                    .retain(|_, minute| minute.requests.total_at(second) > 0);
            }
            let minute = self.models.entry(shared()).or_default();
            minute.requests.add(second, 1);
            minute.tokens.add(second, tokens);
        }
        Some(Granted { tokens, second })
    }

    /// The request is over and has used so many tokens, if that is known.
    pub(super) fn give_back(&mut self, model: &str, granted: Granted, used: Option<u64>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let (Some(used), Some(minute)) = (used, self.models.get_mut(model)) {
            minute.tokens.correct(granted.second, granted.tokens, used);
            // Who was held may find room now.
            minute.held_until = None;
        }
    }
}

impl Minute {
    /// When there is room for a request of so many tokens; `None`: now. One that is larger than the limit needs all of it.
    fn room_at(&self, limits: &UseLimits, tokens: u64) -> Option<Timestamp> {
        let requests = limits.rpm.and_then(|most| self.requests.below_at(most));
        let tokens = limits.tpm.and_then(|most| {
            let left = most.saturating_sub(tokens.max(1)).saturating_add(1);
            self.tokens.below_at(left)
        });
        requests.max(tokens)
    }
}

impl Window {
    fn advance(&mut self, second: i64) {
        let passed = second.saturating_sub(self.second);
        if passed <= 0 {
            return;
        }
        let passed = usize::try_from(passed).unwrap_or(SECONDS).min(SECONDS);
        self.second = second;
        for ago in 0..passed {
            let place = self.place(ago);
            self.total -= std::mem::take(&mut self.amounts[place]);
        }
    }

    fn add(&mut self, second: i64, amount: u64) {
        self.advance(second);
        let place = self.place(0);
        self.amounts[place] = self.amounts[place].saturating_add(amount);
        self.total = self.total.saturating_add(amount);
    }

    /// Of what was added in `second`, `reckoned` was really `used`.
    fn correct(&mut self, second: i64, reckoned: u64, used: u64) {
        let ago = self.second.saturating_sub(second);
        let Some(ago) = usize::try_from(ago).ok().filter(|ago| *ago < SECONDS) else {
            return;
        };
        let place = self.place(ago);
        let before = self.amounts[place];
        let after = before.saturating_sub(reckoned).saturating_add(used);
        self.amounts[place] = after;
        self.total = (self.total - before).saturating_add(after);
    }

    /// When the total is below `most`, which is 1 at least; `None`: it is.
    fn below_at(&self, most: u64) -> Option<Timestamp> {
        let most = most.max(1);
        let mut left = self.total;
        if left < most {
            return None;
        }
        for ago in (0..SECONDS).rev() {
            left -= self.amounts[self.place(ago)].min(left);
            if left < most {
                let second = self.second - i64::try_from(ago).unwrap_or(0);
                let gone = later(
                    Timestamp::from_unix_timestamp(second).ok()?,
                    Duration::from_secs(SECONDS as u64),
                );
                return Some(gone);
            }
        }
        None
    }

    fn total_at(&mut self, second: i64) -> u64 {
        self.advance(second);
        self.total
    }

    /// Where the amount of so many seconds ago is.
    fn place(&self, ago: usize) -> usize {
        let present = self.second.rem_euclid(LENGTH);
        let present = usize::try_from(present).unwrap_or(0);
        (present + SECONDS - ago) % SECONDS
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            amounts: [0; SECONDS],
            second: 0,
            total: 0,
        }
    }
}

const SECONDS: usize = 61;
const LENGTH: i64 = 61;

/// Models whose last minute is kept; those that were idle for one make room.
const MOST_MODELS: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

    fn limiter(limits: UseLimits) -> Limiter {
        Limiter::new(limits)
    }

    fn take(limiter: &mut Limiter, tokens: u64, now: Timestamp) -> Option<Granted> {
        limiter.take("m", || "m".into(), tokens, now)
    }

    #[test]
    fn so_many_at_once() {
        let mut limiter = limiter(UseLimits {
            max_concurrent: Some(2),
            ..UseLimits::default()
        });
        let one = take(&mut limiter, 0, START).unwrap();
        take(&mut limiter, 0, START).unwrap();
        assert_eq!(take(&mut limiter, 0, START), None);
        assert_eq!(limiter.free_at("other"), Some(Timestamp::MAX));
        limiter.give_back("m", one, None);
        assert_eq!(limiter.free_at("m"), None);
        take(&mut limiter, 0, START).unwrap();
    }

    #[test]
    fn tokens_are_reckoned_and_then_settled() {
        let mut limiter = limiter(UseLimits {
            tpm: Some(100),
            ..UseLimits::default()
        });
        let one = take(&mut limiter, 80, START).unwrap();
        assert_eq!(take(&mut limiter, 21, START), None, "101 would be too many");
        let free = later(START, Duration::from_secs(61));
        assert_eq!(
            limiter.free_at("m"),
            Some(free),
            "smaller ones wait behind it"
        );
        assert_eq!(take(&mut limiter, 1, START), None);
        limiter.give_back("m", one, Some(20));
        take(&mut limiter, 80, START).unwrap();
        assert_eq!(take(&mut limiter, 1, START), None, "100 are used");
        // What is larger than the limit goes when nothing else is used.
        assert_eq!(
            take(&mut limiter, 500, later(START, Duration::from_secs(60))),
            None
        );
        take(&mut limiter, 500, free).unwrap();
        assert_eq!(take(&mut limiter, 1, free), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

        #[test]
        fn no_minute_holds_more_requests_than_the_limit(
            limit in 1..20_usize, waits in prop::collection::vec(0..30_000_u64, 1..300)
        ) {
            let mut limiter = limiter(UseLimits { rpm: Some(limit as u64), ..UseLimits::default() });
            let mut now = START;
            let mut granted: Vec<Timestamp> = Vec::new();
            for wait in waits {
                now = later(now, Duration::from_millis(wait));
                let free = limiter.free_at("m").is_none_or(|at| at <= now);
                let took = take(&mut limiter, 0, now).is_some();
                prop_assert_eq!(took, free);
                if took {
                    granted.push(now);
                }
                let minute = granted.iter().filter(|at| later(**at, Duration::from_secs(60)) > now);
                prop_assert!(minute.count() <= limit);
            }
            // It is not stricter than a second more than a minute.
            if let Some(free) = limiter.free_at("m") {
                let oldest = granted[granted.len() - limit];
                prop_assert!(free <= later(oldest, Duration::from_secs(61)));
            }
        }
    }
}
