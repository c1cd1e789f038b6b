//! The rate limiter: concurrent requests, and requests and tokens per minute (sliding window), of one credential. Pure.
//!
//! Minutes are of the even clock that [`Timeline::ahead`](super::timeline::Timeline::ahead) speaks of: steps of the wall clock change
//! nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::concurrency::{Admission, Concurrency, Refused};
use super::pace::{SharedPaces, Start};
use super::shared::SharedState;
use super::window::Window;
use super::{FastMap, Lease};
use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::health::Readiness;

/// The limits that a credential is used within; `None`: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UseLimits {
    /// Concurrent requests, over all models.
    pub(crate) max_concurrent: Option<u32>,
    /// Requests a minute, for each model.
    pub(crate) rpm: Option<u64>,
    /// Tokens a minute, for each model.
    pub(crate) tpm: Option<u64>,
}

/// What is used of a credential that has limits, or a pace.
#[derive(Debug, Default)]
pub(super) struct RateLimiter {
    limits: UseLimits,
    in_flight: u32,
    /// The lanes know that as many are in flight as may be.
    is_known_full: bool,
    models: FastMap<Arc<str>, Minute>,
    /// The same models, in the order in which they are looked at for whether they are idle.
    rounds: VecDeque<Arc<str>>,
    /// The rates that it was refused for, learnt: soft limits beside its own.
    paces: Option<SharedPaces>,
    /// How many requests the upstream serves concurrently, learnt as well.
    concurrency: Concurrency,
    /// By how much the wall clock is ahead of the even one.
    ahead: time::Duration,
    /// That is another one than the lanes know.
    is_shifted: bool,
    /// Tells this limiter from one that was here before.
    mark: Arc<()>,
}

/// A use that was granted.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    tokens: u64,
    second: i64,
    /// It was counted by the pace.
    start: Option<Start>,
    admission: Admission,
    by: Arc<()>,
}

/// What is to be used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use<'a> {
    pub(super) model: &'a Arc<str>,
    /// About so many.
    pub(super) tokens: u64,
    /// Nothing that was learnt holds it up.
    pub(super) hurried: bool,
}

/// What a refusal has taught.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learning {
    /// What else was in flight explains it.
    pub(super) is_explained: bool,
    pub(super) concerns_all_models: bool,
}

/// How a use ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has used so many tokens, if that is known.
    Used(Option<u64>),
    /// Nothing was sent.
    Unsent,
}

/// What was used of a model in the last minute.
#[derive(Debug, Default)]
struct Minute {
    requests: Window,
    tokens: Window,
    /// A request that is too large for what is left waits until then, and the others behind it.
    held_until: Option<Timestamp>,
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

impl RateLimiter {
    pub(super) fn new(limits: UseLimits, ahead: time::Duration) -> Self {
        Self {
            limits,
            ahead,
            ..Self::default()
        }
    }

    /// Changes the limits. The record is seated again after that, so that the model queues have its readiness.
    pub(super) fn set_limits(&mut self, limits: UseLimits) {
        self.limits = limits;
        self.is_known_full = self.is_full();
    }

    pub(super) fn set_paces(&mut self, paces: Option<SharedPaces>) {
        self.paces = paces;
    }

    pub(super) fn paces(&self) -> Option<&SharedPaces> {
        self.paces.as_ref()
    }

    /// Looks how many are still in flight of those that began before this limited them. Whether that is news, for every model.
    pub(super) fn recount(&mut self, member: &SharedState) -> bool {
        let uncounted = member.in_flight().saturating_sub(self.in_flight);
        let is_news = self.concurrency.recount(uncounted);
        if is_news && uncounted == 0 {
            member.unwatch();
        }
        is_news
    }

    /// A use was refused for a rate, or for what else was in flight. Where that was for other models alone, it says nothing.
    pub(super) fn refuse(
        &mut self,
        lease: &Lease,
        model: Arc<str>,
        told: Option<Duration>,
        now: Timestamp,
    ) -> Learning {
        let now = self.even(now);
        let others = lease.member().in_flight().saturating_sub(1);
        let granted = lease.granted();
        let granted = granted.filter(|granted| Arc::ptr_eq(&granted.by, &self.mark));
        let admission = granted.map(|granted| granted.admission);
        let counted = self.in_flight.saturating_sub(admission.is_some().into());
        let before = self.concurrency.uncounted();
        let is_known = match admission {
            Some(admission) => admission.beside > 0 || others == 0,
            None => others > 0,
        };
        let refused = Refused {
            beside: admission.map_or(others, |admission| admission.beside),
            admission,
            uncounted: others.saturating_sub(counted),
        };
        let is_explained = is_known && self.concurrency.refuse(model, refused, told, now);
        let uncounted = self.concurrency.uncounted();
        if uncounted == 0 {
            lease.member().unwatch();
        }
        Learning {
            is_explained,
            concerns_all_models: uncounted != before,
        }
    }

    /// Forgets what was learnt.
    pub(super) fn forget_learnt(&mut self) {
        self.paces = None;
        self.concurrency.forget();
    }

    /// Whether it limits anything. Paces and caps that have delayed no start for a while are forgotten.
    pub(super) fn is_needed(&mut self, now: Timestamp) -> bool {
        let now = self.even(now);
        let is_over = |paces: &mut SharedPaces| {
            let mut paces = paces.lock();
            paces.forget_idle(now);
            paces.is_empty()
        };
        self.paces.take_if(is_over);
        self.concurrency.forget_idle(now);
        !self.limits.are_none() || self.paces.is_some() || self.concurrency.is_learnt()
    }

    /// Its room for a model.
    pub(super) fn readiness(&self, model: &str, now: Timestamp) -> Readiness {
        if self.is_full() {
            // When another one ends, whenever that is.
            return Readiness::Full(Timestamp::MAX);
        }
        let to_come = |at: Option<Timestamp>| {
            let at = at?.saturating_add(self.ahead);
            (at > now).then_some(at)
        };
        let minute = self.models.get(model);
        let hard = minute.and_then(|minute| minute.room_at(&self.limits, 1).max(minute.held_until));
        let due = || self.paces.as_ref()?.lock().due(model);
        match to_come(hard) {
            Some(at) => Readiness::Full(at),
            None => {
                let trial = || to_come(self.concurrency.trial_at(model)).map(Readiness::Capped);
                let paced = to_come(due()).map(Readiness::Paced);
                paced.or_else(trial).unwrap_or(Readiness::Ready)
            }
        }
    }

    /// Whether all lanes are to look at the record again: as many are in flight as may be, or no longer, or the wall clock was set.
    pub(super) fn concerns_all_models(&mut self) -> bool {
        let is_shifted = std::mem::take(&mut self.is_shifted);
        let is_full = self.is_full();
        std::mem::replace(&mut self.is_known_full, is_full) != is_full || is_shifted
    }

    fn is_full(&self) -> bool {
        let full = |most: u32| self.in_flight >= most;
        self.limits.max_concurrent.is_some_and(full)
    }

    /// The wall clock was set back: the windows stay as they are.
    pub(super) fn set_back(&mut self, by: Duration) {
        let by = time::Duration::try_from(by).unwrap_or(time::Duration::MAX);
        self.ahead = self.ahead.saturating_sub(by);
    }

    /// By how much the wall clock is ahead by now.
    pub(super) fn set_ahead(&mut self, ahead: time::Duration) {
        self.is_shifted |= self.ahead != ahead;
        self.ahead = ahead;
    }

    /// What the even clock shows at a time of the wall clock.
    pub(super) fn even(&self, wall: Timestamp) -> Timestamp {
        wall.saturating_sub(self.ahead)
    }

    /// Takes a permit for one request.
    pub(super) fn take(&mut self, wanted: Use<'_>, now: Timestamp) -> Option<Granted> {
        let Use {
            model,
            tokens,
            hurried,
        } = wanted;
        match self.readiness(model, now) {
            Readiness::Ready => {}
            Readiness::Paced(_) | Readiness::Capped(_) if hurried => {}
            _ => return None,
        }
        let now = self.even(now);
        let second = now.unix_timestamp();
        if let Some(minute) = self.models.get_mut(model) {
            minute.advance(second);
            // A large request that must wait goes before smaller ones that come later.
            minute.held_until = minute.room_at(&self.limits, tokens);
            if minute.held_until.is_some_and(|at| at > now) {
                return None;
            }
        }
        self.in_flight = self.in_flight.saturating_add(1);
        if self.limits.rpm.is_some() || self.limits.tpm.is_some() {
            let minute = self.minute(model, second);
            minute.requests.add(second, 1);
            minute.tokens.add(second, tokens);
        }
        let paces = self.paces.as_ref();
        Some(Granted {
            tokens,
            second,
            start: paces.and_then(|paces| paces.lock().start(model, now)),
            admission: self.concurrency.start(model, now),
            by: Arc::clone(&self.mark),
        })
    }

    fn minute(&mut self, model: &Arc<str>, second: i64) -> &mut Minute {
        if !self.models.contains_key(model) {
            for _ in 0..LOOKED_AT {
                self.drop_next_if_idle(second);
            }
            self.rounds.push_back(Arc::clone(model));
        }
        self.models.entry(Arc::clone(model)).or_default()
    }

    fn drop_next_if_idle(&mut self, second: i64) {
        let Some(model) = self.rounds.pop_front() else {
            return;
        };
        let minute = self.models.get_mut(&model);
        if minute.is_some_and(|minute| minute.is_idle(second)) {
            self.models.remove(&model);
        } else {
            self.rounds.push_back(model);
        }
    }

    /// A request is over. Whether there may be more room for its model: in the minute, or beside what is in flight.
    pub(super) fn give_back(
        &mut self,
        model: &str,
        granted: &Granted,
        end: End,
        now: Timestamp,
    ) -> bool {
        if !Arc::ptr_eq(&granted.by, &self.mark) {
            return false;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        let now = self.even(now);
        let is_unsent = end == End::Unsent;
        let admission = granted.admission;
        let has_place = self.concurrency.end(model, admission, is_unsent, now);
        let used = match end {
            End::Used(None) => return has_place,
            End::Used(Some(used)) => used,
            End::Unsent => 0,
        };
        if let Some(minute) = self.models.get_mut(model) {
            minute.tokens.correct(granted.second, granted.tokens, used);
            if is_unsent {
                minute.requests.correct(granted.second, 1, 0);
            }
            // A credential at its limit may have room now.
            minute.held_until = None;
        }
        if let (true, Some(start), Some(paces)) = (is_unsent, granted.start, &self.paces) {
            paces.lock().take_back(model, start);
        }
        true
    }
}

impl Granted {
    pub(super) fn start(&self) -> Option<Start> {
        self.start
    }
}

impl Minute {
    fn advance(&mut self, second: i64) {
        self.requests.advance(second);
        self.tokens.advance(second);
    }

    fn is_idle(&mut self, second: i64) -> bool {
        self.requests.is_idle(second) && self.tokens.is_idle(second)
    }

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

/// Models that are looked at for whether they are idle, for each new one: their number shrinks where no more are in use.
const LOOKED_AT: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;
    use crate::clock::later;

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

    fn limiter(limits: UseLimits) -> RateLimiter {
        RateLimiter::new(limits, time::Duration::ZERO)
    }

    fn take(limiter: &mut RateLimiter, tokens: u64, now: Timestamp) -> Option<Granted> {
        let wanted = Use {
            model: &"m".into(),
            tokens,
            hurried: false,
        };
        limiter.take(wanted, now)
    }

    fn free_at(limiter: &RateLimiter, model: &str, now: Timestamp) -> Option<Timestamp> {
        match limiter.readiness(model, now) {
            Readiness::Full(at) => Some(at),
            _ => None,
        }
    }

    #[test]
    fn so_many_at_once() {
        let mut limiter = limiter(UseLimits {
            max_concurrent: Some(2),
            ..UseLimits::default()
        });
        let one = take(&mut limiter, 0, START).unwrap();
        take(&mut limiter, 0, START).unwrap();
        assert!(take(&mut limiter, 0, START).is_none());
        assert_eq!(free_at(&limiter, "other", START), Some(Timestamp::MAX));
        limiter.give_back("m", &one, End::Used(None), START);
        assert_eq!(free_at(&limiter, "m", START), None);
        take(&mut limiter, 0, START).unwrap();
    }

    #[test]
    fn tokens_are_reckoned_and_then_settled() {
        let mut limiter = limiter(UseLimits {
            tpm: Some(100),
            ..UseLimits::default()
        });
        let one = take(&mut limiter, 80, START).unwrap();
        assert!(
            take(&mut limiter, 21, START).is_none(),
            "101 would be too many"
        );
        let free = later(START, Duration::from_secs(61));
        assert_eq!(
            free_at(&limiter, "m", START),
            Some(free),
            "smaller ones wait behind it"
        );
        assert!(take(&mut limiter, 1, START).is_none());
        limiter.give_back("m", &one, End::Used(Some(20)), START);
        take(&mut limiter, 80, START).unwrap();
        assert!(take(&mut limiter, 1, START).is_none(), "100 are used");
        // What is larger than the limit goes when nothing else is used.
        assert!(take(&mut limiter, 500, later(START, Duration::from_secs(60))).is_none());
        take(&mut limiter, 500, free).unwrap();
        assert!(take(&mut limiter, 1, free).is_none());
    }

    #[test]
    fn what_was_never_sent_takes_nothing() {
        let mut limiter = limiter(UseLimits {
            max_concurrent: Some(1),
            rpm: Some(1),
            tpm: Some(10),
        });
        for _ in 0..3 {
            let granted = take(&mut limiter, 10, START).unwrap();
            assert!(take(&mut limiter, 1, START).is_none());
            limiter.give_back("m", &granted, End::Unsent, START);
        }
        let granted = take(&mut limiter, 10, START).unwrap();
        limiter.give_back("m", &granted, End::Used(Some(0)), START);
        assert!(take(&mut limiter, 1, START).is_none(), "it was sent");
    }

    #[test]
    fn no_amount_that_is_told_lasts_longer_than_a_minute() {
        let mut limiter = limiter(UseLimits {
            tpm: Some(1000),
            ..UseLimits::default()
        });
        let mut now = START;
        for used in [u64::MAX, 0, u64::MAX, 600] {
            let granted = take(&mut limiter, 600, now).unwrap();
            limiter.give_back("m", &granted, End::Used(Some(used)), START);
            now = later(now, Duration::from_secs(61));
        }
        take(&mut limiter, 600, now).unwrap();
        assert!(take(&mut limiter, 600, now).is_none(), "1200 are too many");
    }

    #[test]
    fn models_that_are_idle_are_let_go() {
        let mut limiter = limiter(UseLimits {
            rpm: Some(5),
            ..UseLimits::default()
        });
        let mut now = START;
        for n in 0..20_000 {
            let model = format!("m{n}").into();
            let wanted = Use {
                model: &model,
                tokens: 0,
                hurried: false,
            };
            limiter.take(wanted, now).unwrap();
            now = later(now, Duration::from_millis(100));
            assert!(limiter.models.len() <= 1300, "those of two minutes");
            assert_eq!(limiter.models.len(), limiter.rounds.len());
        }
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
                let free = free_at(&limiter, "m", now).is_none();
                let took = take(&mut limiter, 0, now).is_some();
                prop_assert_eq!(took, free);
                if took {
                    granted.push(now);
                }
                let minute = granted.iter().filter(|at| later(**at, Duration::from_secs(60)) > now);
                prop_assert!(minute.count() <= limit);
            }
            // It is not stricter than a second more than a minute.
            if let Some(free) = free_at(&limiter, "m", now) {
                let oldest = granted[granted.len() - limit];
                prop_assert!(free <= later(oldest, Duration::from_secs(61)));
            }
        }
    }
}
