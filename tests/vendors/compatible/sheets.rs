//! The sheets, in the order of the table.

use credpool::provider::compatible::*;
use credpool::{FailureKind, Scope};
use serde_json::{Value, json};

use super::Sheet;

/// The reasons that all of them share.
const ENDS: &[(&str, bool)] = &[("stop", false), ("length", false)];

/// What most vendors' pages show: a chat completion, its chunks, and a call in pieces.
fn sheet(title: &'static str, vendor: CompatibleVendor, sources: &'static [&'static str]) -> Sheet {
    Sheet {
        title,
        vendor,
        sources,
        reply: reply(
            json!({"role": "assistant", "content": "Hi there"}),
            json!({}),
        ),
        stream: vec![
            delta(json!({"role": "assistant", "content": ""})),
            delta(json!({"content": "Hi"})),
            delta(json!({"content": " there"})),
            ended("stop", json!({"usage": usage()})),
        ],
        tools: vec![
            delta(json!({"role": "assistant", "content": null})),
            begun(
                json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}),
            ),
            begun(json!({"index": 0, "function": {"arguments": "{\"city\":"}})),
            begun(json!({"index": 0, "function": {"arguments": "\"Rome\"}"}})),
            ended("tool_calls", json!({})),
        ],
        limited: (
            &[("retry-after", "7")],
            "{}",
            FailureKind::RateLimited,
            Some(7),
        ),
        refused: (
            401,
            r#"{"error":{"message":"Invalid API Key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            FailureKind::Unauthorized,
            Scope::Credential,
        ),
        ends: ENDS,
    }
}

fn usage() -> Value {
    json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
}

/// A chat completion with more members.
fn reply(message: Value, more: Value) -> Value {
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    with(
        json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage()}),
        more,
    )
}

fn with(mut value: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    value.as_object_mut().unwrap().extend(more);
    value
}

fn chunk(choice: Value, more: Value) -> Value {
    with(
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}),
        more,
    )
}

fn delta(delta: Value) -> Value {
    chunk(
        json!({"index": 0, "delta": delta, "finish_reason": null}),
        json!({}),
    )
}

fn ended(reason: &str, more: Value) -> Value {
    chunk(
        json!({"index": 0, "delta": {}, "finish_reason": reason}),
        more,
    )
}

fn begun(call: Value) -> Value {
    delta(json!({ "tool_calls": [call] }))
}

/// A call that comes in one piece.
fn at_once(call: Value, reason: &str) -> Vec<Value> {
    vec![
        delta(json!({"role": "assistant", "content": ""})),
        chunk(
            json!({"index": 0, "delta": {"content": "", "tool_calls": [call]}, "finish_reason": reason}),
            json!({}),
        ),
    ]
}

fn weather() -> Value {
    json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}})
}

/// A message, or a list of tool calls, as the Responses API streams and answers.
fn response(status: &str, output: Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "error": null, "output": output,
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}})
}

#[rustfmt::skip]
pub fn all() -> Vec<Sheet> {
    vec![
        Sheet {
            reply: reply(
                json!({"role": "assistant", "content": "Hi there", "refusal": null, "reasoning": null}),
                json!({"provider": "X", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.00014, "prompt_tokens_details": {"cached_tokens": 0}}}),
            ),
            limited: (
                &[("retry-after", "7"), ("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0")],
                r#"{"error":{"code":429,"message":"Rate limit exceeded: free-models-per-min."}}"#,
                FailureKind::RateLimited,
                Some(7),
            ),
            refused: (402, r#"{"error":{"code":402,"message":"Insufficient credits. Add more using https://openrouter.ai/settings/credits"}}"#, FailureKind::Billing, Scope::Credential),
            ends: &[("stop", false), ("length", false), ("content_filter", false), ("error", true)],
            ..sheet("OpenRouter", OPENROUTER, &["https://openrouter.ai/docs/api/reference/errors-and-debugging", "https://openrouter.ai/docs/api/reference/limits"])
        },
        Sheet {
            stream: vec![
                chunk(json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}), json!({"x_groq": {"id": "req"}})),
                delta(json!({"content": "Hi"})),
                delta(json!({"content": " there"})),
                ended("stop", json!({"x_groq": {"id": "req", "usage": {"queue_time": 0.1, "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}})),
            ],
            tools: at_once(weather(), "tool_calls"),
            limited: (
                &[("retry-after", "2"), ("x-ratelimit-limit-requests", "14400"), ("x-ratelimit-remaining-requests", "14369"), ("x-ratelimit-reset-requests", "3m6s"), ("x-ratelimit-remaining-tokens", "5800"), ("x-ratelimit-reset-tokens", "370ms")],
                r#"{"error":{"message":"Rate limit reached for model `m` on requests per minute (RPM): Limit 30, Used 30, Requested 1. Please try again in 2s.","type":"requests","code":"rate_limit_exceeded"}}"#,
                FailureKind::RateLimited,
                Some(2),
            ),
            refused: (413, r#"{"error":{"message":"Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 6791, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#, FailureKind::Forbidden, Scope::Model),
            ..sheet("Groq", GROQ, &["https://console.groq.com/docs/rate-limits", "https://console.groq.com/docs/errors", "groq-python, types/chat/chat_completion_chunk.py"])
        },
        Sheet {
            tools: at_once(json!({"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}}), "tool_calls"),
            limited: (
                &[("x-ratelimit-limit-req-minute", "23"), ("x-ratelimit-remaining-req-minute", "0")],
                r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#,
                FailureKind::RateLimited,
                Some(60),
            ),
            refused: (401, r#"{"detail":"Unauthorized"}"#, FailureKind::Unauthorized, Scope::Credential),
            ends: &[("stop", false), ("length", false), ("model_length", false), ("error", true)],
            ..sheet("Mistral", MISTRAL, &["https://docs.mistral.ai/api", "mistralai/client-python, models/completionresponsestreamchoice.py"])
        },
        Sheet {
            reply: reply(
                json!({"role": "assistant", "content": "Hi there", "reasoning_content": "hm"}),
                json!({"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 3}}),
            ),
            limited: (&[], r#"{"error":{"message":"Rate limit reached","type":"rate_limit_error"}}"#, FailureKind::RateLimited, None),
            refused: (402, r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#, FailureKind::Billing, Scope::Credential),
            ends: &[("stop", false), ("length", false), ("content_filter", false), ("insufficient_system_resource", true)],
            ..sheet("DeepSeek", DEEPSEEK, &["https://api-docs.deepseek.com/api/create-chat-completion", "https://api-docs.deepseek.com/quick_start/error_codes"])
        },
        Sheet {
            tools: at_once(weather(), "tool_calls"),
            limited: (
                &[],
                r#"{"code":"Some resource has been exhausted","error":"Too many requests for team x and model grok. Your team's rate limit is 60 requests per minute."}"#,
                FailureKind::RateLimited,
                None,
            ),
            refused: (400, r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***. You can obtain an API key from https://console.x.ai."}"#, FailureKind::Unauthorized, Scope::Credential),
            ends: &[("stop", false), ("length", false), ("end_turn", false)],
            ..sheet("xAI", XAI, &["https://docs.x.ai/developers/model-capabilities/text/comparison", "https://docs.x.ai/docs/key-information/debugging"])
        },
        Sheet {
            stream: vec![
                delta(json!({"role": "assistant", "content": "Hi", "token_id": 1})),
                delta(json!({"content": " there", "token_id": 2})),
                ended("eos", json!({"usage": usage()})),
            ],
            limited: (
                &[("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "3"), ("x-tokenlimit-remaining", "100000")],
                r#"{"error":{"message":"You have been rate limited.","type":"rate_limit","param":null,"code":null}}"#,
                FailureKind::RateLimited,
                Some(3),
            ),
            // The page: 403 where the input and max_tokens exceed the model's context.
            refused: (403, r#"{"error":{"message":"Input token count + max_tokens parameter must be less than the context length of the model being queried.","type":"invalid_request_error"}}"#, FailureKind::BadRequest, Scope::Request),
            ends: &[("stop", false), ("length", false), ("eos", false)],
            ..sheet("Together", TOGETHER, &["https://docs.together.ai/docs/error-codes", "https://docs.together.ai/docs/rate-limits", "together-python, types/common.py"])
        },
        Sheet {
            limited: (
                &[("x-ratelimit-over-limit", "yes"), ("x-ratelimit-limit-tokens-prompt", "3600000"), ("x-ratelimit-limit-tokens-generated", "36000"), ("retry-after", "5")],
                r#"{"error":{"object":"error","type":"invalid_request_error","message":"rate limit exceeded, please try again later"}}"#,
                FailureKind::RateLimited,
                Some(5),
            ),
            refused: (412, r#"{"error":{"message":"Account is suspended, possibly due to insufficient balance"}}"#, FailureKind::Billing, Scope::Credential),
            ..sheet("Fireworks", FIREWORKS, &["https://docs.fireworks.ai/serverless/rate-limits", "https://docs.fireworks.ai/api-reference/post-chatcompletions"])
        },
        Sheet {
            stream: vec![
                delta(json!({"role": "assistant"})),
                delta(json!({"content": "Hi"})),
                delta(json!({"content": " there"})),
                ended("stop", json!({"usage": usage(), "time_info": {"queue_time": 0.1, "total_time": 0.2}})),
            ],
            limited: (
                &[("retry-after", "57")],
                r#"{"message":"Requests per minute limit exceeded - too many requests sent.","type":"too_many_requests_error","param":"quota","code":"request_quota_exceeded"}"#,
                FailureKind::RateLimited,
                Some(57),
            ),
            refused: (429, r#"{"message":"We're experiencing high traffic right now! Please try again soon.","type":"too_many_requests_error","param":"queue","code":"queue_exceeded"}"#, FailureKind::Overloaded, Scope::Provider),
            ..sheet("Cerebras", CEREBRAS, &["https://inference-docs.cerebras.ai/support/rate-limits", "https://inference-docs.cerebras.ai/api-reference/chat-completions"])
        },
        Sheet {
            reply: response("completed", json!([{"type": "search_results", "results": []}, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi there"}]}])),
            stream: vec![
                json!({"type": "response.created", "response": response("in_progress", json!([]))}),
                json!({"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}),
                json!({"type": "response.output_text.delta", "output_index": 0, "delta": " there"}),
                json!({"type": "response.completed", "response": response("completed", json!([]))}),
            ],
            tools: vec![
                json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": ""}}),
                json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{\"city\":\"Rome\"}"}),
                json!({"type": "response.completed", "response": response("completed", json!([]))}),
            ],
            limited: (&[], r#"{"error":{"message":"Request rate limit exceeded, please try again later.","type":"request_rate_limit_exceeded","code":429}}"#, FailureKind::RateLimited, None),
            // What the API that has ended says.
            refused: (403, r#"{"error":{"message":"Sonar is now the Agent API. Use /v1/responses instead of /v1/sonar.","type":"chat_completions_not_available","code":403}}"#, FailureKind::BadRequest, Scope::Request),
            ends: &[("max_output_tokens", false)],
            ..sheet("Perplexity", PERPLEXITY, &["https://docs.perplexity.ai/docs/agent-api/migrate-from-sonar/overview", "https://docs.perplexity.ai/docs/grounded-llm/openai-compatibility"])
        },
        Sheet {
            stream: vec![
                delta(json!({"role": "assistant", "content": ""})),
                delta(json!({"content": "Hi"})),
                delta(json!({"content": " there"})),
                chunk(json!({"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage()}), json!({})),
            ],
            limited: (&[], r#"{"error":{"type":"rate_limit_reached_error","message":"Your account org-x request reached organization max RPM: 3, please try again after 1 seconds"}}"#, FailureKind::RateLimited, Some(1)),
            refused: (429, r#"{"error":{"type":"exceeded_current_quota_error","message":"Your account org-x is suspended, please check your plan and billing details"}}"#, FailureKind::Billing, Scope::Credential),
            ends: &[("stop", false), ("length", false), ("content_filter", false)],
            ..sheet("Moonshot", MOONSHOT, &["https://platform.kimi.ai/docs/api/chat", "https://platform.kimi.ai/docs/api/errors"])
        },
        Sheet {
            limited: (&[], r#"{"error":{"code":"1302","message":"Rate limit reached for requests"}}"#, FailureKind::RateLimited, None),
            refused: (429, r#"{"error":{"code":"1112","message":"Your account has been locked. Please contact customer service to unlock it."}}"#, FailureKind::Unauthorized, Scope::Credential),
            ends: &[("stop", false), ("length", false), ("sensitive", false), ("model_context_window_exceeded", false), ("network_error", true)],
            ..sheet("Z.AI", ZAI, &["https://docs.z.ai/api-reference/llm/chat-completion", "https://docs.z.ai/api-reference/api-code"])
        },
        Sheet {
            reply: reply(
                json!({"role": "assistant", "content": "Hi there", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
                json!({"base_resp": {"status_code": 0, "status_msg": ""}}),
            ),
            limited: (&[], r#"{"base_resp":{"status_code":1002,"status_msg":"rate limit exceeded(RPM)"}}"#, FailureKind::RateLimited, None),
            // With status 200.
            refused: (200, r#"{"id":"x","choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#, FailureKind::Billing, Scope::Credential),
            ..sheet("MiniMax", MINIMAX, &["https://platform.minimax.io/docs/api-reference/text-openai-api", "https://platform.minimax.io/docs/api-reference/errorcode"])
        },
        azure(AZURE_OPENAI),
        azure(AZURE_OPENAI_DATED),
        Sheet {
            limited: (
                &[("x-ratelimit-type", "UserByMinute"), ("x-ratelimit-timeremaining", "55"), ("x-ratelimit-remaining-requests", "19000"), ("x-ratelimit-renewalperiod-requests", "60")],
                r#"{"error":{"code":"RateLimitReached","message":"Rate limit exceeded for UserByMinute."}}"#,
                FailureKind::RateLimited,
                Some(55),
            ),
            refused: (410, r#"{"message":"Gone"}"#, FailureKind::NotFound, Scope::Model),
            ..sheet("GitHub Models", GITHUB_MODELS, &["https://github.blog/changelog/2026-07-30-github-models-is-now-retired/", "https://docs.github.com/en/rest/models/inference", "public clients' notes of the headers"])
        },
        Sheet {
            limited: (
                &[("ratelimit", "\"api|pages|resolvers\";r=0;t=298"), ("ratelimit-policy", "\"fixed window\";\"api\";q=500;w=300")],
                r#"{"error":"We had to rate limit you"}"#,
                FailureKind::RateLimited,
                Some(298),
            ),
            refused: (402, r#"{"error":"You have depleted your monthly included credits. Purchase pre-paid credits to continue using Inference Providers."}"#, FailureKind::Billing, Scope::Credential),
            ends: &[("stop", false), ("length", false), ("eos_token", false), ("stop_sequence", false)],
            ..sheet("Hugging Face", HUGGING_FACE, &["https://huggingface.co/docs/inference-providers/tasks/chat-completion", "https://huggingface.co/docs/inference-providers/pricing"])
        },
        Sheet {
            stream: vec![
                delta(json!({"role": "assistant", "content": "Hi"})),
                delta(json!({"role": "assistant", "content": " there"})),
                chunk(json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}), json!({"usage": usage()})),
            ],
            tools: at_once(weather(), "tool_calls"),
            limited: (&[], r#"{"error":{"message":"you've reached your hourly usage limit, please upgrade to continue","type":"api_error","param":null,"code":null}}"#, FailureKind::Quota, None),
            refused: (404, r#"{"error":{"message":"model \"m\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#, FailureKind::NotFound, Scope::Model),
            ..sheet("Ollama", OLLAMA, &["https://docs.ollama.com/api/openai-compatibility", "https://docs.ollama.com/cloud"])
        },
        Sheet {
            limited: (&[("retry-after", "1")], r#"{"error":{"message":"Too many requests","type":"TooManyRequests","param":null,"code":429}}"#, FailureKind::RateLimited, Some(1)),
            refused: (404, r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}"#, FailureKind::NotFound, Scope::Model),
            ends: &[("stop", false), ("length", false), ("abort", true)],
            ..sheet("vLLM", VLLM, &["https://docs.vllm.ai/en/stable/serving/openai_compatible_server", "vLLM, vllm/v1/engine"])
        },
        Sheet {
            reply: reply(
                json!({"role": "assistant", "content": "Hi there"}),
                json!({"timings": {"prompt_n": 3, "predicted_n": 2, "predicted_per_second": 41.5}}),
            ),
            limited: (&[], r#"{"error":{"code":429,"message":"too many requests","type":"rate_limit_error"}}"#, FailureKind::RateLimited, None),
            refused: (400, r#"{"error":{"code":400,"message":"request (13392 tokens) exceeds the available context size (8192 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":13392,"n_ctx":8192}}"#, FailureKind::BadRequest, Scope::Request),
            ..sheet("llama.cpp", LLAMA_CPP, &["https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"])
        },
    ]
}

#[rustfmt::skip]
fn azure(vendor: CompatibleVendor) -> Sheet {
    let filter = json!({"hate": {"filtered": false, "severity": "safe"}});
    let piece = |text: &str| chunk(
        json!({"index": 0, "delta": {"content": text}, "finish_reason": null, "content_filter_results": filter}),
        json!({}),
    );
    Sheet {
        reply: reply(
            json!({"role": "assistant", "content": "Hi there"}),
            json!({"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": filter}]}),
        ),
        stream: vec![
            json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": filter}]}),
            delta(json!({"role": "assistant", "content": ""})),
            piece("Hi"),
            piece(" there"),
            ended("stop", json!({"usage": usage()})),
        ],
        limited: (
            &[("retry-after", "13"), ("retry-after-ms", "12500"), ("x-ratelimit-type", "Tokens"), ("x-ratelimit-remaining-requests", "4"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-renewalperiod-tokens", "60"), ("x-ratelimit-reset-tokens", "0")],
            r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded token rate limit. Please retry after 13 seconds."}}"#,
            FailureKind::RateLimited,
            Some(12),
        ),
        refused: (404, r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#, FailureKind::NotFound, Scope::Model),
        ends: &[("stop", false), ("length", false), ("content_filter", false)],
        ..sheet("Azure OpenAI", vendor, &["https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle", "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming", "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota"])
    }
}
