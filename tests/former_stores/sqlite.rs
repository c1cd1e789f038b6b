use std::path::Path;
use std::time::Duration;

use credpool::SqliteStore;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::{Former, Record, everything_is_kept, nothing_is_lost};

struct Process(Connection);

impl Process {
    fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
            .unwrap();
        connection.execute_batch(TABLES).unwrap();
        Self(connection)
    }
}

const WRITER: i64 = 4711;

impl Former for Process {
    fn load(&mut self, id: &str) -> String {
        let sql = "SELECT credential FROM credpool_records WHERE id = ?1";
        self.0
            .query_row(sql, [id.as_bytes()], |row| row.get(0))
            .unwrap()
    }

    fn put(&mut self, record: &Record<'_>, expected: Option<i64>) -> bool {
        let id = record.id.as_bytes();
        let begin = TransactionBehavior::Immediate;
        let rows = self.0.transaction_with_behavior(begin).unwrap();
        let sql = "SELECT EXISTS (SELECT 1 FROM credpool_records
            WHERE id = ?1 AND generation <> ?2 AND credential <> ?3)";
        let is_refused = expected.is_some_and(|expected| {
            rows.query_row(sql, params![id, expected, record.credential], |row| {
                row.get(0)
            })
            .unwrap()
        });
        if is_refused {
            return false;
        }
        let version = next_version(&rows);
        let sql = "INSERT INTO credpool_records
                (id, generation, credential, credential_version, credential_writer,
                    state, state_version, state_writer)
            VALUES (?1, ?2, ?3, ?5, ?6, ?4, ?5, ?6)
            ON CONFLICT (id) DO UPDATE SET
                generation = excluded.generation,
                credential_version = CASE WHEN credential IS excluded.credential
                    THEN credential_version ELSE excluded.credential_version END,
                credential_writer = CASE WHEN credential IS excluded.credential
                    THEN credential_writer ELSE excluded.credential_writer END,
                credential = excluded.credential,
                state_version = CASE WHEN state IS excluded.state
                    THEN state_version ELSE excluded.state_version END,
                state_writer = CASE WHEN state IS excluded.state
                    THEN state_writer ELSE excluded.state_writer END,
                state = excluded.state,
                removed_at = NULL";
        let Record {
            generation,
            credential,
            state,
            ..
        } = record;
        rows.execute(
            sql,
            params![id, generation, credential, state, version, WRITER],
        )
        .unwrap();
        rows.commit().unwrap();
        true
    }

    fn remove(&mut self, id: &str) {
        let rows = self.0.transaction().unwrap();
        let version = next_version(&rows);
        let sql = "UPDATE credpool_records
            SET generation = 0, credential = NULL, credential_version = ?2, credential_writer = ?3,
                state = NULL, removed_at = unixepoch()
            WHERE id = ?1 AND credential IS NOT NULL";
        rows.execute(sql, params![id.as_bytes(), version, WRITER])
            .unwrap();
        rows.commit().unwrap();
    }

    fn set_intent(&mut self, id: &str, intent: &str) {
        let sql = "INSERT INTO credpool_intents (id, intent) VALUES (?1, ?2)";
        self.0.execute(sql, params![id.as_bytes(), intent]).unwrap();
    }
}

fn next_version(rows: &Connection) -> i64 {
    let sql = "UPDATE credpool_version SET version = version + 1 RETURNING version";
    rows.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn everything_in_a_former_database_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    everything_is_kept(Box::new(Process::open(&path)), || {
        Box::new(SqliteStore::open(&path).unwrap())
    });
}

#[test]
fn a_former_process_beside_a_new_one_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let former = Process::open(&path);
    nothing_is_lost(Box::new(former), &SqliteStore::open(&path).unwrap());
}

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS credpool_records (
        id BLOB NOT NULL PRIMARY KEY,
        generation INTEGER NOT NULL,
        credential TEXT,
        credential_version INTEGER NOT NULL,
        credential_writer INTEGER NOT NULL,
        state TEXT,
        state_version INTEGER NOT NULL,
        state_writer INTEGER NOT NULL,
        removed_at INTEGER
    );
    CREATE INDEX IF NOT EXISTS credpool_credential_version ON credpool_records (credential_version);
    CREATE INDEX IF NOT EXISTS credpool_state_version ON credpool_records (state_version);
    CREATE TABLE IF NOT EXISTS credpool_intents (
        id BLOB NOT NULL PRIMARY KEY,
        intent TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS credpool_version (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        version INTEGER NOT NULL
    );
    INSERT OR IGNORE INTO credpool_version VALUES (1, 0);
";
