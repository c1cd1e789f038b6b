//! How traces are compared: as JSON values, with times as instants and what is left out as zero.

use std::collections::BTreeSet;

use credpool::Timestamp;
use serde_json::{Map, Number, Value};
use time::format_description::well_known::Rfc3339;

use super::cases::Differences;

/// Where two values differ. Numbers are equal by value, objects whatever the order of their members.
pub(crate) fn differences(expected: &Value, actual: &Value) -> Differences {
    let mut found = Vec::new();
    compare("", Some(expected), Some(actual), &mut found);
    found
}

/// A record, or a model's state, without its members that are zero and with its times in one form.
///
/// Left in, though empty: `last_error` and the entries of `model_states`. What is inside of metadata and attributes stays
/// as it is.
pub(crate) fn record(value: &Value) -> Value {
    normal(value, |name, member| match name {
        "last_error" => Some(error(member)),
        "model_states" => unless_empty(normal(member, |_, state| Some(record(state)))),
        "quota" => unless_empty(normal(member, simple)),
        "metadata" | "attributes" => unless_empty(member.clone()),
        _ => simple(name, member),
    })
}

/// An error without its members that are zero.
pub(crate) fn error(value: &Value) -> Value {
    normal(value, simple)
}

/// The instant that a text names; `None` for the unset one.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    let at = Timestamp::parse(text, &Rfc3339)
        .unwrap_or_else(|error| panic!("`{text}` is not a time: {error}"));
    Some(at).filter(|at| *at != time::macros::utc_datetime!(0001-01-01 00:00))
}

fn normal(value: &Value, member: impl Fn(&str, &Value) -> Option<Value>) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .filter_map(|(name, value)| Some((name.clone(), member(name, value)?)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// A member without parts.
fn simple(name: &str, value: &Value) -> Option<Value> {
    match value {
        Value::String(text) if TIMES.contains(&name) => {
            instant(text).map(|at| at.to_string().into())
        }
        Value::String(text) if text.is_empty() => None,
        Value::Bool(false) => None,
        Value::Number(number) if equal(number, &Number::from(0)) => None,
        other => Some(other.clone()),
    }
}

fn unless_empty(value: Value) -> Option<Value> {
    Some(value).filter(|value| value.as_object().is_none_or(|members| !members.is_empty()))
}

fn compare(path: &str, expected: Option<&Value>, actual: Option<&Value>, found: &mut Differences) {
    match (expected, actual) {
        (Some(Value::Object(expected)), Some(Value::Object(actual))) => {
            let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
            for name in names {
                let path = format!("{path}.{name}");
                compare(&path, expected.get(name), actual.get(name), found);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(actual))) => {
            for at in 0..expected.len().max(actual.len()) {
                let path = format!("{path}[{at}]");
                compare(&path, expected.get(at), actual.get(at), found);
            }
        }
        (Some(Value::Number(expected)), Some(Value::Number(actual))) if equal(expected, actual) => {
        }
        _ if expected == actual => {}
        _ => found.push(format!(
            "{}: expected {}, got {}",
            if path.is_empty() { "answer" } else { path },
            shown(expected),
            shown(actual),
        )),
    }
}

/// Whether two numbers have the same value, as doubles: `1` and `1.0` have. Traces hold nothing that a double does not.
fn equal(one: &Number, other: &Number) -> bool {
    one.as_f64() == other.as_f64()
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".into(), Value::to_string)
}

const TIMES: [&str; 6] = [
    "created_at",
    "updated_at",
    "last_refreshed_at",
    "next_refresh_after",
    "next_retry_after",
    "next_recover_at",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(expected: &str, actual: &str) -> bool {
        let parse = |text| serde_json::from_str(text).unwrap();
        differences(&record(&parse(expected)), &record(&parse(actual))).is_empty()
    }

    #[test]
    fn spelling_and_order_mean_nothing() {
        assert!(same(
            r#"{"metadata":{"a":1,"b":[1e0,-0.0]},"id":"\u0061"}"#,
            r#"{"id":"a","metadata":{"b":[1.0,0],"a":1e0}}"#,
        ));
        assert!(same(
            r#"{"created_at":"2025-01-01T02:00:00.50+02:00"}"#,
            r#"{"created_at":"2025-01-01T00:00:00.5Z"}"#,
        ));
        assert!(!same(
            r#"{"metadata":{"a":1}}"#,
            r#"{"metadata":{"a":1.5}}"#
        ));
        assert!(!same(
            r#"{"metadata":{"a":1}}"#,
            r#"{"metadata":{"a":"1"}}"#
        ));
        assert!(!same(
            r#"{"metadata":{"a":[1]}}"#,
            r#"{"metadata":{"a":[1,1]}}"#
        ));
    }

    #[test]
    fn what_is_left_out_is_zero() {
        assert!(same(
            "{}",
            r#"{"id":"","status":"","disabled":false,"quota":{"exceeded":false,"reason":"",
                "next_recover_at":"0001-01-01T00:00:00Z"},"created_at":"0001-01-01T00:00:00Z",
                "metadata":{},"attributes":{},"model_states":{},"last_error":null}"#,
        ));
        assert!(same(
            r#"{"model_states":{"m":{}},"last_error":{"message":"x"}}"#,
            r#"{"model_states":{"m":{"status":"","quota":{"exceeded":false}}},
                "last_error":{"code":"","message":"x","retryable":false,"http_status":0}}"#,
        ));
    }

    #[test]
    fn what_is_there_but_empty_is_not_zero() {
        assert!(!same(r#"{"last_error":{"message":""}}"#, "{}"));
        assert!(!same(r#"{"model_states":{"m":{}}}"#, "{}"));
        assert!(!same(
            r#"{"model_states":{"m":{"last_error":{}}}}"#,
            r#"{"model_states":{"m":{}}}"#,
        ));
        assert!(!same(r#"{"status":"unknown"}"#, "{}"));
        assert!(!same(
            r#"{"metadata":{"a":""}}"#,
            r#"{"metadata":{"b":""}}"#
        ));
        assert!(!same(r#"{"attributes":{"a":""}}"#, "{}"));
    }

    #[test]
    fn a_difference_names_its_place() {
        let found = differences(&json!({"a": [1, {"b": 2}]}), &json!({"a": [1, {"b": 3}]}));
        assert_eq!(found, [".a[1].b: expected 2, got 3"]);
        assert_eq!(
            differences(&json!(true), &json!(false)),
            ["answer: expected true, got false"],
        );
    }
}
