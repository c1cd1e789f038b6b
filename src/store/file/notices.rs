//! [`Notices`]: which files are to be looked at again, as far as the system says it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{atomic, locks, names};
use crate::clock::{Clock as _, SystemClock};
use crate::store::support::watch::{Noted, Watch};

/// What was noted stays until a look that began later has seen it: a look that fails loses nothing, and two at a time both see it.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether changes are asked for again and again.
    is_followed: bool,
    watch: Option<Watch>,
    /// Counts what was noted.
    count: u64,
    /// When it was noted that anything may have changed.
    doubt: Option<u64>,
    /// When a change of a file was noted.
    files: BTreeMap<String, u64>,
    /// Files at the last look that are not in their place yet.
    staged: BTreeSet<String>,
    next_check: Option<Instant>,
    /// That nothing can be watched was reported.
    is_reported: bool,
}

/// What is to be looked at.
#[derive(Debug)]
pub(super) struct Task {
    noted: u64,
    /// None: all files.
    pub(super) files: Option<BTreeSet<String>>,
    /// Whether the next one may be less.
    is_doubtful: bool,
}

/// A watch that is being set up. Each directory is added before it is read, so that nothing comes in between.
#[derive(Debug)]
pub(super) struct Watching(Option<io::Result<Watch>>);

impl Notices {
    /// From now on it is worth it to watch.
    pub(super) fn follow(&self) {
        self.0.lock().is_followed = true;
    }

    /// Anything may have changed.
    pub(super) fn doubt(&self) {
        let mut state = self.0.lock();
        state.count += 1;
        state.doubt = Some(state.count);
    }

    pub(super) fn task(&self) -> Task {
        let now = SystemClock.monotonic();
        let mut state = self.0.lock();
        // Under the lock, so that no other look passes over what this one knows. It waits for nothing.
        if let Some(noted) = state.watch.as_ref().map(Watch::ask) {
            state.note(noted);
        }
        let is_doubtful = state.doubt.is_some();
        let is_due = state.next_check.is_none_or(|check| check <= now);
        let some = state.watch.is_some() && !is_doubtful && !is_due;
        Task {
            noted: state.count,
            files: some.then(|| state.files.keys().cloned().collect()),
            is_doubtful,
        }
    }

    pub(super) fn watching(&self, root: &Path) -> Watching {
        let is_followed = self.0.lock().is_followed;
        Watching(is_followed.then(|| Watch::new(root)))
    }

    /// The files of a task were looked at. `staged`: those that are not in their place yet. One that was so before may be left of a
    /// writer that was killed.
    pub(super) fn looked(&self, task: &Task, staged: BTreeSet<String>) {
        let mut state = self.0.lock();
        state.forget(task);
        if staged.is_empty() && state.staged.is_empty() {
            return;
        }
        state.count += 1;
        let count = state.count;
        if !staged.is_disjoint(&state.staged) {
            state.doubt = Some(count);
        }
        let again = staged.iter().map(|path| (path.clone(), count));
        state.files.extend(again);
        state.staged = staged;
    }

    /// Files to look at again at the next task.
    pub(super) fn note_again(&self, files: BTreeSet<String>) {
        let mut state = self.0.lock();
        state.count += 1;
        let count = state.count;
        state
            .files
            .extend(files.into_iter().map(|path| (path, count)));
    }

    /// All files were looked at, which took so long.
    pub(super) fn checked(&self, task: &Task, watching: Watching, took: Duration) {
        let now = SystemClock.monotonic();
        let (watch, problem) = match watching.0 {
            Some(Ok(watch)) => (Some(watch), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let mut state = self.0.lock();
        state.forget(task);
        if state.doubt.is_some_and(|noted| noted <= task.noted) {
            state.doubt = None;
        }
        state.staged.clear();
        state.next_check = now.checked_add(LEAST_PAUSE.max(took.saturating_mul(PAUSE)));
        let former = std::mem::replace(&mut state.watch, watch);
        let news = problem.filter(|_| !std::mem::replace(&mut state.is_reported, true));
        drop(state);
        drop(former);
        if let Some(error) = news {
            log::info!("changes of files are looked for, because they cannot be watched: {error}");
        }
    }

    /// Whether the look after this one costs next to nothing while nothing changes.
    pub(super) fn is_notified(&self, task: &Task) -> bool {
        // A directory that changes all the time is not searched more often for it.
        !task.is_doubtful && self.0.lock().watch.is_some()
    }
}

impl State {
    fn note(&mut self, noted: Noted) {
        self.count += 1;
        let mut directories = noted.directories.iter();
        if noted.is_incomplete || directories.any(|path| path != locks::DIR) {
            self.doubt = Some(self.count);
        }
        let files = noted.files.into_iter().filter(|path| is_of_record(path));
        self.files.extend(files.map(|path| (path, self.count)));
    }

    fn forget(&mut self, task: &Task) {
        self.files.retain(|_, noted| *noted > task.noted);
    }
}

impl Watching {
    /// Nothing is to be watched.
    pub(super) fn nothing() -> Self {
        Self(None)
    }

    pub(super) fn add(&mut self, directory: &Path, start: &str) {
        let added = match &mut self.0 {
            Some(Ok(watch)) => watch.add(directory, start),
            _ => return,
        };
        if let Err(error) = added {
            self.0 = Some(Err(error));
        }
    }

    /// A directory could not be read, and may be readable again without a change of it.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.0 = self.0.take().map(|_| Err(error));
    }
}

fn is_of_record(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    names::is_json(name)
        || names::is_credential(name)
        || names::is_state(name)
        || atomic::is_temp(name)
}

/// All files are looked at again after this long, for changes that the system does not note.
const LEAST_PAUSE: Duration = Duration::from_secs(60);

/// And after so many times as long as the last time took: with many files it costs no more of a core than with few, 0.033 % at most.
const PAUSE: u32 = 3000;

#[cfg(test)]
mod tests {
    use super::*;

    fn files(task: &Task) -> Vec<&str> {
        let files = task.files.as_ref().expect("not all");
        files.iter().map(String::as_str).collect()
    }

    /// Notices of a directory that has been looked at as a whole.
    fn watched(root: &Path) -> Notices {
        let notices = Notices::default();
        notices.follow();
        check(&notices, root);
        notices
    }

    fn check(notices: &Notices, root: &Path) -> Task {
        let task = notices.task();
        assert!(task.files.is_none());
        let mut watching = notices.watching(root);
        watching.add(root, "");
        notices.checked(&task, watching, Duration::ZERO);
        task
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_noted_stays_until_a_later_look_has_seen_it() {
        let home = tempfile::tempdir().unwrap();
        let notices = watched(home.path());
        let write = |name: &str| std::fs::write(home.path().join(name), "x").unwrap();
        assert!(files(&notices.task()).is_empty());
        write("a.json");
        write("note.txt");
        let failed = notices.task();
        assert_eq!(files(&failed), ["a.json"]);
        let task = notices.task();
        assert_eq!(files(&task), ["a.json"], "the look before it has failed");
        write("a.json");
        write("b.state");
        assert_eq!(files(&notices.task()), ["a.json", "b.state"]);
        notices.looked(&task, BTreeSet::new());
        assert_eq!(files(&notices.task()), ["a.json", "b.state"]);
        let task = notices.task();
        notices.looked(&task, BTreeSet::new());
        assert!(files(&notices.task()).is_empty());
        assert!(notices.is_notified(&task));
        notices.note_again(BTreeSet::from(["a.json".to_owned()]));
        assert_eq!(files(&notices.task()), ["a.json"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_new_file_that_stays_out_of_its_place_is_looked_for_among_all() {
        let home = tempfile::tempdir().unwrap();
        let notices = watched(home.path());
        let staged = || BTreeSet::from([".credpool-1.tmp".to_owned()]);
        for _ in 0..2 {
            let task = notices.task();
            assert!(task.files.is_some());
            notices.looked(&task, staged());
        }
        let task = check(&notices, home.path());
        assert!(!notices.is_notified(&task));
        assert!(files(&notices.task()).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn more_than_the_system_notes_is_all() {
        let home = tempfile::tempdir().unwrap();
        let notices = watched(home.path());
        std::fs::create_dir(home.path().join(locks::DIR)).unwrap();
        assert!(notices.task().files.is_some());
        let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: usize = most.trim().parse().unwrap();
        for number in 0..=most {
            // Two names in turn, as notes that say the same are kept once.
            let file = home.path().join(format!("{}.json", number % 2));
            std::fs::File::create(file).unwrap();
        }
        assert!(notices.task().files.is_none());
        check(&notices, home.path());
        std::fs::create_dir(home.path().join("more")).unwrap();
        assert!(notices.task().files.is_none());
    }

    #[test]
    fn a_doubt_of_later_stays() {
        let notices = Notices::default();
        let task = notices.task();
        notices.doubt();
        notices.checked(&task, Watching::nothing(), Duration::ZERO);
        assert!(notices.0.lock().doubt.is_some());
        let task = notices.task();
        notices.checked(&task, Watching::nothing(), Duration::ZERO);
        assert!(notices.0.lock().doubt.is_none());
    }
}
