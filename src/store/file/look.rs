//! Looks at the directory: at all files, or at those of which the system says that they changed.

use std::collections::BTreeSet;

use super::directory::Directory;
use super::fingerprint::Marks;
use super::notices::Task;
use super::read::Unreadable;
use super::record::Contents;
use super::root::{Identity, Sight};
use super::scan::{self, Files, Found};
use crate::clock::{Clock as _, SystemClock};
use crate::error::Error;
use crate::store::{Listing, Skipped};

/// What a look has shown.
pub(super) struct Looked {
    pub(super) version: u64,
    /// Whether all files were looked at.
    pub(super) is_complete: bool,
    /// Whether the next look is cheap.
    pub(super) is_notified: bool,
}

impl Directory {
    /// Reads all records.
    pub(super) fn scan(&self) -> Result<Listing, Error> {
        let mut found = Found::default();
        let task = self.notices.task();
        let read = |path: &str, contents| found.add(path, contents);
        let (files, version) = self.look_at_all(&task, |_| None, read)?;
        let mut listing = found.listing(files).with_cursor(self.cursor(version));
        let index = self.index.lock();
        let lost = index.lost();
        let lost = lost.map(|(path, reason, _)| Skipped::new(path, reason));
        listing.skipped.extend(lost);
        drop(index);
        Ok(listing)
    }

    /// Reads what has changed since the last look.
    pub(super) fn look_again(&self) -> Result<Looked, Error> {
        let identity = self.check_root()?;
        let task = self.notices.task();
        let version = match &task.files {
            Some(paths) => self.look_at(&task, paths, &identity)?,
            None => return self.look_for_changes(&task),
        };
        Ok(Looked {
            version,
            is_complete: false,
            is_notified: self.notices.is_notified(&task),
        })
    }

    /// Looks for changes among all files.
    pub(super) fn look_among_all(&self) -> Result<Looked, Error> {
        self.look_for_changes(&self.notices.task())
    }

    fn look_for_changes(&self, task: &Task) -> Result<Looked, Error> {
        let (files, version) = self.look_at_all(task, |path| self.marks(path), refuse)?;
        Ok(Looked {
            version,
            is_complete: files.are_all(),
            is_notified: self.notices.is_notified(task),
        })
    }

    /// Makes sure that the directory is the one that is known, or takes over the one that took its place.
    pub(super) fn check_root(&self) -> Result<Identity, Error> {
        loop {
            let held = {
                let index = self.index.lock();
                index.has_records() || (self.held && !index.is_scanned())
            };
            match self.place.look(held)? {
                Sight::Same(identity) => return Ok(identity),
                Sight::Another => {
                    self.notices.doubt();
                    self.index.lock().replaced();
                }
            }
        }
    }

    pub(super) fn check_root_for(&self, id: &str) -> Result<(), Error> {
        let checked = self.check_root().map(drop);
        checked.map_err(|error| error.with_auth_id(id))
    }

    fn look_at_all(
        &self,
        task: &Task,
        known: impl Fn(&str) -> Option<Marks>,
        read: impl FnMut(&str, Result<Contents, Unreadable>) -> Option<Unreadable>,
    ) -> Result<(Files, u64), Error> {
        let begun = SystemClock.monotonic();
        let identity = self.check_root()?;
        let writes = self.index.lock().writes();
        let mut watching = self.notices.watching(&self.root);
        let files = scan::files(&self.root, &mut watching);
        let files = files.map_err(|error| self.place.unreadable(error))?;
        let sights = files.read(&self.root, known, read);
        self.place.is_still(&identity)?;
        let taken =
            self.index
                .lock()
                .seen_all(writes, &files.paths, |path| files.know(path), sights);
        let took = SystemClock.monotonic().saturating_duration_since(begun);
        self.notices.checked(task, watching, took);
        self.notices.note_again(taken.overtaken);
        Ok((files, taken.version))
    }

    fn look_at(
        &self,
        task: &Task,
        noted: &BTreeSet<String>,
        identity: &Identity,
    ) -> Result<u64, Error> {
        if noted.is_empty() {
            return Ok(self.index.lock().version());
        }
        let writes = self.index.lock().writes();
        let paths = self.index.lock().owners(noted);
        let files = Files::at(&self.root, &paths);
        let sights = files.read(&self.root, |path| self.marks(path), refuse);
        self.place.is_still(identity)?;
        let mut index = self.index.lock();
        let taken = index.seen_some(writes, &files.paths, &paths, sights);
        drop(index);
        self.notices.looked(task, scan::staged(&self.root, noted));
        self.notices.note_again(taken.overtaken);
        Ok(taken.version)
    }

    /// A copy: files are looked at without the lock.
    fn marks(&self, path: &str) -> Option<Marks> {
        self.index.lock().marks(path)
    }
}

/// What is no record after all.
fn refuse(_: &str, contents: Result<Contents, Unreadable>) -> Option<Unreadable> {
    let mut records = contents.ok()?.records.into_iter();
    records.find_map(|stored| stored.into_auth().err())
}
