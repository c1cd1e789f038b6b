//! [`Attempt`]: the context of one upstream request: clock, deadline, cancellation, connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::Auth;
use crate::cancel::CancelToken;
use crate::clock::Clock;
use crate::error::Error;
use crate::transport::Transport;

/// What an executor knows of its attempt: its number, its deadline, how it is cancelled, and which HTTP agent
/// to use.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use credpool::{Attempt, Auth, CancelToken, SystemClock};
///
/// let cancel = CancelToken::new();
/// let end = Instant::now() + Duration::from_secs(30);
/// let attempt = Attempt::for_tests(SystemClock).with_cancel(cancel.clone()).with_deadline(end);
/// assert!(attempt.remaining().unwrap() <= Duration::from_secs(30));
/// // An agent with the credential's proxy and certificates, for a client that is to have connections of its own.
/// let agent = attempt.unpooled_agent(&Auth::api_key("p", "key"))?;
/// cancel.cancel();
/// assert!(attempt.is_cancelled());
/// # drop(agent);
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(crate) number: u32,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: CancelToken,
    /// A connection was lost earlier in the call: the idle ones may be dead, too.
    pub(crate) over_new_connection: bool,
    pub(crate) tools: Arc<Context>,
}

/// What every attempt works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) transport: Arc<Transport>,
}

impl Attempt {
    /// The attempt's number within its call, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// When the call ends, by the manager's clock.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How much of the call's time is left; `None` when it has no deadline, zero when it is over.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(self.tools.clock.monotonic()))
    }

    /// The token that ends this attempt.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Whether the attempt should stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// The manager's clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.tools.clock
    }

    /// The HTTP agent for this credential: its own proxy and certificates, else the manager's. Agents are cached and share connections.
    /// One that a [`TransportProvider`](crate::TransportProvider) gives is used as it is: [`send`](Self::send) alone adds the proxy.
    ///
    /// # Errors
    /// Code `config` when the proxy's URL is not one: nothing bypasses a configured proxy.
    pub fn agent(&self, auth: &Auth) -> Result<ureq::Agent, Error> {
        self.tools.transport.agent(auth)
    }

    /// As [`agent`](Self::agent), without kept connections: for requests that must not be sent twice or into a dead
    /// connection, such as a token refresh.
    ///
    /// # Errors
    /// As [`agent`](Self::agent).
    pub fn unpooled_agent(&self, auth: &Auth) -> Result<ureq::Agent, Error> {
        self.tools.transport.unpooled_agent(auth)
    }
}
