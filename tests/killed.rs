//! Processes that share a store, refresh one login, and are killed at any moment: the login lives.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use credpool::testing::TokenServer;
use credpool::{Hook, Manager, RefreshEvent, provider::OpenAi};
use store_support::open;

const ADDRESS: &str = "CREDPOOL_KILLED_STORE";
const PROCESSES: usize = 8;
/// How many refreshes there are in all: two hundred for each process.
const REFRESHES: usize = 200 * PROCESSES;
/// So many come, by whomever, before the next process is killed.
const REFRESHES_BETWEEN: usize = REFRESHES / KILLED.count;
/// Two kills within a leeway may both lose an answer to the same token.
const BETWEEN_KILLS: Duration = Duration::from_millis(250);

/// How often a process is killed, and for how long the token endpoint takes a spent token.
struct Kills {
    count: usize,
    leeway: Duration,
}

/// The lock proves that its holder is dead: the next process goes on immediately.
const KILLED: Kills = Kills {
    count: 24,
    leeway: Duration::from_secs(5),
};

/// The lock may lapse while its holder lives: the next process waits out the longest request.
#[cfg(any(feature = "postgres", feature = "redis"))]
const KILLED_ON_A_SERVER: Kills = Kills {
    count: 2,
    leeway: Duration::from_secs(60),
};
const PATIENCE: Duration = Duration::from_secs(60);

/// Says what becomes of a login.
struct Tells;

impl Hook for Tells {
    fn on_refresh_event(&self, event: &RefreshEvent<'_>) {
        if let RefreshEvent::NeedsLogin { answer_lost, .. } = event {
            println!("\nthe login is over, an answer was lost: {answer_lost}");
        }
    }
}

/// A process of the fleet. Without a store, it is an ordinary run of the tests and has nothing to do.
#[test]
fn child() {
    let Ok(address) = std::env::var(ADDRESS) else {
        return;
    };
    let manager = Manager::builder()
        .store(open(&address))
        .hook(Tells)
        .min_refresh_gap(Duration::from_millis(1))
        .build()
        .unwrap();
    manager.register_executor(OpenAi::named("p"));
    manager.load().unwrap();
    // Until it is killed, or its parent is gone.
    let (gone, stop) = crossbeam_channel::bounded::<()>(0);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(gone);
    });
    while stop.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
        // Another one may be at it, or an answer in doubt: what counts is what is left at the end.
        let _ = manager.refresh_now("a");
    }
}

fn start(address: &str, said: Stdio) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ADDRESS, address)
        .stdin(Stdio::piped())
        .stdout(said)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until so many refreshes have been made.
fn wait_for(server: &TokenServer, refreshes: usize) {
    let start = Instant::now();
    while server.refreshes() < refreshes {
        assert!(
            start.elapsed() < PATIENCE,
            "after {} refreshes none came for {PATIENCE:?}",
            server.refreshes()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn over_files() {
    let directory = tempfile::tempdir().unwrap();
    outlives(&format!("file|{}", directory.path().display()), &KILLED);
}

#[test]
fn over_sealed_files() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("sealed|file|{}", directory.path().display());
    outlives(&address, &KILLED);
}

#[cfg(feature = "sqlite")]
#[test]
fn over_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    outlives(
        &format!("sqlite|{}/store.db", directory.path().display()),
        &KILLED,
    );
}

#[cfg(feature = "postgres")]
#[test]
fn over_postgres() {
    if let Some((_server, address)) = store_support::postgres_store() {
        outlives(&address, &KILLED_ON_A_SERVER);
    }
}

#[cfg(feature = "redis")]
#[test]
fn over_redis() {
    if let Some((_server, address)) = store_support::redis_store() {
        outlives(&address, &KILLED_ON_A_SERVER);
    }
}

/// A login in the store outlives the processes that refresh it.
fn outlives(address: &str, kills: &Kills) {
    let server = TokenServer::start();
    server.set_leeway(kills.leeway);
    let store = open(address);
    store.save(&server.login("p", "a")).unwrap();
    let one = || start(address, Stdio::null());
    let mut fleet: Vec<Child> = (0..PROCESSES).map(|_| one()).collect();
    let mut last_kill = Instant::now();
    for kill in 0..kills.count {
        wait_for(&server, (kill + 1) * REFRESHES_BETWEEN);
        // Two kills within one leeway may both lose an answer to the same token: that is more than anybody can heal.
        while last_kill.elapsed() < BETWEEN_KILLS {
            std::thread::sleep(Duration::from_millis(1));
        }
        // At any moment of a refresh.
        std::thread::sleep(Duration::from_micros((kill as u64 * 7_919) % 3_000));
        let victim = kill * 7 % PROCESSES;
        fleet[victim].kill().unwrap();
        fleet[victim].wait().unwrap();
        fleet[victim] = one();
        last_kill = Instant::now();
    }
    let before = server.refreshes();
    wait_for(&server, before + REFRESHES_BETWEEN);
    for mut process in fleet {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    println!(
        "{} refreshes, {} replays, at most {} at once, {} processes killed",
        server.refreshes(),
        server.replays(),
        server.most_at_once(),
        kills.count
    );
    assert!(server.is_alive("a"), "the grant died");
    assert!(server.replays() <= kills.count, "a replay is a lost answer");
    assert_eq!(server.most_at_once(), 1, "one at a time");
    // What is left serves: the newest token is on disk.
    let stored = store.load("a").unwrap().unwrap();
    assert!(stored.generation() > 0);
    let manager = Manager::builder().store(store).build().unwrap();
    manager.register_executor(OpenAi::named("p"));
    manager.load().unwrap();
    let began = Instant::now();
    while let Err(error) = manager.refresh_now("a") {
        // The last ones were killed, too, and their request is waited out.
        assert!(
            error.retry_after().is_some() && began.elapsed() < PATIENCE,
            "{error}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(server.is_alive("a"));
}

/// Without a leeway, a lost answer is a lost login: then whoever finds it says so, and says why.
#[test]
fn a_death_without_a_leeway_is_told_as_a_lost_answer() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("file|{}", directory.path().display());
    let server = TokenServer::start();
    let store = open(&address);
    let (mut kills, mut deaths) = (0_u64, 0);
    while deaths < 3 {
        assert!(kills < 400, "{deaths} logins died of {kills} kills");
        store.save(&server.login("p", "a")).unwrap();
        let before = server.refreshes();
        let mut victim = start(&address, Stdio::null());
        wait_for(&server, before + 1);
        std::thread::sleep(Duration::from_micros((kills * 7_919) % 3_000));
        victim.kill().unwrap();
        victim.wait().unwrap();
        kills += 1;
        // The next process finds a login that serves, or says that an answer was lost.
        let alive_at = server.refreshes();
        let mut next = start(&address, Stdio::piped());
        let lines = BufReader::new(next.stdout.take().unwrap()).lines();
        let (tell, told) = crossbeam_channel::unbounded();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let started = Instant::now();
        let death = loop {
            assert!(started.elapsed() < PATIENCE, "neither served nor told");
            let line = told.recv_timeout(Duration::from_millis(1));
            if let Some(line) = line.ok().filter(|line| line.contains("the login is over")) {
                break Some(line);
            }
            if server.refreshes() > alive_at {
                break None;
            }
        };
        next.kill().unwrap();
        next.wait().unwrap();
        reader.join().unwrap();
        if let Some(line) = death {
            assert!(line.ends_with("lost: true"), "{line}");
            assert!(!server.is_alive("a"));
            // No byte of it is gone.
            assert!(store.load("a").unwrap().is_some());
            deaths += 1;
        }
    }
    println!("of {kills} kills, {deaths} lost an answer, and each was told");
}
