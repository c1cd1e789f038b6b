//! What every store promises, whatever is behind it. Each check runs on each backend; a backend whose server is not installed
//! is left out, unless `CREDPOOL_REQUIRE_SERVERS` is set.
//!
//! `cargo test --all-features --test store_conformance` shows them as `backend::check`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod backends;
mod changes;
mod children;
mod locks;
mod records;
#[path = "../store_support/mod.rs"]
mod store_support;
mod swaps;

macro_rules! conformance {
    ($($room:ident: $($check:ident),+;)+) => {
        conformance!(@ memory crate::backends::memory, $($room: $($check),+;)+);
        conformance!(@ file crate::backends::file, $($room: $($check),+;)+);
        #[cfg(feature = "sqlite")]
        conformance!(@ sqlite crate::backends::sqlite, $($room: $($check),+;)+);
        #[cfg(feature = "postgres")]
        conformance!(@ postgres crate::backends::postgres, $($room: $($check),+;)+);
        #[cfg(feature = "redis")]
        conformance!(@ redis crate::backends::redis, $($room: $($check),+;)+);
    };
    (@ $backend:ident $open:path, $($room:ident: $($check:ident),+;)+) => {
        mod $backend {
            $($(
                #[test]
                fn $check() {
                    if let Some(backend) = $open() {
                        crate::$room::$check(&*backend);
                    }
                }
            )+)+
        }
    };
}

conformance! {
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
        a_state_brings_nothing_else_back,
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
        no_update_is_lost,
        a_removal_is_told_from_a_loss,
        one_thread_wins_each_generation,
        one_process_wins_each_generation,
        a_killed_writer_leaves_the_last_record_whole;
    locks:
        a_lock_excludes_threads,
        a_lock_is_for_one_record,
        a_lock_that_is_held_is_waited_for,
        a_killed_holder_has_no_lock,
        an_intent_outlives_its_holder,
        a_deleted_record_has_no_intent;
    changes:
        changes_begin_where_one_asks,
        a_listing_says_where_changes_begin,
        what_another_handle_does_is_seen,
        own_writes_are_no_news,
        no_writer_is_missed,
        a_foreign_cursor_gives_all_there_is;
}
