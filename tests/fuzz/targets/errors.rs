//! Error answers: whatever a server says, the verdict stays within its bounds, and no error shows a secret.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use credpool::provider::{Anthropic, Gemini, OpenAi};
use credpool::{
    Auth, FailurePolicy, Manager, ManualClock, Options, Outcome, ProviderExecutor, Request,
};
use credpool_fuzz::{NOW, SECRET, Upstream, cut, holds_no_secret, settings};
use libfuzzer_sys::fuzz_target;

static UPSTREAM: LazyLock<Upstream> = LazyLock::new(Upstream::new);

/// Bears what the errors lead to.
static POOL: LazyLock<Manager> = LazyLock::new(|| {
    let pool = Manager::builder()
        .clock(ManualClock::at(NOW))
        .build()
        .expect("a manager");
    let auth = Auth::api_key("openai", "k").with_id("a").runtime_only();
    pool.register(auth).expect("a record");
    pool
});

fuzz_target!(|input: &[u8]| {
    let Some(([setting, seed, status, hint], body)) = settings(input) else {
        return;
    };
    // Statuses from 200 to 599, those of errors more often.
    let status = match status {
        0..150 => 400 + u16::from(status % 130),
        150..200 => 500 + u16::from(status % 50),
        _ => 200 + u16::from(status - 200),
    };
    let hint = match hint {
        0..100 => String::new(),
        100..200 => format!("\r\nretry-after: {}", u32::from(hint).pow(3)),
        _ => format!("\r\nretry-after-ms: {hint}\r\nx-should-retry: true"),
    };
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-type: application/json{hint}");
    UPSTREAM.answer(&head, cut(body, seed));
    let executor: &dyn ProviderExecutor = match setting % 3 {
        0 => &OpenAi::new(),
        1 => &Anthropic::new(),
        _ => &Gemini::new(),
    };
    let auth = Auth::api_key(executor.identifier(), SECRET)
        .with_id("a")
        .with_attribute("base_url", "https://upstream.test/v1");
    let request = Request::new("m", "{}");
    let answer = executor.execute(UPSTREAM.attempt(), &auth, &request, &Options::new());
    let Err(error) = answer else {
        assert!((200..300).contains(&status));
        return;
    };
    holds_no_secret(&error);
    if let Some(shown) = error.body() {
        assert!(!shown.contains(SECRET) && shown.len() <= 64 * 1024);
    }
    assert!(error.retry_after().is_none_or(|wait| wait <= FARTHEST));
    let verdict = FailurePolicy::default().classify(&error);
    // Reading the same error twice says the same.
    assert_eq!(verdict, FailurePolicy::default().classify(&error.clone()));
    POOL.mark_result(&Outcome::failure("a", "openai", "m", error));
    for model in ["m", "another"] {
        for standing in POOL.explain("openai", model) {
            assert!(
                standing.remaining.is_none_or(|left| left <= LONGEST),
                "{standing:?}"
            );
        }
    }
    POOL.reset("a").expect("a record");
});

/// No server is believed about more.
const FARTHEST: Duration = Duration::from_secs(35 * 86_400);
/// The longest cooldown, with its jitter.
const LONGEST: Duration = Duration::from_secs(8 * 86_400);
