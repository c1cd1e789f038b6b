use credpool::PostgresStore;
use diesel::connection::{Connection, SimpleConnection};
use diesel::pg::PgConnection;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use sha2::{Digest, Sha256};

use crate::store_support::{self, when_up};
use crate::{Former, Record, everything_is_kept, nothing_is_lost};

struct Process(PgConnection);

#[derive(QueryableByName)]
struct Words {
    #[diesel(sql_type = Text)]
    text: String,
}

/// A former process, and where its tables are.
fn process(schema: &str) -> Option<(Box<Process>, String)> {
    let url = store_support::postgres()?.postgres_url(schema);
    let mut connection =
        when_up(|| PgConnection::establish(&url).map_err(|error| error.to_string()));
    connection
        .batch_execute(&format!("CREATE SCHEMA {schema}"))
        .unwrap();
    connection.batch_execute(TABLES).unwrap();
    Some((Box::new(Process(connection)), url))
}

fn key(id: &str) -> Vec<u8> {
    Sha256::digest(id).to_vec()
}

const WRITER: i64 = 4711;

impl Former for Process {
    fn load(&mut self, id: &str) -> String {
        let sql = "SELECT credential AS text FROM credpool_records WHERE key = $1";
        let row: Words = sql_query(sql)
            .bind::<Binary, _>(key(id))
            .get_result(&mut self.0)
            .unwrap();
        row.text
    }

    fn put(&mut self, record: &Record<'_>, expected: Option<i64>) -> bool {
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
            WHERE $7 IS NULL
                OR there.credential IS NULL
                OR there.generation = $7
                OR there.credential = excluded.credential";
        let written = sql_query(sql)
            .bind::<Binary, _>(key(record.id))
            .bind::<Binary, _>(record.id.as_bytes())
            .bind::<BigInt, _>(record.generation)
            .bind::<Text, _>(record.credential)
            .bind::<Text, _>(record.state)
            .bind::<BigInt, _>(WRITER)
            .bind::<Nullable<BigInt>, _>(expected)
            .execute(&mut self.0)
            .unwrap();
        written > 0
    }

    fn remove(&mut self, id: &str) {
        let sql = "UPDATE credpool_records
            SET generation = 0, credential = NULL, state = NULL, removed_at = now(),
                credential_at = pg_current_xact_id()::text::bigint, credential_writer = $2
            WHERE key = $1 AND credential IS NOT NULL";
        sql_query(sql)
            .bind::<Binary, _>(key(id))
            .bind::<BigInt, _>(WRITER)
            .execute(&mut self.0)
            .unwrap();
    }

    fn set_intent(&mut self, id: &str, intent: &str) {
        sql_query("INSERT INTO credpool_intents (key, intent) VALUES ($1, $2)")
            .bind::<Binary, _>(key(id))
            .bind::<Text, _>(intent)
            .execute(&mut self.0)
            .unwrap();
    }
}

#[test]
fn everything_in_a_former_database_is_kept() {
    if let Some((former, url)) = process("kept") {
        everything_is_kept(former, || Box::new(PostgresStore::connect(url).unwrap()));
    }
}

#[test]
fn a_former_process_beside_a_new_one_loses_nothing() {
    if let Some((former, url)) = process("beside") {
        nothing_is_lost(former, &PostgresStore::connect(url).unwrap());
    }
}

const TABLES: &str = "
    CREATE TABLE credpool_records (
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
    CREATE INDEX credpool_credential_at ON credpool_records (credential_at);
    CREATE INDEX credpool_state_at ON credpool_records (state_at);
    CREATE TABLE credpool_intents (
        key bytea PRIMARY KEY,
        intent text NOT NULL
    );
";
