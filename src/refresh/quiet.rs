//! Token endpoints that have asked to be left alone: what one account was told holds for all of the same client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::RefreshEngine;
use super::failure::MOST_ASKED;
use super::flight::{Done, Runway, runway};
use crate::auth::Auth;
use crate::clock::{deadline, later};
use crate::error::{Error, ErrorCode};

/// Until when nothing is sent.
#[derive(Debug, Default)]
pub(super) struct Quiet(HashMap<Runway, Instant>);

impl Quiet {
    fn left(&mut self, runway: &Runway, now: Instant) -> Option<Duration> {
        self.0.retain(|_, end| *end > now);
        Some(*self.0.get(runway)? - now)
    }
}

impl RefreshEngine {
    /// Notes how long the endpoint of a refresh that was refused wants to be left alone, if it says so.
    pub(super) fn note_quiet(&self, auth: &Auth, error: &Error) {
        if let Some(asked) = error.retry_after() {
            let end = deadline(self.services.clock.monotonic(), asked.min(MOST_ASKED));
            self.quiet.lock().0.insert(runway(auth), end);
        }
    }

    /// Puts a refresh off whose endpoint is to be left alone. `None` where it may go.
    pub(super) fn keep_quiet(&self, id: &Arc<str>, auth: &Auth) -> Option<Done> {
        let now = self.services.clock.monotonic();
        let left = self.quiet.lock().left(&runway(auth), now)?;
        let again = later(self.services.clock.now(), left);
        self.tracks.note(id, auth, |track| {
            track.not_before = Some(deadline(now, left));
            track.shown = Some(again);
        });
        self.services
            .registry
            .modify(id, |auth| auth.next_refresh_after = Some(again));
        let message = format!(
            "the token endpoint of {id} has asked to be left alone for another {} s",
            left.as_secs().max(1)
        );
        let error = Error::new(ErrorCode::RefreshFailed, message).with_retry_after(left);
        Some(Done::failed(error.with_auth_id(id)))
    }
}
