//! Files of other programs that hold nothing for this crate.

use serde_json::{Map, Value};

use crate::store::sealed::ENVELOPE;

/// Whether an object is a token file that can be of use: it has a member of that form, or a token or a key that an executor or a
/// grant reads. A map from providers to logins, say, has none at its top.
pub(super) fn is_understood(object: &Map<String, Value>) -> bool {
    if has_secret(object) {
        return true;
    }
    let kind = object.get("type").and_then(Value::as_str);
    !kind.is_some_and(|kind| KINDS_WITHOUT.contains(&kind.trim()))
        && FORM.iter().any(|name| has_text(object, name))
}

fn has_secret(object: &Map<String, Value>) -> bool {
    SECRETS.iter().any(|name| has_text(object, name))
        || NESTED.iter().any(|name| match object.get(*name) {
            Some(Value::Object(nested)) => SECRETS.iter().any(|name| has_text(nested, name)),
            _ => has_text(object, name),
        })
}

fn has_text(object: &Map<String, Value>, name: &str) -> bool {
    let text = object.get(name).and_then(Value::as_str);
    text.is_some_and(|text| !text.trim().is_empty())
}

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
        is_understood(value.as_object().unwrap())
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
            json!({"service_account": "{}"}),
            json!({"credpool_sealed": "v1.x.y"}),
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
