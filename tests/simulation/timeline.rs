//! Virtual time: one line for the world, and on it a clock for each process, with an offset, a drift and sleeps of its own.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use credpool::{Clock, SystemClock, Timestamp};
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

/// Names one incarnation of a process: a process that comes back has another number.
pub type Pid = u32;

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 10:00);

/// The world's time and everything that waits for a moment of it.
pub struct Timeline {
    base: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Duration,
    next_number: u64,
    waits: Vec<Wait>,
    frozen: HashSet<Pid>,
    /// Timers of dead processes: never fired, so that their threads do nothing until they are told to stop.
    graves: Vec<Sender<Instant>>,
}

struct Wait {
    at: Duration,
    number: u64,
    pid: Pid,
    kind: WaitKind,
    tell: Sender<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitKind {
    /// Of the library, by a process's clock.
    Timer,
    /// Of a network or a store: the death of the process ends it.
    Sleep,
}

impl Timeline {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            base: SystemClock.monotonic(),
            state: Mutex::default(),
        })
    }

    pub fn now(&self) -> Duration {
        self.state.lock().now
    }

    /// Fires the earliest wait that is due by `end`, and moves the time there. False: nothing is due, and it is `end` now.
    pub fn fire_next(&self, end: Duration) -> bool {
        loop {
            let due = {
                let mut state = self.state.lock();
                let next = state.next_due(end);
                let Some(index) = next else {
                    state.now = state.now.max(end);
                    return false;
                };
                let due = state.waits.swap_remove(index);
                state.now = state.now.max(due.at);
                due
            };
            // A wait that was given up has no receiver.
            if due.tell.try_send(self.base + due.at).is_ok() {
                return true;
            }
        }
    }

    /// As [`thaw`](Self::thaw), where all that waits sleeps with the machine.
    pub fn thaw_all(&self, pid: Pid, asleep: Duration) {
        let mut state = self.state.lock();
        state.frozen.remove(&pid);
        for wait in state.waits.iter_mut().filter(|wait| wait.pid == pid) {
            wait.at += asleep;
        }
    }

    /// Gets a message after a while of the world's time.
    pub fn timer(&self, pid: Pid, wait: Duration) -> Receiver<Instant> {
        self.wait_until(pid, self.now() + wait, WaitKind::Sleep)
    }

    /// Blocks a thread of a process for a while. False when the process has died meanwhile.
    pub fn sleep(&self, pid: Pid, wait: Duration) -> bool {
        let at = self.now() + wait;
        let woken = self.wait_until(pid, at, WaitKind::Sleep);
        woken.recv().is_ok()
    }

    fn wait_until(&self, pid: Pid, at: Duration, kind: WaitKind) -> Receiver<Instant> {
        let (tell, told) = crossbeam_channel::bounded(1);
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.waits.push(Wait {
            at,
            number,
            pid,
            kind,
            tell,
        });
        told
    }

    /// Stops a process, as SIGSTOP does: nothing of it happens until it is thawed.
    pub fn freeze(&self, pid: Pid) {
        self.state.lock().frozen.insert(pid);
    }

    /// Lets a process go on. `asleep`: how long its monotonic clock stood still.
    pub fn thaw(&self, pid: Pid, asleep: Duration) {
        let mut state = self.state.lock();
        state.frozen.remove(&pid);
        let timers = state.waits.iter_mut();
        for wait in timers.filter(|wait| wait.pid == pid && wait.kind == WaitKind::Timer) {
            wait.at += asleep;
        }
    }

    /// Ends all waits of a process that has died.
    pub fn bury(&self, pid: Pid) {
        let mut state = self.state.lock();
        state.frozen.insert(pid);
        let (dead, waits): (Vec<_>, Vec<_>) = std::mem::take(&mut state.waits)
            .into_iter()
            .partition(|wait| wait.pid == pid);
        state.waits = waits;
        let timers = dead.into_iter().filter(|wait| wait.kind == WaitKind::Timer);
        state.graves.extend(timers.map(|wait| wait.tell));
    }
}

impl State {
    fn next_due(&self, end: Duration) -> Option<usize> {
        let due = self.waits.iter().enumerate();
        due.filter(|(_, wait)| wait.at <= end && !self.frozen.contains(&wait.pid))
            .min_by_key(|(_, wait)| (wait.at, wait.number))
            .map(|(index, _)| index)
    }
}

/// The clocks of one machine.
#[derive(Clone)]
pub struct ProcessClock(Arc<Face>);

struct Face {
    timeline: Arc<Timeline>,
    pid: Pid,
    setting: Mutex<Setting>,
}

/// How a machine's clocks differ from the world's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// Of the wall clock, in milliseconds.
    pub offset: i64,
    /// Of the wall clock, in millionths.
    pub drift: i64,
    /// For how long the monotonic clock has stood still.
    pub asleep: Duration,
    /// The wall clock has been set on a machine that slept: neither of its clocks tells how much time has passed.
    pub is_lost: bool,
    pub was_set: bool,
}

impl ProcessClock {
    pub fn new(timeline: &Arc<Timeline>, pid: Pid, setting: Setting) -> Self {
        Self(Arc::new(Face {
            timeline: Arc::clone(timeline),
            pid,
            setting: Mutex::new(setting),
        }))
    }

    pub fn setting(&self) -> Setting {
        *self.0.setting.lock()
    }

    /// Sets the wall clock to another offset.
    pub fn set_offset(&self, offset: i64) {
        let mut setting = self.0.setting.lock();
        setting.offset = offset;
        setting.was_set = true;
        setting.is_lost |= !setting.asleep.is_zero();
    }

    pub fn is_lost(&self) -> bool {
        self.setting().is_lost
    }

    pub fn add_sleep(&self, asleep: Duration) {
        let mut setting = self.0.setting.lock();
        setting.asleep += asleep;
        setting.is_lost |= !asleep.is_zero() && setting.was_set;
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let (now, setting) = (self.0.timeline.now(), self.setting());
        let millis = i64::try_from(now.as_millis()).unwrap();
        let drift = millis * setting.drift / 1_000_000;
        START + now + time::Duration::milliseconds(setting.offset + drift)
    }

    fn monotonic(&self) -> Instant {
        let passed = self.0.timeline.now().saturating_sub(self.setting().asleep);
        self.0.timeline.base + passed
    }

    fn after(&self, wait: Duration) -> Receiver<Instant> {
        // Beyond the end of any run.
        let wait = wait.min(Duration::from_secs(1 << 32));
        let at = self.0.timeline.now() + wait;
        if wait.is_zero() {
            let (tell, told) = crossbeam_channel::bounded(1);
            let _ = tell.try_send(self.monotonic());
            return told;
        }
        self.0.timeline.wait_until(self.0.pid, at, WaitKind::Timer)
    }
}

impl fmt::Debug for ProcessClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessClock({}, {:?})", self.0.pid, self.setting())
    }
}

#[test]
fn timers_fire_in_order_and_those_of_a_sleeping_machine_later() {
    let (timeline, second) = (Timeline::new(), Duration::from_secs(1));
    let clocks = [1, 2].map(|pid| ProcessClock::new(&timeline, pid, Setting::default()));
    let timers = [(0, 3), (1, 1), (1, 2)].map(|(clock, wait)| {
        let clock: &ProcessClock = &clocks[clock];
        clock.after(wait * second)
    });
    let fired = || timers.each_ref().map(|timer| timer.try_recv().is_ok());
    assert!(timeline.fire_next(10 * second));
    assert_eq!((timeline.now(), fired()), (second, [false, true, false]));
    timeline.freeze(2);
    assert!(timeline.fire_next(10 * second));
    assert_eq!(
        (timeline.now(), fired()),
        (3 * second, [true, false, false])
    );
    assert!(!timeline.fire_next(5 * second));
    clocks[1].add_sleep(4 * second);
    timeline.thaw(2, 4 * second);
    assert!(
        !timeline.fire_next(5 * second),
        "it has slept for four seconds"
    );
    assert!(timeline.fire_next(10 * second));
    assert_eq!(
        (timeline.now(), fired()),
        (6 * second, [false, false, true])
    );
    assert_eq!(clocks[0].monotonic() - clocks[1].monotonic(), 4 * second);
}
