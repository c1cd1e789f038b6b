//! Other processes that use the same store: this test program again, told what to do by its environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use credpool::{Intent, Revision, Saved};
use time::macros::utc_datetime;

use crate::backends::Backend;
use crate::swaps::successor;

pub(crate) struct Other {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Other {
    /// Starts a process that does `what` with the backend; none where the backend is one process's own.
    pub(crate) fn start(backend: &dyn Backend, what: &str) -> Option<Self> {
        let address = backend.address()?;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "children::child", "--nocapture"])
            .env(ADDRESS, address)
            .env(WHAT, what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, said })
    }

    /// What it says next.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it has ended");
            if let Some((_, said)) = line.split_once(SAYS) {
                return said.trim().to_owned();
            }
        }
    }

    /// Kills it, as the system does that runs out of memory, and gives back what it had said by then.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        // What has no end of line was not said.
        let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| line.split_once(SAYS));
        lines.map(|(_, said)| said.trim().to_owned()).collect()
    }

    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// The other process. Without an address, it is an ordinary run of the tests and has nothing to do.
#[test]
fn child() {
    let Ok(address) = std::env::var(ADDRESS) else {
        return;
    };
    let store = crate::store_support::open(&address);
    match std::env::var(WHAT).unwrap().split_once(' ').unwrap() {
        ("hold", id) => {
            let mut lock = store.lock(id, Duration::from_secs(30)).unwrap().unwrap();
            lock.set_intent(Some(&intent())).unwrap();
            say("held");
            let _ = std::io::stdin().read(&mut [0]);
        }
        ("swap", id) => {
            let mut won = 0;
            for _ in 0..SWAPS {
                let stored = store.load(id).unwrap().unwrap();
                let expected = Revision::of(&stored);
                match store.save_if(&successor(&stored), Some(&expected)).unwrap() {
                    Saved::At(_) => won += 1,
                    Saved::Conflict(newer) => {
                        assert!(newer.unwrap().generation() > stored.generation());
                    }
                }
            }
            say(&won.to_string());
        }
        ("write", id) => loop {
            let stored = store.load(id).unwrap().unwrap();
            let next = successor(&stored);
            store.save_if(&next, Some(&Revision::of(&stored))).unwrap();
            store.save_state(&next).unwrap();
            say(&next.generation().to_string());
        },
        (what, _) => panic!("no such task: {what}"),
    }
}

/// What the process that holds a lock has noted.
pub(crate) fn intent() -> Intent {
    Intent::new(7, utc_datetime!(2026-01-02 03:04:05.678)).with_tries(2)
}

fn say(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{SAYS}{what}").unwrap();
    out.flush().unwrap();
}

/// How often each process tries to win.
pub(crate) const SWAPS: u64 = 25;

const ADDRESS: &str = "CREDPOOL_TEST_STORE";
const WHAT: &str = "CREDPOOL_TEST_TASK";
const SAYS: &str = "child says: ";
