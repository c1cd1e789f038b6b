//! Virtual time: it stands still while any thread of the world runs, and then moves to the next moment at which one wakes.
//!
//! Callers are counted. One that sleeps by [`Timeline::sleep`] waits for nothing else; one that waits by [`Clock::after`] may be woken by
//! another thread, too, so the kernel is asked whether it really sleeps; and so it is of the library's own threads, which are known
//! from their first look at the clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use credpool::{Clock, SystemClock, Timestamp};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::kernel::Look;

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 10:00);

/// Waits are rounded up to it, so that many end at the same moment.
const TICK: Duration = Duration::from_millis(1);

/// How long (of real time) threads may be taken for running without a look at them.
const BELIEVED: Duration = Duration::from_micros(500);

/// How long (of real time) a world may run without coming to rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time of one world, and its clock. Clones are the same.
#[derive(Clone)]
pub struct Timeline(Arc<World>);

struct World {
    base: Instant,
    driver: thread::Thread,
    waits: Mutex<Waits>,
    threads: Mutex<Vec<Arc<Thread>>>,
    /// How many of them are taken for running.
    running: AtomicUsize,
    /// One at a time moves the time on.
    turn: Mutex<()>,
    /// How often time has moved on.
    moves: AtomicU64,
    /// Counts how often the clock was used: who is woken uses it at once.
    used: AtomicU64,
    /// All threads are there.
    has_begun: AtomicBool,
    /// The driver has given up: who sleeps must not sleep for ever.
    is_broken: AtomicBool,
}

#[derive(Default)]
struct Waits {
    now: Duration,
    next_number: u64,
    /// By when they end.
    pending: BTreeMap<(Duration, u64), Wait>,
}

struct Wait {
    tell: Sender<Instant>,
    owner: Option<Arc<Thread>>,
}

struct Thread {
    /// A caller. The library's own threads wait for other things than this clock, too: only the kernel knows when they run.
    is_caller: bool,
    state: AtomicU8,
    look: Look,
}

const RUNS: u8 = 0;
/// It waits for this clock alone.
const SLEEPS: u8 = 1;
/// It waits for this clock or for another thread.
const WAITS: u8 = 2;

/// What a thread is: unknown until it uses the clock.
#[derive(Clone)]
enum Role {
    Unknown,
    Driver,
    Actor(Arc<Thread>),
}

thread_local! {
    static ME: RefCell<Role> = const { RefCell::new(Role::Unknown) };
}

impl Timeline {
    /// A new world, which this thread drives.
    pub fn new() -> Self {
        ME.set(Role::Driver);
        Self(Arc::new(World {
            base: SystemClock.monotonic(),
            driver: thread::current(),
            waits: Mutex::default(),
            threads: Mutex::default(),
            running: AtomicUsize::default(),
            turn: Mutex::default(),
            moves: AtomicU64::default(),
            used: AtomicU64::default(),
            has_begun: AtomicBool::default(),
            is_broken: AtomicBool::default(),
        }))
    }

    /// How much time has passed since the start.
    pub fn passed(&self) -> Duration {
        self.0.used();
        self.0.waits.lock().now
    }

    pub fn sleep(&self, wait: Duration) {
        let woken = self.0.wait(wait, SLEEPS).recv();
        assert!(woken.is_ok(), "the world has broken");
    }

    pub fn sleep_until(&self, at: Duration) {
        self.sleep(at.saturating_sub(self.passed()));
    }

    /// This thread is a caller from now on: time does not pass while it runs.
    pub fn enter(&self) {
        self.0.me(true);
    }

    /// Waits until so many callers have entered, and then sees to it that time passes until `is_over`. Panics when nobody
    /// waits for a time any more.
    pub fn drive(&self, threads: usize, is_over: impl Fn() -> bool) {
        let broken = Breaks(&self.0);
        let has_entered = |thread: &&Arc<Thread>| thread.is_caller;
        while self.0.threads.lock().iter().filter(has_entered).count() < threads {
            thread::yield_now();
        }
        self.0.has_begun.store(true, SeqCst);
        let mut moved = SystemClock.monotonic();
        while !is_over() {
            let moves = self.0.moves.load(SeqCst);
            if self.0.running.load(SeqCst) > 0 {
                thread::park_timeout(BELIEVED);
            }
            let waited = SystemClock.monotonic() - moved;
            if moves != self.0.moves.load(SeqCst) {
                moved = SystemClock.monotonic();
            } else if self.0.running.load(SeqCst) == 0 || waited >= BELIEVED {
                assert!(waited < PATIENCE, "the world does not come to rest");
                match self.0.move_on(None) {
                    Moved::On => moved = SystemClock.monotonic(),
                    Moved::Not => thread::yield_now(),
                    Moved::Never => assert!(is_over(), "all threads wait, and none for a time"),
                }
            }
        }
        std::mem::forget(broken);
    }
}

enum Moved {
    On,
    /// Some thread runs.
    Not,
    /// All threads wait, and none for a time.
    Never,
}

/// Ends all waits when the driver panics, so that no thread is left.
struct Breaks<'a>(&'a World);

impl Drop for Breaks<'_> {
    fn drop(&mut self) {
        self.0.is_broken.store(true, SeqCst);
        self.0.waits.lock().pending.clear();
    }
}

impl World {
    /// Notes that this thread runs.
    fn used(&self) -> Option<Arc<Thread>> {
        self.used.fetch_add(1, SeqCst);
        let me = self.me(false)?;
        self.note(&me, RUNS);
        Some(me)
    }

    /// This thread, unless it is the driver.
    fn me(&self, is_caller: bool) -> Option<Arc<Thread>> {
        ME.with_borrow_mut(|me| {
            if let Role::Unknown = me {
                let thread = Arc::new(Thread {
                    is_caller,
                    state: AtomicU8::new(WAITS),
                    look: Look::at_this_thread(),
                });
                self.note(&thread, RUNS);
                self.threads.lock().push(Arc::clone(&thread));
                *me = Role::Actor(thread);
            }
            match me {
                Role::Actor(thread) => Some(Arc::clone(thread)),
                Role::Driver | Role::Unknown => None,
            }
        })
    }

    /// Notes what a thread does, and says what it did before.
    fn note(&self, thread: &Thread, state: u8) -> u8 {
        if !thread.is_caller {
            return WAITS;
        }
        let before = thread.state.swap(state, SeqCst);
        match (before, state) {
            (RUNS, SLEEPS | WAITS) => drop(self.running.fetch_sub(1, SeqCst)),
            (SLEEPS | WAITS, RUNS) => drop(self.running.fetch_add(1, SeqCst)),
            _ => {}
        }
        before
    }

    fn wait(&self, wait: Duration, state: u8) -> Receiver<Instant> {
        let owner = self.used();
        let (tell, told) = bounded(1);
        let mut waits = self.waits.lock();
        if wait.is_zero() {
            let _ = tell.try_send(self.base + waits.now);
            return told;
        }
        if self.is_broken.load(SeqCst) {
            return told;
        }
        // Beyond the end of any run.
        let at = rounded_up(waits.now + wait.min(Duration::from_secs(1 << 20)));
        if let Some(owner) = &owner {
            self.note(owner, state);
        }
        let number = waits.next_number;
        waits.next_number += 1;
        let me = owner.clone();
        waits.pending.insert((at, number), Wait { tell, owner });
        drop(waits);
        // Who goes to sleep last moves the time on: the next one is often itself.
        let last = self.has_begun.load(SeqCst) && self.running.load(SeqCst) == 0;
        if last && !matches!(self.move_on(me.as_ref()), Moved::On) {
            self.driver.unpark();
        }
        told
    }

    /// Moves the time on where all threads wait. `me`: it has just begun to.
    fn move_on(&self, me: Option<&Arc<Thread>>) -> Moved {
        let Some(_turn) = self.turn.try_lock() else {
            return Moved::Not;
        };
        let used = self.used.load(SeqCst);
        // Who was seen asleep may have been woken by one that was looked at later.
        let quiet = self.do_all_sleep(me) && self.do_all_sleep(me);
        if !quiet || used != self.used.load(SeqCst) {
            return Moved::Not;
        }
        self.moves.fetch_add(1, SeqCst);
        if self.fire_next() {
            Moved::On
        } else {
            Moved::Never
        }
    }

    /// Moves to the next moment at which a thread wakes, and wakes all that wait for it. False: there is none.
    fn fire_next(&self) -> bool {
        let mut waits = self.waits.lock();
        let waits = &mut *waits;
        let mut woken = false;
        while let Some(entry) = waits.pending.first_entry() {
            let at = entry.key().0;
            if woken && at > waits.now {
                break;
            }
            let wait = entry.remove();
            waits.now = waits.now.max(at);
            let owner = wait.owner.as_ref();
            let before = owner.map(|owner| self.note(owner, RUNS));
            // A wait that was given up has no receiver.
            if wait.tell.try_send(self.base + at).is_ok() {
                woken = true;
            } else if let (Some(owner), Some(before)) = (owner, before) {
                self.note(owner, before);
            }
        }
        woken
    }

    /// Whether all threads wait, in the kernel's word.
    fn do_all_sleep(&self, me: Option<&Arc<Thread>>) -> bool {
        let mut all = true;
        self.threads.lock().retain(|thread| {
            let state = thread.state.load(SeqCst);
            if !all || state == SLEEPS || me.is_some_and(|me| Arc::ptr_eq(me, thread)) {
                return true;
            }
            let sleeps = thread.look.sleeps();
            all &= sleeps != Some(false);
            if sleeps != Some(false) && state == RUNS {
                // It waits for other threads alone, or has ended.
                self.note(thread, WAITS);
            }
            sleeps.is_some()
        });
        all
    }
}

fn rounded_up(at: Duration) -> Duration {
    let ticks = at.as_nanos().div_ceil(TICK.as_nanos());
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

impl Clock for Timeline {
    fn now(&self) -> Timestamp {
        START + self.passed()
    }

    fn monotonic(&self) -> Instant {
        self.0.base + self.passed()
    }

    fn after(&self, wait: Duration) -> Receiver<Instant> {
        self.0.wait(wait, WAITS)
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timeline")
    }
}

#[test]
fn time_passes_only_while_all_threads_wait() {
    let timeline = Timeline::new();
    let (second, log) = (Duration::from_secs(1), Mutex::new(Vec::new()));
    let (wake, woken) = bounded::<()>(1);
    let note = |what: &'static str| log.lock().push((what, timeline.passed().as_secs()));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            timeline.enter();
            let late = timeline.after(3600 * second);
            crossbeam_channel::select! {
                recv(late) -> _ => note("late"),
                recv(woken) -> _ => note("woken"),
            }
            timeline.sleep(second);
            note("rested");
        });
        let waking = scope.spawn(|| {
            timeline.enter();
            timeline.sleep(2 * second);
            // Work, in which no time passes: it needs longer than threads are believed to run.
            let started = SystemClock.monotonic();
            while SystemClock.monotonic() - started < 10 * BELIEVED {
                std::hint::spin_loop();
            }
            wake.send(()).unwrap();
            note("waking");
        });
        timeline.drive(2, || waiting.is_finished() && waking.is_finished());
    });
    let mut log = log.into_inner();
    log.sort_by_key(|(what, at)| (*at, *what));
    assert_eq!(log, [("waking", 2), ("woken", 2), ("rested", 3)]);
}
