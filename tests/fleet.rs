//! Processes that share a server: what one of them learns, the others keep to; what one of them refreshes, the others use.
#![cfg(any(feature = "postgres", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use credpool::testing::{ScriptedExecutor, TokenServer};
use credpool::{
    Auth, Error, FailurePolicy, Manager, Options, Outcome, Request, Response, provider::OpenAi,
};
use store_support::open;

const ADDRESS: &str = "CREDPOOL_FLEET_STORE";
const PROCESSES: usize = 4;
const THREADS: usize = 8;
const INTERVAL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of the fleet: does what it is told, a line each. Without a store, it is an ordinary run of the tests and has nothing
/// to do.
#[test]
fn child() {
    let Ok(address) = std::env::var(ADDRESS) else {
        return;
    };
    let policy = FailurePolicy::default().without_waiting().with_jitter(0.0);
    let manager = Manager::builder()
        .store(open(&address))
        .policy(policy)
        .min_refresh_gap(Duration::from_millis(1))
        .build()
        .unwrap();
    let executor = ScriptedExecutor::new("p");
    executor.on_execute(|_| Ok(Response::default()));
    manager.register_executor(executor);
    manager.register_executor(OpenAi::named("login"));
    manager.load().unwrap();
    manager.start_hot_reload(INTERVAL).unwrap();
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            // Calls, on all threads, until the credential no longer serves; by then it must have served.
            ["until-refused", id] => {
                let served = AtomicBool::new(false);
                thread::scope(|scope| {
                    for _ in 0..THREADS {
                        scope.spawn(|| {
                            while call(&manager, id).is_ok() {
                                served.store(true, Ordering::Relaxed);
                                // As calls do that take their time.
                                thread::sleep(Duration::from_millis(1));
                            }
                        });
                    }
                });
                println!("refused {}", served.into_inner());
            }
            ["fail", id] => {
                let error = Error::upstream(429, "slow down").with_retry_after(PATIENCE * 2);
                manager.mark_result(&Outcome::failure(id, "p", "m", error));
                println!("failed");
            }
            ["refresh", id] => {
                let before = manager.get_by_id(id).unwrap().generation();
                let refreshed = manager.refresh_now(id).unwrap();
                println!("refreshed {}", refreshed.generation() > before);
            }
            ["token-after", id, generation] => {
                let generation: u64 = generation.parse().unwrap();
                let start = Instant::now();
                let token = loop {
                    let auth = manager.get_by_id(id).unwrap();
                    if auth.generation() > generation {
                        break auth
                            .metadata
                            .as_ref()
                            .unwrap()
                            .get("access_token")
                            .unwrap()
                            .to_string();
                    }
                    assert!(start.elapsed() < PATIENCE);
                    thread::sleep(Duration::from_millis(1));
                };
                println!("token {token}");
            }
            _ => panic!("what is {line}?"),
        }
    }
}

fn call(manager: &Manager, id: &str) -> Result<Response, Error> {
    let options = Options::new().with_pinned(id);
    manager.execute(["p"], &Request::new("m", "{}"), &options)
}

struct Member {
    process: Child,
    to: ChildStdin,
    lines: Receiver<String>,
}

impl Member {
    fn start(address: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ADDRESS, address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = crossbeam_channel::unbounded();
        // It ends with the process.
        thread::spawn(move || {
            for line in from.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        let member = Self { process, to, lines };
        assert_eq!(member.hears("ready"), "");
        member
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.to, "{what}").unwrap();
    }

    /// What comes after this word.
    fn hears(&self, word: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE * 2).expect(word);
            // The harness of the tests speaks, too, and may do so on the same line.
            if let Some((_, after)) = line.split_once(word) {
                return after.trim().to_owned();
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(feature = "postgres")]
#[test]
fn over_postgres() {
    if let Some((_server, address)) = store_support::postgres_store() {
        shares(&address);
    }
}

#[cfg(feature = "redis")]
#[test]
fn over_redis() {
    if let Some((_server, address)) = store_support::redis_store() {
        shares(&address);
    }
}

fn shares(address: &str) {
    let tokens = TokenServer::start();
    let store = open(address);
    store.save(&tokens.login("login", "login")).unwrap();
    for n in 0..3 {
        let key = Auth::api_key("p", "k").with_id(format!("key-{n}"));
        store.save(&key).unwrap();
    }
    let mut fleet: Vec<Member> = (0..PROCESSES).map(|_| Member::start(address)).collect();

    // What one learns of a limit, the others keep to within a second; a machine may be busy with something else for one.
    let times = [0, 1, 2].map(|n| {
        let (teller, others) = fleet.split_first_mut().unwrap();
        for other in &mut *others {
            other.tell(&format!("until-refused key-{n}"));
        }
        thread::sleep(INTERVAL);
        let start = Instant::now();
        teller.tell(&format!("fail key-{n}"));
        teller.hears("failed");
        for other in others {
            assert_eq!(other.hears("refused"), "true");
        }
        let after = start.elapsed();
        println!("{address}: a cooldown was respected by all after {after:?}");
        fleet.rotate_left(1);
        after
    });
    let in_time = times.iter().filter(|time| **time < Duration::from_secs(1));
    assert!(in_time.count() >= 2, "{times:?}");

    // What one refreshes, the others use, and refresh no more.
    let before = tokens.refreshes();
    let generation = store.load("login").unwrap().unwrap().generation();
    fleet[0].tell("refresh login");
    assert_eq!(fleet[0].hears("refreshed"), "true");
    let seen: Vec<String> = fleet
        .iter_mut()
        .map(|member| {
            member.tell(&format!("token-after login {generation}"));
            member.hears("token")
        })
        .collect();
    assert!(seen.iter().all(|token| *token == seen[0]), "{seen:?}");
    assert_eq!(tokens.refreshes(), before + 1);

    // All at once: one at a time, and nobody loses it.
    for member in &mut fleet {
        member.tell("refresh login");
    }
    for member in &mut fleet {
        assert_eq!(member.hears("refreshed"), "true");
    }
    assert_eq!((tokens.replays(), tokens.most_at_once()), (0, 1));
    assert!(tokens.is_alive("login"));
}
