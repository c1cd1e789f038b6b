//! The retry loop: one attempt, and what follows from its failure (failover, retry, refresh, end).

use std::sync::Arc;
use std::time::Duration;

use super::acquire::Acquire;
use super::call_state::{CallState, Closed, Retry};
use super::context::Call;
use super::correlation::{Fingerprint, Seen};
use super::pick::ask_for;
use super::refusals::{Refusal, no_provider, token_ended};
use super::{Engine, Held, Served};
use crate::auth::{Auth, scrub};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ProviderExecutor};
use crate::failure_kind::FailureKind;
use crate::health::Transition;
use crate::limits::RateLimits;
use crate::observe::{LineNumber, Outcome, OutcomeKind};
use crate::panic::guard;
use crate::policy::{FailurePolicy, Scope, Verdict};
use crate::registry::{Lease, ProbeGuard, SharedState, Supply, Target};
use crate::request::{Addressed, Request};

/// Which credential is tried next.
pub(super) struct Dispatch<'a> {
    pub(super) hop: usize,
    pub(super) provider: &'a Arc<str>,
    pub(super) executor: &'a dyn ProviderExecutor,
    pub(super) request: Addressed<'a>,
    pub(super) auth: Arc<Auth>,
    /// Held until the result is known.
    pub(super) permit: Option<Box<ProbeGuard>>,
    pub(super) lease: Lease,
    /// Its token is known to have ended: it is sent as the last resort.
    pub(super) has_ended: bool,
}

/// What to ask an executor: the one thing in which plain calls, counts and streams differ. It keeps the answer.
pub(super) type Ask<'a> =
    dyn FnMut(&dyn ProviderExecutor, &Attempt, &Auth, &Request) -> Result<(), Error> + 'a;

/// A failed attempt.
struct Failed<'a> {
    hop: usize,
    member: Arc<SharedState>,
    provider: &'a Arc<str>,
    request: Addressed<'a>,
    /// What the attempt was made with.
    auth: Arc<Auth>,
    error: Error,
    /// It was made with a token that was known to have ended.
    had_ended: bool,
    /// Nothing was sent: a setting is wrong, of the credential or of something else.
    unsent: Option<Setting>,
    /// Where it is counted.
    line: LineNumber,
    held: Option<Held>,
}

/// Whose setting is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    OfTheCredential,
    OfAnother,
}

impl Engine {
    /// Tries the credentials of each hop in turn until one serves or nothing is left to try.
    ///
    /// Failures are recorded here; the caller records the success, when it is one.
    pub(super) fn run<'c>(
        &self,
        call: &'c Call<'_>,
        ask: &mut Ask<'_>,
    ) -> Result<Served<'c>, Error> {
        self.services.pool.check_open()?;
        let mut progress = CallState::default();
        progress.waited = call.waited;
        let mut next = Acquire::default();
        loop {
            let turn = self.acquire(call, &mut progress, next)?;
            progress.attempts += 1;
            let member = turn.lease.member();
            if let Some(last) = &progress.last_member {
                let with_the_same = Arc::ptr_eq(last, member) || last.id == member.id;
                self.services.call_counters.tried_again(with_the_same);
            }
            match self.attempt(call, &progress, turn, ask) {
                Ok(served) => {
                    self.budgets.served(served.provider, progress.attempts);
                    return Ok(served);
                }
                Err(failed) => {
                    progress.last_member = Some(Arc::clone(&failed.member));
                    next = self.after(call, &mut progress, *failed)?;
                }
            }
        }
    }

    /// One attempt: one call of the executor.
    fn attempt<'c>(
        &self,
        call: &Call<'_>,
        progress: &CallState,
        turn: Dispatch<'c>,
        ask: &mut Ask<'_>,
    ) -> Result<Served<'c>, Box<Failed<'c>>> {
        let Dispatch {
            hop,
            provider,
            executor,
            request,
            auth,
            permit,
            mut lease,
            has_ended,
        } = turn;
        let number = progress.attempts;
        let attempt = call.attempt(number, progress.last_attempt.as_ref(), &self.services);
        log::trace!("attempt {number} of the call: {} of {provider}", lease.id());
        let line = lease.member().tally().begin(&request.model);
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
                held: Held {
                    auth: Some(auth),
                    lease,
                    line,
                    permit,
                },
            }),
            Err(error) => {
                let member = Arc::clone(lease.member());
                let id = &member.id;
                // User-supplied executors may quote what they sent.
                let error = error.scrubbed(&|text: &str| scrub(text, &auth));
                let unsent = (*error.code() == ErrorCode::Config).then(|| match error.auth_id() {
                    Some(_) => Setting::OfTheCredential,
                    None => Setting::OfAnother,
                });
                match unsent {
                    Some(_) => lease.unsent(),
                    // What was not answered used nothing.
                    None => lease.settle(0),
                }
                let error = error.about(id).with_provider(provider);
                let error = error.with_model(&request.model);
                log::debug!("attempt {number} with {id} of {provider} failed: {error}");
                Err(Box::new(Failed {
                    hop,
                    member,
                    provider,
                    request,
                    auth,
                    error,
                    had_ended: has_ended,
                    unsent,
                    line,
                    held: Some(Held {
                        auth: None,
                        lease,
                        line,
                        permit,
                    }),
                }))
            }
        }
    }

    /// Records a failed attempt, and says how the call goes on. An error ends the call.
    fn after(
        &self,
        call: &Call<'_>,
        progress: &mut CallState,
        mut failed: Failed<'_>,
    ) -> Result<Acquire, Error> {
        let held = failed.held.take();
        let verdict = self.verdict(&failed);
        failed.error = FailurePolicy::settled(failed.error, &verdict);
        let failed = &failed;
        let Failed {
            hop,
            member,
            provider,
            request,
            error,
            ..
        } = failed;
        let (id, hop) = (&member.id, *hop);
        let outcome = |kind| call.outcome(id, provider, &request.model, kind);
        let now = || self.services.clock.now();
        if failed.unsent.is_none() || progress.last_attempt.is_none() {
            // What an upstream has said tells a caller more than a setting of ours.
            progress.last_attempt = Some(error.clone());
        }
        if call.ended_by_caller(error) {
            drop(held);
            self.tell_failed(failed, outcome(OutcomeKind::Abandoned), true, now());
            call.check(progress.last_attempt.as_ref())?;
            return Err(error.clone());
        }
        if matches!(
            error.code(),
            ErrorCode::Unsupported | ErrorCode::UnsupportedFormat
        ) {
            // Not the credential's fault: no other one of this provider can do it either.
            drop(held);
            self.tell_failed(failed, outcome(OutcomeKind::Abandoned), true, now());
            progress.round(hop).closed = Some(Closed::ForGood);
            progress.note_tried(hop, member);
            return self.go_on(call, progress);
        }
        if failed.had_ended && verdict.refresh {
            // It says nothing new, and is not held against the credential.
            drop(held);
            self.tell_failed(failed, outcome(OutcomeKind::Abandoned), true, now());
            let is_over = self.services.registry.is_revoked(id);
            progress.last_attempt = Some(token_ended(id, error, is_over));
            progress.note_tried(hop, member);
            return self.go_on(call, progress);
        }
        let recorded = error.recorded();
        let outcome = Outcome {
            fault: Some(verdict.fault),
            ..outcome(OutcomeKind::Failure(Some(recorded.clone())))
        };
        if call.is_spent() {
            if verdict.refresh && self.refresh.begin_for(id) {
                // The old token was refused, not the credential.
                drop(held);
                self.tell_failed(failed, outcome, true, now());
            } else {
                self.record_failure(outcome, failed, held, &recorded, &verdict);
            }
            return Err(error.clone());
        }
        if verdict.refresh && !progress.renewed.contains(id) {
            progress.renewed.push(Arc::clone(id));
            progress.note_tried(hop, member);
            // Others may use it meanwhile, as far as its limits allow, but not before a probe has shown that it serves.
            let _permit = held.and_then(|held| held.permit);
            if self.another_is_ready(call, progress, failed) && self.refresh.begin_for(id) {
                // The old token was refused, not the credential. Another one serves meanwhile.
                self.tell_failed(failed, outcome, true, now());
                return self.go_on(call, progress);
            }
            progress.retain_tried(hop, |tried| tried.id != *id);
            if self.renew(call, failed) {
                // The old token was refused, not the credential.
                self.tell_failed(failed, outcome, true, now());
                self.check_attempts(call, progress)?;
                return Ok(Acquire::Renewed {
                    hop,
                    member: Arc::clone(member),
                });
            }
            self.record_failure(outcome, failed, None, &recorded, &verdict);
        } else {
            self.record_failure(outcome, failed, held, &recorded, &verdict);
        }
        if !verdict.failover {
            return Err(error.clone());
        }
        self.note_failure(call, progress, failed, &verdict);
        self.go_on(call, progress)
    }

    /// What a failed attempt means: as the policy says, but for what it cannot know.
    fn verdict(&self, failed: &Failed<'_>) -> Verdict {
        let mut verdict = self.policy.classify(&failed.error);
        let is_nobodys = failed.unsent == Some(Setting::OfAnother);
        if is_nobodys && verdict.fault == FailureKind::Misconfigured {
            // Nothing says that the credential has anything to do with it.
            verdict.scope = Scope::Nobody;
        }
        self.excuse_other_settings(&mut verdict, &failed.auth);
        if failed.request.model.is_empty() && verdict.fault == FailureKind::NotFound {
            // No model is named that the credential could lack: the requested resource does not exist.
            verdict = Verdict {
                fault: FailureKind::BadRequest,
                scope: Scope::Request,
                failover: false,
                ..verdict
            };
        }
        verdict
    }

    /// Records a failure in the registry and notifies hook and selector. Where several credentials have failed in the same way of late,
    /// none of them is held responsible.
    fn record_failure(
        &self,
        outcome: Outcome<'_>,
        failed: &Failed<'_>,
        held: Option<Held>,
        recorded: &Error,
        verdict: &Verdict,
    ) {
        let moment = self.services.moment();
        let now = moment.wall;
        let healthy = |limits: &Arc<RateLimits>| limits.is_healthy();
        let spared = matches!(verdict.scope, Scope::Request | Scope::Nobody);
        let known = if spared && failed.error.rate_limits().is_some_and(healthy) {
            self.apply(&outcome, None, &Transition::Healthy, moment)
        } else {
            self.apply_failure(&outcome, Some(recorded), verdict, moment)
        };
        if verdict.fault == FailureKind::RateLimited && !spared && self.policy.pacing() {
            let target = Target {
                id: outcome.auth_id,
                lease: held.as_ref().map(|held| &held.lease),
            };
            let told = failed.error.retry_after();
            let registry = &self.services.registry;
            registry.pace_down(target, outcome.model, told, moment);
        }
        drop(held);
        let shared = self.sightings.note(Seen {
            provider: failed.provider,
            id: &failed.member.id,
            model: &failed.request.model,
            error: &failed.error,
            verdict,
            since: now,
            now: self.services.clock.monotonic(),
        });
        if !shared.is_empty() {
            log::debug!(
                "the last {} failures of {} are the same: no credential is cooled down",
                shared.len(),
                failed.provider
            );
        }
        for sighting in shared {
            let registry = &self.services.registry;
            self.note_for_store(registry.pardon(
                &sighting.id,
                &sighting.model,
                sighting.since,
                moment,
            ));
        }
        self.tell_failed(failed, outcome, known, now);
    }

    /// Counts a failed attempt and notifies hook and selector.
    fn tell_failed(&self, failed: &Failed<'_>, outcome: Outcome<'_>, known: bool, now: Timestamp) {
        let line = Some((&failed.member, failed.line));
        self.count(line, &outcome, None, now);
        self.tell(outcome, known, now);
    }

    /// What the call may still try after a failure that lets it go on.
    fn note_failure(
        &self,
        call: &Call<'_>,
        progress: &mut CallState,
        failed: &Failed<'_>,
        verdict: &Verdict,
    ) {
        let Failed {
            hop,
            member,
            provider,
            error,
            ..
        } = failed;
        let hop = *hop;
        let transient = verdict.fault.is_transient();
        progress.note_tried(hop, member);
        progress.transient += u32::from(transient);
        progress.refused += u32::from(verdict.fault == FailureKind::RateLimited);
        let told_not_to = error.rate_limits().and_then(|limits| limits.should_retry) == Some(false);
        // A login that a proxy refuses, or a certificate: it is the same for all credentials with that proxy.
        let is_cut_off = *error.code() == ErrorCode::Transport && !error.is_retryable();
        if is_cut_off {
            for member in self.services.on_the_same_route(member) {
                for (hop, of) in call.hops.iter().enumerate() {
                    if of.provider.name == **provider {
                        progress.note_tried(hop, &member);
                    }
                }
                progress.cut_off.note(&member);
            }
        }
        if transient && told_not_to {
            progress.forgo_retries(hop);
        } else if transient && !is_cut_off {
            progress.owe_retry(Retry {
                hop,
                member: Arc::clone(member),
                told: error.retry_after().unwrap_or_default(),
            });
        }
        let round = progress.round(hop);
        // Another way is no other try of the same.
        round.owes_retry = transient && !is_cut_off;
        if verdict.scope == Scope::Provider && !is_cut_off {
            round.faults += 1;
            let most = self.policy.transient_failovers();
            if most.is_some_and(|most| round.faults > most) {
                round.closed = Some(Closed::Failing);
            }
        }
        if self.is_the_same_everywhere(progress, failed, verdict) {
            progress.round(hop).closed = Some(Closed::ForGood);
            progress.last_attempt = Some(error.clone().context(format_args!(
                "{provider} returned the same error to several credentials: no credential is cooled down"
            )));
        }
    }

    /// Whether this call has had the same answer from so many credentials that another one would give it, too.
    fn is_the_same_everywhere(
        &self,
        progress: &mut CallState,
        failed: &Failed<'_>,
        verdict: &Verdict,
    ) -> bool {
        let Some(correlation) = self.policy.outage_detection() else {
            return false;
        };
        let Failed {
            member,
            provider,
            request,
            error,
            ..
        } = failed;
        let says_nothing_of_the_credential = match verdict.fault {
            FailureKind::NotFound => !self.services.registry.has_served(provider, &request.model),
            FailureKind::Misconfigured => verdict.scope == Scope::Nobody,
            fault => fault.is_transient() || fault == FailureKind::Unknown,
        };
        says_nothing_of_the_credential
            && progress.note_answer(Fingerprint::of(error), &member.id) >= correlation.credentials
    }

    /// The next credential, immediately or after a back-off. An error ends the call when it has made as many attempts as it may.
    fn go_on(&self, call: &Call<'_>, progress: &mut CallState) -> Result<Acquire, Error> {
        self.check_attempts(call, progress)?;
        let Some(bounds) = self.policy.attempts() else {
            return Ok(Acquire::default());
        };
        let is_at_bound = progress.attempts >= bounds.at_once;
        let back_off = self.policy.back_off();
        let may_wait = back_off.is_some() && !self.max_wait(call).is_zero();
        let is_likely_to_be_refused = may_wait && progress.refused >= bounds.refused_at_once;
        if !is_at_bound && !is_likely_to_be_refused {
            return Ok(Acquire::default());
        }
        let patience = self.patience_left(call, progress);
        // The attempt after it needs some of the time until a deadline, too.
        let most = call
            .time_left()
            .map_or(patience, |left| patience.min(left / 2));
        let may_go_on = !patience.is_zero() && most >= SHORTEST_WAIT.min(patience);
        let Some(back_off) = back_off.filter(|_| may_go_on) else {
            return Err(self.exhausted(call, progress, Refusal::NoProvider));
        };
        let wait = back_off.wait(progress.delays, self.services.random.fraction());
        let wait = wait.min(most);
        progress.delays += 1;
        progress.waited = progress.waited.saturating_add(wait);
        Ok(Acquire::BackOff {
            wait,
            retries: progress.retries_owed().next().is_some(),
        })
    }

    /// Ends the call when it has made as many attempts as it may.
    fn check_attempts(&self, call: &Call<'_>, progress: &mut CallState) -> Result<(), Error> {
        let most = call.options.max_attempts;
        let most_transient = self.policy.transient_attempts();
        if most.is_some_and(|most| progress.attempts >= most)
            || (most_transient > 0 && progress.transient >= most_transient)
        {
            let last = progress.last_attempt.take();
            return Err(last.unwrap_or_else(no_provider));
        }
        Ok(())
    }

    /// Whether another credential of the provider is ready.
    fn another_is_ready(&self, call: &Call<'_>, progress: &CallState, failed: &Failed<'_>) -> bool {
        ask_for(call, failed.hop).is_ok_and(|asked| {
            let tried = progress.tried_at(failed.hop);
            let query = asked.query(call, self.services.moment(), tried);
            self.services.registry.supply(query) == Supply::Ready
        })
    }

    /// Whether the credential has another token than the one that was refused: because it was replaced meanwhile, or
    /// because a refresh gives one now.
    fn renew(&self, call: &Call<'_>, failed: &Failed<'_>) -> bool {
        let Some(current) = self.services.registry.get(&failed.member.id) else {
            return false;
        };
        if current.is_api_key() {
            return false;
        }
        drop(current);
        let has_another = || {
            let current = self.services.registry.get(&failed.member.id);
            failed.auth.metadata.is_some()
                && current.is_some_and(|now| now.access_token() != failed.auth.access_token())
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
            // A refresh that was too recent to be repeated.
            || has_another()
    }
}

/// A call whose time is nearly over makes no more attempts.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
