//! Waits and moments in the words of a message.

use super::*;

#[test]
fn moments_in_words() {
    let wait = |message: &str| wait_of(&json!({"error": {"message": message}}));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    // It is 08:49 UTC, 16:49 in Beijing.
    for (message, expected) in [
        (
            "Your limit will reset at 1994-11-06 18:49:00",
            seconds(7200),
        ),
        ("Your limit will reset at 1994-11-06 18:49", seconds(7200)),
        (
            "Weekly/Monthly Limit Exhausted. Your limit will reset at 1994-11-08 16:49:00.",
            seconds(172_800),
        ),
        (
            "\u{60a8}\u{7684}\u{9650}\u{989d}\u{5c06}\u{5728} 1994-11-06 18:49:00 \u{91cd}\u{7f6e}\u{3002}",
            seconds(7200),
        ),
        // In Beijing that has passed; in UTC it is ahead.
        ("will reset at 1994-11-06 09:49:00", seconds(3600)),
        ("will reset at 1994-11-06T10:49:00Z", seconds(7200)),
        ("resets at 1994-11-06 10:49:00 UTC", seconds(7200)),
        ("resets at 1994-11-06 10:49:00.123 GMT", seconds(7200)),
        ("try again at 1994-11-06T10:49:00+01:00", seconds(3600)),
        ("will reset at 1994-11-06 17:49:00 +0800 CST", seconds(3600)),
        ("will reset at 1994-11-06 17:49:00 (UTC+8)", seconds(3600)),
        (
            "please retry after 1994-11-06 03:49:00 -0600",
            seconds(3600),
        ),
        // What a zone puts into the past is no wait; without a zone it says nothing.
        ("resets at 1994-11-06 07:49:00 UTC", Some(Duration::ZERO)),
        ("resets at 1994-11-06 07:49:00", None),
        ("resets at 1995-11-06 07:49:00", None),
        ("resets at 1994-13-41 07:49:00", None),
        ("resets at 1994-11-06", None),
        ("resets at 1994-11-06 25:61:00", None),
        // Without its year: the nearest.
        ("will reset at 11-06 10:49:00 UTC.", seconds(7200)),
        ("will reset at 11-08 08:49 UTC", seconds(172_800)),
        ("will reset at 11-06 18:49:00", seconds(7200)),
        ("will reset at 11-06 07:49:00 UTC", Some(Duration::ZERO)),
        ("will reset at 03-06 07:49:00 UTC", None),
        ("will reset at 02-30 07:49:00 UTC", None),
        ("will reset at 11-06", None),
        ("will reset at 1994/11/06 18:49:00", seconds(7200)),
        ("retry after Sun, 06 Nov 1994 10:49:00 GMT", seconds(7200)),
        ("resets 1994-11-06T10:49:00Z", seconds(7200)),
        ("Reset time: 1994-11-06 18:49:00", seconds(7200)),
        (
            "\u{9650}\u{989d}\u{5c06}\u{4e8e} 1994-11-06 18:49:00 \u{91cd}\u{7f6e}",
            seconds(7200),
        ),
        (
            "\u{8bf7}\u{5728} 1994-11-06 18:49:00 \u{540e}\u{91cd}\u{8bd5}",
            seconds(7200),
        ),
        // The beginning of a day.
        ("resets on 1994-11-07.", seconds(7 * 3600 + 11 * 60)),
        ("resets on 1994-11-07 UTC", seconds(15 * 3600 + 11 * 60)),
        ("will reset at 5", None),
        ("will reset at 123456789012345678901234567890", None),
        ("resets at noon", None),
        ("resets at ", None),
        ("the job of 1994-11-06 18:49:00 failed", None),
    ] {
        assert_eq!(wait(message), expected, "{message}");
    }
}

#[test]
fn moments_in_words_may_be_unix_seconds_or_milliseconds() {
    let now = utc_datetime!(2026-11-27 04:00);
    for (moment, expected) in [
        ("1795759200", Some(Duration::from_secs(7200))),
        ("1795759200.", Some(Duration::from_secs(7200))),
        ("1795759200000", Some(Duration::from_secs(7200))),
        // Far away, and none.
        ("9795759200", None),
        ("17957592", None),
    ] {
        let body = json!({"error": {"message": format!("Your limit will reset at {moment}")}});
        let limits = of_error(RateLimits::new(), Some(429), &body, now);
        assert_eq!(limits.retry_after, expected, "{moment}");
    }
}

#[test]
fn a_year_that_is_left_out_may_be_the_next() {
    let new_year = utc_datetime!(2026-12-30 22:00);
    let body = br#"{"error":{"message":"The quota will reset at 01-02 22:00:00 UTC."}}"#;
    let limits = RateLimits::from_error(429, &HeaderMap::new(), body, new_year);
    assert_eq!(limits.retry_after, Some(Duration::from_secs(3 * 86_400)));
    // The first and the last year that there are.
    for (now, expected) in [
        (Timestamp::MIN, Some(Duration::from_secs(46 * 3600))),
        (Timestamp::MAX, None),
    ] {
        let limits = RateLimits::from_error(429, &HeaderMap::new(), body, now);
        assert_eq!(limits.retry_after, expected);
    }
}

#[test]
fn words_for_a_wait() {
    let wait = |message: &str| wait_of(&json!({"error": {"message": message}}));
    for (message, seconds) in [
        ("Please retry after 6 seconds.", 6.0),
        ("Please wait 12 seconds before retrying.", 12.0),
        ("You have to wait for 1 minute", 60.0),
        ("Try again in 5 hours 3 minutes.", 18_180.0),
        ("Resets in 1 day and 2 hours", 93_600.0),
        ("Try again in 1 minute, 30 seconds, please.", 90.0),
        ("try again after 30s", 30.0),
        ("Your quota will reset after 21h11m3s.", 76_263.0),
        ("Your limit will reset in 2.5 s", 2.5),
    ] {
        assert_eq!(
            wait(message),
            Some(Duration::from_secs_f64(seconds)),
            "{message}"
        );
    }
}

/// <https://openrouter.ai/docs/api/reference/limits>; Gitlawb/openclaude#936.
#[test]
fn headers_in_a_body() {
    let wait = |headers: Value| {
        wait_of(&json!({"error": {"code": 429, "message": "m", "metadata": {"headers": headers}}}))
    };
    let later = utc_datetime!(2026-11-27 08:00);
    let reset = (later.unix_timestamp() + 5400) * 1000;
    for reset in [json!(reset), json!(reset.to_string()), json!(reset / 1000)] {
        let headers = json!({"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset});
        let body =
            json!({"error": {"code": 429, "message": "m", "metadata": {"headers": headers}}});
        let limits = of_error(RateLimits::new(), Some(429), &body, later);
        assert_eq!(
            limits.retry_after,
            Some(Duration::from_secs(5400)),
            "{reset}"
        );
        assert_eq!(limits.retry_after_source, Some(HintSource::Body));
        assert_eq!(limits.window("default").unwrap().limit, Some(50));
    }
    let seconds = Some(Duration::from_secs(5400));
    for (headers, expected) in [
        (json!({"Retry-After": "5400"}), seconds),
        (json!({"Retry-After": 5400}), seconds),
        (
            json!({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "5400"}),
            seconds,
        ),
        (
            json!({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "5400"}),
            None,
        ),
        (json!({"bad name": "5400", "retry-after": ["x"]}), None),
        (json!("x"), None),
    ] {
        assert_eq!(wait(headers.clone()), expected, "{headers}");
    }
}
