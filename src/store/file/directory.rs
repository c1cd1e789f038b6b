//! The directory of a store as one process knows it: the store's work, on its index and under its locks.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;

use super::entries::EntryLog;
use super::index::{Index, News};
use super::notices::Notices;
use super::read::Unreadable;
use super::record::{Form, Home};
use super::root::Root;
use super::write::{Prepared, Written};
use super::{locks, names, record, recovery, write};
use crate::auth::Auth;
use crate::error::Error;
use crate::random;
use crate::store::codec::{check, shown};
use crate::store::contract::Conflict;
use crate::store::support::lock_file::LockFile;
use crate::store::{
    Changes, Cursor, Listing, Missing, RecordLock, Revision, Saved, Skipped, Store, StoreEntry,
};

/// The store's directory, index and locks, of one process.
pub(super) struct Directory {
    pub(super) root: PathBuf,
    pub(super) place: Root,
    /// Whether there was a record when it was opened.
    pub(super) held: bool,
    /// Tells this handle's cursors from those of others.
    pub(super) instance: u64,
    pub(super) index: Mutex<Index>,
    pub(super) notices: Notices,
    pub(super) entries: EntryLog,
}

impl Directory {
    pub(super) fn open(root: PathBuf, held: bool) -> io::Result<Self> {
        Ok(Self {
            place: Root::open(&root)?,
            root,
            held,
            instance: u64::from_le_bytes(random::bytes()?),
            index: Mutex::default(),
            notices: Notices::default(),
            entries: EntryLog::default(),
        })
    }

    /// Where the record is, or where it goes when it is new.
    fn home(&self, id: &str) -> Result<Home, Error> {
        if !self.index.lock().is_scanned() {
            self.look_again()?;
        }
        let known = {
            let index = self.index.lock();
            index.home(id).or_else(|| index.former_home(id)).cloned()
        };
        if let Some(home) = known {
            // A name of its own needs no look.
            if names::is_credential(&home.path) || self.is_free_for(id, &home) {
                return Ok(home);
            }
        }
        if names::is_token_path(id)
            && let Ok(Some(found)) = record::load_id(&self.root, id, id)
        {
            return Ok(found.home);
        }
        Ok(Home::native(id))
    }

    /// Whether neither another record nor another program has taken the home. One that is gone or damaged is restored by a save.
    fn is_free_for(&self, id: &str, home: &Home) -> bool {
        let (contents, _) = record::look(&self.root, &home.path);
        match contents {
            Ok(contents) => {
                let mut records = contents.records.iter();
                contents.records.is_empty() || records.any(|found| found.id == id)
            }
            Err(Unreadable::Foreign(_)) => false,
            Err(_) => true,
        }
    }

    /// The record as its files have it, wherever they are by now.
    fn read(&self, id: &str) -> Result<Option<Auth>, Error> {
        if let Some(auth) = self.read_at(&self.home(id)?, id)? {
            return Ok(Some(auth));
        }
        // It may have come, or have moved, since.
        self.look_again()?;
        let home = self.index.lock().home(id).cloned();
        home.map_or(Ok(None), |home| self.read_at(&home, id))
    }

    /// What keeps `auth` from being written. A file that cannot be parsed has no revision: it is kept under another name, as by any
    /// save.
    fn conflict(&self, home: &Home, auth: &Auth, expected: Option<&Revision>) -> Option<Conflict> {
        let stored = self.read_at(home, &auth.id).ok()?;
        let is_free = Revision::allows(expected, stored.as_ref(), auth);
        (!is_free).then(|| stored.map(Box::new))
    }

    fn read_at(&self, home: &Home, id: &str) -> Result<Option<Auth>, Error> {
        let stored = match record::load(&self.root, home) {
            Ok(Some(stored)) if stored.id == id => stored.into_auth(),
            Ok(_) => return Ok(None),
            Err(problem) => Err(problem),
        };
        let (auth, skipped) = stored.map_err(|problem| {
            let message = format!("credential {}: {:?} {problem}", shown(id), home.path);
            Error::store(message).with_auth_id(id)
        })?;
        if let Some(skipped) = skipped {
            log::warn!("the store skipped an entry: {skipped}");
        }
        Ok(Some(auth))
    }

    /// Puts newer files of the record in place that a writer left behind, or waits for the one that is at work.
    fn settle(&self, id: &str) -> Result<(), Error> {
        let home = self.home(id)?;
        if !recovery::is_left(&self.root, &home) {
            return Ok(());
        }
        let _lock = locks::write_lock(&self.root, id)?;
        self.recover(&home, id)
    }

    fn recover(&self, home: &Home, id: &str) -> Result<(), Error> {
        recovery::recover(&self.root, home, id).map_err(|error| {
            let message = format!(
                "credential {} was partly saved and could not be recovered: {error}",
                shown(id)
            );
            Error::store(message).with_auth_id(id).with_source(error)
        })
    }

    /// Where a record is that is to be written, and the lock for it.
    fn begin_write(&self, auth: &Auth) -> Result<(Home, LockFile), Error> {
        check(auth)?;
        self.check_root_for(&auth.id)?;
        let home = self.home(&auth.id)?;
        let lock = locks::write_lock(&self.root, &auth.id)?;
        Ok((home, lock))
    }

    /// Puts the record's files in place. The lock is the right to do so.
    fn put(
        &self,
        auth: &Auth,
        former: &Home,
        prepared: Prepared,
        _: &LockFile,
    ) -> Result<String, Error> {
        let written = write::save(&self.root, auth, prepared)?;
        let home = written.home.clone();
        self.wrote(&auth.id, &written);
        let has_moved = home.path != former.path && former.form != Form::Held;
        if has_moved && self.is_free_for(&auth.id, former) {
            write::remove(&self.root, former, &auth.id)?;
            self.index.lock().removed(&auth.id, &former.path);
        }
        Ok(self.root.join(&home.path).display().to_string())
    }

    fn wrote(&self, id: &str, written: &Written) {
        let mut index = self.index.lock();
        index.wrote(id, &written.home, |marks| written.mark(marks));
    }

    pub(super) fn cursor(&self, version: u64) -> Cursor {
        Cursor::new(format!("{:016x}.{version}", self.instance))
    }

    /// The version that one of this handle's cursors stands for. For any other, everything is new.
    fn version(&self, cursor: &Cursor) -> Option<u64> {
        let (instance, version) = cursor.as_str().split_once('.')?;
        let own = u64::from_str_radix(instance, 16) == Ok(self.instance);
        version.parse().ok().filter(|_| own)
    }
}

impl Store for Directory {
    fn list(&self) -> Result<Listing, Error> {
        self.scan()
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let (home, lock) = self.begin_write(auth)?;
        let prepared = write::stage_save(&self.root, auth, &home)?;
        self.put(auth, &home, prepared, &lock)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        if id.is_empty() {
            return Ok(());
        }
        self.check_root_for(id)?;
        let home = self.home(id)?;
        if home.form == Form::Held {
            let message = format!(
                "credential {} was not deleted: {:?} belongs to another program; log out there, or disable the credential",
                shown(id),
                home.path
            );
            return Err(Error::config(message).with_auth_id(id));
        }
        let _lock = locks::write_lock(&self.root, id)?;
        // The store's own file too: a crash may have left it beside a token file that replaced it.
        for home in std::iter::once(home).chain(Home::natives(id)) {
            if self.is_free_for(id, &home) {
                write::remove(&self.root, &home, id)?;
                self.index.lock().removed(id, &home.path);
            }
        }
        locks::forget(&self.root, id).map_err(|error| write::delete_failed(id, error))
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let (home, _lock) = self.begin_write(auth)?;
        if fs::symlink_metadata(self.root.join(&home.path)).is_err() {
            // It has been deleted: its state alone means nothing.
            return Ok(());
        }
        let written = write::save_state(&self.root, auth, &home)?;
        self.wrote(&auth.id, &written);
        Ok(())
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.check_root_for(id)?;
        self.settle(id)?;
        self.read(id)
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let (home, lock) = self.begin_write(auth)?;
        self.recover(&home, &auth.id)?;
        if let Some(there) = self.conflict(&home, auth, expected) {
            return Ok(Saved::Conflict(there));
        }
        let prepared = write::stage_save(&self.root, auth, &home)?;
        // Programs that take no lock may have written it while that was being made durable.
        if let Some(there) = self.conflict(&home, auth, expected) {
            return Ok(Saved::Conflict(there));
        }
        self.put(auth, &home, prepared, &lock).map(Saved::At)
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        // A directory that is missing or was replaced says nothing about its former content.
        self.check_root_for(id)?;
        Ok(Missing::of(!self.index.lock().has_lost(id)))
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        self.check_root_for(id)?;
        let lock = locks::refresh_lock(&self.root, id, wait)?;
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn RecordLock>))
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        self.notices.follow();
        let since = since.map(|cursor| self.version(cursor));
        let looked = match since {
            Some(None) => self.look_among_all()?,
            _ => self.look_again()?,
        };
        let mut changes = Changes::none(self.cursor(looked.version));
        changes.is_notified = looked.is_notified;
        let Some(since) = since else {
            return Ok(Some(changes));
        };
        changes.complete = since.is_none() && looked.is_complete;
        let News { ids, problems } = self.index.lock().since(since);
        for id in ids {
            let home = self.index.lock().home(&id).cloned();
            let Some(home) = home else {
                changes.removed.push(id);
                continue;
            };
            match self.read_at(&home, &id) {
                Ok(auth) => changes.written.extend(auth),
                // It is reported as a file that cannot be parsed.
                Err(error) => log::debug!("{error}"),
            }
        }
        let problems = problems.into_iter();
        changes.skipped = problems
            .map(|(path, reason)| Skipped::new(path, reason))
            .collect();
        Ok(Some(changes))
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        self.check_root()?;
        self.entries.load(&self.root, keys)
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        self.check_root()?;
        self.entries.save(&self.root, entries, most)
    }
}
