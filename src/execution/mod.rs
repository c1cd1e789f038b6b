//! Execution of a call: providers and credentials in turn, one attempt after the other.
//!
//! There is one attempt loop (`retry_loop`); plain calls, counts and streams differ only in what they ask the executor and in
//! when they record a success.

mod acquire;
mod call_state;
mod collect;
mod context;
mod correlation;
mod count;
mod hops;
mod ownership;
mod pick;
mod places;
mod provider_rotation;
mod raw;
mod refusals;
mod report;
mod retry_budget;
mod retry_loop;
mod stream;
mod stream_worker;
mod submit;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;

use context::Call;
use correlation::OutageDetector;
use provider_rotation::Rotation;
pub use raw::ResponseBody;
use retry_budget::Budgets;
pub use stream::{ChunkStream, StreamEvent};
pub use submit::CallHandle;

use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::executor::Provider;
use crate::failure_kind::FailureKind;
use crate::health::Transition;
use crate::limits::RateLimits;
use crate::observe::{BudgetStats, LineNumber, Operation, Outcome, OutcomeKind};
use crate::panic::guard;
use crate::policy::{FailurePolicy, Scope, Verdict};
use crate::refresh::RefreshCoordinator;
use crate::registry::{ApplyResult, Lease, Moment, ProbeGuard, Target};
use crate::request::{Addressed, Options, Request, Response};
use crate::selection::Selector;
use crate::services::Services;

/// Makes calls.
pub(crate) struct Engine {
    services: Arc<Services>,
    refresh: Arc<RefreshCoordinator>,
    policy: FailurePolicy,
    selector: Arc<dyn Selector>,
    /// What was put around it since.
    sticky: OnceLock<Arc<dyn Selector>>,
    rotation: Rotation,
    budgets: Budgets,
    sightings: OutageDetector,
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

/// The providers of a call, in normal form.
pub(crate) type Providers = SmallVec<[Arc<Provider>; 2]>;

/// Which of an executor's plain calls to make.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plain {
    Execute,
    CountTokens,
}

/// The attempt that served.
struct Served<'a> {
    provider: &'a Arc<str>,
    request: Addressed<'a>,
    attempts: u32,
    first_byte: Duration,
    held: Held,
}

/// What an attempt has of its credential until its result is recorded.
struct Held {
    /// The credential as the attempt was made with it, for as long as a failure may follow: a record that others hold is copied when it
    /// changes.
    auth: Option<Arc<Auth>>,
    lease: Lease,
    /// Where the attempt is counted.
    line: LineNumber,
    /// Until a success is recorded, at the latest.
    permit: Option<Box<ProbeGuard>>,
}

/// What listeners receive of a result beside its outcome.
#[derive(Clone, Copy)]
struct Recorded {
    /// There is such a credential.
    known: bool,
    at: Timestamp,
}

impl Engine {
    pub(crate) fn new(
        services: Arc<Services>,
        refresh: Arc<RefreshCoordinator>,
        policy: FailurePolicy,
        selector: Arc<dyn Selector>,
        streams: StreamSettings,
    ) -> Self {
        Self {
            services,
            refresh,
            budgets: Budgets::new(policy.budget().copied()),
            sightings: OutageDetector::new(policy.outage_detection().copied()),
            policy,
            selector,
            sticky: OnceLock::new(),
            rotation: Rotation::default(),
            streams,
        }
    }

    /// A call that is not a stream, on the caller's thread.
    pub(crate) fn plain(
        &self,
        kind: Plain,
        providers: Providers,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let cancel = options.cancel.clone();
        let operation = match kind {
            Plain::Execute => Operation::Execute,
            Plain::CountTokens => Operation::Count,
        };
        let services = &self.services;
        let mut call = Call::begin(operation, services, providers, request, options, cancel);
        self.route(&mut call, None)?;
        let mut answer = None;
        let served = self.run(&call, &mut |executor, attempt, auth, request| {
            answer = Some(match kind {
                Plain::Execute => executor.execute(attempt, auth, request, options),
                Plain::CountTokens => executor.count_tokens(attempt, auth, request, options),
            }?);
            Ok(())
        })?;
        let Served {
            provider,
            request,
            attempts,
            first_byte,
            mut held,
        } = served;
        let mut response = answer.unwrap_or_default();
        let (used, counted) = match kind {
            Plain::Execute => (response.usage, None),
            // A count uses no tokens.
            Plain::CountTokens => (None, response.usage.map(|usage| usage.input)),
        };
        match used {
            Some(usage) => held.lease.settle(usage.input.saturating_add(usage.output)),
            None if matches!(kind, Plain::CountTokens) => held.lease.settle(0),
            None => {}
        }
        held.auth = None;
        let auth_id = Arc::clone(held.lease.id());
        self.learn_from_json(provider, &auth_id, &response.payload);
        let mut outcome = call.outcome(&auth_id, provider, &request.model, OutcomeKind::Success);
        outcome.usage = used;
        outcome.counted = counted;
        outcome.rate_limits = response.rate_limits.as_deref();
        outcome.reply_text = response.reply_text.as_deref();
        outcome.first_byte = Some(first_byte);
        let recorded = self.enter(&mut outcome, response.rate_limits.as_ref(), Some(held));
        self.tell_recorded(outcome, recorded);
        response.provider = Arc::clone(provider);
        response.auth_id = auth_id;
        response.sent_as =
            (request.model != call.request.model).then(|| request.model.as_str().into());
        response.attempts = attempts;
        Ok(response)
    }

    /// Records a result: state first, then hook and selector.
    pub(crate) fn record(&self, mut outcome: Outcome<'_>) {
        let recorded = self.enter(&mut outcome, None, None);
        self.tell_recorded(outcome, recorded);
    }

    /// Records an attempt's result and counts it, then releases what it held: others may have it when they hear of the
    /// result. `None` for a result that names no credential.
    fn enter(
        &self,
        outcome: &mut Outcome<'_>,
        limits: Option<&Arc<RateLimits>>,
        held: Option<Held>,
    ) -> Option<Recorded> {
        if outcome.auth_id.is_empty() {
            return None;
        }
        let now = self.services.moment();
        let mut fault = None;
        let known = match &outcome.kind {
            OutcomeKind::Abandoned => true,
            OutcomeKind::Success => {
                self.hold(outcome.auth_id, outcome.model, outcome.rate_limits, now);
                self.apply_success(outcome, held.as_ref(), now)
            }
            OutcomeKind::Failure(error) => {
                let mut verdict = self.policy.classify_outcome(error.as_ref());
                if let Some(auth) = held.as_ref().and_then(|held| held.auth.as_deref()) {
                    self.excuse_other_settings(&mut verdict, auth);
                }
                fault = Some(verdict.fault);
                self.apply_failure(outcome, error.as_ref(), &verdict, now)
            }
        };
        let line = held.as_ref().map(|held| (held.lease.member(), held.line));
        outcome.fault = fault;
        self.count(line, outcome, limits, now.wall);
        drop(held);
        Some(Recorded {
            known,
            at: now.wall,
        })
    }

    fn tell_recorded(&self, outcome: Outcome<'_>, recorded: Option<Recorded>) {
        if let Some(Recorded { known, at }) = recorded {
            self.tell(outcome, known, at);
        }
    }

    /// What the program has observed by itself, it observed now.
    fn apply_success(&self, outcome: &Outcome<'_>, held: Option<&Held>, now: Moment) -> bool {
        self.sightings.served(outcome.provider, outcome.auth_id);
        let lease = held.map(|held| &held.lease);
        let knows = lease.map_or(u32::MAX, Lease::knows);
        let effect = Transition::Success { knows };
        let known = self.apply(outcome, lease, &effect, now);
        if held.is_some_and(|held| held.permit.is_some()) {
            self.apply_to_group(outcome, &effect, now);
        }
        known
    }

    /// The result of one credential of a group with a shared limit is applied to the others.
    fn apply_to_group(&self, outcome: &Outcome<'_>, effect: &Transition<'_>, now: Moment) {
        let registry = &self.services.registry;
        for applied in registry.apply_to_group(outcome.auth_id, outcome.model, effect, now) {
            self.note_for_store(applied);
        }
    }

    /// A credential with a used-up limit is skipped by calls that can wait, until the reset time that its answer gave.
    fn hold(&self, id: &str, model: &str, limits: Option<&RateLimits>, now: Moment) {
        let until = limits.and_then(RateLimits::used_up_until);
        if let Some(until) = until.filter(|_| self.policy.pacing()) {
            self.services.registry.hold(id, model, until, now);
        }
    }

    fn apply_failure(
        &self,
        outcome: &Outcome<'_>,
        error: Option<&Error>,
        verdict: &Verdict,
        now: Moment,
    ) -> bool {
        let jitter = self.policy.jitter() * self.services.random.fraction();
        let effect = Transition::Failure {
            error,
            verdict,
            jitter,
            probes: self.policy.probes(),
        };
        if verdict.fault.is_shared_limit() {
            self.apply_to_group(outcome, &effect, now);
        }
        self.apply(outcome, None, &effect, now)
    }

    /// Where the credential's key, headers, address or proxy were changed since the attempt began, what the former ones were refused for
    /// says nothing of the present ones.
    fn excuse_other_settings(&self, verdict: &mut Verdict, attempted: &Auth) {
        let concerns_settings =
            verdict.fault.is_refusal() || verdict.fault == FailureKind::Misconfigured;
        if concerns_settings
            && let Some(present) = self.services.registry.get(&attempted.id)
            && (present.attributes != attempted.attributes
                || present.proxy_url != attempted.proxy_url)
            && present.identity() != attempted.identity()
        {
            verdict.scope = Scope::Nobody;
        }
    }

    /// Notifies the hook, and the selector of credentials that it may select.
    fn tell(&self, outcome: Outcome<'_>, known: bool, now: Timestamp) {
        let of_error = outcome.error().and_then(Error::rate_limits).cloned();
        let outcome = outcome.told_at(now, of_error.as_deref());
        if known {
            let selector = self.selector();
            let _ = guard(|| "the selector".to_owned(), || selector.observe(&outcome));
        }
        self.services.hooks.result(&outcome);
    }

    /// What is left of a provider's retry budget, where the policy has one.
    pub(crate) fn retry_budget(&self, provider: &Arc<str>) -> Option<BudgetStats> {
        self.budgets.left(provider)
    }

    pub(crate) fn selector(&self) -> &Arc<dyn Selector> {
        self.sticky.get().unwrap_or(&self.selector)
    }

    /// Selects as another engine does.
    pub(crate) fn stick_as(&self, other: &Self) {
        if let Some(selector) = other.sticky.get() {
            self.stick(|_| Arc::clone(selector));
        }
    }

    /// Puts another selector around the present one, the first time.
    pub(crate) fn stick(&self, wrap: impl FnOnce(Arc<dyn Selector>) -> Arc<dyn Selector>) {
        self.sticky.get_or_init(|| wrap(Arc::clone(&self.selector)));
    }

    /// Puts a result into the registry. False when there is no such credential.
    fn apply(
        &self,
        outcome: &Outcome<'_>,
        lease: Option<&Lease>,
        effect: &Transition<'_>,
        now: Moment,
    ) -> bool {
        let registry = &self.services.registry;
        let target = Target {
            id: outcome.auth_id,
            lease,
        };
        self.note_for_store(registry.apply(target, outcome.model, effect, now))
    }

    /// Notifies write-behind of a change that needs saving. False when there is no such credential.
    pub(crate) fn note_for_store(&self, applied: ApplyResult) -> bool {
        match applied {
            ApplyResult::Unknown => false,
            ApplyResult::Known => true,
            ApplyResult::Dirty(id) => {
                self.services.store_handle.note(id);
                true
            }
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("policy", &self.policy)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}
