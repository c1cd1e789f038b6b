//! What others change in the store while a manager runs: an operator by hand, another process by its manager.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;
mod watched;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Availability, Error, FailurePolicy, FileStore, Manager, ManualClock, MemoryStore,
    Options, Outcome, Request, Store,
};
use support::{Fake, Recorder, SOON, eventually, manual};
use watched::Watched;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than a slow machine lets the clock run on.
const LONG: Duration = Duration::from_secs(20 * 3600);

/// A process over a directory, with a clock of its own.
struct Process {
    manager: Manager,
    clock: ManualClock,
    hook: Recorder,
    store: Watched,
}

impl Process {
    fn over(directory: &Path) -> Self {
        let (clock, hook) = (manual(), Recorder::default());
        let store = Watched::new(Arc::new(FileStore::open(directory).unwrap()));
        let manager = Manager::builder()
            .clock(clock.clone())
            .hook(hook.clone())
            .policy(FailurePolicy::default().with_jitter(0.0).without_waiting())
            .store(store.clone())
            .build()
            .unwrap();
        manager.register_executor(Fake::new("p"));
        manager.load().unwrap();
        manager.start_hot_reload(SECOND).unwrap();
        Self {
            manager,
            clock,
            hook,
            store,
        }
    }

    /// Lets two looks at the store pass, and further ones until something has come about: a record that is being written here is left
    /// for the next one, for as long as the disk takes.
    fn sees(&self, what: &str, holds: impl Fn(&Manager) -> bool) {
        self.looks();
        self.looks();
        eventually(what, || {
            holds(&self.manager) || {
                self.looks();
                holds(&self.manager)
            }
        });
    }

    fn looks(&self) {
        let looks = self.store.looks();
        eventually("a look", || {
            // A thread sleeps: the reloader, or the writer.
            if self.clock.timers() > 0 {
                self.clock.advance(SECOND);
            }
            self.store.looks() > looks
        });
    }

    fn availability(&self, id: &str) -> Option<Availability> {
        let standings = self.manager.explain("p", "m");
        let found = standings
            .into_iter()
            .find(|standing| &*standing.auth_id == id);
        found.map(|standing| standing.availability)
    }
}

fn key(id: &str) -> Auth {
    Auth::api_key("p", "sk-1").with_id(id)
}

#[test]
fn an_operator_adds_edits_disables_and_removes() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::over(directory.path());
    let operator = Process::over(directory.path());
    operator.manager.register(key("a")).unwrap();
    process.sees("the new one", |manager| manager.get_by_id("a").is_some());
    assert_eq!(process.hook.events(), ["registered a"]);

    let limited = Error::upstream(429, "slow down").with_retry_after(LONG);
    let outcome = Outcome::failure("a", "p", "m", limited);
    process.manager.mark_result(&outcome);
    operator.manager.update(key("a").with_label("new")).unwrap();
    process.sees("the label", |manager| {
        manager.get_by_id("a").unwrap().label == "new"
    });
    assert_eq!(
        process.availability("a"),
        Some(Availability::Cooling),
        "what was observed stays"
    );

    operator.manager.set_disabled("a", true).unwrap();
    process.sees("the switch", |manager| {
        manager.get_by_id("a").unwrap().disabled
    });
    operator.manager.set_disabled("a", false).unwrap();
    process.sees("the switch back", |manager| {
        !manager.get_by_id("a").unwrap().disabled
    });

    operator.manager.remove("a").unwrap();
    process.sees("the removal", |manager| manager.get_by_id("a").is_none());
    let events = process.hook.events();
    assert_eq!(events.last().unwrap(), "removed a");
    assert!(events.iter().any(|event| event == "updated a"));
}

#[test]
fn a_token_file_that_is_dropped_in_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::over(directory.path());
    let file = directory.path().join("team.json");
    fs::write(&file, r#"{"type":"p","access_token":"one","label":"team"}"#).unwrap();
    process.sees("the file", |manager| {
        manager.get_by_id("team.json").is_some()
    });
    let answer = process
        .manager
        .execute(["p"], &Request::new("m", "{}"), &Options::new());
    assert_eq!(&*answer.unwrap().auth_id, "team.json");
    fs::remove_file(&file).unwrap();
    process.sees("its removal", |manager| {
        manager.get_by_id("team.json").is_none()
    });
}

#[test]
fn a_cooldown_that_another_process_has_met_is_respected() {
    let directory = tempfile::tempdir().unwrap();
    let one = Process::over(directory.path());
    one.manager.register(key("a")).unwrap();
    let other = Process::over(directory.path());
    let limited = Error::upstream(429, "slow down").with_retry_after(LONG);
    other.clock.advance(SECOND);
    other
        .manager
        .mark_result(&Outcome::failure("a", "p", "m", limited));
    // Its writer writes it down at the end at the latest.
    other.manager.shutdown(SOON).unwrap();
    let seen = || {
        one.clock.advance(SECOND);
        one.availability("a") == Some(Availability::Cooling)
    };
    eventually("the cooldown", seen);
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_store_is_notified_of_is_not_awaited_for_an_interval() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::over(directory.path());
    process.sees("a look", |_| true);
    let interval = 3600 * SECOND;
    process.manager.start_hot_reload(interval).unwrap();
    let looks = process.store.looks();
    eventually("the first look", || {
        process.clock.advance(interval);
        process.store.looks() > looks
    });
    let file = directory.path().join("team.json");
    fs::write(&file, r#"{"type":"p","access_token":"one"}"#).unwrap();
    let mut advanced = Duration::ZERO;
    eventually("the file", || {
        if process.clock.timers() > 0 && advanced < interval / 2 {
            advanced += SECOND / 4;
            process.clock.advance(SECOND / 4);
        }
        process.manager.get_by_id("team.json").is_some()
    });
    process.manager.shutdown(SOON).unwrap();
}

#[test]
fn what_a_process_writes_itself_is_no_news_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::over(directory.path());
    process.manager.register(key("a")).unwrap();
    process.manager.update(key("a").with_label("new")).unwrap();
    let before = process.hook.events();
    for _ in 0..5 {
        process.sees("a look", |_| true);
    }
    assert_eq!(process.hook.events(), before);
    process.manager.shutdown(SOON).unwrap();
}

#[test]
fn what_comes_between_the_load_and_the_first_look_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::over(directory.path());
    process.manager.stop_hot_reload();
    process.manager.load().unwrap();
    FileStore::open(directory.path())
        .unwrap()
        .save(&key("a"))
        .unwrap();
    process.manager.start_hot_reload(SECOND).unwrap();
    process.sees("the new one", |manager| manager.get_by_id("a").is_some());
    process.manager.shutdown(SOON).unwrap();
}

#[test]
fn a_directory_that_is_unmounted_removes_nothing_and_is_read_again_when_it_is_back() {
    let home = tempfile::tempdir().unwrap();
    let [directory, aside] = ["store", "aside"].map(|name| home.path().join(name));
    let process = Process::over(&directory);
    for id in ["a", "b"] {
        process.manager.register(key(id)).unwrap();
    }
    fs::rename(&directory, &aside).unwrap();
    fs::create_dir(&directory).unwrap();
    process.sees("both", |manager| manager.list().len() == 2);
    let request = Request::new("m", "{}");
    let served = process.manager.execute(["p"], &request, &Options::new());
    served.unwrap();
    let error = process.manager.register(key("c")).unwrap_err();
    assert!(error.to_string().contains("is empty"), "{error}");
    assert!(fs::read_dir(&directory).unwrap().next().is_none());
    assert!(!process.hook.events().contains(&"removed a".to_owned()));

    fs::remove_dir(&directory).unwrap();
    fs::rename(&aside, &directory).unwrap();
    fs::remove_file(directory.join("a.credential")).unwrap();
    process.sees("the removal", |manager| manager.get_by_id("a").is_none());
    process.manager.register(key("c")).unwrap();
    assert_eq!(process.manager.list().len(), 2);
}

#[test]
fn it_ends_and_begins_again() {
    let clock = manual();
    let manager = Manager::builder()
        .clock(clock.clone())
        .store(MemoryStore::new())
        .build()
        .unwrap();
    manager.start_hot_reload(SECOND).unwrap();
    manager.stop_hot_reload();
    manager.start_hot_reload(SECOND).unwrap();
    manager.shutdown(SOON).unwrap();
}
