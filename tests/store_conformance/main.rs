//! The stores of this crate keep what every store promises. A backend whose server is not installed is left out, unless
//! `CREDPOOL_REQUIRE_SERVERS` is set.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod backends;
#[path = "../store_support/mod.rs"]
mod store_support;

use backends::{Local, Memory, Mounted, Wrapped};
use credpool::testing::conformance::{Ability, Report, act_as_other_process, check_store};

/// The promises that were left out, of a store that keeps the others.
fn skipped(report: &Report) -> Vec<&str> {
    print!("{report}");
    let skipped = report.skipped.iter();
    skipped.map(|(promise, _)| promise.as_str()).collect()
}

/// What a store in one process's memory cannot show.
const OF_PROCESSES: [&str; 6] = [
    "a format changes no revision",
    "one process wins each generation",
    "a killed writer leaves the last record whole",
    "a killed holder has no lock",
    "own writes are no news",
    "what a killed process has written is there",
];

#[test]
fn memory() {
    assert_eq!(skipped(&check_store(Memory::default)), OF_PROCESSES);
}

#[test]
fn sealed_memory() {
    let report = check_store(|| Wrapped(Memory::default()));
    assert_eq!(skipped(&report), OF_PROCESSES);
}

#[test]
fn beside_mounted_keys() {
    assert_eq!(skipped(&check_store(Mounted::new)), OF_PROCESSES);
}

fn files() -> Local {
    Local::new("file").lacking(Ability::Losses)
}

#[test]
fn file() {
    let report = check_store(files);
    assert_eq!(skipped(&report), ["a record that was never there is lost"]);
}

#[test]
fn sealed_file() {
    let report = check_store(|| Wrapped(files()));
    assert_eq!(skipped(&report), ["a record that was never there is lost"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite() {
    let report = check_store(|| Local::new("sqlite"));
    assert_eq!(skipped(&report), [""; 0]);
}

#[cfg(feature = "sqlite")]
#[test]
fn sealed_sqlite() {
    let report = check_store(|| Wrapped(Local::new("sqlite")));
    assert_eq!(skipped(&report), [""; 0]);
}

#[cfg(feature = "postgres")]
#[test]
fn postgres() {
    if store_support::postgres().is_some() {
        let report = check_store(backends::postgres);
        assert_eq!(skipped(&report), [""; 0]);
    }
}

#[cfg(feature = "postgres")]
#[test]
fn sealed_postgres() {
    if store_support::postgres().is_some() {
        let report = check_store(|| Wrapped(backends::postgres()));
        assert_eq!(skipped(&report), [""; 0]);
    }
}

#[cfg(feature = "redis")]
#[test]
fn redis() {
    if store_support::redis().is_some() {
        let report = check_store(backends::redis);
        assert_eq!(skipped(&report), [""; 0]);
    }
}

#[cfg(feature = "redis")]
#[test]
fn sealed_redis() {
    if store_support::redis().is_some() {
        let report = check_store(|| Wrapped(backends::redis()));
        assert_eq!(skipped(&report), [""; 0]);
    }
}

/// The other process of a suite. Otherwise, an ordinary run of the tests, it has nothing to do.
#[test]
fn other_process() {
    act_as_other_process(|| store_support::open(&std::env::var(backends::ADDRESS).unwrap()));
}
