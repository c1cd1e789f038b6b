//! Rewrites JSON text in place: what has not changed keeps its spelling.
//!
//! A value in memory does not hold all that a file of another program says: a number has more digits than an `f64`, a text half
//! a surrogate pair. So the texts of such values are taken over from the former file, where they stand for the same.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::auth::{Wiped, WipedBytes};
use crate::json::{parse_lenient, scalar_end, without_mark};

/// `object` as JSON for people; numbers and texts that `former` has in the same place are spelt as there.
pub(super) fn write(object: &Map<String, Value>, former: &[u8]) -> Zeroizing<Vec<u8>> {
    let former = Part::read(without_mark(former));
    let mut writer = Writer::default();
    writer.object(object, former.as_ref());
    writer.text.push(b"\n");
    writer.text.into_bytes()
}

/// A value in a file's text. The text was read as JSON before.
enum Part<'a> {
    Object(Vec<Member<'a>>),
    Array(Vec<Part<'a>>),
    Scalar(&'a [u8]),
}

struct Member<'a> {
    name: String,
    spelling: &'a [u8],
    part: Part<'a>,
}

impl<'a> Part<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        Reader { text, at: 0 }.part()
    }

    fn member(&self, name: &str) -> Option<&Member<'a>> {
        match self {
            // Of two of one name, the last one counts.
            Part::Object(members) => members.iter().rev().find(|member| member.name == name),
            _ => None,
        }
    }

    fn item(&self, index: usize) -> Option<&Self> {
        match self {
            Part::Array(items) => items.get(index),
            _ => None,
        }
    }

    /// The text of a scalar that stands for `value`.
    fn spelling(&self, value: &Value) -> Option<&'a [u8]> {
        match self {
            Part::Scalar(text) => {
                let found = parse_lenient(text).ok().map(Wiped::new);
                Some(*text).filter(|_| found.as_deref() == Some(value))
            }
            _ => None,
        }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn part(&mut self) -> Option<Part<'a>> {
        match self.next()? {
            b'{' => {
                let mut members = Vec::new();
                self.at += 1;
                while self.next()? != b'}' {
                    let spelling = self.scalar();
                    let name = parse_lenient(spelling).ok()?;
                    members.push(Member {
                        name: name.as_str()?.to_owned(),
                        spelling,
                        part: self.part()?,
                    });
                }
                self.at += 1;
                Some(Part::Object(members))
            }
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                while self.next()? != b']' {
                    items.push(self.part()?);
                }
                self.at += 1;
                Some(Part::Array(items))
            }
            _ => Some(Part::Scalar(self.scalar())),
        }
    }

    /// The next byte that is no white space, comma or colon: in JSON that was read before, these say nothing more.
    fn next(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..)?;
        let skipped = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b':');
        self.at += rest.iter().position(|byte| !skipped(byte))?;
        self.text.get(self.at).copied()
    }

    fn scalar(&mut self) -> &'a [u8] {
        let start = self.at;
        // One byte at least: the end comes whatever the text is.
        self.at = scalar_end(self.text, start)
            .max(start + 1)
            .min(self.text.len());
        &self.text[start..self.at]
    }
}

/// Writes as `serde_json::to_vec_pretty` does.
#[derive(Default)]
struct Writer {
    text: WipedBytes,
    depth: usize,
}

impl Writer {
    fn value(&mut self, value: &Value, former: Option<&Part<'_>>) {
        match value {
            Value::Object(object) if !object.is_empty() => self.object(object, former),
            Value::Array(items) if !items.is_empty() => {
                self.begin(b'[');
                for (index, item) in items.iter().enumerate() {
                    self.line(index);
                    self.value(item, former.and_then(|former| former.item(index)));
                }
                self.end(b']');
            }
            scalar => match former.and_then(|former| former.spelling(scalar)) {
                Some(spelling) => self.text.push(spelling),
                None => self.scalar(scalar),
            },
        }
    }

    fn object(&mut self, object: &Map<String, Value>, former: Option<&Part<'_>>) {
        if object.is_empty() {
            return self.text.push(b"{}");
        }
        self.begin(b'{');
        for (index, (name, value)) in object.iter().enumerate() {
            self.line(index);
            let former = former.and_then(|former| former.member(name));
            match former {
                Some(former) => self.text.push(former.spelling),
                None => self.scalar(&Value::from(name.as_str())),
            }
            self.text.push(b": ");
            self.value(value, former.map(|former| &former.part));
        }
        self.end(b'}');
    }

    fn scalar(&mut self, value: &Value) {
        // Bytes take every piece, and a scalar has no key that is not a text.
        let _ = serde_json::to_writer(&mut self.text, value);
    }

    fn begin(&mut self, bracket: u8) {
        self.text.push(&[bracket]);
        self.depth += 1;
    }

    fn line(&mut self, index: usize) {
        let comma: &[u8] = if index > 0 { b",\n" } else { b"\n" };
        self.text.push(comma);
        self.indent();
    }

    fn end(&mut self, bracket: u8) {
        self.depth -= 1;
        self.text.push(b"\n");
        self.indent();
        self.text.push(&[bracket]);
    }

    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.text.push(b"  ");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(value: &Value, former: &str) -> String {
        String::from_utf8(write(value.as_object().unwrap(), former.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn what_has_not_changed_is_spelt_as_before() {
        let former = r#"{"n":12345678901234567890123,"tiny":1e-400,"far":1e400,"half":"\ud83d","note":"\u00e4",
            "list":[1.50,{"x":-0e9}],"twice":1,"twice":2.0,"gone":1e400,"t":"old","odd\udc00":[]}"#;
        let mut value = parse_lenient(former.as_bytes()).unwrap();
        value["t"] = "new".into();
        value.as_object_mut().unwrap().remove("gone");
        value["novel"] = json!({"a": [], "b": {}, "c": 1.5});
        let text = written(&value, &format!("\u{feff}{former}"));
        let spelt: String = text.split_whitespace().collect();
        for kept in [
            r#""n":12345678901234567890123,"#,
            r#""tiny":1e-400,"#,
            r#""far":1e400,"#,
            r#""half":"\ud83d","#,
            r#""note":"\u00e4","#,
            r#""list":[1.50,{"x":-0e9}],"#,
            r#""twice":2.0"#,
            r#""t":"new","#,
            r#""odd\udc00":[],"#,
            r#""novel":{"a":[],"b":{},"c":1.5},"#,
        ] {
            assert!(spelt.contains(kept), "{kept} is missing in {text}");
        }
        assert!(!text.contains("gone") && !text.contains('\u{feff}'));
        assert_eq!(parse_lenient(text.as_bytes()).unwrap(), value);
    }

    #[test]
    fn what_changed_or_moved_is_written_anew() {
        let former = r#"{"n":12345678901234567890123,"list":[1e1,2e1],"o":{"n":1e1},"s":"\ud83d"}"#;
        let value = json!({"n": 12_345_678_901_234_567_890_124_f64 * 2.0, "list": [20.0], "o": 10.0, "s": "x"});
        assert_eq!(
            written(&value, former),
            serde_json::to_string_pretty(&value).unwrap() + "\n"
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[ab\"]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_value_is_the_same_whatever_was_there(value in any_json(), former in any_json(), junk in any::<Vec<u8>>()) {
            let object = Map::from_iter([("m".to_owned(), value)]);
            let plain = serde_json::to_vec_pretty(&object).unwrap();
            for former in [json!({"m": former}).to_string().into_bytes(), plain.clone(), junk, Vec::new()] {
                let text = write(&object, &former);
                prop_assert_eq!(parse_lenient(&text).unwrap(), Value::from(object.clone()));
            }
            let anew = write(&object, b"");
            prop_assert_eq!(anew.strip_suffix(b"\n").unwrap(), &plain[..]);
        }
    }
}
