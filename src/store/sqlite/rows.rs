//! Queries: the tables and the statements over them, within one transaction.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use zeroize::Zeroizing;

use crate::store::codec::{Parts, Texts};

pub(super) struct Rows<'a> {
    pub(super) tables: &'a Connection,
    pub(super) writer: i64,
    pub(super) file: (u64, u64),
}

/// Makes the tables where one is missing, as in a database of a former version.
pub(super) fn create(tables: &mut Connection) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) = 5 FROM sqlite_master WHERE name IN
        ('credpool_records', 'credpool_intents', 'credpool_version', 'credpool_history', 'credpool_entries')";
    if tables.query_row(sql, [], |row| row.get(0))? {
        return Ok(());
    }
    let transaction = tables.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.commit()
}

impl Rows<'_> {
    pub(super) fn get(&self, id: &str) -> rusqlite::Result<Option<Parts>> {
        let sql = "SELECT credential, state FROM credpool_records WHERE id = ?1 AND credential IS NOT NULL";
        let row = self.tables.query_row(sql, [id.as_bytes()], |row| {
            Ok((Zeroizing::new(row.get(0)?), row.get(1)?))
        });
        row.optional()
    }

    /// Whether it is remembered that a record was removed.
    pub(super) fn is_removed(&self, id: &str) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS
            (SELECT 1 FROM credpool_records WHERE id = ?1 AND credential IS NULL)";
        self.tables
            .query_row(sql, [id.as_bytes()], |row| row.get(0))
    }

    /// Writes a record. A part that says what it said has not changed.
    pub(super) fn put(&self, id: &str, texts: &Texts) -> rusqlite::Result<()> {
        let version = self.next_version()?;
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
        let params = params![
            id.as_bytes(),
            texts.generation,
            texts.credential,
            texts.state,
            version,
            self.writer,
        ];
        self.tables.execute(sql, params).map(drop)
    }

    /// Writes the state of a record that is there.
    pub(super) fn put_state(&self, id: &str, state: &str) -> rusqlite::Result<()> {
        let version = self.next_version()?;
        let sql = "UPDATE credpool_records
            SET state = ?2, state_version = ?3, state_writer = ?4
            WHERE id = ?1 AND credential IS NOT NULL AND state IS NOT ?2";
        self.tables
            .execute(sql, params![id.as_bytes(), state, version, self.writer])
            .map(drop)
    }

    /// Removes a record, and remembers for a while that it did.
    pub(super) fn remove(&self, id: &str) -> rusqlite::Result<()> {
        let version = self.next_version()?;
        let sql = "UPDATE credpool_records
            SET generation = 0, credential = NULL, credential_version = ?2, credential_writer = ?3,
                state = NULL, removed_at = unixepoch()
            WHERE id = ?1 AND credential IS NOT NULL";
        self.tables
            .execute(sql, params![id.as_bytes(), version, self.writer])?;
        let sql = "DELETE FROM credpool_records WHERE removed_at < unixepoch() - ?1";
        self.tables.execute(sql, [REMEMBERED])?;
        self.set_intent(id, None)
    }

    /// All records, in the order of their ids.
    pub(super) fn each(
        &self,
        mut take: impl FnMut(&str, &str, Option<&str>),
    ) -> rusqlite::Result<()> {
        let sql = "SELECT id, credential, state FROM credpool_records
            WHERE credential IS NOT NULL ORDER BY id";
        let mut statement = self.tables.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(
                &id_of(row)?,
                row.get_ref(1)?.as_str()?,
                row.get_ref(2)?.as_str_or_null()?,
            );
        }
        Ok(())
    }

    /// What others have written since a version, or everything; without a credential, what was removed.
    pub(super) fn each_since(
        &self,
        since: Option<i64>,
        mut take: impl FnMut(&str, Option<&str>, Option<&str>),
    ) -> rusqlite::Result<()> {
        let sql = "SELECT id, credential, state FROM credpool_records
            WHERE ?1 IS NULL
                OR (credential_version > ?1 AND credential_writer <> ?2)
                OR (state_version > ?1 AND state_writer <> ?2)
            ORDER BY id";
        let mut statement = self.tables.prepare(sql)?;
        let mut rows = statement.query(params![since, self.writer])?;
        while let Some(row) = rows.next()? {
            take(
                &id_of(row)?,
                row.get_ref(1)?.as_str_or_null()?,
                row.get_ref(2)?.as_str_or_null()?,
            );
        }
        Ok(())
    }

    /// The version of the last write, and of which history it is. Writers take turns, so that it is also that of the last commit; the
    /// history is another one where the tables were made anew, or the file is another.
    pub(super) fn position(&self) -> rusqlite::Result<(i64, String)> {
        let sql = "SELECT version, history FROM credpool_version, credpool_history";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (version, history): (_, i64) = self.tables.query_row(sql, [], read)?;
        let (device, number) = self.file;
        Ok((version, format!("{history} {device}:{number}")))
    }

    fn next_version(&self) -> rusqlite::Result<i64> {
        let sql = "UPDATE credpool_version SET version = version + 1 RETURNING version";
        self.tables.query_row(sql, [], |row| row.get(0))
    }

    pub(super) fn intent(&self, id: &str) -> rusqlite::Result<Option<String>> {
        let sql = "SELECT intent FROM credpool_intents WHERE id = ?1";
        let row = self
            .tables
            .query_row(sql, [id.as_bytes()], |row| row.get(0));
        row.optional()
    }

    pub(super) fn set_intent(&self, id: &str, intent: Option<&str>) -> rusqlite::Result<()> {
        let changed = match intent {
            Some(intent) => self.tables.execute(
                "INSERT INTO credpool_intents (id, intent) VALUES (?1, ?2)
                    ON CONFLICT (id) DO UPDATE SET intent = excluded.intent",
                params![id.as_bytes(), intent],
            ),
            None => self.tables.execute(
                "DELETE FROM credpool_intents WHERE id = ?1",
                [id.as_bytes()],
            ),
        };
        changed.map(drop)
    }

    pub(super) fn entry(&self, key: &str) -> rusqlite::Result<Option<(Vec<u8>, i64)>> {
        let sql = "SELECT value, expires_at FROM credpool_entries WHERE key = ?1";
        let mut statement = self.tables.prepare(sql)?;
        let row = statement.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)));
        row.optional()
    }

    pub(super) fn put_entry(&self, key: &str, value: &str, ends: i64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO credpool_entries (key, value, expires_at) VALUES (?1, ?2, ?3)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
        let mut statement = self.tables.prepare(sql)?;
        statement
            .execute(params![key.as_bytes(), value.as_bytes(), ends])
            .map(drop)
    }

    pub(super) fn remove_entry(&self, key: &str) -> rusqlite::Result<()> {
        let sql = "DELETE FROM credpool_entries WHERE key = ?1";
        self.tables.execute(sql, [key.as_bytes()]).map(drop)
    }

    /// Removes the entries that end first, until no more than `most` are left.
    pub(super) fn truncate_entries(&self, most: i64) -> rusqlite::Result<()> {
        let sql = "DELETE FROM credpool_entries WHERE key IN
            (SELECT key FROM credpool_entries ORDER BY expires_at DESC, key LIMIT -1 OFFSET ?1)";
        self.tables.execute(sql, [most]).map(drop)
    }
}

fn id_of(row: &Row<'_>) -> rusqlite::Result<String> {
    let bytes = row.get_ref(0)?.as_blob()?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Ids are bytes: they may hold anything. The versions are indexed, so that a look for changes costs what has changed.
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
    CREATE TABLE IF NOT EXISTS credpool_history (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        history INTEGER NOT NULL
    );
    INSERT OR IGNORE INTO credpool_history VALUES (1, random());
    CREATE TABLE IF NOT EXISTS credpool_entries (
        key BLOB NOT NULL PRIMARY KEY,
        value BLOB NOT NULL,
        expires_at INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS credpool_entries_expires_at ON credpool_entries (expires_at);
";

/// For how long it is remembered that a record was removed, in seconds.
const REMEMBERED: i64 = 30 * 24 * 3600;
