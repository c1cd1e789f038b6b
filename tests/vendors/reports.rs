//! What users of public projects have reported, each with its neighbours: the same words where they mean something else.

use std::time::Duration;

use credpool::testing::Reply;
use credpool::{Clock, CooldownSource, FailureKind, SystemClock};
use serde_json::{Value, json};
use time::{Duration as Span, UtcOffset};

use crate::replay::{Api, Play, Played};

/// A moment as Beijing's clocks show it, without a zone.
fn in_beijing(seconds: i64) -> String {
    let at = SystemClock.now() + Span::seconds(seconds);
    let at = at.to_offset(UtcOffset::from_hms(8, 0, 0).unwrap());
    let (date, hour, minute, second) = (at.date(), at.hour(), at.minute(), at.second());
    format!("{date} {hour:02}:{minute:02}:{second:02}")
}

/// The first key is out for such a fault and about so long, and the second serves.
#[track_caller]
fn assert_out(played: &Played, fault: FailureKind, seconds: Option<u64>, everywhere: bool) {
    assert_eq!((played.first, played.second), (1, 1), "{played:?}");
    assert_eq!(played.standing.fault, Some(fault), "{played:?}");
    if let Some(seconds) = seconds {
        let left = played.standing.remaining.unwrap_or_default();
        let expected = Duration::from_secs(seconds);
        // Jitter only lengthens it.
        let most = expected + Duration::from_secs(32);
        assert!(
            left + Duration::from_secs(3) >= expected && left <= most,
            "{left:?}"
        );
    }
    let other = played.elsewhere.fault == Some(fault);
    assert_eq!(other, everywhere, "{:?}", played.elsewhere);
}

fn refused(api: Api, headers: &[(&str, &str)], body: &Value) -> Played {
    let mut reply = Reply::json(429, body.to_string());
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    Play::new(api).plain(reply)
}

/// anthropics/claude-code#71670
#[test]
fn a_server_that_is_busy_is_not_a_usage_limit() {
    let body = |message: &str| json!({"type": "error", "error": {"type": "rate_limit_error", "message": message}});
    let busy = body("Server is temporarily limiting requests (not your usage limit)");
    let played = Play::new(Api::Messages)
        .alone()
        .once()
        .plain(Reply::json(429, busy.to_string()));
    assert!(played.error.is_none(), "{played:?}");
    assert_eq!((played.first, played.text.as_str()), (2, "fine"));
    for (message, fault, everywhere) in [
        ("You have hit your usage limit", FailureKind::Quota, true),
        (
            "This request would exceed your account's rate limit",
            FailureKind::Quota,
            true,
        ),
        (
            "Number of request tokens has exceeded your rate limit",
            FailureKind::RateLimited,
            false,
        ),
        (
            "Slow down; this is not your usage limit",
            FailureKind::RateLimited,
            false,
        ),
    ] {
        let played = refused(Api::Messages, &[], &body(message));
        assert_out(&played, fault, None, everywhere);
    }
}

/// vybestack/llxprt-code#813, zeroclaw-labs/zeroclaw#4879
#[test]
fn googles_reason_goes_before_its_words() {
    let body = |message: &str, reason: Option<&str>, delay: Option<&str>| {
        let mut details = Vec::new();
        details.extend(reason.map(
            |reason| json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}),
        ));
        details.extend(delay.map(|delay| json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})));
        json!([{"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}])
    };
    let words = "You have exhausted your capacity on this model. Your quota will reset after 3s.";
    let long =
        "You have exhausted your capacity on this model. Your quota will reset after 5h0m0s.";
    for (body, fault, seconds) in [
        (
            body(words, Some("RATE_LIMIT_EXCEEDED"), None),
            FailureKind::RateLimited,
            3,
        ),
        (
            body(
                "You have exhausted your capacity on this model.",
                Some("RATE_LIMIT_EXCEEDED"),
                Some("2.5s"),
            ),
            FailureKind::RateLimited,
            2,
        ),
        (body(words, None, None), FailureKind::RateLimited, 3),
        (
            body(words, Some("QUOTA_EXHAUSTED"), None),
            FailureKind::Quota,
            60,
        ),
        (
            body(long, Some("QUOTA_EXHAUSTED"), None),
            FailureKind::Quota,
            18_000,
        ),
        (body(long, None, None), FailureKind::Quota, 18_000),
    ] {
        let played = refused(Api::Gemini, &[], &body);
        assert_out(&played, fault, Some(seconds), false);
        assert_eq!(played.standing.origin, Some(CooldownSource::Body));
    }
}

/// dirge-code/dirge#818, lidge-jun/opencodex#4024, NousResearch/hermes-agent#103038, hugalafutro/model-hotel#955
#[test]
fn a_plan_is_out_until_the_moment_that_is_named() {
    let body = |code: &str, message: String| json!({"error": {"code": code, "message": message}});
    for (body, seconds) in [
        (
            body(
                "1308",
                format!(
                    "Usage limit reached for 5 hour. Your limit will reset at {}",
                    in_beijing(7200)
                ),
            ),
            7200,
        ),
        (
            body(
                "1308",
                format!(
                    "已达到 5\n小时的使用上限。您的限额将在 {} 重置。",
                    in_beijing(7200)
                ),
            ),
            7200,
        ),
        (
            body(
                "1310",
                format!(
                    "Weekly/Monthly Limit Exhausted. Your limit will reset at {}",
                    in_beijing(172_800)
                ),
            ),
            172_800,
        ),
        // By the words alone, where there is no code.
        (
            body(
                "odd",
                format!(
                    "Usage limit reached. Your limit will reset at {}",
                    in_beijing(7200)
                ),
            ),
            7200,
        ),
        // Without a moment the guess remains.
        (
            body("1308", "Usage limit reached for 5 hour.".to_owned()),
            1800,
        ),
        (
            body("1310", "Weekly/Monthly Limit Exhausted.".to_owned()),
            1800,
        ),
    ] {
        let played = refused(Api::Chat, &[], &body);
        assert_out(&played, FailureKind::Quota, Some(seconds), true);
    }
    let rate = body("1302", "Rate limit reached for requests".to_owned());
    assert_out(
        &refused(Api::Chat, &[], &rate),
        FailureKind::RateLimited,
        Some(1),
        false,
    );
}

/// Wei-Shaw/sub2api#2258
#[test]
fn the_window_that_is_used_up_is_the_one_that_counts() {
    let windows = |primary, secondary| {
        [
            ("x-codex-primary-used-percent", primary),
            ("x-codex-primary-window-minutes", "10080"),
            ("x-codex-primary-reset-after-seconds", "400000"),
            ("x-codex-secondary-used-percent", secondary),
            ("x-codex-secondary-window-minutes", "300"),
            ("x-codex-secondary-reset-after-seconds", "15000"),
        ]
    };
    let body = json!({"detail": "Rate limit exceeded"});
    for (primary, secondary, fault, seconds, everywhere) in [
        ("30", "100", FailureKind::Quota, 15_000, true),
        ("100", "30", FailureKind::Quota, 400_000, true),
        ("100", "100", FailureKind::Quota, 400_000, true),
        ("30", "12", FailureKind::RateLimited, 1, false),
        ("99", "99", FailureKind::RateLimited, 1, false),
        ("30%", "100%", FailureKind::Quota, 15_000, true),
        ("99.9 %", "12%", FailureKind::RateLimited, 1, false),
    ] {
        let played = refused(Api::Responses, &windows(primary, secondary), &body);
        assert_out(&played, fault, Some(seconds), everywhere);
    }
    // A reset of 0 stands for none that is known: what else says when counts, or else the guess.
    let unknown = [
        ("x-codex-primary-used-percent", "100"),
        ("x-codex-primary-reset-after-seconds", "0"),
        ("x-codex-primary-reset-at", "0"),
    ];
    let known = [
        ("x-codex-secondary-used-percent", "100"),
        ("x-codex-secondary-reset-after-seconds", "7000"),
    ];
    let told = json!({"detail": {"type": "usage_limit_reached", "resets_in_seconds": 9000}});
    for (headers, body, seconds) in [
        (unknown.to_vec(), &body, 1800),
        ([unknown.as_slice(), &known].concat(), &body, 7000),
        (unknown.to_vec(), &told, 9000),
    ] {
        let played = refused(Api::Responses, &headers, body);
        assert_out(&played, FailureKind::Quota, Some(seconds), true);
    }
}

/// Gitlawb/openclaude#936, Avarok-Cybersecurity/atlas#543
#[test]
fn the_headers_in_a_body_say_when() {
    let reset = |seconds: i64| (SystemClock.now() + Span::seconds(seconds)).unix_timestamp() * 1000;
    let body = |what: &str, seconds: i64| {
        let headers = json!({"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset(seconds).to_string()});
        json!({"error": {"code": 429, "message": format!("Rate limit exceeded: {what}"), "metadata": {"headers": headers, "provider_name": null}}})
    };
    for (what, seconds, fault) in [
        ("free-models-per-day", 5400, FailureKind::Quota),
        ("free-models-per-min", 40, FailureKind::RateLimited),
        // Nobody limits a rate for hours.
        ("free-models", 5400, FailureKind::Quota),
    ] {
        let played = refused(Api::Chat, &[], &body(what, seconds));
        assert_out(&played, fault, Some(u64::try_from(seconds).unwrap()), false);
        assert_eq!(played.standing.origin, Some(CooldownSource::Body));
    }
}
