//! A store over [redb](https://www.redb.org): what an author of a store writes, with the public interface alone.

use std::error::Error as StdError;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Changes, Cursor, Error, ErrorCode, Intent, Listing, MemoryStore, Missing, RecordLock,
    Revision, Saved, Store, codec,
};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

/// By id: when a record last changed, its credential and its state. A removed one stays, with an empty credential.
const RECORDS: TableDefinition<&str, Record> = TableDefinition::new("credpool_records");
type Record = (u64, &'static str, &'static str);
type Texts = (String, String);
/// How many changes there have been.
const VERSION: TableDefinition<(), u64> = TableDefinition::new("credpool_version");
const INTENTS: TableDefinition<&str, &str> = TableDefinition::new("credpool_intents");

/// A store in a redb database: one file, which redb locks for one process. Clones share it.
#[derive(Clone)]
pub(crate) struct RedbStore {
    database: Arc<Database>,
    /// For its locks: no other process has the file.
    locks: Arc<MemoryStore>,
    /// Tells cursors of this opening from those of others.
    history: u64,
}

/// Fails with an error of redb, of the codec, or of a text in the database.
type Outcome<T> = Result<T, Box<dyn StdError + Send + Sync>>;

impl RedbStore {
    /// Opens the database, and creates it where it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let open = || -> Outcome<Self> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            // It holds tokens: its owner's alone.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let database = Database::builder().create_file(options.open(path)?)?;
            let tables = database.begin_write()?;
            tables.open_table(RECORDS)?;
            tables.open_table(VERSION)?;
            tables.open_table(INTENTS)?;
            tables.commit()?;
            Ok(Self {
                database: Arc::new(database),
                locks: Arc::default(),
                history: RandomState::new().hash_one(0),
            })
        };
        told(open())
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Outcome<T>) -> Result<T, Error> {
        let within = || work(&self.database.begin_read()?);
        told(within())
    }

    /// Reads and writes in one transaction, which is on the disk when this returns. They run one at a time.
    fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Outcome<T>) -> Result<T, Error> {
        let within = || -> Outcome<T> {
            let transaction = self.database.begin_write()?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        told(within())
    }

    /// What was written and removed after a version.
    fn after(&self, since: u64) -> Result<Changes, Error> {
        self.read(|tables| {
            let version = tables.open_table(VERSION)?.get(())?;
            let version = version.map_or(0, |version| version.value());
            let mut changes = Changes::none(Cursor::new(format!("{} {version}", self.history)));
            for row in tables.open_table(RECORDS)?.iter()? {
                let (id, record) = row?;
                match record.value() {
                    (at, ..) if at <= since => {}
                    (_, "", _) => changes.removed.push(id.value().to_owned()),
                    (_, credential, state) => changes.add(id.value(), credential, Some(state)),
                }
            }
            Ok(changes)
        })
    }
}

fn told<T>(outcome: Outcome<T>) -> Result<T, Error> {
    outcome.map_err(|failure| match failure.downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => Error::new(ErrorCode::Store, format!("redb failed: {other}")),
    })
}

/// Credential and state of a record that is there.
fn texts(records: &impl ReadableTable<&'static str, Record>, id: &str) -> Outcome<Option<Texts>> {
    let record = records.get(id)?;
    let texts = record.map(|record| (record.value().1.to_owned(), record.value().2.to_owned()));
    Ok(texts.filter(|(credential, _)| !credential.is_empty()))
}

fn decode(id: &str, texts: Option<Texts>) -> Result<Option<Auth>, Error> {
    let decode = |(credential, state): Texts| codec::decode(id, &credential, Some(&state));
    texts.map(decode).transpose()
}

fn put(tables: &WriteTransaction, id: &str, credential: &str, state: &str) -> Outcome<()> {
    let mut version = tables.open_table(VERSION)?;
    let next = version.get(())?.map_or(1, |version| version.value() + 1);
    version.insert((), next)?;
    let mut records = tables.open_table(RECORDS)?;
    records.insert(id, (next, credential, state))?;
    Ok(())
}

impl Store for RedbStore {
    fn list(&self) -> Result<Listing, Error> {
        let all = self.after(0)?;
        let mut listing = Listing::of(all.written).with_cursor(all.cursor);
        listing.skipped = all.skipped;
        Ok(listing)
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let new = codec::encode(auth)?;
        self.write(|tables| put(tables, &auth.id, new.credential(), new.state()))?;
        Ok(auth.id.clone())
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.write(|tables| {
            tables.open_table(INTENTS)?.remove(id)?;
            let stored = texts(&tables.open_table(RECORDS)?, id)?;
            stored.map_or(Ok(()), |_| put(tables, id, "", ""))
        })
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let state = codec::encode_state(auth)?;
        self.write(|tables| {
            let stored = texts(&tables.open_table(RECORDS)?, &auth.id)?;
            stored.map_or(Ok(()), |(credential, _)| {
                put(tables, &auth.id, &credential, &state)
            })
        })
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        let stored = self.read(|tables| texts(&tables.open_table(RECORDS)?, id))?;
        decode(id, stored)
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let new = codec::encode(auth)?;
        self.write(|tables| {
            let stored = texts(&tables.open_table(RECORDS)?, &auth.id)?;
            let stored = decode(&auth.id, stored)?;
            if !Revision::allows(expected, stored.as_ref(), auth) {
                return Ok(Saved::Conflict(stored.map(Box::new)));
            }
            put(tables, &auth.id, new.credential(), new.state())?;
            Ok(Saved::At(auth.id.clone()))
        })
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        self.read(|tables| {
            let record = tables.open_table(RECORDS)?.get(id)?;
            let is_removed = record.is_some_and(|record| record.value().1.is_empty());
            Ok(if is_removed {
                Missing::Removed
            } else {
                Missing::Lost
            })
        })
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let lock = self.locks.lock(id, wait)?;
        Ok(lock.map(|lock| -> Box<dyn RecordLock> {
            let (store, id) = (self.clone(), id.to_owned());
            Box::new(RedbLock {
                store,
                id,
                _lock: lock,
            })
        }))
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let Some(since) = since else {
            return self.after(u64::MAX).map(Some);
        };
        let since = since.as_str().split_once(' ');
        let since = since.filter(|(history, _)| *history == self.history.to_string());
        let since: Option<u64> = since.and_then(|(_, version)| version.parse().ok());
        let mut changes = self.after(since.unwrap_or(0))?;
        changes.complete = since.is_none();
        Ok(Some(changes))
    }
}

/// The right to refresh one record, and its intent in the database.
struct RedbLock {
    store: RedbStore,
    id: String,
    _lock: Box<dyn RecordLock>,
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
