//! [`SqliteStore`]: records in one database file that processes of one machine share.

mod fork;
mod link;
mod rows;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::TransactionBehavior;

use self::link::Link;
use self::rows::Rows;
use super::codec::shown;
use super::codec::{self, conflict, intent_text, read_intent};
use super::entry::{from_millis, last_of_each, millis};
use super::file::names;
use super::support::connection_pool::Idle;
use super::support::lock_file::LockFile;
use super::support::permissions;
use super::support::truncation::Truncation;
use super::{
    Changes, Cursor, Intent, Listing, Missing, RecordLock, Revision, Saved, Store, StoreEntry,
};
use crate::auth::Auth;
use crate::error::Error;
use crate::random;
use crate::runtime::PerProcess;

/// A store in an SQLite database (feature `sqlite`): one file for all records, for any number of processes of one machine.
///
/// SQLite itself is compiled in. The tables' names begin with `credpool_`, so that the file may hold a program's own tables, too.
///
/// # Guarantees
///
/// * When [`save`](Store::save) returns, the record is durable: the database is in WAL mode with `synchronous=FULL`. After a
///   crash, the former or the new record is there, whole. A state that [`save_state`](Store::save_state) has written survives the
///   end of the process; a failure of the machine may bring a former one back (`synchronous=NORMAL`).
/// * [`save_if`](Store::save_if) compares and writes in one transaction (`BEGIN IMMEDIATE`). A database that is busy is waited
///   for, 5 seconds at most.
/// * [`lock`](Store::lock) is a lock of the system on a file in the directory `NAME.locks` beside the database: a process that
///   is killed holds none. The files are empty and are never removed.
/// * [`changes`](Store::changes) tells what other handles and processes wrote and removed, in the order of their commits, and
///   no write of this handle. Where another file has taken the database's place, or its version went back, an older copy was
///   restored: it then tells all there is, and that this is [complete](Changes::complete). A copy that is written over the
///   file in place, and brought beyond the last look before the next one, is not seen as such until the store is opened again.
/// * A database that is replaced under its path is opened anew. One that is removed is an error until it is back: it is not made again.
/// * The runtime state is apart from the credential: a cooldown never rewrites a token.
/// * The file is private to its owner (0600), the locks' directory too (0700).
///
/// # Limits
///
/// The file system must be a local one: neither SQLite's WAL nor the locks work on a network file system. Tokens are in the file as
/// they are, and may stay in its free pages after they were replaced. What this crate reads and writes is wiped from memory; what
/// SQLite keeps of it in its own, as the pages that it has read, is not. Part of a record that is over 1 MiB is refused. That
/// a record was removed is remembered for 30 days.
///
/// ```
/// use credpool::{Auth, SqliteStore, Store};
///
/// # let home = tempfile::tempdir()?;
/// # let home = home.path();
/// let store = SqliteStore::open(home.join("credentials.db"))?;
/// store.save(&Auth::api_key("openai", "sk-123").with_id("team-a"))?;
///
/// let again = SqliteStore::open(home.join("credentials.db"))?;
/// assert_eq!(again.load("team-a")?.unwrap().provider, "openai");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    locks: PathBuf,
    own: PerProcess<Own>,
    truncation: Truncation,
}

/// What one process has.
struct Own {
    /// Tells this handle's writes from those of others.
    writer: i64,
    idle: Idle<Link>,
}

impl Own {
    fn new() -> io::Result<Self> {
        Ok(Self {
            writer: i64::from_le_bytes(random::bytes()?),
            idle: Idle::default(),
        })
    }
}

impl SqliteStore {
    /// Opens the store in the database at `path`, which is created if it does not exist; its directory must.
    ///
    /// # Errors
    /// [`ErrorCode::Store`](crate::ErrorCode::Store) when it cannot be created or is no database; [`ErrorCode::Config`](crate::ErrorCode::Config) when it cannot be put into WAL
    /// mode.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |error: io::Error| {
            let message = format!(
                "could not open the database {}: {error}; check the path and its permissions",
                path.display()
            );
            Error::store(message).with_source(error)
        };
        let path = prepare(path).map_err(failed)?;
        let mut locks = path.clone().into_os_string();
        locks.push(".locks");
        let locks = PathBuf::from(locks);
        fork::leave_parents()?;
        let store = Self {
            inner: Arc::new(Inner {
                path,
                locks,
                own: PerProcess::new(Own::new().map_err(failed)?),
                truncation: Truncation::default(),
            }),
        };
        let link = Link::open(&store.inner.path)?;
        store.inner.own()?.idle.put_back(link);
        fork::note(&store.inner);
        // Only beside what is a database.
        permissions::create_dir(&store.inner.locks).map_err(failed)?;
        Ok(store)
    }

    /// The database, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn location(&self, id: &str) -> String {
        format!("{}#{id}", self.inner.path.display())
    }
}

impl Store for SqliteStore {
    fn list(&self) -> Result<Listing, Error> {
        self.inner.rows("list the credentials", |rows| {
            let (version, history) = rows.position()?;
            let mut listing = Listing::default().with_cursor(cursor(version, &history));
            rows.each(|id, credential, state| listing.add(id, credential, state))?;
            Ok(listing)
        })
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let texts = codec::encode(auth)?;
        self.inner
            .write(&auth.id, |rows| rows.put(&auth.id, &texts))?;
        Ok(self.location(&auth.id))
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.inner.write(id, |rows| rows.remove(id))
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let state = codec::encode_state(auth)?;
        self.inner
            .write_volatile(&auth.id, |rows| rows.put_state(&auth.id, &state))
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        let stored = self.inner.rows("load a credential", |rows| rows.get(id));
        let stored = stored.map_err(|error| error.with_auth_id(id))?;
        stored.map_or(Ok(None), |(credential, state)| {
            codec::decode(id, &credential, state.as_deref()).map(Some)
        })
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let texts = codec::encode(auth)?;
        let conflict = self.inner.write(&auth.id, |rows| {
            let stored = rows.get(&auth.id)?;
            let conflict = conflict(stored.as_ref(), expected, auth);
            if matches!(conflict, Ok(None)) {
                rows.put(&auth.id, &texts)?;
            }
            Ok(conflict)
        })??;
        Ok(match conflict {
            None => Saved::At(self.location(&auth.id)),
            Some(stored) => Saved::Conflict(stored),
        })
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        let looked = self
            .inner
            .rows("look for a removal", |rows| rows.is_removed(id));
        looked
            .map(Missing::of)
            .map_err(|error| error.with_auth_id(id))
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let path = self
            .inner
            .locks
            .join(format!("{}.refresh", names::safe_name(id)));
        let lock = LockFile::take(&path, wait).map_err(|error| {
            let message = format!(
                "could not lock credential {}: {error}; check that {} is a writable directory",
                shown(id),
                self.inner.locks.display()
            );
            Error::store(message).with_auth_id(id).with_source(error)
        })?;
        Ok(lock.map(|lock| {
            Box::new(SqliteLock {
                _lock: lock,
                inner: Arc::clone(&self.inner),
                id: id.to_owned(),
            }) as Box<dyn RecordLock>
        }))
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        self.inner.rows("look for changes", |rows| {
            let (version, history) = rows.position()?;
            let mut changes = Changes::none(cursor(version, &history));
            if let Some(since) = since {
                // One of another history begins at the beginning.
                let since = since.as_str().split_once(' ');
                let since = since.filter(|(_, of)| *of == history);
                let since = since.and_then(|(since, _)| since.parse().ok());
                let since = since.filter(|since| (0..=version).contains(since));
                changes.complete = since.is_none();
                // Records are looked at where anything was written at all.
                if since != Some(version) {
                    rows.each_since(since, |id, credential, state| match credential {
                        Some(credential) => changes.add(id, credential, state),
                        None => changes.removed.push(id.to_owned()),
                    })?;
                }
            }
            Ok(Some(changes))
        })
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        self.inner.rows("look for entries", |rows| {
            let mut found = Vec::new();
            for key in keys {
                if let Some((value, ends)) = rows.entry(key)? {
                    let value = String::from_utf8_lossy(&value);
                    found.push(StoreEntry::new(key, value, from_millis(ends)));
                }
            }
            Ok(found)
        })
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        let inner = &self.inner;
        let immediate = TransactionBehavior::Immediate;
        inner.within(immediate, false, "write entries", |rows| {
            for entry in last_of_each(entries) {
                match &entry.value {
                    Some(value) => rows.put_entry(&entry.key, value, millis(entry.expires_at))?,
                    None => rows.remove_entry(&entry.key)?,
                }
            }
            if inner.truncation.is_due(entries.len(), most) {
                rows.truncate_entries(i64::try_from(most).unwrap_or(i64::MAX))?;
            }
            Ok(())
        })
    }
}

/// Where what has changed after this version begins.
fn cursor(version: i64, history: &str) -> Cursor {
    Cursor::new(format!("{version} {history}"))
}

/// The right to refresh one record.
struct SqliteLock {
    _lock: LockFile,
    inner: Arc<Inner>,
    id: String,
}

impl RecordLock for SqliteLock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        let text = self
            .inner
            .rows("read an intent", |rows| rows.intent(&self.id))?;
        text.map_or(Ok(None), |text| read_intent(&self.id, &text).map(Some))
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        let text = intent.map(intent_text).transpose()?;
        self.inner
            .write(&self.id, |rows| rows.set_intent(&self.id, text.as_deref()))
    }
}

impl Inner {
    fn own(&self) -> Result<&Own, Error> {
        self.own.get(|_| {
            fork::leave_parents()?;
            Own::new().map_err(|error| {
                let message = format!(
                    "could not open the database {}: {error}",
                    self.path.display()
                );
                Error::store(message).with_source(error)
            })
        })
    }

    /// Reads in one transaction.
    fn rows<T>(
        &self,
        what: &str,
        work: impl FnOnce(&Rows<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.within(TransactionBehavior::Deferred, true, what, work)
    }

    /// As [`write`](Self::write), for what may be lost when the machine fails: the transaction is not waited for to be on the disk.
    fn write_volatile<T>(
        &self,
        id: &str,
        work: impl FnOnce(&Rows<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let what = format!("write the state of credential {}", shown(id));
        self.within(TransactionBehavior::Immediate, false, &what, work)
            .map_err(|error| error.with_auth_id(id))
    }

    /// Reads and writes in one transaction, which is durable when this returns.
    fn write<T>(
        &self,
        id: &str,
        work: impl FnOnce(&Rows<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let what = format!("write credential {}", shown(id));
        self.within(TransactionBehavior::Immediate, true, &what, work)
            .map_err(|error| error.with_auth_id(id))
    }

    /// One transaction. One that is not `durable` is not waited for to be on the disk.
    fn within<T>(
        &self,
        behavior: TransactionBehavior,
        durable: bool,
        what: &str,
        work: impl FnOnce(&Rows<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let own = self.own()?;
        let transact = |link: &mut Link| {
            if !durable {
                link.connection.execute_batch("PRAGMA synchronous=NORMAL")?;
            }
            let transaction = link.connection.transaction_with_behavior(behavior)?;
            let done = work(&Rows {
                tables: &transaction,
                writer: own.writer,
                file: link.file,
            })?;
            transaction.commit()?;
            if !durable {
                link.connection.execute_batch(DURABLE)?;
            }
            Ok(done)
        };
        let failed = |error: rusqlite::Error| {
            let message = format!(
                "could not {what} in {}: {error}; check that it is an intact database, that there is space, and that no other program keeps it locked",
                self.path.display()
            );
            Error::store(message).with_source(error)
        };
        own.idle.with(
            // What is written to a file that has no name any more is lost.
            |link| link.is_at(&self.path),
            || Link::open(&self.path),
            |link| transact(link).map_err(failed),
        )
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

/// The database's absolute path. The file is there and private; SQLite gives those beside it the same rights.
fn prepare(path: &Path) -> io::Result<PathBuf> {
    match permissions::create_file(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let path = fs::canonicalize(path)?;
    // Nothing else is touched: a directory would lose the rights of others, a pipe would never open.
    if !fs::metadata(&path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let file = fs::File::open(&path)?;
    permissions::tighten_file(&file, &file.metadata()?, &path.display().to_string());
    Ok(path)
}

/// Every commit is on the disk when it returns.
const DURABLE: &str = "PRAGMA synchronous=FULL";
