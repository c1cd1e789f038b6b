//! What a call pays for a store that hangs, or fails: `cargo bench --bench stores`, or `-- --quick`.
//!
//! Each call comes with two results that the store must be told of. In turns, over a store that works, one whose every write takes ten
//! seconds, and one that refuses every write; a line of JSON for each, with the ratio to the first and the memory that was taken meanwhile.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

mod support;

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use credpool::{
    Auth, Error, ErrorCode, FailurePolicy, Listing, Manager, Options, Outcome, Request, Store,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::Nothing;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RECORDS: usize = 1_000;

#[derive(Clone, Copy)]
enum Writes {
    Work,
    Hang,
    Fail,
}

impl Store for Writes {
    fn list(&self) -> Result<Listing, Error> {
        Ok(Listing::default())
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        Ok(auth.id.clone())
    }

    fn delete(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn save_state(&self, _: &Auth) -> Result<(), Error> {
        match self {
            Self::Work => Ok(()),
            Self::Hang => {
                std::thread::sleep(Duration::from_secs(10));
                Ok(())
            }
            Self::Fail => Err(Error::new(ErrorCode::Store, "the disk is full")),
        }
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, per_round) = if quick { (15, 2_000) } else { (45, 10_000) };
    let kinds = [Writes::Work, Writes::Hang, Writes::Fail];
    let names = ["works", "hangs", "fails"];
    let pools = kinds.map(|writes| {
        let policy = FailurePolicy::default().without_waiting();
        let manager = Manager::builder()
            .store(writes)
            .policy(policy)
            .build()
            .unwrap();
        manager.register_executor(Nothing { fails: false });
        for n in 0..RECORDS {
            let auth = Auth::api_key("p", "k").with_id(name(n));
            manager.register(auth).unwrap();
        }
        // One round, so that each writer is at it, and each model has its state.
        round(&manager, 2 * RECORDS);
        manager
    });
    std::thread::sleep(Duration::from_secs(1));
    let mut times = [const { Vec::new() }; 3];
    let mut bytes = [0; 3];
    for _ in 0..rounds {
        for (n, manager) in pools.iter().enumerate() {
            let region = Region::new(ALLOCATOR);
            times[n].push(round(manager, per_round));
            let change = region.change();
            let taken = change.bytes_allocated.cast_signed();
            bytes[n] += taken - change.bytes_deallocated.cast_signed();
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    });
    for n in 0..3 {
        let health = pools[n].store_health();
        println!(
            r#"{{"bench":"a call and two results","store":"{}","ns":{:.1},"ratio":{:.3},"kib_taken":{},"unsaved":{},"failures":{}}}"#,
            names[n],
            medians[n],
            medians[n] / medians[0],
            bytes[n] / 1024,
            health.unsaved,
            health.failures
        );
    }
    // The one that hangs would be waited for.
    std::process::exit(0);
}

fn name(n: usize) -> String {
    format!("credential-{n:04}")
}

/// Nanoseconds for each call with its two results.
fn round(manager: &Manager, calls: usize) -> f64 {
    let (request, options) = (Request::new("m", ""), Options::new());
    let ids: Vec<String> = (0..RECORDS).map(name).collect();
    let start = Instant::now();
    for n in 0..calls {
        let id = &ids[n % RECORDS];
        let error = Error::upstream(500, "oops");
        manager.mark_result(&Outcome::failure(id, "p", "m", error));
        let _ = black_box(manager.execute(["p"], &request, &options));
        manager.mark_result(&Outcome::success(id, "p", "m"));
    }
    let calls = f64::from(u32::try_from(calls).unwrap());
    start.elapsed().as_secs_f64() * 1e9 / calls
}
