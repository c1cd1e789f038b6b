//! Token files of other programs: one JSON object that is the metadata, with a few members of further meaning.

use serde_json::{Map, Value};

use super::names;
use crate::auth::{Auth, Metadata, Status, Wiped, wiped_json};
use crate::store::codec;
use crate::store::codec::Object;
use crate::store::sealed::ENVELOPE;

/// Whether an object is a token file rather than a record in the crate's own form.
pub(super) fn is_token(object: &Map<String, Value>) -> bool {
    let has = |name| object.get(name).is_some_and(|value| !value.is_null());
    !(has("id") && has("provider"))
}

/// The record that a token file at `path` stands for.
pub(super) fn read(path: &str, object: Object) -> Auth {
    let mut auth = Auth::new(provider(&object)).with_id(path);
    auth.label = label(&object).into();
    auth.disabled = flag(&object);
    if auth.disabled {
        auth.status = Status::Disabled;
    }
    auth.proxy_url = text(&object, "proxy_url").into();
    auth.metadata = Some(Metadata::from(object.into_inner()));
    auth
}

/// The token file of a record: its metadata, and in the members named here what the record says otherwise.
pub(super) fn write(auth: &Auth) -> Object {
    let mut object = Wiped::new(Metadata::copied(auth.metadata.as_ref()));
    if !same_name(provider(&object), &auth.provider) {
        set(&mut object, "type", auth.provider.clone());
    }
    if flag(&object) != auth.disabled {
        set(&mut object, "disabled", auth.disabled);
    }
    if text(&object, "proxy_url") != auth.proxy_url.expose() {
        set(&mut object, "proxy_url", auth.proxy_url.expose());
    }
    if !auth.label.is_empty() && label(&object) != auth.label {
        set(&mut object, "label", auth.label.clone());
    }
    object
}

/// What a token file cannot say about `auth`, as members of a record; it is kept beside the runtime state.
pub(super) fn remainder(auth: &Auth, object: &Map<String, Value>) -> Object {
    let mut rest = codec::credential(auth);
    let said = [
        ("id", true),
        ("metadata", true),
        // The state file has it in a place of its own.
        ("generation", true),
        ("provider", same_name(provider(object), &auth.provider)),
        ("label", label(object) == auth.label),
        ("disabled", flag(object) == auth.disabled),
        (
            "proxy_url",
            text(object, "proxy_url") == auth.proxy_url.expose(),
        ),
        ("created_at", auth.created_at.is_none()),
        ("last_refreshed_at", auth.last_refreshed_at.is_none()),
        ("next_refresh_after", auth.next_refresh_after.is_none()),
    ];
    for (name, _) in said.into_iter().filter(|(_, said)| *said) {
        rest.remove(name).map(Wiped::new);
    }
    rest
}

/// Tells one set of tokens from another, and nothing of them: this is how a change by another tool shows.
pub(super) fn token_digest(object: &Map<String, Value>) -> String {
    let tokens = TOKENS.iter().map(|name| object.get(*name));
    let sealed = object.get(ENVELOPE).map(Some);
    let tokens: Vec<_> = tokens.chain(sealed).collect();
    names::digest(&wiped_json(&tokens).unwrap_or_default())
}

/// Adds a [`remainder`] to what the token file says. It holds only what the file did not say when it was written.
pub(super) fn add_remainder(auth: &mut Auth, rest: Auth) {
    if !rest.provider.is_empty() {
        auth.provider = rest.provider;
    }
    if !rest.label.is_empty() {
        auth.label = rest.label;
    }
    if !rest.proxy_url.is_empty() {
        auth.proxy_url = rest.proxy_url;
    }
    auth.disabled |= rest.disabled;
    auth.attributes = rest.attributes;
    auth.created_at = rest.created_at;
    auth.last_refreshed_at = rest.last_refreshed_at;
    auth.next_refresh_after = rest.next_refresh_after;
    auth.extra = rest.extra;
    auth.spent = rest.spent;
    auth.tell_login_from_rotation();
}

/// Puts a member in; what it had said is wiped.
fn set(object: &mut Object, name: &str, value: impl Into<Value>) {
    object.insert(name.to_owned(), value.into()).map(Wiped::new);
}

fn provider(object: &Map<String, Value>) -> &str {
    Some(text(object, "type"))
        .filter(|name| !name.trim().is_empty())
        .unwrap_or("unknown")
}

fn label(object: &Map<String, Value>) -> &str {
    ["label", "email", "project_id"]
        .into_iter()
        .map(|name| text(object, name))
        .find(|text| !text.is_empty())
        .unwrap_or("")
}

fn flag(object: &Map<String, Value>) -> bool {
    object.get("disabled").and_then(Value::as_bool) == Some(true)
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The pool compares providers trimmed and lower-cased, and a token file keeps its own spelling.
fn same_name(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// Where tools keep what a login gave them.
const TOKENS: [&str; 8] = [
    "access_token",
    "refresh_token",
    "id_token",
    "token",
    "Token",
    "tokens",
    "api_key",
    "cookie",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else {
            panic!("not an object")
        };
        Wiped::new(object)
    }

    fn value(object: &Object) -> Value {
        Map::clone(object).into()
    }

    #[test]
    fn what_is_read_is_written_back() {
        for value in [
            json!({}),
            json!({"type": " Gemini ", "email": "a@example.org", "token": {"x": [1, {"y": null}]}}),
            json!({"type": 7, "label": ["odd"], "disabled": "yes", "proxy_url": null}),
            json!({"label": "", "email": "", "project_id": "p", "disabled": false, "proxy_url": ""}),
            json!({"disabled": true, "proxy_url": "http://127.0.0.1:1", "id": "x"}),
        ] {
            let object = object(value);
            let auth = read("a.json", object.clone());
            assert_eq!(write(&auth), object);
            assert!(remainder(&auth, &object).is_empty());
        }
    }

    #[test]
    fn changes_are_written_where_the_form_has_a_place() {
        let mut auth = read(
            "a.json",
            object(json!({"email": "a@example.org", "disabled": true})),
        );
        assert_eq!(auth.status, Status::Disabled);
        auth.provider = "claude".into();
        auth.label = "mine".into();
        auth.disabled = false;
        auth.proxy_url = "socks5://127.0.0.1:1".into();
        let written = write(&auth);
        assert_eq!(
            value(&written),
            json!({"email": "a@example.org", "disabled": false, "type": "claude", "label": "mine",
                "proxy_url": "socks5://127.0.0.1:1"})
        );
        assert!(remainder(&auth, &written).is_empty());
    }

    #[test]
    fn the_rest_is_kept_apart() {
        let spent = json!(["0123456789abcdef", null, null]);
        let mut auth: Auth =
            serde_json::from_value(json!({"id": "a", "spent_tokens": spent})).unwrap();
        auth.provider = "claude".into();
        auth = auth.with_attribute("k", "v");
        auth.label = "mine".into();
        auth.disabled = true;
        let rest = remainder(&auth, &Map::new());
        assert_eq!(
            value(&rest),
            json!({"provider": "claude", "label": "mine", "disabled": true, "attributes": {"k": "v"}, "spent_tokens": spent})
        );
        let rest: Auth = serde_json::from_value(value(&rest)).unwrap();
        let mut read = read("a.json", object(json!({"type": "x", "disabled": false})));
        add_remainder(&mut read, rest);
        assert_eq!((read.provider.as_str(), read.disabled), ("claude", true));
        assert_eq!(read.label, "mine");
        assert_eq!(read.attributes.get("k"), Some("v"));
        assert_eq!(read.spent, auth.spent);
    }
}
