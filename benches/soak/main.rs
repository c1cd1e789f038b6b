//! Whether anything grows, spins or is lost under mixed load: `cargo bench --bench soak`, a minute; `-- --seconds 720` for longer.
//!
//! Plain calls, streams, cancels and dropped streams at a steady rate, over HTTP on loopback by the shipped executors; keys with
//! limits of their own, logins that are refreshed all the time, a store of files that an operator edits; one request in twenty
//! meets a fault, and once a minute one provider is out for five seconds. Windows of five seconds; the first two warm it up.
//!
//! It fails where a window takes more than 1.3 times the median CPU a call; where the hook has not heard of as many attempts as the
//! upstream had requests; where threads, descriptors or memory grow; and where a trouble is logged more than twice, when it begins
//! and when it ends. On a machine that has other work the CPU of a call is that of its neighbours, too. Linux only.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a failed unwrap is a failed bench, and its figures are small"
)]

mod lines;
mod load;
mod samples;
mod server;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use credpool::provider::{Anthropic, OpenAi};
use credpool::{Affinity, FileStore, Manager, RoundRobin};

use lines::Lines;
use load::{CALLERS, Calls, Heard};
use samples::Sample;
use server::{SENT_AGAIN, Server};

const WINDOW: Duration = Duration::from_secs(5);
/// Windows in a minute.
const MINUTE: usize = 12;
/// Of each minute, the window in which one provider is out.
const OUTAGE: usize = 6;
const AFTER_OUTAGE: usize = OUTAGE + 1;
/// Edits in place in a minute, at most.
const EDITS: usize = 20;
/// Windows at the start, in which the operator does nothing.
const WARM_UP: u32 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == server::SERVE) {
        server::serve();
        return ExitCode::SUCCESS;
    }
    if !cfg!(target_os = "linux") {
        println!("the soak looks at /proc, which only Linux has");
        return ExitCode::SUCCESS;
    }
    let seconds = arguments
        .iter()
        .skip_while(|argument| *argument != "--seconds")
        .nth(1);
    let seconds: usize = seconds.map_or(60, |seconds| seconds.parse().unwrap());
    let windows = (seconds / 5).max(MINUTE);
    let breaches = soak(windows);
    for breach in &breaches {
        println!("BREACH {breach}");
    }
    if breaches.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn soak(windows: usize) -> Vec<String> {
    let lines = Lines::count();
    let server = Server::start();
    let before = Sample::take(0);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("credentials");
    let heard = Arc::new(Heard::default());
    let manager = Manager::builder()
        .store(FileStore::open(&dir).unwrap())
        .selector(Affinity::new(RoundRobin::new()))
        .hook(Arc::clone(&heard))
        .min_refresh_gap(Duration::from_secs(5))
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    manager.register_executor(Anthropic::new());
    load::register(&manager, &server.url).unwrap();
    manager.start_auto_refresh(Duration::from_secs(1)).unwrap();
    manager.start_hot_reload(Duration::from_secs(1)).unwrap();

    let (calls, stop) = (Calls::default(), AtomicBool::new(false));
    let (samples, mut breaches) = thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (manager, calls, stop) = (&manager, &calls, &stop);
            scope.spawn(move || load::call(manager, caller, calls, stop));
        }
        let operator = scope.spawn(|| {
            thread::sleep(WINDOW * WARM_UP);
            load::operate(&manager, &dir, &stop)
        });
        let samples = observed(windows, &server, &calls);
        stop.store(true, SeqCst);
        let refused = operator.join().unwrap();
        let refused = refused
            .iter()
            .map(|act| format!("the operator could not act: {act}"));
        (samples, refused.collect::<Vec<_>>())
    });
    manager.shutdown(Duration::from_secs(20)).unwrap();
    drop(manager);
    let after = Sample::take(0);

    let counts = server.counts();
    println!("{calls:?}\nupstream: {counts:?}");
    for (line, count) in lines.counts() {
        println!("{count:>6} lines {line}");
    }
    breaches.extend(of_cpu(&samples));
    breaches.extend(of_growth(&samples));
    let (told, cancelled) = (heard.attempts.load(SeqCst), heard.cancelled.load(SeqCst));
    let had = counts["requests"] - counts.get(SENT_AGAIN).copied().unwrap_or_default();
    if !(told..=told + cancelled).contains(&had) || 100 * (told + cancelled - had) > cancelled {
        breaches.push(format!(
            "the hook heard of {told} attempts and {cancelled} cancelled ones, the upstream had {had} requests that were not sent again"
        ));
    }
    breaches.extend(of_lines(&lines.counts(), windows / MINUTE, &counts));
    if after.threads > before.threads {
        breaches.push(format!(
            "{} threads are left",
            after.threads - before.threads
        ));
    }
    if counts.contains_key("refresh tokens used again") {
        breaches.push("a refresh token was used twice".to_owned());
    }
    breaches
}

/// One sample at the start and one after each window.
fn observed(windows: usize, server: &Server, calls: &Calls) -> Vec<Sample> {
    let mut samples = vec![Sample::take(0)];
    let mut due = Instant::now();
    for window in 0..windows {
        server.set_outage(window % MINUTE == OUTAGE);
        due += WINDOW;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sample = Sample::take(calls.ended.load(SeqCst));
        let per_call = per_call(samples[window], sample);
        println!(
            "{:>5} s {:>6} calls {:>7.3} ms of CPU a call {:>4} threads {:>4} descriptors {:>6} KiB{}",
            5 * (window + 1),
            sample.calls - samples[window].calls,
            1000.0 * per_call,
            sample.threads,
            sample.descriptors,
            sample.kib,
            if window % MINUTE == OUTAGE {
                "  outage"
            } else {
                ""
            },
        );
        samples.push(sample);
    }
    samples
}

fn per_call(before: Sample, after: Sample) -> f64 {
    (after.cpu - before.cpu) / (after.calls - before.calls).max(1) as f64
}

/// Windows that took too much. In an outage a call makes several attempts, so those windows and the next may take three times as
/// much. A median that is far above the cheapest window tells of what never ends.
fn of_cpu(samples: &[Sample]) -> Vec<String> {
    let windows = samples.windows(2).map(|pair| per_call(pair[0], pair[1]));
    let windows: Vec<(usize, f64)> = windows.enumerate().collect();
    let cheapest = windows.iter().map(|(_, cpu)| *cpu).fold(f64::MAX, f64::min);
    let counted = &windows[WARM_UP as usize..];
    let median = median(counted.iter().map(|(_, cpu)| *cpu));
    let most = |window: usize| match window % MINUTE {
        OUTAGE | AFTER_OUTAGE => 3.0,
        _ => 1.3,
    };
    let over = counted
        .iter()
        .filter(|(window, cpu)| *cpu > most(*window) * median);
    let mut breaches: Vec<String> = over
        .map(|(window, cpu)| {
            let (end, times) = (5 * (window + 1), cpu / median);
            format!(
                "the window that ends after {end} s took {times:.2} times the median CPU a call"
            )
        })
        .collect();
    if median > 1.3 * cheapest {
        let times = median / cheapest;
        breaches.push(format!(
            "the median CPU a call is {times:.2} times that of the cheapest window"
        ));
    }
    breaches
}

/// What is more in the last third than in the first.
fn of_growth(samples: &[Sample]) -> Vec<String> {
    let samples = &samples[1 + WARM_UP as usize..];
    let third = samples.len() / 3;
    let grown = |name: &str, of: fn(&Sample) -> usize, spare: f64| {
        let first = median(samples[..third].iter().map(|sample| of(sample) as f64));
        let last = median(
            samples[samples.len() - third..]
                .iter()
                .map(|sample| of(sample) as f64),
        );
        (last > 1.1 * first + spare).then(|| format!("{name} grow from {first} to {last}"))
    };
    [
        grown("threads", |sample| sample.threads, 4.0),
        grown("descriptors", |sample| sample.descriptors, 8.0),
        // A heap takes minutes to find its size.
        grown("KiB of memory", |sample| sample.kib, 4096.0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Lines of which there are more than two for each trouble: an outage, a refresh that was refused, an edit in place.
fn of_lines(
    lines: &BTreeMap<String, usize>,
    outages: usize,
    counts: &BTreeMap<String, u64>,
) -> Vec<String> {
    let refused = counts.get("refreshes refused").copied().unwrap_or_default();
    let refused = usize::try_from(refused).unwrap();
    // An editor that writes in place leaves a file empty for a moment.
    let most = |line: &str| match line {
        _ if line.contains("refresh") => 2 * refused,
        _ if line.contains("does not read") => EDITS * outages,
        _ => 2 * outages,
    };
    lines
        .iter()
        .filter(|(line, count)| **count > most(line))
        .map(|(line, count)| format!("{count} log lines, at most {}: {line}", most(line)))
        .collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
