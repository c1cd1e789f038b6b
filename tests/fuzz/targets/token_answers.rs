//! Answers of token endpoints: no token that was told is lost, the old refresh token stays until another one came, and no error
//! shows a secret.
#![no_main]

use std::sync::LazyLock;

use credpool::provider::refresh_tokens;
use credpool::{Auth, Error, Metadata};
use credpool_fuzz::{SECRET, Upstream, cut, holds_no_secret, settings};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static UPSTREAM: LazyLock<Upstream> = LazyLock::new(Upstream::new);

fuzz_target!(|input: &[u8]| {
    let Some(([form, seed, status], body)) = settings(input) else {
        return;
    };
    let status = if status < 128 {
        200
    } else {
        300 + u16::from(status)
    };
    let auth = login(form);
    let ask = |seed: u8| {
        UPSTREAM.answer(&format!("HTTP/1.1 {status} Said"), cut(body, seed));
        refresh_tokens(UPSTREAM.attempt(), &auth)
    };
    let whole = ask(0);
    assert_eq!(texts(&whole), texts(&ask(seed)));
    let told = serde_json::from_slice::<Value>(body)
        .ok()
        .filter(|_| status == 200);
    let text = |name: &str| {
        let text = told.as_ref()?.get(name)?.as_str()?;
        (!text.is_empty()).then_some(text)
    };
    let with_refresh_token = form % 4 != 3;
    match &whole {
        Ok(refreshed) => {
            if let Some(access) = text("access_token") {
                let kept = texts(&whole);
                let holds = |token: &str| kept.iter().any(|text| text == token);
                assert!(holds(access), "the access token is lost");
                let next = told.as_ref().and_then(next_refresh_token);
                let next = next.as_deref().unwrap_or(SECRET);
                assert!(
                    !with_refresh_token || holds(next),
                    "the refresh token is lost"
                );
            }
            refreshed.expiration_time().at();
        }
        Err(error) => {
            assert_eq!(text("access_token"), None, "{error}");
            holds_no_secret(error);
        }
    }
});

/// The refresh token that an answer with an access token at its top brings, in any of the forms that are read.
fn next_refresh_token(answer: &Value) -> Option<String> {
    let found = answer
        .get("refresh_token")
        .or_else(|| answer.get("refreshToken"))?;
    match found {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// A login whose tokens are in one of four forms.
fn login(form: u8) -> Auth {
    let tokens =
        json!({"access_token": "old", "refresh_token": SECRET, "expires_at": 1_795_000_000});
    let metadata = match form % 4 {
        0 => tokens,
        1 => json!({"type": "claude", "token": tokens}),
        2 => {
            json!({"access_token": "old", "refresh_token": SECRET, "expired": "2026-11-26T00:00:00+08:00",
            "expiry_date": 1_795_000_000_000_i64, "last_refresh": "2026-11-20"})
        }
        _ => json!({"grant_type": "client_credentials", "client_secret": SECRET}),
    };
    let Value::Object(members) = metadata else {
        unreachable!("a form is an object");
    };
    let mut auth = Auth::new("p").with_id("a");
    auth.metadata = Some(members.into_iter().collect::<Metadata>());
    auth.with_attribute("token_url", "https://login.test/token")
        .with_attribute("client_id", "me")
}

/// The texts in a record, or the error.
fn texts(answer: &Result<Auth, Error>) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(members) => members.values().for_each(|item| collect(item, found)),
            other => found.push(other.to_string()),
        }
    }
    let mut found = Vec::new();
    match answer {
        Ok(auth) => {
            for (_, value) in auth.metadata.iter().flat_map(Metadata::iter) {
                collect(value, &mut found);
            }
        }
        Err(error) => found.push(error.to_string()),
    }
    found
}
