//! The conformance suite of stores.

mod changes;
mod entries;
mod locks;
mod processes;
mod records;
mod samples;
mod swaps;

use std::process::Command;
use std::sync::Arc;

pub use self::processes::act_as_other_process;
use super::{Check, Report, Stop, run};
use crate::store::Store;

/// What [`check_store`] needs to know of a store: how it is opened on a place of its own, and what it does not do.
///
/// A fixture is made for each check, and its place is empty then.
///
/// ```
/// use std::sync::Arc;
///
/// use credpool::testing::conformance::StoreFixture;
/// use credpool::{FileStore, Store};
///
/// /// A directory for each promise.
/// struct Directory(tempfile::TempDir);
/// impl StoreFixture for Directory {
///     fn open(&self) -> Arc<dyn Store> {
///         Arc::new(FileStore::open(self.0.path()).unwrap())
///     }
///     fn rewrite(&self, id: &str, anew: &dyn Fn(&str) -> String) -> bool {
///         let file = self.0.path().join(format!("{id}.credential"));
///         let text = std::fs::read_to_string(&file).unwrap();
///         std::fs::write(&file, anew(&text)).is_ok()
///     }
/// }
/// ```
pub trait StoreFixture: Send + Sync + 'static {
    /// Another handle on the place's records, as another part of the program would open it.
    fn open(&self) -> Arc<dyn Store>;

    /// What the store does not do: the promises that need it are skipped and named. Nothing by default.
    fn lacks(&self) -> &[Ability] {
        &[]
    }

    /// A process that opens the same place and calls [`act_as_other_process`]. Mostly this test program again, with the name of such a test
    /// as an argument, and the place in its environment. `None`, the default: the store is one process's own.
    fn other_process(&self) -> Option<Command> {
        None
    }

    /// Replaces the text of a stored credential by `anew` of it, as another program does that edits the place. False, the default: it holds
    /// no such text.
    fn rewrite(&self, id: &str, anew: &dyn Fn(&str) -> String) -> bool {
        let _ = (id, anew);
        false
    }
}

/// Something that a store may do or leave to the defaults of [`Store`]. See [`StoreFixture::lacks`].
///
/// ```
/// use std::sync::Arc;
///
/// use credpool::testing::conformance::{Ability, StoreFixture};
/// use credpool::{MemoryStore, Store};
///
/// /// Of a store that cannot tell what has changed.
/// struct Quiet(Arc<MemoryStore>);
/// impl StoreFixture for Quiet {
///     fn open(&self) -> Arc<dyn Store> {
///         self.0.clone()
///     }
///     fn lacks(&self) -> &[Ability] {
///         &[Ability::Changes, Ability::OwnWrites]
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ability {
    /// [`Store::save_state`] leaves the credential alone.
    SeparateState,
    /// [`Store::save_if`] compares and writes in one step, beside other writers.
    CompareAndSwap,
    /// [`Store::lock`] excludes others, and remembers intents.
    Locks,
    /// [`Store::changes`] tells what has changed.
    Changes,
    /// [`Store::changes`] of a handle leaves out what that handle has written.
    OwnWrites,
    /// [`Store::missing`] knows a removed record.
    Removals,
    /// [`Store::missing`] tells a record that was never there from a removed one.
    Losses,
    /// [`Store::save_entries`] keeps entries.
    Entries,
}

/// Checks everything that a [`Store`] promises, each promise on a fixture of its own.
///
/// ```
/// use credpool::testing::conformance::{Ability, StoreFixture, check_store};
/// use credpool::{Auth, Error, Listing, Store, codec};
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// /// A store with the three methods that every store has.
/// #[derive(Clone, Default)]
/// struct Plain(Arc<Mutex<BTreeMap<String, [String; 2]>>>);
///
/// impl Store for Plain {
///     fn list(&self) -> Result<Listing, Error> {
///         let mut listing = Listing::default();
///         for (id, [credential, state]) in &*self.0.lock().unwrap() {
///             listing.add(id, credential, Some(state));
///         }
///         Ok(listing)
///     }
///
///     fn save(&self, auth: &Auth) -> Result<String, Error> {
///         let texts = codec::encode(auth)?;
///         let texts = [texts.credential().to_owned(), texts.state().to_owned()];
///         self.0.lock().unwrap().insert(auth.id.clone(), texts);
///         Ok(auth.id.clone())
///     }
///
///     fn delete(&self, id: &str) -> Result<(), Error> {
///         self.0.lock().unwrap().remove(id);
///         Ok(())
///     }
/// }
///
/// impl StoreFixture for Plain {
///     fn open(&self) -> Arc<dyn Store> {
///         Arc::new(self.clone())
///     }
///
///     fn lacks(&self) -> &[Ability] {
///         use Ability::*;
///         &[SeparateState, CompareAndSwap, Locks, Changes, OwnWrites, Removals, Entries]
///     }
/// }
///
/// let report = check_store(Plain::default);
/// assert!(report.kept.contains(&"what is saved is listed".to_owned()));
/// assert!(report.skipped.iter().any(|(promise, _)| promise == "no update is lost"));
/// ```
///
/// # Panics
/// When a promise is broken, after all were checked, with a sentence for each.
pub fn check_store<F: StoreFixture>(new: impl Fn() -> F) -> Report {
    run("Store", CHECKS, |check| {
        let fixture: Fixture = Arc::new(new());
        let lacked = check
            .needs
            .iter()
            .find(|need| fixture.lacks().contains(need));
        match lacked {
            Some(need) => Err(Stop::Skipped(format!(
                "the fixture says that the store lacks {need:?}"
            ))),
            None => (check.run)(&fixture),
        }
    })
}

type Fixture = Arc<dyn StoreFixture>;

const CHECKS: &[Check<Fixture, Ability>] = checks! {
    records:
        a_new_store_is_empty,
        what_is_saved_is_listed,
        what_is_listed_is_loaded,
        a_save_replaces,
        ids_are_free_text,
        no_two_ids_are_the_same_record,
        what_is_deleted_is_gone,
        deleting_the_unknown_is_no_error,
        the_state_can_be_saved_alone,
        a_state_brings_nothing_else_back(Ability::SeparateState),
        a_record_without_metadata_members_stays_storable,
        records_are_listed_in_id_order,
        several_threads_may_save,
        large_records_are_whole,
        what_is_not_saved_changes_nothing;
    swaps:
        a_swap_needs_the_revision_that_is_there,
        a_state_changes_no_revision,
        a_format_changes_no_revision,
        a_swap_that_was_made_is_made,
        no_update_is_lost(Ability::CompareAndSwap),
        a_removed_record_is_known_as_removed(Ability::Removals),
        a_record_that_was_never_there_is_lost(Ability::Losses),
        one_thread_wins_each_generation(Ability::CompareAndSwap),
        one_process_wins_each_generation(Ability::CompareAndSwap),
        a_killed_writer_leaves_the_last_record_whole;
    locks:
        a_lock_excludes_threads(Ability::Locks),
        a_lock_is_for_one_record(Ability::Locks),
        a_lock_that_is_held_is_waited_for(Ability::Locks),
        a_killed_holder_has_no_lock(Ability::Locks),
        an_intent_outlives_its_holder(Ability::Locks),
        a_deleted_record_has_no_intent(Ability::Locks);
    changes:
        changes_begin_where_one_asks(Ability::Changes),
        a_listing_says_where_changes_begin(Ability::Changes),
        what_another_handle_does_is_seen(Ability::Changes),
        own_writes_are_no_news(Ability::OwnWrites),
        no_writer_is_missed(Ability::Changes),
        own_writes_hide_no_change_of_another(Ability::Changes, Ability::SeparateState),
        a_foreign_cursor_gives_all_there_is(Ability::Changes);
    entries:
        an_entry_is_found_under_its_key(Ability::Entries),
        the_last_entry_under_a_key_counts(Ability::Entries),
        entries_are_no_records(Ability::Entries),
        the_entries_that_expire_first_make_room(Ability::Entries),
        no_entry_of_another_writer_is_lost(Ability::Entries),
        what_a_killed_process_has_written_is_there(Ability::Entries);
};
