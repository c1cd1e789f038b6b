//! Bad input through the whole of it: a clear error each, nothing lost, nothing sent.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::fs;
use std::path::Path;

use credpool::provider::OpenAi;
use credpool::testing::{KeyBehaviour, OpenAiUpstream};
use credpool::{Auth, Error, ErrorCode, FileStore, Manager, Options, Request};
use support::SOON;

fn over(directory: &Path) -> Manager {
    let manager = Manager::builder()
        .store(FileStore::open(directory).unwrap())
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    manager
}

fn request() -> Request {
    Request::new("m", r#"{"model":"m","messages":[]}"#)
}

/// Every path below `directory`, sorted.
fn tree(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_path_buf()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                todo.push(path.clone());
            }
            found.push(path.strip_prefix(directory).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn odd_ids_stay_inside_the_directory_and_come_back() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("store");
    let long = "x".repeat(4096);
    let ids = [
        "../escape",
        "../../etc/passwd",
        "/absolute",
        "nul\0inside",
        &long,
        "Case",
        "case",
        "white space",
        "ünïcödé",
        ".",
        "..",
        ".hidden",
        "a/b/c",
        "con",
        "line\nbreak",
        "%2e%2e",
    ];
    let manager = over(&directory);
    for id in ids {
        manager
            .register(Auth::api_key("openai", "key").with_id(id))
            .unwrap();
    }
    manager.shutdown(SOON).unwrap();
    assert_eq!(
        fs::read_dir(outer.path()).unwrap().count(),
        1,
        "nothing is beside the store: {:?}",
        tree(outer.path())
    );
    let again = over(&directory);
    let report = again.load().unwrap();
    assert_eq!((report.loaded, &report.skipped[..]), (ids.len(), &[][..]));
    for id in ids {
        assert_eq!(again.get_by_id(id).unwrap().id, id);
        again.remove(id).unwrap();
    }
    assert_eq!(over(&directory).load().unwrap().loaded, 0);
}

#[test]
fn files_that_do_not_read_are_reported_and_left_alone() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("store");
    let manager = over(&directory);
    manager
        .register(Auth::api_key("openai", "key").with_id("good"))
        .unwrap();
    manager.shutdown(SOON).unwrap();
    let secret = r#"{"type":"openai","access_token":"sk-canary"}"#;
    for (name, text) in [
        ("empty.json", ""),
        ("cut.json", &secret[..30]),
        ("words.json", "sk-canary is no JSON"),
        ("list.json", "[\"sk-canary\"]"),
        (
            "wrong.json",
            r#"{"id":"w","provider":"p","metadata":"sk-canary"}"#,
        ),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
    fs::create_dir(directory.join("folder.json")).unwrap();
    let outside = outer.path().join("outside.json");
    fs::write(&outside, secret).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&outside, directory.join("link.json")).unwrap();
    let before = tree(outer.path());
    let again = over(&directory);
    let report = again.load().unwrap();
    assert_eq!(report.loaded, 1);
    let said: Vec<_> = report.skipped.iter().map(ToString::to_string).collect();
    for name in [
        "empty.json",
        "cut.json",
        "words.json",
        "list.json",
        "wrong.json",
    ] {
        assert!(
            said.iter().any(|line| line.starts_with(name)),
            "{name}: {said:?}"
        );
    }
    #[cfg(unix)]
    assert!(
        said.iter().any(|line| line.starts_with("link.json")),
        "{said:?}"
    );
    assert!(!said.concat().contains("canary"), "{said:?}");
    assert_eq!(tree(outer.path()), before, "everything is where it was");
    assert_eq!(fs::read_to_string(&outside).unwrap(), secret);
}

#[test]
fn keys_that_are_none_are_refused_before_anything_is_sent() {
    let upstream = OpenAiUpstream::start();
    upstream.set_key("key-good", KeyBehaviour::Serve);
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(OpenAi::new());
    for (id, key) in [
        ("a", "sk-canary\r\nx-injected: 1"),
        ("b", "sk-canary\n"),
        ("c", "sk canary"),
        ("d", "sk-canary-\u{e9}"),
        ("e", "sk-canary\0"),
        ("f", " "),
    ] {
        let auth = Auth::api_key("openai", key)
            .with_id(id)
            .with_attribute("base_url", upstream.base_url());
        let is_named = |error: &Error| {
            assert_eq!(error.code(), &ErrorCode::Config, "{id}: {error}");
            assert_eq!(error.auth_id(), Some(id));
            let text = format!("{error} {error:?}");
            assert!(!text.contains("canary"), "{text}");
        };
        match manager.register(auth) {
            Ok(_) => {}
            Err(refused) => {
                is_named(&refused);
                assert!(key.chars().any(char::is_control));
                continue;
            }
        }
        let pinned = Options::new().with_pinned(id);
        let error = manager
            .execute(["openai"], &request(), &pinned)
            .unwrap_err();
        is_named(&error);
        let error = manager
            .execute_stream(["openai"], &request(), &pinned)
            .unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Config);
        let (mut parts, ()) = http::Request::new(()).into_parts();
        let error = manager.inject_credentials(&mut parts, id).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Config);
        assert!(parts.headers.is_empty());
    }
    assert_eq!(upstream.server().request_count(), 0);
    assert_eq!(upstream.server().connections_opened(), 0);
    // A good one among them still serves.
    let good = Auth::api_key("openai", "key-good").with_attribute("base_url", upstream.base_url());
    manager.register(good.with_id("z")).unwrap();
    let response = manager
        .execute(["openai"], &request(), &Options::new())
        .unwrap();
    assert_eq!(&*response.auth_id, "z");
}

#[test]
fn a_proxy_that_is_nonsense_is_an_error_and_never_a_direct_connection() {
    let upstream = OpenAiUpstream::start();
    upstream.set_key("key-good", KeyBehaviour::Serve);
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(OpenAi::new());
    for (n, proxy) in [
        "nonsense",
        "ftp://127.0.0.1:1",
        "http://",
        "socks5://u:canary@",
        "http://127.0.0.1:99999",
        "http://u:canary@127.0.0.1:port",
        "socks5h://bad host:1080",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("a{n}");
        let auth = Auth::api_key("openai", "key-good")
            .with_id(&*id)
            .with_proxy_url(proxy)
            .with_attribute("base_url", upstream.base_url());
        let error = manager.register(auth).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Config, "{proxy}: {error}");
        assert_eq!(error.auth_id(), Some(&*id));
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
    // The manager's own proxy is asked for by the first call.
    for proxy in ["nonsense", "socks5://u:canary@"] {
        let manager = Manager::builder().proxy(proxy).build().unwrap();
        manager.register_executor(OpenAi::new());
        let auth = Auth::api_key("openai", "key-good").with_id("a");
        let auth = auth.with_attribute("base_url", upstream.base_url());
        manager.register(auth).unwrap();
        let error = manager
            .execute(["openai"], &request(), &Options::new())
            .unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Config, "{proxy}: {error}");
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
    assert_eq!(upstream.server().connections_opened(), 0);
}
