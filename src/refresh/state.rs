//! Refresh state of a credential, kept between two refreshes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::auth::{Auth, GrantToken};
use crate::clock::{Timestamp, deadline};
use crate::store::Intent;

/// The memories of all credentials that were refreshed since the start. They are about the grant that a credential had then: with
/// another one, it starts afresh.
#[derive(Debug, Default)]
pub(super) struct RefreshStates(Mutex<HashMap<Arc<str>, RefreshState>>);

/// What is known of a credential's refreshes.
#[derive(Clone, Debug, Default)]
pub(super) struct RefreshState {
    grant: Option<GrantToken>,
    /// No refresh before.
    pub(super) not_before: Option<Instant>,
    /// What the record says of that: by the wall clock, which may jump.
    pub(super) shown: Option<Timestamp>,
    /// How often the refresh token was sent without an answer that tells whether it is spent.
    pub(super) in_doubt: u32,
    /// The login ended after an answer was lost.
    pub(super) answer_lost: bool,
    /// The executor does not refresh, or there is none: until the next try, tokens are used as they are.
    pub(super) cannot_refresh: bool,
    /// The program has commanded the next refresh, whatever is known of the login.
    pub(super) commanded: bool,
    /// Refreshes that could not even begin, in a row.
    pub(super) deferred: Option<Deferrals>,
    /// An intent of another process that may still be at it, and when it was first seen.
    pub(super) seen_intent: Option<(Intent, Instant)>,
}

/// Why refreshes cannot begin.
#[derive(Clone, Debug)]
pub(super) struct Deferrals {
    pub(super) count: u32,
    pub(super) since: Timestamp,
    pub(super) reason: String,
}

impl RefreshState {
    /// Has no refresh begin for a while, nor before an earlier word allows it. How long that is in all.
    pub(super) fn wait(&mut self, now: Instant, wait: Duration) -> Duration {
        let end = deadline(now, wait);
        let end = self.not_before.map_or(end, |known| known.max(end));
        self.not_before = Some(end);
        end.saturating_duration_since(now)
    }
}

impl RefreshStates {
    /// What is known of the grant that `auth` has.
    pub(super) fn of(&self, auth: &Auth) -> Option<RefreshState> {
        let states = self.0.lock();
        let state = states.get(auth.id.as_str())?;
        (state.grant == auth.grant_token()).then(|| state.clone())
    }

    /// Remembers something of the grant that `auth` has.
    pub(super) fn note<T>(
        &self,
        id: &Arc<str>,
        auth: &Auth,
        change: impl FnOnce(&mut RefreshState) -> T,
    ) -> T {
        let grant = auth.grant_token();
        let mut states = self.0.lock();
        let state = states.entry(Arc::clone(id)).or_default();
        if state.grant != grant {
            *state = RefreshState {
                grant,
                ..RefreshState::default()
            };
        }
        change(state)
    }

    pub(super) fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }

    /// All of them, in the order of their ids.
    pub(super) fn all(&self) -> Vec<(Arc<str>, RefreshState)> {
        let states = self.0.lock();
        let mut all: Vec<_> = states
            .iter()
            .map(|(id, state)| (Arc::clone(id), state.clone()))
            .collect();
        drop(states);
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}
