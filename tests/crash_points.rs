//! A process that is killed, or refused by the system, at any system call of a save, a removal or a refresh: what it leaves behind is
//! whole, and nothing that it had acknowledged is lost.
//!
//! Needs `strace`, which injects the signal or the error. Where it is not installed or may not trace, the checks are left out, unless
//! `CREDPOOL_REQUIRE_SERVERS` is set.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use credpool::testing::TokenServer;
use credpool::{Auth, Manager, Revision, Saved, Status, Store, provider::OpenAi};
use store_support::open;

const WORK: &str = "CREDPOOL_CRASH_WORK";
const ADDRESS: &str = "CREDPOOL_CRASH_STORE";

/// The kinds of stores, as their addresses begin.
const PLAIN: &str = "file";
const SEALED: &str = "sealed|file";

const COOLDOWNS: usize = 100;

/// What a save, a removal or a refresh asks of the system. Those of one name are one.
const CALLS: [&str; 10] = [
    "openat",
    "flock",
    "write",
    "fsync",
    "fdatasync",
    "/^rename",
    "/^unlink",
    "/^(f|l)?chmod",
    "connect",
    "/^recv|^send|^read$",
];

fn record(generation: u64) -> Auth {
    let tokens = credpool::OAuthTokens::new(format!("access-{generation}"))
        .with_refresh_token(format!("refresh-{generation}"));
    let auth = Auth::oauth("p", tokens).with_id("a");
    let mut json = serde_json::to_value(auth).unwrap();
    json["generation"] = generation.into();
    serde_json::from_value(json).unwrap()
}

/// What is done to be killed in it: a line for each step that has returned.
#[test]
fn child() {
    let (Ok(work), Ok(address)) = (std::env::var(WORK), std::env::var(ADDRESS)) else {
        return;
    };
    let store = open(&address);
    println!("\nopened");
    match &*work {
        "save" => {
            match store.save_if(&record(2), Some(&Revision::of(&record(1)))) {
                Ok(Saved::At(_)) => println!("saved"),
                Ok(Saved::Conflict(_)) => println!("refused"),
                Err(error) => println!("failed {error}"),
            }
            let mut state = record(2);
            state.status_message = "noted".into();
            if store.save_state(&state).is_ok() {
                println!("noted");
            }
            if store.delete("b").is_ok() {
                println!("removed");
            }
        }
        "cool" => cool(&*store),
        "refresh" => {
            let manager = manager(store);
            manager.load().unwrap();
            manager.refresh_now("a").unwrap();
            println!("refreshed");
        }
        other => panic!("what is {other}?"),
    }
}

/// A record that is saved, and as many cooldowns as `COOLDOWNS`, each written.
fn cool(store: &dyn Store) {
    store.save(&record(1)).unwrap();
    println!("\nsaved");
    for round in 0..COOLDOWNS {
        let mut state = record(1);
        state.status_message = format!("round {round}");
        store.save_state(&state).unwrap();
    }
    println!("noted");
}

fn manager(store: Arc<dyn Store>) -> Manager {
    let manager = Manager::builder()
        .store(store)
        .min_refresh_gap(Duration::from_millis(1))
        .build()
        .unwrap();
    manager.register_executor(OpenAi::named("p"));
    manager
}

/// The child, at work in a store.
fn at_work(mut command: Command, work: &str, address: &str) -> Output {
    command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(WORK, work)
        .env(ADDRESS, address)
        .output()
        .unwrap()
}

fn traced(call: &str, injected: &str, trace: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o"])
        .arg(trace)
        .arg(format!("--trace={call}"))
        .arg(format!("--inject={call}:{injected}"));
    command
}

fn said(output: &Output, line: &str) -> bool {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().any(|said| said.starts_with(line))
}

/// Whether processes can be traced here.
fn can_trace() -> bool {
    let probe = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "--trace=none", "true"])
        .output();
    let works = probe.is_ok_and(|output| output.status.success());
    if !works {
        assert!(
            std::env::var_os("CREDPOOL_REQUIRE_SERVERS").is_none(),
            "strace is not installed, or may not trace"
        );
        eprintln!("strace is not installed, or may not trace: what needs it is left out");
    }
    works
}

fn address(kind: &str, directory: &tempfile::TempDir) -> String {
    format!("{kind}|{}", directory.path().join("store").display())
}

/// A directory with a record in its first generation, and another one.
fn prepared(kind: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let address = address(kind, &directory);
    let store = open(&address);
    store.save(&record(1)).unwrap();
    store.save(&Auth::api_key("p", "k").with_id("b")).unwrap();
    (directory, address)
}

fn token(auth: &Auth) -> String {
    let metadata = auth.metadata.as_ref().unwrap();
    metadata.text("refresh_token").unwrap().to_owned()
}

/// What a child has left in a store, whatever has happened to it.
fn check(address: &str, output: &Output, what: &str) {
    if let Some((_, directory)) = address.split_once(&format!("{SEALED}|")) {
        assert_shows_nothing(Path::new(directory), what);
    }
    let store = open(address);
    let listing = store.list().unwrap();
    assert!(listing.skipped.is_empty(), "{what}: {:?}", listing.skipped);
    let found = |id: &str| listing.records.iter().find(|auth| auth.id == id);
    let auth = found("a").unwrap_or_else(|| panic!("{what}: the record is gone"));
    // Whole: of one generation.
    assert!([1, 2].contains(&auth.generation()), "{what}: {auth:?}");
    assert_eq!(
        token(auth),
        format!("refresh-{}", auth.generation()),
        "{what}"
    );
    assert_eq!(auth.status, Status::Active, "{what}");
    if said(output, "saved") {
        assert_eq!(
            auth.generation(),
            2,
            "{what}: an acknowledged token is lost"
        );
    }
    if said(output, "noted") {
        assert_eq!(auth.status_message, "noted", "{what}");
    }
    if said(output, "removed") {
        assert!(found("b").is_none(), "{what}: it came back");
    }
    // Nobody waits for who is gone, and the next write finds its place.
    let lock = store.lock("a", Duration::ZERO).unwrap();
    assert!(lock.is_some(), "{what}: the lock is not free");
    let next = record(auth.generation() + 1);
    let saved = store.save_if(&next, Some(&Revision::of(auth))).unwrap();
    assert!(matches!(saved, Saved::At(_)), "{what}: {saved:?}");
}

/// A file that was staged, or is only half written, has no token either.
fn assert_shows_nothing(directory: &Path, what: &str) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_shows_nothing(&path, what);
            continue;
        }
        let text = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&text);
        for token in ["access-", "refresh-"] {
            assert!(
                !text.contains(token),
                "{what}: {} has {token}",
                path.display()
            );
        }
    }
}

#[test]
fn a_save_that_is_killed_leaves_the_old_record_or_the_new_one() {
    kill_saves(PLAIN);
}

#[test]
fn a_sealed_save_that_is_killed_leaves_the_old_record_or_the_new_one_and_no_token_in_the_open() {
    kill_saves(SEALED);
}

fn kill_saves(kind: &str) {
    if !can_trace() {
        return;
    }
    let mut killed = 0;
    for call in CALLS {
        for nth in 1.. {
            let (directory, place) = prepared(kind);
            let trace = directory.path().join("trace");
            let injected = format!("signal=SIGKILL:when={nth}");
            let output = at_work(traced(call, &injected, &trace), "save", &place);
            let what = format!("killed at {call} {nth}");
            check(&place, &output, &what);
            if output.status.success() {
                assert!(said(&output, "removed"), "{what}: {output:?}");
                break;
            }
            killed += 1;
        }
    }
    println!("{killed} processes killed in a save, a note or a removal");
    assert!(killed > 30, "{killed}");
}

#[test]
fn a_save_that_the_system_refuses_leaves_the_old_record_and_says_so() {
    if !can_trace() {
        return;
    }
    let (mut refused, mut failed) = (0, 0);
    for (call, error) in [
        ("write", "ENOSPC"),
        ("write", "EIO"),
        ("fsync", "EIO"),
        ("fdatasync", "EIO"),
        ("openat", "EACCES"),
        ("openat", "ENOSPC"),
        ("/^rename", "EACCES"),
        ("/^rename", "EIO"),
    ] {
        for nth in 1.. {
            let (directory, place) = prepared(PLAIN);
            let trace = directory.path().join("trace");
            let injected = format!("error={error}:when={nth}");
            let output = at_work(traced(call, &injected, &trace), "save", &place);
            let what = format!("{error} at {call} {nth}");
            check(&place, &output, &what);
            if said(&output, "failed") {
                failed += 1;
            }
            let trace = std::fs::read_to_string(&trace).unwrap();
            if !trace.contains("(INJECTED)") {
                assert!(said(&output, "saved"), "{what}: {output:?}");
                break;
            }
            refused += 1;
        }
    }
    println!("{refused} calls refused, {failed} saves failed");
    assert!(failed >= 8, "{failed}");
}

#[test]
fn a_cooldown_does_not_wait_for_the_disk() {
    if !can_trace() {
        return;
    }
    let kinds = [PLAIN, SEALED, "sqlite"];
    let kinds = &kinds[..if cfg!(feature = "sqlite") { 3 } else { 2 }];
    for kind in kinds {
        let directory = tempfile::tempdir().unwrap();
        let trace = directory.path().join("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "--trace=fsync,fdatasync,sync_file_range", "-o"]);
        command.arg(&trace);
        let output = at_work(command, "cool", &address(kind, &directory));
        assert!(said(&output, "noted"), "{output:?}");
        let trace = std::fs::read_to_string(&trace).unwrap();
        let synced = trace.lines().filter(|line| line.contains("sync")).count();
        // The record itself does wait for it, and the database when it is made.
        println!("{kind}: {COOLDOWNS} cooldowns, {synced} times synchronised");
        assert!((1..COOLDOWNS / 2).contains(&synced), "{kind}: {synced}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_leaves_the_old_record_and_is_said() {
    let (_directory, place) = prepared(PLAIN);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
    let output = at_work(shell, "save", &place);
    assert!(said(&output, "failed"), "{output:?}");
    assert!(!said(&output, "saved") && !said(&output, "noted"));
    check(&place, &output, "a limit on the size of files");
}

#[test]
fn a_refresh_that_is_killed_costs_no_login() {
    if !can_trace() {
        return;
    }
    let server = TokenServer::start();
    server.set_leeway(Duration::from_secs(30));
    let (mut killed, mut runs) = (0, 0);
    for call in CALLS {
        for nth in 1.. {
            let directory = tempfile::tempdir().unwrap();
            let place = address(PLAIN, &directory);
            let store = open(&place);
            // A login for each run: they are told apart by it.
            runs += 1;
            let mut login = server.login("p", &format!("login-{runs}"));
            login.id = "a".into();
            store.save(&login).unwrap();
            drop(store);
            let trace = directory.path().join("trace");
            let injected = format!("signal=SIGKILL:when={nth}");
            let output = at_work(traced(call, &injected, &trace), "refresh", &place);
            let what = format!("killed at {call} {nth}");
            let store = open(&place);
            let listing = store.list().unwrap();
            assert!(listing.skipped.is_empty(), "{what}: {:?}", listing.skipped);
            let generation = listing.records[0].generation();
            if said(&output, "refreshed") {
                assert!(generation > 0, "{what}: an acknowledged token is lost");
            }
            assert!(store.lock("a", Duration::ZERO).unwrap().is_some(), "{what}");
            // The next process has the login.
            let manager = manager(store);
            manager.load().unwrap();
            let refreshed = manager.refresh_now("a");
            let refreshed = refreshed.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(refreshed.generation() > generation, "{what}");
            assert!(server.is_alive(&format!("login-{runs}")), "{what}");
            if output.status.success() {
                break;
            }
            killed += 1;
        }
    }
    println!(
        "{killed} processes killed in a refresh, {} replays, all forgiven",
        server.replays()
    );
    assert!(killed > 30, "{killed}");
}
