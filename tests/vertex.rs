//! Vertex AI: where requests go, with what credential, and what becomes of payloads.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use credpool::provider::Vertex;
use credpool::testing::{Reply, Upstream, service_account_file};
use credpool::{
    Auth, ErrorCode, FailureKind, FailurePolicy, Format, Manager, OAuthTokens, Options, RawRequest,
    Request, Usage,
};
use serde_json::{Value, json};

const PLACE: &str = "/v1/projects/blue/locations/europe-west4";

/// A server that answers as Vertex does, each publisher in its own form.
fn vertex() -> Upstream {
    Upstream::start(|request| {
        let path = &*request.path;
        let claude = json!({
            "id": "msg_vrtx_1", "type": "message", "role": "assistant", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "I am Claude."}],
            "usage": {"input_tokens": 3, "output_tokens": 4},
        });
        let gemini = json!({
            "candidates": [{"content": {"role": "model", "parts": [{"text": "I am Gemini."}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 6},
        });
        if path.ends_with("/token") {
            Reply::json(
                200,
                json!({"access_token": "ya29.first", "expires_in": 3600}).to_string(),
            )
        } else if path.ends_with("count-tokens:rawPredict") {
            Reply::json(200, r#"{"input_tokens":7}"#)
        } else if path.ends_with(":countTokens") {
            Reply::json(200, r#"{"totalTokens":8}"#)
        } else if path.ends_with(":streamRawPredict") {
            let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I am Claude."}});
            let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}});
            let stop = json!({"type": "message_stop"});
            Reply::sse([delta, end, stop].map(|event| event.to_string()))
        } else if path.ends_with(":rawPredict") {
            Reply::json(200, claude.to_string())
        } else if path.ends_with(":streamGenerateContent") {
            Reply::sse([gemini.to_string()])
        } else if path.ends_with(":generateContent") {
            Reply::json(200, gemini.to_string())
        } else {
            Reply::json(200, r#"{"predictions":[]}"#)
        }
    })
}

fn login(upstream: &Upstream) -> Auth {
    Auth::oauth("vertex", OAuthTokens::new("ya29.login"))
        .with_id("login")
        .with_attribute("base_url", upstream.url())
        .with_attribute("project", "blue")
        .with_attribute("location", "europe-west4")
}

fn manager(auth: Auth) -> Manager {
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(Vertex::new());
    manager.register(auth).unwrap();
    manager
}

fn message(model: &str) -> Request {
    let payload =
        json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Who?"}]});
    Request::new(model, payload.to_string())
}

fn generation(model: &str) -> Request {
    let payload = json!({"contents": [{"role": "user", "parts": [{"text": "Who?"}]}]});
    Request::new(model, payload.to_string())
}

fn body(upstream: &Upstream, index: usize) -> Value {
    serde_json::from_slice(&upstream.requests()[index].body).unwrap()
}

#[test]
fn a_claude_is_asked_by_raw_predict() {
    let upstream = vertex();
    let manager = manager(login(&upstream));
    let options = Options::new()
        .with_header("anthropic-beta", "context-1m-2025-08-07")
        .unwrap();
    let request = message("claude-sonnet-4-5@20250929");
    let response = manager.execute(["vertex"], &request, &options).unwrap();
    assert_eq!(response.reply_text.as_deref(), Some("I am Claude."));
    assert_eq!(response.usage, Some(Usage::new(3, 4)));
    let sent = &upstream.requests()[0];
    let model = format!("{PLACE}/publishers/anthropic/models/claude-sonnet-4-5@20250929");
    assert_eq!(sent.path, format!("{model}:rawPredict"));
    assert_eq!(sent.header("authorization"), Some("Bearer ya29.login"));
    assert_eq!(sent.header("anthropic-beta"), Some("context-1m-2025-08-07"));
    assert_eq!(sent.header("x-goog-user-project"), None);
    let messages = json!([{"role": "user", "content": "Who?"}]);
    assert_eq!(
        body(&upstream, 0),
        json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": messages})
    );

    let chunks = manager
        .execute_stream(["vertex"], &request, &Options::new())
        .unwrap();
    let collected = chunks.collect_response().unwrap();
    assert_eq!(collected.reply_text.as_deref(), Some("I am Claude."));
    let sent = &upstream.requests()[1];
    assert_eq!(sent.path, format!("{model}:streamRawPredict"));
    assert_eq!(body(&upstream, 1)["stream"], true);
    assert_eq!(body(&upstream, 1).get("model"), None);

    let count = manager
        .execute_count(["vertex"], &request, &Options::new())
        .unwrap();
    assert_eq!(count.usage, Some(Usage::new(7, 0)));
    let sent = &upstream.requests()[2];
    assert_eq!(
        sent.path,
        format!("{PLACE}/publishers/anthropic/models/count-tokens:rawPredict")
    );
    assert_eq!(
        body(&upstream, 2),
        json!({"anthropic_version": "vertex-2023-10-16", "model": "claude-sonnet-4-5@20250929", "messages": messages})
    );
}

#[test]
fn a_version_of_the_payload_stays() {
    let upstream = vertex();
    let manager = manager(login(&upstream));
    let payload = r#"{"anthropic_version":"vertex-2027-01-01","messages":[],"model":"x"}"#;
    let request = Request::new("claude-next", payload);
    manager
        .execute(["vertex"], &request, &Options::new())
        .unwrap();
    let sent = &upstream.requests()[0].body;
    assert_eq!(
        &sent[..],
        br#"{"anthropic_version":"vertex-2027-01-01","messages":[]}"#
    );
}

#[test]
fn a_gemini_is_asked_by_generate_content() {
    let upstream = vertex();
    let manager = manager(login(&upstream).with_attribute("quota_project", "green"));
    let request = generation("gemini-2.5-flash");
    let response = manager
        .execute(["vertex"], &request, &Options::new())
        .unwrap();
    assert_eq!(response.reply_text.as_deref(), Some("I am Gemini."));
    assert_eq!(response.usage, Some(Usage::new(5, 6)));
    let chunks = manager
        .execute_stream(["vertex"], &request, &Options::new())
        .unwrap();
    assert_eq!(
        chunks.collect_response().unwrap().usage,
        Some(Usage::new(5, 6))
    );
    let count = manager
        .execute_count(["vertex"], &request, &Options::new())
        .unwrap();
    assert_eq!(count.usage, Some(Usage::new(8, 0)));
    let requests = upstream.requests();
    let model = format!("{PLACE}/publishers/google/models/gemini-2.5-flash");
    let paths: Vec<_> = requests
        .iter()
        .map(|sent| (&*sent.path, &*sent.query))
        .collect();
    assert_eq!(
        paths,
        [
            (&*format!("{model}:generateContent"), ""),
            (&*format!("{model}:streamGenerateContent"), "alt=sse"),
            (&*format!("{model}:countTokens"), ""),
        ]
    );
    for sent in &requests {
        assert_eq!(sent.body, request.payload);
        assert_eq!(sent.header("x-goog-user-project"), Some("green"));
    }
}

#[test]
fn a_service_account_brings_its_project_and_its_first_token() {
    let upstream = vertex();
    let file = service_account_file(&format!("{}/token", upstream.url()));
    let mut file: Value = serde_json::from_str(&file).unwrap();
    file["project_id"] = "of-the-file".into();
    let auth = Auth::service_account("vertex", &file.to_string()).unwrap();
    let manager = manager(
        auth.with_id("robot")
            .with_attribute("base_url", upstream.url()),
    );
    manager
        .execute(["vertex"], &generation("gemini-2.5-pro"), &Options::new())
        .unwrap();
    let sent = &upstream.requests()[1];
    assert_eq!(sent.header("authorization"), Some("Bearer ya29.first"));
    let place = "/v1/projects/of-the-file/locations/global";
    assert_eq!(
        sent.path,
        format!("{place}/publishers/google/models/gemini-2.5-pro:generateContent")
    );
}

#[test]
fn a_key_needs_no_project() {
    let upstream = vertex();
    let auth = Auth::api_key("vertex", "AQ.key").with_attribute("base_url", upstream.url());
    let manager = manager(auth);
    manager
        .execute(["vertex"], &generation("gemini-2.5-pro"), &Options::new())
        .unwrap();
    let sent = &upstream.requests()[0];
    assert_eq!(
        sent.path,
        "/v1/publishers/google/models/gemini-2.5-pro:generateContent"
    );
    assert_eq!(sent.header("x-goog-api-key"), Some("AQ.key"));
    assert_eq!(sent.header("authorization"), None);
}

#[test]
fn raw_calls_are_below_the_location() {
    let upstream = vertex();
    let manager = manager(login(&upstream));
    let model = "/publishers/google/models/text-embedding-005:predict";
    for path in [model.to_owned(), format!("{PLACE}{model}")] {
        let request = http::Request::post(path)
            .body(r#"{"instances":[]}"#)
            .unwrap();
        let answer = manager.execute_raw(["vertex"], RawRequest::from(request), &Options::new());
        assert_eq!(answer.unwrap().status(), 200);
    }
    for sent in upstream.requests() {
        assert_eq!(sent.path, format!("{PLACE}{model}"));
        assert_eq!(sent.header("authorization"), Some("Bearer ya29.login"));
    }
}

#[test]
fn requests_of_both_vendors_can_be_served() {
    let upstream = vertex();
    let manager = manager(login(&upstream));
    for (request, format) in [
        (message("claude-opus-4-8"), Format::ANTHROPIC),
        (generation("gemini-3-pro"), Format::GEMINI),
        (generation("gemini-3-pro"), Format::new("vertex")),
    ] {
        let request = request.with_format(format);
        manager
            .execute(["vertex"], &request, &Options::new())
            .unwrap();
    }
    let foreign = generation("gemini-3-pro").with_format(Format::OPENAI);
    let refused = manager
        .execute(["vertex"], &foreign, &Options::new())
        .unwrap_err();
    assert_eq!(*refused.code(), ErrorCode::UnsupportedFormat);
}

/// What Vertex answers, by <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors> and by public reports of
/// clients; both forms occur for Claude.
#[test]
fn errors_are_those_of_google_or_of_anthropic() {
    let rpc = |code: u16, status: &str, message: &str| json!({"error": {"code": code, "status": status, "message": message}});
    let quota = "Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: anthropic-claude-sonnet-4-5. Please submit a quota increase request.";
    for (status, body, fault) in [
        (
            429,
            json!([rpc(429, "RESOURCE_EXHAUSTED", quota)]),
            FailureKind::RateLimited,
        ),
        (
            429,
            rpc(
                429,
                "RESOURCE_EXHAUSTED",
                "Resource exhausted. Please try again later.",
            ),
            FailureKind::RateLimited,
        ),
        (
            529,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            FailureKind::Overloaded,
        ),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: Field required"}}),
            FailureKind::BadRequest,
        ),
        (
            404,
            rpc(
                404,
                "NOT_FOUND",
                "Publisher Model `projects/blue/locations/us-east5/publishers/anthropic/models/claude-x` was not found or your project does not have access to it.",
            ),
            FailureKind::NotFound,
        ),
        (
            403,
            rpc(
                403,
                "PERMISSION_DENIED",
                "Permission 'aiplatform.endpoints.predict' denied on resource",
            ),
            FailureKind::Forbidden,
        ),
        (
            401,
            rpc(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials.",
            ),
            FailureKind::Unauthorized,
        ),
        (
            503,
            rpc(503, "UNAVAILABLE", "The service is currently unavailable."),
            FailureKind::Transient,
        ),
    ] {
        let reply = Reply::json(status, body.to_string());
        let upstream = Upstream::start(move |_| reply.clone());
        let manager = manager(login(&upstream));
        let options = Options::new().without_waiting().with_max_attempts(1);
        let error = manager
            .execute(["vertex"], &message("claude-x"), &options)
            .unwrap_err();
        assert_eq!(error.http_status(), Some(status), "{error}");
        let verdict = FailurePolicy::default().classify(&error);
        assert_eq!(verdict.fault, fault, "{error}");
    }
}
