//! Beside a running program: over files, SQLite, PostgreSQL and Redis, nothing is lost on either side.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use credpool::provider::OpenAi;
use credpool::testing::TokenServer;
use credpool::{Auth, Error, Manager, Outcome, Store};

use crate::store_support;
use crate::world::{LONG, command, manager, run_with};

/// Asks until it is so, for as long as a slow machine may take.
pub(crate) fn within(is_so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > LONG {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// What a program does all the time: it learns of failures, refreshes its login, relabels a key; while the command changes other things.
fn nothing_is_lost(address: &str, store: &Arc<dyn Store>) {
    let tokens = TokenServer::start();
    let program = manager(Arc::clone(store));
    program.register_executor(OpenAi::named("my-llm"));
    for number in 0..8 {
        program
            .register(Auth::api_key("openai", "sk-canary").with_id(format!("key-{number}")))
            .unwrap();
    }
    program.register(tokens.login("my-llm", "ada")).unwrap();
    let run = |arguments: &[&str]| run_with(command(address, arguments), "").expect(0);
    thread::scope(|scope| {
        scope.spawn(|| work(&program));
        run(&["disable", "key-0"]);
        run(&["cool-down", "key-1", "--for", "1h", "--model", "gpt-5"]);
        run_with(
            command(address, &["add", "openai", "--id", "new"]),
            "sk-canary-new",
        )
        .expect(0);
        run_with(
            command(address, &["add", "openai", "--id", "key-2", "--replace"]),
            "sk-canary-2",
        )
        .expect(0);
        run(&["refresh", "ada"]);
        run(&["remove", "key-3", "--yes"]);
        run(&["list"]);
        run(&["refresh", "ada"]);
    });
    // The program sees what the command did,
    let is_there = || {
        let get = |id: &str| program.get_by_id(id);
        get("key-0").unwrap().disabled
            && cools(&program, "key-1", "gpt-5")
            && get("new").is_some()
            && get("key-2").unwrap().attributes.get("api_key") == Some("sk-canary-2")
            && get("key-3").is_none()
    };
    assert!(within(is_there), "{address}: {:#?}", program.list());
    // and the command what the program did.
    let is_told = || {
        let list = run(&["list", "--json"]).json();
        let credentials = list["credentials"].as_array().unwrap();
        let of = |id: &str| {
            credentials
                .iter()
                .find(|credential| credential["id"] == id)
                .unwrap()
        };
        of("key-4")["fault"] == "rate_limited"
            && of("key-5")["fault"] == "unauthorized"
            && of("key-6")["label"] == "19"
    };
    assert!(within(is_told), "{address}");
    // One refresh token after the other, none twice: the login lives.
    assert_eq!(tokens.replays(), 0, "{address}");
    program.refresh_now("ada").unwrap();
    // A reset reaches the program, and nothing brings the cooldown back.
    run(&["reset", "key-5"]);
    assert!(within(|| !cools(&program, "key-5", "gpt-5")), "{address}");
    assert!(
        program.refresh_health().is_good() && program.store_health().is_good(),
        "{address}"
    );
    program.shutdown(LONG).unwrap();
    assert!(!run(&["list", "--json"]).out.contains("canary"));
    let stored = |id: &str| store.load(id).unwrap();
    assert!(stored("key-0").unwrap().disabled && stored("key-3").is_none());
    assert_eq!(stored("key-6").unwrap().label, "19");
    // Every token that was received is in the record, the last one on top.
    let refreshes = tokens.refreshes() as u64;
    assert!(
        refreshes > 2 && stored("ada").unwrap().generation() == 1 + refreshes,
        "{address}"
    );
}

fn work(program: &Manager) {
    let limited = Error::upstream(429, "").with_retry_after(Duration::from_secs(1800));
    program.mark_result(&Outcome::failure("key-4", "openai", "gpt-5", limited));
    program.mark_result(&Outcome::failure(
        "key-5",
        "openai",
        "gpt-5",
        Error::upstream(401, ""),
    ));
    for round in 0..20 {
        let mut copy = (*program.get_by_id("key-6").unwrap()).clone();
        copy.label = round.to_string();
        program.update(copy).unwrap();
        if round % 10 == 0 {
            program.refresh_now("ada").unwrap();
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn cools(program: &Manager, id: &str, model: &str) -> bool {
    let reports = program.explain("openai", model);
    let report = reports.iter().find(|report| &*report.auth_id == id);
    report.is_some_and(|report| report.availability == credpool::Availability::Cooling)
}

#[test]
fn over_files() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().to_str().unwrap();
    nothing_is_lost(
        directory,
        &store_support::open(&format!("file|{directory}")),
    );
}

#[test]
fn over_sqlite() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("credentials.db");
    let path = path.to_str().unwrap();
    nothing_is_lost(
        &format!("sqlite:{path}"),
        &store_support::open(&format!("sqlite|{path}")),
    );
}

#[cfg(feature = "postgres")]
#[test]
fn over_postgres() {
    let Some((_server, address)) = store_support::postgres_store() else {
        return;
    };
    let url = address.strip_prefix("postgres|").unwrap();
    nothing_is_lost(url, &store_support::open(&address));
}

#[test]
fn over_redis() {
    let Some((_server, address)) = store_support::redis_store() else {
        return;
    };
    let url = address.strip_prefix("redis|credpool|").unwrap();
    nothing_is_lost(url, &store_support::open(&address));
}
