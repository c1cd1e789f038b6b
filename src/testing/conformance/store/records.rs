//! Promises about records: what is saved is there, whole, and nothing else.

use serde_json::json;

use super::Fixture;
use super::samples::{altered, hostile_ids, json, loaded, of_generation, sample, short, stored};
use crate::auth::{Auth, QuotaState, Status};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::store::Revision;
use crate::testing::conformance::threads::Threads;
use crate::testing::conformance::{Verdict, same};

pub(super) fn a_new_store_is_empty(fixture: &Fixture) -> Verdict {
    same(
        "what an empty place lists",
        &stored(&*fixture.open())?,
        &vec![],
    )
}

pub(super) fn what_is_saved_is_listed(fixture: &Fixture) -> Verdict {
    let full = altered(&Auth::new("openai"), |record| {
        *record = json!({
            "id": "full", "provider": "openai", "label": "Full", "status": "error",
            "status_message": "quota exhausted", "disabled": true, "unavailable": true,
            "proxy_url": "socks5://user:word@127.0.0.1:1",
            "attributes": {"api_key": "sk-1", "priority": "3", "": ""},
            "metadata": {"access_token": "t", "nested": {"deep": [1, 2.5, null, {"x": "é\u{0}\n"}]}, "n": u64::MAX},
            "quota": {"exceeded": true, "reason": "quota", "next_recover_at": "2030-01-02T03:04:05.123456789Z"},
            "last_error": {"code": "upstream", "message": "no", "retryable": true, "http_status": 429},
            "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-02T00:00:00.5Z",
            "last_refreshed_at": "2025-01-03T00:00:00Z", "next_refresh_after": "2025-01-04T00:00:00Z",
            "next_retry_after": "2025-01-05T00:00:00Z",
            "model_states": {"m/1": {"status": "error", "unavailable": true, "novel": [1]}, "": {}},
            "novel": {"kept": true},
        });
    })?;
    let plain = Auth::api_key("openai", "sk-2").with_id("plain");
    let mut unset = Auth::api_key("openai", "sk-3").with_id("unset");
    unset.status = Status::Unset;
    let store = fixture.open();
    for auth in [&full, &plain, &unset] {
        let place = store.save(auth)?;
        ensure!(!place.is_empty(), "save does not say where the record is");
    }
    let expected = vec![json(&full), json(&plain), json(&unset)];
    same("what this handle lists", &stored(&*store)?, &expected)?;
    same(
        "what another handle lists",
        &stored(&*fixture.open())?,
        &expected,
    )
}

pub(super) fn what_is_listed_is_loaded(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    for id in hostile_ids() {
        let shown = short(&id);
        ensure!(
            store.load(&id)?.is_none(),
            "{shown} is there before it was saved"
        );
        let auth = sample(&id).with_metadata("x", 1);
        fixture.open().save(&auth)?;
        same(&shown, &json(&loaded(&*store, &id)?), &json(&auth))?;
        let changed = auth.with_label("changed");
        fixture.open().save(&changed)?;
        let there = loaded(&*store, &id)?;
        same(
            &format!("{shown}, read anew"),
            &json(&there),
            &json(&changed),
        )?;
        ensure!(
            there.runtime.is_none(),
            "{shown} has the values of a running program"
        );
        fixture.open().delete(&id)?;
        ensure!(
            store.load(&id)?.is_none(),
            "{shown} is there after it was deleted"
        );
    }
    Ok(())
}

pub(super) fn a_save_replaces(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    store.save(
        &Auth::api_key("openai", "old")
            .with_id("a")
            .with_metadata("x", 1),
    )?;
    let changed = Auth::api_key("claude", "new")
        .with_id("a")
        .with_label("changed");
    let place = store.save(&changed)?;
    same(
        "the place of the same record",
        &store.save(&changed)?,
        &place,
    )?;
    same(
        "what is listed",
        &stored(&*fixture.open())?,
        &vec![json(&changed)],
    )
}

pub(super) fn ids_are_free_text(fixture: &Fixture) -> Verdict {
    for id in hostile_ids() {
        let store = fixture.open();
        let auth = sample(&id);
        store.save(&auth)?;
        same(&short(&id), &stored(&*fixture.open())?, &vec![json(&auth)])?;
        store.save_state(&auth)?;
        store.delete(&id)?;
        let left = stored(&*fixture.open())?;
        same(&format!("what is left of {}", short(&id)), &left, &vec![])?;
    }
    Ok(())
}

pub(super) fn no_two_ids_are_the_same_record(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let mut ids = hostile_ids();
    for (number, id) in ids.iter().enumerate() {
        store.save(&Auth::api_key("p", number.to_string()).with_id(id))?;
    }
    let listing = fixture.open().list()?;
    for auth in &listing.records {
        let number = ids.iter().position(|id| *id == auth.id);
        let number = number.map(|number| number.to_string());
        ensure!(
            auth.attributes.get("api_key") == number.as_deref(),
            "{} has the key of another record",
            short(&auth.id)
        );
    }
    let mut listed: Vec<_> = listing.records.into_iter().map(|auth| auth.id).collect();
    ids.sort_unstable();
    listed.sort_unstable();
    ensure!(
        listed == ids,
        "{} records were saved, {} are there",
        ids.len(),
        listed.len()
    );
    Ok(())
}

pub(super) fn what_is_deleted_is_gone(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let mut a = sample("a");
    a.status_message = "from before".into();
    let b = sample("b");
    store.save(&a)?;
    store.save(&b)?;
    store.delete("a")?;
    same("what is left", &stored(&*store)?, &vec![json(&b)])?;
    let again = Auth::api_key("p", "other").with_id("a");
    store.save(&again)?;
    same(
        "a record under the id of a removed one",
        &stored(&*fixture.open())?,
        &vec![json(&again), json(&b)],
    )
}

pub(super) fn deleting_the_unknown_is_no_error(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    store.delete("")?;
    for id in hostile_ids() {
        store.delete(&id)?;
    }
    Ok(())
}

pub(super) fn the_state_can_be_saved_alone(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let mut auth = sample("a").with_label("label");
    store.save(&auth)?;
    auth.status = Status::Error;
    auth.unavailable = true;
    auth.next_retry_after = Some(LATER);
    auth.quota = QuotaState::exceeded("quota", Some(LATER));
    auth.last_error = Some(Error::upstream(429, "slow down"));
    auth.model_states
        .entry("gpt".into())
        .or_default()
        .unavailable = true;
    store.save_state(&auth)?;
    let there = stored(&*fixture.open())?;
    same("the record with its state", &there, &vec![json(&auth)])?;
    auth.model_states.clear();
    auth.last_error = None;
    store.save_state(&auth)?;
    let there = stored(&*fixture.open())?;
    same("the record with less state", &there, &vec![json(&auth)])
}

pub(super) fn a_state_brings_nothing_else_back(fixture: &Fixture) -> Verdict {
    let old = sample("a").with_label("old");
    let store = fixture.open();
    store.save(&old)?;
    // Another writer refreshes and disables it; the state that comes late is of the former record.
    let mut new = of_generation(&old, 1)?.with_label("new");
    new.disabled = true;
    new.status = Status::Disabled;
    fixture.open().save(&new)?;
    let mut late = old;
    late.unavailable = true;
    late.next_retry_after = Some(LATER);
    store.save_state(&late)?;
    let there = loaded(&*store, "a")?;
    same("the tokens", &there.metadata, &new.metadata)?;
    same(
        "generation, label and what the operator said",
        &(there.generation(), there.label.as_str(), there.disabled),
        &(1, "new", true),
    )?;
    same("the status", &there.status, &Status::Disabled)?;
    same("the state", &there.next_retry_after, &Some(LATER))?;
    fixture.open().delete("a")?;
    store.save_state(&late)?;
    let left = stored(&*fixture.open())?;
    same(
        "what is there after the state of a removed record",
        &left,
        &vec![],
    )?;
    let again = sample("a");
    store.save(&again)?;
    let there = stored(&*fixture.open())?;
    same(
        "a record under the id of a removed one",
        &there,
        &vec![json(&again)],
    )
}

pub(super) fn a_record_without_metadata_members_stays_storable(fixture: &Fixture) -> Verdict {
    fixture.open().save(&sample("a"))?;
    let there = loaded(&*fixture.open(), "a")?;
    ensure!(
        !there.is_runtime_only(),
        "a stored record without metadata counts as runtime-only"
    );
    Ok(())
}

pub(super) fn records_are_listed_in_id_order(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let mut ids = ["b", "B", "a/1", "a", "é", "a-1", "~"];
    for id in ids {
        store.save(&sample(id))?;
    }
    ids.sort_unstable();
    let listed: Vec<_> = store.list()?.records;
    let listed: Vec<_> = listed.iter().map(|auth| auth.id.as_str()).collect();
    same("the order", &listed, &ids.to_vec())
}

pub(super) fn several_threads_may_save(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let threads = Threads::start(4, move |thread| {
        for number in 0..10 {
            let auth = sample(&format!("{thread}-{number}"));
            store.save(&auth)?;
            store.save_state(&auth)?;
            if number % 2 == 1 {
                store.delete(&auth.id)?;
            }
        }
        Ok(())
    })?;
    threads.join()?;
    let left = stored(&*fixture.open())?.len();
    same(
        "how many of 40 records are left after 20 removals",
        &left,
        &20,
    )
}

pub(super) fn large_records_are_whole(fixture: &Fixture) -> Verdict {
    let auth = sample("a").with_metadata("text", "é\"".repeat(150_000));
    let store = fixture.open();
    store.save(&auth)?;
    let is_whole =
        stored(&*fixture.open())? == [json(&auth)] && json(&loaded(&*store, "a")?) == json(&auth);
    ensure!(
        is_whole,
        "a record of 600 kB was saved without an error and is another one now"
    );
    Ok(())
}

pub(super) fn what_is_not_saved_changes_nothing(fixture: &Fixture) -> Verdict {
    let former = sample("a");
    let store = fixture.open();
    store.save(&former)?;
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    for value in [deep, "x".repeat(3 << 20).into()] {
        let auth = former.clone().with_metadata("x", value);
        // Some stores have no such limits.
        let expected = if let Err(error) = store.save(&auth) {
            same(
                "the credential that the error names",
                &error.auth_id(),
                &Some("a"),
            )?;
            ensure!(
                store.save_if(&auth, Some(&Revision::of(&former))).is_err(),
                "save refuses a record, and save_if takes it"
            );
            json(&former)
        } else {
            json(&auth)
        };
        ensure!(
            json(&loaded(&*store, "a")?) == expected,
            "a record that was refused has changed what was there, or one that was taken is another one"
        );
    }
    Ok(())
}

const LATER: Timestamp = time::macros::utc_datetime!(2030-01-01 0:00);
