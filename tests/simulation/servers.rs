//! Stores on servers, each world in a part of its own, behind a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use credpool::Store;
use serde_json::Value;

use crate::backend::{Backend, Rows, Saving};
use crate::proxy::Proxy;
use crate::store_support;
use crate::timeline::Pid;

/// The kinds, by name; those whose server is installed.
pub fn kinds() -> Vec<&'static str> {
    let mut kinds = Vec::new();
    #[cfg(feature = "postgres")]
    if store_support::postgres().is_some() {
        kinds.push("postgres");
    }
    #[cfg(feature = "redis")]
    if store_support::redis().is_some() {
        kinds.push("redis");
    }
    kinds
}

pub fn create(kind: &str) -> Option<Box<dyn Backend>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("world_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    match kind {
        #[cfg(feature = "postgres")]
        "postgres" => Some(Box::new(Postgres::new(&name))),
        #[cfg(feature = "redis")]
        "redis" => Some(Box::new(Redis::new(name))),
        _ => None,
    }
}

/// What stores on servers have in common: the processes' way, which is cut, and an operator's, which is not.
struct Remote {
    proxy: Proxy,
    proxied: String,
    tool: Rows,
}

impl Remote {
    fn new(port: u16, direct: &str) -> Self {
        let proxy = Proxy::before(port);
        let proxied = direct.replace(&format!(":{port}"), &format!(":{}", proxy.port));
        let store: Arc<dyn Store> = store_support::open(direct);
        Self {
            proxy,
            proxied,
            tool: Rows::new(store),
        }
    }
}

#[cfg(feature = "postgres")]
struct Postgres(Remote);

#[cfg(feature = "postgres")]
impl Postgres {
    fn new(schema: &str) -> Self {
        use diesel::connection::{Connection, SimpleConnection};
        let server = store_support::postgres().unwrap();
        let url = server.postgres_url(schema);
        store_support::when_up(|| {
            let connection = diesel::PgConnection::establish(&url);
            let mut connection = connection.map_err(|error| error.to_string())?;
            connection
                .batch_execute(&format!("CREATE SCHEMA {schema}"))
                .map_err(|error| error.to_string())
        });
        Self(Remote::new(server.port, &format!("postgres|{url}")))
    }
}

#[cfg(feature = "postgres")]
impl Backend for Postgres {
    fn open(&self, _: Pid) -> Arc<dyn Store> {
        store_support::open(&self.0.proxied)
    }

    fn look(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0.tool.store)
    }

    fn text(&self, id: &str) -> Option<Value> {
        self.0.tool.text(id)
    }

    fn put(&self, id: &str, value: &Value, how: Saving) {
        self.0.tool.put(id, value, how);
    }

    fn remove(&self, id: &str) {
        self.0.tool.remove(id);
    }

    /// Sessions end, and their locks with them.
    fn forget_locks(&self) -> bool {
        self.0.proxy.cut();
        true
    }
}

#[cfg(feature = "redis")]
struct Redis {
    remote: Remote,
    name: String,
}

#[cfg(feature = "redis")]
impl Redis {
    fn new(name: String) -> Self {
        let server = store_support::redis().unwrap();
        let url = server.redis_url();
        store_support::when_up(|| credpool::RedisStore::connect(&*url));
        Self {
            remote: Remote::new(server.port, &format!("redis|{name}|{url}")),
            name,
        }
    }

    fn delete(&self, pattern: &str) {
        let url = store_support::redis().unwrap().redis_url();
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_connection().unwrap();
        let pattern = format!("{{{}}}:{pattern}", self.name);
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg(pattern)
            .query(&mut connection)
            .unwrap();
        for key in keys {
            redis::cmd("DEL").arg(key).exec(&mut connection).unwrap();
        }
    }
}

#[cfg(feature = "redis")]
impl Backend for Redis {
    fn open(&self, _: Pid) -> Arc<dyn Store> {
        store_support::open(&self.remote.proxied)
    }

    fn look(&self) -> Arc<dyn Store> {
        Arc::clone(&self.remote.tool.store)
    }

    fn text(&self, id: &str) -> Option<Value> {
        self.remote.tool.text(id)
    }

    fn put(&self, id: &str, value: &Value, how: Saving) {
        self.remote.tool.put(id, value, how);
    }

    fn remove(&self, id: &str) {
        self.remote.tool.remove(id);
    }

    fn lose_all(&self) -> bool {
        self.delete("*");
        true
    }

    /// Connections break, and leases lapse.
    fn forget_locks(&self) -> bool {
        self.remote.proxy.cut();
        self.delete("lock:*");
        true
    }
}
