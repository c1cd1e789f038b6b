//! A directory with many files is loaded about as fast as they can be read at all.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use credpool::{Auth, FileStore, OAuthTokens, Store};
use serde_json::Value;

const RECORDS: usize = 10_000;
/// At most so many: whatever else the machine does slows some of them.
const ROUNDS: usize = 12;

/// The plainest loader there is: every file below `dir`, read and parsed.
fn read_and_parse(dir: &Path) -> usize {
    let mut read = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            assert!(value.is_object());
            read += 1;
        }
    }
    read
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[test]
fn ten_thousand_files_load_within_one_and_a_half_times_a_plain_read() {
    let dir = tempfile::tempdir().unwrap();
    // As the store writes them, but without waiting for the disk ten thousand times.
    let template = tempfile::tempdir().unwrap();
    FileStore::open(template.path())
        .unwrap()
        .save(&record("template"))
        .unwrap();
    for ending in ["credential", "state"] {
        let text = fs::read_to_string(template.path().join(format!("template.{ending}"))).unwrap();
        for number in 0..RECORDS {
            let id = format!("account-{number}");
            let path = dir.path().join(format!("{id}.{ending}"));
            fs::write(&path, text.replace("template", &id)).unwrap();
            private(&path);
        }
    }
    let mut plain = Duration::MAX;
    let mut loaded = Duration::MAX;
    let mut polled = Duration::MAX;
    // Without optimisation, it says little.
    let limit = if cfg!(debug_assertions) { 6.0 } else { 1.5 };
    for _ in 0..ROUNDS {
        plain = plain.min(timed(|| {
            let read = read_and_parse(dir.path());
            assert_eq!(read, 2 * RECORDS);
        }));
        let store = FileStore::open(dir.path()).unwrap();
        loaded = loaded.min(timed(|| {
            let listing = store.list().unwrap();
            assert_eq!((listing.records.len(), listing.skipped.len()), (RECORDS, 0));
        }));
        let cursor = store.changes(None).unwrap().unwrap().cursor;
        polled = polled.min(timed(|| {
            let changes = store.changes(Some(&cursor)).unwrap().unwrap();
            assert!(changes.written.is_empty());
        }));
        if loaded <= plain.mul_f64(limit) {
            break;
        }
    }
    println!("plain {plain:?}, load {loaded:?}, a look for changes {polled:?}");
    assert!(
        loaded <= plain.mul_f64(limit),
        "plain {plain:?}, load {loaded:?}"
    );
}

fn record(id: &str) -> Auth {
    let tokens =
        OAuthTokens::new("a".repeat(1000)).with_refresh_token(format!("{id} {}", "r".repeat(500)));
    Auth::oauth("openai", tokens)
        .with_id(id)
        .with_attribute("token_url", "https://login.example.org/token")
        .with_attribute("client_id", "app")
}

/// As the store leaves its files.
fn private(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = path;
}
