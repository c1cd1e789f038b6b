//! [`Notices`]: what a server says of changes, so that it need not be asked while it says nothing.

use std::fmt::Display;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::{Clock as _, SystemClock};
use crate::error::Error;
use crate::store::Cursor;

/// A connection on which the server says that something has changed.
pub(crate) trait Listener: Sized {
    type Failure: Display;

    /// Whether it has said so since the last time. Asks the server nothing.
    fn has_news(&mut self) -> Result<bool, Self::Failure>;
}

/// The listener of one handle in one process, and the cursors since which it has heard nothing.
#[derive(Debug)]
pub(crate) struct Notices<L>(Mutex<State<L>>);

#[derive(Debug)]
struct State<L> {
    ear: Ear<L>,
    /// The cursors since which nothing was heard, and when each look ended.
    quiet: Vec<(Cursor, Instant)>,
}

#[derive(Debug)]
enum Ear<L> {
    /// To be opened, not before that moment.
    Closed(Option<Instant>),
    Open(L),
    /// A look has it.
    Taken,
}

impl<L> Default for Notices<L> {
    fn default() -> Self {
        Self(Mutex::new(State {
            ear: Ear::Closed(None),
            quiet: Vec::new(),
        }))
    }
}

impl<L: Listener> Notices<L> {
    /// Whether nothing has been heard since. `open` begins to listen where nothing does yet; `None` where the server says nothing.
    pub(crate) fn is_quiet(
        &self,
        since: &Cursor,
        open: impl FnOnce() -> Result<Option<L>, Error>,
    ) -> bool {
        let now = SystemClock.monotonic();
        let Some(taken) = self.0.lock().take(now) else {
            return false;
        };
        // No lock is held while the connection is read or opened.
        let heard = taken.and_then(heard);
        let (listener, is_news) = match heard {
            Some((listener, is_news)) => (Some(listener), is_news),
            None => (opened(open()), true),
        };
        let mut state = self.0.lock();
        if is_news {
            state.quiet.clear();
        }
        let Some(listener) = listener else {
            state.ear = Ear::Closed(now.checked_add(OPEN_AGAIN));
            return false;
        };
        state.ear = Ear::Open(listener);
        state.is_quiet(since, now)
    }

    /// The listener, where one is open: for a look, of which it is told by [`give_back`](Self::give_back).
    pub(crate) fn take(&self) -> Option<L> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut state.ear, Ear::Taken) {
            Ear::Open(listener) => Some(listener),
            other => {
                state.ear = other;
                None
            }
        }
    }

    /// After a look that began when `listener` listened already: `cursor` is where the next one begins.
    pub(crate) fn give_back(&self, listener: L, cursor: &Cursor) {
        let mut state = self.0.lock();
        state.ear = Ear::Open(listener);
        state.quiet.retain(|(known, _)| known != cursor);
        if state.quiet.len() >= MOST_CURSORS {
            state.quiet.remove(0);
        }
        let now = SystemClock.monotonic();
        state.quiet.push((cursor.clone(), now));
    }

    /// The listener is of no use: the next look opens another one.
    pub(crate) fn lose(&self) {
        self.0.lock().ear = Ear::Closed(None);
    }
}

impl<L> State<L> {
    /// The listener, if one is open. `None` at all where another look has it, or it is not yet time to open one.
    #[allow(clippy::option_option, reason = "the one inside is what it has")]
    fn take(&mut self, now: Instant) -> Option<Option<L>> {
        match std::mem::replace(&mut self.ear, Ear::Taken) {
            Ear::Open(listener) => Some(Some(listener)),
            Ear::Taken => None,
            Ear::Closed(Some(at)) if now < at => {
                self.ear = Ear::Closed(Some(at));
                None
            }
            Ear::Closed(_) => Some(None),
        }
    }

    fn is_quiet(&self, since: &Cursor, now: Instant) -> bool {
        let known = self.quiet.iter().find(|(known, _)| known == since);
        known.is_some_and(|(_, at)| now.saturating_duration_since(*at) < CHECK_AFTER)
    }
}

/// The listener, and whether it has news; `None` where it has died.
fn heard<L: Listener>(mut listener: L) -> Option<(L, bool)> {
    let is_news = listener.has_news();
    let is_news = is_news.map_err(|error| {
        log::debug!("the connection that listens for changes has died: {error}");
    });
    let is_news = is_news.ok()?;
    Some((listener, is_news))
}

fn opened<L>(opened: Result<Option<L>, Error>) -> Option<L> {
    opened.unwrap_or_else(|error| {
        log::debug!("could not listen for changes: {error}");
        None
    })
}

/// A server that says nothing is asked so often all the same: a connection may have died without a word.
const CHECK_AFTER: Duration = Duration::from_secs(60);
/// How long no listener is opened where none could be.
const OPEN_AGAIN: Duration = Duration::from_secs(60);
/// The cursors of as many managers as share a handle.
const MOST_CURSORS: usize = 16;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Says in turn what it is told to say.
    #[derive(Debug)]
    struct Said(Vec<Result<bool, ()>>);

    impl Listener for Said {
        type Failure = &'static str;

        fn has_news(&mut self) -> Result<bool, &'static str> {
            self.0.remove(0).map_err(|()| "it has died")
        }
    }

    /// Whether the server was asked.
    fn look(notices: &Notices<Said>, since: &str, says: &[Result<bool, ()>]) -> bool {
        let open = || Ok(Some(Said(says.to_vec())));
        if notices.is_quiet(&Cursor::new(since), open) {
            return false;
        }
        if let Some(listener) = notices.take() {
            notices.give_back(listener, &Cursor::new("now"));
        }
        true
    }

    #[test]
    fn nothing_is_asked_while_nothing_is_heard() {
        let notices = Notices::default();
        let says = [Ok(false), Ok(false), Ok(true), Ok(false), Err(())];
        assert!(look(&notices, "then", &says), "the first time");
        assert!(!look(&notices, "now", &[]));
        assert!(look(&notices, "then", &[]), "of an older cursor");
        assert!(look(&notices, "now", &[]), "there is news");
        assert!(!look(&notices, "now", &[]));
        assert!(look(&notices, "now", &[Ok(false)]), "it has died");
        assert!(!look(&notices, "now", &[]), "another one listens");
    }

    #[test]
    fn a_server_that_says_nothing_is_not_asked_to_each_time() {
        let notices = Notices::<Said>::default();
        let asked = Cell::new(0);
        for _ in 0..3 {
            let open = || {
                asked.set(asked.get() + 1);
                Ok(None)
            };
            assert!(!notices.is_quiet(&Cursor::new("now"), open));
            assert!(notices.take().is_none());
        }
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn a_look_beside_another_one_asks_the_server() {
        let notices = Notices::default();
        look(&notices, "then", &[Ok(false)]);
        let now = Cursor::new("now");
        let listener = notices.take().unwrap();
        assert!(!notices.is_quiet(&now, || Ok(None)) && notices.take().is_none());
        notices.give_back(listener, &now);
        assert!(notices.is_quiet(&now, || Ok(None)));
    }
}
