//! After a fork: SQLite knows what its process has open, and a child inherits that with its parent's connections. They are closed before the
//! child opens its own: otherwise SQLite would take locks for held that are the parent's.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;

use super::Inner;
use super::link::Link;
use crate::error::Error;
use crate::runtime::{at_work, lock_of_parent};

/// All stores of the process.
static OPEN: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Remembers a store for the children of this process.
pub(super) fn note(store: &Arc<Inner>) {
    let mut open = OPEN.lock();
    open.retain(|store| store.strong_count() > 0);
    open.push(Arc::downgrade(store));
}

/// In a child, closes what its parent had open.
///
/// # Errors
/// When a thread of the parent was at work with a connection.
pub(super) fn leave_parents() -> Result<(), Error> {
    let open = lock_of_parent(&OPEN, IN_USE)?;
    for store in open.iter().filter_map(Weak::upgrade) {
        if let Some(parents) = store.own.of_parent() {
            let links = parents.idle.take_all();
            let links = links.ok_or_else(|| at_work(IN_USE))?;
            links.into_iter().for_each(close);
        }
    }
    Ok(())
}

/// Closes a connection, and leaves its file as it is: no checkpoint, which might take it for the last one.
fn close(link: Link) {
    let connection = link.connection;
    let no_checkpoint = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    if connection.set_db_config(no_checkpoint, true).is_err() {
        std::mem::forget(connection);
        return;
    }
    if let Err((connection, _)) = connection.close() {
        std::mem::forget(connection);
    }
}

const IN_USE: &str = "an SQLite database was in use";
