//! The executor for OpenAI-compatible servers, against a server on loopback.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::{Duration, Instant};

use credpool::provider::OpenAi;
use credpool::testing::{Gate, KeyBehaviour, OpenAiUpstream, Reply, Upstream};
use credpool::{
    Attempt, Auth, Error, ErrorCode, ManualClock, OAuthTokens, Options, ProviderExecutor, Request,
    RequestPreparer, Response, StreamChunk, SystemClock, Usage,
};
use serde_json::{Value, json};
use time::macros::utc_datetime;

const KEY: &str = "sk-canary-key-1234567890";
/// A whole answer.
const PLAIN: &str = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;

const LONG: Duration = Duration::from_secs(20);

fn attempt() -> Attempt {
    Attempt::for_tests(SystemClock)
}

fn auth(upstream: &Upstream) -> Auth {
    Auth::api_key("openai", KEY)
        .with_id("team-a")
        .with_attribute("base_url", upstream.url())
}

fn chat() -> Request {
    let payload =
        json!({"model": "gpt-5", "messages": [{"role": "user", "content": "Hello there"}]});
    Request::new("gpt-5", payload.to_string())
}

fn execute(upstream: &Upstream) -> Result<Response, Error> {
    OpenAi::new().execute(&attempt(), &auth(upstream), &chat(), &Options::new())
}

fn open(upstream: &Upstream, options: &Options) -> Result<credpool::ChunkSource, Error> {
    OpenAi::new().execute_stream(&attempt(), &auth(upstream), &chat(), options)
}

/// The chunks, and the error that ended the stream. Nothing comes after either end.
fn drain(mut stream: credpool::ChunkSource) -> (Vec<StreamChunk>, Option<Error>) {
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
    if let Some(error) = &error {
        assert_eq!(error.auth_id(), Some("team-a"));
        assert_no_secret(error);
    }
    (chunks, error)
}

fn stream(reply: Reply) -> (Vec<StreamChunk>, Option<Error>) {
    let upstream = Upstream::start(move |_| reply.clone());
    match open(&upstream, &Options::new()) {
        Ok(chunks) => drain(chunks),
        Err(error) => (Vec::new(), Some(error)),
    }
}

/// How a stream of these events ends.
fn end_of(reply: Reply) -> ErrorCode {
    stream(reply).1.unwrap().code().clone()
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

fn delta(text: &str) -> String {
    json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
        .to_string()
}

fn finish() -> String {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string()
}

fn role() -> String {
    json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}).to_string()
}

mod plain {
    use super::*;

    #[test]
    fn the_reply_is_read_and_the_request_is_what_was_given() {
        let upstream = OpenAiUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let auth = Auth::api_key("openai", KEY)
            .with_attribute("base_url", upstream.base_url())
            .with_attribute("organization", "org-1")
            .with_attribute("project", "proj-1")
            .with_attribute("header:x-team", "blue");
        let options = Options::new()
            .with_header("authorization", "Bearer somebody-else")
            .unwrap()
            .with_header("x-trace", "7")
            .unwrap()
            .with_query("a b", "c&d");
        let payload = r#"{ "messages":[{"role":"user","content":"Hi"}],  "model":"m" }"#;
        let request = Request::new("another", payload);

        let response = OpenAi::new()
            .execute(&attempt(), &auth, &request, &options)
            .unwrap();
        assert_eq!(response.reply_text.as_deref(), Some("You said: Hi"));
        assert_eq!(response.usage, Some(Usage::new(1, 3)));
        assert_eq!(response.metadata.unwrap().text("request_id"), Some("req-1"));
        let json: Value = serde_json::from_slice(&response.payload).unwrap();
        assert_eq!(json["object"], "chat.completion");

        let got = &upstream.server().requests()[0];
        assert_eq!(
            (got.method.as_str(), got.path.as_str()),
            ("POST", "/v1/chat/completions")
        );
        assert_eq!(got.query, "a%20b=c%26d");
        assert_eq!(got.body, payload);
        for (name, value) in [
            ("authorization", "Bearer sk-canary-key-1234567890"),
            ("openai-organization", "org-1"),
            ("openai-project", "proj-1"),
            ("x-team", "blue"),
            ("x-trace", "7"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(got.header(name), Some(value));
        }
        assert_eq!(got.headers.get_all("authorization").iter().count(), 1);
    }

    #[test]
    fn connections_are_kept() {
        let upstream = Upstream::start(|_| Reply::json(200, PLAIN));
        let attempt = attempt();
        for _ in 0..3 {
            let auth = auth(&upstream);
            OpenAi::new()
                .execute(&attempt, &auth, &chat(), &Options::new())
                .unwrap();
        }
        assert_eq!(upstream.request_count(), 3);
    }

    #[test]
    fn a_token_serves_as_well_as_a_key() {
        let upstream = Upstream::start(|_| Reply::json(200, PLAIN));
        let nested = Auth::new("x")
            .with_metadata("token", json!({"access_token": "tok"}))
            .with_attribute("base_url", upstream.url() + "/v2/");
        OpenAi::named("x")
            .execute(&attempt(), &nested, &chat(), &Options::new())
            .unwrap();
        let got = &upstream.requests()[0];
        assert_eq!(
            (got.bearer(), got.path.as_str()),
            (Some("tok"), "/v2/chat/completions")
        );
    }

    #[test]
    fn an_error_answer_keeps_its_status_body_and_hints() {
        let upstream = OpenAiUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::RateLimited { retry_after: 17 });
        let auth = Auth::api_key("openai", KEY)
            .with_id("team-a")
            .with_attribute("base_url", upstream.base_url());
        let error = OpenAi::new()
            .execute(&attempt(), &auth, &chat(), &Options::new())
            .unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Upstream);
        assert_eq!(error.http_status(), Some(429));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
        assert_eq!(error.auth_id(), Some("team-a"));
        assert!(error.is_retryable());
        assert!(
            error.message().contains("rate_limit_exceeded (requests)"),
            "{error}"
        );
        assert!(error.body().unwrap().contains("test server"));
    }

    #[test]
    fn the_code_is_named_however_far_back_it_stands() {
        let body =
            json!({"error": {"message": "x".repeat(2000), "code": "z_code", "type": "z_type"}});
        let upstream = Upstream::start(move |_| Reply::json(400, body.to_string()));
        let error = execute(&upstream).unwrap_err();
        assert!(error.message().contains("z_code (z_type)"), "{error}");
        assert!(!error.is_retryable());
    }

    #[test]
    fn retry_hints_of_every_kind() {
        let now = utc_datetime!(2025-06-01 12:00);
        let hint = |name: &'static str, value: &'static str| {
            let upstream = Upstream::start(move |_| Reply::new(503).header(name, value));
            let attempt = Attempt::for_tests(ManualClock::at(now));
            let result =
                OpenAi::new().execute(&attempt, &auth(&upstream), &chat(), &Options::new());
            result.unwrap_err().retry_after()
        };
        assert_eq!(
            hint("retry-after", "Sun, 01 Jun 2025 12:01:40 GMT"),
            Some(Duration::from_secs(100))
        );
        assert_eq!(
            hint("retry-after", "2.5"),
            Some(Duration::from_millis(2500))
        );
        assert_eq!(
            hint("retry-after-ms", "30"),
            Some(Duration::from_millis(30))
        );
        for hostile in ["-1", "1e30", "NaN", "99999999999999999999999999", "\u{fc}"] {
            assert_eq!(hint("retry-after", hostile), None);
        }
        let upstream = Upstream::start(|_| Reply::new(500).header("x-should-retry", "false"));
        assert!(!execute(&upstream).unwrap_err().is_retryable());
    }

    #[test]
    fn an_error_inside_a_success_is_an_error() {
        let body =
            json!({"error": {"code": 502, "message": "no provider", "metadata": {"key": KEY}}});
        let upstream = Upstream::start(move |_| Reply::json(200, body.to_string()));
        let error = execute(&upstream).unwrap_err();
        assert_eq!(error.http_status(), Some(502));
        assert_no_secret(&error);
    }

    /// <https://openrouter.ai/docs/api/reference/errors-and-debugging>: what the model said until then stands beside it.
    #[test]
    fn an_error_beside_a_choice_is_an_error() {
        let message = json!({"role": "assistant", "content": "half of"});
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2});
        for (choice, status) in [
            (
                json!({"message": message, "finish_reason": "error", "error": {"code": 502, "message": KEY}}),
                Some(502),
            ),
            (
                json!({"message": message, "error": {"code": "rate_limit_exceeded"}}),
                Some(429),
            ),
            (json!({"message": message, "finish_reason": "error"}), None),
        ] {
            let body = json!({"choices": [choice], "usage": usage}).to_string();
            let upstream = Upstream::start(move |_| Reply::json(200, body.clone()));
            let error = execute(&upstream).unwrap_err();
            assert_eq!(
                (error.code(), error.http_status()),
                (&ErrorCode::Upstream, status)
            );
            assert_no_secret(&error);
        }
        for choice in [
            json!({"message": message, "finish_reason": "stop", "error": null}),
            json!({"message": message, "finish_reason": "stop", "error": {}}),
        ] {
            let body = json!({"choices": [choice], "usage": usage}).to_string();
            let upstream = Upstream::start(move |_| Reply::json(200, body.clone()));
            assert!(execute(&upstream).is_ok());
        }
    }

    #[test]
    fn what_is_not_json_is_said_and_not_shown() {
        for kind in ["text/html", "text/event-stream", "application/json"] {
            let body = format!("<html>{KEY}");
            let upstream = Upstream::start(move |_| {
                Reply::new(200)
                    .header("content-type", kind)
                    .body(body.clone())
            });
            let error = execute(&upstream).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Upstream);
            assert!(error.message().contains("not JSON"));
            assert_no_secret(&error);
        }
    }

    #[test]
    fn an_error_body_is_bounded_and_its_end_hides_no_half_secret() {
        // The reading limit falls into the middle of the key, wherever it starts.
        for shift in [0, 1, 7] {
            let body = format!("{}{}", "-".repeat(shift), KEY.repeat(8000));
            let upstream = Upstream::start(move |_| Reply::new(500).body(body.clone()));
            let error = execute(&upstream).unwrap_err();
            assert_no_secret(&error);
            assert!(!error.body().unwrap().contains("sk-"));
        }
    }

    #[test]
    fn a_body_that_never_ends_is_not_read_to_its_end() {
        let upstream =
            Upstream::start(|_| Reply::json(200, "[".to_owned() + &" ".repeat(65 * 1024 * 1024)));
        let error = execute(&upstream).unwrap_err();
        assert_eq!(
            (error.code(), error.is_retryable()),
            (&ErrorCode::Upstream, false)
        );
    }

    /// The status is what counts: nobody waits for the rest of its explanation as for a reply.
    #[test]
    fn an_error_whose_body_stalls_or_drips_is_told_all_the_same() {
        let gate = Gate::new();
        let body = format!("{{\"error\":{}\"", " ".repeat(9000));
        let limited = Reply::json(429, body).header("retry-after", "7");
        let stalls = limited.clone().stall_after(9, &gate);
        let drips = limited.in_pieces(1).drip(&gate);
        for (reply, steps) in [(stalls, false), (drips, true)] {
            let upstream = Upstream::start(move |_| reply.clone());
            let started = Instant::now();
            let error = std::thread::scope(|threads| {
                let call = threads.spawn(|| {
                    if steps {
                        open(&upstream, &Options::new()).map(drop).unwrap_err()
                    } else {
                        execute(&upstream).map(drop).unwrap_err()
                    }
                });
                while !call.is_finished() {
                    // A byte now and then, for as long as somebody listens.
                    std::thread::sleep(Duration::from_millis(20));
                    if steps {
                        gate.step();
                    }
                }
                call.join().unwrap()
            });
            assert_eq!(error.http_status(), Some(429));
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
            assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
        }
    }
}

mod safety {
    use super::*;

    #[test]
    fn an_upstream_that_echoes_secrets_does_not_make_errors_tell_them() {
        let tokens = OAuthTokens::new("canary-access").with_refresh_token("canary-refresh");
        let escaped = "sk-\\u0063anary-key-1234567890";
        for status in [200, 400, 401, 429, 500] {
            for echo in [
                format!("{KEY} canary-access canary-refresh canary-header"),
                format!(
                    "{{\"error\":{{\"message\":\"{KEY}\",\"code\":\"{KEY}\",\"type\":\"canary-access\"}}}}"
                ),
                format!("{{\"error\":{{\"message\":\"{escaped}\",\"code\":\"{escaped}\"}}}}"),
                format!("{{\"error\":\"{escaped}\",\"error_description\":\"canary-refresh\"}}"),
            ] {
                let upstream = Upstream::start(move |request| {
                    if request.path.starts_with("/events/") {
                        Reply::sse([echo.clone()])
                    } else {
                        Reply::json(status, echo.clone())
                    }
                });
                let mut auth = auth(&upstream)
                    .with_attribute("header:x-other-key", "canary-header")
                    .with_attribute("count_tokens_path", "/count")
                    .with_attribute("token_url", upstream.url());
                auth.metadata = Auth::oauth("openai", tokens.clone()).metadata;
                let events = auth
                    .clone()
                    .with_attribute("base_url", upstream.url() + "/events");
                let (executor, options) = (OpenAi::new(), Options::new());
                let mut errors = vec![
                    executor
                        .execute(&attempt(), &auth, &chat(), &options)
                        .map(drop)
                        .unwrap_err(),
                    executor
                        .count_tokens(&attempt(), &auth, &chat(), &options)
                        .map(drop)
                        .unwrap_err(),
                    executor.refresh(&attempt(), &auth).map(drop).unwrap_err(),
                    executor
                        .execute_stream(&attempt(), &auth, &chat(), &options)
                        .map(drop)
                        .unwrap_err(),
                ];
                let stream = executor.execute_stream(&attempt(), &events, &chat(), &options);
                errors.extend(stream.into_iter().flatten().filter_map(Result::err));
                assert_eq!(errors.len(), 5);
                errors.iter().for_each(assert_no_secret);
            }
        }
    }

    #[test]
    fn another_request_gets_the_credential() {
        let executor = OpenAi::new();
        let auth = Auth::api_key("openai", KEY).with_attribute("organization", "org");
        let preparer: &dyn RequestPreparer = executor.request_preparer().unwrap();
        let head = |uri: &str| {
            let request = http::Request::builder()
                .uri(uri)
                .header("authorization", "old")
                .header("x", "y");
            request.body(()).unwrap().into_parts().0
        };
        for uri in ["https://api.example/v1/files", "/v1/files"] {
            let mut head = head(uri);
            preparer.prepare_request(&mut head, &auth).unwrap();
            assert_eq!(head.headers["authorization"], format!("Bearer {KEY}"));
            assert_eq!(head.headers["openai-organization"], "org");
            assert_eq!(head.headers["x"], "y");
            assert!(!format!("{head:?}").contains("canary"));
        }
        let mut plain = head("http://api.example/v1/files");
        assert!(preparer.prepare_request(&mut plain, &auth).is_err());
        let unfit = auth.with_attribute("api_key", "canary\r\n");
        let error = preparer
            .prepare_request(&mut head("/"), &unfit)
            .unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config);
        assert_no_secret(&error);
    }
}

mod streams {
    use super::*;

    #[test]
    fn chunks_come_one_by_one_with_what_they_bring() {
        let upstream = OpenAiUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let auth = Auth::api_key("openai", KEY).with_attribute("base_url", upstream.base_url());
        let payload = r#"{"model":"m","messages":[{"content":"a b"}],"stream_options":{"include_usage":true}}"#;
        let stream = OpenAi::new()
            .execute_stream(
                &attempt(),
                &auth,
                &Request::new("m", payload),
                &Options::new(),
            )
            .unwrap();
        let (chunks, error) = drain(stream);
        assert!(error.is_none());
        let texts: Vec<_> = chunks
            .iter()
            .filter_map(|chunk| chunk.text.as_deref())
            .collect();
        assert_eq!(texts, ["You ", "said: ", "a ", "b"]);
        let preamble: Vec<_> = chunks.iter().map(|chunk| chunk.preamble).collect();
        assert_eq!(preamble, [true, false, false, false, false, false, false]);
        assert_eq!(chunks[6].usage, Some(Usage::new(2, 4)));
        assert!(chunks.iter().all(|chunk| chunk.payload != "[DONE]"));
        let got = &upstream.server().requests()[0];
        assert_eq!(got.json()["stream"], true);
        assert!(got.body.ends_with(&payload.as_bytes()[1..]));
        assert_eq!(got.header("accept"), Some("text/event-stream"));
        assert_eq!(got.header("accept-encoding"), Some("identity"));
    }

    #[test]
    fn events_keep_their_names() {
        let body = format!("event: delta\ndata: {}\n\ndata: [DONE]\n\n", delta("x"));
        let (chunks, _) = stream(
            Reply::new(200)
                .header("content-type", "text/event-stream")
                .body(body),
        );
        assert_eq!(chunks[0].event.as_deref(), Some("delta"));
    }

    /// As in <https://platform.openai.com/docs/api-reference/chat/streaming>: the last chunk of a choice says why it ended.
    #[test]
    fn a_stream_is_whole_after_its_finish_reason() {
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}});
        let whole = [
            Reply::sse([delta("a"), finish(), "[DONE]".into()]),
            Reply::sse([finish(), "[DONE]".into(), delta("never")]),
            Reply::sse([delta("a"), finish(), usage.to_string()]),
            Reply::sse([delta("a"), finish()]),
            Reply::sse([delta("a"), finish()]).close_delimited(),
            Reply::sse([delta("a"), finish(), delta("never")])
                .cut_after(delta("a").len() + finish().len() + 16),
        ];
        for reply in whole {
            let (_, error) = stream(reply);
            assert!(error.is_none(), "{error:?}");
        }
    }

    /// Gateways close a stream that broke off behind them as they close every other.
    #[test]
    fn done_does_not_replace_a_finish_reason() {
        let empty =
            json!({"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": ""}]});
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}});
        for events in [
            vec![],
            vec![role()],
            vec![delta("a")],
            vec![delta("a"), empty.to_string()],
            vec![usage.to_string()],
        ] {
            let events = events.into_iter().chain(["[DONE]".to_owned()]);
            assert_eq!(end_of(Reply::sse(events)), ErrorCode::StreamTruncated);
        }
    }

    /// With `n`, the choices come in turn, each with a reason of its own.
    #[test]
    fn every_choice_must_end() {
        let piece = |index: u64, content: &str, reason: Option<&str>| {
            let delta = json!({"content": content});
            json!({"choices": [{"index": index, "delta": delta, "finish_reason": reason}]})
                .to_string()
        };
        let both = [piece(0, "a", None), piece(1, "b", None)];
        let (first, second) = (piece(0, "", Some("stop")), piece(1, "", Some("length")));
        let with = |ends: &[&String]| {
            let ends = ends.iter().map(|end| (*end).clone());
            Reply::sse(both.iter().cloned().chain(ends))
        };
        assert!(stream(with(&[&second, &first])).1.is_none());
        let done = "[DONE]".to_owned();
        for ends in [vec![&first], vec![&second], vec![&first, &done]] {
            assert_eq!(end_of(with(&ends)), ErrorCode::StreamTruncated, "{ends:?}");
        }
        // The second choice alone, after an ordinary chunk of the first.
        let late = Reply::sse([delta("a"), delta("a"), second]);
        assert_eq!(end_of(late), ErrorCode::StreamTruncated);
    }

    #[test]
    fn a_huge_event_is_refused() {
        let huge = delta(&"x".repeat(10 * 1024 * 1024));
        assert!(stream(Reply::sse([huge, finish()])).1.is_none());
        let upstream = Upstream::start(move |_| {
            let image = delta(&"x".repeat(3 * 1024 * 1024));
            Reply::sse([image, finish()])
        });
        for (limit, served) in [(2, false), (4, true)] {
            let stream = OpenAi::new()
                .with_event_limit(limit * 1024 * 1024)
                .execute_stream(&attempt(), &auth(&upstream), &chat(), &Options::new())
                .unwrap();
            assert_eq!(drain(stream).1.is_none(), served, "{limit} MiB");
        }
        let large = delta(&"x".repeat(1000 * 1024));
        let (chunks, error) = stream(Reply::sse([large, finish()]));
        assert!(error.is_none() && chunks.len() == 2);
    }

    #[test]
    fn an_error_event_has_the_status_it_stands_for() {
        for (event, status) in [
            (
                json!({"error": {"code": "rate_limit_exceeded", "type": "requests"}}),
                Some(429),
            ),
            (
                json!({"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}),
                Some(429),
            ),
            (
                json!({"error": {"type": "server_error", "code": null}}),
                Some(500),
            ),
            (
                json!({"error": {"type": "invalid_request_error", "param": null}}),
                Some(400),
            ),
            (
                json!({"error": {"type": "authentication_error"}}),
                Some(401),
            ),
            (
                json!({"type": "error", "error": {"type": "overloaded_error"}}),
                Some(529),
            ),
            (
                json!({"error": {"code": 502}, "choices": [{"finish_reason": "error"}]}),
                Some(502),
            ),
            (
                json!({"error": {"message": "what?", "code": "novel"}}),
                None,
            ),
        ] {
            let (chunks, error) = stream(Reply::sse([role(), event.to_string(), finish()]));
            let error = error.unwrap();
            assert_eq!(
                (error.code(), error.http_status()),
                (&ErrorCode::Upstream, status),
                "{event}"
            );
            assert_eq!(chunks.len(), 1);
            assert!(chunks[0].preamble);
        }
        // https://openrouter.ai/docs/api/reference/errors-and-debugging
        for (choice, status) in [
            (
                json!({"delta": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "m"}}),
                Some(502),
            ),
            (
                json!({"delta": {}, "error": {"code": "server_error"}}),
                Some(500),
            ),
            (
                json!({"delta": {"content": "b"}, "finish_reason": "error"}),
                None,
            ),
        ] {
            let event = json!({ "choices": [choice] }).to_string();
            let (chunks, error) = stream(Reply::sse([&delta("a"), &event, &finish()]));
            let error = error.unwrap();
            assert_eq!(
                (error.code(), error.http_status()),
                (&ErrorCode::Upstream, status)
            );
            assert_eq!(chunks.len(), 1);
        }
        let named = format!(
            "event: error\ndata: {}\n\n",
            json!({"code": "slow_down", "message": "m"})
        );
        let reply = Reply::new(200)
            .header("content-type", "text/event-stream")
            .body(named);
        assert_eq!(stream(reply).1.unwrap().http_status(), Some(503));
        let words = Reply::named_sse([("", delta("a")), ("error", format!("upstream gone {KEY}"))]);
        let error = stream(words).1.unwrap();
        assert_eq!(*error.code(), ErrorCode::Upstream);
        assert!(error.message().contains("upstream gone"), "{error}");
        assert_no_secret(&error);
    }

    #[test]
    fn a_json_answer_is_no_stream() {
        let limited = json!({"error": {"code": "rate_limit_exceeded", "message": KEY}});
        let (_, error) = stream(Reply::json(200, limited.to_string()));
        let error = error.unwrap();
        assert_eq!(error.http_status(), Some(429));
        assert_no_secret(&error);
        assert_eq!(
            end_of(Reply::json(200, r#"{"choices":[]}"#)),
            ErrorCode::StreamMalformed
        );
        let page = Reply::new(200)
            .header("content-type", "text/html")
            .body("<html>");
        assert_eq!(end_of(page), ErrorCode::Upstream);
    }

    #[test]
    fn a_payload_that_cannot_be_streamed_is_not_sent() {
        let upstream = Upstream::start(|_| Reply::sse(["[DONE]"]));
        for payload in ["", "[]", "{\"a\":"] {
            let request = Request::new("m", payload);
            let result = OpenAi::new().execute_stream(
                &attempt(),
                &auth(&upstream),
                &request,
                &Options::new(),
            );
            assert_eq!(*result.err().unwrap().code(), ErrorCode::Config);
        }
        assert_eq!(upstream.connections_opened(), 0);
    }
}

mod counts {
    use super::*;

    #[test]
    fn a_chat_is_counted_where_the_upstream_can() {
        let upstream = OpenAiUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let auth = Auth::api_key("openai", KEY)
            .with_attribute("base_url", upstream.base_url())
            .with_attribute("count_tokens_path", "/responses/input_tokens");
        let response = OpenAi::new()
            .count_tokens(&attempt(), &auth, &chat(), &Options::new())
            .unwrap();
        assert_eq!(response.usage, Some(Usage::new(2, 0)));
        let json: Value = serde_json::from_slice(&response.payload).unwrap();
        assert_eq!(
            json,
            json!({"object": "response.input_tokens", "input_tokens": 2})
        );
        let got = &upstream.server().requests()[0];
        assert_eq!(got.path, "/v1/responses/input_tokens");
        let input = json!([{"role": "user", "content": "Hello there"}]);
        assert_eq!(got.json(), json!({"model": "gpt-5", "input": input}));
    }

    #[test]
    fn a_payload_for_the_endpoint_itself_goes_unchanged() {
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"input_tokens":"many"}"#));
        let auth = auth(&upstream).with_attribute("count_tokens_path", "input_tokens");
        let payload = r#"{ "input": "Hi", "model": "m" }"#;
        let request = Request::new("m", payload);
        let error = OpenAi::new()
            .count_tokens(&attempt(), &auth, &request, &Options::new())
            .unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Upstream);
        assert_eq!(upstream.requests()[0].body, payload);
    }

    #[cfg(feature = "estimate")]
    #[test]
    fn elsewhere_it_is_estimated() {
        let upstream = Upstream::start(|_| Reply::json(200, "{}"));
        let result =
            OpenAi::new().count_tokens(&attempt(), &auth(&upstream), &chat(), &Options::new());
        let response = result.unwrap();
        // Three around the message and three for the reply, `user`, `Hello` and ` there`.
        assert_eq!(response.usage, Some(Usage::new(9, 0)));
        let metadata = response.metadata.unwrap();
        assert_eq!(metadata.get("estimated"), Some(&json!(true)));
        assert_eq!(metadata.text("tokenizer"), Some("o200k_base"));
        assert_eq!(upstream.connections_opened(), 0);
    }

    #[cfg(not(feature = "estimate"))]
    #[test]
    fn elsewhere_it_is_unsupported() {
        let upstream = Upstream::start(|_| Reply::json(200, "{}"));
        let result =
            OpenAi::new().count_tokens(&attempt(), &auth(&upstream), &chat(), &Options::new());
        let error = result.unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Unsupported);
        assert!(error.message().contains("count_tokens_path"));
        assert_eq!(upstream.connections_opened(), 0);
    }
}

mod refresh {
    use super::*;

    fn login(url: String) -> Auth {
        let tokens = OAuthTokens::new("canary-access").with_refresh_token("canary-refresh");
        Auth::oauth("openai", tokens)
            .with_id("team-a")
            .with_attribute("token_url", url)
            .with_attribute("client_id", "my-app")
    }

    fn refreshed(reply: Reply) -> Result<Auth, Error> {
        let upstream = Upstream::start(move |_| reply.clone());
        let clock = ManualClock::at(utc_datetime!(2025-06-01 12:00));
        OpenAi::new().refresh(&Attempt::for_tests(clock), &login(upstream.url()))
    }

    #[test]
    fn tokens_rotate_again_and_again() {
        let upstream = OpenAiUpstream::start();
        upstream.set_login("canary-refresh", KeyBehaviour::Serve);
        let old = login(upstream.token_url()).with_attribute("base_url", upstream.base_url());
        let first = OpenAi::new().refresh(&attempt(), &old).unwrap();
        let second = OpenAi::new().refresh(&attempt(), &first).unwrap();
        assert_eq!(upstream.refreshes(), 2);
        assert_eq!(
            second.metadata.as_ref().unwrap().text("refresh_token"),
            Some("refresh-2")
        );
        assert!(
            OpenAi::new()
                .execute(&attempt(), &second, &chat(), &Options::new())
                .is_ok()
        );
        assert_eq!(upstream.calls("access-2"), 1);
        assert_eq!(
            upstream.server().connections_opened(),
            3,
            "a grant goes over a connection of its own"
        );

        let error = OpenAi::new().refresh(&attempt(), &old).unwrap_err();
        assert_eq!(
            (error.code(), error.http_status()),
            (&ErrorCode::NeedsLogin, Some(400))
        );
        assert_eq!(upstream.replays(), 1);
        assert_no_secret(&error);
    }

    #[test]
    fn the_request_is_the_grant_of_the_standard() {
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"access_token":"new"}"#));
        let auth = login(upstream.url() + "/oauth/token?tenant=1").with_attribute("scope", "a b");
        OpenAi::new().refresh(&attempt(), &auth).unwrap();
        let got = &upstream.requests()[0];
        assert_eq!(
            (got.method.as_str(), got.path.as_str(), got.query.as_str()),
            ("POST", "/oauth/token", "tenant=1")
        );
        assert_eq!(
            got.header("content-type"),
            Some("application/x-www-form-urlencoded")
        );
        assert_eq!(got.bearer(), None);
        assert_eq!(
            got.body,
            "grant_type=refresh_token&refresh_token=canary-refresh&client_id=my-app&scope=a%20b"
        );
    }

    #[test]
    fn an_answer_without_a_refresh_token_keeps_the_old_one() {
        let auth = refreshed(Reply::json(
            200,
            r#"{"access_token":"new","expires_in":"3600"}"#,
        ))
        .unwrap();
        assert_eq!(
            auth.expiration_time().at(),
            Some(utc_datetime!(2025-06-01 13:00))
        );
        let metadata = auth.metadata.unwrap();
        assert_eq!(metadata.text("refresh_token"), Some("canary-refresh"));
        assert_eq!(metadata.text("access_token"), Some("new"));
        assert_eq!(metadata.text("expires_at"), Some("2025-06-01T13:00:00Z"));
    }

    #[test]
    fn odd_lifetimes_do_no_harm() {
        for odd in ["0", "-1", "null", "\"x\"", "[]"] {
            let body = format!("{{\"access_token\":\"new\",\"expires_in\":{odd}}}");
            assert_eq!(
                refreshed(Reply::json(200, body))
                    .unwrap()
                    .expiration_time()
                    .at(),
                None
            );
        }
        let far = refreshed(Reply::json(
            200,
            r#"{"access_token":"new","expires_in":1e18}"#,
        ))
        .unwrap();
        assert!(far.expiration_time().at().unwrap() > utc_datetime!(9000-01-01 00:00));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let code_of = |status, body: &'static str| {
            let error = refreshed(Reply::json(status, body)).unwrap_err();
            assert_no_secret(&error);
            assert_eq!(
                (error.http_status(), error.auth_id()),
                (Some(status), Some("team-a"))
            );
            (error.code().clone(), error.is_retryable())
        };
        for body in [
            r#"{"error":"invalid_grant","error_description":"canary-refresh is spent"}"#,
            r#"{"error":{"code":"refresh_token_reused","message":"canary-access","type":"invalid_request_error"}}"#,
            r#"{"error":"expired_token"}"#,
        ] {
            assert_eq!(code_of(400, body), (ErrorCode::NeedsLogin, false));
            assert_eq!(code_of(401, body), (ErrorCode::NeedsLogin, false));
        }
        assert_eq!(
            code_of(200, r#"{"error":"bad_refresh_token"}"#),
            (ErrorCode::NeedsLogin, false)
        );
        assert_eq!(
            code_of(401, r#"{"error":"invalid_client"}"#),
            (ErrorCode::Config, false)
        );
        assert_eq!(
            code_of(403, "<html>canary-refresh"),
            (ErrorCode::RefreshFailed, false)
        );
        assert_eq!(code_of(302, ""), (ErrorCode::RefreshFailed, false));
        for status in [408, 429, 500, 502] {
            assert_eq!(
                code_of(status, "canary-refresh"),
                (ErrorCode::RefreshFailed, true)
            );
        }
        let busy = refreshed(Reply::json(429, "{}").header("retry-after", "5")).unwrap_err();
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn an_answer_that_is_none_may_be_asked_again() {
        for (reply, code) in [
            (
                Reply::json(200, r#"{"access_token":"#),
                ErrorCode::RefreshFailed,
            ),
            (
                Reply::json(200, r#"{"access_token":""}"#),
                ErrorCode::RefreshFailed,
            ),
            (
                Reply::json(200, r#"{"access_token":"new"}"#).cut_after(9),
                ErrorCode::Transport,
            ),
            (Reply::new(200).reset(), ErrorCode::Transport),
        ] {
            let error = refreshed(reply).unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), (&code, true));
        }
    }

    #[test]
    fn settings_that_are_missing_are_named() {
        let mut auth = login(String::new());
        let error = OpenAi::new().refresh(&attempt(), &auth).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config);
        assert!(error.message().contains("token_url"));
        auth.metadata = None;
        let error = OpenAi::new().refresh(&attempt(), &auth).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::NeedsLogin);
    }
}
