//! The store on a PostgreSQL server: what is beside its promises as a store, and what happens when the server fails.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;

use std::error::Error as _;
use std::thread;
use std::time::Duration;

use credpool::{Cursor, ErrorCode, Intent, Missing, PostgresStore, Revision, Saved, Store};
use diesel::connection::{Connection, SimpleConnection};
use diesel::pg::PgConnection;
use diesel::{QueryableByName, RunQueryDsl, sql_query, sql_types::BigInt};
use store_support::{Server, next_change, of_generation, revision, sample, when_up};
use time::macros::utc_datetime;

fn direct(server: &Server, schema: &str) -> PgConnection {
    let url = server.postgres_url(schema);
    let mut connection =
        when_up(|| PgConnection::establish(&url).map_err(|error| error.to_string()));
    connection
        .batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"))
        .unwrap();
    connection
}

/// Ends every other connection, as an administrator or a failover does.
fn cut(connection: &mut PgConnection) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    connection.batch_execute(sql).unwrap();
}

#[test]
fn connections_that_died_are_replaced() {
    let Some(server) = store_support::start_postgres() else {
        return;
    };
    let mut admin = direct(&server, "public");
    let store = PostgresStore::connect(server.postgres_url("public")).unwrap();
    store.save(&sample("a")).unwrap();
    let mut lock = store.lock("a", Duration::ZERO).unwrap().unwrap();
    cut(&mut admin);
    assert!(store.load("a").unwrap().is_some());
    cut(&mut admin);
    let relabelled = sample("a").with_label("new");
    store.save(&relabelled).unwrap();
    cut(&mut admin);
    assert!(matches!(
        store.save_if(&of_generation(1), Some(&Revision::of(&relabelled))),
        Ok(Saved::At(_))
    ));
    cut(&mut admin);
    assert_eq!(store.list().unwrap().records.len(), 1);
    // The lock went with its connection: its holder can note nothing any more, and another one has it.
    let intent = Intent::new(1, utc_datetime!(2026-01-01 0:00));
    let error = lock.set_intent(Some(&intent)).unwrap_err();
    assert_eq!(
        (error.code(), error.auth_id()),
        (&ErrorCode::Store, Some("a"))
    );
    assert!(!lock.is_held() && !lock.holder_is_dead());
    lock.intent().unwrap_err();
    let other = store.lock("a", Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(other.intent().unwrap(), None);
    drop(lock);
    assert!(store.lock("a", Duration::ZERO).unwrap().is_none());
}

#[test]
fn a_swap_whose_answer_was_lost_is_found_made() {
    let Some(server) = store_support::start_postgres() else {
        return;
    };
    let mut admin = direct(&server, "public");
    let store = PostgresStore::connect(server.postgres_url("public")).unwrap();
    store.save(&sample("a")).unwrap();
    // The first commit loses its connection; what a sequence gives is not taken back.
    admin
        .batch_execute(
            "CREATE SEQUENCE tries;
            CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('tries') = 1 THEN
                    PERFORM pg_terminate_backend(pg_backend_pid());
                END IF;
                RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER lose AFTER UPDATE ON credpool_records
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose();",
        )
        .unwrap();
    // Here the connection goes before the commit: it is made by the second try.
    assert!(matches!(
        store.save_if(&of_generation(1), Some(&revision(0))),
        Ok(Saved::At(_))
    ));
    assert_eq!(store.load("a").unwrap().unwrap().generation(), 1);
    // Here it went after: the swap is there, and to ask for it again is no refusal.
    assert!(matches!(
        store.save_if(&of_generation(1), Some(&revision(0))),
        Ok(Saved::At(_))
    ));
    // Somebody else was faster: theirs stays.
    let Saved::Conflict(Some(newer)) = store
        .save_if(&of_generation(5), Some(&revision(0)))
        .unwrap()
    else {
        panic!("an older generation has won");
    };
    assert_eq!(newer.generation(), 1);
}

#[test]
fn a_server_that_crashes_has_what_it_acknowledged() {
    let Some(server) = store_support::start_postgres() else {
        return;
    };
    drop(direct(&server, "public"));
    let store = PostgresStore::connect(server.postgres_url("public")).unwrap();
    store.save(&sample("a")).unwrap();
    for round in 0..3 {
        for step in 0..5 {
            let generation = round * 5 + step;
            let saved = store.save_if(&of_generation(generation + 1), Some(&revision(generation)));
            assert!(matches!(saved, Ok(Saved::At(_))), "{saved:?}");
        }
        server.crash();
        // A process of the former server may still answer over a connection to it.
        when_up(|| PostgresStore::connect(server.postgres_url("public")));
        let there = when_up(|| store.load("a")).unwrap();
        assert_eq!(there.generation(), round * 5 + 5);
    }
}

#[test]
fn a_server_that_is_down_is_an_error_without_secrets() {
    let Some(server) = store_support::start_postgres() else {
        return;
    };
    drop(direct(&server, "public"));
    let url = server
        .postgres_url("public")
        .replace("credpool@", "credpool:canary@");
    let store = PostgresStore::connect(url.clone()).unwrap();
    store.save(&sample("a")).unwrap();
    drop(server);
    let errors = [
        store.list().unwrap_err(),
        store.save(&sample("a")).unwrap_err(),
        store.save_if(&sample("a"), Some(&revision(0))).unwrap_err(),
        store.save_state(&sample("a")).unwrap_err(),
        store.delete("a").unwrap_err(),
        store.load("a").unwrap_err(),
        store.lock("a", Duration::ZERO).map(drop).unwrap_err(),
        store.changes(None).unwrap_err(),
        PostgresStore::connect(url).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), &ErrorCode::Store, "{error}");
        assert!(error.source().is_some());
        let shown = format!("{error} {error:?} {store:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
    for url in ["canary", "postgres://a:canary@b:canary/", "canary=1 port=x"] {
        let error = PostgresStore::connect(url).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Config);
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
}

#[test]
fn a_transaction_that_ends_late_is_not_missed() {
    let Some(server) = store_support::postgres() else {
        return;
    };
    let mut late = direct(server, "late");
    let url = server.postgres_url("late");
    let store = PostgresStore::connect(url.clone()).unwrap();
    let other = PostgresStore::connect(url).unwrap();
    other.save(&sample("late")).unwrap();
    let mut cursor = store.changes(None).unwrap().unwrap().cursor;
    // It has its number now, and commits after one with a higher number has been seen.
    late.batch_execute(
        "BEGIN;
        UPDATE credpool_records SET state_at = pg_current_xact_id()::text::bigint, state_writer = 0",
    )
    .unwrap();
    other.save(&sample("soon")).unwrap();
    let ids = |cursor: &mut credpool::Cursor| {
        let changes = store.changes(Some(cursor)).unwrap().unwrap();
        *cursor = changes.cursor;
        let written = changes.written.into_iter().map(|auth| auth.id);
        written.collect::<Vec<_>>()
    };
    assert!(ids(&mut cursor).contains(&"soon".to_owned()));
    late.batch_execute("COMMIT").unwrap();
    assert!(ids(&mut cursor).contains(&"late".to_owned()));
    assert!(ids(&mut cursor).is_empty());
}

#[test]
fn many_may_make_the_tables_at_once() {
    let Some(server) = store_support::postgres() else {
        return;
    };
    drop(direct(server, "crowd"));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| PostgresStore::connect(server.postgres_url("crowd")).unwrap());
        }
    });
}

#[test]
fn fleets_in_different_schemas_have_nothing_to_do_with_each_other() {
    let Some(server) = store_support::postgres() else {
        return;
    };
    drop((direct(server, "one"), direct(server, "two")));
    let one = PostgresStore::connect(server.postgres_url("one")).unwrap();
    let two = PostgresStore::connect(server.postgres_url("two")).unwrap();
    one.save(&sample("a")).unwrap();
    let _lock = one.lock("a", Duration::ZERO).unwrap().unwrap();
    assert!(two.lock("a", Duration::ZERO).unwrap().is_some());
    assert!(two.list().unwrap().records.is_empty());
}

#[test]
fn a_commit_is_durable_whatever_the_server_does_by_default() {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }

    let Some(server) = store_support::start_postgres() else {
        return;
    };
    let mut admin = direct(&server, "public");
    admin
        .batch_execute("ALTER ROLE credpool SET synchronous_commit = off")
        .unwrap();
    let store = PostgresStore::connect(server.postgres_url("public")).unwrap();
    admin
        .batch_execute(
            "CREATE TABLE seen (setting text);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO seen VALUES (current_setting('synchronous_commit'));
                RETURN NULL;
            END $$;
            CREATE TRIGGER see AFTER INSERT OR UPDATE ON credpool_records EXECUTE FUNCTION see();",
        )
        .unwrap();
    store.save(&sample("a")).unwrap();
    store
        .save_if(&of_generation(1), Some(&revision(0)))
        .unwrap();
    let mut seen = |condition: &str| {
        let sql = format!("SELECT count(*) AS count FROM seen WHERE setting {condition} 'on'");
        let Count { count } = sql_query(sql).get_result(&mut admin).unwrap();
        count
    };
    assert!(seen("=") >= 2);
    assert_eq!(seen("<>"), 0);
}

#[test]
fn a_table_that_was_restored_and_a_server_that_started_again_give_all_there_is() {
    let Some(server) = store_support::start_postgres() else {
        return;
    };
    let mut admin = direct(&server, "public");
    let store = PostgresStore::connect(server.postgres_url("public")).unwrap();
    for id in ["a", "b"] {
        store.save(&sample(id)).unwrap();
    }
    let look = |cursor: &Cursor| {
        let changes = when_up(|| store.changes(Some(cursor))).unwrap();
        let ids: Vec<_> = changes.written.iter().map(|auth| auth.id.clone()).collect();
        (changes.complete, ids, changes.cursor)
    };
    let cursor = store.changes(None).unwrap().unwrap().cursor;
    let (complete, _, cursor) = look(&cursor);
    assert!(!complete);
    // As a dump of an earlier day is put back.
    admin
        .batch_execute(
            "BEGIN;
            CREATE TEMP TABLE dump AS SELECT * FROM credpool_records WHERE id <> 'b';
            TRUNCATE credpool_records;
            INSERT INTO credpool_records SELECT * FROM dump;
            COMMIT",
        )
        .unwrap();
    let (complete, ids, cursor) = look(&cursor);
    assert!(complete);
    assert_eq!(ids, ["a"]);
    assert_eq!(store.missing("b").unwrap(), Missing::Lost);
    assert!(!look(&cursor).0);
    // It may be another server by then.
    server.crash();
    let (complete, ids, cursor) = look(&cursor);
    assert!(complete);
    assert_eq!(ids, ["a"]);
    assert!(!look(&cursor).0);
    // Tables that are made anew, too.
    let mut admin = when_up(|| {
        PgConnection::establish(&server.postgres_url("public")).map_err(|error| error.to_string())
    });
    admin
        .batch_execute("DROP TABLE credpool_records, credpool_intents")
        .unwrap();
    store.list().unwrap_err();
    let other = PostgresStore::connect(server.postgres_url("public")).unwrap();
    other.save(&sample("c")).unwrap();
    let (complete, ids, _) = look(&cursor);
    assert!(complete);
    assert_eq!(ids, ["c"]);
}

#[test]
fn a_server_is_not_asked_while_nothing_changes_and_changes_are_told_at_once() {
    let Some(server) = store_support::start_postgres() else {
        return;
    };
    let connect = || PostgresStore::connect(server.postgres_url("public")).unwrap();
    let mut admin = direct(&server, "public");
    let (store, other) = (connect(), connect());
    other.save(&sample("a")).unwrap();
    let mut cursor = store.list().unwrap().cursor.unwrap();
    assert!(!store.is_quiet(&cursor), "it has not listened");
    let first = store.changes(Some(&cursor)).unwrap().unwrap();
    assert!(first.is_notified && first.written.is_empty());
    // A look would fail.
    let rename = |admin: &mut PgConnection, from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        admin.batch_execute(&sql).unwrap();
    };
    rename(&mut admin, "credpool_records", "elsewhere");
    for _ in 0..100 {
        assert!(store.is_quiet(&first.cursor));
    }
    rename(&mut admin, "elsewhere", "credpool_records");
    // What it writes itself is no news.
    store.save(&sample("own")).unwrap();
    cursor = first.cursor;
    assert!(store.is_quiet(&cursor));
    let mut told = || next_change(&store, &mut cursor);
    other.save(&sample("b")).unwrap();
    assert_eq!(told().written[0].id, "b");
    other.delete("a").unwrap();
    assert_eq!(told().removed, ["a"]);
    // What is lost is told, too, and so is what changes while the connection is gone.
    admin.batch_execute("TRUNCATE credpool_records").unwrap();
    assert!(told().complete);
    cut(&mut admin);
    other.save(&sample("c")).unwrap();
    assert_eq!(told().written[0].id, "c");
}

#[test]
fn without_its_triggers_a_server_is_asked_each_time() {
    let Some(server) = store_support::start_postgres() else {
        return;
    };
    let connect = || PostgresStore::connect(server.postgres_url("public")).unwrap();
    let mut admin = direct(&server, "public");
    let (store, other) = (connect(), connect());
    admin
        .batch_execute("ALTER TABLE credpool_records DISABLE TRIGGER USER")
        .unwrap();
    let cursor = store.list().unwrap().cursor.unwrap();
    for id in ["a", "b"] {
        other.save(&sample(id)).unwrap();
        assert!(!store.is_quiet(&cursor));
        let changes = store.changes(Some(&cursor)).unwrap().unwrap();
        assert!(!changes.is_notified && changes.written.iter().any(|auth| auth.id == id));
    }
}
