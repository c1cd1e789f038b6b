//! A child that is forked uses the manager beside its parent: calls, streams, submitted calls and refreshes of both at the same moment, over
//! each store. No answer goes to the other one, nothing fails, nothing hangs, and no two refresh one login at once. A child that was forked
//! while a thread of its parent's manager was in the middle of something is told so, which is rare.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "net_support/mod.rs"]
mod net;
mod store_support;

use std::fmt::Debug;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use credpool::provider::OpenAi;
use credpool::testing::TokenServer;
use credpool::{Auth, Error, ErrorCode, Manager, Options, Request, Store};
use fork::{Fork, fork, waitpid};
use net::{Server, answer, chunk, header, open_stream, read_head, wait_for_end};
use store_support::open;

/// Where the forking process finds its store, the upstream and a place for complaints.
const STORE: &str = "CREDPOOL_FORK_STORE";
const UPSTREAM: &str = "CREDPOOL_FORK_UPSTREAM";
const COMPLAINTS: &str = "CREDPOOL_FORK_COMPLAINTS";
/// How often it forks.
const ROUNDS: &str = "CREDPOOL_FORK_ROUNDS";
const USUAL_ROUNDS: usize = 6;

/// What anything may take.
const LONGEST: Duration = Duration::from_secs(2);
/// The same over a store, in an ordinary run: other tests write to the disk, too.
const LONGEST_BESIDE_OTHERS: Duration = Duration::from_secs(20);

/// Says in its answers what it was asked; of `hold` it never comes to the end.
fn upstream() -> Server {
    Server::start(|mut stream, _| {
        loop {
            let head = read_head(&mut stream)?;
            let length = header(&head, "content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
            reply(&mut stream, &serde_json::from_slice(&body).unwrap())?;
        }
    })
}

fn reply(stream: &mut TcpStream, asked: &serde_json::Value) -> io::Result<()> {
    let said = &asked["messages"][0]["content"];
    let holds = said == "hold";
    if holds && asked["stream"] != true {
        return wait_for_end(stream);
    }
    if asked["stream"] != true {
        let message = serde_json::json!({"role": "assistant", "content": said});
        let choice = serde_json::json!({"index": 0, "message": message, "finish_reason": "stop"});
        let body = serde_json::json!({"choices": [choice]});
        return answer(stream, "200 OK", "", &body.to_string());
    }
    open_stream(stream)?;
    let delta = serde_json::json!({"index": 0, "delta": {"content": said}});
    if holds {
        let event = serde_json::json!({"choices": [delta]});
        chunk(stream, &format!("data: {event}\n\n"))?;
        return wait_for_end(stream);
    }
    let end = serde_json::json!({"index": 0, "delta": {}, "finish_reason": "stop"});
    for choice in [delta, end] {
        let event = serde_json::json!({"choices": [choice]});
        chunk(stream, &format!("data: {event}\n\n"))?;
    }
    chunk(stream, "data: [DONE]\n\n")?;
    stream.write_all(b"0\r\n\r\n")
}

/// Forks as often as it is told to. Without a store, it is an ordinary run of the tests and has nothing to do.
#[test]
fn forking() {
    let Ok(address) = std::env::var(STORE) else {
        return;
    };
    let upstream = std::env::var(UPSTREAM).unwrap();
    let rounds: usize = std::env::var(ROUNDS).unwrap().parse().unwrap();
    let manager = Manager::builder()
        .store(open(&address))
        .min_refresh_gap(Duration::from_millis(1))
        .build()
        .unwrap();
    manager.register_executor(OpenAi::named("login"));
    manager.register_executor(OpenAi::named("p"));
    manager.load().unwrap();
    for n in 0..2 {
        let key = Auth::api_key("p", "k").with_id(format!("key-{n}"));
        let key = key.with_attribute("base_url", &upstream).runtime_only();
        manager.register(key).unwrap();
    }
    manager.start_auto_refresh(Duration::from_secs(60)).unwrap();
    manager
        .start_hot_reload(Duration::from_millis(100))
        .unwrap();
    let mut refused = 0;
    for round in 0..rounds {
        // Some children come after use, and some from a process that is idle.
        if round % 2 == 0 {
            work(&manager, &format!("parent before {round}"));
        }
        match fork().unwrap() {
            Fork::Child => {
                if is_refused(&manager) {
                    std::process::exit(REFUSED);
                }
                let worked = catch_unwind(AssertUnwindSafe(|| {
                    work(&manager, &format!("child {round}"));
                    drop(manager);
                }));
                std::process::exit(i32::from(worked.is_err()));
            }
            Fork::Parent(child) => {
                work(&manager, &format!("parent {round}"));
                match exit_code(child) {
                    0 => {}
                    code => {
                        assert_eq!(code, REFUSED, "child {round}");
                        refused += 1;
                    }
                }
            }
        }
    }
    println!("{address}: {refused} of {rounds} children were refused");
    assert!(refused * 2 <= rounds, "{refused} children were refused");
}

/// A thread of the parent was in the middle of something.
const REFUSED: i32 = 3;

fn is_refused(manager: &Manager) -> bool {
    let refused = manager.load().err();
    refused.is_some_and(|error| *error.code() == ErrorCode::Forked)
}

fn exit_code(child: i32) -> i32 {
    let status = waitpid(child).unwrap();
    assert_eq!(status & 0x7f, 0, "no signal has ended it");
    status >> 8
}

/// Whatever a program does with a manager, and that each answer is its own.
fn work(manager: &Manager, who: &str) {
    let done = catch_unwind(AssertUnwindSafe(|| {
        for n in 0..3 {
            let said = format!("{who} plain {n}");
            let response = timely(|| manager.execute(["p"], &request(&said), &Options::new()));
            assert_eq!(response.reply_text.as_deref(), Some(&*said));
        }
        let said = format!("{who} stream");
        let text = timely(|| {
            let stream = manager.execute_stream(["p"], &request(&said), &Options::new())?;
            let chunks = stream.map(|chunk| Ok::<_, Error>(chunk?.text.unwrap_or_default()));
            chunks.collect::<Result<String, _>>()
        });
        assert_eq!(text, said);
        let said = format!("{who} submitted");
        let call = manager.submit(["p"], request(&said), Options::new());
        let response = timely(|| call.unwrap().wait());
        assert_eq!(response.reply_text.as_deref(), Some(&*said));
        if manager.get_by_id("login").is_some() {
            timely(|| manager.refresh_now("login"));
        }
    }));
    if let Err(panic) = done {
        let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        let file = Path::new(&std::env::var(COMPLAINTS).unwrap()).join(who);
        fs::write(file, format!("{who}: {what}")).unwrap();
        std::panic::resume_unwind(panic);
    }
}

fn request(said: &str) -> Request {
    let message = serde_json::json!({"role": "user", "content": said});
    let body = serde_json::json!({"model": "m", "messages": [message]});
    Request::new("m", body.to_string())
}

fn timely<T, E: Debug>(what: impl FnOnce() -> Result<T, E>) -> T {
    let begun = Instant::now();
    let done = what().unwrap();
    let took = begun.elapsed();
    let is_usual = std::env::var(ROUNDS).is_ok_and(|rounds| rounds == USUAL_ROUNDS.to_string());
    let longest = if is_usual {
        LONGEST_BESIDE_OTHERS
    } else {
        LONGEST
    };
    assert!(took < longest, "it took {took:?}");
    done
}

/// Has a process fork that uses the store at `address`.
fn forks_over(address: &str) {
    let (upstream, tokens) = (upstream(), TokenServer::start());
    let complaints = tempfile::tempdir().unwrap();
    let has_store = !address.starts_with("memory");
    if has_store {
        open(address).save(&tokens.login("login", "login")).unwrap();
    }
    let rounds = std::env::var(ROUNDS).map_or(USUAL_ROUNDS, |rounds| rounds.parse().unwrap());
    let errors = fs::File::create(complaints.path().join("errors")).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "forking", "--nocapture"])
        .env(STORE, address)
        .env(UPSTREAM, upstream.url(""))
        .env(COMPLAINTS, complaints.path())
        .env(ROUNDS, rounds.to_string())
        .stderr(errors)
        .status()
        .unwrap();
    let told = fs::read_dir(complaints.path()).unwrap();
    let told: Vec<_> = told
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(status.success(), "{address}: {told:#?}");
    if has_store {
        assert_eq!((tokens.replays(), tokens.most_at_once()), (0, 1));
        assert!(tokens.refreshes() > rounds, "both refresh");
    }
}

#[test]
fn over_files() {
    let home = tempfile::tempdir().unwrap();
    forks_over(&format!("file|{}", home.path().display()));
}

#[test]
fn over_sealed_files() {
    let home = tempfile::tempdir().unwrap();
    forks_over(&format!("sealed|file|{}", home.path().display()));
}

#[test]
fn over_memory() {
    forks_over("memory|");
}

#[cfg(feature = "sqlite")]
#[test]
fn over_sqlite() {
    let home = tempfile::tempdir().unwrap();
    forks_over(&format!("sqlite|{}/credentials.db", home.path().display()));
}

#[cfg(feature = "postgres")]
#[test]
fn over_postgres() {
    let Some((_server, address)) = store_support::postgres_store() else {
        return;
    };
    forks_over(&address);
}

#[cfg(feature = "redis")]
#[test]
fn over_redis() {
    let Some((_server, address)) = store_support::redis_store() else {
        return;
    };
    forks_over(&address);
}

/// In a process for this test alone, a manager of one key. `None` where that process was only started, and has passed.
fn manager_of_a_process(test: &str) -> Option<Manager> {
    let Ok(upstream) = std::env::var(UPSTREAM) else {
        let upstream = upstream();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(UPSTREAM, upstream.url(""))
            .status();
        assert!(status.unwrap().success());
        return None;
    };
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(OpenAi::named("p"));
    let key = Auth::api_key("p", "k").with_attribute("base_url", upstream);
    manager.register(key).unwrap();
    Some(manager)
}

/// What the parent has begun stays with it.
#[test]
fn what_a_parent_has_begun_is_refused_in_its_child() {
    let Some(manager) = manager_of_a_process("what_a_parent_has_begun_is_refused_in_its_child")
    else {
        return;
    };
    let stream = manager.execute_stream(["p"], &request("hold"), &Options::new());
    let stream = stream.unwrap();
    let call = manager.submit(["p"], request("hold"), Options::new());
    let call = call.unwrap();
    match fork().unwrap() {
        Fork::Child => {
            let refused = catch_unwind(AssertUnwindSafe(|| {
                let error = stream.last().unwrap().unwrap_err();
                assert_eq!(*error.code(), ErrorCode::Forked);
                let error = call.wait().unwrap_err();
                assert_eq!(*error.code(), ErrorCode::Forked);
                work(&manager, "child");
            }));
            std::process::exit(i32::from(refused.is_err()));
        }
        Fork::Parent(child) => {
            work(&manager, "parent");
            assert_eq!(exit_code(child), 0);
            stream.cancel();
            call.cancel();
            let error = call.wait().unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Cancelled);
        }
    }
}

/// However much its parent is at.
#[test]
fn a_child_that_does_not_use_its_parents_manager_ends_at_once() {
    let test = "a_child_that_does_not_use_its_parents_manager_ends_at_once";
    let Some(manager) = manager_of_a_process(test) else {
        return;
    };
    manager.start_auto_refresh(Duration::from_secs(60)).unwrap();
    let call = manager.submit(["p"], request("hold"), Options::new());
    let call = call.unwrap();
    match fork().unwrap() {
        Fork::Child => {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                timely(|| {
                    drop(call);
                    drop(manager);
                    Ok::<_, Error>(())
                });
            }));
            std::process::exit(i32::from(ended.is_err()));
        }
        Fork::Parent(child) => {
            assert_eq!(exit_code(child), 0);
            work(&manager, "parent");
            call.cancel();
        }
    }
}
