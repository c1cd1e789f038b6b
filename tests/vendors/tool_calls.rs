//! Tool calls in the vendors' documented shapes, plain and streamed.

use credpool::ToolCall;
use serde_json::{Value, json};

use crate::parts::Body;
use crate::replay::Api;

struct Case {
    api: Api,
    name: &'static str,
    /// The page that shows it.
    source: &'static str,
    body: Body,
    calls: Vec<ToolCall>,
}

impl Case {
    /// What is not as it should be.
    fn check(&self) -> Option<String> {
        let played = self.body.played(self.api).into_iter();
        let wrong = played
            .filter(|played| played.error.is_some() || played.tool_calls != self.calls)
            .map(|played| (played.tool_calls, played.error));
        let wrong: Vec<_> = wrong.collect();
        let (api, name, source) = (self.api, self.name, self.source);
        (!wrong.is_empty()).then(|| format!("{api:?}, {name}: {wrong:?} ({source})"))
    }
}

#[test]
fn tool_calls_are_put_together_from_every_vendors_shapes() {
    let all = [chat(), responses(), messages(), gemini()].into_iter();
    let wrong: Vec<_> = all.flatten().filter_map(|case| case.check()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall::new(name, arguments).with_id(id)
}

fn chat() -> Vec<Case> {
    let plain = |calls: Value| {
        let message = json!({"role": "assistant", "content": "Let me see.", "tool_calls": calls});
        let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 4});
        Body::Plain(
            json!({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}),
        )
    };
    let piece = |delta: Value, reason: Value| json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    let stream = |deltas: &[Value]| {
        let pieces = deltas.iter().map(|delta| piece(delta.clone(), Value::Null));
        Body::Events(
            pieces
                .chain([piece(json!({}), json!("tool_calls"))])
                .collect(),
        )
    };
    let begins = |index: u64, id: &str, name: &str, arguments: &str| json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]});
    let goes_on = |index: u64, arguments: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]});
    let rome = || call("call_1", "weather", r#"{"city":"Rome"}"#);
    let time = || call("call_2", "time", "{}");
    let rows = [
        (
            "two of a message",
            "https://platform.openai.com/docs/guides/function-calling",
            plain(json!([
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}},
                {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
            ])),
            vec![rome(), time()],
        ),
        (
            "none, as an empty list",
            "https://docs.vllm.ai/en/latest/features/tool_calling.html",
            plain(json!([])),
            vec![],
        ),
        (
            "two in pieces that alternate",
            "https://platform.openai.com/docs/guides/function-calling#streaming",
            stream(&[
                json!({"role": "assistant", "content": null}),
                begins(0, "call_1", "weather", ""),
                goes_on(0, "{\"city\""),
                begins(1, "call_2", "time", ""),
                goes_on(1, "{}"),
                goes_on(0, ":\"Rome\"}"),
            ]),
            vec![rome(), time()],
        ),
        (
            "after text that takes the fast path, and beside text",
            "https://platform.openai.com/docs/api-reference/chat-streaming",
            stream(&[
                json!({"content": "Let "}),
                json!({"content": "me"}),
                json!({"content": " see.", "tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}}]}),
                json!({"content": ".", "tool_calls": []}),
            ]),
            vec![rome()],
        ),
        (
            "an empty id and name in every later piece",
            "https://help.aliyun.com/zh/model-studio/qwen-function-calling",
            stream(&[
                begins(0, "call_1", "weather", "{\"city\":"),
                begins(0, "", "", "\"Rome\"}"),
            ]),
            vec![rome()],
        ),
        (
            "the id in every piece",
            "https://docs.mistral.ai/capabilities/function_calling/",
            stream(&[
                begins(0, "call_1", "weather", "{\"city\":"),
                begins(0, "call_1", "weather", "\"Rome\"}"),
            ]),
            vec![rome()],
        ),
        (
            "whole ones under the same index",
            "https://ai.google.dev/gemini-api/docs/openai",
            stream(&[
                begins(0, "call_1", "weather", "{\"city\":\"Rome\"}"),
                begins(0, "call_2", "time", "{}"),
            ]),
            vec![rome(), time()],
        ),
        (
            "without index and id, arguments as an object or missing",
            "https://docs.ollama.com/capabilities/tool-calling",
            stream(&[json!({"tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Rome"}}},
                {"function": {"name": "time"}},
            ]})]),
            vec![
                ToolCall::new("weather", r#"{"city":"Rome"}"#),
                ToolCall::new("time", "{}"),
            ],
        ),
        (
            "a custom tool",
            "https://platform.openai.com/docs/guides/function-calling#custom-tools",
            plain(
                json!([{"id": "call_1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}]),
            ),
            vec![call("call_1", "shell", "ls -l")],
        ),
        (
            "cut short in its arguments",
            "https://platform.openai.com/docs/api-reference/chat-streaming",
            stream(&[begins(0, "call_1", "weather", "{\"ci")]),
            vec![call("call_1", "weather", "{\"ci")],
        ),
    ];
    rows.into_iter().map(|row| case(Api::Chat, row)).collect()
}

fn responses() -> Vec<Case> {
    let function = |status: &str, arguments: &str| json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": arguments, "status": status});
    let custom = |input: &str| json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "shell", "input": input});
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed"});
    let item = |kind: &str, place: u64, item: Value| json!({"type": format!("response.output_item.{kind}"), "output_index": place, "item": item});
    let delta = |kind: &str, place: u64, text: &str| json!({"type": format!("response.{kind}.delta"), "item_id": "i", "output_index": place, "delta": text});
    let arguments = |text| delta("function_call_arguments", 1, text);
    let input = |text| delta("custom_tool_call_input", 2, text);
    let whole = r#"{"city":"Rome"}"#;
    let output = json!([search, function("completed", whole), custom("ls -l")]);
    let completed = json!({"type": "response.completed", "response": {"status": "completed", "output": output}});
    let both = || {
        vec![
            call("call_1", "weather", whole),
            call("call_2", "shell", "ls -l"),
        ]
    };
    let guide = "https://platform.openai.com/docs/guides/function-calling";
    let rows = [
        (
            "of a function and of a custom tool",
            guide,
            Body::Plain(json!({"object": "response", "status": "completed", "output": output})),
            both(),
        ),
        (
            "in pieces",
            "https://platform.openai.com/docs/api-reference/responses-streaming",
            Body::Events(vec![
                item("added", 0, search.clone()),
                item("added", 1, function("in_progress", "")),
                arguments("{\"city\":"),
                item("added", 2, custom("")),
                input("ls"),
                arguments("\"Rome\"}"),
                json!({"type": "response.function_call_arguments.done", "output_index": 1, "arguments": whole}),
                item("done", 1, function("completed", whole)),
                input(" -l"),
                item("done", 2, custom("ls -l")),
                completed.clone(),
            ]),
            both(),
        ),
        (
            "items that are done, without pieces",
            guide,
            Body::Events(vec![
                item("added", 1, function("in_progress", "")),
                item("done", 1, function("completed", whole)),
                item("done", 2, custom("ls -l")),
                completed,
            ]),
            both(),
        ),
    ];
    rows.into_iter()
        .map(|row| case(Api::Responses, row))
        .collect()
}

fn messages() -> Vec<Case> {
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let json_delta = |index: u64, text: &str| {
        delta(
            index,
            json!({"type": "input_json_delta", "partial_json": text}),
        )
    };
    let tool = |kind: &str, id: &str, name: &str, input: Value| json!({"type": kind, "id": id, "name": name, "input": input});
    let end = || {
        [
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ]
    };
    let both = || {
        vec![
            call("toolu_1", "weather", r#"{"city":"Rome"}"#),
            call("toolu_2", "time", "{}"),
        ]
    };
    let streamed = [
        json!({"type": "message_start", "message": {"id": "m", "content": []}}),
        start(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "Let me see."})),
        start(
            1,
            tool("server_tool_use", "srvtoolu_1", "web_search", json!({})),
        ),
        json_delta(1, "{\"query\":\"Rome\"}"),
        start(2, tool("tool_use", "toolu_1", "weather", json!({}))),
        json_delta(2, ""),
        json_delta(2, "{\"city\":"),
        json_delta(2, "\"Rome\"}"),
        json!({"type": "content_block_stop", "index": 2}),
        start(3, tool("tool_use", "toolu_2", "time", json!({}))),
        json_delta(3, ""),
        json!({"type": "content_block_stop", "index": 3}),
    ];
    let at_once = [
        start(
            0,
            tool("tool_use", "toolu_1", "weather", json!({"city": "Rome"})),
        ),
        start(1, tool("tool_use", "toolu_2", "time", json!({}))),
    ];
    let guide = "https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview";
    let rows = [
        (
            "of a message, beside a tool of the vendor's own",
            guide,
            Body::Plain(
                json!({"type": "message", "stop_reason": "tool_use", "content": [
                    {"type": "text", "text": "Let me see."},
                    tool("server_tool_use", "srvtoolu_1", "web_search", json!({"query": "Rome"})),
                    tool("tool_use", "toolu_1", "weather", json!({"city": "Rome"})),
                    tool("tool_use", "toolu_2", "time", json!({})),
                ]}),
            ),
            both(),
        ),
        (
            "in pieces, and one without arguments",
            "https://docs.anthropic.com/en/docs/build-with-claude/streaming",
            Body::Events(streamed.into_iter().chain(end()).collect()),
            both(),
        ),
        (
            "whole at the start of their blocks",
            guide,
            Body::Events(at_once.into_iter().chain(end()).collect()),
            both(),
        ),
    ];
    rows.into_iter()
        .map(|row| case(Api::Messages, row))
        .collect()
}

fn gemini() -> Vec<Case> {
    let reply = |parts: Value, reason: Value| json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": reason}]});
    let weather =
        json!({"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Rome"}}});
    let time = json!({"functionCall": {"name": "time"}});
    let both = || {
        vec![
            call("call_1", "weather", r#"{"city":"Rome"}"#),
            ToolCall::new("time", "{}"),
        ]
    };
    let guide = "https://ai.google.dev/gemini-api/docs/function-calling";
    let rows = [
        (
            "two of a reply, one without id and arguments",
            guide,
            Body::Plain(reply(
                json!([{"text": "Let me see."}, weather, time]),
                json!("STOP"),
            )),
            both(),
        ),
        (
            "in two events",
            guide,
            Body::Events(vec![
                reply(json!([weather]), Value::Null),
                reply(json!([time]), json!("STOP")),
            ]),
            both(),
        ),
    ];
    rows.into_iter().map(|row| case(Api::Gemini, row)).collect()
}

fn case(
    api: Api,
    (name, source, body, calls): (&'static str, &'static str, Body, Vec<ToolCall>),
) -> Case {
    Case {
        api,
        name,
        source,
        body,
        calls,
    }
}
