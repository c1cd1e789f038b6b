//! [`Clock`]: wall clock, monotonic clock and timers. The only place where time is read.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use time::format_description::well_known::Rfc3339;

/// A moment of the wall clock, in UTC by its type.
///
/// ```
/// use credpool::{Clock, SystemClock, Timestamp};
///
/// let now: Timestamp = SystemClock.now();
/// assert!(now + std::time::Duration::from_secs(60) > now);
/// ```
pub type Timestamp = time::UtcDateTime;

/// Where the library reads the time and how its threads wait.
///
/// Programs use [`SystemClock`], the default. Tests use [`ManualClock`], which moves only when told to.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Clock, SystemClock};
///
/// let timer = SystemClock.after(Duration::from_millis(1));
/// assert!(timer.recv().unwrap() <= SystemClock.monotonic());
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock. It may jump; expiry of tokens and stored cooldowns go by it.
    fn now(&self) -> Timestamp;

    /// A clock that never goes backwards. Deadlines and back-off go by it.
    fn monotonic(&self) -> Instant;

    /// A channel that gets one message after `wait`.
    fn after(&self, wait: Duration) -> Receiver<Instant>;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn monotonic(&self) -> Instant {
        (**self).monotonic()
    }

    fn after(&self, wait: Duration) -> Receiver<Instant> {
        (**self).after(wait)
    }
}

/// The machine's clocks.
///
/// ```
/// use credpool::{Clock, SystemClock};
///
/// assert!(SystemClock.now().year() >= 2026);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn after(&self, wait: Duration) -> Receiver<Instant> {
        crossbeam_channel::after(wait)
    }
}

/// A clock for tests: both wall clock and monotonic clock stand still until [`ManualClock::advance`] moves them.
///
/// ```
/// use credpool::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::at(time::macros::utc_datetime!(2025-01-01 00:00));
/// let timer = clock.after(Duration::from_secs(60));
/// clock.advance(Duration::from_secs(59));
/// assert!(timer.try_recv().is_err());
/// clock.advance(Duration::from_secs(1));
/// assert!(timer.try_recv().is_ok());
/// assert_eq!(clock.now(), time::macros::utc_datetime!(2025-01-01 00:01));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    face: Arc<Mutex<Face>>,
}

#[derive(Debug)]
struct Face {
    now: Timestamp,
    monotonic: Instant,
    timers: Vec<(Instant, Sender<Instant>)>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            face: Arc::new(Mutex::new(Face {
                now,
                monotonic: Instant::now(),
                timers: Vec::new(),
            })),
        }
    }

    /// Moves both faces forward and fires the timers that are due, the earliest first.
    pub fn advance(&self, by: Duration) {
        let (monotonic, due) = {
            let mut face = self.face.lock();
            face.now = later(face.now, by);
            face.monotonic = deadline(face.monotonic, by);
            let monotonic = face.monotonic;
            let (mut due, waiting): (Vec<_>, Vec<_>) =
                face.timers.drain(..).partition(|(at, _)| *at <= monotonic);
            face.timers = waiting;
            due.sort_by_key(|(at, _)| *at);
            (monotonic, due)
        };
        for (_, timer) in due {
            let _ = timer.try_send(monotonic);
        }
    }

    /// Sets the wall clock alone, as an operator or a time server does; the monotonic face stays.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{Clock, ManualClock, SystemClock};
    ///
    /// let clock = ManualClock::at(SystemClock.now());
    /// let before = clock.monotonic();
    /// clock.set_wall(clock.now() - Duration::from_secs(3600));
    /// assert_eq!(clock.monotonic(), before);
    /// ```
    pub fn set_wall(&self, now: Timestamp) {
        self.face.lock().now = now;
    }

    /// How many timers are waiting: how a test sees that a thread has gone to sleep.
    pub fn timers(&self) -> usize {
        self.face.lock().timers.len()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.face.lock().now
    }

    fn monotonic(&self) -> Instant {
        self.face.lock().monotonic
    }

    fn after(&self, wait: Duration) -> Receiver<Instant> {
        let (fire, timer) = crossbeam_channel::bounded(1);
        let mut face = self.face.lock();
        let at = deadline(face.monotonic, wait);
        if wait.is_zero() {
            let _ = fire.try_send(at);
        } else {
            face.timers.push((at, fire));
        }
        timer
    }
}

/// `from + by`, at the end of the calendar at the latest.
pub(crate) fn later(from: Timestamp, by: Duration) -> Timestamp {
    time::Duration::try_from(by).map_or(Timestamp::MAX, |by| from.saturating_add(by))
}

/// `from - by`, at the start of the calendar at the earliest.
pub(crate) fn earlier(from: Timestamp, by: Duration) -> Timestamp {
    time::Duration::try_from(by).map_or(Timestamp::MIN, |by| from.saturating_sub(by))
}

/// How long from `now` until `at`; zero when it is over.
pub(crate) fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at - now).unwrap_or_default()
}

/// `from + by`, or a century later where that is not representable.
pub(crate) fn deadline(from: Instant, by: Duration) -> Instant {
    from.checked_add(by)
        .or_else(|| from.checked_add(FAR))
        .unwrap_or(from)
}

/// RFC 3339 in UTC with as many fraction digits as needed.
pub(crate) fn time_text(at: Timestamp) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| UNSET.to_owned())
}

/// How a time that is not set is written.
pub(crate) const UNSET: &str = "0001-01-01T00:00:00Z";

/// Times and durations as members of JSON: RFC 3339, and seconds.
pub(crate) mod serial {
    use std::time::Duration;

    use serde::{Serialize, Serializer};

    use super::{Timestamp, time_text};

    pub(crate) fn time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        time_text(*at).serialize(serializer)
    }

    #[expect(clippy::ref_option, reason = "serde passes the field")]
    pub(crate) fn optional_time<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(time_text).serialize(serializer)
    }

    pub(crate) fn seconds<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.as_secs_f64().serialize(serializer)
    }

    #[expect(clippy::ref_option, reason = "serde passes the field")]
    pub(crate) fn optional_seconds<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(serializer)
    }
}

const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(later(now, Duration::MAX), Timestamp::MAX);
        assert_eq!(earlier(now, Duration::MAX), Timestamp::MIN);
        assert_eq!(until(Timestamp::MAX, Timestamp::MIN), Duration::ZERO);
        let clock = ManualClock::at(now);
        assert!(deadline(clock.monotonic(), Duration::MAX) > clock.monotonic());
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_no_timer() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let timer = clock.after(Duration::from_secs(1));
        clock.set_wall(Timestamp::MAX);
        assert!(timer.try_recv().is_err());
        assert_eq!(clock.timers(), 1);
    }
}
