//! How the vendors' ordinary streams look.

use credpool::{FailureKind, Usage};
use serde_json::{Value, json};

use super::super::{chunk, role, said, stop, with};
use super::Dialect;

pub fn all() -> Vec<Dialect> {
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
                FailureKind::RateLimited,
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
                FailureKind::RateLimited,
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
            error: coded(502, "Provider returned error", FailureKind::Transient),
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
                FailureKind::Transient,
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
                FailureKind::RateLimited,
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
                FailureKind::Overloaded,
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
                FailureKind::RateLimited,
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
                FailureKind::RateLimited,
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
                FailureKind::RateLimited,
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
                FailureKind::Transient,
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
                FailureKind::Overloaded,
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
                FailureKind::Transient,
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
                FailureKind::Transient,
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
                FailureKind::Transient,
            ),
            ..plain(
                "TGI",
                "https://huggingface.co/docs/text-generation-inference/en/reference/api_reference",
            )
        },
        Dialect {
            error: (
                json!({"error": {"message": "litellm.RateLimitError: too many", "type": "throttling_error", "param": null, "code": "429"}}),
                FailureKind::RateLimited,
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
                FailureKind::Overloaded,
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
                FailureKind::Transient,
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
                FailureKind::RateLimited,
            ),
            ..plain(
                "SambaNova",
                "https://docs.sambanova.ai/docs/en/api-reference/overview",
            )
        },
        Dialect {
            error: (
                json!({"error_code": "ModelArts.81101", "error_msg": "Rate limited"}),
                FailureKind::Transient,
            ),
            ..plain(
                "Huawei ModelArts",
                "https://support.huaweicloud.com/intl/en-us/api-modelarts",
            )
        },
    ]
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

fn server_error() -> (Value, FailureKind) {
    let error = json!({"error": {"message": "The server had an error.", "type": "server_error", "code": null}});
    (error, FailureKind::Transient)
}

fn coded(code: impl Into<Value>, message: &str, fault: FailureKind) -> (Value, FailureKind) {
    (
        json!({"error": {"code": code.into(), "message": message}}),
        fault,
    )
}
