//! The health of credentials: a circuit breaker for each credential and model, as pure functions from record, result and time to record.
//! Knows nothing of locks, leases, queues, threads and stores.

mod cooldown;
pub(crate) mod healthy;
pub(crate) mod merge;
pub(crate) mod model_states;
pub(crate) mod operator;
mod readiness;
pub(crate) mod transition;

pub(crate) use readiness::{Readiness, readiness};
pub(crate) use transition::Transition;
