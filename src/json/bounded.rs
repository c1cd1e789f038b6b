//! A JSON tree with bounded memory: no more than a small multiple of its text.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a document. Small parts take many times the room of their text: `{"":0}` a hundred times.
///
/// # Errors
/// When it is no JSON, or holds so many parts that the tree would take more than sixteen times its size and four MiB.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = first(&mut reader, bytes.len())?;
    reader.end()?;
    Ok(value)
}

/// As [`parse`], for the document that the bytes begin with, whatever follows it.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_first(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    first(
        &mut serde_json::Deserializer::from_slice(bytes),
        bytes.len(),
    )
}

fn first(
    reader: &mut serde_json::Deserializer<serde_json::de::SliceRead<'_>>,
    length: usize,
) -> Result<Value, serde_json::Error> {
    let room = Cell::new(LEAST.saturating_add(length.saturating_mul(TIMES)));
    Tree { room: &room }.deserialize(reader)
}

/// A part of the tree, and the room that is left for it.
#[derive(Clone, Copy)]
struct Tree<'a> {
    room: &'a Cell<usize>,
}

impl Tree<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.room.get().checked_sub(bytes);
        self.room.set(left.unwrap_or_default());
        left.map(drop)
            .ok_or_else(|| E::custom("it has too many parts for its size"))
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            // The array may have grown to twice as much.
            self.take(2 * size_of::<Value>())?;
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if name == NUMBER && object.is_empty() {
                return written_number(members);
            }
            if object.len().is_multiple_of(MEMBERS_OF_NODE) {
                self.take(NODE)?;
            }
            // Log probabilities are many times as long as the reply, and no code here reads them.
            let value = if name == "logprobs" {
                members.next_value::<IgnoredAny>()?;
                Value::Null
            } else {
                members.next_value_seed(self)?
            };
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// In a program that builds `serde_json` with its feature `arbitrary_precision`, numbers come as a map with this one member, and their
/// text: <https://docs.rs/crate/serde_json/latest/features>.
const NUMBER: &str = "$serde_json::private::Number";

fn written_number<'de, A: MapAccess<'de>>(mut members: A) -> Result<Value, A::Error> {
    let text: String = members.next_value()?;
    text.parse().map(Value::Number).map_err(A::Error::custom)
}

const LEAST: usize = 4 * 1024 * 1024;
const TIMES: usize = 16;

/// A node of the map takes as much, and has that many places, of which half may be empty.
const NODE: usize = 640;
const MEMBERS_OF_NODE: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn many_small_parts_are_refused_and_real_answers_are_not() {
        let objects = format!("[{}]", vec![r#"{"":0}"#; 1 << 20].join(","));
        let empty = format!("[{}]", vec!["[]"; 4 << 20].join(","));
        for text in [objects, empty] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("too many parts"), "{error}");
        }
        let token = r#"{"token":"a","logprob":-0.1,"bytes":[97],"top_logprobs":[]}"#;
        let tokens = vec![token; 100_000].join(",");
        let answer = format!(
            r#"{{"choices":[{{"logprobs":{{"content":[{tokens}]}},"message":{{"content":"a"}}}}],"usage":{{"prompt_tokens":1}}}}"#
        );
        let read = parse(answer.as_bytes()).unwrap();
        assert_eq!(read["usage"]["prompt_tokens"], 1);
        assert_eq!(read["choices"][0]["message"]["content"], "a");
        let call = r#"{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}"#;
        let calls = format!("[{}]", vec![call; 2000].join(","));
        assert!(parse(calls.as_bytes()).is_ok());
        let embedding = format!("[{}]", vec!["0.12345"; 1_000_000].join(","));
        assert!(parse(embedding.as_bytes()).is_ok());
        let image = json!({"data": "A".repeat(10_000_000)}).to_string();
        assert!(parse(image.as_bytes()).is_ok());
    }

    #[test]
    fn numbers_that_come_as_a_map_are_numbers() {
        let text = format!(r#"[{{"{NUMBER}":"1.5"}},{{"{NUMBER}":"7"}}]"#);
        assert_eq!(parse(text.as_bytes()).unwrap(), json!([1.5, 7]));
        parse(format!(r#"{{"{NUMBER}":"x"}}"#).as_bytes()).unwrap_err();
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,4}", inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_any_reader_reads(value in any_json(), cut in any::<prop::sample::Index>()) {
            let text = value.to_string();
            prop_assert_eq!(&parse(text.as_bytes()).unwrap(), &value);
            let start = &text.as_bytes()[..cut.index(text.len() + 1)];
            let (ours, theirs) = (parse(start), serde_json::from_slice::<Value>(start));
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
            if let (Err(ours), Err(theirs)) = (ours, theirs) {
                prop_assert_eq!(ours.is_eof(), theirs.is_eof());
            }
        }
    }
}
