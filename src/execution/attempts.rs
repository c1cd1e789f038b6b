//! The attempt loop: whose turn it is, one attempt, and what follows from its failure.

use std::sync::Arc;

use super::call::Call;
use super::correlation::Seen;
use super::plan::{Again, Owes, Plan, Retry};
use super::refusal::token_ended;
use super::{Engine, Served};
use crate::auth::{Auth, Metadata, scrub};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ProviderExecutor};
use crate::fault::Fault;
use crate::limits::RateLimits;
use crate::outcome::{Outcome, OutcomeKind};
use crate::policy::{Scope, Verdict};
use crate::registry::{Effect, Lease, Member, Permit, Query, Supply};
use crate::request::{Addressed, Request};
use crate::runtime::guard;

/// Who is asked next.
pub(super) struct Turn<'a> {
    pub(super) provider: &'a Arc<str>,
    pub(super) executor: &'a dyn ProviderExecutor,
    pub(super) request: Addressed<'a>,
    pub(super) auth: Arc<Auth>,
    /// Held until the result is known.
    pub(super) permit: Option<Box<Permit>>,
    pub(super) lease: Lease,
    /// Its token is known to have ended: it is sent as the last resort.
    pub(super) has_ended: bool,
}

/// What to ask an executor: the one thing in which plain calls, counts and streams differ. It keeps the answer.
pub(super) type Ask<'a> =
    dyn FnMut(&dyn ProviderExecutor, &Attempt, &Auth, &Request) -> Result<(), Error> + 'a;

/// A failed attempt.
struct Failed<'a> {
    member: Arc<Member>,
    provider: &'a Arc<str>,
    request: Addressed<'a>,
    /// The metadata that the attempt was made with.
    token: Option<Metadata>,
    error: Error,
    /// It was made with a token that was known to have ended.
    had_ended: bool,
    _permit: Option<Box<Permit>>,
}

impl Engine {
    /// Tries providers and their credentials in turn until one serves or nothing is left to try.
    ///
    /// Failures are recorded here; the caller records the success, when it is one.
    pub(super) fn run<'c>(
        &self,
        call: &'c Call<'_>,
        ask: &mut Ask<'_>,
    ) -> Result<Served<'c>, Error> {
        self.services.pool.check_open()?;
        let names = call.providers.iter().map(|provider| &*provider.name);
        let start = self.rotation.advance(&call.request.model, names);
        let mut plan = Plan::beginning_at(start);
        plan.waited = call.waited;
        loop {
            let turn = self.next_turn(call, &mut plan)?;
            plan.attempts += 1;
            match self.attempt(call, plan.attempts, turn, ask) {
                Ok(served) => {
                    if plan.attempts == 1 {
                        self.budgets.served(served.provider);
                    }
                    return Ok(served);
                }
                Err(failed) => self.after(call, &mut plan, &failed)?,
            }
        }
    }

    /// One attempt: the executor is asked once.
    fn attempt<'c>(
        &self,
        call: &Call<'_>,
        number: u32,
        turn: Turn<'c>,
        ask: &mut Ask<'_>,
    ) -> Result<Served<'c>, Box<Failed<'c>>> {
        let Turn {
            provider,
            executor,
            request,
            auth,
            permit,
            mut lease,
            has_ended,
        } = turn;
        let attempt = call.attempt(number, &self.services);
        log::trace!("attempt {number} of the call: {} of {provider}", lease.id());
        let answer = guard(
            || format!("the executor for {provider}"),
            || ask(executor, &attempt, &auth, &request),
        )
        .flatten();
        let took = call.answered();
        match answer {
            Ok(()) => Ok(Served {
                provider,
                attempts: number,
                request,
                first_byte: took,
                permit,
                lease,
            }),
            Err(error) => {
                // What was not answered used nothing.
                lease.settle(0);
                let member = Arc::clone(lease.member());
                let id = &member.id;
                // Executors of the program's own may quote what they sent.
                let error = error.scrubbed(&|text: &str| scrub(text, &auth));
                let error = error.about(id).with_provider(provider);
                log::debug!("attempt {number} with {id} of {provider} failed: {error}");
                Err(Box::new(Failed {
                    member,
                    provider,
                    request,
                    token: auth.metadata.clone(),
                    error,
                    had_ended: has_ended,
                    _permit: permit,
                }))
            }
        }
    }

    /// Records a failed attempt and says in the plan how the call goes on. An error ends the call.
    fn after(&self, call: &Call<'_>, plan: &mut Plan, failed: &Failed<'_>) -> Result<(), Error> {
        let Failed {
            member,
            provider,
            request,
            error,
            ..
        } = failed;
        let id = &member.id;
        let outcome = |kind| call.outcome(id, provider, &request.model, kind);
        let now = || self.services.clock.now();
        plan.last_attempt = Some(error.clone());
        if call.ended_by_caller(error) {
            self.tell(outcome(OutcomeKind::Abandoned), true, now());
            call.check(plan.last_attempt.as_ref())?;
            return Err(error.clone());
        }
        if matches!(
            error.code(),
            ErrorCode::Unsupported | ErrorCode::UnsupportedFormat
        ) {
            // Not the credential's fault: no other one of this provider can do it either.
            self.tell(outcome(OutcomeKind::Abandoned), true, now());
            plan.round(provider).given_up = true;
            plan.tried.note(member);
            return self.check_attempts(call, plan);
        }
        let verdict = self.policy.classify(error);
        if failed.had_ended && verdict.refresh {
            // It says nothing new, and is not held against the credential.
            self.tell(outcome(OutcomeKind::Abandoned), true, now());
            plan.last_attempt = Some(token_ended(id, error));
            plan.tried.note(member);
            return self.check_attempts(call, plan);
        }
        let recorded = error.recorded();
        let outcome = outcome(OutcomeKind::Failure(Some(recorded.clone())));
        if verdict.refresh && !plan.renewed.contains(id) {
            plan.renewed.push(Arc::clone(id));
            plan.tried.note(member);
            if self.another_is_ready(call, plan, failed) && self.refresh.begin_for(id) {
                // The old token was refused, not the credential. Another one serves meanwhile.
                self.tell(outcome, true, now());
                return self.check_attempts(call, plan);
            }
            plan.tried.retain(|tried| *tried != **id);
            if self.renew(call, failed) {
                // The old token was refused, not the credential.
                self.tell(outcome, true, now());
                plan.again = Some(Again::of(failed));
                return self.check_attempts(call, plan);
            }
        }
        let shared = self.record_failure(outcome, failed, &recorded, &verdict);
        if !verdict.failover {
            return Err(error.clone());
        }
        self.go_on(plan, failed, &verdict, shared);
        self.check_attempts(call, plan)
    }

    /// Puts a failure into the registry and tells whoever listens. Whether it is one that several credentials share: then none
    /// of them is held responsible.
    fn record_failure(
        &self,
        outcome: Outcome<'_>,
        failed: &Failed<'_>,
        recorded: &Error,
        verdict: &Verdict,
    ) -> Option<usize> {
        let moment = self.services.moment();
        let now = moment.wall;
        let healthy = |limits: &Arc<RateLimits>| limits.is_healthy();
        let spared = matches!(verdict.scope, Scope::Request | Scope::Nobody);
        let known = if spared && failed.error.rate_limits().is_some_and(healthy) {
            self.apply(&outcome, None, &Effect::Healthy, moment)
        } else {
            self.apply_failure(&outcome, Some(recorded), verdict, moment)
        };
        let shared = self.sightings.note(Seen {
            provider: failed.provider,
            id: &failed.member.id,
            model: &failed.request.model,
            error: &failed.error,
            verdict,
            since: now,
            now: self.services.clock.monotonic(),
        });
        for sighting in shared.iter().flatten() {
            let registry = &self.services.registry;
            self.note_for_store(registry.pardon(
                &sighting.id,
                &sighting.model,
                sighting.since,
                moment,
            ));
        }
        self.tell(outcome, known, now);
        shared.map(|shared| shared.len())
    }

    /// What the plan is after a failure that lets the call go on.
    fn go_on(
        &self,
        plan: &mut Plan,
        failed: &Failed<'_>,
        verdict: &Verdict,
        shared: Option<usize>,
    ) {
        let Failed {
            member,
            provider,
            error,
            ..
        } = failed;
        let transient = verdict.fault.is_transient();
        plan.tried.note(member);
        plan.looked_again = false;
        plan.transient += u32::from(transient || verdict.fault == Fault::NotFound);
        let limits = error.rate_limits();
        let hopeless = limits.and_then(|limits| limits.should_retry) == Some(false);
        plan.retry = (transient && !hopeless && shared.is_none()).then(|| Retry {
            whom: Again::of(failed),
            retry_after: error.retry_after().unwrap_or_default(),
        });
        let most = self.policy.transient_failovers();
        let round = plan.round(provider);
        round.owes = if transient {
            Owes::Retry
        } else {
            Owes::Failover
        };
        round.faults += u32::from(verdict.scope == Scope::Provider);
        round.given_up |= shared.is_some() || most.is_some_and(|most| round.faults > most);
        if let Some(failures) = shared {
            log::warn!(
                "the last {failures} failures of {provider} are the same: no credential is held responsible"
            );
            plan.last_attempt = Some(error.clone().context(format_args!(
                "{provider} answered the same to several credentials: it is its fault or the request's, and no credential \
                 is held responsible"
            )));
        }
    }

    /// Ends the call when it has made as many attempts as it may.
    fn check_attempts(&self, call: &Call<'_>, plan: &mut Plan) -> Result<(), Error> {
        let most = call.options.max_attempts;
        let most_transient = self.policy.transient_attempts();
        if most.is_some_and(|most| plan.attempts >= most)
            || (most_transient > 0 && plan.transient >= most_transient)
        {
            return Err(std::mem::take(plan).into_error());
        }
        Ok(())
    }

    /// Whether another credential of the provider is ready.
    fn another_is_ready(&self, call: &Call<'_>, plan: &Plan, failed: &Failed<'_>) -> bool {
        let query = Query {
            provider: failed.provider,
            model: &failed.request.model,
            tried: Some(&plan.tried),
            pinned: call.options.pinned.as_deref(),
            now: self.services.moment(),
        };
        self.services.registry.supply(query) == Supply::Ready
    }

    /// Whether the credential has another token than the one that was refused: because somebody replaced it meanwhile, or
    /// because a refresh gives one now.
    fn renew(&self, call: &Call<'_>, failed: &Failed<'_>) -> bool {
        let Some(current) = self.services.registry.get(&failed.member.id) else {
            return false;
        };
        if current.is_api_key() {
            return false;
        }
        drop(current);
        let refused = failed.token.as_ref().map(|metadata| {
            let mut then = Auth::new(&**failed.provider);
            then.metadata = Some(metadata.clone());
            then
        });
        let has_another = || {
            let current = self.services.registry.get(&failed.member.id);
            let pair = refused.as_ref().zip(current.as_ref());
            pair.is_some_and(|(refused, current)| refused.access_token() != current.access_token())
        };
        if has_another() {
            return true;
        }
        let left = call
            .deadline
            .map(|deadline| deadline.saturating_duration_since(self.services.clock.monotonic()));
        let late = left.map_or_else(crossbeam_channel::never, |left| {
            self.services.clock.after(left)
        });
        self.refresh
            .refresh_while(&failed.member.id, &late, call.cancelled())
            .is_some_and(|refreshed| refreshed.is_ok())
            // A refresh that was too fresh to be asked for.
            || has_another()
    }
}

impl Again {
    fn of(failed: &Failed<'_>) -> Self {
        Self {
            provider: Arc::clone(failed.provider),
            id: Arc::clone(&failed.member.id),
        }
    }
}
