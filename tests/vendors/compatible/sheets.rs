//! The sheets, in the order of the table.

use credpool::provider::compatible::*;
use credpool::{FailureKind, Scope};
use serde_json::{Value, json};

use super::Shape::{Ends, Errors, Limits, Reply, Silence, Stream, Thought, Tools};
use super::{Sheet, Source, seen};

/// The reasons that all of them share.
const ENDS: &[(&str, bool)] = &[("stop", false), ("length", false)];

/// As people quote what came.
const CLIENTS: &str = "public clients";

/// What most vendors' pages show: a chat completion, its chunks, and a call in pieces.
fn sheet(title: &'static str, vendor: CompatibleVendor, sources: Vec<Source>) -> Sheet {
    Sheet {
        title,
        vendor,
        sources,
        unseen: &[],
        more: &[],
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
        errors: &[(
            401,
            &[],
            r#"{"error":{"message":"Invalid API Key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            FailureKind::Unauthorized,
            Scope::Credential,
            None,
        )],
        ends: ENDS,
        thought: None,
        silence: "",
    }
}

/// The stream of servers that end with such a chunk.
fn ending_alone() -> Vec<Value> {
    vec![
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hi"})),
        delta(json!({"content": " there"})),
        ended("stop", json!({})),
        usage_alone(),
    ]
}

/// A last chunk of the tokens alone.
fn usage_alone() -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage()})
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
            stream: vec![
                json!({"id": "gen-1", "provider": "X", "model": "m", "object": "chat.completion.chunk", "created": 1, "choices": [], "debug": {"echo_upstream_body": {"model": "m"}}}),
                delta(json!({"role": "assistant", "content": ""})),
                delta(json!({"content": "Hi"})),
                delta(json!({"content": " there"})),
                ended("stop", json!({"provider": "X"})),
                usage_alone(),
            ],
            limited: (
                &[("retry-after", "7"), ("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0")],
                r#"{"error":{"code":429,"message":"Rate limit exceeded","metadata":{"error_type":"rate_limit_exceeded"}}}"#,
                FailureKind::RateLimited,
                Some(7),
            ),
            errors: &[
                (402, &[], r#"{"error":{"code":402,"message":"Insufficient credits","metadata":{"limit_source":"openrouter_credits"}}}"#, FailureKind::Billing, Scope::Credential, None),
                // What runs at the moment fills the account's budget.
                (402, &[("retry-after", "9")], r#"{"error":{"code":402,"message":"Retry after your requests settle","metadata":{"reason":"in_flight_budget_exhausted","limit_source":"openrouter_in_flight_budget"}}}"#, FailureKind::RateLimited, Scope::Credential, Some(9)),
                (403, &[], r#"{"error":{"code":403,"message":"Request blocked: prompt injection patterns detected","metadata":{"patterns":["x"]}}}"#, FailureKind::BadRequest, Scope::Request, None),
                (503, &[("retry-after", "4")], r#"{"error":{"code":503,"message":"Try again","metadata":{"error_type":"provider_overloaded","provider_code":"rate_limited"}}}"#, FailureKind::Overloaded, Scope::Provider, Some(4)),
                (502, &[], r#"{"error":{"code":502,"message":"No answer","metadata":{"error_type":"provider_unavailable"}}}"#, FailureKind::Transient, Scope::Provider, None),
            ],
            ends: &[("stop", false), ("length", false), ("content_filter", false), ("error", true)],
            thought: Some(json!({"content": "", "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]})),
            silence: ": OPENROUTER PROCESSING",
            unseen: &[Reply, Tools, Thought],
            more: &["https://openrouter.ai/docs/use-cases/reasoning-tokens"],
            ..sheet("OpenRouter", OPENROUTER, vec![seen("https://openrouter.ai/docs/api/reference/errors-and-debugging", &[Errors, Ends]), seen("https://openrouter.ai/docs/api/reference/limits", &[Limits, Errors]), seen("https://openrouter.ai/docs/api/reference/streaming", &[Stream, Silence])])
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
            errors: &[(413, &[], r#"{"error":{"message":"Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 6791, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#, FailureKind::Forbidden, Scope::Model, None)],
            ends: &[("stop", false), ("length", false), ("content_filter", false), ("function_call", false)],
            thought: Some(json!({"reasoning": "hm"})),
            unseen: &[Reply],
            more: &["https://console.groq.com/docs/rate-limits"],
            ..sheet("Groq", GROQ, vec![seen("groq-python, types/chat/chat_completion_chunk.py", &[Stream, Tools, Thought, Ends]), seen("https://console.groq.com/docs/errors", &[Errors]), seen("https://dev.to/vectle/groq-429s-your-retry-loop-is-blind-read-the-headers-instead-l0j", &[Limits])])
        },
        Sheet {
            tools: at_once(json!({"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}}), "tool_calls"),
            limited: (
                &[("x-ratelimit-limit-req-minute", "23"), ("x-ratelimit-remaining-req-minute", "0")],
                r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#,
                FailureKind::RateLimited,
                Some(60),
            ),
            errors: &[
                (401, &[], r#"{"detail":"Unauthorized"}"#, FailureKind::Unauthorized, Scope::Credential, None),
                (400, &[], r#"{"object":"error","message":"Unknown model","type":"invalid_request_error","param":"model","code":"unknown_model"}"#, FailureKind::NotFound, Scope::Model, None),
                (429, &[], r#"{"object":"error","message":"Slow down","type":"rate_limit_error","param":null,"code":null}"#, FailureKind::RateLimited, Scope::Model, None),
                (429, &[], r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","param":null,"code":"3505"}"#, FailureKind::RateLimited, Scope::Model, None),
            ],
            ends: &[("stop", false), ("length", false), ("model_length", false), ("error", true)],
            thought: Some(json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]})),
            unseen: &[Reply, Stream, Tools, Thought, Limits, Ends],
            more: &["https://docs.mistral.ai/api", "mistralai/client-python, models/completionresponsestreamchoice.py"],
            ..sheet("Mistral", MISTRAL, vec![seen("https://docs.mistral.ai/resources/error-glossary", &[Errors])])
        },
        Sheet {
            reply: reply(
                json!({"role": "assistant", "content": "Hi there", "reasoning_content": "hm"}),
                json!({"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 3}}),
            ),
            limited: (&[], r#"{"error":{"message":"Rate limit reached","type":"rate_limit_error"}}"#, FailureKind::RateLimited, None),
            errors: &[(402, &[], r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#, FailureKind::Billing, Scope::Credential, None)],
            ends: &[("stop", false), ("length", false), ("content_filter", false), ("insufficient_system_resource", true)],
            thought: Some(json!({"content": null, "reasoning_content": "hm"})),
            silence: ": keep-alive",
            unseen: &[Reply, Stream, Tools, Thought, Limits, Ends],
            more: &["https://api-docs.deepseek.com/api/create-chat-completion"],
            ..sheet("DeepSeek", DEEPSEEK, vec![seen("https://api-docs.deepseek.com/quick_start/error_codes", &[Errors]), seen("https://api-docs.deepseek.com/quick_start/rate_limit", &[Silence])])
        },
        Sheet {
            tools: at_once(weather(), "tool_calls"),
            limited: (
                &[],
                r#"{"code":"Some resource has been exhausted","error":"Too many requests for team x and model grok. Your team's rate limit is 60 requests per minute."}"#,
                FailureKind::RateLimited,
                None,
            ),
            errors: &[
                (400, &[], r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***. You can obtain an API key from https://console.x.ai."}"#, FailureKind::Unauthorized, Scope::Credential, None),
                (429, &[], r#"{"code":"Some resource has been exhausted","error":"Your team x has either used all available credits or reached its monthly spending limit."}"#, FailureKind::Billing, Scope::Credential, None),
                (403, &[], r#"{"code":"permission-denied","error":"Your team x has either used all available credits or reached its monthly spending limit."}"#, FailureKind::Billing, Scope::Credential, None),
            ],
            ends: &[("stop", false), ("length", false), ("end_turn", false)],
            thought: Some(json!({"reasoning_content": "hm"})),
            unseen: &[Reply, Stream, Tools, Thought, Ends],
            more: &["https://docs.x.ai/developers/model-capabilities/text/comparison"],
            ..sheet("xAI", XAI, vec![seen("https://docs.x.ai/developers/debugging", &[Errors]), seen("continuedev/continue#10373", &[Errors, Limits])])
        },
        Sheet {
            stream: vec![
                delta(json!({"role": "assistant", "content": "Hi", "token_id": 1})),
                delta(json!({"content": " there", "token_id": 2})),
                ended("eos", json!({"usage": usage()})),
            ],
            limited: (
                &[("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "3"), ("x-tokenlimit-limit", "9000"), ("x-tokenlimit-remaining", "8000"), ("x-ratelimit-limit-dynamic", "2"), ("x-ratelimit-remaining-dynamic", "1"), ("x-tokenlimit-limit-dynamic", "9000"), ("x-tokenlimit-remaining-dynamic", "9000")],
                r#"{"error":{"message":"You have been rate limited.","type":"rate_limit","param":null,"code":null}}"#,
                FailureKind::RateLimited,
                Some(3),
            ),
            // The page: 403 where the input and max_tokens exceed the model's context.
            errors: &[
                (403, &[], r#"{"error":{"message":"Input token count + max_tokens parameter must be less than the context length of the model being queried.","type":"invalid_request_error"}}"#, FailureKind::BadRequest, Scope::Request, None),
                // Of an account that has paid nothing yet: it was too fast, and has no want of money.
                (429, &[], r#"{"error":{"message":"You have been rate limited. Your rate limit is 60 queries per minute.","type":"credit_limit","param":null,"code":null}}"#, FailureKind::RateLimited, Scope::Model, None),
                (429, &[], r#"{"error":{"message":"Too fast","error_type":"dynamic_request_limited"}}"#, FailureKind::RateLimited, Scope::Model, None),
                (402, &[], r#"{"error":{"message":"Monthly limit reached","type":"credit_limit"}}"#, FailureKind::Billing, Scope::Credential, None),
            ],
            ends: &[("stop", false), ("length", false), ("eos", false)],
            thought: Some(json!({"reasoning": "hm"})),
            unseen: &[Reply, Stream, Tools, Thought],
            ..sheet("Together", TOGETHER, vec![seen("https://docs.together.ai/docs/error-codes", &[Errors]), seen("https://docs.together.ai/docs/rate-limits", &[Limits]), seen("together-python, types/common.py", &[Ends]), seen("togethercomputer/MoA#27", &[Errors])])
        },
        Sheet {
            limited: (
                &[("x-ratelimit-over-limit", "yes"), ("x-ratelimit-limit-tokens-prompt", "3600000"), ("x-ratelimit-limit-tokens-cache-adjusted-prompt", "900000"), ("x-ratelimit-limit-tokens-generated", "36000"), ("x-ratelimit-remaining-tokens-generated", "0"), ("retry-after", "5")],
                r#"{"error":{"object":"error","type":"invalid_request_error","message":"rate limit exceeded, please try again later"}}"#,
                FailureKind::RateLimited,
                Some(5),
            ),
            errors: &[
                (412, &[], r#"{"error":{"message":"Account is suspended, possibly due to insufficient balance"}}"#, FailureKind::Billing, Scope::Credential, None),
                (402, &[], r#"{"error":{"message":"Payment required"}}"#, FailureKind::Billing, Scope::Credential, None),
                (503, &[], r#"{"error":{"message":"Service overloaded"}}"#, FailureKind::Overloaded, Scope::Provider, None),
            ],
            thought: Some(json!({"reasoning_content": "hm"})),
            unseen: &[Reply, Stream, Tools, Thought, Ends],
            more: &["https://docs.fireworks.ai/api-reference/post-chatcompletions"],
            ..sheet("Fireworks", FIREWORKS, vec![seen("https://docs.fireworks.ai/guides/inference-error-codes", &[Errors]), seen("https://docs.fireworks.ai/serverless/rate-limits", &[Limits])])
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
            errors: &[
                (429, &[], r#"{"message":"We're experiencing high traffic right now! Please try again soon.","type":"too_many_requests_error","param":"queue","code":"queue_exceeded"}"#, FailureKind::Overloaded, Scope::Provider, None),
                (429, &[], r#"{"message":"Tokens per minute limit exceeded - too many tokens processed.","type":"too_many_tokens_error","param":"quota","code":"token_quota_exceeded"}"#, FailureKind::RateLimited, Scope::Model, None),
                (429, &[], r#"{"message":"Tokens per day limit exceeded - too many tokens processed.","type":"too_many_tokens_error","param":"quota","code":"token_quota_exceeded"}"#, FailureKind::Quota, Scope::Model, None),
            ],
            thought: Some(json!({"reasoning": "hm"})),
            unseen: &[Reply, Tools, Thought, Ends],
            more: &["https://inference-docs.cerebras.ai/support/rate-limits", "https://inference-docs.cerebras.ai/api-reference/chat-completions"],
            ..sheet("Cerebras", CEREBRAS, vec![seen("cerebras-cloud-sdk-python, its types of chat completions", &[Stream]), seen("https://inference-docs.cerebras.ai/support/error", &[Errors]), seen(CLIENTS, &[Limits])])
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
            errors: &[
                (403, &[], r#"{"error":{"message":"Sonar is now the Agent API. Use /v1/responses instead of /v1/sonar.","type":"chat_completions_not_available","code":403}}"#, FailureKind::BadRequest, Scope::Request, None),
                (400, &[], r#"{"error":{"message":"Invalid model 'x'.","type":"invalid_model","code":400}}"#, FailureKind::NotFound, Scope::Model, None),
            ],
            ends: &[("max_output_tokens", false)],
            unseen: &[Reply, Stream, Tools, Ends],
            more: &["https://docs.perplexity.ai/docs/agent-api/migrate-from-sonar/overview", "https://docs.perplexity.ai/docs/grounded-llm/openai-compatibility"],
            ..sheet("Perplexity", PERPLEXITY, vec![seen(CLIENTS, &[Limits, Errors])])
        },
        Sheet {
            stream: vec![
                delta(json!({"role": "assistant", "content": ""})),
                delta(json!({"content": "Hi"})),
                delta(json!({"content": " there"})),
                chunk(json!({"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage()}), json!({})),
            ],
            limited: (&[("x-ratelimit-limit", "3"), ("x-ratelimit-remaining", "0")], r#"{"error":{"type":"rate_limit_reached_error","message":"Your account org-x request reached organization max RPM: 3, please try again after 1 seconds"}}"#, FailureKind::RateLimited, Some(1)),
            errors: &[
                (429, &[], r#"{"error":{"type":"exceeded_current_quota_error","message":"Your account org-x is suspended, please check your plan and billing details"}}"#, FailureKind::Billing, Scope::Credential, None),
                (400, &[], r#"{"error":{"type":"content_filter","message":"The request was rejected because it was considered high risk"}}"#, FailureKind::BadRequest, Scope::Request, None),
                (401, &[], r#"{"error":{"type":"invalid_authentication_error","message":"Invalid Authentication"}}"#, FailureKind::Unauthorized, Scope::Credential, None),
            ],
            ends: &[("stop", false), ("length", false), ("content_filter", false)],
            thought: Some(json!({"reasoning_content": "hm"})),
            unseen: &[Reply, Stream, Tools, Thought, Ends],
            more: &["https://platform.kimi.ai/docs/api/chat"],
            ..sheet("Moonshot", MOONSHOT, vec![seen("https://platform.kimi.ai/docs/api/errors", &[Errors]), seen("https://www.kimi.com/help/kimi-api/api-rate-limits", &[Limits])])
        },
        Sheet {
            limited: (&[], r#"{"error":{"code":"1302","message":"Rate limit reached for requests"}}"#, FailureKind::RateLimited, None),
            errors: &[
                (429, &[], r#"{"error":{"code":"1112","message":"Your account has been locked. Please contact customer service to unlock it."}}"#, FailureKind::Unauthorized, Scope::Credential, None),
                (429, &[], r#"{"error":{"code":"1304","message":"Daily call limit for this API reached."}}"#, FailureKind::Quota, Scope::Credential, None),
                (429, &[], r#"{"error":{"code":"1313","message":"Your usage does not comply with the Fair Usage Policy"}}"#, FailureKind::Quota, Scope::Credential, None),
                (400, &[], r#"{"error":{"code":"1211","message":"Model does not exist, please check the model code"}}"#, FailureKind::NotFound, Scope::Model, None),
                (400, &[], r#"{"error":{"code":"1301","message":"System detected potentially unsafe or sensitive content"}}"#, FailureKind::BadRequest, Scope::Request, None),
            ],
            ends: &[("stop", false), ("length", false), ("sensitive", false), ("model_context_window_exceeded", false), ("network_error", true)],
            thought: Some(json!({"reasoning_content": "hm"})),
            unseen: &[Reply, Stream, Tools, Thought, Ends],
            more: &["https://docs.z.ai/api-reference/llm/chat-completion"],
            ..sheet("Z.AI", ZAI, vec![seen("https://docs.z.ai/api-reference/api-code", &[Errors, Limits])])
        },
        Sheet {
            reply: reply(
                json!({"role": "assistant", "content": "Hi there", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
                json!({"base_resp": {"status_code": 0, "status_msg": ""}}),
            ),
            limited: (&[], r#"{"base_resp":{"status_code":1002,"status_msg":"rate limit exceeded(RPM)"}}"#, FailureKind::RateLimited, None),
            // With status 200.
            errors: &[
                (200, &[], r#"{"id":"x","choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#, FailureKind::Billing, Scope::Credential, None),
                (429, &[], r#"{"type":"error","error":{"type":"rate_limit_error","message":"Token Plan usage limit reached: Upgrade your Token Plan or purchase Credits for more usage. (2056)"}}"#, FailureKind::Quota, Scope::Credential, None),
                (529, &[], r#"{"type":"error","error":{"type":"overloaded_error","message":"The server cluster is currently under high load. (2064) (529)"}}"#, FailureKind::Overloaded, Scope::Provider, None),
            ],
            thought: Some(json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]})),
            unseen: &[Reply, Stream, Tools, Ends],
            more: &["https://platform.minimax.io/docs/api-reference/text-openai-api"],
            ..sheet("MiniMax", MINIMAX, vec![seen("https://platform.minimax.io/docs/api-reference/errorcode", &[Errors, Limits]), seen(CLIENTS, &[Thought])])
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
            errors: &[(410, &[], r#"{"message":"Gone"}"#, FailureKind::NotFound, Scope::Model, None)],
            unseen: &[Reply, Stream, Tools, Limits, Errors, Ends],
            more: &["https://github.blog/changelog/2026-07-30-github-models-is-now-retired/", "https://docs.github.com/en/rest/models/inference"],
            ..sheet("GitHub Models", GITHUB_MODELS, vec![])
        },
        Sheet {
            limited: (
                &[("ratelimit", "\"api|pages|resolvers\";r=0;t=298"), ("ratelimit-policy", "\"fixed window\";\"api\";q=500;w=300")],
                r#"{"error":"We had to rate limit you"}"#,
                FailureKind::RateLimited,
                Some(298),
            ),
            errors: &[(402, &[], r#"{"error":"You have depleted your monthly included credits. Purchase pre-paid credits to continue using Inference Providers."}"#, FailureKind::Billing, Scope::Credential, None)],
            ends: &[("stop", false), ("length", false), ("eos_token", false), ("stop_sequence", false)],
            thought: Some(json!({"reasoning": "hm"})),
            unseen: &[Reply, Stream, Tools, Thought, Limits],
            more: &["https://huggingface.co/docs/hub/rate-limits", "https://huggingface.co/docs/inference-providers/tasks/chat-completion", "https://huggingface.co/docs/inference-providers/pricing"],
            ..sheet("Hugging Face", HUGGING_FACE, vec![seen(CLIENTS, &[Errors]), seen("huggingface_hub, its types of text generation", &[Ends])])
        },
        Sheet {
            stream: vec![
                delta(json!({"role": "assistant", "content": "Hi"})),
                delta(json!({"role": "assistant", "content": " there"})),
                chunk(json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}), json!({})),
                usage_alone(),
            ],
            tools: at_once(weather(), "tool_calls"),
            limited: (&[], r#"{"error":{"message":"you've reached your hourly usage limit, please upgrade to continue","type":"api_error","param":null,"code":null}}"#, FailureKind::Quota, None),
            errors: &[
                (404, &[], r#"{"error":{"message":"model \"m\" not found, try pulling it first","type":"not_found_error","param":null,"code":null}}"#, FailureKind::NotFound, Scope::Model, None),
                (400, &[], r#"{"error":{"message":"invalid message format","type":"invalid_request_error","param":null,"code":null}}"#, FailureKind::BadRequest, Scope::Request, None),
                (403, &[], r#"{"error":{"message":"this model requires a subscription, upgrade for access","type":"api_error","param":null,"code":null}}"#, FailureKind::Forbidden, Scope::Model, None),
            ],
            thought: Some(json!({"role": "assistant", "content": "", "reasoning": "hm"})),
            unseen: &[Stream, Limits],
            more: &["https://docs.ollama.com/api/openai-compatibility", "https://docs.ollama.com/cloud"],
            ..sheet("Ollama", OLLAMA, vec![seen("ollama, openai/openai.go", &[Reply, Tools, Thought, Errors, Ends]), seen(CLIENTS, &[Errors])])
        },
        Sheet {
            stream: ending_alone(),
            limited: (&[("retry-after", "1")], r#"{"error":{"message":"Too many requests","type":"TooManyRequests","param":null,"code":429}}"#, FailureKind::RateLimited, Some(1)),
            errors: &[(404, &[], r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}"#, FailureKind::NotFound, Scope::Model, None)],
            ends: &[("stop", false), ("length", false), ("abort", true)],
            thought: Some(json!({"reasoning": "hm"})),
            unseen: &[Reply, Tools, Thought, Limits, Ends],
            more: &["https://docs.vllm.ai/en/stable/serving/openai_compatible_server"],
            ..sheet("vLLM", VLLM, vec![seen("vLLM, vllm/entrypoints/openai", &[Stream, Errors])])
        },
        Sheet {
            reply: reply(
                json!({"role": "assistant", "content": "Hi there"}),
                json!({"timings": {"prompt_n": 3, "predicted_n": 2, "predicted_per_second": 41.5}}),
            ),
            stream: ending_alone(),
            limited: (&[], r#"{"error":{"code":429,"message":"too many requests","type":"rate_limit_error"}}"#, FailureKind::RateLimited, None),
            errors: &[
                (400, &[], r#"{"error":{"code":400,"message":"request (13392 tokens) exceeds the available context size (8192 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":13392,"n_ctx":8192}}"#, FailureKind::BadRequest, Scope::Request, None),
                (503, &[], r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, FailureKind::Transient, Scope::Provider, None),
                (501, &[], r#"{"error":{"code":501,"message":"not supported","type":"not_supported_error"}}"#, FailureKind::BadRequest, Scope::Request, None),
                (401, &[], r#"{"error":{"code":401,"message":"Invalid API Key","type":"authentication_error"}}"#, FailureKind::Unauthorized, Scope::Credential, None),
            ],
            thought: Some(json!({"content": null, "reasoning_content": "hm"})),
            unseen: &[Reply, Tools, Thought, Limits, Ends],
            more: &["https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"],
            ..sheet("llama.cpp", LLAMA_CPP, vec![seen("llama.cpp, tools/server/server-common.cpp and server-task.cpp", &[Stream, Errors])])
        },
    ]
}

#[rustfmt::skip]
fn azure(vendor: CompatibleVendor) -> Sheet {
    let filter = json!({"hate": {"filtered": false, "severity": "safe"}});
    let of_nothing = |more: Value| with(json!({"id": "", "object": "", "created": 0, "model": "", "choices": [], "usage": null}), more);
    // Of the asynchronous filter: it says what it thinks of the text behind it, and behind the end, too.
    let judged = |offset: u32| of_nothing(json!({"choices": [{"index": 0, "finish_reason": null, "content_filter_results": filter,
        "content_filter_offsets": {"check_offset": offset, "start_offset": 44, "end_offset": 198}}]}));
    Sheet {
        reply: reply(
            json!({"role": "assistant", "content": "Hi there"}),
            json!({"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": filter}]}),
        ),
        stream: vec![
            of_nothing(json!({"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": filter}]})),
            delta(json!({"role": "assistant"})),
            delta(json!({"content": "Hi"})),
            chunk(json!({"index": 0, "delta": {"content": " there"}, "finish_reason": null, "content_filter_results": filter}), json!({"usage": null})),
            judged(44),
            ended("stop", json!({"usage": null})),
            judged(198),
            usage_alone(),
        ],
        limited: (
            &[("retry-after", "13"), ("retry-after-ms", "12500"), ("x-ratelimit-type", "Tokens"), ("x-ratelimit-remaining-requests", "4"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-renewalperiod-tokens", "60"), ("x-ratelimit-reset-tokens", "0")],
            r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded token rate limit. Please retry after 13 seconds."}}"#,
            FailureKind::RateLimited,
            Some(12),
        ),
        errors: &[(404, &[], r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#, FailureKind::NotFound, Scope::Model, None)],
        ends: &[("stop", false), ("length", false), ("content_filter", false)],
        unseen: &[Reply, Tools, Limits, Errors],
        more: &["https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle", "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota"],
        ..sheet("Azure OpenAI", vendor, vec![seen("https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming", &[Stream, Ends])])
    }
}
