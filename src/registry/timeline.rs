//! Ends of cooldowns on a timeline that a jump of the wall clock does not move.
//!
//! A cooldown ends at the earlier of its wall end and its monotonic end. All times in the registry are of the present wall
//! clock, so that they can be shown, stored and compared as they are. A user of the registry brings a [`Moment`], a
//! reading of both clocks. Where the wall clock is behind what the monotonic clock says it should be, it was set back: then
//! every end that the registry holds, and every window of a limit, is moved back by as much, under the same lock, before the
//! moment is used. So nothing lasts longer for it, and what begins afterwards is measured from the clock as it is now. Where
//! the wall clock is ahead, it was set forward, or the machine was suspended, in which the monotonic clock stands still: it is
//! followed, and what ends by it ends. A moment that was read before the last such step and comes after it is translated.
//!
//! Tokens expire by the wall clock itself: they are no business of the registry.

use std::time::{Duration, Instant};

use crate::auth::Auth;
use crate::clock::{Clock, Timestamp, earlier, later, until};

use super::State;
use super::record::Record;

/// A reading of the wall clock between two of the monotonic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    /// `None`: the wall clock is taken as it is.
    monotonic: Option<(Instant, Instant)>,
}

#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// What the wall clock showed, at least, at a moment of the monotonic one: since then neither was it set, nor the machine
    /// suspended.
    anchor: Option<(Timestamp, Instant)>,
    /// By how much the wall clock was set back in all.
    set_back: Duration,
    /// By how much it was set forward in all: by a step, by the time of a suspend, or bit by bit.
    set_forward: Duration,
    /// The time of the last moment.
    latest: Option<Timestamp>,
}

/// What a moment is for the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Now {
    at: Timestamp,
    /// By how much the wall clock was set back since the last moment.
    set_back: Duration,
    /// By how much it was set forward, or the machine suspended.
    set_forward: Duration,
}

impl Moment {
    /// At which no cooldown has ended.
    pub(crate) const TIMELESS: Self = Self {
        wall: Timestamp::MIN,
        monotonic: None,
    };

    pub(crate) fn of(clock: &dyn Clock) -> Self {
        let before = clock.monotonic();
        let wall = clock.now();
        Self {
            wall,
            monotonic: Some((before, clock.monotonic())),
        }
    }
}

/// By the wall clock alone.
impl From<Timestamp> for Moment {
    fn from(wall: Timestamp) -> Self {
        Self {
            wall,
            monotonic: None,
        }
    }
}

impl Timeline {
    /// By how much the wall clock is ahead of a clock that began with it and has gone evenly since. Limits and paces go by that one: a
    /// minute of theirs is a minute of the monotonic clock.
    pub(super) fn ahead(&self) -> time::Duration {
        let [forward, back] = [self.set_forward, self.set_back]
            .map(|by| time::Duration::try_from(by).unwrap_or(time::Duration::MAX));
        forward.saturating_sub(back)
    }

    /// The time of the last moment that was seen.
    pub(super) fn latest(&self) -> Timestamp {
        self.latest.unwrap_or(Timestamp::MIN)
    }

    fn see(&mut self, moment: Moment) -> Now {
        let as_it_is = Now {
            at: moment.wall,
            set_back: Duration::ZERO,
            set_forward: Duration::ZERO,
        };
        let Some((before, after)) = moment.monotonic else {
            return as_it_is;
        };
        let Some(anchor) = self.anchor else {
            self.anchor = Some((moment.wall, after));
            return as_it_is;
        };
        if after < anchor.1 {
            return Now {
                at: wall_at(anchor, after),
                ..as_it_is
            };
        }
        let set_back = until(moment.wall, wall_at(anchor, before));
        if set_back >= LEAST_STEP {
            self.anchor = Some((
                later(moment.wall, after.saturating_duration_since(before)),
                after,
            ));
            self.set_back = self.set_back.saturating_add(set_back);
            return Now {
                set_back,
                ..as_it_is
            };
        }
        let set_forward = until(wall_at(anchor, after), moment.wall);
        if !set_forward.is_zero() {
            self.anchor = Some((moment.wall, after));
            self.set_forward = self.set_forward.saturating_add(set_forward);
        }
        Now {
            set_forward,
            ..as_it_is
        }
    }
}

/// What the wall clock shows at a moment of the monotonic one, if nothing is done to it.
fn wall_at((wall, anchor): (Timestamp, Instant), at: Instant) -> Timestamp {
    let passed = at.saturating_duration_since(anchor);
    earlier(later(wall, passed), anchor.saturating_duration_since(at))
}

impl State {
    /// The time of a moment. Where the wall clock was set back before it, all ends are moved back.
    pub(super) fn now(&mut self, moment: Moment) -> Timestamp {
        let now = self.timeline.see(moment);
        if moment != Moment::TIMELESS {
            self.timeline.latest = Some(now.at);
        }
        if !now.set_back.is_zero() {
            let troubled: Vec<u32> = self.troubled.iter().collect();
            log::info!(
                "the wall clock was set back by {:?}; cooldowns are adjusted",
                now.set_back
            );
            for slot in troubled {
                self.slots[slot].set_back(now.set_back);
                self.look_again(slot, "", true);
            }
        }
        if now.set_forward >= LEAST_JUMP {
            // What has ended by it, no waiting call's timer knows of.
            self.waiters.wake();
        }
        now.at
    }
}

impl Record {
    fn set_back(&mut self, by: Duration) {
        self.change().set_back(by);
        if let Some(limiter) = &mut self.limiter {
            limiter.set_back(by);
        }
    }
}

impl Auth {
    /// Moves the ends of all cooldowns back, as the wall clock was.
    fn set_back(&mut self, by: Duration) {
        let back = |at: &mut Option<Timestamp>| {
            // The end of the calendar is none.
            *at = at.map(|at| {
                if at == Timestamp::MAX {
                    at
                } else {
                    earlier(at, by)
                }
            });
        };
        let states = self.model_states.values_mut().map(|state| {
            back(&mut state.next_retry_after);
            back(&mut state.quota.next_recover_at);
            state.half_open.set_back(by);
            &mut state.cause
        });
        for cause in states.chain([&mut self.cause, &mut self.outage]).flatten() {
            cause.since = earlier(cause.since, by);
            back(&mut cause.until);
            back(&mut cause.told_until);
            back(&mut cause.probe_at);
        }
        self.half_open.set_back(by);
        self.outage_half_open.set_back(by);
        back(&mut self.next_retry_after);
        back(&mut self.quota.next_recover_at);
        back(&mut self.awaits_token);
    }
}

/// Less than that is left to add up: a clock that is slowed down is no work at every moment.
const LEAST_STEP: Duration = Duration::from_millis(1);
/// Below that, a clock that is set forward bit by bit.
const LEAST_JUMP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
