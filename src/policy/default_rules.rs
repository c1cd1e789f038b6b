//! The default rules. Each rule has the vendor's documentation that it follows beside it.

use std::time::Duration;

use super::{Cooldown, RetryAfterBounds, Rule, Scope};
use crate::failure_kind::FailureKind;

/// The default rules, in the order in which they are tried: what a body says goes before what its status says.
pub(super) fn default_rules() -> Vec<Rule> {
    let mut rules = vec![
        // A file that a setting names may come, or be whole, in a while.
        misconfigured(
            Rule::named("config").only_retryable(true),
            Cooldown::doubling(MINUTE, HOUR),
        ),
        misconfigured(Rule::named("config"), Cooldown::Off),
        // The endpoint is elsewhere, and a request with a key does not follow: the base URL is wrong.
        misconfigured(Rule::statuses(300..=399), Cooldown::doubling(MINUTE, HOUR)),
        // A server's own 499 (Gemini names it CANCELLED): the caller did not cancel.
        transient(Rule::status(499)),
        Rule::named("cancelled")
            .fault(FailureKind::Cancelled)
            .scope(Scope::Nobody)
            .stop(),
    ];
    rules.extend(plans());
    rules.extend(keys());
    rules.extend(money());
    rules.extend(accounts_that_are_shut_out());
    rules.extend(outages());
    rules.extend(limits());
    rules.extend(refusals());
    rules.push(bad_request(Rule::statuses(400..=499)));
    // An answer that is none of HTTP's errors, and no success either: a body that is not JSON, or holds no reply.
    rules.push(bad_request(Rule::named("upstream").only_retryable(false)));
    rules.push(transient(Rule::named("upstream")));
    rules
}

/// What vendors of plans say with 429 in words or by a name that mean something else elsewhere, so that these go before all others.
fn plans() -> Vec<Rule> {
    vec![
        // Alibaba's limit of tokens a minute has the name and the words with which OpenAI says that the money is gone; its link
        // tells them apart: https://www.alibabacloud.com/help/en/model-studio/rate-limit
        billing(Rule::status(429).with_text("free allocated quota exceeded")).quota(),
        rate_limited(
            Rule::status(429)
                .with_text("allocated quota exceeded")
                .with_text("error-code#token-limit"),
        ),
        // Alibaba's plans of five hours, a week and a month.
        quota(Rule::status(429).with_text("quota has been exhausted")).scope(Scope::Credential),
        // Zhipu's plans of five hours, a week and a month; those from 1316 on add that no balance pays for more:
        // https://docs.z.ai/api-reference/api-code up to 1317; 1318 to 1321 as clients of others meet them, the page not seen.
        quota(
            Rule::status(429)
                .or_named("1304")
                .or_named("1308")
                .or_named("1310")
                .or_named("1316")
                .or_named("1317")
                .or_named("1318")
                .or_named("1319")
                .or_named("1320")
                .or_named("1321"),
        )
        .scope(Scope::Credential),
        // Z.AI again, as clients meet it: more requests of a kind that its policy of fair use does not allow make it last longer.
        quota(Rule::status(429).or_named("1313")).scope(Scope::Credential),
        // A key for other plans' endpoints.
        forbidden(Rule::status(429).or_named("1315")).scope(Scope::Credential),
        // OpenRouter's 402 that is no want of money: https://openrouter.ai/docs/api/reference/limits. What runs at the moment fills the
        // account's budget; or this request alone would, and smaller ones still go.
        rate_limited(
            Rule::status(402)
                .or_named("openrouter_in_flight_budget")
                .or_named("in_flight_budget_exhausted"),
        )
        .scope(Scope::Credential),
        Rule::status(402)
            .or_named("weight_exceeds_budget")
            .fault(FailureKind::Forbidden),
        // A model that the plan does not hold.
        forbidden(Rule::status(429).or_named("1311")),
        forbidden(
            Rule::status(429)
                .with_text("does not yet include access to")
                .with_text("does not include access to"),
        ),
    ]
}

/// Keys and logins that are not accepted, beside those with 401.
fn keys() -> Vec<Rule> {
    vec![
        // A signature for another time than the server's: this machine's clock is wrong, and no key.
        // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
        transient(
            Rule::any_of([400, 403])
                .or_named("requesttimetooskewed")
                .or_named("requestexpired")
                .or_named("requestinthefuture"),
        ),
        transient(
            Rule::any_of([400, 403])
                .with_text("signature expired")
                .with_text("signature not yet current"),
        ),
        // Gemini answers an invalid or expired key with 400: https://ai.google.dev/gemini-api/docs/troubleshooting; Z.AI that an
        // account is locked with 429: https://docs.z.ai/api-reference/api-code
        unauthorized(
            Rule::any_of([400, 403, 429])
                .or_named("api_key_invalid")
                .or_named("invalid_api_key")
                .or_named("api_key_service_blocked")
                .or_named("access_token_expired")
                .or_named("account_deactivated")
                // LiteLLM's proxy, with 400 (`litellm/proxy/auth/user_api_key_auth.py`).
                .or_named("expired_key")
                // https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
                // https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
                .or_named("expiredtoken")
                .or_named("expiredtokenexception")
                .or_named("incompletesignature")
                .or_named("incompletesignatureexception")
                .or_named("invalidclienttokenid")
                .or_named("invalidsignatureexception")
                .or_named("missingauthenticationtokenexception")
                .or_named("signaturedoesnotmatch")
                .or_named("unrecognizedclientexception"),
        ),
        unauthorized(
            Rule::any_of([400, 403])
                .with_text("api key not valid")
                .with_text("api key expired")
                .with_text("invalid api key")
                .with_text("incorrect api key")
                // Bedrock of its API keys: BerriAI/litellm's tests, and as clients meet it.
                .with_text("bearer token has expired")
                .with_text("make sure your api key is valid"),
        ),
        // Anthropic answers a login that was ended with 403.
        unauthorized(Rule::status(403).with_text(REVOKED)).refresh(),
    ]
}

/// Money that has run out, whatever the status.
fn money() -> Vec<Rule> {
    vec![
        // https://platform.openai.com/docs/guides/error-codes: a 429 that no waiting heals.
        billing(
            Rule::any_of([400, 402, 403, 429])
                .or_named("insufficient_quota")
                .or_named("credit_balance_exhausted")
                .or_named("organization_spend_limit_exceeded")
                .or_named("project_spend_limit_exceeded")
                .or_named("organization_usage_limit_exceeded")
                .or_named("billing_not_active")
                .or_named("billing_hard_limit_reached")
                .or_named("billing_error")
                .or_named("billing_disabled"),
        )
        .quota(),
        // The same elsewhere: https://forum.moonshot.ai/t/api-billing-behaviour/111,
        // https://novita.ai/docs/api-reference/basic-error-code, https://www.volcengine.com/docs/82379/1299023,
        // https://docs.litellm.ai/docs/proxy/users, NousResearch/hermes-agent#106427, QuantumNous/new-api.
        billing(
            Rule::any_of([400, 403, 429])
                .or_named("exceeded_current_quota_error")
                .or_named("not_enough_balance")
                .or_named("billing_balance_not_enough")
                .or_named("insufficient_balance")
                .or_named("insufficient_credits")
                .or_named("insufficient_funds")
                .or_named("accountoverdueerror")
                .or_named("operationdenied.serviceoverdue")
                .or_named("budget_exceeded")
                .or_named("terminal_quota_exhausted")
                .or_named("insufficient_user_quota")
                .or_named("pre_consume_token_quota_failed"),
        )
        .quota(),
        // The same in words: Gemini's prepaid credits and spending caps, and compatible servers; in Chinese a balance that does not
        // suffice, one in arrears, an allowance that does not suffice.
        billing(
            Rule::any_of([400, 403, 412, 429])
                .with_text("credits are depleted")
                .with_text("monthly spending")
                .with_text("insufficient balance")
                .with_text("insufficient account balance")
                .with_text("insufficient credits")
                .with_text("insufficient funds")
                .with_text("balance is insufficient")
                .with_text("not enough balance")
                .with_text("overdue balance")
                .with_text("out of credits")
                .with_text("free trial quota")
                .with_text("\u{4f59}\u{989d}\u{4e0d}\u{8db3}")
                .with_text("\u{6b20}\u{8d39}")
                .with_text("\u{989d}\u{5ea6}\u{4e0d}\u{8db3}")
                .undenied(),
        )
        .quota(),
        // In arrears, without a plan (1314 and the overdue codes as clients of others read them), or over one's own budget:
        // https://docs.z.ai/api-reference/api-code,
        // https://help.aliyun.com/zh/model-studio/error-code, https://www.alibabacloud.com/help/en/model-studio/budget-management
        billing(
            Rule::any_of([400, 403, 429])
                .or_named("1113")
                .or_named("1309")
                .or_named("1314")
                .or_named("arrearage")
                .or_named("allocationquota.freetieronly")
                .or_named("prepaidbilloverdue")
                .or_named("postpaidbilloverdue")
                .or_named("commoditynotpurchased")
                .or_named("budgetlimitexceeded"),
        )
        .quota(),
        // Anthropic answers a low balance with 400: https://docs.anthropic.com/en/api/errors. Gemini's 429 speaks of billing
        // details whatever the limit, so these words count for other statuses alone.
        billing(
            Rule::any_of([400, 403])
                .with_text("credit balance is too low")
                .with_text("extra usage")
                .with_text("billing details")
                .with_text("billing account")
                .with_text("enable billing")
                .with_text("exceeded your current quota")
                .with_text("purchase credits")
                .with_text("doesn't have any credits"),
        )
        .quota(),
        billing(Rule::status(402)),
    ]
}

/// Accounts that may not be used, or not from here.
fn accounts_that_are_shut_out() -> Vec<Rule> {
    vec![
        // Accounts that are shut out, which Anthropic, Gemini and Groq say with 400:
        // https://ai.google.dev/gemini-api/docs/available-regions
        forbidden(
            Rule::status(400)
                .with_text("organization has been disabled")
                .with_text("organization has been restricted")
                .with_text("location is not supported")
                .with_text("credential is only authorized for"),
        )
        .scope(Scope::Credential),
    ]
}

/// The provider's faults, and those of the way to it.
fn outages() -> Vec<Rule> {
    let broken = Rule::named("stream_truncated")
        .or_named("stream_malformed")
        .or_named("stream_stalled")
        .or_named("stream_interrupted");
    vec![
        // 529 is Anthropic's, 498 Groq's for its flexible tier: https://console.groq.com/docs/errors
        outage(Rule::any_of([498, 529]), FailureKind::Overloaded),
        // Some servers say with 429 that they, not the account, have too much to do: no other credential would do better.
        outage(
            Rule::any_of([429, 500, 503])
                .with_text("overloaded")
                .with_text("high demand")
                .with_text("experiencing high traffic")
                .with_text("model_capacity_exhausted")
                // Anthropic to subscribers, Zhipu (https://docs.bigmodel.cn/cn/api/api-code) of a model, QuantumNous/new-api of
                // what is behind it.
                .with_text("temporarily limiting requests")
                .with_text("\u{8bbf}\u{95ee}\u{91cf}\u{8fc7}\u{5927}")
                .with_text("\u{8d1f}\u{8f7d}\u{5df2}\u{9971}\u{548c}"),
            FailureKind::Overloaded,
        ),
        // A model that is being loaded, at Bedrock:
        // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html#API_runtime_InvokeModel_Errors
        outage(
            Rule::status(429).or_named("modelnotreadyexception"),
            FailureKind::Overloaded,
        ),
        outage(
            Rule::any_of([500, 503])
                .with_text("slow_down")
                .with_text("slow down"),
            FailureKind::Overloaded,
        ),
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.6.2: the server cannot do what the request asks for.
        bad_request(Rule::status(501)),
        // The clients of OpenAI and Anthropic try a 409 (a lock that was not had) again, as they do a 408.
        // 424 is a model's own failure at Bedrock:
        // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html#API_runtime_InvokeModel_Errors
        transient(Rule::any_of([408, 409, 424])),
        transient(Rule::statuses(500..=599)),
        // A limit of the client, an answer in another form than requested: the same with every credential.
        bad_request(broken.clone().only_retryable(false)),
        // A certificate or a proxy's login that is refused is no more so for another way.
        transient(broken.or_named("transport")),
    ]
}

/// 429, and limits that come with other statuses.
fn limits() -> Vec<Rule> {
    vec![
        // A request larger than this account's limit: waiting does not help, smaller ones still go, and another account may
        // take it.
        Rule::any_of([413, 429])
            .with_text("request too large for")
            .with_text("required for long context")
            .fault(FailureKind::Forbidden),
        // Limits of a whole account, such as Anthropic's five hours and seven days, and its spend limits (the own one with
        // 400): https://platform.claude.com/docs/en/api/rate-limits
        quota(
            Rule::status(429)
                .or_named("usage_limit_reached")
                .or_named("usage_limit_exceeded")
                .or_named("enforced_spend_limit_reached"),
        )
        .scope(Scope::Credential),
        quota(
            Rule::status(429)
                .with_text("usage limit")
                .with_text("would exceed your account")
                .with_text("monthly limit")
                .with_text("weekly limit")
                // Volcengine's plans of five hours, a week and a month: https://www.volcengine.com/docs/82379/1299023
                .with_text("usage quota")
                // Cohere's trial keys: https://docs.cohere.com/docs/rate-limits
                .with_text("calls / month")
                .with_text("per month")
                .undenied(),
        )
        .scope(Scope::Credential),
        quota(
            Rule::status(429)
                .with_used_up("unified")
                .with_used_up("codex-primary")
                .with_used_up("codex-secondary"),
        )
        .scope(Scope::Credential),
        // Those of one model.
        quota(Rule::status(429).with_used_up("codex-")),
        quota(Rule::status(400).with_text("api usage limits").undenied()).scope(Scope::Credential),
        // https://ai.google.dev/gemini-api/docs/rate-limits: daily quotas are kept for each model.
        quota(
            Rule::status(429)
                .with_text("perday")
                .with_text("per day")
                .with_text("per-day")
                .with_text("(rpd)")
                .undenied(),
        ),
        // Google's own word; how long it lasts tells the others apart: https://cloud.google.com/apis/design/errors
        quota(Rule::status(429).or_named("quota_exhausted")),
        // A limit of one's own on a model: https://www.volcengine.com/docs/82379/1299023
        quota(Rule::status(429).or_named("setlimitexceeded")),
        // Vertex and older Gemini models say it with 403.
        quota(Rule::status(403).with_text("quota exceeded")),
        // So do plans and gateways: https://www.kimi.com/code/docs/en/kimi-code/error-reference.html,
        // https://learn.microsoft.com/azure/api-management/quota-policy
        quota(
            Rule::status(403)
                .with_text("reached your usage limit")
                .with_text("out of call volume quota")
                .with_text("out of bandwidth quota")
                // https://openrouter.ai/docs/guides/features/workspaces/workspace-budgets
                .with_text("daily budget of $")
                .with_text("weekly budget of $")
                .with_text("monthly budget of $")
                .with_text("lifetime budget of $")
                .undenied(),
        )
        .scope(Scope::Credential),
        // https://openrouter.ai/docs/api/reference/limits, and as its clients meet them.
        quota(
            Rule::status(403)
                .or_named("openrouter_guardrail_budget")
                .or_named("openrouter_workspace_budget")
                .or_named("openrouter_key_limit"),
        )
        .scope(Scope::Credential),
        // AWS says it with 400: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html,
        // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html#API_runtime_InvokeModel_Errors
        rate_limited(
            Rule::status(400)
                .or_named("throttlingexception")
                .or_named("servicequotaexceededexception"),
        ),
        rate_limited(Rule::status(400).with_text("exceeds the service quota")),
        rate_limited(Rule::status(429)),
    ]
}

/// 401, 403, 404.
fn refusals() -> Vec<Rule> {
    let not_found = |rule: Rule| {
        rule.fault(FailureKind::NotFound)
            .curve(Cooldown::doubling(MINUTE, HOUR))
            .message("not found")
    };
    vec![
        unauthorized(Rule::status(401)).refresh(),
        // What the request holds is refused: a flagged prompt (https://openrouter.ai/docs/api/reference/errors-and-debugging),
        // or a file of another project or of none (https://ai.google.dev/gemini-api/docs/files).
        bad_request(
            Rule::status(403)
                .with_text("input was flagged")
                .with_text("request blocked: ")
                // Together's word for a request that is longer than the model can take: https://docs.together.ai/docs/error-codes
                .with_text("must be less than the context length")
                // Perplexity, of an API that it no longer has: https://docs.perplexity.ai/docs/agent-api/migrate-from-sonar/overview
                .with_text("chat_completions_not_available")
                .with_text("agent_api_migration_required")
                .with_text("flagged_input")
                .with_text("permission to access the file"),
        ),
        bad_request(
            Rule::status(403)
                .or_named("content_policy_violation")
                .or_named("refusal"),
        ),
        forbidden(
            Rule::status(403)
                .or_named("model_not_found")
                .or_named("model_not_allowed"),
        ),
        // AWS says some of them with 400: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
        forbidden(
            Rule::any_of([400, 403])
                .with_text("access to model")
                .with_text("access to this model")
                .with_text("use this model")
                // Ollama's cloud, of a model that the plan does not hold.
                .with_text("this model requires a subscription")
                // https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
                .with_text("access to the model")
                .with_text("not authorized to perform: bedrock:invokemodel")
                .with_text("not authorized to perform: bedrock:converse"),
        ),
        // What an account has not applied for, which Bedrock says with 404: the page on its error codes.
        forbidden(Rule::status(404).with_text("use case details have not been submitted")),
        // https://help.openai.com/en/articles/10910291-api-organization-verification, and Gemini's models for payers.
        forbidden(
            Rule::status(400)
                .with_text("organization must be verified")
                .with_text("only accessible to billed users"),
        ),
        forbidden(
            Rule::status(400)
                .or_named("accessdeniedexception")
                .or_named("notauthorized")
                .or_named("optinrequired"),
        )
        .scope(Scope::Credential),
        forbidden(Rule::status(403)).scope(Scope::Credential),
        // Mistral has two names for it: https://docs.mistral.ai/resources/error-glossary
        not_found(
            Rule::any_of([400, 404])
                .or_named("model_not_found")
                .or_named("unknown_model")
                .or_named("invalid_model"),
        ),
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.5.11: what was there is gone.
        not_found(Rule::any_of([404, 410])),
    ]
}

fn misconfigured(rule: Rule, cooldown: Cooldown) -> Rule {
    rule.fault(FailureKind::Misconfigured)
        .scope(Scope::Credential)
        .curve(cooldown)
        .message("misconfigured")
}

fn bad_request(rule: Rule) -> Rule {
    rule.fault(FailureKind::BadRequest)
        .scope(Scope::Request)
        .stop()
}

fn unauthorized(rule: Rule) -> Rule {
    rule.fault(FailureKind::Unauthorized)
        .scope(Scope::Credential)
        .cooldown(HALF_AN_HOUR)
        .message("unauthorized")
}

fn billing(rule: Rule) -> Rule {
    rule.fault(FailureKind::Billing)
        .scope(Scope::Credential)
        .cooldown(HALF_AN_HOUR)
        .message("payment_required")
}

fn forbidden(rule: Rule) -> Rule {
    rule.fault(FailureKind::Forbidden)
        .cooldown(HALF_AN_HOUR)
        .message("forbidden")
}

fn rate_limited(rule: Rule) -> Rule {
    rule.fault(FailureKind::RateLimited)
        .curve(Cooldown::doubling(SECOND, HALF_AN_HOUR).with_hint(RetryAfterBounds::RATE))
        .quota()
        .message("rate limited")
}

fn quota(rule: Rule) -> Rule {
    rule.fault(FailureKind::Quota)
        .curve(Cooldown::Fixed(HALF_AN_HOUR).with_hint(RetryAfterBounds::QUOTA))
        .quota()
        .message("quota exhausted")
}

fn transient(rule: Rule) -> Rule {
    outage(rule, FailureKind::Transient)
}

fn outage(rule: Rule, fault: FailureKind) -> Rule {
    // One alone says little of the credential that it came to.
    let curve = Cooldown::doubling(SECOND, MINUTE)
        .after_failures(2)
        .with_hint(RetryAfterBounds::new(SECOND, MINUTE));
    rule.fault(fault)
        .scope(Scope::Provider)
        .curve(curve)
        .message("transient upstream error")
}

/// What Anthropic says of a login that was ended.
pub(super) const REVOKED: &str = "token has been revoked";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);
const HOUR: Duration = Duration::from_secs(3600);
