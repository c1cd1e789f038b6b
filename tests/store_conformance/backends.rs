//! Places that stores can be opened on again and again.

use std::process::Command;
use std::sync::Arc;
#[cfg(any(feature = "postgres", feature = "redis"))]
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(feature = "redis")]
use credpool::RedisStore;
use credpool::testing::conformance::{Ability, StoreFixture};
use credpool::{Auth, MemoryStore, MountedKeys, Store};

use crate::store_support::{open, sealed};

#[derive(Default)]
pub(crate) struct Memory(Arc<MemoryStore>);

/// A store whose records are sealed.
pub(crate) struct Wrapped<F>(pub(crate) F);

/// A store in a directory of the check's own.
pub(crate) struct Local {
    kind: &'static str,
    dir: tempfile::TempDir,
    lacks: Vec<Ability>,
}

/// A part of a server that the test program shares.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) struct Remote {
    address: String,
}

#[cfg(feature = "postgres")]
pub(crate) fn postgres() -> Remote {
    use diesel::connection::{Connection, SimpleConnection};

    let server = crate::store_support::postgres().unwrap();
    let schema = unique();
    crate::store_support::when_up(|| {
        let mut connection = diesel::PgConnection::establish(&server.postgres_url(&schema))
            .map_err(|error| error.to_string())?;
        connection
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .map_err(|error| error.to_string())
    });
    Remote {
        address: format!("postgres|{}", server.postgres_url(&schema)),
    }
}

#[cfg(feature = "redis")]
pub(crate) fn redis() -> Remote {
    let server = crate::store_support::redis().unwrap();
    let url = server.redis_url();
    crate::store_support::when_up(|| RedisStore::connect(&*url));
    Remote {
        address: format!("redis|{}|{url}", unique()),
    }
}

/// A name that no other test of this program uses.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// This test program again, as the other process that opens a store by its address.
fn other_process(address: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "other_process", "--nocapture"])
        .env(ADDRESS, address);
    command
}

impl StoreFixture for Memory {
    fn open(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as Arc<dyn Store>
    }

    fn lacks(&self) -> &[Ability] {
        &[Ability::OwnWrites]
    }
}

/// A store without mounted keys: what is beside them.
pub(crate) struct Mounted {
    _volume: tempfile::TempDir,
    store: Arc<MountedKeys>,
}

impl Mounted {
    pub(crate) fn new() -> Self {
        let volume = tempfile::tempdir().unwrap();
        let keys = MountedKeys::open(volume.path(), Auth::new("p")).unwrap();
        Self {
            store: Arc::new(keys.beside(MemoryStore::new())),
            _volume: volume,
        }
    }
}

impl StoreFixture for Mounted {
    fn open(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn lacks(&self) -> &[Ability] {
        &[Ability::OwnWrites]
    }
}

impl<F: Addressed> StoreFixture for Wrapped<F> {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(sealed(self.0.open()))
    }

    fn lacks(&self) -> &[Ability] {
        self.0.lacks()
    }

    fn other_process(&self) -> Option<Command> {
        let address = self.0.address()?;
        Some(other_process(&format!("sealed|{address}")))
    }

    fn rewrite(&self, id: &str, anew: &dyn Fn(&str) -> String) -> bool {
        self.0.rewrite(id, anew)
    }
}

/// A place that another process can open, where it has an address.
pub(crate) trait Addressed: StoreFixture {
    fn address(&self) -> Option<String>;
}

impl Addressed for Memory {
    fn address(&self) -> Option<String> {
        None
    }
}

impl Addressed for Local {
    fn address(&self) -> Option<String> {
        let place = self.dir.path().join("store");
        Some(format!("{}|{}", self.kind, place.display()))
    }
}

#[cfg(any(feature = "postgres", feature = "redis"))]
impl Addressed for Remote {
    fn address(&self) -> Option<String> {
        Some(self.address.clone())
    }
}

impl Local {
    pub(crate) fn new(kind: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lacks = Vec::new();
        Self { kind, dir, lacks }
    }

    pub(crate) fn lacking(mut self, ability: Ability) -> Self {
        self.lacks.push(ability);
        self
    }
}

impl StoreFixture for Local {
    fn open(&self) -> Arc<dyn Store> {
        open(&self.address().unwrap())
    }

    fn lacks(&self) -> &[Ability] {
        &self.lacks
    }

    fn other_process(&self) -> Option<Command> {
        Some(other_process(&self.address()?))
    }

    fn rewrite(&self, id: &str, anew: &dyn Fn(&str) -> String) -> bool {
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
}

#[cfg(any(feature = "postgres", feature = "redis"))]
impl StoreFixture for Remote {
    fn open(&self) -> Arc<dyn Store> {
        open(&self.address)
    }

    fn other_process(&self) -> Option<Command> {
        Some(other_process(&self.address))
    }

    fn rewrite(&self, id: &str, anew: &dyn Fn(&str) -> String) -> bool {
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
fn rewrite_row(url: &str, id: &str, anew: &dyn Fn(&str) -> String) {
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

/// In the environment of another process: the address of its store.
pub(crate) const ADDRESS: &str = "CREDPOOL_TEST_STORE";
