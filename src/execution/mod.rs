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

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ProviderExecutor};
use crate::outcome::{Outcome, OutcomeKind};
use crate::policy::FailurePolicy;
use crate::registry::{Applied, Effect, Picked, Query, Rotation};
use crate::request::{Options, Request, Response};
use crate::runtime::guard;
use crate::selection::{Candidates, Selector};
use crate::services::Services;

/// Makes calls.
pub(crate) struct Engine {
    services: Arc<Services>,
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
        policy: FailurePolicy,
        selector: Arc<dyn Selector>,
        streams: StreamSettings,
    ) -> Self {
        Self {
            services,
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
        outcome.rate_limits = response.rate_limits.as_deref();
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
                let effect = Effect::Failure {
                    error: error.as_ref(),
                    verdict: &verdict,
                };
                self.apply(outcome, &effect);
            }
        }
        let outcome = outcome.with_limits_of_error();
        let selector = self.selector();
        let _ = guard(|| "the selector".to_owned(), || selector.observe(&outcome));
        self.services.hooks.result(&outcome);
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
            loop {
                call.check(last_attempt.as_ref())?;
                let query = Query {
                    provider: &provider,
                    model: &request.model,
                    tried: &tried,
                    pinned: call.options.pinned.as_deref(),
                    now: self.services.clock.now(),
                };
                let Picked { id, auth } = match self.pick(query, call.options)? {
                    Ok(picked) => picked,
                    Err(refusal) => {
                        last_refusal = refusal;
                        break;
                    }
                };
                let attempt = call.attempt(tried.len(), &self.services);
                let started = self.services.clock.monotonic();
                log::trace!(
                    "attempt {} of the call: {id} of {provider}",
                    attempt.number()
                );
                let answer = guard(
                    || format!("the executor for {provider}"),
                    || ask(&*executor, &attempt, &auth, &request),
                )
                .flatten();
                // A snapshot that is still held makes marking copy the record.
                drop(auth);
                let error = match answer {
                    Ok(value) => {
                        let first_byte = self.services.clock.monotonic() - started;
                        return Ok(Served {
                            value,
                            auth_id: id,
                            provider,
                            attempts: attempt.number(),
                            request,
                            first_byte,
                        });
                    }
                    Err(error) => error.about(&id),
                };
                let after = self.fail(call, &id, &provider, &request.model, &error);
                tried.push(id);
                last_attempt = Some(error.clone());
                let most = call.options.max_attempts;
                match after {
                    After::CallIsOver => {
                        call.check(last_attempt.as_ref())?;
                        return Err(error);
                    }
                    After::Stop => return Err(error),
                    _ if most.is_some_and(|most| attempt.number() >= most) => return Err(error),
                    After::NextProvider => break,
                    After::NextCredential => {}
                }
            }
        }
        Err(last_attempt.unwrap_or(last_refusal))
    }

    /// Records a failed attempt and says how the call goes on.
    fn fail(&self, call: &Call<'_>, id: &str, provider: &str, model: &str, error: &Error) -> After {
        let (kind, after) = if call.ended_by_caller(error) {
            (OutcomeKind::Abandoned, After::CallIsOver)
        } else if matches!(
            error.code(),
            ErrorCode::Unsupported | ErrorCode::UnsupportedFormat
        ) {
            // Not the credential's fault: no other one of this provider can do it either.
            (OutcomeKind::Abandoned, After::NextProvider)
        } else if self.policy.classify(error).failover {
            (
                OutcomeKind::Failure(Some(error.recorded())),
                After::NextCredential,
            )
        } else {
            (OutcomeKind::Failure(Some(error.recorded())), After::Stop)
        };
        log::debug!("attempt with {id} of {provider} for {model:?} failed: {error}");
        self.record(&call.outcome(id, provider, model, kind));
        after
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

/// How a call goes on after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
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
