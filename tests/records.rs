//! Records: registering, changing, removing, restarts; the store first, then memory, then the hook.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use credpool::{
    Auth, Error, ErrorCode, Listing, Manager, MemoryStore, OAuthTokens, Options, Outcome, Request,
    Skipped, Status, Store,
};
use parking_lot::Mutex;
use support::{Fake, Recorder, SOON, eventually, manual, pool_with};

fn fail(manager: &Manager, id: &str, status: u16) {
    let error = Error::upstream(status, "no");
    manager.mark_result(&Outcome::failure(id, "p", "m", error));
}

/// A store that counts, and that fails when told to.
#[derive(Default)]
struct Moody {
    kept: MemoryStore,
    failing: Mutex<bool>,
    saves: Mutex<Vec<String>>,
    states: Mutex<Vec<String>>,
    writers: Mutex<Vec<ThreadId>>,
}

impl Moody {
    fn mood(&self) -> Result<(), Error> {
        if *self.failing.lock() {
            return Err(Error::new(ErrorCode::Store, "the disk is full"));
        }
        Ok(())
    }
}

impl Store for Moody {
    fn list(&self) -> Result<Listing, Error> {
        self.mood()?;
        self.kept.list()
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.mood()?;
        self.saves.lock().push(auth.id.clone());
        self.kept.save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.mood()?;
        self.kept.delete(id)
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        self.mood()?;
        self.states.lock().push(auth.id.clone());
        self.writers.lock().push(thread::current().id());
        self.kept.save(auth).map(drop)
    }
}

#[test]
fn registering_makes_unique_ids_and_normal_providers() {
    let hook = Recorder::default();
    let (manager, _, _) = pool_with(0, |builder| builder.hook(hook.clone()));
    let one = manager.register(Auth::api_key(" OpenAI ", "k")).unwrap();
    let two = manager.register(Auth::api_key("openai", "k")).unwrap();
    assert_eq!(one.provider, "openai");
    assert!(!one.id.is_empty() && one.id != two.id);
    assert_eq!(hook.events().len(), 2);
    let error = manager.register(Auth::api_key("  ", "k")).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Config);
}

#[test]
fn an_update_replaces_the_hosts_part_and_keeps_what_was_observed() {
    let hook = Recorder::default();
    let (manager, _, _) = pool_with(1, |builder| builder.hook(hook.clone()));
    fail(&manager, "a0", 429);
    let snapshot = manager.get_by_id("a0").unwrap();
    let mut copy = (*snapshot)
        .clone()
        .with_label("new")
        .with_attribute("x", "1");
    copy.model_states.clear();
    copy.unavailable = false;
    let updated = manager.update(copy).unwrap();
    assert_eq!(
        (updated.label.as_str(), updated.attributes.get("x")),
        ("new", Some("1"))
    );
    assert!(updated.unavailable && updated.model_states["m"].unavailable);
    assert_eq!(snapshot.label, "", "a snapshot never changes");
    // Registering a known id is the same thing.
    let again = manager
        .register(Auth::api_key("p", "other").with_id("a0"))
        .unwrap();
    assert_eq!(again.attributes.get("api_key"), Some("other"));
    assert!(again.unavailable);
    assert_eq!(hook.events(), ["registered a0", "updated a0", "updated a0"]);
    let ghost = manager
        .update(Auth::api_key("p", "k").with_id("ghost"))
        .unwrap_err();
    assert_eq!(ghost.code(), &ErrorCode::AuthNotFound);
    let moved = manager
        .update(Auth::api_key("q", "k").with_id("a0"))
        .unwrap_err();
    assert_eq!(moved.code(), &ErrorCode::Config);
}

#[test]
fn a_store_that_fails_changes_nothing() {
    let hook = Recorder::default();
    let store = Arc::new(Moody::default());
    let (manager, _, _) = pool_with(1, |builder| {
        builder.hook(hook.clone()).store(Arc::clone(&store))
    });
    *store.failing.lock() = true;
    let before = hook.events().len();
    let failed = |result: Result<Arc<Auth>, Error>| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Store);
        assert!(error.to_string().contains("disk is full"));
        assert!(error.auth_id().is_some());
    };
    failed(manager.register(Auth::api_key("p", "k").with_id("new")));
    failed(manager.update(Auth::api_key("p", "other").with_id("a0")));
    failed(manager.set_disabled("a0", true));
    failed(manager.remove("a0"));
    assert!(manager.get_by_id("new").is_none());
    let kept = manager.get_by_id("a0").unwrap();
    assert_eq!(kept.attributes.get("api_key"), Some("k"));
    assert!(!kept.disabled);
    assert_eq!(hook.events().len(), before);
    assert_eq!(manager.load().unwrap_err().code(), &ErrorCode::Store);
}

#[test]
fn what_is_disabled_stays_so_until_the_operator_says_otherwise() {
    let (manager, _, _) = pool_with(1, |builder| builder);
    assert_eq!(
        manager.set_disabled("a0", true).unwrap().status,
        Status::Disabled
    );
    manager.mark_result(&Outcome::success("a0", "p", "m"));
    fail(&manager, "a0", 500);
    let still = manager.get_by_id("a0").unwrap();
    assert!(still.disabled && still.status == Status::Disabled);
    assert_eq!(
        manager.set_disabled("a0", false).unwrap().status,
        Status::Active
    );
    let unknown = manager.set_disabled("ghost", true).unwrap_err();
    assert_eq!(unknown.code(), &ErrorCode::AuthNotFound);
}

#[test]
fn a_removed_credential_is_gone_everywhere() {
    let hook = Recorder::default();
    let store = Arc::new(Moody::default());
    let (manager, fake, _) = pool_with(2, |builder| {
        builder.hook(hook.clone()).store(Arc::clone(&store))
    });
    let removed = manager.remove("a0").unwrap();
    assert_eq!(removed.id, "a0");
    assert_eq!(store.kept.list().unwrap().records.len(), 1);
    assert_eq!(hook.events().last().unwrap(), "removed a0");
    for _ in 0..3 {
        let served = manager.execute(["p"], &Request::new("m", ""), &Options::new());
        assert_eq!(&*served.unwrap().auth_id, "a1");
    }
    fail(&manager, "a0", 500);
    assert!(
        manager.get_by_id("a0").is_none(),
        "a late result revives nobody"
    );
    assert_eq!(fake.calls().len(), 3);
    assert_eq!(
        manager.remove("a0").unwrap_err().code(),
        &ErrorCode::AuthNotFound
    );
}

#[test]
fn a_cooldown_survives_a_restart() {
    let store = Arc::new(Moody::default());
    let (first, _, clock) = pool_with(2, |builder| builder.store(Arc::clone(&store)));
    fail(&first, "a0", 429);
    first.shutdown(SOON).unwrap();
    drop(first);
    assert_eq!(*store.states.lock(), ["a0"], "state alone, once");
    let second = Manager::builder()
        .clock(clock.clone())
        .store(Arc::clone(&store))
        .build()
        .unwrap();
    second.register_executor(Fake::new("p"));
    let report = second.load().unwrap();
    assert_eq!((report.loaded, report.skipped.len()), (2, 0));
    let serve = || {
        let response = second.execute(["p"], &Request::new("m", ""), &Options::new());
        response.unwrap().auth_id.to_string()
    };
    assert_eq!((serve(), serve()), ("a1".into(), "a1".into()));
    clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(serve(), "a0");
}

#[test]
fn loading_again_keeps_what_was_observed_and_reports_what_does_not_read() {
    struct Half;
    impl Store for Half {
        fn list(&self) -> Result<Listing, Error> {
            let mut listing = Listing::of(vec![
                Auth::api_key("P", "fresh").with_id("a0"),
                Auth::api_key("", "k").with_id("no-provider"),
            ]);
            listing.skipped.push(Skipped::new("x.json", "it is cut"));
            Ok(listing)
        }

        fn save(&self, _: &Auth) -> Result<String, Error> {
            Ok(String::new())
        }

        fn delete(&self, _: &str) -> Result<(), Error> {
            Ok(())
        }
    }
    let (manager, _, _) = pool_with(1, |builder| builder.store(Half));
    fail(&manager, "a0", 429);
    let report = manager.load().unwrap();
    assert_eq!(report.loaded, 1);
    let reasons: Vec<_> = report.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(reasons[0], "x.json: it is cut");
    assert!(reasons[1].contains("no-provider"));
    let auth = manager.get_by_id("a0").unwrap();
    assert_eq!(auth.attributes.get("api_key"), Some("fresh"));
    assert!(auth.unavailable);
}

#[test]
fn records_without_metadata_never_reach_the_store() {
    let store = Arc::new(Moody::default());
    let (manager, _, _) = pool_with(0, |builder| builder.store(Arc::clone(&store)));
    let auth = Auth::api_key("p", "k").with_id("quiet").runtime_only();
    manager.register(auth).unwrap();
    fail(&manager, "quiet", 429);
    manager.set_disabled("quiet", true).unwrap();
    manager.shutdown(SOON).unwrap();
    assert!(store.saves.lock().is_empty() && store.states.lock().is_empty());
}

#[test]
fn results_reach_the_store_beside_the_calls_and_together() {
    let store = Arc::new(Moody::default());
    let (manager, _, clock) = pool_with(2, |builder| builder.store(Arc::clone(&store)));
    for _ in 0..100 {
        fail(&manager, "a0", 500);
        manager.mark_result(&Outcome::success("a1", "p", "m"));
    }
    // The first news are written now, what comes after them together, and a plain success is no news.
    let written = |states: &[&str]| {
        eventually("the write", || *store.states.lock() == states);
        let unsaved = || manager.store_health().unsaved;
        eventually("its end", || unsaved() == 0 || clock.timers() > 0);
    };
    written(&["a0"]);
    if manager.store_health().unsaved > 0 {
        clock.advance(Duration::from_millis(500));
        written(&["a0", "a0"]);
    }
    assert_eq!(manager.store_health().unsaved, 0);
    let writers = store.writers.lock();
    let caller = thread::current().id();
    assert!(!writers.contains(&caller), "nothing is written in the call");
    drop(writers);
    assert_eq!(
        store.saves.lock().len(),
        2,
        "the credentials were not written again"
    );
}

#[test]
fn the_writer_goes_on_trying_while_the_store_fails() {
    let store = Arc::new(Moody::default());
    let (manager, _, clock) = pool_with(1, |builder| builder.store(Arc::clone(&store)));
    *store.failing.lock() = true;
    fail(&manager, "a0", 429);
    for _ in 0..20 {
        clock.advance(Duration::from_secs(60));
    }
    *store.failing.lock() = false;
    eventually("the write", || {
        clock.advance(Duration::from_secs(60));
        !store.states.lock().is_empty()
    });
    assert!(store.kept.list().unwrap().records[0].unavailable);
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_store_that_calls_back_for_its_own_record_gets_a_conflict() {
    struct Recursive(Mutex<Option<Manager>>, Mutex<Option<Error>>);
    impl Store for Recursive {
        fn list(&self) -> Result<Listing, Error> {
            Ok(Listing::default())
        }

        fn save(&self, auth: &Auth) -> Result<String, Error> {
            let manager = self.0.lock().clone();
            if let Some(manager) = manager {
                *self.1.lock() = manager.set_disabled(&auth.id, true).err();
            }
            Ok(String::new())
        }

        fn delete(&self, _: &str) -> Result<(), Error> {
            Ok(())
        }
    }
    let store = Arc::new(Recursive(Mutex::default(), Mutex::default()));
    let (manager, _, _) = pool_with(1, |builder| builder.store(Arc::clone(&store)));
    *store.0.lock() = Some(manager.clone());
    manager
        .update(Auth::api_key("p", "k").with_id("a0"))
        .unwrap();
    let error = store.1.lock().take().unwrap();
    assert_eq!(error.code(), &ErrorCode::Conflict);
    *store.0.lock() = None;
}

#[test]
fn unknown_settings_are_refused() {
    let code = |builder: credpool::Builder| builder.build().unwrap_err().code().clone();
    assert_eq!(code(Manager::builder().max_streams(0)), ErrorCode::Config);
    assert_eq!(
        code(Manager::builder().stream_buffer(usize::MAX)),
        ErrorCode::Config
    );
}

#[test]
fn the_debug_form_of_anything_holds_no_secret() {
    let tokens = OAuthTokens::new("canary-access").with_refresh_token("canary-refresh");
    let auth = Auth::oauth("p", tokens)
        .with_attribute("api_key", "canary-key")
        .with_proxy_url("http://user:canary-proxy@127.0.0.1:1");
    let manager = Manager::builder()
        .clock(manual())
        .proxy("socks5://u:canary-global@127.0.0.1:1")
        .build()
        .unwrap();
    let auth = manager.register(auth).unwrap();
    let text = format!("{auth:?} {auth:#?} {manager:?} {:?}", auth.account_info());
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn credentials_can_be_put_into_foreign_requests_only_by_an_executor_that_can() {
    let (manager, _, _) = pool_with(1, |builder| builder);
    let (mut parts, ()) = http::Request::new(()).into_parts();
    let code = |error: Error| error.code().clone();
    let error = manager.inject_credentials(&mut parts, "ghost").unwrap_err();
    assert_eq!(code(error), ErrorCode::AuthNotFound);
    let error = manager.inject_credentials(&mut parts, "a0").unwrap_err();
    assert_eq!(code(error), ErrorCode::Unsupported);
    manager
        .register(Auth::api_key("q", "k").with_id("q0"))
        .unwrap();
    let error = manager.inject_credentials(&mut parts, "q0").unwrap_err();
    assert_eq!(code(error), ErrorCode::ExecutorNotFound);
}
