//! Files of a pool: a record, or a token file, one JSON object that is the metadata, with a few members of further meaning.

use serde_json::{Map, Value};

use super::super::credential::Kind;
use super::super::draft::{Draft, PUBLIC_CLIENT};
use super::super::part::{Findings, Part};
use super::super::program::{Program, Rotation};
use super::{gemini_cli, has_text};
use crate::auth::{AccountKind, Auth, ENVELOPE, Metadata, Status, Wiped, from_json};

/// Whether an object is a record rather than a token file.
pub(crate) fn is_record(object: &Map<String, Value>) -> bool {
    let has = |name| object.get(name).is_some_and(|value| !value.is_null());
    has("id") && has("provider")
}

/// Whether an object is a token file that can be of use: it has a member of that form, or a token or a key that an executor or a
/// grant reads.
pub(crate) fn is_token_file(object: &Map<String, Value>) -> bool {
    if has_secret(object) {
        return true;
    }
    let kind = object.get("type").and_then(Value::as_str);
    !kind.is_some_and(|kind| KINDS_WITHOUT.contains(&kind.trim()))
        && FORM.iter().any(|name| has_text(object, name))
}

/// The record that a token file stands for, as yet without an id.
pub(crate) fn token_file(object: Wiped<Map<String, Value>>) -> Auth {
    let mut auth = Auth::new(provider(&object));
    auth.label = label(&object).into();
    auth.disabled = is_disabled(&object);
    if auth.disabled {
        auth.status = Status::Disabled;
    }
    auth.proxy_url = text(&object, "proxy_url").into();
    auth.metadata = Some(Metadata::from(object.into_inner()));
    auth
}

/// The provider of a token file: its `type`.
pub(crate) fn provider(object: &Map<String, Value>) -> &str {
    match text(object, "type") {
        kind if !kind.trim().is_empty() => kind,
        _ if gemini_cli::is_in(object) => gemini_cli::PROVIDER,
        _ => "unknown",
    }
}

/// The label of a token file.
pub(crate) fn label(object: &Map<String, Value>) -> &str {
    ["label", "email", "project_id"]
        .into_iter()
        .map(|name| text(object, name))
        .find(|text| !text.is_empty())
        .unwrap_or("")
}

pub(crate) fn is_disabled(object: &Map<String, Value>) -> bool {
    object.get("disabled").and_then(Value::as_bool) == Some(true)
}

pub(crate) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn read_record<'a>(
    object: &'a Map<String, Value>,
    top: &mut Part<'a>,
    findings: &mut Findings,
) {
    know_all(object, top);
    match from_json(object.clone()) {
        Ok(auth) => add(auth, top, findings),
        Err(problem) => top.note("", format!("is not a record: {problem}")),
    }
}

pub(super) fn read_token_file<'a>(
    object: &'a Map<String, Value>,
    top: &mut Part<'a>,
    findings: &mut Findings,
) {
    know_all(object, top);
    add(token_file(Wiped::new(object.clone())), top, findings);
}

fn know_all<'a>(object: &'a Map<String, Value>, top: &mut Part<'a>) {
    top.know(&object.keys().map(String::as_str).collect::<Vec<_>>());
}

fn add(auth: Auth, top: &mut Part<'_>, findings: &mut Findings) {
    let mut draft = Draft::new(Program::Pool, "").needing(Rotation::Unknown, PUBLIC_CLIENT);
    let account = auth.account_info();
    // A key or a cookie is shown nowhere.
    let account = account.filter(|account| account.kind == AccountKind::OAuth);
    draft.account = account.map(|account| account.text.expose().to_owned());
    draft.auth = auth;
    let kind = if draft.auth.uses_client_credentials() {
        Kind::Client
    } else if draft.auth.gets_own_tokens() {
        Kind::ServiceAccount
    } else if draft.auth.is_api_key() {
        Kind::ApiKey
    } else {
        match draft.login() {
            Some(login) => findings.credentials.push(login),
            None => top.note("", NOTHING),
        }
        return;
    };
    findings
        .credentials
        .push(draft.finished(kind, None, Vec::new()));
}

fn has_secret(object: &Map<String, Value>) -> bool {
    SECRETS.iter().any(|name| has_text(object, name))
        || NESTED.iter().any(|name| match object.get(*name) {
            Some(Value::Object(nested)) => SECRETS.iter().any(|name| has_text(nested, name)),
            _ => has_text(object, name),
        })
}

/// That a file has nothing of use.
pub(crate) const NOTHING: &str = "holds no token or key in a known format";

/// What a token file says of itself. A label alone says nothing: many files of other programs have one.
const FORM: [&str; 5] = ["type", "provider", "email", "project_id", "proxy_url"];

/// Tokens and keys, what gets them, and what seals them.
const SECRETS: [&str; 10] = [
    ENVELOPE,
    "access_token",
    "refresh_token",
    "id_token",
    "api_key",
    "cookie",
    "secure_1psid",
    "__Secure-1PSID",
    "private_key",
    "grant_type",
];

/// Objects with tokens in them, or the texts of such.
const NESTED: [&str; 3] = ["token", "Token", "service_account"];

/// Kinds of Google's files whose tokens come from elsewhere: <https://google.aip.dev/auth/4110>.
const KINDS_WITHOUT: [&str; 3] = [
    "external_account",
    "gdch_service_account",
    "impersonated_service_account",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn understood(value: &Value) -> bool {
        is_token_file(value.as_object().unwrap())
    }

    #[test]
    fn tokens_keys_and_token_files_are_understood() {
        for value in [
            json!({"type": "claude"}),
            json!({"type": null, "provider": "x"}),
            json!({"label": "", "project_id": "P", "id": 1}),
            json!({"email": "ada@example.org"}),
            json!({"access_token": "a"}),
            json!({"refresh_token": "r"}),
            json!({"token": {"refresh_token": "r"}, "isLocalCreds": false}),
            json!({"Token": {"access_token": "a"}}),
            json!({"token": "a"}),
            json!({"cookie": "c"}),
            json!({"__Secure-1PSID": "c"}),
            json!({"client_email": "e", "private_key": "k"}),
            json!({"service_account": {"private_key": "k"}}),
            json!({"credpool_sealed": "v1.x.y"}),
            json!({"service_account": "{}"}),
            json!({"type": "external_account", "access_token": "a"}),
            json!({"type": "external_account_authorized_user", "refresh_token": "r"}),
        ] {
            assert!(understood(&value), "{value}");
        }
    }

    #[test]
    fn maps_of_logins_and_forms_of_others_are_not() {
        for value in [
            json!({}),
            json!({"anthropic": {"type": "oauth", "refresh": "r", "access": "a", "expires": 1}}),
            json!({"anthropic": {"access_token": "a"}, "label": "mine"}),
            json!({"github.com": {"user": "ada", "oauth_token": "gho_x"}}),
            json!({"accessToken": "a", "refreshToken": "r", "clientId": "c", "expiresAt": "2026-11-26T21:50:04Z"}),
            json!({"type": "external_account", "audience": "//iam", "token_url": "https://sts.googleapis.com/v1/token"}),
            json!({"type": "impersonated_service_account", "source_credentials": {"refresh_token": "r"}}),
            json!({"type": " ", "access_token": "", "token": {}, "service_account": null, "email": 7}),
            json!({"tokens": {"access_token": "a"}, "OPENAI_API_KEY": null}),
        ] {
            assert!(!understood(&value), "{value}");
        }
    }
}
