//! Places that stores can be opened on again and again.

use std::path::Path;
use std::sync::Arc;

use credpool::{FileStore, MemoryStore, Store};

pub(crate) trait Backend: Send + Sync {
    /// Another handle on the same records.
    fn open(&self) -> Arc<dyn Store>;

    /// How another process opens it, with [`open`]; none where it cannot.
    fn address(&self) -> Option<String>;

    /// Whether a handle tells its own writes from those of others.
    fn knows_its_own_writes(&self) -> bool {
        true
    }
}

struct Memory(Arc<MemoryStore>);

struct Files(tempfile::TempDir);

pub(crate) fn memory() -> Option<Box<dyn Backend>> {
    Some(Box::new(Memory(Arc::default())))
}

pub(crate) fn file() -> Option<Box<dyn Backend>> {
    Some(Box::new(Files(tempfile::tempdir().unwrap())))
}

/// Opens the store that another process has named.
pub(crate) fn open(address: &str) -> Arc<dyn Store> {
    match address.split_once('|').unwrap() {
        ("file", dir) => Arc::new(FileStore::open(dir).unwrap()),
        (other, _) => panic!("no such backend: {other}"),
    }
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

impl Backend for Files {
    fn open(&self) -> Arc<dyn Store> {
        open(&self.address().unwrap())
    }

    fn address(&self) -> Option<String> {
        Some(format!("file|{}", below(self.0.path(), "store")))
    }
}

fn below(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}
