//! Counts what becomes of attempts: each one is counted here, and once.

use std::sync::Arc;

use super::Engine;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::limits::RateLimits;
use crate::observe::{Ended, LineNumber, Outcome};
use crate::registry::SharedState;

impl Engine {
    /// Counts an attempt that has ended. `line` is where it began; `None`: the program has made it by itself.
    #[inline]
    pub(super) fn count(
        &self,
        line: Option<(&Arc<SharedState>, LineNumber)>,
        outcome: &Outcome<'_>,
        limits: Option<&Arc<RateLimits>>,
        at: Timestamp,
    ) {
        let of_error = || outcome.error().and_then(Error::rate_limits);
        let ended = Ended {
            outcome,
            limits: of_error().or(limits),
            price: self.services.prices.of(outcome),
            at,
        };
        if let Some((member, line)) = line {
            member.tally().end(line, &ended);
            return;
        }
        let registry = &self.services.registry;
        match registry.find(outcome.auth_id) {
            Some(member) => {
                let line = member.tally().begin(outcome.model);
                member.tally().end(line, &ended);
            }
            None => registry.removed().note(&ended),
        }
    }
}
