//! A worker's place in a lane, for a submitted call or a stream.

use std::time::{Duration, Instant};

use super::Engine;
use crate::cancel::CancelToken;
use crate::error::Error;
use crate::request::Options;
use crate::runtime::{Lane, Slot, WaitFor};

impl Engine {
    /// A place for a call, which waits for it as long as it may.
    pub(super) fn place(
        &self,
        lane: Lane,
        options: &Options,
        deadline: Option<Instant>,
        cancel: &CancelToken,
    ) -> Result<Slot, Error> {
        let wait = WaitFor {
            at_most: self.patience_for_place(options, deadline),
            cancel: Some(cancel),
        };
        self.services.pool.reserve(lane, wait)
    }

    /// As long as a call may wait for credentials, within its deadline. Where nothing says how long that is, the deadline does.
    fn patience_for_place(&self, options: &Options, deadline: Option<Instant>) -> Duration {
        let left =
            deadline.map(|end| end.saturating_duration_since(self.services.clock.monotonic()));
        let by_policy = Some(self.policy.max_wait()).filter(|most| !most.is_zero());
        let most = options.max_wait.or(by_policy).or(left).unwrap_or_default();
        left.map_or(most, |left| left.min(most))
    }
}
