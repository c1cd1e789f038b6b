//! Queries of entries: small values beside the records.

use diesel::connection::Connection;
use diesel::pg::PgConnection;
use diesel::prelude::{QueryableByName, RunQueryDsl};
use diesel::result::QueryResult;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary};

use crate::store::StoreEntry;
use crate::store::entry::{last_of_each, millis};

/// An entry that is there.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
    #[diesel(sql_type = Binary)]
    value: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    pub(super) expires_at: i64,
}

impl Row {
    pub(super) fn key(&self) -> String {
        String::from_utf8_lossy(&self.key).into_owned()
    }

    pub(super) fn value(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

pub(super) fn load(connection: &mut PgConnection, keys: &[String]) -> QueryResult<Vec<Row>> {
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    let sql = "SELECT key, value, expires_at FROM credpool_entries WHERE key = ANY($1)";
    sql_query(sql)
        .bind::<Array<Binary>, _>(keys)
        .load(connection)
}

/// Writes and removes entries, and then those that end first of more than `most`.
pub(super) fn save(
    connection: &mut PgConnection,
    entries: &[StoreEntry],
    most: Option<i64>,
) -> QueryResult<()> {
    let (mut keys, mut values, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let mut removed = Vec::new();
    for entry in last_of_each(entries) {
        match &entry.value {
            Some(value) => {
                keys.push(entry.key.as_bytes());
                values.push(value.as_bytes());
                ends.push(millis(entry.expires_at));
            }
            None => removed.push(entry.key.as_bytes()),
        }
    }
    connection.transaction(|connection| {
        let sql = "INSERT INTO credpool_entries (key, value, expires_at)
            SELECT * FROM unnest($1, $2, $3)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
        sql_query(sql)
            .bind::<Array<Binary>, _>(keys)
            .bind::<Array<Binary>, _>(values)
            .bind::<Array<BigInt>, _>(ends)
            .execute(connection)?;
        sql_query("DELETE FROM credpool_entries WHERE key = ANY($1)")
            .bind::<Array<Binary>, _>(removed)
            .execute(connection)?;
        if let Some(most) = most {
            let sql = "DELETE FROM credpool_entries WHERE key IN
                (SELECT key FROM credpool_entries ORDER BY expires_at DESC, key OFFSET $1)";
            sql_query(sql)
                .bind::<BigInt, _>(most)
                .execute(connection)?;
        }
        Ok(())
    })
}
