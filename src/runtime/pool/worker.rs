//! A worker thread of a lane.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use super::lane::{Job, LaneState, Permit};
use crate::cancel::Never;
use crate::clock::Clock;
use crate::panic::guard;

/// What one thread of a lane has.
pub(super) struct LaneWorker {
    pub(super) lane: Arc<LaneState>,
    pub(super) stopped: Receiver<Never>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) running: Sender<Never>,
}

/// A worker's place in its lane, as its jobs see it.
pub(crate) struct Place {
    lane: Arc<LaneState>,
    permit: Cell<Option<Permit>>,
    standing: Cell<Standing>,
    clock: Arc<dyn Clock>,
    /// Dropped when the thread ends.
    running: Cell<Option<Sender<Never>>>,
}

/// The state of a worker in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It may take a job.
    Idle,
    /// It has a job and a place.
    Busy,
    /// It has a job that needs no place any more.
    Away,
    /// Others have taken its part while it was away, or it was not needed for a while: it has to go.
    Surplus,
}

impl Standing {
    fn idle_if(stays: bool) -> Self {
        if stays { Self::Idle } else { Self::Surplus }
    }
}

thread_local! {
    /// That of this thread, where it is a worker.
    static OWN: RefCell<Option<Rc<Place>>> = const { RefCell::new(None) };
}

impl LaneWorker {
    pub(super) fn work(self) {
        let place = Rc::new(Place {
            lane: self.lane,
            permit: Cell::new(None),
            standing: Cell::new(Standing::Idle),
            clock: self.clock,
            running: Cell::new(Some(self.running)),
        });
        OWN.set(Some(Rc::clone(&place)));
        while place.standing.get() == Standing::Idle
            && let Some(Job { permit, work }) = next_job(&place.lane, &self.stopped, &*place.clock)
        {
            place.begin(permit);
            let _ = guard(|| "a job".to_owned(), || work(&place));
            place.end();
        }
        OWN.set(None);
    }
}

/// The next job; `None` when the worker has left the lane.
fn next_job(lane: &LaneState, stopped: &Receiver<Never>, clock: &dyn Clock) -> Option<Job> {
    loop {
        if let Ok(job) = lane.jobs.try_recv() {
            return Some(job);
        }
        let in_any_case = select! {
            recv(lane.jobs) -> job => match job {
                Ok(job) => return Some(job),
                Err(_) => true,
            },
            recv(stopped) -> _ => true,
            recv(clock.after(IDLE)) -> _ => false,
        };
        if lane.leaves(in_any_case) {
            return None;
        }
    }
}

impl Place {
    /// Gives the place back and then does what needs none: it may take its time, and use the pool itself.
    ///
    /// The end of the job is then near: a caller that sees that end never finds the worker in its former place.
    pub(crate) fn give_back_for(&self, work: impl FnOnce()) {
        if self.standing.get() == Standing::Busy && self.lane.goes_away() {
            self.standing.set(Standing::Away);
            drop(self.permit.take());
        }
        work();
        self.end();
    }

    /// The job is done but for the news of it: the place is free.
    pub(crate) fn end(&self) {
        let next = match self.standing.get() {
            Standing::Busy => {
                let stays = self.lane.done(self.clock.monotonic());
                // Its receiver finds a thread.
                drop(self.permit.take());
                Standing::idle_if(stays)
            }
            Standing::Away => Standing::idle_if(self.lane.comes_back(self.clock.monotonic())),
            ended => ended,
        };
        self.standing.set(next);
    }

    /// Where this thread is a worker of one of the lanes, no other thread waits for it from now on.
    pub(super) fn leave_own(lanes: &[Arc<LaneState>]) {
        OWN.with_borrow(|own| {
            if let Some(place) = own
                && lanes.iter().any(|lane| Arc::ptr_eq(lane, &place.lane))
            {
                drop(place.permit.take());
                drop(place.running.take());
            }
        });
    }

    fn begin(&self, permit: Permit) {
        self.lane.taken();
        self.permit.set(Some(permit));
        self.standing.set(Standing::Busy);
    }
}

/// How long an idle thread stays.
pub(super) const IDLE: Duration = Duration::from_secs(10);
