//! Lenient parsing of JSON that other programs wrote, and the texts of its parts.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::Value;
use zeroize::Zeroizing;

use super::bounded;

/// The value in `bytes`, also where they begin with a byte order mark, hold half of a surrogate pair as an escape
/// ([RFC 8259 section 8.2](https://www.rfc-editor.org/rfc/rfc8259#section-8.2) leaves it to receivers), a byte that is no
/// UTF-8, or a number beyond any `f64`, one of Python's among them. Text that cannot be had is U+FFFD then, the number the outermost one, and
/// one that is not a number null.
///
/// # Errors
/// When it is not JSON even so. The error's own text may quote what was read.
pub(crate) fn parse_lenient(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let bytes = without_mark(bytes);
    bounded::parse(bytes).or_else(|_| bounded::parse(&Zeroizing::new(mended(bytes, false))))
}

/// As [`parse_lenient`], for pieces of a text: half a surrogate pair is a stand-in for it, which [`Halves`] puts together with the
/// other half. Says whether there may be any.
pub(crate) fn parse_piece(bytes: &[u8]) -> Result<(Value, bool), serde_json::Error> {
    let bytes = without_mark(bytes);
    let whole = bounded::parse(bytes).map(|value| (value, false));
    whole.or_else(|_| Ok((bounded::parse(&mended(bytes, true))?, true)))
}

/// Puts halves of surrogate pairs together that a server has cut into two pieces of a text.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    /// The one with which the last piece ended.
    held: Option<u32>,
}

impl Halves {
    /// Whether the last piece ended in the middle of a character.
    pub(crate) fn are_open(&self) -> bool {
        self.held.is_some()
    }

    /// A piece of text without stand-ins: a half at its end is held back, and one that finds no other is U+FFFD.
    pub(crate) fn joined(&mut self, piece: &str) -> String {
        let mut text = String::with_capacity(piece.len());
        for char in piece.chars() {
            let half = u32::from(char).wrapping_sub(STAND_INS);
            let (high, low) = (half < 0x400, (0x400..0x800).contains(&half));
            match self.held.take() {
                Some(held) if low => {
                    let joined = 0x1_0000 + (held << 10) + (half - 0x400);
                    text.push(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
                    continue;
                }
                Some(_) => text.push(char::REPLACEMENT_CHARACTER),
                None => {}
            }
            if high {
                self.held = Some(half);
            } else {
                text.push(if low {
                    char::REPLACEMENT_CHARACTER
                } else {
                    char
                });
            }
        }
        text
    }

    /// What is left of a character whose other half has not come.
    pub(crate) fn given_up(&mut self) -> &'static str {
        self.held.take().map_or("", |_| "\u{fffd}")
    }
}

/// The bytes behind a byte order mark.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// Where the string or the number ends that begins at `start`.
pub(crate) fn scalar_end(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start) == Some(&b'"') {
        return string_end(bytes, start);
    }
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest.iter().position(|byte| !is_word(*byte));
    start + length.unwrap_or(rest.len())
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at = (at + 2).min(bytes.len()),
            Some(_) => at += 1,
        }
    }
}

/// What a number, `true`, `false` and `null` are made of.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

fn mended(bytes: &[u8], keeps_halves: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let bytes = text.as_bytes();
    let mut mended = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b'"' => string_end(bytes, at),
            byte if is_word(byte) => scalar_end(bytes, at),
            _ => at + 1,
        };
        let part = &bytes[at..end];
        match byte {
            b'"' => with_whole_pairs(part, keeps_halves, &mut mended),
            _ => mended.extend_from_slice(&finite(part)),
        }
        at = end;
    }
    mended
}

/// Copies a string; half a surrogate pair becomes U+FFFD, or a stand-in for it.
fn with_whole_pairs(string: &[u8], keeps_halves: bool, into: &mut Vec<u8>) {
    let mut rest = string;
    while let [first, tail @ ..] = rest {
        let length = match (surrogate(rest), rest.get(6..).and_then(surrogate)) {
            (Some(Half::High), Some(Half::Low)) => 12,
            (Some(_), _) => {
                match stand_in(rest).filter(|_| keeps_halves) {
                    Some(char) => into.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => into.extend_from_slice(UNKNOWN),
                }
                rest = &rest[6..];
                continue;
            }
            // An escape as a whole, so that a `\\` begins no other.
            (None, _) if *first == b'\\' && !tail.is_empty() => 2,
            (None, _) => 1,
        };
        into.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
}

enum Half {
    High,
    Low,
}

/// The half of a surrogate pair that `text` begins with as an escape.
fn surrogate(text: &[u8]) -> Option<Half> {
    match escaped(text)? {
        0xd800..=0xdbff => Some(Half::High),
        0xdc00..=0xdfff => Some(Half::Low),
        _ => None,
    }
}

fn escaped(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The character that stands for the half of a surrogate pair that `text` begins with.
fn stand_in(text: &[u8]) -> Option<char> {
    char::from_u32(STAND_INS + u32::from(escaped(text)?.checked_sub(0xd800)?))
}

/// A number that any reader takes; anything else as it is. Python's writer and its reader know numbers that are none
/// (<https://docs.python.org/3/library/json.html#infinite-and-nan-number-values>).
fn finite(word: &[u8]) -> Cow<'_, [u8]> {
    let outermost = |number: f64| {
        let outermost = f64::MAX.copysign(number);
        Cow::Owned(format!("{outermost:e}").into_bytes())
    };
    match word {
        b"NaN" => return Cow::Borrowed(b"null"),
        b"Infinity" => return outermost(1.0),
        b"-Infinity" => return outermost(-1.0),
        _ => {}
    }
    let is_json = serde_json::from_slice::<IgnoredAny>(word).is_ok();
    let text = std::str::from_utf8(word).ok().filter(|_| is_json);
    match text.and_then(|text| text.parse::<f64>().ok()) {
        Some(number) if number.is_infinite() => outermost(number),
        _ => Cow::Borrowed(word),
    }
}

pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Characters of private use, one for each half of a surrogate pair.
const STAND_INS: u32 = 0xF_0000;

/// U+FFFD as an escape.
const UNKNOWN: &[u8] = b"\\ufffd";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: impl AsRef<[u8]>) -> Value {
        parse_lenient(text.as_ref()).unwrap()
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_once() {
        assert_eq!(read("\u{feff}{\"a\":1}"), json!({"a": 1}));
        assert_eq!(read("\u{feff} [\"\u{feff}\"]"), json!(["\u{feff}"]));
        for text in ["\u{feff}", "\u{feff}\u{feff}{}", "{}\u{feff}"] {
            assert!(parse_lenient(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn half_a_pair_costs_itself_alone() {
        for (text, value) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""a\uDE00b""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
            (r#""\\ud83d \" \ud83d""#, "\\ud83d \" \u{fffd}"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
        ] {
            assert_eq!(read(text), json!(value), "{text}");
        }
        let text = r#"{"note":"\ud83d","\udc00":[1],"access_token":"a\u0062","n":1.50}"#;
        assert_eq!(
            read(text),
            json!({"note": "\u{fffd}", "\u{fffd}": [1], "access_token": "ab", "n": 1.5})
        );
    }

    #[test]
    fn halves_find_each_other_over_two_pieces() {
        for (pieces, text) in [
            (vec![r#""a\ud83d""#, r#""\ude00b""#], "a\u{1f600}b"),
            (vec![r#""\ud83d""#, r#" "" "#, r#""\ude00""#], "\u{1f600}"),
            (vec![r#""a\ud83d""#, r#""b""#], "a\u{fffd}b"),
            (vec![r#""a\ud83d""#], "a\u{fffd}"),
            (vec![r#""\ude00a\ude00b""#], "\u{fffd}a\u{fffd}b"),
            (
                vec![r#""\ud83d\ud83d""#, r#""\ude00""#],
                "\u{fffd}\u{1f600}",
            ),
            (vec![r#""\ud83d\ude00""#], "\u{1f600}"),
        ] {
            let mut halves = Halves::default();
            let mut found = String::new();
            for piece in &pieces {
                let (value, _) = parse_piece(piece.as_bytes()).unwrap();
                found += &halves.joined(value.as_str().unwrap());
            }
            found += halves.given_up();
            assert_eq!(found, text, "{pieces:?}");
        }
    }

    #[test]
    fn numbers_of_any_size_and_bytes_of_any_kind_hide_nothing() {
        let long = "9".repeat(400);
        let text = format!(r#"{{"a":1e400,"b":-1e400,"c":{long},"d":1e-400,"e":7,"f":"1e400"}}"#);
        assert_eq!(
            read(text),
            json!({"a": f64::MAX, "b": f64::MIN, "c": f64::MAX, "d": 0.0, "e": 7, "f": "1e400"})
        );
        assert_eq!(
            read("[NaN,Infinity,-Infinity,\"NaN\"]"),
            json!([null, f64::MAX, f64::MIN, "NaN"])
        );
        assert_eq!(
            read(b"{\"name\":\"Jos\xe9\",\"t\":1}"),
            json!({"name": "Jos\u{fffd}", "t": 1})
        );
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in [
            "",
            "{",
            r#"{"a":"\ud83d"#,
            r#"["\ud83"]"#,
            r#"["\"#,
            "[1e400",
            "[infinity]",
            "[inf]",
            "[nan]",
            "[NaN1]",
            "[+Infinity]",
            "[1e400x]",
            "[.1e400]",
            "[01e400]",
            "[+1e400]",
            "\u{fffd}",
        ] {
            assert!(parse_lenient(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_lenient(b"\xff\xfe{\x00}\x00").is_err());
        assert!(parse_lenient("[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_input_breaks_it(text in "[\\[\\]{}\"\\\\ud83e0,:1.-]{0,24}", end in any::<Vec<u8>>()) {
            let _ = parse_lenient(&[text.as_bytes(), &end].concat());
        }

        #[test]
        fn whole_json_reads_as_ever(text in any::<String>(), number in any::<f64>()) {
            let value = json!({"text": text, "number": number});
            let bytes = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(&parse_lenient(&bytes).unwrap(), &value);
            prop_assert_eq!(&serde_json::from_slice::<Value>(&mended(&bytes, false)).unwrap(), &value);
            prop_assert_eq!(&parse_piece(&bytes).unwrap(), &(value, false));
        }
    }
}
