//! A store over [redb](https://www.redb.org): what an author of a store writes, with the public interface alone.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Changes, Cursor, Error, ErrorCode, Intent, Listing, Missing, RecordLock, Revision, Saved,
    Store, codec,
};
use parking_lot::{Condvar, Mutex};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

/// Credential and state of each record, by its id.
const RECORDS: TableDefinition<&str, (&str, &str)> = TableDefinition::new("records");
/// Ids in the order of their last changes, and where in that order each is. A removed one stays.
const LOG: TableDefinition<u64, &str> = TableDefinition::new("log");
const VERSIONS: TableDefinition<&str, u64> = TableDefinition::new("versions");
const INTENTS: TableDefinition<&str, &str> = TableDefinition::new("intents");

/// A store in a redb database: one file, which redb locks for one process. Clones share it.
#[derive(Clone)]
pub(crate) struct RedbStore {
    database: Arc<Database>,
    locks: Arc<Locks>,
    /// Tells cursors of this opening from those of others.
    history: u64,
}

#[derive(Default)]
struct Locks {
    held: Mutex<HashSet<String>>,
    released: Condvar,
}

/// An error of redb, or one of the codec.
type Failure = Box<dyn StdError + Send + Sync>;

impl RedbStore {
    /// Opens the database, and creates it where it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let open = || -> Result<Database, Failure> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            // It holds tokens: its owner's alone.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            Ok(Database::builder().create_file(options.open(path)?)?)
        };
        let store = Self {
            database: Arc::new(open().map_err(failed)?),
            locks: Arc::default(),
            history: RandomState::new().hash_one(0),
        };
        store.write(|tables| {
            tables.open_table(RECORDS)?;
            tables.open_table(LOG)?;
            tables.open_table(VERSIONS)?;
            tables.open_table(INTENTS)?;
            Ok(())
        })?;
        Ok(store)
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let within = || work(&self.database.begin_read()?);
        within().map_err(failed)
    }

    /// Reads and writes in one transaction, which is on the disk when this returns. One runs at a time.
    fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let within = || -> Result<T, Failure> {
            let transaction = self.database.begin_write()?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        within().map_err(failed)
    }
}

fn failed(failure: Failure) -> Error {
    match failure.downcast::<Error>() {
        Ok(error) => *error,
        Err(failure) => {
            let message = format!("redb failed: {failure}; check the file and its disk");
            Error::new(ErrorCode::Store, message)
        }
    }
}

fn record(
    records: &impl ReadableTable<&'static str, (&'static str, &'static str)>,
    id: &str,
) -> Result<Option<Auth>, Failure> {
    let Some(texts) = records.get(id)? else {
        return Ok(None);
    };
    let (credential, state) = texts.value();
    Ok(Some(codec::decode(id, credential, Some(state))?))
}

fn put(tables: &WriteTransaction, id: &str, texts: &codec::Texts) -> Result<(), Failure> {
    let texts = (texts.credential(), texts.state());
    tables.open_table(RECORDS)?.insert(id, texts)?;
    note(tables, id)
}

/// Notes that a record has changed.
fn note(tables: &WriteTransaction, id: &str) -> Result<(), Failure> {
    let mut log = tables.open_table(LOG)?;
    let next = log.last()?.map_or(1, |(version, _)| version.value() + 1);
    if let Some(former) = tables.open_table(VERSIONS)?.insert(id, next)? {
        log.remove(former.value())?;
    }
    log.insert(next, id)?;
    Ok(())
}

impl Store for RedbStore {
    fn list(&self) -> Result<Listing, Error> {
        // What changes while it is read is told as a change.
        let cursor = self.changes(None)?.map(|changes| changes.cursor);
        self.read(|tables| {
            let mut listing = Listing::default();
            listing.cursor = cursor;
            for row in tables.open_table(RECORDS)?.iter()? {
                let (id, texts) = row?;
                let (credential, state) = texts.value();
                listing.add(id.value(), credential, Some(state));
            }
            Ok(listing)
        })
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let texts = codec::encode(auth)?;
        self.write(|tables| put(tables, &auth.id, &texts))?;
        Ok(auth.id.clone())
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.write(|tables| {
            tables.open_table(INTENTS)?.remove(id)?;
            let removed = tables.open_table(RECORDS)?.remove(id)?.is_some();
            if removed { note(tables, id) } else { Ok(()) }
        })
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let state = codec::encode_state(auth)?;
        self.write(|tables| {
            let mut records = tables.open_table(RECORDS)?;
            let stored = records.get(&*auth.id)?;
            let Some(credential) = stored.map(|texts| texts.value().0.to_owned()) else {
                return Ok(());
            };
            records.insert(&*auth.id, (&*credential, &*state))?;
            note(tables, &auth.id)
        })
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.read(|tables| record(&tables.open_table(RECORDS)?, id))
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let texts = codec::encode(auth)?;
        self.write(|tables| {
            let stored = record(&tables.open_table(RECORDS)?, &auth.id)?;
            if !Revision::allows(expected, stored.as_ref(), auth) {
                return Ok(Saved::Conflict(stored.map(Box::new)));
            }
            put(tables, &auth.id, &texts)?;
            Ok(Saved::At(auth.id.clone()))
        })
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        self.read(|tables| {
            let is_known = tables.open_table(VERSIONS)?.get(id)?.is_some();
            let is_there = tables.open_table(RECORDS)?.get(id)?.is_some();
            let was_removed = is_known && !is_there;
            Ok(if was_removed {
                Missing::Removed
            } else {
                Missing::Lost
            })
        })
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let mut held = self.locks.held.lock();
        let is_held = |held: &mut HashSet<String>| held.contains(id);
        let waited = self.locks.released.wait_while_for(&mut held, is_held, wait);
        if waited.timed_out() && is_held(&mut held) {
            return Ok(None);
        }
        held.insert(id.to_owned());
        Ok(Some(Box::new(RedbLock {
            store: self.clone(),
            id: id.to_owned(),
        })))
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        self.read(|tables| {
            let (log, records) = (tables.open_table(LOG)?, tables.open_table(RECORDS)?);
            let last = log.last()?.map_or(0, |(version, _)| version.value());
            let mut changes = Changes::none(Cursor::new(format!("{} {last}", self.history)));
            if let Some(since) = since {
                let version = since.as_str().strip_prefix(&format!("{} ", self.history));
                let version: Option<u64> = version.and_then(|version| version.parse().ok());
                changes.complete = version.is_none();
                for row in log.range(version.map_or(0, |version| version + 1)..)? {
                    let (_, id) = row?;
                    match records.get(id.value())? {
                        Some(texts) => {
                            let (credential, state) = texts.value();
                            changes.add(id.value(), credential, Some(state));
                        }
                        None => changes.removed.push(id.value().to_owned()),
                    }
                }
            }
            Ok(Some(changes))
        })
    }
}

/// The right to refresh one record. A process that ends gives it back with the file.
struct RedbLock {
    store: RedbStore,
    id: String,
}

impl RecordLock for RedbLock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        self.store.read(|tables| {
            let intent = tables.open_table(INTENTS)?.get(&*self.id)?;
            let intent = intent.map(|text| serde_json::from_str(text.value()));
            Ok(intent.transpose()?)
        })
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        self.store.write(|tables| {
            let mut intents = tables.open_table(INTENTS)?;
            match intent {
                Some(intent) => intents.insert(&*self.id, &*serde_json::to_string(intent)?)?,
                None => intents.remove(&*self.id)?,
            };
            Ok(())
        })
    }
}

impl Drop for RedbLock {
    fn drop(&mut self) {
        self.store.locks.held.lock().remove(&self.id);
        self.store.locks.released.notify_all();
    }
}
