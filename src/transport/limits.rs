//! Timeouts of one attempt, phase by phase.

use std::time::Duration;

use super::IdleLimits;
use crate::request::Timeouts;

/// The limits of one attempt: the call's own, the defaults, and what is left of the call's time, made into one
/// set of durations that are always there and never overflow.
///
/// [`Attempt::call_limits`](crate::Attempt::call_limits) and
/// [`Attempt::stream_limits`](crate::Attempt::stream_limits) compute it; [`Attempt::send`](crate::Attempt::send) applies it.
///
/// ```
/// use credpool::{Limits, Timeouts};
/// use std::time::Duration;
///
/// let timeouts = Timeouts::new().with_idle(Duration::from_secs(15));
/// let limits = Limits::of_stream(&timeouts, Some(Duration::from_secs(60)));
/// assert_eq!(limits.connect, Duration::from_secs(10));
/// assert_eq!(limits.idle, Some(Duration::from_secs(15)));
/// assert_eq!(limits.first_chunk, Some(Duration::from_secs(60)));
/// assert_eq!(limits.total, Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// To connect, through a proxy and TLS included. The look-up of a host's name, before that, has the same limit.
    pub connect: Duration,
    /// From the end of the request to the first chunk; for streams alone.
    pub first_chunk: Option<Duration>,
    /// Between two events; for streams alone.
    pub idle: Option<Duration>,
    /// Between two events that bring something; for streams alone, where the call asks for it.
    pub content: Option<Duration>,
    /// For everything, from the name's look-up to the last byte.
    pub total: Duration,
}

impl Limits {
    /// For a call whose answer comes in one piece: 10 s to connect, 600 s in all, unless `timeouts` or the `remaining` time
    /// of the call say otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{Limits, Timeouts};
    ///
    /// let limits = Limits::of_call(&Timeouts::new(), Some(Duration::from_secs(5)));
    /// assert!(limits.total <= Duration::from_secs(5));
    /// ```
    pub fn of_call(timeouts: &Timeouts, remaining: Option<Duration>) -> Self {
        let total = total(timeouts.total.unwrap_or(CALL_TOTAL), remaining);
        Self {
            connect: timeouts.connect.unwrap_or(CONNECT).min(total),
            first_chunk: None,
            idle: None,
            content: None,
            total,
        }
    }

    /// For a stream: 10 s to connect, 120 s to the first chunk, 120 s between chunks, 3,600 s in all, unless `timeouts` or
    /// the `remaining` time of the call say otherwise.
    pub fn of_stream(timeouts: &Timeouts, remaining: Option<Duration>) -> Self {
        let total = total(timeouts.total.unwrap_or(STREAM_TOTAL), remaining);
        Self {
            connect: timeouts.connect.unwrap_or(CONNECT).min(total),
            first_chunk: Some(timeouts.first_chunk.unwrap_or(FIRST_CHUNK).min(total)),
            idle: Some(timeouts.idle.unwrap_or(IDLE).min(total)),
            content: timeouts.content.map(|limit| limit.min(total)),
            total,
        }
    }

    /// What is left of them for a request that is sent again after so long.
    pub(crate) fn after(&self, took: Duration) -> Self {
        let total = self.total.saturating_sub(took);
        Self {
            connect: self.connect.min(total),
            total,
            ..*self
        }
    }

    /// How long a stream may be silent.
    pub(crate) fn pace(&self) -> Option<IdleLimits> {
        let limits = self.first_chunk.zip(self.idle);
        limits.map(|(first_chunk, idle)| IdleLimits { first_chunk, idle })
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.idle.is_some()
    }

    /// How long one read may take at most, whatever the phase.
    pub(crate) fn longest_read(&self) -> Option<Duration> {
        self.idle.max(self.first_chunk)
    }
}

/// Never so long that adding it to an instant could overflow.
fn total(asked: Duration, remaining: Option<Duration>) -> Duration {
    asked.min(remaining.unwrap_or(LONGEST)).min(LONGEST)
}

pub(crate) const CONNECT: Duration = Duration::from_secs(10);
pub(crate) const CALL_TOTAL: Duration = Duration::from_secs(600);
pub(crate) const STREAM_TOTAL: Duration = Duration::from_secs(3600);
const FIRST_CHUNK: Duration = Duration::from_secs(120);
const IDLE: Duration = Duration::from_secs(120);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_documented_defaults() {
        let none = Timeouts::new();
        let call = Limits::of_call(&none, None);
        assert_eq!((call.connect, call.total), (CONNECT, CALL_TOTAL));
        assert_eq!((call.first_chunk, call.idle), (None, None));
        assert!(!call.is_stream());
        let stream = Limits::of_stream(&none, None);
        assert_eq!((stream.connect, stream.total), (CONNECT, STREAM_TOTAL));
        assert_eq!(
            (stream.first_chunk, stream.idle),
            (Some(120 * SECOND), Some(120 * SECOND))
        );
        assert!(stream.is_stream());
    }

    #[test]
    fn what_is_left_of_the_call_limits_every_phase() {
        for (remaining, connect, total) in [
            (601 * SECOND, CONNECT, CALL_TOTAL),
            (600 * SECOND, CONNECT, CALL_TOTAL),
            (599 * SECOND, CONNECT, 599 * SECOND),
            (9 * SECOND, 9 * SECOND, 9 * SECOND),
            (Duration::ZERO, Duration::ZERO, Duration::ZERO),
        ] {
            let limits = Limits::of_call(&Timeouts::new(), Some(remaining));
            assert_eq!((limits.connect, limits.total), (connect, total));
        }
        let limits = Limits::of_stream(&Timeouts::new(), Some(7 * SECOND));
        assert_eq!(
            (limits.first_chunk, limits.idle),
            (Some(7 * SECOND), Some(7 * SECOND))
        );
    }

    #[test]
    fn nothing_overflows() {
        let forever = Timeouts::new()
            .with_connect(Duration::MAX)
            .with_first_chunk(Duration::MAX)
            .with_idle(Duration::MAX)
            .with_total(Duration::MAX);
        for remaining in [None, Some(Duration::MAX)] {
            let limits = Limits::of_stream(&forever, remaining);
            assert_eq!(limits.total, LONGEST);
            assert_eq!(limits.longest_read(), Some(LONGEST));
            assert_eq!(limits.connect, LONGEST);
            assert_eq!(Limits::of_call(&forever, remaining).total, LONGEST);
        }
    }

    #[test]
    fn a_read_waits_for_the_longer_of_its_two_limits() {
        let timeouts = Timeouts::new()
            .with_first_chunk(30 * SECOND)
            .with_idle(5 * SECOND);
        let limits = Limits::of_stream(&timeouts, None);
        assert_eq!(limits.longest_read(), Some(30 * SECOND));
    }
}
