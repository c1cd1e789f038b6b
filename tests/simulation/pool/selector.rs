//! The selector of the simulated pool: round robin, which declines now and then, and counts how often it is asked.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use credpool::{Candidate, Candidates, Error, ErrorCode, Options, Selector};

use super::upstream::Shared;

/// What [`Fickle`] does where the mischief is this one.
pub const DECLINES: usize = 2;

pub struct Fickle {
    pub mischief: Arc<AtomicUsize>,
    pub truth: Shared,
}

/// How often a thread has asked at one moment, between two attempts of whatever call.
#[derive(Clone, Copy, Default)]
struct Picks {
    at: Duration,
    attempts: usize,
    count: usize,
}

thread_local! {
    static PICKS: Cell<Picks> = Cell::default();
}

/// A call that has lost so many races for a ready credential has lost them to no other call.
const MOST_PICKS: usize = 100;

impl Selector for Fickle {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        if self.mischief.load(Ordering::SeqCst) == DECLINES {
            return Ok(None);
        }
        let picked = candidates.rotate();
        match &picked {
            Some(candidate) => self.count(&candidate.id)?,
            None => PICKS.set(Picks::default()),
        }
        Ok(picked)
    }
}

impl Fickle {
    /// Ends a call that picks on and on.
    fn count(&self, id: &str) -> Result<(), Error> {
        let mut truth = self.truth.lock();
        let mut picks = Picks {
            at: truth.now(),
            attempts: truth.attempts,
            count: 1,
        };
        let before = PICKS.get();
        if (before.at, before.attempts) == (picks.at, picks.attempts) {
            picks.count += before.count;
        }
        PICKS.set(picks);
        if picks.count < MOST_PICKS {
            return Ok(());
        }
        PICKS.set(Picks::default());
        let what = format!("{id} is picked again and again, and no request is sent");
        truth.breach(
            "a_call_picks_once_until_time_passes_or_a_request_is_sent",
            what,
        );
        Err(Error::new(ErrorCode::Unsupported, "the selector gives up"))
    }
}
