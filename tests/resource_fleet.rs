//! What one process of a fleet has made is asked of its account by all of them, and after a restart.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod account_support;
mod store_support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use account_support::{Accounts, KEYS, ask, request};
use credpool::provider::OpenAi;
use credpool::{
    Auth, Error, ErrorCode, FailurePolicy, Listing, Manager, MemoryStore, Options, Store,
    StoreEntry,
};
use crossbeam_channel::Receiver;
use http::Method;
use serde_json::json;
use store_support::open;

const ADDRESS: &str = "CREDPOOL_RESOURCES_STORE";
const PATIENCE: Duration = Duration::from_secs(60);
const FETCHES: usize = 50;

fn manager_over(store: Arc<dyn Store>) -> Manager {
    let manager = Manager::builder()
        .store(store)
        .policy(FailurePolicy::default().without_waiting())
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    manager.load().unwrap();
    manager
}

/// Makes a file with one credential.
fn make(manager: &Manager, owner: &str) -> String {
    let request = request(&Method::POST, "/v1/files", Some(&json!({})));
    let options = Options::new().with_pinned(owner);
    let (_, file) = ask(manager, "openai", request, &options).unwrap();
    file["id"].as_str().unwrap().to_owned()
}

fn fetch(manager: &Manager, file: &str) -> Result<String, Error> {
    let url = format!("/v1/files/{file}/content");
    let request = request(&Method::GET, &url, None);
    ask(manager, "openai", request, &Options::new()).map(|(by, _)| by)
}

/// Who serves a file, again and again; an error counts by its code and the credential that it names.
fn servers(manager: &Manager, file: &str) -> String {
    let served = (0..FETCHES).map(|_| match fetch(manager, file) {
        Ok(by) => by,
        Err(error) => format!("{}({})", error.code(), error.auth_id().unwrap_or_default()),
    });
    let served: BTreeSet<_> = served.collect();
    served.into_iter().collect::<Vec<_>>().join(",")
}

/// A process of the fleet: does what it is told, a line each. Without a store, it is an ordinary run of the tests and has nothing to do.
#[test]
fn child() {
    let Ok(address) = std::env::var(ADDRESS) else {
        return;
    };
    let manager = manager_over(open(&address));
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["make", owner] => println!("made {}", make(&manager, owner)),
            ["saved"] => {
                while manager.store_health().unsaved > 0 {
                    std::thread::yield_now();
                }
                println!("saved");
            }
            ["fetch", file] => println!("served {}", servers(&manager, file)),
            ["delete", file] => {
                let request = request(&Method::DELETE, &format!("/v1/files/{file}"), None);
                let (by, _) = ask(&manager, "openai", request, &Options::new()).unwrap();
                println!("deleted {by}");
            }
            ["remove", id] => {
                manager.remove(id).unwrap();
                println!("removed");
            }
            ["end"] => {
                manager.shutdown(PATIENCE).unwrap();
                println!("ended");
                return;
            }
            _ => panic!("what is {line}?"),
        }
    }
}

struct Member {
    process: Child,
    to: ChildStdin,
    lines: Receiver<String>,
}

impl Member {
    fn start(address: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ADDRESS, address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = crossbeam_channel::unbounded();
        // It ends with the process.
        std::thread::spawn(move || {
            for line in from.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        let member = Self { process, to, lines };
        member.hears("ready");
        member
    }

    /// Tells it to do something, and hears what comes after this word.
    fn does(&mut self, what: &str, word: &str) -> String {
        writeln!(self.to, "{what}").unwrap();
        self.hears(word)
    }

    fn hears(&self, word: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect(word);
            // The harness of the tests speaks, too, and may do so on the same line.
            if let Some((_, after)) = line.split_once(word) {
                return after.trim().to_owned();
            }
        }
    }

    fn made(&mut self, owner: &str) -> String {
        self.does(&format!("make {owner}"), "made")
    }

    fn served(&mut self, file: &str) -> String {
        self.does(&format!("fetch {file}"), "served")
    }

    fn end(mut self) {
        self.does("end", "ended");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn over_files() {
    let dir = tempfile::tempdir().unwrap();
    shares(&format!("file|{}", dir.path().join("store").display()));
}

#[cfg(feature = "sqlite")]
#[test]
fn over_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    shares(&format!("sqlite|{}", dir.path().join("store").display()));
}

#[cfg(feature = "postgres")]
#[test]
fn over_postgres() {
    if let Some((_server, address)) = store_support::postgres_store() {
        shares(&address);
    }
}

#[cfg(feature = "redis")]
#[test]
fn over_redis() {
    if let Some((_server, address)) = store_support::redis_store() {
        shares(&address);
    }
}

fn shares(address: &str) {
    let accounts = Accounts::start();
    let store = open(address);
    for key in KEYS {
        store.save(&accounts.credential("openai", key)).unwrap();
    }
    let (mut one, mut other) = (Member::start(address), Member::start(address));
    for owner in KEYS {
        for _ in 0..2 {
            let file = one.made(owner);
            one.does("saved", "saved");
            for member in [&mut one, &mut other] {
                assert_eq!(member.served(&file), owner, "{address}");
            }
            std::mem::swap(&mut one, &mut other);
        }
    }

    // A clean end loses nothing, however soon it comes.
    let files: Vec<_> = KEYS.iter().map(|owner| (one.made(owner), *owner)).collect();
    one.end();
    let mut again = Member::start(address);
    for (file, owner) in &files {
        for member in [&mut again, &mut other] {
            assert_eq!(member.served(file), *owner, "{address}");
        }
    }

    // What one has deleted, a new process does not know.
    let (file, owner) = &files[0];
    assert_eq!(other.does(&format!("delete {file}"), "deleted"), *owner);
    other.end();
    accounts.made.lock().unwrap().remove(file);
    let mut fresh = Member::start(address);
    assert_eq!(fresh.served(file), KEYS.join(","), "{address}: any account");

    // What belongs to a credential that is gone is asked of no other one, in any process.
    let (file, owner) = &files[1];
    again.does(&format!("remove {owner}"), "removed");
    let mut after = Member::start(address);
    let told = format!("auth_not_found({owner})");
    for member in [&mut again, &mut after] {
        assert_eq!(member.served(file), told, "{address}");
    }
}

/// A store whose entries cannot be had.
struct Away {
    records: MemoryStore,
}

impl Store for Away {
    fn list(&self) -> Result<Listing, Error> {
        self.records.list()
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.records.save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.records.delete(id)
    }

    fn load_entries(&self, _: &[String]) -> Result<Vec<StoreEntry>, Error> {
        Err(Error::new(ErrorCode::Store, "the server is away"))
    }
}

#[test]
fn while_the_store_fails_no_wrong_account_is_asked() {
    let accounts = Accounts::start();
    let store = Arc::new(Away {
        records: MemoryStore::new(),
    });
    for key in KEYS {
        store.save(&accounts.credential("openai", key)).unwrap();
    }
    let manager = manager_over(store);
    let file = make(&manager, KEYS[1]);
    assert_eq!(servers(&manager, &file), KEYS[1], "it knows that itself");
    let before = accounts.upstream.request_count();
    let error = fetch(&manager, "file-elsewhere").unwrap_err();
    assert_eq!(error.code(), ErrorCode::Store);
    assert_eq!(
        (error.is_retryable(), error.http_status()),
        (true, Some(503))
    );
    assert!(error.message().contains("files/file-elsewhere"), "{error}");
    assert_eq!(accounts.upstream.request_count(), before);
    // Of one account there is no wrong one.
    manager.remove(KEYS[0]).unwrap();
    assert_eq!(fetch(&manager, "file-elsewhere").unwrap(), KEYS[1]);
}

#[test]
fn another_store_gets_what_the_former_had() {
    let accounts = Accounts::start();
    let manager = manager_over(Arc::new(MemoryStore::new()));
    for key in KEYS {
        manager
            .register(accounts.credential("openai", key))
            .unwrap();
    }
    let alone = accounts.credential("openai", "key-c").with_id("key-c");
    manager.register(alone.runtime_only()).unwrap();
    let (file, of_c) = (make(&manager, KEYS[1]), make(&manager, "key-c"));
    let second = Arc::new(MemoryStore::new());
    manager.set_store(Some(Arc::clone(&second) as Arc<dyn Store>));
    manager.shutdown(PATIENCE).unwrap();
    let again = manager_over(second);
    assert_eq!(servers(&again, &file), KEYS[1]);
    // A credential that lives in memory alone is unknown there, and so is what it has made.
    let served = servers(&again, &of_c);
    assert!(
        !served.contains("key-c") && served.contains("upstream"),
        "{served}"
    );
}

/// A request that names nothing that an account may have made asks the store nothing.
#[test]
fn requests_without_ids_cost_no_call_of_the_store() {
    struct Counts(Arc<Away>, std::sync::atomic::AtomicUsize);

    impl Store for Counts {
        fn list(&self) -> Result<Listing, Error> {
            self.0.list()
        }

        fn save(&self, auth: &Auth) -> Result<String, Error> {
            self.0.save(auth)
        }

        fn delete(&self, id: &str) -> Result<(), Error> {
            self.0.delete(id)
        }

        fn load_entries(&self, _: &[String]) -> Result<Vec<StoreEntry>, Error> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(Vec::new())
        }
    }

    let accounts = Accounts::start();
    let records = MemoryStore::new();
    for key in KEYS {
        records.save(&accounts.credential("openai", key)).unwrap();
    }
    let away = Arc::new(Away { records });
    let store = Arc::new(Counts(away, std::sync::atomic::AtomicUsize::new(0)));
    let manager = manager_over(Arc::clone(&store) as Arc<dyn Store>);
    let asked = || store.1.load(std::sync::atomic::Ordering::SeqCst);
    for (method, url, body, looks) in [
        (Method::GET, "/v1/models/gpt-5", None, 0),
        (Method::GET, "/v1/files?limit=3", None, 0),
        (
            Method::POST,
            "/v1/responses/input_tokens",
            Some(json!({"input": "hi"})),
            0,
        ),
        (
            Method::POST,
            "/v1/embeddings",
            Some(json!({"input": "file_id"})),
            0,
        ),
        (Method::GET, "/v1/files/file-1", None, 1),
        (
            Method::POST,
            "/v1/responses",
            Some(json!({"previous_response_id": "resp_1"})),
            1,
        ),
        (Method::GET, "/v1/containers/c_1/files/f_1", None, 1),
    ] {
        let before = asked();
        let request = request(&method, url, body.as_ref());
        let _ = ask(&manager, "openai", request, &Options::new());
        assert_eq!(asked() - before, looks, "{url}");
    }
}
