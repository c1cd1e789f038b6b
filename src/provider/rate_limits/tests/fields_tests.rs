//! Limit headers, by vendor.

use super::*;

/// What a 429 with these headers says: the wait, and the windows that are used up.
fn refused(all: &[(&'static str, &str)]) -> (Option<f64>, Vec<String>) {
    let limits = RateLimits::from_headers(&headers(all), NOW);
    let limits = of_error(limits, Some(429), &Value::Null, NOW);
    let used_up = limits.windows.iter().filter(|window| window.is_used_up());
    (
        limits.retry_after.map(|wait| wait.as_secs_f64()),
        used_up.map(|window| window.name.clone()).collect(),
    )
}

#[test]
fn the_fields_of_the_ietf_in_all_their_drafts() {
    let default = vec!["default".to_owned()];
    for (all, wait, used_up) in [
        // draft-ietf-httpapi-ratelimit-headers-11 and -08
        (
            vec![
                ("ratelimit", "\"default\";r=0;t=42"),
                ("ratelimit-policy", "\"default\";q=100;w=60"),
            ],
            Some(42.0),
            default.clone(),
        ),
        (vec![("ratelimit", "\"default\";r=3;t=42")], None, vec![]),
        (
            vec![(
                "ratelimit",
                "\"burst\";r=0;t=5, \"daily\";r=0;t=3600;pk=:cHsdsRa894==:",
            )],
            Some(3600.0),
            vec!["burst".to_owned(), "daily".to_owned()],
        ),
        (
            vec![("ratelimit", "\"burst\";r=0;t=5,\"daily\";r=9;t=3600")],
            Some(5.0),
            vec!["burst".to_owned()],
        ),
        // A token as a name, and one with separators (Hugging Face).
        (
            vec![("ratelimit", "default;r=0;t=7")],
            Some(7.0),
            default.clone(),
        ),
        (
            vec![("ratelimit", "\"api|pages, more\";r=0;t=298")],
            Some(298.0),
            vec!["api|pages, more".to_owned()],
        ),
        // A policy alone says how long: a minute is waited for, an hour is not.
        (
            vec![
                ("ratelimit", "\"default\";r=0"),
                ("ratelimit-policy", "\"default\";q=10;w=30"),
            ],
            Some(30.0),
            default.clone(),
        ),
        (
            vec![
                ("ratelimit", "\"default\";r=0"),
                ("ratelimit-policy", "\"default\";q=10;w=3600"),
            ],
            None,
            default.clone(),
        ),
        // draft 07
        (
            vec![
                ("ratelimit", "limit=100, remaining=0, reset=42"),
                ("ratelimit-policy", "100;w=60"),
            ],
            Some(42.0),
            default.clone(),
        ),
        (
            vec![("ratelimit", "limit=100, remaining=1, reset=42")],
            None,
            vec![],
        ),
        // drafts 00 to 06
        (
            vec![
                ("ratelimit-limit", "100, 100;w=60"),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", "42"),
            ],
            Some(42.0),
            default.clone(),
        ),
        // Retry-After wins.
        (
            vec![("retry-after", "3"), ("ratelimit", "\"default\";r=0;t=42")],
            Some(3.0),
            default,
        ),
        (
            vec![("ratelimit", "\"default\";r=-1;t=x, ;;=, \"")],
            None,
            vec![],
        ),
        (
            vec![("ratelimit-policy", "\"default\";q=100;w=60")],
            None,
            vec![],
        ),
    ] {
        assert_eq!(refused(&all), (wait, used_up), "{all:?}");
    }
    let both = [
        ("ratelimit", "\"default\";r=7;t=42"),
        ("ratelimit-policy", "\"default\";q=100;w=60"),
    ];
    let window = window(&both, "default").unwrap();
    assert_eq!((window.limit, window.remaining), (Some(100), Some(7)));
    assert_eq!(window.length, Some(Duration::from_secs(60)));
}

#[test]
fn a_window_is_as_long_as_its_name_says() {
    for (name, seconds) in [
        ("req-minute", Some(60)),
        ("tokens-month", Some(30 * 86_400)),
        ("requests-day", Some(86_400)),
        ("tokens-hour", Some(3600)),
        ("unified-5h", Some(5 * 3600)),
        ("unified-7d", Some(7 * 86_400)),
        ("requests", None),
        ("input-tokens", None),
        ("4k", None),
        ("", None),
    ] {
        assert_eq!(
            parse::length_in(name),
            seconds.map(Duration::from_secs),
            "{name}"
        );
    }
    // Mistral, as its servers answer; it has no reset.
    for (header, wait) in [
        ("x-ratelimit-remaining-req-minute", Some(60.0)),
        ("x-ratelimit-remaining-tokens-minute", Some(60.0)),
        ("x-ratelimit-remaining-tokens-month", None),
        ("x-ratelimitbysize-remaining-minute", Some(60.0)),
        ("x-ratelimitbysize-remaining-month", None),
        ("x-ratelimit-remaining-requests", None),
        ("x-trial-endpoint-call-remaining", Some(60.0)),
        ("x-tokenlimit-remaining", None),
    ] {
        let (found, used_up) = refused(&[(header, "0")]);
        assert_eq!((found, used_up.len()), (wait, 1), "{header}");
        assert_eq!(refused(&[(header, "1")]), (None, vec![]), "{header}");
    }
    let sized = [
        ("ratelimitbysize-remaining", "0"),
        ("ratelimitbysize-reset", "28"),
    ];
    assert_eq!(refused(&sized), (Some(28.0), vec!["size".to_owned()]));
}

/// openai/codex, codex-rs/codex-api/src/rate_limits.rs; Wei-Shaw/sub2api#2258.
#[test]
fn windows_of_subscriptions_to_openai() {
    let headers = |primary: &'static str, secondary: &'static str| {
        vec![
            ("x-codex-primary-used-percent", primary),
            ("x-codex-primary-window-minutes", "10080"),
            ("x-codex-primary-reset-after-seconds", "400000"),
            ("x-codex-secondary-used-percent", secondary),
            ("x-codex-secondary-window-minutes", "300"),
            ("x-codex-secondary-reset-after-seconds", "15000"),
            ("x-codex-primary-over-secondary-limit-percent", "100"),
            ("x-codex-credits-has-credits", "False"),
        ]
    };
    let name = |name: &str| format!("codex-{name}");
    for (primary, secondary, wait, used_up) in [
        ("30", "100", Some(15_000.0), vec![name("secondary")]),
        ("100", "12", Some(400_000.0), vec![name("primary")]),
        (
            "100.5",
            "100",
            Some(400_000.0),
            vec![name("primary"), name("secondary")],
        ),
        ("30", "12", None, vec![]),
        ("99.9", "99.9", None, vec![]),
        ("x", "-1", None, vec![]),
    ] {
        assert_eq!(
            refused(&headers(primary, secondary)),
            (wait, used_up),
            "{primary} {secondary}"
        );
    }
    let window = window(&headers("30", "12"), "codex-secondary").unwrap();
    assert_eq!(window.used_ratio(), Some(0.12));
    assert_eq!(window.length, Some(Duration::from_secs(5 * 3600)));
    // One that is not there has no length and no reset; one of a single model has a name of its own.
    let none = [
        ("x-codex-secondary-used-percent", "0"),
        ("x-codex-secondary-window-minutes", "0"),
        ("x-codex-secondary-reset-after-seconds", "0"),
        ("x-codex-bengalfox-primary-used-percent", "100"),
        ("x-codex-bengalfox-primary-reset-at", "784116940"),
    ];
    assert_eq!(refused(&none).1, [name("bengalfox-primary")]);
}
