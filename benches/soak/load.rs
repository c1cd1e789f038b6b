//! What the program and its operator do to the pool, at a steady rate.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use credpool::{Auth, Error, Hook, Manager, OAuthTokens, Options, Outcome, Request, StreamEvent};
use serde_json::json;

/// Threads that call, and how often each does.
pub(crate) const CALLERS: u64 = 24;
const EVERY: Duration = Duration::from_millis(100);

const KEYS: usize = 8;
const LOGINS: usize = 6;

/// Counts the attempts that the hook is told of.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) attempts: AtomicU64,
    /// Of calls that were cancelled: the upstream has not seen one that was cancelled early.
    pub(crate) cancelled: AtomicU64,
}

impl Hook for Heard {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let is_slow = outcome.is_abandoned() && outcome.model == SLOW;
        let counter = if is_slow {
            &self.cancelled
        } else {
            &self.attempts
        };
        counter.fetch_add(1, SeqCst);
    }
}

/// The model of calls that are cancelled.
pub(crate) const SLOW: &str = "slow";

/// What became of the calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) ended: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Streams that broke off after content: nothing hides that.
    pub(crate) cut: AtomicU64,
    pub(crate) given_up: AtomicU64,
}

/// Keys of two providers, some with limits of their own, and logins that are refreshed all the time.
pub(crate) fn register(manager: &Manager, url: &str) -> Result<(), Error> {
    for number in 0..KEYS {
        for provider in ["openai", "anthropic"] {
            let key = Auth::api_key(provider, format!("sk-{provider}-{number}"))
                .with_id(format!("{provider}-{number}"))
                .with_attribute("base_url", url);
            let key = match number {
                0 => key.with_attribute("max_concurrent", "2"),
                1 => key.with_attribute("rpm", "60"),
                _ => key,
            };
            manager.register(key)?;
        }
    }
    for number in 0..LOGINS {
        let tokens = OAuthTokens::new(format!("access-login{number}-0-0"))
            .with_refresh_token(format!("refresh-login{number}-0"))
            .with_expires_at(credpool::Timestamp::UNIX_EPOCH);
        let login = Auth::oauth("openai", tokens)
            .with_id(format!("login{number}"))
            .with_attribute("base_url", url)
            .with_attribute("token_url", format!("{url}/token"))
            .with_attribute("client_id", "soak");
        manager.register(login)?;
    }
    Ok(())
}

/// Calls in turns until `stop`: plain ones and streams, some of which are given up.
pub(crate) fn call(manager: &Manager, caller: u64, calls: &Calls, stop: &AtomicBool) {
    let mut due = Instant::now() + EVERY.mul_f64(caller as f64 / CALLERS as f64);
    let options = options(caller);
    for turn in 0_u64.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(SeqCst) {
            return;
        }
        let failed = match (7 * turn + 3 * caller) % 20 {
            0 => gives_up(manager, calls, &options),
            1 => drops(manager, calls, &options),
            2..=7 => reads(manager, calls, &options),
            _ => manager
                .execute(PROVIDERS, &request("plain", false), &options)
                .err(),
        };
        calls.ended.fetch_add(1, SeqCst);
        if failed.is_some() {
            calls.failed.fetch_add(1, SeqCst);
        }
        // No faster afterwards where calls have taken longer.
        due = (due + EVERY).max(Instant::now());
    }
}

const PROVIDERS: [&str; 2] = ["openai", "anthropic"];

/// Each caller is a conversation of its own.
fn options(caller: u64) -> Options {
    Options::new()
        .with_timeout(Duration::from_secs(10))
        .with_session_key(format!("caller {caller}"))
}

fn request(model: &str, streams: bool) -> Request {
    let messages = json!([{"role": "user", "content": "Go on."}]);
    let mut chat = json!({"model": model, "messages": messages});
    let mut message = json!({"model": model, "max_tokens": 100, "messages": messages});
    if streams {
        chat["stream"] = true.into();
        message["stream"] = true.into();
    }
    Request::new(model, chat.to_string()).for_provider("anthropic", model, message.to_string())
}

/// A call that is cancelled while the upstream has it.
fn gives_up(manager: &Manager, calls: &Calls, options: &Options) -> Option<Error> {
    let call = match manager.submit(PROVIDERS, request(SLOW, false), options.clone()) {
        Ok(call) => call,
        Err(error) => return Some(error),
    };
    thread::sleep(EVERY);
    call.cancel();
    // Mostly cancelled; perhaps it had an error before.
    let _ = call.wait();
    calls.given_up.fetch_add(1, SeqCst);
    None
}

/// A stream that is dropped after its first chunk.
fn drops(manager: &Manager, calls: &Calls, options: &Options) -> Option<Error> {
    match manager.execute_stream(PROVIDERS, &request("long", true), options) {
        Ok(mut stream) => drop(stream.recv()),
        Err(error) => return Some(error),
    }
    calls.given_up.fetch_add(1, SeqCst);
    None
}

/// A stream that is read to its end.
fn reads(manager: &Manager, calls: &Calls, options: &Options) -> Option<Error> {
    let mut stream = match manager.execute_stream(PROVIDERS, &request("short", true), options) {
        Ok(stream) => stream,
        Err(error) => return Some(error),
    };
    loop {
        match stream.recv() {
            StreamEvent::Ended => return None,
            StreamEvent::Failed(_) => {
                calls.cut.fetch_add(1, SeqCst);
                return None;
            }
            _ => {}
        }
    }
}

/// What an operator does to the keys until `stop`, one act after the other. What it cannot do is told.
pub(crate) fn operate(manager: &Manager, dir: &Path, stop: &AtomicBool) -> Vec<String> {
    let mut refused = Vec::new();
    for turn in 0_usize.. {
        if stop.load(SeqCst) {
            break;
        }
        // The keys without limits of their own.
        let id = format!("{}-{}", PROVIDERS[turn % 2], 2 + turn / 2 % (KEYS - 2));
        let result = match turn % ACTS {
            0 => edit(dir, &id, turn, true),
            1 => edit(dir, &id, turn, false),
            2 => {
                let off = manager.set_disabled(&id, true);
                thread::sleep(ACT);
                let on = off.and_then(|_| manager.set_disabled(&id, false));
                on.map(drop).map_err(|error| error.to_string())
            }
            3 => manager.reset(&id).map_err(|error| error.to_string()),
            4 => {
                // One that is at its limit for most of each minute.
                let cooled =
                    manager.cool_down(&format!("{}-1", PROVIDERS[turn / ACTS % 2]), None, ACT);
                cooled.map_err(|error| error.to_string())
            }
            _ => away_and_back(dir, &id),
        };
        if let Err(error) = result {
            refused.push(format!("{id}, act {}: {error}", turn % ACTS));
        }
        thread::sleep(ACT);
    }
    refused
}

const ACTS: usize = 6;
const ACT: Duration = Duration::from_millis(300);

fn file(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.credential"))
}

/// A new label, written in place or beside and moved.
fn edit(dir: &Path, id: &str, turn: usize, in_place: bool) -> Result<(), String> {
    let path = file(dir, id);
    let change = || {
        let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        record["label"] = format!("edit {turn}").into();
        let text = serde_json::to_vec_pretty(&record)?;
        if in_place {
            return fs::write(&path, text);
        }
        let beside = dir.with_file_name("edited");
        fs::write(&beside, text)?;
        fs::set_permissions(&beside, fs::metadata(&path)?.permissions())?;
        fs::rename(beside, &path)
    };
    change().map_err(|error: std::io::Error| error.to_string())
}

/// The file is moved away and back: its record is removed, and registered again.
fn away_and_back(dir: &Path, id: &str) -> Result<(), String> {
    let (path, away) = (file(dir, id), dir.with_file_name("away"));
    let change = || {
        fs::rename(&path, &away)?;
        thread::sleep(5 * ACT);
        fs::rename(&away, &path)
    };
    change().map_err(|error: std::io::Error| error.to_string())
}
