//! Readiness: whether a circuit breaker is closed, open or half-open for a model at a moment.

use crate::auth::{Auth, BreakerState, HalfOpen, Status};
use crate::clock::Timestamp;
use crate::failure_kind::FailureKind;

/// Whether a credential can serve a model (the empty model: any), and from when otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// The credential is offered again then; the failure kind says why it is not before.
    Until(Timestamp, FailureKind),
    /// The credential is at its own limits; there is room again then, at the end of the calendar when that is not known.
    Full(Timestamp),
    /// The rate that it is allowed, as far as it is known, has room for it then: it may be used earlier by a call that cannot wait.
    Paced(Timestamp),
    /// As many requests are in flight as the upstream is known to serve; one more is tried then, or earlier by a call that cannot wait.
    Capped(Timestamp),
    Blocked,
}

impl Readiness {
    /// What it is at a moment: what has ended by then is over.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        if self.end().is_some_and(|at| at <= now) {
            Self::Ready
        } else {
            self
        }
    }

    /// Until when it is not ready.
    pub(crate) fn end(self) -> Option<Timestamp> {
        match self {
            Self::Until(at, _) | Self::Full(at) | Self::Paced(at) | Self::Capped(at) => Some(at),
            Self::Ready | Self::Blocked => None,
        }
    }
}

/// Computes it from the record, at no particular moment.
pub(crate) fn readiness(auth: &Auth, model: &str) -> Readiness {
    if auth.disabled || auth.status == Status::Disabled {
        return Readiness::Blocked;
    }
    let outage_end = auth.outage.and_then(|outage| outage.until);
    let (visible, cause, half_open) = if model.is_empty() {
        (
            auth.next_retry_after.filter(|_| auth.unavailable),
            auth.cause,
            Some(&auth.half_open),
        )
    } else {
        match auth.model_states.get(model) {
            None => (None, None, None),
            Some(state) if state.status == Status::Disabled => return Readiness::Blocked,
            Some(state) => (
                state.next_retry_after.filter(|_| state.unavailable),
                state.cause,
                Some(&state.half_open),
            ),
        }
    };
    let own_end = if visible > outage_end {
        visible
    } else {
        // The record shows the end of its outage: its own may be another one.
        cause.and_then(|cause| cause.until).min(visible)
    };
    let own = offered_again(own_end, cause, half_open);
    let whole = offered_again(outage_end, auth.outage, Some(&auth.outage_half_open));
    let fault = if auth.is_revoked() {
        FailureKind::Unauthorized
    } else {
        FailureKind::TokenEnded
    };
    let token = auth.awaits_token.map(|at| (at, fault));
    let settings = auth.misconfigured.as_ref();
    let settings = settings.map(|_| (Timestamp::MAX, FailureKind::Misconfigured));
    let all = own.into_iter().chain(whole).chain(token).chain(settings);
    match all.max_by_key(|(at, _)| *at) {
        None => Readiness::Ready,
        Some((at, fault)) => Readiness::Until(at, fault),
    }
}

/// When what is blocked until `end` is offered again: then, or earlier for a probe, but not while as many as may probe it.
fn offered_again(
    end: Option<Timestamp>,
    cause: Option<BreakerState>,
    half_open: Option<&HalfOpen>,
) -> Option<(Timestamp, FailureKind)> {
    let probe_at = cause.and_then(|cause| cause.probe_at);
    let at = end.map(|end| probe_at.map_or(end, |probe_at| probe_at.min(end)));
    let at = at.max(half_open.and_then(HalfOpen::full_until))?;
    let former = half_open.map(HalfOpen::fault).unwrap_or_default();
    Some((at, cause.map_or(former, |cause| cause.fault)))
}

/// Whether the credential is cooling down because a rate limit, a quota or its balance is said to be used up.
pub(super) fn is_out_of_quota(auth: &Auth, model: &str) -> bool {
    let own = match auth.model_states.get(model) {
        Some(state) => state.cause,
        None => auth.cause,
    };
    let limited = |cause: BreakerState| {
        matches!(
            cause.fault,
            FailureKind::Quota | FailureKind::RateLimited | FailureKind::Billing
        )
    };
    own.is_some_and(limited) || auth.outage.is_some_and(limited)
}
