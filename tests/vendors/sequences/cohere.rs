//! Cohere's own chat: <https://docs.cohere.com/reference/chat>, <https://docs.cohere.com/v2/docs/streaming>,
//! <https://docs.cohere.com/docs/tool-use-streaming>.

use credpool::testing::{Reply, Upstream};
use credpool::{
    Auth, FailureKind, Manager, Options, RawRequest, ToolCall, Usage, provider::Cohere,
};
use serde_json::{Value, json};
use std::io::Read;

use super::{Body, Case, DONE, Want, named};
use crate::replay::{Api, Play, events};

const CHAT: &str = "https://docs.cohere.com/reference/chat";
const STREAM: &str = "https://docs.cohere.com/v2/docs/streaming";
const TOOLS: &str = "https://docs.cohere.com/docs/tool-use-streaming";

pub fn cases() -> Vec<Case> {
    let case = |name: &str, source, body, want| Case {
        vendor: "Cohere",
        name: name.to_owned(),
        source,
        api: Api::Cohere,
        payload: None,
        body,
        want,
    };
    let plain = |reply: Value| Body::Plain(reply.to_string());
    let stream = |parts: &[Value]| Body::Stream(named(parts));
    let used = Some(Usage::new(71, 418));
    let whole = |text, usage| Want::Whole(text, usage);
    let transient = || Want::Next(Some(FailureKind::Transient));
    let greeting = [start(), content_start("text")];
    let hi = [text("Hi"), text(" there")];
    let all = |end: Value| [&greeting[..], &hi, &[content_end(), end]].concat();
    let mut cases = vec![
        case(
            "a reply",
            CHAT,
            plain(reply("COMPLETE")),
            whole("Hi there", used),
        ),
        case(
            "a reply without a reason",
            CHAT,
            plain(json!({"id": "c", "message": {"role": "assistant", "content": []}})),
            transient(),
        ),
        case(
            "a reply that timed out",
            CHAT,
            plain(reply("TIMEOUT")),
            transient(),
        ),
        case(
            "a reply that failed",
            CHAT,
            plain(reply("ERROR")),
            transient(),
        ),
        case(
            "the ordinary stream",
            STREAM,
            stream(&all(end("COMPLETE"))),
            whole("Hi there", used),
        ),
        case(
            "by data alone",
            STREAM,
            Body::Stream(super::data(&all(end("MAX_TOKENS")))),
            whole("Hi there", used),
        ),
        case(
            "citations",
            STREAM,
            stream(&[
                start(),
                content_start("text"),
                text("Hi"),
                json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 0, "end": 2, "text": "Hi", "sources": []}}}}),
                json!({"type": "citation-end", "index": 0}),
                content_end(),
                end("COMPLETE"),
            ]),
            whole("Hi", used),
        ),
        case(
            "cut after the greeting",
            STREAM,
            stream(&greeting),
            transient(),
        ),
        case(
            "cut before message-end",
            STREAM,
            stream(&[&greeting[..], &hi, &[content_end()]].concat()),
            Want::Fails("Hi there", "stream_truncated"),
        ),
        case(
            "closed by [DONE] before message-end",
            STREAM,
            Body::Stream(named(&[&greeting[..], &hi].concat()) + DONE),
            Want::Fails("Hi there", "stream_truncated"),
        ),
        case(
            "message-end without a reason",
            STREAM,
            stream(&all(
                json!({"type": "message-end", "delta": {"usage": usage()}}),
            )),
            Want::Fails("Hi there", "stream_truncated"),
        ),
        case(
            "an error of the generation, before content",
            STREAM,
            stream(&[start(), failed("ERROR")]),
            transient(),
        ),
        case(
            "an error of the generation, after content",
            STREAM,
            stream(&all(failed("ERROR"))),
            Want::Fails("Hi there", "upstream"),
        ),
        case(
            "an error in place of an event",
            "https://docs.cohere.com/reference/errors",
            Body::Stream("data: {\"message\":\"too many requests\"}\n\n".to_owned()),
            transient(),
        ),
    ];
    for reason in ["STOP_SEQUENCE", "TOOL_CALL", "A_WORD_OF_ITS_OWN"] {
        let body = stream(&all(end(reason)));
        cases.push(case(
            &format!("ends with {reason}"),
            STREAM,
            body,
            whole("Hi there", used),
        ));
    }
    cases
}

fn usage() -> Value {
    json!({"billed_units": {"input_tokens": 5.0, "output_tokens": 418.0}, "tokens": {"input_tokens": 71.0, "output_tokens": 418.0}})
}

fn reply(reason: &str) -> Value {
    let content = json!([{"type": "text", "text": "Hi there"}]);
    json!({"id": "c", "finish_reason": reason, "message": {"role": "assistant", "content": content}, "usage": usage()})
}

fn start() -> Value {
    json!({"id": "c", "type": "message-start", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}})
}

fn content_start(kind: &str) -> Value {
    json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": kind, kind: ""}}}})
}

fn text(text: &str) -> Value {
    json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}})
}

fn content_end() -> Value {
    json!({"type": "content-end", "index": 0})
}

fn end(reason: &str) -> Value {
    json!({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage()}})
}

fn failed(reason: &str) -> Value {
    json!({"type": "message-end", "delta": {"finish_reason": reason, "error": "the model ran out of memory"}})
}

#[test]
fn thoughts_and_plans_are_reasoning() {
    let thinking = |text: &str| json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": text}}}});
    let plan =
        |text: &str| json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": text}}});
    for (parts, source) in [
        (
            vec![
                start(),
                content_start("thinking"),
                thinking("h"),
                thinking("m"),
                content_end(),
                text("fine"),
                end("COMPLETE"),
            ],
            CHAT,
        ),
        (
            vec![start(), plan("h"), plan("m"), text("fine"), end("COMPLETE")],
            TOOLS,
        ),
    ] {
        let played = Play::new(Api::Cohere).stream(events(named(&parts)));
        assert_eq!(
            (&*played.reasoning, &*played.text),
            ("hm", "fine"),
            "{source}"
        );
    }
    let content = json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "fine"}]);
    for message in [
        json!({"content": content}),
        json!({"tool_plan": "hm", "content": [{"type": "text", "text": "fine"}]}),
    ] {
        let body = json!({"finish_reason": "COMPLETE", "message": message});
        let played = Play::new(Api::Cohere).plain(Reply::json(200, body.to_string()));
        assert_eq!((&*played.reasoning, &*played.text), ("hm", "fine"));
    }
}

#[test]
fn tool_calls_are_put_together() {
    let begun = |index: u64, id: &str, name: &str| json!({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": {"id": id, "type": "function", "function": {"name": name, "arguments": ""}}}}});
    let piece = |index: u64, text: &str| json!({"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls": {"function": {"arguments": text}}}}});
    let over = |index: u64| json!({"type": "tool-call-end", "index": index});
    let parts = [
        start(),
        begun(0, "weather_1", "weather"),
        piece(0, "{\"city\":"),
        piece(0, "\"Rome\"}"),
        over(0),
        begun(1, "time_2", "time"),
        over(1),
        end("TOOL_CALL"),
    ];
    let calls = [
        ToolCall::new("weather", r#"{"city":"Rome"}"#).with_id("weather_1"),
        ToolCall::new("time", "{}").with_id("time_2"),
    ];
    let played = Play::new(Api::Cohere).stream(events(named(&parts)));
    assert_eq!(played.tool_calls, calls);
    assert_eq!(played.finish_reason.as_deref(), Some("TOOL_CALL"));
    let of = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let message = json!({"role": "assistant", "tool_plan": "I look it up.", "tool_calls": [of("weather_1", "weather", "{\"city\":\"Rome\"}"), of("time_2", "time", "{}")]});
    let body = json!({"id": "c", "finish_reason": "TOOL_CALL", "message": message});
    let played = Play::new(Api::Cohere).plain(Reply::json(200, body.to_string()));
    assert_eq!(played.tool_calls, calls);
}

#[test]
fn usage_is_what_the_model_read_and_else_what_is_billed() {
    for (usage, expected) in [
        (usage(), Some(Usage::new(71, 418))),
        (
            json!({"tokens": {"input_tokens": 7, "output_tokens": 1}, "cached_tokens": 4.0}),
            Some(Usage::new(7, 1).with_cached(4)),
        ),
        (
            json!({"billed_units": {"input_tokens": 5, "output_tokens": 2}}),
            Some(Usage::new(5, 2)),
        ),
        (json!({"billed_units": {"search_units": 1}}), None),
        (json!({"tokens": {"input_tokens": "many"}}), None),
        (Value::Null, None),
    ] {
        let mut body = reply("COMPLETE");
        body["usage"] = usage.clone();
        let played = Play::new(Api::Cohere).plain(Reply::json(200, body.to_string()));
        assert_eq!(played.usage, expected, "{usage}");
    }
}

/// The other endpoints, by raw calls: <https://docs.cohere.com/reference/embed>, <https://docs.cohere.com/reference/rerank>,
/// <https://docs.cohere.com/reference/list-models>.
#[test]
fn embeddings_reranking_and_lists_go_raw() {
    let upstream = Upstream::start(|request| match &*request.path {
        "/v2/embed" => Reply::json(
            200,
            r#"{"id":"e","embeddings":{"float":[[0.1]]},"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":3}}}"#,
        ),
        "/v2/rerank" => Reply::json(
            200,
            r#"{"results":[{"index":0,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1}}}"#,
        ),
        "/v1/models" => Reply::json(200, r#"{"models":[{"name":"command-a"}]}"#),
        _ => Reply::json(404, r#"{"message":"not found"}"#),
    });
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(Cohere::new());
    let auth =
        Auth::api_key("cohere", "key").with_attribute("base_url", format!("{}/v2", upstream.url()));
    manager.register(auth).unwrap();
    for (method, path, usage) in [
        ("POST", "/v2/embed", Some(Usage::new(3, 0))),
        ("POST", "/embed", Some(Usage::new(3, 0))),
        ("POST", "/rerank", None),
        ("GET", "/v1/models", None),
    ] {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .body("{}")
            .unwrap();
        let answer = manager
            .execute_raw(["cohere"], RawRequest::from(request), &Options::new())
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let mut body = answer.into_body();
        let mut text = String::new();
        body.read_to_string(&mut text).unwrap();
        assert_eq!(body.usage(), usage, "{path}: {text}");
    }
    for request in upstream.requests() {
        assert_eq!(request.bearer(), Some("key"));
    }
}
