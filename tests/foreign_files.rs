//! Files of other programs in a shared directory: what is used, what is left alone, and that each stays in its own form.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{Reply, Upstream};
use credpool::{
    Auth, Availability, Expiry, FileStore, Manager, ManualClock, Options, Request, Store, Timestamp,
};
use serde_json::{Value, json};
use support::eventually;
use time::macros::utc_datetime;

const NOW: Timestamp = utc_datetime!(2026-11-26 22:00);

fn put(dir: &Path, name: &str, content: &Value) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, serde_json::to_vec_pretty(content).unwrap()).unwrap();
}

fn listed(dir: &Path) -> (BTreeMap<String, Auth>, BTreeMap<String, String>) {
    let listing = FileStore::open(dir).unwrap().list().unwrap();
    let records = listing.records.into_iter();
    let skipped = listing.skipped.into_iter();
    (
        records.map(|auth| (auth.id.clone(), auth)).collect(),
        skipped
            .map(|skipped| (skipped.location, skipped.reason))
            .collect(),
    )
}

/// Each with a reason to be skipped, and the form that it has on the machines of its users.
fn others() -> [(&'static str, Value, &'static str); 5] {
    [
        (
            "opencode-auth.json",
            json!({"https://ai.example.org": {"type": "wellknown", "key": "AI_TOKEN", "token": "t"}}),
            "belongs to opencode: member `https://ai.example.org` is of a type that is not imported",
        ),
        (
            "hosts.json",
            json!({"github.com": {"user": "ada", "git_protocol": "ssh"}}),
            NOTHING,
        ),
        (
            "sso-client.json",
            json!({"clientId": "cid", "clientSecret": "csec", "expiresAt": "2027-02-14T22:50:04Z"}),
            "belongs to the AWS CLI: is the registration of a client, and no login",
        ),
        (
            "wif.json",
            json!({
                "universe_domain": "googleapis.com", "type": "external_account", "audience": "//iam.googleapis.com/x",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token",
                "credential_source": {"file": "/var/run/token"},
            }),
            "holds no token, and is not loaded from a directory: workload identity of //iam.googleapis.com/x",
        ),
        (
            "sub/package.json",
            json!({"name": "tool", "version": "1.0.0"}),
            NOTHING,
        ),
    ]
}

const NOTHING: &str = "holds no token or key in a known format";

#[test]
fn what_is_not_understood_is_skipped_and_never_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let others = others();
    for (name, content, _) in &others {
        put(dir, name, content);
    }
    put(
        dir,
        "claude.json",
        &json!({"type": "claude", "access_token": "a"}),
    );
    let before = others
        .clone()
        .map(|(name, ..)| fs::read(dir.join(name)).unwrap());

    let (records, skipped) = listed(dir);
    assert_eq!(records.keys().collect::<Vec<_>>(), ["claude.json"]);
    for (name, _, reason) in &others {
        assert_eq!(skipped[*name], *reason);
    }
    // Not by a record of the same name, not by a record whose file it has become.
    let store = FileStore::open(dir).unwrap();
    store
        .save(&Auth::api_key("openai", "k").with_id("hosts.json"))
        .unwrap();
    put(dir, "claude.json", &others[0].1);
    let mut claude = records["claude.json"].clone();
    claude.label = "mine".into();
    store.save(&claude).unwrap();
    store.save_state(&claude).unwrap();
    let (records, skipped) = listed(dir);
    assert_eq!(
        records.keys().collect::<Vec<_>>(),
        ["claude.json", "hosts.json"]
    );
    assert_eq!(records["claude.json"].label, "mine");
    assert_eq!(skipped.len(), others.len() + 1);
    store.delete("hosts.json").unwrap();
    store.delete("claude.json").unwrap();
    assert!(listed(dir).0.is_empty());
    let after = others
        .clone()
        .map(|(name, ..)| fs::read(dir.join(name)).unwrap());
    assert!(before == after);
    let claude: Value =
        serde_json::from_slice(&fs::read(dir.join("claude.json")).unwrap()).unwrap();
    assert_eq!(claude, others[0].1);
}

#[test]
fn the_managers_report_names_them() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content, _) in others() {
        put(dir.path(), name, &content);
    }
    let store = FileStore::open(dir.path()).unwrap();
    let manager = Manager::builder().store(store).build().unwrap();
    manager.register_executor(OpenAi::new());
    let report = manager.load().unwrap();
    assert_eq!((report.loaded, report.skipped.len()), (0, others().len()));
    manager.shutdown(Duration::from_secs(10)).unwrap();
}

#[test]
fn ends_in_milliseconds_are_read_at_the_top_and_inside() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let login = json!({"access_token": "ya29", "refresh_token": "1//r", "expiry_date": 1_795_728_742_362.779});
    let mut typed = login.clone();
    typed["type"] = "gemini".into();
    put(dir, "oauth_creds.json", &typed);
    put(
        dir,
        "clasprc.json",
        &json!({"token": login, "isLocalCreds": false}),
    );
    // What is read first says more exactly what the login is.
    typed["expires_at"] = "2030-01-01T00:00:00Z".into();
    put(dir, "both.json", &typed);
    let (records, _) = listed(dir);
    let end = |name: &str| records[name].expiration_time();
    let expected = Expiry::At(utc_datetime!(2026-11-26 21:32:22.362));
    assert_eq!(
        (end("oauth_creds.json"), end("clasprc.json")),
        (expected, expected)
    );
    assert_eq!(
        end("both.json"),
        Expiry::At(utc_datetime!(2030-01-01 00:00))
    );
}

#[test]
fn a_google_users_file_is_a_credential_of_its_own_provider() {
    let dir = tempfile::tempdir().unwrap();
    let file = json!({
        "account": "", "client_id": "app", "client_secret": "s", "quota_project_id": "proj-1",
        "refresh_token": "1//r", "type": "authorized_user", "universe_domain": "googleapis.com",
    });
    put(dir.path(), "application_default_credentials.json", &file);
    let (records, skipped) = listed(dir.path());
    assert!(skipped.is_empty());
    let dropped = &records["application_default_credentials.json"];
    assert_eq!(dropped.provider, "authorized_user");
    let ready_made = Auth::authorized_user("gemini", &file.to_string()).unwrap();
    assert_eq!(ready_made.provider, "gemini");
    assert!(ready_made.metadata == dropped.metadata);
}

#[test]
fn a_save_leaves_what_it_does_not_change_as_it_was_spelt() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let text = "\u{feff}{\"type\":\"openai\",\"access_token\":\"t\",\"account\":12345678901234567890123,\"tiny\":1e-400,\
                \"far\":1e400,\"half\":\"\\ud83d\",\"token\":{\"n\":1e400}}";
    fs::write(dir.join("t.json"), text).unwrap();
    fs::write(
        dir.join("latin.json"),
        b"{\"type\":\"x\",\"name\":\"Jos\xe9\"}",
    )
    .unwrap();
    let (records, skipped) = listed(dir);
    assert!(skipped.is_empty(), "{skipped:?}");
    let store = FileStore::open(dir).unwrap();
    for (id, auth) in records {
        let before = fs::read(dir.join(&id)).unwrap();
        store.save(&auth).unwrap();
        assert_eq!(
            fs::read(dir.join(&id)).unwrap(),
            before,
            "nothing has changed"
        );
        store.save(&auth.with_metadata("note", "new")).unwrap();
    }
    let written = fs::read_to_string(dir.join("t.json")).unwrap();
    let written: String = written.split_whitespace().collect();
    for kept in [
        r#""account":12345678901234567890123,"#,
        r#""tiny":1e-400,"#,
        r#""far":1e400,"#,
        r#""half":"\ud83d","#,
        r#""token":{"n":1e400}"#,
        r#""note":"new""#,
    ] {
        assert!(written.contains(kept), "{kept} is missing in {written}");
    }
    assert!(!written.contains('\u{feff}'));
    let latin = fs::read(dir.join("latin.json")).unwrap();
    assert!(latin.windows(4).any(|part| part == b"Jos\xe9"));
}

/// A manager over the directory, for files of any provider, on a clock that stands at `NOW`.
fn manager(dir: &Path, clock: &ManualClock) -> Manager {
    let manager = Manager::builder()
        .store(FileStore::open(dir).unwrap())
        .clock(clock.clone())
        .build()
        .unwrap();
    for provider in ["claude", "gemini", "unknown", "authorized_user"] {
        manager.register_executor(OpenAi::named(provider));
    }
    manager.load().unwrap();
    manager
}

/// Answers each refresh with new tokens that live for an hour.
fn token_endpoint() -> Upstream {
    Upstream::start(|_| {
        let tokens = json!({"access_token": "new", "refresh_token": "next", "expires_in": 3600});
        Reply::json(200, tokens.to_string())
    })
}

fn led_to(manager: &Manager, id: &str, endpoint: &Upstream) {
    let auth = (*manager.get_by_id(id).unwrap()).clone();
    manager
        .update(auth.with_attribute("token_url", endpoint.url()))
        .unwrap();
}

#[test]
fn a_refresh_replaces_ends_and_times_in_their_own_form_and_adds_nothing() {
    let with = |members: Value| {
        // Each a login of its own.
        let login = format!("first of {members}");
        let mut login = json!({"access_token": "old", "refresh_token": login, "scope": "s", "token_type": "Bearer"});
        let object = login.as_object_mut().unwrap();
        object.extend(members.as_object().unwrap().clone());
        login
    };
    // An hour after `NOW`, and `NOW`.
    let (end, milliseconds) = ("2026-11-26T23:00:00Z", 1_795_734_000_000_i64);
    let files = [
        (
            "oauth_creds.json",
            with(json!({"type": "gemini", "expiry_date": 1_795_729_804_362.779})),
            with(json!({"type": "gemini", "expiry_date": milliseconds})),
        ),
        (
            "clasprc.json",
            json!({"token": with(json!({"expiry_date": 1_795_729_804_123_i64})), "isLocalCreds": false}),
            json!({"token": with(json!({"expiry_date": milliseconds})), "isLocalCreds": false}),
        ),
        (
            "claude-ada.json",
            with(
                json!({"type": "claude", "email": "ada@example.org", "last_refresh": "2026-11-26T12:00:00Z",
                "expired": "2026-11-26T20:00:00+08:00"}),
            ),
            with(
                json!({"type": "claude", "email": "ada@example.org", "last_refresh": "2026-11-26T22:00:00Z",
                "expired": end}),
            ),
        ),
        // Neighbours: seconds stay seconds; a member that is not there is not added.
        (
            "codex.json",
            with(
                json!({"type": "claude", "lastRefresh": 1_795_690_000, "expires_at": 1_795_690_000}),
            ),
            with(
                json!({"type": "claude", "lastRefresh": milliseconds / 1000 - 3600, "expires_at": milliseconds / 1000}),
            ),
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (name, before, _) in &files {
        put(dir.path(), name, before);
    }
    let (clock, endpoint) = (ManualClock::at(NOW), token_endpoint());
    let manager = manager(dir.path(), &clock);
    for (name, _, mut expected) in files {
        led_to(&manager, name, &endpoint);
        manager.refresh_now(name).unwrap();
        let is_nested = expected.get("token").is_some();
        let login = if is_nested {
            &mut expected["token"]
        } else {
            &mut expected
        };
        login["access_token"] = "new".into();
        login["refresh_token"] = "next".into();
        let file: Value =
            serde_json::from_slice(&fs::read(dir.path().join(name)).unwrap()).unwrap();
        assert_eq!(file, expected, "{name}");
    }
    manager.shutdown(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_refresh_token_alone_gets_its_first_token_by_itself() {
    let file = json!({
        "account": "", "client_id": "app", "client_secret": "s", "quota_project_id": "proj-1", "refresh_token": "1//rt",
        "type": "authorized_user", "universe_domain": "googleapis.com",
    });
    let call = |manager: &Manager| {
        let request = Request::new("m", r#"{"model":"m","messages":[]}"#);
        manager.execute(["authorized_user"], &request, &Options::new())
    };
    for refresher in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "adc.json", &file);
        let mut other = file.clone();
        other["access_token"] = "ya29".into();
        other["type"] = "gemini".into();
        put(dir.path(), "has-one.json", &other);
        let (clock, endpoint) = (ManualClock::at(NOW), token_endpoint());
        let served = Upstream::start(|request| match request.bearer() {
            Some("new") => Reply::json(
                200,
                r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}"#,
            ),
            _ => Reply::new(401),
        });
        let manager = manager(dir.path(), &clock);
        for id in ["adc.json", "has-one.json"] {
            led_to(&manager, id, &endpoint);
        }
        let auth = (*manager.get_by_id("adc.json").unwrap()).clone();
        manager
            .update(auth.with_attribute("base_url", served.url()))
            .unwrap();
        let explained = &manager.explain("authorized_user", "m")[0];
        assert_eq!(explained.availability, Availability::Refreshing);
        if refresher {
            manager.start_auto_refresh(Duration::from_secs(60)).unwrap();
            eventually("the first token", || {
                manager.explain("authorized_user", "m")[0].availability == Availability::Ready
            });
        }
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| call(&manager))).collect();
            for called in calls {
                called.join().unwrap().unwrap();
            }
        });
        assert_eq!(
            endpoint.request_count(),
            1,
            "once for all, and for no other"
        );
        assert_eq!(served.request_count(), 8);
        manager.shutdown(Duration::from_secs(10)).unwrap();
    }
}
