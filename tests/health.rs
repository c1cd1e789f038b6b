//! How credentials come back: half-open, by another key, by tokens; and who can never serve.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::Duration;

use credpool::{
    Auth, Availability, Cooldown, Error, ErrorCode, FailureKind, FailurePolicy, FileStore, Manager,
    ManualClock, Options, Outcome, Request, Rule, Status,
};
use support::{Act, Fake, manual};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn pool(policy: FailurePolicy) -> (Manager, Fake, ManualClock) {
    let clock = manual();
    let manager = Manager::builder()
        .clock(clock.clone())
        .policy(policy.with_jitter(0.0))
        .seed(7)
        .build()
        .unwrap();
    let fake = Fake::new("p");
    manager.register_executor(fake.clone());
    (manager, fake, clock)
}

fn key(id: &str) -> Auth {
    Auth::api_key("p", "k").with_id(id).runtime_only()
}

fn call(manager: &Manager, model: &str) -> Result<String, Error> {
    let request = Request::new(model, "{}");
    let response = manager.execute(["p"], &request, &Options::new())?;
    Ok(response.auth_id.to_string())
}

fn mark(manager: &Manager, id: &str, model: &str, error: Error) {
    manager.mark_result(&Outcome::failure(id, "p", model, error));
}

fn availability(manager: &Manager, id: &str) -> Availability {
    let standings = manager.explain("p", "m");
    let standing = standings
        .into_iter()
        .find(|standing| &*standing.auth_id == id);
    standing.unwrap().availability
}

#[test]
fn a_longer_cooldown_is_not_swallowed_by_a_shorter_one() {
    let (manager, fake, clock) = pool(
        FailurePolicy::default()
            .without_waiting()
            .with_last_resort(false),
    );
    manager.register(key("a")).unwrap();
    mark(&manager, "a", "m", Error::upstream(503, "down"));
    mark(&manager, "a", "m", Error::upstream(503, "down"));
    mark(&manager, "a", "m", Error::upstream(404, "gone"));
    clock.advance(MINUTE.saturating_sub(Duration::from_nanos(1)));
    call(&manager, "m").unwrap_err();
    assert!(fake.calls().is_empty());
    clock.advance(61 * SECOND);
    call(&manager, "m").unwrap();
}

#[test]
fn who_fails_always_leaves_at_its_second_failure_in_a_row() {
    let curve = Cooldown::doubling(SECOND, MINUTE).after_failures(2);
    let policy = FailurePolicy::empty()
        .with_rule(Rule::status(500).fault(FailureKind::Transient).curve(curve));
    let (manager, _, _) = pool(policy);
    manager.register(key("a")).unwrap();
    let fail = || mark(&manager, "a", "m", Error::upstream(500, "no"));
    for _ in 0..3 {
        fail();
        assert_eq!(availability(&manager, "a"), Availability::Ready);
        manager.mark_result(&Outcome::success("a", "p", "m"));
    }
    fail();
    fail();
    assert_eq!(availability(&manager, "a"), Availability::Cooling);
}

#[test]
fn a_quota_that_is_back_early_is_found_within_a_quarter_of_an_hour() {
    let (manager, fake, clock) = pool(FailurePolicy::default().without_waiting());
    manager.register(key("a")).unwrap();
    let told = Error::upstream(429, "usage limit").with_retry_after(5 * 60 * MINUTE);
    fake.on("a", Act::Fail(told.clone()));
    mark(&manager, "a", "m", told);
    for minute in 0..45 {
        if minute == 30 {
            fake.on("a", Act::Serve);
        }
        let served = call(&manager, "m").is_ok();
        assert!(!served || minute >= 30);
        clock.advance(MINUTE);
    }
    call(&manager, "m").unwrap();
}

fn refused(status: u16) -> Error {
    match status {
        429 => Error::upstream(429, "usage limit").with_retry_after(5 * 60 * MINUTE),
        status => Error::upstream(status, "no"),
    }
}

fn edited(auth: &Auth, edit: usize) -> Auth {
    let auth = auth.clone();
    match edit {
        0 => auth.with_attribute("api_key", "k2"),
        1 => auth.with_attribute("header:x-team", "blue"),
        2 => auth.with_attribute("base_url", "https://other.example.org"),
        3 => auth.with_proxy_url("http://proxy.example.org:3128"),
        4 => auth.with_label("other"),
        _ => auth.with_attribute("priority", "3"),
    }
}

#[test]
fn another_key_or_address_ends_what_the_former_was_refused_for_and_nothing_else_does() {
    for model in ["m", ""] {
        for (status, refuses) in [
            (401, true),
            (402, true),
            (403, true),
            (429, true),
            (503, false),
        ] {
            for edit in 0..6 {
                let policy = FailurePolicy::default()
                    .without_waiting()
                    .with_last_resort(false);
                let (manager, _, _) = pool(policy);
                manager.register(key("a")).unwrap();
                for _ in 0..2 {
                    mark(&manager, "a", model, refused(status));
                }
                let current = manager.get_by_id("a").unwrap();
                let new = manager.update(edited(&current, edit)).unwrap();
                let ends = refuses && edit < 4;
                let standings = manager.explain("p", model);
                let ready = standings[0].availability == Availability::Ready;
                let what = format!("{status} {edit} {model:?}: {}", standings[0]);
                assert_eq!(ready, ends, "{what}");
                assert_eq!(new.status == Status::Active, ends, "{what}");
                assert_eq!(new.last_error.is_none(), ends, "{what}");
                assert_eq!(call(&manager, model).is_ok(), ends, "{what}");
            }
        }
    }
}

#[test]
fn another_key_in_the_store_ends_what_the_former_was_refused_for() {
    for edit in [0, 4] {
        let folder = tempfile::tempdir().unwrap();
        let clock = manual();
        let start = || {
            let manager = Manager::builder()
                .clock(clock.clone())
                .store(FileStore::open(folder.path()).unwrap())
                .policy(FailurePolicy::default().without_waiting())
                .build()
                .unwrap();
            manager.register_executor(Fake::new("p"));
            manager.load().unwrap();
            manager
        };
        let first = start();
        let auth = first
            .register(Auth::api_key("p", "k").with_id("a"))
            .unwrap();
        mark(&first, "a", "m", refused(401));
        call(&first, "m").unwrap_err();
        first.shutdown(5 * SECOND).unwrap();
        let edited = edited(&auth, edit);
        let file = std::fs::read_dir(folder.path()).unwrap().flatten();
        let file = file
            .map(|entry| entry.path())
            .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("api_key")));
        let file = file.unwrap();
        let mut json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let new = serde_json::to_value(&edited).unwrap();
        for member in ["attributes", "label"] {
            if let Some(value) = new.get(member) {
                json[member] = value.clone();
            }
        }
        std::fs::write(&file, json.to_string()).unwrap();
        let second = start();
        assert_eq!(
            call(&second, "m").is_ok(),
            edit == 0,
            "{:?}",
            second.explain("p", "m")
        );
        second.shutdown(5 * SECOND).unwrap();
    }
}

#[test]
fn who_is_pending_is_left_alone_until_it_has_tokens_or_a_key() {
    let pending = || {
        let mut auth = Auth::new("p")
            .with_id("a")
            .with_metadata("email", "e@example.org");
        auth.status = Status::Pending;
        auth
    };
    for tokens in [false, true] {
        let (manager, fake, _) = pool(FailurePolicy::default().without_waiting());
        manager.register(pending()).unwrap();
        assert_eq!(availability(&manager, "a"), Availability::Pending);
        call(&manager, "m").unwrap_err();
        manager.register(key("b")).unwrap();
        for _ in 0..3 {
            assert_eq!(call(&manager, "m").unwrap(), "b");
        }
        assert_eq!(fake.calls(), ["b", "b", "b"]);
        mark(&manager, "a", "m", Error::upstream(500, "not sent"));
        manager.mark_result(&Outcome::success("a", "p", "m"));
        manager.cool_down("a", None, SECOND).unwrap();
        manager.reset("a").unwrap();
        manager.set_disabled("a", true).unwrap();
        assert_eq!(availability(&manager, "a"), Availability::Disabled);
        manager.set_disabled("a", false).unwrap();
        assert_eq!(availability(&manager, "a"), Availability::Pending);
        assert_eq!(manager.get_by_id("a").unwrap().status, Status::Pending);
        let current = (*manager.get_by_id("a").unwrap()).clone();
        let completed = if tokens {
            current.with_metadata("access_token", "t")
        } else {
            current.with_attribute("api_key", "k")
        };
        let auth = manager.update(completed).unwrap();
        assert_eq!(auth.status, Status::Active);
        assert_eq!(availability(&manager, "a"), Availability::Ready);
        manager.remove("b").unwrap();
        assert_eq!(call(&manager, "m").unwrap(), "a");
    }
    // Without that mechanism it is a name.
    let (manager, _, _) = pool(FailurePolicy::default().with_pending(false));
    manager.register(pending()).unwrap();
    assert_eq!(availability(&manager, "a"), Availability::Ready);
}

#[test]
fn what_a_call_about_no_model_does_not_find_puts_nobody_out() {
    for status in [404, 405, 400] {
        let (manager, fake, _) = pool(FailurePolicy::default().without_waiting());
        manager.register(key("a")).unwrap();
        fake.on("a", Act::Fail(Error::upstream(status, "no such path")));
        assert_eq!(call(&manager, "").unwrap_err().http_status(), Some(status));
        fake.on("a", Act::Serve);
        call(&manager, "").unwrap();
    }
}

#[test]
fn what_can_never_serve_is_refused_and_left_alone_where_a_store_has_it() {
    let (manager, _, _) = pool(FailurePolicy::default());
    for auth in [
        key("a").with_attribute("base_url", "htps://canary"),
        key("a").with_attribute("api_key", "canary\n"),
        key("a").with_proxy_url("htp://canary"),
    ] {
        let error = manager.register(auth.clone()).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config);
        assert!(!error.to_string().contains("canary"), "{error}");
        manager.register(key("a")).unwrap();
        assert_eq!(*manager.update(auth).unwrap_err().code(), ErrorCode::Config);
        manager.remove("a").unwrap();
    }

    let folder = tempfile::tempdir().unwrap();
    let record = r#"{"id":"a","provider":"p","attributes":{"api_key":"canary\n"},"metadata":{}}"#;
    std::fs::write(folder.path().join("a.json"), record).unwrap();
    let manager = Manager::builder()
        .clock(manual())
        .store(FileStore::open(folder.path()).unwrap())
        .policy(FailurePolicy::default().without_waiting())
        .build()
        .unwrap();
    let fake = Fake::new("p");
    manager.register_executor(fake.clone());
    assert_eq!(manager.load().unwrap().loaded, 1);
    let error = call(&manager, "m").unwrap_err();
    assert!(error.retry_after().is_none() && !error.is_retryable());
    let standing = manager.explain("p", "m").remove(0);
    assert_eq!(standing.availability, Availability::Misconfigured);
    assert_eq!(standing.fault, Some(FailureKind::Misconfigured));
    let text = standing.to_string();
    assert!(
        text.contains("api_key") && !text.contains("canary"),
        "{text}"
    );
    assert!(fake.calls().is_empty());
    let current = (*manager.get_by_id("a").unwrap()).clone();
    manager
        .update(current.with_attribute("api_key", "k"))
        .unwrap();
    assert_eq!(call(&manager, "m").unwrap(), "a");
}

#[test]
fn who_is_misconfigured_is_asked_once_until_its_record_changes() {
    let policy = FailurePolicy::default()
        .with_first(Rule::named("config").fault(FailureKind::Misconfigured));
    let (manager, fake, clock) = pool(policy.without_waiting());
    for id in ["a", "b"] {
        manager.register(key(id)).unwrap();
    }
    let unusable = Error::new(ErrorCode::Config, "no project").with_auth_id("a");
    fake.on("a", Act::Fail(unusable));
    for _ in 0..20 {
        assert_eq!(call(&manager, "m").unwrap(), "b");
        clock.advance(10 * MINUTE);
    }
    let asked = |id: &str| fake.calls().iter().filter(|asked| *asked == id).count();
    assert_eq!(asked("a"), 1);
    assert_eq!(availability(&manager, "a"), Availability::Misconfigured);
    let current = (*manager.get_by_id("a").unwrap()).clone();
    let labelled = manager.update(current.with_label("other")).unwrap();
    assert_eq!(availability(&manager, "a"), Availability::Misconfigured);
    let changed = (*labelled).clone().with_attribute("project", "x");
    let changed = manager.update(changed).unwrap();
    assert_eq!(
        (changed.status, &changed.last_error),
        (Status::Active, &None)
    );
    fake.on("a", Act::Serve);
    for _ in 0..2 {
        call(&manager, "m").unwrap();
    }
    assert_eq!(asked("a"), 2);
}
