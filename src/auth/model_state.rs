//! [`ModelState`]: the visible state of a credential for one model, and [`QuotaState`].

use super::{BreakerState, HalfOpen, Metadata, Status, Version};
use crate::clock::Timestamp;
use crate::error::Error;

/// What is known of one model under a credential.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Auth, Manager};
///
/// let manager = Manager::builder().build()?;
/// let auth = manager.register(Auth::api_key("openai", "sk-1"))?;
/// manager.cool_down(&auth.id, Some("gpt-5"), Duration::from_secs(60))?;
/// let auth = manager.get_by_id(&auth.id).unwrap();
/// let state = &auth.model_states["gpt-5"];
/// assert!(state.unavailable && state.next_retry_after.is_some());
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ModelState {
    /// Lifecycle status for the model.
    pub status: Status,
    /// A short description of the status.
    pub status_message: String,
    /// Whether the last use failed.
    pub unavailable: bool,
    /// Blocked until then, if `unavailable`.
    pub next_retry_after: Option<Timestamp>,
    /// The last failure.
    pub last_error: Option<Error>,
    /// The quota of this model.
    pub quota: QuotaState,
    /// When this state last changed.
    pub updated_at: Option<Timestamp>,
    /// What failed of the model, and what follows.
    pub(crate) cause: Option<BreakerState>,
    /// The half-open state of the model's cooldown. Never stored.
    pub(crate) half_open: HalfOpen,
    /// When its last failure was over.
    pub(crate) recovered_at: Option<Timestamp>,
    /// Of its last failure, or of what ended it.
    pub(crate) version: Version,
    pub(crate) extra: Option<Metadata>,
}

/// Whether a quota is used up, and until when.
///
/// ```
/// use credpool::QuotaState;
///
/// let quota = QuotaState::exceeded("insufficient_quota", None);
/// assert!(quota.exceeded && quota.next_recover_at.is_none());
/// assert_eq!(quota.reason, "insufficient_quota");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaState {
    /// The credential recently hit a quota.
    pub exceeded: bool,
    /// Why, in a word.
    pub reason: String,
    /// When it may be usable again.
    pub next_recover_at: Option<Timestamp>,
}

impl QuotaState {
    /// A quota that is used up until `next_recover_at`.
    pub fn exceeded(reason: impl Into<String>, next_recover_at: Option<Timestamp>) -> Self {
        Self {
            exceeded: true,
            reason: reason.into(),
            next_recover_at,
        }
    }
}
