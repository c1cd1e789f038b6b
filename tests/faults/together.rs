//! Processes and threads that want the same thing at the same moment.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;

use credpool::testing::TokenServer;
use credpool::{FileStore, Manager, Store};

use crate::refresh_support::{Client, call};

const DIRECTORY: &str = "CREDPOOL_FAULTS_DIRECTORY";
const THREADS: usize = 64;
const PROCESSES: usize = 8;

/// One of the processes: says that it is ready, and on a line calls with all its threads at once. Without a directory, it is an ordinary
/// run of the tests and has nothing to do.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let store = FileStore::open(directory).unwrap();
    let manager = Manager::builder().store(store).build().unwrap();
    manager.register_executor(Client);
    manager.load().unwrap();
    println!("\nready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let together = Barrier::new(THREADS);
    let tokens: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    call(&manager).unwrap()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    println!(
        "\nserved {}",
        tokens.iter().all(|token| token == "access-1")
    );
}

#[test]
fn fault_01_many_threads_of_many_processes_meet_one_expired_grant() {
    let directory = tempfile::tempdir().unwrap();
    let server = TokenServer::start();
    let store = FileStore::open(directory.path()).unwrap();
    store.save(&server.login("p", "a")).unwrap();
    let mut processes: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let mut process = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "together::child", "--nocapture"])
                .env(DIRECTORY, directory.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "ready"));
            (process, lines)
        })
        .collect();
    for (process, _) in &mut processes {
        writeln!(process.stdin.as_mut().unwrap(), "go").unwrap();
    }
    for (process, lines) in &mut processes {
        assert!(lines.any(|line| line.unwrap() == "served true"));
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(
        (
            server.refreshes(),
            server.replays(),
            server.server().request_count()
        ),
        (1, 0, 1)
    );
    assert_eq!(store.load("a").unwrap().unwrap().generation(), 1);
}
