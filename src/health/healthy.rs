//! The healthy state: the circuit is closed for every model, so that a success changes times alone.

use crate::auth::{Auth, ModelState, QuotaState, Status};

/// Whether a success with any model changes nothing but times, and adds the model's state.
pub(crate) fn is_healthy(auth: &Auth) -> bool {
    !auth.disabled
        && auth.outage.is_none()
        && !auth.is_returning()
        && is_healthy_by_itself(auth)
        && auth.model_states.values().all(is_healthy_model)
}

/// Whether nothing is amiss but what its models, or an outage, tell of.
pub(crate) fn is_healthy_by_itself(auth: &Auth) -> bool {
    auth.status == Status::Active
        && !auth.unavailable
        && auth.cause.is_none()
        && auth.last_error.is_none()
        && auth.status_message.is_empty()
        && auth.next_retry_after.is_none()
        && auth.quota == QuotaState::default()
}

/// Whether a success changes nothing of a model but times.
pub(crate) fn is_healthy_model(state: &ModelState) -> bool {
    state.status == Status::Active
        && !state.unavailable
        && state.cause.is_none()
        && state.last_error.is_none()
        && state.status_message.is_empty()
        && state.next_retry_after.is_none()
        && state.quota == QuotaState::default()
}
