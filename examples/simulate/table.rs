//! The table.

use std::time::Duration;

use crate::caller::Summary;

pub(crate) fn print(results: &[(&str, Summary)]) {
    println!(
        "| policy | calls | served | failed | attempts | wasted | attempts a call | waited in all | wait, 95 of 100 | longest without service | longest out for nothing |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (policy, result) in results {
        let mut waits = result.waits.clone();
        waits.sort_unstable();
        let all: Duration = waits.iter().sum();
        let most = waits
            .get(waits.len() * 95 / 100)
            .copied()
            .unwrap_or_default();
        println!(
            "| {policy} | {} | {} | {} | {} | {} | {:.2} | {} | {} | {} | {} |",
            result.calls,
            result.served,
            result.calls - result.served,
            result.attempts,
            result.wasted,
            ratio(result.attempts, result.calls),
            text(all),
            text(most),
            text(result.longest_gap),
            text(result.longest_parked),
        );
    }
    println!();
}

fn ratio(one: u64, other: u64) -> f64 {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(one) / number(other.max(1))
}

fn text(time: Duration) -> String {
    match time.as_secs() {
        0..=9 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..=119 => format!("{seconds} s"),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}
