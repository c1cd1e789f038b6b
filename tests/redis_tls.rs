//! The store on a Redis server that is reached over TLS.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use credpool::{ErrorCode, RedisStore, Revision, Saved, Store};
use store_support::{Server, sample, start_redis_over_tls, when_up};

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).collect();
    let lines = String::from_utf8(lines.join(&b'\n')).unwrap();
    format!("-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n")
}

/// A certificate for 127.0.0.1, which trusts itself, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    (
        pem("CERTIFICATE", made.cert.der()),
        pem("PRIVATE KEY", &made.signing_key.serialize_der()),
    )
}

fn url(server: &Server, host: &str) -> String {
    format!("rediss://:sk-canary@{host}:{}", server.port)
}

#[test]
fn a_trusted_server_is_a_store_like_any_other() {
    let (certificate, key) = certificate();
    let Some(server) = start_redis_over_tls(&certificate, &key) else {
        return;
    };
    // Another root beside it is no harm, nor is what is between them.
    let roots = format!("{}of ours:\n{certificate}", self::certificate().0);
    let url = format!("rediss://127.0.0.1:{}", server.port);
    let store = when_up(|| RedisStore::connect_trusting(url.as_str(), roots.as_bytes()));
    store.save(&sample("a")).unwrap();
    let cursor = store.changes(None).unwrap().unwrap().cursor;
    let other = RedisStore::connect_trusting(url.as_str(), certificate.as_bytes()).unwrap();
    let changed = sample("a").with_label("new");
    let saved = other.save_if(&changed, Some(&Revision::of(&sample("a"))));
    assert!(matches!(saved, Ok(Saved::At(_))));
    let changes = store.changes(Some(&cursor)).unwrap().unwrap();
    assert_eq!(changes.written[0].label, "new");
    let lock = other.lock("a", Duration::ZERO).unwrap().unwrap();
    assert!(store.lock("a", Duration::ZERO).unwrap().is_none());
    drop(lock);
    // A connection that has died is replaced over TLS, too.
    server.crash();
    when_up(|| store.save(&sample("b")));
    assert!(other.load("b").unwrap().is_some());
}

#[test]
fn no_other_server_is_talked_to() {
    let (certificate, key) = certificate();
    let Some(server) = start_redis_over_tls(&certificate, &key) else {
        return;
    };
    let trusted = format!("rediss://127.0.0.1:{}", server.port);
    when_up(|| RedisStore::connect_trusting(trusted.as_str(), certificate.as_bytes()));
    let another = self::certificate().0;
    let refused = [
        RedisStore::connect(url(&server, "127.0.0.1")),
        RedisStore::connect_trusting(url(&server, "127.0.0.1"), another.as_bytes()),
        // Its certificate is for the address, not for the name.
        RedisStore::connect_trusting(url(&server, "localhost"), certificate.as_bytes()),
        RedisStore::connect(url(&server, "127.0.0.1").replace("rediss", "redis")),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(*error.code(), ErrorCode::Store, "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

#[test]
fn what_would_not_be_tls_or_trusts_anything_is_refused_before_it_connects() {
    let certificate = certificate().0;
    for (url, roots) in [
        ("redis://:sk-canary@127.0.0.1:1", certificate.as_str()),
        ("redis+unix:///nowhere", &certificate),
        ("rediss://:sk-canary@127.0.0.1:1/#insecure", &certificate),
        ("rediss://:sk-canary@127.0.0.1:1", ""),
        ("rediss://:sk-canary@127.0.0.1:1", "no certificate"),
        (
            "rediss://:sk-canary@127.0.0.1:1",
            "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n",
        ),
    ] {
        let error = RedisStore::connect_trusting(url, roots.as_bytes()).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config, "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    let error = RedisStore::connect("rediss://127.0.0.1:1/#insecure").unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Config);
}
