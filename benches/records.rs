//! What a hundred thousand records cost: `cargo bench --all-features --bench records`, or `-- --quick` for ten thousand.
//!
//! A line of JSON for each store: how long it takes to load them into a manager, and beside a plain read and parse of the same files; how
//! much memory each takes, its strings included, and how long those are; and which part of a core the process uses while hot reload has
//! nothing to do.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use credpool::{Auth, Clock as _, FileStore, Manager, OAuthTokens, Store, SystemClock};
use serde_json::Value;

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let records = if is_quick { 10_000 } else { 100_000 };
    files(records);
    #[cfg(feature = "sqlite")]
    sqlite(records);
}

fn files(records: usize) {
    let (dir, template) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // As the store writes them, without waiting for the disk each time.
    let store = FileStore::open(template.path()).unwrap();
    store.save(&record(0)).unwrap();
    for ending in ["credential", "state"] {
        let file = template.path().join(format!("{}.{ending}", id(0)));
        let text = fs::read_to_string(&file).unwrap();
        for n in 0..records {
            let path = dir.path().join(format!("{}.{ending}", id(n)));
            fs::copy(&file, &path).unwrap();
            fs::write(&path, text.replace(&id(0), &id(n))).unwrap();
        }
    }
    // First of all: what was freed before would be used again, and not be counted.
    let figures = Figures::of(FileStore::open(dir.path()).unwrap(), records);
    let plain = least(|| read_and_parse(dir.path()));
    let list = least(|| {
        let store = FileStore::open(dir.path()).unwrap();
        store.list().unwrap().records.len()
    });
    println!(
        r#"{{"bench":"records","store":"files","n":{records},"plain_s":{:.2},"list_to_plain":{:.2},{figures}}}"#,
        plain.as_secs_f64(),
        list.as_secs_f64() / plain.as_secs_f64(),
    );
}

#[cfg(feature = "sqlite")]
fn sqlite(records: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials.db");
    let store = credpool::SqliteStore::open(&path).unwrap();
    for n in 0..records {
        store.save(&record(n)).unwrap();
    }
    drop(store);
    let figures = Figures::of(credpool::SqliteStore::open(&path).unwrap(), records);
    println!(r#"{{"bench":"records","store":"sqlite","n":{records},{figures}}}"#);
}

struct Figures {
    load: Duration,
    /// Bytes for each record.
    memory: f64,
    /// A part of a core.
    idle: f64,
}

impl Figures {
    fn of(store: impl Store + 'static, records: usize) -> Self {
        let manager = Manager::builder().store(store).build().unwrap();
        let (memory, begun) = (resident(), Instant::now());
        assert_eq!(manager.load().unwrap().loaded, records);
        let load = begun.elapsed();
        let memory = (resident() - memory) / f64::from(u32::try_from(records).unwrap());
        manager.start_hot_reload(Duration::from_secs(1)).unwrap();
        let wait = |time| {
            let _ = SystemClock.after(time).recv();
        };
        wait(Duration::from_secs(3));
        let (processor, begun) = (processor_time(), Instant::now());
        wait(IDLE);
        let idle = (processor_time() - processor) / begun.elapsed().as_secs_f64();
        Self { load, memory, idle }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let strings = strings(&serde_json::to_value(record(0)).unwrap());
        write!(
            formatter,
            r#""load_s":{:.2},"bytes_each":{:.0},"strings_each":{strings},"idle_cores":{:.5}"#,
            self.load.as_secs_f64(),
            self.memory,
            self.idle
        )
    }
}

/// As programs have them that hold logins of many people.
fn record(n: usize) -> Auth {
    let token = |part: &str, length: usize| format!("{part}-{n:06}-").repeat(length);
    let tokens = OAuthTokens::new(token("access", 60))
        .with_refresh_token(token("refresh", 4))
        .with_expires_at(SystemClock.now() + Duration::from_secs(30 * 24 * 3600));
    Auth::oauth("p", tokens).with_id(id(n))
}

fn id(n: usize) -> String {
    format!("account-{n:06}")
}

/// The bytes of all strings in it.
fn strings(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(strings).sum(),
        Value::Object(members) => members.values().map(strings).sum(),
        _ => 0,
    }
}

fn read_and_parse(dir: &Path) -> usize {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let parsed = files.filter(|path| path.is_file()).map(|path| {
        let value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        usize::from(value.is_object())
    });
    parsed.sum()
}

fn least(work: impl Fn() -> usize) -> Duration {
    let timed = || {
        let begun = Instant::now();
        assert!(work() > 0);
        begun.elapsed()
    };
    (0..3).map(|_| timed()).min().unwrap()
}

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

/// Seconds that this process has used the processor: nanoseconds in the scheduler's account.
fn processor_time() -> f64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let of_each = threads.map(|thread| {
        let account = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        account.split(' ').next().unwrap().parse::<f64>().unwrap()
    });
    of_each.sum::<f64>() / 1e9
}

const IDLE: Duration = Duration::from_secs(20);
