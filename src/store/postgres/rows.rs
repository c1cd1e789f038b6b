//! Queries: the tables and the statements over them.

use diesel::connection::{Connection, SimpleConnection};
use diesel::pg::PgConnection;
use diesel::prelude::{OptionalExtension, QueryableByName, RunQueryDsl};
use diesel::result::QueryResult;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use sha2::{Digest, Sha256};
use zeroize::Zeroize as _;

use crate::store::Cursor;
use crate::store::codec::Texts;

/// A stored record; without a credential, one that was removed.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = Binary)]
    id: Vec<u8>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) credential: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) state: Option<String>,
}

/// What a record may be written over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Anything,
    /// What was removed is nothing, too.
    Nothing,
}

impl Drop for Row {
    fn drop(&mut self) {
        self.credential.zeroize();
    }
}

impl Row {
    pub(super) fn id(&self) -> String {
        String::from_utf8_lossy(&self.id).into_owned()
    }
}

/// Makes the tables where they are missing.
pub(super) fn create(connection: &mut PgConnection) -> QueryResult<()> {
    let sql = "SELECT to_regclass('credpool_records') IS NOT NULL
            AND to_regclass('credpool_intents') IS NOT NULL
            AND to_regclass('credpool_entries') IS NOT NULL AS yes";
    let Answer { yes } = sql_query(sql).get_result(connection)?;
    // One connection at a time: even `IF NOT EXISTS` fails for one of two that run it concurrently.
    if !yes {
        connection.transaction(|connection| connection.batch_execute(TABLES))?;
    }
    if notifies(connection)?.is_none() {
        let made = connection.transaction(|connection| connection.batch_execute(TRIGGERS));
        if let Err(error) = made {
            log::info!(
                "the triggers that notify of changes could not be made, so that hot reload asks for them: {error}"
            );
        }
    }
    Ok(())
}

/// The number of the table of records, where a change of it is notified.
pub(super) fn notifies(connection: &mut PgConnection) -> QueryResult<Option<String>> {
    let sql = "SELECT tgrelid::text AS text FROM pg_trigger
        WHERE tgrelid = 'credpool_records'::regclass AND tgname = 'credpool_updated'
            AND tgenabled IN ('O', 'A')";
    let table = sql_query(sql).get_result::<Words>(connection).optional()?;
    Ok(table.map(|words| words.text))
}

/// Up to where everything is known, and of which history that is.
#[derive(QueryableByName)]
pub(super) struct Horizon {
    #[diesel(sql_type = BigInt)]
    pub(super) number: i64,
    /// Another one where the table is another, as after a dump is restored or it was emptied, and with each start of the server: one
    /// that fails over, or is restored from a copy, may have lost what was at these numbers and given them anew.
    #[diesel(sql_type = Text)]
    pub(super) history: String,
}

impl Horizon {
    /// Where what has changed from this horizon on begins.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor::new(format!("{} {}", self.number, self.history))
    }

    /// Whether what has changed since can be told, and from which number on. Of another history, everything is to be told.
    fn since(&self, cursor: &Cursor) -> Option<i64> {
        let (number, history) = cursor.as_str().split_once(' ')?;
        let number = number.parse().ok()?;
        let is_known = history == self.history && (0..=self.number).contains(&number);
        is_known.then_some(number)
    }
}

/// What a look for changes has found.
pub(super) struct Looked {
    pub(super) horizon: Horizon,
    /// Whether it is everything.
    pub(super) complete: bool,
    pub(super) rows: Vec<Row>,
}

/// The horizon, and all records in the order of their ids.
pub(super) fn all(connection: &mut PgConnection) -> QueryResult<(Horizon, Vec<Row>)> {
    at_one_moment(connection, |connection| {
        let sql = "SELECT id, credential, state FROM credpool_records
            WHERE credential IS NOT NULL ORDER BY id";
        Ok((horizon(connection)?, sql_query(sql).load(connection)?))
    })
}

pub(super) fn get(connection: &mut PgConnection, id: &str) -> QueryResult<Option<Row>> {
    let sql = "SELECT id, credential, state FROM credpool_records
        WHERE key = $1 AND credential IS NOT NULL";
    let row = sql_query(sql).bind::<Binary, _>(key(id));
    row.get_result(connection).optional()
}

/// Writes a record, if it may be replaced. A part that says what it said has not changed.
pub(super) fn put(
    connection: &mut PgConnection,
    writer: i64,
    id: &str,
    texts: &Texts,
    over: Over,
) -> QueryResult<bool> {
    let sql = "INSERT INTO credpool_records AS there
            (key, id, generation, credential, credential_at, credential_writer,
                state, state_at, state_writer)
        VALUES ($1, $2, $3, $4, pg_current_xact_id()::text::bigint, $6,
            $5, pg_current_xact_id()::text::bigint, $6)
        ON CONFLICT (key) DO UPDATE SET
            generation = excluded.generation,
            credential = excluded.credential,
            credential_at = CASE WHEN there.credential IS NOT DISTINCT FROM excluded.credential
                THEN there.credential_at ELSE excluded.credential_at END,
            credential_writer = CASE WHEN there.credential IS NOT DISTINCT FROM excluded.credential
                THEN there.credential_writer ELSE excluded.credential_writer END,
            state = excluded.state,
            state_at = CASE WHEN there.state IS NOT DISTINCT FROM excluded.state
                THEN there.state_at ELSE excluded.state_at END,
            state_writer = CASE WHEN there.state IS NOT DISTINCT FROM excluded.state
                THEN there.state_writer ELSE excluded.state_writer END,
            removed_at = NULL
        WHERE $7 OR there.credential IS NULL";
    let written = sql_query(sql)
        .bind::<Binary, _>(key(id))
        .bind::<Binary, _>(id.as_bytes())
        .bind::<BigInt, _>(texts.generation)
        .bind::<Text, _>(&texts.credential)
        .bind::<Text, _>(&texts.state)
        .bind::<BigInt, _>(writer)
        .bind::<Bool, _>(over == Over::Anything)
        .execute(connection)?;
    Ok(written > 0)
}

/// Writes a record over one whose credential is stored as `there`.
pub(super) fn swap(
    connection: &mut PgConnection,
    writer: i64,
    id: &str,
    texts: &Texts,
    there: &str,
) -> QueryResult<bool> {
    let sql = "UPDATE credpool_records SET
            generation = $2,
            credential = $3,
            credential_at = CASE WHEN credential = $3
                THEN credential_at ELSE pg_current_xact_id()::text::bigint END,
            credential_writer = CASE WHEN credential = $3 THEN credential_writer ELSE $5 END,
            state = $4,
            state_at = CASE WHEN state IS NOT DISTINCT FROM $4
                THEN state_at ELSE pg_current_xact_id()::text::bigint END,
            state_writer = CASE WHEN state IS NOT DISTINCT FROM $4 THEN state_writer ELSE $5 END
        WHERE key = $1 AND credential = $6";
    let written = sql_query(sql)
        .bind::<Binary, _>(key(id))
        .bind::<BigInt, _>(texts.generation)
        .bind::<Text, _>(&texts.credential)
        .bind::<Text, _>(&texts.state)
        .bind::<BigInt, _>(writer)
        .bind::<Text, _>(there)
        .execute(connection)?;
    Ok(written > 0)
}

/// Whether it is remembered that a record was removed.
pub(super) fn is_removed(connection: &mut PgConnection, id: &str) -> QueryResult<bool> {
    let sql = "SELECT EXISTS
        (SELECT 1 FROM credpool_records WHERE key = $1 AND credential IS NULL) AS yes";
    let Answer { yes } = sql_query(sql)
        .bind::<Binary, _>(key(id))
        .get_result(connection)?;
    Ok(yes)
}

/// Writes the state of a record that is there.
pub(super) fn put_state(
    connection: &mut PgConnection,
    writer: i64,
    id: &str,
    state: &str,
) -> QueryResult<()> {
    let sql = "UPDATE credpool_records
        SET state = $2, state_at = pg_current_xact_id()::text::bigint, state_writer = $3
        WHERE key = $1 AND credential IS NOT NULL AND state IS DISTINCT FROM $2";
    sql_query(sql)
        .bind::<Binary, _>(key(id))
        .bind::<Text, _>(state)
        .bind::<BigInt, _>(writer)
        .execute(connection)
        .map(drop)
}

/// Removes a record, and remembers for a while that it did.
pub(super) fn remove(connection: &mut PgConnection, writer: i64, id: &str) -> QueryResult<()> {
    connection.transaction(|connection| {
        let sql = "UPDATE credpool_records
            SET generation = 0, credential = NULL, state = NULL, removed_at = now(),
                credential_at = pg_current_xact_id()::text::bigint, credential_writer = $2
            WHERE key = $1 AND credential IS NOT NULL";
        sql_query(sql)
            .bind::<Binary, _>(key(id))
            .bind::<BigInt, _>(writer)
            .execute(connection)?;
        let sql = "DELETE FROM credpool_records WHERE removed_at < now() - interval '30 days'";
        sql_query(sql).execute(connection)?;
        set_intent(connection, id, None)
    })
}

/// Up to where everything is known: what is written from now on, and by transactions that have not ended yet, is at this number
/// or behind it. The order in which numbers are given is not that of the commits.
pub(super) fn horizon(connection: &mut PgConnection) -> QueryResult<Horizon> {
    let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS number,
        concat_ws(' ', 'credpool_records'::regclass::oid, pg_relation_filenode('credpool_records'),
            extract(epoch FROM pg_postmaster_start_time())) AS history";
    sql_query(sql).get_result(connection)
}

/// What others have written since, or everything.
pub(super) fn since(
    connection: &mut PgConnection,
    writer: i64,
    cursor: &Cursor,
) -> QueryResult<Looked> {
    at_one_moment(connection, |connection| {
        let horizon = horizon(connection)?;
        let since = horizon.since(cursor);
        let sql = "SELECT id, credential, state FROM credpool_records
            WHERE $1 IS NULL
                OR (credential_at >= $1 AND credential_writer <> $2)
                OR (state_at >= $1 AND state_writer <> $2)
            ORDER BY id";
        let rows = sql_query(sql)
            .bind::<Nullable<BigInt>, _>(since)
            .bind::<BigInt, _>(writer)
            .load(connection)?;
        Ok(Looked {
            horizon,
            complete: since.is_none(),
            rows,
        })
    })
}

fn at_one_moment<T>(
    connection: &mut PgConnection,
    read: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
) -> QueryResult<T> {
    let mut transaction = connection.build_transaction().read_only().repeatable_read();
    transaction.run(read)
}

pub(super) fn try_lock(connection: &mut PgConnection, key: i64) -> QueryResult<bool> {
    let sql = "SELECT pg_try_advisory_lock(hashtextextended(current_schema(), $1)) AS yes";
    let Answer { yes } = sql_query(sql)
        .bind::<BigInt, _>(key)
        .get_result(connection)?;
    Ok(yes)
}

pub(super) fn unlock(connection: &mut PgConnection, key: i64) -> QueryResult<()> {
    let sql = "SELECT pg_advisory_unlock(hashtextextended(current_schema(), $1)) AS yes";
    sql_query(sql)
        .bind::<BigInt, _>(key)
        .execute(connection)
        .map(drop)
}

pub(super) fn intent(connection: &mut PgConnection, id: &str) -> QueryResult<Option<String>> {
    let sql = "SELECT intent AS text FROM credpool_intents WHERE key = $1";
    let row = sql_query(sql)
        .bind::<Binary, _>(key(id))
        .get_result::<Words>(connection);
    Ok(row.optional()?.map(|words| words.text))
}

pub(super) fn set_intent(
    connection: &mut PgConnection,
    id: &str,
    intent: Option<&str>,
) -> QueryResult<()> {
    let changed = match intent {
        Some(intent) => sql_query(
            "INSERT INTO credpool_intents (key, intent) VALUES ($1, $2)
                ON CONFLICT (key) DO UPDATE SET intent = excluded.intent",
        )
        .bind::<Binary, _>(key(id))
        .bind::<Text, _>(intent)
        .execute(connection),
        None => sql_query("DELETE FROM credpool_intents WHERE key = $1")
            .bind::<Binary, _>(key(id))
            .execute(connection),
    };
    changed.map(drop)
}

/// An id may be longer than what an index takes.
fn key(id: &str) -> Vec<u8> {
    Sha256::digest(id).to_vec()
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

#[derive(QueryableByName)]
struct Words {
    #[diesel(sql_type = Text)]
    text: String,
}

/// Ids are bytes: they may hold anything. `…_at` is the transaction that last changed a part.
const TABLES: &str = "
    SELECT pg_advisory_xact_lock(7234017283807667300);
    CREATE TABLE IF NOT EXISTS credpool_records (
        key bytea PRIMARY KEY,
        id bytea NOT NULL,
        generation bigint NOT NULL,
        credential text,
        credential_at bigint NOT NULL,
        credential_writer bigint NOT NULL,
        state text,
        state_at bigint NOT NULL,
        state_writer bigint NOT NULL,
        removed_at timestamptz
    );
    CREATE INDEX IF NOT EXISTS credpool_credential_at ON credpool_records (credential_at);
    CREATE INDEX IF NOT EXISTS credpool_state_at ON credpool_records (state_at);
    CREATE TABLE IF NOT EXISTS credpool_intents (
        key bytea PRIMARY KEY,
        intent text NOT NULL
    );
    CREATE TABLE IF NOT EXISTS credpool_entries (
        key bytea PRIMARY KEY,
        value bytea NOT NULL,
        expires_at bigint NOT NULL
    );
    CREATE INDEX IF NOT EXISTS credpool_entries_expires_at ON credpool_entries (expires_at);
";

/// A change that says which handle has made it. What is written and says the same is none.
const TRIGGERS: &str = "
    SELECT pg_advisory_xact_lock(7234017283807667300);
    CREATE OR REPLACE FUNCTION credpool_notify() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('credpool_' || TG_RELID, CASE
            WHEN TG_OP = 'TRUNCATE' THEN ''
            WHEN TG_OP = 'INSERT' OR NEW.credential_at <> OLD.credential_at
                THEN NEW.credential_writer::text
            ELSE NEW.state_writer::text END);
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER credpool_inserted AFTER INSERT ON credpool_records
        FOR EACH ROW EXECUTE FUNCTION credpool_notify();
    CREATE OR REPLACE TRIGGER credpool_updated AFTER UPDATE ON credpool_records
        FOR EACH ROW WHEN (OLD.credential_at <> NEW.credential_at OR OLD.state_at <> NEW.state_at)
        EXECUTE FUNCTION credpool_notify();
    CREATE OR REPLACE TRIGGER credpool_emptied AFTER TRUNCATE ON credpool_records
        FOR EACH STATEMENT EXECUTE FUNCTION credpool_notify();
";
