//! How long a server asks to wait.

use std::time::Duration;

use http::HeaderMap;

use crate::Timestamp;
use crate::clock;

/// The wait in `retry-after-ms` (milliseconds, as OpenAI and Azure send it), else in `retry-after`
/// ([RFC 9110 section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3): seconds or an HTTP date; some
/// servers send decimals). A date in the past is no wait at all; what does not read as a wait is as if it were not there.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let milliseconds = text("retry-after-ms")
        .and_then(decimal)
        .and_then(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1000.0).ok());
    milliseconds.or_else(|| {
        let text = text("retry-after")?;
        match decimal(text) {
            Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            None => date(text).map(|at| clock::until(now, at)),
        }
    })
}

/// A plain decimal number: no sign, no exponent, no words.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.len() <= LONGEST
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

/// Any of the three forms of [RFC 9110 section 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7).
fn date(text: &str) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    Some(clock::later(Timestamp::UNIX_EPOCH, since))
}

const LONGEST: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use time::macros::utc_datetime;

    const NOW: Timestamp = utc_datetime!(1994-11-06 08:49:00);

    fn wait(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        retry_after(&headers, NOW)
    }

    #[test]
    fn seconds_decimals_and_dates() {
        for (value, seconds) in [
            ("0", 0.0),
            ("7", 7.0),
            (" 1.5 ", 1.5),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
            ("Sun Nov  6 08:49:37 1994", 37.0),
            ("Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
        ] {
            let expected = Some(Duration::from_secs_f64(seconds));
            assert_eq!(wait("retry-after", value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for value in [
            "",
            "-1",
            "NaN",
            "inf",
            "1e30",
            "soon",
            ".",
            "1.2.3",
            "99999999999999999999",
            "999999999999999999999999",
        ] {
            assert_eq!(wait("retry-after", value), None, "{value}");
        }
    }

    #[test]
    fn milliseconds_go_first_when_they_read() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("9"));
        headers.insert("retry-after-ms", HeaderValue::from_static("250"));
        assert_eq!(retry_after(&headers, NOW), Some(Duration::from_millis(250)));
        headers.insert("retry-after-ms", HeaderValue::from_static("x"));
        assert_eq!(retry_after(&headers, NOW), Some(Duration::from_secs(9)));
    }

    proptest! {
        #[test]
        fn nothing_panics(value in prop::collection::vec(32_u8..=255, 0..40)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.insert("retry-after", value.clone());
                headers.insert("retry-after-ms", value);
                let _ = retry_after(&headers, NOW);
            }
        }
    }
}
