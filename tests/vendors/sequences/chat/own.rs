//! What one vendor alone does.

use credpool::{FailureKind, Usage};
use serde_json::{Value, json};

use super::super::{Body, Case, DONE, Want, chunk, data, raw, role, said, stop, with};
use crate::replay::Api;

pub fn cases() -> Vec<Case> {
    let case = |vendor, name: &str, source, body: String, want| Case {
        vendor,
        name: name.to_owned(),
        source,
        api: Api::Chat,
        payload: None,
        body: Body::Stream(body),
        want,
    };
    let hi = || data(&[role(), said("Hi")]);
    let ended = |reason: &str| data(&[chunk(json!({"content": ""}), Some(reason))]);
    let ok = |text| Want::Whole(text, None);
    let deepseek = "https://api-docs.deepseek.com/api/create-chat-completion";
    let mut cases = Vec::new();
    // Reasons that end a reply.
    for (vendor, reason, source) in [
        (
            "OpenAI",
            "length",
            "https://platform.openai.com/docs/api-reference/chat/object",
        ),
        (
            "OpenAI",
            "content_filter",
            "https://platform.openai.com/docs/api-reference/chat/object",
        ),
        (
            "OpenAI",
            "tool_calls",
            "https://platform.openai.com/docs/api-reference/chat/object",
        ),
        (
            "OpenAI",
            "function_call",
            "https://platform.openai.com/docs/api-reference/chat/object",
        ),
        ("Mistral", "model_length", "https://docs.mistral.ai/api"),
        (
            "Zhipu",
            "sensitive",
            "https://docs.bigmodel.cn/api-reference",
        ),
        (
            "Zhipu",
            "model_context_window_exceeded",
            "https://docs.z.ai/api-reference/llm/chat-completion",
        ),
        (
            "TGI",
            "eos_token",
            "https://huggingface.co/docs/text-generation-inference/en/reference/api_reference",
        ),
        (
            "TGI",
            "stop_sequence",
            "https://huggingface.co/docs/text-generation-inference/en/reference/api_reference",
        ),
        ("Ollama", "load", "https://docs.ollama.com/api"),
        (
            "Cohere, compatible",
            "COMPLETE",
            "https://docs.cohere.com/reference/chat",
        ),
        (
            "Cohere, compatible",
            "MAX_TOKENS",
            "https://docs.cohere.com/reference/chat",
        ),
        ("xAI", "end_turn", "https://docs.x.ai/docs/api-reference"),
        (
            "IBM",
            "time_limit",
            "https://ibm.github.io/watsonx-ai-node-sdk/interfaces/1_6_x.WatsonXAI.TextChatResultChoice-1.html",
        ),
        (
            "Oracle",
            "ERROR_TOXIC",
            "https://docs.oracle.com/en-us/iaas/tools/dotnet/latest/api/Oci.GenerativeaiinferenceService.Models.CohereChatResponse.FinishReasonEnum.html",
        ),
        ("any server", "a_word_of_its_own", "no list is for ever"),
    ] {
        let body = format!("{}{}{DONE}", hi(), ended(reason));
        cases.push(case(
            vendor,
            &format!("ends with {reason}"),
            source,
            body,
            ok("Hi"),
        ));
    }
    // Words for no reason yet, in every chunk.
    for (vendor, word, source) in [
        (
            "IBM",
            "not_finished",
            "https://ibm.github.io/watsonx-ai-node-sdk",
        ),
        ("any server", "None", "Python's word for it"),
        (
            "any server",
            "null",
            "https://help.aliyun.com/zh/model-studio/qwen-api-via-dashscope",
        ),
    ] {
        let piece = data(&[chunk(json!({"content": "Hi"}), Some(word))]);
        cases.push(case(
            vendor,
            &format!("{word} in every chunk"),
            source,
            format!("{piece}{}{DONE}", data(&[stop()])),
            ok("Hi"),
        ));
        cases.push(case(
            vendor,
            &format!("{word} in every chunk, and no end"),
            source,
            piece,
            Want::Fails("Hi", "stream_truncated"),
        ));
    }
    // What stands for `[DONE]` elsewhere ends nothing and spoils nothing.
    for mark in [
        "[done]",
        "[END]",
        "DONE",
        "done",
        "\"[DONE]\"",
        "[DONE].",
        "[DONE][DONE]",
        "[]",
        "{}",
        "\"\"",
    ] {
        cases.push(case(
            "gateways",
            &format!("{mark} in place of [DONE]"),
            "https://html.spec.whatwg.org/multipage/server-sent-events.html",
            format!("{}{}{}", hi(), data(&[stop()]), raw(mark)),
            ok("Hi"),
        ));
    }
    cases.push(case(
        "gateways",
        "[END] before the end",
        "https://html.spec.whatwg.org/multipage/server-sent-events.html",
        format!("{}{}", hi(), raw("[END]")),
        Want::Fails("Hi", "stream_malformed"),
    ));
    // Reasons that are faults.
    for (vendor, reason, source) in [
        ("DeepSeek", "insufficient_system_resource", deepseek),
        ("Zhipu", "network_error", "litellm 1.108.7, core_helpers.py"),
        (
            "vLLM",
            "abort",
            "vllm/v1/engine/__init__.py, FinishReason.ABORT",
        ),
        (
            "SGLang",
            "abort",
            "sglang/srt/managers/schedule_batch.py, FINISH_ABORT",
        ),
        (
            "OpenRouter",
            "error",
            "https://openrouter.ai/docs/api/reference/errors-and-debugging",
        ),
        ("Mistral", "error", "https://docs.mistral.ai/api"),
        (
            "Cohere, compatible",
            "ERROR",
            "https://docs.cohere.com/reference/chat",
        ),
        (
            "Cohere, compatible",
            "TIMEOUT",
            "https://docs.cohere.com/reference/chat",
        ),
        (
            "Oracle",
            "USER_CANCEL",
            "https://docs.oracle.com/en-us/iaas/tools/dotnet/latest/api/Oci.GenerativeaiinferenceService.Models.CohereChatResponse.FinishReasonEnum.html",
        ),
        (
            "IBM",
            "cancelled",
            "https://ibm.github.io/watsonx-ai-node-sdk/interfaces/1_6_x.WatsonXAI.TextChatResultChoice-1.html",
        ),
        (
            "any server",
            "server_error",
            "the last word says what it is",
        ),
    ] {
        let body = format!("{}{}{DONE}", hi(), ended(reason));
        cases.push(case(
            vendor,
            &format!("fails with {reason}"),
            source,
            body,
            Want::Fails("Hi", "upstream"),
        ));
        let body = format!("{}{}{DONE}", data(&[role()]), ended(reason));
        cases.push(case(
            vendor,
            &format!("fails with {reason} before any content"),
            source,
            body,
            Want::Next(Some(FailureKind::Transient)),
        ));
    }
    let groq = "groq-python 1.7.0, XGroq.error";
    let over = with(
        stop(),
        "x_groq",
        json!({"id": "req", "error": "over_capacity"}),
    );
    cases.extend([
        case("Groq", "an error beside a finish reason", groq, hi() + &data(std::slice::from_ref(&over)), Want::Fails("Hi", "upstream")),
        case("Groq", "an error beside a finish reason, before content", groq, data(&[role(), over]), Want::Next(Some(FailureKind::Transient))),
        case("DashScope", "the word null as a reason, and a cut", "https://help.aliyun.com/zh/model-studio/qwen-api-via-dashscope",
            data(&[chunk(json!({"content": "Hi"}), Some("null")), chunk(json!({"content": " there"}), Some("null"))]), Want::Fails("Hi there", "stream_truncated")),
        case("DashScope", "the word null as a reason, then the end", "https://help.aliyun.com/zh/model-studio/qwen-api-via-dashscope",
            data(&[chunk(json!({"content": "Hi"}), Some("null")), chunk(json!({"content": ""}), Some("stop"))]), ok("Hi")),
        case("OpenRouter", "comments while it waits", "https://openrouter.ai/docs/api/reference/streaming",
            format!("{}{}{}{DONE}", ": OPENROUTER PROCESSING\n\n".repeat(50), hi(), data(&[stop()])), ok("Hi")),
        case("OpenRouter", "an error beside an empty choice", "https://openrouter.ai/docs/api/reference/errors-and-debugging",
            hi() + &data(&[json!({"id": "c", "error": {"code": 429, "message": "Rate limited"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]})]), Want::Fails("Hi", "upstream")),
        case("OpenRouter", "an image of 3 MB", "https://openrouter.ai/docs/guides/overview/multimodal/image-generation",
            data(&[role(), chunk(json!({"content": "", "images": [{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{}", "A".repeat(3_000_000))}}]}), None), stop()]) + DONE, ok("")),
        case("OpenRouter", "reasoning before text", "https://openrouter.ai/docs/guides/best-practices/reasoning-tokens",
            data(&[role(), chunk(json!({"content": "", "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}), None), said("Hi"), stop()]) + DONE, ok("Hi")),
        case("DeepSeek", "reasoning alone, then a cut", deepseek,
            data(&[role(), chunk(json!({"content": null, "reasoning_content": "Hm."}), None)]), Want::Fails("", "stream_truncated")),
        case("DeepSeek", "keep-alive comments", "https://api-docs.deepseek.com/quick_start/rate_limit",
            format!(": keep-alive\n\n{}: keep-alive\n\n{}{DONE}", hi(), data(&[stop()])), ok("Hi")),
        case("new-api", "a ping without data", "https://github.com/QuantumNous/new-api", format!("event: ping\n\n{}{}{DONE}", hi(), data(&[stop()])), ok("Hi")),
        case("new-api", "a ping with empty data", "caozhiyuan/copilot-api#88", format!("{}event: ping\ndata: \n\n{}{DONE}", hi(), data(&[stop()])), ok("Hi")),
        case("new-api", "a ping in words", "caozhiyuan/copilot-api#88", format!("event: ping\ndata: ping\n\n{}{}{DONE}", hi(), data(&[stop()])), ok("Hi")),
        case("new-api", "null as data", "openai/openai-go#621", format!("{}data: null\n\n{}{DONE}", hi(), data(&[stop()])), ok("Hi")),
        case("new-api", "empty data", "openai/openai-go#621", format!("data:\n\n{}data: \n\ndata:\ndata:\n\n{}{DONE}", hi(), data(&[stop()])), ok("Hi")),
        case("new-api", "an error event in words", "https://github.com/QuantumNous/new-api", format!("{}event: error\ndata: upstream gone\n\n", hi()), Want::Fails("Hi", "upstream")),
        case("LiteLLM", "an empty error object in each chunk", "openai-python 3.57.0 reads it",
            data(&[with(role(), "error", json!({})), with(said("Hi"), "error", json!({})), with(stop(), "error", json!({}))]) + DONE, ok("Hi")),
        case("llm-mock-api", "half a surrogate pair in each of two chunks", "elizaOS/eliza#30904",
            format!("{}{}{}{DONE}", raw(r#"{"choices":[{"index":0,"delta":{"content":"a\ud83d"},"finish_reason":null}]}"#), raw(r#"{"choices":[{"index":0,"delta":{"content":"\ude00b"},"finish_reason":null}]}"#), data(&[stop()])), ok("a\u{1f600}b")),
        case("llm-mock-api", "half a surrogate pair at the end", "elizaOS/eliza#30904",
            format!("{}{}{DONE}", raw(r#"{"choices":[{"index":0,"delta":{"content":"a\ud83d"},"finish_reason":null}]}"#), data(&[stop()])), ok("a\u{fffd}")),
        case("llm-mock-api", "half a surrogate pair where none looks", "elizaOS/eliza#30904",
            format!("{}{}{DONE}", raw(r#"{"id":"\ud83d","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#), data(&[stop()])), ok("Hi")),
        case("LiteLLM", "an error by its object alone", "https://docs.vllm.ai/en/stable/serving/openai_compatible_server",
            hi() + &data(&[json!({"object": "error", "message": "gone", "code": 503, "choices": [{"index": 0, "delta": {"content": "x"}}]})]), Want::Fails("Hi", "upstream")),
        case("LiteLLM", "a whole completion in answer", "https://docs.litellm.ai/docs/completion/mock_requests",
            json!({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}).to_string(), Want::Final("stream_malformed")),
        case("Bedrock", "blank lines, then an error as a document", "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html",
            format!("\n\n \r\n{}", json!({"error": {"code": "insufficient_quota", "message": "m"}})), Want::Next(Some(FailureKind::Billing))),
        case("Bedrock", "a byte order mark, then an error as a document", "https://www.rfc-editor.org/rfc/rfc8259#section-8.1",
            format!("\u{feff}{}", json!({"error": {"code": "insufficient_quota", "message": "m"}})), Want::Next(Some(FailureKind::Billing))),
        case("gateways", "a word in place of a reply", "https://www.rfc-editor.org/rfc/rfc9457",
            json!({"title": "Unavailable", "detail": "the backend is down"}).to_string(), Want::Next(Some(FailureKind::Transient))),
        case("gateways", "a word with a status in place of a reply", "https://docs.siliconflow.com",
            json!({"code": 429, "message": "rate limiting", "data": null}).to_string(), Want::Next(Some(FailureKind::RateLimited))),
        case("gateways", "a whole completion in answer", "https://platform.openai.com/docs/api-reference/chat/object",
            json!({"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}).to_string(),
            Want::Final("stream_malformed")),
        case("Moonshot", "usage in the last choice", "https://platform.moonshot.ai/docs/api/chat", {
            let mut end = stop();
            end["choices"][0]["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
            format!("{}{}{DONE}", hi(), data(&[end]))
        }, Want::Whole("Hi", Some(Usage::new(3, 2)))),
        case("gateways", "a whole reply in one event", "https://platform.openai.com/docs/api-reference/chat/object",
            data(&[json!({"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})]) + DONE,
            Want::Whole("Hi", Some(Usage::new(3, 2)))),
        case("Perplexity", "what has come so far beside each piece", "https://docs.perplexity.ai/api-reference/chat-completions-post",
            data(&[
                json!({"choices": [{"index": 0, "message": {"content": "Hi"}, "delta": {"content": "Hi"}, "finish_reason": null}]}),
                json!({"choices": [{"index": 0, "message": {"content": "Hi there"}, "delta": {"content": " there"}, "finish_reason": "stop"}]}),
            ]), ok("Hi there")),
        case("vLLM", "numbers of Python's that are none", "openai-python 3.57.0 reads them: https://docs.python.org/3/library/json.html#infinite-and-nan-number-values",
            format!("{}{}{DONE}", raw(r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":{"content":[{"logprob":-Infinity}]},"x":NaN,"finish_reason":null}]}"#), data(&[stop()])), ok("Hi")),
        case("OpenAI", "no choice at all, then [DONE]", "speakeasy-api/gram#3129", data(&[json!({"id": "g", "object": "chat.completion.chunk", "choices": []})]) + DONE, Want::Next(Some(FailureKind::Transient))),
        case("OpenAI", "[DONE] alone", "maximhq/bifrost#5425", DONE.to_owned(), Want::Next(Some(FailureKind::Transient))),
        case("OpenAI", "garbage before any content", "https://platform.openai.com/docs/api-reference/chat-streaming", format!("{}data: {{{{\n\n", data(&[role()])), Want::Next(Some(FailureKind::Transient))),
        case("OpenAI", "a web page", "https://platform.openai.com/docs/api-reference/chat-streaming", "<html><body>Bad gateway</body></html>".to_owned(), Want::Next(Some(FailureKind::Transient))),
    ]);
    cases.extend(choices());
    cases
}

/// More than one choice.
fn choices() -> Vec<Case> {
    let source = "https://platform.openai.com/docs/api-reference/chat/create#chat_create-n";
    let of = |index: u64, delta: Value, finish: Option<&str>| {
        let mut chunk = chunk(delta, finish);
        chunk["choices"][0]["index"] = index.into();
        chunk
    };
    let first = [
        of(0, json!({"content": "Hi"}), None),
        of(0, json!({}), Some("stop")),
    ];
    let second = [
        of(1, json!({"content": "Ho"}), None),
        of(1, json!({}), Some("stop")),
    ];
    let both = [first.clone(), second.clone()].concat();
    let rows: Vec<(&str, Value, String, Want)> = vec![
        (
            "two asked for, two come",
            json!(2),
            data(&both),
            Want::Whole("Hi", None),
        ),
        (
            "two asked for, a cut before the second begins",
            json!(2),
            data(&first),
            Want::Fails("Hi", "stream_truncated"),
        ),
        (
            "two asked for, a cut before the second ends",
            json!(2),
            data(&both[..3]),
            Want::Fails("Hi", "stream_truncated"),
        ),
        (
            "two asked for, a server that makes one",
            json!(2),
            data(&first) + DONE,
            Want::Whole("Hi", None),
        ),
        (
            "two asked for, [DONE] before the second ends",
            json!(2),
            data(&both[..3]) + DONE,
            Want::Fails("Hi", "stream_truncated"),
        ),
        (
            "one asked for",
            json!(1),
            data(&first),
            Want::Whole("Hi", None),
        ),
        (
            "a number that is none",
            json!("two"),
            data(&first),
            Want::Whole("Hi", None),
        ),
        ("null", Value::Null, data(&first), Want::Whole("Hi", None)),
    ];
    rows.into_iter()
        .map(|(name, n, body, want)| Case {
            vendor: "OpenAI",
            name: format!("choices: {name}"),
            source,
            api: Api::Chat,
            payload: Some(json!({"model": "m", "n": n, "messages": []})),
            body: Body::Stream(body),
            want,
        })
        .collect()
}
