//! Servers for tests of stores: started on loopback in a directory of their own, when somebody needs them, and ended with the
//! test program, however that ends. They do not wait for the disk: it is their processes that tests end, not the machine.
#![allow(dead_code, reason = "not every test program uses every server")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use credpool::{Auth, Changes, Cursor, FileStore, Revision, Sealed, SealingKey, Store};
use parking_lot::Mutex;

/// Opens a store by its kind and where it is: that is how processes tell each other.
pub(crate) fn open(address: &str) -> Arc<dyn Store> {
    match address.split_once('|').unwrap() {
        ("memory", _) => Arc::new(credpool::MemoryStore::new()),
        ("file", directory) => Arc::new(FileStore::open(directory).unwrap()),
        #[cfg(feature = "sqlite")]
        ("sqlite", path) => Arc::new(credpool::SqliteStore::open(path).unwrap()),
        #[cfg(feature = "postgres")]
        ("postgres", url) => Arc::new(credpool::PostgresStore::connect(url).unwrap()),
        #[cfg(feature = "redis")]
        ("redis", address) => {
            let (name, url) = address.split_once('|').unwrap();
            Arc::new(credpool::RedisStore::connect(url).unwrap().with_name(name))
        }
        ("sealed", address) => Arc::new(sealed(open(address))),
        (other, _) => panic!("no such store: {other}"),
    }
}

/// A store that seals with a key that every process of a test has.
pub(crate) fn sealed<S: Store>(store: S) -> Sealed<S> {
    Sealed::new(store, || Ok(vec![SealingKey::from_bytes([7; 32])])).unwrap()
}

/// A PostgreSQL of one's own that is up, and the address of a store in it.
#[cfg(feature = "postgres")]
pub(crate) fn postgres_store() -> Option<(Server, String)> {
    let server = start_postgres()?;
    let url = server.postgres_url("public");
    when_up(|| credpool::PostgresStore::connect(&*url));
    Some((server, format!("postgres|{url}")))
}

/// A Redis of one's own that is up, and the address of a store in it.
#[cfg(feature = "redis")]
pub(crate) fn redis_store() -> Option<(Server, String)> {
    let server = start_redis()?;
    let url = server.redis_url();
    when_up(|| credpool::RedisStore::connect(&*url));
    Some((server, format!("redis|credpool|{url}")))
}

/// A record with something to write.
pub(crate) fn sample(id: &str) -> Auth {
    Auth::api_key("p", "sk-canary")
        .with_id(id)
        .with_metadata("n", 1)
}

/// The sample `a`, as that many changes of its tokens have left it.
pub(crate) fn of_generation(generation: u64) -> Auth {
    let mut json = serde_json::to_value(sample("a")).unwrap();
    json["generation"] = generation.into();
    serde_json::from_value(json).unwrap()
}

/// The revision of the sample `a` of a generation.
pub(crate) fn revision(generation: u64) -> Revision {
    Revision::of(&of_generation(generation))
}

/// A server, and how to reach it.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// What runs it, for as long as this one lives, and what that says.
    script: Mutex<(Child, BufReader<ChildStdout>)>,
}

/// The address of this test program's PostgreSQL; none where it is not installed.
pub(crate) fn postgres() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start_postgres).as_ref()
}

/// The address of this test program's Redis; none where it is not installed.
pub(crate) fn redis() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start_redis).as_ref()
}

/// A Redis of one's own, to do harm to.
pub(crate) fn start_redis() -> Option<Server> {
    let bin = found("Redis", in_path("redis-server"))?;
    Some(Server::start(
        "",
        &format!(
            "{} --port $port --bind 127.0.0.1 --dir \"$dir\" --save '' --appendonly yes --appendfsync no",
            bin.display()
        ),
    ))
}

/// A Redis of one's own that answers over TLS alone, with this certificate and its key in PEM.
pub(crate) fn start_redis_over_tls(certificate: &str, key: &str) -> Option<Server> {
    let bin = found("Redis", in_path("redis-server"))?;
    Some(Server::start(
        &format!("echo '{certificate}' >\"$dir/c.pem\" && echo '{key}' >\"$dir/k.pem\" &&"),
        &format!(
            "{} --port 0 --tls-port $port --bind 127.0.0.1 --dir \"$dir\" --save '' --appendonly yes --appendfsync no \
             --tls-cert-file \"$dir/c.pem\" --tls-key-file \"$dir/k.pem\" --tls-auth-clients no",
            bin.display()
        ),
    ))
}

/// A PostgreSQL of one's own, to do harm to.
pub(crate) fn start_postgres() -> Option<Server> {
    let bin = found(
        "PostgreSQL",
        ["14", "15", "16", "17", "18"]
            .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin/postgres")))
            .into_iter()
            .chain(in_path("postgres")),
    )?;
    let bin = bin.canonicalize().unwrap();
    let bin = bin.parent().unwrap();
    Some(Server::start(
        &format!(
            "{0}/initdb --no-sync -D \"$dir/data\" -U credpool --auth=trust -E UTF8 --locale=C >&2 &&",
            bin.display()
        ),
        &format!(
            "{0}/postgres -D \"$dir/data\" -p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
             -c max_connections=300 -c shared_buffers=16MB -c restart_after_crash=on -c fsync=off",
            bin.display()
        ),
    ))
}

impl Server {
    /// Runs `serve` in a new directory `$dir` on a free `$port`, after the commands of `prepare`.
    pub(crate) fn start(prepare: &str, serve: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // As long as the script's input is open, the server runs: another one takes the place of one that has ended, or that could not
        // start because what is left of the last one was still in its way. Each line is a signal for it. The number of one that has ended
        // is forgotten at once: it may soon be another process's.
        let script = format!(
            "export port={port} dir=$(mktemp -d) || exit 1
            cd \"$dir\" || exit 1
            {prepare} true || exit 1
            cat >serve <<'END'
                echo $$ >\"$dir/pid\"
                exec {serve}
END
            (while [ ! -e over ]; do sh serve >log 2>&1; : >pid; sleep 0.1; done; : >ended) &
            while [ ! -s pid ]; do sleep 0.01; done
            echo started
            while read -r signal; do
                former=$(cat pid); kill \"$signal\" \"$former\"; said=$?
                while [ \"$signal\" = -KILL ] && [ ! -s pid -o \"$(cat pid)\" = \"$former\" ]; do sleep 0.01; done
                echo \"$said\"
            done
            : >over
            while [ ! -e ended ]; do kill -INT $(cat pid) 2>/dev/null; sleep 0.05; done
            cd / && rm -rf \"$dir\""
        );
        let mut command = as_somebody();
        let mut script = command
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(script.stdout.take().unwrap());
        let server = Self {
            port,
            script: Mutex::new((script, said)),
        };
        assert_eq!(server.answer(), "started");
        server
    }

    fn answer(&self) -> String {
        let mut line = String::new();
        let (_, said) = &mut *self.script.lock();
        said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Ends the server as a power cut does; it starts again.
    pub(crate) fn crash(&self) {
        self.signal("-KILL");
    }

    pub(crate) fn postgres_url(&self, schema: &str) -> String {
        format!(
            "postgres://credpool@127.0.0.1:{}/postgres?options=-csearch_path%3D{schema}",
            self.port
        )
    }

    pub(crate) fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends a signal to the server's own process.
    pub(crate) fn signal(&self, signal: &str) {
        let line = format!("{signal}\n");
        {
            let (script, _) = &mut *self.script.lock();
            let input = script.stdin.as_mut().unwrap();
            input.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(self.answer(), "0");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (script, _) = self.script.get_mut();
        drop(script.stdin.take());
        let _ = script.wait();
    }
}

/// Asks until it answers, for as long as a slow machine may take.
pub(crate) fn when_up<T, E: std::fmt::Debug>(mut ask: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The next change of another handle, once the store has heard of it.
pub(crate) fn next_change(store: &dyn Store, cursor: &mut Cursor) -> Changes {
    let changes = when_up(|| {
        if store.is_quiet(cursor) {
            return Err("nothing is heard");
        }
        let changes = store.changes(Some(cursor)).unwrap().unwrap();
        let is_empty = changes.written.is_empty() && changes.removed.is_empty();
        let is_told = !is_empty || changes.complete;
        is_told.then_some(changes).ok_or("no change is told")
    });
    *cursor = changes.cursor.clone();
    changes
}

pub(crate) fn found(what: &str, candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let found = candidates.into_iter().find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CREDPOOL_REQUIRE_SERVERS").is_none(),
            "{what} is not installed"
        );
        eprintln!("{what} is not installed: what needs it is left out");
    }
    found
}

pub(crate) fn in_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .collect()
}

/// PostgreSQL refuses to run as the superuser.
fn as_somebody() -> Command {
    let is_root = Path::new("/proc/self")
        .metadata()
        .is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0);
    if !is_root {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "env",
        "HOME=/tmp",
        "TMPDIR=/tmp",
    ]);
    command
}

const PATIENCE: Duration = Duration::from_secs(60);
