//! Logins at a certified OpenID provider, whose pages are clicked through in a browser.
//!
//! It needs Node.js and the package `oidc-provider` (version 9) in the folder that `CREDPOOL_OIDC_PROVIDER` names, `target/openid` by default, and
//! Chromium. Where one of them is missing this is left out, unless `CREDPOOL_REQUIRE_SERVERS` is set.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use credpool::{Auth, ErrorCode, Login, LoginPrompt};

use crate::chromium::Browser;
use crate::support::eventually;
use crate::{Begun, World, text};

/// The provider, as a process that ends with its standard input.
struct Provider {
    process: Child,
    issuer: String,
    /// It ends where nothing takes what it prints.
    _output: BufReader<ChildStdout>,
}

impl Provider {
    fn start() -> Option<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = std::env::var_os("CREDPOOL_OIDC_PROVIDER");
        let folder = folder.map_or_else(|| here.join("target/openid"), PathBuf::from);
        if !folder.join("node_modules/oidc-provider").is_dir() {
            return left_out("oidc-provider");
        }
        let process = Command::new("node")
            .arg(here.join("tests/logins/provider.mjs"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut process) = process else {
            return left_out("node");
        };
        let mut issuer = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut issuer).unwrap();
        let issuer = issuer.trim().to_owned();
        assert!(issuer.starts_with("http://127.0.0.1:"), "{issuer}");
        Some(Self {
            process,
            issuer,
            _output: output,
        })
    }

    fn wishes(&self, login: Login) -> Login {
        // A refresh token is for those who consent to it.
        login
            .with_issuer(self.issuer.clone())
            .with_scope("openid offline_access")
            .with_parameter("prompt", "consent")
    }

    fn revoke(&self, auth: &Auth) {
        let token = text(auth, "refresh_token").unwrap();
        let form = [("client_id", "my-app"), ("token", token)];
        let url = format!("{}/token/revocation", self.issuer);
        assert_eq!(ureq::post(url).send_form(form).unwrap().status(), 200);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn left_out<T>(what: &str) -> Option<T> {
    let required = std::env::var_os("CREDPOOL_REQUIRE_SERVERS").is_some();
    assert!(!required, "{what} is not installed");
    eprintln!("{what} is not installed: what needs it is left out");
    None
}

/// What the person shows and clicks, as the provider asks.
fn click_through(page: &mut Browser, start: Option<&str>) {
    if let Some(button) = start {
        page.until(&format!("!!document.querySelector('{button}')"));
        page.click(button);
    }
    page.until("!!document.querySelector('input[name=password]')");
    page.click("input[name=login]");
    page.type_text("ada");
    page.click("input[name=password]");
    page.type_text("lovelace");
    page.click("button[type=submit]");
    consent(page);
}

fn consent(page: &mut Browser) {
    page.until("document.querySelector('input[name=prompt]')?.value === 'consent'");
    page.click("button[type=submit]");
}

fn opened(prompt: &LoginPrompt) -> Option<Browser> {
    let url = prompt.complete_url.as_ref().unwrap_or(&prompt.url);
    Browser::open(url).or_else(|| left_out("Chromium"))
}

/// Moves the clock until the login has asked the provider once more and has ended.
fn end_by_clock(world: &World, begun: Begun) -> std::sync::Arc<Auth> {
    eventually("the end of the login", || {
        world.clock.advance(Duration::from_millis(50));
        begun.thread.is_finished()
    });
    begun.end().unwrap()
}

#[test]
fn a_login_on_any_device_is_refreshed_until_it_is_revoked_and_begins_anew_in_a_browser() {
    let (world, Some(provider)) = (World::new(), Provider::start()) else {
        return;
    };
    let begun = world.begin("new", &provider.wishes(Login::by_device("my-app")));
    let Some(mut page) = opened(&begun.prompt()) else {
        return;
    };
    click_through(&mut page, Some("button[type=submit][autofocus]"));
    page.until("document.body.innerText.includes('Sign-in Success')");
    let first = end_by_clock(&world, begun);
    assert_eq!(text(&first, "scope"), Some("openid offline_access"));
    drop(page);

    // Each refresh brings another refresh token.
    let mut known = vec![text(&first, "refresh_token").unwrap().to_owned()];
    for _ in 0..3 {
        let auth = world.manager.refresh_now("new").unwrap();
        let token = text(&auth, "refresh_token").unwrap().to_owned();
        assert!(!known.contains(&token));
        assert_eq!(text(&world.stored("new"), "refresh_token"), Some(&*token));
        known.push(token);
    }
    provider.revoke(&world.manager.get_by_id("new").unwrap());
    // The store may have a newer token in a moment: the refresh waits for that.
    let refresh = thread::spawn({
        let manager = world.manager.clone();
        move || manager.refresh_now("new")
    });
    eventually("the end of the refresh", || {
        world.clock.advance(Duration::from_millis(50));
        refresh.is_finished()
    });
    let error = refresh.join().unwrap().unwrap_err();
    assert!(
        error.code() == ErrorCode::NeedsLogin && error.message().contains("log in again"),
        "{error}"
    );
    assert_eq!(world.manager.refresh_health().needs_login, ["new"]);

    let begun = world.begin("new", &provider.wishes(Login::by_browser("my-app")));
    let mut page = opened(&begun.prompt()).unwrap();
    click_through(&mut page, None);
    page.until("document.body.innerText.includes('You are logged in')");
    page.picture("login.png");
    let again = begun.end().unwrap();
    assert_eq!((again.id.as_str(), again.label.as_str()), ("new", "Ada"));
    assert!(world.manager.refresh_health().needs_login.is_empty());
    assert!(
        !known
            .iter()
            .any(|token| text(&again, "refresh_token") == Some(token))
    );
    world.manager.refresh_now("new").unwrap();
}

#[test]
fn a_person_who_declines_leaves_the_record_as_it_was() {
    let (world, Some(provider)) = (World::new(), Provider::start()) else {
        return;
    };
    let before = world.all();
    let begun = world.begin("old", &provider.wishes(Login::by_browser("my-app")));
    let Some(mut page) = opened(&begun.prompt()) else {
        return;
    };
    page.until("!!document.querySelector('a[href*=abort]')");
    page.click("a[href*=abort]");
    page.until("document.body.innerText.includes('The login failed')");
    let error = begun.end().unwrap_err();
    assert!(
        error.code() == ErrorCode::NeedsLogin && error.message().contains("access_denied"),
        "{error}"
    );
    assert_eq!(world.all(), before);
}
