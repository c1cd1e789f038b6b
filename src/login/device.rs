//! The device flow: [RFC 8628](https://www.rfc-editor.org/rfc/rfc8628).

use std::time::Duration;

use serde_json::Value;

use super::discovery::Endpoints;
use super::{Login, LoginPrompt, over, wait};
use crate::auth::{Auth, Secret, Wiped, read_lifetime};
use crate::clock::deadline;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::provider::{Grant, TokenRequest};

pub(super) fn run(
    login: &Login,
    attempt: &Attempt,
    client: &Auth,
    endpoints: &Endpoints,
    prompt: impl FnOnce(&LoginPrompt) -> Result<(), Error>,
) -> Result<Wiped<Value>, Error> {
    let Some(url) = &endpoints.device_url else {
        return Err(client.unfit("the issuer has no device authorization endpoint"));
    };
    let mut request = TokenRequest::new(Grant::DeviceAuthorization, url);
    request.add_client(client)?;
    login.add_wishes(&mut request);
    let json = request.send(attempt, client)?;
    let authorization = Authorization::read(&json).map_err(|what| {
        let what = format!("the device authorization endpoint's answer cannot be used: {what}");
        Error::new(ErrorCode::RefreshFailed, what)
    })?;
    drop(json);
    let end = deadline(attempt.clock().monotonic(), authorization.prompt.expires_in);
    prompt(&authorization.prompt)?;
    let mut interval = authorization.interval;
    loop {
        let left = end.saturating_duration_since(attempt.clock().monotonic());
        wait(attempt, interval.min(left))?;
        if left <= interval {
            return Err(expired());
        }
        let mut request = TokenRequest::new(Grant::DeviceCode, &*endpoints.token_url);
        request.secret_field("device_code", authorization.device_code.expose());
        request.add_client(client)?;
        let refusal = match request.ask(attempt, client) {
            Ok(json) => return Ok(json),
            Err(refusal) => refusal,
        };
        match refusal.name.as_deref() {
            Some("authorization_pending") => {}
            Some("slow_down") => interval += SLOWER,
            Some("expired_token") => return Err(expired()),
            // Section 3.5: requests without an answer become rarer.
            _ if refusal.error.is_retryable() && over(attempt).is_none() => {
                let asked = refusal.error.retry_after().unwrap_or_default();
                interval = interval
                    .saturating_mul(2)
                    .min(SLOWEST.max(interval))
                    .max(asked);
                log::debug!("a login goes on after: {}", refusal.error);
            }
            _ => return Err(refusal.error),
        }
    }
}

fn expired() -> Error {
    let what = "the code of the login has expired before it was entered: begin the login again";
    Error::new(ErrorCode::NeedsLogin, what)
}

/// The answer of section 3.2.
struct Authorization {
    device_code: Secret,
    interval: Duration,
    prompt: LoginPrompt,
}

impl Authorization {
    fn read(json: &Value) -> Result<Self, &'static str> {
        let text = |name: &str| {
            let text = json.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty())
        };
        // Google says it in its own way: https://developers.google.com/identity/protocols/oauth2/limited-input-device#step-2
        let url = text("verification_uri").or_else(|| text("verification_url"));
        let url = url.ok_or("it holds no verification_uri")?;
        let user_code = text("user_code").ok_or("it holds no user_code")?;
        let complete_url = text("verification_uri_complete");
        let seconds = |name: &str| json.get(name).and_then(read_lifetime);
        // A person's terminal shows them.
        let shown = [Some(url), complete_url, Some(user_code)];
        if shown
            .into_iter()
            .flatten()
            .any(|text| text.chars().any(char::is_control))
        {
            return Err("it holds control characters");
        }
        if [Some(url), complete_url]
            .into_iter()
            .flatten()
            .any(|url| !is_web(url))
        {
            return Err("its verification_uri is no web address");
        }
        Ok(Self {
            device_code: Secret::new(text("device_code").unwrap_or_default()),
            interval: seconds("interval")
                .unwrap_or(USUAL)
                .max(Duration::from_secs(1)),
            prompt: LoginPrompt {
                url: url.to_owned(),
                complete_url: complete_url.map(str::to_owned),
                user_code: Some(user_code.to_owned()),
                expires_in: seconds("expires_in").unwrap_or(LIFETIME),
            },
        })
    }
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// Between two requests, where the server does not say.
const USUAL: Duration = Duration::from_secs(5);

/// How much longer the interval gets by `slow_down`.
const SLOWER: Duration = Duration::from_secs(5);

/// The longest interval that failures lead to.
const SLOWEST: Duration = Duration::from_secs(60);

/// Of a code whose server says nothing, against the standard.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_person_is_shown_is_checked() {
        let answer = json!({
            "device_code": "d", "user_code": "WDJB-MJHT", "verification_uri": "https://h/device", "expires_in": 1800,
        });
        let read = Authorization::read(&answer).ok().unwrap();
        assert_eq!(read.interval, USUAL);
        let prompt = read.prompt;
        assert_eq!(
            prompt.to_string(),
            "To log in, open https://h/device and enter the code WDJB-MJHT"
        );
        assert_eq!(prompt.expires_in, Duration::from_secs(1800));
        for (name, value) in [
            ("user_code", json!("A\u{1b}[2J")),
            ("user_code", json!(null)),
            ("verification_uri", json!("javascript:alert(1)")),
            ("verification_uri_complete", json!("file:///etc/passwd")),
        ] {
            let mut other = answer.clone();
            other[name] = value;
            assert!(Authorization::read(&other).is_err(), "{name}");
        }
    }
}
