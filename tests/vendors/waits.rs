//! How long a pool waits for streams that say nothing, and what it tells of tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{Gate, Reply, Upstream};
use credpool::{
    Auth, Clock, Error, ErrorCode, FailureKind, FailurePolicy, Hook, Manager, ManualClock, Options,
    Outcome, Request, Scope, Timeouts,
};
use parking_lot::Mutex;
use serde_json::json;

use crate::replay::{Api, Play, events};

/// <https://openrouter.ai/docs/api/reference/streaming>: comments half a second apart. Only those that
/// the reader was waiting for count; where it is slow, the server has enough of them to go on.
#[test]
fn behind_comments_the_second_key_is_asked_after_the_limit_for_the_first_chunk() {
    const COMMENT: &str = ": OPENROUTER PROCESSING\n\n";
    let gate = Gate::new();
    let silent = events(COMMENT.repeat(8000))
        .in_pieces(COMMENT.len())
        .drip(&gate);
    let upstream = Upstream::start(move |request| {
        if request.bearer() == Some("first") {
            silent.clone()
        } else {
            Api::Chat.stream()
        }
    });
    let clock = ManualClock::at(time::macros::utc_datetime!(2026-01-01 00:00));
    let manager = Manager::builder()
        .clock(clock.clone())
        .policy(FailurePolicy::default().without_waiting())
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    for (key, priority) in [("first", "2"), ("second", "1")] {
        let auth = Auth::api_key("openai", key)
            .with_id(key)
            .with_attribute("base_url", upstream.url())
            .with_attribute("priority", priority)
            .runtime_only();
        manager.register(auth).unwrap();
    }
    let limit = Duration::from_secs(2);
    let options = Options::new().with_timeouts(Timeouts::new().with_first_chunk(limit));
    let start = clock.monotonic();
    let is_served = Arc::new(AtomicBool::new(false));
    let call = std::thread::spawn({
        let (manager, is_served) = (manager.clone(), Arc::clone(&is_served));
        move || {
            let request = Request::new("m", "{}");
            let stream = manager
                .execute_stream(["openai"], &request, &options)
                .unwrap();
            let served = (stream.auth_id().to_owned(), stream.attempts());
            let texts: Vec<_> = stream.map(|chunk| chunk.unwrap().text).collect();
            is_served.store(true, Ordering::Release);
            (served, texts.into_iter().flatten().collect::<String>())
        }
    });
    // The clock stands still while nothing waits.
    while !is_served.load(Ordering::Acquire) {
        if gate.wait_reached(Duration::from_millis(20)) {
            clock.advance(Duration::from_millis(500));
            gate.step();
        }
    }
    let ((key, attempts), text) = call.join().unwrap();
    assert_eq!(
        (key.as_str(), attempts, text.as_str()),
        ("second", 2, "fine")
    );
    assert!(clock.monotonic() - start >= limit);
    let standing = &manager.explain("openai", "m")[0];
    let why = standing
        .error
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(why.contains("limit for the first chunk"), "{standing:?}");
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Told>>);

/// What was counted, and what was used.
type Told = Vec<(Option<u64>, Option<u64>)>;

impl Hook for Heard {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let used = outcome.usage.map(|usage| usage.input + usage.output);
        self.0.lock().push((outcome.counted, used));
    }
}

/// <https://platform.openai.com/docs/api-reference/responses/input-tokens>
#[test]
fn a_count_uses_no_tokens_and_is_told_as_a_count() {
    let upstream = Upstream::start(|request| {
        if request.path.ends_with("input_tokens") {
            Reply::json(
                200,
                r#"{"object":"response.input_tokens","input_tokens":60}"#,
            )
        } else {
            Reply::json(
                200,
                r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":60,"completion_tokens":30}}"#,
            )
        }
    });
    let heard = Heard::default();
    let manager = Manager::builder()
        .clock(ManualClock::at(
            time::macros::utc_datetime!(2026-01-01 00:00),
        ))
        .policy(FailurePolicy::default().without_waiting())
        .hook(heard.clone())
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    let auth = Auth::api_key("openai", "k")
        .with_id("a")
        .with_attribute("base_url", upstream.url())
        .with_attribute("count_tokens_path", "/responses/input_tokens")
        .with_attribute("tpm", "100")
        .runtime_only();
    manager.register(auth).unwrap();
    let (request, options) = (Request::new("m", "{}"), Options::new());
    for _ in 0..3 {
        let counted = manager
            .execute_count(["openai"], &request, &options)
            .unwrap();
        assert_eq!(counted.usage.unwrap().input, 60);
    }
    manager.execute(["openai"], &request, &options).unwrap();
    let told = heard.0.lock().clone();
    assert_eq!(
        told,
        [
            (Some(60), None),
            (Some(60), None),
            (Some(60), None),
            (None, Some(90))
        ]
    );
}

/// <https://platform.openai.com/docs/api-reference/chat/create#chat_create-stream_options>
#[test]
fn the_last_usage_is_asked_for_where_the_credential_says_so() {
    for (attribute, payload, expected) in [
        (None, json!({"model": "m"}), json!(null)),
        (Some("false"), json!({"model": "m"}), json!(null)),
        (
            Some("true"),
            json!({"model": "m"}),
            json!({"include_usage": true}),
        ),
        (
            Some(" True "),
            json!({"stream_options": null}),
            json!({"include_usage": true}),
        ),
        (
            Some("true"),
            json!({"stream_options": {"include_usage": false}}),
            json!({"include_usage": false}),
        ),
    ] {
        let mut play = Play::new(Api::Chat).payload(payload);
        if let Some(value) = attribute {
            play = play.attribute("stream_usage", value);
        }
        let played = play.stream(Api::Chat.stream());
        assert_eq!(played.text, "fine");
        assert_eq!(
            played.requests[0].json()["stream_options"],
            expected,
            "{attribute:?}"
        );
    }
    // The Responses API tells it always, and a plain call, too.
    let played = Play::new(Api::Responses)
        .attribute("stream_usage", "true")
        .stream(Api::Responses.stream());
    assert!(played.requests[0].json().get("stream_options").is_none());
    let played = Play::new(Api::Chat)
        .attribute("stream_usage", "true")
        .plain(Api::Chat.plain());
    assert!(played.requests[0].json().get("stream_options").is_none());
}

/// nextlevelbuilder/goclaw#1348, SamSaffron/term-llm#298: an image by stream was paid for three times and never arrived.
#[test]
fn an_event_over_the_limit_is_sent_for_once_and_held_against_nobody() {
    let image = "A".repeat(100_000);
    let sequences = [
        (
            Api::Chat,
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"images\":[\"{image}\"]}}}}]}}\n\n"
            ),
        ),
        (
            Api::Responses,
            format!(
                "data: {{\"type\":\"response.image_generation_call.partial_image\",\"partial_image_b64\":\"{image}\"}}\n\n"
            ),
        ),
        (
            Api::Messages,
            format!(
                "data: {{\"type\":\"content_block_start\",\"content_block\":{{\"data\":\"{image}\"}}}}\n\n"
            ),
        ),
        (
            Api::Cohere,
            format!(
                "data: {{\"type\":\"citation-start\",\"delta\":{{\"message\":{{\"citations\":\"{image}\"}}}}}}\n\n"
            ),
        ),
        (
            Api::Gemini,
            format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"inlineData\":{{\"data\":\"{image}\"}}}}]}}}}]}}\n\n"
            ),
        ),
    ];
    for (api, sequence) in sequences {
        for (keys, limit) in [(2, 64 * 1024), (1, 1000)] {
            let play = Play::new(api).options(|options| options.with_event_limit(limit));
            let play = if keys == 1 { play.alone() } else { play };
            let played = play.stream(events(sequence.clone()));
            assert_eq!((played.first, played.second), (1, 0), "{api:?}");
            assert_eq!(played.standing.fault, None, "{api:?}");
            assert!(played.standing.until.is_none());
            let error = played.error.unwrap();
            assert_eq!(*error.code(), ErrorCode::StreamMalformed);
            assert!(!error.is_retryable());
            let names_it = format!("the limit of {limit} bytes");
            assert!(error.message().contains(&names_it) && error.message().contains("event_limit"));
        }
        // Within the limit it is served.
        let whole = sequence.clone()
            + match api {
                Api::Chat => {
                    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
                }
                Api::Responses => {
                    "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n"
                }
                Api::Messages => "data: {\"type\":\"message_stop\"}\n\n",
                Api::Cohere => {
                    "data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\"}}\n\n"
                }
                Api::Gemini => "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n",
                _ => unreachable!("not among the sequences"),
            };
        let played = Play::new(api)
            .options(|options| options.with_event_limit(200_000))
            .stream(events(whole));
        assert!(played.error.is_none(), "{api:?}: {played:?}");
    }
}

/// What no retry heals, whatever it is called, and what one may heal.
#[test]
fn whether_a_retry_heals_decides_over_faults_without_a_status() {
    let policy = FailurePolicy::default();
    for code in [
        ErrorCode::Upstream,
        ErrorCode::StreamMalformed,
        ErrorCode::StreamTruncated,
        ErrorCode::StreamInterrupted,
        ErrorCode::StreamStalled,
    ] {
        let error = Error::new(code.clone(), "it says why");
        let healed = policy.classify(&error.clone().with_retryable(true));
        assert!(healed.fault.is_transient() && healed.failover, "{code}");
        let not = policy.classify(&error.with_retryable(false));
        assert_eq!(
            (not.fault, not.failover),
            (FailureKind::BadRequest, false),
            "{code}"
        );
        assert_eq!(not.scope, Scope::Request, "{code}");
    }
    // Another credential may go another way.
    let refused = Error::new(ErrorCode::Transport, "the certificate is unknown");
    let verdict = policy.classify(&refused.with_retryable(false));
    assert!(verdict.fault.is_transient() && verdict.failover);
}

/// `{"":0}` takes a hundred times its text as a tree.
#[test]
fn an_answer_of_countless_parts_is_refused_once_and_held_against_nobody() {
    let parts = vec![r#"{"":0}"#; 500_000].join(",");
    let plain = Play::new(Api::Chat).plain(Reply::json(200, format!(r#"{{"choices":[{parts}]}}"#)));
    let stream =
        Play::new(Api::Chat).stream(events(format!("data: {{\"choices\":[{parts}]}}\n\n")));
    for (played, code) in [
        (plain, ErrorCode::Upstream),
        (stream, ErrorCode::StreamMalformed),
    ] {
        assert_eq!((played.first, played.second), (1, 0), "{code}");
        assert_eq!(played.standing.fault, None);
        let error = played.error.unwrap();
        assert_eq!(*error.code(), code);
        assert!(
            !error.is_retryable() && error.message().contains("the client's limit"),
            "{error}"
        );
    }
}

/// A request says `accept-encoding: identity` (<https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3>): a server that compresses all the
/// same does so with the next request, too.
#[test]
fn an_answer_that_is_compressed_unasked_is_sent_for_once_and_held_against_nobody() {
    // `{"choices":[]}` by gzip.
    let gzip: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 74, 206, 200, 207, 76, 78, 45, 86, 178, 138, 142,
        173, 5, 0, 75, 158, 186, 173, 14, 0, 0, 0,
    ];
    let others: &[u8] = &[40, 181, 47, 253, 4, 88, 113, 0, 0, 5];
    for api in Api::ALL {
        for (body, encoding) in [
            (gzip, Some("gzip")),
            (gzip, None),
            (others, Some("zstd")),
            (others, Some("br")),
        ] {
            let reply = |kind: &str| {
                let reply = Reply::new(200).header("content-type", kind).body(body);
                match encoding {
                    Some(encoding) => reply.header("content-encoding", encoding),
                    None => reply,
                }
            };
            for played in [
                Play::new(api).alone().plain(reply("application/json")),
                Play::new(api).alone().stream(reply("text/event-stream")),
                Play::new(api).alone().stream(reply("application/json")),
            ] {
                assert_eq!(played.first, 1, "{api:?} {encoding:?} {played:?}");
                assert_eq!(played.standing.fault, None, "{api:?} {encoding:?}");
                let error = played.error.unwrap();
                assert!(!error.is_retryable(), "{error}");
                assert!(error.message().contains("compressed"), "{error}");
            }
        }
        // What is named and was not done.
        for named in ["gzip", "identity", ""] {
            let plain = api.plain().header("content-encoding", named);
            let stream = api.stream().header("content-encoding", named);
            for played in [Play::new(api).plain(plain), Play::new(api).stream(stream)] {
                assert_eq!(
                    (played.text.as_str(), played.first),
                    ("fine", 1),
                    "{api:?} {named:?}"
                );
            }
        }
    }
}
