//! The stores that processes share, and what people and accidents do to them behind the processes' backs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use credpool::{Auth, Error, FileStore, MemoryStore, Store};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::gate::Stops;
use crate::model_store::{ModelStore, merge};
use crate::random::Random;
use crate::sealed::{KeyChange, SealedBackend};
use crate::timeline::Pid;
use crate::truth::Shared;

/// A shared store. Faults that it cannot have answer false.
pub trait Backend {
    /// A handle of a process's own.
    fn open(&self, pid: Pid) -> Arc<dyn Store>;

    /// As [`open`](Self::open), where the store has a wrapper: what stops the process stops it between the wrapper's calls.
    fn open_before(&self, stops: &Stops) -> Arc<dyn Store> {
        self.open(stops.pid)
    }

    /// A handle for checks.
    fn look(&self) -> Arc<dyn Store> {
        self.open(0)
    }

    /// A record's credential part, as an editor shows it.
    fn text(&self, id: &str) -> Option<Value>;

    /// Saves a record's credential part, as an editor does.
    fn put(&self, id: &str, value: &Value, how: Saving);

    fn remove(&self, id: &str);

    /// Whether nothing is there, not even half a record.
    fn is_gone(&self, id: &str) -> bool {
        self.text(id).is_none()
    }

    /// Whether it keeps what was over when; the record's JSON form alone does not.
    fn keeps_recoveries(&self) -> bool {
        true
    }

    /// Whether the store remembers that a record was removed.
    fn remembers_removal(&self, _id: &str) -> bool {
        false
    }

    /// Whether a record is a token file of another program.
    fn is_token_file(&self, _id: &str) -> bool {
        false
    }

    /// Saves another program's file, as that program does.
    fn put_file(&self, _name: &str, _text: &str, _how: Saving) {}

    /// What is in another program's file.
    fn file(&self, _name: &str) -> Option<String> {
        None
    }

    /// Begins to save a record: half of it.
    fn put_half(&self, _id: &str, _value: &Value) -> bool {
        false
    }

    /// A backup of a record below the store's own place. The copy's id.
    fn back_up(&self, _id: &str) -> Option<String> {
        None
    }

    /// The store's place is empty until it is mounted again.
    fn unmount(&self) -> bool {
        false
    }

    fn mount(&self) {}

    fn lose_last_write(&self) -> bool {
        false
    }

    fn lose_all(&self) -> bool {
        false
    }

    fn take_snapshot(&self) -> bool {
        false
    }

    fn fail_over(&self) {}

    /// The server restarts, and its locks are free.
    fn forget_locks(&self) -> bool {
        false
    }

    /// Something becomes of the keys with which records are sealed.
    fn change_keys(&self, _: &mut Random) -> Option<KeyChange> {
        None
    }

    /// Whether a record that is sealed can be read with the keys that there are by now.
    fn check_opens(&self, _id: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Whether a record that should be sealed has a token in the open.
    fn shows_token(&self, _id: &str) -> bool {
        false
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    InPlace,
    ByRename,
}

/// The kinds, by name.
pub const KINDS: &[&str] = &[
    "memory",
    "file",
    #[cfg(feature = "sqlite")]
    "sqlite",
    "model",
    "sealed-file",
    "sealed-memory",
];

pub fn create(kind: &str, truth: &Shared) -> Box<dyn Backend> {
    match kind {
        "memory" => Box::new(Rows::new(Arc::new(MemoryStore::new()))),
        "file" => Box::new(Files::new()),
        #[cfg(feature = "sqlite")]
        "sqlite" => Box::new(Database::new()),
        "model" => Box::new(Model(ModelStore::new(truth))),
        "sealed-file" => Box::new(SealedBackend::over(create("file", truth))),
        "sealed-memory" => Box::new(SealedBackend::over(create("memory", truth))),
        #[cfg(any(feature = "postgres", feature = "redis"))]
        other if crate::servers::kinds().contains(&other) => crate::servers::create(other).unwrap(),
        other => panic!("no such store: {other}; there are {KINDS:?}"),
    }
}

/// Records that an operator's tool reaches through a store handle of its own.
pub struct Rows {
    pub store: Arc<dyn Store>,
}

impl Rows {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

impl Backend for Rows {
    fn open(&self, _: Pid) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn text(&self, id: &str) -> Option<Value> {
        text_of(&*self.store, id)
    }

    fn put(&self, id: &str, value: &Value, _: Saving) {
        put_into(&*self.store, value, self.text(id));
    }

    fn remove(&self, id: &str) {
        self.store.delete(id).unwrap();
    }
}

fn text_of(store: &dyn Store, id: &str) -> Option<Value> {
    let auth = store.load(id).unwrap()?;
    serde_json::to_value(auth).ok()
}

/// Saves a credential; the runtime state stays.
pub fn put_into(store: &dyn Store, value: &Value, former: Option<Value>) {
    let credential = value.as_object().cloned().unwrap_or_default();
    let whole = merge(credential, &former.unwrap_or_default());
    let mut auth: Auth = serde_json::from_value(whole).unwrap();
    // The JSON form has no empty metadata, and a record without any is never stored.
    auth.metadata.get_or_insert_default();
    store.save(&auth).unwrap();
}

/// A database file. An operator's tool has a handle of its own.
#[cfg(feature = "sqlite")]
struct Database {
    home: TempDir,
    tool: Rows,
}

#[cfg(feature = "sqlite")]
impl Database {
    fn new() -> Self {
        let home = home();
        let store = credpool::SqliteStore::open(home.path().join("credentials.db")).unwrap();
        Self {
            home,
            tool: Rows::new(Arc::new(store)),
        }
    }
}

#[cfg(feature = "sqlite")]
impl Backend for Database {
    fn open(&self, _: Pid) -> Arc<dyn Store> {
        let path = self.home.path().join("credentials.db");
        Arc::new(credpool::SqliteStore::open(path).unwrap())
    }

    fn text(&self, id: &str) -> Option<Value> {
        self.tool.text(id)
    }

    fn put(&self, id: &str, value: &Value, how: Saving) {
        self.tool.put(id, value, how);
    }

    fn remove(&self, id: &str) {
        self.tool.remove(id);
    }
}

/// The model store.
struct Model(ModelStore);

impl Backend for Model {
    fn open(&self, pid: Pid) -> Arc<dyn Store> {
        Arc::new(self.0.handle(pid))
    }

    fn text(&self, id: &str) -> Option<Value> {
        self.0.text(id)
    }

    fn put(&self, id: &str, value: &Value, _: Saving) {
        let state = self.0.text(id).unwrap_or_default();
        let credential = value.as_object().cloned().unwrap_or_default();
        self.0.put(id, &merge(credential, &state));
    }

    fn remove(&self, id: &str) {
        self.0.remove(id);
    }

    fn keeps_recoveries(&self) -> bool {
        false
    }

    fn remembers_removal(&self, id: &str) -> bool {
        self.0.remembers_removal(id)
    }

    fn lose_last_write(&self) -> bool {
        self.0.lose_last_write();
        true
    }

    fn lose_all(&self) -> bool {
        self.0.lose_all();
        true
    }

    fn take_snapshot(&self) -> bool {
        self.0.take_snapshot();
        true
    }

    fn fail_over(&self) {
        self.0.fail_over();
    }

    fn forget_locks(&self) -> bool {
        self.0.forget_locks();
        true
    }
}

/// A directory.
struct Files {
    home: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { home: home() };
        fs::create_dir(files.root()).unwrap();
        files
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("credentials")
    }

    fn away(&self) -> PathBuf {
        self.home.path().join("unmounted")
    }

    fn save(&self, path: &Path, text: &str, how: Saving) {
        match how {
            Saving::InPlace => fs::write(path, text).unwrap(),
            Saving::ByRename => {
                let new = self.home.path().join("saving");
                fs::write(&new, text).unwrap();
                fs::rename(new, path).unwrap();
            }
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        if self.is_token_file(id) {
            return self.root().join(id);
        }
        self.root().join(format!("{id}.credential"))
    }
}

impl Backend for Files {
    fn open(&self, _: Pid) -> Arc<dyn Store> {
        Arc::new(FileStore::open(self.root()).unwrap())
    }

    fn text(&self, id: &str) -> Option<Value> {
        let text = fs::read_to_string(self.path(id)).ok()?;
        let object: Map<String, Value> = serde_json::from_str(&text).ok()?;
        Some(object.into())
    }

    fn put(&self, id: &str, value: &Value, how: Saving) {
        let text = serde_json::to_string_pretty(value).unwrap();
        self.save(&self.path(id), &text, how);
    }

    fn put_file(&self, name: &str, text: &str, how: Saving) {
        self.save(&self.root().join(name), text, how);
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root().join(name)).ok()
    }

    fn remove(&self, id: &str) {
        let _ = fs::remove_file(self.path(id));
    }

    fn is_token_file(&self, id: &str) -> bool {
        Path::new(id).extension().is_some_and(|end| end == "json")
    }

    fn is_gone(&self, id: &str) -> bool {
        !self.path(id).exists()
    }

    fn put_half(&self, id: &str, value: &Value) -> bool {
        let text = serde_json::to_string_pretty(value).unwrap();
        fs::write(self.path(id), &text[..text.len() / 2]).unwrap();
        true
    }

    fn back_up(&self, id: &str) -> Option<String> {
        let from = self.path(id);
        let name = from.file_name()?.to_str()?.to_owned();
        let copy = format!("backup/{name}");
        fs::create_dir_all(self.root().join("backup")).unwrap();
        fs::copy(&from, self.root().join(&copy)).ok()?;
        self.is_token_file(id).then_some(copy)
    }

    fn unmount(&self) -> bool {
        fs::rename(self.root(), self.away()).unwrap();
        fs::create_dir(self.root()).unwrap();
        true
    }

    fn mount(&self) {
        fs::remove_dir_all(self.root()).unwrap();
        fs::rename(self.away(), self.root()).unwrap();
    }
}

/// In memory where the system has such a place: it is processes that die here, not the machine.
fn home() -> TempDir {
    let fast = Path::new("/dev/shm");
    if fast.is_dir() {
        tempfile::tempdir_in(fast).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}
