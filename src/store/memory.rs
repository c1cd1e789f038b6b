use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::{Listing, Store};
use crate::auth::Auth;
use crate::error::Error;

/// A store in memory: for tests, and for programs that keep their credentials elsewhere.
///
/// ```
/// use credpool::{Auth, MemoryStore, Store};
///
/// let store = MemoryStore::new();
/// store.save(&Auth::api_key("openai", "sk-123").with_id("a"))?;
/// assert_eq!(store.list()?.records.len(), 1);
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: Mutex<BTreeMap<String, Auth>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn list(&self) -> Result<Listing, Error> {
        Ok(Listing::of(self.records.lock().values().cloned().collect()))
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let mut kept = auth.clone();
        kept.runtime = None;
        self.records.lock().insert(auth.id.clone(), kept);
        Ok(auth.id.clone())
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.records.lock().remove(id);
        Ok(())
    }
}
