//! Files of other programs, from memory and in the directory of a store: what is shown has no secret, what its owner alone renews has
//! nothing to renew it with, and no file of another program is written to, whatever is saved.
#![no_main]

use std::fs;
use std::path::Path;

use credpool::import::{self, Renewal};
use credpool::{Auth, FileStore, Store};
use credpool_fuzz::{SECRET, holds_no_secret, settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([saves], file)) = settings(input) else {
        return;
    };
    let import = match import::parse(file) {
        Ok(import) => import,
        Err(error) => return holds_no_secret(&error),
    };
    for credential in import.credentials() {
        let (auth, taken) = (credential.auth(), credential.take_over());
        // Names of members, accounts and providers are shown as they are.
        let names = auth.metadata.iter().flat_map(|all| all.iter());
        let names = names.map(|(name, _)| name);
        let mut names = names.chain([credential.member(), &auth.provider, &auth.label]);
        if !names.any(|name| name.contains(SECRET)) && credential.account().is_none() {
            holds_no_secret(credential);
        }
        assert_eq!(auth.expiration_time(), taken.auth.expiration_time());
        if credential.renewal() == Renewal::Owner {
            assert!(auth.attributes.get("held_by").is_some());
            assert_eq!(text(&auth, "refresh_token"), None);
            assert_eq!(text(&auth, "client_secret"), None);
        }
    }
    // A save costs a hundred times as much as a look.
    if saves >= 64 {
        return;
    }
    let home = tempfile::tempdir_in(directory()).expect("a directory");
    let path = home.path().join("auth.json");
    fs::write(&path, file).expect("a file");
    let store = FileStore::open(home.path()).expect("a store");
    let listing = store.list().expect("a listing");
    for auth in &listing.records {
        if auth.attributes.get("held_by").is_none() {
            return;
        }
        let mut changed = auth.clone();
        changed.label = "another label".to_owned();
        store.save(&changed).expect("a save");
        let again = store.load(&auth.id).expect("a load").expect("a record");
        assert_eq!(again.label, changed.label);
        assert!(again.metadata == auth.metadata && again.attributes == auth.attributes);
        let taken = import::take_over(auth).expect("what was read before");
        store.save(&taken.auth).expect("a save");
        let again = store.load(&auth.id).expect("a load").expect("a record");
        assert_eq!(again.attributes.get("held_by"), None);
        assert_eq!(text(&again, "refresh_token"), text(&taken.auth, "refresh_token"));
    }
    let after = fs::read(&path).expect("a file");
    assert!(after == file, "a file of another program was written to");
});

fn text<'a>(auth: &'a Auth, name: &str) -> Option<&'a str> {
    auth.metadata.as_ref()?.text(name)
}

/// In memory where there is such a place: a run writes many files.
fn directory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        Path::new("/tmp")
    }
}
