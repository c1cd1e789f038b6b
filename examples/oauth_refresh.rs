//! A login whose tokens are kept fresh: `cargo run --example oauth_refresh`.
//!
//! Against a token server on loopback whose refresh tokens serve once, as those of most providers do. With your provider, only
//! the attributes change: `token_url`, `client_id` and, where it needs them, `client_secret`, `scope`, `client_auth`.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{KeyBehaviour, OpenAiUpstream};
use credpool::{
    Auth, Clock, ErrorCode, FileStore, Hook, Manager, OAuthTokens, Options, Request, SystemClock,
};
use crossbeam_channel::{Receiver, Sender, unbounded};

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let upstream = OpenAiUpstream::start();
    upstream.set_login("refresh-from-login", KeyBehaviour::Serve);
    let directory = tempfile::tempdir()?;
    let request = Request::new(
        "gpt-5",
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Still logged in?"}]}"#,
    );

    println!("1. A login comes in, its access token about to end");
    let (manager, changes) = open(directory.path())?;
    let tokens = OAuthTokens::new("access-from-login")
        .with_refresh_token("refresh-from-login")
        .with_expires_at(SystemClock.now() + time::Duration::SECOND);
    let login = Auth::oauth("openai", tokens)
        .with_id("me@example.org")
        .with_attribute("base_url", upstream.base_url())
        .with_attribute("token_url", upstream.token_url())
        .with_attribute("client_id", "my-app");
    manager.register(login)?;

    println!("2. It is refreshed in the background, before it ends");
    manager.start_auto_refresh(Duration::from_secs(60))?;
    let refreshed = changes.recv_timeout(PATIENCE)?;
    check(
        token(&refreshed, "access_token") == Some("access-1"),
        "the hook saw the new tokens",
    )?;
    check(
        stored(directory.path())?.contains("refresh-1"),
        "the rotated refresh token is on disk: the old one would not serve again",
    )?;
    let response = manager.execute(["openai"], &request, &Options::new())?;
    println!("   {:?}", response.reply_text.unwrap_or_default());

    println!("3. After a restart everything goes on");
    manager.shutdown(PATIENCE)?;
    drop(manager);
    let (manager, changes) = open(directory.path())?;
    manager.load()?;
    let response = manager.execute(["openai"], &request, &Options::new())?;
    check(
        response.attempts == 1 && upstream.refreshes() == 1,
        "the stored token serves; nothing was refreshed again",
    )?;
    let fresh = manager.refresh_now("me@example.org")?;
    check(
        token(&fresh, "refresh_token") == Some("refresh-2") && upstream.replays() == 0,
        "a refresh at the program's own wish rotates once more; no token was used twice",
    )?;
    changes.recv_timeout(PATIENCE)?;

    println!("4. The user revokes the grant");
    // Somebody else uses the refresh token, and the server takes it no longer.
    ureq::post(upstream.token_url()).send("grant_type=refresh_token&refresh_token=refresh-2")?;
    let Err(error) = manager.refresh_now("me@example.org") else {
        return Err("a revoked grant gave tokens".into());
    };
    println!("   {error}");
    check(
        *error.code() == ErrorCode::NeedsLogin && !error.is_retryable(),
        "only a person can help: the code says so",
    )?;
    let failed = changes.recv_timeout(PATIENCE)?;
    check(
        failed.status_message == "needs login",
        "the hook heard of it, too: time to show a login button",
    )?;

    println!("5. The user logs in again");
    upstream.set_login("refresh-from-second-login", KeyBehaviour::Serve);
    let mut login = (*failed).clone();
    let mut metadata = login.metadata.take().unwrap_or_default();
    metadata.insert("refresh_token", "refresh-from-second-login");
    login.metadata = Some(metadata);
    manager.update(login)?;
    manager.refresh_now("me@example.org")?;
    let response = manager.execute(["openai"], &request, &Options::new())?;
    check(response.reply_text.is_some(), "calls are served again")?;
    println!("All stages did what they should.");
    Ok(())
}

/// A manager over the directory, and each credential as it is after a change.
fn open(directory: &Path) -> Result<(Manager, Receiver<Box<Auth>>), credpool::Error> {
    let (sender, changes) = unbounded();
    let manager = Manager::builder()
        .store(FileStore::open(directory)?)
        .hook(Changes(sender))
        .build()?;
    manager.register_executor(OpenAi::new());
    Ok((manager, changes))
}

/// Tells the program of every refresh, failed ones included.
struct Changes(Sender<Box<Auth>>);

impl Hook for Changes {
    fn on_auth_updated(&self, auth: &Auth) {
        println!("   {} changed: {}", auth.id, auth.status);
        let _ = self.0.send(Box::new(auth.clone()));
    }
}

fn token<'a>(auth: &'a Auth, name: &str) -> Option<&'a str> {
    auth.metadata.as_ref()?.text(name)
}

/// All that is in the store's files.
fn stored(directory: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            text.push_str(&std::fs::read_to_string(path)?);
        }
    }
    Ok(text)
}

fn check(holds: bool, what: &str) -> Result<(), Box<dyn Error>> {
    if !holds {
        return Err(format!("this should hold: {what}").into());
    }
    println!("   ✓ {what}");
    Ok(())
}
