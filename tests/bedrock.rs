//! Bedrock: paths, both kinds of credentials, the time in signatures, errors by their names, bodies that are signed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::too_many_lines, reason = "a table of many rows")]

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credpool::provider::Bedrock;
use credpool::testing::{ReceivedRequest, Reply, Upstream, amazon_events};
use credpool::{
    Attempt, Auth, Availability, ErrorCode, FailureKind, Format, Manager, ManualClock, Options,
    ProviderExecutor, RawRequest, Request, RequestBody, SystemClock, Timestamp, ToolCall, Usage,
};
use serde_json::{Value, json};
use time::macros::utc_datetime;

const NOW: Timestamp = utc_datetime!(2026-11-27 4:00);
const NOVA: &str = "amazon.nova-pro-v1:0";
const PROFILE: &str =
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-v1:0";
const PROFILE_IN_A_PATH: &str = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-v1%3A0";

fn key(upstream: &Upstream) -> Auth {
    Auth::api_key("bedrock", "bedrock-api-key-1").with_attribute("base_url", upstream.url())
}

fn access_key(upstream: &Upstream) -> Auth {
    Auth::aws_access_key("bedrock", "AKIDEXAMPLE", "canary/secret+1")
        .with_attribute("base_url", upstream.url())
        .with_attribute("region", "us-east-1")
}

fn manager(auths: impl IntoIterator<Item = Auth>) -> (Manager, ManualClock) {
    let clock = ManualClock::at(NOW);
    let manager = Manager::builder().clock(clock.clone()).build().unwrap();
    manager.register_executor(Bedrock::new());
    for (index, auth) in auths.into_iter().enumerate() {
        let priority = (9 - index).to_string();
        let auth = auth
            .with_id(format!("k{index}"))
            .with_attribute("priority", priority);
        manager.register(auth).unwrap();
    }
    (manager, clock)
}

fn conversation(model: &str) -> Request {
    let messages = json!([{"role": "user", "content": [{"text": "Who?"}]}]);
    let config = json!({"maxTokens": 9});
    let payload = json!({"messages": messages, "inferenceConfig": config, "system": []});
    Request::new(model, payload.to_string())
}

fn reply(text: &str) -> Reply {
    let message = json!({"role": "assistant", "content": [{"text": text}]});
    let usage = json!({"inputTokens": 3, "outputTokens": 4, "totalTokens": 7, "cacheReadInputTokens": 10, "cacheWriteInputTokens": 20});
    let body = json!({"output": {"message": message}, "stopReason": "end_turn", "usage": usage});
    Reply::json(200, body.to_string())
}

fn refusal(status: u16, name: &str, message: &str) -> Reply {
    let body = json!({ "message": message }).to_string();
    Reply::json(status, body).header("x-amzn-errortype", name)
}

fn once() -> Options {
    Options::new().without_waiting().with_max_attempts(1)
}

#[test]
fn a_key_is_the_bearer_and_the_models_id_is_one_segment() {
    let upstream = Upstream::start(|_| reply("I am."));
    let (manager, _) = manager([key(&upstream)]);
    let response = manager
        .execute(["bedrock"], &conversation(PROFILE), &Options::new())
        .unwrap();
    assert_eq!(response.reply_text.as_deref(), Some("I am."));
    assert_eq!(response.finish_reason.as_deref(), Some("end_turn"));
    let usage = Usage::new(33, 4).with_cached(10).with_cache_written(20);
    assert_eq!(response.usage, Some(usage));
    let sent = &upstream.requests()[0];
    assert_eq!(sent.path, format!("/model/{PROFILE_IN_A_PATH}/converse"));
    assert_eq!(
        sent.header("authorization"),
        Some("Bearer bedrock-api-key-1")
    );
    assert_eq!(sent.header("x-amz-date"), None);
    assert_eq!(sent.body, conversation(PROFILE).payload);
}

#[test]
fn counts_are_of_the_same_payload() {
    let upstream = Upstream::start(|_| Reply::json(200, r#"{"inputTokens":7}"#));
    let (manager, _) = manager([key(&upstream)]);
    let invoke = Options::new().with_alt("invoke");
    let message = Request::new(PROFILE, r#"{"model":"m","messages":[]}"#);
    for (request, options) in [(&conversation(NOVA), &Options::new()), (&message, &invoke)] {
        let count = manager
            .execute_count(["bedrock"], request, options)
            .unwrap();
        assert_eq!(count.usage, Some(Usage::new(7, 0)));
    }
    let requests = upstream.requests();
    assert_eq!(
        requests[0].path,
        "/model/amazon.nova-pro-v1%3A0/count-tokens"
    );
    let body = |index: usize| serde_json::from_slice::<Value>(&requests[index].body).unwrap();
    let messages = json!([{"role": "user", "content": [{"text": "Who?"}]}]);
    assert_eq!(
        body(0),
        json!({"input": {"converse": {"messages": messages, "system": []}}})
    );
    let encoded = "eyJhbnRocm9waWNfdmVyc2lvbiI6ImJlZHJvY2stMjAyMy0wNS0zMSIsIm1lc3NhZ2VzIjpbXX0=";
    assert_eq!(
        body(1),
        json!({"input": {"invokeModel": {"body": encoded}}})
    );
}

#[test]
fn requests_in_anthropics_format_are_invocations() {
    let message = r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"Claude."}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}"#;
    let upstream = Upstream::start(move |_| Reply::json(200, message));
    let (manager, _) = manager([key(&upstream)]);
    let payload = r#"{"model":"claude","stream":false,"max_tokens":9,"messages":[]}"#;
    let request = Request::new(PROFILE, payload).with_format(Format::ANTHROPIC);
    let response = manager
        .execute(["bedrock"], &request, &Options::new())
        .unwrap();
    assert_eq!(response.reply_text.as_deref(), Some("Claude."));
    let sent = &upstream.requests()[0];
    assert_eq!(sent.path, format!("/model/{PROFILE_IN_A_PATH}/invoke"));
    let expected = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[]}"#;
    assert_eq!(sent.body, expected);
}

/// Of other models nothing is known but the payload, and that their streams end with Bedrock's metrics.
#[test]
fn other_models_are_invoked_with_their_own_payloads() {
    let upstream = Upstream::start(|request| {
        if request.path.ends_with("/invoke") {
            return Reply::json(200, r#"{"generation":"Hi","stop_reason":"stop"}"#);
        }
        // {"generation":"Hi"} and {"generation":"","amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":6}}
        Reply::amazon_events([
            ("chunk", r#"{"bytes":"eyJnZW5lcmF0aW9uIjoiSGkifQ=="}"#),
            (
                "chunk",
                r#"{"bytes":"eyJnZW5lcmF0aW9uIjoiIiwiYW1hem9uLWJlZHJvY2staW52b2NhdGlvbk1ldHJpY3MiOnsiaW5wdXRUb2tlbkNvdW50Ijo1LCJvdXRwdXRUb2tlbkNvdW50Ijo2fX0="}"#,
            ),
        ])
    });
    let (manager, _) = manager([key(&upstream)]);
    let options = Options::new().with_alt("invoke");
    let request = Request::new("meta.llama3-70b-instruct-v1:0", r#"{"prompt":"Hi"}"#);
    let response = manager.execute(["bedrock"], &request, &options).unwrap();
    assert_eq!(
        response.payload,
        r#"{"generation":"Hi","stop_reason":"stop"}"#
    );
    let chunks = manager
        .execute_stream(["bedrock"], &request, &options)
        .unwrap();
    let chunks: Vec<_> = chunks.collect::<Result<_, _>>().unwrap();
    assert_eq!(chunks[0].payload, r#"{"generation":"Hi"}"#);
    assert_eq!(chunks[1].usage, Some(Usage::new(5, 6)));
    for sent in upstream.requests() {
        assert_eq!(sent.body, request.payload);
    }
}

#[test]
fn tool_calls_are_put_together() {
    let upstream = Upstream::start(|_| {
        Reply::amazon_events([
            ("messageStart", r#"{"role":"assistant"}"#),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"Hm."}}}"#,
            ),
            ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t1","name":"weather"}}}"#,
            ),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"city\":"}},"p":"abc"}"#,
            ),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"\"Rome\"}"}}}"#,
            ),
            ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
            ("messageStop", r#"{"stopReason":"tool_use"}"#),
            (
                "metadata",
                r#"{"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#,
            ),
        ])
    });
    let (manager, _) = manager([key(&upstream)]);
    let chunks = manager
        .execute_stream(["bedrock"], &conversation(NOVA), &Options::new())
        .unwrap();
    let response = chunks.collect_response().unwrap();
    assert_eq!(response.reasoning_text.as_deref(), Some("Hm."));
    assert_eq!(response.finish_reason.as_deref(), Some("tool_use"));
    assert_eq!(response.usage, Some(Usage::new(1, 2)));
    let ToolCall {
        id,
        name,
        arguments,
        ..
    } = &response.tool_calls[0];
    assert_eq!((id.as_deref(), &**name), (Some("t1"), "weather"));
    assert_eq!(arguments, r#"{"city":"Rome"}"#);
}

/// A server whose clock says `clock`, and which refuses signatures for another time as AWS does.
fn strict(clock: Timestamp, name: &'static str) -> Upstream {
    Upstream::start(move |request| {
        let signed = request.header("x-amz-date").unwrap_or_default();
        let time = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        let signed_at = Timestamp::parse(signed, &time).unwrap();
        let date = httpdate::fmt_http_date(clock.into());
        if (signed_at - clock).abs() < time::Duration::minutes(5) {
            return reply("On time.").header("date", &date);
        }
        let words = format!(
            "Signature expired: {signed} is now earlier than 20261127T045500Z (20261127T050000Z - 5 min.)"
        );
        refusal(403, name, &words).header("date", &date)
    })
}

#[test]
fn a_wrong_clock_is_corrected_once_and_for_all() {
    for (clock, name) in [
        (NOW + Duration::from_secs(3600), "InvalidSignatureException"),
        (
            NOW - Duration::from_secs(600),
            "InvalidSignatureException:http://internal.amazon.com/coral/",
        ),
        (NOW + Duration::from_secs(86_400), "RequestTimeTooSkewed"),
    ] {
        let upstream = strict(clock, name);
        let (manager, _) = manager([access_key(&upstream)]);
        for requests in [2, 3] {
            let response = manager
                .execute(["bedrock"], &conversation(NOVA), &once())
                .unwrap();
            assert_eq!(response.reply_text.as_deref(), Some("On time."));
            assert_eq!(upstream.request_count(), requests, "{name}");
        }
        let report = &manager.explain("bedrock", NOVA)[0];
        assert_eq!(report.availability, Availability::Ready);
    }
}

/// The clock may be set right later.
#[test]
fn a_correction_ends_when_the_clock_is_right_again() {
    let hour = Duration::from_secs(3600);
    let upstream = strict(NOW + hour, "RequestTimeTooSkewed");
    let (manager, clock) = manager([access_key(&upstream)]);
    manager
        .execute(["bedrock"], &conversation(NOVA), &once())
        .unwrap();
    clock.set_wall(NOW + hour);
    for requests in [4, 5] {
        manager
            .execute(["bedrock"], &conversation(NOVA), &once())
            .unwrap();
        assert_eq!(upstream.request_count(), requests);
    }
}

#[test]
fn a_clock_that_cannot_be_corrected_is_not_held_against_the_key() {
    let words = "Signature expired: 20261127T040000Z is now earlier than 20261127T045500Z (20261127T050000Z - 5 min.)";
    let upstream = Upstream::start(move |_| refusal(403, "InvalidSignatureException", words));
    let (manager, _) = manager([access_key(&upstream)]);
    let error = manager
        .execute(["bedrock"], &conversation(NOVA), &once())
        .unwrap_err();
    assert_eq!(error.http_status(), Some(403));
    assert_eq!(upstream.request_count(), 1);
    let report = &manager.explain("bedrock", NOVA)[0];
    assert_eq!(report.availability, Availability::Ready, "{report:?}");
}

#[test]
fn a_wrong_secret_blocks_the_key() {
    let words = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.";
    let upstream = Upstream::start(move |request: &ReceivedRequest| {
        let is_first = request
            .header("authorization")
            .unwrap_or_default()
            .contains("AKIDEXAMPLE");
        let date = httpdate::fmt_http_date(NOW.into());
        if is_first {
            refusal(403, "InvalidSignatureException", words).header("date", &date)
        } else {
            reply("Mine.")
        }
    });
    let other = Auth::aws_access_key("bedrock", "AKIDOTHER", "another-secret")
        .with_attribute("base_url", upstream.url())
        .with_attribute("region", "us-east-1");
    let (manager, _) = manager([access_key(&upstream), other]);
    let response = manager
        .execute(["bedrock"], &conversation(NOVA), &Options::new())
        .unwrap();
    assert_eq!(response.reply_text.as_deref(), Some("Mine."));
    assert_eq!(upstream.request_count(), 2);
    let report = manager.explain("bedrock", "another-model");
    let first = report
        .iter()
        .find(|report| &*report.auth_id == "k0")
        .unwrap();
    assert_eq!(first.fault, Some(FailureKind::Unauthorized));
    assert!(manager.refresh_health().needs_login.is_empty());
    // Another secret is tried again.
    manager
        .register(
            access_key(&upstream)
                .with_id("k0")
                .with_metadata("secret_access_key", "right"),
        )
        .unwrap();
    let report = manager.explain("bedrock", NOVA);
    let first = report
        .iter()
        .find(|report| &*report.auth_id == "k0")
        .unwrap();
    assert_eq!(first.availability, Availability::Ready);
}

/// Names and statuses: <https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html>,
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html#API_runtime_InvokeModel_Errors>, read on
/// 2026-11-27. For each: what is out afterwards, this model's credential or all of it.
#[test]
fn errors_are_told_by_their_names() {
    let elsewhere = "another-model";
    for (status, name, message, fault, here, everywhere) in [
        (
            429,
            "ThrottlingException",
            "Too many requests, please wait before trying again.",
            FailureKind::RateLimited,
            true,
            false,
        ),
        (
            400,
            "ThrottlingException",
            "Rate exceeded",
            FailureKind::RateLimited,
            true,
            false,
        ),
        (
            429,
            "ThrottlingException",
            "Too many tokens per day, please wait before trying again.",
            FailureKind::Quota,
            true,
            false,
        ),
        (
            400,
            "ServiceQuotaExceededException",
            "Your request exceeds the limit.",
            FailureKind::RateLimited,
            true,
            false,
        ),
        (
            429,
            "ModelNotReadyException",
            "The model is not ready for inference.",
            FailureKind::Overloaded,
            false,
            false,
        ),
        (
            408,
            "ModelTimeoutException",
            "The request took too long to process.",
            FailureKind::Transient,
            false,
            false,
        ),
        (
            424,
            "ModelErrorException",
            "The request failed due to an error while processing the model.",
            FailureKind::Transient,
            false,
            false,
        ),
        (
            500,
            "InternalServerException",
            "An internal server error occurred.",
            FailureKind::Transient,
            false,
            false,
        ),
        (
            503,
            "ServiceUnavailableException",
            "The service isn't currently available.",
            FailureKind::Transient,
            false,
            false,
        ),
        (
            403,
            "AccessDeniedException",
            "You don't have access to the model with the specified model ID.",
            FailureKind::Forbidden,
            true,
            false,
        ),
        (
            403,
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/u is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::foundation-model/m",
            FailureKind::Forbidden,
            true,
            false,
        ),
        (
            403,
            "AccessDeniedException",
            "The account is suspended.",
            FailureKind::Forbidden,
            true,
            true,
        ),
        (
            404,
            "ResourceNotFoundException",
            "Model use case details have not been submitted for this account. Fill out the Anthropic use case details form before using the model.",
            FailureKind::Forbidden,
            true,
            false,
        ),
        (
            404,
            "ResourceNotFoundException",
            "Could not resolve the foundation model from the provided model identifier.",
            FailureKind::NotFound,
            true,
            false,
        ),
        (
            403,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            FailureKind::Unauthorized,
            true,
            true,
        ),
        (
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            FailureKind::Unauthorized,
            true,
            true,
        ),
        (
            403,
            "InvalidSignatureException",
            "The request signature we calculated does not match.",
            FailureKind::Unauthorized,
            true,
            true,
        ),
        (
            403,
            "",
            "Bearer Token has expired",
            FailureKind::Unauthorized,
            true,
            true,
        ),
        (
            400,
            "ValidationException",
            "The provided model identifier is invalid.",
            FailureKind::BadRequest,
            false,
            false,
        ),
    ] {
        let upstream = Upstream::start(move |_| {
            refusal(
                status,
                &format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"),
                message,
            )
        });
        let (manager, _) = manager([access_key(&upstream)]);
        let error = manager
            .execute(["bedrock"], &conversation(NOVA), &once())
            .unwrap_err();
        assert_eq!(error.http_status(), Some(status));
        assert!(error.message().contains(name), "{error}");
        let ready =
            |model: &str| manager.explain("bedrock", model)[0].availability == Availability::Ready;
        let verdict = credpool::FailurePolicy::default().classify(&error);
        assert_eq!(verdict.fault, fault, "{name}: {message}");
        assert_eq!(
            (!ready(NOVA), !ready(elsewhere)),
            (here, everywhere),
            "{name}: {message}"
        );
    }
}

#[test]
fn uploads_are_read_before_they_are_signed() {
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    let (manager, _) = manager([access_key(&upstream)]);
    let call = |body: RequestBody| {
        let request = http::Request::post("/model/m/invoke").body(body).unwrap();
        manager.execute_raw(["bedrock"], RawRequest::from(request), &once())
    };
    call(RequestBody::once(Cursor::new(b"abc"))).unwrap();
    call(RequestBody::reopened(|| Ok(Cursor::new(b"abc")))).unwrap();
    let requests = upstream.requests();
    assert!(requests.iter().all(|sent| sent.body[..] == *b"abc"));
    let signature = |sent: &ReceivedRequest| sent.header("authorization").unwrap().to_owned();
    assert_eq!(signature(&requests[0]), signature(&requests[1]));
    let large = RequestBody::once(std::io::Read::take(std::io::repeat(0), 25_000_001));
    let error = call(large).unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Config);
    assert!(error.message().contains("25000000"), "{error}");
    assert_eq!(upstream.request_count(), 2);
}

/// A client of a gateway signs with a key of its own.
#[test]
fn a_clients_own_signature_is_not_passed_on() {
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    for auth in [key(&upstream), access_key(&upstream)] {
        let (manager, _) = manager([auth]);
        let request = http::Request::post("/model/m/converse")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=of-the-client")
            .header("x-amz-security-token", "of-the-client")
            .header("x-amz-content-sha256", "of-the-client")
            .header("x-amz-date", "of-the-client")
            .body("{}")
            .unwrap();
        manager
            .execute_raw(["bedrock"], RawRequest::from(request), &once())
            .unwrap();
    }
    for sent in upstream.requests() {
        assert!(!format!("{:?}", sent.headers).contains("of-the-client"));
    }
}

#[test]
fn a_signing_credential_is_put_into_no_request_without_its_body() {
    let upstream = Upstream::start(|_| Reply::new(200));
    let (manager, _) = manager([access_key(&upstream)]);
    let (mut head, ()) = http::Request::get("https://bedrock-runtime.us-east-1.amazonaws.com/")
        .body(())
        .unwrap()
        .into_parts();
    let error = manager.inject_credentials(&mut head, "k0").unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Unsupported);
    assert!(head.headers.is_empty());
}

/// Where a server writes all that it was sent into its errors, and what the program then shows.
#[test]
fn no_secret_is_shown() {
    let seen = Arc::new(Mutex::new(String::new()));
    let upstream = Upstream::start({
        let seen = Arc::clone(&seen);
        move |request: &ReceivedRequest| {
            let headers = format!("{:?}", request.headers.values().collect::<Vec<_>>());
            seen.lock().unwrap().push_str(&headers);
            let words = format!("canary/secret+1 canary%2Fsecret%2B1 canary-session {headers}");
            match request.path.rsplit('/').next() {
                Some("converse-stream") => Reply::amazon_events([(
                    "validationException",
                    json!({ "message": words }).to_string(),
                )]),
                _ => refusal(400, "ValidationException", &words),
            }
        }
    });
    let auth = access_key(&upstream).with_metadata("session_token", "canary-session");
    let (manager, _) = manager([auth]);
    let plain = manager
        .execute(["bedrock"], &conversation(NOVA), &once())
        .unwrap_err();
    let streamed = manager.execute_stream(["bedrock"], &conversation(NOVA), &once());
    let streamed = streamed
        .and_then(credpool::ChunkStream::collect_response)
        .unwrap_err();
    for error in [plain, streamed] {
        assert_eq!(error.http_status(), Some(400), "{error}");
        let shown = format!("{error} {error:?} {:?}", error.body());
        assert!(!shown.contains("canary"), "{shown}");
    }
    for auth in manager.list() {
        assert!(!format!("{auth:?}").contains("canary"));
    }
    // The secret itself never leaves the machine.
    assert!(!seen.lock().unwrap().contains("secret"), "{seen:?}");
}

/// Any one bit of a stream: the text is that of whole frames in front of it, and the stream fails.
#[test]
fn a_damaged_byte_anywhere_is_no_content() {
    let events = [
        ("messageStart", r#"{"role":"assistant"}"#),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#,
        ),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"text":"b"}}"#,
        ),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
    ];
    let whole = amazon_events(events);
    let size = whole.len();
    let upstream = Upstream::start(move |request| {
        let at: usize = request.header("x-at").unwrap().parse().unwrap();
        let mut body = whole.clone();
        body[at] ^= 1 << (at % 8);
        Reply::new(200)
            .header("content-type", "application/vnd.amazon.eventstream")
            .body(body)
    });
    let auth = key(&upstream).with_id("k");
    let ends = [1, 2, 3].map(|count| amazon_events(events[..count].iter().copied()).len());
    for at in 0..size {
        let options = Options::new().with_header("x-at", &at.to_string()).unwrap();
        let stream = Bedrock::new().execute_stream(
            &Attempt::for_tests(SystemClock),
            &auth,
            &conversation(NOVA),
            &options,
        );
        let (mut text, mut error) = (String::new(), None);
        for chunk in stream.unwrap() {
            match chunk {
                Ok(chunk) => text.extend(chunk.text),
                Err(found) => error = Some(found),
            }
        }
        let expected = match at {
            at if at < ends[1] => "",
            at if at < ends[2] => "a",
            _ => "ab",
        };
        assert_eq!(text, expected, "byte {at}");
        let error = error.unwrap_or_else(|| panic!("byte {at}: it counts as whole"));
        // The first byte makes a document of it, in one bit of eight.
        assert!(error.is_retryable() || at == 0, "byte {at}: {error}");
    }
}
