//! Promises about changes by other handles, and by edits in place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Fixture;
use super::samples::{json, sample};
use crate::auth::{Auth, Status};
use crate::store::{Changes, Cursor, Store};
use crate::testing::conformance::threads::Threads;
use crate::testing::conformance::{Stop, Verdict, same};

fn look(store: &dyn Store, since: Option<&Cursor>) -> Result<Changes, Stop> {
    let changes = store.changes(since)?;
    let changes = changes.ok_or_else(|| {
        Stop::Broken("changes gives none, and the fixture does not say that it lacks them".into())
    })?;
    ensure!(
        changes.skipped.is_empty(),
        "a change that the store has written cannot be parsed: {:?}",
        changes.skipped
    );
    Ok(changes)
}

fn written(changes: &Changes) -> BTreeMap<&str, Value> {
    let written = changes.written.iter();
    written.map(|auth| (auth.id.as_str(), json(auth))).collect()
}

pub(super) fn changes_begin_where_one_asks(fixture: &Fixture) -> Verdict {
    let other = fixture.open();
    other.save(&sample("before"))?;
    let store = fixture.open();
    let begin = look(&*store, None)?;
    ensure!(
        begin.written.is_empty() && begin.removed.is_empty(),
        "a look without a cursor tells changes"
    );
    other.save(&sample("after"))?;
    let first = look(&*store, Some(&begin.cursor))?;
    let told = written(&first);
    ensure!(told.contains_key("after"), "a write is not reported");
    let again = look(&*store, Some(&begin.cursor))?;
    same("the answer to the same question", &written(&again), &told)?;
    let then = look(&*store, Some(&again.cursor))?;
    // It may be reported again, but nothing else is.
    let is_known = |(id, auth): (&str, Value)| told.get(id) == Some(&auth);
    ensure!(
        written(&then).into_iter().all(is_known) && then.removed.is_empty(),
        "changes are reported that were not made"
    );
    Ok(())
}

pub(super) fn a_listing_says_where_changes_begin(fixture: &Fixture) -> Verdict {
    let other = fixture.open();
    other.save(&sample("before"))?;
    let store = fixture.open();
    let cursor = |store: &dyn Store| -> Result<(Vec<Auth>, Cursor), Stop> {
        let listing = store.list()?;
        let cursor = listing.cursor;
        let cursor = cursor.ok_or_else(|| Stop::Broken("a listing has no cursor".into()))?;
        Ok((listing.records, cursor))
    };
    let (listed, since) = cursor(&*store)?;
    same("how many records are listed", &listed.len(), &1)?;
    other.save(&sample("after"))?;
    let news = look(&*store, Some(&since))?;
    // What was being written at that moment may be reported again.
    let seen = written(&news);
    ensure!(
        seen.contains_key("after"),
        "a write after the listing is not reported"
    );
    ensure!(
        seen.keys().all(|id| ["before", "after"].contains(id)),
        "records are reported that were not written"
    );
    let (listed, since) = cursor(&*store)?;
    let news = look(&*store, Some(&since))?;
    let is_listed = |auth: &Auth| listed.iter().any(|other| json(other) == json(auth));
    ensure!(
        news.written.iter().all(is_listed),
        "what was listed is reported as something else"
    );
    Ok(())
}

/// Follows a store's changes.
struct Follower {
    store: Arc<dyn Store>,
    cursor: Cursor,
    /// What has gone may be reported again.
    gone: BTreeSet<String>,
}

impl Follower {
    fn step(&mut self, what: &str, expected: &[&Auth], removed: &[&str]) -> Verdict {
        let changes = look(&*self.store, Some(&self.cursor))?;
        let seen = written(&changes);
        for auth in expected {
            let found = seen.get(auth.id.as_str());
            same(
                &format!("what is reported after {what}"),
                &found,
                &Some(&json(auth)),
            )?;
        }
        for id in removed {
            ensure!(
                changes.removed.iter().any(|told| told == id),
                "the removal of {id} is not reported"
            );
            self.gone.insert((*id).to_owned());
        }
        ensure!(
            changes.removed.iter().all(|id| self.gone.contains(id)),
            "after {what}, removals are reported that were not made"
        );
        self.cursor = changes.cursor;
        Ok(())
    }
}

pub(super) fn what_another_handle_does_is_seen(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let other = fixture.open();
    for id in ["a", "b", "c"] {
        other.save(&sample(id))?;
    }
    same(
        "how many records are listed",
        &store.list()?.records.len(),
        &3,
    )?;
    let mut follower = Follower {
        cursor: look(&*store, None)?.cursor,
        store,
        gone: BTreeSet::new(),
    };
    let renewed = sample("a").with_metadata("access_token", "new");
    other.save(&renewed)?;
    follower.step("a new token", &[&renewed], &[])?;
    let mut cooling = renewed.clone();
    cooling.status = Status::Error;
    cooling.status_message = "quota exhausted".into();
    other.save_state(&cooling)?;
    follower.step("a cooldown", &[&cooling], &[])?;
    let mut disabled = sample("b");
    disabled.disabled = true;
    disabled.status = Status::Disabled;
    other.save(&disabled)?;
    let arrived = sample("d");
    other.save(&arrived)?;
    other.delete("c")?;
    follower.step(
        "a switch, an arrival and a departure",
        &[&disabled, &arrived],
        &["c"],
    )?;
    other.delete("d")?;
    let back = sample("d").with_label("back");
    other.save(&back)?;
    follower.step("a removal and a return", &[&back], &[])?;
    follower.step("nothing", &[], &[])
}

pub(super) fn own_writes_are_no_news(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let other = fixture.open();
    store.save(&sample("a"))?;
    store.save(&sample("b"))?;
    let begin = look(&*store, None)?.cursor;
    store.save(&sample("a").with_label("new"))?;
    let mut cooling = sample("b");
    cooling.status_message = "slow".into();
    store.save_state(&cooling)?;
    store.save(&sample("c"))?;
    let changes = look(&*store, Some(&begin))?;
    let told: Vec<_> = written(&changes).into_keys().collect();
    same("what a handle gets of its own writes", &told, &vec![])?;
    // Where two write, each is notified of the other, in any order.
    other.save(&sample("a").with_label("theirs"))?;
    let mut cooling = sample("a");
    cooling.status_message = "ours".into();
    store.save_state(&cooling)?;
    let changes = look(&*store, Some(&begin))?;
    let told: Vec<_> = changes
        .written
        .iter()
        .map(|auth| (auth.label.as_str(), auth.status_message.as_str()))
        .collect();
    same(
        "what is reported of a record that both have written",
        &told,
        &vec![("theirs", "ours")],
    )
}

pub(super) fn no_writer_is_missed(fixture: &Fixture) -> Verdict {
    const WRITERS: usize = 4;
    const RECORDS: usize = 15;
    let store = fixture.open();
    let mut cursor = look(&*store, None)?.cursor;
    let mut seen = BTreeSet::new();
    let shared = Arc::clone(fixture);
    let writers = Threads::start(WRITERS, move |writer| {
        let store = shared.open();
        for number in 0..RECORDS {
            store.save(&sample(&format!("{writer}-{number}")))?;
        }
        Ok(())
    })?;
    loop {
        let is_last = writers.all_ended();
        let changes = look(&*store, Some(&cursor))?;
        cursor = changes.cursor;
        seen.extend(changes.written.into_iter().map(|auth| auth.id));
        if is_last {
            break;
        }
    }
    writers.join()?;
    let all = WRITERS * RECORDS;
    same(
        "how many writes of several threads are reported",
        &seen.len(),
        &all,
    )
}

pub(super) fn own_writes_hide_no_change_of_another(fixture: &Fixture) -> Verdict {
    const ROUNDS: usize = 100;
    let (store, other) = (fixture.open(), fixture.open());
    store.save(&sample("a"))?;
    let mut cursor = look(&*store, None)?.cursor;
    for round in 0..ROUNDS {
        let label = format!("theirs {round}");
        let theirs = sample("a").with_label(&label);
        let mut cooling = sample("a");
        cooling.status_message = format!("ours {round}");
        let shared = (Arc::clone(&store), Arc::clone(&other));
        let writers = Threads::start(2, move |writer| {
            match writer {
                0 => shared.0.save_state(&cooling)?,
                _ => drop(shared.1.save(&theirs)?),
            }
            Ok(())
        })?;
        let mut is_told = false;
        loop {
            let is_last = writers.all_ended();
            let changes = look(&*store, Some(&cursor))?;
            cursor = changes.cursor;
            is_told |= changes.written.iter().any(|auth| auth.label == label);
            if is_last {
                break;
            }
        }
        writers.join()?;
        ensure!(
            is_told,
            "what another handle saved in round {round}, while this one saved the record's state, is not reported"
        );
    }
    Ok(())
}

/// As after a server has lost its last writes, or an older copy was put back.
pub(super) fn a_foreign_cursor_gives_all_there_is(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    for id in ["a", "b", "c"] {
        store.save(&sample(id))?;
    }
    store.delete("c")?;
    let begin = look(&*store, None)?;
    let next = look(&*store, Some(&begin.cursor))?;
    ensure!(
        !begin.complete && !next.complete,
        "an answer that leaves records out says that it is complete"
    );
    for foreign in ["", "elsewhere", "9223372036854775807"] {
        let all = look(&*store, Some(&Cursor::new(foreign)))?;
        ensure!(
            all.complete,
            "the answer to the cursor {foreign:?}, which is of no history of this store, is not complete"
        );
        let ids: Vec<_> = written(&all).into_keys().collect();
        same("what a complete answer names", &ids, &vec!["a", "b"])?;
        ensure!(
            all.removed.iter().all(|id| id == "c"),
            "removals are reported that were not made: {:?}",
            all.removed
        );
        ensure!(
            !look(&*store, Some(&all.cursor))?.complete,
            "the cursor of a complete answer is not one of this store"
        );
    }
    Ok(())
}
