//! What a pick, a call and a result cost against the size of the pool: `cargo bench --bench scaling`, or `-- --quick`.
//!
//! A line of JSON for each figure. Beside the nanoseconds stands the machine's own unit, measured in the same run: an uncontended
//! lock and unlock of a mutex (`mutex_ns`), and a hop over a channel (`channel_ns`). Figures of two runs compare only in those.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

use std::alloc::System;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use credpool::testing::pick;
use credpool::{
    Affinity, Attempt, Auth, ChunkSource, Error, FailurePolicy, FillFirst, LeastBusy, Manager,
    Options, Outcome, ProviderExecutor, Request, Response, RoundRobin, Selector, StreamChunk,
    Weighted,
};
use parking_lot::Mutex;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MODEL: &str = "m";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let bench = Bench {
        rounds: if quick { 5 } else { 15 },
        per_round: if quick { 4_000 } else { 20_000 },
        sizes: if quick {
            &[10, 1_000, 100_000]
        } else {
            &[1, 10, 100, 1_000, 10_000, 100_000]
        },
    };
    bench.by_size();
    bench.by_selector();
    bench.by_threads();
    bench.membership();
    bench.streams();
}

struct Bench {
    rounds: usize,
    per_round: u32,
    sizes: &'static [usize],
}

/// Which credentials are ready.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Ready,
    Half,
    AllButOne,
    Cooling,
}

impl State {
    const ALL: [(&'static str, Self); 4] = [
        ("all ready", Self::Ready),
        ("half cooling", Self::Half),
        ("all but one cooling", Self::AllButOne),
        ("all cooling", Self::Cooling),
    ];

    fn cools(self, n: usize, size: usize) -> bool {
        match self {
            Self::Ready => false,
            Self::Half => n % 2 == 1,
            Self::AllButOne => n != size / 2,
            Self::Cooling => true,
        }
    }
}

/// An executor that does nothing.
struct Nothing;

impl ProviderExecutor for Nothing {
    fn identifier(&self) -> &'static str {
        "p"
    }

    fn execute(&self, _: &Attempt, _: &Auth, _: &Request, _: &Options) -> Result<Response, Error> {
        Ok(Response::default())
    }

    fn execute_stream(
        &self,
        _: &Attempt,
        _: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        let chunk = || Ok(StreamChunk::new("x"));
        Ok(Box::new(std::iter::repeat_with(chunk).take(CHUNKS)))
    }

    fn count_tokens(
        &self,
        _: &Attempt,
        _: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        Ok(Response::default())
    }
}

const CHUNKS: usize = 20_000;

fn name(n: usize) -> String {
    format!("credential-{n:06}")
}

fn pool(size: usize, state: State, scattered: bool, selector: Arc<dyn Selector>) -> Manager {
    let manager = Manager::builder()
        .policy(FailurePolicy::default().without_waiting().with_floor(false))
        .selector(selector)
        .build()
        .unwrap();
    manager.register_executor(Nothing);
    // 7919 is a prime that divides no size: each number comes once.
    let order = (0..size).map(|n| if scattered { n * 7919 % size } else { n });
    for n in order {
        let auth = Auth::api_key("p", "k").with_id(name(n));
        manager.register(auth.runtime_only()).unwrap();
    }
    for n in (0..size).filter(|n| state.cools(*n, size)) {
        manager.cool_down(&name(n), Some(MODEL), DAY).unwrap();
    }
    manager
}

fn round_robin() -> Arc<dyn Selector> {
    Arc::new(RoundRobin::new())
}

/// The machine's own units.
fn units(rounds: usize) -> (f64, f64) {
    let mutex = Mutex::new(0_u64);
    let lock = median(rounds, || timed(10_000, || *black_box(&mutex).lock() += 1));
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let hop = median(rounds, || {
        timed(10_000, || {
            sender.send(black_box(1_u64)).unwrap();
            black_box(receiver.recv().unwrap());
        })
    });
    (lock, hop)
}

fn timed(times: u32, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

fn median(rounds: usize, mut figure: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<f64> = (0..rounds).map(|_| figure()).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// One line.
struct Line(String);

impl Line {
    fn of(bench: &str) -> Self {
        Self(format!(r#"{{"bench":"{bench}""#))
    }

    fn text(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.0, r#","{name}":"{value}""#);
        self
    }

    fn number(mut self, name: &str, value: f64) -> Self {
        let _ = write!(self.0, r#","{name}":{value:.1}"#);
        self
    }

    fn count(mut self, name: &str, value: usize) -> Self {
        let _ = write!(self.0, r#","{name}":{value}"#);
        self
    }

    fn print(self) {
        println!("{}}}", self.0);
    }
}

impl Bench {
    /// The median time of `work`, and how many allocations it makes.
    fn measure(&self, mut work: impl FnMut()) -> (f64, f64) {
        // What is made once is made now.
        timed(self.per_round.min(200_000) / 4, &mut work);
        let region = Region::new(ALLOCATOR);
        timed(1_000, &mut work);
        let allocations = region.change().allocations;
        let nanos = median(self.rounds, || timed(self.per_round, &mut work));
        (
            nanos,
            f64::from(u32::try_from(allocations).unwrap()) / 1_000.0,
        )
    }

    fn line(&self, line: Line, work: impl FnMut()) {
        let (mutex, channel) = units(self.rounds);
        let (nanos, allocations) = self.measure(work);
        line.number("ns", nanos)
            .number("mutex_ns", mutex)
            .number("channel_ns", channel)
            .number("in_mutex", nanos / mutex)
            .number("allocs", allocations)
            .print();
    }

    fn by_size(&self) {
        let options = Options::new();
        let request = Request::new(MODEL, "");
        for (state_name, state) in State::ALL {
            for &size in self.sizes {
                for (order, scattered) in [("id", false), ("scattered", true)] {
                    let manager = pool(size, state, scattered, round_robin());
                    let line = |bench: &str| {
                        Line::of(bench)
                            .text("selector", "RoundRobin")
                            .count("n", size)
                            .text("state", state_name)
                            .text("order", order)
                            .count("threads", 1)
                    };
                    self.line(line("pick"), || {
                        black_box(pick(&manager, "p", MODEL, &options));
                    });
                    if scattered {
                        continue;
                    }
                    // Where all cool, this is the refusal, reasons included.
                    self.line(line("execute"), || {
                        let _ = black_box(manager.execute(["p"], &request, &options));
                    });
                    let ready: Vec<String> = (0..size)
                        .filter(|n| !state.cools(*n, size))
                        .map(name)
                        .collect();
                    if !ready.is_empty() {
                        let mut next = (0..ready.len()).cycle();
                        self.line(line("mark_result"), || {
                            let id = &ready[next.next().unwrap()];
                            manager.mark_result(&Outcome::success(id, "p", MODEL));
                        });
                    }
                }
            }
        }
    }

    fn by_selector(&self) {
        let selectors: [(&str, Arc<dyn Selector>); 5] = [
            ("RoundRobin", round_robin()),
            ("FillFirst", Arc::new(FillFirst::new())),
            ("Weighted", Arc::new(Weighted::new())),
            ("LeastBusy", Arc::new(LeastBusy::new())),
            ("Affinity", Arc::new(Affinity::new(RoundRobin::new()))),
        ];
        let options = Options::new().with_session_key("session");
        for (selector_name, selector) in selectors {
            for &size in self
                .sizes
                .iter()
                .filter(|size| [10, 1_000, 100_000].contains(size))
            {
                let manager = pool(size, State::Half, false, Arc::clone(&selector));
                let line = Line::of("pick")
                    .text("selector", selector_name)
                    .count("n", size)
                    .text("state", "half cooling")
                    .text("order", "id")
                    .count("threads", 1);
                self.line(line, || {
                    black_box(pick(&manager, "p", MODEL, &options));
                });
            }
        }
    }

    fn by_threads(&self) {
        for (models, same) in [("one model", true), ("a model each", false)] {
            for threads in [1, 2, 4, 8] {
                let manager = pool(1_000, State::Ready, false, round_robin());
                let nanos = median(self.rounds, || self.throughput(&manager, threads, same));
                let (mutex, channel) = units(self.rounds);
                Line::of("execute")
                    .text("selector", "RoundRobin")
                    .count("n", 1_000)
                    .text("state", models)
                    .count("threads", threads)
                    .number("ns", nanos)
                    .number("mutex_ns", mutex)
                    .number("channel_ns", channel)
                    .print();
            }
        }
    }

    /// Nanoseconds for each call, over all threads together.
    fn throughput(&self, manager: &Manager, threads: usize, same: bool) -> f64 {
        let together = Barrier::new(threads + 1);
        let calls = self.per_round;
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (manager, together) = (&manager, &together);
                let model = if same {
                    MODEL.to_owned()
                } else {
                    format!("{MODEL}-{thread}")
                };
                scope.spawn(move || {
                    let (request, options) = (Request::new(model, ""), Options::new());
                    let _ = manager.execute(["p"], &request, &options);
                    together.wait();
                    for _ in 0..calls {
                        black_box(manager.execute(["p"], &request, &options)).unwrap();
                    }
                    together.wait();
                });
            }
            together.wait();
            let start = Instant::now();
            together.wait();
            start.elapsed().as_secs_f64() * 1e9
                / (f64::from(calls) * f64::from(u32::try_from(threads).unwrap()))
        })
    }

    /// What it costs to come and go in a large pool, to ask for a model for the first time, and what a credential takes.
    fn membership(&self) {
        let size = *self.sizes.last().unwrap();
        let before = Region::new(ALLOCATOR);
        let strings = (0..size).map(name).map(|id| id.len()).sum::<usize>();
        let manager = Manager::builder().build().unwrap();
        manager.register_executor(Nothing);
        for n in 0..size {
            let mut auth = Auth::api_key("p", "k").with_id(name(n));
            for field in 0..10 {
                auth = auth.with_metadata(format!("field-{field}"), "value");
            }
            manager.register(auth).unwrap();
        }
        let bytes = before.change();
        let all = bytes.bytes_allocated - bytes.bytes_deallocated - strings;
        // A map of ten texts in JSON, by itself.
        let metadata = {
            let region = Region::new(ALLOCATOR);
            let fields =
                (0..10).map(|field| (format!("field-{field}"), serde_json::Value::from("value")));
            let map: serde_json::Map<_, _> = fields.collect();
            let bytes = region.change();
            drop(black_box(map));
            bytes.bytes_allocated - bytes.bytes_deallocated
        };
        Line::of("memory")
            .count("n", size)
            .count("bytes", all / size - metadata)
            .print();

        let options = Options::new();
        let mut models = 0..;
        let first = median(self.rounds, || {
            let model = models.next().unwrap().to_string();
            timed(1, || {
                black_box(pick(&manager, "p", &model, &options));
            })
        });
        Line::of("first pick of a model")
            .count("n", size)
            .number("ns", first)
            .print();
        let mut next = size..;
        let register = median(self.rounds * 20, || {
            let n = next.next().unwrap();
            let auth = Auth::api_key("p", "k").with_id(format!("{}-new", name(n * 7919 % size)));
            timed(1, || drop(manager.register(auth.clone()).unwrap()))
        });
        Line::of("register")
            .count("n", size)
            .number("ns", register)
            .print();
        let mut next = 0..;
        let remove = median(self.rounds * 20, || {
            let id = name(next.next().unwrap() * 7919 % size);
            timed(1, || drop(manager.remove(&id)))
        });
        Line::of("remove")
            .count("n", size)
            .number("ns", remove)
            .print();
    }

    fn streams(&self) {
        let manager = pool(1, State::Ready, false, round_robin());
        let request = Request::new(MODEL, "");
        let each = f64::from(u32::try_from(CHUNKS).unwrap());
        let ours = || {
            timed(1, || {
                let stream = manager
                    .execute_stream(["p"], &request, &Options::new())
                    .unwrap();
                assert_eq!(stream.map(Result::unwrap).count(), CHUNKS);
            }) / each
        };
        let raw = || {
            timed(1, || {
                let (sender, receiver) = crossbeam_channel::bounded(256);
                std::thread::scope(|scope| {
                    scope.spawn(move || {
                        for _ in 0..CHUNKS {
                            sender.send(StreamChunk::new("x")).unwrap();
                        }
                    });
                    assert_eq!(receiver.iter().count(), CHUNKS);
                });
            }) / each
        };
        // In turns: the raw channel has two speeds.
        let pairs: Vec<(f64, f64)> = (0..self.rounds * 3).map(|_| (ours(), raw())).collect();
        let mut pairs_ours = pairs.iter().map(|(ours, _)| *ours);
        let mut pairs_raw = pairs.iter().map(|(_, raw)| *raw);
        let ours = median(pairs.len(), || pairs_ours.next().unwrap());
        let raw = median(pairs.len(), || pairs_raw.next().unwrap());
        Line::of("stream")
            .number("ns", ours)
            .number("channel_ns", raw)
            .number("ratio", ours / raw)
            .print();
    }
}
