//! Other processes that use the same store, controlled by their environment.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::Fixture;
use super::samples::{MANY, entry, loaded, successor};
use crate::store::{Intent, Revision, Saved, Store};
use crate::testing::conformance::{Stop, Verdict, same};

/// Does what the suite of another process asks, if it has started this one by
/// [`StoreFixture::other_process`](super::StoreFixture::other_process); otherwise returns immediately, without opening anything: it is an
/// ordinary run of the tests.
///
/// ```
/// use credpool::FileStore;
/// use credpool::testing::conformance::act_as_other_process;
/// use std::sync::Arc;
///
/// // As the body of a test `other_process`. The fixture's command: this program, with the arguments
/// // `--exact other_process --nocapture`, and the place in its environment.
/// act_as_other_process(|| {
///     let place = std::env::var("MY_STORE_UNDER_TEST").expect("the fixture sets it");
///     Arc::new(FileStore::open(place).expect("the fixture has made it"))
/// });
/// ```
///
/// # Panics
/// When the store fails: the suite then sees that the process has ended.
pub fn act_as_other_process(open: impl FnOnce() -> Arc<dyn Store>) {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    if let Err(Stop::Broken(why)) = act(&*open(), &task) {
        panic!("{task}: {why}");
    }
}

fn act(store: &dyn Store, task: &str) -> Verdict {
    match task.split_once(' ') {
        Some(("hold", id)) => {
            let lock = store.lock(id, Duration::from_secs(30))?;
            let mut lock = lock.ok_or_else(|| Stop::Broken("it is locked".to_owned()))?;
            lock.set_intent(Some(&intent()))?;
            say("held")?;
            // Until the other process is done with this one.
            let _ = io::stdin().read(&mut [0]);
            Ok(())
        }
        Some(("swap", id)) => {
            let mut won = 0;
            for _ in 0..SWAPS {
                let stored = loaded(store, id)?;
                let expected = Revision::of(&stored);
                match store.save_if(&successor(&stored)?, Some(&expected))? {
                    Saved::At(_) => won += 1,
                    Saved::Conflict(newer) => ensure!(
                        newer.is_some_and(|newer| newer.generation() > stored.generation()),
                        "a conflict gives back what was read before"
                    ),
                }
            }
            say(&won.to_string())
        }
        Some(("write", id)) => loop {
            let stored = loaded(store, id)?;
            let next = successor(&stored)?;
            store.save_if(&next, Some(&Revision::of(&stored)))?;
            store.save_state(&next)?;
            say(&next.generation().to_string())?;
        },
        // The same entries anew, on and on.
        Some(("keep", key)) => {
            for number in 1.. {
                let others = (0..20).map(|other| entry(&format!("{key}{other}"), "x", number));
                let all: Vec<_> = others
                    .chain([entry(key, &number.to_string(), number)])
                    .collect();
                store.save_entries(&all, MANY)?;
                say(&number.to_string())?;
            }
            Ok(())
        }
        _ => Err(Stop::Broken("no such task".to_owned())),
    }
}

/// What the process that holds a lock has noted.
pub(super) fn intent() -> Intent {
    let at = time::macros::utc_datetime!(2026-01-02 03:04:05.678);
    Intent::new(7, at).with_tries(2)
}

fn say(what: &str) -> Verdict {
    let mut out = io::stdout();
    writeln!(out, "{SAYS}{what}")?;
    Ok(out.flush()?)
}

/// Another process, and what it says.
pub(super) struct Other {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Other {
    /// Starts a process that does `task`.
    pub(super) fn start(fixture: &Fixture, task: &str) -> Result<Self, Stop> {
        let mut command = fixture
            .other_process()
            .ok_or_else(|| Stop::skipped("the fixture starts no other process"))?;
        let mut child = command
            .env(TASK, task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take();
        let said = said.ok_or(io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(Self {
            child,
            said: BufReader::new(said),
        })
    }

    /// What it says next.
    fn hear(&mut self) -> Result<String, Stop> {
        loop {
            let mut line = String::new();
            let length = self.said.read_line(&mut line)?;
            ensure!(
                length > 0,
                "the other process has ended before it was done: its output says why"
            );
            if let Some((_, said)) = line.split_once(SAYS) {
                return Ok(said.trim().to_owned());
            }
        }
    }

    /// Waits until it says this.
    pub(super) fn expect(&mut self, what: &str) -> Verdict {
        same("what the other process says", &self.hear()?.as_str(), &what)
    }

    /// The number that it says next.
    pub(super) fn hear_number(&mut self) -> Result<u64, Stop> {
        let said = self.hear()?;
        said.parse()
            .map_err(|_| Stop::Broken(format!("the other process says {said:?}")))
    }

    /// Kills it, as the system does that runs out of memory, and gives back its output up to then.
    pub(super) fn kill(mut self) -> Result<Vec<String>, Stop> {
        self.child.kill()?;
        self.child.wait()?;
        let mut rest = String::new();
        self.said.read_to_string(&mut rest)?;
        // What has no end of line was not said.
        let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| line.split_once(SAYS));
        Ok(lines.map(|(_, said)| said.trim().to_owned()).collect())
    }

    /// Lets it end by itself.
    pub(super) fn end(mut self) -> Verdict {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the other process ended with {status}");
        Ok(())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // One that has ended is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(format!("the other process is lost: {error}"))
    }
}

/// How often each process tries to win.
pub(super) const SWAPS: u64 = 25;

const TASK: &str = "CREDPOOL_CONFORMANCE_TASK";
const SAYS: &str = "other process says: ";
