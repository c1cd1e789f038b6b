//! Edits single members of a JSON payload, and nothing else of it.

use bytes::Bytes;

use crate::error::Error;
use crate::json::{Member, Members};

/// The payload with `"stream": true` in it and nothing else changed, not even the order of its members: a model may see
/// that.
///
/// # Errors
/// Code `config` where it is no JSON object.
///
/// ```
/// use bytes::Bytes;
/// use credpool::provider::http::streaming_payload;
///
/// let payload = streaming_payload(&Bytes::from_static(br#"{"model":"m"}"#))?;
/// assert_eq!(payload, r#"{"stream":true,"model":"m"}"#);
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn streaming_payload(payload: &Bytes) -> Result<Bytes, Error> {
    with(payload, "stream", "true")
        .ok_or_else(|| Error::config("the request's payload is not a JSON object"))
}

/// The payload with the member `name` set to `value`, a JSON text, and nothing else changed: a new member comes first. `None` when it is
/// not a JSON object.
pub(crate) fn with(payload: &Bytes, name: &str, value: &str) -> Option<Bytes> {
    let object = Members::of(payload)?;
    let (range, text) = match object.value(name) {
        Some(range) if payload[range.clone()] == *value.as_bytes() => return Some(payload.clone()),
        Some(range) => (range, value.to_owned()),
        None => {
            let comma = if object.is_empty { "" } else { "," };
            let member = format!("\"{name}\":{value}{comma}");
            (object.start..object.start, member)
        }
    };
    let parts = [
        &payload[..range.start],
        text.as_bytes(),
        &payload[range.end..],
    ];
    Some(parts.concat().into())
}

/// Whether the payload is a JSON object that has the member `name`.
pub(crate) fn has(payload: &[u8], name: &str) -> bool {
    Members::of(payload).is_some_and(|object| object.value(name).is_some())
}

/// The payload with `"stream_options": {"include_usage": true}` in it, unless it says something of that itself.
pub(crate) fn with_usage(payload: &Bytes) -> Option<Bytes> {
    let object = Members::of(payload)?;
    let (range, text) = match object.value("stream_options") {
        None if object.is_empty => (object.start..object.start, OPTIONS.to_owned()),
        None => (object.start..object.start, format!("{OPTIONS},")),
        Some(range) => match Members::of(&payload[range.clone()]) {
            Some(options) if options.value("include_usage").is_some() => {
                return Some(payload.clone());
            }
            Some(options) => {
                let start = range.start + options.start;
                let comma = if options.is_empty { "" } else { "," };
                (start..start, format!("{INCLUDE_USAGE}{comma}"))
            }
            None if payload[range.clone()] == *b"null" => (range, format!("{{{INCLUDE_USAGE}}}")),
            None => return Some(payload.clone()),
        },
    };
    let parts = [
        &payload[..range.start],
        text.as_bytes(),
        &payload[range.end..],
    ];
    Some(parts.concat().into())
}

const INCLUDE_USAGE: &str = r#""include_usage":true"#;
const OPTIONS: &str = r#""stream_options":{"include_usage":true}"#;

/// The payload without the members `names`, and nothing else changed. `None` when it is not a JSON object.
pub(crate) fn without(payload: &Bytes, names: &[&str]) -> Option<Bytes> {
    let object = Members::of(payload)?;
    let mut members = object.members()?;
    let end = members
        .last()
        .map_or(object.start, |member| member.whole.end);
    let before = members.len();
    members.retain(|member| !names.contains(&member.name.as_str()));
    if members.len() == before {
        return Some(payload.clone());
    }
    let kept: Vec<_> = members
        .into_iter()
        .map(|member| &payload[member.whole])
        .collect();
    let mut changed = payload[..object.start].to_vec();
    changed.extend_from_slice(&kept.join(&b','));
    changed.extend_from_slice(&payload[end..]);
    Some(changed.into())
}

/// The number that stands in a payload at this path: one of the names of each step.
pub(crate) fn number(payload: &[u8], path: &[&[&str]]) -> Option<usize> {
    let (names, rest) = path.split_first()?;
    let members = Members::of(payload)?.members()?;
    let is_named = |member: &Member| names.contains(&member.name.as_str());
    let value = &payload[members.into_iter().rfind(is_named)?.value];
    match rest {
        [] => serde_json::from_slice(value).ok(),
        rest => number(value, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn streamed(payload: &'static str) -> Option<String> {
        let changed = streaming_payload(&Bytes::from_static(payload.as_bytes())).ok()?;
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

    #[test]
    fn usage_is_asked_for_unless_the_payload_says_something_of_it() {
        for (payload, expected) in [
            ("{}", r#"{"stream_options":{"include_usage":true}}"#),
            (
                r#"{"a":1.0}"#,
                r#"{"stream_options":{"include_usage":true},"a":1.0}"#,
            ),
            (
                r#"{"stream_options":null}"#,
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{}}"#,
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options": {"include_obfuscation":false}}"#,
                r#"{"stream_options": {"include_usage":true,"include_obfuscation":false}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":false}}"#,
                r#"{"stream_options":{"include_usage":false}}"#,
            ),
            (r#"{"stream_options":7}"#, r#"{"stream_options":7}"#),
        ] {
            let changed = with_usage(&Bytes::from_static(payload.as_bytes()));
            assert_eq!(changed.as_deref(), Some(expected.as_bytes()), "{payload}");
        }
        assert_eq!(with_usage(&Bytes::from_static(b"[]")), None);
    }

    #[test]
    fn only_the_named_members_go() {
        for (payload, expected) in [
            (r#"{"b":1.50, "x":[1] ,"a":"é"}"#, r#"{"b":1.50,"a":"é"}"#),
            (r#" {"x":1, "y":{"x":2}} "#, r#" { "y":{"x":2}} "#),
            (r#"{"y":0 , "\u0078":1}"#, r#"{"y":0 }"#),
            (r#"{ "x":1,"x":2 }"#, "{}"),
            (r#"{"y" : "x"}"#, r#"{"y" : "x"}"#),
            ("{ }", "{ }"),
        ] {
            let changed = without(&Bytes::from_static(payload.as_bytes()), &["x", "z"]);
            assert_eq!(changed.as_deref(), Some(expected.as_bytes()), "{payload}");
        }
        for payload in ["", "[]", "{", "{\"a\":1}x"] {
            assert_eq!(
                without(&Bytes::from_static(payload.as_bytes()), &["a"]),
                None
            );
        }
    }

    proptest! {
        #[test]
        fn any_payload_loses_no_other_member(members in prop::collection::btree_map("[a-c]{1,2}", "[ -~é]{0,6}", 0..6)) {
            let payload = serde_json::to_vec_pretty(&members).unwrap();
            let changed = without(&payload.into(), &["a", "b", "cc"]).unwrap();
            let changed: serde_json::Map<_, _> = serde_json::from_slice(&changed).unwrap();
            let expected = members.iter().filter(|(name, _)| !["a", "b", "cc"].contains(&name.as_str()));
            let expected: Vec<_> = expected.map(|(name, value)| (name.clone(), value.clone().into())).collect();
            prop_assert_eq!(changed.into_iter().collect::<Vec<_>>(), expected);
        }

        #[test]
        fn any_payload_keeps_its_other_members(members in prop::collection::btree_map("[a-z]{1,6}|stream", "[ -~é]{0,6}", 0..6)) {
            let payload = serde_json::to_vec(&members).unwrap();
            let changed = streaming_payload(&payload.into()).unwrap();
            let mut changed: serde_json::Map<_, _> = serde_json::from_slice(&changed).unwrap();
            prop_assert_eq!(changed.remove("stream"), Some(true.into()));
            prop_assert!(changed.iter().all(|(name, value)| members[name] == *value));
            prop_assert_eq!(changed.len(), members.keys().filter(|name| *name != "stream").count());
        }
    }
}
