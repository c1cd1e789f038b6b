//! A directory for one test, and what to look for in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use credpool::{Auth, FileStore, Skipped, Store};
use serde_json::Value;

pub(crate) struct Place {
    _home: tempfile::TempDir,
    pub(crate) dir: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(home.path()).unwrap().join("store");
        Self { _home: home, dir }
    }

    pub(crate) fn open(&self) -> FileStore {
        FileStore::open(&self.dir).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// All names but that of the store's own place.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".credpool")
            .collect();
        names.sort();
        names
    }

    pub(crate) fn listed(&self) -> BTreeMap<String, Auth> {
        let records = self.open().list().unwrap().records;
        records
            .into_iter()
            .map(|auth| (auth.id.clone(), auth))
            .collect()
    }

    pub(crate) fn skipped(&self) -> Vec<Skipped> {
        self.open().list().unwrap().skipped
    }
}

pub(crate) fn sample(id: &str) -> Auth {
    Auth::api_key("openai", "sk-canary")
        .with_id(id)
        .with_metadata("access_token", "canary")
}

/// What a rewrite would change: which file it is, when it was written, how long it is.
pub(crate) fn trace(path: &Path) -> (u64, SystemTime, u64) {
    let found = fs::metadata(path).unwrap();
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&found);
    #[cfg(not(unix))]
    let inode = 0;
    (inode, found.modified().unwrap(), found.len())
}
