//! Many threads that wait for one credential get as much of it as a few do, in the order in which they came.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::cast_precision_loss, reason = "counts of calls are small")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use credpool::{
    Attempt, Auth, Clock, Error, Manager, Options, ProviderExecutor, Request, Response, SystemClock,
};

/// Answers after a while.
struct Slow(Duration);

impl ProviderExecutor for Slow {
    fn identifier(&self) -> &'static str {
        "p"
    }

    fn execute(&self, _: &Attempt, _: &Auth, _: &Request, _: &Options) -> Result<Response, Error> {
        let _ = SystemClock.after(self.0).recv();
        Ok(Response::new("ok"))
    }
}

#[derive(Debug)]
struct Figures {
    calls: f64,
    /// Seconds of the processor, for each call.
    cpu: f64,
    /// The most calls of a thread, and the fewest.
    spread: (u64, u64),
}

/// Closed loops of so many threads over one credential.
fn run(threads: usize, at_once: &str, time: Duration) -> Figures {
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(Slow(Duration::from_millis(2)));
    let auth = Auth::api_key("p", "k").with_attribute("max_concurrent", at_once);
    manager.register(auth.runtime_only()).unwrap();
    let options = Options::new().with_max_wait(Duration::from_secs(3600));
    let request = Request::new("m", "{}");
    let over = AtomicBool::new(false);
    let counts: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
    let sum = || {
        counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    thread::scope(|scope| {
        for count in &counts {
            let (manager, options, request, over) = (&manager, &options, &request, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    manager.execute(["p"], request, options).unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Until all threads are there, and each has had its turn or waits for it.
        let _ = SystemClock.after(time / 4).recv();
        let (before, cpu, begun) = (sum(), processor_time(), Instant::now());
        let _ = SystemClock.after(time).recv();
        let calls = sum() - before;
        let (cpu, passed) = (processor_time() - cpu, begun.elapsed());
        over.store(true, Ordering::Relaxed);
        let all = || counts.iter().map(|count| count.load(Ordering::Relaxed));
        let calls = calls as f64;
        Figures {
            calls: calls / passed.as_secs_f64(),
            cpu: cpu / calls,
            spread: (all().max().unwrap(), all().min().unwrap()),
        }
    })
}

/// Seconds that this process has used the processor.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// The best of some tries: other programs may have the machine for a while.
fn compare(threads: usize, time: Duration, tries: usize, least: f64, most: f64) {
    for at_once in ["1", "4"] {
        let mut tried = Vec::new();
        let holds = (0..tries).any(|_| {
            let few = run(8, at_once, time);
            let many = run(threads, at_once, time);
            let holds = many.calls >= least * few.calls && many.cpu <= most * few.cpu;
            let is_fair = many.spread.0 - many.spread.1 <= 2;
            tried.push((few, many));
            holds && is_fair
        });
        println!("{at_once} at once: {tried:?}");
        assert!(holds, "{at_once} at once: {tried:?}");
    }
}

#[test]
fn a_hundred_threads_get_as_much_of_a_credential_as_eight() {
    compare(100, Duration::from_millis(400), 5, 0.85, 4.0);
}

#[test]
#[ignore = "takes a quarter of a minute, and the machine for itself"]
fn a_thousand_threads_get_as_much_of_a_credential_as_eight() {
    compare(1_000, Duration::from_secs(4), 3, 0.95, 3.0);
}
