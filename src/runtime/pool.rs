use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use parking_lot::Mutex;

use crate::cancel::{CancelToken, Never};
use crate::clock::Clock;
use crate::error::{Error, ErrorCode};

use super::{guard, spawn};

/// Worker threads in three lanes, so that no kind of work can starve another. Threads come on demand, up to the lane's
/// limit, and leave when they have been idle for a while.
pub(crate) struct Pool {
    lanes: [LaneState; 3],
    clock: Arc<dyn Clock>,
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

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Jobs,
    Streams,
    Refreshes,
}

/// How many threads a lane may have, and how many jobs may wait for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneLimits {
    pub(crate) threads: usize,
    pub(crate) queue: usize,
}

/// How long a caller is ready to wait for a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitFor<'a> {
    /// Without a deadline there is no waiting.
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Option<&'a CancelToken>,
}

/// A place in a lane, to be used for one job. Dropped unused, it goes back.
pub(crate) struct Slot {
    lane: Lane,
    permit: Permit,
}

struct LaneState {
    lane: Lane,
    limits: LaneLimits,
    permits: Receiver<()>,
    give_back: Sender<()>,
    queue: Sender<Job>,
    jobs: Receiver<Job>,
    threads: Arc<Mutex<Threads>>,
}

#[derive(Default)]
struct Threads {
    live: usize,
    /// Jobs sent and not yet taken.
    waiting: usize,
    idle: usize,
    next_number: u64,
}

struct Permit(Sender<()>);

type Job = Box<dyn FnOnce() + Send>;

impl Pool {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        jobs: LaneLimits,
        streams: LaneLimits,
        refreshes: LaneLimits,
    ) -> Self {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (running, ended) = crossbeam_channel::bounded(0);
        Self {
            lanes: [
                LaneState::new(Lane::Jobs, jobs),
                LaneState::new(Lane::Streams, streams),
                LaneState::new(Lane::Refreshes, refreshes),
            ],
            clock,
            closing: CancelToken::new(),
            stopping: CancelToken::new(),
            stop: Mutex::new(Some(stop)),
            stopped,
            running: Mutex::new(Some(running)),
            ended,
            handles: Mutex::default(),
        }
    }

    /// A place in `lane`: at once, or as soon as one is free before the deadline.
    pub(crate) fn reserve(&self, lane: Lane, wait: WaitFor<'_>) -> Result<Slot, Error> {
        let state = &self.lanes[lane as usize];
        self.check_open()?;
        if state.permits.try_recv().is_ok() {
            return Ok(state.slot());
        }
        let Some(deadline) = wait.deadline else {
            return Err(state.saturated());
        };
        let left = deadline.saturating_duration_since(self.clock.monotonic());
        let never = crossbeam_channel::never();
        let cancelled = wait.cancel.map_or(&never, CancelToken::cancelled);
        select! {
            recv(state.permits) -> _ => Ok(state.slot()),
            recv(self.clock.after(left)) -> _ => Err(state.saturated()),
            recv(cancelled) -> _ => Err(Error::new(ErrorCode::Cancelled, "the call was cancelled")),
            recv(self.closing.cancelled()) -> _ => Err(shut_down()),
        }
    }

    /// Runs `job` on a worker of the slot's lane.
    pub(crate) fn run(&self, slot: Slot, job: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let Slot { lane, permit } = slot;
        let state = &self.lanes[lane as usize];
        let job: Job = Box::new(move || {
            let _permit = permit;
            job();
        });
        let spawn = {
            let mut threads = state.threads.lock();
            threads.waiting += 1;
            let spawn = threads.waiting > threads.idle && threads.live < state.limits.threads;
            if spawn {
                threads.live += 1;
                threads.next_number += 1;
            }
            spawn.then_some(threads.next_number)
        };
        if let Some(number) = spawn
            && let Err(error) = self.spawn(state, number)
        {
            let mut threads = state.threads.lock();
            threads.live -= 1;
            if threads.live == 0 {
                threads.waiting -= 1;
                return Err(error);
            }
            // Another worker will come to it.
        }
        // The queue has room for every permit.
        if state.queue.try_send(job).is_err() {
            state.threads.lock().waiting -= 1;
            return Err(shut_down());
        }
        if self.has_stopped() {
            // The workers may be gone already: nobody would come for it.
            state.drop_queue();
            return Err(shut_down());
        }
        Ok(())
    }

    /// Cancelled when running work must end because of a shutdown.
    pub(crate) fn stopping(&self) -> &CancelToken {
        &self.stopping
    }

    /// An error from the moment on in which a shutdown begins.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closing.is_cancelled() {
            Err(shut_down())
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
    /// work was done and all threads have ended. One thread calls it, once.
    pub(crate) fn shut_down(&self, timeout: Duration) -> bool {
        self.close();
        // Every permit comes back when its work is done.
        let deadline = crossbeam_channel::after(timeout);
        let drained = self.lanes.iter().all(|lane| lane.drain(&deadline));
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
        if self.ended.recv_timeout(GRACE) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
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

    fn spawn(&self, state: &LaneState, number: u64) -> Result<(), Error> {
        let Some(running) = self.running.lock().clone() else {
            return Err(shut_down());
        };
        let worker = LaneWorker {
            jobs: state.jobs.clone(),
            stopped: self.stopped.clone(),
            threads: Arc::clone(&state.threads),
            clock: Arc::clone(&self.clock),
            _running: running,
        };
        let name = format!("credpool-{}-{number}", state.lane.name());
        let handle = spawn(name, move || worker.work())
            .map_err(|error| state.saturated().with_source(error))?;
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

/// What one thread of a lane has.
struct LaneWorker {
    jobs: Receiver<Job>,
    stopped: Receiver<Never>,
    threads: Arc<Mutex<Threads>>,
    clock: Arc<dyn Clock>,
    _running: Sender<Never>,
}

impl LaneWorker {
    fn work(self) {
        self.threads.lock().idle += 1;
        loop {
            let job = match self.jobs.try_recv() {
                Ok(job) => job,
                Err(_) => select! {
                    recv(self.jobs) -> job => match job {
                        Ok(job) => job,
                        Err(_) => break,
                    },
                    recv(self.stopped) -> _ => break,
                    recv(self.clock.after(IDLE)) -> _ => {
                        if self.may_leave() {
                            return;
                        }
                        continue;
                    }
                },
            };
            {
                let mut threads = self.threads.lock();
                threads.waiting -= 1;
                threads.idle -= 1;
            }
            let _ = guard(|| "a job".to_owned(), job);
            self.threads.lock().idle += 1;
        }
        let mut threads = self.threads.lock();
        threads.idle -= 1;
        threads.live -= 1;
    }

    /// Leaves the lane unless a job is on its way to it.
    fn may_leave(&self) -> bool {
        let mut threads = self.threads.lock();
        if threads.waiting > 0 {
            return false;
        }
        threads.idle -= 1;
        threads.live -= 1;
        true
    }
}

impl LaneState {
    fn new(lane: Lane, limits: LaneLimits) -> Self {
        let places = limits.threads + limits.queue;
        let (give_back, permits) = crossbeam_channel::bounded(places);
        for _ in 0..places {
            let _ = give_back.try_send(());
        }
        let (queue, jobs) = crossbeam_channel::bounded(places);
        Self {
            lane,
            limits,
            permits,
            give_back,
            queue,
            jobs,
            threads: Arc::default(),
        }
    }

    fn slot(&self) -> Slot {
        Slot {
            lane: self.lane,
            permit: Permit(self.give_back.clone()),
        }
    }

    fn saturated(&self) -> Error {
        Error::new(
            ErrorCode::PoolSaturated,
            format!(
                "all {} places for {} are taken; try again later, give the call a deadline to wait for one, or raise the limit",
                self.limits.threads + self.limits.queue,
                self.lane.name(),
            ),
        )
    }

    fn drop_queue(&self) {
        while let Ok(job) = self.jobs.try_recv() {
            drop(job);
        }
    }

    /// Takes every permit for good. False when `deadline` came first.
    fn drain(&self, deadline: &Receiver<Instant>) -> bool {
        (0..self.limits.threads + self.limits.queue).all(|_| {
            self.permits.try_recv().is_ok()
                || select! {
                    recv(self.permits) -> _ => true,
                    recv(deadline) -> _ => false,
                }
        })
    }
}

impl Lane {
    const fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Streams => "streams",
            Self::Refreshes => "refreshes",
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.lanes.each_ref().map(|lane| lane.threads.lock().live);
        f.debug_struct("Pool")
            .field("live", &live)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:?})", self.lane)
    }
}

fn shut_down() -> Error {
    Error::new(ErrorCode::ShutDown, "the manager has been shut down")
}

/// How long an idle thread stays.
const IDLE: Duration = Duration::from_secs(10);

/// How long a shutdown waits for threads whose work was cancelled.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crossbeam_channel::{bounded, unbounded};

    const NO_WAIT: WaitFor<'_> = WaitFor {
        deadline: None,
        cancel: None,
    };

    fn pool(threads: usize, queue: usize) -> (Pool, ManualClock) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let limits = LaneLimits { threads, queue };
        (
            Pool::new(Arc::new(clock.clone()), limits, limits, limits),
            clock,
        )
    }

    #[test]
    fn a_full_lane_says_so_and_the_others_go_on() {
        let (pool, _) = pool(1, 1);
        let (hold, held) = bounded::<()>(0);
        for _ in 0..2 {
            let held = held.clone();
            let slot = pool.reserve(Lane::Jobs, NO_WAIT).unwrap();
            pool.run(slot, move || {
                let _ = held.recv();
            })
            .unwrap();
        }
        let error = pool.reserve(Lane::Jobs, NO_WAIT).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::PoolSaturated);
        let (done, finished) = bounded(1);
        let slot = pool.reserve(Lane::Streams, NO_WAIT).unwrap();
        pool.run(slot, move || done.send(()).unwrap()).unwrap();
        finished.recv_timeout(Duration::from_secs(10)).unwrap();
        drop(hold);
        assert!(pool.shut_down(Duration::from_secs(10)));
    }

    #[test]
    fn a_deadline_waits_for_a_place_and_no_longer() {
        let (pool, clock) = pool(1, 0);
        let (hold, held) = bounded::<()>(0);
        let slot = pool.reserve(Lane::Jobs, NO_WAIT).unwrap();
        pool.run(slot, move || {
            let _ = held.recv();
        })
        .unwrap();
        let over = WaitFor {
            deadline: Some(clock.monotonic()),
            cancel: None,
        };
        assert_eq!(
            pool.reserve(Lane::Jobs, over).unwrap_err().code(),
            &ErrorCode::PoolSaturated
        );
        let token = CancelToken::new();
        token.cancel();
        let later = Some(clock.monotonic() + Duration::from_secs(60));
        let cancelled = WaitFor {
            deadline: later,
            cancel: Some(&token),
        };
        assert_eq!(
            pool.reserve(Lane::Jobs, cancelled).unwrap_err().code(),
            &ErrorCode::Cancelled
        );
        drop(hold);
        pool.reserve(
            Lane::Jobs,
            WaitFor {
                deadline: later,
                cancel: None,
            },
        )
        .unwrap();
    }

    #[test]
    fn panicking_jobs_leave_the_lane_working_and_slots_come_back() {
        let (pool, _) = pool(2, 2);
        let (done, finished) = unbounded();
        for round in 0..20 {
            let done = done.clone();
            let deadline = Some(pool.clock.monotonic() + Duration::from_secs(60));
            let slot = pool
                .reserve(
                    Lane::Jobs,
                    WaitFor {
                        deadline,
                        cancel: None,
                    },
                )
                .unwrap();
            pool.run(slot, move || {
                done.send(round).unwrap();
                assert!(round % 2 == 1, "an odd round");
            })
            .unwrap();
        }
        let rounds: std::collections::BTreeSet<_> = (0..20)
            .map(|_| finished.recv_timeout(Duration::from_secs(10)).unwrap())
            .collect();
        assert_eq!(rounds.len(), 20);
        assert!(pool.shut_down(Duration::from_secs(10)));
        assert_eq!(pool.lanes[0].threads.lock().live, 0);
    }

    #[test]
    fn idle_threads_leave() {
        let (pool, clock) = pool(4, 4);
        let (done, finished) = unbounded();
        let slot = pool.reserve(Lane::Jobs, NO_WAIT).unwrap();
        pool.run(slot, move || done.send(()).unwrap()).unwrap();
        finished.recv_timeout(Duration::from_secs(10)).unwrap();
        while pool.lanes[0].threads.lock().live > 0 {
            clock.advance(IDLE);
            std::thread::yield_now();
        }
        assert!(pool.shut_down(Duration::from_secs(10)));
    }

    #[test]
    fn shutdown_cancels_what_does_not_end_and_refuses_the_rest() {
        let (pool, _) = pool(1, 1);
        let token = pool.stopping().child();
        let slot = pool.reserve(Lane::Streams, NO_WAIT).unwrap();
        pool.run(slot, move || {
            let _ = token.cancelled().recv();
        })
        .unwrap();
        assert!(!pool.shut_down(Duration::from_millis(1)));
        assert_eq!(
            pool.reserve(Lane::Jobs, NO_WAIT).unwrap_err().code(),
            &ErrorCode::ShutDown
        );
        assert_eq!(pool.lanes[1].threads.lock().live, 0);
    }
}
