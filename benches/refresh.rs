//! What keeping tokens fresh costs: `cargo bench --bench refresh`, or `-- --quick`.
//!
//! Each figure is a line of JSON: putting a credential into the queue of 100,000 and taking one out, and what a call pays for a
//! look at its tokens, as the difference between calls with a key and calls with tokens that live on.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use credpool::testing::DueTimes;
use credpool::{Auth, Clock, Manager, OAuthTokens, Options, Request, SystemClock};
use support::Nothing;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = if quick { 5 } else { 50 };
    queue(rounds);
    look(if quick { 20_000 } else { 200_000 });
}

fn queue(rounds: usize) {
    let start = SystemClock.now();
    let ids: Vec<Arc<str>> = (0..RECORDS)
        .map(|n| format!("credential-{n}").into())
        .collect();
    let moment = |n: usize| {
        // Spread without order.
        let spread = (n * 7_919 % RECORDS) as u64;
        start + Duration::from_millis(spread * 36)
    };
    let mut puts = Vec::new();
    let mut moves = Vec::new();
    let mut pops = Vec::new();
    for _ in 0..rounds {
        let mut queue = DueTimes::default();
        puts.push(each(|| {
            for (n, id) in ids.iter().enumerate() {
                queue.put(Arc::clone(id), moment(n));
            }
        }));
        moves.push(each(|| {
            for (n, id) in ids.iter().enumerate() {
                queue.put(Arc::clone(id), moment(n + 1));
            }
        }));
        let end = start + Duration::from_secs(24 * 3600);
        pops.push(each(|| {
            while let Some(id) = queue.pop_due(end) {
                black_box(id);
            }
        }));
    }
    for (name, figures) in [
        ("due_queue_insert", puts),
        ("due_queue_move", moves),
        ("due_queue_pop", pops),
    ] {
        let nanos = median(figures);
        println!(r#"{{"bench":"{name}","records":{RECORDS},"ns_each":{nanos:.0}}}"#);
    }
}

/// The time of one of the records' turns, in nanoseconds.
fn each(work: impl FnOnce()) -> f64 {
    timed(work) / f64::from(u32::try_from(RECORDS).unwrap())
}

fn look(calls: u32) {
    let key = pool(Auth::api_key("p", "k"));
    let tokens = OAuthTokens::new("access")
        .with_refresh_token("refresh")
        .with_expires_at(SystemClock.now() + Duration::from_secs(3600));
    let mut login = Auth::oauth("p", tokens);
    login.last_refreshed_at = Some(SystemClock.now());
    let login = pool(login);
    let request = Request::new("m", "{}");
    let options = Options::new();
    let call = |manager: &Manager| {
        black_box(manager.execute(["p"], &request, &options).unwrap());
    };
    let mut with_key = Vec::new();
    let mut with_tokens = Vec::new();
    // In turns, in short runs: what disturbs one side disturbs its neighbour, too.
    for _ in 0..calls / RUN {
        for (manager, figures) in [(&key, &mut with_key), (&login, &mut with_tokens)] {
            let nanos = timed(|| (0..RUN).for_each(|_| call(manager)));
            figures.push(nanos / f64::from(RUN));
        }
    }
    let (key, tokens) = (median(with_key), median(with_tokens));
    let look = tokens - key;
    println!(
        r#"{{"bench":"token_look","key_call_ns":{key:.0},"token_call_ns":{tokens:.0},"look_ns":{look:.0}}}"#
    );
}

fn pool(auth: Auth) -> Manager {
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(Nothing { fails: false });
    manager.register(auth).unwrap();
    manager
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

const RECORDS: usize = 100_000;
const RUN: u32 = 100;
