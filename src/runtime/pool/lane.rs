//! One lane of the thread pool: its queue, its places and its threads.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use parking_lot::Mutex;

use super::worker::{IDLE, Place};
use crate::error::{Error, ErrorCode};

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

/// A lane's places, the jobs that wait and the threads that take them.
pub(super) struct LaneState {
    lane: Lane,
    limits: LaneLimits,
    pub(super) permits: Receiver<()>,
    give_back: Sender<()>,
    queue: Sender<Job>,
    pub(super) jobs: Receiver<Job>,
    threads: Mutex<Threads>,
}

/// A place in a lane, to be used for one job, for which there is a thread, or will be. Dropped unused, it goes back.
pub(crate) struct Slot {
    lane: Arc<LaneState>,
    permit: Option<Permit>,
    waited: Duration,
}

/// The right to one of a lane's places. Dropping it gives it back.
pub(super) struct Permit(Sender<()>);

/// What a worker does, and the place that it has.
pub(super) struct Job {
    pub(super) permit: Permit,
    pub(super) work: Box<dyn FnOnce(&Place) + Send>,
}

/// How many threads a lane has.
#[derive(Default)]
struct Threads {
    /// Those that take jobs, one that is just starting included.
    live: usize,
    /// Those of them that do nothing.
    idle: usize,
    /// Jobs that are promised a thread, and not yet taken by one.
    promised: usize,
    /// Those that have given their place back and are not done yet: they are not counted as live.
    away: usize,
    /// The fewest that stood idle and were promised to no job since `counted_since`: all are given work in turn, so that none of those is
    /// idle for long.
    spare: usize,
    counted_since: Option<Instant>,
    /// Those of them that are still to leave.
    surplus: usize,
    next_number: u64,
}

impl Threads {
    fn promise(&mut self) {
        self.promised += 1;
        self.spare = self.spare.min(self.idle.saturating_sub(self.promised));
    }

    /// A thread that does nothing more is idle, or leaves where it was not needed for a while.
    fn is_idle(&mut self, now: Instant) -> bool {
        let since = *self.counted_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= IDLE {
            self.counted_since = Some(now);
            self.surplus = self.spare;
            self.spare = self.idle;
        }
        let leaves = self.surplus > 0 && self.idle > self.promised;
        if leaves {
            self.surplus -= 1;
        } else {
            self.idle += 1;
        }
        !leaves
    }
}

impl LaneState {
    pub(super) fn new(lane: Lane, limits: LaneLimits) -> Self {
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
            threads: Mutex::default(),
        }
    }

    /// The slot of a permit that was received. Where no idle thread is left for it, also the name of one to be started.
    pub(super) fn slot(self: &Arc<Self>, waited: Duration) -> (Slot, Option<String>) {
        let slot = Slot {
            lane: Arc::clone(self),
            permit: Some(Permit(self.give_back.clone())),
            waited,
        };
        let mut threads = self.threads.lock();
        threads.promise();
        if threads.promised <= threads.idle || threads.live >= self.limits.threads {
            return (slot, None);
        }
        threads.live += 1;
        threads.idle += 1;
        threads.next_number += 1;
        let name = format!("credpool-{}-{}", self.name(), threads.next_number);
        (slot, Some(name))
    }

    /// A thread could not be started. An error unless others come to the job, which may wait for them.
    pub(super) fn not_started(&self, cause: io::Error) -> Result<(), Error> {
        let mut threads = self.threads.lock();
        threads.live -= 1;
        threads.idle -= 1;
        if threads.live > 0 && self.limits.queue > 0 {
            return Ok(());
        }
        drop(threads);
        let text = format!(
            "no thread could be started for {}: {cause}; try again later, or raise the system's limit of threads",
            self.name()
        );
        Err(saturated(text).with_source(cause))
    }

    /// Puts a job into the queue, which has room for every permit.
    pub(super) fn send(&self, job: Job) -> bool {
        self.queue.try_send(job).is_ok()
    }

    /// A worker that was idle has a job.
    pub(super) fn taken(&self) {
        let mut threads = self.threads.lock();
        threads.promised -= 1;
        threads.idle -= 1;
    }

    /// A worker is done with its job and its place. False: it is not needed any more.
    pub(super) fn done(&self, now: Instant) -> bool {
        let mut threads = self.threads.lock();
        let stays = threads.is_idle(now);
        threads.live -= usize::from(!stays);
        stays
    }

    /// A worker is to give its place back before it is done: another thread may take its part. False where too many are at it.
    pub(super) fn goes_away(&self) -> bool {
        let mut threads = self.threads.lock();
        let may = threads.away < self.limits.threads;
        if may {
            threads.live -= 1;
            threads.away += 1;
        }
        may
    }

    /// A worker that was away is done. False: others have taken its part, or it is not needed any more.
    pub(super) fn comes_back(&self, now: Instant) -> bool {
        let mut threads = self.threads.lock();
        threads.away -= 1;
        let stays = threads.live < self.limits.threads && threads.is_idle(now);
        threads.live += usize::from(stays);
        stays
    }

    /// An idle worker leaves the lane: in any case, or unless a job is promised a thread.
    pub(super) fn leaves(&self, in_any_case: bool) -> bool {
        let mut threads = self.threads.lock();
        let may = in_any_case || threads.idle > threads.promised;
        if may {
            threads.idle -= 1;
            threads.live -= 1;
        }
        may
    }

    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        self.threads.lock().live
    }

    #[cfg(test)]
    pub(super) fn are_all_idle(&self) -> bool {
        let threads = self.threads.lock();
        threads.away == 0 && threads.idle == threads.live
    }

    pub(super) fn drop_queue(&self) {
        while let Ok(job) = self.jobs.try_recv() {
            drop(job);
        }
    }

    /// Takes every permit for good. False when `deadline` came first.
    pub(super) fn drain<T>(&self, deadline: &Receiver<T>) -> bool {
        (0..self.places()).all(|_| {
            self.permits.try_recv().is_ok()
                || select! {
                    recv(self.permits) -> _ => true,
                    recv(deadline) -> _ => false,
                }
        })
    }

    pub(super) fn all_taken(&self) -> Error {
        saturated(format!(
            "all {} threads for {} are busy; try again later, raise the limit, or let the call wait longer",
            self.places(),
            self.name(),
        ))
    }

    fn places(&self) -> usize {
        self.limits.threads + self.limits.queue
    }

    fn name(&self) -> &'static str {
        match self.lane {
            Lane::Jobs => "jobs",
            Lane::Streams => "streams",
            Lane::Refreshes => "refreshes",
        }
    }
}

impl Slot {
    /// How long it was waited for.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    pub(super) fn lane(&self) -> &Arc<LaneState> {
        &self.lane
    }

    /// The job that takes the place. What it was promised holds for the job.
    pub(super) fn filled(mut self, work: impl FnOnce(&Place) + Send + 'static) -> Option<Job> {
        self.permit.take().map(|permit| Job {
            permit,
            work: Box::new(work),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.permit.is_some() {
            self.lane.threads.lock().promised -= 1;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({:?})", self.lane.lane)
    }
}

fn saturated(text: String) -> Error {
    Error::new(ErrorCode::PoolSaturated, text)
        .with_http_status(503)
        .with_retry_after(RETRY_AFTER)
}

/// When a place may be free: unknown, but soon.
const RETRY_AFTER: Duration = Duration::from_secs(1);
