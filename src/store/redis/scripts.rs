//! Queries: the keys and the scripts over them, each one atomic step.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Commands, Connection, RedisResult, Script};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::random;
use crate::store::codec::{Parts, Texts};

/// The names of the keys.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// With an id: a hash of the record's two parts (`c`, `s`), its generation (`g`), and by which handle (`cw`, `sw`) and at which version
    /// (`cv`, `sv`) they were last changed; of a removed one, only when and by which handle.
    pub(super) record: String,
    /// With an id: whose lease it is.
    lock: String,
    /// With an id: the intent.
    intent: String,
    /// Counts changes.
    version: String,
    /// A random text, from when the first change was counted.
    epoch: String,
    /// Ids by the version of their last change.
    changes: String,
    /// Ids of removed records by the time of their removal.
    gone: String,
}

/// A record as the server has it.
pub(super) enum Row {
    Record {
        id: String,
        credential: Zeroizing<String>,
        state: Option<String>,
    },
    Removed(String),
    /// Its key holds something else.
    Odd(String),
}

/// What a record may be written over.
#[derive(Clone, Copy)]
pub(super) enum Over<'a> {
    Anything,
    /// What was removed is nothing, too.
    Nothing,
    /// A record whose credential is stored as this.
    This(&'a str),
}

type Answer = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, bool);

impl Names {
    pub(super) fn of(name: &str) -> Self {
        let key = |part: &str| format!("{{{name}}}:{part}");
        Self {
            record: key("record:"),
            lock: key("lock:"),
            intent: key("intent:"),
            version: key("version"),
            epoch: key("epoch"),
            changes: key("changes"),
            gone: key("gone"),
        }
    }

    fn record(&self, id: &str) -> String {
        format!("{}{id}", self.record)
    }

    /// Writes a record, if it may be replaced. A part that says what it said has not changed.
    pub(super) fn put(
        &self,
        connection: &mut Connection,
        writer: &str,
        id: &str,
        texts: &Texts,
        over: Over<'_>,
    ) -> RedisResult<bool> {
        let (kind, there) = match over {
            Over::Anything => ("anything", ""),
            Over::Nothing => ("nothing", ""),
            Over::This(there) => ("this", there),
        };
        PUT.key(self.record(id))
            .key(&self.version)
            .key(&self.changes)
            .key(&self.gone)
            .arg(id)
            .arg(texts.generation)
            .arg(&texts.credential)
            .arg(&texts.state)
            .arg(writer)
            .arg(kind)
            .arg(there)
            .invoke(connection)
    }

    /// Writes the state of a record that is there.
    pub(super) fn put_state(
        &self,
        connection: &mut Connection,
        writer: &str,
        id: &str,
        state: &str,
    ) -> RedisResult<()> {
        PUT_STATE
            .key(self.record(id))
            .key(&self.version)
            .key(&self.changes)
            .arg(id)
            .arg(state)
            .arg(writer)
            .invoke(connection)
    }

    /// Removes a record, and remembers for a while that it did.
    pub(super) fn remove(
        &self,
        connection: &mut Connection,
        writer: &str,
        id: &str,
    ) -> RedisResult<()> {
        REMOVE
            .key(self.record(id))
            .key(&self.version)
            .key(&self.changes)
            .key(&self.gone)
            .key(format!("{}{id}", self.intent))
            .arg(id)
            .arg(writer)
            .arg(REMEMBERED.as_millis().to_string())
            .invoke(connection)
    }

    /// The two parts of a record that is there.
    pub(super) fn get(&self, connection: &mut Connection, id: &str) -> RedisResult<Option<Parts>> {
        let (credential, state): (Option<Vec<u8>>, Option<Vec<u8>>) =
            connection.hmget(self.record(id), &["c", "s"])?;
        Ok(credential.map(|credential| (Zeroizing::new(text(credential)), state.map(text))))
    }

    /// Whether it is remembered that a record was removed.
    pub(super) fn is_removed(&self, connection: &mut Connection, id: &str) -> RedisResult<bool> {
        let (credential, version): (Option<Vec<u8>>, Option<u64>) =
            connection.hmget(self.record(id), &["c", "cv"])?;
        Ok(credential.is_none() && version.is_some())
    }

    /// All ids, and those of some removed records.
    pub(super) fn ids(&self, connection: &mut Connection) -> RedisResult<Vec<Vec<u8>>> {
        connection.zrange(&self.changes, 0, -1)
    }

    pub(super) fn rows(
        &self,
        connection: &mut Connection,
        ids: &[Vec<u8>],
    ) -> RedisResult<Vec<Row>> {
        let mut script = ROWS.prepare_invoke();
        script.arg(&self.record);
        for id in ids {
            script.arg(id);
        }
        let rows: Vec<Answer> = script.invoke(connection)?;
        Ok(rows.into_iter().map(row).collect())
    }

    /// How many changes there have been, and whose count that is: another one begins where the keys are lost, and where a server
    /// that may have lost some starts again.
    pub(super) fn version(&self, connection: &mut Connection) -> RedisResult<(u64, String)> {
        let by_chance = token().unwrap_or_default();
        let _: bool = connection.set_nx(&self.epoch, by_chance)?;
        let (epoch, version): (Option<String>, Option<u64>) =
            connection.mget(&[&self.epoch, &self.version])?;
        let count = format!("{} {}", epoch.unwrap_or_default(), run(connection)?);
        Ok((version.unwrap_or(0), count))
    }

    /// Of what others have changed since a version, the first behind version `from`, and up to which version that is; no version
    /// when that is all.
    pub(super) fn since(
        &self,
        connection: &mut Connection,
        writer: &str,
        since: u64,
        from: u64,
        most: usize,
    ) -> RedisResult<(Option<u64>, Vec<Row>)> {
        let (to, rows): (Option<u64>, Vec<Answer>) = SINCE
            .key(&self.changes)
            .arg(&self.record)
            .arg(since)
            .arg(writer)
            .arg(most)
            .arg(from)
            .invoke(connection)?;
        Ok((to, rows.into_iter().map(row).collect()))
    }

    /// From here on, the server says on this connection when a change is counted, or all is lost.
    /// See <https://redis.io/docs/latest/commands/client-tracking/>.
    pub(super) fn follow(&self, connection: &mut Connection) -> RedisResult<()> {
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg(&["TRACKING", "ON", "BCAST", "PREFIX"]);
        tracking.arg(&self.version).exec(connection)
    }

    /// Takes the lease, or finds that an earlier attempt has.
    pub(super) fn lock(
        &self,
        connection: &mut Connection,
        id: &str,
        token: &str,
        lease: Duration,
    ) -> RedisResult<bool> {
        self.with_lease(&LOCK, id)
            .arg(token)
            .arg(millis(lease))
            .invoke(connection)
    }

    /// Renews the lease. False when another holder has it, or none.
    pub(super) fn renew(
        &self,
        connection: &mut Connection,
        id: &str,
        token: &str,
        lease: Duration,
    ) -> RedisResult<bool> {
        self.with_lease(&RENEW, id)
            .arg(token)
            .arg(millis(lease))
            .invoke(connection)
    }

    pub(super) fn unlock(
        &self,
        connection: &mut Connection,
        id: &str,
        token: &str,
    ) -> RedisResult<()> {
        self.with_lease(&UNLOCK, id).arg(token).invoke(connection)
    }

    pub(super) fn intent(
        &self,
        connection: &mut Connection,
        id: &str,
    ) -> RedisResult<Option<String>> {
        let intent: Option<Vec<u8>> = connection.get(format!("{}{id}", self.intent))?;
        Ok(intent.map(text))
    }

    /// Notes an intent, or clears it. False when the lease is not the caller's.
    pub(super) fn set_intent(
        &self,
        connection: &mut Connection,
        id: &str,
        token: &str,
        intent: Option<&str>,
    ) -> RedisResult<bool> {
        self.with_lease(&SET_INTENT, id)
            .key(format!("{}{id}", self.intent))
            .arg(token)
            .arg(intent.unwrap_or_default())
            .invoke(connection)
    }

    fn with_lease<'a>(&self, script: &'a Script, id: &str) -> redis::ScriptInvocation<'a> {
        script.key(format!("{}{id}", self.lock))
    }
}

/// What the server says of its memory and of what it keeps.
pub(super) fn info(connection: &mut Connection) -> RedisResult<String> {
    let memory = section("memory", connection)?;
    Ok(memory + "\r\n" + &section("persistence", connection)?)
}

fn section(name: &str, connection: &mut Connection) -> RedisResult<String> {
    let said: RedisResult<String> = redis::cmd("INFO").arg(name).query(connection);
    match said {
        // It need not tell.
        Err(error) if !error.is_io_error() && !error.is_timeout() => Ok(String::new()),
        said => said,
    }
}

/// Which run of which server this is, where it tells.
fn run(connection: &mut Connection) -> RedisResult<String> {
    let said = section("server", connection)?;
    let run = said.lines().find_map(|line| line.strip_prefix("run_id:"));
    Ok(run.unwrap_or_default().trim().to_owned())
}

/// A random text that no other holder has.
pub(super) fn token() -> Result<String, Error> {
    random::token().map_err(|error| {
        Error::store("the system's random number generator failed").with_source(error)
    })
}

fn row((id, credential, state, odd): Answer) -> Row {
    let id = text(id);
    match credential {
        _ if odd => Row::Odd(id),
        Some(credential) => Row::Record {
            id,
            credential: Zeroizing::new(text(credential)),
            state: state.map(text),
        },
        None => Row::Removed(id),
    }
}

/// What is not UTF-8 was not written here, and cannot be parsed.
fn text(bytes: Vec<u8>) -> String {
    // No copy is made of what is.
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn millis(lease: Duration) -> String {
    lease.as_millis().to_string()
}

const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local id, generation, credential, state, writer, over, expected = unpack(ARGV)
        local there = redis.call('HMGET', KEYS[1], 'g', 'c', 's')
        if over == 'nothing' and there[2] or over == 'this' and there[2] ~= expected then
            return 0
        end
        local new_credential, new_state = there[2] ~= credential, there[3] ~= state
        if not new_credential and not new_state then
            return 1
        end
        local version = redis.call('INCR', KEYS[2])
        redis.call('HSET', KEYS[1], 'g', generation, 'c', credential, 's', state)
        if new_credential then
            redis.call('HSET', KEYS[1], 'cv', version, 'cw', writer)
        end
        if new_state then
            redis.call('HSET', KEYS[1], 'sv', version, 'sw', writer)
        end
        redis.call('PERSIST', KEYS[1])
        redis.call('ZADD', KEYS[3], version, id)
        redis.call('ZREM', KEYS[4], id)
        return 1
        ",
    )
});

static PUT_STATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local id, state, writer = unpack(ARGV)
        local there = redis.call('HMGET', KEYS[1], 'c', 's')
        if there[1] and there[2] ~= state then
            local version = redis.call('INCR', KEYS[2])
            redis.call('HSET', KEYS[1], 's', state, 'sv', version, 'sw', writer)
            redis.call('ZADD', KEYS[3], version, id)
        end
        ",
    )
});

static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local id, writer, remembered = ARGV[1], ARGV[2], tonumber(ARGV[3])
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        if redis.call('HEXISTS', KEYS[1], 'c') == 1 then
            local version = redis.call('INCR', KEYS[2])
            redis.call('DEL', KEYS[1])
            redis.call('HSET', KEYS[1], 'cv', version, 'cw', writer)
            redis.call('PEXPIRE', KEYS[1], remembered)
            redis.call('ZADD', KEYS[3], version, id)
            redis.call('ZADD', KEYS[4], now, id)
        end
        redis.call('DEL', KEYS[5])
        for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - remembered, 'LIMIT', 0, 100)) do
            redis.call('ZREM', KEYS[3], old)
            redis.call('ZREM', KEYS[4], old)
        end
        ",
    )
});

static ROWS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local rows = {}
        for n = 2, #ARGV do
            local there = redis.pcall('HMGET', ARGV[1] .. ARGV[n], 'c', 's')
            if there.err then
                rows[#rows + 1] = {ARGV[n], false, false, 1}
            else
                rows[#rows + 1] = {ARGV[n], there[1], there[2], 0}
            end
        end
        return rows
        ",
    )
});

static SINCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local record, since, writer, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
        local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[5], '+inf', 'WITHSCORES', 'LIMIT', 0, most)
        local to, rows = false, {}
        for n = 1, #ids, 2 do
            local id = ids[n]
            to = ids[n + 1]
            local there = redis.pcall('HMGET', record .. id, 'c', 's', 'cv', 'cw', 'sv', 'sw')
            if there.err then
                rows[#rows + 1] = {id, false, false, 1}
            else
                local forgotten = not there[3]
                local credential = there[3] and tonumber(there[3]) > since and there[4] ~= writer
                local state = there[1] and there[5] and tonumber(there[5]) > since and there[6] ~= writer
                if forgotten or credential or state then
                    rows[#rows + 1] = {id, there[1], there[2], 0}
                end
            end
        end
        return {to, rows}
        ",
    )
});

static LOCK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
            return 1
        end
        if redis.call('GET', KEYS[1]) == ARGV[1] then
            return redis.call('PEXPIRE', KEYS[1], ARGV[2])
        end
        return 0
        ",
    )
});

static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('GET', KEYS[1]) == ARGV[1] then
            return redis.call('PEXPIRE', KEYS[1], ARGV[2])
        end
        return 0
        ",
    )
});

static UNLOCK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('GET', KEYS[1]) == ARGV[1] then
            redis.call('DEL', KEYS[1])
        end
        ",
    )
});

static SET_INTENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then
            return 0
        end
        if ARGV[2] == '' then
            redis.call('DEL', KEYS[2])
        else
            redis.call('SET', KEYS[2], ARGV[2])
        end
        return 1
        ",
    )
});

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection to a server that takes every command but `INFO`, to which it answers so (nothing: not at all).
    fn connection(to_info: &'static str) -> (Connection, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || serve(listener.accept().unwrap().0, to_info));
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let connection = client.get_connection().unwrap();
        connection
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        (connection, server)
    }

    fn serve(mut stream: TcpStream, to_info: &str) {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let said = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let answer = if !said.contains("INFO\r\n") || said.contains("SETINFO\r\n") {
                "+OK\r\n".repeat(said.matches("\r\n*").count() + 1)
            } else if to_info == "closed" {
                return;
            } else {
                to_info.to_owned()
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    #[test]
    fn a_server_that_may_not_tell_is_told_from_one_that_does_not_answer() {
        let told = |to_info| {
            let (mut connection, server) = connection(to_info);
            let told = run(&mut connection);
            drop(connection);
            server.join().unwrap();
            told
        };
        assert_eq!(told("$13\r\nrun_id: abc\r\n\r\n").unwrap(), "abc");
        assert_eq!(told("$0\r\n\r\n").unwrap(), "");
        for refused in ["-ERR unknown command 'INFO'\r\n", "-NOPERM no rights\r\n"] {
            assert_eq!(told(refused).unwrap(), "", "{refused}");
        }
        assert!(told("").unwrap_err().is_timeout());
        assert!(told("closed").unwrap_err().is_io_error());
    }
}
