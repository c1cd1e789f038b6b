//! A closed loop: callers that each wait for an answer before they call again, and a window in which calls are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{Asynchronous, Blocking};
use crate::machine;
use crate::protocol::{Load, Measured};

#[derive(Default)]
struct Progress {
    /// Callers that have had their first answer.
    warm: AtomicUsize,
    is_open: AtomicBool,
    calls: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Opens the window when all callers are warm, and ends the load behind it.
    fn watch(&self, load: &Load) -> Measured {
        while self.warm.load(Ordering::Relaxed) < load.callers {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(load.window_ms / 8));
        let (start, cpu) = (Instant::now(), machine::cpu_seconds());
        let before = self.calls.load(Ordering::Relaxed);
        self.is_open.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(load.window_ms));
        self.is_open.store(false, Ordering::Relaxed);
        let measured = Measured {
            calls: self.calls.load(Ordering::Relaxed) - before,
            seconds: start.elapsed().as_secs_f64(),
            cpu_seconds: machine::cpu_seconds() - cpu,
            micros: Vec::new(),
        };
        self.stop.store(true, Ordering::Relaxed);
        measured
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Counts a call that began at `start` and has its answer.
    fn note(&self, start: Instant, micros: &mut Vec<u32>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.is_open.load(Ordering::Relaxed) {
            micros.push(elapsed_micros(start));
        }
    }
}

pub(crate) fn elapsed_micros(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// How long a caller waits at first, so that the callers do not think in step.
fn stagger(load: &Load, caller: usize) -> Duration {
    Duration::from_millis(load.think_ms) * caller as u32 / load.callers as u32
}

pub(crate) fn blocking(client: &dyn Blocking, load: &Load) -> Measured {
    let progress = Progress::default();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..load.callers)
            .map(|caller| {
                let progress = &progress;
                scope.spawn(move || call_on(client, load, caller, progress))
            })
            .collect();
        let mut measured = progress.watch(load);
        for caller in callers {
            measured
                .micros
                .extend(caller.join().expect("a caller ends without a panic"));
        }
        measured
    })
}

fn call_on(client: &dyn Blocking, load: &Load, caller: usize, progress: &Progress) -> Vec<u32> {
    let mut micros = Vec::new();
    let think = Duration::from_millis(load.think_ms);
    client.call(load.stream);
    progress.warm.fetch_add(1, Ordering::Relaxed);
    thread::sleep(stagger(load, caller));
    while progress.goes_on() {
        let start = Instant::now();
        client.call(load.stream);
        progress.note(start, &mut micros);
        if !think.is_zero() {
            thread::sleep(think);
        }
    }
    micros
}

pub(crate) fn asynchronous(
    runtime: &tokio::runtime::Runtime,
    client: &Arc<dyn Asynchronous>,
    load: &Load,
) -> Measured {
    let progress = Arc::new(Progress::default());
    let callers: Vec<_> = (0..load.callers)
        .map(|caller| {
            let (client, progress, load) =
                (Arc::clone(client), Arc::clone(&progress), load.clone());
            runtime.spawn(async move {
                let mut micros = Vec::new();
                let think = Duration::from_millis(load.think_ms);
                client.call(load.stream).await;
                progress.warm.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(stagger(&load, caller)).await;
                while progress.goes_on() {
                    let start = Instant::now();
                    client.call(load.stream).await;
                    progress.note(start, &mut micros);
                    if !think.is_zero() {
                        tokio::time::sleep(think).await;
                    }
                }
                micros
            })
        })
        .collect();
    let mut measured = progress.watch(load);
    for caller in callers {
        let micros = runtime
            .block_on(caller)
            .expect("a caller ends without a panic");
        measured.micros.extend(micros);
    }
    measured
}
