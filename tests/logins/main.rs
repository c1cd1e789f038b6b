//! Logins of persons: against a server on loopback that does what the standards forbid and what they allow, and against a certified OpenID
//! provider with its pages in a browser.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod browser;
mod device;
mod openid;
mod server;

#[path = "../chromium/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod chromium;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::{
    Auth, Error, FileStore, Login, LoginPrompt, Manager, ManualClock, Status, Store, Timestamp,
};
use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};
use support::eventually;
use tempfile::TempDir;
use time::macros::utc_datetime;

const NOW: Timestamp = utc_datetime!(2026-01-01 12:00);
const LONG: Duration = Duration::from_secs(30);

/// A manager with a credential that waits for its login, and another one whose login is old.
struct World {
    manager: Manager,
    clock: ManualClock,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::at(NOW);
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let builder = Manager::builder().clock(clock.clone()).store(store);
        let manager = builder.build().unwrap();
        manager.register_executor(OpenAi::new());
        manager
            .register(Auth::pending("openai").with_id("new").with_label("Ada"))
            .unwrap();
        let old = Auth::new("openai")
            .with_id("old")
            .with_label("Bob")
            .with_attribute("note", "of the team")
            .with_attribute("token_url", "https://former.example.org/token")
            .with_attribute("client_secret", "former-secret")
            .with_metadata("email", "bob@example.org")
            .with_metadata("client_auth", "basic")
            .with_metadata("token", json!({
                "access_token": "old-access", "refresh_token": "old-refresh", "id_token": "old-id", "expires_at": 1,
            }));
        manager.register(old).unwrap();
        Self {
            manager,
            clock,
            folder,
        }
    }

    /// Begins a login, and waits for what the person is shown.
    fn begin(&self, id: &'static str, login: &Login) -> Begun {
        let (prompts, shown) = unbounded();
        let (manager, login) = (self.manager.clone(), login.clone());
        let thread = thread::spawn(move || {
            manager.log_in(id, &login, |prompt| prompts.send(prompt.clone()).unwrap())
        });
        Begun { thread, shown }
    }

    /// The record as the store has it.
    fn stored(&self, id: &str) -> Auth {
        let store = FileStore::open(self.folder.path()).unwrap();
        let mut records = store.list().unwrap().records;
        records.retain(|record| record.id == id);
        records.pop().unwrap()
    }

    /// Everything of both records that a program or a store can see.
    fn all(&self) -> Vec<Value> {
        let shown = |auth: &Auth| serde_json::to_value(auth).unwrap();
        let ids = ["new", "old"];
        let known = ids.map(|id| shown(&self.manager.get_by_id(id).unwrap()));
        let stored = ids.map(|id| shown(&self.stored(id)));
        [known, stored].concat()
    }
}

struct Begun {
    thread: JoinHandle<Result<Arc<Auth>, Error>>,
    shown: Receiver<LoginPrompt>,
}

impl Begun {
    fn prompt(&self) -> LoginPrompt {
        self.shown.recv_timeout(LONG).unwrap()
    }

    fn end(self) -> Result<Arc<Auth>, Error> {
        eventually("the end of the login", || self.thread.is_finished());
        self.thread.join().unwrap()
    }
}

fn text<'a>(auth: &'a Auth, name: &str) -> Option<&'a str> {
    auth.metadata.as_ref()?.text(name)
}

/// What a login with these tokens makes of the record that waited for it.
fn assert_first_login(world: &World, auth: &Auth, token_url: &str) {
    assert_eq!((auth.status, auth.label.as_str()), (Status::Active, "Ada"));
    assert_eq!(auth.attributes.get("token_url"), Some(token_url));
    assert_eq!(auth.attributes.get("client_id"), Some("my-app"));
    let stored = world.stored("new");
    assert_eq!(stored.metadata, auth.metadata);
    assert_eq!(stored.attributes, auth.attributes);
}

#[test]
fn a_record_that_has_no_use_for_a_login_is_refused() {
    let world = World::new();
    let login = Login::by_device("my-app").with_endpoints("https://h/device", "https://h/token");
    let key = Auth::api_key("openai", "sk-1").with_id("key");
    let client = Auth::client_credentials("openai", "https://h/token", "a", "b").with_id("client");
    for auth in [key, client] {
        let id = world.manager.register(auth).unwrap().id.clone();
        let error = world
            .manager
            .log_in(&id, &login, |_| unreachable!())
            .unwrap_err();
        assert!(error.code() == credpool::ErrorCode::Config, "{error}");
    }
    let error = world
        .manager
        .log_in("none", &login, |_| unreachable!())
        .unwrap_err();
    assert!(error.code() == credpool::ErrorCode::AuthNotFound, "{error}");
    let nowhere = Login::by_browser("my-app");
    let error = world
        .manager
        .log_in("new", &nowhere, |_| unreachable!())
        .unwrap_err();
    assert!(
        error.message().contains("neither an issuer nor endpoints"),
        "{error}"
    );
}
