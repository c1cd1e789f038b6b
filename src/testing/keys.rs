//! Keys and a token endpoint, as the vendors' loopback servers share them.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::form::field;
use super::{ReceivedRequest, Reply};

/// How a loopback server treats a given key.
///
/// ```
/// use credpool::testing::{KeyBehaviour, OpenAiUpstream};
///
/// let upstream = OpenAiUpstream::start();
/// upstream.set_key("sk-good", KeyBehaviour::Serve);
/// upstream.set_key("sk-busy", KeyBehaviour::RateLimited { retry_after: 20 });
/// upstream.set_key("sk-poor", KeyBehaviour::QuotaUsedUp);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyBehaviour {
    /// Serves.
    Serve,
    /// Answers 429 (`rate_limit_exceeded`; Anthropic's `rate_limit_error`), with a `retry-after` of so many seconds.
    RateLimited {
        /// The seconds.
        retry_after: u64,
    },
    /// Answers 429 with code `insufficient_quota`; as Anthropic, 402 with `billing_error`.
    QuotaUsedUp,
    /// Answers 401 (`invalid_api_key`; Anthropic's `authentication_error`).
    Unauthorized,
    /// Answers with this status.
    Status(u16),
    /// Answers this to any request.
    Reply(Reply),
}

/// The keys that a server knows, and the logins of its token endpoint, whose refresh tokens serve once.
#[derive(Default)]
pub(super) struct Keys {
    behaviours: HashMap<String, KeyBehaviour>,
    calls: HashMap<String, usize>,
    /// The behaviour of the access tokens that each unused refresh token gives.
    grants: HashMap<String, KeyBehaviour>,
    used_grants: Vec<String>,
    pub(super) issued: usize,
    pub(super) replays: usize,
    pub(super) lifetime: Option<Duration>,
}

impl Keys {
    /// None yet; tokens live for an hour.
    pub(super) fn new() -> Self {
        Self {
            lifetime: Some(Duration::from_secs(3600)),
            ..Self::default()
        }
    }

    pub(super) fn set(&mut self, key: String, behaviour: KeyBehaviour) {
        self.behaviours.insert(key, behaviour);
    }

    pub(super) fn set_login(&mut self, refresh_token: String, behaviour: KeyBehaviour) {
        self.grants.insert(refresh_token, behaviour);
    }

    /// Notes a call with this key; what is to become of it, if the key is known.
    pub(super) fn called(&mut self, key: &str) -> Option<KeyBehaviour> {
        *self.calls.entry(key.to_owned()).or_default() += 1;
        self.behaviours.get(key).cloned()
    }

    pub(super) fn calls(&self, key: &str) -> usize {
        self.calls.get(key).copied().unwrap_or(0)
    }

    /// The token endpoint.
    pub(super) fn grant(&mut self, request: &ReceivedRequest) -> Reply {
        if field(request, "grant_type").as_deref() != Some("refresh_token") {
            return Reply::json(400, r#"{"error":"unsupported_grant_type"}"#);
        }
        let used = field(request, "refresh_token").unwrap_or_default();
        let Some(behaviour) = self.grants.remove(&used) else {
            self.replays += usize::from(self.used_grants.contains(&used));
            let body = r#"{"error":"invalid_grant","error_description":"the refresh token is unknown or was used before"}"#;
            return Reply::json(400, body);
        };
        self.used_grants.push(used);
        self.issued += 1;
        let number = self.issued;
        let (access, refresh) = (format!("access-{number}"), format!("refresh-{number}"));
        self.behaviours.insert(access.clone(), behaviour.clone());
        self.grants.insert(refresh.clone(), behaviour);
        let mut answer =
            json!({"access_token": access, "refresh_token": refresh, "token_type": "Bearer"});
        if let Some(lifetime) = self.lifetime {
            answer["expires_in"] = lifetime.as_secs().into();
        }
        Reply::json(200, answer.to_string())
    }
}

/// The words of all texts under `content` and `text`.
pub(super) fn words(value: &Value) -> usize {
    match value {
        Value::String(text) => text.split_whitespace().count(),
        Value::Array(values) => values.iter().map(words).sum(),
        Value::Object(members) => ["content", "text"]
            .iter()
            .filter_map(|name| members.get(*name))
            .map(words)
            .sum(),
        _ => 0,
    }
}
