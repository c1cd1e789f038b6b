//! The Responses API by stream: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use credpool::{FailureKind, Usage};
use serde_json::{Value, json};

use super::{Body, Case, DONE, Want, data, named};
use crate::replay::Api;

const OPENROUTER: &str = "https://openrouter.ai/docs/api/reference/errors-and-debugging";
const EVENTS: &str = "https://platform.openai.com/docs/api-reference/responses-streaming";

fn response(status: &str, more: Value) -> Value {
    let mut response = json!({"id": "r", "object": "response", "status": status, "error": null,
        "incomplete_details": null, "output": [], "usage": null});
    for (name, value) in more.as_object().unwrap() {
        response[name] = value.clone();
    }
    response
}

fn created() -> Value {
    json!({"type": "response.created", "sequence_number": 0, "response": response("in_progress", json!({}))})
}

fn delta(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": text})
}

fn usage() -> Value {
    json!({"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 5})
}

fn ended(kind: &str, status: &str, more: Value) -> Value {
    let mut more = more;
    more["usage"] = usage();
    json!({"type": kind, "response": response(status, more)})
}

fn completed() -> Value {
    ended("response.completed", "completed", json!({}))
}

pub fn cases() -> Vec<Case> {
    let used = Some(Usage::new(3, 2).with_cached(1).with_reasoning(1));
    let whole = || Want::Whole("Hi there", used);
    let (hi, there) = (delta("Hi"), delta(" there"));
    let failed = |code: &str| json!({"type": "response.failed", "response": response("failed", json!({"error": {"code": code, "message": "m"}}))});
    let all = |end: Value| named(&[created(), hi.clone(), there.clone(), end]);
    let mut rows: Vec<(&'static str, String, &'static str, String, Want)> = vec![
        (
            "OpenAI",
            "the ordinary stream".into(),
            EVENTS,
            all(completed()),
            whole(),
        ),
        (
            "OpenAI",
            "the end without its blank line".into(),
            EVENTS,
            all(completed()).trim_end().to_owned(),
            whole(),
        ),
        (
            "OpenAI",
            "ended by max_output_tokens".into(),
            EVENTS,
            all(ended(
                "response.incomplete",
                "incomplete",
                json!({"incomplete_details": {"reason": "max_output_tokens"}}),
            )),
            whole(),
        ),
        (
            "OpenAI",
            "ended by content_filter".into(),
            EVENTS,
            all(ended(
                "response.incomplete",
                "incomplete",
                json!({"incomplete_details": {"reason": "content_filter"}}),
            )),
            whole(),
        ),
        (
            "OpenAI",
            "cut before the end".into(),
            EVENTS,
            named(&[created(), hi.clone()]),
            Want::Fails("Hi", "stream_truncated"),
        ),
        (
            "OpenAI",
            "cut before any content".into(),
            EVENTS,
            named(&[created()]),
            Want::Next(Some(FailureKind::Transient)),
        ),
        (
            "OpenAI",
            "an error event".into(),
            EVENTS,
            named(&[
                created(),
                json!({"type": "error", "code": "rate_limit_exceeded", "message": "Try again in 20s", "param": null}),
            ]),
            Want::Next(Some(FailureKind::RateLimited)),
        ),
        (
            "OpenAI",
            "a tool, a search and reasoning before text".into(),
            EVENTS,
            named(&[
                created(),
                json!({"type": "response.output_item.added", "item": {"type": "reasoning"}}),
                json!({"type": "response.reasoning_summary_text.delta", "delta": "Hm"}),
                json!({"type": "response.web_search_call.searching", "item_id": "w"}),
                json!({"type": "response.function_call_arguments.delta", "delta": "{"}),
                hi.clone(),
                there.clone(),
                completed(),
            ]),
            whole(),
        ),
        (
            "OpenAI",
            "an image of 2 MB".into(),
            "nextlevelbuilder/goclaw#1348",
            named(&[
                created(),
                json!({"type": "response.image_generation_call.partial_image", "partial_image_b64": "A".repeat(2_000_000)}),
                completed(),
            ]),
            Want::Whole("", used),
        ),
        (
            "gateways",
            "completed, but failed".into(),
            EVENTS,
            named(&[
                created(),
                json!({"type": "response.completed", "response": response("failed", json!({"error": {"code": "server_error", "message": "x"}}))}),
            ]),
            Want::Next(Some(FailureKind::Transient)),
        ),
        (
            "gateways",
            "completed, with an error".into(),
            EVENTS,
            named(&[
                created(),
                json!({"type": "response.completed", "response": response("completed", json!({"error": {"code": "server_error", "message": "x"}}))}),
            ]),
            Want::Next(Some(FailureKind::Transient)),
        ),
        (
            "gateways",
            "the older name of the end".into(),
            EVENTS,
            all(ended("response.done", "completed", json!({}))),
            whole(),
        ),
        (
            "gateways",
            "[DONE] behind the end".into(),
            EVENTS,
            all(completed()) + DONE,
            whole(),
        ),
        (
            "gateways",
            "[DONE] in place of the end".into(),
            EVENTS,
            named(&[created(), hi.clone()]) + DONE,
            Want::Fails("Hi", "stream_truncated"),
        ),
        (
            "gateways",
            "an event without a type".into(),
            "openai-python 3.57.0 passes over it",
            named(&[created(), hi.clone()])
                + &data(&[json!({"foo": 1})])
                + &named(&[there.clone(), completed()]),
            whole(),
        ),
        (
            "gateways",
            "empty data".into(),
            "openai/openai-go#621",
            named(&[created(), hi.clone()])
                + "data: \n\ndata:\n\n"
                + &named(&[there.clone(), completed()]),
            whole(),
        ),
        (
            "gateways",
            "a keepalive event".into(),
            EVENTS,
            named(&[
                created(),
                json!({"type": "keepalive", "sequence_number": 3}),
                hi.clone(),
                there.clone(),
                completed(),
            ]),
            whole(),
        ),
        (
            "gateways",
            "a ping in words".into(),
            "caozhiyuan/copilot-api#88",
            named(&[created()])
                + "event: ping\ndata: ping\n\n"
                + &named(&[hi.clone(), there.clone(), completed()]),
            whole(),
        ),
        (
            "gateways",
            "types without names".into(),
            EVENTS,
            data(&[created(), hi.clone(), there.clone(), completed()]),
            whole(),
        ),
        (
            "gateways",
            "half a surrogate pair".into(),
            "elizaOS/eliza#30904",
            named(&[created()])
                + "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\\ud83d\"}\n\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"\\ude00b\"}\n\n"
                + &named(&[completed()]),
            Want::Whole("a\u{1f600}b", used),
        ),
        (
            "gateways",
            "a whole response in answer".into(),
            EVENTS,
            response("completed", json!({})).to_string(),
            Want::Final("stream_malformed"),
        ),
    ];
    // https://platform.openai.com/docs/api-reference/responses/object: error.code
    for (code, fault) in [
        ("server_error", FailureKind::Transient),
        ("rate_limit_exceeded", FailureKind::RateLimited),
        ("insufficient_quota", FailureKind::Billing),
        ("vector_store_timeout", FailureKind::Transient),
        ("server_is_overloaded", FailureKind::Overloaded),
        ("slow_down", FailureKind::Overloaded),
    ] {
        rows.push((
            "OpenAI",
            format!("fails with {code}, before content"),
            EVENTS,
            named(&[created(), failed(code)]),
            Want::Next(Some(fault)),
        ));
        rows.push((
            "OpenAI",
            format!("fails with {code}, after content"),
            EVENTS,
            named(&[created(), hi.clone(), failed(code)]),
            Want::Fails("Hi", "upstream"),
        ));
    }
    // Its code says less than its type, which stands beside the error.
    let typed = |kind: &str| {
        let error = json!({"code": "server_error", "message": "m"});
        let response = response("failed", json!({"error": error, "error_type": kind}));
        json!({"type": "response.failed", "response": response})
    };
    for (kind, fault) in [
        ("authentication", FailureKind::Unauthorized),
        ("provider_overloaded", FailureKind::Overloaded),
        ("payment_required", FailureKind::Billing),
        ("rate_limit_exceeded", FailureKind::RateLimited),
        ("server", FailureKind::Transient),
    ] {
        rows.push((
            "OpenRouter",
            format!("fails by type {kind}, before content"),
            OPENROUTER,
            named(&[created(), typed(kind)]),
            Want::Next(Some(fault)),
        ));
    }
    rows.push((
        "OpenRouter",
        "an error of another name".into(),
        OPENROUTER,
        named(&[
            created(),
            json!({"type": "response.error", "error": {"code": "rate_limit_exceeded", "message": "m"}}),
        ]),
        Want::Next(Some(FailureKind::RateLimited)),
    ));
    rows.push((
        "OpenRouter",
        "what was sent on, first".into(),
        OPENROUTER,
        named(&[
            json!({"type": "response.debug", "debug": {"echo_upstream_body": {"error": "x"}}, "sequence_number": 0}),
            created(),
            hi.clone(),
            there.clone(),
            completed(),
        ]),
        whole(),
    ));
    rows.into_iter()
        .map(|(vendor, name, source, body, want)| Case {
            vendor,
            name: format!("Responses: {name}"),
            source,
            api: Api::Responses,
            payload: None,
            body: Body::Stream(body),
            want,
        })
        .collect()
}
