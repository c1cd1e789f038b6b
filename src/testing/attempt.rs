//! Attempts without a manager.

use std::sync::Arc;
use std::time::Instant;

use crate::auth::Secret;
use crate::cancel::CancelToken;
use crate::clock::Clock;
use crate::executor::{Attempt, Context};
use crate::transport::{IdleConnections, Tls, Transport};

impl Attempt {
    /// The first attempt of a call that has no manager: for tests of executors. Without a deadline, without a proxy.
    ///
    /// ```
    /// let attempt = credpool::Attempt::for_tests(credpool::SystemClock);
    /// assert_eq!(attempt.number(), 1);
    /// assert_eq!(attempt.remaining(), None);
    /// ```
    pub fn for_tests(clock: impl Clock + 'static) -> Self {
        let transport = Transport::new(
            Secret::default(),
            IdleConnections::default(),
            Tls::default(),
        );
        Self {
            number: 1,
            deadline: None,
            cancel: CancelToken::new(),
            over_new_connection: false,
            tools: Arc::new(Context {
                clock: Arc::new(clock),
                transport: Arc::new(transport),
            }),
        }
    }

    /// For tests: the attempt ends at `deadline` by its clock.
    ///
    /// ```
    /// use credpool::{Attempt, Clock, ManualClock, Timestamp};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    /// let end = clock.monotonic() + Duration::from_secs(5);
    /// let attempt = Attempt::for_tests(clock).with_deadline(end);
    /// assert_eq!(attempt.remaining(), Some(Duration::from_secs(5)));
    /// ```
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// For tests: the attempt ends when `token` is cancelled.
    ///
    /// ```
    /// use credpool::{Attempt, CancelToken, SystemClock};
    ///
    /// let token = CancelToken::new();
    /// let attempt = Attempt::for_tests(SystemClock).with_cancel(token.clone());
    /// token.cancel();
    /// assert!(attempt.is_cancelled());
    /// ```
    pub fn with_cancel(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }
}
