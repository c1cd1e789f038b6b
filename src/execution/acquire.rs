//! Acquiring a credential: the states of a call between two attempts, and whether it waits or fails.
//!
//! ```text
//!              +-> Renewed ------------------+
//! an attempt --+-> Look ---------------------+-> the next attempt
//!              +-> BackOff -> Look           |
//!                  Look -> Queued -> Look ---+
//!                          Queued -> LastResort -> the call's error
//! ```
//!
//! [`Acquire`] names the states. Each step ends in an attempt, waits, or goes on to a state that does: nothing turns in a circle
//! without one of both, and the call's deadline and cancellation are looked at in each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use super::Engine;
use super::call_state::{CallState, Closed, Retry};
use super::context::Call;
use super::pick::{Choice, Route, ask_for, still_open};
use super::refusals;
use super::refusals::{Refusal, Report};
use super::retry_loop::Dispatch;
use crate::clock::until;
use crate::error::Error;
use crate::registry::{Moment, SharedState, Supply, Ticket};

/// Where a call is between two attempts.
pub(super) enum Acquire {
    /// The credential that got a new token is tried once more, before any other.
    Renewed {
        hop: usize,
        member: Arc<SharedState>,
    },
    /// Searches for a ready credential, hop by hop.
    Look(Look),
    /// Time passes before the next attempt.
    BackOff {
        wait: Duration,
        /// Credentials that failed by a fault of their provider are tried again then.
        retries: bool,
    },
    /// No credential is ready: the call is in the wait queue until one returns.
    Queued { place: Ticket, wait: Duration },
    /// No credential returns in time: only a last resort may be tried.
    LastResort(Refusal),
}

/// How a call came to look.
#[derive(Default)]
pub(super) struct Look {
    /// The call's place in the wait queue, kept until it has a credential.
    place: Option<Ticket>,
    /// The call has lost a race for a ready credential since its last wait.
    has_lost: bool,
}

/// Where a state leads.
enum Step<'c> {
    Attempt(Dispatch<'c>),
    To(Acquire),
}

impl Engine {
    /// Acquires the credential of the next attempt; this may wait until one returns. An error ends the call.
    pub(super) fn acquire<'c>(
        &self,
        call: &'c Call<'_>,
        progress: &mut CallState,
        from: Acquire,
    ) -> Result<Dispatch<'c>, Error> {
        let mut state = from;
        loop {
            call.check(progress.last_attempt.as_ref())?;
            match self.step(call, progress, state)? {
                Step::Attempt(turn) => return Ok(turn),
                Step::To(next) => state = next,
            }
        }
    }

    fn step<'c>(
        &self,
        call: &'c Call<'_>,
        progress: &mut CallState,
        state: Acquire,
    ) -> Result<Step<'c>, Error> {
        Ok(match state {
            Acquire::Renewed { hop, member } => match self.renewed(call, hop, &member) {
                Some(turn) => Step::Attempt(turn),
                None => Step::To(Acquire::default()),
            },
            Acquire::Look(look) => match self.look(call, progress, &look)? {
                Ok(turn) => Step::Attempt(turn),
                Err(refusal) => Step::To(self.none_ready(call, progress, look, refusal)),
            },
            Acquire::BackOff { wait, retries } => {
                if retries {
                    progress.try_again();
                }
                // Of what that has opened again, too.
                self.readmit_unavailable(call, progress);
                self.pause(call, wait, &never());
                Step::To(Acquire::default())
            }
            Acquire::Queued { place, wait } => {
                log::debug!("no credential is ready: waiting {wait:?}");
                let waited = self.pause(call, wait, place.woken());
                progress.waited = progress.waited.saturating_add(waited);
                Step::To(Acquire::Look(Look {
                    place: Some(place),
                    has_lost: false,
                }))
            }
            Acquire::LastResort(refusal) => {
                match self
                    .hurried(call, progress)
                    .or_else(|| self.floor(call, progress))
                    .or_else(|| self.ended_token(call, progress))
                {
                    Some(turn) => Step::Attempt(turn),
                    None => return Err(self.exhausted(call, progress, refusal)),
                }
            }
        })
    }

    /// A ready credential of the first hop that has one which the call may still try, or why there is none. An error ends the call.
    fn look<'c>(
        &self,
        call: &'c Call<'_>,
        progress: &mut CallState,
        look: &Look,
    ) -> Result<Result<Dispatch<'c>, Refusal>, Error> {
        let mut refusal = Refusal::NoProvider;
        for hop in 0..call.hops.len() {
            let asked = match ask_for(call, hop) {
                Ok(asked) => asked,
                Err(error) => {
                    refusal = refusal.followed_by(Refusal::Unfit(error));
                    continue;
                }
            };
            if !progress.is_open(hop) {
                continue;
            }
            let tried = progress.tried_at(hop);
            let query = asked.query(call, Moment::TIMELESS, tried);
            if self.services.registry.is_behind(query, look.place.as_ref()) {
                let now = self.services.moment();
                let query = asked.query(call, now, tried);
                self.services.registry.wake_first(query);
                // A credential without a limit of concurrent calls is taken from no other call.
                if !self.services.registry.is_anybody_unlimited(query) {
                    let others = Refusal::OthersWait(Arc::clone(asked.provider));
                    refusal = refusal.followed_by(others);
                    continue;
                }
            }
            let owes_retry = progress.owes_retry(hop);
            let payment = self.budgets.retry(asked.provider, owes_retry);
            let Some(payment) = payment else {
                progress.round(hop).closed = Some(Closed::ForGood);
                refusal = refusal.followed_by(Refusal::NoBudget(Arc::clone(asked.provider)));
                continue;
            };
            match self.choose(call, asked.wanted(), tried)? {
                Choice::Acquired(taken) => {
                    payment.spend();
                    progress.round(hop).owes_retry = false;
                    return Ok(Ok(asked.turn(taken)));
                }
                Choice::None => {
                    refusal = refusal.followed_by(Refusal::Nobody(hop));
                }
                Choice::Lost => refusal = Refusal::Lost(hop),
            }
        }
        Ok(Err(refusal))
    }

    /// What a call does for which no credential was ready.
    fn none_ready(
        &self,
        call: &Call<'_>,
        progress: &mut CallState,
        look: Look,
        refusal: Refusal,
    ) -> Acquire {
        if let Some(back_off) = self.back_off(call, progress) {
            return back_off;
        }
        self.wait_in_queue(call, progress, look, &refusal)
            .unwrap_or(Acquire::LastResort(refusal))
    }

    /// A back-off before the credentials that failed by a fault of their provider are tried again: as much as the first of them needs.
    /// `None` when that is not to be.
    fn back_off(&self, call: &Call<'_>, progress: &mut CallState) -> Option<Acquire> {
        let back_off = self.policy.back_off()?;
        let owed = progress.retries_owed();
        let returns = |retry: &Retry| (retry.told.max(self.returns_in(call, retry)), retry.told);
        let (returns, told) = owed.map(returns).min()?;
        let by_itself = back_off.wait(progress.retries, self.services.random.fraction());
        let wait = by_itself.max(returns);
        if told > by_itself || wait > by_itself.max(back_off.most) {
            // Then the wait is one for a credential that is unavailable.
            if wait > self.patience_left(call, progress) {
                return None;
            }
            progress.waited = progress.waited.saturating_add(wait);
        }
        if !call.has_time_for(wait) {
            return None;
        }
        log::debug!("retrying in {wait:?}");
        Some(Acquire::BackOff {
            wait,
            retries: true,
        })
    }

    /// How long the credential of the failed attempt stays unavailable.
    fn returns_in(&self, call: &Call<'_>, retry: &Retry) -> Duration {
        let Ok(asked) = ask_for(call, retry.hop) else {
            return Duration::ZERO;
        };
        let query = asked.query(call, self.services.moment(), None);
        let at = self.services.registry.out_until(query, &retry.member.id);
        at.map_or(Duration::ZERO, |at| until(self.services.clock.now(), at))
    }

    /// Before a wait: credentials that are unavailable may be tried again when they return, in that wait or after it.
    fn readmit_unavailable(&self, call: &Call<'_>, progress: &mut CallState) {
        let open: Vec<Route<'_>> = still_open(call, progress).collect();
        for asked in &open {
            let query = asked.query(call, self.services.moment(), None);
            let registry = &self.services.registry;
            let is_ready =
                |member: &Arc<SharedState>| registry.out_until(query, &member.id).is_none();
            progress.retain_tried(asked.hop, is_ready);
        }
    }

    /// Waits for the credential that returns first. `None` when none returns soon enough.
    fn wait_in_queue(
        &self,
        call: &Call<'_>,
        progress: &mut CallState,
        look: Look,
        refusal: &Refusal,
    ) -> Option<Acquire> {
        let patience = self.patience_left(call, progress);
        let patience = call.time_left().map_or(patience, |left| left.min(patience));
        if patience.is_zero() {
            return None;
        }
        let registry = &self.services.registry;
        self.readmit_unavailable(call, progress);
        let open: Vec<Route<'_>> = still_open(call, progress).collect();
        let queries = || {
            let progress = &*progress;
            open.iter().map(move |asked| {
                let tried = progress.tried_at(asked.hop);
                asked.query(call, self.services.moment(), tried)
            })
        };
        // From here on the return of no credential is missed, and no later call overtakes this one.
        let place = match look.place {
            Some(place) => {
                // A link may be closed to it by now: there, no other call waits for this one.
                registry.wait_for(&place, queries());
                place
            }
            None => registry.wait(queries()),
        };
        let now = self.services.clock.now();
        let mut wait: Option<Duration> = None;
        let mut wait_for = |time: Duration| wait = Some(wait.map_or(time, |wait| wait.min(time)));
        for query in queries() {
            let is_behind = registry.is_behind(query, Some(&place));
            match registry.supply(query) {
                // The call that came before takes the credential, and then wakes the next.
                Supply::Ready if is_behind => wait_for(patience),
                Supply::Ready if !look.has_lost => {
                    return Some(Acquire::Look(Look {
                        place: Some(place),
                        has_lost: true,
                    }));
                }
                Supply::Ready if matches!(refusal, Refusal::Lost(_)) => {
                    wait_for(AFTER_LOST_RACES.min(patience));
                }
                Supply::Blocked {
                    earliest,
                    full,
                    refreshing,
                    ..
                } => {
                    let returns = earliest.map(|at| until(now, at));
                    let in_time =
                        |returns: &Duration| *returns <= patience && call.has_time_for(*returns);
                    match returns.filter(in_time) {
                        // The first call in the queue watches the time, and wakes the next.
                        Some(_) if is_behind => wait_for(patience),
                        Some(returns) => wait_for(returns),
                        // A permit may come back at any moment, and so may a token.
                        None if full || refreshing => wait_for(patience),
                        None => {}
                    }
                }
                Supply::Ready | Supply::Nobody => {}
            }
        }
        Some(Acquire::Queued { place, wait: wait? })
    }

    /// The error of a call for which no credential is left.
    pub(super) fn exhausted(
        &self,
        call: &Call<'_>,
        progress: &mut CallState,
        refusal: Refusal,
    ) -> Error {
        let registry = &self.services.registry;
        let mut report = Report::default();
        for hop in 0..call.hops.len() {
            if let Ok(asked) = ask_for(call, hop) {
                let query = asked.query(call, self.services.moment(), None);
                report.add(registry.shortage(query, MOST_LISTED));
            }
        }
        let now = self.services.clock.now();
        match progress.last_attempt.take() {
            Some(error) => report.attach_to(error, true, now),
            None => {
                let mut error = self.refused(call, progress, refusal);
                if let Some(pinned) = &call.pinned {
                    error = error.with_auth_id(&pinned.auth_id);
                }
                report.attach_to(error, false, now)
            }
        }
    }

    fn refused(&self, call: &Call<'_>, progress: &CallState, refusal: Refusal) -> Error {
        match refusal {
            Refusal::NoProvider => refusals::no_provider(),
            Refusal::Unfit(error) => error,
            Refusal::OthersWait(provider) => refusals::others_wait(&provider),
            Refusal::NoBudget(provider) => refusals::no_budget(&provider),
            Refusal::Nobody(hop) | Refusal::Lost(hop) => {
                match ask_for(call, self.most_telling(call, progress, hop)) {
                    Err(error) => error,
                    Ok(asked) => {
                        let tried = progress.tried_at(asked.hop);
                        let query = asked.query(call, self.services.moment(), tried);
                        let (registry, now) = (&self.services.registry, self.services.clock.now());
                        refusals::nobody(registry, query, call.owned_in(asked.provider), now)
                    }
                }
            }
        }
    }

    /// The last hop, unless none of its credentials is left to try and another link of the chain has one: then time may help.
    fn most_telling(&self, call: &Call<'_>, progress: &CallState, last: usize) -> usize {
        let has_any = |hop: usize| {
            ask_for(call, hop).is_ok_and(|asked| {
                let query = asked.query(call, self.services.moment(), progress.tried_at(hop));
                self.services.registry.supply(query) != Supply::Nobody
            })
        };
        let is_of_another = |hop: &usize| !call.hops[*hop].is_of_link_of(&call.hops[last]);
        let mut others = (0..call.hops.len()).filter(is_of_another).peekable();
        if others.peek().is_none() || has_any(last) {
            return last;
        }
        others.find(|hop| has_any(*hop)).unwrap_or(last)
    }

    /// How much longer the call may wait for credentials.
    pub(super) fn patience_left(&self, call: &Call<'_>, progress: &CallState) -> Duration {
        self.max_wait(call).saturating_sub(progress.waited)
    }

    pub(super) fn max_wait(&self, call: &Call<'_>) -> Duration {
        call.options.max_wait.unwrap_or(self.policy.max_wait())
    }

    /// Waits until the time is over, the call is woken, or the call or the pool ends. How long that was.
    fn pause(&self, call: &Call<'_>, wait: Duration, woken: &Receiver<()>) -> Duration {
        let started = self.services.clock.monotonic();
        let timer: Receiver<Instant> = self.services.clock.after(wait);
        select! {
            recv(timer) -> _ => {}
            recv(woken) -> _ => {}
            recv(call.cancelled()) -> _ => {}
            recv(self.services.pool.stopping().cancelled()) -> _ => {}
        }
        let waited = self.services.clock.monotonic() - started;
        self.services.call_counters.waited(waited);
        waited
    }
}

impl Default for Acquire {
    fn default() -> Self {
        Self::Look(Look::default())
    }
}

/// How long a call yields to others that were faster twice.
const AFTER_LOST_RACES: Duration = Duration::from_millis(5);

/// How many credentials of each provider an error names one by one.
const MOST_LISTED: usize = 64;
