//! The Responses API, against servers on loopback that answer as the vendor documents it:
//! <https://platform.openai.com/docs/api-reference/responses> and
//! <https://platform.openai.com/docs/api-reference/responses-streaming>.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::Write;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{Gate, KeyBehaviour, OpenAiUpstream, Reply, Upstream};
use credpool::{
    Attempt, Auth, ChunkSource, Error, ErrorCode, Exhausted, Manager, Options, ProviderExecutor,
    Request, Response, StreamChunk, SystemClock, Usage,
};
use serde_json::{Value, json};

const KEY: &str = "sk-canary-key-1234567890";

fn attempt() -> Attempt {
    Attempt::for_tests(SystemClock)
}

fn auth(base_url: String) -> Auth {
    Auth::api_key("openai", KEY)
        .with_id("team-a")
        .with_attribute("base_url", base_url)
}

fn options() -> Options {
    Options::new().with_alt("responses")
}

fn request() -> Request {
    Request::new("gpt-5", r#"{"model":"gpt-5","input":"Hello there"}"#)
}

fn serving() -> OpenAiUpstream {
    let upstream = OpenAiUpstream::start();
    upstream.set_key(KEY, KeyBehaviour::Serve);
    upstream
}

fn plain(reply: Reply) -> Result<Response, Error> {
    let upstream = Upstream::start(move |_| reply.clone());
    OpenAi::new().execute(&attempt(), &auth(upstream.url()), &request(), &options())
}

fn drain(stream: ChunkSource) -> (Vec<StreamChunk>, Option<Error>) {
    let mut chunks = Vec::new();
    let mut error = None;
    for item in stream {
        assert!(error.is_none(), "an error is the last item");
        match item {
            Ok(chunk) => chunks.push(chunk),
            Err(found) => error = Some(found),
        }
    }
    if let Some(error) = &error {
        assert_eq!(error.auth_id(), Some("team-a"));
        assert_no_secret(error);
    }
    (chunks, error)
}

fn streamed_with(reply: Reply, options: &Options) -> (Vec<StreamChunk>, Option<Error>) {
    let upstream = Upstream::start(move |_| reply.clone());
    match OpenAi::new().execute_stream(&attempt(), &auth(upstream.url()), &request(), options) {
        Ok(stream) => drain(stream),
        Err(error) => (Vec::new(), Some(error)),
    }
}

fn streamed(reply: Reply) -> (Vec<StreamChunk>, Option<Error>) {
    streamed_with(reply, &options())
}

fn assert_no_secret(error: &Error) {
    let shown = format!(
        "{error} {error:?} {:#?} {:?}",
        error.body(),
        error.rate_limits()
    );
    assert!(!shown.contains("canary"), "{shown}");
}

/// A stream of events that are named as their type says.
fn events(events: &[Value]) -> Reply {
    let mut body = String::new();
    for event in events {
        let name = event["type"].as_str().unwrap_or("message");
        write!(body, "event: {name}\ndata: {event}\n\n").unwrap();
    }
    Reply::new(200)
        .header("content-type", "text/event-stream")
        .body(body)
        .chunked()
}

fn length(events: &[Value]) -> usize {
    let frame = "event: \ndata: \n\n".len();
    let name = |event: &Value| event["type"].as_str().unwrap().len();
    let lengths = events
        .iter()
        .map(|event| event.to_string().len() + name(event) + frame);
    lengths.sum()
}

fn created() -> Value {
    json!({"type": "response.created", "sequence_number": 0, "response": {
        "id": "resp_1", "object": "response", "status": "in_progress", "error": null, "output": [], "usage": null,
    }})
}

fn added() -> Value {
    json!({"type": "response.output_item.added", "output_index": 0, "sequence_number": 1,
        "item": {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}})
}

fn delta(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0,
        "delta": text, "sequence_number": 2})
}

fn ended(status: &str) -> Value {
    json!({"type": format!("response.{status}"), "sequence_number": 9, "response": {
        "id": "resp_1", "object": "response", "status": status, "error": null,
        "incomplete_details": {"reason": "max_output_tokens"}, "output": [],
        "usage": {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 87, "total_tokens": 123},
    }})
}

/// <https://platform.openai.com/docs/api-reference/responses-streaming/response/failed>
fn failed(error: &Value) -> Value {
    json!({"type": "response.failed", "sequence_number": 9, "response": {
        "id": "resp_1", "object": "response", "status": "failed", "error": error, "output": [], "usage": null,
    }})
}

/// Why a response failed (<https://platform.openai.com/docs/api-reference/responses/object>), and the status it stands for.
const CODES: [(&str, Option<u16>); 20] = [
    ("server_error", Some(500)),
    ("rate_limit_exceeded", Some(429)),
    ("invalid_prompt", Some(400)),
    ("vector_store_timeout", Some(504)),
    ("invalid_image", Some(400)),
    ("invalid_image_format", Some(400)),
    ("invalid_base64_image", Some(400)),
    ("invalid_image_url", Some(400)),
    ("image_too_large", Some(400)),
    ("image_too_small", Some(400)),
    ("image_parse_error", Some(400)),
    ("image_content_policy_violation", Some(400)),
    ("invalid_image_mode", Some(400)),
    ("image_file_too_large", Some(400)),
    ("unsupported_image_media_type", Some(400)),
    ("empty_image_file", Some(400)),
    ("failed_to_download_image", Some(400)),
    ("image_file_not_found", Some(400)),
    ("insufficient_quota", Some(429)),
    ("a_code_of_tomorrow", None),
];

mod whole {
    use super::*;

    #[test]
    fn a_response_is_read() {
        let upstream = serving();
        let response = OpenAi::new()
            .execute(
                &attempt(),
                &auth(upstream.base_url()),
                &request(),
                &options(),
            )
            .unwrap();
        assert_eq!(
            response.reply_text.as_deref(),
            Some("You said: Hello there")
        );
        assert_eq!(response.usage, Some(Usage::new(2, 4)));
        assert_eq!(response.metadata.unwrap().text("request_id"), Some("req-1"));
        let limits = response.rate_limits.unwrap();
        assert_eq!(limits.window("requests").unwrap().remaining, Some(9_999));
        let got = &upstream.server().requests()[0];
        assert_eq!(got.path, "/v1/responses");
        assert_eq!(got.body, request().payload);
    }

    #[test]
    fn an_unfinished_response_is_an_answer() {
        for status in ["incomplete", "queued", "in_progress"] {
            let body = json!({"object": "response", "status": status, "error": null, "output": [], "background": true});
            let response = plain(Reply::json(200, body.to_string())).unwrap();
            assert_eq!((response.reply_text, response.usage), (None, None));
        }
    }

    #[test]
    fn a_failed_response_is_an_error() {
        for (code, status) in CODES {
            let body = json!({"object": "response", "status": "failed", "output": [],
                "error": {"code": code, "message": format!("{KEY} Please try again in 3s")}});
            let error = plain(Reply::json(200, body.to_string())).unwrap_err();
            assert_eq!(
                (error.code(), error.http_status()),
                (&ErrorCode::Upstream, status),
                "{code}"
            );
            assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
            assert!(error.message().contains(code), "{error}");
            assert_no_secret(&error);
        }
        let silent = json!({"object": "response", "status": "failed", "error": null});
        let error = plain(Reply::json(200, silent.to_string())).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Upstream);
        assert!(error.message().contains("without a reason"), "{error}");
    }

    /// <https://platform.openai.com/docs/guides/error-codes>
    #[test]
    fn every_documented_error_keeps_its_status() {
        for (status, kind, code, exhausted) in [
            (400, "invalid_request_error", "unknown_parameter", None),
            (401, "invalid_request_error", "invalid_api_key", None),
            (
                403,
                "request_forbidden",
                "unsupported_country_region_territory",
                None,
            ),
            (404, "invalid_request_error", "model_not_found", None),
            (
                429,
                "requests",
                "rate_limit_exceeded",
                Some(Exhausted::Rate),
            ),
            (429, "tokens", "rate_limit_exceeded", Some(Exhausted::Rate)),
            (
                429,
                "insufficient_quota",
                "insufficient_quota",
                Some(Exhausted::Quota),
            ),
            (500, "server_error", "server_error", None),
            (
                503,
                "server_error",
                "slow_down",
                Some(Exhausted::Overloaded),
            ),
        ] {
            let body =
                json!({"error": {"message": "m", "type": kind, "param": null, "code": code}})
                    .to_string();
            let plain = plain(Reply::json(status, body.clone())).unwrap_err();
            let streamed = streamed(Reply::json(status, body)).1.unwrap();
            for error in [plain, streamed] {
                assert_eq!(error.http_status(), Some(status));
                assert!(error.message().contains(code), "{error}");
                let found = error.rate_limits().and_then(|limits| limits.exhausted);
                assert_eq!(found, exhausted, "{code}");
            }
        }
    }
}

mod streams {
    use super::*;

    #[test]
    fn a_stream_is_read_to_its_end() {
        let upstream = serving();
        let stream = OpenAi::new()
            .execute_stream(
                &attempt(),
                &auth(upstream.base_url()),
                &request(),
                &options(),
            )
            .unwrap();
        let (chunks, error) = drain(stream);
        assert!(error.is_none());
        let names: Vec<_> = chunks
            .iter()
            .map(|chunk| {
                let name = chunk.event.as_deref().unwrap();
                (name.trim_start_matches("response."), chunk.preamble)
            })
            .collect();
        assert_eq!(
            names,
            [
                ("created", true),
                ("in_progress", true),
                ("output_item.added", true),
                ("content_part.added", true),
                ("output_text.delta", false),
                ("output_text.delta", false),
                ("output_text.delta", false),
                ("output_text.delta", false),
                ("output_text.done", false),
                ("content_part.done", false),
                ("output_item.done", false),
                ("completed", false),
            ]
        );
        let text: String = chunks
            .iter()
            .filter_map(|chunk| chunk.text.clone())
            .collect();
        assert_eq!(text, "You said: Hello there");
        assert_eq!(chunks[11].usage, Some(Usage::new(2, 4)));
        assert!(chunks[..11].iter().all(|chunk| chunk.usage.is_none()));
        assert!(chunks[0].rate_limits.is_some() && chunks[1].rate_limits.is_none());
        let got = &upstream.server().requests()[0];
        assert_eq!(got.path, "/v1/responses");
        assert_eq!(
            got.body,
            r#"{"stream":true,"model":"gpt-5","input":"Hello there"}"#
        );
        assert_eq!(got.header("accept"), Some("text/event-stream"));
    }

    #[test]
    fn the_reply_s_own_end_is_the_end() {
        let gate = Gate::new();
        for end in ["completed", "incomplete"] {
            let all = [created(), delta("a"), ended(end), delta("never")];
            let whole = events(&all[..3]);
            let at = length(&all[..3]);
            for reply in [
                whole.clone(),
                whole.clone().close_delimited(),
                whole.clone().content_length(),
                // What comes after it, or does not, is of no interest.
                events(&all),
                events(&all).cut_after(at),
                events(&all).cut_after(at + 9),
                events(&all).stall_after(at, &gate),
            ] {
                let (chunks, error) = streamed(reply);
                assert!(error.is_none(), "{error:?}");
                assert_eq!(chunks.len(), 3);
                let usage = Usage::new(36, 87).with_cached(4);
                assert_eq!(chunks[2].usage, Some(usage));
            }
        }
    }

    #[test]
    fn a_failed_response_is_the_last_item() {
        for (code, status) in CODES {
            let error =
                json!({"code": code, "message": format!("{KEY} Please try again in 350ms")});
            for before in [vec![created()], vec![created(), delta("a")]] {
                let mut all = before.clone();
                all.extend([failed(&error), delta("never")]);
                let (chunks, error) = streamed(events(&all));
                let error = error.unwrap();
                assert_eq!(
                    (error.code(), error.http_status()),
                    (&ErrorCode::Upstream, status),
                    "{code}"
                );
                assert_eq!(error.retry_after(), Some(Duration::from_millis(350)));
                assert!(error.message().contains(code), "{error}");
                assert_eq!(chunks.len(), before.len());
            }
        }
        let (_, error) = streamed(events(&[created(), failed(&Value::Null)]));
        assert!(error.unwrap().message().contains("without a reason"));
    }

    /// <https://platform.openai.com/docs/api-reference/responses-streaming/error>, in the form that is documented and in
    /// the one that is sent.
    #[test]
    fn an_error_event_is_the_last_item() {
        for (code, status) in CODES {
            let plain = json!({"type": "error", "code": code, "message": KEY, "param": null, "sequence_number": 1});
            let nested = json!({"type": "error", "error": {"code": code, "message": KEY, "param": null}, "sequence_number": 1});
            for event in [plain, nested] {
                let (chunks, error) = streamed(events(&[created(), event, delta("never")]));
                let error = error.unwrap();
                assert_eq!(
                    (error.code(), error.http_status()),
                    (&ErrorCode::Upstream, status),
                    "{code}"
                );
                assert_eq!(chunks.len(), 1);
            }
        }
    }

    #[test]
    fn tools_and_reasoning_are_content_without_text() {
        for event in [
            json!({"type": "response.function_call_arguments.delta", "delta": "{"}),
            json!({"type": "response.reasoning_summary_text.delta", "delta": "hm"}),
            json!({"type": "response.refusal.delta", "delta": "no"}),
            json!({"type": "response.output_item.done", "item": {"type": "function_call"}}),
            json!({"type": "response.image_generation_call.partial_image", "partial_image_b64": "…"}),
        ] {
            let (chunks, _) = streamed(events(&[created(), event.clone(), ended("completed")]));
            assert_eq!(
                (chunks[1].preamble, &chunks[1].text),
                (false, &None),
                "{event}"
            );
        }
        for event in [
            json!({"type": "response.queued", "response": {"status": "queued"}}),
            json!({"type": "response.web_search_call.searching"}),
            json!({"type": "response.output_text.delta", "delta": ""}),
            json!({"type": "keepalive"}),
        ] {
            let (chunks, _) = streamed(events(&[created(), event.clone(), ended("completed")]));
            assert!(chunks[1].preamble && chunks[1].text.is_none(), "{event}");
            assert!(!chunks[2].preamble);
        }
    }

    #[test]
    fn a_type_may_stand_in_the_event_s_name_alone() {
        let body = "event: response.output_text.delta\ndata: {\"delta\":\"a\"}\n\n\
                    event: response.completed\ndata: {\"response\":{}}\n\n";
        let reply = Reply::new(200)
            .header("content-type", "text/event-stream")
            .body(body);
        let (chunks, error) = streamed(reply);
        assert!(error.is_none());
        assert_eq!(chunks[0].text.as_deref(), Some("a"));
    }
}

mod failover {
    use super::*;

    /// A manager whose first credential gets `reply`, and whose second is served.
    fn text_after(reply: Reply) -> (String, Option<Error>) {
        let upstream = OpenAiUpstream::start();
        upstream.set_key("key-1", KeyBehaviour::Reply(reply));
        upstream.set_key("key-2", KeyBehaviour::Serve);
        let manager = Manager::builder().build().unwrap();
        manager.register_executor(OpenAi::new());
        for (id, key) in [("a", "key-1"), ("b", "key-2")] {
            let auth = Auth::api_key("openai", key).with_id(id);
            let auth = auth.with_attribute("base_url", upstream.base_url());
            manager.register(auth).unwrap();
        }
        let stream = manager
            .execute_stream(["openai"], &request(), &options())
            .unwrap();
        let (mut text, mut error) = (String::new(), None);
        for item in stream {
            match item {
                Ok(chunk) => text.push_str(&chunk.text.unwrap_or_default()),
                Err(found) => error = Some(found),
            }
        }
        (text, error)
    }

    fn faults(before: &[Value]) -> Vec<Reply> {
        let with = |more: &[Value]| events(&[before, more].concat());
        let whole = with(&[ended("completed")]);
        vec![
            with(&[]),
            with(&[failed(&json!({"code": "server_error", "message": "m"}))]),
            with(&[json!({"type": "error", "code": "server_error", "message": "m"})]),
            with(&[json!({"no": "type"})]),
            whole.clone().cut_after(length(before) + 20),
            whole.close_delimited().cut_after(length(before) + 20),
        ]
    }

    #[test]
    fn before_content_another_credential_serves() {
        for reply in faults(&[created(), added()]) {
            let (text, error) = text_after(reply);
            assert_eq!(
                (text.as_str(), error.is_none()),
                ("You said: Hello there", true)
            );
        }
    }

    #[test]
    fn after_content_nobody_does() {
        for reply in faults(&[created(), added(), delta("half")]) {
            let (text, error) = text_after(reply);
            assert_eq!(text, "half");
            assert_eq!(error.unwrap().auth_id(), Some("a"));
        }
    }
}

mod counts_and_settings {
    use super::*;

    #[test]
    fn a_payload_is_counted_as_it_is() {
        let upstream = serving();
        let auth = auth(upstream.base_url())
            .with_attribute("count_tokens_path", "/responses/input_tokens");
        let response = OpenAi::new()
            .count_tokens(&attempt(), &auth, &request(), &options())
            .unwrap();
        assert_eq!(response.usage, Some(Usage::new(2, 0)));
        let got = &upstream.server().requests()[0];
        assert_eq!(got.path, "/v1/responses/input_tokens");
        assert_eq!(got.body, request().payload);
    }

    #[test]
    fn an_unknown_interface_is_refused_before_anything_is_sent() {
        let upstream = Upstream::start(|_| Reply::json(200, "{}"));
        let auth = auth(upstream.url()).with_attribute("count_tokens_path", "/count");
        for alt in ["", "Responses", "assistants"] {
            let options = Options::new().with_alt(alt);
            let executor = OpenAi::new();
            let errors = [
                executor
                    .execute(&attempt(), &auth, &request(), &options)
                    .map(drop),
                executor
                    .execute_stream(&attempt(), &auth, &request(), &options)
                    .map(drop),
                executor
                    .count_tokens(&attempt(), &auth, &request(), &options)
                    .map(drop),
            ];
            for error in errors.map(Result::unwrap_err) {
                assert_eq!(*error.code(), ErrorCode::Config);
                assert!(error.message().contains(&format!("{alt:?}")), "{error}");
            }
        }
        assert_eq!(upstream.connections_opened(), 0);
    }
}
