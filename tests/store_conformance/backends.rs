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
}
