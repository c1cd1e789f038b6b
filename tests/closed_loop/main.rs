//! What users get from the default configuration, in figures: callers in loops, over the production code and in virtual time, beside a
//! provider with limits and faults. One table, beside the rule of the vendors' SDKs (each caller with a key of its own) and beside
//! the defaults of version 0.1.0.
//!
//! Each row runs for two minutes after one to warm up, unless its name says otherwise. `share` is of the calls a second that limits
//! and demand allow; waits are in seconds, beyond the time that the answer took. Bars that do not hold are told below the table.
//!
//! | variable | meaning |
//! |---|---|
//! | `CREDPOOL_CLOSED_LOOP=all` | all rows, with the SDK's figures, which takes minutes; otherwise those that are told apart most |
//! | `CREDPOOL_CLOSED_LOOP=TEXT` | the rows whose names have this text |
//!
//! `cargo test --release --test closed_loop -- --nocapture` prints the table.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed unwrap is a failed test, and the modules are those of one program"
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are small"
)]

mod callers;
mod figures;
mod former;
mod kernel;
mod limit;
mod random;
mod rows;
mod sides;
mod timeline;
mod upstream;

use std::sync::Arc;

use credpool::{Clock, SystemClock};

use figures::Figures;
use rows::Row;
use sides::{Pool, Sdk, Side};
use timeline::Timeline;
use upstream::Upstream;

#[test]
fn the_default_configuration_keeps_its_figures() {
    let asked = std::env::var("CREDPOOL_CLOSED_LOOP").unwrap_or_default();
    let wanted = |row: &Row| match &*asked {
        "" => row.quick,
        "all" => true,
        text => row.name.contains(text),
    };
    println!(
        "{:68} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}   {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}   {:>6} {:>6} {:>6} {:>6}",
        "default configuration | vendors' SDK | version 0.1.0",
        "calls",
        "err %",
        "req/c",
        "share",
        "p50",
        "p99",
        "calls",
        "err %",
        "req/c",
        "share",
        "p50",
        "p99",
        "calls",
        "err %",
        "req/c",
        "share",
    );
    let mut missed = Vec::new();
    let mut ran = 0;
    for row in rows::all().into_iter().filter(wanted) {
        let started = SystemClock.monotonic();
        let figures = measured(&row, By::Pool);
        let took = SystemClock.monotonic() - started;
        let sdk = if asked.is_empty() {
            String::new()
        } else {
            measured(&row, By::Sdk).to_string()
        };
        let former = former::of(&row.name).unwrap_or_default();
        println!(
            "{:68} {figures}   {sdk:41}   {former}   {took:.1?}",
            row.name
        );
        let misses = row.bars.iter().filter_map(|bar| figures.misses(*bar));
        missed.extend(misses.map(|miss| format!("{}: {miss}", row.name)));
        ran += 1;
    }
    assert!(ran > 0, "no row has {asked:?} in its name");
    assert!(
        missed.is_empty(),
        "bars that do not hold:\n{}",
        missed.join("\n")
    );
}

#[derive(Clone, Copy)]
enum By {
    Pool,
    Sdk,
}

fn measured(row: &Row, by: By) -> Figures {
    let timeline = Timeline::new();
    let keys = (row.keys)();
    let upstream = Arc::new(Upstream::new(&timeline, &keys, row.manner.clone()));
    let side: Box<dyn Side> = match by {
        By::Pool => Box::new(Pool::new(
            &timeline,
            &upstream,
            &keys,
            row.group,
            row.max_wait,
        )),
        By::Sdk => Box::new(Sdk::new(&timeline, &upstream, &keys)),
    };
    let calls = callers::run(
        &timeline,
        row.load,
        &*side,
        &upstream,
        row.tokens,
        row.span.until,
    );
    let demand = row.load.demand(row.manner.takes);
    let tokens = (row.tokens.0 + row.tokens.1) as f64 / 2.0;
    let allowed = upstream.allowed(tokens);
    let allowed = if allowed.is_finite() {
        allowed.min(demand)
    } else {
        allowed
    };
    Figures::of(&calls, &upstream.requests(), row.span, allowed)
}
