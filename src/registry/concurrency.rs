//! Learnt concurrency limits: how many requests an upstream serves a credential concurrently for a model. Pure.
//!
//! A refusal for a rate that came while other requests were in flight may be for their number. So it sets a cap, at that number, which
//! delays no start until the cap is confirmed: the next start beyond it, the trial, is refused, too. Where the limit is one of rate, the
//! trial is served, and a refusal below the cap, or after the trial, sets the cap anew. A refusal with nothing else in flight shows
//! that there is none.
//!
//! Beyond a firm cap one more start is tried from time to time. Where the trial is served, the cap rises, by twice as much each time;
//! where it is refused, the time until the next trial doubles.
//!
//! Times are of the even clock that [`Timeline::ahead`](super::timeline::Timeline::ahead) speaks of.

use std::sync::Arc;
use std::time::Duration;

use super::FastMap;
use crate::clock::{Timestamp, later};

/// What is in flight with a credential, and how much may be, by model.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    models: FastMap<Arc<str>, Load>,
    /// Of those that were in flight before anything was learnt, how many still are, as far as is known; for whatever model.
    uncounted: u32,
    /// When it is looked next for what may be forgotten.
    next_sweep: Option<Timestamp>,
}

/// A start that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// How many others were in flight.
    pub(super) beside: u32,
    /// Of the cap that it knew; 0: of none.
    round: u32,
    place: Place,
}

/// A start that was refused for a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    /// How many others were in flight.
    pub(super) beside: u32,
    /// As it was counted, if it was.
    pub(super) admission: Option<Admission>,
    /// How many others are in flight that are not counted.
    pub(super) uncounted: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Fewer were in flight than the cap allows.
    Within,
    /// The first of its round that was not.
    Trial,
    Beyond,
}

#[derive(Debug, Default)]
struct Load {
    in_flight: u32,
    learnt: Option<Learnt>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Learnt {
    /// The limit is one of rate: no cap until then.
    Rate(Timestamp),
    Cap(Cap),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Cap {
    most: u32,
    /// A trial was refused: it holds.
    is_firm: bool,
    /// From one refusal, of starts that knew of the one before, to the next.
    round: u32,
    /// The round had its trial.
    is_tried: bool,
    /// By how much the next trial raises it.
    step: u32,
    next_trial: Timestamp,
    interval: Duration,
    /// When as many were in flight last.
    binding: Timestamp,
}

impl Concurrency {
    /// Whether anything is learnt.
    pub(super) fn is_learnt(&self) -> bool {
        self.models.values().any(|load| load.learnt.is_some())
    }

    /// When the next trial is due, where as many are in flight as the cap of a model allows.
    pub(super) fn trial_at(&self, model: &str) -> Option<Timestamp> {
        let load = self.models.get(model)?;
        let in_flight = load.in_flight.saturating_add(self.uncounted);
        match &load.learnt {
            Some(Learnt::Cap(cap)) if cap.is_firm && in_flight >= cap.most => Some(cap.next_trial),
            _ => None,
        }
    }

    pub(super) fn uncounted(&self) -> u32 {
        self.uncounted
    }

    /// No more than so many are in flight that are not counted. Whether that is news.
    pub(super) fn recount(&mut self, uncounted: u32) -> bool {
        let is_news = uncounted < self.uncounted;
        self.uncounted = self.uncounted.min(uncounted);
        is_news
    }

    /// Counts a start.
    pub(super) fn start(&mut self, model: &Arc<str>, now: Timestamp) -> Admission {
        let load = self.models.entry(Arc::clone(model)).or_default();
        let beside = load.in_flight.saturating_add(self.uncounted);
        load.in_flight = load.in_flight.saturating_add(1);
        match &mut load.learnt {
            Some(Learnt::Cap(cap)) => {
                let admission = Admission {
                    beside,
                    round: cap.round,
                    place: cap.start(beside, now),
                };
                cap.note(beside.saturating_add(1), now);
                admission
            }
            _ => Admission {
                beside,
                round: 0,
                place: Place::Within,
            },
        }
    }

    /// A request is over; `unsent`: nothing was sent, and it is as if there had been no start. Whether the cap has room again.
    pub(super) fn end(
        &mut self,
        model: &str,
        admission: Admission,
        unsent: bool,
        now: Timestamp,
    ) -> bool {
        let Some(load) = self.models.get_mut(model) else {
            return false;
        };
        let in_flight = load.in_flight.saturating_add(self.uncounted);
        load.in_flight = load.in_flight.saturating_sub(1);
        match &mut load.learnt {
            Some(Learnt::Cap(cap)) => {
                cap.note(in_flight, now);
                let is_undone = unsent && cap.undo_trial(admission, now);
                cap.is_firm && (is_undone || in_flight == cap.most)
            }
            Some(Learnt::Rate(_)) => false,
            None => {
                if load.in_flight == 0 {
                    self.models.remove(model);
                }
                false
            }
        }
    }

    /// A start was refused for a rate. Whether the cap explains it.
    pub(super) fn refuse(
        &mut self,
        model: Arc<str>,
        refused: Refused,
        told: Option<Duration>,
        now: Timestamp,
    ) -> bool {
        if self.models.len() >= MOST_MODELS && !self.models.contains_key(&model) {
            return false;
        }
        let learnt = &mut self.models.entry(model).or_default().learnt;
        let beside = refused.beside;
        if beside == 0 {
            *learnt = Some(Learnt::Rate(later(now, QUIET)));
            return false;
        }
        match learnt {
            Some(Learnt::Rate(until)) if *until > now => false,
            Some(Learnt::Cap(cap)) => cap.refuse(beside, refused.admission, told, now),
            _ => {
                *learnt = Some(Learnt::Cap(Cap::at(beside, now)));
                self.uncounted = refused.uncounted;
                false
            }
        }
    }

    /// Forgets what was learnt.
    pub(super) fn forget(&mut self) {
        self.models.retain(|_, load| {
            load.learnt = None;
            load.in_flight > 0
        });
    }

    /// Forgets caps that were not reached for a while.
    pub(super) fn forget_idle(&mut self, now: Timestamp) {
        if self.next_sweep.is_some_and(|at| at > now) {
            return;
        }
        self.next_sweep = Some(later(now, SWEEP));
        let uncounted = self.uncounted;
        self.models.retain(|_, load| {
            let in_flight = load.in_flight.saturating_add(uncounted);
            load.learnt.take_if(|learnt| match learnt {
                Learnt::Rate(until) => *until <= now,
                Learnt::Cap(cap) => in_flight < cap.most && later(cap.binding, QUIET) <= now,
            });
            load.in_flight > 0 || load.learnt.is_some()
        });
    }
}

impl Cap {
    fn at(most: u32, now: Timestamp) -> Self {
        Self {
            most,
            is_firm: false,
            round: 1,
            is_tried: false,
            step: 1,
            next_trial: now,
            interval: SHORTEST,
            binding: now,
        }
    }

    fn start(&mut self, beside: u32, now: Timestamp) -> Place {
        if beside < self.most {
            return Place::Within;
        }
        let is_trial = if self.is_firm {
            self.next_trial <= now
        } else {
            !self.is_tried
        };
        if !is_trial {
            return Place::Beyond;
        }
        if self.is_firm {
            if self.is_tried {
                // The last one was served.
                self.step = self.step.saturating_mul(2);
                self.interval = (self.interval / 2).max(SHORTEST);
            }
            self.most = beside.saturating_add(self.step);
            self.next_trial = later(now, self.interval);
        }
        self.is_tried = true;
        Place::Trial
    }

    /// The trial was not sent: the next one may be.
    fn undo_trial(&mut self, admission: Admission, now: Timestamp) -> bool {
        let is_this = admission.place == Place::Trial && admission.round == self.round;
        if is_this {
            self.is_tried = false;
            self.next_trial = now;
            self.most = self.most.min(admission.beside);
        }
        is_this
    }

    fn refuse(
        &mut self,
        beside: u32,
        admission: Option<Admission>,
        told: Option<Duration>,
        now: Timestamp,
    ) -> bool {
        self.binding = now;
        let place = match admission {
            Some(admission) if admission.round == self.round => admission.place,
            _ => {
                // It knew nothing of the last refusal, and says the same.
                self.most = self.most.min(beside);
                return false;
            }
        };
        match place {
            Place::Beyond if self.is_firm => return true,
            Place::Trial => {
                self.most = self.most.min(beside);
                let told = told.unwrap_or_default().min(LONGEST);
                self.interval = if self.is_firm {
                    (2 * self.interval).min(LONGEST.max(WORTH * told))
                } else {
                    told.max(SHORTEST)
                };
                self.is_firm = true;
            }
            Place::Within | Place::Beyond => {
                self.most = beside;
                self.is_firm = false;
            }
        }
        self.round = self.round.wrapping_add(1).max(1);
        self.is_tried = false;
        self.step = 1;
        self.next_trial = later(now, self.interval);
        place == Place::Trial
    }

    fn note(&mut self, in_flight: u32, now: Timestamp) {
        if in_flight >= self.most {
            self.binding = self.binding.max(now);
        }
    }
}

/// Between two trials.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Or so many times as long as a refused trial makes the credential unavailable, if that is longer.
const WORTH: u32 = 20;

/// A cap that was not reached for so long is forgotten.
const QUIET: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(10);

/// Models that anything is kept of, for each credential.
const MOST_MODELS: usize = 256;

#[cfg(test)]
mod tests;
