//! Chat completions by stream.

use credpool::{Fault, Usage};
use serde_json::{Value, json};

use super::{Body, Case, DONE, Want, chunk, data, raw, role, said, stop, with};
use crate::replay::Api;

/// How a vendor's ordinary stream looks.
struct Dialect {
    vendor: &'static str,
    source: &'static str,
    /// Before any content.
    greeting: Vec<Value>,
    /// What brings `Hi there`, in two pieces.
    content: [Value; 2],
    /// What ends the reply, and may follow its end.
    end: Vec<Value>,
    usage: Option<Usage>,
    /// Whether it closes with `[DONE]`.
    done: bool,
    /// How it says in mid-stream that something is wrong, and what that is.
    error: (Value, Fault),
}

fn tokens(more: &[(&str, Value)]) -> Value {
    let mut usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    for (name, value) in more {
        usage[*name] = value.clone();
    }
    usage
}

fn usage_chunk(usage: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage})
}

fn server_error() -> (Value, Fault) {
    let error = json!({"error": {"message": "The server had an error.", "type": "server_error", "code": null}});
    (error, Fault::Transient)
}

fn coded(code: impl Into<Value>, message: &str, fault: Fault) -> (Value, Fault) {
    (
        json!({"error": {"code": code.into(), "message": message}}),
        fault,
    )
}

fn dialects() -> Vec<Dialect> {
    let used = Some(Usage::new(3, 2));
    let plain = |vendor, source| Dialect {
        vendor,
        source,
        greeting: vec![role()],
        content: [said("Hi"), said(" there")],
        end: vec![with(stop(), "usage", tokens(&[]))],
        usage: used,
        done: true,
        error: server_error(),
    };
    let azure_first = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false, "severity": "safe"}}}]});
    let filtered = |text: &str| {
        let mut chunk = said(text);
        chunk["choices"][0]["content_filter_results"] =
            json!({"hate": {"filtered": false, "severity": "safe"}});
        chunk
    };
    vec![
        Dialect {
            end: vec![
                stop(),
                usage_chunk(tokens(&[
                    ("prompt_tokens_details", json!({"cached_tokens": 2})),
                    ("completion_tokens_details", json!({"reasoning_tokens": 1})),
                ])),
            ],
            usage: Some(Usage::new(3, 2).with_cached(2).with_reasoning(1)),
            greeting: vec![with(role(), "obfuscation", json!("x7"))],
            ..plain(
                "OpenAI",
                "https://platform.openai.com/docs/api-reference/chat-streaming",
            )
        },
        Dialect {
            greeting: vec![azure_first, role()],
            content: [filtered("Hi"), filtered(" there")],
            error: coded(
                "429",
                "Requests have exceeded the token rate limit. Please retry after 6 seconds.",
                Fault::RateLimited,
            ),
            ..plain(
                "Azure OpenAI",
                "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming",
            )
        },
        Dialect {
            greeting: vec![with(role(), "x_groq", json!({"id": "req"}))],
            end: vec![with(
                stop(),
                "x_groq",
                json!({"id": "req", "usage": tokens(&[("queue_time", json!(0.1)), ("total_time", json!(0.2))])}),
            )],
            ..plain(
                "Groq",
                "groq-python 1.7.0, types/chat/chat_completion_chunk.py",
            )
        },
        Dialect {
            greeting: vec![
                role(),
                chunk(json!({"content": null, "reasoning_content": ""}), None),
            ],
            end: vec![with(
                stop(),
                "usage",
                tokens(&[
                    ("prompt_cache_hit_tokens", json!(1)),
                    ("prompt_cache_miss_tokens", json!(2)),
                ]),
            )],
            usage: Some(Usage::new(3, 2).with_cached(1)),
            ..plain(
                "DeepSeek",
                "https://api-docs.deepseek.com/api/create-chat-completion",
            )
        },
        Dialect {
            error: (
                json!({"object": "error", "message": "Service tier capacity exceeded for this model.", "type": "service_tier_capacity_exceeded", "param": null, "code": 429}),
                Fault::RateLimited,
            ),
            ..plain("Mistral", "https://docs.mistral.ai/api")
        },
        Dialect {
            end: vec![
                stop(),
                usage_chunk(tokens(&[("num_sources_used", json!(0))])),
            ],
            ..plain("xAI", "https://docs.x.ai/docs/guides/streaming-response")
        },
        Dialect {
            greeting: vec![with(role(), "provider", json!("X"))],
            end: vec![
                with(stop(), "provider", json!("X")),
                with(
                    usage_chunk(tokens(&[
                        ("cost", json!(0.01)),
                        (
                            "prompt_tokens_details",
                            json!({"cached_tokens": 1, "cache_write_tokens": 2}),
                        ),
                    ])),
                    "choices",
                    json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]),
                ),
            ],
            usage: Some(Usage::new(3, 2).with_cached(1).with_cache_written(2)),
            error: coded(502, "Provider returned error", Fault::Transient),
            ..plain(
                "OpenRouter",
                "https://openrouter.ai/docs/api/reference/streaming",
            )
        },
        Dialect {
            end: vec![with(
                chunk(json!({"content": "", "token_id": 2}), Some("eos")),
                "usage",
                tokens(&[]),
            )],
            ..plain(
                "Together",
                "https://docs.together.ai/reference/chat-completions-1",
            )
        },
        Dialect {
            error: (
                json!({"error": {"object": "error", "type": "internal_server_error", "message": "failed"}}),
                Fault::Transient,
            ),
            ..plain(
                "Fireworks",
                "https://docs.fireworks.ai/api-reference/post-chatcompletions",
            )
        },
        Dialect {
            end: vec![with(
                with(stop(), "usage", tokens(&[])),
                "time_info",
                json!({"queue_time": 0.1}),
            )],
            error: (
                json!({"message": "Tokens per minute limit exceeded", "type": "error", "code": "too_many_requests"}),
                Fault::RateLimited,
            ),
            ..plain(
                "Cerebras",
                "https://inference-docs.cerebras.ai/api-reference/chat-completions",
            )
        },
        Dialect {
            content: [
                with(said("Hi"), "citations", json!(["https://example.org"])),
                with(said(" there"), "search_results", json!([])),
            ],
            end: vec![with(
                stop(),
                "usage",
                tokens(&[("search_context_size", json!("low"))]),
            )],
            done: false,
            ..plain("Perplexity", "https://docs.perplexity.ai/guides/streaming")
        },
        Dialect {
            end: vec![with(
                chunk(json!({}), Some("stop")),
                "usage",
                tokens(&[("cached_tokens", json!(1))]),
            )],
            usage: Some(Usage::new(3, 2).with_cached(1)),
            error: (
                json!({"error": {"type": "engine_overloaded_error", "message": "The engine is currently overloaded, please try again later"}}),
                Fault::Transient,
            ),
            ..plain("Moonshot", "https://platform.moonshot.ai/docs/api/chat")
        },
        Dialect {
            content: [
                chunk(json!({"role": "assistant", "content": "Hi"}), None),
                chunk(json!({"role": "assistant", "content": " there"}), None),
            ],
            greeting: vec![],
            error: coded(
                "1302",
                "Rate limit reached for requests",
                Fault::RateLimited,
            ),
            ..plain("Zhipu", "https://docs.bigmodel.cn/cn/api/api-code")
        },
        Dialect {
            end: vec![
                stop(),
                usage_chunk(tokens(&[(
                    "prompt_tokens_details",
                    json!({"cached_tokens": 0}),
                )])),
            ],
            error: (
                json!({"error": {"code": "limit_requests", "message": "You exceeded your current requests list.", "type": "limit_requests"}}),
                Fault::RateLimited,
            ),
            ..plain(
                "DashScope",
                "https://help.aliyun.com/zh/model-studio/error-code",
            )
        },
        Dialect {
            end: vec![
                with(
                    stop(),
                    "base_resp",
                    json!({"status_code": 0, "status_msg": ""}),
                ),
                usage_chunk(tokens(&[])),
            ],
            error: (
                json!({"id": "x", "choices": null, "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}}),
                Fault::RateLimited,
            ),
            ..plain(
                "MiniMax",
                "https://platform.minimax.io/docs/api-reference/errorcode",
            )
        },
        Dialect {
            end: vec![chunk(json!({}), Some("stop")), usage_chunk(tokens(&[]))],
            error: (
                json!({"object": "error", "message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": null, "code": 500}),
                Fault::Transient,
            ),
            ..plain(
                "vLLM",
                "https://docs.vllm.ai/en/stable/serving/openai_compatible_server",
            )
        },
        Dialect {
            end: vec![
                with(stop(), "matched_stop", json!(2)),
                usage_chunk(tokens(&[])),
            ],
            error: (
                json!({"error": {"object": "error", "message": "The server is overloaded.", "type": "ServiceUnavailableError", "param": null, "code": 503}}),
                Fault::Overloaded,
            ),
            ..plain(
                "SGLang",
                "https://docs.sglang.ai/basic_usage/openai_api_completions",
            )
        },
        Dialect {
            greeting: vec![],
            content: [
                chunk(json!({"role": "assistant", "content": "Hi"}), None),
                chunk(json!({"role": "assistant", "content": " there"}), None),
            ],
            end: vec![
                chunk(json!({"role": "assistant", "content": ""}), Some("stop")),
                usage_chunk(tokens(&[])),
            ],
            error: (
                json!({"error": "an error was encountered while running the model"}),
                Fault::Transient,
            ),
            ..plain("Ollama", "https://docs.ollama.com/openai")
        },
        Dialect {
            end: vec![with(
                with(stop(), "usage", tokens(&[])),
                "timings",
                json!({"prompt_n": 3, "predicted_n": 2}),
            )],
            error: (
                json!({"error": {"code": 500, "message": "failed", "type": "server_error"}}),
                Fault::Transient,
            ),
            ..plain(
                "llama.cpp",
                "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
            )
        },
        Dialect {
            greeting: vec![],
            end: vec![
                with(
                    chunk(json!({"role": "assistant", "content": ""}), Some("stop")),
                    "usage",
                    Value::Null,
                ),
                usage_chunk(tokens(&[])),
            ],
            error: (
                json!({"error": "Request failed during generation: Server error", "error_type": "generation"}),
                Fault::Transient,
            ),
            ..plain(
                "TGI",
                "https://huggingface.co/docs/text-generation-inference/en/reference/api_reference",
            )
        },
        Dialect {
            error: (
                json!({"error": {"message": "litellm.RateLimitError: too many", "type": "throttling_error", "param": null, "code": "429"}}),
                Fault::RateLimited,
            ),
            ..plain("LiteLLM", "https://docs.litellm.ai/docs/exception_mapping")
        },
        Dialect {
            greeting: vec![],
            content: [
                chunk(json!({"content": "Hi", "role": "assistant"}), None),
                with(said(" there"), "service_tier", json!("default")),
            ],
            end: vec![
                with(stop(), "service_tier", json!("default")),
                usage_chunk(tokens(&[(
                    "completion_tokens_details",
                    json!({"reasoning_tokens": 0}),
                )])),
            ],
            ..plain(
                "Volcengine",
                "https://www.volcengine.com/docs/82379/1298454",
            )
        },
        Dialect {
            end: vec![with(
                chunk(json!({"role": "assistant"}), Some("stop")),
                "usage",
                tokens(&[]),
            )],
            greeting: vec![],
            error: (
                json!([{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}]),
                Fault::Overloaded,
            ),
            ..plain(
                "Gemini, compatible",
                "https://ai.google.dev/gemini-api/docs/openai",
            )
        },
        Dialect {
            content: [
                with(said("Hi"), "p", json!("abc")),
                with(said(" there"), "p", json!("abcdef")),
            ],
            error: (
                json!({"success": false, "errors": [{"code": 3040, "message": "Capacity temporarily exceeded, please try again."}]}),
                Fault::Transient,
            ),
            ..plain(
                "Cloudflare",
                "https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility",
            )
        },
        Dialect {
            greeting: vec![with(role(), "system_fingerprint", json!("fastcoe"))],
            end: vec![
                stop(),
                with(
                    usage_chunk(tokens(&[("total_latency", json!(0.3))])),
                    "is_last_response",
                    json!(true),
                ),
            ],
            error: (
                json!({"error": {"code": null, "message": "Requests rate limit exceeded", "param": null, "type": "rate_limit_exceeded"}}),
                Fault::RateLimited,
            ),
            ..plain(
                "SambaNova",
                "https://docs.sambanova.ai/docs/en/api-reference/overview",
            )
        },
        Dialect {
            error: (
                json!({"error_code": "ModelArts.81101", "error_msg": "Rate limited"}),
                Fault::Transient,
            ),
            ..plain(
                "Huawei ModelArts",
                "https://support.huaweicloud.com/intl/en-us/api-modelarts",
            )
        },
    ]
}

impl Dialect {
    fn case(&self, name: &str, body: String, want: Want) -> Case {
        Case {
            vendor: self.vendor,
            name: name.to_owned(),
            source: self.source,
            api: Api::Chat,
            payload: None,
            body: Body::Stream(body),
            want,
        }
    }

    /// What every server may do.
    fn cases(&self) -> Vec<Case> {
        let [hi, there] = self.content.clone().map(|piece| data(&[piece]));
        let greeting = data(&self.greeting);
        let done = if self.done { DONE } else { "" };
        let (first, rest) = self.end.split_first().unwrap();
        let end = data(std::slice::from_ref(first));
        let after = data(rest);
        let whole = format!("{greeting}{hi}{there}{end}{after}");
        let error = data(std::slice::from_ref(&self.error.0));
        let ok = Want::Whole("Hi there", self.usage);
        vec![
            self.case("the ordinary stream", format!("{whole}{done}"), ok.clone()),
            self.case("the other way of ending", format!("{whole}{}", if self.done { "" } else { DONE }), ok.clone()),
            self.case(
                "line ends of two bytes, comments, an empty event and a byte order mark",
                format!("\u{feff}: hello\n\n{greeting}{hi}data:\n\n: still here\n\n{there}{end}{after}{done}").replace('\n', "\r\n"),
                ok.clone(),
            ),
            self.case(
                "the end without its blank line",
                format!("{greeting}{hi}{there}{}", end.trim_end()),
                Want::Whole("Hi there", None),
            ),
            self.case("cut after the greeting", greeting.clone(), Want::Next(Some(Fault::Transient))),
            self.case(
                "closed by [DONE] before the end",
                format!("{greeting}{hi}{there}{DONE}"),
                Want::Fails("Hi there", "stream_truncated"),
            ),
            self.case(
                "cut within its last event",
                format!("{greeting}{hi}{there}{}", &end[..end.len() - 4]),
                Want::Fails("Hi there", "stream_truncated"),
            ),
            self.case(
                "its error before any content",
                format!("{greeting}{error}{DONE}"),
                Want::Next(Some(self.error.1)),
            ),
            self.case(
                "its error after content",
                format!("{greeting}{hi}{error}"),
                Want::Fails("Hi", "upstream"),
            ),
        ]
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = dialects().iter().flat_map(Dialect::cases).collect();
    cases.extend(own());
    cases
}

/// What one vendor alone does.
fn own() -> Vec<Case> {
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
            "Cohere",
            "COMPLETE",
            "https://docs.cohere.com/reference/chat",
        ),
        (
            "Cohere",
            "MAX_TOKENS",
            "https://docs.cohere.com/reference/chat",
        ),
        ("xAI", "end_turn", "https://docs.x.ai/docs/api-reference"),
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
        ("Cohere", "ERROR", "https://docs.cohere.com/reference/chat"),
        (
            "Cohere",
            "TIMEOUT",
            "https://docs.cohere.com/reference/chat",
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
            Want::Next(Some(Fault::Transient)),
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
        case("Groq", "an error beside a finish reason, before content", groq, data(&[role(), over]), Want::Next(Some(Fault::Transient))),
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
            format!("\n\n \r\n{}", json!({"error": {"code": "insufficient_quota", "message": "m"}})), Want::Next(Some(Fault::Billing))),
        case("Bedrock", "a byte order mark, then an error as a document", "https://www.rfc-editor.org/rfc/rfc8259#section-8.1",
            format!("\u{feff}{}", json!({"error": {"code": "insufficient_quota", "message": "m"}})), Want::Next(Some(Fault::Billing))),
        case("OpenAI", "no choice at all, then [DONE]", "speakeasy-api/gram#3129", data(&[json!({"id": "g", "object": "chat.completion.chunk", "choices": []})]) + DONE, Want::Next(Some(Fault::Transient))),
        case("OpenAI", "[DONE] alone", "maximhq/bifrost#5425", DONE.to_owned(), Want::Next(Some(Fault::Transient))),
        case("OpenAI", "garbage before any content", "https://platform.openai.com/docs/api-reference/chat-streaming", format!("{}data: {{{{\n\n", data(&[role()])), Want::Next(Some(Fault::Transient))),
        case("OpenAI", "a web page", "https://platform.openai.com/docs/api-reference/chat-streaming", "<html><body>Bad gateway</body></html>".to_owned(), Want::Next(Some(Fault::Transient))),
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
