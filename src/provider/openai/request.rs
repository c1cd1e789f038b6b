//! What goes out: the head of a request, and the payload of a stream.

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::IgnoredAny;

use super::super::http::endpoint;
use super::super::key;
use crate::auth::Auth;
use crate::error::Error;
use crate::request::Options;

/// The head of a request to `path` of the credential's API.
pub(super) fn head(
    auth: &Auth,
    path: &str,
    accept: &'static str,
    options: &Options,
) -> Result<Parts, Error> {
    let mut own = HeaderMap::new();
    add_credential(&mut own, auth)?;
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = http::Method::POST;
    head.uri = endpoint(auth, base_url(auth), path, &options.query)?;
    head.headers
        .insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
    for name in options.headers.keys() {
        if CONNECTION_HEADERS.contains(name) || own.contains_key(name) {
            continue;
        }
        head.headers.remove(name);
        for value in options.headers.get_all(name) {
            head.headers.append(name, value.clone());
        }
    }
    head.headers
        .insert(ACCEPT, HeaderValue::from_static(accept));
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    head.headers.extend(own);
    Ok(head)
}

/// Puts the credential's headers in place of what is there.
pub(super) fn add_credential(headers: &mut HeaderMap, auth: &Auth) -> Result<(), Error> {
    let mut own = HeaderMap::new();
    for (name, value) in auth.attributes.iter() {
        let header = match name {
            "organization" => "openai-organization",
            "project" => "openai-project",
            _ => match name.split_at_checked(HEADER_PREFIX.len()) {
                Some((prefix, header)) if prefix.eq_ignore_ascii_case(HEADER_PREFIX) => header,
                _ => continue,
            },
        };
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        let (Ok(header), Some(value)) = (HeaderName::try_from(header), key::sensitive(value))
        else {
            let what = format!("attribute {name:?} is not a header that HTTP allows");
            return Err(key::config(auth, &what));
        };
        if CONNECTION_HEADERS.contains(&header) && header != AUTHORIZATION {
            let what = format!("attribute {name:?} is a header that belongs to the connection");
            return Err(key::config(auth, &what));
        }
        own.insert(header, value);
    }
    if let Some(secret) = key::secret_of(auth) {
        own.insert(AUTHORIZATION, key::bearer(auth, secret)?);
    } else if !KEY_HEADERS.iter().any(|name| own.contains_key(*name)) {
        return Err(key::config(
            auth,
            "it has neither attribute api_key nor an access_token",
        ));
    }
    headers.extend(own);
    Ok(())
}

/// Where token counts are asked for: attribute `count_tokens_path`, else OpenAI's own endpoint where the credential is for
/// OpenAI itself (<https://platform.openai.com/docs/api-reference/responses/input-tokens>).
pub(super) fn count_path(auth: &Auth) -> Option<String> {
    let own = auth.attributes.get("count_tokens_path").map(str::trim);
    let path = own.filter(|path| !path.is_empty()).or_else(|| {
        let base = base_url(auth).strip_prefix("https://api.openai.com/")?;
        base.starts_with("v1").then_some("/responses/input_tokens")
    })?;
    Some(format!("/{}", path.trim_start_matches('/')))
}

fn base_url(auth: &Auth) -> &str {
    auth.attributes
        .get("base_url")
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .unwrap_or(DEFAULT_BASE_URL)
}

/// The payload with `"stream": true` in it and nothing else changed, not even the order of its members: a model may see
/// that. `None` when it is not a JSON object.
pub(super) fn streaming(payload: &Bytes) -> Option<Bytes> {
    let object = Members::of(payload)?;
    let (range, text) = match object.value("stream") {
        Some(range) if payload[range.clone()] == *b"true" => return Some(payload.clone()),
        Some(range) => (range, &b"true"[..]),
        None if object.is_empty => (object.start..object.start, &b"\"stream\":true"[..]),
        None => (object.start..object.start, &b"\"stream\":true,"[..]),
    };
    let mut changed = Vec::with_capacity(payload.len() + text.len());
    changed.extend_from_slice(&payload[..range.start]);
    changed.extend_from_slice(text);
    changed.extend_from_slice(&payload[range.end..]);
    Some(changed.into())
}

/// The top level of a JSON object, as text.
struct Members<'a> {
    json: &'a [u8],
    /// Behind the opening brace.
    start: usize,
    is_empty: bool,
}

impl<'a> Members<'a> {
    fn of(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<IgnoredAny>(json).ok()?;
        let brace = skip_space(json, 0);
        let start = brace + 1;
        (json.get(brace) == Some(&b'{')).then(|| Self {
            json,
            start,
            is_empty: json.get(skip_space(json, start)) == Some(&b'}'),
        })
    }

    /// Where the value of the last member `name` is.
    fn value(&self, name: &str) -> Option<Range<usize>> {
        let mut found = None;
        let mut next = (!self.is_empty).then_some(self.start);
        while let Some(at) = next {
            let (key, end) = read::<String>(self.json, skip_space(self.json, at))?;
            let start = skip_space(self.json, skip_space(self.json, end) + 1);
            let (_, end) = read::<IgnoredAny>(self.json, start)?;
            if key == name {
                found = Some(start..end);
            }
            let comma = skip_space(self.json, end);
            next = (self.json.get(comma) == Some(&b',')).then_some(comma + 1);
        }
        found
    }
}

/// The JSON value at `start`, and where it ends.
fn read<'a, T: serde::Deserialize<'a>>(json: &'a [u8], start: usize) -> Option<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(json.get(start..)?).into_iter();
    let value = values.next()?.ok()?;
    Some((value, start + values.byte_offset()))
}

fn skip_space(json: &[u8], from: usize) -> usize {
    let rest = json.get(from..).unwrap_or_default();
    let space = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    from + space.count()
}

pub(super) const JSON: &str = "application/json";
pub(super) const EVENT_STREAM: &str = "text/event-stream";

const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
const USER_AGENT_TEXT: &str = concat!("credpool/", env!("CARGO_PKG_VERSION"));
const HEADER_PREFIX: &str = "header:";

/// Headers that can stand for a bearer token.
const KEY_HEADERS: [&str; 3] = ["authorization", "api-key", "x-api-key"];

/// What a call's options must not touch: the connection's own headers, and compression, which nobody would undo.
const CONNECTION_HEADERS: [HeaderName; 11] = [
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use proptest::prelude::*;

    fn streamed(payload: &'static str) -> Option<String> {
        let changed = streaming(&Bytes::from_static(payload.as_bytes()))?;
        Some(String::from_utf8(changed.to_vec()).unwrap())
    }

    #[test]
    fn only_the_stream_member_changes() {
        for (payload, expected) in [
            (
                r#"{"z":1.50,"a":"é"}"#,
                r#"{"stream":true,"z":1.50,"a":"é"}"#,
            ),
            (" { } ", r#" {"stream":true } "#),
            (
                r#"{"a":{"stream":false},"stream" : false , "b":1}"#,
                r#"{"a":{"stream":false},"stream" : true , "b":1}"#,
            ),
            (r#"{"stream":null}"#, r#"{"stream":true}"#),
            (
                r#"{"a":"\"stream\":1","stre\u0061m":0}"#,
                r#"{"a":"\"stream\":1","stre\u0061m":true}"#,
            ),
            (
                r#"{"stream":true,"a":12345678901234567890123}"#,
                r#"{"stream":true,"a":12345678901234567890123}"#,
            ),
        ] {
            assert_eq!(streamed(payload).as_deref(), Some(expected));
        }
        for payload in ["", "[]", "1", "{", "{}x", "null"] {
            assert_eq!(streamed(payload), None, "{payload}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_keeps_its_other_members(members in prop::collection::btree_map("[a-z]{1,6}|stream", "[ -~é]{0,6}", 0..6)) {
            let payload = serde_json::to_vec(&members).unwrap();
            let changed = streaming(&payload.into()).unwrap();
            let mut changed: serde_json::Map<_, _> = serde_json::from_slice(&changed).unwrap();
            prop_assert_eq!(changed.remove("stream"), Some(true.into()));
            prop_assert!(changed.iter().all(|(name, value)| members[name] == *value));
            prop_assert_eq!(changed.len(), members.keys().filter(|name| *name != "stream").count());
        }
    }

    #[test]
    fn the_credential_has_the_last_word_on_its_headers() {
        let auth = Auth::api_key("openai", "sk-1")
            .with_attribute("organization", "org")
            .with_attribute("project", " proj ")
            .with_attribute("header:X-Team", "blue");
        let options = Options::new()
            .with_header("authorization", "Bearer other")
            .with_header("x-team", "red")
            .with_header("host", "elsewhere")
            .with_header("x-trace", "7")
            .with_header("user-agent", "mine");
        let head = head(&auth, "/chat", JSON, &options).unwrap();
        for (name, value) in [
            ("authorization", "Bearer sk-1"),
            ("openai-organization", "org"),
            ("openai-project", "proj"),
            ("x-team", "blue"),
            ("x-trace", "7"),
            ("user-agent", "mine"),
        ] {
            assert_eq!(head.headers[name], value);
        }
        assert!(!head.headers.contains_key("host"));
        assert!(
            head.headers["authorization"].is_sensitive() && head.headers["x-team"].is_sensitive()
        );
        assert_eq!(head.uri, "https://api.openai.com/v1/chat");
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused() {
        let auth = Auth::new("openai").with_id("team");
        for (name, value) in [
            ("header:bad name", "x"),
            ("header:x", "canary\r\ny: z"),
            ("header:host", "canary"),
            ("organization", "canary\n\nx"),
        ] {
            let auth = auth
                .clone()
                .with_attribute("api_key", "k")
                .with_attribute(name, value);
            let error = add_credential(&mut HeaderMap::new(), &auth).unwrap_err();
            assert_eq!(
                (error.code(), error.auth_id()),
                (&ErrorCode::Config, Some("team"))
            );
            assert!(!error.message().contains("canary"));
        }
        assert!(add_credential(&mut HeaderMap::new(), &auth).is_err());
        let azure = auth.with_attribute("header:api-key", "k");
        assert!(add_credential(&mut HeaderMap::new(), &azure).is_ok());
    }

    #[test]
    fn only_openai_itself_is_known_to_count() {
        let auth = Auth::api_key("openai", "k");
        assert_eq!(
            count_path(&auth).as_deref(),
            Some("/responses/input_tokens")
        );
        let other = auth.with_attribute("base_url", "https://llm.example/v1");
        assert_eq!(count_path(&other), None);
        let named = other.with_attribute("count_tokens_path", "count");
        assert_eq!(count_path(&named).as_deref(), Some("/count"));
    }
}
