//! The refresh lock of a record: an advisory lock, which ends with its connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::result::QueryResult;
use sha2::{Digest, Sha256};

use super::link::{self, Link};
use super::rows;
use crate::auth::first_eight;
use crate::error::Error;
use crate::store::codec::{intent_text, read_intent};
use crate::store::{Intent, RecordLock};

pub(super) struct PostgresLock {
    link: Arc<Link>,
    /// None when it was given back, or is of no use.
    connection: RefCell<Option<PgConnection>>,
    key: i64,
    id: String,
}

/// Waits for the lock of a record for `wait` at most.
pub(super) fn take(
    link: &Arc<Link>,
    id: &str,
    wait: Duration,
) -> Result<Option<PostgresLock>, Error> {
    let key = key(id);
    let failed = |error| link::failed("lock a credential", error).with_auth_id(id);
    let own = link.own()?;
    let spare = own.lockers.take();
    let mut connection = match spare.and_then(link::alive) {
        Some(connection) => connection,
        None => link.connect().map_err(|error| error.with_auth_id(id))?,
    };
    let is_held = wait_for(&mut connection, key, wait).map_err(failed)?;
    if !is_held {
        own.lockers.put_back(connection);
        return Ok(None);
    }
    Ok(Some(PostgresLock {
        link: Arc::clone(link),
        connection: RefCell::new(Some(connection)),
        key,
        id: id.to_owned(),
    }))
}

fn wait_for(connection: &mut PgConnection, key: i64, wait: Duration) -> QueryResult<bool> {
    if rows::try_lock(connection, key)? {
        return Ok(true);
    }
    if wait.is_zero() {
        return Ok(false);
    }
    let millis = wait.as_millis().clamp(1, LONGEST);
    connection.batch_execute(&format!(
        "SET statement_timeout TO 0; SET lock_timeout TO {millis}"
    ))?;
    let waited = connection.batch_execute(&format!(
        "SELECT pg_advisory_lock(hashtextextended(current_schema(), {key}))"
    ));
    // Not to be had in time, or something else: the next statement tells.
    let is_held = waited.is_ok() || rows::try_lock(connection, key)?;
    connection.batch_execute("SET statement_timeout TO '10s'; SET lock_timeout TO '10s'")?;
    Ok(is_held)
}

impl PostgresLock {
    /// Over the connection that has the lock: when that is gone, so is the right to note anything.
    fn with<T>(
        &self,
        what: &str,
        work: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, Error> {
        let mut connection = self.connection.borrow_mut();
        let done = match &mut *connection {
            Some(connection) => work(connection),
            None => Err(diesel::result::Error::BrokenTransactionManager),
        };
        if done.is_err() {
            // It ends with its connection.
            *connection = None;
        }
        done.map_err(|error| link::failed(what, error).with_auth_id(&self.id))
    }
}

impl RecordLock for PostgresLock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        let text = self.with("read an intent", |connection| {
            rows::intent(connection, &self.id)
        })?;
        text.map_or(Ok(None), |text| read_intent(&self.id, &text).map(Some))
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        let text = intent.map(intent_text).transpose()?;
        self.with("note an intent", |connection| {
            rows::set_intent(connection, &self.id, text.as_deref())
        })
    }

    /// The server takes the lock back when a connection ends, also where it restarts or ends it itself: its holder then lives.
    fn holder_is_dead(&self) -> bool {
        false
    }

    fn is_held(&self) -> bool {
        self.connection.borrow().is_some()
    }
}

impl Drop for PostgresLock {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && rows::unlock(&mut connection, self.key).is_ok()
            && let Ok(own) = self.link.own()
        {
            own.lockers.put_back(connection);
        }
    }
}

/// Two ids with one number would wait for each other, and no more.
fn key(id: &str) -> i64 {
    let digest = Sha256::new()
        .chain_update("credpool refresh ")
        .chain_update(id)
        .finalize();
    first_eight(&digest).cast_signed()
}

/// The longest time in milliseconds that the server takes.
const LONGEST: u128 = i32::MAX as u128;
