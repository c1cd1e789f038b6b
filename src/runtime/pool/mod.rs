//! The thread pool: worker threads in lanes, one lane for each kind of work.

mod lane;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};
use parking_lot::Mutex;

use crate::cancel::{CancelToken, Never};
use crate::clock::{Clock, SystemClock, deadline};
use crate::error::{Error, ErrorCode};

use super::spawn;
use lane::LaneState;
pub(crate) use lane::{Lane, LaneLimits, Slot};
use worker::LaneWorker;
pub(crate) use worker::Place;

/// Worker threads in three lanes, so that no kind of work can starve another. Threads come on demand, up to the lane's
/// limit, and leave when they have been idle for a while, or were not needed for one.
pub(crate) struct Pool {
    lanes: [Arc<LaneState>; 3],
    clock: Arc<dyn Clock>,
    start: StartThread,
    /// Cancelled when a shutdown begins.
    closing: CancelToken,
    /// Cancelled when the drain of a shutdown has taken too long.
    stopping: CancelToken,
    /// Disconnected once nothing is to be taken any more.
    stop: Mutex<Option<Sender<Never>>>,
    stopped: Receiver<Never>,
    /// Held by every worker: disconnected when all have ended.
    running: Mutex<Option<Sender<Never>>>,
    ended: Receiver<Never>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

/// How long a caller is ready to wait for a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitFor<'a> {
    pub(crate) at_most: Duration,
    pub(crate) cancel: Option<&'a CancelToken>,
}

/// What gives a thread with a name.
type StartThread = fn(String, Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;

impl WaitFor<'static> {
    /// A place must be free now.
    pub(crate) const NOTHING: Self = Self {
        at_most: Duration::ZERO,
        cancel: None,
    };
}

impl Pool {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        jobs: LaneLimits,
        streams: LaneLimits,
        refreshes: LaneLimits,
    ) -> Self {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (running, ended) = crossbeam_channel::bounded(0);
        let lanes = [
            (Lane::Jobs, jobs),
            (Lane::Streams, streams),
            (Lane::Refreshes, refreshes),
        ];
        Self {
            lanes: lanes.map(|(lane, limits)| Arc::new(LaneState::new(lane, limits))),
            clock,
            start: |name, body| spawn(name, body),
            closing: CancelToken::new(),
            stopping: CancelToken::new(),
            stop: Mutex::new(Some(stop)),
            stopped,
            running: Mutex::new(Some(running)),
            ended,
            handles: Mutex::default(),
        }
    }

    /// A place in `lane` with a thread for it: immediately, or as soon as one is free.
    pub(crate) fn reserve(&self, lane: Lane, wait: WaitFor<'_>) -> Result<Slot, Error> {
        let state = &self.lanes[lane as usize];
        self.check_open()?;
        let waited = match state.permits.try_recv() {
            Ok(()) => Duration::ZERO,
            Err(_) => self.wait_for_place(state, wait)?,
        };
        let (slot, to_start) = state.slot(waited);
        if let Some(name) = to_start {
            self.start_worker(state, name)?;
        }
        Ok(slot)
    }

    /// Receives a permit, and says how long that took.
    fn wait_for_place(&self, lane: &LaneState, wait: WaitFor<'_>) -> Result<Duration, Error> {
        if wait.at_most.is_zero() {
            return Err(lane.all_taken());
        }
        let since = self.clock.monotonic();
        let never = crossbeam_channel::never();
        let cancelled = wait.cancel.map_or(&never, CancelToken::cancelled);
        select! {
            recv(lane.permits) -> _ => Ok(self.clock.monotonic().saturating_duration_since(since)),
            recv(self.clock.after(wait.at_most)) -> _ => Err(lane.all_taken()),
            recv(cancelled) -> _ => Err(Error::new(ErrorCode::Cancelled, "the call was cancelled")),
            recv(self.closing.cancelled()) -> _ => Err(Error::shut_down()),
        }
    }

    /// Runs `job` on a worker of the slot's lane.
    pub(crate) fn run(
        &self,
        slot: Slot,
        job: impl FnOnce(&Place) + Send + 'static,
    ) -> Result<(), Error> {
        let lane = Arc::clone(slot.lane());
        if !slot.filled(job).is_some_and(|job| lane.send(job)) {
            return Err(Error::shut_down());
        }
        if self.has_stopped() {
            // The workers may be gone already: none would take the job.
            lane.drop_queue();
            return Err(Error::shut_down());
        }
        Ok(())
    }

    /// Cancelled when running work must end because of a shutdown.
    pub(crate) fn stopping(&self) -> &CancelToken {
        &self.stopping
    }

    /// Cancelled when a shutdown begins.
    pub(crate) fn closing(&self) -> &CancelToken {
        &self.closing
    }

    /// An error from the moment on in which a shutdown begins.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closing.is_cancelled() {
            Err(Error::shut_down())
        } else {
            Ok(())
        }
    }

    /// Takes nothing new from now on.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    fn has_stopped(&self) -> bool {
        self.stop.lock().is_none()
    }

    /// Refuses new work, lets what runs and waits come to its end until `timeout` runs out, then cancels it. True when all
    /// work was done and all threads have ended, but for this one. One thread calls it, once.
    pub(crate) fn shut_down(&self, timeout: Duration) -> bool {
        self.close();
        Place::leave_own(&self.lanes);
        // Every permit comes back when its work is done.
        let end = deadline(SystemClock.monotonic(), timeout);
        let late = crossbeam_channel::at(end);
        let drained = self.lanes.iter().all(|lane| lane.drain(&late));
        if !drained {
            self.stopping.cancel();
        }
        *self.stop.lock() = None;
        for lane in &self.lanes {
            lane.drop_queue();
        }
        *self.running.lock() = None;
        let mut handles = std::mem::take(&mut *self.handles.lock());
        let me = std::thread::current().id();
        handles.retain(|handle| handle.thread().id() != me);
        let end = end.max(deadline(SystemClock.monotonic(), GRACE));
        if self.ended.recv_deadline(end) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            log::warn!(
                "shutdown leaves worker threads behind that are still blocked in the program's code"
            );
            return false;
        }
        for handle in handles {
            let _ = handle.join();
        }
        drained
    }

    fn start_worker(&self, lane: &Arc<LaneState>, name: String) -> Result<(), Error> {
        let Some(running) = self.running.lock().clone() else {
            return Err(Error::shut_down());
        };
        let worker = LaneWorker {
            lane: Arc::clone(lane),
            stopped: self.stopped.clone(),
            clock: Arc::clone(&self.clock),
            running,
        };
        let handle = match (self.start)(name, Box::new(move || worker.work())) {
            Ok(handle) => handle,
            Err(cause) => return lane.not_started(cause),
        };
        let finished: Vec<_> = {
            let mut handles = self.handles.lock();
            let finished = handles
                .extract_if(.., |handle| handle.is_finished())
                .collect();
            handles.push(handle);
            finished
        };
        for handle in finished {
            let _ = handle.join();
        }
        Ok(())
    }
}

/// How long a shutdown waits for threads whose work was cancelled.
const GRACE: Duration = Duration::from_secs(2);
