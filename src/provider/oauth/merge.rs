//! Merges a token endpoint's answer into the metadata.

use serde_json::{Map, Value};

use super::endpoint::text;
use crate::auth::{
    Auth, EXPIRY_DATE, EXPIRY_NAMES, Metadata, TOKEN_OBJECTS, Wipe, read_lifetime, read_time_text,
};
use crate::clock::{self, Timestamp, time_text};

/// An answer with tokens.
pub(crate) struct Answer<'a> {
    json: &'a Value,
    came_at: Timestamp,
    expires_at: Option<Timestamp>,
}

/// Where the tokens of a credential are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The object of the metadata that holds them; `None` for its top.
    object: Option<&'static str>,
    /// Whether a refresh token and its scope are kept.
    keeps_refresh_token: bool,
}

impl<'a> Answer<'a> {
    pub(crate) fn read(json: &'a Value, now: Timestamp) -> Self {
        let lifetime = json.get("expires_in").and_then(read_lifetime);
        // Without a new access token there is one to be had, with the new refresh token.
        let expires_at = match text(json, "access_token") {
            Some(_) => lifetime.map(|lifetime| clock::later(now, lifetime)),
            None => Some(now),
        };
        Self {
            json,
            came_at: now,
            expires_at,
        }
    }
}

impl Place {
    /// The top, of a credential that needs no refresh token.
    pub(super) const TOP: Self = Self {
        object: None,
        keeps_refresh_token: false,
    };

    /// The top.
    pub(super) const WITH_REFRESH_TOKEN: Self = Self {
        object: None,
        keeps_refresh_token: true,
    };

    /// Inside one of the token objects.
    pub(super) fn inside(object: &'static str) -> Self {
        Self {
            object: Some(object),
            keeps_refresh_token: true,
        }
    }

    /// The metadata with another login's tokens in place of those that are there, and without the members `also`.
    pub(crate) fn renewed(auth: &Auth, answer: &Answer<'_>, also: &[&str]) -> Metadata {
        let mut metadata = Metadata::copied(auth.metadata.as_ref());
        let has_tokens = |object: &&str| {
            let object = metadata.get(*object).and_then(Value::as_object);
            object.is_some_and(|object| OF_LOGIN.iter().any(|name| object.contains_key(*name)))
        };
        let object = TOKEN_OBJECTS.into_iter().find(has_tokens);
        for_each_object(&mut metadata, |object| {
            // What the answer brings takes its place there.
            let former = OF_LOGIN
                .iter()
                .filter(|name| text(answer.json, name).is_none());
            for name in former.chain(also) {
                if let Some(mut old) = object.remove(*name) {
                    old.wipe();
                }
            }
        });
        let place = object.map_or(Self::WITH_REFRESH_TOKEN, Self::inside);
        let mut renewed = auth.clone();
        renewed.metadata = Some(metadata.into());
        place.merged(&renewed, answer)
    }

    /// The metadata with what the answer brought.
    pub(crate) fn merged(self, auth: &Auth, answer: &Answer<'_>) -> Metadata {
        let mut metadata = Metadata::copied(auth.metadata.as_ref());
        // Where nothing but a wish says the scope, what was granted is not the next wish.
        let refresh = if self.keeps_refresh_token {
            &OF_REFRESH[..]
        } else {
            &[]
        };
        for name in TOKENS.iter().chain(refresh) {
            if let Some(value) = text(answer.json, name) {
                self.put(&mut metadata, name, value);
            }
        }
        self.put_expiry(&mut metadata, answer.expires_at);
        put_refreshed(&mut metadata, answer.came_at);
        metadata.into()
    }

    /// Replaces `name` wherever it stands, or puts it beside the refresh token.
    fn put(self, metadata: &mut Map<String, Value>, name: &str, value: &str) {
        let mut replaced = false;
        for_each_object(metadata, |object| {
            if let Some(old) = object.get_mut(name) {
                old.wipe();
                *old = value.into();
                replaced = true;
            }
        });
        if !replaced {
            self.insert(metadata, name, value.into());
        }
    }

    /// Replaces every member that says when the token ends, each in its own form: one that stayed would be believed.
    fn put_expiry(self, metadata: &mut Map<String, Value>, at: Option<Timestamp>) {
        let mut replaced = false;
        for_each_object(metadata, |object| {
            for name in EXPIRY_NAMES {
                let Some(old) = object.get_mut(name) else {
                    continue;
                };
                replaced = true;
                if let Some(at) = at {
                    *old = time_like(name, old, at);
                } else {
                    object.remove(name);
                }
            }
        });
        if let Some(at) = at.filter(|_| !replaced) {
            self.insert(metadata, "expires_at", time_text(at).into());
        }
    }

    /// Puts a member beside the refresh token.
    fn insert(self, metadata: &mut Map<String, Value>, name: &str, value: Value) {
        let nested = self.object.and_then(|object| metadata.get_mut(object));
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
    for name in TOKEN_OBJECTS {
        if let Some(object) = metadata.get_mut(name).and_then(Value::as_object_mut) {
            change(object);
        }
    }
}

/// Replaces the members that say when the tokens came, where they are there: their readers refresh by them.
fn put_refreshed(metadata: &mut Map<String, Value>, at: Timestamp) {
    for_each_object(metadata, |object| {
        for name in REFRESH_NAMES {
            if let Some(old) = object.get_mut(name) {
                *old = time_like(name, old, at);
            }
        }
    });
}

/// A time in the form of the one that it replaces: seconds, milliseconds, either as text, a calendar with or without a zone.
fn time_like(name: &str, old: &Value, at: Timestamp) -> Value {
    match old {
        Value::Number(number) => unix_like(name, number.as_f64().unwrap_or(0.0), at).into(),
        Value::String(text) => text_like(text.trim(), at).into(),
        _ if name == EXPIRY_DATE => milliseconds(at).into(),
        _ => time_text(at).into(),
    }
}

/// Seconds, or milliseconds where the former number is of these.
fn unix_like(name: &str, old: f64, at: Timestamp) -> i64 {
    if old > MILLISECONDS_ABOVE || name == EXPIRY_DATE {
        milliseconds(at)
    } else {
        at.unix_timestamp()
    }
}

fn text_like(old: &str, at: Timestamp) -> String {
    if old.parse::<i64>().is_ok() {
        let number = old.parse().unwrap_or(0.0);
        return unix_like("", number, at).to_string();
    }
    let text = time_text(at);
    let has_no_zone = old.as_bytes().get(10) == Some(&b' ') && read_time_text(old).is_some();
    if has_no_zone {
        text.replace('T', " ").replace('Z', "")
    } else {
        text
    }
}

fn milliseconds(at: Timestamp) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// What is kept of every answer.
const TOKENS: [&str; 3] = ["access_token", "token_type", "id_token"];

/// What is kept besides where there is a refresh token.
const OF_REFRESH: [&str; 2] = ["refresh_token", "scope"];

/// What belongs to one login alone, as this crate and other programs spell it.
const OF_LOGIN: [&str; 8] = [
    "access_token",
    "accessToken",
    "refresh_token",
    "refreshToken",
    "id_token",
    "idToken",
    "token_type",
    "scope",
];

/// Where the time of the last refresh may be, as [`should_refresh`](crate::should_refresh) reads it.
const REFRESH_NAMES: [&str; 4] = [
    "last_refresh",
    "lastRefresh",
    "last_refreshed_at",
    "lastRefreshedAt",
];

const MILLISECONDS_ABOVE: f64 = 1e12;

#[cfg(test)]
mod tests {
    use super::super::refresh_token;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::utc_datetime;

    const NOW: Timestamp = utc_datetime!(2025-01-01 00:00);

    fn auth(metadata: Value) -> Auth {
        let mut auth =
            Auth::new("openai").with_attribute("token_url", "https://login.example/token");
        let Value::Object(metadata) = metadata else {
            panic!("metadata is an object");
        };
        auth.metadata = Some(metadata.into());
        auth
    }

    /// What a refresh grant's answer with token `new` makes of the metadata.
    fn merged(metadata: Value, answer: &Value) -> Auth {
        let mut auth = auth(metadata);
        let mut answer = answer.clone();
        answer["access_token"] = "new".into();
        let (_, place) = refresh_token::request(&auth).unwrap();
        auth.metadata = Some(place.merged(&auth, &Answer::read(&answer, NOW)));
        auth
    }

    fn json_of(auth: &Auth) -> Value {
        Value::Object(auth.metadata.as_ref().unwrap().as_map().clone())
    }

    #[test]
    fn a_grant_without_a_refresh_token_keeps_none() {
        let mut auth =
            auth(json!({"client_email": "e", "token": {"access_token": "old", "expiry": 1}}));
        let answer = json!({"access_token": "new", "refresh_token": "r", "scope": "s", "token_type": "Bearer", "expires_in": 60});
        auth.metadata = Some(Place::TOP.merged(&auth, &Answer::read(&answer, NOW)));
        let expected = json!({
            "client_email": "e", "token_type": "Bearer",
            "token": {"access_token": "new", "expiry": 1_735_689_660},
        });
        assert_eq!(json_of(&auth), expected);
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
    fn a_refresh_token_alone_leaves_an_access_token_that_has_ended() {
        for metadata in [
            json!({"access_token": "old", "refresh_token": "r1", "expires_at": 4_000_000_000_u64}),
            json!({"access_token": "old", "refresh_token": "r1"}),
            json!({"refresh_token": "r1"}),
            json!({"Token": {"access_token": "old", "refresh_token": "r1", "expiry": "2030-01-01T00:00:00Z"}}),
        ] {
            let mut auth = auth(metadata);
            let answer = json!({"refresh_token": "r2", "expires_in": 3600});
            let (_, place) = refresh_token::request(&auth).unwrap();
            auth.metadata = Some(place.merged(&auth, &Answer::read(&answer, NOW)));
            assert_eq!(auth.expiration_time().at(), Some(NOW));
            let text = json_of(&auth).to_string();
            assert!(
                text.contains("\"r2\"") && !text.contains("\"r1\""),
                "{text}"
            );
        }
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
    fn times_keep_their_form() {
        for (old, new) in [
            (json!(1), json!(1_735_689_660)),
            (json!(1.6e12), json!(1_735_689_660_000_i64)),
            (json!("5"), json!("1735689660")),
            (json!("1600000000000"), json!("1735689660000")),
            (json!("2020-01-01 00:00:00"), json!("2025-01-01 00:01:00")),
            (
                json!("2020-01-01T08:00:00+08:00"),
                json!("2025-01-01T00:01:00Z"),
            ),
            (json!("soon"), json!("2025-01-01T00:01:00Z")),
            (json!(null), json!("2025-01-01T00:01:00Z")),
        ] {
            let auth = merged(
                json!({"refresh_token": "r", "expired": old}),
                &json!({"expires_in": 60}),
            );
            let expected = json!({"access_token": "new", "refresh_token": "r", "expired": new});
            assert_eq!(json_of(&auth), expected, "{old}");
        }
    }

    #[test]
    fn an_end_in_milliseconds_is_replaced_and_nothing_is_added() {
        let new = json!(1_735_689_660_000_i64);
        for old in [json!(1_795_729_804_362.779), json!(0), json!(null)] {
            let top = json!({"access_token": "old", "refresh_token": "r", "expiry_date": old});
            let nested = json!({"token": top, "oauth2ClientSettings": {"clientId": "c"}, "isLocalCreds": false});
            let renewed = json!({"access_token": "new", "refresh_token": "r", "expiry_date": new});
            let auth = merged(top, &json!({"expires_in": 60}));
            assert_eq!(json_of(&auth), renewed);
            assert_eq!(
                auth.expiration_time().at(),
                Some(utc_datetime!(2025-01-01 00:01))
            );
            let auth = merged(nested.clone(), &json!({"expires_in": 60}));
            let mut expected = nested;
            expected["token"] = renewed;
            assert_eq!(json_of(&auth), expected);
        }
    }

    #[test]
    fn the_time_of_the_refresh_is_replaced_where_it_is() {
        for name in REFRESH_NAMES {
            for (old, new) in [
                (json!("2026-11-26T21:50:04Z"), json!("2025-01-01T00:00:00Z")),
                (json!(1_600_000_000), json!(1_735_689_600)),
                (json!(1.6e12), json!(1_735_689_600_000_i64)),
            ] {
                let login = json!({"refresh_token": "r", "access_token": "old", name: old});
                let renewed = json!({"refresh_token": "r", "access_token": "new", name: new});
                assert_eq!(json_of(&merged(login.clone(), &json!({}))), renewed);
                let auth = merged(json!({"Token": login}), &json!({}));
                assert_eq!(json_of(&auth), json!({"Token": renewed}));
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
