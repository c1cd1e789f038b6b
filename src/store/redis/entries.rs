//! Queries of entries: small values beside the records.

use std::sync::LazyLock;

use redis::{Connection, RedisResult, Script};

use crate::store::StoreEntry;
use crate::store::entry::millis;

/// The names of the keys.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    /// A hash of the values.
    values: String,
    /// The entries' keys by when they end.
    ends: String,
}

impl Entries {
    pub(super) fn of(name: &str) -> Self {
        Self {
            values: format!("{{{name}}}:entries"),
            ends: format!("{{{name}}}:entries:ends"),
        }
    }

    /// For each key the value and when it ends, if it is there.
    pub(super) fn load(
        &self,
        connection: &mut Connection,
        keys: &[String],
    ) -> RedisResult<Vec<Option<(String, i64)>>> {
        let mut script = LOAD.key(&self.values);
        script.key(&self.ends);
        for key in keys {
            script.arg(key);
        }
        let rows: Vec<(Option<Vec<u8>>, Option<String>)> = script.invoke(connection)?;
        let rows = rows.into_iter().map(|(value, ends)| {
            let value = String::from_utf8_lossy(&value?).into_owned();
            Some((value, ends?.parse().ok()?))
        });
        Ok(rows.collect())
    }

    /// Writes and removes entries, and then those that end first of more than `most`.
    pub(super) fn save(
        &self,
        connection: &mut Connection,
        entries: &[&StoreEntry],
        most: usize,
    ) -> RedisResult<()> {
        let mut script = SAVE.key(&self.values);
        script.key(&self.ends).arg(most);
        for entry in entries {
            script.arg(&entry.key);
            match &entry.value {
                Some(value) => script.arg(value).arg(millis(entry.expires_at)),
                None => script.arg("").arg(""),
            };
        }
        script.invoke(connection)
    }
}

/// Scores are doubles: exact for milliseconds of the calendar, and written without an exponent.
static LOAD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local rows = {}
        for n = 1, #ARGV do
            local value, ends = redis.call('HGET', KEYS[1], ARGV[n]), redis.call('ZSCORE', KEYS[2], ARGV[n])
            rows[n] = {value, ends and string.format('%.0f', tonumber(ends)) or false}
        end
        return rows
        ",
    )
});

static SAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        for n = 2, #ARGV, 3 do
            local key, value, ends = ARGV[n], ARGV[n + 1], ARGV[n + 2]
            if ends == '' then
                redis.call('HDEL', KEYS[1], key)
                redis.call('ZREM', KEYS[2], key)
            else
                redis.call('HSET', KEYS[1], key, value)
                redis.call('ZADD', KEYS[2], ends, key)
            end
        end
        local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1])
        if over > 0 then
            local first = redis.call('ZPOPMIN', KEYS[2], over)
            for n = 1, #first, 2 do
                redis.call('HDEL', KEYS[1], first[n])
            end
        end
        ",
    )
});
