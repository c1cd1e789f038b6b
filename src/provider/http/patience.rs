//! Idle timeouts of a stream, counted by its events and not by its bytes.

use std::time::Duration;

use crate::transport::{IdleLimits, Limits};

/// How long has been waited, and how long may be. Only waiting counts: a reader may take its time between two events.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    limits: Option<IdleLimits>,
    /// The limit for the time between two contents.
    content: Option<Duration>,
    /// For an event, or for more of one.
    for_event: Duration,
    /// For an event that brings something.
    for_content: Duration,
    /// For anything, since the reply was whole.
    for_end: Duration,
    /// How many bytes of the next event had come.
    of_event: usize,
    had_event: bool,
    had_content: bool,
    was_whole: bool,
}

impl Patience {
    /// For a stream whose request went out so long ago.
    pub(crate) fn new(limits: &Limits, since_sent: Duration) -> Self {
        Self {
            limits: limits.pace(),
            content: limits.content,
            for_content: since_sent,
            ..Self::default()
        }
    }

    /// The stream's reader is back.
    pub(crate) fn resume(&mut self) {
        self.for_event = Duration::ZERO;
    }

    pub(crate) fn note_event(&mut self) {
        self.for_event = Duration::ZERO;
        self.of_event = 0;
        self.had_event = true;
    }

    pub(crate) fn note_content(&mut self) {
        self.for_content = Duration::ZERO;
        self.had_content = true;
    }

    /// Whether something of the reply has come.
    pub(crate) fn had_content(&self) -> bool {
        self.had_content
    }

    pub(crate) fn note_wait(&mut self, waited: Duration) {
        self.for_event = self.for_event.saturating_add(waited);
        self.for_content = self.for_content.saturating_add(waited);
        self.for_end = self.for_end.saturating_add(waited);
    }

    /// How long may still be waited, where there is a limit; the name of a limit that has passed. An event of which more comes is
    /// let come: so many bytes of it are there. After the end of a reply only what belongs to it is waited for.
    pub(crate) fn left(
        &mut self,
        of_event: usize,
        is_whole: bool,
    ) -> Result<Option<Duration>, &'static str> {
        if of_event > std::mem::replace(&mut self.of_event, of_event) {
            self.for_event = Duration::ZERO;
        }
        if is_whole && !std::mem::replace(&mut self.was_whole, true) {
            self.for_end = Duration::ZERO;
        }
        let Some(limits) = self.limits else {
            return Ok(None);
        };
        let idle = || (limits.idle.saturating_sub(self.for_event), IDLE);
        let content = |limit: Duration| limit.saturating_sub(self.for_content);
        let (left, limit) = if is_whole {
            (AFTER_THE_END.saturating_sub(self.for_end), IDLE)
        } else if of_event > 0 {
            idle()
        } else {
            let for_event = self.had_event.then(idle);
            let for_content = if self.had_content {
                self.content.map(|limit| (content(limit), CONTENT))
            } else {
                Some((content(limits.first_chunk), FIRST_CHUNK))
            };
            let shortest = for_event.into_iter().chain(for_content).min();
            shortest.unwrap_or_else(idle)
        };
        if left.is_zero() {
            Err(limit)
        } else {
            Ok(Some(left))
        }
    }
}

const FIRST_CHUNK: &str =
    "no content within the limit for the first chunk (comments and pings do not count)";
const IDLE: &str = "no event within the stream's idle limit (comments do not count)";
const CONTENT: &str =
    "no further content within the limit between two contents (pings do not count)";

/// How long is waited for what may follow a whole reply: usage, the closing marker. Some servers keep the connection open.
const AFTER_THE_END: Duration = Duration::from_secs(3);
