//! Sealed stores: what a whole program does to them leaves no secret in any file.

use std::path::Path;

use credpool::testing::{Reply, Upstream};
use credpool::{Sealed, SealingKey, Store};
use serde_json::json;

use crate::shown::{
    PROXY_PASSWORD, ROTATED_ACCESS, ROTATED_REFRESH, begin, check, note, show, show_auth,
    show_error,
};
use crate::{LONG, files, key_auth, login, manager, options, request, robot, secrets_in};

fn seal<S: Store>(store: S, key: u8) -> Sealed<S> {
    Sealed::new(store, move || Ok(vec![SealingKey::from_bytes([key; 32])])).unwrap()
}

/// Registers, refreshes, fails, disables; then another process with the key, and one without.
fn use_store<S: Store + std::fmt::Debug + 'static>(place: &Path, open: impl Fn() -> S) {
    begin();
    let upstream = Upstream::start(|request| match request.path.as_str() {
        "/token" => {
            let tokens = json!({"access_token": ROTATED_ACCESS, "refresh_token": ROTATED_REFRESH, "expires_in": 3600});
            Reply::json(200, tokens.to_string())
        }
        _ => Reply::json(
            429,
            json!({"error": {"message": secrets_in(request)}}).to_string(),
        ),
    });
    {
        let store = seal(open(), 1);
        show(&store);
        let manager = manager(store);
        let proxy = format!("http://user:{PROXY_PASSWORD}@127.0.0.1:1");
        let key = manager.register(key_auth(&upstream.url())).unwrap();
        manager.register(login(&upstream.url(), "basic")).unwrap();
        manager.register(robot(&upstream.url())).unwrap();
        for id in ["login", "robot"] {
            manager.refresh_now(id).unwrap();
        }
        let failed = manager.execute(["openai"], &request(), &options());
        show_error(&failed.unwrap_err());
        manager
            .update((*key).clone().with_proxy_url(proxy))
            .unwrap();
        manager.set_disabled("login", true).unwrap();
        manager.shutdown(LONG).unwrap();
    }
    files(place).into_iter().for_each(note);

    let again = manager(seal(open(), 1));
    assert_eq!(again.load().unwrap().loaded, 3);
    let login = again.get_by_id("login").unwrap();
    let token = login.metadata.as_ref().unwrap().text("refresh_token");
    assert_eq!(token, Some(ROTATED_REFRESH));
    again.list().iter().for_each(|auth| show_auth(auth));

    let stranger = manager(seal(open(), 2));
    let report = stranger.load().unwrap();
    assert_eq!((report.loaded, report.skipped.len()), (0, 3));
    show(&report);
    show_error(&stranger.register(key_auth(&upstream.url())).unwrap_err());
    files(place).into_iter().for_each(note);
    check();
}

#[test]
fn a_sealed_store_of_files() {
    let place = tempfile::tempdir().unwrap();
    use_store(place.path(), || {
        credpool::FileStore::open(place.path().join("store")).unwrap()
    });
}

#[cfg(feature = "sqlite")]
#[test]
fn a_sealed_database() {
    let place = tempfile::tempdir().unwrap();
    use_store(place.path(), || {
        credpool::SqliteStore::open(place.path().join("store")).unwrap()
    });
}
