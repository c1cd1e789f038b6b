//! The executor for the Messages API, against a server on loopback that answers as the vendor's pages say:
//! <https://docs.anthropic.com/en/api/messages>, <https://docs.anthropic.com/en/api/errors>,
//! <https://docs.anthropic.com/en/docs/build-with-claude/streaming>,
//! <https://docs.anthropic.com/en/api/messages-count-tokens> and <https://docs.anthropic.com/en/api/versioning>.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use credpool::provider::Anthropic;
use credpool::testing::{AnthropicUpstream, Gate, KeyBehaviour, Reply, Upstream};
use credpool::{
    Attempt, Auth, ChunkSource, Error, ErrorCode, Format, Manager, OAuthTokens, Options,
    ProviderExecutor, Request, RequestPreparer, Response, StreamChunk, SystemClock, Timeouts,
    Usage,
};
use serde_json::{Value, json};

const KEY: &str = "sk-ant-canary-key-1234567890";
const SHORT: Duration = Duration::from_millis(300);

fn attempt() -> Attempt {
    Attempt::for_tests(SystemClock)
}

fn auth(url: &str) -> Auth {
    Auth::api_key("anthropic", KEY)
        .with_id("team-a")
        .with_attribute("base_url", url)
}

fn login(url: &str) -> Auth {
    let tokens = OAuthTokens::new("canary-access").with_refresh_token("canary-refresh");
    Auth::oauth("anthropic", tokens)
        .with_id("team-a")
        .with_attribute("base_url", url)
}

fn hello() -> Request {
    let messages = json!([{"role": "user", "content": "Hello there"}]);
    let payload = json!({"model": "claude", "max_tokens": 64, "messages": messages});
    Request::new("claude", payload.to_string())
}

fn execute(url: &str, options: &Options) -> Result<Response, Error> {
    Anthropic::new().execute(&attempt(), &auth(url), &hello(), options)
}

fn open(url: &str, options: &Options) -> Result<ChunkSource, Error> {
    Anthropic::new().execute_stream(&attempt(), &auth(url), &hello(), options)
}

/// The chunks, and the error that ended the stream. Nothing comes after either end.
fn drain(mut stream: ChunkSource) -> (Vec<StreamChunk>, Option<Error>) {
    let mut chunks = Vec::new();
    let mut error = None;
    for item in &mut stream {
        assert!(error.is_none(), "an error is the last item");
        match item {
            Ok(chunk) => chunks.push(chunk),
            Err(found) => error = Some(found),
        }
    }
    assert!(stream.next().is_none());
    (chunks, error)
}

fn stream_with(reply: Reply, options: &Options) -> (Vec<StreamChunk>, Option<Error>) {
    let upstream = Upstream::start(move |_| reply.clone());
    let (chunks, error) = match open(&upstream.url(), options) {
        Ok(stream) => drain(stream),
        Err(error) => (Vec::new(), Some(error)),
    };
    if let Some(error) = &error {
        assert_eq!(error.auth_id(), Some("team-a"));
        assert_no_secret(error);
    }
    (chunks, error)
}

fn stream(reply: Reply) -> (Vec<StreamChunk>, Option<Error>) {
    stream_with(reply, &Options::new())
}

fn texts(chunks: &[StreamChunk]) -> Vec<&str> {
    let texts = chunks.iter().map(|chunk| chunk.text.as_deref());
    texts.flatten().collect()
}

fn assert_no_secret(error: &Error) {
    let mut shown = format!("{error} {error:?} {:#?}", error.body());
    if let Some(Ok(json)) = error.body().map(serde_json::from_str::<Value>) {
        shown = format!("{shown} {json}");
    }
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        shown = format!("{shown} {below} {below:?}");
        source = below.source();
    }
    assert!(!shown.contains("canary"), "{shown}");
}

/// A stream of these events, each under the name that is its type.
fn sse(events: &[Value]) -> Reply {
    Reply::named_sse(events.iter().map(|event| {
        let name = event["type"].as_str().unwrap_or_default();
        (name.to_owned(), event.to_string())
    }))
}

fn size(event: &Value) -> usize {
    let name = event["type"].as_str().unwrap();
    "event: \ndata: \n\n".len() + name.len() + event.to_string().len()
}

fn start() -> Value {
    json!({"type": "message_start", "message": {
        "id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY", "type": "message", "role": "assistant", "content": [],
        "model": "claude-opus-4-20250514", "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 25, "output_tokens": 1},
    }})
}

fn block(block: &Value) -> Value {
    json!({"type": "content_block_start", "index": 0, "content_block": block})
}

fn delta(delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": delta})
}

fn text(text: &str) -> Value {
    delta(&json!({"type": "text_delta", "text": text}))
}

fn ping() -> Value {
    json!({"type": "ping"})
}

fn problem(kind: &str, message: &str) -> Value {
    let error = json!({"type": kind, "message": message});
    json!({"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"})
}

/// The basic stream of the vendor's page.
fn basic() -> Vec<Value> {
    vec![
        start(),
        block(&json!({"type": "text", "text": ""})),
        ping(),
        text("Hello"),
        text("!"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 15},
        }),
        json!({"type": "message_stop"}),
    ]
}

/// The errors of <https://docs.anthropic.com/en/api/errors>.
const DOCUMENTED: [(u16, &str); 10] = [
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (402, "billing_error"),
    (403, "permission_error"),
    (404, "not_found_error"),
    (413, "request_too_large"),
    (429, "rate_limit_error"),
    (500, "api_error"),
    (504, "timeout_error"),
    (529, "overloaded_error"),
];

mod plain {
    use super::*;

    #[test]
    fn the_reply_is_read_and_the_request_is_what_was_given() {
        let upstream = AnthropicUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let auth = auth(&upstream.base_url())
            .with_attribute("anthropic_beta", "one, two")
            .with_attribute("header:x-team", "blue");
        let mut options = Options::new()
            .with_header("x-api-key", "somebody-else")
            .unwrap()
            .with_header("authorization", "Bearer somebody-else")
            .unwrap()
            .with_header("anthropic-beta", "two,three")
            .unwrap()
            .with_header("x-trace", "7")
            .unwrap();
        options.query.push(("a b".into(), "c&d".into()));
        let payload =
            r#"{ "messages":[{"role":"user","content":"Hi"}],  "max_tokens":1.0e1,"model":"m" }"#;
        let request = Request::new("another", payload);

        let response = Anthropic::new()
            .execute(&attempt(), &auth, &request, &options)
            .unwrap();
        assert_eq!(response.reply_text.as_deref(), Some("You said: Hi"));
        assert_eq!(response.usage, Some(Usage::new(1, 3)));
        assert_eq!(response.metadata.unwrap().text("request_id"), Some("req_1"));
        let json: Value = serde_json::from_slice(&response.payload).unwrap();
        assert_eq!(json["type"], "message");

        let got = &upstream.server().requests()[0];
        assert_eq!(
            (got.method.as_str(), got.path.as_str(), got.query.as_str()),
            ("POST", "/v1/messages", "a%20b=c%26d")
        );
        assert_eq!(got.body, payload);
        for (name, value) in [
            ("x-api-key", Some(KEY)),
            ("authorization", None),
            ("anthropic-version", Some("2023-06-01")),
            ("anthropic-beta", Some("one,two,three")),
            ("x-team", Some("blue")),
            ("x-trace", Some("7")),
            ("content-type", Some("application/json")),
        ] {
            assert_eq!(got.header(name), value, "{name}");
            assert!(got.headers.get_all(name).iter().count() <= 1);
        }
    }

    #[test]
    fn an_access_token_goes_out_as_bearer_and_alone() {
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"stop_reason":"end_turn"}"#));
        let nested = Auth::new("x")
            .with_metadata("token", json!({"access_token": "tok"}))
            .with_attribute("base_url", upstream.url() + "/proxy/v1/");
        for auth in [login(&upstream.url()), nested] {
            Anthropic::named("x")
                .execute(&attempt(), &auth, &hello(), &Options::new())
                .unwrap();
        }
        let asked = login(&upstream.url()).with_attribute("anthropic_beta", "oauth-2025-04-20");
        Anthropic::new()
            .execute(&attempt(), &asked, &hello(), &Options::new())
            .unwrap();
        let got = upstream.requests();
        assert_eq!(got[0].bearer(), Some("canary-access"));
        assert_eq!(
            (got[1].bearer(), got[1].path.as_str()),
            (Some("tok"), "/proxy/v1/messages")
        );
        assert_eq!(got[2].header("anthropic-beta"), Some("oauth-2025-04-20"));
        for request in &got {
            assert_eq!(request.header("x-api-key"), None);
        }
        assert_eq!(got[0].header("anthropic-beta"), None);
    }

    #[test]
    fn every_documented_error_keeps_status_body_and_hints() {
        for (status, kind) in DOCUMENTED {
            let body = problem(kind, "No.").to_string();
            let reply = Reply::json(status, body.clone())
                .header("retry-after", "17")
                .header("request-id", "req_011CSHoEeqs5C35K2UUqR7Fy");
            let upstream = Upstream::start(move |_| reply.clone());
            let calls = [
                execute(&upstream.url(), &Options::new()).map(drop),
                open(&upstream.url(), &Options::new()).map(drop),
            ];
            for error in calls.map(Result::unwrap_err) {
                assert_eq!(
                    (error.code(), error.http_status(), error.auth_id()),
                    (&ErrorCode::Upstream, Some(status), Some("team-a"))
                );
                assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
                assert_eq!(error.body(), Some(body.as_str()));
                assert!(error.message().contains(kind), "{error}");
                let retryable = matches!(status, 429 | 500 | 504 | 529);
                assert_eq!(error.is_retryable(), retryable, "{error}");
            }
        }
    }

    #[test]
    fn the_upstream_for_tests_refuses_as_the_api_does() {
        let upstream = AnthropicUpstream::start();
        for (behaviour, status, kind) in [
            (
                KeyBehaviour::RateLimited { retry_after: 17 },
                429,
                "rate_limit_error",
            ),
            (KeyBehaviour::QuotaUsedUp, 402, "billing_error"),
            (KeyBehaviour::Unauthorized, 401, "authentication_error"),
            (KeyBehaviour::Status(529), 529, "overloaded_error"),
        ] {
            upstream.set_key(KEY, behaviour);
            let error = execute(&upstream.base_url(), &Options::new()).unwrap_err();
            assert_eq!(error.http_status(), Some(status));
            assert!(error.message().contains(kind), "{error}");
        }
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let request = Request::new("m", r#"{"model":"m","messages":[]}"#);
        let auth = auth(&upstream.base_url());
        let error = Anthropic::new()
            .execute(&attempt(), &auth, &request, &Options::new())
            .unwrap_err();
        assert!(error.message().contains("max_tokens"), "{error}");
    }

    #[test]
    fn an_error_inside_a_success_is_an_error() {
        let body = problem("overloaded_error", KEY);
        let upstream = Upstream::start(move |_| Reply::json(200, body.to_string()));
        let error = execute(&upstream.url(), &Options::new()).unwrap_err();
        assert_eq!(error.http_status(), Some(529));
        assert_no_secret(&error);
    }

    #[test]
    fn a_stream_where_a_reply_was_expected_is_said() {
        let reply = sse(&basic());
        let upstream = Upstream::start(move |_| reply.clone());
        let error = execute(&upstream.url(), &Options::new()).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Upstream);
        assert!(error.message().contains("stream"), "{error}");
    }

    #[test]
    fn what_is_no_reply_may_be_asked_for_again() {
        for (body, code) in [
            ("{\"content\":", ErrorCode::Transport),
            ("{content:", ErrorCode::Upstream),
            (" ", ErrorCode::Upstream),
            ("{}", ErrorCode::Upstream),
        ] {
            let upstream = Upstream::start(move |_| Reply::json(200, body));
            let error = execute(&upstream.url(), &Options::new()).unwrap_err();
            assert_eq!(
                (error.code(), error.is_retryable()),
                (&code, true),
                "{error}"
            );
            assert_eq!(error.auth_id(), Some("team-a"));
        }
    }

    #[test]
    fn a_reply_that_drips_is_read_within_its_time() {
        let gate = Gate::new();
        let body = r#"{"type":"message","content":[{"type":"text","text":"Hi"}]}"#;
        let reply = Reply::json(200, body).in_pieces(2).drip(&gate);
        let upstream = Upstream::start(move |_| reply.clone());
        let response = dripping(&gate, || execute(&upstream.url(), &Options::new()));
        assert_eq!(response.unwrap().reply_text.as_deref(), Some("Hi"));

        let limits = Timeouts::new().with_total(SHORT);
        let options = Options::new().with_timeouts(limits);
        let error = dripping(&gate, || execute(&upstream.url(), &options)).unwrap_err();
        assert_eq!(
            (error.code(), error.is_retryable()),
            (&ErrorCode::Transport, true),
            "no single read took long"
        );
    }
}

/// Lets one piece through every few milliseconds while `work` goes on.
fn dripping<T>(gate: &Gate, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = crossbeam_channel::bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while is_done
                .recv_timeout(Duration::from_millis(20))
                .is_err_and(|e| e.is_timeout())
            {
                gate.step();
            }
        });
        let result = work();
        drop(done);
        result
    })
}

mod streams {
    use super::*;

    #[test]
    fn chunks_come_one_by_one_with_what_they_bring() {
        let upstream = AnthropicUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let payload = r#"{"model":"m","max_tokens":1e2,"messages":[{"content":"a b"}]}"#;
        let stream = Anthropic::new()
            .execute_stream(
                &attempt(),
                &auth(&upstream.base_url()),
                &Request::new("m", payload),
                &Options::new(),
            )
            .unwrap();
        let (chunks, error) = drain(stream);
        assert!(error.is_none());
        assert_eq!(texts(&chunks), ["You ", "said: ", "a ", "b"]);
        let got = &upstream.server().requests()[0];
        assert_eq!(got.path, "/v1/messages");
        assert_eq!(
            got.body,
            format!("{{\"stream\":true,{}", &payload[1..]),
            "nothing else is changed"
        );
        assert_eq!(got.header("accept"), Some("text/event-stream"));
    }

    #[test]
    fn the_basic_stream_of_the_page() {
        let (chunks, error) = stream(sse(&basic()));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(texts(&chunks), ["Hello", "!"]);
        let names: Vec<_> = chunks
            .iter()
            .map(|chunk| chunk.event.as_deref().unwrap())
            .collect();
        let events = basic();
        let expected: Vec<_> = events
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected);
        for (chunk, event) in chunks.iter().zip(&events) {
            assert_eq!(chunk.payload, event.to_string());
        }
        let preamble = chunks.iter().take_while(|chunk| chunk.preamble).count();
        assert_eq!(preamble, 3);
        assert!(chunks[3..].iter().all(|chunk| !chunk.preamble));
        assert_eq!(chunks[0].usage, Some(Usage::new(25, 1)));
        assert_eq!(chunks[6].usage, Some(Usage::new(25, 15)));
    }

    #[test]
    fn the_stream_with_a_tool_and_one_with_thinking() {
        let tool = json!({"type": "tool_use", "id": "toolu_01T1x1fJ34qAmk2tNTrN7Up6", "name": "get_weather", "input": {}});
        let json_delta =
            |json: &str| delta(&json!({"type": "input_json_delta", "partial_json": json}));
        let mut events = basic();
        events.splice(
            3..6,
            [
                block(&tool),
                json_delta(""),
                json_delta("{\"location\":"),
                json_delta(" \"San"),
                json_delta(" Francisco\"}"),
            ],
        );
        let (chunks, error) = stream(sse(&events));
        assert!(error.is_none() && texts(&chunks).is_empty());
        assert_eq!(chunks.len(), events.len());
        assert_eq!(chunks.iter().take_while(|chunk| chunk.preamble).count(), 3);

        let mut events = basic();
        events.splice(
            1..3,
            [
                block(&json!({"type": "thinking", "thinking": "", "signature": ""})),
                delta(&json!({"type": "thinking_delta", "thinking": "I need to find"})),
                delta(&json!({"type": "signature_delta", "signature": "EqQBCgIYAhIM"})),
            ],
        );
        let (chunks, error) = stream(sse(&events));
        assert!(error.is_none());
        assert_eq!(texts(&chunks), ["Hello", "!"]);
        assert_eq!(chunks.iter().take_while(|chunk| chunk.preamble).count(), 2);
    }

    #[test]
    fn unknown_events_pass_through() {
        let mut events = basic();
        let novel = json!({"type": "novel_event", "anything": [1, 2]});
        events.insert(1, novel.clone());
        events.insert(
            5,
            delta(&json!({"type": "novel_delta", "text": "not a text"})),
        );
        let (chunks, error) = stream(sse(&events));
        assert!(error.is_none());
        assert_eq!(chunks[1].payload, novel.to_string());
        assert!(chunks[1].preamble);
        assert_eq!(texts(&chunks), ["Hello", "!"]);
    }

    #[test]
    fn a_stream_ends_at_message_stop_whatever_comes_after() {
        let mut longer = basic();
        longer.push(problem("api_error", "never read"));
        let (chunks, error) = stream(sse(&longer));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(chunks.len(), basic().len());
    }

    #[test]
    fn the_last_event_may_lack_its_line_ends() {
        let whole: usize = basic().iter().map(size).sum();
        let cut = |at| stream(sse(&basic()).close_delimited().cut_after(at)).1;
        for at in [whole - 2, whole - 1] {
            assert!(cut(at).is_none(), "{at}");
        }
        let error = cut(whole - 3).unwrap();
        assert!(error.message().contains("message_stop"), "{error}");
    }

    #[test]
    fn an_error_event_has_the_status_of_its_type() {
        for (status, kind) in DOCUMENTED {
            for before in [1, 4] {
                let mut events = basic();
                events.insert(before, problem(kind, KEY));
                let (chunks, error) = stream(sse(&events));
                let error = error.unwrap();
                assert_eq!(
                    (error.code(), error.http_status()),
                    (&ErrorCode::Upstream, Some(status))
                );
                assert!(error.message().contains(kind), "{error}");
                assert_eq!(chunks.len(), before);
                assert_eq!(chunks.iter().all(|chunk| chunk.preamble), before == 1);
            }
        }
        let (_, error) = stream(sse(&[start(), problem("novel_error", "What?")]));
        let error = error.unwrap();
        assert_eq!(
            (error.code(), error.http_status()),
            (&ErrorCode::Upstream, None)
        );
        assert!(error.message().contains("novel_error"), "{error}");
    }

    #[test]
    fn an_answer_that_is_no_stream_is_an_error() {
        let limited = problem("rate_limit_error", KEY).to_string();
        let (_, error) = stream(Reply::json(200, limited));
        assert_eq!(error.unwrap().http_status(), Some(429));
        let (_, error) = stream(Reply::json(200, r#"{"type":"message"}"#));
        assert_eq!(*error.unwrap().code(), ErrorCode::StreamMalformed);
    }

    #[test]
    fn a_payload_that_cannot_be_streamed_is_not_sent() {
        let upstream = Upstream::start(|_| sse(&basic()));
        for payload in ["", "[]", "{\"a\":"] {
            let request = Request::new("m", payload);
            let auth = auth(&upstream.url());
            let result =
                Anthropic::new().execute_stream(&attempt(), &auth, &request, &Options::new());
            assert_eq!(*result.err().unwrap().code(), ErrorCode::Config);
        }
        assert_eq!(upstream.connections_opened(), 0);
    }
}

mod counts {
    use super::*;

    fn count(url: &str, payload: &str) -> Result<Response, Error> {
        let request = Request::new("m", payload.to_owned());
        Anthropic::new().count_tokens(&attempt(), &auth(url), &request, &Options::new())
    }

    #[test]
    fn what_only_a_reply_needs_is_left_out() {
        let upstream = AnthropicUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let payload = r#"{"max_tokens":64, "model":"m","stream":true,"temperature":1.0,"top_p":1,"top_k":5,"metadata":{"user_id":"u"},
            "stop_sequences":["x"],"service_tier":"auto","system":"Be brief", "messages":[{"role":"user","content":"Hello there"}],
            "tools":[],"tool_choice":{"type":"auto"},"thinking":{"type":"enabled","budget_tokens":16000},"novel":1.50}"#;
        let response = count(&upstream.base_url(), payload).unwrap();
        assert_eq!(response.usage, Some(Usage::new(4, 0)));
        assert_eq!(response.payload, r#"{"input_tokens":4}"#);
        assert_eq!(response.reply_text, None);
        let got = &upstream.server().requests()[0];
        assert_eq!(got.path, "/v1/messages/count_tokens");
        assert_eq!(got.header("anthropic-version"), Some("2023-06-01"));
        assert_eq!(
            got.body,
            r#"{ "model":"m","system":"Be brief", "messages":[{"role":"user","content":"Hello there"}],
            "tools":[],"tool_choice":{"type":"auto"},"thinking":{"type":"enabled","budget_tokens":16000},"novel":1.50}"#
        );
    }

    #[test]
    fn an_answer_without_a_number_is_an_error() {
        for body in ["{}", r#"{"input_tokens":"many"}"#, "[]"] {
            let upstream = Upstream::start(move |_| Reply::json(200, body));
            let error = count(&upstream.url(), "not json").unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Upstream);
            assert_eq!(upstream.requests()[0].body, "not json");
        }
    }
}

mod safety {
    use super::*;

    #[test]
    fn an_unfit_key_is_refused_before_anything_is_sent() {
        let upstream = Upstream::start(|_| Reply::json(200, "{}"));
        let long = "canary".repeat(2000);
        for key in [
            "canary\r\nx: y",
            "canary\n",
            " canary",
            "canary key",
            "canary\u{80}",
            "canary\0",
            "canary\u{7f}",
            &long,
        ] {
            let by_key = auth(&upstream.url()).with_attribute("api_key", key);
            let by_token = login(&upstream.url()).with_metadata("access_token", key);
            for auth in [by_key, by_token] {
                let (executor, options) = (Anthropic::new(), Options::new());
                let results = [
                    executor
                        .execute(&attempt(), &auth, &hello(), &options)
                        .map(drop),
                    executor
                        .execute_stream(&attempt(), &auth, &hello(), &options)
                        .map(drop),
                    executor
                        .count_tokens(&attempt(), &auth, &hello(), &options)
                        .map(drop),
                ];
                for error in results.map(Result::unwrap_err) {
                    assert_eq!(*error.code(), ErrorCode::Config, "{key:?}");
                    assert!(error.message().contains("team-a"));
                    assert_no_secret(&error);
                }
            }
        }
        assert_eq!(upstream.connections_opened(), 0);
    }

    #[test]
    fn an_upstream_that_echoes_secrets_does_not_make_errors_tell_them() {
        let secrets = format!("{KEY} canary-access canary-refresh canary-header");
        for status in [200, 400, 401, 429, 529] {
            for echo in [
                secrets.clone(),
                problem(&secrets, &secrets).to_string(),
                problem("sk-ant-\\u0063anary-key-1234567890", "x")
                    .to_string()
                    .replace("\\\\u", "\\u"),
            ] {
                let upstream = Upstream::start(move |request| {
                    if request.path.starts_with("/events/") {
                        Reply::named_sse([("error", echo.clone())])
                    } else {
                        Reply::json(status, echo.clone())
                    }
                });
                let mut auth = auth(&upstream.url())
                    .with_attribute("header:x-other-key", "canary-header")
                    .with_attribute("token_url", upstream.url());
                auth.metadata = login("").metadata;
                let events = auth
                    .clone()
                    .with_attribute("base_url", upstream.url() + "/events");
                let (executor, options) = (Anthropic::new(), Options::new());
                let request = hello();
                let mut errors = vec![
                    executor
                        .execute(&attempt(), &auth, &request, &options)
                        .map(drop)
                        .unwrap_err(),
                    executor
                        .count_tokens(&attempt(), &auth, &request, &options)
                        .map(drop)
                        .unwrap_err(),
                    executor.refresh(&attempt(), &auth).map(drop).unwrap_err(),
                    executor
                        .execute_stream(&attempt(), &auth, &request, &options)
                        .map(drop)
                        .unwrap_err(),
                ];
                let stream = executor.execute_stream(&attempt(), &events, &request, &options);
                errors.extend(stream.into_iter().flatten().filter_map(Result::err));
                assert_eq!(errors.len(), 5);
                errors.iter().for_each(assert_no_secret);
                assert!(!format!("{auth:?} {executor:?}").contains("canary"));
            }
        }
    }

    #[test]
    fn another_request_gets_the_credential() {
        let executor = Anthropic::new();
        let preparer: &dyn RequestPreparer = executor.request_preparer().unwrap();
        let head = |uri: &str| {
            let request = http::Request::builder()
                .uri(uri)
                .header("authorization", "old")
                .header("x-api-key", "old")
                .header("anthropic-beta", "files-api-2025-04-14")
                .header("x", "y");
            request.body(()).unwrap().into_parts().0
        };
        let by_key = Auth::api_key("anthropic", KEY).with_attribute("anthropic_beta", "mine");
        for uri in ["https://api.anthropic.com/v1/files", "/v1/files"] {
            let mut prepared = head(uri);
            preparer.prepare_request(&mut prepared, &by_key).unwrap();
            let headers = &prepared.headers;
            assert_eq!(headers["x-api-key"], KEY);
            assert!(!headers.contains_key("authorization"));
            assert_eq!(headers["anthropic-version"], "2023-06-01");
            assert_eq!(headers["anthropic-beta"], "mine,files-api-2025-04-14");
            assert_eq!(headers["x"], "y");
            assert!(!format!("{prepared:?}").contains("canary"));
        }
        let mut prepared = head("/v1/files");
        preparer.prepare_request(&mut prepared, &login("")).unwrap();
        assert_eq!(prepared.headers["authorization"], "Bearer canary-access");
        assert!(!prepared.headers.contains_key("x-api-key"));
        assert!(!format!("{prepared:?}").contains("canary"));

        let mut plain = head("http://api.example/v1/files");
        assert!(preparer.prepare_request(&mut plain, &by_key).is_err());
        let unfit = by_key.with_attribute("api_key", "canary\r\n");
        let error = preparer
            .prepare_request(&mut head("/"), &unfit)
            .unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config);
        assert_no_secret(&error);
    }

    #[test]
    fn it_speaks_its_format_and_its_name() {
        let executor = Anthropic::named("my-gateway");
        for (name, speaks) in [
            ("anthropic", true),
            ("Anthropic", true),
            ("my-gateway", true),
            ("openai", false),
        ] {
            assert_eq!(executor.speaks(&Format::new(name)), speaks);
        }
        assert_eq!(Anthropic::default().identifier(), "anthropic");
    }
}

#[test]
fn tokens_rotate_again_and_again() {
    let upstream = AnthropicUpstream::start();
    upstream.set_login("canary-refresh", KeyBehaviour::Serve);
    let old = login(&upstream.base_url()).with_attribute("token_url", upstream.token_url());
    let first = Anthropic::new().refresh(&attempt(), &old).unwrap();
    let second = Anthropic::new().refresh(&attempt(), &first).unwrap();
    assert_eq!(upstream.refreshes(), 2);
    Anthropic::new()
        .execute(&attempt(), &second, &hello(), &Options::new())
        .unwrap();
    assert_eq!(upstream.calls("access-2"), 1);
    let error = Anthropic::new().refresh(&attempt(), &old).unwrap_err();
    assert_eq!(*error.code(), ErrorCode::NeedsLogin);
    assert_eq!(upstream.replays(), 1);
    assert_no_secret(&error);
}

mod pool {
    use super::*;

    /// A pool of a first credential that is answered so, and a second that is served.
    fn pool(upstream: &AnthropicUpstream, first: Reply) -> Manager {
        upstream.set_key("first", KeyBehaviour::Reply(first));
        upstream.set_key("second", KeyBehaviour::Serve);
        let manager = Manager::builder().build().unwrap();
        manager.register_executor(Anthropic::new());
        for key in ["first", "second"] {
            let auth = Auth::api_key("anthropic", key)
                .with_id(key)
                .with_attribute("base_url", upstream.base_url());
            manager.register(auth).unwrap();
        }
        manager
    }

    /// What fails before any content.
    fn early() -> Vec<Reply> {
        let preamble = || basic()[..3].to_vec();
        let with = |event: Value| sse(&[preamble(), vec![event]].concat());
        vec![
            Reply::new(200).reset(),
            Reply::json(529, problem("overloaded_error", "Overloaded").to_string()),
            with(problem("overloaded_error", "Overloaded")),
            sse(&preamble()),
            sse(&basic()).cut_after(size(&start()) + 9),
            sse(&basic())
                .close_delimited()
                .cut_after(size(&start()) + 9),
            Reply::named_sse([("message_start", "garbage")]),
            Reply::new(200).header("content-type", "text/html"),
        ]
    }

    #[test]
    fn before_the_first_content_the_next_credential_takes_over() {
        for reply in early() {
            let upstream = AnthropicUpstream::start();
            let manager = pool(&upstream, reply);
            let stream = manager
                .execute_stream(["anthropic"], &hello(), &Options::new())
                .unwrap();
            assert_eq!((stream.auth_id(), stream.attempts()), ("second", 2));
            let chunks: Vec<_> = stream.map(Result::unwrap).collect();
            assert_eq!(texts(&chunks).concat(), "You said: Hello there");
            assert_eq!(upstream.calls("first"), 1);
        }
    }

    #[test]
    fn after_it_none_does() {
        let with = |event: Value| sse(&[basic()[..4].to_vec(), vec![event]].concat());
        let at: usize = basic()[..4].iter().map(size).sum();
        for (reply, code) in [
            (
                with(problem("overloaded_error", "Overloaded")),
                ErrorCode::Upstream,
            ),
            (sse(&basic()).cut_after(at + 9), ErrorCode::StreamTruncated),
            (sse(&basic()[..7]), ErrorCode::StreamTruncated),
            (with(json!([1])), ErrorCode::StreamMalformed),
        ] {
            let upstream = AnthropicUpstream::start();
            let manager = pool(&upstream, reply);
            let stream = manager
                .execute_stream(["anthropic"], &hello(), &Options::new())
                .unwrap();
            assert_eq!((stream.auth_id(), stream.attempts()), ("first", 1));
            let items: Vec<_> = stream.collect();
            let (last, before) = items.split_last().unwrap();
            assert_eq!(*last.as_ref().unwrap_err().code(), code);
            let before: Vec<_> = before.iter().flatten().cloned().collect();
            assert_eq!(texts(&before)[0], "Hello");
            assert_eq!(upstream.calls("second"), 0);
        }
    }

    #[test]
    fn replies_and_counts_fail_over() {
        let upstream = AnthropicUpstream::start();
        let body = problem("rate_limit_error", "Slow down").to_string();
        let manager = pool(&upstream, Reply::json(429, body));
        let options = Options::new();
        let response = manager.execute(["anthropic"], &hello(), &options).unwrap();
        assert_eq!((&*response.auth_id, response.attempts), ("second", 2));
        let count = manager
            .execute_count(["anthropic"], &hello(), &options)
            .unwrap();
        assert_eq!(count.usage, Some(Usage::new(2, 0)));
    }
}
