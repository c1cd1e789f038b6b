//! The expiry of a record's tokens, in each form in which programs write it.

use std::time::Duration;

use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;

use super::TOKEN_OBJECTS;
use crate::clock::Timestamp;

/// What a record's metadata says about the end of its tokens.
///
/// ```
/// use credpool::{Auth, Expiry};
///
/// let login = Auth::new("claude").with_metadata("expires_at", "2026-11-28T10:00:00Z");
/// let Expiry::At(end) = login.expiration_time() else { panic!() };
/// assert_eq!(end.year(), 2026);
/// assert_eq!(login.expiration_time().at(), Some(end));
/// assert_eq!(Auth::api_key("openai", "sk-1").expiration_time().at(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing.
    Unknown,
    /// There is an entry, and it says that no time is set.
    Unset,
    /// The tokens end then.
    At(Timestamp),
}

impl Expiry {
    /// The moment, where one is set.
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Unknown | Self::Unset => None,
        }
    }
}

/// The first member that reads as a time, here or in a nested token object.
pub(super) fn find(metadata: &Map<String, Value>) -> Expiry {
    EXPIRY_NAMES
        .iter()
        .find_map(|name| metadata.get(*name).and_then(read_value))
        .or_else(|| {
            TOKEN_OBJECTS.iter().find_map(|name| {
                let nested = metadata.get(*name)?.as_object()?;
                Some(find(nested)).filter(|found| *found != Expiry::Unknown)
            })
        })
        .unwrap_or(Expiry::Unknown)
}

/// A time in any of its forms: RFC 3339, `YYYY-MM-DD HH:MM:SS` in UTC, Unix seconds or milliseconds. `None` when it does not
/// read as one.
pub(crate) fn read_value(value: &Value) -> Option<Expiry> {
    match value {
        Value::String(text) => read_text(text),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the fraction is dropped; out of range saturates and is refused as a time"
        )]
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|seconds| seconds as i64))
            .and_then(from_unix),
        _ => None,
    }
}

/// `expires_in` of a token response: seconds as a number or as text; not above zero is no lifetime at all.
pub(crate) fn read_lifetime(value: &Value) -> Option<Duration> {
    let seconds = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    // What does not fit is longer than any calendar.
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// As [`read_value`], from text.
pub(crate) fn read_text(text: &str) -> Option<Expiry> {
    let text = text.trim();
    if let Ok(unix) = text.parse::<i64>() {
        return from_unix(unix);
    }
    from_calendar(text).map(|at| {
        if is_zero(at) {
            Expiry::Unset
        } else {
            Expiry::At(at)
        }
    })
}

/// Whether this is the moment that stands for "unset" in JSON.
pub(super) fn is_zero(at: Timestamp) -> bool {
    at == time::macros::utc_datetime!(0001-01-01 00:00)
}

/// RFC 3339 in capitals, or the same with a space and without a zone.
pub(super) fn from_calendar(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || !text.is_ascii() {
        return None;
    }
    match bytes[10] {
        b'T' if !text.ends_with('z') => Timestamp::parse(text, &Rfc3339).ok(),
        b' ' if bytes[11..]
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.')) =>
        {
            let text = format!("{}T{}Z", &text[..10], &text[11..]);
            Timestamp::parse(&text, &Rfc3339).ok()
        }
        _ => None,
    }
}

fn from_unix(raw: i64) -> Option<Expiry> {
    if raw <= 0 {
        return Some(Expiry::Unset);
    }
    let nanos = if raw > MILLISECONDS_ABOVE {
        i128::from(raw) * 1_000_000
    } else {
        i128::from(raw) * 1_000_000_000
    };
    Timestamp::from_unix_timestamp_nanos(nanos)
        .ok()
        .map(Expiry::At)
}

/// The members of the metadata that say when the tokens end; the first that reads as a time counts.
pub(crate) const EXPIRY_NAMES: [&str; 7] = [
    "expired",
    "expire",
    "expires_at",
    "expiresAt",
    "expiry",
    "expires",
    EXPIRY_DATE,
];

/// That of Google's libraries for Node.js: milliseconds, maybe with a fraction, see
/// <https://github.com/googleapis/google-auth-library-nodejs>.
pub(crate) const EXPIRY_DATE: &str = "expiry_date";

const MILLISECONDS_ABOVE: i64 = 1_000_000_000_000;
