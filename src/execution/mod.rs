//! How a call travels: providers in turn, credentials in turn, one attempt after the other.
//!
//! [`Engine::run`] is the one attempt loop; plain calls, counts and streams differ only in what they ask the executor and in
//! when they record a success.

mod call;
mod pump;
mod refusal;
mod stream;
mod submit;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use call::Call;
use refusal::{misplaced, nobody, refused_format};
pub use stream::{ChunkStream, StreamEvent};
pub use submit::CallHandle;

use crate::auth::{Auth, Metadata};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ProviderExecutor};
use crate::outcome::{Outcome, OutcomeKind};
use crate::policy::{FailurePolicy, Scope, Verdict};
use crate::refresh::RefreshEngine;
use crate::registry::{Applied, Effect, Picked, Query, Rotation};
use crate::request::{Options, Request, Response};
use crate::runtime::guard;
use crate::selection::{Candidates, Selector};
use crate::services::Services;

/// Makes calls.
pub(crate) struct Engine {
    services: Arc<Services>,
    refresh: Arc<RefreshEngine>,
    policy: FailurePolicy,
    selector: RwLock<Arc<dyn Selector>>,
    rotation: Rotation,
    streams: StreamSettings,
}

/// How streams are handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamSettings {
    /// Chunks between the worker and the caller.
    pub(crate) buffer: usize,
    /// How long the caller may read nothing.
    pub(crate) consumer_timeout: Duration,
}

/// Which of an executor's plain calls to make.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plain {
    Execute,
    CountTokens,
}

/// The attempt that served.
struct Served<'a, T> {
    value: T,
    auth_id: Arc<str>,
    provider: Arc<str>,
    request: Cow<'a, Request>,
    attempts: u32,
    first_byte: Duration,
}

impl Engine {
    pub(crate) fn new(
        services: Arc<Services>,
        refresh: Arc<RefreshEngine>,
        policy: FailurePolicy,
        selector: Arc<dyn Selector>,
        streams: StreamSettings,
    ) -> Self {
        Self {
            services,
            refresh,
            policy,
            selector: RwLock::new(selector),
            rotation: Rotation::default(),
            streams,
        }
    }

    /// A call that is not a stream, on the caller's thread.
    pub(crate) fn plain(
        &self,
        kind: Plain,
        providers: Vec<String>,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let cancel = options.cancel.clone();
        let call = Call::begin(&*self.services.clock, providers, request, options, cancel);
        let served = self.run(&call, |executor, attempt, auth, request| match kind {
            Plain::Execute => executor.execute(attempt, auth, request, options),
            Plain::CountTokens => executor.count_tokens(attempt, auth, request, options),
        })?;
        let mut response = served.value;
        let mut outcome = call.outcome(
            &served.auth_id,
            &served.provider,
            &served.request.model,
            OutcomeKind::Success,
        );
        outcome.usage = response.usage;
        outcome.reply_text = response.reply_text.as_deref();
        outcome.first_byte = Some(served.first_byte);
        self.record(&outcome);
        response.provider = served.provider;
        response.auth_id = served.auth_id;
        response.attempts = served.attempts;
        Ok(response)
    }

    /// Records what became of an attempt: state first, then whoever listens.
    pub(crate) fn record(&self, outcome: &Outcome<'_>) {
        if outcome.auth_id.is_empty() {
            return;
        }
        match &outcome.kind {
            OutcomeKind::Abandoned => {}
            OutcomeKind::Success => self.apply(outcome, &Effect::Success),
            OutcomeKind::Failure(error) => {
                let verdict = self.policy.classify_outcome(error.as_ref());
                self.apply_failure(outcome, error.as_ref(), &verdict);
            }
        }
        self.tell(outcome);
    }

    fn apply_failure(&self, outcome: &Outcome<'_>, error: Option<&Error>, verdict: &Verdict) {
        let jitter = self.policy.jitter() * self.services.random.fraction();
        let effect = Effect::Failure {
            error,
            verdict,
            jitter,
        };
        self.apply(outcome, &effect);
    }

    /// Tells whoever listens.
    fn tell(&self, outcome: &Outcome<'_>) {
        let selector = self.selector();
        let _ = guard(|| "the selector".to_owned(), || selector.observe(outcome));
        self.services.hooks.result(outcome);
    }

    pub(crate) fn selector(&self) -> Arc<dyn Selector> {
        Arc::clone(&self.selector.read())
    }

    /// Puts another selector in place of the present one, made from it.
    pub(crate) fn wrap_selector(&self, wrap: impl FnOnce(Arc<dyn Selector>) -> Arc<dyn Selector>) {
        let mut selector = self.selector.write();
        *selector = wrap(Arc::clone(&selector));
    }

    fn apply(&self, outcome: &Outcome<'_>, effect: &Effect<'_>) {
        let now = self.services.clock.now();
        let applied = self
            .services
            .registry
            .apply(outcome.auth_id, outcome.model, effect, now);
        if let Applied::Unsaved(id) = applied {
            self.services.keeper.note(id);
        }
    }

    /// The attempt loop: tries providers and their credentials in turn until one serves or nothing is left to try.
    ///
    /// Failures are recorded here; the caller of the loop records the success, when it is one.
    fn run<'a, T>(
        &self,
        call: &Call<'a>,
        ask: impl Fn(&dyn ProviderExecutor, &Attempt, &Auth, &Request) -> Result<T, Error>,
    ) -> Result<Served<'a, T>, Error> {
        if self.services.pool.is_shut_down() {
            return Err(Error::new(
                ErrorCode::ShutDown,
                "the manager has been shut down",
            ));
        }
        let mut tried: Vec<Arc<str>> = Vec::new();
        let mut attempts = 0;
        // What the last attempt said, and why the last provider could not be tried at all.
        let mut last_attempt: Option<Error> = None;
        let mut last_refusal = Error::new(
            ErrorCode::ProviderNotFound,
            "the call names no provider; give at least one",
        );
        let start = self.rotation.advance(&call.request.model, &call.providers);
        let (later, first) = call.providers.split_at(start);
        for provider in first.iter().chain(later) {
            let (provider, executor) = match self.services.executors.find(provider) {
                Ok(found) => found,
                Err(refusal) => {
                    last_refusal = refusal;
                    continue;
                }
            };
            let request = call.request.seen_by(&provider);
            if let Some(refusal) = refused_format(&*executor, &request) {
                last_refusal = refusal;
                continue;
            }
            let mut round = Round::default();
            loop {
                call.check(last_attempt.as_ref())?;
                let query = Query {
                    provider: &provider,
                    model: &request.model,
                    tried: &tried,
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
                        last_refusal = refusal;
                        break;
                    }
                };
                attempts += 1;
                let attempt = call.attempt(attempts, &self.services);
                let started = self.services.clock.monotonic();
                log::trace!("attempt {attempts} of the call: {id} of {provider}");
                let answer = guard(
                    || format!("the executor for {provider}"),
                    || ask(&*executor, &attempt, &auth, &request),
                )
                .flatten();
                let token = auth.metadata.clone();
                // A snapshot that is still held makes marking copy the record.
                drop(auth);
                let error = match answer {
                    Ok(value) => {
                        let first_byte = self.services.clock.monotonic() - started;
                        return Ok(Served {
                            value,
                            auth_id: id,
                            provider,
                            attempts,
                            request,
                            first_byte,
                        });
                    }
                    Err(error) => error.about(&id).with_provider(&provider),
                };
                log::debug!("attempt {attempts} with {id} of {provider} failed: {error}");
                last_attempt = Some(error.clone());
                let failed = Failed {
                    id: &id,
                    provider: &provider,
                    model: &request.model,
                    token: token.as_ref(),
                    error: &error,
                };
                let after = self.fail(call, &failed, &mut round);
                let most = call.options.max_attempts;
                match after {
                    After::CallIsOver => {
                        call.check(last_attempt.as_ref())?;
                        return Err(error);
                    }
                    After::Stop => return Err(error),
                    _ if most.is_some_and(|most| attempts >= most) => return Err(error),
                    After::SameCredential => round.again = Some(id),
                    After::NextProvider => {
                        tried.push(id);
                        break;
                    }
                    After::NextCredential => tried.push(id),
                }
            }
        }
        Err(last_attempt.unwrap_or(last_refusal))
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
        let abandoned = || self.tell(&call.outcome(id, provider, model, OutcomeKind::Abandoned));
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
                self.tell(&outcome);
                return After::SameCredential;
            }
        }
        self.apply_failure(&outcome, Some(&recorded), &verdict);
        self.tell(&outcome);
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

    /// Whether the credential has another token than the one that was refused: because somebody replaced it meanwhile, or
    /// because a refresh gives one now.
    fn renew(&self, call: &Call<'_>, failed: &Failed<'_>) -> bool {
        let Some(current) = self.services.registry.get(failed.id) else {
            return false;
        };
        if current.is_api_key() {
            return false;
        }
        let refused = failed.token.map(|metadata| {
            let mut then = Auth::new(failed.provider);
            then.metadata = Some(metadata.clone());
            then
        });
        if refused.is_some_and(|refused| refused.access_token() != current.access_token()) {
            return true;
        }
        drop(current);
        let left = call
            .deadline
            .map(|deadline| deadline.saturating_duration_since(self.services.clock.monotonic()));
        let late = left.map_or_else(crossbeam_channel::never, |left| {
            self.services.clock.after(left)
        });
        self.refresh
            .refresh_while(failed.id, &late, call.cancel.cancelled())
            .is_some_and(|refreshed| refreshed.is_ok())
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
            Some(candidate) if candidate.provider != query.provider => Err(misplaced(&candidate)),
            Some(candidate) if query.tried.iter().any(|id| **id == *candidate.id) => {
                Err(misplaced(&candidate))
            }
            Some(candidate) => Ok(Ok(candidate.into_picked())),
            None => Ok(Err(nobody(&candidates, registry.standing(query), query))),
        }
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

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("policy", &self.policy)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}
