//! The main job, end to end, on a fresh machine and without any account: `cargo run --example quickstart`.
//!
//! It starts an upstream on loopback, puts three credentials into a file store (one that is rate limited, a login whose
//! token has expired, a healthy one), and then makes a call that fails over, prints a stream as it arrives, counts tokens,
//! shows what is known of each credential, and restarts.
//!
//! With `OPENAI_API_KEY` set it talks to that account instead; `OPENAI_BASE_URL` and `OPENAI_MODEL` change where and what.
//! `RUST_LOG=credpool=debug` shows what the library does: `info` refreshes, `warn` what needs a look, `debug` each failed
//! attempt, `trace` every attempt.

use std::env;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{KeyBehaviour, OpenAiUpstream};
use credpool::{
    Auth, Clock, FileStore, Hook, Manager, OAuthTokens, Options, Outcome, OutcomeKind, Request,
    SystemClock, Timestamp,
};
use crossbeam_channel::{Receiver, Sender, unbounded};

type Outcomes<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcomes<()> {
    env_logger::init();
    match env::var("OPENAI_API_KEY") {
        Ok(key) => against_the_real_service(&key),
        Err(_) => against_a_loopback_upstream(),
    }
}

fn against_a_loopback_upstream() -> Outcomes<()> {
    let upstream = OpenAiUpstream::start();
    upstream.set_key("key-limited", KeyBehaviour::RateLimited { retry_after: 20 });
    upstream.set_key("key-healthy", KeyBehaviour::Serve);
    upstream.set_login("refresh-0", KeyBehaviour::Serve);
    let directory = tempfile::tempdir()?;

    title("1. Three credentials go into a file store");
    let (manager, updates) = open(directory.path())?;
    let base_url = upstream.base_url();
    let at_upstream = |auth: Auth| {
        auth.with_attribute("base_url", &base_url)
            .with_attribute("count_tokens_path", "/responses/input_tokens")
    };
    let expired = OAuthTokens::new("access-expired")
        .with_refresh_token("refresh-0")
        .with_expires_at(SystemClock.now() - time::Duration::MINUTE);
    for auth in [
        Auth::api_key("openai", "key-limited").with_id("a-limited"),
        Auth::oauth("openai", expired)
            .with_id("b-login")
            .with_attribute("token_url", upstream.token_url())
            .with_attribute("client_id", "quickstart"),
        Auth::api_key("openai", "key-healthy").with_id("c-healthy"),
    ] {
        manager.register(at_upstream(auth))?;
    }
    for file in std::fs::read_dir(directory.path())? {
        println!("   {}", file?.file_name().to_string_lossy());
    }

    title("2. The expired token is refreshed in the background");
    manager.start_auto_refresh(Duration::from_secs(60))?;
    let refreshed = updates.recv_timeout(Duration::from_secs(5))?;
    println!("   {refreshed} has a new token, and the new refresh token is on disk");
    check(
        refreshed == "b-login",
        "the login is the one that was refreshed",
    )?;
    check(upstream.refreshes() == 1, "one refresh was enough")?;

    title("3. A blocking call fails over");
    let request = chat("gpt-5", "Which of you is awake?");
    let response = manager.execute(["openai"], &request, &Options::new())?;
    println!(
        "   {:?} from {} after {} attempts",
        response.reply_text.unwrap_or_default(),
        response.auth_id,
        response.attempts,
    );
    check(
        response.attempts == 2,
        "the limited key was tried first and passed over",
    )?;

    title("4. A stream, as it arrives");
    stream(
        &manager,
        &chat("gpt-5", "Streams are iterators: no runtime, no callback."),
    )?;

    title("5. A token count");
    count(&manager, &request)?;

    title("6. What the pool knows");
    table(&manager);
    let limited = manager.get_by_id("a-limited").ok_or("it is registered")?;
    check(
        limited.model_states["gpt-5"].unavailable,
        "the limited key cools down",
    )?;

    title("7. A restart");
    manager.shutdown(Duration::from_secs(5))?;
    drop(manager);
    let (manager, _) = open(directory.path())?;
    let report = manager.load()?;
    println!(
        "   {} credentials loaded, {} skipped",
        report.loaded,
        report.skipped.len()
    );
    table(&manager);
    check(report.loaded == 3, "all credentials came back")?;
    let calls_before = upstream.calls("key-limited");
    for _ in 0..4 {
        manager.execute(["openai"], &request, &Options::new())?;
    }
    check(
        upstream.calls("key-limited") == calls_before,
        "the cooldown came back, too: nobody bothers the limited key",
    )?;
    check(upstream.calls("access-1") > 0, "the refreshed login serves")?;
    check(upstream.replays() == 0, "no refresh token was used twice")?;
    println!("\nAll stages did what they should. The README says how to go on.");
    Ok(())
}

fn against_the_real_service(key: &str) -> Outcomes<()> {
    let model = env::var("OPENAI_MODEL").unwrap_or_else(|_| "gpt-5-mini".to_owned());
    let mut auth = Auth::api_key("openai", key).with_id("mine").runtime_only();
    if let Ok(base_url) = env::var("OPENAI_BASE_URL") {
        auth.attributes.insert("base_url", base_url);
    }
    let manager = Manager::builder().build()?;
    manager.register_executor(OpenAi::new());
    manager.register(auth)?;
    let request = chat(&model, "Say hello in five words.");
    title("A blocking call");
    let response = manager.execute(["openai"], &request, &Options::new())?;
    println!("   {}", response.reply_text.unwrap_or_default());
    title("A stream");
    stream(&manager, &request)?;
    title("What the pool knows");
    table(&manager);
    Ok(())
}

/// A manager over the directory, and a channel that names each credential that changes.
fn open(directory: &Path) -> Outcomes<(Manager, Receiver<String>)> {
    let (sender, updates) = unbounded();
    let manager = Manager::builder()
        .store(FileStore::open(directory)?)
        .hook(Narrator(sender))
        .build()?;
    manager.register_executor(OpenAi::new());
    Ok((manager, updates))
}

/// Tells what happens as it happens.
struct Narrator(Sender<String>);

impl Hook for Narrator {
    fn on_auth_updated(&self, auth: &Auth) {
        let _ = self.0.send(auth.id.clone());
    }

    fn on_result(&self, outcome: &Outcome<'_>) {
        if let OutcomeKind::Failure(Some(error)) = &outcome.kind {
            println!(
                "   {} refused: {}",
                outcome.auth_id,
                excerpt(error.message(), 60)
            );
        }
    }
}

fn chat(model: &str, text: &str) -> Request {
    let payload = serde_json::json!({
        "model": model,
        "messages": [{"role": "user", "content": text}],
    });
    Request::new(model, payload.to_string())
}

fn stream(manager: &Manager, request: &Request) -> Outcomes<()> {
    let mut text = String::new();
    print!("   ");
    for chunk in manager.execute_stream(["openai"], request, &Options::new())? {
        if let Some(piece) = chunk?.text {
            print!("{piece}");
            std::io::stdout().flush()?;
            text.push_str(&piece);
        }
    }
    println!();
    check(
        !text.is_empty(),
        "the stream said something and came to its own end",
    )
}

fn count(manager: &Manager, request: &Request) -> Outcomes<()> {
    let response = manager.execute_count(["openai"], request, &Options::new())?;
    let tokens = response.usage.map(|usage| usage.input);
    println!(
        "   {} tokens, says {}",
        tokens.unwrap_or(0),
        response.auth_id
    );
    check(
        tokens.is_some_and(|tokens| tokens > 0),
        "the upstream counted",
    )
}

fn table(manager: &Manager) {
    println!("   id         status  out until              why");
    for auth in manager.list() {
        let states: Vec<_> = auth
            .model_states
            .iter()
            .filter(|(_, state)| state.unavailable)
            .collect();
        let until = states.iter().find_map(|(_, state)| state.next_retry_after);
        let why = states
            .iter()
            .find_map(|(model, state)| Some(format!("{model}: {}", state.last_error.as_ref()?)));
        println!(
            "   {:<10} {:<7} {:<22} {}",
            auth.id,
            auth.status,
            until.map_or_else(|| "-".to_owned(), clock_time),
            excerpt(&why.unwrap_or_default(), 50),
        );
    }
}

fn clock_time(at: Timestamp) -> String {
    format!("{:02}:{:02}:{:02} UTC", at.hour(), at.minute(), at.second())
}

fn excerpt(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most).chain(['…']).collect()
}

fn title(text: &str) {
    println!("\n{text}");
}

/// A stage that misbehaves ends the program with an error.
fn check(holds: bool, what: &str) -> Outcomes<()> {
    if holds {
        println!("   ✓ {what}");
        return Ok(());
    }
    Err(format!("this should hold: {what}").into())
}
