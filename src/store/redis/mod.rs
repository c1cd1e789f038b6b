//! [`RedisStore`]: records in a Redis server that processes of many machines share.

mod entries;
mod link;
mod listen;
mod lock;
mod scripts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;

use self::entries::Entries;
use self::link::Link;
use self::listen::Ear;
use self::scripts::{Names, Over, Row};
use super::codec::{self, MOST_RACES, Parts, conflict, overtaken};
use super::entry::{from_millis, last_of_each};
use super::{
    Changes, Cursor, Listing, Missing, RecordLock, Revision, Saved, Skipped, Store, StoreEntry,
};
use crate::auth::{Auth, Secret};
use crate::error::Error;

/// A store in a Redis server (feature `redis`): for a fleet of processes on any number of machines, which share credentials and
/// cooldowns, and refresh a token one at a time.
///
/// Redis 7 or later, one server: redirections of a cluster are not followed. Keys begin with `{credpool}`, or another name that
/// [`with_name`](Self::with_name) sets.
///
/// # Guarantees
///
/// * What is written is written by a script, whole. When [`save`](Store::save) returns, the server has the record; whether it is on disk
///   is up to the server, see below.
/// * [`save_if`](Store::save_if) compares what it has read, and writes in one step, only over that. Where the answer is lost, it asks
///   again: the same record is there, or the former one, or a later one that is given back.
/// * [`lock`](Store::lock) is a lease of three seconds ([`with_lease`](Self::with_lease)) that a thread renews as long as it is
///   held: when its holder is gone, however it went, others have it after that time. A holder that was cut off for longer can neither
///   note an intent nor replace what the next one has saved. A lease may end while its holder lives, so that
///   [`holder_is_dead`](RecordLock::holder_is_dead) is false; [`is_held`](RecordLock::is_held) tells the holder.
/// * [`changes`](Store::changes) tells what others wrote and removed, in the order in which they did, and no write of this handle.
/// * The server tells on a connection of its own when a change is counted or all is lost (client tracking, RESP 3), and
///   [`is_quiet`](Store::is_quiet) hears it: as long as nothing changes, hot reload asks the server once a minute. Where its user may not run
///   `CLIENT TRACKING`, it asks at each interval.
/// * The runtime state is apart from the credential: a cooldown never rewrites a token.
/// * A connection that has died is replaced, and what it was used for is done again, once.
///
/// # What a server can lose
///
/// A rotated refresh token exists nowhere else: what the server loses is a login. With `appendonly yes` and `appendfsync always` a
/// write that was answered is on disk. With `appendfsync everysec`, the default of an append-only file, a power cut may take the last
/// second with it; with snapshots alone, minutes; with neither, everything. Replication is asynchronous: a failover to a replica may lose
/// what the former server had just answered. Where that matters, use [`PostgresStore`](crate::PostgresStore) or
/// [`FileStore`](crate::FileStore) instead. A server that may evict keys (`maxmemory` with another policy than `noeviction`) is refused.
///
/// # Limits
///
/// Tokens are on the server as they are: grant access accordingly. A connection to `redis://…` is not encrypted: use it on loopback
/// alone, and `rediss://…` elsewhere, which is TLS 1.2 or 1.3 by rustls. Where the program itself has rustls with another cryptographic
/// provider than `ring`, it says which is meant (`CryptoProvider::install_default`) before it connects. Connecting takes 5 s at most, an
/// answer 10, and both may be tried twice. What this crate reads and writes is wiped from memory; the buffers of its connections are not.
/// Part of a record that is over 1 MiB is refused. That a record was removed is remembered for 30 days. Each thread that uses the store at
/// the same moment has a connection; four stay open.
///
/// ```no_run
/// use credpool::{Manager, RedisStore};
///
/// let store = RedisStore::connect("rediss://credpool:secret@redis.example.org/0")?;
/// let manager = Manager::builder().store(store).build()?;
/// manager.load()?;
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    names: Names,
    entries: Entries,
    lease: Duration,
}

impl RedisStore {
    /// Connects to the server.
    ///
    /// `url` is `redis://user:password@host:port/database`, `rediss://…` over TLS, or `redis+unix:///path`. It may hold a password,
    /// and is in no error and no log line. Over TLS, the server's certificate has to be for `host`, by an authority that the system
    /// trusts.
    ///
    /// # Errors
    /// [`ErrorCode::Config`](crate::ErrorCode::Config) when `url` does not parse, or the server may evict keys;
    /// [`ErrorCode::Store`](crate::ErrorCode::Store) when it cannot be reached or refuses.
    pub fn connect(url: impl Into<Secret>) -> Result<Self, Error> {
        Self::open(Link::new(&url.into(), None)?)
    }

    /// As [`connect`](Self::connect), over TLS, with the root certificates that are trusted instead of the system's: one or more, in
    /// PEM ([RFC 7468](https://www.rfc-editor.org/rfc/rfc7468#section-5)).
    ///
    /// # Errors
    /// As of [`connect`](Self::connect), and [`ErrorCode::Config`](crate::ErrorCode::Config) when `roots` has no certificate in it, or
    /// `url` is not `rediss://…`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::RedisStore;
    ///
    /// fn open(certificate: &[u8]) -> Result<RedisStore, credpool::Error> {
    ///     let store = RedisStore::connect_trusting("rediss://redis.example.org:6379", certificate)?;
    ///     // Records under a name of their own, and locks that outlive their holder by 30 seconds.
    ///     Ok(store.with_name("staging").with_lease(Duration::from_secs(30)))
    /// }
    /// ```
    pub fn connect_trusting(url: impl Into<Secret>, roots: &[u8]) -> Result<Self, Error> {
        Self::open(Link::new(&url.into(), Some(roots))?)
    }

    fn open(link: Link) -> Result<Self, Error> {
        let store = Self {
            link: Arc::new(link),
            names: Names::of("credpool"),
            entries: Entries::of("credpool"),
            lease: Duration::from_secs(3),
        };
        let info = store.link.run("report its configuration", scripts::info)?;
        check(&info)?;
        Ok(store)
    }

    /// Sets under what name the keys are, for several pools on one server. Default: `credpool`.
    pub fn with_name(mut self, name: &str) -> Self {
        self.names = Names::of(name);
        self.entries = Entries::of(name);
        self
    }

    /// Sets for how long a lock stays with a holder that does not renew it. Default: 3 s; at least 100 ms. A holder renews three times as
    /// often. It should be above the longest pause that a healthy process makes. A process that is killed in the middle of a refresh keeps
    /// others from that refresh for 35 seconds more, see [`RecordLock::holder_is_dead`].
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_millis(100));
        self
    }

    fn run_for<T>(
        &self,
        id: &str,
        what: &str,
        work: impl Fn(&mut redis::Connection) -> RedisResult<T>,
    ) -> Result<T, Error> {
        self.link
            .run(what, work)
            .map_err(|error| error.with_auth_id(id))
    }

    fn put(&self, auth: &Auth, over: Over<'_>) -> Result<bool, Error> {
        let writer = &self.link.own()?.writer;
        let texts = codec::encode(auth)?;
        self.run_for(&auth.id, "save a credential", |connection| {
            self.names.put(connection, writer, &auth.id, &texts, over)
        })
    }

    /// A credential and its state, as they are stored.
    fn parts(&self, id: &str) -> Result<Option<Parts>, Error> {
        self.run_for(id, "load a credential", |connection| {
            self.names.get(connection, id)
        })
    }

    fn location(&self, id: &str) -> String {
        format!("{}{id}", self.names.record)
    }
}

impl Store for RedisStore {
    fn list(&self) -> Result<Listing, Error> {
        // What changes while it is read is reported as a change.
        let ((version, count), mut ids) = self.link.run("list the credentials", |connection| {
            Ok((self.names.version(connection)?, self.names.ids(connection)?))
        })?;
        ids.sort_unstable();
        let mut listing = Listing::default().with_cursor(cursor(version, &count));
        for some in ids.chunks(AT_ONCE) {
            let rows = self.link.run("list the credentials", |connection| {
                self.names.rows(connection, some)
            })?;
            for row in rows {
                match row {
                    Row::Record {
                        id,
                        credential,
                        state,
                    } => listing.add(&id, &credential, state.as_deref()),
                    Row::Removed(_) => {}
                    Row::Odd(id) => listing.skipped.push(self.odd(&id)),
                }
            }
        }
        Ok(listing)
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.put(auth, Over::Anything)?;
        Ok(self.location(&auth.id))
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        let writer = &self.link.own()?.writer;
        self.run_for(id, "delete a credential", |connection| {
            self.names.remove(connection, writer, id)
        })
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let writer = &self.link.own()?.writer;
        let state = codec::encode_state(auth)?;
        self.run_for(&auth.id, "save the state of a credential", |connection| {
            self.names.put_state(connection, writer, &auth.id, &state)
        })
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.parts(id)?.map_or(Ok(None), |(credential, state)| {
            codec::decode(id, &credential, state.as_deref()).map(Some)
        })
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        for _ in 0..MOST_RACES {
            let stored = self.parts(&auth.id)?;
            if let Some(stored) = conflict(stored.as_ref(), expected, auth)? {
                return Ok(Saved::Conflict(stored));
            }
            let over = stored
                .as_ref()
                .map_or(Over::Nothing, |(there, _)| Over::This(there));
            if self.put(auth, over)? {
                return Ok(Saved::At(self.location(&auth.id)));
            }
            // Another one has written it in between, or the answer to an attempt that succeeded was lost.
        }
        Err(overtaken(&auth.id))
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        let looked = self.run_for(id, "look for a removal", |connection| {
            self.names.is_removed(connection, id)
        });
        looked.map(Missing::of)
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let lock = lock::take(&self.link, &self.names, id, self.lease, wait)?;
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn RecordLock>))
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let own = self.link.own()?;
        let Some(since) = since else {
            let (now, count) = self.count()?;
            return Ok(Some(Changes::none(cursor(now, &count))));
        };
        let Some(ear) = own.notices.take() else {
            return self.changes_since(since, &own.writer).map(Some);
        };
        match self.changes_since(since, &own.writer) {
            Ok(mut changes) => {
                changes.is_notified = true;
                own.notices.give_back(ear, &changes.cursor);
                Ok(Some(changes))
            }
            Err(error) => {
                own.notices.lose();
                Err(error)
            }
        }
    }

    fn is_quiet(&self, since: &Cursor) -> bool {
        let Ok(own) = self.link.own() else {
            return false;
        };
        let open = || {
            let connection = self.link.connect_to_listen()?;
            let failed = |error| link::failed("tell of changes", error);
            let ear = Ear::open(connection, &self.names).map_err(failed)?;
            Ok(Some(ear))
        };
        own.notices.is_quiet(since, open)
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        let mut found = Vec::new();
        for some in keys.chunks(AT_ONCE) {
            let rows = self.link.run("look for entries", |connection| {
                self.entries.load(connection, some)
            })?;
            let rows = some.iter().zip(rows);
            found.extend(rows.filter_map(|(key, row)| {
                let (value, ends) = row?;
                Some(StoreEntry::new(key, value, from_millis(ends)))
            }));
        }
        Ok(found)
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        let last: Vec<_> = last_of_each(entries).collect();
        for some in last.chunks(AT_ONCE) {
            self.link.run("write entries", |connection| {
                self.entries.save(connection, some, most)
            })?;
        }
        Ok(())
    }
}

impl RedisStore {
    fn count(&self) -> Result<(u64, String), Error> {
        self.link.run("look for changes", |connection| {
            self.names.version(connection)
        })
    }

    fn changes_since(&self, since: &Cursor, writer: &str) -> Result<Changes, Error> {
        let (now, count) = self.count()?;
        // One of another count begins at the beginning: the same numbers stand for other changes.
        let since: Option<u64> = since
            .as_str()
            .split_once(' ')
            .filter(|(_, of)| *of == count)
            .and_then(|(version, _)| version.parse().ok());
        let since = since.filter(|since| *since <= now);
        let mut changes = Changes::none(cursor(now, &count));
        changes.complete = since.is_none();
        // From the beginning, what this handle wrote is reported too: whether it is still there is the question.
        let own = if changes.complete { "" } else { writer };
        let since = since.unwrap_or(0);
        let mut from = since;
        loop {
            let (to, rows) = self.link.run("look for changes", |connection| {
                self.names.since(connection, own, since, from, AT_ONCE)
            })?;
            for row in rows {
                match row {
                    Row::Record {
                        id,
                        credential,
                        state,
                    } => changes.add(&id, &credential, state.as_deref()),
                    Row::Removed(id) => changes.removed.push(id),
                    Row::Odd(id) => changes.skipped.push(self.odd(&id)),
                }
            }
            match to {
                Some(to) => from = to,
                None => break,
            }
        }
        changes.cursor = cursor(from.max(now), &count);
        Ok(changes)
    }

    fn odd(&self, id: &str) -> Skipped {
        Skipped::new(
            self.location(id),
            "is not a record: another program has written to the key",
        )
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("name", &self.names.record)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// A version of a count of changes.
fn cursor(version: u64, count: &str) -> Cursor {
    Cursor::new(format!("{version} {count}"))
}

/// Refuses a server that would throw tokens away, and warns of one that keeps nothing.
fn check(info: &str) -> Result<(), Error> {
    let says = |name: &str| {
        info.lines()
            .find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    };
    let bounded = says("maxmemory").is_some_and(|bytes| bytes != "0");
    let evicts = says("maxmemory_policy").is_some_and(|policy| policy != "noeviction");
    if bounded && evicts {
        return Err(Error::config(
            "the Redis server evicts keys when its memory is full, which loses logins: set maxmemory-policy to noeviction",
        ));
    }
    if says("aof_enabled") == Some("0") {
        log::warn!(
            "the Redis server keeps no append-only file: a crash loses the tokens saved since its last snapshot"
        );
    }
    Ok(())
}

/// How many records one request asks for.
const AT_ONCE: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_server_that_evicts_is_refused() {
        let info = |maxmemory: &str, policy: &str| {
            format!(
                "# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\naof_enabled:1\r\n"
            )
        };
        for good in [
            info("0", "allkeys-lru"),
            info("1000", "noeviction"),
            String::new(),
        ] {
            check(&good).unwrap();
        }
        let error = check(&info("1000", "volatile-lru")).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config);
    }
}
