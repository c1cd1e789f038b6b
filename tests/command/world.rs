//! A store with credentials in every state, the vendor that they are of, and the command over both.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use credpool::testing::{ReceivedRequest, Reply, Upstream};
use credpool::{Auth, Clock, Error, FileStore, Manager, OAuthTokens, Outcome, Store, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) home: TempDir,
    pub(crate) vendor: Upstream,
}

/// What the command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// That it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().expect("it was not killed"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// The command with these arguments, and nothing of this process's environment that it reads.
pub(crate) fn command(store: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credpool"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CREDPOOL_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NO_COLOR");
    command.env("CREDPOOL_STORE", store);
    command.args(arguments);
    command
}

/// Runs it to its end, with this as its standard input.
pub(crate) fn run_with(mut command: Command, input: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap().into()
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            vendor: Upstream::start(answer),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The directory of the store.
    pub(crate) fn store(&self) -> String {
        self.path("credentials").to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run_with(command(&self.store(), arguments), "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        run_with(command(&self.store(), arguments), input)
    }

    /// A key at the vendor.
    pub(crate) fn key(&self, id: &str, key: &str) -> Auth {
        Auth::api_key("openai", key)
            .with_id(id)
            .with_attribute("base_url", format!("{}/v1", self.vendor.url()))
    }

    /// The store, as a program has it.
    pub(crate) fn manager(&self) -> Manager {
        std::fs::create_dir_all(self.path("credentials")).unwrap();
        manager(Arc::new(FileStore::open(self.store()).unwrap()))
    }

    pub(crate) fn stored(&self, id: &str) -> Auth {
        let store = FileStore::open(self.store()).unwrap();
        store.load(id).unwrap().unwrap()
    }

    /// Forty keys and logins at three in the morning: most are well; seven are limited, two are used up, three need a person, one is disabled.
    pub(crate) fn at_night(&self) {
        let manager = self.manager();
        for number in 1..=39 {
            let id = format!("key-{number:02}");
            manager
                .register(self.key(&id, &format!("good-canary-{number}")))
                .unwrap();
        }
        let fails = |id: &str, error: Error| {
            manager.mark_result(&Outcome::failure(id, "openai", "gpt-5", error));
        };
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for number in 20..=26 {
            let limited = Error::upstream(
                429,
                r#"{"error":{"message":"Rate limit reached for gpt-5","code":"rate_limit_exceeded"}}"#,
            );
            let wait = minutes(number);
            fails(&format!("key-{number}"), limited.with_retry_after(wait));
        }
        for number in [30, 31] {
            let body = r#"{"error":{"message":"You exceeded your current quota for the day","code":"usage_limit_reached"}}"#;
            let used_up = Error::upstream(429, body).with_retry_after(minutes(300 + number));
            fails(&format!("key-{number}"), used_up);
        }
        let refused =
            r#"{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}"#;
        fails("key-07", Error::upstream(401, refused));
        let unpaid = r#"{"error":{"message":"Your account has no credit","code":"billing_hard_limit_reached"}}"#;
        fails("key-12", Error::upstream(402, unpaid));
        manager.set_disabled("key-33", true).unwrap();
        manager
            .register(Auth::pending("openai").with_id("ada"))
            .unwrap();
        manager.shutdown(LONG).unwrap();
    }
}

/// A manager that follows its store.
pub(crate) fn manager(store: Arc<dyn Store>) -> Manager {
    let manager = Manager::builder().store(store).build().unwrap();
    manager.load().unwrap();
    manager
        .start_hot_reload(Duration::from_millis(100))
        .unwrap();
    manager
}

/// A login whose tokens are secret.
pub(crate) fn login(token_url: &str, ends_in: i64) -> Auth {
    let end = SystemClock.now() + time::Duration::seconds(ends_in);
    let tokens = OAuthTokens::new("canary-access")
        .with_refresh_token("canary-refresh")
        .with_expires_at(end);
    Auth::oauth("my-llm", tokens)
        .with_attribute("token_url", token_url)
        .with_attribute("client_id", "my-app")
        .with_attribute("client_secret", "canary-client")
}

/// Keys are what their names say.
fn answer(request: &ReceivedRequest) -> Reply {
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("GET", "/v1/models")
    );
    let key = request.bearer().unwrap_or_default();
    let error = |status, code: &str, message: &str| {
        let body = serde_json::json!({ "error": { "code": code, "message": format!("{message}: {key}") } });
        Reply::json(status, body.to_string())
    };
    match key.split('-').next().unwrap_or_default() {
        "good" => Reply::json(200, r#"{"object":"list","data":[{"id":"gpt-5"}]}"#),
        "poor" => error(429, "insufficient_quota", "You exceeded your current quota"),
        "busy" => {
            error(429, "rate_limit_exceeded", "Rate limit reached").header("retry-after", "20")
        }
        "broken" => error(500, "server_error", "The server had an error"),
        _ => error(401, "invalid_api_key", "Incorrect API key provided"),
    }
}

/// Longer than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);
