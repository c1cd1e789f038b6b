//! Panics in the program's own code: each becomes an error of its call, and the manager works on.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Candidate, Candidates, Error, ErrorCode, Hook, Listing, Manager, Options, Outcome,
    OutcomeKind, Request, Selector, Store, StreamChunk,
};
use support::{Act, Recorder, SOON, pool_with};

fn call(manager: &Manager) -> Result<credpool::Response, Error> {
    manager.execute(["p"], &Request::new("m", "{}"), &Options::new())
}

#[test]
fn an_executor_that_panics_fails_over() {
    let hook = Recorder::default();
    let (manager, fake, _) = pool_with(2, |builder| builder.hook(hook.clone()));
    fake.on("a0", Act::Panic);
    assert_eq!(&*call(&manager).unwrap().auth_id, "a1");
    assert_eq!(hook.results(), 2);
    fake.on("a1", Act::Panic);
    assert_eq!(call(&manager).unwrap_err().code(), &ErrorCode::Panicked);
    let submitted = manager
        .submit(["p"], Request::new("m", "{}"), Options::new())
        .unwrap();
    assert_eq!(submitted.wait().unwrap_err().code(), &ErrorCode::Panicked);
    let opened = manager.execute_stream(["p"], &Request::new("m", "{}"), &Options::new());
    assert_eq!(opened.unwrap_err().code(), &ErrorCode::Panicked);
    let refreshed = manager.refresh_now("a0").unwrap_err();
    assert_eq!(refreshed.code(), &ErrorCode::Panicked);
    fake.on("a0", Act::Serve);
    call(&manager).unwrap();
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_stream_that_panics_ends_with_an_error() {
    let hook = Recorder::default();
    let (manager, fake, _) = pool_with(1, |builder| builder.hook(hook.clone()));
    fake.on(
        "a0",
        Act::Stream(Arc::new(|_| {
            let first = std::iter::once(Ok(StreamChunk::new("x")));
            let rest = std::iter::once_with(|| panic!("the stream is told to panic"));
            Ok(Box::new(first.chain(rest)))
        })),
    );
    let request = Request::new("m", "{}");
    let stream = manager
        .execute_stream(["p"], &request, &Options::new())
        .unwrap();
    let ends: Vec<_> = stream.collect();
    assert_eq!(ends.len(), 2);
    assert_eq!(ends[1].as_ref().unwrap_err().code(), &ErrorCode::Panicked);
    assert!(matches!(hook.kinds()[..], [OutcomeKind::Failure(_)]));
    fake.on("a0", Act::Serve);
    call(&manager).unwrap();
}

struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("the destructor is told to panic");
    }
}

impl Iterator for Grenade {
    type Item = Result<StreamChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

#[test]
fn a_stream_whose_destructor_panics_is_contained() {
    let policy = credpool::FailurePolicy::default().with_commit(credpool::StreamCommit::OnOpen);
    let (manager, fake, _) = pool_with(1, |builder| builder.policy(policy));
    fake.on("a0", Act::Stream(Arc::new(|_| Ok(Box::new(Grenade)))));
    let request = Request::new("m", "{}");
    let stream = manager
        .execute_stream(["p"], &request, &Options::new())
        .unwrap();
    assert_eq!(stream.count(), 0);
    manager.shutdown(SOON).unwrap();
}

struct BadSelector;

impl Selector for BadSelector {
    fn pick(&self, _: &Candidates<'_>, options: &Options) -> Result<Option<Candidate>, Error> {
        match options.alt.as_deref() {
            Some("error") => Err(Error::new(ErrorCode::Config, "nobody is good enough")),
            Some("none") => Ok(None),
            _ => panic!("the selector is told to panic"),
        }
    }

    fn observe(&self, _: &Outcome<'_>) {
        panic!("the selector is told to panic");
    }

    fn forget(&self, _: &str) {
        panic!("the selector is told to panic");
    }
}

#[test]
fn a_selector_that_panics_ends_its_call() {
    let (manager, _, _) = pool_with(1, |builder| builder.selector(BadSelector));
    assert_eq!(call(&manager).unwrap_err().code(), &ErrorCode::Panicked);
    let with = |alt: &str| {
        let options = Options::new().with_alt(alt);
        let error = manager.execute(["p"], &Request::new("m", "{}"), &options);
        error.unwrap_err().code().clone()
    };
    assert_eq!(with("error"), ErrorCode::Config);
    assert_eq!(with("none"), ErrorCode::AuthUnavailable);
    manager.mark_result(&Outcome::success("a0", "p", "m"));
    assert_eq!(manager.get_by_id("a0").unwrap().model_states.len(), 1);
    manager.remove("a0").unwrap();
}

struct BadHook;

impl Hook for BadHook {
    fn on_auth_registered(&self, _: &Auth) {
        panic!("the hook is told to panic");
    }

    fn on_auth_updated(&self, _: &Auth) {
        panic!("the hook is told to panic");
    }

    fn on_auth_removed(&self, _: &Auth) {
        panic!("the hook is told to panic");
    }

    fn on_result(&self, _: &Outcome<'_>) {
        panic!("the hook is told to panic");
    }
}

#[test]
fn a_hook_that_panics_disturbs_nobody() {
    let (manager, _, _) = pool_with(1, |builder| builder.hook(BadHook));
    call(&manager).unwrap();
    let request = Request::new("m", "{}");
    let stream = manager
        .execute_stream(["p"], &request, &Options::new())
        .unwrap();
    assert_eq!(stream.flatten().count(), 2);
    manager.set_disabled("a0", true).unwrap();
    manager.remove("a0").unwrap();
    manager.shutdown(SOON).unwrap();
}

#[derive(Default)]
struct BadStore;

impl Store for BadStore {
    fn list(&self) -> Result<Listing, Error> {
        panic!("the store is told to panic");
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        assert!(auth.label.is_empty(), "the store is told to panic");
        Ok(String::new())
    }

    fn load(&self, _: &str) -> Result<Option<Auth>, Error> {
        Ok(None)
    }

    fn delete(&self, _: &str) -> Result<(), Error> {
        panic!("the store is told to panic");
    }

    fn save_state(&self, _: &Auth) -> Result<(), Error> {
        panic!("the store is told to panic");
    }
}

#[test]
fn a_store_that_panics_fails_its_operation_alone() {
    let (manager, fake, clock) = pool_with(1, |builder| builder.store(BadStore));
    let code = |error: Error| error.code().clone();
    assert_eq!(code(manager.load().unwrap_err()), ErrorCode::Panicked);
    let labelled = Auth::api_key("p", "k").with_id("b").with_label("x");
    assert_eq!(
        code(manager.register(labelled).unwrap_err()),
        ErrorCode::Panicked
    );
    assert!(manager.get_by_id("b").is_none());
    let relabelled = manager.get_by_id("a0").unwrap();
    let relabelled = (*relabelled).clone().with_label("x");
    assert_eq!(
        code(manager.update(relabelled).unwrap_err()),
        ErrorCode::Panicked
    );
    assert_eq!(manager.get_by_id("a0").unwrap().label, "");
    assert_eq!(code(manager.remove("a0").unwrap_err()), ErrorCode::Panicked);
    fake.on("a0", Act::Fail(Error::upstream(500, "")));
    call(&manager).unwrap_err();
    for _ in 0..5 {
        clock.advance(Duration::from_secs(60));
    }
    call(&manager).unwrap_err();
    // What could not be saved is said.
    assert_eq!(code(manager.shutdown(SOON).unwrap_err()), ErrorCode::Store);
}

#[test]
fn callbacks_may_call_the_manager_back() {
    struct Curious(parking_lot::Mutex<Option<Manager>>);
    impl Hook for Curious {
        fn on_result(&self, outcome: &Outcome<'_>) {
            let manager = self.0.lock().clone();
            if let Some(manager) = manager {
                assert!(manager.get_by_id(outcome.auth_id).is_some());
                manager.set_disabled(outcome.auth_id, true).unwrap();
            }
        }
    }
    let hook = Arc::new(Curious(parking_lot::Mutex::default()));
    let (manager, _, _) = pool_with(1, |builder| builder.hook(Arc::clone(&hook)));
    *hook.0.lock() = Some(manager.clone());
    call(&manager).unwrap();
    assert!(manager.get_by_id("a0").unwrap().disabled);
    *hook.0.lock() = None;
}
