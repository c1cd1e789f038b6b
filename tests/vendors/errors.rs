//! Error answers as vendors document them, and what the default policy makes of each. `tests/corpus` has more of OpenAI, Anthropic and
//! Google.

use std::collections::BTreeSet;

use credpool::testing::Reply;
use credpool::{Error, FailureKind, FailurePolicy, RateLimits, ResponseHead, Scope};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::replay::{Api, Play};

/// Vendor, source, status, headers, body; the fault, its scope, and the wait that the answer tells, in seconds.
type Row = (
    &'static str,
    &'static str,
    u16,
    &'static [(&'static str, &'static str)],
    &'static str,
    FailureKind,
    Scope,
    Option<u64>,
);

const NOW: credpool::Timestamp = time::macros::utc_datetime!(2026-11-27 04:00);

const AWS: &str = "https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html";
const APIM: &str = "https://learn.microsoft.com/azure/api-management/quota-policy";
const AZURE: &str = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota";
const BEDROCK: &str =
    "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html";
const CEREBRAS: &str = "https://inference-docs.cerebras.ai/support/rate-limits";
const CLOUDFLARE: &str = "https://developers.cloudflare.com/fundamentals/api/reference/limits";
const COHERE: &str = "https://docs.cohere.com/docs/rate-limits";
const DASHSCOPE: &str = "https://help.aliyun.com/en/model-studio/error-code";
const DASHSCOPE_BUDGET: &str =
    "https://www.alibabacloud.com/help/en/model-studio/budget-management";
/// Codes that clients of others know; the page as read does not have them.
const DASHSCOPE_CLIENTS: &str = "public clients; the page was not seen";
const DASHSCOPE_RATE: &str = "https://www.alibabacloud.com/help/en/model-studio/rate-limit";
const DEEPSEEK: &str = "https://api-docs.deepseek.com/quick_start/error_codes";
const FIREWORKS: &str = "https://docs.fireworks.ai/guides/quotas_usage/rate-limits";
const GITHUB: &str =
    "https://docs.github.com/en/github-models/use-github-models/prototyping-with-ai-models";
const GROQ: &str = "https://console.groq.com/docs/rate-limits";
const HUGGING_FACE: &str = "https://huggingface.co/docs/hub/rate-limits";
const IETF: &str = "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11";
const KIMI_CODE: &str = "https://www.kimi.com/code/docs/en/kimi-code/error-reference.html";
const MISTRAL: &str = "https://docs.mistral.ai/deployment/ai-studio/tier";
const MOONSHOT: &str = "https://platform.moonshot.ai/docs/api/chat";
const NEW_API: &str = "https://github.com/QuantumNous/new-api";
const NOVITA: &str = "https://novita.ai/docs/api-reference/basic-error-code";
const OPENROUTER: &str = "https://openrouter.ai/docs/api/reference/errors-and-debugging";
const OPENROUTER_LIMITS: &str = "https://openrouter.ai/docs/api/reference/limits";
const PERPLEXITY: &str = "https://docs.perplexity.ai/guides/usage-tiers";
const TOGETHER: &str = "https://docs.together.ai/docs/error-codes";
const VERTEX: &str =
    "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors";
const VLLM: &str = "https://docs.vllm.ai/en/stable/serving/openai_compatible_server";
const VOLCENGINE: &str = "https://www.volcengine.com/docs/82379/1299023";
const XAI: &str = "https://docs.x.ai/docs/key-information/debugging";
/// Codes above 1317 are as clients met them: the page as read ends there.
const ZAI: &str = "https://docs.z.ai/api-reference/api-code";
const ZHIPU: &str = "https://docs.bigmodel.cn/cn/api/api-code";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("Azure OpenAI", AZURE, 429, &[("retry-after", "7"), ("retry-after-ms", "6500"), ("x-ratelimit-remaining-requests", "-1")], r#"{"error":{"code":"429","message":"Requests have exceeded call rate limit. Please retry after 52 seconds."}}"#, FailureKind::RateLimited, Scope::Model, Some(6)),
    ("Azure OpenAI", AZURE, 429, &[], r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded token rate limit. Please retry after 52 seconds."}}"#, FailureKind::RateLimited, Scope::Model, Some(52)),
    ("Azure OpenAI", AZURE, 401, &[], r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Azure OpenAI", AZURE, 404, &[], r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#, FailureKind::NotFound, Scope::Model, None),
    ("Azure OpenAI", AZURE, 400, &[], r#"{"error":{"code":"content_filter","message":"The response was filtered.","status":400}}"#, FailureKind::BadRequest, Scope::Request, None),
    ("Bedrock", BEDROCK, 403, &[], r#"{"message":"You don't have access to the model with the specified model ID."}"#, FailureKind::Forbidden, Scope::Model, None),
    ("Bedrock", BEDROCK, 403, &[], r#"{"Message":"User: arn:aws:iam::1:user/a is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::foundation-model/x"}"#, FailureKind::Forbidden, Scope::Model, None),
    ("Bedrock", BEDROCK, 403, &[], r#"{"message":"The security token included in the request is invalid."}"#, FailureKind::Forbidden, Scope::Credential, None),
    ("Bedrock", BEDROCK, 424, &[("x-amzn-errortype", "ModelErrorException")], r#"{"message":"The model failed while processing the request"}"#, FailureKind::Transient, Scope::Provider, None),
    ("Bedrock", BEDROCK, 429, &[("x-amzn-errortype", "ThrottlingException")], r#"{"message":"Too many requests, please wait before trying again."}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Bedrock", BEDROCK, 408, &[], r#"{"message":"Model has timed out in processing the request."}"#, FailureKind::Transient, Scope::Provider, None),
    ("Bedrock", BEDROCK, 503, &[], r#"{"message":"The service is currently unavailable."}"#, FailureKind::Transient, Scope::Provider, None),
    ("Cerebras", CEREBRAS, 429, &[("x-ratelimit-remaining-tokens-minute", "0"), ("x-ratelimit-reset-tokens-minute", "11.38")], r#"{"message":"Tokens per minute limit exceeded","type":"too_many_tokens_error","code":"token_quota_exceeded"}"#, FailureKind::RateLimited, Scope::Model, Some(11)),
    ("Cerebras", CEREBRAS, 429, &[("x-ratelimit-remaining-requests-day", "0"), ("x-ratelimit-reset-requests-day", "33011.38")], r#"{"message":"Requests per day limit exceeded","code":"request_quota_exceeded"}"#, FailureKind::Quota, Scope::Model, Some(33_011)),
    ("Cerebras", CEREBRAS, 429, &[], r#"{"message":"We're experiencing high traffic right now! Please try again soon.","type":"too_many_requests_error","code":"queue_exceeded"}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("Cloudflare", CLOUDFLARE, 429, &[("ratelimit", "\"default\";r=0;t=42"), ("ratelimit-policy", "\"default\";q=1200;w=300")], r#"{"success":false,"errors":[{"code":10429,"message":"Rate limited"}]}"#, FailureKind::RateLimited, Scope::Model, Some(42)),
    ("Cohere", COHERE, 429, &[], r#"{"message":"You are using a Trial key, which is limited to 1000 API calls / month. You can continue to use the Trial key for free or upgrade to a Production key."}"#, FailureKind::Quota, Scope::Credential, None),
    ("Cohere", COHERE, 429, &[], r#"{"message":"You are using a Trial key, which is limited to 20 API calls / minute. You can continue to use the Trial key for free or upgrade to a Production key."}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Cohere", "https://docs.cohere.com/reference/errors", 401, &[], r#"{"message":"invalid api token"}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Cohere", "https://docs.cohere.com/reference/errors", 402, &[], r#"{"message":"Please add or update your payment method"}"#, FailureKind::Billing, Scope::Credential, None),
    ("Cohere", "https://docs.cohere.com/reference/errors", 499, &[], r#"{"message":"request cancelled"}"#, FailureKind::Transient, Scope::Provider, None),
    ("DashScope", DASHSCOPE, 400, &[], r#"{"error":{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing.","type":"Arrearage"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("DashScope", DASHSCOPE, 403, &[], r#"{"code":"AllocationQuota.FreeTierOnly","message":"The free tier of the model has been exhausted.","request_id":"x"}"#, FailureKind::Billing, Scope::Credential, None),
    ("DashScope", DASHSCOPE, 429, &[], r#"{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded, please try again later.","request_id":"x"}"#, FailureKind::RateLimited, Scope::Model, None),
    ("DashScope", DASHSCOPE, 429, &[], r#"{"error":{"code":"limit_requests","type":"limit_requests","message":"You exceeded your current requests list."}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("DashScope", DASHSCOPE, 401, &[], r#"{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"x"}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("DashScope", DASHSCOPE_RATE, 429, &[], r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details. For details, see: https://help.aliyun.com/zh/model-studio/error-code#token-limit","type":"insufficient_quota","param":null,"code":"insufficient_quota"},"request_id":"x"}"#, FailureKind::RateLimited, Scope::Model, None),
    ("DashScope", DASHSCOPE_RATE, 429, &[], r#"{"error":{"message":"Allocated quota exceeded, please increase your quota limit.","type":"insufficient_quota","code":"insufficient_quota"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("DashScope", DASHSCOPE_RATE, 429, &[], r#"{"code":"Throttling.AllocationQuota","message":"Allocated quota exceeded, please increase your quota limit.","request_id":"x"}"#, FailureKind::RateLimited, Scope::Model, None),
    ("DashScope", DASHSCOPE_RATE, 429, &[], r#"{"code":"Throttling.BurstRate","message":"Request rate increased too quickly. To ensure system stability, please adjust your client logic.","request_id":"x"}"#, FailureKind::RateLimited, Scope::Model, None),
    ("DashScope", DASHSCOPE, 429, &[], r#"{"code":"Throttling.AllocationQuota","message":"Free allocated quota exceeded.","request_id":"x"}"#, FailureKind::Billing, Scope::Credential, None),
    ("DashScope", DASHSCOPE_CLIENTS, 429, &[], r#"{"error":{"code":"PostpaidBillOverdue","message":"The postpaid bill is overdue."}}"#, FailureKind::Billing, Scope::Credential, None),
    ("DashScope", DASHSCOPE_CLIENTS, 429, &[], r#"{"error":{"code":"PrepaidBillOverdue","message":"The prepaid bill is overdue."}}"#, FailureKind::Billing, Scope::Credential, None),
    ("DashScope", DASHSCOPE_BUDGET, 429, &[], r#"{"error":{"code":"BudgetLimitExceeded","message":"The budget limit is exceeded."}}"#, FailureKind::Billing, Scope::Credential, None),
    ("DashScope", DASHSCOPE, 403, &[], r#"{"error":{"code":"AccessDenied.Unpurchased","message":"Access to model denied. Please make sure you are eligible for using the model."}}"#, FailureKind::Forbidden, Scope::Model, None),
    ("DashScope", "danialranjha/pi-auto-router#4", 429, &[], r#"{"error":{"code":"insufficient_quota","message":"Your token-plan 1-week quota has been exhausted. The quota will reset at 11-29 04:00:00 UTC."}}"#, FailureKind::Quota, Scope::Credential, Some(172_800)),
    ("DeepSeek", DEEPSEEK, 402, &[], r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("DeepSeek", DEEPSEEK, 422, &[], r#"{"error":{"message":"Invalid parameters","type":"invalid_request_error"}}"#, FailureKind::BadRequest, Scope::Request, None),
    ("DeepSeek", DEEPSEEK, 503, &[], r#"{"error":{"message":"Server overloaded"}}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("DeepSeek", DEEPSEEK, 401, &[], r#"{"error":{"message":"Authentication Fails","type":"authentication_error","code":"invalid_request_error"}}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Fireworks", FIREWORKS, 429, &[("x-ratelimit-over-limit", "yes")], r#"{"error":{"object":"error","type":"invalid_request_error","message":"rate limit exceeded, please try again later"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Fireworks", FIREWORKS, 412, &[], r#"{"error":{"message":"Account is suspended, possibly due to insufficient balance"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("GitHub Models", GITHUB, 429, &[("retry-after", "49")], r#"{"error":{"code":"RateLimitReached","message":"Rate limit of 10 per 60s exceeded for UserByModelByMinute. Please wait 49 seconds before retrying."}}"#, FailureKind::RateLimited, Scope::Model, Some(49)),
    ("GitHub Models", GITHUB, 429, &[], r#"{"error":{"code":"RateLimitReached","message":"Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 41749 seconds before retrying."}}"#, FailureKind::Quota, Scope::Model, Some(41_749)),
    ("Groq", GROQ, 429, &[("retry-after", "6"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "5.9s")], r#"{"error":{"message":"Rate limit reached for model `m` on tokens per minute (TPM): Limit 6000. Please try again in 5.9s.","type":"tokens","code":"rate_limit_exceeded"}}"#, FailureKind::RateLimited, Scope::Model, Some(6)),
    ("Groq", GROQ, 429, &[("retry-after", "2050")], r#"{"error":{"message":"Rate limit reached for model `m` on tokens per day (TPD): Limit 100000. Please try again in 34m10s.","type":"tokens","code":"rate_limit_exceeded"}}"#, FailureKind::Quota, Scope::Model, Some(2050)),
    ("Groq", "https://console.groq.com/docs/errors", 498, &[], r#"{"error":{"message":"Flex tier capacity exceeded","type":"capacity"}}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("Groq", "https://console.groq.com/docs/errors", 413, &[], r#"{"error":{"message":"Request too large for model `m` on tokens per minute (TPM)","type":"tokens","code":"rate_limit_exceeded"}}"#, FailureKind::Forbidden, Scope::Model, None),
    ("Groq", "https://console.groq.com/docs/errors", 503, &[], r#"{"error":{"message":"Service Unavailable","type":"internal_server_error"}}"#, FailureKind::Transient, Scope::Provider, None),
    ("Hugging Face", HUGGING_FACE, 429, &[("ratelimit", "\"api|pages|resolvers\";r=0;t=298"), ("ratelimit-policy", "\"fixed window\";\"api\";q=500;w=300")], r#"{"error":"We had to rate limit you"}"#, FailureKind::RateLimited, Scope::Model, Some(298)),
    ("Hugging Face", "https://huggingface.co/docs/inference-providers/pricing", 402, &[], r#"{"error":"You have exceeded your monthly included credits for Inference Providers."}"#, FailureKind::Billing, Scope::Credential, None),
    ("IETF", IETF, 429, &[("ratelimit-limit", "100"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "42")], "{}", FailureKind::RateLimited, Scope::Model, Some(42)),
    ("IETF", IETF, 429, &[("ratelimit", "limit=100, remaining=0, reset=42")], "{}", FailureKind::RateLimited, Scope::Model, Some(42)),
    ("IETF", IETF, 429, &[("ratelimit", "\"day\";r=0;t=40000"), ("ratelimit-policy", "\"day\";q=100;w=86400")], "{}", FailureKind::Quota, Scope::Model, Some(40_000)),
    ("Mistral", MISTRAL, 429, &[("x-ratelimit-limit-req-minute", "60"), ("x-ratelimit-remaining-req-minute", "0")], r#"{"object":"error","message":"Requests rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}"#, FailureKind::RateLimited, Scope::Model, Some(60)),
    ("Mistral", MISTRAL, 429, &[("x-ratelimit-remaining-req-minute", "59"), ("x-ratelimit-remaining-tokens-month", "0")], r#"{"message":"Rate limit exceeded"}"#, FailureKind::Quota, Scope::Model, None),
    ("Mistral", MISTRAL, 429, &[("ratelimitbysize-remaining", "0"), ("ratelimitbysize-reset", "28")], r#"{"message":"Requests rate limit exceeded"}"#, FailureKind::RateLimited, Scope::Model, Some(28)),
    ("Mistral", "https://docs.mistral.ai/resources/error-glossary", 400, &[], r#"{"object":"error","message":"Invalid model: x","type":"invalid_request_error","param":"model","code":"unknown_model"}"#, FailureKind::NotFound, Scope::Model, None),
    ("Mistral", "public clients; the page was not seen", 400, &[], r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}"#, FailureKind::NotFound, Scope::Model, None),
    ("Mistral", "https://docs.mistral.ai/resources/error-glossary", 402, &[], r#"{"object":"error","message":"Payment required","type":"invalid_request_error","param":null,"code":null}"#, FailureKind::Billing, Scope::Credential, None),
    ("Mistral", MISTRAL, 401, &[], r#"{"detail":"Unauthorized"}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Moonshot", MOONSHOT, 429, &[], r#"{"error":{"type":"engine_overloaded_error","message":"The engine is currently overloaded, please try again later"}}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("Moonshot", MOONSHOT, 429, &[], r#"{"error":{"type":"rate_limit_reached_error","message":"Your account reached max request, please try again after 1 seconds"}}"#, FailureKind::RateLimited, Scope::Model, Some(1)),
    ("Moonshot", MOONSHOT, 429, &[], r#"{"error":{"type":"exceeded_current_quota_error","message":"Your account is suspended, please check your plan: insufficient balance"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("OpenAI, subscriptions", "Wei-Shaw/sub2api#2258", 429, &[("x-codex-secondary-used-percent", "100"), ("x-codex-secondary-reset-after-seconds", "15000"), ("x-codex-primary-used-percent", "30"), ("x-codex-primary-reset-after-seconds", "400000")], r#"{"detail":"Rate limit exceeded"}"#, FailureKind::Quota, Scope::Credential, Some(15_000)),
    ("OpenAI, subscriptions", "Wei-Shaw/sub2api#2258", 429, &[("x-codex-secondary-used-percent", "12"), ("x-codex-secondary-reset-after-seconds", "15000"), ("x-codex-primary-used-percent", "30"), ("x-codex-primary-reset-after-seconds", "400000")], r#"{"error":{"type":"rate_limit_error","message":"Too many requests"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("OpenAI, subscriptions", "openai/codex, codex-rs/codex-api/src/rate_limits.rs", 429, &[("x-codex-bengalfox-primary-used-percent", "100"), ("x-codex-bengalfox-primary-reset-after-seconds", "9000")], r#"{"detail":"Rate limit exceeded"}"#, FailureKind::Quota, Scope::Model, Some(9000)),
    ("OpenRouter", OPENROUTER, 402, &[], r#"{"error":{"code":402,"message":"Insufficient credits. Add more using https://openrouter.ai/settings/credits"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("OpenRouter", OPENROUTER, 403, &[], r#"{"error":{"code":403,"message":"Your chosen model requires moderation and your input was flagged","metadata":{"reasons":["x"],"flagged_input":"y"}}}"#, FailureKind::BadRequest, Scope::Request, None),
    ("OpenRouter", OPENROUTER, 429, &[], r#"{"error":{"code":429,"message":"Rate limit exceeded: free-models-per-min.","metadata":{"headers":{"X-RateLimit-Limit":"20","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1795752030000"}}}}"#, FailureKind::RateLimited, Scope::Model, Some(30)),
    ("OpenRouter", "Gitlawb/openclaude#936", 429, &[], r#"{"error":{"code":429,"message":"Rate limit exceeded: free-models-per-day. Add credits to unlock more free model requests per day","metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1795757400000"}}}}"#, FailureKind::Quota, Scope::Model, Some(5400)),
    ("OpenRouter", OPENROUTER_LIMITS, 429, &[("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795752030000")], r#"{"error":{"code":429,"message":"Rate limit exceeded","metadata":{"error_type":"rate_limit_exceeded"}}}"#, FailureKind::RateLimited, Scope::Model, Some(30)),
    // What runs at the moment fills the account's budget; the balance is there.
    ("OpenRouter", OPENROUTER_LIMITS, 402, &[("retry-after", "9")], r#"{"error":{"code":402,"message":"This request would exceed your available credits given your current requests.","metadata":{"reason":"in_flight_budget_exhausted","limit_source":"openrouter_in_flight_budget"}}}"#, FailureKind::RateLimited, Scope::Credential, Some(9)),
    ("OpenRouter", OPENROUTER_LIMITS, 402, &[], r#"{"error":{"code":402,"message":"This request costs more than your budget.","metadata":{"reason":"weight_exceeds_budget","limit_source":"openrouter_credits"}}}"#, FailureKind::Forbidden, Scope::Model, None),
    ("OpenRouter", OPENROUTER_LIMITS, 402, &[], r#"{"error":{"code":402,"message":"This key has no credits left.","metadata":{"limit_source":"openrouter_key_limit"}}}"#, FailureKind::Billing, Scope::Credential, None),
    ("OpenRouter", "public clients; the page was not seen", 403, &[], r#"{"error":{"code":403,"message":"Budget limit exceeded","metadata":{"limit_source":"openrouter_guardrail_budget","limit_usd":50,"spend_usd":50.2,"resets_at":"2026-11-28T00:00:00.000Z"}}}"#, FailureKind::Quota, Scope::Credential, Some(72_000)),
    ("OpenRouter", "https://openrouter.ai/docs/guides/features/workspaces/workspace-budgets", 403, &[], r#"{"error":{"code":403,"message":"Workspace monthly budget of $500.00 exceeded. Contact your workspace admin."}}"#, FailureKind::Quota, Scope::Credential, None),
    ("OpenRouter", OPENROUTER, 403, &[], r#"{"error":{"code":403,"message":"Request blocked: prompt injection patterns detected","metadata":{"patterns":["ignore all previous"]}}}"#, FailureKind::BadRequest, Scope::Request, None),
    ("OpenRouter", OPENROUTER, 403, &[], r#"{"error":{"code":403,"message":"Not served","metadata":{"error_type":"content_policy_violation"}}}"#, FailureKind::BadRequest, Scope::Request, None),
    ("OpenRouter", OPENROUTER, 503, &[("retry-after", "5")], r#"{"error":{"code":503,"message":"Try again","metadata":{"error_type":"provider_overloaded"}}}"#, FailureKind::Overloaded, Scope::Provider, Some(5)),
    ("OpenRouter", OPENROUTER, 502, &[], r#"{"error":{"code":502,"message":"Provider returned error","metadata":{"provider_name":"X"}}}"#, FailureKind::Transient, Scope::Provider, None),
    ("Perplexity", PERPLEXITY, 401, &[], "<html><head><title>401 Authorization Required</title></head></html>", FailureKind::Unauthorized, Scope::Credential, None),
    ("Perplexity", PERPLEXITY, 429, &[], r#"{"error":{"message":"Request rate limit exceeded, please try again later.","type":"request_rate_limit_exceeded","code":429}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Together", TOGETHER, 429, &[("x-ratelimit-reset", "3"), ("x-ratelimit-remaining", "0")], r#"{"error":{"message":"You have been rate limited.","type":"rate_limit","code":null}}"#, FailureKind::RateLimited, Scope::Model, Some(3)),
    // The type is that of accounts that have paid nothing yet; what they meet is a rate.
    ("Together", "togethercomputer/MoA#27", 429, &[], r#"{"error":{"message":"You have been rate limited. Your rate limit is 60 queries per minute.","type":"credit_limit","param":null,"code":null}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Together", "https://docs.together.ai/docs/rate-limits", 429, &[], r#"{"error":{"message":"Too many requests","type":"dynamic_token_limited"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Together", TOGETHER, 503, &[], r#"{"error":{"message":"The engine is currently overloaded","type":"service_unavailable"}}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("Together", TOGETHER, 402, &[], r#"{"error":{"message":"Payment required","type":"credit_limit"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Vertex AI", "vybestack/llxprt-code#813", 429, &[], r#"[{"error":{"code":429,"message":"You have exhausted your capacity on this model. Your quota will reset after 3s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED","domain":"cloudcode-pa.googleapis.com"}]}}]"#, FailureKind::RateLimited, Scope::Model, Some(3)),
    ("Vertex AI", VERTEX, 429, &[], r#"{"error":{"code":429,"message":"You have exhausted your capacity on this model. Your quota will reset after 21h11m3s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED","domain":"cloudcode-pa.googleapis.com"}]}}"#, FailureKind::Quota, Scope::Model, Some(76_263)),
    ("Vertex AI", VERTEX, 429, &[], r#"{"error":{"code":429,"message":"Your quota will reset after 20s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED"}]}}"#, FailureKind::Quota, Scope::Model, Some(20)),
    ("Vertex AI", VERTEX, 429, &[], r#"{"error":{"code":429,"message":"Your quota will reset after 21h.","status":"RESOURCE_EXHAUSTED"}}"#, FailureKind::Quota, Scope::Model, Some(75_600)),
    ("Vertex AI", VERTEX, 429, &[], r#"{"error":{"code":429,"message":"Resource exhausted. Please try again later.","status":"RESOURCE_EXHAUSTED"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Vertex AI", VERTEX, 503, &[], r#"{"error":{"code":503,"message":"No capacity available for model","status":"UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MODEL_CAPACITY_EXHAUSTED"}]}}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("vLLM", VLLM, 400, &[], r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","param":null,"code":400}"#, FailureKind::BadRequest, Scope::Request, None),
    ("vLLM", VLLM, 404, &[], r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#, FailureKind::NotFound, Scope::Model, None),
    ("vLLM", VLLM, 503, &[], r#"{"error":{"message":"The server is shutting down","type":"ServiceUnavailableError","code":503}}"#, FailureKind::Transient, Scope::Provider, None),
    ("xAI", XAI, 403, &[], r#"{"code":"The caller does not have permission to execute the specified operation","error":"Your newly created team doesn't have any credits yet. You can purchase credits on https://console.x.ai"}"#, FailureKind::Billing, Scope::Credential, None),
    ("xAI", XAI, 429, &[], r#"{"code":"Some resource has been exhausted","error":"Too many requests for team x and model grok. Your team's rate limit is 60 requests per minute."}"#, FailureKind::RateLimited, Scope::Model, None),
    ("xAI", "continuedev/continue#10373", 429, &[], r#"{"code":"Some resource has been exhausted","error":"Your team x has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit."}"#, FailureKind::Billing, Scope::Credential, None),
    ("xAI", "Anantys-oss/koan#2412", 403, &[], r#"{"code":"permission-denied","error":"Your team x has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit."}"#, FailureKind::Billing, Scope::Credential, None),
    ("xAI", "Wei-Shaw/sub2api#4069", 403, &[], r#"{"code":"personal-team-blocked","error":"You have run out of credits or need a Grok subscription."}"#, FailureKind::Billing, Scope::Credential, None),
    ("xAI", XAI, 400, &[], r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***. You can obtain an API key from https://console.x.ai."}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1302","message":"Rate limit reached for requests"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Zhipu", "dirge-code/dirge#818", 429, &[], r#"{"error":{"code":"1308","message":"Usage limit reached for 5 hour. Your limit will reset at 2026-11-27 14:00:00"}}"#, FailureKind::Quota, Scope::Credential, Some(7200)),
    ("Zhipu", ZHIPU, 429, &[], "{\"error\":{\"code\":\"1308\",\"message\":\"已达到 5 小时的使用上限。您的限额将在 2026-11-27 14:00:00 重置。\"}}", FailureKind::Quota, Scope::Credential, Some(7200)),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1310","message":"Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-11-29 12:00:00"}}"#, FailureKind::Quota, Scope::Credential, Some(172_800)),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":1308,"message":"Usage limit reached for 5 hour."}}"#, FailureKind::Quota, Scope::Credential, None),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1316","message":"Usage limit reached for the past 5 hours. Insufficient balance for extra usage. Resets at 2026-11-27 14:00:00"}}"#, FailureKind::Quota, Scope::Credential, Some(7200)),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1317","message":"Usage limit reached for the past 7 days. Insufficient balance for extra usage. Resets at 2026-11-29 12:00:00"}}"#, FailureKind::Quota, Scope::Credential, Some(172_800)),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1318","message":"Usage limit reached for the past 5 hours. Extra usage is not available due to monthly spend limit. Resets at 2026-11-27 14:00:00"}}"#, FailureKind::Quota, Scope::Credential, Some(7200)),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":1321,"message":"Usage limit reached for the past 7 days. Resets at 2026-11-29T04:00:00Z"}}"#, FailureKind::Quota, Scope::Credential, Some(172_800)),
    // Through the endpoint in Anthropic's form.
    ("Zhipu", "Yeachan-Heo/gajae-code#1821", 429, &[], r#"{"type":"error","error":{"type":"rate_limit_error","code":"1310","message":"[1310][Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-11-29 12:00:00]"}}"#, FailureKind::Quota, Scope::Credential, Some(172_800)),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1311","message":"Your current subscription plan does not yet include access to GLM-5V-Turbo"}}"#, FailureKind::Forbidden, Scope::Model, None),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1313","message":"Your account's current usage pattern does not comply with the Fair Usage Policy, and your request frequency has been limited."}}"#, FailureKind::Quota, Scope::Credential, None),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1315","message":"This API Key is limited to enterprise coding package scenarios."}}"#, FailureKind::Forbidden, Scope::Credential, None),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1113","message":"Your account is in arrears, please recharge and try again"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Zhipu", ZAI, 429, &[], r#"{"error":{"code":"1309","message":"Your GLM Coding Plan package has expired"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Zhipu", ZHIPU, 429, &[], "{\"error\":{\"code\":\"1305\",\"message\":\"该模型当前访问量过大，请您稍后再试\"}}", FailureKind::Overloaded, Scope::Provider, None),
    ("Zhipu", ZAI, 401, &[], r#"{"error":{"code":"1002","message":"Authorization Token is invalid"}}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Anthropic", "anthropics/claude-code#71670", 429, &[], r#"{"type":"error","error":{"type":"rate_limit_error","message":"Server is temporarily limiting requests (not your usage limit)"}}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("Anthropic", "https://platform.claude.com/docs/en/api/rate-limits", 429, &[], r#"{"type":"error","error":{"type":"rate_limit_error","message":"You have reached your usage limit"}}"#, FailureKind::Quota, Scope::Credential, None),
    ("Anthropic", "https://platform.claude.com/docs/en/api/rate-limits", 429, &[], r#"{"type":"error","error":{"type":"rate_limit_error","message":"Too many requests; this is not your usage limit"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Anthropic", "https://platform.claude.com/docs/en/api/errors", 400, &[], r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Bedrock", "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html", 400, &[("x-amzn-errortype", "ServiceQuotaExceededException")], r#"{"message":"Your request exceeds the service quota for your account. You can view your quotas at Viewing service quotas. You can resubmit your request later."}"#, FailureKind::RateLimited, Scope::Model, None),
    ("AWS", AWS, 400, &[], r#"{"__type":"AccessDeniedException","message":"You do not have sufficient access to perform this action."}"#, FailureKind::Forbidden, Scope::Credential, None),
    ("AWS", AWS, 400, &[], r#"{"__type":"NotAuthorized","message":"You do not have permission to perform this action."}"#, FailureKind::Forbidden, Scope::Credential, None),
    ("AWS", AWS, 403, &[("x-amzn-errortype", "IncompleteSignature")], r#"{"message":"The request signature does not conform to AWS standards."}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("AWS", AWS, 400, &[("x-amzn-errortype", "IncompleteSignature")], r#"{"message":"The request signature does not conform to AWS standards."}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("AWS", AWS, 403, &[("x-amzn-errortype", "UnrecognizedClientException:http://internal.amazon.com/coral/")], r#"{"message":"The security token included in the request is invalid."}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("AWS", AWS, 403, &[("x-amzn-errortype", "OptInRequired")], r#"{"message":"The AWS access key ID needs a subscription for the service."}"#, FailureKind::Forbidden, Scope::Credential, None),
    ("AWS", AWS, 400, &[("x-amzn-errortype", "RequestExpired")], r#"{"message":"The request reached the service more than 15 minutes after the date stamp on the request."}"#, FailureKind::Transient, Scope::Provider, None),
    ("AWS", AWS, 400, &[("x-amzn-errortype", "MalformedHttpRequestException")], r#"{"message":"Problems with the request at the HTTP level."}"#, FailureKind::BadRequest, Scope::Request, None),
    ("Bedrock", "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html", 400, &[("x-amzn-errortype", "AccessDeniedException")], r#"{"message":"You don't have access to the model with the specified model ID."}"#, FailureKind::Forbidden, Scope::Model, None),
    ("AWS", AWS, 400, &[], r#"{"__type":"com.amazon.coral.service#ThrottlingException","message":"Rate exceeded"}"#, FailureKind::RateLimited, Scope::Model, None),
    ("AWS", AWS, 403, &[], r#"{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("AWS", AWS, 400, &[], r#"{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"The security token included in the request is invalid."}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Azure API Management", APIM, 429, &[], r#"{"statusCode":429,"message":"Rate limit is exceeded. Try again in 20 seconds."}"#, FailureKind::RateLimited, Scope::Model, Some(20)),
    ("Azure API Management", APIM, 403, &[], r#"{"statusCode":403,"message":"Out of call volume quota. Quota will be replenished in 1.02:03:04."}"#, FailureKind::Quota, Scope::Credential, Some(93_784)),
    ("Azure API Management", APIM, 403, &[], r#"{"statusCode":403,"message":"Out of bandwidth quota. Quota will be replenished in 2.5 days."}"#, FailureKind::Quota, Scope::Credential, Some(216_000)),
    ("Azure API Management", APIM, 401, &[], r#"{"statusCode":401,"message":"Access denied due to missing subscription key."}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Kong", "https://developer.konghq.com/plugins/rate-limiting", 429, &[("x-ratelimit-remaining-hour", "0"), ("x-ratelimit-limit-hour", "5"), ("ratelimit-reset", "1241"), ("ratelimit-remaining", "0")], r#"{"message":"API rate limit exceeded"}"#, FailureKind::RateLimited, Scope::Model, Some(1241)),
    ("Kimi Code", KIMI_CODE, 403, &[], r#"{"error":{"type":"access_terminated_error","message":"You've reached your usage limit for this billing cycle. Your quota will be refreshed in the next cycle."}}"#, FailureKind::Quota, Scope::Credential, None),
    ("Kimi Code", KIMI_CODE, 429, &[], r#"{"error":{"type":"rate_limit_error","message":"We're receiving too many requests at the moment. Please wait and try again."}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Kimi Code", KIMI_CODE, 402, &[], r#"{"error":{"message":"We're unable to verify your membership benefits at this time."}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Moonshot", "https://forum.moonshot.ai/t/api-billing-behaviour/111", 429, &[], r#"{"error":{"type":"exceeded_current_quota_error","message":"Your account org-x<ak-x> is suspended, please check your plan and billing details"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Novita", NOVITA, 403, &[], r#"{"code":403,"reason":"NOT_ENOUGH_BALANCE","message":"not enough balance","metadata":{}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Novita", NOVITA, 403, &[], r#"{"code":403,"reason":"INVALID_API_KEY","message":"API key is invalid","metadata":{}}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Novita", NOVITA, 429, &[], r#"{"code":429,"reason":"TOKEN_LIMIT_EXCEEDED","message":"Token limit exceeded, please try again later","metadata":{}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Novita", NOVITA, 503, &[], r#"{"code":503,"reason":"SERVICE_NOT_AVAILABLE","message":"service unavailable","metadata":{}}"#, FailureKind::Transient, Scope::Provider, None),
    ("Replicate", "https://replicate.com/docs/reference/http", 402, &[], r#"{"title":"Insufficient credit","detail":"You have insufficient credit to run this model.","status":402}"#, FailureKind::Billing, Scope::Credential, None),
    ("Replicate", "https://replicate.com/docs/reference/http", 429, &[], r#"{"title":"Request was throttled.","detail":"Request was throttled. Your rate limit resets in ~30s.","status":429}"#, FailureKind::RateLimited, Scope::Model, Some(30)),
    ("Volcengine", VOLCENGINE, 403, &[], r#"{"error":{"code":"AccountOverdueError","message":"The request failed because your account has an overdue balance. Request ID: x","param":"","type":"Forbidden"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Volcengine", VOLCENGINE, 401, &[], r#"{"error":{"code":"AuthenticationError","message":"The API key or AK/SK in the request is missing or invalid. Request ID: x","param":"","type":"Unauthorized"}}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Volcengine", VOLCENGINE, 404, &[], r#"{"error":{"code":"InvalidEndpointOrModel.NotFound","message":"The model or endpoint m does not exist or you do not have access to it.","param":"","type":"NotFound"}}"#, FailureKind::NotFound, Scope::Model, None),
    ("Volcengine", VOLCENGINE, 400, &[], r#"{"error":{"code":"SensitiveContentDetected","message":"The request failed because the input text may contain sensitive information.","param":"","type":"BadRequest"}}"#, FailureKind::BadRequest, Scope::Request, None),
    ("Volcengine", VOLCENGINE, 429, &[], r#"{"error":{"code":"QuotaExceeded","message":"Your account [1] has exhausted its free trial quota for the [m] model.","param":"","type":"TooManyRequests"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Volcengine", VOLCENGINE, 429, &[], r#"{"error":{"code":"SetLimitExceeded","message":"Your account [1] has reached the set inference limit for the [m] model, and the model service has been paused.","param":"","type":"TooManyRequests"}}"#, FailureKind::Quota, Scope::Model, None),
    ("Volcengine", VOLCENGINE, 429, &[], r#"{"error":{"code":"AccountQuotaExceeded","message":"You have exceeded the 5-hour usage quota. It will reset at 2026-11-27 14:49:40 +0800 CST. Request id: x","param":"","type":"TooManyRequests"}}"#, FailureKind::Quota, Scope::Credential, Some(10_180)),
    ("Volcengine", VOLCENGINE, 429, &[], r#"{"error":{"code":"RequestBurstTooFast","message":"The request rate has increased too fast.","param":"","type":"TooManyRequests"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Volcengine", VOLCENGINE, 429, &[], r#"{"error":{"code":"ModelAccountRpmRateLimitExceeded","message":"The Requests Per Minute (RPM) limit of the model for your account has been exceeded.","param":"","type":"TooManyRequests"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("Volcengine", VOLCENGINE, 429, &[], r#"{"error":{"code":"ServerOverloaded","message":"The service is currently unable to handle additional requests due to server overload.","param":"","type":"TooManyRequests"}}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("Volcengine", VOLCENGINE, 429, &[], r#"{"error":{"code":"RateLimitExceeded.EndpointRPMExceeded","message":"The Requests Per Minute (RPM) limit of the associated endpoint for your account has been exceeded.","param":"","type":"TooManyRequests"}}"#, FailureKind::RateLimited, Scope::Model, None),
    ("new-api", NEW_API, 403, &[], "{\"error\":{\"message\":\"用户额度不足, 剩余额度: 0\",\"type\":\"new_api_error\",\"code\":\"insufficient_user_quota\"}}", FailureKind::Billing, Scope::Credential, None),
    ("new-api", NEW_API, 403, &[], "{\"error\":{\"message\":\"该令牌额度已用尽\",\"type\":\"new_api_error\",\"code\":\"pre_consume_token_quota_failed\"}}", FailureKind::Billing, Scope::Credential, None),
    ("new-api", NEW_API, 429, &[], "{\"error\":{\"message\":\"当前分组上游负载已饱和，请稍后再试\",\"type\":\"new_api_error\",\"code\":\"\"}}", FailureKind::Overloaded, Scope::Provider, None),
    ("LiteLLM", "https://docs.litellm.ai/docs/proxy/users", 400, &[], r#"{"error":{"message":"Budget has been exceeded! Current cost: 0.11, Max budget: 0.1","type":"budget_exceeded","param":null,"code":"400"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("LiteLLM", "litellm/proxy/auth/user_api_key_auth.py", 400, &[], r#"{"error":{"message":"Authentication Error - Expired Key. Key Expiry time 2026-08-20 12:00:10+00:00 and current time 2026-11-27 04:00:00+00:00","type":"expired_key","param":"k","code":"400"}}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("LiteLLM", "https://docs.litellm.ai/docs/proxy/users", 429, &[], r#"{"error":{"message":"Budget has been exceeded! Current cost: 5.0, Max budget: 1.0","type":"budget_exceeded","param":null,"code":"429"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("LiteLLM", "NousResearch/hermes-agent#106427", 429, &[], r#"{"error":{"message":"hard cap","type":"throttling_error","code":"terminal_quota_exhausted"}}"#, FailureKind::Billing, Scope::Credential, None),
    ("Codex", "NousResearch/hermes-agent#93455", 429, &[], r#"{"error":{"message":"Weekly usage limit reached. Resets in 6hr 29min."}}"#, FailureKind::Quota, Scope::Credential, Some(23_340)),
    ("SiliconFlow", "public clients; the page was not seen", 403, &[], r#"{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}"#, FailureKind::Billing, Scope::Credential, None),
    ("SiliconFlow", "public clients; the page was not seen", 503, &[], r#"{"code":50505,"message":"Model service overloaded. Please try again later.","data":null}"#, FailureKind::Overloaded, Scope::Provider, None),
    ("Ollama", "public clients; the page was not seen", 403, &[], r#"{"error":{"message":"this model requires a subscription, upgrade for access: https://ollama.com/upgrade","type":"api_error","param":null,"code":null}}"#, FailureKind::Forbidden, Scope::Model, None),
    ("Ollama", "continuedev/continue#9233", 429, &[], r#"{"error":"you've reached your hourly usage limit, please wait or upgrade to continue"}"#, FailureKind::Quota, Scope::Credential, None),
    ("IBM", "public clients; the page was not seen", 429, &[], r#"{"errors":[{"code":"consumption_limit_reached","message":"Consumption limit reached for project"}],"trace":"t","status_code":429}"#, FailureKind::RateLimited, Scope::Model, None),
    ("IBM", "https://cloud.ibm.com/apidocs/watsonx-ai", 401, &[], r#"{"errors":[{"code":"authentication_token_expired","message":"Failed to authenticate the request due to an expired token"}],"trace":"t","status_code":401}"#, FailureKind::Unauthorized, Scope::Credential, None),
    ("Anthropic", "https://platform.claude.com/docs/en/api/rate-limits", 400, &[], r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}"#, FailureKind::Quota, Scope::Credential, Some(331_200)),
];

fn error(row: &Row) -> Error {
    let (_, _, status, headers, body, ..) = row;
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    let limits = RateLimits::from_error(*status, &headers, body.as_bytes(), NOW);
    let mut head = ResponseHead::new(StatusCode::from_u16(*status).unwrap());
    head.headers = headers;
    let error = Error::upstream(*status, *body).with_rate_limits(limits);
    error.with_head(head)
}

#[test]
fn every_error_means_what_its_vendor_says() {
    let policy = FailurePolicy::default();
    let mut wrong = Vec::new();
    for row in ROWS {
        let (vendor, _, status, _, body, fault, scope, wait) = row;
        let error = error(row);
        let verdict = policy.classify(&error);
        let told = error.retry_after().map(|wait| wait.as_secs());
        let found = (verdict.fault, verdict.scope, told);
        if found != (*fault, *scope, *wait) {
            wrong.push(format!(
                "{vendor} {status} {body}\n  want {fault:?} {scope:?} {wait:?}, got {found:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_error_has_a_source() {
    for (vendor, source, ..) in ROWS {
        let is_page = source.starts_with("https://");
        let is_seen_elsewhere = source.contains('/') || source.contains("was not seen");
        assert!(is_page || is_seen_elsewhere, "{vendor}: {source}");
    }
    let vendors: BTreeSet<_> = ROWS.iter().map(|row| row.0).collect();
    println!("{} errors of {} vendors", ROWS.len(), vendors.len());
    assert!(
        vendors.len() >= 15 && ROWS.len() >= 80,
        "{} {vendors:?}",
        ROWS.len()
    );
}

/// A key that stands alone is asked again exactly where its error says that this may help, and where no time is named for it.
#[test]
fn what_is_tried_again_and_what_an_error_says_of_itself_agree() {
    let policy = FailurePolicy::default();
    let mut wrong = Vec::new();
    for row in ROWS {
        let (vendor, _, status, headers, body, wanted, scope, _) = row;
        let mut reply = Reply::json(*status, *body);
        for (name, value) in *headers {
            reply = reply.header(name, value);
        }
        let played = Play::new(Api::Chat).of(vendor).alone().plain(reply);
        let error = played.error.unwrap();
        let verdict = policy.classify(&error);
        let fault = verdict.fault;
        let passes =
            fault.is_transient() || matches!(fault, FailureKind::RateLimited | FailureKind::Quota);
        let is_tried_again = played.first > 1;
        // How long a limit lasts may hang on the day.
        let is_limit = |fault| matches!(fault, FailureKind::RateLimited | FailureKind::Quota);
        let is_as_wanted = if is_limit(*wanted) {
            is_limit(fault)
        } else {
            (fault, verdict.scope) == (*wanted, *scope)
        };
        if error.is_retryable() != passes
            || (is_tried_again && !error.is_retryable())
            || !is_as_wanted
        {
            wrong.push(format!(
                "{vendor} {status} {body}: {fault:?}, {} requests, {error:?}",
                played.first
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
