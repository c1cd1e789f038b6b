//! Health transitions by results: record, result and time in, record out. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::{Auth, ModelState, QuotaState, Status, Versions};
use crate::clock::Timestamp;
use crate::error::{Error, kept};
use crate::failure_kind::FailureKind;
use crate::policy::{Cooldown, Probes, Scope, Verdict};

use super::cooldown::FailureInput;
use super::healthy::{is_healthy_by_itself, is_healthy_model};
use super::model_states::state_of;
use super::readiness::is_out_of_quota;

/// What a result says about a credential.
#[derive(Debug)]
pub(crate) enum Transition<'a> {
    Success {
        /// How many setbacks the credential had when the request began.
        knows: u32,
    },
    /// The request failed by no fault of the credential, and the limits that came with the answer are far from used up.
    Healthy,
    Failure {
        error: Option<&'a Error>,
        verdict: &'a Verdict,
        /// From 0 to 1: lengthens the block by that part of it.
        jitter: f64,
        probes: Option<&'a Probes>,
    },
}

impl Transition<'_> {
    /// Whether the result may make the credential unavailable, or available again, for every model.
    pub(crate) fn concerns_all_models(&self, out: bool) -> bool {
        match self {
            Self::Success { .. } | Self::Healthy => out,
            Self::Failure { verdict, .. } => {
                verdict.scope == Scope::Credential || lasts_until_it_changes(verdict)
            }
        }
    }
}

/// Whether the verdict makes the credential unavailable until its settings change.
fn lasts_until_it_changes(verdict: &Verdict) -> bool {
    verdict.fault == FailureKind::Misconfigured && verdict.cooldown == Cooldown::Off
}

/// Applies a result to the record: to the state of `model`, or to the record itself where `model` is empty.
pub(crate) fn apply(auth: &mut Auth, model: &str, effect: &Transition<'_>, now: Timestamp) {
    let disabled = auth.disabled || auth.status == Status::Disabled;
    let was_healthy = is_healthy_by_itself(auth);
    match (effect, model) {
        (Transition::Healthy, _) if !is_out_of_quota(auth, model) => return,
        (Transition::Success { knows }, _) if has_failed_since(auth, model, *knows) => return,
        (Transition::Success { .. } | Transition::Healthy, "") => {
            auth.half_open.succeed(auth.cause);
            end_outage(auth, now);
            succeed(auth, now);
        }
        (Transition::Success { .. } | Transition::Healthy, model) => {
            end_outage(auth, now);
            let state = state_of(auth, model);
            state.half_open.succeed(state.cause);
            succeed_models(auth, now, |name| name == model);
            derive(auth, now);
            clear_if_well(auth, now);
            if !was_healthy && is_healthy_by_itself(auth) {
                auth.raise_own(now);
            }
        }
        (Transition::Failure { verdict, .. }, model) if spares_everybody(verdict, model) => return,
        (Transition::Failure { error, verdict, .. }, _) if lasts_until_it_changes(verdict) => {
            let unknown = || Error::config("its configuration is invalid");
            let error = error.map_or_else(unknown, Error::bare);
            auth.setbacks = auth.setbacks.saturating_add(1);
            auth.status = Status::Error;
            error.message().clone_into(&mut auth.status_message);
            auth.last_error = Some(error.clone());
            auth.misconfigured = Some(Arc::new(error));
            auth.raise_own(now);
        }
        (
            Transition::Failure {
                error,
                verdict,
                jitter,
                probes,
            },
            model,
        ) => {
            auth.setbacks = auth.setbacks.saturating_add(1);
            let failing = FailureInput::new(*error, verdict, *jitter, *probes, now, auth);
            let until = if verdict.scope == Scope::Credential {
                let former_end = auth.outage.and_then(|outage| outage.until);
                let until = failing.add_to(&mut auth.outage, &mut auth.outage_half_open, None);
                show_outage(auth, former_end);
                until
            } else {
                let outage_end = auth.outage.and_then(|outage| outage.until);
                let (cause, half_open, shown) = if model.is_empty() {
                    (&mut auth.cause, &mut auth.half_open, auth.next_retry_after)
                } else {
                    let state = state_of(auth, model);
                    (
                        &mut state.cause,
                        &mut state.half_open,
                        state.next_retry_after,
                    )
                };
                failing.add_to(cause, half_open, shown.filter(|_| shown != outage_end))
            };
            if model.is_empty() {
                fail(auth, *error, verdict, until, now);
            } else {
                fail_model(state_of(auth, model), *error, verdict, until, now);
                if let Some(error) = error {
                    auth.last_error = Some(error.bare());
                    kept(error.message()).clone_into(&mut auth.status_message);
                }
                auth.status = Status::Error;
                auth.raise_model(model, now);
                derive(auth, now);
            }
            auth.raise_own(now);
            if verdict.scope == Scope::Credential {
                auth.raise_outage(now);
            }
        }
    }
    settle(auth, disabled, now);
}

/// What is true of a record after whatever happened to it.
pub(crate) fn settle(auth: &mut Auth, disabled: bool, now: Timestamp) {
    keep_out(auth, now);
    auth.updated_at = Some(now);
    if disabled {
        auth.status = Status::Disabled;
    }
}

/// Shows an outage in the record's own flags.
pub(crate) fn keep_out(auth: &mut Auth, now: Timestamp) {
    let out = auth.outage.and_then(|outage| outage.until);
    if let Some(until) = out.filter(|until| *until > now) {
        auth.unavailable = true;
        auth.next_retry_after = auth.next_retry_after.max(Some(until));
    }
}

/// Models that show an outage show its present end.
fn show_outage(auth: &mut Auth, former_end: Option<Timestamp>) {
    let end = auth.outage.and_then(|outage| outage.until);
    let states = auth.model_states.values_mut();
    for state in states.filter(|state| state.unavailable) {
        let own_end = state.cause.and_then(|cause| cause.until);
        if state.next_retry_after == former_end && own_end != former_end {
            state.next_retry_after = end;
        }
    }
}

/// A success ends an outage, and its mark on the model that failed. What the operator set is kept.
pub(crate) fn end_outage(auth: &mut Auth, now: Timestamp) {
    auth.outage_half_open.succeed(auth.outage);
    let Some(outage) = auth.outage.take_if(|outage| !outage.is_operators(now)) else {
        return;
    };
    auth.recovered_at = Some(now);
    auth.raise_outage(now);
    for state in auth.model_states.values_mut() {
        if !state.unavailable || state.next_retry_after != outage.until {
            continue;
        }
        match state.cause {
            None => succeed_model(state, &mut auth.versions, auth.generation, now),
            Some(own) => state.next_retry_after = own.until,
        }
    }
}

/// What failed of these models is over.
pub(crate) fn succeed_models(auth: &mut Auth, now: Timestamp, which: impl Fn(&str) -> bool) {
    for (_, state) in auth.model_states.iter_mut().filter(|(name, _)| which(name)) {
        succeed_model(state, &mut auth.versions, auth.generation, now);
    }
}

/// Where no model fails and the credential is not cooling down as a whole, there is no error to show.
pub(crate) fn clear_if_well(auth: &mut Auth, now: Timestamp) {
    if !is_failing_for_a_model(auth, now) && auth.outage.is_none() {
        auth.last_error = None;
        auth.status_message.clear();
        auth.status = Status::Active;
    }
}

pub(crate) fn is_failing_for_a_model(auth: &Auth, now: Timestamp) -> bool {
    auth.model_states
        .values()
        .any(|state| is_failing(state, now))
}

/// Where a model fails and the record shows nothing of it, it shows that failure.
pub(crate) fn show_failure(auth: &mut Auth, now: Timestamp) {
    let mut states = auth.model_states.values();
    if auth.last_error.is_none()
        && let Some(state) = states.find(|state| is_failing(state, now))
    {
        auth.last_error.clone_from(&state.last_error);
        auth.status_message.clone_from(&state.status_message);
        if auth.status != Status::Disabled {
            auth.status = Status::Error;
        }
    }
}

/// What failed of calls without a model is over.
pub(crate) fn succeed(auth: &mut Auth, now: Timestamp) {
    let was_healthy = is_healthy_by_itself(auth);
    auth.status = Status::Active;
    auth.status_message.clear();
    auth.unavailable = false;
    auth.last_error = None;
    auth.quota = QuotaState::default();
    auth.next_retry_after = None;
    auth.cause = None;
    if !was_healthy {
        auth.recovered_at = Some(now);
        auth.raise_own(now);
    }
}

/// Whether a failure was recorded after the request that has now succeeded was sent: its success must not clear the cooldown.
fn has_failed_since(auth: &Auth, model: &str, knows: u32) -> bool {
    let own = match auth.model_states.get(model) {
        Some(state) => state.cause,
        None => auth.cause.filter(|_| model.is_empty()),
    };
    // A failure without a cooldown is over with any success that comes after it.
    let mut causes = [own, auth.outage].into_iter().flatten();
    auth.learned > knows || causes.any(|cause| cause.until.is_some() && cause.setback > knows)
}

fn fail(
    auth: &mut Auth,
    error: Option<&Error>,
    verdict: &Verdict,
    until: Option<Timestamp>,
    now: Timestamp,
) {
    auth.unavailable = true;
    auth.status = Status::Error;
    auth.next_retry_after = extended(auth.next_retry_after, until, now);
    if verdict.quota {
        auth.quota = exceeded(&auth.quota, until, now);
    }
    if let Some(error) = error {
        auth.last_error = Some(error.bare());
    }
    let text = error.map(Error::message).filter(|text| !text.is_empty());
    match (&verdict.message, text) {
        (Some(message), _) => auth.status_message = Cow::into_owned(message.clone()),
        (None, Some(text)) => kept(text).clone_into(&mut auth.status_message),
        (None, None) if auth.status_message.is_empty() => {
            "request failed".clone_into(&mut auth.status_message);
        }
        (None, None) => {}
    }
}

pub(crate) fn succeed_model(
    state: &mut ModelState,
    versions: &mut Versions,
    generation: u64,
    now: Timestamp,
) {
    let was_healthy = is_healthy_model(state);
    state.last_error = None;
    state.quota = QuotaState::default();
    state.updated_at = Some(now);
    if state.cause.is_some_and(|cause| cause.is_operators(now)) {
        return;
    }
    state.status_message.clear();
    state.cause = None;
    if state.status != Status::Disabled {
        state.status = Status::Active;
        state.unavailable = false;
        state.next_retry_after = None;
    }
    if !was_healthy {
        state.recovered_at = Some(now);
        versions.raise_state(generation, state, now);
    }
}

fn fail_model(
    state: &mut ModelState,
    error: Option<&Error>,
    verdict: &Verdict,
    until: Option<Timestamp>,
    now: Timestamp,
) {
    if let Some(error) = error {
        state.last_error = Some(error.bare());
        kept(error.message()).clone_into(&mut state.status_message);
    }
    state.updated_at = Some(now);
    if state.status != Status::Disabled {
        state.status = Status::Error;
        state.unavailable = true;
        state.next_retry_after = extended(state.next_retry_after, until, now);
        if verdict.quota {
            state.quota = exceeded(&state.quota, until, now);
        }
    }
}

/// The later of the block that is open and the new one: a failure never shortens a block.
fn extended(
    open: Option<Timestamp>,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    open.filter(|open| *open > now).max(until)
}

fn exceeded(quota: &QuotaState, until: Option<Timestamp>, now: Timestamp) -> QuotaState {
    QuotaState::exceeded(QUOTA, extended(quota.next_recover_at, until, now))
}

/// Faults of the request, and those of no credential: no record changes. A call without a model that gets a 404 named a wrong path.
fn spares_everybody(verdict: &Verdict, model: &str) -> bool {
    matches!(verdict.scope, Scope::Nobody | Scope::Request)
        || (model.is_empty() && verdict.fault == FailureKind::NotFound)
}

/// Lets the record's own flags follow from its models.
pub(crate) fn derive(auth: &mut Auth, now: Timestamp) {
    let mut all_out = true;
    let mut earliest_return: Option<Timestamp> = None;
    let mut exceeded = false;
    let mut earliest_recovery: Option<Timestamp> = None;
    for state in auth.model_states.values_mut() {
        if state.status != Status::Disabled && state.unavailable {
            match state.next_retry_after {
                Some(at) if at <= now => {
                    state.unavailable = false;
                    state.next_retry_after = None;
                }
                until => earliest_return = earliest(earliest_return, until),
            }
        }
        all_out &= state.unavailable || state.status == Status::Disabled;
        if state.quota.exceeded {
            exceeded = true;
            earliest_recovery = earliest(earliest_recovery, state.quota.next_recover_at);
        }
    }
    auth.unavailable = all_out;
    auth.next_retry_after = earliest_return.filter(|_| all_out);
    auth.quota = if exceeded {
        QuotaState::exceeded(QUOTA, earliest_recovery)
    } else {
        QuotaState::default()
    };
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

pub(crate) fn is_failing(state: &ModelState, now: Timestamp) -> bool {
    let out = state.unavailable && state.next_retry_after.is_none_or(|at| at > now);
    state.last_error.is_some() || (state.status == Status::Error && out)
}

const QUOTA: &str = "quota";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::model_states::KEPT_MODELS;
    use super::super::readiness::{Readiness, readiness};
    use super::*;

    use crate::clock::later;
    use crate::policy::{FailurePolicy, Rule};

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
    const SUCCESS: Transition<'static> = Transition::Success { knows: u32::MAX };

    /// Half an hour for 429, a minute for 500, nothing for the rest.
    fn reference() -> FailurePolicy {
        FailurePolicy::empty()
            .with_rule(
                Rule::status(429)
                    .cooldown(Duration::from_secs(1800))
                    .quota(),
            )
            .with_rule(Rule::status(500).cooldown(Duration::from_secs(60)))
    }

    fn fail_with(auth: &mut Auth, model: &str, status: u16, now: Timestamp) {
        let error = Error::upstream(status, "no");
        let verdict = reference().classify(&error);
        let effect = Transition::Failure {
            error: Some(&error),
            verdict: &verdict,
            jitter: 0.0,
            probes: None,
        };
        apply(auth, model, &effect, now);
    }

    #[test]
    fn a_block_holds_until_its_end_and_not_longer() {
        let mut record = Auth::new("p");
        fail_with(&mut record, "m", 500, START);
        let end = later(START, Duration::from_secs(60));
        assert_eq!(
            readiness(&record, "m"),
            Readiness::Until(end, FailureKind::Unknown)
        );
        assert_eq!(readiness(&record, "other"), Readiness::Ready);
        apply(&mut record, "other", &SUCCESS, end);
        assert_eq!(readiness(&record, "m"), Readiness::Ready);
    }

    #[test]
    fn a_success_that_began_before_the_failure_lifts_nothing() {
        for model in ["", "m"] {
            let mut record = Auth::new("p");
            fail_with(&mut record, model, 429, START);
            let before = record.setbacks;
            fail_with(&mut record, model, 500, START);
            for (knows, ready) in [(before, false), (record.setbacks, true)] {
                apply(&mut record, model, &Transition::Success { knows }, START);
                assert_eq!(readiness(&record, model) == Readiness::Ready, ready);
            }
        }
    }

    #[test]
    fn a_milder_failure_shortens_nothing() {
        let mut record = Auth::new("p");
        fail_with(&mut record, "m", 429, START);
        let end = later(START, Duration::from_secs(1800));
        for status in [500, 400] {
            fail_with(
                &mut record,
                "m",
                status,
                later(START, Duration::from_secs(5)),
            );
            assert_eq!(
                readiness(&record, "m"),
                Readiness::Until(end, FailureKind::Unknown)
            );
            assert!(record.quota.exceeded);
        }
    }

    #[test]
    fn what_the_operator_disabled_stays_disabled() {
        let mut record = Auth::new("p");
        record.disabled = true;
        apply(&mut record, "m", &SUCCESS, START);
        assert_eq!(record.status, Status::Disabled);
        assert_eq!(readiness(&record, "m"), Readiness::Blocked);
    }

    #[test]
    fn invented_models_are_bounded() {
        let mut record = Auth::new("p");
        for n in 0..2 * KEPT_MODELS {
            apply(&mut record, &format!("m{n}"), &SUCCESS, START);
        }
        assert_eq!(record.model_states.len(), KEPT_MODELS + 1);
    }
}
