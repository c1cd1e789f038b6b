//! The world of a pool: one process and its load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use credpool::{FailurePolicy, Hook, Manager, Outcome};

use super::callers::{Caller, Ground, Manner, ready};
use super::models::{CHAINS, NAMES};
use super::selector::Fickle;
use super::upstream::{PROVIDER, Shared, Truth, Upstream};
use crate::quiet::wait_until_quiet;
use crate::random::Random;
use crate::runs::Run;
use crate::timeline::{ProcessClock, Setting, Timeline};

const PID: u32 = 1;

pub struct Pool {
    pub seed: u64,
    pub ground: Ground,
    pub clock: ProcessClock,
    pub callers: Vec<Caller>,
    /// How hooks and selectors behave.
    pub mischief: Arc<AtomicUsize>,
    busy: AtomicUsize,
}

impl Pool {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed ^ 0x706f_6f6c);
        let timeline = Timeline::new();
        let truth = Truth::new(&timeline, seed);
        let clock = ProcessClock::new(&timeline, PID, Setting::default());
        let mischief = Arc::new(AtomicUsize::new(0));
        let no_floor = random.chance(1, 2);
        truth.lock().no_floor = no_floor;
        let mut builder = Manager::builder();
        for (name, links) in CHAINS {
            builder = builder.model_chain(name, links);
        }
        let manager = builder
            .clock(clock.clone())
            .policy(FailurePolicy::default().with_last_resort(!no_floor))
            .hook(Listener {
                truth: Arc::clone(&truth),
                mischief: Arc::clone(&mischief),
            })
            .selector(Fickle {
                truth: Arc::clone(&truth),
                mischief: Arc::clone(&mischief),
            })
            .seed(seed)
            .build()
            .unwrap();
        manager.register_executor(Upstream {
            pid: PID,
            timeline: Arc::clone(&timeline),
            truth: Arc::clone(&truth),
        });
        let settled = {
            let mut truth = truth.lock();
            truth.mischief = Arc::clone(&mischief);
            truth.manager = Some(manager.clone());
            Arc::clone(&truth.settled)
        };
        let mut pool = Self {
            seed,
            ground: Ground {
                pid: PID,
                timeline,
                truth,
                manager,
                numbers: Arc::new(AtomicU64::new(0)),
                settled,
                behind: Arc::default(),
                mischief: Arc::clone(&mischief),
            },
            clock,
            callers: Vec::new(),
            mischief,
            busy: AtomicUsize::new(0),
        };
        for number in 0..=random.below(5) {
            super::keys::add_key(&mut pool, &mut random, number);
        }
        for _ in 0..=random.below(4) {
            let manner = Manner::draw(&mut random, &[], true);
            pool.start_caller(manner);
        }
        pool
    }

    pub fn truth(&self) -> &Shared {
        &self.ground.truth
    }

    pub fn now(&self) -> Duration {
        self.ground.timeline.now()
    }

    /// What there is.
    pub fn files(&self) -> Vec<String> {
        self.truth().lock().files.keys().cloned().collect()
    }

    pub fn note(&self, what: impl AsRef<str>) {
        self.truth().lock().note(what);
    }

    pub fn start_caller(&mut self, manner: Manner) {
        self.note(format!("a caller begins: {manner:?}"));
        self.callers.push(Caller::start(&self.ground, manner));
    }

    pub fn rest(&self) {
        wait_until_quiet(&self.busy);
        let now = self.now();
        let mut settled = self.ground.settled.lock();
        for model in NAMES {
            let ready = ready(&self.ground.manager, model);
            settled.retain(|(of, id), _| of != model || ready.contains(id));
            for id in ready {
                settled.entry((model.to_owned(), id)).or_insert(now);
            }
        }
    }

    /// What `work` gives, on a thread of its own, while time goes on for it.
    pub fn watch<T: Send + 'static>(&self, work: impl FnOnce(&Manager) -> T + Send + 'static) -> T {
        let manager = self.ground.manager.clone();
        let thread = std::thread::spawn(move || work(&manager));
        let end = self.now() + Duration::from_secs(3600);
        loop {
            self.rest();
            if thread.is_finished() || !self.ground.timeline.fire_next(end) {
                break;
            }
        }
        thread.join().unwrap()
    }

    /// Lets time go on, from timer to timer.
    pub fn advance(&mut self, span: Duration) {
        let end = self.now() + span;
        let mut fired = 0;
        loop {
            self.rest();
            super::promises::check_index(self);
            super::promises::check_waits(self);
            super::promises::check_returns(self);
            super::promises::check_ends(self);
            if !self.ground.timeline.fire_next(end) {
                return;
            }
            fired += 1;
            assert!(fired < 200_000, "the world never comes to {end:?}");
        }
    }

    /// Stops all callers, and lets their calls come to an end.
    pub fn calm_down(&mut self) {
        for caller in &self.callers {
            caller.stop.store(true, Ordering::SeqCst);
        }
        self.mischief.store(0, Ordering::SeqCst);
        self.advance(Duration::from_secs(200));
        let running = self
            .callers
            .iter()
            .filter(|caller| !caller.thread.is_finished());
        let running = running.count();
        if running > 0 {
            let what = format!("{running} callers are still in a call");
            self.truth()
                .lock()
                .breach("every_call_comes_to_an_end", what);
        }
    }

    pub fn end(mut self) -> Run {
        self.ground.timeline.bury(PID);
        for caller in &self.callers {
            if let Some(under) = &caller.place.lock().call {
                under.cancel.cancel();
            }
        }
        let _ = self.ground.manager.shutdown(Duration::from_millis(100));
        self.ground.truth.lock().manager = None;
        for caller in self.callers.drain(..) {
            if caller.thread.is_finished() {
                let _ = caller.thread.join();
            }
        }
        let mut truth = self.ground.truth.lock();
        Run {
            breaches: std::mem::take(&mut truth.breaches),
            history: std::mem::take(&mut truth.history),
        }
    }
}

/// A hook that counts, and does at times what hooks may do.
struct Listener {
    truth: Shared,
    mischief: Arc<AtomicUsize>,
}

impl Hook for Listener {
    fn on_result(&self, outcome: &Outcome<'_>) {
        if outcome.provider == PROVIDER {
            self.truth.lock().heard += 1;
        }
        if self.mischief.load(Ordering::SeqCst) == PANICS {
            std::panic::panic_any(HOOK_PANICS);
        }
    }
}

pub const PANICS: usize = 1;
pub const HOOK_PANICS: &str = "a hook panics";
