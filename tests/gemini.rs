//! The executor for the Gemini API, against a server on loopback that answers as <https://ai.google.dev/api> documents.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use credpool::provider::Gemini;
use credpool::testing::{GeminiUpstream, KeyBehaviour, Reply, Upstream};
use credpool::{
    Attempt, Auth, Error, ErrorCode, Format, Manager, Options, ProviderExecutor, Request,
    RequestPreparer, Response, StreamChunk, SystemClock, Usage,
};
use serde_json::{Value, json};

const KEY: &str = "AIza-canary-key-1234567890";
const MODEL: &str = "gemini-2.5-flash";
const LONG: Duration = Duration::from_secs(20);

fn attempt() -> Attempt {
    Attempt::for_tests(SystemClock)
}

fn auth(upstream: &Upstream) -> Auth {
    Auth::api_key("gemini", KEY)
        .with_id("team-a")
        .with_attribute("base_url", upstream.url() + "/v1beta")
}

fn question() -> Request {
    let contents = json!([{"role": "user", "parts": [{"text": "Hello there"}]}]);
    Request::new(MODEL, json!({"contents": contents}).to_string())
}

fn execute(upstream: &Upstream) -> Result<Response, Error> {
    Gemini::new().execute(&attempt(), &auth(upstream), &question(), &Options::new())
}

fn open(upstream: &Upstream, options: &Options) -> Result<credpool::ChunkSource, Error> {
    Gemini::new().execute_stream(&attempt(), &auth(upstream), &question(), options)
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

fn text_of(chunks: &[StreamChunk]) -> String {
    chunks
        .iter()
        .filter_map(|chunk| chunk.text.as_deref())
        .collect()
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

fn piece(text: &str) -> String {
    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}]})
        .to_string()
}

fn finish(reason: &str) -> String {
    let content = json!({"role": "model", "parts": [{"text": ""}]});
    let usage = json!({"promptTokenCount": 2, "candidatesTokenCount": 3, "thoughtsTokenCount": 4});
    json!({"candidates": [{"content": content, "finishReason": reason, "index": 0}], "usageMetadata": usage})
        .to_string()
}

fn status_body(code: u16, status: &str) -> Value {
    json!({"error": {"code": code, "message": "It says why.", "status": status}})
}

/// <https://ai.google.dev/api/generate-content#method:-models.generatecontent>.
mod plain {
    use super::*;

    #[test]
    fn the_reply_is_read_and_the_request_is_what_was_given() {
        let upstream = GeminiUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let auth = Auth::api_key("gemini", KEY)
            .with_attribute("base_url", upstream.base_url())
            .with_attribute("quota_project", "proj-1")
            .with_attribute("header:x-team", "blue");
        let mut options = Options::new()
            .with_header("x-goog-api-key", "somebody-else's")
            .unwrap()
            .with_header("authorization", "Bearer somebody-else")
            .unwrap()
            .with_header("x-trace", "7")
            .unwrap();
        options.query = [
            ("key", "canary"),
            ("alt", "media"),
            ("fields", "candidates"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let payload =
            r#"{ "contents":[{"parts":[{"text":"Hi"}]}],  "generationConfig":{"topP":1.0} }"#;
        let request = Request::new("models/gemini-2.5-flash", payload);

        let response = Gemini::new()
            .execute(&attempt(), &auth, &request, &options)
            .unwrap();
        assert_eq!(response.reply_text.as_deref(), Some("You said: Hi"));
        assert_eq!(response.usage, Some(Usage::new(1, 3)));
        let json: Value = serde_json::from_slice(&response.payload).unwrap();
        assert_eq!(json["candidates"][0]["finishReason"], "STOP");

        let got = &upstream.server().requests()[0];
        assert_eq!(got.method, "POST");
        assert_eq!(got.path, "/v1beta/models/gemini-2.5-flash:generateContent");
        assert_eq!(got.query, "fields=candidates");
        assert_eq!(got.body, payload);
        for (name, value) in [
            ("x-goog-api-key", Some(KEY)),
            ("authorization", None),
            ("x-goog-user-project", Some("proj-1")),
            ("x-team", Some("blue")),
            ("x-trace", Some("7")),
            ("content-type", Some("application/json")),
        ] {
            assert_eq!(got.header(name), value, "{name}");
        }
        assert_eq!(got.headers.get_all("x-goog-api-key").iter().count(), 1);
    }

    /// <https://ai.google.dev/gemini-api/docs/oauth>.
    #[test]
    fn an_access_token_is_the_bearer() {
        let upstream = GeminiUpstream::start();
        upstream.set_key("ya29.token", KeyBehaviour::Serve);
        let auth = Auth::new("gemini")
            .with_metadata("token", json!({"access_token": "ya29.token"}))
            .with_attribute("base_url", upstream.base_url())
            .with_attribute("quota_project", "proj-1");
        let options = Options::new()
            .with_header("x-goog-api-key", "somebody-else's")
            .unwrap();
        Gemini::new()
            .execute(&attempt(), &auth, &question(), &options)
            .unwrap();
        let got = &upstream.server().requests()[0];
        assert_eq!(got.bearer(), Some("ya29.token"));
        assert_eq!(got.header("x-goog-user-project"), Some("proj-1"));
        assert_eq!(got.header("x-goog-api-key"), None);
    }

    #[test]
    fn models_of_every_kind_and_versions_have_their_paths() {
        let upstream = Upstream::start(|_| Reply::json(200, finish("STOP")));
        let auth = Auth::api_key("x", KEY).with_attribute("base_url", upstream.url());
        for (model, version, path) in [
            ("g", "", "/v1beta/models/g:generateContent"),
            (
                "tunedModels/mine",
                "v1",
                "/v1/tunedModels/mine:generateContent",
            ),
            ("a/b?c", "", "/v1beta/models/a/b%3Fc:generateContent"),
        ] {
            let auth = auth.clone().with_attribute("api_version", version);
            Gemini::named("x")
                .execute(
                    &attempt(),
                    &auth,
                    &Request::new(model, "{}"),
                    &Options::new(),
                )
                .unwrap();
            assert_eq!(upstream.requests().last().unwrap().path, path);
        }
        let count = upstream.request_count();
        for model in ["", " ", "..", "models/../x"] {
            let request = Request::new(model, "{}");
            let result = Gemini::new().execute(&attempt(), &auth, &request, &Options::new());
            assert_eq!(*result.unwrap_err().code(), ErrorCode::Config, "{model:?}");
        }
        assert_eq!(upstream.request_count(), count);
    }

    /// The prompt was blocked: <https://ai.google.dev/api/generate-content#PromptFeedback>.
    #[test]
    fn a_blocked_prompt_is_an_answer_without_text() {
        let body = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}});
        let upstream = Upstream::start(move |_| Reply::json(200, body.to_string()));
        let response = execute(&upstream).unwrap();
        assert_eq!(response.reply_text, None);
        assert_eq!(response.usage, Some(Usage::new(3, 0)));
    }

    #[test]
    fn its_own_format_is_spoken() {
        assert!(Gemini::named("x").speaks(&Format::new("Gemini")));
        assert!(Gemini::named("x").speaks(&Format::new("x")));
        assert!(!Gemini::new().speaks(&Format::new("openai")));
    }
}

/// <https://ai.google.dev/gemini-api/docs/troubleshooting> and <https://google.aip.dev/193>.
mod errors {
    use super::*;

    #[test]
    fn every_documented_error_keeps_its_status_and_name() {
        for (status, name) in [
            (400, "INVALID_ARGUMENT"),
            (400, "FAILED_PRECONDITION"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (429, "RESOURCE_EXHAUSTED"),
            (500, "INTERNAL"),
            (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
        ] {
            let body = status_body(status, name).to_string();
            let expected = body.clone();
            let upstream = Upstream::start(move |_| Reply::json(status, body.clone()));
            let Err(opened) = open(&upstream, &Options::new()) else {
                panic!("an error is no stream");
            };
            let counted = Gemini::new().count_tokens(
                &attempt(),
                &auth(&upstream),
                &question(),
                &Options::new(),
            );
            for error in [
                execute(&upstream).unwrap_err(),
                opened,
                counted.unwrap_err(),
            ] {
                assert_eq!(
                    (error.code(), error.http_status(), error.body()),
                    (&ErrorCode::Upstream, Some(status), Some(expected.as_str()))
                );
                assert!(error.message().contains(name), "{error}");
                assert_eq!(error.is_retryable(), matches!(status, 429 | 500..));
            }
        }
    }

    #[test]
    fn an_unknown_key_is_named_by_the_reason() {
        let upstream = GeminiUpstream::start();
        let auth = Auth::api_key("gemini", KEY).with_attribute("base_url", upstream.base_url());
        let error = Gemini::new()
            .execute(&attempt(), &auth, &question(), &Options::new())
            .unwrap_err();
        assert_eq!(error.http_status(), Some(400));
        assert!(
            error
                .message()
                .contains("API_KEY_INVALID (INVALID_ARGUMENT)")
        );
        let token = Auth::new("gemini")
            .with_metadata("access_token", "old")
            .with_attribute("base_url", upstream.base_url());
        let error = Gemini::new()
            .execute(&attempt(), &token, &question(), &Options::new())
            .unwrap_err();
        assert_eq!(error.http_status(), Some(401));
    }

    #[test]
    fn an_error_inside_a_success_is_an_error() {
        for (body, status) in [
            (status_body(503, "UNAVAILABLE"), 503),
            (
                json!({"error": {"message": KEY, "status": "RESOURCE_EXHAUSTED"}}),
                429,
            ),
        ] {
            let upstream = Upstream::start(move |_| Reply::json(200, body.to_string()));
            let error = execute(&upstream).unwrap_err();
            assert_eq!(error.http_status(), Some(status));
            assert_no_secret(&error);
        }
    }
}

/// <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>.
mod streams {
    use super::*;

    #[test]
    fn chunks_come_one_by_one_with_what_they_bring() {
        let upstream = GeminiUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let auth = Auth::api_key("gemini", KEY).with_attribute("base_url", upstream.base_url());
        let payload = r#"{ "contents": [{"parts": [{"text": "a b"}]}] }"#;
        let mut options = Options::new();
        options.query.push(("alt".into(), "json".into()));
        let stream = Gemini::new()
            .execute_stream(&attempt(), &auth, &Request::new("m", payload), &options)
            .unwrap();
        let (chunks, error) = drain(stream);
        assert!(error.is_none());
        let texts: Vec<_> = chunks
            .iter()
            .map(|chunk| chunk.text.as_deref().unwrap())
            .collect();
        assert_eq!(texts, ["You ", "said: ", "a ", "b"]);
        assert!(chunks.iter().all(|chunk| !chunk.preamble));
        assert_eq!(chunks[3].usage, Some(Usage::new(2, 4)));
        let got = &upstream.server().requests()[0];
        assert_eq!(got.path, "/v1beta/models/m:streamGenerateContent");
        assert_eq!(got.query, "alt=sse");
        assert_eq!(got.body, payload);
        assert_eq!(got.header("accept"), Some("text/event-stream"));
    }

    #[test]
    fn thoughts_are_content_but_no_text() {
        let thought =
            json!({"candidates": [{"content": {"parts": [{"text": "Hm", "thought": true}]}}]});
        let empty = json!({"usageMetadata": {"promptTokenCount": 2}});
        let reply = Reply::sse([
            empty.to_string(),
            thought.to_string(),
            piece("a"),
            finish("STOP"),
        ]);
        let (chunks, error) = stream(reply);
        assert!(error.is_none());
        assert_eq!(text_of(&chunks), "a");
        let preamble: Vec<_> = chunks.iter().map(|chunk| chunk.preamble).collect();
        assert_eq!(preamble, [true, false, false, false]);
        assert_eq!(chunks[3].usage, Some(Usage::new(2, 7).with_reasoning(4)));
    }

    #[test]
    fn a_stream_is_whole_after_its_reason_whatever_that_is() {
        let usage = json!({"usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 9}});
        let blocked = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}});
        for (reply, chunks) in [
            (Reply::sse([piece("a"), finish("STOP")]), 2),
            (
                Reply::sse([piece("a"), finish("MAX_TOKENS")]).close_delimited(),
                2,
            ),
            (Reply::sse([finish("SAFETY")]), 1),
            (
                Reply::sse([piece("a"), finish("STOP"), usage.to_string()]),
                3,
            ),
            (Reply::sse([blocked.to_string()]), 1),
            (Reply::sse([piece("a"), finish("STOP"), "[DONE]".into()]), 2),
            (
                Reply::sse([piece("a"), finish("STOP"), piece("lost")])
                    .cut_after(piece("a").len() + finish("STOP").len() + 20),
                2,
            ),
        ] {
            let (got, error) = stream(reply);
            assert!(error.is_none(), "{error:?}");
            assert_eq!(got.len(), chunks);
        }
    }

    #[test]
    fn a_reason_that_is_unspecified_is_none() {
        let reply = Reply::sse([piece("a"), finish("FINISH_REASON_UNSPECIFIED")]);
        assert_eq!(end_of(reply), ErrorCode::StreamTruncated);
    }

    #[test]
    fn an_error_event_has_its_status_before_and_after_content() {
        for (before, chunks) in [(vec![], 0), (vec![piece("a"), piece("b")], 2)] {
            for (event, status) in [
                (status_body(503, "UNAVAILABLE"), Some(503)),
                (status_body(429, "RESOURCE_EXHAUSTED"), Some(429)),
                (
                    json!({"error": {"message": KEY, "status": "INTERNAL"}}),
                    Some(500),
                ),
                (
                    json!({"error": {"message": "what?", "status": "NOVEL"}}),
                    None,
                ),
            ] {
                let mut events = before.clone();
                events.extend([event.to_string(), finish("STOP")]);
                let (got, error) = stream(Reply::sse(events));
                let error = error.unwrap();
                assert_eq!(
                    (error.code(), error.http_status()),
                    (&ErrorCode::Upstream, status)
                );
                assert_eq!(got.len(), chunks);
            }
        }
    }

    #[test]
    fn a_json_array_is_no_stream_of_events() {
        let array = format!("[{},{}]", piece("a"), finish("STOP"));
        assert_eq!(end_of(Reply::json(200, array)), ErrorCode::StreamMalformed);
        let (_, error) = stream(Reply::json(
            200,
            status_body(429, "RESOURCE_EXHAUSTED").to_string(),
        ));
        assert_eq!(error.unwrap().http_status(), Some(429));
    }
}

/// <https://ai.google.dev/api/tokens>.
mod counts {
    use super::*;

    #[test]
    fn contents_go_as_they_are_and_more_as_a_whole_request() {
        let upstream = GeminiUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let auth = Auth::api_key("gemini", KEY).with_attribute("base_url", upstream.base_url());
        let contents = json!([{"parts": [{"text": "Hello there"}]}]);
        let system = json!({"parts": [{"text": "Be very brief."}]});
        let plain = json!({"contents": contents});
        let whole = json!({"contents": contents, "systemInstruction": system});
        for (payload, sent, tokens) in [
            (plain.clone(), plain, 2),
            (
                whole,
                json!({"generateContentRequest": {
                    "model": "models/gemini-2.5-flash", "contents": contents, "systemInstruction": system,
                }}),
                5,
            ),
        ] {
            let request = Request::new(MODEL, payload.to_string());
            let response = Gemini::new()
                .count_tokens(&attempt(), &auth, &request, &Options::new())
                .unwrap();
            assert_eq!(response.usage, Some(Usage::new(tokens, 0)));
            let got = upstream.server().requests();
            let got = got.last().unwrap();
            assert_eq!(got.path, "/v1beta/models/gemini-2.5-flash:countTokens");
            assert_eq!(got.json(), sent);
        }
    }

    #[test]
    fn an_answer_without_a_number_is_an_error() {
        for body in ["{}", r#"{"totalTokens":"many"}"#, "[]"] {
            let upstream = Upstream::start(move |_| Reply::json(200, body));
            let error = Gemini::new()
                .count_tokens(&attempt(), &auth(&upstream), &question(), &Options::new())
                .unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Upstream);
        }
        let body = r#"{"totalTokens":31,"cachedContentTokenCount":7}"#;
        let upstream = Upstream::start(move |_| Reply::json(200, body));
        let response = Gemini::new()
            .count_tokens(&attempt(), &auth(&upstream), &question(), &Options::new())
            .unwrap();
        assert_eq!(response.usage, Some(Usage::new(31, 0).with_cached(7)));
    }
}

mod safety {
    use super::*;

    #[test]
    fn the_key_is_never_in_a_url() {
        let upstream = GeminiUpstream::start();
        upstream.set_key(KEY, KeyBehaviour::Serve);
        let auth = Auth::api_key("gemini", KEY).with_attribute("base_url", upstream.base_url());
        let mut options = Options::new();
        for name in ["key", "KEY", "$key", "access_token", "oauth_token"] {
            options.query.push((name.to_owned(), KEY.to_owned()));
        }
        let gemini = Gemini::new();
        gemini
            .execute(&attempt(), &auth, &question(), &options)
            .unwrap();
        gemini
            .count_tokens(&attempt(), &auth, &question(), &options)
            .unwrap();
        let stream = gemini
            .execute_stream(&attempt(), &auth, &question(), &options)
            .unwrap();
        assert!(drain(stream).1.is_none());
        let got = upstream.server().requests();
        assert_eq!(got.len(), 3);
        for got in got {
            assert!(!got.path.contains("canary") && !got.query.contains("canary"));
            assert_eq!(got.header("x-goog-api-key"), Some(KEY));
        }
        let in_base = auth.with_attribute("base_url", upstream.base_url() + "?key=" + KEY);
        let error = gemini
            .execute(&attempt(), &in_base, &question(), &options)
            .unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config);
        assert_no_secret(&error);
    }

    #[test]
    fn another_request_gets_the_credential() {
        let executor = Gemini::new();
        let preparer: &dyn RequestPreparer = executor.request_preparer().unwrap();
        let head = |uri: &str| {
            let request = http::Request::builder()
                .uri(uri)
                .header("x-goog-api-key", "old")
                .header("authorization", "old");
            request.body(()).unwrap().into_parts().0
        };
        let auth = Auth::api_key("gemini", KEY);
        let mut keyed = head("https://generativelanguage.googleapis.com/v1beta/files");
        preparer.prepare_request(&mut keyed, &auth).unwrap();
        assert_eq!(keyed.headers["x-goog-api-key"], KEY);
        assert!(!keyed.headers.contains_key("authorization"));
        assert!(!format!("{keyed:?}").contains("canary"));
        let token = Auth::new("gemini").with_metadata("access_token", "canary-token");
        let mut bearer = head("/v1beta/files");
        preparer.prepare_request(&mut bearer, &token).unwrap();
        assert_eq!(bearer.headers["authorization"], "Bearer canary-token");
        assert!(!bearer.headers.contains_key("x-goog-api-key"));
        let mut plain = head("http://api.example/v1beta/files");
        assert!(preparer.prepare_request(&mut plain, &auth).is_err());
    }
}

/// Through a manager.
mod pool {
    use super::*;

    fn pool(upstream: &GeminiUpstream, keys: &[&str]) -> Manager {
        let manager = Manager::builder().build().unwrap();
        manager.register_executor(Gemini::new());
        for key in keys {
            let auth = Auth::api_key("gemini", *key)
                .with_id(*key)
                .with_attribute("base_url", upstream.base_url());
            manager.register(auth).unwrap();
        }
        manager
    }

    #[test]
    fn another_key_takes_over() {
        let upstream = GeminiUpstream::start();
        upstream.set_key("limited", KeyBehaviour::RateLimited { retry_after: 30 });
        upstream.set_key("broken", KeyBehaviour::Status(503));
        upstream.set_key("good", KeyBehaviour::Serve);
        let manager = pool(&upstream, &["limited", "broken", "good"]);
        for _ in 0..4 {
            let response = manager.execute(["gemini"], &question(), &Options::new());
            assert_eq!(&*response.unwrap().auth_id, "good");
        }
        // One fault alone puts nobody out.
        let calls = ["limited", "broken"].map(|key| upstream.calls(key));
        assert_eq!(calls, [1, 2]);
        let counted = manager.execute_count(["gemini"], &question(), &Options::new());
        assert_eq!(counted.unwrap().usage, Some(Usage::new(2, 0)));
        manager.shutdown(LONG).unwrap();
    }

    #[test]
    fn a_stream_fails_over_until_its_first_content_and_not_after() {
        let overloaded = status_body(503, "UNAVAILABLE").to_string();
        let greeting = json!({"usageMetadata": {"promptTokenCount": 1}}).to_string();
        for (bad, takes_over) in [
            (Reply::sse([greeting.clone(), overloaded.clone()]), true),
            (Reply::sse([greeting.clone()]), true),
            (Reply::sse([piece("a"), overloaded]), false),
            (Reply::sse([piece("a")]).close_delimited(), false),
        ] {
            let upstream = GeminiUpstream::start();
            upstream.set_key("bad", KeyBehaviour::Reply(bad));
            upstream.set_key("good", KeyBehaviour::Serve);
            let manager = pool(&upstream, &["bad", "good"]);
            let mut texts = Vec::new();
            let mut errors = 0;
            // Both credentials have their turn.
            for _ in 0..2 {
                let stream = manager
                    .execute_stream(["gemini"], &question(), &Options::new())
                    .unwrap();
                let mut text = String::new();
                for chunk in stream {
                    match chunk {
                        Ok(chunk) => text += chunk.text.as_deref().unwrap_or_default(),
                        Err(_) => errors += 1,
                    }
                }
                texts.push(text);
            }
            assert_eq!(errors, usize::from(!takes_over));
            let whole = "You said: Hello there";
            assert!(texts.iter().any(|text| text == whole));
            assert_eq!(texts.iter().any(|text| text == "a"), !takes_over);
            assert!(texts.iter().all(|text| text == whole || text == "a"));
            manager.shutdown(LONG).unwrap();
        }
    }
}
