//! What a pick, a call and a result cost against the size of the pool: `cargo bench --bench scaling`, or `-- --quick`; parts of it by
//! their names (`-- threads streams`): sizes, execute, stats, store, selectors, threads, storm, membership, limits, models, streams.
//!
//! A line of JSON for each figure. Beside the nanoseconds stand the machine's own units, measured in the same rounds: an uncontended
//! lock and unlock of a mutex (`mutex_ns`), and a message through a channel (`channel_ns`). Figures of two runs compare only in those. `allocs`
//! counts allocations and reallocations. The full run writes the plot `benches/scaling.svg`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

mod measure;
mod plot;
mod pools;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use credpool::testing::pick;
use credpool::{
    Affinity, Auth, FailurePolicy, FileStore, FillFirst, Headroom, LeastBusy, LowestLatency,
    Manager, Options, Outcome, Request, RoundRobin, Selector, Weighted,
};
use measure::{ALLOCATOR, Effort, Line, timed};
use plot::Plot;
use pools::{MODEL, Order, State, name, pool};
use stats_alloc::Region;
use support::Nothing;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let bench = Bench {
        effort: Effort {
            rounds: if quick { 5 } else { 21 },
            per_round: if quick { 4_000 } else { 20_000 },
        },
        sizes: if quick {
            &[10, 1_000, 100_000]
        } else {
            &[1, 10, 100, 1_000, 10_000, 100_000]
        },
    };
    let asked_for: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let parts: [(&str, &dyn Fn()); 11] = [
        ("sizes", &|| {
            let (plot, mutex) = bench.by_size();
            if !quick {
                let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/scaling.svg");
                std::fs::write(path, plot.svg(mutex)).unwrap();
            }
        }),
        ("execute", &|| bench.execute()),
        ("stats", &|| bench.stats()),
        ("store", &|| bench.with_a_store()),
        ("selectors", &|| bench.by_selector()),
        ("threads", &|| bench.by_threads()),
        ("storm", &|| bench.storm()),
        ("membership", &|| bench.membership()),
        ("limits", &|| bench.limits()),
        ("models", &|| bench.models()),
        ("streams", &|| streams::bench(&bench.effort)),
    ];
    for (name, part) in parts {
        if asked_for.is_empty() || asked_for.iter().any(|asked| asked == name) {
            part();
        }
    }
}

struct Bench {
    effort: Effort,
    sizes: &'static [usize],
}

fn round_robin() -> Arc<dyn Selector> {
    Arc::new(RoundRobin::new())
}

/// Successes of those that are ready, in the order in which they came.
fn marking(manager: &Manager, state: State, order: Order, size: usize) -> Option<impl FnMut()> {
    let numbers = order.of(size).into_iter();
    let ready: Vec<String> = numbers
        .filter(|n| !state.cools(*n, size))
        .map(name)
        .collect();
    let mut next = (0..ready.len()).cycle();
    (!ready.is_empty()).then_some(move || {
        let id = &ready[next.next().unwrap()];
        manager.mark_result(&Outcome::success(id, "p", MODEL));
    })
}

impl Bench {
    /// The plot of it, and what a mutex took.
    fn by_size(&self) -> (Plot, f64) {
        let (options, request) = (Options::new(), Request::new(MODEL, ""));
        let (mut plot, mut mutex) = (Plot::default(), 0.0);
        for state in State::ALL {
            for &size in self.sizes {
                for order in [Order::Id, Order::Scattered] {
                    let manager = pool(size, state, order, round_robin());
                    // What a credential's first request makes is made.
                    if let Some(mut mark) = marking(&manager, state, order, size) {
                        (0..size).for_each(|_| mark());
                    }
                    let mut print = |bench: &str, work: &mut dyn FnMut()| {
                        let figure = self.effort.measure(work);
                        if (state, order) == (State::Ready, Order::Id) {
                            plot.add(bench, size, figure.nanos);
                            mutex = figure.mutex;
                        }
                        Line::of(bench)
                            .text("selector", "RoundRobin")
                            .count("n", size)
                            .text("state", state.name())
                            .text("order", order.name())
                            .count("threads", 1)
                            .figure(&figure)
                            .print();
                    };
                    print("pick", &mut || {
                        black_box(pick(&manager, "p", MODEL, &options));
                    });
                    // Where all cool, this is the refusal, reasons included.
                    print("execute", &mut || {
                        let _ = black_box(manager.execute(["p"], &request, &options));
                    });
                    if let Some(mut mark) = marking(&manager, state, order, size) {
                        print("mark_result", &mut mark);
                    }
                }
            }
        }
        (plot, mutex)
    }

    /// A call that does nothing, where all are ready.
    fn execute(&self) {
        let (options, request) = (Options::new(), Request::new(MODEL, ""));
        for size in [10, 1_000] {
            let manager = pool(size, State::Ready, Order::Id, round_robin());
            let figure = self.effort.measure(|| {
                black_box(manager.execute(["p"], &request, &options)).unwrap();
            });
            Line::of("execute")
                .text("selector", "RoundRobin")
                .count("n", size)
                .text("state", "all ready")
                .figure(&figure)
                .print();
        }
    }

    /// What it costs to take the statistics of credentials that have all served.
    fn stats(&self) {
        let (options, request) = (Options::new(), Request::new(MODEL, ""));
        for &size in self.sizes {
            let manager = pool(size, State::Half, Order::Id, round_robin());
            for _ in 0..size {
                manager.execute(["p"], &request, &options).unwrap();
            }
            let figure = self.effort.collect(self.effort.rounds, || {
                timed(1, || drop(black_box(manager.stats())))
            });
            Line::of("stats").count("n", size).figure(&figure).print();
        }
    }

    /// Results in a pool that a store of files keeps.
    fn with_a_store(&self) {
        let size = 1_000;
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        let manager = Manager::builder().store(store).build().unwrap();
        manager.register_executor(Nothing { fails: false });
        for n in 0..size {
            let auth = Auth::api_key("p", "k").with_id(name(n));
            manager.register(auth).unwrap();
        }
        let mark = marking(&manager, State::Ready, Order::Id, size).unwrap();
        Line::of("mark_result")
            .text("selector", "RoundRobin")
            .count("n", size)
            .text("state", "all ready")
            .text("order", "id")
            .text("store", "files")
            .count("threads", 1)
            .figure(&self.effort.measure(mark))
            .print();
    }

    fn by_selector(&self) {
        type Make = fn() -> Arc<dyn Selector>;
        let selectors: [(&str, Make); 7] = [
            ("RoundRobin", round_robin),
            ("FillFirst", || Arc::new(FillFirst::new())),
            ("Weighted", || Arc::new(Weighted::new())),
            ("LeastBusy", || Arc::new(LeastBusy::new())),
            ("LowestLatency", || Arc::new(LowestLatency::new())),
            ("Headroom", || Arc::new(Headroom::new())),
            ("Affinity", || Arc::new(Affinity::new(RoundRobin::new()))),
        ];
        let options = Options::new().with_session_key("session");
        for (selector_name, selector) in selectors {
            for &size in self.sizes.iter().filter(|size| **size != 1) {
                for state in [State::Ready, State::Half] {
                    let manager = pool(size, state, Order::Id, selector());
                    let figure = self.effort.measure(|| {
                        black_box(pick(&manager, "p", MODEL, &options));
                    });
                    Line::of("pick")
                        .text("selector", selector_name)
                        .count("n", size)
                        .text("state", state.name())
                        .text("order", "id")
                        .count("threads", 1)
                        .figure(&figure)
                        .print();
                }
            }
        }
    }

    fn by_threads(&self) {
        for (models, same) in [("one model", true), ("a model each", false)] {
            for threads in [1, 2, 4, 8] {
                let manager = pool(1_000, State::Ready, Order::Id, round_robin());
                let each = || self.throughput(&manager, threads, same);
                let figure = self.effort.collect(self.effort.rounds, each);
                Line::of("execute")
                    .text("selector", "RoundRobin")
                    .count("n", 1_000)
                    .text("state", models)
                    .count("threads", threads)
                    .figure(&figure)
                    .print();
            }
        }
    }

    /// Nanoseconds for each call, over all threads together.
    fn throughput(&self, manager: &Manager, threads: usize, same: bool) -> f64 {
        let together = Barrier::new(threads + 1);
        let calls = self.effort.per_round;
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
                    // Rotations that began at different times are at different places.
                    for _ in 0..=thread * 100 {
                        black_box(manager.execute(["p"], &request, &options)).unwrap();
                    }
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

    /// Every pick fails: what an attempt costs until all cool, for one call that goes through the whole pool.
    fn storm(&self) {
        let request = Request::new(MODEL, "");
        for &size in self.sizes.iter().filter(|size| **size <= 10_000) {
            let storm = || {
                let policy = FailurePolicy::default();
                let policy = policy
                    .without_waiting()
                    .with_budget(None)
                    .with_outage_detection(None)
                    .with_last_resort(false);
                let manager = Manager::builder().policy(policy).build().unwrap();
                manager.register_executor(Nothing { fails: true });
                for n in 0..size {
                    let auth = Auth::api_key("p", "k").with_id(name(n));
                    manager.register(auth.runtime_only()).unwrap();
                }
                let attempts = f64::from(u32::try_from(size).unwrap());
                let once = timed(1, || {
                    let options = Options::new();
                    assert!(manager.execute(["p"], &request, &options).is_err());
                });
                once / attempts
            };
            Line::of("storm")
                .text("selector", "RoundRobin")
                .count("n", size)
                .figure(&self.effort.collect(5, storm))
                .print();
        }
    }

    /// What limits cost, by the number of models in use.
    fn limits(&self) {
        let options = Options::new();
        for models in [1, 100, 4_000] {
            let requests: Vec<_> = (0..models)
                .map(|n| Request::new(format!("{MODEL}-{n}"), ""))
                .collect();
            for (state, limit) in [("no limits", None), ("rpm", Some("1000000000"))] {
                let manager = Manager::builder().build().unwrap();
                manager.register_executor(Nothing { fails: false });
                for n in 0..10 {
                    let auth = Auth::api_key("p", "k").with_id(name(n));
                    let auth = match limit {
                        Some(limit) => auth.with_attribute("rpm", limit),
                        None => auth,
                    };
                    manager.register(auth.runtime_only()).unwrap();
                }
                // Each credential has served each model.
                for request in requests.iter().cycle().take(10 * models) {
                    manager.execute(["p"], request, &options).unwrap();
                }
                let mut requests = requests.iter().cycle();
                let figure = self.effort.measure(|| {
                    let request = requests.next().unwrap();
                    black_box(manager.execute(["p"], request, &options)).unwrap();
                });
                Line::of("execute")
                    .text("selector", "RoundRobin")
                    .count("n", 10)
                    .count("models", models)
                    .text("state", state)
                    .figure(&figure)
                    .print();
            }
        }
    }

    /// What lists of models cost: without any; with 50 models each, ten lists in all or one of its own for each credential, of which half
    /// serve the one that is asked for; and by an alias of all.
    fn models(&self) {
        let (size, options) = (1_000, Options::new());
        for (state, lists, asked) in [
            ("no lists", 0, MODEL),
            ("50 models each, ten lists", 10, MODEL),
            ("50 models each", size, MODEL),
            ("an alias of 50 models each", size, "alias"),
        ] {
            let manager = Manager::builder().build().unwrap();
            manager.register_executor(Nothing { fails: false });
            for n in 0..size {
                let mut auth = Auth::api_key("p", "k").with_id(name(n));
                if lists > 0 {
                    let list = n % lists;
                    let others = (0..49).map(|m| format!("model-{}", (list + 17 * m) % 5_000));
                    auth = auth
                        .with_models(others)
                        .with_model_alias("alias", format!("target-{}", list % 10));
                    auth = auth.with_models([if n % 2 == 0 { MODEL } else { "another" }]);
                }
                manager.register(auth.runtime_only()).unwrap();
            }
            let request = Request::new(asked, "");
            let print = |bench: &str, work: &mut dyn FnMut()| {
                Line::of(bench)
                    .text("selector", "RoundRobin")
                    .count("n", size)
                    .text("state", state)
                    .figure(&self.effort.measure(work))
                    .print();
            };
            print("pick", &mut || {
                black_box(pick(&manager, "p", asked, &options));
            });
            print("execute", &mut || {
                black_box(manager.execute(["p"], &request, &options)).unwrap();
            });
        }
    }

    /// What it costs to come and go in a large pool, to ask for a model for the first time, and what a credential takes.
    fn membership(&self) {
        let size = *self.sizes.last().unwrap();
        let before = Region::new(ALLOCATOR);
        let strings = (0..size).map(name).map(|id| id.len()).sum::<usize>();
        let manager = Manager::builder().build().unwrap();
        manager.register_executor(Nothing { fails: false });
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
        let print = |bench: &str, rounds: usize, once: &mut dyn FnMut() -> f64| {
            let figure = self.effort.collect(rounds, once);
            Line::of(bench).count("n", size).figure(&figure).print();
        };
        let mut models = 0..;
        print("first pick of a model", self.effort.rounds, &mut || {
            let model = models.next().unwrap().to_string();
            timed(1, || {
                black_box(pick(&manager, "p", &model, &options));
            })
        });
        let mut places = Order::Scattered.of(size).into_iter().cycle();
        print("register", self.effort.rounds * 20, &mut || {
            let id = format!("{}-new", name(places.next().unwrap()));
            let auth = Auth::api_key("p", "k").with_id(id);
            timed(1, || drop(manager.register(auth.clone()).unwrap()))
        });
        let mut places = Order::Scattered.of(size).into_iter();
        print("remove", self.effort.rounds * 20, &mut || {
            let id = name(places.next().unwrap());
            timed(1, || drop(manager.remove(&id)))
        });
    }
}
