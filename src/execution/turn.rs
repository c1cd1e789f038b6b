//! Whose turn it is: a ready credential, or what there is when nobody is ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use super::Engine;
use super::attempts::Turn;
use super::call::Call;
use super::plan::{Again, Owes, Plan, Retry};
use super::refusal::{Report, misplaced, nobody, others_wait, refused_format, unaffordable};
use crate::Timestamp;
use crate::auth::Auth;
use crate::clock::until;
use crate::error::Error;
use crate::executor::{Provider, ProviderExecutor};
use crate::registry::{Lease, Moment, Permit, Query, Supply, Tried};
use crate::request::{Addressed, Options, Request};
use crate::runtime::guard;
use crate::selection::Candidates;

/// One provider of a call.
pub(super) struct Asked<'a> {
    pub(super) provider: &'a Arc<str>,
    executor: &'a dyn ProviderExecutor,
    pub(super) request: Addressed<'a>,
}

/// A credential that is this call's to use.
struct Taken {
    auth: Arc<Auth>,
    permit: Option<Box<Permit>>,
    lease: Lease,
}

impl Engine {
    /// Who is asked next; this may wait for somebody to return. An error ends the call.
    pub(super) fn next_turn<'c>(
        &self,
        call: &'c Call<'_>,
        plan: &mut Plan,
    ) -> Result<Turn<'c>, Error> {
        loop {
            call.check(plan.last_attempt.as_ref())?;
            if let Some(again) = plan.again.take()
                && let Some(turn) = self.once_more(call, &again)
            {
                return Ok(turn);
            }
            if let Some(turn) = self.ready(call, plan)? {
                return Ok(turn);
            }
            if self.backs_off(call, plan) || self.waits(call, plan) {
                continue;
            }
            if let Some(turn) = self.floor(call, plan) {
                return Ok(turn);
            }
            if let Some(turn) = self.ended_token(call, plan) {
                return Ok(turn);
            }
            return Err(self.exhausted(call, plan));
        }
    }

    /// A ready credential of the first provider that has one which the call may still try.
    fn ready<'c>(&self, call: &'c Call<'_>, plan: &mut Plan) -> Result<Option<Turn<'c>>, Error> {
        while let Some(provider) = call.in_order(plan.start).nth(plan.exhausted) {
            let asked = match ask_for(call, provider) {
                Ok(asked) => asked,
                Err(refusal) => {
                    plan.refuse(refusal);
                    continue;
                }
            };
            if plan.has_given_up(asked.provider) {
                plan.next_provider();
                continue;
            }
            let query = query_at(Moment::TIMELESS, call, &asked, Some(&plan.tried));
            if self.services.registry.is_behind(query, plan.place.as_ref()) {
                plan.refuse(others_wait(asked.provider));
                continue;
            }
            let mut taken = match self.pick(call, &asked, plan)? {
                Ok(taken) => taken,
                Err(refusal) => {
                    plan.refuse(refusal);
                    continue;
                }
            };
            if !self.affords(plan, asked.provider) {
                taken.lease.unsent();
                plan.refuse(unaffordable(asked.provider));
                continue;
            }
            plan.place = None;
            return Ok(Some(asked.turn(taken)));
        }
        Ok(None)
    }

    /// A ready credential, or why there is none. An error of the selector ends the call.
    fn pick(
        &self,
        call: &Call<'_>,
        asked: &Asked<'_>,
        plan: &Plan,
    ) -> Result<Result<Taken, Error>, Error> {
        let query = |now| query_at(now, call, asked, Some(&plan.tried));
        let taken = self.choose(query, call.options, reckoned(&asked.request))?;
        let now = || self.services.moment();
        Ok(taken.ok_or_else(|| nobody(&self.services.registry, query(now()))))
    }

    /// Asks the selector until its choice can be had, or it makes none.
    fn choose<'q>(
        &self,
        query_at: impl Fn(Moment) -> Query<'q>,
        options: &Options,
        tokens: u64,
    ) -> Result<Option<Taken>, Error> {
        let registry = &self.services.registry;
        let selector = self.selector();
        let now = || self.services.moment();
        // Reading the clock costs as much as half a pick, and where nobody is out it says nothing.
        let mut query = query_at(if registry.may_anybody_be_out() {
            now()
        } else {
            Moment::TIMELESS
        });
        loop {
            let candidates = Candidates::new(registry, &*self.services.clock, query);
            let picked = guard(
                || "the selector".to_owned(),
                || selector.pick(&candidates, options),
            )
            .flatten()?;
            let picked = match picked {
                Some(candidate) if candidate.was_offered_by(&candidates) => candidate.into_picked(),
                // Kept from another call: good only if it is a candidate of this one.
                Some(candidate) => match registry.ready(query, &candidate.id) {
                    Some(picked) => picked,
                    None => return Err(misplaced(&candidate)),
                },
                None => return Ok(None),
            };
            if !self.refresh.has_token(&picked.auth) {
                // It is not ready until a refresh has brought another one.
                query = query_at(now());
                continue;
            }
            if query.now == Moment::TIMELESS && (picked.needs_permit || picked.limited) {
                // Somebody has failed in this moment.
                query = query_at(now());
            }
            let permit = match self.policy.probes().filter(|_| picked.needs_permit) {
                None => None,
                Some(probes) => {
                    match registry.probe(query, &picked.member.id, probes.patience) {
                        // Somebody else was faster.
                        None => {
                            query = query_at(now());
                            continue;
                        }
                        permit => permit.map(Box::new),
                    }
                }
            };
            let Some((lease, auth)) = registry.lease(query, picked, tokens) else {
                // Its limits are reached.
                query = query_at(now());
                continue;
            };
            return Ok(Some(Taken {
                auth,
                permit,
                lease,
            }));
        }
    }

    /// Whether a call would find somebody: for benches.
    #[cfg(feature = "testing")]
    pub(crate) fn picks(&self, provider: &str, model: &str, options: &Options) -> bool {
        let query = |now| Query {
            provider,
            model,
            tried: None,
            pinned: options.pinned.as_deref(),
            now,
        };
        matches!(self.choose(query, options, 0), Ok(Some(_)))
    }

    /// Whether the provider's budget has what another attempt costs.
    fn affords(&self, plan: &mut Plan, provider: &Arc<str>) -> bool {
        if !plan.has_asked(provider) {
            return true;
        }
        let round = plan.round(provider);
        let granted = match round.owes {
            Owes::Nothing => true,
            Owes::Retry => self.budgets.retry(provider),
            Owes::Failover => self.budgets.failover(provider),
        };
        if granted {
            round.owes = Owes::Nothing;
        } else {
            round.given_up = true;
        }
        granted
    }

    /// A credential that was asked already. `None` when it is gone, or somebody else tries it.
    fn once_more<'c>(&self, call: &'c Call<'_>, again: &Again) -> Option<Turn<'c>> {
        let mut providers = call.providers.iter();
        let provider = providers.find(|provider| provider.name == again.provider)?;
        let asked = ask_for(call, provider).ok()?;
        let query = self.query(call, &asked, None);
        let registry = &self.services.registry;
        let picked = registry.member(query, &again.id)?;
        let needs_permit = picked.needs_permit;
        let (mut lease, auth) = registry.lease(query, picked, reckoned(&asked.request))?;
        let permit = match self.policy.probes().filter(|_| needs_permit) {
            None => None,
            Some(probes) => match registry.insist(query, &again.id, probes.patience) {
                Some((_, permit)) => Some(Box::new(permit)),
                None => {
                    lease.unsent();
                    return None;
                }
            },
        };
        Some(asked.turn(Taken {
            auth,
            permit,
            lease,
        }))
    }

    /// Waits before the same credential is tried again. False when that is not to be.
    fn backs_off(&self, call: &Call<'_>, plan: &mut Plan) -> bool {
        let (Some(back_off), Some(Retry { whom, retry_after })) =
            (self.policy.back_off(), plan.retry.take())
        else {
            return false;
        };
        let wait = back_off.wait(plan.retries, self.services.random.fraction());
        let wait = if retry_after > wait {
            if retry_after > self.patience_left(call, plan) {
                return false;
            }
            plan.waited = plan.waited.saturating_add(retry_after);
            retry_after
        } else {
            wait
        };
        if !call.has_time_for(wait) || !self.affords(plan, &whom.provider) {
            return false;
        }
        plan.retries += 1;
        log::debug!("trying {} again in {wait:?}", whom.id);
        self.pause(call, wait, &never());
        plan.again = Some(whom);
        true
    }

    /// Waits for the credential that returns first. False when nobody returns soon enough.
    fn waits(&self, call: &Call<'_>, plan: &mut Plan) -> bool {
        let patience = self.patience_left(call, plan);
        // For a permit, a call with a deadline waits until then.
        let for_a_permit = match call.time_left() {
            Some(left) if !self.max_wait(call).is_zero() => left,
            _ => patience,
        };
        if patience.max(for_a_permit).is_zero() {
            plan.place = None;
            return false;
        }
        let registry = &self.services.registry;
        let open: Vec<Asked<'_>> = Self::still_open(call, plan).collect();
        for asked in &open {
            // Who is out may be tried again when it returns.
            let query = self.query(call, asked, None);
            plan.tried.retain(|id| !registry.is_out(query, id));
        }
        let queries = || {
            open.iter()
                .map(|asked| self.query(call, asked, Some(&plan.tried)))
        };
        // From here on nobody's return is missed, and nobody overtakes this call.
        let waiting = plan.place.take();
        let waiting = waiting.unwrap_or_else(|| registry.wait(queries()));
        let now = self.services.clock.now();
        let mut earliest: Option<Timestamp> = None;
        let mut any_full = false;
        let mut any_refreshing = false;
        let mut any_ahead = false;
        for query in queries() {
            match registry.supply(query) {
                Supply::Ready if registry.is_behind(query, Some(&waiting)) => any_full = true,
                // It is woken when it is first: until then another call watches the time.
                Supply::Blocked {
                    earliest,
                    full,
                    refreshing,
                    ..
                } if registry.is_behind(query, Some(&waiting)) => {
                    any_full |= full;
                    any_ahead |= refreshing;
                    any_ahead |= earliest.is_some_and(|at| until(now, at) <= patience);
                }
                Supply::Ready if !plan.looked_again => {
                    plan.looked_again = true;
                    plan.begin_again();
                    plan.place = Some(waiting);
                    return true;
                }
                Supply::Blocked {
                    earliest: first,
                    full,
                    refreshing,
                    ..
                } => {
                    any_full |= full;
                    any_refreshing |= refreshing;
                    earliest = match (earliest, first) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                }
                Supply::Nobody | Supply::Ready => {}
            }
        }
        let wait = match earliest.map(|at| until(now, at)) {
            Some(wait) if wait <= patience && call.has_time_for(wait) => wait,
            // A permit may come back at any moment, and so may a token.
            _ if any_full => for_a_permit,
            _ if (any_refreshing || any_ahead) && !patience.is_zero() => {
                patience.min(call.time_left().unwrap_or(Duration::MAX))
            }
            _ => return false,
        };
        log::debug!("nobody is ready: waiting {wait:?}");
        let started = self.services.clock.monotonic();
        self.pause(call, wait, waiting.woken());
        let waited = self.services.clock.monotonic() - started;
        plan.waited = plan.waited.saturating_add(waited);
        plan.looked_again = false;
        plan.begin_again();
        plan.place = Some(waiting);
        true
    }

    /// The credential that is due soonest, of those that only a fault of their provider keeps out.
    fn floor<'c>(&self, call: &'c Call<'_>, plan: &Plan) -> Option<Turn<'c>> {
        if !self.policy.floor() {
            return None;
        }
        let patience = self.policy.probes().map(|probes| probes.patience);
        Self::still_open(call, plan)
            .filter(|asked| !plan.has_asked(asked.provider))
            .find_map(|asked| {
                let query = self.query(call, &asked, Some(&plan.tried));
                let registry = &self.services.registry;
                let (picked, permit) = registry.floor(query, patience.unwrap_or_default())?;
                log::debug!(
                    "everybody is out for a while: {} is asked all the same",
                    picked.member.id
                );
                let (lease, auth) = registry.lease(query, picked, reckoned(&asked.request))?;
                Some(asked.turn(Taken {
                    auth,
                    permit: Some(Box::new(permit)),
                    lease,
                }))
            })
    }

    /// The last resort where tokens have ended and no refresh has brought others in time: the old one is sent once. The clock may be
    /// wrong.
    fn ended_token<'c>(&self, call: &'c Call<'_>, plan: &mut Plan) -> Option<Turn<'c>> {
        if std::mem::replace(&mut plan.sent_ended_token, true) {
            return None;
        }
        Self::still_open(call, plan).find_map(|asked| {
            let query = self.query(call, &asked, Some(&plan.tried));
            let registry = &self.services.registry;
            let picked = registry.with_ended_token(query)?;
            log::debug!(
                "the token of credential {} has ended, and is sent as the last resort",
                picked.member.id
            );
            let (lease, auth) = registry.lease(query, picked, reckoned(&asked.request))?;
            let turn = asked.turn(Taken {
                auth,
                permit: None,
                lease,
            });
            Some(Turn {
                has_ended: true,
                ..turn
            })
        })
    }

    /// The error of a call that nobody is left for.
    fn exhausted(&self, call: &Call<'_>, plan: &mut Plan) -> Error {
        let mut report = Report::default();
        for provider in call.in_order(plan.start) {
            if let Ok(asked) = ask_for(call, provider) {
                let query = self.query(call, &asked, None);
                report.add(self.services.registry.shortage(query, MOST_LISTED));
            }
        }
        let asked_anybody = plan.last_attempt.is_some();
        let error = std::mem::take(plan).into_error();
        report.attach_to(error, asked_anybody, self.services.clock.now())
    }

    /// The providers of the call that it is not done with, in its order.
    fn still_open<'c, 'a>(
        call: &'c Call<'a>,
        plan: &Plan,
    ) -> impl Iterator<Item = Asked<'c>> + use<'c, 'a> {
        let given_up: Vec<Arc<str>> = plan
            .rounds
            .iter()
            .filter(|round| round.given_up)
            .map(|round| Arc::clone(&round.provider))
            .collect();
        call.in_order(plan.start)
            .filter_map(|provider| ask_for(call, provider).ok())
            .filter(move |asked| !given_up.contains(asked.provider))
    }

    fn query<'q>(
        &self,
        call: &Call<'q>,
        asked: &'q Asked<'_>,
        tried: Option<&'q Tried>,
    ) -> Query<'q> {
        query_at(self.services.moment(), call, asked, tried)
    }

    /// How much longer the call may wait for credentials.
    fn patience_left(&self, call: &Call<'_>, plan: &Plan) -> Duration {
        self.max_wait(call).saturating_sub(plan.waited)
    }

    fn max_wait(&self, call: &Call<'_>) -> Duration {
        call.options.max_wait.unwrap_or(self.policy.max_wait())
    }

    /// Waits until the time is over, somebody is woken, or the call is over.
    fn pause(&self, call: &Call<'_>, wait: Duration, woken: &Receiver<()>) {
        let timer: Receiver<Instant> = self.services.clock.after(wait);
        select! {
            recv(timer) -> _ => {}
            recv(woken) -> _ => {}
            recv(call.cancelled()) -> _ => {}
            recv(self.services.pool.stopping().cancelled()) -> _ => {}
        }
    }
}

impl<'a> Asked<'a> {
    fn turn(self, taken: Taken) -> Turn<'a> {
        Turn {
            provider: self.provider,
            executor: self.executor,
            request: self.request,
            auth: taken.auth,
            permit: taken.permit,
            lease: taken.lease,
            has_ended: false,
        }
    }
}

/// A provider's executor and what to ask of it, or why it cannot be asked.
fn ask_for<'c>(call: &'c Call<'_>, provider: &'c Provider) -> Result<Asked<'c>, Error> {
    let executor = &**provider.executor()?;
    let request = call.request.addressed_to(&provider.name);
    match refused_format(&provider.name, executor, &request) {
        Some(refusal) => Err(refusal),
        None => Ok(Asked {
            provider: &provider.name,
            executor,
            request,
        }),
    }
}

fn query_at<'q>(
    now: Moment,
    call: &Call<'q>,
    asked: &'q Asked<'_>,
    tried: Option<&'q Tried>,
) -> Query<'q> {
    Query {
        provider: asked.provider,
        model: &asked.request.model,
        tried,
        pinned: call.options.pinned.as_deref(),
        now,
    }
}

/// How many tokens a request is reckoned with until its answer says: one for every four bytes.
fn reckoned(request: &Request) -> u64 {
    u64::try_from(request.payload.len() / 4).unwrap_or(u64::MAX)
}

/// How many credentials of each provider an error names one by one.
const MOST_LISTED: usize = 64;
