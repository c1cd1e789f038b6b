//! The attempt loop: providers in turn, credentials in turn, one attempt after the other.

use std::borrow::Cow;
use std::sync::Arc;

use super::call::Call;
use super::refusal::{misplaced, nobody, refused_format};
use super::{Engine, Served};
use crate::auth::{Auth, Metadata, scrub};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ProviderExecutor};
use crate::outcome::OutcomeKind;
use crate::policy::Scope;
use crate::registry::{Picked, Query};
use crate::request::{Options, Request};
use crate::runtime::guard;
use crate::selection::Candidates;

impl Engine {
    /// Tries providers and their credentials in turn until one serves or nothing is left to try.
    ///
    /// Failures are recorded here; the caller records the success, when it is one.
    pub(super) fn run<'a, T>(
        &self,
        call: &Call<'a>,
        ask: &Ask<'_, T>,
    ) -> Result<Served<'a, T>, Error> {
        self.services.pool.check_open()?;
        let mut progress = Progress::default();
        let start = self.rotation.advance(&call.request.model, &call.providers);
        let (later, first) = call.providers.split_at(start);
        for provider in first.iter().chain(later) {
            let (provider, executor) = match self.services.executors.find(provider) {
                Ok(found) => found,
                Err(refusal) => {
                    progress.last_refusal = Some(refusal);
                    continue;
                }
            };
            let request = call.request.seen_by(&provider);
            if let Some(refusal) = refused_format(&provider, &*executor, &request) {
                progress.last_refusal = Some(refusal);
                continue;
            }
            let asked = Asked {
                provider,
                executor: &*executor,
                request,
            };
            if let Some(served) = self.try_provider(call, asked, &mut progress, ask)? {
                return Ok(served);
            }
        }
        Err(progress.into_error())
    }

    /// The attempt loop: tries one credential of the provider after the other. `None`: on to the next provider. An error ends
    /// the call.
    fn try_provider<'a, T>(
        &self,
        call: &Call<'a>,
        asked: Asked<'a, '_>,
        progress: &mut Progress,
        ask: &Ask<'_, T>,
    ) -> Result<Option<Served<'a, T>>, Error> {
        let Asked {
            provider,
            executor,
            request,
        } = asked;
        let mut round = Round::default();
        loop {
            call.check(progress.last_attempt.as_ref())?;
            let query = Query {
                provider: &provider,
                model: &request.model,
                tried: &progress.tried,
                pinned: call.options.pinned.as_deref(),
                now: self.services.clock.now(),
            };
            let again = round
                .again
                .take()
                .and_then(|id| self.services.registry.ready(query, &id));
            let picked = match again {
                Some(picked) => Ok(picked),
                None => self.pick(query, call.options)?,
            };
            let Picked { id, auth } = match picked {
                Ok(picked) => picked,
                Err(refusal) => {
                    progress.last_refusal = Some(refusal);
                    return Ok(None);
                }
            };
            let auth = self.fresh(call, auth);
            progress.attempts += 1;
            let attempt = call.attempt(progress.attempts, &self.services);
            let started = self.services.clock.monotonic();
            log::trace!(
                "attempt {} of the call: {id} of {provider}",
                attempt.number()
            );
            let answer = guard(
                || format!("the executor for {provider}"),
                || ask(executor, &attempt, &auth, &request),
            )
            .flatten();
            let token = auth.metadata.clone();
            let answer = answer.map_err(|error| {
                // Executors of the program's own may quote what they sent.
                let error = error.scrubbed(|text| scrub(text, &auth));
                error.about(&id).with_provider(&provider)
            });
            // A snapshot that is still held makes marking copy the record.
            drop(auth);
            let error = match answer {
                Ok(value) => {
                    return Ok(Some(Served {
                        value,
                        auth_id: id,
                        provider,
                        attempts: progress.attempts,
                        request,
                        first_byte: self.services.clock.monotonic() - started,
                    }));
                }
                Err(error) => error,
            };
            log::debug!(
                "attempt {} with {id} of {provider} failed: {error}",
                attempt.number()
            );
            let failed = Failed {
                id: &id,
                provider: &provider,
                model: &request.model,
                token: token.as_ref(),
                error: &error,
            };
            let after = self.fail(call, &failed, &mut round);
            progress.last_attempt = Some(error.clone());
            let most = call.options.max_attempts;
            match after {
                After::CallIsOver => {
                    call.check(progress.last_attempt.as_ref())?;
                    return Err(error);
                }
                After::Stop => return Err(error),
                _ if most.is_some_and(|most| progress.attempts >= most) => return Err(error),
                After::SameCredential => round.again = Some(id),
                After::NextProvider => {
                    progress.tried.push(id);
                    return Ok(None);
                }
                After::NextCredential => progress.tried.push(id),
            }
        }
    }

    /// Records a failed attempt and says how the call goes on.
    fn fail(&self, call: &Call<'_>, failed: &Failed<'_>, round: &mut Round) -> After {
        let Failed {
            id,
            provider,
            model,
            error,
            ..
        } = *failed;
        let abandoned = || {
            let outcome = call.outcome(id, provider, model, OutcomeKind::Abandoned);
            self.tell(&outcome, true);
        };
        if call.ended_by_caller(error) {
            abandoned();
            return After::CallIsOver;
        }
        if matches!(
            error.code(),
            ErrorCode::Unsupported | ErrorCode::UnsupportedFormat
        ) {
            // Not the credential's fault: no other one of this provider can do it either.
            abandoned();
            return After::NextProvider;
        }
        let verdict = self.policy.classify(error);
        let recorded = error.recorded();
        let kind = OutcomeKind::Failure(Some(recorded.clone()));
        let outcome = call.outcome(id, provider, model, kind);
        if verdict.refresh && !round.renewed.iter().any(|renewed| **renewed == *id) {
            round.renewed.push(id.into());
            if self.renew(call, failed) {
                // The old token was refused, not the credential.
                self.tell(&outcome, true);
                return After::SameCredential;
            }
        }
        let known = self.apply_failure(&outcome, Some(&recorded), &verdict);
        self.tell(&outcome, known);
        if verdict.scope == Scope::Provider {
            round.provider_faults += 1;
        }
        let most = self.policy.transient_failovers();
        if !verdict.failover {
            After::Stop
        } else if most.is_some_and(|most| round.provider_faults > most) {
            After::NextProvider
        } else {
            After::NextCredential
        }
    }

    /// The credential with tokens that are good for a moment longer, where such can be had.
    fn fresh(&self, call: &Call<'_>, auth: Arc<Auth>) -> Arc<Auth> {
        let now = || self.services.clock.monotonic();
        let left = || Some(call.deadline?.saturating_duration_since(now()));
        let fresh = self
            .refresh
            .ensure_fresh(&auth, left, call.cancel.cancelled());
        fresh.unwrap_or(auth)
    }

    /// Whether the credential has another token than the one that was refused: because somebody replaced it meanwhile, or
    /// because a refresh gives one now.
    fn renew(&self, call: &Call<'_>, failed: &Failed<'_>) -> bool {
        let Some(current) = self.services.registry.get(failed.id) else {
            return false;
        };
        if current.is_api_key() {
            return false;
        }
        drop(current);
        let refused = failed.token.map(|metadata| {
            let mut then = Auth::new(failed.provider);
            then.metadata = Some(metadata.clone());
            then
        });
        let has_another = || {
            let current = self.services.registry.get(failed.id);
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
            .refresh_while(failed.id, &late, call.cancel.cancelled())
            .is_some_and(|refreshed| refreshed.is_ok())
            // A refresh that was too fresh to be asked for.
            || has_another()
    }

    /// A ready credential, or why there is none. An error of the selector ends the call.
    fn pick(&self, query: Query<'_>, options: &Options) -> Result<Result<Picked, Error>, Error> {
        let registry = &self.services.registry;
        let selector = self.selector();
        let candidates = Candidates::new(registry, query);
        let picked = guard(
            || "the selector".to_owned(),
            || selector.pick(&candidates, options),
        )
        .flatten()?;
        match picked {
            Some(candidate) if candidate.was_offered_by(&candidates) => {
                Ok(Ok(candidate.into_picked()))
            }
            // Kept from another call: good only if it is a candidate of this one.
            Some(candidate) => match registry.ready(query, &candidate.id) {
                Some(picked) => Ok(Ok(picked)),
                None => Err(misplaced(&candidate)),
            },
            None => Ok(Err(nobody(&candidates, registry.standing(query), query))),
        }
    }
}

/// What to ask an executor: the one thing in which plain calls, counts and streams differ.
pub(super) type Ask<'a, T> =
    dyn Fn(&dyn ProviderExecutor, &Attempt, &Auth, &Request) -> Result<T, Error> + 'a;

/// One provider's part of a call.
struct Asked<'a, 'e> {
    provider: Arc<str>,
    executor: &'e dyn ProviderExecutor,
    request: Cow<'a, Request>,
}

/// How far a call has come.
#[derive(Default)]
struct Progress {
    tried: Vec<Arc<str>>,
    attempts: u32,
    /// What the last attempt said.
    last_attempt: Option<Error>,
    /// Why the last provider that nobody was asked of could not be tried.
    last_refusal: Option<Error>,
}

impl Progress {
    fn into_error(self) -> Error {
        self.last_attempt.or(self.last_refusal).unwrap_or_else(|| {
            Error::new(
                ErrorCode::ProviderNotFound,
                "the call names no provider; give at least one",
            )
        })
    }
}

/// What has happened with one provider in one call.
#[derive(Default)]
struct Round {
    /// The credential to try once more, with its new token.
    again: Option<Arc<str>>,
    /// Those that got a new token in this call.
    renewed: Vec<Arc<str>>,
    /// Faults of the provider itself.
    provider_faults: u32,
}

/// A failed attempt.
#[derive(Clone, Copy)]
struct Failed<'a> {
    id: &'a str,
    provider: &'a str,
    model: &'a str,
    /// The metadata that the attempt was made with.
    token: Option<&'a Metadata>,
    error: &'a Error,
}

/// How a call goes on after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    SameCredential,
    NextCredential,
    NextProvider,
    Stop,
    /// Its caller cancelled it, or its deadline passed.
    CallIsOver,
}
