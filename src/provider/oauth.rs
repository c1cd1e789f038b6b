use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::Timestamp;
use crate::auth::{Auth, Metadata, scrub};
use crate::clock;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::request::Timeouts;

use super::exchange::excerpt;
use super::key;
use super::limits::retry_after;
use super::problem::Problem;
use super::url::{encode_into, endpoint};

/// Gets new tokens with the credential's refresh token, as [RFC 6749 section 6](https://www.rfc-editor.org/rfc/rfc6749#section-6)
/// describes it, and returns the record with them: a ready-made [`ProviderExecutor::refresh`](crate::ProviderExecutor::refresh).
///
/// The request is a form, sent once over a connection of its own within 30 seconds. Its settings are attributes, else
/// members of the metadata, else of a nested `token` object:
///
/// | name | meaning | default |
/// |---|---|---|
/// | `token_url` (or `token_uri`) | where to ask; `https`, or this machine | needed |
/// | `client_id`, `client_secret`, `scope` | sent where they are set | |
/// | `client_auth` | `body`, or `basic` for an `Authorization` header (section 2.3.1) | `body` |
///
/// The refresh token is in the metadata, at its top or inside a nested `token` or `Token` object. What comes back
/// (`access_token`, `refresh_token`, `token_type`, `scope`, `id_token`) replaces what is there under the same name, and goes
/// beside the refresh token otherwise. Without a new refresh token the old one stays. The end of the token is put in place of
/// what says it so far, else into `expires_at`; an answer that names no lifetime above zero leaves none.
///
/// ```
/// use credpool::{Attempt, Auth, Error, OAuthTokens};
///
/// fn refresh(attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
///     credpool::provider::refresh_grant(attempt, auth)
/// }
///
/// let auth = Auth::oauth("openai", OAuthTokens::new("access").with_refresh_token("refresh"))
///     .with_attribute("token_url", "https://login.example.org/token")
///     .with_attribute("client_id", "my-app");
/// ```
///
/// # Errors
/// Code `needs_login` when there is no refresh token or the server no longer takes it (`invalid_grant` and its relatives);
/// `config` when a setting is missing or wrong, or the server does not know the client (`invalid_client`); `transport` when
/// there was no answer; `refresh_failed` with the HTTP status for every other answer. Retryable are `transport` and answers
/// 408, 429 and 5xx. Messages quote the answer's `error` and `error_description` alone.
pub fn refresh_grant(attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
    let grant = Grant::of(auth)?;
    let (head, body) = grant.request(auth)?;
    let request = http::Request::from_parts(head, Bytes::copy_from_slice(body.as_bytes()));
    let limits = attempt.call_limits(&Timeouts::new().with_total(LONGEST));
    let answer = attempt.send_unpooled(auth, request, &limits)?;
    let (head, body) = answer.into_parts();
    let body = Zeroizing::new(body.into_bytes(LARGEST_ANSWER)?.to_vec());
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let problem = Problem::find(&json);
    let wait = retry_after(&head.headers, attempt.clock().now());
    let failed = |error: Error| match wait {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    };
    if !head.status.is_success() || problem.is_some() {
        return Err(failed(refused(
            auth,
            head.status,
            problem.unwrap_or_default(),
        )));
    }
    let Some(access_token) = text(&json, "access_token") else {
        let what = "the token endpoint's answer holds no access_token";
        let error = Error::new(ErrorCode::RefreshFailed, what).with_auth_id(&auth.id);
        // The old refresh token may or may not be spent: only another attempt tells.
        return Err(failed(error.with_retryable(true)));
    };
    let mut refreshed = auth.clone();
    refreshed.metadata = Some(grant.merged(auth, access_token, &json, attempt.clock().now()));
    Ok(refreshed)
}

/// What is needed for the request.
struct Grant<'a> {
    token_url: &'a str,
    refresh_token: &'a str,
    /// The object of the metadata that holds the refresh token; `None` for its top.
    place: Option<&'static str>,
}

impl<'a> Grant<'a> {
    fn of(auth: &'a Auth) -> Result<Self, Error> {
        let metadata = auth.metadata.as_ref();
        let top = metadata.and_then(|metadata| metadata.text("refresh_token"));
        let nested = NESTED.iter().map(|name| {
            let token = metadata?.get(name)?.get("refresh_token")?.as_str();
            Some((token?, Some(*name)))
        });
        let (refresh_token, place) = std::iter::once(top.map(|token| (token, None)))
            .chain(nested)
            .flatten()
            .find(|(token, _)| !token.is_empty())
            .ok_or_else(|| {
                let what = format!(
                    "credential {:?} has no refresh token: log in again",
                    auth.id
                );
                Error::new(ErrorCode::NeedsLogin, what).with_auth_id(&auth.id)
            })?;
        let token_url = setting(auth, "token_url")
            .or_else(|| setting(auth, "token_uri"))
            .ok_or_else(|| key::config(auth, "a refresh needs attribute token_url"))?;
        Ok(Self {
            token_url,
            refresh_token,
            place,
        })
    }

    fn request(&self, auth: &Auth) -> Result<(Parts, Zeroizing<String>), Error> {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = http::Method::POST;
        head.uri = endpoint(auth, self.token_url, "", &[])?;
        head.headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            ),
        ]);
        let mut form = Zeroizing::new(String::from("grant_type=refresh_token"));
        let mut field = |name: &str, value: &str| {
            form.push('&');
            form.push_str(name);
            form.push('=');
            encode_into(&mut form, value);
        };
        field("refresh_token", self.refresh_token);
        let client = (setting(auth, "client_id"), setting(auth, "client_secret"));
        match setting(auth, "client_auth").unwrap_or("body") {
            "body" => {
                if let Some(id) = client.0 {
                    field("client_id", id);
                }
                if let Some(secret) = client.1 {
                    field("client_secret", secret);
                }
            }
            "basic" => {
                let (Some(id), Some(secret)) = client else {
                    let what = "client_auth = basic needs client_id and client_secret";
                    return Err(key::config(auth, what));
                };
                let value = key::sensitive(&basic(id, secret));
                head.headers
                    .extend(value.map(|value| (AUTHORIZATION, value)));
            }
            _ => return Err(key::config(auth, "client_auth is neither body nor basic")),
        }
        if let Some(scope) = setting(auth, "scope") {
            field("scope", scope);
        }
        Ok((head, form))
    }

    /// The metadata with what the answer brought.
    fn merged(&self, auth: &Auth, access_token: &str, answer: &Value, now: Timestamp) -> Metadata {
        let metadata = auth.metadata.as_ref();
        let mut metadata = metadata.map_or_else(Map::new, |metadata| metadata.as_map().clone());
        self.put(&mut metadata, "access_token", access_token.into());
        for name in ["refresh_token", "token_type", "scope", "id_token"] {
            if let Some(value) = text(answer, name) {
                self.put(&mut metadata, name, value.into());
            }
        }
        let lifetime = answer.get("expires_in").and_then(lifetime);
        self.put_expiry(
            &mut metadata,
            lifetime.map(|lifetime| clock::later(now, lifetime)),
        );
        metadata.into()
    }

    /// Replaces `name` wherever it stands, or puts it beside the refresh token.
    fn put(&self, metadata: &mut Map<String, Value>, name: &str, value: Value) {
        let mut replaced = false;
        for_each_object(metadata, |object| {
            if let Some(old) = object.get_mut(name) {
                *old = value.clone();
                replaced = true;
            }
        });
        if !replaced {
            self.insert(metadata, name, value);
        }
    }

    /// Replaces every member that says when the token ends, each in its own form: one that stayed would be believed.
    fn put_expiry(&self, metadata: &mut Map<String, Value>, at: Option<Timestamp>) {
        let mut replaced = false;
        for_each_object(metadata, |object| {
            for name in EXPIRY_NAMES {
                let Some(old) = object.get_mut(name) else {
                    continue;
                };
                replaced = true;
                if let Some(at) = at {
                    *old = expiry_like(old, at);
                } else {
                    object.remove(name);
                }
            }
        });
        if let Some(at) = at.filter(|_| !replaced) {
            self.insert(metadata, "expires_at", expiry_like(&Value::Null, at));
        }
    }

    /// Puts a member beside the refresh token.
    fn insert(&self, metadata: &mut Map<String, Value>, name: &str, value: Value) {
        let nested = self.place.and_then(|place| metadata.get_mut(place));
        match nested.and_then(Value::as_object_mut) {
            Some(object) => object.insert(name.to_owned(), value),
            None => metadata.insert(name.to_owned(), value),
        };
    }
}

/// Calls `change` with the top of the metadata and with each token object in it.
fn for_each_object(
    metadata: &mut Map<String, Value>,
    mut change: impl FnMut(&mut Map<String, Value>),
) {
    change(metadata);
    for name in NESTED {
        if let Some(object) = metadata.get_mut(name).and_then(Value::as_object_mut) {
            change(object);
        }
    }
}

/// An attribute, else a member of the metadata or of its token object; blank ones do not count.
fn setting<'a>(auth: &'a Auth, name: &str) -> Option<&'a str> {
    let metadata = auth.metadata.as_ref();
    let top = metadata.and_then(|metadata| metadata.text(name));
    let nested = NESTED
        .iter()
        .filter_map(|object| metadata?.get(object)?.get(name)?.as_str());
    auth.attributes
        .get(name)
        .into_iter()
        .chain(top)
        .chain(nested)
        .map(str::trim)
        .find(|value| !value.is_empty())
}

fn text<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    json.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// `expires_in`: seconds as a number or as text; not above zero is no lifetime at all.
fn lifetime(value: &Value) -> Option<Duration> {
    let seconds = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    // What does not fit is longer than any calendar.
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// A time in the form of the one that it replaces: a number stays a number of seconds or milliseconds.
fn expiry_like(old: &Value, at: Timestamp) -> Value {
    match old.as_f64() {
        Some(number) if number > MILLISECONDS_ABOVE => {
            (at.unix_timestamp().saturating_mul(1000)).into()
        }
        Some(_) => at.unix_timestamp().into(),
        None => at.format(&Rfc3339).unwrap_or_default().into(),
    }
}

fn basic(id: &str, secret: &str) -> String {
    let mut pair = Zeroizing::new(String::new());
    encode_into(&mut pair, id);
    pair.push(':');
    encode_into(&mut pair, secret);
    format!("Basic {}", STANDARD.encode(pair.as_bytes()))
}

/// The error that an answer without tokens is.
fn refused(auth: &Auth, status: StatusCode, problem: Problem) -> Error {
    let number = status.as_u16();
    let transient = matches!(number, 408 | 429 | 500..=599);
    let name = problem.code.as_deref().or(problem.kind.as_deref());
    let (code, advice) = match name {
        _ if transient => (ErrorCode::RefreshFailed, ""),
        Some(name) if GRANT_IS_OVER.contains(&name) => (ErrorCode::NeedsLogin, ": log in again"),
        Some("invalid_client" | "unauthorized_client") => (
            ErrorCode::Config,
            ": check client_id, client_secret and client_auth",
        ),
        _ => (ErrorCode::RefreshFailed, ""),
    };
    let said = [problem.name(), problem.message];
    let said = said.into_iter().flatten().collect::<Vec<_>>().join(": ");
    let said = without_secrets(auth, &said);
    let mut message = format!("the token endpoint answered HTTP {number}");
    if !said.is_empty() {
        message = format!("{message}, {said}");
    }
    Error::new(code, message + advice)
        .with_http_status(number)
        .with_retryable(transient)
        .with_auth_id(&auth.id)
}

fn without_secrets(auth: &Auth, text: &str) -> String {
    let text = scrub(text, auth);
    let client = setting(auth, "client_id").zip(setting(auth, "client_secret"));
    let text = match client {
        Some((id, secret)) => text.replace(&basic(id, secret)["Basic ".len()..], "***"),
        None => text,
    };
    excerpt(&text)
}

/// Where tokens may be inside the metadata.
const NESTED: [&str; 2] = ["token", "Token"];

/// The names under which [`Auth::expiration_time`] looks.
const EXPIRY_NAMES: [&str; 6] = [
    "expired",
    "expire",
    "expires_at",
    "expiresAt",
    "expiry",
    "expires",
];

/// `invalid_grant` of [RFC 6749 section 5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2), and what servers say
/// instead of it.
const GRANT_IS_OVER: [&str; 10] = [
    "invalid_grant",
    "invalid_refresh_token",
    "bad_refresh_token",
    "refresh_token_reused",
    "refresh_token_invalidated",
    "refresh_token_expired",
    "refresh_token_revoked",
    "expired_token",
    "token_expired",
    "token_revoked",
];

const MILLISECONDS_ABOVE: f64 = 1e12;
const LARGEST_ANSWER: usize = 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::utc_datetime;

    const NOW: Timestamp = utc_datetime!(2025-01-01 00:00);

    fn auth(metadata: Value) -> Auth {
        let mut auth = Auth::new("openai")
            .with_id("team")
            .with_attribute("token_url", "https://login.example/token");
        let Value::Object(metadata) = metadata else {
            panic!("metadata is an object");
        };
        auth.metadata = Some(metadata.into());
        auth
    }

    fn merged(metadata: Value, answer: &Value) -> Auth {
        let mut auth = auth(metadata);
        auth.metadata = Some(Grant::of(&auth).unwrap().merged(&auth, "new", answer, NOW));
        auth
    }

    fn json_of(auth: &Auth) -> Value {
        Value::Object(auth.metadata.as_ref().unwrap().as_map().clone())
    }

    #[test]
    fn tokens_go_where_they_were() {
        let top = merged(
            json!({"access_token": "old", "refresh_token": "r1", "email": "e"}),
            &json!({"refresh_token": "r2", "expires_in": 60, "scope": "s", "token_type": "Bearer"}),
        );
        let expected = json!({
            "access_token": "new", "refresh_token": "r2", "email": "e", "scope": "s", "token_type": "Bearer",
            "expires_at": "2025-01-01T00:01:00Z",
        });
        assert_eq!(json_of(&top), expected);
        let nested = merged(
            json!({"email": "e", "token": {"access_token": "old", "refresh_token": "r1", "expiry": "2020-01-01T00:00:00Z"}}),
            &json!({"expires_in": 60, "token_type": "Bearer"}),
        );
        let expected = json!({"email": "e", "token": {
            "access_token": "new", "refresh_token": "r1", "expiry": "2025-01-01T00:01:00Z", "token_type": "Bearer",
        }});
        assert_eq!(json_of(&nested), expected);
    }

    #[test]
    fn the_new_expiry_is_the_one_that_is_read() {
        for name in EXPIRY_NAMES {
            for old in [
                json!("2020-01-01T00:00:00Z"),
                json!(1),
                json!(1.6e12),
                json!("2020-01-01 00:00:00"),
                json!("5"),
            ] {
                for metadata in [
                    json!({"refresh_token": "r", name: old}),
                    json!({"refresh_token": "r", "expires": 1, "Token": {name: old}}),
                ] {
                    let auth = merged(metadata.clone(), &json!({"expires_in": 60}));
                    let expected = utc_datetime!(2025-01-01 00:01);
                    assert_eq!(auth.expiration_time().at(), Some(expected), "{metadata}");
                    let auth = merged(metadata, &json!({}));
                    assert_eq!(auth.expiration_time().at(), None);
                }
            }
        }
    }

    #[test]
    fn odd_lifetimes() {
        let end = |expires_in: Value| {
            let answer = json!({"expires_in": expires_in});
            merged(json!({"refresh_token": "r"}), &answer)
                .expiration_time()
                .at()
        };
        let hour = Some(utc_datetime!(2025-01-01 01:00));
        assert_eq!(end(json!(3600)), hour);
        assert_eq!(end(json!("3600")), hour);
        assert_eq!(end(json!(3600.0)), hour);
        for none in [
            json!(0),
            json!(-5),
            json!(null),
            json!("soon"),
            json!("NaN"),
            json!([]),
        ] {
            assert_eq!(end(none), None);
        }
        for far in [json!(1e18), json!(1e300), json!(u64::MAX), json!("inf")] {
            assert!(end(far).unwrap() > utc_datetime!(9999-01-01 00:00));
        }
    }

    #[test]
    fn settings_are_looked_up_outwards_in() {
        let auth = auth(json!({
            "client_id": "top", "refresh_token": "",
            "token": {"refresh_token": "a b", "client_id": "nested", "client_secret": "s&s", "scope": "x"},
        }));
        let grant = Grant::of(&auth).unwrap();
        let (head, form) = grant.request(&auth).unwrap();
        assert_eq!(
            form.as_str(),
            "grant_type=refresh_token&refresh_token=a%20b&client_id=top&client_secret=s%26s&scope=x"
        );
        assert!(!head.headers.contains_key(AUTHORIZATION));
        let basic = auth.clone().with_attribute("client_auth", "basic");
        let (head, form) = Grant::of(&basic).unwrap().request(&basic).unwrap();
        assert_eq!(
            form.as_str(),
            "grant_type=refresh_token&refresh_token=a%20b&scope=x"
        );
        assert_eq!(
            head.headers[AUTHORIZATION],
            format!("Basic {}", STANDARD.encode("top:s%26s"))
        );
        assert!(head.headers[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn what_is_missing_is_said() {
        let code = |auth: &Auth| {
            let error = Grant::of(auth)
                .and_then(|grant| grant.request(auth).map(drop))
                .unwrap_err();
            assert_eq!(error.auth_id(), Some("team"));
            error.code().clone()
        };
        assert_eq!(
            code(&auth(json!({"access_token": "a"}))),
            ErrorCode::NeedsLogin
        );
        let auth = auth(json!({"refresh_token": "r"}));
        for (name, value) in [
            ("token_url", ""),
            ("token_url", "http://h.example"),
            ("client_auth", "basic"),
            ("client_auth", "jwt"),
        ] {
            assert_eq!(
                code(&auth.clone().with_attribute(name, value)),
                ErrorCode::Config
            );
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let auth = auth(
            json!({"refresh_token": "canary-r", "client_id": "me", "client_secret": "canary-s"}),
        );
        let basic = STANDARD.encode("me:canary-s");
        let refusal = |status: u16, code: &str| {
            let description = format!("canary-r canary-s {basic}");
            let body = json!({"error": code, "error_description": description});
            let error = refused(
                &auth,
                StatusCode::from_u16(status).unwrap(),
                Problem::find(&body).unwrap(),
            );
            assert!(
                !error.message().contains("canary") && !error.message().contains(&basic),
                "{error}"
            );
            assert_eq!(error.http_status(), Some(status));
            (error.code().clone(), error.is_retryable())
        };
        for name in GRANT_IS_OVER {
            assert_eq!(refusal(400, name), (ErrorCode::NeedsLogin, false));
        }
        assert_eq!(refusal(401, "invalid_client"), (ErrorCode::Config, false));
        assert_eq!(
            refusal(400, "invalid_scope"),
            (ErrorCode::RefreshFailed, false)
        );
        for status in [408, 429, 500, 503] {
            assert_eq!(
                refusal(status, "invalid_grant"),
                (ErrorCode::RefreshFailed, true)
            );
        }
    }

    proptest! {
        #[test]
        fn any_lifetime_is_survived(seconds in prop::num::f64::ANY) {
            let answer = json!({"expires_in": seconds});
            let auth = merged(json!({"refresh_token": "r"}), &answer);
            let end = auth.expiration_time().at();
            prop_assert!(end.is_none_or(|end| end >= NOW));
        }
    }
}
