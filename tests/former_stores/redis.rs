use credpool::RedisStore;
use redis::{Commands, Connection, Script};

use crate::store_support::{self, when_up};
use crate::{Former, Record, everything_is_kept, nothing_is_lost};

struct Process {
    connection: Connection,
    name: &'static str,
}

/// A former process, and a store under the same name.
fn process(name: &'static str) -> Option<(Box<Process>, RedisStore)> {
    let url = store_support::redis()?.redis_url();
    let client = redis::Client::open(url.as_str()).unwrap();
    let connection = when_up(|| client.get_connection());
    let store = RedisStore::connect(url).unwrap().with_name(name);
    Some((Box::new(Process { connection, name }), store))
}

impl Process {
    fn key(&self, part: &str) -> String {
        format!("{{{}}}:{part}", self.name)
    }
}

impl Former for Process {
    fn load(&mut self, id: &str) -> String {
        let key = self.key(&format!("record:{id}"));
        self.connection.hget(key, "c").unwrap()
    }

    fn put(&mut self, record: &Record<'_>, expected: Option<i64>) -> bool {
        Script::new(PUT)
            .key(self.key(&format!("record:{}", record.id)))
            .key(self.key("version"))
            .key(self.key("changes"))
            .key(self.key("gone"))
            .arg(record.id)
            .arg(record.generation)
            .arg(record.credential)
            .arg(record.state)
            .arg("former")
            .arg(expected.map_or_else(String::new, |expected| expected.to_string()))
            .invoke(&mut self.connection)
            .unwrap()
    }

    fn remove(&mut self, id: &str) {
        Script::new(REMOVE)
            .key(self.key(&format!("record:{id}")))
            .key(self.key("version"))
            .key(self.key("changes"))
            .key(self.key("gone"))
            .arg(id)
            .arg("former")
            .invoke::<()>(&mut self.connection)
            .unwrap();
    }

    fn set_intent(&mut self, id: &str, intent: &str) {
        let key = self.key(&format!("intent:{id}"));
        self.connection.set::<_, _, ()>(key, intent).unwrap();
    }
}

#[test]
fn everything_on_a_former_server_is_kept() {
    if let Some((former, store)) = process("kept") {
        everything_is_kept(former, || Box::new(store));
    }
}

#[test]
fn a_former_process_beside_a_new_one_loses_nothing() {
    if let Some((former, store)) = process("beside") {
        nothing_is_lost(former, &store);
    }
}

const PUT: &str = r"
    local id, generation, credential, state, writer, expected = unpack(ARGV)
    local there = redis.call('HMGET', KEYS[1], 'g', 'c', 's')
    if expected ~= '' and there[2] and there[1] ~= expected and there[2] ~= credential then
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
";

const REMOVE: &str = r"
    local id, writer = ARGV[1], ARGV[2]
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local version = redis.call('INCR', KEYS[2])
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'cv', version, 'cw', writer)
    redis.call('ZADD', KEYS[3], version, id)
    redis.call('ZADD', KEYS[4], now, id)
";
