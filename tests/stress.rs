//! Everything at once, from many threads: nothing hangs, nothing is lost, every thread ends.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use credpool::{
    Attempt, Auth, ChunkSource, Error, ErrorCode, FailurePolicy, Hook, Manager, MemoryStore,
    OAuthTokens, Options, Outcome, ProviderExecutor, Request, Response, Rule, StreamChunk,
};
use parking_lot::Mutex;
use support::SOON;

const THREADS: usize = 32;
const CALLS: usize = 2_000;
const CREDENTIALS: usize = 50;
/// What the executor panics with.
const AT_RANDOM: &str = "bad luck";

/// A small generator of its own for each thread: the same run every time but for the scheduling.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

#[derive(Clone, Default)]
struct Unsteady(Arc<Counts>);

#[derive(Default)]
struct Counts {
    attempts: AtomicUsize,
    refreshes: AtomicUsize,
    in_refresh: Mutex<HashMap<String, u32>>,
    two_at_once: AtomicBool,
    luck: AtomicU32,
}

impl Unsteady {
    fn luck(&self) -> u32 {
        let n = self.0.luck.fetch_add(1, Ordering::Relaxed);
        n.wrapping_mul(2_654_435_761) >> 16
    }

    fn attempt(&self) -> Result<(), Error> {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        match self.luck() % 40 {
            0 => Err(Error::upstream(429, "slow down")),
            1 => Err(Error::upstream(500, "oops")),
            2 => Err(Error::upstream(401, "who are you")),
            3 => Err(Error::new(ErrorCode::Transport, "reset")),
            4 => std::panic::panic_any(AT_RANDOM),
            _ => Ok(()),
        }
    }
}

impl ProviderExecutor for Unsteady {
    fn identifier(&self) -> &'static str {
        "p"
    }

    fn execute(&self, _: &Attempt, _: &Auth, _: &Request, _: &Options) -> Result<Response, Error> {
        self.attempt()?;
        Ok(Response::new("ok"))
    }

    fn execute_stream(
        &self,
        _: &Attempt,
        _: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        self.attempt()?;
        let end = 1 + self.luck() % 600;
        let breaks = self.luck().is_multiple_of(7);
        Ok(Box::new((0..end).map(move |n| {
            if breaks && n == end - 1 {
                return Err(Error::new(ErrorCode::StreamInterrupted, "cut"));
            }
            Ok(StreamChunk::new("chunk"))
        })))
    }

    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        self.execute(attempt, auth, request, options)
    }

    fn refresh(&self, _: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        self.0.refreshes.fetch_add(1, Ordering::Relaxed);
        let mine = {
            let mut in_refresh = self.0.in_refresh.lock();
            let mine = in_refresh.entry(auth.id.clone()).or_default();
            *mine += 1;
            *mine
        };
        if mine > 1 {
            self.0.two_at_once.store(true, Ordering::Relaxed);
        }
        std::thread::yield_now();
        *self.0.in_refresh.lock().get_mut(&auth.id).unwrap() -= 1;
        if self.luck().is_multiple_of(3) {
            return Err(Error::new(ErrorCode::RefreshFailed, "not now"));
        }
        Ok(auth.clone().with_metadata("access_token", "new"))
    }
}

#[derive(Default)]
struct Tally(AtomicUsize);

impl Hook for Tally {
    fn on_result(&self, _: &Outcome<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The first two are copies of one login; every other one has a login of its own.
fn credential(n: usize) -> Auth {
    let login = n.max(1);
    let tokens = OAuthTokens::new("old").with_refresh_token(format!("r{login}"));
    Auth::oauth("p", tokens).with_id(format!("c{n}"))
}

fn work(manager: &Manager, seed: usize) {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (seed as u64 + 1));
    let request = Request::new("m", "{}");
    let patient = Options::new().with_timeout(SOON);
    for _ in 0..CALLS {
        let n = dice.roll(CREDENTIALS);
        let id = format!("c{n}");
        match dice.roll(20) {
            0 => drop(manager.update(credential(n).with_label("again"))),
            1 => drop(manager.refresh_now(&id)),
            2 if dice.roll(4) == 0 => {
                let _ = manager.remove(&id);
                manager.register(credential(n)).unwrap();
            }
            3 => drop(manager.set_disabled(&id, dice.roll(2) == 0)),
            4 => drop((manager.list(), manager.get_by_id(&id))),
            5..=9 => {
                if let Ok(stream) = manager.execute_stream(["p"], &request, &patient) {
                    let read = dice.roll(700);
                    let _ = stream.take(read).count();
                }
            }
            10 => {
                if let Ok(handle) = manager.submit(["p"], request.clone(), patient.clone()) {
                    if dice.roll(2) == 0 {
                        handle.cancel();
                    }
                    let _ = handle.wait();
                }
            }
            11 => drop(manager.execute_count(["p"], &request, &patient)),
            _ => drop(manager.execute(["p"], &request, &patient)),
        }
    }
}

/// Threads of the library that live in this process.
#[cfg(target_os = "linux")]
fn library_threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("credpool-"))
        .count()
}

#[cfg(not(target_os = "linux"))]
fn library_threads() -> usize {
    0
}

#[test]
fn nothing_hangs_and_nothing_is_lost() {
    // The executor's panics are part of the test and say nothing new.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&AT_RANDOM) {
            usual(panic);
        }
    }));
    let hook = Arc::new(Tally::default());
    let brief = Duration::from_millis(1);
    let policy = FailurePolicy::empty()
        .with_rule(Rule::status(429).cooldown(brief).quota())
        .with_rule(Rule::statuses(400..=599).cooldown(brief));
    let manager = Manager::builder()
        .hook(Arc::clone(&hook))
        .store(MemoryStore::new())
        .policy(policy)
        .build()
        .unwrap();
    let executor = Unsteady::default();
    manager.register_executor(executor.clone());
    for n in 0..CREDENTIALS {
        manager.register(credential(n)).unwrap();
    }
    manager.start_auto_refresh(Duration::from_secs(1)).unwrap();
    let (done, finished) = crossbeam_channel::unbounded();
    for seed in 0..THREADS {
        let (manager, done) = (manager.clone(), done.clone());
        std::thread::spawn(move || {
            let worked = catch_unwind(AssertUnwindSafe(|| work(&manager, seed)));
            drop(manager);
            done.send(worked).unwrap();
        });
    }
    for _ in 0..THREADS {
        let worked = finished.recv_timeout(Duration::from_secs(240));
        if let Err(panic) = worked.expect("a thread hangs") {
            let what = panic.downcast_ref::<String>();
            panic!("a thread's own call failed: {what:?}");
        }
    }
    manager.shutdown(SOON).unwrap();
    let counts = &executor.0;
    let attempts = counts.attempts.load(Ordering::Relaxed);
    println!(
        "{attempts} attempts, {} refreshes",
        counts.refreshes.load(Ordering::Relaxed)
    );
    assert!(attempts > THREADS * CALLS / 4, "{attempts}");
    assert!(counts.refreshes.load(Ordering::Relaxed) > 100);
    assert_eq!(hook.0.load(Ordering::Relaxed), attempts);
    assert!(!counts.two_at_once.load(Ordering::Relaxed));
    support::eventually("the end of every thread", || library_threads() == 0);
    drop(manager);
}
