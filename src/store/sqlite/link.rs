//! Connections to the database file: opened, kept, replaced.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{DURABLE, rows};
use crate::error::Error;
use crate::store::support::permissions;
use crate::store::support::poll::poll;

/// A connection, and the file that it was opened on.
pub(super) struct Link {
    pub(super) connection: Connection,
    /// Which file it is: another one may take its path while connections to it stay open.
    pub(super) file: (u64, u64),
}

impl Link {
    /// Whether its file is still the one at `path`.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        number_of(path).is_ok_and(|file| file == self.file)
    }

    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // To go over to WAL needs the file alone, and SQLite does not wait for that itself.
        let mut last = None;
        let opened = poll(BUSY, || match open(path) {
            Err(Failed::Busy(error)) => {
                last = Some(error);
                Ok(None)
            }
            opened => opened.map(Some),
        });
        let opened = match (opened, last) {
            (Ok(None), Some(busy)) => Err(Failed::Busy(busy)),
            (Ok(None), None) => open(path),
            (Ok(Some(opened)), _) => Ok(opened),
            (Err(error), _) => Err(error),
        };
        opened.map_err(|failed| failed.into_error(path))
    }
}

/// Why a database was not opened.
enum Failed {
    Busy(rusqlite::Error),
    Sqlite(rusqlite::Error),
    Io(io::Error),
    /// Another file has taken its place meanwhile.
    Replaced,
    NoWal,
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                Self::Busy(error)
            }
            _ => Self::Sqlite(error),
        }
    }
}

impl Failed {
    fn into_error(self, path: &Path) -> Error {
        let path = path.display();
        let failed = |why: &dyn fmt::Display| {
            let message = format!("could not open the database {path}: {why}");
            Error::store(message)
        };
        match self {
            Self::Busy(error) | Self::Sqlite(error) => failed(&error).with_source(error),
            Self::Io(error) => failed(&error).with_source(error),
            Self::Replaced => failed(&"another file has just taken its place; try again"),
            Self::NoWal => {
                let message = format!(
                    "the database {path} cannot be put into WAL mode: it must be on a local file system"
                );
                Error::config(message)
            }
        }
    }
}

fn open(path: &Path) -> Result<Link, Failed> {
    // The name is a path, whatever it looks like. A file that is gone is not made again: it may come back.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = number_of(path).map_err(Failed::Io)?;
    let mut connection = Connection::open_with_flags(path, flags)?;
    if number_of(path).map_err(Failed::Io)? != file {
        return Err(Failed::Replaced);
    }
    connection.busy_timeout(BUSY)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Failed::NoWal);
    }
    connection.execute_batch(DURABLE)?;
    rows::create(&mut connection)?;
    Ok(Link { connection, file })
}

/// How long a database is waited for that another one is writing to.
fn number_of(path: &Path) -> io::Result<(u64, u64)> {
    Ok(permissions::file_number(&fs::metadata(path)?))
}

const BUSY: Duration = Duration::from_secs(5);
