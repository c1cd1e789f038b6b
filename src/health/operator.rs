//! Health transitions that no result causes: reset, cool down, disable, a new token. Pure.

use std::sync::Arc;

use crate::auth::{Auth, BreakerState, HalfOpen, ModelState, Status, Version};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::failure_kind::{CooldownSource, FailureKind};
use crate::policy::refuses_token;

use super::healthy::is_healthy_by_itself;
use super::model_states::state_of;
use super::transition::{
    clear_if_well, derive, end_outage, is_failing_for_a_model, settle, show_failure, succeed,
    succeed_model, succeed_models,
};

/// The operator ends all that results have led to: of one model, or of the credential and all its models.
pub(crate) fn reset(auth: &mut Auth, model: Option<&str>, now: Timestamp) {
    let disabled = auth.disabled || auth.status == Status::Disabled;
    if model.is_none() {
        auth.misconfigured = auth.check_settings().err().map(Arc::new);
        auth.outage_half_open = HalfOpen::default();
    }
    if model.is_none() && auth.outage.take().is_some() {
        auth.recovered_at = Some(now);
        auth.raise_outage(now);
    }
    if model.is_none_or(str::is_empty) {
        succeed(auth, now);
        auth.half_open = HalfOpen::default();
    }
    let is_meant = |name: &str| model.is_none_or(|model| model == name);
    for (name, state) in &mut auth.model_states {
        if !is_meant(name) {
            continue;
        }
        state.half_open = HalfOpen::default();
        if state.cause.is_some_and(|cause| cause.is_operators(now)) {
            state.cause = None;
        }
    }
    succeed_models(auth, now, is_meant);
    let was_healthy = is_healthy_by_itself(auth);
    if !auth.model_states.is_empty() {
        derive(auth, now);
    }
    clear_if_well(auth, now);
    if !was_healthy && is_healthy_by_itself(auth) {
        auth.raise_own(now);
    }
    settle(auth, disabled, now);
}

/// The operator cools a credential down, for one model or for all.
pub(crate) fn cool_down(auth: &mut Auth, model: Option<&str>, until: Timestamp, now: Timestamp) {
    let disabled = auth.disabled || auth.status == Status::Disabled;
    let cause = Some(BreakerState {
        fault: FailureKind::Unknown,
        origin: CooldownSource::Operator,
        failures: 0,
        since: now,
        until: Some(until),
        told_until: None,
        probe_at: None,
        half_open: false,
        refused: None,
        setback: 0,
    });
    match model {
        None => {
            auth.outage = cause;
            COOLED_DOWN.clone_into(&mut auth.status_message);
            auth.raise_outage(now);
            auth.raise_own(now);
        }
        Some(model) => {
            open_model(auth, model, cause, COOLED_DOWN, now);
        }
    }
    settle(auth, disabled, now);
}

/// Excludes a model as `cause` says, whatever was said before.
fn open_model(
    auth: &mut Auth,
    model: &str,
    cause: Option<BreakerState>,
    message: &str,
    now: Timestamp,
) {
    let state = state_of(auth, model);
    state.cause = cause;
    if state.status != Status::Disabled {
        state.unavailable = true;
        state.next_retry_after = cause.and_then(|cause| cause.until);
    }
    message.clone_into(&mut state.status_message);
    state.updated_at = Some(now);
    auth.raise_model(model, now);
    derive(auth, now);
}

/// Takes back what one failure, that of `since`, led to, unless something else has happened since: it was not the
/// credential's. False where there is nothing to take back. What a server told to wait for meanwhile, it is still to wait for, and the
/// failures before that one still count.
pub(crate) fn pardon(auth: &mut Auth, model: &str, since: Timestamp, now: Timestamp) -> bool {
    let cause = match auth.model_states.get(model) {
        Some(state) => state.cause,
        None => auth.cause.filter(|_| model.is_empty()),
    };
    let pardoned = cause.is_some_and(|cause| {
        cause.since == since && (cause.fault.is_transient() || cause.fault == FailureKind::Unknown)
    });
    if !pardoned {
        return false;
    }
    let disabled = auth.disabled || auth.status == Status::Disabled;
    let told = cause.and_then(|cause| cause.told_rest(now));
    let rest = told.or_else(|| cause.and_then(BreakerState::failures_before));
    reset(auth, Some(model), now);
    match auth.model_states.get_mut(model) {
        Some(_) if told.is_some() => open_model(auth, model, rest, TOLD_TO_WAIT, now),
        Some(state) => state.cause = rest,
        None => {
            auth.cause = rest;
            if let Some(told) = told {
                auth.unavailable = true;
                auth.next_retry_after = told.until;
                TOLD_TO_WAIT.clone_into(&mut auth.status_message);
                auth.raise_own(now);
            }
        }
    }
    settle(auth, disabled, now);
    true
}

/// A new token is there: failures of older ones say nothing about it. `is_older` gives their versions. Whether
/// that changes anything.
pub(crate) fn token_renewed(
    auth: &mut Auth,
    is_older: impl Fn(&Version) -> bool,
    now: Timestamp,
) -> bool {
    let changes = auth.versions.last;
    renew_models(auth, &is_older, now);
    let refused = |cause: Option<BreakerState>| {
        cause.is_some_and(|cause| cause.fault == FailureKind::Unauthorized && cause.until.is_some())
    };
    let was_out = refused(auth.outage) && is_older(&auth.versions.outage);
    if was_out {
        auth.outage = None;
        auth.outage_half_open = HalfOpen::default();
        auth.recovered_at = Some(now);
        auth.raise_outage(now);
    }
    if is_older(&auth.versions.own) {
        renew_own(auth, refused, now);
    }
    if !auth.model_states.is_empty() && changes != auth.versions.last {
        derive(auth, now);
    }
    changes != auth.versions.last
}

/// What another key, header, address or proxy was refused for says nothing of the present one.
pub(crate) fn forget_refusals(auth: &mut Auth, now: Timestamp) {
    let states = auth.model_states.values().map(|state| state.cause);
    let mut causes = states.chain([auth.outage, auth.cause]).flatten();
    if !causes.any(|cause| cause.refused.is_some()) {
        return;
    }
    let identity = auth.identity();
    let is_over = |cause: Option<BreakerState>| {
        let refused = cause.and_then(|cause| cause.refused);
        refused.is_some_and(|refused| refused != identity)
    };
    let disabled = auth.disabled || auth.status == Status::Disabled;
    let changes = auth.versions.last;
    if is_over(auth.outage) {
        end_outage(auth, now);
        auth.outage_half_open = HalfOpen::default();
    }
    let states = auth.model_states.values_mut();
    for state in states.filter(|state| is_over(state.cause)) {
        succeed_model(state, &mut auth.versions, auth.generation, now);
        state.half_open = HalfOpen::default();
    }
    let own_is_over = is_over(auth.cause);
    if changes == auth.versions.last && !own_is_over {
        return;
    }
    if own_is_over {
        auth.cause = None;
        auth.half_open = HalfOpen::default();
    }
    match auth.cause {
        _ if !auth.model_states.is_empty() => derive(auth, now),
        Some(cause) => auth.next_retry_after = cause.until,
        None => succeed(auth, now),
    }
    clear_if_well(auth, now);
    auth.raise_own(now);
    settle(auth, disabled, now);
}

/// Its settings have changed: what was wrong with the former ones is no longer to be shown.
pub(crate) fn is_fit_again(auth: &mut Auth, former: &Error) {
    if let Some(now) = auth.updated_at
        && auth.last_error.as_ref() == Some(former)
    {
        let disabled = auth.disabled || auth.status == Status::Disabled;
        clear_if_well(auth, now);
        auth.raise_own(now);
        if disabled {
            auth.status = Status::Disabled;
        }
    }
}

fn renew_models(auth: &mut Auth, is_older: impl Fn(&Version) -> bool, now: Timestamp) {
    for state in auth.model_states.values_mut() {
        let is_refused = state.last_error.as_ref().is_some_and(refuses_token);
        if state.status == Status::Error && is_refused && is_older(&state.version) {
            *state = ModelState {
                status: Status::Active,
                updated_at: Some(now),
                recovered_at: Some(now),
                extra: state.extra.take(),
                ..ModelState::default()
            };
            auth.versions.raise_state(auth.generation, state, now);
        }
    }
}

/// As [`token_renewed`], of what the record shows of itself.
fn renew_own(auth: &mut Auth, refused: impl Fn(Option<BreakerState>) -> bool, now: Timestamp) {
    let was_healthy = is_healthy_by_itself(auth);
    if refused(auth.cause) {
        auth.cause = None;
        auth.half_open = HalfOpen::default();
    }
    auth.forget_refresh_failure();
    let about_token = auth.last_error.as_ref().is_none_or(refuses_token);
    if about_token && auth.model_states.is_empty() {
        let cause = auth.cause;
        succeed(auth, now);
        auth.cause = cause;
    } else if about_token {
        derive(auth, now);
    }
    if !auth.unavailable && !is_failing_for_a_model(auth, now) {
        auth.last_error = None;
        auth.status_message.clear();
        if auth.status != Status::Disabled {
            auth.status = Status::Active;
        }
    }
    show_failure(auth, now);
    if !was_healthy && is_healthy_by_itself(auth) {
        auth.recovered_at = Some(now);
        auth.raise_own(now);
    }
}

const COOLED_DOWN: &str = "cooled down by the operator";
const TOLD_TO_WAIT: &str = "rate limited; the server said for how long";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::later;
    use crate::health::transition::apply;
    use crate::health::{Readiness, Transition, readiness};
    use crate::policy::{Cooldown, FailurePolicy, RetryAfterBounds, Rule, Scope};

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
    const TOLD: Duration = Duration::from_secs(600);

    /// Fails as a whole, for so long.
    fn failing(status: u16, fault: FailureKind) -> Auth {
        let rule = Rule::status(status).fault(fault).scope(Scope::Credential);
        let policy = FailurePolicy::empty().with_rule(rule.cooldown(TOLD));
        let error = Error::upstream(status, "no");
        let effect = Transition::Failure {
            error: Some(&error),
            verdict: &policy.classify(&error),
            jitter: 0.0,
            probes: None,
        };
        let mut auth = Auth::new("p");
        apply(&mut auth, "m", &effect, START);
        auth
    }

    #[test]
    fn a_new_token_ends_what_the_former_was_refused_for_and_nothing_else() {
        for (status, fault, stays) in [
            (401, FailureKind::Unauthorized, false),
            (402, FailureKind::Billing, true),
            (403, FailureKind::Forbidden, true),
            (429, FailureKind::Quota, true),
            (429, FailureKind::RateLimited, true),
        ] {
            let mut auth = failing(status, fault);
            let end = Some(later(START, TOLD));
            assert_eq!(readiness(&auth, "m").end(), end, "{fault}");
            let ended = token_renewed(&mut auth, |_| true, later(START, TOLD / 2));
            assert_eq!((auth.outage.is_some(), ended), (stays, !stays), "{fault}");
            let ready = readiness(&auth, "m") == Readiness::Ready;
            assert_eq!(ready, !stays, "{fault}");
        }
    }

    #[test]
    fn what_a_newer_token_was_refused_for_stays() {
        let mut auth = failing(401, FailureKind::Unauthorized);
        assert!(!token_renewed(&mut auth, |_| false, START));
        assert!(auth.outage.is_some());
    }

    #[test]
    fn a_pardon_leaves_what_a_server_has_told_meanwhile() {
        let bounds = RetryAfterBounds::new(Duration::ZERO, TOLD);
        let hinted = Cooldown::doubling(Duration::ZERO, TOLD).with_hint(bounds);
        let policy = FailurePolicy::empty()
            .with_rule(
                Rule::status(500)
                    .fault(FailureKind::Transient)
                    .cooldown(TOLD),
            )
            .with_rule(
                Rule::status(429)
                    .fault(FailureKind::RateLimited)
                    .curve(hinted),
            );
        let told = Duration::from_secs(60);
        for (model, wait) in [("m", None), ("m", Some(told)), ("", None), ("", Some(told))] {
            let mut auth = Auth::new("p");
            let mut errors = vec![Error::upstream(500, "no")];
            errors
                .extend(wait.map(|wait| Error::upstream(429, "slow down").with_retry_after(wait)));
            for error in &errors {
                let effect = Transition::Failure {
                    error: Some(error),
                    verdict: &policy.classify(error),
                    jitter: 0.0,
                    probes: None,
                };
                apply(&mut auth, model, &effect, START);
            }
            assert_eq!(readiness(&auth, model).end(), Some(later(START, TOLD)));
            assert!(pardon(&mut auth, model, START, START));
            let left = wait.map(|wait| later(START, wait));
            assert_eq!(readiness(&auth, model).end(), left, "{model:?}");
            let over = later(START, told);
            assert!(readiness(&auth, model).end().is_none_or(|end| end <= over));
        }
    }

    #[test]
    fn a_pardon_takes_back_one_failure_and_not_those_before() {
        let curve = Cooldown::doubling(Duration::from_secs(1), TOLD);
        let rule = Rule::status(500).fault(FailureKind::Transient).curve(curve);
        let policy = FailurePolicy::empty().with_rule(rule);
        let error = Error::upstream(500, "no");
        let mut auth = Auth::new("p");
        let mut now = START;
        let fail = |auth: &mut Auth, now| {
            let effect = Transition::Failure {
                error: Some(&error),
                verdict: &policy.classify(&error),
                jitter: 0.0,
                probes: None,
            };
            apply(auth, "m", &effect, now);
            readiness(auth, "m").end()
        };
        for seconds in [1, 2, 4] {
            let end = later(now, Duration::from_secs(seconds));
            assert_eq!(fail(&mut auth, now), Some(end));
            now = end;
        }
        fail(&mut auth, now);
        assert!(pardon(&mut auth, "m", now, now));
        assert_eq!(readiness(&auth, "m"), Readiness::Ready);
        assert_eq!(
            fail(&mut auth, now),
            Some(later(now, Duration::from_secs(8)))
        );
        assert!(pardon(&mut auth, "m", now, now));
        apply(
            &mut auth,
            "m",
            &Transition::Success { knows: u32::MAX },
            now,
        );
        assert_eq!(
            fail(&mut auth, now),
            Some(later(now, Duration::from_secs(1)))
        );
    }
}
