//! [`PostgresStore`]: records in a PostgreSQL database that processes of many machines share.

mod entries;
mod link;
mod listen;
mod lock;
mod rows;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use diesel::pg::PgConnection;
use diesel::result::QueryResult;
use zeroize::Zeroizing;

use self::link::Link;
use self::listen::Ear;
use self::rows::{Looked, Over};
use super::codec::{self, MOST_RACES, Parts, conflict, overtaken};
use super::entry::from_millis;
use super::support::truncation::Truncation;
use super::{Changes, Cursor, Listing, Missing, RecordLock, Revision, Saved, Store, StoreEntry};
use crate::auth::{Auth, Secret};
use crate::error::Error;

/// A store in a PostgreSQL database (feature `postgres`): for a fleet of processes on any number of machines, which share
/// credentials and cooldowns, and refresh a token one at a time.
///
/// It goes over libpq, which must be installed (`libpq-dev` to build). PostgreSQL 14 or later. The tables `credpool_records`,
/// `credpool_intents` and `credpool_entries` are made in the first schema of the search path where they are missing. Add `connect_timeout=5` and
/// `tcp_user_timeout=10000` to the connection string: they bound how long an unreachable server is waited for.
///
/// # Guarantees
///
/// * When [`save`](Store::save) returns, the transaction is committed with `synchronous_commit` on. After a crash of either
///   side, the former or the new record is there, whole.
/// * [`save_if`](Store::save_if) compares what it has read, and writes in one statement, only over that. Where the answer to a commit is lost, it asks again: the
///   same record is there, or the former one, or a later one that is given back.
/// * [`lock`](Store::lock) is an advisory lock on a connection of its own. The server takes it back when that connection ends,
///   hence when the process does; when its machine is gone without a word, after about half a minute.
/// * [`changes`](Store::changes) tells what others wrote and removed, whatever the order of their commits, and no write of this
///   handle. While a transaction is open for long anywhere on the server, it may tell some of it again. After a start of the server,
///   as of a replica that takes its place, and where the table was restored, it tells all there is, and that this is
///   [complete](Changes::complete): what is not among it was lost. Rows that an administrator writes into the same table with former
///   transaction numbers are seen by the next [`list`](Store::list) alone.
/// * Triggers on the table notify of each change (`LISTEN`), and [`is_quiet`](Store::is_quiet) hears it on a connection of its own: as long as
///   nothing changes, hot reload asks the server once a minute. Where the triggers cannot be made, or are disabled, it asks at each interval.
///   A table that is dropped and restored is found within that minute.
/// * The runtime state is apart from the credential: a cooldown never rewrites a token.
/// * A connection that has died is replaced, and what it was used for is done again, once.
///
/// # Limits
///
/// Locks need a session: a connection pooler in transaction mode breaks them. A holder that loses its connection does not know
/// until it notes an intent or saves; what another one has written by then wins. It may live on, so that
/// [`holder_is_dead`](RecordLock::holder_is_dead) is false. What a server with
/// `fsync=off`, or a failover to a replica that is not synchronous, has lost is lost here too. Tokens are in the tables as they
/// are: grant access accordingly. What this crate reads and writes is wiped from memory; what libpq keeps in its own is not. Part of a record that is over 1 MiB is refused. That a record was removed is remembered
/// for 30 days. Each thread that uses the store at the same moment has a connection; four stay open.
///
/// ```no_run
/// use credpool::{Manager, PostgresStore};
///
/// let url = "postgres://credpool@db.example.org/fleet?connect_timeout=5&tcp_user_timeout=10000";
/// let manager = Manager::builder().store(PostgresStore::connect(url)?).build()?;
/// manager.load()?;
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone)]
pub struct PostgresStore {
    link: Arc<Link>,
    truncation: Arc<Truncation>,
}

impl PostgresStore {
    /// Connects to the database, and makes the tables where they are missing.
    ///
    /// `url` is what libpq takes: a URL or `name=value` pairs. It may hold a password, and is in no error and no log line.
    ///
    /// # Errors
    /// [`ErrorCode::Config`](crate::ErrorCode::Config) when `url` does not parse; [`ErrorCode::Store`](crate::ErrorCode::Store) when the server cannot be reached, refuses, or
    /// cannot make the tables.
    pub fn connect(url: impl Into<Secret>) -> Result<Self, Error> {
        let store = Self {
            link: Arc::new(Link::new(url.into())?),
            truncation: Arc::default(),
        };
        store.link.run("make the tables", rows::create)?;
        Ok(store)
    }

    fn run_for<T>(
        &self,
        id: &str,
        what: &str,
        work: impl Fn(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, Error> {
        self.link
            .run(what, work)
            .map_err(|error| error.with_auth_id(id))
    }

    /// A credential and its state, as they are stored.
    fn parts(&self, id: &str) -> Result<Option<Parts>, Error> {
        let row = self.run_for(id, "load a credential", |connection| {
            rows::get(connection, id)
        })?;
        Ok(row.and_then(|mut row| {
            let credential = row.credential.take().map(Zeroizing::new)?;
            Some((credential, row.state.take()))
        }))
    }
}

impl Store for PostgresStore {
    fn list(&self) -> Result<Listing, Error> {
        let (horizon, rows) = self.link.run("list the credentials", rows::all)?;
        let mut listing = Listing::default().with_cursor(horizon.cursor());
        for row in rows {
            let credential = row.credential.as_deref().unwrap_or_default();
            listing.add(&row.id(), credential, row.state.as_deref());
        }
        Ok(listing)
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let writer = self.link.own()?.writer;
        let texts = codec::encode(auth)?;
        self.run_for(&auth.id, "save a credential", |connection| {
            rows::put(connection, writer, &auth.id, &texts, Over::Anything)
        })?;
        Ok(location(&auth.id))
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        let writer = self.link.own()?.writer;
        self.run_for(id, "delete a credential", |connection| {
            rows::remove(connection, writer, id)
        })
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let writer = self.link.own()?.writer;
        let state = codec::encode_state(auth)?;
        self.run_for(&auth.id, "save the state of a credential", |connection| {
            rows::put_state(connection, writer, &auth.id, &state)
        })
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.parts(id)?.map_or(Ok(None), |(credential, state)| {
            codec::decode(id, &credential, state.as_deref()).map(Some)
        })
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let writer = self.link.own()?.writer;
        let texts = codec::encode(auth)?;
        for _ in 0..MOST_RACES {
            let stored = self.parts(&auth.id)?;
            if let Some(stored) = conflict(stored.as_ref(), expected, auth)? {
                return Ok(Saved::Conflict(stored));
            }
            let is_made =
                self.run_for(&auth.id, "save a credential", |connection| match &stored {
                    Some((there, _)) => rows::swap(connection, writer, &auth.id, &texts, there),
                    None => rows::put(connection, writer, &auth.id, &texts, Over::Nothing),
                })?;
            if is_made {
                return Ok(Saved::At(location(&auth.id)));
            }
            // Another one has written it in between, or the answer to an attempt that succeeded was lost.
        }
        Err(overtaken(&auth.id))
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        let looked = self.run_for(id, "look for a removal", |connection| {
            rows::is_removed(connection, id)
        });
        looked.map(Missing::of)
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let lock = lock::take(&self.link, id, wait)?;
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn RecordLock>))
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let own = self.link.own()?;
        let Some(since) = since else {
            let horizon = self.link.run("look for changes", rows::horizon)?;
            return Ok(Some(Changes::none(horizon.cursor())));
        };
        let look = |connection: &mut _| rows::since(connection, own.writer, since);
        if let Some(mut ear) = own.notices.take() {
            if let Ok(looked) = look(&mut ear.connection)
                && ear.is_of(&looked.horizon)
            {
                let changes = Changes {
                    is_notified: true,
                    ..told(looked)
                };
                own.notices.give_back(ear, &changes.cursor);
                return Ok(Some(changes));
            }
            // It has died, or the table is another one.
            own.notices.lose();
        }
        let looked = self.link.run("look for changes", look)?;
        Ok(Some(told(looked)))
    }

    fn is_quiet(&self, since: &Cursor) -> bool {
        let Ok(own) = self.link.own() else {
            return false;
        };
        let open = || {
            let connection = self.link.connect()?;
            let failed = |error| link::failed("listen for changes", error);
            Ear::open(connection, own.writer).map_err(failed)
        };
        own.notices.is_quiet(since, open)
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        let rows = self.link.run("look for entries", |connection| {
            entries::load(connection, keys)
        })?;
        let found = rows.into_iter().map(|row| {
            let (key, value) = (row.key(), row.value());
            StoreEntry::new(key, value, from_millis(row.expires_at))
        });
        Ok(found.collect())
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        let is_due = self.truncation.is_due(entries.len(), most);
        let most = is_due.then(|| i64::try_from(most).unwrap_or(i64::MAX));
        self.link.run("write entries", |connection| {
            entries::save(connection, entries, most)
        })
    }
}

fn told(looked: Looked) -> Changes {
    let mut changes = Changes::none(looked.horizon.cursor());
    changes.complete = looked.complete;
    for row in looked.rows {
        match &row.credential {
            Some(credential) => changes.add(&row.id(), credential, row.state.as_deref()),
            None => changes.removed.push(row.id()),
        }
    }
    changes
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

fn location(id: &str) -> String {
    format!("credpool_records#{id}")
}
