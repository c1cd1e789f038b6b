//! A record in two parts: what is readable, with the envelope of the other one among its metadata, and what is sealed.

use serde_json::{Map, Value};

use super::envelope::{self, Closed, Envelope};
use super::keys::{KeySet, SealingKey};
use crate::auth::{
    Attributes, Auth, ENVELOPE, Metadata, Secret, SpentTokens, is_public, is_public_value,
};
use crate::error::Error;
use crate::store::codec::{self, Object};

/// `auth` as it is stored. Where `stored` has the same secrets, sealed with the same key, the envelope stays as it is: what has not changed
/// is not written.
pub(super) fn seal(auth: &Auth, stored: Option<&Auth>, keys: &KeySet) -> Result<Auth, Error> {
    codec::check(auth)?;
    let secret = secret_part(auth);
    let text = codec::object_text(auth, &secret)?;
    let text = zeroize::Zeroizing::new(text);
    let kept = stored.and_then(|stored| same_envelope(stored, &secret, keys));
    let envelope = match kept {
        Some(envelope) => envelope.to_owned(),
        None => envelope::seal(keys.first(), &auth.id, text.as_bytes())?,
    };
    Ok(with_envelope(auth, envelope))
}

/// The record that is stored as `raw`. What stands readable beside the envelope was put there since, and is newer.
pub(super) fn open(raw: Auth, keys: &KeySet) -> Result<Auth, Closed> {
    let Some(envelope) = envelope_of(&raw) else {
        return Ok(raw);
    };
    let mut whole = opened(&envelope?, &raw.id, keys)?;
    let attributes = raw.attributes.iter();
    let attributes = attributes.map(|(name, value)| (name, value.into()));
    overlay(&mut whole, ATTRIBUTES, attributes);
    let metadata = raw.metadata.iter().flat_map(Metadata::iter);
    let metadata = metadata.filter(|(name, _)| *name != ENVELOPE);
    overlay(
        &mut whole,
        METADATA,
        metadata.map(|(name, value)| (name, value.clone())),
    );
    let extra = raw.extra.iter().flat_map(Metadata::iter);
    for (name, value) in extra {
        whole.insert(name.to_owned(), value.clone());
    }
    if !raw.proxy_url.is_empty() {
        whole.insert(PROXY_URL.to_owned(), raw.proxy_url.expose().into());
    }
    let rest = codec::from_credential(whole).map_err(|_| Closed::Damaged)?;
    let mut auth = raw;
    auth.attributes = rest.attributes;
    auth.metadata = rest.metadata;
    auth.proxy_url = rest.proxy_url;
    auth.extra = rest.extra;
    auth.spent = rest.spent;
    Ok(auth)
}

/// The id of the key with which a record is sealed. `None`: it is not.
pub(super) fn key_id(raw: &Auth) -> Option<&str> {
    envelope_of(raw)?.ok().map(|envelope| envelope.key_id)
}

/// Whether nothing of a record is left to be sealed with this key.
pub(super) fn is_sealed_with(raw: &Auth, key: &SealingKey) -> bool {
    key_id(raw) == Some(key.id()) && !shows_secrets(raw)
}

/// Whether anything that belongs into the envelope stands readable beside it.
pub(super) fn shows_secrets(raw: &Auth) -> bool {
    let mut attributes = raw.attributes.iter();
    let mut metadata = raw.metadata.iter().flat_map(Metadata::iter);
    attributes.any(|(name, _)| !is_public(name))
        || metadata.any(|(name, value)| name != ENVELOPE && !is_public_value(name, value))
        || raw.extra.is_some()
        || !raw.proxy_url.is_empty()
}

fn envelope_of(raw: &Auth) -> Option<Result<Envelope<'_>, Closed>> {
    let envelope = raw.metadata.as_ref()?.get(ENVELOPE)?;
    let text = envelope.as_str().ok_or(Closed::Damaged);
    Some(text.and_then(Envelope::parse))
}

fn opened(envelope: &Envelope<'_>, id: &str, keys: &KeySet) -> Result<Object, Closed> {
    let plain = envelope.open(keys, id)?;
    let text = std::str::from_utf8(&plain).map_err(|_| Closed::Damaged)?;
    codec::object(text).map_err(|_| Closed::Damaged)
}

/// The envelope of a stored record, where sealing `secret` would say the same.
fn same_envelope<'a>(stored: &'a Auth, secret: &Object, keys: &KeySet) -> Option<&'a str> {
    let envelope = envelope_of(stored)?.ok()?;
    let is_same = envelope.key_id == keys.first().id()
        && opened(&envelope, &stored.id, keys).is_ok_and(|there| there == *secret);
    let text = stored.metadata.as_ref()?.text(ENVELOPE)?;
    is_same.then_some(text)
}

/// What is sealed: all of the credential that is not known to be public.
fn secret_part(auth: &Auth) -> Object {
    let mut secret = codec::credential(auth);
    for name in PUBLIC_MEMBERS {
        secret.remove(name);
    }
    for group in [ATTRIBUTES, METADATA] {
        if let Some(Value::Object(members)) = secret.get_mut(group) {
            members.retain(|name, value| !is_public_value(name, value));
        }
    }
    secret
}

fn with_envelope(auth: &Auth, envelope: String) -> Auth {
    let attributes = auth.attributes.iter();
    let metadata = auth.metadata.iter().flat_map(Metadata::iter);
    let mut readable: Metadata = metadata
        .filter(|(name, value)| *name != ENVELOPE && is_public_value(name, value))
        .map(|(name, value)| (name, value.clone()))
        .collect();
    readable.insert(ENVELOPE, envelope);
    let mut raw = auth.clone();
    raw.attributes = attributes
        .filter(|(name, _)| is_public(name))
        .collect::<Attributes>();
    raw.metadata = Some(readable);
    raw.proxy_url = Secret::default();
    raw.extra = None;
    raw.spent = SpentTokens::default();
    // It would write the tokens as they are.
    raw.storage = None;
    raw.runtime = None;
    raw
}

/// Puts members into a group of an object.
fn overlay<'a>(whole: &mut Object, group: &str, members: impl Iterator<Item = (&'a str, Value)>) {
    let entry = whole.entry(group).or_insert_with(|| Map::new().into());
    if let Value::Object(group) = entry {
        group.extend(members.map(|(name, value)| (name.to_owned(), value)));
    }
}

const ATTRIBUTES: &str = "attributes";
const METADATA: &str = "metadata";
const PROXY_URL: &str = "proxy_url";

/// Members of a record's JSON form that stay readable, beside its state.
const PUBLIC_MEMBERS: [&str; 8] = [
    "id",
    "provider",
    "label",
    "disabled",
    "generation",
    "created_at",
    "last_refreshed_at",
    "next_refresh_after",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(bytes: &[u8]) -> KeySet {
        let keys = bytes.iter().map(|byte| SealingKey::from_bytes([*byte; 32]));
        KeySet::new(keys.collect()).unwrap()
    }

    fn record() -> Auth {
        serde_json::from_value(json!({
            "id": "a", "provider": "p", "label": "mine", "disabled": true, "generation": 3,
            "proxy_url": "http://user:canary-1@127.0.0.1:1", "spent_tokens": ["00000000000000ca", null, null],
            "attributes": {"api_key": "canary-2", "priority": "3", "base_url": "https://canary-3", "header:x": "canary-4"},
            "metadata": {"access_token": "canary-5", "expires_at": "2030-01-01T00:00:00Z", "odd": {"x": ["canary-6"]},
                "expired": {"word": "canary-7"}, "email": "ada@example.org"},
            "novel": "canary-8", "status": "error", "status_message": "slow",
        }))
        .unwrap()
    }

    fn text(auth: &Auth) -> Value {
        serde_json::to_value(auth).unwrap()
    }

    #[test]
    fn what_is_public_stays_readable_and_nothing_else() {
        let auth = record();
        let sealed = seal(&auth, None, &keys(&[1])).unwrap();
        let shown = text(&sealed);
        assert!(!shown.to_string().contains("canary"), "{shown}");
        for (pointer, value) in [
            ("/id", json!("a")),
            ("/label", json!("mine")),
            ("/disabled", json!(true)),
            ("/generation", json!(3)),
            ("/attributes/priority", json!("3")),
            ("/metadata/expires_at", json!("2030-01-01T00:00:00Z")),
            ("/metadata/email", json!("ada@example.org")),
            ("/status_message", json!("slow")),
        ] {
            assert_eq!(shown.pointer(pointer), Some(&value));
        }
        assert_eq!(text(&open(sealed, &keys(&[1])).unwrap()), text(&auth));
    }

    #[test]
    fn an_unchanged_record_keeps_its_envelope_and_an_older_key_is_replaced() {
        let auth = record();
        let first = seal(&auth, None, &keys(&[1])).unwrap();
        let again = seal(&auth.clone().with_label("new"), Some(&first), &keys(&[1])).unwrap();
        assert_eq!(again.metadata, first.metadata);
        let changed = auth.clone().with_attribute("api_key", "other");
        let changed = seal(&changed, Some(&first), &keys(&[1])).unwrap();
        assert_ne!(changed.metadata, first.metadata);
        let renewed = seal(&auth, Some(&first), &keys(&[2, 1])).unwrap();
        assert_eq!(key_id(&renewed), Some(keys(&[2]).first().id()));
        assert_eq!(text(&open(renewed, &keys(&[2])).unwrap()), text(&auth));
        assert!(open(first, &keys(&[2])).is_err());
    }

    #[test]
    fn what_was_put_beside_the_envelope_counts() {
        let sealed = seal(&record(), None, &keys(&[1])).unwrap();
        assert!(is_sealed_with(&sealed, keys(&[1]).first()));
        let edited = sealed
            .clone()
            .with_attribute("api_key", "new")
            .with_metadata("access_token", "newer")
            .with_proxy_url("http://other");
        assert!(shows_secrets(&edited) && !is_sealed_with(&edited, keys(&[1]).first()));
        let opened = open(edited, &keys(&[1])).unwrap();
        assert_eq!(opened.attributes.get("api_key"), Some("new"));
        assert_eq!(opened.attributes.get("header:x"), Some("canary-4"));
        assert_eq!(
            opened.metadata.as_ref().unwrap().text("access_token"),
            Some("newer")
        );
        assert_eq!(opened.proxy_url.expose(), "http://other");
        let public = sealed.with_attribute("priority", "9").with_label("other");
        assert!(!shows_secrets(&public));
        assert_eq!(
            open(public, &keys(&[1]))
                .unwrap()
                .attributes
                .get("priority"),
            Some("9")
        );
    }

    #[test]
    fn another_record_or_another_value_is_not_opened() {
        let sealed = seal(&record(), None, &keys(&[1])).unwrap();
        let moved = sealed.clone().with_id("b");
        assert!(matches!(open(moved, &keys(&[1])), Err(Closed::Damaged)));
        for value in [
            json!(7),
            json!(""),
            json!("v1"),
            json!("v2.x.y"),
            json!(null),
        ] {
            let damaged = sealed.clone().with_metadata(ENVELOPE, value);
            assert!(matches!(open(damaged, &keys(&[1])), Err(Closed::Damaged)));
        }
    }

    #[test]
    fn a_plain_record_stays_as_it_is() {
        let plain = open(record(), &keys(&[1])).unwrap();
        assert_eq!(text(&plain), text(&record()));
        assert!(!plain.is_sealed());
    }

    #[test]
    fn what_cannot_be_read_again_is_not_sealed() {
        let mut deep = json!(1);
        for _ in 0..200 {
            deep = json!([deep]);
        }
        for value in [deep, "x".repeat(3 << 20).into()] {
            let auth = record().with_metadata("x", value);
            let error = seal(&auth, None, &keys(&[1])).unwrap_err();
            assert_eq!(error.auth_id(), Some("a"));
        }
    }
}
