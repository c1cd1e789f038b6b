//! The secrets, and all that was shown in this process.

use std::error::Error as _;
use std::fmt::{Debug, Display};
use std::sync::{LazyLock, Once};

use credpool::testing::service_account_file;
use credpool::{Auth, Error, Format, ResponseHead};
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::Value;

/// Fit for a header, and in need of escapes in JSON, in debug forms and in URLs.
pub(crate) const API_KEY: &str = r#"sk-leftApiKey"\/+%rightApiKey"#;
pub(crate) const ACCESS_TOKEN: &str = r#"leftAccess"\/+%rightAccess"#;
pub(crate) const REFRESH_TOKEN: &str = r#"leftRefresh"\/+%é rightRefresh"#;
pub(crate) const ROTATED_ACCESS: &str = r#"leftNewAccess"\/+%rightNewAccess"#;
pub(crate) const ROTATED_REFRESH: &str = r#"leftNewRefresh"\/+%é rightNewRefresh"#;
pub(crate) const CLIENT_SECRET: &str = r#"leftClient"\/+%é rightClient"#;
pub(crate) const HEADER: &str = r#"leftHeader"\/+%rightHeader"#;
pub(crate) const CALL_HEADER: &str = r#"leftCallHeader"\/+%rightCallHeader"#;
pub(crate) const PROXY_PASSWORD: &str = "leftProxyWord-rightProxyWord";
/// What the client of a gateway shows to the gateway.
pub(crate) const CLIENT_KEY: &str = r#"leftOfClient"\/+%rightOfClient"#;

/// What would show of them.
pub(crate) const MARKS: [&str; 20] = [
    "leftApiKey",
    "rightApiKey",
    "leftAccess",
    "rightAccess",
    "leftRefresh",
    "rightRefresh",
    "leftNewAccess",
    "rightNewAccess",
    "leftNewRefresh",
    "rightNewRefresh",
    "leftClient",
    "rightClient",
    "leftHeader",
    "rightHeader",
    "leftCallHeader",
    "rightCallHeader",
    "leftProxyWord",
    "rightProxyWord",
    "leftOfClient",
    "rightOfClient",
];

/// The lines of the service account's private key.
pub(crate) static PRIVATE_KEY: LazyLock<Vec<String>> = LazyLock::new(|| {
    let file: Value = serde_json::from_str(&service_account_file("x")).unwrap();
    let pem = file["private_key"].as_str().unwrap();
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    assert!(lines.len() > 20, "a key has many lines");
    lines
});

/// Everything that was shown, logged or printed by a panic, in this process.
pub(crate) static SHOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(crate) fn note(text: impl Into<String>) {
    let text = text.into();
    // First on record: a hook's panic is contained.
    SHOWN.lock().push(text.clone());
    assert_clean(&text);
}

pub(crate) fn assert_clean(text: &str) {
    for mark in MARKS {
        assert!(!text.contains(mark), "{mark} shows in {text}");
    }
    for line in &*PRIVATE_KEY {
        assert!(!text.contains(line), "a private key shows in {text}");
    }
}

pub(crate) fn show(what: &dyn Debug) {
    note(format!("{what:?}"));
    note(format!("{what:#?}"));
}

pub(crate) fn say(what: &dyn Display) {
    note(what.to_string());
}

/// Everything that an error says, its sources included.
pub(crate) fn show_error(error: &Error) {
    say(error);
    show(error);
    note(error.message().to_owned());
    note(error.body().unwrap_or_default().to_owned());
    error.head().into_iter().for_each(show_head);
    for format in [Format::OPENAI, Format::ANTHROPIC, Format::GEMINI] {
        let answer = error.to_http_response(&format);
        show(&answer);
        show_headers(answer.headers());
        show_bytes(answer.body());
        show_bytes(&error.to_sse_event(&format));
    }
    let mut source = error.source();
    while let Some(below) = source {
        say(&below);
        show(&below);
        source = below.source();
    }
}

pub(crate) fn show_head(head: &ResponseHead) {
    show(head);
    show_headers(&head.headers);
}

pub(crate) fn show_headers(headers: &HeaderMap) {
    headers
        .values()
        .for_each(|value| show_bytes(value.as_bytes()));
}

pub(crate) fn show_bytes(bytes: &[u8]) {
    note(String::from_utf8_lossy(bytes));
}

pub(crate) fn show_auth(auth: &Auth) {
    show(auth);
    show(&auth.proxy_url);
    say(&auth.proxy_url);
    show(&auth.attributes);
    show(&auth.metadata);
    note(auth.status_message.clone());
    auth.last_error.iter().for_each(show_error);
    for state in auth.model_states.values() {
        show(state);
        note(state.status_message.clone());
        state.last_error.iter().for_each(show_error);
    }
}

/// Keeps what the library, and what is below it, logs at every level; what a leak of its own panics with, it keeps too.
struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // A panic in a logger would be contained somewhere: `check` looks at all of them. The HTTP client's protocol prints requests at
        // level `trace`, which the guide says.
        if !record.target().starts_with("ureq_proto") {
            let text = format!("log {}: {}", record.target(), record.args());
            SHOWN.lock().push(text);
        }
    }

    fn flush(&self) {}
}

/// Logging at full length, and panics that this program does not make itself on record.
pub(crate) fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let here = panic
                .location()
                .is_some_and(|at| at.file().starts_with("tests/canary"));
            if here {
                former(panic);
            } else {
                SHOWN.lock().push(panic.to_string());
            }
        }));
    });
}

/// Looks at all that has come together, log lines included.
pub(crate) fn check() {
    let shown = SHOWN.lock();
    shown.iter().for_each(|text| assert_clean(text));
    let logged = shown.iter().filter(|text| text.starts_with("log credpool"));
    assert!(logged.count() > 0, "the library's log lines are captured");
}
