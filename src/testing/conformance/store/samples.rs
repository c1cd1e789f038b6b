//! Records, ids and what is in a store, as the checks compare them.

use serde_json::{Map, Value};

use crate::auth::Auth;
use crate::store::{Saved, Store, StoreEntry};
use crate::testing::conformance::Stop;

/// A record with nothing special.
pub(super) fn sample(id: &str) -> Auth {
    Auth::api_key("p", "k").with_id(id)
}

/// A record in its JSON form, which is what two of them are compared by.
pub(super) fn json(auth: &Auth) -> Value {
    serde_json::to_value(auth).unwrap_or_default()
}

/// A record with other members than `auth` has.
pub(super) fn altered(auth: &Auth, alter: impl FnOnce(&mut Value)) -> Result<Auth, Stop> {
    let mut json = json(auth);
    alter(&mut json);
    serde_json::from_value(json)
        .map_err(|error| Stop::Broken(format!("the suite's record cannot be parsed: {error}")))
}

/// The same record with tokens of another generation, as a refresh makes it.
pub(super) fn of_generation(auth: &Auth, generation: u64) -> Result<Auth, Stop> {
    altered(auth, |json| {
        json["generation"] = generation.into();
        if json["metadata"].is_null() {
            json["metadata"] = Map::new().into();
        }
        json["metadata"]["refresh_token"] = token(generation).into();
    })
}

/// The refresh token of a generation.
pub(super) fn token(generation: u64) -> String {
    format!("token-{generation}")
}

/// The record after one more refresh, by this thread of this process.
pub(super) fn successor(auth: &Auth) -> Result<Auth, Stop> {
    Ok(of_generation(auth, auth.generation() + 1)?.with_metadata("writer", writer()))
}

/// Says which thread of which process it was.
pub(super) fn writer() -> String {
    format!("{} {:?}", std::process::id(), std::thread::current().id())
}

/// All records of a store, of which none may be skipped.
pub(super) fn stored(store: &dyn Store) -> Result<Vec<Value>, Stop> {
    let listing = store.list()?;
    ensure!(
        listing.skipped.is_empty(),
        "the store skips a record that it has written: {:?}",
        listing.skipped
    );
    Ok(listing.records.iter().map(json).collect())
}

/// The record of an id, which must be there.
pub(super) fn loaded(store: &dyn Store, id: &str) -> Result<Auth, Stop> {
    let found = store.load(id)?;
    found.ok_or_else(|| Stop::Broken(format!("the record {} is gone", short(id))))
}

/// What is there instead of what a swap expected.
pub(super) fn conflict(what: &str, saved: Saved) -> Result<Option<Auth>, Stop> {
    match saved {
        Saved::Conflict(there) => Ok(there.map(|there| *there)),
        Saved::At(_) => Err(Stop::Broken(format!("save_if wrote {what}"))),
    }
}

/// Where a swap has written.
pub(super) fn at(what: &str, saved: Saved) -> Result<String, Stop> {
    match saved {
        Saved::At(place) => Ok(place),
        Saved::Conflict(_) => Err(Stop::Broken(format!("save_if reported a conflict {what}"))),
    }
}

/// An id as a sentence may hold it.
pub(super) fn short(id: &str) -> String {
    format!("{:?}", id.chars().take(40).collect::<String>())
}

/// An entry that ends so many seconds into the calendar of the checks.
pub(super) fn entry(key: &str, value: &str, seconds: u64) -> StoreEntry {
    let start = time::macros::utc_datetime!(2026-01-02 03:04:05.678);
    let ends = crate::clock::later(start, std::time::Duration::from_secs(seconds));
    StoreEntry::new(key, value, ends)
}

/// Far more entries than any check writes.
pub(super) const MANY: usize = 100_000;

/// Ids that are free text: paths, endings of files, other alphabets, and long ones.
pub(super) fn hostile_ids() -> Vec<String> {
    let mut ids: Vec<String> = HOSTILE.iter().map(ToString::to_string).collect();
    ids.extend([100, 101, 4096].map(|length| "x".repeat(length)));
    ids
}

const HOSTILE: [&str; 26] = [
    "a",
    "A",
    "a.b",
    ".a",
    "..",
    ".",
    "../x",
    "/etc/x",
    "a/b",
    "a\\b",
    "a\0b",
    "a b",
    "é",
    "~",
    "a~b",
    "x.json",
    "X.JSON",
    "sub/x.json",
    "../x.json",
    "x.json.state",
    "a.credential",
    "A.credential",
    "a.state",
    "con",
    "\n",
    "a.tmp",
];
