//! Promises about writing only over what one has read, and about what is missing.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::Fixture;
use super::processes::{Other, SWAPS};
use super::samples::{
    at, conflict, json, loaded, of_generation, sample, stored, successor, token, writer,
};
use crate::auth::Auth;
use crate::store::{Missing, Revision, Saved};
use crate::testing::conformance::threads::Threads;
use crate::testing::conformance::{Stop, Verdict, same};

pub(super) fn a_swap_needs_the_revision_that_is_there(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let first = sample("a").with_metadata("n", 1);
    let revision = Revision::of(&first);
    let second = first.clone().with_label("second");
    let there = conflict(
        "where there is no record, although one was expected",
        store.save_if(&second, Some(&revision))?,
    )?;
    ensure!(
        there.is_none() && store.load("a")?.is_none(),
        "a swap that failed has left a record"
    );
    let place = at("where there is no record", store.save_if(&first, None)?)?;
    ensure!(
        !place.is_empty(),
        "save_if does not say where the record is"
    );
    // Every setting is part of it: no generation tells these from what is there.
    let mut disabled = first.clone();
    disabled.disabled = true;
    let others = [
        disabled,
        first.clone().with_attribute("api_key", "other"),
        first.clone().with_metadata("n", 2),
        of_generation(&first, 1)?,
    ];
    for expected in others.iter().map(Revision::of).map(Some).chain([None]) {
        let saved = store.save_if(&second, expected.as_ref())?;
        let there = conflict("over another revision than expected", saved)?;
        let there = there.as_ref().map(json);
        same("what a conflict gives back", &there, &Some(json(&first)))?;
    }
    same(
        "what is there after conflicts",
        &stored(&*store)?,
        &vec![json(&first)],
    )?;
    let saved = fixture.open().save_if(&second, Some(&revision))?;
    same(
        "the place of the same record",
        &at("where the revision is the expected one", saved)?,
        &place,
    )?;
    same(
        "what was swapped in",
        &stored(&*store)?,
        &vec![json(&second)],
    )?;
    store.delete("a")?;
    let saved = fixture
        .open()
        .save_if(&first, Some(&Revision::of(&second)))?;
    let there = conflict("over a removed record", saved)?;
    ensure!(
        there.is_none() && stored(&*store)?.is_empty(),
        "a removed record is back"
    );
    at(
        "where the record was removed",
        fixture.open().save_if(&first, None)?,
    )?;
    same(
        "what was put in place of a removed record",
        &stored(&*fixture.open())?,
        &vec![json(&first)],
    )
}

pub(super) fn a_state_changes_no_revision(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let first = sample("a");
    store.save(&first)?;
    let mut cooling = first.clone();
    cooling.status_message = "slow".into();
    fixture.open().save_state(&cooling)?;
    let there = loaded(&*store, "a")?;
    same("the state", &there.status_message.as_str(), &"slow")?;
    same("the revision", &Revision::of(&there), &Revision::of(&first))?;
    let next = first.clone().with_label("l");
    let saved = store.save_if(&next, Some(&Revision::of(&first)))?;
    at("although the state alone has changed", saved).map(drop)
}

pub(super) fn a_format_changes_no_revision(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let first = sample("a")
        .with_metadata("access_token", "é\n")
        .with_metadata("n", 1);
    store.save(&first)?;
    if !fixture.rewrite("a", &formatted_otherwise) {
        return Err(Stop::skipped("the fixture rewrites no credential"));
    }
    let next = first.clone().with_metadata("n", 2);
    for store in [&store, &fixture.open()] {
        let there = loaded(&**store, "a")?;
        same("the rewritten record", &json(&there), &json(&first))?;
        same("its revision", &Revision::of(&there), &Revision::of(&first))?;
        let stale = Revision::of(&first.clone().with_label("l"));
        let saved = store.save_if(&next, Some(&stale))?;
        conflict("over another revision than expected", saved)?;
    }
    let saved = store.save_if(&next, Some(&Revision::of(&first)))?;
    at("although the text alone has changed", saved)?;
    same(
        "what was swapped in",
        &stored(&*fixture.open())?,
        &vec![json(&next)],
    )
}

/// The same record, as another program writes JSON: the members in another order, with escapes and white space.
fn formatted_otherwise(text: &str) -> String {
    let record: Value = serde_json::from_str(text).unwrap_or_default();
    let members: Vec<_> = record
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let value = value
                .to_string()
                .replace('é', "\\u00e9")
                .replace("\":", "\" :\t");
            let mut rest = name.chars();
            let first = rest.next().map_or(0, u32::from);
            format!("\r\n\"\\u{first:04x}{}\" : {value}", rest.as_str())
        })
        .rev()
        .collect();
    format!("{{{} }}\n", members.join(" ,"))
}

pub(super) fn a_swap_that_was_made_is_made(fixture: &Fixture) -> Verdict {
    // A writer that lost the answer to a swap tries it again.
    let store = fixture.open();
    let first = sample("a");
    let second = of_generation(&first, 1)?;
    let expected = Some(Revision::of(&first));
    let place = at("where there is no record", store.save_if(&first, None)?)?;
    for (auth, expected) in [(&first, None), (&second, expected), (&second, expected)] {
        let again = at(
            "with the very record that is there",
            store.save_if(auth, expected.as_ref())?,
        )?;
        same("the place of the same record", &again, &place)?;
    }
    let other = second.clone().with_metadata("refresh_token", "another");
    let saved = store.save_if(&other, expected.as_ref())?;
    let there = conflict("over another revision than expected", saved)?;
    let there = there.as_ref().map(json);
    same("what a conflict gives back", &there, &Some(json(&second)))?;
    same(
        "what is there",
        &stored(&*fixture.open())?,
        &vec![json(&second)],
    )
}

/// Two counters, each from what it has read, leave nothing out.
pub(super) fn no_update_is_lost(fixture: &Fixture) -> Verdict {
    const EACH: u64 = 300;
    fixture.open().save(&sample("a").with_metadata("n", 0))?;
    let shared = Arc::clone(fixture);
    let threads = Threads::start(2, move |_| {
        let store = shared.open();
        let mut seen = loaded(&*store, "a")?;
        for _ in 0..EACH {
            loop {
                // Two writers of the very same record have both written it.
                let next = seen.clone().with_metadata("writer", writer());
                let next = next.with_metadata("n", counted(&seen) + 1);
                match store.save_if(&next, Some(&Revision::of(&seen)))? {
                    Saved::At(_) => {
                        seen = next;
                        break;
                    }
                    Saved::Conflict(there) => {
                        seen =
                            *there.ok_or_else(|| Stop::Broken("the record is gone".to_owned()))?;
                    }
                }
            }
        }
        Ok(())
    })?;
    threads.join()?;
    let last = counted(&loaded(&*fixture.open(), "a")?);
    same("what two threads have counted to", &last, &(2 * EACH))
}

fn counted(auth: &Auth) -> u64 {
    json(auth)["metadata"]["n"].as_u64().unwrap_or_default()
}

pub(super) fn a_removed_record_is_known_as_removed(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    store.save(&sample("a"))?;
    store.delete("a")?;
    same(
        "what another handle knows of a removed record",
        &fixture.open().missing("a")?,
        &Missing::Removed,
    )
}

pub(super) fn a_record_that_was_never_there_is_lost(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let auth = sample("a");
    store.save(&auth)?;
    store.delete("a")?;
    same(
        "what is known of a record that was never there",
        &store.missing("never")?,
        &Missing::Lost,
    )?;
    at("where the record was removed", store.save_if(&auth, None)?)?;
    same(
        "what is known of a record that is back",
        &store.missing("a")?,
        &Missing::Lost,
    )
}

pub(super) fn one_thread_wins_each_generation(fixture: &Fixture) -> Verdict {
    fixture.open().save(&sample("a"))?;
    let won = Arc::new(Mutex::new(Vec::new()));
    let (shared, wins) = (Arc::clone(fixture), Arc::clone(&won));
    let threads = Threads::start(6, move |_| {
        let store = shared.open();
        for _ in 0..10 {
            let seen = loaded(&*store, "a")?;
            let next = successor(&seen)?;
            if let Saved::At(_) = store.save_if(&next, Some(&Revision::of(&seen)))? {
                wins.lock().push(next.generation());
            }
        }
        Ok(())
    })?;
    threads.join()?;
    let won = won.lock().clone();
    let distinct: BTreeSet<u64> = won.iter().copied().collect();
    same(
        "how many generations so many swaps have written",
        &distinct.len(),
        &won.len(),
    )?;
    let last = loaded(&*fixture.open(), "a")?.generation();
    same("the last generation", &last, &(won.len() as u64))?;
    ensure!(last >= 10, "of 60 swaps, {last} alone were made");
    Ok(())
}

pub(super) fn one_process_wins_each_generation(fixture: &Fixture) -> Verdict {
    fixture.open().save(&sample("a"))?;
    let others: Vec<_> = (0..3)
        .map(|_| Other::start(fixture, "swap a"))
        .collect::<Result<_, _>>()?;
    let mut won = 0;
    for mut other in others {
        won += other.hear_number()?;
        other.end()?;
    }
    let last = loaded(&*fixture.open(), "a")?.generation();
    same("the last generation", &last, &won)?;
    ensure!(
        won >= SWAPS,
        "three processes have made {won} swaps in {SWAPS} tries each"
    );
    Ok(())
}

pub(super) fn a_killed_writer_leaves_the_last_record_whole(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    store.save(&sample("a"))?;
    for heard in 0..6 {
        let mut other = Other::start(fixture, "write a")?;
        let mut acknowledged = other.hear_number()?;
        for _ in 0..heard {
            acknowledged = other.hear_number()?;
        }
        // Wherever it is by now.
        for said in other.kill()? {
            acknowledged = said.parse().unwrap_or(acknowledged);
        }
        stored(&*fixture.open())?;
        let there = loaded(&*store, "a")?;
        let generation = there.generation();
        ensure!(
            (acknowledged..=acknowledged + 1).contains(&generation),
            "generation {acknowledged} was acknowledged and {generation} is there"
        );
        let expected = token(generation);
        let found = there.metadata.as_ref();
        let found = found.and_then(|metadata| metadata.text("refresh_token"));
        same("the token of that generation", &found, &Some(&*expected))?;
    }
    Ok(())
}
