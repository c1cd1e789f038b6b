//! Rotated tokens that the store has not taken: a directory that is away, a second refresh before the first is saved.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod refresh_support;
mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use credpool::provider::refresh_tokens;
use credpool::testing::{Gate, Reply, TokenServer};
use credpool::{
    Attempt, Auth, FileStore, Manager, ManualClock, Options, Request, Store, SystemClock,
};
use parking_lot::Mutex;
use refresh_support::{Fails, Fleet, token};
use serde_json::json;
use support::{Fake, SOON, eventually, manual};

/// What happens once while a token endpoint is asked.
type During = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A manager over a directory, and what happens to the directory while a token endpoint is asked.
struct Mounted {
    manager: Manager,
    clock: ManualClock,
    server: TokenServer,
    during: During,
    dir: PathBuf,
    aside: PathBuf,
    _home: tempfile::TempDir,
}

impl Mounted {
    /// With one login, `a`.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("store");
        let clock = manual();
        let server = TokenServer::start_with_clock(clock.clone());
        let during = During::default();
        let fake = Fake::new("p");
        fake.renews({
            let during = Arc::clone(&during);
            move |auth| {
                let renewed = refresh_tokens(&Attempt::for_tests(SystemClock), auth);
                if let Some(during) = during.lock().take() {
                    during();
                }
                renewed
            }
        });
        let manager = Manager::builder()
            .store(FileStore::open(&dir).unwrap())
            .clock(clock.clone())
            .build()
            .unwrap();
        manager.register_executor(fake);
        manager.register(server.login("p", "a")).unwrap();
        Self {
            manager,
            clock,
            server,
            during,
            aside: home.path().join("aside"),
            dir,
            _home: home,
        }
    }

    /// What an unmounted volume leaves at its mount point: an empty directory.
    fn unmount(&self) {
        fs::rename(&self.dir, &self.aside).unwrap();
        fs::create_dir(&self.dir).unwrap();
    }

    fn mount(&self) {
        // Fails where anything was written to it.
        fs::remove_dir(&self.dir).unwrap();
        fs::rename(&self.aside, &self.dir).unwrap();
    }

    fn during(&self, act: impl FnOnce() + Send + 'static) {
        *self.during.lock() = Some(Box::new(act));
    }

    fn unmount_during_the_refresh(&self) {
        let (dir, aside) = (self.dir.clone(), self.aside.clone());
        self.during(move || {
            fs::rename(&dir, &aside).unwrap();
            fs::create_dir(&dir).unwrap();
        });
    }

    fn unsaved(&self) -> Vec<String> {
        self.manager.refresh_health().unpersisted_rotation
    }

    /// The access token that whoever opens the directory anew finds.
    fn stored(&self) -> Option<String> {
        let auth = FileStore::open(&self.dir).unwrap().load("a").unwrap()?;
        Some(
            auth.metadata
                .unwrap()
                .text("access_token")
                .unwrap()
                .to_owned(),
        )
    }

    fn saved_soon(&self) {
        eventually("the save", || {
            self.clock.advance(Duration::from_secs(1));
            self.unsaved().is_empty()
        });
    }
}

#[test]
fn no_refresh_token_is_sent_while_the_directory_is_away() {
    let place = Mounted::new();
    place.unmount();
    place.manager.refresh_now("a").unwrap_err();
    assert_eq!(place.server.server().request_count(), 0);
    assert_eq!(place.manager.refresh_health().deferred.len(), 1);
    assert!(place.manager.get_by_id("a").is_some());
    place.mount();
    place.manager.refresh_now("a").unwrap();
    assert_eq!(place.stored().as_deref(), Some("access-1"));
    assert!(place.manager.refresh_health().is_good());
}

#[test]
fn tokens_that_come_while_the_directory_is_away_are_used_and_saved_when_it_is_back() {
    let place = Mounted::new();
    place.unmount_during_the_refresh();
    place.manager.refresh_now("a").unwrap();
    assert_eq!(token(&place.manager, "a"), "access-1");
    for _ in 0..20 {
        place.clock.advance(Duration::from_secs(1));
        assert_eq!(place.unsaved(), ["a"]);
    }
    let call = || {
        let request = Request::new("m", "{}");
        place.manager.execute(["p"], &request, &Options::new())
    };
    call().unwrap();
    place.mount();
    assert_eq!(place.stored().as_deref(), Some("access-0"));
    place.saved_soon();
    assert_eq!(place.stored().as_deref(), Some("access-1"));
    // The next one is rotated from there.
    place.manager.refresh_now("a").unwrap();
    assert_eq!(place.server.replays(), 0);
    place.manager.shutdown(SOON).unwrap();
    assert_eq!(place.stored().as_deref(), Some("access-2"));
}

#[test]
fn tokens_are_saved_to_the_directory_that_took_the_formers_place() {
    let place = Mounted::new();
    let other = place.dir.with_extension("other");
    let neighbour = Auth::api_key("p", "k").with_id("b");
    FileStore::open(&other).unwrap().save(&neighbour).unwrap();
    let (dir, aside, new) = (place.dir.clone(), place.aside.clone(), other.clone());
    place.during(move || {
        fs::rename(&dir, &aside).unwrap();
        fs::rename(&new, &dir).unwrap();
    });
    place.manager.refresh_now("a").unwrap();
    assert_eq!(token(&place.manager, "a"), "access-1", "it was not removed");
    place.saved_soon();
    assert_eq!(place.stored().as_deref(), Some("access-1"));
    place.manager.refresh_now("a").unwrap();
    assert_eq!((place.server.refreshes(), place.server.replays()), (2, 0));
    place.manager.shutdown(SOON).unwrap();
}

#[test]
fn a_record_that_is_removed_from_the_same_directory_goes_with_its_tokens() {
    let place = Mounted::new();
    let file = place.dir.join("a.credential");
    place.during(move || fs::remove_file(file).unwrap());
    place.manager.refresh_now("a").unwrap_err();
    assert!(place.manager.get_by_id("a").is_none());
    assert!(place.unsaved().is_empty());
    assert_eq!(place.stored(), None);
    place.manager.shutdown(SOON).unwrap();
}

#[test]
fn unsaved_tokens_are_told_while_they_are_refreshed_again() {
    // How the second refresh goes: by tokens, by a refusal, by none that are sent at all.
    for (refused, saves) in [(false, false), (false, true), (true, false), (true, true)] {
        let fleet = Fleet::new();
        let manager = fleet.process();
        manager.register(fleet.server.login("p", "a")).unwrap();
        let unsaved = || manager.refresh_health().unpersisted_rotation;
        fleet.store.fail(Fails::Save, true);
        manager.refresh_now("a").unwrap();
        assert_eq!(unsaved(), ["a"]);

        let gate = Gate::new();
        let busy = Reply::json(503, "{}");
        let tokens =
            json!({"access_token": "access-2", "refresh_token": "next", "expires_in": 3600});
        let reply = if refused {
            busy
        } else {
            Reply::json(200, tokens.to_string())
        };
        fleet.server.answer_instead(reply.stall_before_head(&gate));
        std::thread::scope(|scope| {
            let refresh = scope.spawn(|| manager.refresh_now("a"));
            assert!(gate.wait_reached(SOON));
            assert_eq!(unsaved(), ["a"]);
            assert!(fleet.store.is_locked("a"));
            // What there is now is not the newest for long: the rescuer leaves it to the refresh.
            fleet.store.fail(Fails::Save, !saves);
            fleet.clock.advance(Duration::from_secs(10));
            assert_eq!(unsaved(), ["a"]);
            gate.open();
            assert_eq!(refresh.join().unwrap().is_err(), refused);
        });
        let newest = if refused { "access-1" } else { "access-2" };
        assert_eq!(token(&manager, "a"), newest);
        // After a refusal, the rescuer may have saved what there was before, if it can.
        if !(refused && saves) {
            assert_eq!(unsaved().is_empty(), saves, "{refused}");
            assert_eq!(fleet.store.is_locked("a"), !saves);
        }
        fleet.store.fail(Fails::Save, false);
        fleet.until("the save", || unsaved().is_empty());
        assert_eq!(fleet.store.token("a"), newest);
        assert!(!fleet.store.is_locked("a"));
        manager.shutdown(SOON).unwrap();
    }
}

#[test]
fn a_refresh_writes_its_record_once_and_unsaved_tokens_once_more() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    let swaps_of_a_refresh = || {
        let before = fleet.store.swaps();
        manager.refresh_now("a").unwrap();
        fleet.store.swaps() - before
    };
    assert_eq!(swaps_of_a_refresh(), 1);
    fleet.store.fail(Fails::Save, true);
    assert_eq!(swaps_of_a_refresh(), 1);
    fleet.store.fail(Fails::Save, false);
    // The former tokens first, under the lock that was kept for them.
    assert_eq!(swaps_of_a_refresh(), 2);
    assert_eq!(fleet.store.token("a"), "access-3");
    manager.shutdown(SOON).unwrap();
}
