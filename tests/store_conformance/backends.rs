//! Places that stores can be opened on again and again.

use std::sync::Arc;
#[cfg(any(feature = "postgres", feature = "redis"))]
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(feature = "redis")]
use credpool::RedisStore;
use credpool::{MemoryStore, Store};

use crate::store_support::open;

pub(crate) trait Backend: Send + Sync {
    /// Another handle on the same records.
    fn open(&self) -> Arc<dyn Store>;

    /// How another process opens it, with [`open`]; none where it cannot.
    fn address(&self) -> Option<String>;

    /// Whether a handle tells its own writes from those of others.
    fn knows_its_own_writes(&self) -> bool {
        true
    }

    /// Lets another program write the text of a stored credential anew; false where it is none.
    fn rewrite(&self, id: &str, anew: fn(&str) -> String) -> bool;

    /// Whether it tells what was removed from what was never there.
    fn remembers_removals(&self) -> bool {
        true
    }
}

struct Memory(Arc<MemoryStore>);

/// A store in a directory of the test's own.
struct Local {
    kind: &'static str,
    dir: tempfile::TempDir,
}

/// A part of a server that the test program shares.
#[cfg(any(feature = "postgres", feature = "redis"))]
struct Remote {
    address: String,
}

/// None where what it needs is not installed.
pub(crate) type Found = Option<Box<dyn Backend>>;

#[expect(clippy::unnecessary_wraps, reason = "as of every backend")]
pub(crate) fn memory() -> Found {
    Some(Box::new(Memory(Arc::default())))
}

pub(crate) fn file() -> Found {
    local("file")
}

#[cfg(feature = "sqlite")]
pub(crate) fn sqlite() -> Found {
    local("sqlite")
}

#[cfg(feature = "postgres")]
pub(crate) fn postgres() -> Found {
    use diesel::connection::{Connection, SimpleConnection};

    let server = crate::store_support::postgres()?;
    let schema = unique();
    crate::store_support::when_up(|| {
        let mut connection = diesel::PgConnection::establish(&server.postgres_url(&schema))
            .map_err(|error| error.to_string())?;
        connection
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .map_err(|error| error.to_string())
    });
    Some(Box::new(Remote {
        address: format!("postgres|{}", server.postgres_url(&schema)),
    }))
}

#[cfg(feature = "redis")]
pub(crate) fn redis() -> Found {
    let server = crate::store_support::redis()?;
    let url = server.redis_url();
    crate::store_support::when_up(|| RedisStore::connect(&*url));
    Some(Box::new(Remote {
        address: format!("redis|{}|{url}", unique()),
    }))
}

/// A name that no other test of this program uses.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[expect(clippy::unnecessary_wraps, reason = "as of every backend")]
fn local(kind: &'static str) -> Found {
    let dir = tempfile::tempdir().unwrap();
    Some(Box::new(Local { kind, dir }))
}

impl Backend for Memory {
    fn open(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as Arc<dyn Store>
    }

    fn address(&self) -> Option<String> {
        None
    }

    fn rewrite(&self, _: &str, _: fn(&str) -> String) -> bool {
        false
    }

    fn knows_its_own_writes(&self) -> bool {
        false
    }
}

impl Backend for Local {
    fn open(&self) -> Arc<dyn Store> {
        open(&self.address().unwrap())
    }

    fn address(&self) -> Option<String> {
        let place = self.dir.path().join("store");
        Some(format!("{}|{}", self.kind, place.display()))
    }

    fn rewrite(&self, id: &str, anew: fn(&str) -> String) -> bool {
        let place = self.dir.path().join("store");
        if self.kind == "file" {
            let path = place.join(format!("{id}.credential"));
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, anew(&text)).unwrap();
        }
        #[cfg(feature = "sqlite")]
        if self.kind == "sqlite" {
            let rows = rusqlite::Connection::open(place).unwrap();
            let id = id.as_bytes();
            let sql = "SELECT credential FROM credpool_records WHERE id = ?1";
            let text: String = rows.query_row(sql, [id], |row| row.get(0)).unwrap();
            let sql = "UPDATE credpool_records SET credential = ?2 WHERE id = ?1";
            rows.execute(sql, rusqlite::params![id, anew(&text)])
                .unwrap();
        }
        true
    }

    fn remembers_removals(&self) -> bool {
        self.kind != "file"
    }
}

#[cfg(any(feature = "postgres", feature = "redis"))]
impl Backend for Remote {
    fn open(&self) -> Arc<dyn Store> {
        open(&self.address)
    }

    fn address(&self) -> Option<String> {
        Some(self.address.clone())
    }

    fn rewrite(&self, id: &str, anew: fn(&str) -> String) -> bool {
        let (kind, place) = self.address.split_once('|').unwrap();
        #[cfg(feature = "postgres")]
        if kind == "postgres" {
            rewrite_row(place, id, anew);
        }
        #[cfg(feature = "redis")]
        if kind == "redis" {
            use redis::Commands as _;

            let (name, url) = place.split_once('|').unwrap();
            let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
            let key = format!("{{{name}}}:record:{id}");
            let text: String = connection.hget(&key, "c").unwrap();
            let _: i64 = connection.hset(&key, "c", anew(&text)).unwrap();
        }
        true
    }
}

#[cfg(feature = "postgres")]
fn rewrite_row(url: &str, id: &str, anew: fn(&str) -> String) {
    use diesel::sql_types::{Binary, Text};
    use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, sql_query};

    #[derive(QueryableByName)]
    struct Words {
        #[diesel(sql_type = Text)]
        text: String,
    }
    let mut connection = diesel::PgConnection::establish(url).unwrap();
    let row: Words = sql_query("SELECT credential AS text FROM credpool_records WHERE id = $1")
        .bind::<Binary, _>(id.as_bytes())
        .get_result(&mut connection)
        .unwrap();
    let done = sql_query("UPDATE credpool_records SET credential = $2 WHERE id = $1")
        .bind::<Binary, _>(id.as_bytes())
        .bind::<Text, _>(anew(&row.text))
        .execute(&mut connection)
        .unwrap();
    assert_eq!(done, 1);
}
